"""Building the site: Sphinx over gathered sources, MathJax beside the pages, the inspection."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from urgates.lab.book.site import inspection, sources
from urgates.lab.places import find

_HERE = Path(__file__).parent
_NEEDED = {"sphinx": "sphinx", "myst_nb": "myst-nb", "sphinx_book_theme": "sphinx-book-theme"}
_MATHJAX = "sphinx-mathjax-offline"  # a package of files alone, so that none comes from a network
_FONTS_AND_MACROS = (
    *("tex-chtml.js", "input/tex/extensions/", "output/chtml/fonts/", "ui/", "a11y/"),
    *("sre/sre", "sre/mathmaps/base.json", "sre/mathmaps/en.json"),
)


@dataclass(frozen=True)
class Built:
    """A site: where it is, its pages, what is wrong with it, seconds that it took."""

    folder: Path
    pages: tuple[inspection.Page, ...]
    problems: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        files = [path.stat().st_size for path in self.folder.rglob("*") if path.is_file()]
        largest = max(self.pages, key=lambda page: page.size)
        return (
            f"{len(self.pages)} pages, {sum(files) / 1e6:.0f} MB in {self.folder} after "
            f"{self.seconds:.0f} s; the largest is {largest.name}, {largest.size / 1e6:.2f} MB "
            "with its pictures"
        )


def missing() -> list[str]:
    """The packages of the extra [site] that are not installed."""
    absent = [package for module, package in _NEEDED.items() if not util.find_spec(module)]
    return absent + [_MATHJAX] * (not list(metadata.distributions(name=_MATHJAX)))


def build(out: Path, root: Path) -> Built:
    """Make the site of a checkout in a folder: a new or empty one, or that of an earlier site.

    Raises:
        ValueError: for any other folder, a notebook without its twin, or where packages are
            missing; what is wrong with the pages is in what it returns.
    """
    if absent := missing():
        raise ValueError(f"this command needs {', '.join(absent)}: pip install 'urgates[site]'")
    find(root=root)  # or there is no book
    _refuse_others(out)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        read, made = Path(scratch, "sources"), Path(scratch, "html")
        sources.gather(root, read)
        warned = _sphinx(read, made)
        _add_mathjax(made / "_static/mathjax")
        for path in made.rglob("*.map"):  # of the theme's own sources
            path.unlink()
        if out.exists():
            shutil.rmtree(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, out)
    pages, problems = inspection.inspect(out)
    return Built(out, tuple(pages), (*warned, *problems), time.monotonic() - start)


def _refuse_others(out: Path) -> None:
    ours = not out.exists() or (out / ".buildinfo").exists()
    if not (ours or (out.is_dir() and not any(out.iterdir()))):
        raise ValueError(f"out must be a new or empty folder, or an earlier site, got {str(out)!r}")


def _sphinx(read: Path, made: Path) -> list[str]:
    """Run Sphinx; its warnings, one a line."""
    from sphinx.cmd.build import build_main

    log = made.with_name("warnings.txt")
    arguments = ["-q", "-b", "html", "-c", _HERE, "-d", made.with_name("doctrees"), "-w", log]
    code = build_main([str(word) for word in (*arguments, read, made)])
    if code:
        raise ValueError(f"Sphinx must end with 0, got {code}; what it said stands above")
    return log.read_text(encoding="utf-8").splitlines()


def _add_mathjax(place: Path) -> None:
    """Copy what a page may ask of MathJax: the program, its fonts, macros, menu and speech."""
    for file in metadata.files(_MATHJAX):
        name = file.as_posix().partition("/static/mathjax/")[2]
        if name.startswith(_FONTS_AND_MACROS):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.locate(), place / name)
