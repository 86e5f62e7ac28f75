"""The book as files: scripts `notebooks/NN_name.py` (the truth) and their executed twins `.ipynb`.

`read` and `declared` know the scripts, which places.py finds; `stamped` turns an executed notebook
into the twin that is committed and `check` says what is wrong with a pair; `coverage` and
`callouts` read the text: which equations a notebook covers, where we deviate from the paper.
titles.py writes what is generated in it, runner.py executes.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from urgates.lab.places import LANDING, find, headline
from urgates.lab.store.files import write_atomically
from urgates.lab.store.record import commit

LIMIT_BYTES = 1_000_000  # GitHub renders larger notebooks erratically
EXACT = "exact"  # the preset of notebooks that declare none: nothing in them is trained
Scalar = str | int | float | bool


def read(script: Path) -> NotebookNode:
    """The notebook a script describes, not executed."""
    return jupytext.read(script, fmt="py:percent")


def declared(notebook: NotebookNode) -> dict[str, Scalar]:
    """Names and defaults in the cell tagged `parameters`: lines like `seeds: int = 0  # …`.

    Raises:
        ValueError: if there is not exactly one such cell, or a line in it is anything else.
    """
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(f"one cell must have the tag 'parameters', got {len(cells)}")
    defaults = {}
    for line in ast.parse(cells[0].source).body:
        try:
            name, kind, value = line.target.id, line.annotation.id, ast.literal_eval(line.value)
            if type(value) not in (str, int, float, bool) or kind != type(value).__name__:
                raise ValueError
        except (AttributeError, ValueError):
            raise ValueError(
                "parameters must be lines NAME: str|int|float|bool = VALUE, "
                f"got {ast.unparse(line)!r}"
            ) from None
        defaults[name] = value
    return defaults


def convert(script: Path, given: Mapping[str, str]) -> dict[str, Scalar]:
    """Parameters given as text ({"seeds": "3"}), as values of the types the notebook declares.

    Raises:
        ValueError: for a name the notebook does not declare, or a text of another type.
    """
    defaults, values = declared(read(script)), {}
    for name, text in given.items():
        if name not in defaults:
            known = ", ".join(defaults)
            raise ValueError(f"a parameter of {script.stem} must be one of {known}, got {name!r}")
        kind = type(defaults[name])
        read_as = {"true": True, "false": False}.__getitem__ if kind is bool else kind
        try:
            values[name] = read_as(text.lower() if kind is bool else text)
        except (KeyError, ValueError):
            raise ValueError(f"{name} must be of type {kind.__name__}, got {text!r}") from None
    return values


# ------------------------------------------------------------------ the committed twin


def stamped(executed: NotebookNode, script: Path, preset: str, device: str) -> NotebookNode:
    """The twin to commit: without times, paths and random ids, with the hash of its script."""
    notebook = nbformat.from_dict(executed)
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": executed.metadata.kernelspec,
            "jupytext": executed.metadata.jupytext,
            "language_info": {"name": "python"},
            "urgates": {
                "source_sha256": source_sha256(script),
                "preset": preset,
                "commit": commit(),
                "device": device,
            },
        }
    )
    for number, cell in enumerate(notebook.cells):
        cell.id = f"c{number:03}"
        cell.metadata = _marks(cell)
    return notebook


def _marks(cell: NotebookNode) -> NotebookNode:
    """A cell's metadata to commit: its tags; JupyterLab collapses what has the tag hide-input."""
    tags = cell.metadata.get("tags")
    marks = {"tags": tags} if tags else {}
    if "hide-input" in marks.get("tags", []):
        marks["jupyter"] = {"source_hidden": True}
    return nbformat.from_dict(marks)


def carry_text(script: Path) -> bool:
    """Take a script's text cells over into its twin, which need not be executed for that.

    Returns whether the twin changed.
    Raises:
        ValueError: if the code differs: then only executing makes a twin (`urgates publish`).
    """
    twin = script.with_suffix(".ipynb")
    source, notebook = read(script), nbformat.read(twin, as_version=4)
    if _code(source) != _code(notebook):
        raise ValueError(f"the code of {script.name} must be its twin's: run `urgates publish`")
    cells = iter([cell for cell in notebook.cells if cell.cell_type == "code"])
    notebook.cells = [next(cells) if c.cell_type == "code" else c for c in source.cells]
    for number, (cell, written) in enumerate(zip(notebook.cells, source.cells, strict=True)):
        cell.id = f"c{number:03}"
        cell.metadata = _marks(written)
    notebook.metadata.urgates.source_sha256 = source_sha256(script)
    text, old = nbformat.writes(notebook) + "\n", twin.read_text(encoding="utf-8")
    if text != old:
        write_atomically(twin, text.encode())
    return text != old


def keep_published(model: dict, path: str, contents_manager: object, **_) -> None:
    """Before JupyterLab saves a notebook: leave a twin as it is whose cells nobody changed.

    Outputs are published (`urgates publish`), not saved; a changed notebook is saved as it stands.

    Args:
        model: what is to be saved, Jupyter's contents model; its `content` may be replaced.
        path: where, relative to the `root_dir` of the `contents_manager`.
    """
    twin = Path(contents_manager.root_dir, path.strip("/"))
    if model["type"] != "notebook" or twin.suffix != ".ipynb" or not twin.exists():
        return
    published = nbformat.read(twin, as_version=4)
    cells = [(c["cell_type"], c["source"]) for c in model["content"]["cells"]]
    same = cells == [(c.cell_type, c.source) for c in published.cells]
    if same and "urgates" in published.metadata:
        model["content"] = published


def _code(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def source_sha256(script: Path) -> str:
    """Hash of a script's text, the same whatever its line ends."""
    return hashlib.sha256(Path(script).read_text(encoding="utf-8").encode()).hexdigest()


def check(script: Path) -> list[str]:
    """What is wrong with a script and its committed twin, in sentences; nothing if all is well."""
    twin, landing = script.with_suffix(".ipynb"), script.parents[1] / LANDING
    if landing.exists() and script.stem in landing.read_text(encoding="utf-8"):
        return [f"{twin.name} was interrupted on its way here: run `urgates publish` again"]
    if not twin.exists():
        return [f"{twin.name} is missing: run `urgates publish {script.stem}`"]
    try:
        source, notebook = read(script), nbformat.read(twin, as_version=4)
        declared(source)
    except (ValueError, SyntaxError, nbformat.reader.NotJSONError) as error:
        return [f"{script.stem} cannot be read: {error}"]
    found = []
    if notebook.metadata.get("urgates", {}).get("source_sha256") != source_sha256(script):
        found.append("was not executed from the present script (source_sha256 differs)")
    if [(c.cell_type, c.source) for c in source.cells] != [
        (c.cell_type, c.source) for c in notebook.cells
    ]:
        found.append("has other cells than its script")
    if twin.stat().st_size > LIMIT_BYTES:
        found.append(f"has {twin.stat().st_size:,} bytes, more than {LIMIT_BYTES:,}")
    found += blemishes(notebook)
    return [f"{twin.name} {problem}" for problem in found]


def blemishes(notebook: NotebookNode) -> list[str]:
    """What an executed notebook must not contain to be committed."""
    found = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        found.append("was not executed from top to bottom in one go")
    outputs = [output for cell in code for output in cell.outputs]
    if any(output.output_type == "error" for output in outputs):
        found.append("holds an error")
    if any(output.get("name") == "stderr" for output in outputs):
        found.append("holds text from stderr (a warning?)")
    if "widgets" in notebook.metadata or any(
        "widget" in m for o in outputs for m in o.get("data", ())
    ):
        found.append("holds a widget, which GitHub does not render")
    if "papermill" in notebook.metadata or any(
        cell.metadata != _marks(cell) or "injected-parameters" in cell.metadata.get("tags", [])
        for cell in notebook.cells
    ):
        found.append("holds traces of its execution in its metadata")
    return found


# ------------------------------------------------------------------ the book's text

_KINDS = {"Eq": "Eq.", "Prop": "Prop.", "Table": "Table", "Fig": "Fig.", "Listing": "Listing"}
_ITEM = re.compile(rf"({'|'.join(_KINDS)})s?\.? (.+)")
_RANGE = re.compile(r"(\d+)[a-z]?(?:[–-](?:(\d+)[a-z]?|[a-z]))?(?: [a-z]+)?")


def coverage(root: Path | None = None) -> dict[str, list[str]]:
    """Where each numbered item of the paper is: "Eq. 9" -> names of notebooks.

    Read from the lines `Covers: Eqs. 9–15; Prop. 1; Table 1; Fig. 2a` (parts of figures count for
    the figure); ValueError for a line that cannot be read.
    """
    places: dict[str, list[str]] = {}
    for script in find(root=root):
        for line in re.findall(r"^Covers: (.+)$", _text(script), re.MULTILINE):
            for item in _items(line.strip().rstrip("."), script.stem):
                places.setdefault(item, [])
                if script.stem not in places[item]:
                    places[item].append(script.stem)
    return places


def _items(line: str, name: str) -> list[str]:
    items = []
    for part in line.split("; "):
        match = _ITEM.fullmatch(part)
        for span in re.split(r", | and ", match[2]) if match else [""]:
            numbers = _RANGE.fullmatch(span)
            if not numbers:
                raise ValueError(f"{name}: cannot read {part!r} in the line 'Covers: {line}'")
            first, last = int(numbers[1]), int(numbers[2] or numbers[1])
            items += [f"{_KINDS[match[1]]} {n}" for n in range(first, last + 1)]
    return items


@dataclass(frozen=True)
class Callout:
    """A numbered remark in a notebook: **Deviation D1.**, **Open point O1.**, …"""

    number: str
    text: str
    notebook: str


def callouts(kind: str, root: Path | None = None) -> list[Callout]:
    """All "Deviation", "Open point" or "Three sources" paragraphs of the book, by number."""
    found = [
        Callout(number, " ".join(text.split()), script.stem)
        for script in find(root=root)
        for number, text in re.findall(
            rf"^\*\*{kind} ([A-Z]\d+)\.\*\*\s+(.+?)(?=\n\s*\n|\Z)",
            _text(script),
            re.MULTILINE | re.DOTALL,
        )
    ]
    return sorted(found, key=lambda c: (c.number[0], int(c.number[1:])))


def deviations(root: Path | None = None) -> list[Callout]:
    """Every place where we deviate from the paper."""
    return callouts("Deviation", root)


def contents(folder: str = "", root: Path | None = None) -> str:
    """Map of the notebooks: a Markdown table of titles and the questions below them.

    Args:
        folder: what the links need in front, "notebooks/" outside that folder.
    """
    rows = []
    for script in find(root=root):
        link = f"[{script.stem}]({folder}{script.stem}.ipynb)"
        rows.append(f"| {link} | {' | '.join(headline(script))} |")
    return "\n".join(["| notebook | about | question |", "|---|---|---|", *rows])


def refresh(readme: Path, mark: str, text: str) -> bool:
    """Put `text` between `<!-- mark -->` and `<!-- /mark -->`; whether that changed the file."""
    old = readme.read_text(encoding="utf-8")
    start, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    if old.count(start) != 1 or old.count(end) != 1:
        raise ValueError(f"{readme} must hold {start} and {end} once each")
    new = old[: old.index(start)] + f"{start}\n{text}\n" + old[old.index(end) :]
    if new != old:
        write_atomically(readme, new.encode())
    return new != old


def _text(script: Path) -> str:
    return "\n\n".join(c.source for c in read(script).cells if c.cell_type == "markdown")
