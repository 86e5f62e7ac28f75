"""Pictures of units: their gates and decay periods, before and after training.

Every function returns what `Bench.save` wants: a figure and the plotted numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from urgates.gates import reach
from urgates.lab.book import units as of_units
from urgates.lab.book.look import legend, style, subplots

KINDS = {"f": "main gate f", "g": "effective gate g"}


def histogram(
    ax: Axes,
    name: str,
    before: np.ndarray,
    after: np.ndarray,
    *,
    edges: Sequence[float] = tuple(np.linspace(0, 1, 21)),
) -> pd.DataFrame:
    """Activations of one gate, before training (outline) and after (filled), Figs. 4 and 9.

    Args:
        before, after: one number per unit, any shape.
        edges: of the bins; beyond 1 the numbers are decay periods, drawn on a log scale.
    Returns:
        The plotted shares of units: columns gate, when, left, right, share.
    """
    edges, color, plotted = np.asarray(edges), style(name)["color"], []
    for when, values in (("before", before), ("after", after)):
        values = np.ravel(values)
        if not (values.size and np.all((values >= edges[0]) & (values <= edges[-1]))):
            raise ValueError(
                f"{when} must be numbers in [{edges[0]:g}, {edges[-1]:g}], "
                f"got {values[:3]} … ({values.size})"
            )
        share = np.histogram(values, edges)[0] / values.size
        look = {"color": "0.3", "lw": 1} if when == "before" else {"color": color, "fill": True}
        ax.stairs(share, edges, label=when, alpha=1 if when == "before" else 0.6, **look)
        left, right = edges[:-1], edges[1:]
        columns = {"gate": name, "when": when, "left": left, "right": right, "share": share}
        plotted.append(pd.DataFrame(columns))
    periods = edges[-1] > 1
    ax.set(xscale="log" if periods else "linear", xlim=(edges[0], edges[-1]))
    ax.set_xlabel("decay period D [steps] (log scale)" if periods else "gate activation")
    ax.set(title=style(name)["label"], ylabel="share of units")
    return pd.concat(plotted, ignore_index=True)


def before_after(
    units: pd.DataFrame, panels: Sequence[tuple[str, str]]
) -> tuple[Figure, pd.DataFrame]:
    """Histograms of units' gates in rows of three panels, as Fig. 4.

    Args:
        units: rows of `units.paired`.
        panels: gates, each with "f", its main gate, or "g", its effective one.
    """
    columns, rows = min(len(panels), 3) or 1, -(-len(panels) // 3) or 1
    fig, axes = subplots(rows, columns, size=(2.87 * columns, 2.2 * rows), squeeze=False)
    plotted = []
    for ax, (gate, which) in zip(axes.flat, panels, strict=False):
        before, after = (units.loc[gate][f"{which}_{when}"] for when in ("before", "after"))
        plotted.append(histogram(ax, gate, before, after).assign(shown=which))
        title = f"{gate}: {KINDS[which]}" if gate in ("R", "UR") else style(gate)["label"]
        ax.set(title=title, xlabel="", xlim=(0, 1))
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    for ax in axes.flat[max(len(panels) - columns, 0) :]:  # the lowest of each column
        ax.set_xlabel("mean activation of a unit")
    if panels:
        axes.flat[0].legend(loc="best")
    return fig, pd.concat(plotted or [pd.DataFrame()])


def period_histograms(
    units: pd.DataFrame, gates: Sequence[str], edges: Sequence[float]
) -> tuple[Figure, np.ndarray, pd.DataFrame]:
    """Decay periods of the effective gates before and after training, a panel per gate.

    Args:
        units: rows of `units.paired`.
        edges: of the bins [steps]; longer periods count in the last one.
    Returns:
        The figure, its axes, and the plotted numbers.
    """
    columns = max(len(gates), 1)
    fig, axes = subplots(1, columns, sharex=True, sharey=True, squeeze=False)
    plotted = []
    for ax, gate in zip(axes[0], gates, strict=False):
        moments = units.loc[gate].g_before, units.loc[gate].g_after
        before, after = (of_units.periods(g).clip(upper=edges[-1]) for g in moments)
        plotted.append(histogram(ax, gate, before, after, edges=edges))
        axes[0, 0].legend(loc="best")
    fig.supxlabel(axes[0, 0].get_xlabel(), size=10)
    for ax in axes[0]:
        ax.set(xlabel="", ylabel="share of units" if ax is axes[0, 0] else "")
    return fig, axes[0], pd.concat(plotted or [pd.DataFrame()])


def period_tails(
    axes: Sequence[Axes], parts: Iterable[pd.DataFrame], length: int, last: float = 1e4
) -> None:
    """Two panels, before and after training: the share of units that remember beyond x steps.

    Args:
        parts: one gate at one moment each: columns gate, when, D (falling) and share.
        length: of the task, a labelled rule; beside it 1/x, where uniform gates start.
        last: where the axis of decay periods ends.
    """
    x = np.geomspace(1, last, 9)
    for part in parts:
        ax, look = axes[int(part.when.iloc[0] == "after")], style(part.gate.iloc[0])
        ax.step(part.D, part.share, where="post", **look, lw=1.8, markevery=0.15, ms=4)
    for ax, when in zip(axes, ("before", "after"), strict=True):
        ax.plot(x, 1 / x, color="0.5", lw=1, ls=":", zorder=0)
        ax.annotate("1/x", (300, 4e-3), color="0.4")
        ax.axvline(length, color="0.4", lw=1)
        ax.annotate(f"T = {length}", (length, 0.8), (3, 0), textcoords="offset points", color="0.4")
        ax.set(xscale="log", yscale="log", xlim=(1, last), ylim=(2e-3, 1.3))
        ax.set(title=f"{when} training", xlabel="decay period x [steps] (log scale)")
    axes[0].set_ylabel("share of units with D > x (log scale)")


def timescales(
    probes: pd.DataFrame, gates: Sequence[str], length: int, last: float = 1e4
) -> tuple[Figure, pd.DataFrame]:
    """`period_tails` of these gates' units: the figure, and columns gate, when, D, share.

    Args:
        probes: columns gate, when and g, a row per unit and moment, as `Runs.probes` has them.
    """
    parts = of_units.tails(probes, gates)
    fig, axes = subplots(1, 2, size=(8.6, 3.5), sharey=True, sharex=True)
    period_tails(axes, parts, length, last)
    legend(fig, dict.fromkeys(part.gate.iloc[0] for part in parts))
    columns = ["gate", "when", "D", "share"]
    return fig, pd.concat(parts or [pd.DataFrame(columns=columns)])


def ranked_periods(
    units: pd.DataFrame, lines: Sequence[tuple[str, str]], start: float
) -> tuple[Figure, pd.DataFrame]:
    """Decay periods after training by rank, the shortest first: columns gate, shown, D, rank.

    Args:
        units: rows of `units.paired`.
        lines: gates, each with "f", its main gate, or "g", its effective one.
        start: the decay period at which all units started, a labelled rule.
    """
    fig, ax = subplots(size=(7.4, 3.8))
    parts = []
    for gate, which in lines:
        D = np.sort(of_units.periods(units.loc[gate][f"{which}_after"]))
        rank = (np.arange(len(D)) + 1) / len(D)
        parts.append(pd.DataFrame({"gate": gate, "shown": which, "D": D, "rank": rank}))
        look = {**style(gate), "marker": "", "alpha": 1 if which == "g" else 0.4}
        look["label"] = {"g": f"{look['label']}: gate", "f": f"{gate}: main gate f only"}[which]
        ax.plot(100 * rank, D, **look, lw=1.8)
    ax.axhline(start, color="0.4", lw=1, ls=":")
    above = {"xytext": (0, 4), "textcoords": "offset points", "ha": "right"}
    ax.annotate(f"start: {start:.0f} steps", (60, start), **above)
    ax.set(yscale="log", xlabel="units, shortest memory first [%]")
    ax.set_ylabel("decay period D [steps] (log scale)")
    fig.legend(loc="outside lower center", ncols=3, frameon=False)
    return fig, pd.concat(parts or [pd.DataFrame()])


def moving_units(units: pd.DataFrame, gates: Sequence[str]) -> tuple[Figure, pd.DataFrame]:
    """Each unit's way from its start to its end, over the band of a refine gate; a panel per gate.

    Args:
        units: rows of `units.paired`; the networks of the first seed are drawn.
    """
    moves = units.reset_index()
    moves = moves[moves.gate.isin(gates) & (moves.seed == moves.seed.min())]
    columns = max(len(gates), 1)
    fig, axes = subplots(1, columns, size=(2.6 * columns, 3), sharey=True, squeeze=False)
    f = np.linspace(0, 1, 101)
    for ax, gate in zip(axes[0], gates, strict=False):
        m, color = moves[moves.gate == gate], style(gate)["color"]
        ax.fill_between(f, *reach(f), color=color, alpha=0.12, lw=0)
        ax.plot(f, f, color="0.6", lw=0.8, ls="--")
        way = m.f_after - m.f_before, m.g_after - m.g_before
        arrows = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.003}
        ax.quiver(m.f_before, m.g_before, *way, color=color, **arrows)
        ax.plot(m.f_before, m.g_before, "o", ms=2.5, color="0.4", label="before")
        ax.plot(m.f_after, m.g_after, "o", ms=4, color=color, label="after")
        ax.set(title=gate, xlabel="main gate f", aspect="equal")
        axes[0, 0].legend(loc="lower right")
    axes[0, 0].set_ylabel("effective gate g")
    return fig, moves
