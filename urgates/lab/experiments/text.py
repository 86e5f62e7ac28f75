"""Language modelling (§3.3, D.3): the rows of Table 6a, what the paper prints, how runs compare.

PTB is the laptop's text, WikiText-103 the paper's; their perplexities cannot be compared.
A *row* is one of Table 6a: a gate, and for chrono its T_max where that is not H.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from urgates.gates import gate as find_gate
from urgates.lab.experiments.rows import ADAM, CHRONO, OPEN, SMALL, row
from urgates.lab.experiments.seeds import above, all_of
from urgates.lab.protocol import Protocol
from urgates.lab.store.runs import Runs, smoothed
from urgates.lab.tasks.corpus import Corpus
from urgates.lab.tasks.ngrams import KneserNey, unigram_perplexity

_ORDER = (("-", "C", "OM", "U", "UR"), "Table 6a")
_TEXT = (
    ADAM
    | CHRONO
    | OPEN
    | {
        "learner": ("streamed", "D.3: states are carried from one segment to the next"),
        "seeds": 3,
        "gates": _ORDER,
    }
)
_WIKITEXT = _TEXT | {
    "task_options": ({"length": 128}, "D.3"),
    "hidden": (3072, "D.3"),
    "batch": (128, "D.3"),
    "steps": (500_000, "Fig. 6b, axis"),
    "lr": (1e-3, "D.3"),
    "clip": (0.1, "D.3"),
    "downsize": (32, "D.3"),
    "seeds": (1, "unstated"),
    "log_every": 100,
    "eval_every": 5_000,
    "learner_options": (
        {"layers": 1, "embedding": 512, "tied": True, "dropout": 0.3, "layer_norm": False},
        "D.3 searches layers 1 or 2, dropout 0 to .3, layer norm, tied; the choice, E: ours",
    ),
}
_PTB = _TEXT | {
    "task_options": {"length": 64},
    "hidden": 128,
    "batch": 8,
    "steps": (2_700, "our choice: the text read one and a half times"),
    "lr": (5e-3, "our choice: of 2e-3 and 5e-3 the better for the plain LSTM in 800 steps"),
    "clip": (0.25, "our choice: of .25 and 1 the better for the plain LSTM in 800 steps"),
    "downsize": (2, "our choice: at 128 units 64 of a master gate, the paper's 3,072 / 32 = 96"),
    "log_every": 50,
    "eval_every": 900,
    "learner_options": {"layers": 1, "embedding": 64, "tied": True},
}
_DESCRIPTIONS = SMALL | {
    "task_options": {"dataset": "descriptions", "length": 16},
    "gates": _ORDER,
    "hidden": 32,
    "batch": 4,
    "steps": 60,
    "lr": 1e-2,
    "downsize": 8,
    "log_every": 10,
    "eval_every": 20,
    "learner": "streamed",
    "learner_options": {"layers": 1, "embedding": 16, "tied": True},
}
_TUNED = {"gates": (("C",), "Table 6a")}

ROWS = tuple(
    row(f"{task}{variant}", preset, family | more)
    for task, preset, family in (
        ("ptb", "smoke", _DESCRIPTIONS),
        ("ptb", "laptop", _PTB),
        ("wikitext103", "paper", _WIKITEXT),
    )
    for variant, more in (
        ("", {}),
        ("-tmax8", _TUNED | {"t_max": (8, "D.3")}),
        ("-tmax11", _TUNED | {"t_max": (11, "D.3")}),
    )
)

TABLE_6A = pd.DataFrame(
    {
        "valid.": [34.3, 35.0, 34.3, 34.6, 34.0, 33.8, 33.6],
        "test": [35.8, 36.4, 36.1, 35.8, 34.7, 34.9, 34.6],
    },
    index=["-", "C", "C, Tmax 8", "C, Tmax 11", "OM", "U", "UR"],
)
"""Perplexities on WikiText-103, by gate."""

RAE_LSTM = pd.Series({"valid.": 36.0, "test": 36.4})
"""The LSTM of 2,048 units of Rae et al. (2018), which D.3 starts from."""

SPLITS = ("valid", "test")
SHORT, TOO_LONG = 100_000, 10_000_000  # tokens; discounts are estimates, arrays take memory


def row_name(protocol: Protocol, gate: str) -> str:
    """What Table 6a calls it: "UR", "C", "C, Tmax 8"."""
    return gate if protocol.t_max is None else f"{gate}, Tmax {protocol.t_max}"


def perplexities(groups: Iterable[Runs]) -> pd.DataFrame:
    """One row per finished run: row, seed, `valid` (the best) and `test` (of the same weights)."""
    columns = {"best_valid_perplexity": "valid", "test_perplexity": "test"}
    parts = []
    for runs in groups:
        found = runs.info.reindex(columns=["seed", *columns]).rename(columns=columns)
        found.insert(0, "row", [row_name(runs.protocol, gate) for gate in runs.info.gate])
        parts.append(found)
    table = pd.concat(parts, ignore_index=True).astype(dict.fromkeys(SPLITS, float))
    return table.dropna().reset_index(drop=True)


def spread(table: pd.DataFrame) -> pd.DataFrame:
    """By row, in Table 6a's order: median, min and max over the seeds, by split; and how many.

    Args:
        table: rows of `perplexities`.
    """
    by_row = table.groupby("row")
    found = by_row[[*SPLITS]].agg(["median", "min", "max"])
    found["seeds", ""] = by_row.seed.nunique()
    return found.loc[[name for name in TABLE_6A.index if name in found.index]]


def lower(table: pd.DataFrame, better: str, worse: str) -> bool | None:
    """Whether all seeds of a row lie below all of another's, on both splits; None if ranges meet.

    Args:
        table: rows of `perplexities`.
    """
    of = {name: table[table.row == name] for name in (better, worse)}
    return all_of(*(above(of[worse][split], of[better][split]) for split in SPLITS))


def shown(medians: Mapping[str, float]) -> str:
    """Perplexities by row in words: "LSTM 120.1, UR 118.3"."""
    return ", ".join(f"{name.replace('-', 'LSTM')} {p:.1f}" for name, p in medians.items())


def curves(groups: Iterable[Runs], points: int = 50) -> pd.DataFrame:
    """Learning curves, at most so many points a run: row, seed, step, loss [nats per word], gap.

    Both are means over equal stretches of training; `gap` is the loss less that of the plain LSTM
    of the same seed at the same steps, which has read the same words.
    """
    parts = []
    for runs in groups:
        names = [row_name(runs.protocol, gate) for gate in runs.frame.gate]
        stretch = max(runs.protocol.log_every, runs.protocol.steps // points)
        parts.append(smoothed(runs.frame.assign(gate=names), "loss", stretch))
    found = pd.concat(parts, ignore_index=True).rename(columns={"gate": "row"})
    found = found.astype({"seed": int, "step": float, "loss": float})  # where nothing is stored
    plain = found[found.row == "-"].set_index(["seed", "step"]).loss.rename("plain")
    found = found.join(plain, on=["seed", "step"])
    return found.assign(gap=found.loss - found.plain).drop(columns="plain")


def repeats(text: Corpus, distances: Sequence[int], common: int | None = None) -> pd.DataFrame:
    """How many times likelier than chance the same word stands d words on: distance, ratio.

    Counted in the training text over all but the `common` most frequent words (2 % of the
    vocabulary, if not given), which stand anywhere.  Chance is that of words in random order, so
    1 says that words so far apart know nothing of each other's subject.
    """
    words, n = text.streams["train"], len(text.streams["train"])
    common = len(text.words) // 50 if common is None else common
    counts = np.bincount(words, minlength=len(text.words))[common:]  # ranked: the rarest are last
    chance = ((counts / n) ** 2).sum()
    ratio = [((words[:-d] == words[d:]) & (words[d:] >= common)).mean() / chance for d in distances]
    return pd.DataFrame({"distance": list(distances), "ratio": ratio})


def counting(text: Corpus) -> pd.DataFrame:
    """What counting achieves: columns row, valid, test.

    5-grams where the text is not too long for arrays of them; 3-grams where it is short.
    """
    n = len(text.streams["train"])
    models = {"unigram": partial(unigram_perplexity, text)}
    if n < TOO_LONG:
        order = 5 if n > SHORT else 3
        models[f"{order}-gram"] = KneserNey(text, order).perplexity
    rows = ({"row": name, **{s: model(s) for s in SPLITS}} for name, model in models.items())
    return pd.DataFrame(rows)


def training_flops(protocol: Protocol, gate: str, words: int) -> float:
    """Floating-point operations of training per token: the matrix products, there and back.

    Every weight of a product takes two operations forward, and four backward (for the gradients
    of its inputs and of itself).  Looking up a word takes none.
    """
    options, H = protocol.learner_options, protocol.hidden
    E, tied = options["embedding"], options.get("tied", True)
    rows = sum(head.width(H, protocol.downsize) for head in find_gate(gate).layout())
    layers = rows * sum(width + H for width in [E, *[H] * (options["layers"] - 1)])
    return 6.0 * (layers + (H * E * (H != E) + E * words if tied else H * words))
