"""What is generated below a notebook's title: links to its neighbours, and what it has decided.

`urgates links` writes both into script and twin, and so does publishing for what it publishes;
nothing need be executed for that (`notebooks.carry_text`).
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from urgates.lab.book.claims import VERDICTS, read_claims
from urgates.lab.book.notebooks import carry_text
from urgates.lab.places import find
from urgates.lab.store.files import write_atomically

_GENERATED = ("# [← ", "# [home](", "# [Decided here](")  # how these paragraphs begin


def link(scripts: Sequence[Path] | None = None, root: Path | None = None) -> list[Path]:
    """Write links and verdicts below the titles of these notebooks, or of all, in both files.

    Returns:
        The scripts whose twins changed.
    Raises:
        ValueError: for a pair whose code differs (`carry_text`), once all scripts are written.
    """
    scripts = find(root=root) if scripts is None else scripts
    for script in scripts:
        text = linked(script)
        if text != script.read_text(encoding="utf-8"):
            write_atomically(script, text.encode())
    return [script for script in scripts if carry_text(script)]


def linked(script: Path) -> str:
    """A script's text with the links below its title, and its verdicts below its question."""
    text = script.read_text(encoding="utf-8")
    start = text.index("# # ")
    end = text.find("\n\n", start) if "\n\n" in text[start:] else len(text.rstrip("\n"))
    title, *parts = text[start:end].split("\n#\n")
    parts = [part for part in parts if not part.startswith(_GENERATED)]
    asked = sum(part.startswith("# **") for part in parts[:1])
    verdicts = [verdict for verdict in [_verdicts(script)] if verdict]
    paragraphs = [title, _links(script), *parts[:asked], *verdicts, *parts[asked:]]
    return text[:start] + "\n#\n".join(paragraphs) + text[end:]


def _links(script: Path) -> str:
    book = find(root=script.parents[1])
    place = book.index(script)
    links = []
    for step, label in ((-1, "← {}"), (0, "home"), (1, "{} →")):
        if step == 0 or 0 <= place + step < len(book):
            target = book[place + step if step else 0].stem
            links.append(f"# [{label.format(target.split('_')[0])}]({target}.ipynb)")
    return " ·\n".join(links)


def _verdicts(script: Path) -> str:
    """The committed verdicts of a notebook, a word and its claims; nothing without any."""
    found = read_claims(script.parents[1] / "figures" / script.stem / "claims.json")
    names = {
        word: [n for n, entry in found.items() if entry["verdict"] == word] for word in VERDICTS
    }
    said = "; ".join(f"**{word}** {', '.join(some)}" for word, some in names.items() if some)
    line = f"[Decided here](40_scoreboard.ipynb): {said}."
    how = {"initial_indent": "# ", "subsequent_indent": "# ", "break_on_hyphens": False}
    return textwrap.fill(line, 100, **how) if said else ""
