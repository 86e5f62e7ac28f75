"""Pictures of E3: panels as Fig. 11's, the n-th farthest vector, attention over a memory's slots.

What draws returns what `Bench.save` wants: a figure and the plotted numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from urgates.lab.book import unit_figures
from urgates.lab.book import units as of_units
from urgates.lab.book.look import legend, level, style, subplots
from urgates.lab.experiments.programs import CATEGORIES, CELLS, KEY
from urgates.lab.store.runs import Runs

FEW = 12  # points of a line, each of which tells its own range
_DASHED = {"color": "0.4", "lw": 1, "ls": "--", "zorder": 0}


def panels(
    frame: pd.DataFrame,
    x: str,
    y: str,
    label: str,
    levels: Mapping[str, float | pd.DataFrame] | None = None,
    apart: str = "",
) -> tuple[Figure, pd.DataFrame]:
    """Two rows of three panels, an LSTM's above an RMC's: medians over seeds, and their range.

    Args:
        frame: columns category, cell, gate, seed, `x` and `y`, an accuracy.
        label: of the horizontal axes.
        levels: by category what to compare with, dashed: an accuracy, or columns `x` and `y`.
        apart: a column that parts the points of a gate into lines, each named where it ends.
    Returns:
        The figure, and columns category, cell, gate, `apart`, `x`, median, low, high.
    """
    keys = [*KEY[:3], *filter(None, [apart]), x]
    found = _ranges(frame, keys, y)
    fig, axes = subplots(2, 3, size=(7.8, 4.3), sharey="col")
    for row, cell in zip(axes, CELLS, strict=True):
        for ax, kind in zip(row, CATEGORIES, strict=True):
            here = found[(found.category == kind) & (found.cell == cell)]
            for _, line in here.groupby(apart or (lambda _: 0)):
                _lines(ax, line.sort_values(x), x)
                if apart:
                    last = line.loc[line[x].idxmax()]
                    beside = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
                    ax.annotate(str(last[apart]), (last[x], last["median"]), color="0.3", **beside)
            match (levels or {}).get(kind):
                case pd.DataFrame() as line:
                    ax.plot(line[x], line[y], **_DASHED)
                case float(height):
                    ax.axhline(height, **_DASHED)
            ax.set_title(f"{kind.capitalize()}, {cell.upper()}")
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        row[0].set_ylabel("accuracy [share]")
    for ax in axes[1]:
        ax.set_xlabel(label)
    legend(fig, dict.fromkeys(found.gate))
    return fig, found


def farthest(frame: pd.DataFrame, guess: float) -> tuple[Figure, pd.DataFrame]:
    """Accuracies on Nth farthest while training, an LSTM's beside an RMC's.

    Args:
        frame: columns cell, gate, seed, step, accuracy.
        guess: what is right without any distance, dashed.
    Returns:
        The figure, and columns cell, gate, step, median, low, high.
    """
    found = _ranges(frame, ["cell", "gate", "step"], "accuracy")
    fig, axes = subplots(1, len(CELLS), size=(5.8, 2.4), sharex=True, sharey=True)
    for ax, cell in zip(axes, CELLS, strict=True):
        _lines(ax, found[found.cell == cell].sort_values("step"), "step")
        level(ax, guess, "guess")
        ax.set(title=cell.upper(), xlabel="training step", ylim=(0, 1))
    axes[0].set_ylabel("accuracy [share]")
    legend(fig, dict.fromkeys(found.gate))
    return fig, found


def _ranges(frame: pd.DataFrame, keys: list[str], y: str) -> pd.DataFrame:
    """The keys, and of `y` by them: median, low and high."""
    found = frame.groupby(keys, sort=False)[y].agg(["median", "min", "max"]).reset_index()
    return found.rename(columns={"min": "low", "max": "high"})


def _lines(ax: Axes, found: pd.DataFrame, x: str) -> None:
    """A line for each gate; from its lowest seed to its highest a band, or a few rules."""
    for gate, part in found.groupby("gate", sort=False):
        look, every = style(gate), max(1, len(part) // 6)
        ax.plot(part[x], part["median"], **look, lw=1.6, ms=4, markevery=every)
        if len(part) > FEW:
            ax.fill_between(part[x], part.low, part.high, color=look["color"], alpha=0.12, lw=0)
        else:
            ax.vlines(part[x], part.low, part.high, color=look["color"], lw=1)


def time_scales(groups: Iterable[Runs], length: int) -> tuple[Figure, pd.DataFrame]:
    """Decay periods of units before and after training, a row for each of two groups of runs.

    Args:
        length: the longest sequence [steps], a labelled rule.
    Returns:
        The figure, and columns cell, gate, when, D, share.
    """
    fig, axes = subplots(2, 2, size=(8.0, 5.4), sharex=True, sharey=True)
    plotted = []
    for row, runs in zip(axes, groups, strict=True):
        parts = of_units.tails(runs.probes, runs.gates)
        unit_figures.period_tails(row, parts, length)
        for ax in row:
            ax.set_title(f"{runs.cell.upper()}, {ax.get_title()}")
        plotted += [_rounded(part).assign(cell=runs.cell) for part in parts]
    for ax in axes[0]:
        ax.set_xlabel("")
    legend(fig, dict.fromkeys(part.gate.iloc[0] for part in plotted))
    columns = ["cell", "gate", "when", "D", "share"]
    return fig, pd.concat([pd.DataFrame(columns=columns), *plotted][bool(plotted) :])[columns]


def _rounded(part: pd.DataFrame) -> pd.DataFrame:
    """Three digits, and no two points alike."""
    numbers = {c: part[c].map("{:.3g}".format).astype(float) for c in ("D", "share")}
    return part.assign(**numbers).drop_duplicates()


def attention(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Attention over the slots of a memory while it reads a program, a panel per head.

    Args:
        table: rows of `program_answers.attention`.
    """
    heads = max(table["head"].nunique(), 1)
    names = [f"slot {slot} → {to}" for slot, to in zip(table.slot, table.to, strict=True)]
    table = table.assign(row=names)
    rows = list(dict.fromkeys(names))
    high = 0.8 + heads * (0.6 + 0.22 * max(len(rows), 1))
    fig, axes = subplots(heads, 1, size=(9.6, high), sharex=True, squeeze=False)
    for ax, (head, part) in zip(axes[:, 0], table.groupby("head"), strict=False):
        wide = part.pivot(index="row", columns="step", values="weight").reindex(rows)
        image = ax.imshow(wide, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        fig.colorbar(image, ax=ax, label="weight", pad=0.01)
        first = part.drop_duplicates("step")
        ax.axvline(np.argmax(first.answers) - 0.5, color="0.2", lw=1)
        ax.set(title=f"head {head}", yticks=range(len(rows)), yticklabels=rows)
        ax.set_xticks(first.step, first.character.astype(str), family="monospace")
        ax.grid(False)
    axes[-1, 0].set_xlabel("what is read; behind the line, what is answered")
    return fig, table.drop(columns="row")
