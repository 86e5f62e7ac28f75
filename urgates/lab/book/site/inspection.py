"""What a reader must not meet: dead links, requests to other hosts, pages that are too heavy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LIMIT_BYTES = 2_000_000  # of a page with its pictures
_LOADED = {"script", "img", "iframe", "source", "video", "audio", "embed", "object", "input"}
_ELSEWHERE = re.compile(r"(?:https?:)?//", re.IGNORECASE)
_CSS = re.compile(r"url\(\s*['\"]?((?:https?:)?//[^'\")]+)|@import\s+['\"]((?:https?:)?//[^'\"]+)")


@dataclass
class Page:
    """A page of the site: what it links to, what it loads, and which places it has."""

    name: str
    links: set[str] = field(default_factory=set)
    loads: set[str] = field(default_factory=set)
    pictures: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)
    size: int = 0
    """Bytes, with its pictures."""


class _Reader(HTMLParser):
    def __init__(self, page: Page):
        super().__init__()
        self.page = page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.page.places |= {given[name] for name in ("id", "name") if name in given}
        target = given.get("src") or given.get("data") or given.get("href") or ""
        if tag == "a" and "href" in given:
            self.page.links.add(given["href"])
        elif target and (tag in _LOADED or tag == "link"):
            self.page.loads.add(target)
        if tag == "img":
            self.page.pictures.add(target)


def read(site: Path) -> dict[str, Page]:
    """The pages of a site by name, "notebooks/23_refine_gate.html"."""
    pages = {}
    for path in sorted(site.rglob("*.html")):
        if "_static" in path.relative_to(site).parts:
            continue
        page, text = Page(path.relative_to(site).as_posix()), path.read_text(encoding="utf-8")
        _Reader(page).feed(text)
        files = {_inside(site, page.name, name) for name in page.pictures}
        page.size = len(text.encode()) + sum(f.stat().st_size for f in files if f and f.is_file())
        pages[page.name] = page
    return pages


def inspect(site: Path) -> tuple[list[Page], list[str]]:
    """All pages, and what is wrong with them and with their styles, in sentences."""
    pages = read(site)
    problems = [problem for page in pages.values() for problem in _wrong(site, page, pages)]
    for path in sorted(site.rglob("*.css")):
        for found in _CSS.findall(path.read_text(encoding="utf-8")):
            problems.append(f"{path.relative_to(site)} loads {found[0] or found[1]}")
    return list(pages.values()), problems


def _wrong(site: Path, page: Page, pages: dict[str, Page]) -> Iterator[str]:
    for target in sorted(page.loads):
        if _ELSEWHERE.match(target):
            yield f"{page.name} loads {target}"
    for target in sorted(page.links | page.loads):
        if not _leads(site, page, target, pages):
            yield f"{page.name} has a dead link to {target}"
    if page.size > LIMIT_BYTES:
        yield f"{page.name} has {page.size:,} bytes, more than {LIMIT_BYTES:,}"


def _leads(site: Path, page: Page, target: str, pages: dict[str, Page]) -> bool:
    """Whether a link leads to a file of the site, and to a place on it; others are not followed."""
    if urlsplit(target).scheme or _ELSEWHERE.match(target):
        return True
    file = _inside(site, page.name, target)
    if file is None or not file.is_file():
        return False
    place, found = urlsplit(target).fragment, pages.get(file.relative_to(site).as_posix())
    return not place or found is None or place in found.places or unquote(place) in found.places


def _inside(site: Path, name: str, target: str) -> Path | None:
    """The file a relative link leads to; None if it is none, or leaves the site."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return None
    top = site.resolve()
    path = ((top / name).parent / unquote(parts.path)).resolve() if parts.path else top / name
    path = path / "index.html" if path.is_dir() else path
    return site / path.relative_to(top) if path.is_relative_to(top) else None
