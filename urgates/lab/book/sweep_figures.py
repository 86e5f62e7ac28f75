"""Pictures of sweeps: what the same models cost in several ways, what every table would take."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from urgates.lab.book.look import subplots


def ladder(table: pd.DataFrame) -> Figure:
    """Seconds a model for each rung, a bar each; rows of `sweep_costs.ladder`."""
    fig, ax = subplots(size=(7.2, 2.6))
    bars = ax.barh(table.rung, table.per_model, color="0.45")
    ax.bar_label(bars, fmt=" %.2g", fontsize="small")
    ax.set_xlabel("seconds a model, from nothing to all of its files")
    ax.grid(axis="y", visible=False)
    ax.invert_yaxis()
    return fig


def needs(table: pd.DataFrame) -> Figure:
    """Computed hours by table, a mark for each number of GPUs; rows of `sweep_costs.needs`."""
    fig, ax = subplots(size=(7.2, 3.4))
    gpus = [column for column in table if column.isdigit()]
    for number, marker in zip(gpus, "osD", strict=True):
        said = f"{number} GPU{'s' * (number != '1')}"
        ax.scatter(table[number], table.table, marker=marker, zorder=3, label=said)
    ax.hlines(table.table, table[gpus].min(axis=1), table[gpus].max(axis=1), color="0.7", lw=1)
    ax.set(xscale="log", xlabel="hours until all is trained (log), computed")
    ax.invert_yaxis()
    fig.legend(loc="outside lower center", ncols=len(gpus), frameon=False)
    return fig
