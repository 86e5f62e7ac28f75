"""Synthetic memory (§3.1, D.1): Copy and Adding, and what their losses come to.

Losses are shares of the best constant predictor's; a run is one (gate, learning rate, seed).
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from urgates.lab.experiments.rows import (
    FEW_MASTERS,
    LAPTOP,
    OPEN,
    OTHER_STARTS,
    SMALL,
    THREE_WAYS,
    row,
    started,
)
from urgates.lab.store.runs import Runs, final_loss, smoothed, solved, steps_to, stuck

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
_COPY = _SYNTHETIC | {
    "task_options": ({"length": 500}, "Fig. 3"),
    "steps": (100_000, "Fig. 3, axis"),
}
_ADDING = _SYNTHETIC | {
    "task_options": ({"length": 2000}, "Fig. 3"),
    "steps": (20_000, "Fig. 3, axis"),
}
_SIXTEEN = (4, "our choice: at 64 units 16 of a master gate, as in the paper (256 / 16)")
_COPY_200 = _SYNTHETIC | {
    "task_options": ({"length": 200}, "our choice: at least the paper's two steps a unit"),
    "hidden": 64,
    "downsize": _SIXTEEN,
    "steps": 20_000,
    "lr": (5e-3, "our choice: lr × steps as the paper's"),
    "sweep": ((5e-3, 1e-2), "our choice: each gate counts at the better of both"),
}
_ADDING_500 = _SYNTHETIC | {
    "task_options": ({"length": 500}, "our choice: the paper's eight steps a unit"),
    "hidden": 64,
    "downsize": _SIXTEEN,
    "steps": 10_000,
    "lr": (2e-3, "our choice: lr × steps as the paper's"),
    "sweep": ((2e-3, 8e-3), "our choice: each gate counts at the better of both"),
}

_AS_VANILLA = (1.0, "as the vanilla LSTM's")
_SECONDS = SMALL | {"downsize": 8, "log_every": 10, "hidden": 32, "batch": 16, "steps": 60}
_SHORT = LAPTOP | {"hidden": 64, "batch": 32}
_COPY_10 = _SECONDS | {"task_options": {"length": 10}, "lr": 4e-3}
_COPIES = {"smoke": _COPY_10, "laptop": _COPY_200, "paper": _COPY}

ROWS = (
    *(row("copy", preset, family) for preset, family in _COPIES.items()),
    row("adding", "smoke", _SECONDS, task_options={"length": 20}, lr=2e-3),
    row("adding", "laptop", _ADDING_500),
    row("adding", "paper", _ADDING),
    row("copy-short", "laptop", _SHORT, task_options={"length": 60}, steps=8_000, lr=1e-2),
    row(
        *("adding-short", "laptop", _SHORT),
        **{"task_options": {"length": 200}, "steps": 2_000, "lr": 4e-3, "log_every": 50},
    ),
    row(
        *("copy-tmax102", "laptop", _COPY_200),
        gates=(("C",), "the only one with a T_max"),
        t_max=(102, "the paper's share of N: 256 / 500 × 200"),
    ),
    *(
        row(f"{task}-downsize16", "laptop", family | FEW_MASTERS)
        for task, family in (("copy", _COPY_200), ("adding", _ADDING_500))
    ),
    *(
        row(
            *("copy-forget1", preset, family),
            gates=(("R",), "the only one with a plain forget gate beside another, but for masters"),
            variant_bias=_AS_VANILLA,
        )
        for preset, family in _COPIES.items()
    ),
    row("copy-forget1-downsize16", "laptop", _COPY_200 | FEW_MASTERS, variant_bias=_AS_VANILLA),
    *(
        row(f"copy-{start}", preset, family | THREE_WAYS | started(start))
        for start in OTHER_STARTS
        for preset, family in _COPIES.items()
    ),
)


def thinned(runs: Runs, points: int = 40) -> pd.DataFrame:
    """Learning curves of at most so many points a run: means over equal stretches of training.

    Returns:
        Columns gate, seed, step, loss.
    """
    stretch = max(runs.protocol.log_every, runs.protocol.steps // points)
    return smoothed(runs.frame, "loss", stretch)


def at_best_rate(runs: Runs) -> Runs:
    """Each gate's runs at the rate that leaves the least loss, in the median of the seeds."""

    def left(gate: str, rate: float) -> float:
        loss = final_loss(runs.at(rate).only(gate), gate).median()
        return float("inf") if np.isnan(loss) else loss

    gates = dict.fromkeys(runs.gates + runs.read)
    return runs.at({g: min(runs.rates, key=partial(left, g)) for g in gates})


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


def so_far(runs: Runs) -> pd.DataFrame:
    """What is left of the baseline's loss in runs that may go on, as far as all of a gate's have.

    Returns:
        By gate: seeds, how many; median, least and most of what they have left over the last
        twentieth of the steps that all of them made; steps, those.
    """
    by_run, frame = ["gate", "seed"], runs.frame
    steps = frame.groupby(by_run, sort=False).step.max().groupby("gate", sort=False).min()
    common = frame.gate.map(steps)
    late = frame[(frame.step > 0.95 * common) & (frame.step <= common)]
    left = late.groupby(by_run)[runs.loss].mean() / runs.protocol.make_task().baseline
    table = left.groupby("gate").agg(seeds="size", median="median", least="min", most="max")
    return table.reindex(steps.index).assign(steps=steps)


def words(values: Mapping[str, float], *gates: str) -> str:
    """Values by gate in words: "UR 0.01, OR 0.02"."""
    shown = (
        f"{g.replace('-', 'LSTM')} {values[g]:{'.3g' if values[g] < 10 else '.0f'}}" for g in gates
    )
    return ", ".join(shown).replace("inf", "never").replace("nan", "–")
