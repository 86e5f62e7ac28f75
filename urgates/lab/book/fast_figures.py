"""Pictures of the fast gate among the others: what a gate costs, and how far and how soon it gets.

Functions that draw runs return what `Bench.save` wants: a figure and the plotted numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from urgates.gates import gate
from urgates.lab.book.figures import dots, legend, memory_curves, style, subplots


def cost(frame: pd.DataFrame) -> Figure:
    """Bars of time over the plain LSTM's, a panel for each way of computing it.

    Args:
        frame: columns by ("loop" or "urgates"), gate, phase ("training" or "inference"), ratio, and
            its quartiles low and high.
    """
    fig, axes = subplots(1, 2, size=(9.2, 3.2), sharex=True)
    titles = {"loop": "loops as people write them", "urgates": "urgates' kernels"}
    for ax, (by, part) in zip(axes, frame.groupby("by", sort=False), strict=True):
        for shift, (phase, rows) in zip((-0.18, 0.18), part.groupby("phase"), strict=True):
            colors = [style(g.split(",")[0])["color"] for g in rows.gate]
            reach = abs(rows[["low", "high"]].sub(rows.ratio, axis=0)).T.to_numpy()
            pale = 0.5 if phase == "inference" else 1
            ax.barh(np.arange(len(rows)) + shift, rows.ratio, 0.34, xerr=reach, color=colors,
                    alpha=pale, ecolor="0.3", label=phase)  # fmt: skip
        ax.axvline(1, color="0.3", lw=1, ls="--")
        ax.set(title=titles[by], yticks=range(len(rows)), yticklabels=rows.gate)
        ax.set_xlabel("time over the plain LSTM's (pale: inference)")
        ax.invert_yaxis()
    return fig


def race(
    frame: pd.DataFrame,
    gates: Iterable[str],
    baseline: float,
    title: str,
    ylabel: str,
    beside: Mapping[str, pd.DataFrame],
) -> tuple[Figure, pd.DataFrame]:
    """Learning curves of one memory task: left of gates that start alike, right of all others.

    Args:
        frame: columns gate, seed, step and loss.
        gates: in the legend's order; those without rows are left out.
        baseline: loss of the best constant predictor.
        beside: medians of what is no gate, by name: columns step and loss.
    """
    fig, axes = subplots(1, 2, size=(9.6, 3.8), sharey=True)
    spread = {g: gate(g).distributional or gate(g).activation == "cumax" for g in frame.gate}
    parts, others = [], []
    for ax, start in zip(axes, ("constant start", "spread starts"), strict=True):
        part = frame[frame.gate.map(spread) == (ax is axes[1])]
        parts.append(memory_curves(ax, part, baseline))
        ax.set(title=f"{title}: {start}", ylabel="")
    for name, median in beside.items():
        others += axes[-1].plot(median.step, median.loss, color="0.1", ls="-.", lw=1.6, label=name)
        parts.append(median.assign(gate=name, line="median"))
    axes[0].set_ylabel(f"{ylabel} (log scale)")
    legend(fig, [name for name in gates if name in spread], others=others)
    return fig, pd.concat(parts)


def by_step(frame: pd.DataFrame, x: str, xlabel: str, gates: Sequence[str]) -> Figure:
    """`dots` of every run, a panel for each training step in the frame.

    Args:
        frame: columns gate, step and `x`, a row per run and step.
        gates: the rows from top to bottom.
    """
    steps = frame.step.unique()
    fig, axes = subplots(1, max(len(steps), 1), size=(9.6, 4), sharex=True, squeeze=False)
    for ax, step in zip(axes[0], steps, strict=False):
        dots(ax, frame[frame.step == step], x, gates)
        ax.set(title=f"after {step:,} steps", xlabel=xlabel)
        ax.tick_params(labelleft=ax is axes[0, 0])
    return fig
