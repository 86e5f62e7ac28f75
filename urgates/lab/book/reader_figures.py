"""Pictures of trained networks while they read images pixel by pixel.

Images come as [n, T] pixels in the order in which they are read, bit reversal's.  Every function
returns what `Bench.save` wants: a figure and the plotted numbers, if it makes any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

from urgates.lab.book import figures
from urgates.lab.book.look import legend, level, style, subplots
from urgates.lab.tasks import bit_reversal

WRONG = "#b00020"


def _picture(ax: Axes, pixels: np.ndarray, seen: int | None = None) -> None:
    """Draw an image from its pixels [T] as they are read, the first `seen` of them."""
    image = np.full(len(pixels), np.nan)
    order = np.asarray(bit_reversal(len(pixels)))[:seen]
    image[order] = pixels[:seen]
    side = round(len(pixels) ** 0.5)
    ax.imshow(image.reshape(side, side), cmap="Greys", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])


def dozen(pixels: Tensor, asked: pd.DataFrame) -> Figure:
    """Twelve images and what a network reads; columns label, answer and confidence [%]."""
    fig, axes = subplots(2, 6, size=(9.6, 3.9))
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[], frame_on=False)
    for ax, image, row in zip(axes.flat, pixels.numpy(), asked.itertuples(), strict=False):
        _picture(ax, image)
        right = row.answer == row.label
        ax.set_title(f"{row.label}: read as {row.answer}, {row.confidence} %", fontsize=9)
        ax.title.set(color="black" if right else WRONG, weight="normal" if right else "bold")
    return fig


def along(pixels: Tensor, said: pd.DataFrame) -> Figure:
    """Two images, a row each, as far as they are read, and the answer after so many pixels.

    Args:
        pixels: the two, [2, T].
        said: columns label, pixels, answer and confidence [%], six rows an image.
    """
    fig, axes = subplots(2, 6, size=(9.6, 3.9))
    images = np.repeat(pixels.numpy(), 6, axis=0)
    for ax, row, image in zip(axes.flat, said.itertuples(), images, strict=True):
        _picture(ax, image, row.pixels)
        ax.set_facecolor("#cfe3f1")
        ax.spines[:].set_visible(False)
        ax.set_title(f"{row.pixels}: {row.answer}, {row.confidence} %", fontsize=9)
        ax.title.set_color("black" if row.answer == row.label else WRONG)
    for ax, label in zip(axes[:, 0], said.label[::6], strict=True):
        ax.set_ylabel(f"a {label}", rotation=0, labelpad=12)
    return fig


def judges(
    parts: Mapping[str, pd.DataFrame], possible: pd.DataFrame, gates: Sequence[str]
) -> tuple[Figure, pd.DataFrame]:
    """Right answers by pixels read, a panel per judge of two, over what the pixels tell.

    Args:
        parts: columns gate, seed, step and accuracy, by judge.
        possible: columns step and accuracy, of the nearest image by the pixels read.
    """
    fig, axes = subplots(1, 2, size=(9.6, 3.9), sharey=True)
    plotted, last = [possible.assign(gate="nearest by pixels", line="reference")], 0
    for ax, (judge, frame) in zip(axes, parts.items(), strict=True):
        drawn = figures.curves(ax, frame, "accuracy", ylabel="share of right answers")
        plotted.append(drawn.assign(judge=judge))
        ax.plot(possible.step, possible.accuracy, ":", color="0.4", lw=1.5)
        level(ax, 0.1, "guessing")
        last = possible.step.max()
        ax.set(title=f"answers by {judge}", xlabel="pixels read", xlim=(0, last), ylim=(0, 1))
    how = {"textcoords": "offset points", "ha": "right", "color": "0.4"}
    axes[0].annotate("nearest by pixels", (last, 0.95), (-4, 0), **how)
    axes[1].set_ylabel("")
    legend(fig, gates)
    return fig, pd.concat(plotted)


def gaps(
    gapped: pd.DataFrame, full: pd.Series, gates: Sequence[str]
) -> tuple[Figure, pd.DataFrame]:
    """Right answers that a gap costs, left an eighth of the sequence, right all before a step.

    Args:
        gapped: columns gate, seed, step (where the gap ends), eighth and all_before (accuracies).
        full: accuracy without a gap by gate and seed.
    """
    ours = full.loc[pd.MultiIndex.from_frame(gapped[["gate", "seed"]])].to_numpy()
    fig, axes = subplots(1, 2, size=(9.6, 3.9), sharey=True)
    plotted, ylabel = [], "right answers lost [% of the images]"
    for ax, blank in zip(axes, ("eighth", "all_before"), strict=True):
        lost = gapped[["gate", "seed", "step"]].assign(lost=100 * (ours - gapped[blank]))
        plotted.append(figures.curves(ax, lost, "lost", ylabel=ylabel).assign(blank=blank))
        ax.axhline(0, color="0.7", lw=1, zorder=0)
        ax.set(xticks=gapped.step.unique())
    axes[0].set(title="one eighth is blank", xlabel="the blank eighth ends at step")
    axes[1].set(title="all before is blank", xlabel="blank up to step", ylabel="")
    legend(fig, gates)
    return fig, pd.concat(plotted)


def traces(traced: pd.DataFrame, pixels: Tensor, gates: Sequence[str]) -> Figure:
    """Decay periods of all units over the steps of one image, below the ink that is being read.

    Args:
        traced: decay periods by gate and unit; columns are the steps, equally far apart.
        pixels: the image, [T].
    """
    every, T = traced.columns[1] - traced.columns[0], len(pixels)
    ink = [float(part.mean()) for part in pixels.split(int(every))]
    shape = {"sharex": True, "height_ratios": (1, 5), "squeeze": False}
    fig, axes = subplots(2, len(gates), size=(9.6, 4.4), **shape)
    look = {"norm": LogNorm(1, T), "cmap": "viridis", "origin": "lower", "aspect": "auto"}
    for gate, (top, below) in zip(gates, axes.T, strict=True):
        rows = traced.loc[gate]
        rows = rows.loc[(1 / rows).mean(axis=1).sort_values(ascending=False).index]
        top.fill_between(rows.columns + every / 2, ink, step="mid", color="0.2", lw=0)
        top.set(title=style(gate)["label"], ylim=(0, 1))
        extent = (0, T, 0, len(rows))
        heat = below.imshow(rows, extent=extent, interpolation="nearest", **look)
        below.set(xlabel="step", yticks=[])
        below.grid(False)
    axes[0, 0].set_ylabel("ink")
    axes[1, 0].set_ylabel("units")
    fig.colorbar(heat, ax=axes[1, :], label="decay period [steps]")
    return fig


def by_ink(inked: pd.DataFrame, gates: Sequence[str]) -> tuple[Figure, pd.DataFrame]:
    """Decay periods at blank against those at inked pixels, a mark per unit, a panel per gate."""
    share = {"sharex": True, "sharey": True, "squeeze": False}
    fig, axes = subplots(1, len(gates), size=(9.6, 3.9), **share)
    for ax, gate in zip(axes[0], gates, strict=True):
        part, look = inked[inked.gate == gate], style(gate)
        ax.axline((1, 1), (10, 10), color="0.5", lw=1)
        ax.loglog(part.blank, part.inked, **{**look, "linestyle": ""}, ms=4, alpha=0.7)
        ax.set(title=look["label"], xlabel="decay period at blank pixels", box_aspect=1)
    axes[0, 0].set_ylabel("at inked pixels [steps]")
    return fig, inked[["gate", "seed", "unit", "blank", "inked", "correlation"]]
