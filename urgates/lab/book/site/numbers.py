"""The index by the papers' numbers: where each equation, figure, table and claim is in the book."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from urgates.lab.book.claims import MISSING, decided, evidence, line
from urgates.lab.book.ledger import CLAIMS
from urgates.lab.book.notebooks import coverage

_TITLES = {
    "Eq.": "Equations",
    "Prop.": "Propositions",
    "Table": "Tables",
    "Fig.": "Figures",
    "Listing": "Listings",
}
_MENTION = re.compile(r"(Eq|Prop|Table|Fig)s?\.? (\d+)((?:, \d+)*)")


def mentioned(section: str) -> list[str]:
    """The numbered items of the first paper in a claim's place: "§3.4, Figs. 7, 8" -> Fig. 7, 8."""
    if section.startswith("paper 2"):
        return []
    found = []
    for kind, first, more in _MENTION.findall(section):
        kind += "." * (f"{kind}." in _TITLES)
        found += [f"{kind} {n}" for n in [first, *re.findall(r"\d+", more)]]
    return found


def items(root: Path | None = None) -> dict[str, tuple[list[str], list[str]]]:
    """Notebooks and claims by numbered item of the first paper, in the order of the numbers."""
    places = coverage(root)
    claims: dict[str, list[str]] = {}
    for name, claim in CLAIMS.items():
        for item in mentioned(claim.section):
            claims.setdefault(item, []).append(name)
    order = list(_TITLES)
    known = sorted({*places, *claims}, key=lambda i: (order.index(i.split()[0]), int(i.split()[1])))
    return {item: (places.get(item, []), claims.get(item, [])) for item in known}


def numbers(root: Path | None = None) -> str:
    """A table for each kind of item, Markdown: number, pages, claims."""
    found, parts = items(root), []
    for kind, title in _TITLES.items():
        rows = [
            line(f"[{item}]{{#{anchor(item)}}}", _pages(pages), _claims(claims))
            for item, (pages, claims) in found.items()
            if item.startswith(kind)
        ]
        parts += [f"## {title}", "\n".join(["| in the paper | pages | claims |", "|---" * 3 + "|"])]
        parts[-1] += "\n" + "\n".join(rows)
    return "\n\n".join(parts)


def claims(root: Path) -> str:
    """Every claim by its number, Markdown: a table for each paper, with verdicts if decided."""
    found = decided(root / "figures")
    parts = []
    for letter, title in (("G", "UR gates"), ("F", "The fast gate")):
        head = [line("claim", "place", "sentence", "ours", "verdict"), "|---" * 5 + "|"]
        rows = [_row(name, found.get(name)) for name in CLAIMS if name.startswith(letter)]
        parts += [f"## {title}", "\n".join(head + rows)]
    return "\n\n".join(parts)


def _row(name: str, entry: Mapping | None) -> str:
    claim = CLAIMS[name]
    cells = [f"[{name}]{{#{anchor(name)}}}", claim.section, claim.sentence]
    if entry is None:
        return line(*cells, "–", MISSING)
    verdict, where = f"[{entry['verdict']}](notebooks/{entry['notebook']}.ipynb)", evidence(entry)
    return line(*cells, entry["ours"], verdict if where == "exact" else f"{verdict}: {where}")


def anchor(name: str) -> str:
    """The id of an item's or a claim's row: "Eq. 9" -> "eq-9", "G32-UR" -> "g32-ur"."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _pages(names: list[str]) -> str:
    return ", ".join(f"[{name.split('_')[0]}](notebooks/{name}.ipynb)" for name in names) or "–"


def _claims(names: list[str]) -> str:
    return ", ".join(f"[{name}](claims.md#{anchor(name)})" for name in names) or "–"
