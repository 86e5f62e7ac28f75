"""Publishing: executed in a copy of the book, put in its place when all is well.

The copy, `runs/publish/`, belongs to one publication alone: whatever else is executed or trained
meanwhile writes elsewhere.  It is filled first; then a mark is set, the point of no return, and
twins and figures are copied from it, however often it takes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from urgates.lab.book.figures import VOLATILE
from urgates.lab.book.notebooks import blemishes
from urgates.lab.places import LANDING
from urgates.lab.store.files import locked, owned, read_json, write_atomically, write_json
from urgates.lab.store.stored import read_record


@contextmanager
def staged(root: Path) -> Iterator[Path]:
    """A fresh copy of a checkout's book, nobody else's; RuntimeError if another one publishes."""
    copy = root / LANDING.parent
    copy.parent.mkdir(exist_ok=True)
    with locked(copy.with_name("publish.lock"), "publishing"):
        finish(root)
        if copy.exists():
            shutil.rmtree(owned(copy, root / "runs"))
        (copy / "urgates").mkdir(parents=True)  # makes it a checkout, see places.py
        shutil.copytree(root / "notebooks", copy / "notebooks")
        if (root / "figures").exists():
            shutil.copytree(root / "figures", copy / "figures")
        yield copy


def land(root: Path, names: Sequence[str]) -> None:
    """Put these notebooks of the copy in their places, all of them even if it is interrupted."""
    write_json(root / LANDING, {"notebooks": list(names)})
    finish(root)


def finish(root: Path) -> None:
    """Go on with what `land` began, if it was interrupted; RuntimeError if another one writes."""
    if not (root / LANDING).exists():
        return
    copy, names = root / LANDING.parent, read_json(root / LANDING, {"notebooks": list})
    for name in names["notebooks"]:
        figures = copy / "figures" / name
        files = [copy / f"notebooks/{name}.ipynb"]
        files += sorted(path for path in figures.rglob("*") if path.is_file())
        for file in files:
            place, data = root / file.relative_to(copy), file.read_bytes()
            if not place.exists() or place.read_bytes() != data:
                place.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(place, data)
        _drop_others({file.name for file in figure_files(figures)}, root / "figures" / name)
        for file in files:
            place = root / file.relative_to(copy)
            if place.read_bytes() != file.read_bytes():
                raise RuntimeError(f"{place} is not what was executed: publish {name} again")
    (root / LANDING).unlink()


def publish(notebook: NotebookNode, script: Path, made: Path, kept: Path) -> bool:
    """Put a stamped notebook in its place, and the figure files of `made` into `kept`.

    Returns:
        Whether any file was written or removed; none is if only the stamps would change.
    Raises:
        ValueError: if the notebook must not be committed, with what is wrong.
    """
    if found := blemishes(notebook):
        raise ValueError(f"{script.stem} {'; '.join(found)}")
    twin = script.with_suffix(".ipynb")
    old = nbformat.read(twin, as_version=4) if twin.exists() else None
    changed = old is None or _essence(old) != _essence(notebook)
    if changed:
        write_atomically(twin, (nbformat.writes(notebook) + "\n").encode())
    fresh = {file.name for file in figure_files(made)}
    changed |= any([_replace(made / name, kept / name) for name in fresh])
    return _drop_others(fresh, kept) or changed


def _drop_others(names: set[str], kept: Path) -> bool:
    """Remove the figure files that are not among these; whether there were any."""
    others = [file for file in figure_files(kept) if file.name not in names]
    for file in others:
        file.unlink()
    return bool(others)


def adopt_runs(made: Path, kept: Path) -> None:
    """Take runs, tables and models over, but no unfinished run in place of a finished one.

    Raises ValueError for a run whose files are not as it left them.
    """
    for path in sorted(made.glob("*.json")):
        record, old = read_record(path), kept / path.name
        model = f"models/{path.stem}.safetensors"
        if record["status"] == "partial":
            if old.exists() and read_record(old)["status"] != "partial":
                continue
        elif (made / model).exists():
            _replace(made / model, kept / model)
        for file in (path.with_suffix(".csv"), path):
            _replace(file, kept / file.name)
    for table in sorted(made.glob("*.csv")):
        if not table.with_suffix(".json").exists():  # a stored table, not the curve of a run
            _replace(table, kept / table.name)


def figure_files(place: Path) -> list[Path]:
    """What a notebook leaves beside its runs: pictures, their numbers, its claims."""
    return sorted(file for pattern in ("*.png", "*.csv", "*.json") for file in place.glob(pattern))


def _replace(source: Path, target: Path) -> bool:
    """Copy a file unless the target says the same, stamps aside; whether it was copied."""
    new = source.read_bytes()
    old = target.read_bytes() if target.exists() else b""
    if new == old or (target.suffix == ".json" and old and _same_json(old, new)):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, new)
    return True


def _same_json(old: bytes, new: bytes) -> bool:
    return _lasting(json.loads(old)) == _lasting(json.loads(new))


def _lasting(value):
    """`value` without the keys that tell one execution from another."""
    if not isinstance(value, dict):
        return value
    return {key: _lasting(part) for key, part in value.items() if key not in VOLATILE}


def _essence(notebook: NotebookNode) -> dict:
    """All of a notebook that another execution must repeat."""
    essence = _lasting(nbformat.from_dict(notebook))
    for cell in essence["cells"]:
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            cell["outputs"] = []
        if cell["cell_type"] == "code":
            cell["outputs"] = _said(cell["outputs"])
    return essence


def _said(outputs: list) -> list:
    """Outputs without what chance decides: addresses, and where a stream was cut into pieces."""
    said: list = []
    for output in outputs:
        if plain := output.get("data", {}).get("text/plain"):
            output["data"]["text/plain"] = re.sub(r" at 0x[0-9a-f]+", "", plain)
        if said and output["output_type"] == "stream" == said[-1]["output_type"]:
            if output["name"] == said[-1]["name"]:
                said[-1]["text"] += output["text"]
                continue
        said.append(output)
    return said
