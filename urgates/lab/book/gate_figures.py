"""Pictures of gates as they start, untrained: their activations, what they remember, their cost."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from urgates.gates import GATES, Gate
from urgates.lab.book.look import STYLE, facets, subplots

STARTS = {"constant": "constant bias", "chrono": "chrono", "cumax": "cumax", "uniform": "uniform"}
AUXILIARIES = {None: "no auxiliary", "master": "master gates", "refine": "refine gate"}


def table_1(shares: pd.DataFrame, middle: Mapping[str, tuple[float, float]]) -> Figure:
    """Table 1 as a picture: a panel per place, with the distribution of the gate at its start.

    Args:
        shares: of units, a column per gate, by the left edge of equal bins over [0, 1].
        middle: where decay periods [steps] lie mostly, by gate; an end of a million is infinite.
    """
    fig, axes = subplots(3, 4, size=(9.4, 5.6), sharex=True)
    edges = np.linspace(0, 1, len(shares) + 1)
    for row, auxiliary in zip(axes, AUXILIARIES, strict=True):
        for ax, start in zip(row, STARTS, strict=True):
            kind = ("cumax", "constant") if start == "cumax" else ("sigmoid", start)
            name = Gate(*kind, auxiliary).name
            ax.set(xlim=(0, 1), yticks=[])
            if name not in GATES:
                ax.text(0.5, 0.5, f"({name})", color="0.75", size=15, ha="center", va="center")
                continue
            ax.stairs(shares[name], edges, fill=True, color=STYLE[name]["color"], alpha=0.75)
            ax.set_ylim(0, 1.6 * shares[name].max())
            low, high = (f"{D:.3g}" if D < 1e6 else "∞" for D in middle[name])
            corner = {"transform": ax.transAxes, "va": "top"}
            ax.text(0.04, 0.97, name, size=15, weight="bold", **corner)
            ax.text(0.96, 0.95, f"D: {low} to {high}", size=8.5, ha="right", **corner)
    for ax, title in zip(axes[0], STARTS.values(), strict=True):
        ax.set_title(title)
    for ax, label in zip(axes[:, 0], AUXILIARIES.values(), strict=True):
        ax.set_ylabel(label)
    said = "effective forget gate at the start (D: decay periods of the middle 90 %)"
    fig.supxlabel(said, size=9.5)
    return fig


def survival(shares: pd.DataFrame) -> Figure:
    """Shares of units beyond D steps, a column per gate by D, over Prop. 1's 1/D."""
    fig, panels = facets(shares)
    periods = shares.index
    for ax, names in panels:
        ax.plot(periods, 1 / periods, color="0.85", lw=5, zorder=0)
        ax.axvline(500, color="0.4", ls=":", lw=1)
        for name in names:
            column = shares[name]
            ax.plot(column[column > 0], lw=1.6, **STYLE[name] | {"markevery": (3, 9), "ms": 4})
        ax.set(xscale="log", yscale="log", ylim=(1e-3, 1.3), xlim=(1, 3000))
        ax.set_xlabel("decay period D [steps]")
    first = panels[0][0]
    first.set_ylabel("share of units beyond D (log scale)")
    first.annotate("1/D", (30, 0.05), color="0.4")
    first.annotate("Copy's T", (580, 2e-3), color="0.4", rotation=90, fontsize="small")
    return fig


def fading(left: Mapping[str, np.ndarray]) -> tuple[Figure, pd.DataFrame]:
    """What is left of a trace in each unit after k steps, a panel per gate.

    Args:
        left: shares [units, steps] by gate.
    """
    fig, axes = subplots(1, len(left), size=(8.4, 3.6), sharey=True)
    for ax, (name, trace) in zip(axes, left.items(), strict=True):
        units, steps = (range(1, n + 1) for n in trace.shape)
        image = ax.pcolormesh(steps, units, trace, cmap="magma", vmin=0, vmax=1)
        ax.set(title=STYLE[name]["label"], xlabel="steps k (log scale)", xscale="log")
    axes[0].set_ylabel("unit")
    fig.colorbar(image, ax=axes, label="share of the trace left")
    traces = pd.concat({n: pd.DataFrame(t, columns=steps) for n, t in left.items()})
    return fig, traces.rename_axis(["gate", "unit"]).reset_index()


def times(ratios: pd.Series) -> Figure:
    """A bar per layer: its time as a multiple of torch.nn.LSTM's."""
    fig, ax = subplots(size=(7, 3.6))
    colors = [STYLE[n]["color"] if n in GATES else "0.6" for n in ratios.index]
    ax.barh(ratios.index, ratios, color=colors, alpha=0.8)
    for place, ratio in enumerate(ratios):
        ax.text(ratio, place, f" {ratio:.1f}", va="center", size=9)
    ax.set_xlabel("processor time of a training step / torch.nn.LSTM")
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    return fig


def own_gate(reach: pd.DataFrame, gradients: pd.DataFrame, tails: pd.DataFrame) -> Figure:
    """A gate of one's own, URR, beside UR: its reach, its gradient, its decay periods.

    Args:
        reach: f, and what "UR" and "URR" make of it at r = 0 and r = 1.
        gradients: columns gate, g, min and max, over a plain sigmoid's.
        tails: shares of units beyond D, a column per gate.
    """
    colors = {"U": STYLE["U"]["color"], "UR": "0.35", "URR": "#7a3fb0"}
    fig, (left, middle, right) = subplots(1, 3, size=(9.6, 3.3))
    for name in ("URR", "UR"):
        low, high = reach[f"{name}, r = 0"], reach[f"{name}, r = 1"]
        left.fill_between(reach.f, low, high, color=colors[name], alpha=0.3, lw=0, label=name)
        part = gradients[gradients.gate == name]
        middle.fill_between(part.g, part["min"], part["max"], color=colors[name], alpha=0.3, lw=0)
    left.set(xlabel="main gate f", ylabel="effective gate g", title="reach")
    middle.axhline(1, color="0.3", ls="--", lw=1)
    middle.set(xlabel="effective gate g", title="gradient / plain sigmoid's", ylim=(0.9, 4.1))
    for name, tail in tails.items():
        right.plot(tail[tail > 0], color=colors[name], lw=1.8, label=name)
    right.set(xscale="log", yscale="log", xlabel="decay period D [steps]", title="share beyond D")
    left.legend(frameon=False)
    right.legend(frameon=False)
    return fig


def reaches(bands: pd.DataFrame) -> Figure:
    """What an auxiliary gate can make of a main gate, a panel per idea.

    Args:
        bands: columns idea, f, and g at r = 0, 1/2 and 1: low, middle, high.
    """
    ideas = bands.idea.unique()
    fig, axes = subplots(2, len(ideas) // 2, size=(9.0, 5.4), sharex=True, sharey=True)
    for ax, idea in zip(axes.flat, ideas, strict=True):
        part = bands[bands.idea == idea]
        ax.fill_between(part.f, part.low, part.high, color="#7a3fb0", alpha=0.2, lw=0)
        ax.plot(part.f, part.middle, color="#7a3fb0", lw=2)
        ax.plot(part.f, part.f, color="0.4", lw=1, ls="--")
        ax.set(title=idea, aspect="equal")
    fig.supxlabel("main gate f", size=9.5)
    fig.supylabel("g from r = 0 to r = 1 (line: r = 1/2)", size=9.5)
    return fig
