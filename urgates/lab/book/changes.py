"""What a change of the book moves: verdicts, the numbers behind them, and what figures show.

The working tree is compared with a revision of git: `figures/*/claims.json`, and the numbers that
each figure draws, `figures/*/*.csv`.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from urgates.checks import refusal

_NUMBER = re.compile(r"(?<![\w.])[-+−]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?")


def moved(revision: str, root: Path) -> str:
    """What has moved since a revision, a line each, and how much in all.

    ValueError if git knows no such revision, or there is no git.
    """
    names = _changed(revision, root)
    pairs = {name: (_then(revision, name, root), _now(root / name)) for name in names}
    verdicts, numbers = [], []
    for name, pair in pairs.items():
        if Path(name).name == "claims.json":
            then, now = (json.loads(text) if text else {} for text in pair)
            for claim in sorted({*then, *now}):
                verdicts += _verdict(claim, then.get(claim), now.get(claim))
                numbers += _ours(claim, then.get(claim), now.get(claim))
    figures = [
        f"{name.removeprefix('figures/')}: {line}"
        for name, pair in pairs.items()
        if name.endswith(".csv")
        for line in _figure(*pair)
    ]
    found = {"verdicts": verdicts, "numbers behind verdicts": numbers, "figures": figures}
    parts = ["\n".join([title, *lines]) for title, lines in found.items() if lines]
    count = ", ".join(f"{len(lines)} {title}" for title, lines in found.items())
    return "\n\n".join([*parts, f"since {revision}: {count}"])


def _git(root: Path, *words: str) -> str:
    git = ["git", "-C", str(root), *words]
    done = subprocess.run(git, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise OSError(done.stderr.strip().split("\n")[-1])
    return done.stdout


def _changed(revision: str, root: Path) -> list[str]:
    """The files of verdicts and of figures that are not as they were."""
    try:
        _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except OSError as error:
        raise refusal("diff", "be a revision that git knows", repr(revision), str(error)) from None
    named = _git(root, "diff", "--name-only", "--no-renames", revision, "--", "figures")
    new = _git(root, "ls-files", "--others", "--exclude-standard", "--", "figures")
    names = sorted({*named.splitlines(), *new.splitlines()})
    return [
        name for name in names if re.fullmatch(r"figures/[^/]+/(claims\.json|[^/]+\.csv)", name)
    ]


def _then(revision: str, name: str, root: Path) -> str:
    known = _git(root, "ls-tree", "--name-only", revision, "--", name)
    return _git(root, "show", f"{revision}:{name}") if known else ""


def _now(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _verdict(claim: str, then: Mapping | None, now: Mapping | None) -> Iterator[str]:
    words = [entry["verdict"] if entry else "not attempted" for entry in (then, now)]
    if words[0] != words[1]:
        yield f"{claim} ({(now or then)['notebook']}): {words[0]} → {words[1]}"


def _ours(claim: str, then: Mapping | None, now: Mapping | None) -> Iterator[str]:
    """The numbers that a claim rests on, where both have some and they differ."""
    if then is None or now is None or then["ours"] == now["ours"]:
        return
    texts = [_NUMBER.split(entry["ours"]) for entry in (then, now)]
    found = [_NUMBER.findall(entry["ours"]) for entry in (then, now)]
    said = f"{then['ours']} → {now['ours']}"
    if texts[0] == texts[1]:
        pairs = [(a, b) for a, b in zip(*found, strict=True) if a != b]
        said = f"{now['ours']}; " + ", ".join(f"{a} → {b} ({_by(a, b)})" for a, b in pairs)
    yield f"{claim} ({now['notebook']}): {said}"


def _by(a: str | float, b: str | float) -> str:
    """From a to b in per cent of a, or the difference where a is zero; "–" without a number."""
    a, b = (float(str(x).replace(",", "").replace("−", "-")) for x in (a, b))
    if np.isnan(a + b):
        return "–"
    return f"{100 * (b - a) / abs(a):+.2g} %" if a else f"{b - a:+.3g}"


def _figure(then: str, now: str) -> Iterator[str]:
    """How the numbers of a figure have moved, a line for each column that has."""
    if not (then and now):
        yield "gone" if then else "new"
        return
    old, new = (pd.read_csv(io.StringIO(text)) for text in (then, now))
    numeric = [c for c in old.columns.intersection(new.columns) if _numbers(old[c], new[c])]
    if list(old) != list(new) or not old.drop(columns=numeric).equals(new.drop(columns=numeric)):
        yield f"other rows: {len(old)} of {', '.join(old)} → {len(new)} of {', '.join(new)}"
        return
    for column in numeric:
        a, b = old[column].to_numpy(float), new[column].to_numpy(float)
        moved = ~((a == b) | (np.isnan(a) & np.isnan(b)))
        if moved.any():
            k = int(np.argmax(np.where(moved, np.nan_to_num(abs(b - a), nan=np.inf), -1)))
            yield (
                f"{column} moved in {moved.sum()} of {len(a)} rows, most in row {k + 1}: "
                f"{a[k]:.6g} → {b[k]:.6g} ({_by(a[k], b[k])})"
            )


def _numbers(*columns: pd.Series) -> bool:
    """Whether columns hold numbers, and as many."""
    kinds = all(pd.api.types.is_numeric_dtype(c) and c.dtype != bool for c in columns)
    return kinds and len({len(column) for column in columns}) == 1
