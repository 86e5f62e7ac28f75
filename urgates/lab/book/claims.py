"""What becomes of the papers' claims: the words for a verdict, and the scoreboard's four tables.

A notebook decides a claim of the ledger by code and leaves the verdict, with its evidence, in
`claims.json`; the scoreboard only collects what it finds there. Mathematics is confirmed or
contradicted; what was trained or timed at another size than the paper's was seen or not seen there,
which says nothing against the paper; only runs at preset `paper` can contradict it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from urgates.lab.book.ledger import CLAIMS
from urgates.lab.places import checkout
from urgates.lab.store.files import check_keys, read_json

IMPRECISE, UNTESTABLE = "imprecise", "not testable here"
MISSING = "not attempted yet"
VERDICTS = (
    *("confirmed", "contradicted", IMPRECISE),  # mathematics, text and tables
    *("reproduced", "seen", "not seen at this scale", "inconclusive", UNTESTABLE),  # training
)
HEADLINES = ("G06", "G17", "G49T", "G49", "G77", "G39", "G47", "F12")  # what README shows
SEEDS_NEEDED = 3
TABLES = {
    "Mathematics and text": ("text",),
    "The paper's own tables, rechecked": ("table",),
    "Trained, or timed": ("trained", "measured"),
    "Our own derivations": ("ours",),
}
_EVIDENCE = dict.fromkeys(("ours", "notebook", "preset", "device"), str) | {"seeds": list}


def verdict(
    kind: str, holds: bool | str | None, preset: str, seeds: Mapping[str, Iterable[int]] | None
) -> str:
    """The word for a claim.

    Args:
        kind: the claim's.
        holds: what the predicate says; None where it cannot tell (seeds overlap, runs are
            unfinished), `IMPRECISE` for a sentence that is true when put another way,
            `UNTESTABLE` where this scale cannot speak.
        preset: of the runs.
        seeds: completed seeds by gate, for every gate the claim is about; None if the claim does
            not rest on runs. Smoke runs, and fewer than three seeds of any gate, decide nothing.
    """
    if holds in (IMPRECISE, UNTESTABLE):
        return holds
    if kind not in ("trained", "measured"):
        return "inconclusive" if holds is None else "confirmed" if holds else "contradicted"
    if seeds is not None:
        if not any(seeds.values()):
            return UNTESTABLE
        if preset == "smoke" or min(len(set(done)) for done in seeds.values()) < SEEDS_NEEDED:
            return "inconclusive"
    if holds is None:
        return "inconclusive"
    if preset == "paper":
        return "reproduced" if holds else "contradicted"
    return "seen" if holds else "not seen at this scale"


def read_claims(path: Path) -> dict[str, dict]:
    """The entries of a claims.json, none without the file; ValueError names what is wrong."""
    content = read_json(path) if path.exists() else {}
    check_keys(content, dict.fromkeys(content, dict), path)
    for name, entry in content.items():
        if entry.get("verdict") not in VERDICTS:
            choices, got = ", ".join(VERDICTS), entry.get("verdict")
            raise ValueError(f"{path}: verdict of {name} must be one of {choices}, got {got!r:.40}")
    return content


def stored(figures: Path | None = None) -> dict[str, dict]:
    """What the committed notebooks found, by claim: the entries of `figures/*/claims.json`."""
    figures = figures or checkout() / "figures"
    found: dict[str, dict] = {}
    for path in sorted(figures.glob("*/claims.json")):
        for name, entry in read_claims(path).items():
            check_keys(entry, _EVIDENCE, f"{path}: {name}")
            if name in found:
                raise ValueError(f"{path} decides {name} again; so does {found[name]['notebook']}")
            found[name] = entry
    return found


def scoreboard(figures: Path | None = None) -> str:
    """The four tables and the claims not attempted yet, Markdown."""
    found = decided(figures)
    parts = [part for title in TABLES for part in (f"### {title}", _table(title, found))]
    missing = [name for name in CLAIMS if name not in found]
    lines = [f"- {name} · {CLAIMS[name].section}: {CLAIMS[name].sentence}" for name in missing]
    return "\n\n".join([*parts, "### Not attempted yet", "\n".join(lines) or "–"])


def summary(figures: Path | None = None) -> str:
    """README's part of the scoreboard, Markdown: counts by TABLES, and the HEADLINES."""
    found = decided(figures)
    lines = ["| resting on | verdicts |", "|---|---|"]
    lines += [line(title.lower(), _said(title, found)) for title in TABLES]
    missing = len(CLAIMS) - len(found)
    lines += [line(MISSING, str(missing))] * bool(missing)
    lines += ["", "| for example | ours | verdict |", "|---|---|---|"]
    for name in HEADLINES:
        claim, entry = CLAIMS[name], found.get(name)
        if entry:
            word = f"[**{entry['verdict']}**](notebooks/{entry['notebook']}.ipynb)"
            where = "" if evidence(entry) == "exact" else f" ({entry['preset']})"
            lines.append(line(f"{claim.section}: {claim.sentence}", entry["ours"], word + where))
    return "\n".join(lines)


def counts(title: str, found: Mapping[str, Mapping]) -> dict[str, int]:
    """How many claims of a table have which verdict, in the order of `VERDICTS`."""
    words = Counter(found[name]["verdict"] for name in _within(title, found))
    return {word: words[word] for word in VERDICTS if words[word]}


def decided(figures: Path | None) -> dict[str, dict]:
    """What was found, by claim; ValueError if a file decides what is no claim."""
    found = stored(figures)
    if unknown := sorted(set(found) - set(CLAIMS)):
        raise ValueError(f"claims.json files decide {unknown}, which are not among the claims")
    return {name: _plain(entry) for name, entry in found.items()}


def _within(title: str, found: Iterable[str]) -> list[str]:
    return [name for name in CLAIMS if name in found and CLAIMS[name].kind in TABLES[title]]


def _said(title: str, found: Mapping[str, Mapping]) -> str:
    return ", ".join(f"{n} {word}" for word, n in counts(title, found).items()) or "nothing yet"


def _table(title: str, found: Mapping[str, Mapping]) -> str:
    head = "| claim | paper | ours | verdict | evidence | notebook |"
    rows = []
    for name in _within(title, found):
        claim, entry = CLAIMS[name], found[name]
        number = entry["notebook"].partition("_")[0]  # a name would be the widest column
        where = f"[{number}](notebooks/{entry['notebook']}.ipynb)"
        sentence, word = f"{name} · {claim.section}: {claim.sentence}", f"**{entry['verdict']}**"
        rows.append(line(sentence, claim.paper, entry["ours"], word, evidence(entry), where))
    return "\n".join([f"{_said(title, found)}.", "", head, "|---" * 6 + "|", *rows])


def line(*cells: str) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _plain(entry: Mapping) -> dict:
    """An entry whose texts, which come from a file, fit on a line of Markdown: without HTML."""
    return {
        key: " ".join(value.split()).replace("&", "&amp;").replace("<", "&lt;")
        if isinstance(value, str)
        else value
        for key, value in entry.items()
    }


def evidence(entry: Mapping) -> str:
    """What a verdict rests on, in a few words: preset, seeds, device, scale beside the paper's."""
    if entry["preset"] in ("text", "table", "ours"):
        return "exact"
    if entry["preset"] == "measured" and entry["verdict"] == UNTESTABLE:
        return "not measured"
    parts = [entry["preset"]]
    if entry.get("seeds"):
        parts.append(f"seeds {', '.join(map(str, entry['seeds']))}")
    return " · ".join([*parts, entry["device"], *filter(None, [entry.get("scale")])])
