"""Pictures of what the paper leaves open: the same runs with other choices, side by side."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from urgates.gates import GATES
from urgates.lab.book.look import legend, level, style, subplots
from urgates.lab.experiments.choices import LEFT
from urgates.starts import WEIGHT_INITS

_ASIDE = 0.2  # of the distance between two starts


def by_start(compared: pd.DataFrame) -> Figure:
    """Scores by how the weights start, a panel per task: a mark for every run, a bar at the median.

    Args:
        compared: columns task, start, gate, score and what: shares of the baseline's loss, which
            are drawn on a log scale, or accuracies.
    """
    tasks = list(compared.task.unique())
    gates, starts = (
        [name for name in order if name in set(compared[column])]
        for column, order in (("gate", GATES), ("start", WEIGHT_INITS))
    )
    fig, axes = subplots(1, max(len(tasks), 1), size=(9.6, 3.8), squeeze=False)
    for ax, task in zip(axes[0], tasks, strict=False):
        runs = compared[compared.task == task]
        for (gate, start), part in runs.groupby(["gate", "start"], sort=False):
            place = starts.index(start) + _ASIDE * (gates.index(gate) - (len(gates) - 1) / 2)
            look = {**style(gate), "linestyle": ""}
            ax.plot(np.full(len(part), place), part.score, **look, ms=5)
            ax.plot(place, part.score.median(), "_", color=look["color"], ms=14, mew=2)
        ax.set_xticks(range(len(starts)), starts, rotation=30, ha="right")
        what = runs.what.iloc[0]
        ax.set(title=task, ylabel=what, xlim=(-0.5, len(starts) - 0.5))
        if what == LEFT:
            ax.set(yscale="log", ylabel=f"{what} (log scale)")
            level(ax, 1, "")
    legend(fig, gates)
    return fig
