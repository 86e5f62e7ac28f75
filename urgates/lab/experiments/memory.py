"""Synthetic memory (§3.1, D.1): Copy and Adding, and what their losses come to.

Losses are shares of the best constant predictor's; a run is one (gate, learning rate, seed).
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from urgates.lab.experiments.rows import LAPTOP, OPEN, SMALL, THREE_WAYS, row
from urgates.lab.store.runs import Runs, final_loss, smoothed, solved, steps_to, stuck
from urgates.starts import WEIGHT_INITS

_SYNTHETIC = (
    LAPTOP
    | OPEN
    | {
        "hidden": (256, "D.1"),
        "lr": (1e-3, "D.1"),
        "batch": (10, "unstated; 10 as in Chandar et al. (2019), same tasks, rate and clipping"),
        "log_every": 100,
    }
)
_COPY_500 = {"task_options": ({"length": 500}, "Fig. 3"), "steps": (100_000, "Fig. 3, axis")}
_COPY_200 = {
    "task_options": {"length": 200},
    "hidden": 64,
    "batch": 32,
    "steps": 20_000,
    "lr": 5e-3,
    "log_every": 100,
}

_SECONDS = SMALL | {"downsize": 8, "log_every": 10, "hidden": 32, "batch": 16, "steps": 60}
_MINUTES = LAPTOP | {"hidden": 64, "batch": 32}

ROWS = (
    row("copy", "smoke", _SECONDS, task_options={"length": 10}, lr=4e-3),
    row("copy", "laptop", _MINUTES, task_options={"length": 60}, steps=8_000, lr=1e-2),
    row("copy", "paper", _SYNTHETIC | _COPY_500),
    row("adding", "smoke", _SECONDS, task_options={"length": 20}, lr=2e-3),
    row(
        *("adding", "laptop", _MINUTES | {"log_every": 50}),
        **{"task_options": {"length": 200}, "steps": 2_000, "lr": 4e-3},
    ),
    row(
        *("adding", "paper", _SYNTHETIC),
        task_options=({"length": 2000}, "Fig. 3"),
        steps=(20_000, "Fig. 3, axis"),
    ),
    *(
        row(f"copy-{start}", preset, family | THREE_WAYS | {"weight_init": (start, text)})
        for start, text in WEIGHT_INITS.items()
        for preset, family in (("laptop", LAPTOP | _COPY_200), ("paper", _SYNTHETIC | _COPY_500))
    ),
)


def thinned(runs: Runs, points: int = 40) -> pd.DataFrame:
    """Learning curves of at most so many points a run: means over equal stretches of training.

    Returns:
        Columns gate, seed, step, loss.
    """
    stretch = max(runs.protocol.log_every, runs.protocol.steps // points)
    return smoothed(runs.frame, "loss", stretch)


def ends(runs: Runs) -> pd.DataFrame:
    """By gate and seed: `left`, the share of the baseline's loss, and `steps` until 10 % of it."""
    baseline = runs.protocol.make_task().baseline
    found = {
        g: pd.DataFrame({"left": final_loss(runs, g) / baseline, "steps": steps_to(runs, g)})
        for g in runs.gates
    }
    return pd.concat(found, names=["gate", "seed"])


def per_run(runs: Runs, column: str, *gates: str) -> pd.Series:
    """A column of `ends`, "left" or "steps", of the finished runs of some gates."""
    return ends(runs.only(*gates))[column].dropna()


def outcomes(runs: Runs) -> pd.DataFrame:
    """By gate: medians of `ends` over the seeds, and how it ended, `ours`.

    That is "solved", "stuck", "between" or, without a finished run, "not run".
    """
    table = ends(runs).groupby("gate").median().reindex(runs.gates)
    for g, left in table.left.items() if runs else ():
        word = "solved" if solved(runs, g) else "stuck" if stuck(runs, g) else "between"
        table.loc[g, "ours"] = "not run" if np.isnan(left) else word
    return table


def words(values: Mapping[str, float], *gates: str) -> str:
    """Values by gate in words: "UR 0.01, OR 0.02"."""
    shown = (
        f"{g.replace('-', 'LSTM')} {values[g]:{'.3g' if values[g] < 10 else '.0f'}}" for g in gates
    )
    return ", ".join(shown).replace("inf", "never").replace("nan", "–")
