"""Nth farthest (Santoro et al. 2018, §4.1): can a memory relate the vectors that it has read?

Not in the paper: a test that a relational memory core is to pass where an LSTM fails.  No example
is drawn twice, so that an accuracy while training is one on examples not seen before.
"""

from collections.abc import Iterable

import pandas as pd

from urgates.lab.experiments.programs import CELLS, KEY, gathered
from urgates.lab.experiments.rows import ADAM, CHRONO, OPEN, SMALL, row
from urgates.lab.experiments.seeds import above, all_of
from urgates.lab.store.runs import Runs
from urgates.lab.tasks import Farthest

GATES = ("-", "UR")
PASSES = {"lstm": 0.40, "rmc": 0.85}
"""An LSTM is to stay below, an RMC to end above: our choice; 0.30 and 0.91 at full size."""

_SOURCE = "Santoro et al. (2018), §4.1"
_ALL = (
    ADAM
    | CHRONO
    | OPEN
    | {
        "gates": (GATES, "our choice: the plain gate and the refined"),
        "clip": (1.0, "unstated for this task; 1 as in D.1 and D.2"),
        "seeds": 3,
    }
)
_FAMILIES = {
    "smoke": SMALL
    | {
        "gates": _ALL["gates"],
        "task_options": {"length": 3, "dimension": 1},
        "batch": 16,
        "steps": 20,
        "lr": 2e-3,
        "downsize": 1,
        "log_every": 5,
    },
    "laptop": _ALL
    | {
        "task_options": {"length": 3, "dimension": 1},
        "batch": 128,
        "steps": 2_500,
        "lr": (2e-3, "our choice: the first with which an RMC left guessing"),
        "downsize": 1,
        "log_every": 100,
    },
    "paper": _ALL
    | {
        "task_options": ({"length": 8, "dimension": 16}, _SOURCE),
        "batch": (1600, _SOURCE),
        "steps": (1_000_000, "unstated; others' RMC left 0.25 after days on a GPU"),
        "lr": (1e-4, _SOURCE),
        "downsize": (32, "D"),
        "log_every": 1_000,
    },
}
_SIZES = {  # by cell and preset
    ("lstm", "smoke"): {"hidden": 16},
    ("lstm", "laptop"): {"hidden": (96, "our choice: as many units as the RMC has in all")},
    ("lstm", "paper"): {"hidden": (2048, "our choice: as many units as the RMC has in all")},
    ("rmc", "smoke"): {"hidden": 16, "learner_options": {"rmc": {"slots": 3, "heads": 1}}},
    ("rmc", "laptop"): {"hidden": 32, "learner_options": {"rmc": {"slots": 3, "heads": 1}}},
    ("rmc", "paper"): {
        "hidden": (256, f"{_SOURCE}: 2,048 units in all"),
        "learner_options": ({"rmc": {"slots": 8, "heads": 8}}, f"{_SOURCE}; heads: our choice"),
    },
}

ROWS = tuple(
    row(f"farthest{CELLS[cell]}", preset, _FAMILIES[preset] | sizes)
    for (cell, preset), sizes in _SIZES.items()
)


def guess(task: Farthest) -> float:
    """What is right without any distance: 2/V.

    Among V vectors the m-th itself is the nearest; for another n, one of the V - 1 others.
    """
    return 2 / task.length


def curves(groups: Iterable[Runs]) -> pd.DataFrame:
    """Accuracies as training went on: category, cell, gate, seed, step, accuracy."""
    columns = {"step": "step", "accuracy": "accuracy"}
    return gathered(groups, lambda runs: runs.frame, columns)


def ends(curves: pd.DataFrame) -> pd.DataFrame:
    """The last row of each run of `curves`."""
    return curves.sort_values("step", kind="stable").groupby(KEY, sort=False).tail(1)


def passed(ends: pd.DataFrame) -> bool | None:
    """Whether all RMCs end above their level, and all LSTMs below theirs; None: only some."""
    lstm, rmc = (ends.accuracy[ends.cell == cell] for cell in CELLS)
    return all_of(above(rmc, [PASSES["rmc"]]), above([PASSES["lstm"]], lstm))
