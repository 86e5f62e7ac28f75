"""What Sphinx reads, in one folder: the twins as they are, our pages, and what is generated."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from urgates.lab.book import claims
from urgates.lab.book.site import api, numbers
from urgates.lab.places import find

PAGES = Path(__file__).parent / "pages"
PARTS = {
    "00": "",
    r"2\d": "Paper 1, §2: gates",
    r"[34]\d": "Paper 1, §3 and 4: results",
    "[A-E]": "Paper 1, appendices",
    "F": "Paper 2",
    "": "Beyond the papers",
}
"""The book's parts by how their notebooks begin; the first that fits."""
_MARK = re.compile(r"^<!-- (\w+) -->$", re.MULTILINE)
_PICTURE = re.compile(r"!\[[^]]*\]\((figures/[^)]+)\)")


def gather(root: Path, folder: Path) -> None:
    """Fill a folder; ValueError for a notebook without a twin."""
    (folder / "notebooks").mkdir(parents=True)
    for script in find(root=root):
        twin = script.with_suffix(".ipynb")
        if not twin.exists():
            raise ValueError(f"{twin.name} must be there: run `urgates publish {script.stem}`")
        shutil.copy(twin, folder / "notebooks")
    generated = _generated(root)
    for page in sorted(PAGES.rglob("*.md")):
        text = _MARK.sub(lambda mark: generated[mark[1]](), page.read_text(encoding="utf-8"))
        _write(folder / page.relative_to(PAGES), text)
        for picture in _PICTURE.findall(text):
            place = folder / picture
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / picture, place)
    for module, names in api.reference().items():
        _write(folder / f"api/{module}.md", api.page(module, names))


def _generated(root: Path) -> dict[str, Callable[[], str]]:
    """What stands in our pages in place of a line `<!-- name -->`."""
    return {
        "book": lambda: book([script.stem for script in find(root=root)]),
        "summary": lambda: claims.summary(root / "figures"),
        "numbers": lambda: numbers.numbers(root),
        "claims": lambda: numbers.claims(root),
        "modules": lambda: api.contents(),
    }


def book(stems: list[str]) -> str:
    """The notebooks for the side bar, part by part: Sphinx's toctrees."""
    parts: dict[str, list[str]] = {title: [] for title in PARTS.values()}
    for stem in stems:
        part = next(title for start, title in PARTS.items() if re.match(start, stem))
        parts[part].append(f"notebooks/{stem}")
    return "\n\n".join(_toctree(title, pages) for title, pages in parts.items() if pages)


def page_of(uri: str, folder: str, pages: Collection[str]) -> str | None:
    """The page that a link to a notebook's file means: its name, or None if it is no such link.

    Args:
        uri: as in the text, relative to `folder`, the name of the folder of the page it is on.
        pages: names of all pages.
    """
    found = re.fullmatch(r"([\w/]+)\.ipynb", uri)
    name = f"{folder}/{found[1]}".lstrip("/") if found else ""
    return name if name in pages else None


def _toctree(title: str, pages: list[str]) -> str:
    caption = [f":caption: {title}"] * bool(title)
    return "\n".join(["```{toctree}", ":hidden:", *caption, "", *pages, "```"])


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
