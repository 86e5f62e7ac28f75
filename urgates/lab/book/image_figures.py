"""Pictures of runs on pixel images: learning, rankings beside the paper's, learning rates.

Every function returns what `Bench.save` wants: a figure and the plotted numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from urgates.lab.book import figures
from urgates.lab.book.look import legend, level, style, subplots
from urgates.lab.experiments.image_tables import TABLE_2, TABLE_2_DIVERGED, TABLE_3
from urgates.lab.experiments.images import at_best_rate
from urgates.lab.store.runs import Runs

PAPER = {"pMNIST": "H = 512, 150 epochs", "sCIFAR": "H = 512, 100 epochs"}  # D.2


def learning(
    runs: Runs,
    table: pd.DataFrame,
    gates: Iterable[str] | None = None,
    guessing: bool = False,
) -> tuple[Figure, pd.DataFrame]:
    """Accuracies while learning, at each gate's best stable rate, in two panels as Fig. 5.

    Args:
        table: rows of `accuracies`.
        gates: what the legend has, those that were read if not given.
        guessing: draw the level of one class in ten.
    """
    fig, axes = subplots(1, 2, size=(9.6, 4), sharey=True)
    plotted = figures.accuracy_curves(axes, at_best_rate(runs.frame, table))
    for ax in axes if guessing else ():
        level(ax, 0.1, "guessing")
    legend(fig, runs.read if gates is None else gates)
    return fig, plotted


def beside_table_2(runs: Runs, table: pd.DataFrame, row: str) -> tuple[Figure, pd.DataFrame]:
    """Our accuracies, gate by gate, beside a row of the paper's Table 2."""
    p = runs.protocol
    fig, (ours, theirs) = subplots(1, 2, size=(9.2, 3.9), sharey=True)
    data = figures.ranking(ours, theirs, table, TABLE_2[row], TABLE_2_DIVERGED[row])
    ours.set_title(f"ours, {p.preset}: H = {p.hidden}, {p.steps:,} steps")
    theirs.set_title(f"the paper: {PAPER[row]}", color="0.5")
    return fig, data


def gains(ours: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """What each gate gains over the plain cell, ours and the paper's, a panel per row of Table 2.

    Args:
        ours: accuracies [%] by gate; three columns in the order of Table 2's rows.
    """
    fig, axes = subplots(1, 3, size=(9.6, 3.8), sharey=True, sharex=True)
    parts = []
    for ax, column, theirs in zip(axes, ours, TABLE_2, strict=True):
        both = pd.DataFrame({"ours": ours[column], "paper": TABLE_2[theirs].reindex(ours.index)})
        gain = (both - both.reindex(["-"]).iloc[0]).drop("-", errors="ignore")
        gain = gain.rename_axis("gate").reset_index()
        parts.append(gain.assign(row=column, paper_row=theirs))
        paper = ax.plot(gain.paper[::-1], range(len(gain)), "o", color="0.6", ms=7)
        figures.dots(ax, gain, "ours")
        ax.axvline(0, color="0.3", lw=1)
        ax.set(title=column if column == theirs else f"{column}; paper: {theirs.split()[0]}")
        ax.set_xlabel("gain over the plain cell [points]")
    fig.legend(paper, ["the paper (in colour: ours)"], loc="outside lower center", frameon=False)
    return fig, pd.concat(parts).dropna(subset="ours")


def beside_table_3(
    tables: Mapping[tuple[str, str], pd.DataFrame], preset: str
) -> tuple[Figure, pd.DataFrame]:
    """Test accuracies of our models beside the paper's Table 3.

    Args:
        tables: rows of `accuracies` by (model, column of Table 3).
    """
    fig, (left, right) = subplots(1, 2, size=(9.6, 4))
    models, tasks = (list(dict.fromkeys(key)) for key in zip(*tables, strict=True))
    parts = []
    for y, name in enumerate(reversed(models)):
        color = style("UR" if "UR" in name else "-")["color"]
        for shift, task, mark in zip((0.2, 0, -0.2), tasks, "o^D", strict=True):
            t = tables[name, task].assign(model=name, task=task, y=y)
            left.plot(t.test, t.y + shift, mark, color=color, ms=6, alpha=0.7)
            parts.append(t)
    for task, mark in zip(tasks, "o^D", strict=True):
        theirs = TABLE_3[task].to_numpy()[::-1]
        right.plot(theirs, range(len(theirs)), mark, color="0.5", label=task)
    left.set(yticks=range(len(models)), yticklabels=models[::-1], title=f"ours, {preset}")
    right.set(yticks=range(len(TABLE_3)), yticklabels=TABLE_3.index[::-1])
    right.set_title("the paper's Table 3")
    for ax in (left, right):
        ax.set_xlabel("test accuracy [%]")
    fig.legend(loc="outside lower center", ncols=3, frameon=False)
    return fig, pd.concat(parts)


def by_rate(
    tables: Mapping[str, pd.DataFrame], rates: Sequence[float], gates: Iterable[str]
) -> tuple[Figure, pd.DataFrame]:
    """Best validation accuracy against the learning rate, a panel per table; × where one diverged.

    Args:
        tables: rows of `accuracies` by the title of their panel.
    """
    fig, axes = subplots(1, 2, size=(9.6, 3.8), sharey=True)
    for ax, (title, table) in zip(axes, tables.items(), strict=True):
        for name, part in table.groupby("gate", sort=False):
            look = style(name)
            median = part.groupby("lr").valid.median()
            ax.plot(median.index, median, **look, lw=1.8)
            ax.plot(part.lr, part.valid, ls="", marker=".", color=look["color"], alpha=0.5)
            fallen = part[part.diverged]
            ax.plot(fallen.lr, fallen.valid, "x", color=look["color"], ms=9)
        ax.set(xscale="log", xlabel="learning rate (log scale)", title=title)
        ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
        ax.minorticks_off()
    axes[0].set_ylabel("best validation accuracy [%]")
    legend(fig, gates)
    return fig, pd.concat(tables.values())


def reading_order(image: np.ndarray, when: np.ndarray) -> Figure:
    """An image, and the same coloured by when each pixel is read, in two orders.

    Args:
        image: ink [side, side].
        when: the step at which each pixel is read in bit-reversal order, of the same shape.
    """
    fig, axes = subplots(1, 3, size=(9.2, 3.1))
    axes[0].imshow(image, cmap="Greys")
    for ax, steps in ((axes[1], np.arange(image.size).reshape(image.shape)), (axes[2], when)):
        shown = ax.imshow(steps, cmap="viridis")
    for ax, title in zip(axes, ("image", "scanline order", "bit-reversal order"), strict=True):
        ax.set(title=title, xticks=[], yticks=[])
    fig.colorbar(shown, ax=axes, label="read at step", shrink=0.8)
    return fig
