"""Pictures of timings, rows of `timing.measure`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from urgates.lab.book import figures
from urgates.lab.book.look import style, subplots

AXES = {"time": "time steps T", "batch": "sequences B", "inputs": "inputs I per step"}


def ratios(cells: Mapping[str, pd.DataFrame], gates: Sequence[str]) -> Figure:
    """Ours over torch.nn's, a mark per gate with its quartiles, a row per cell, a column per H."""
    hidden = sorted({h for frame in cells.values() for h in frame.hidden})
    shape = {"sharex": True, "sharey": True, "squeeze": False}
    fig, axes = subplots(len(cells), len(hidden), size=(9.6, 5.6), **shape)
    for row, (cell, frame) in zip(axes, cells.items(), strict=True):
        for ax, h in zip(row, hidden, strict=True):
            part = frame[frame.hidden == h].set_index("gate").loc[list(gates)].reset_index()
            figures.dots(ax, part, "ratio")
            ax.hlines(range(len(part))[::-1], part.low, part.high, color="0.3", lw=1, zorder=1)
            ax.axvline(1, color="0.3", lw=1, ls="--")
            ax.set(title=f"{cell}, H = {h}", xlim=(0, 1.15))
    said = "time of a training step, ours / torch.nn (dashed: equal; left of it: faster)"
    fig.supxlabel(said, size=9.5)
    return fig


def loops(rivals: pd.DataFrame, providers: Sequence[str]) -> Figure:
    """The loops people write over our kernel, a bar for each, at up to two sizes."""
    fig, ax = subplots(size=(7.6, 3.4))
    for place, h in enumerate(sorted(set(rivals.hidden))):
        rows = rivals[rivals.hidden == h].set_index("provider").loc[list(providers)]
        at = np.arange(len(rows)) + 0.38 * (place - 0.5)
        bar = ax.barh(at, rows.ratio, 0.34, label=f"H = {h}", color=("0.35", "0.7")[place])
        ax.bar_label(bar, fmt=" %.1f", fontsize="small")
    ax.axvline(1, color="#d55e00", lw=1.5, label="urgates' kernel: 1")
    ax.set(yticks=range(len(providers)), yticklabels=providers)
    ax.set_xlabel("time of a UR-LSTM's training step / urgates' kernel")
    ax.grid(axis="y", visible=False)
    ax.invert_yaxis()
    fig.legend(loc="outside lower center", ncols=3, frameon=False)
    return fig


def growth(parts: Mapping[str, pd.DataFrame]) -> Figure:
    """Time against each of the sizes that grow, and memory against the number of steps.

    Args:
        parts: timings by the size that grows: "time", "batch" and "inputs".
    """
    fig, axes = subplots(1, 4, size=(9.6, 3))
    ours = style("UR") | {"label": "UR-LSTM", "linestyle": "-"}
    torchs = {"color": "0.5", "marker": "s", "linestyle": "--", "label": "torch.nn.LSTM"}
    panels = [(name, "ms per training step", "ms") for name in AXES]
    panels.append(("time", "MB kept for backward", "kept"))
    for ax, (name, title, column) in zip(axes, panels, strict=True):
        frame = parts[name]
        ax.loglog(frame[name], frame[column], **ours)
        ax.loglog(frame[name], frame[f"rival_{column}"], **torchs)
        ax.set(title=title, xlabel=f"{AXES[name]} (log)")
    for ax in axes[1:3]:
        ax.sharey(axes[0])
    axes[0].set_ylabel("log scale")
    names = axes[0].get_legend_handles_labels()
    fig.legend(*names, loc="outside lower center", ncols=2, frameon=False)
    return fig
