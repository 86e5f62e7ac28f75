"""What a few seeds can tell: predicates of claims that answer yes, no, or that they cannot tell.

A gate is better than another if all its seeds are; where ranges overlap, nobody knows.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd


def above(upper: Iterable[float], lower: Iterable[float]) -> bool | None:
    """Whether all numbers of one lie above all of the other; None where their ranges overlap."""
    upper, lower = np.asarray(list(upper), float), np.asarray(list(lower), float)
    if not (upper.size and lower.size) or np.isnan([*upper, *lower]).any():
        return None
    return True if upper.min() > lower.max() else False if upper.max() < lower.min() else None


def all_of(*parts: bool | None) -> bool | None:
    """ "and" over predicates that may not be able to tell."""
    return False if False in parts else None if None in parts or not parts else True


def most(parts: Iterable[bool | None]) -> bool | None:
    """True if more than half are true, False if more than half are false: "generally"."""
    parts = list(parts)
    for word in (True, False):
        if 2 * parts.count(word) > len(parts):
            return word
    return None


def below(values: Iterable[float], level: float) -> bool | None:
    """Whether all numbers are below a level; False if none is, None if only some are."""
    found = {bool(value < level) for value in values}
    return found.pop() if len(found) == 1 else None


def in_words(values: Iterable[float], digits: str = ".3f") -> str:
    """Median and range of the numbers that there are, "0.512 (0.498–0.530)"; "–" without any."""
    found = pd.Series(list(values), dtype=float).dropna()
    if found.empty:
        return "–"
    middle, low, high = (format(x, digits) for x in (found.median(), found.min(), found.max()))
    return f"{middle} ({low}–{high})"


def rank_correlation(pairs: pd.DataFrame) -> float:
    """Spearman's, of two columns by gate; NaN below three that have both."""
    both = pairs.dropna()
    if len(both) < 3 or both.nunique().min() < 2:
        return float("nan")
    return float(both.rank().corr().iloc[0, 1])


def leads(values: Mapping[str, Iterable[float]], gate: str) -> bool | None:
    """Whether a gate's seeds lie above those of every other; False if another lies above it."""
    rest = [above(values.get(gate, ()), other) for g, other in values.items() if g != gate]
    return all_of(*rest)


def trails(values: Mapping[str, Iterable[float]], gate: str) -> bool | None:
    """Whether a gate's seeds lie below those of every other; False if another lies below it."""
    rest = [above(other, values.get(gate, ())) for g, other in values.items() if g != gate]
    return all_of(*rest)
