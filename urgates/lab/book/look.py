"""The look of the whole project's pictures: one style per gate, grids of panels, reference lines.

A gate's colour is its first axis in Table 1 (how the main gate starts), its line is the second
(the auxiliary gate), so that a legend reads like the table.  Fast and softsign gates have a hue of
their own, in a shade that tells their start.  Figures are plain objects without a window or a
current figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from urgates.gates import GATES, Gate, gate

_palette = sns.color_palette("colorblind").as_hex()
_HUE = dict(zip(("constant", "chrono", "cumax", "uniform"), _palette[:4], strict=True))
_MARKER = {"constant": "o", "chrono": "s", "cumax": "^", "uniform": "D"}
_FAST, _SLOW = _palette[4], _palette[7]
_HUE |= {
    "power": _palette[9],
    "fast": _FAST, "fast uniform": sns.dark_palette(_FAST, 5).as_hex()[2],
    "fast chrono": sns.light_palette(_FAST, 5).as_hex()[2],
    "fast power": sns.dark_palette(_FAST, 5).as_hex()[1],
    "softsign": _SLOW, "softsign uniform": sns.dark_palette(_SLOW, 5).as_hex()[1],
    "softsign chrono": sns.light_palette(_SLOW, 5).as_hex()[2],
    "softsign power": sns.dark_palette(_SLOW, 5).as_hex()[2],
}  # fmt: skip
_MARKER |= {
    "power": "p", "fast": "P", "fast uniform": "*", "fast chrono": "X", "fast power": "h",
    "softsign": "v", "softsign uniform": "<", "softsign chrono": ">", "softsign power": "8",
}  # fmt: skip
_LINE = {None: "-", "refine": (0, (3, 1.5)), "master": (0, (1, 1.5))}
_FACE = {None: None, "refine": "white", "master": "lightgrey"}
VERDICT = {
    "confirmed": {"color": "#003a5d"},
    "reproduced": {"color": "#00598b", "hatch": "xx"},
    "seen": {"color": "#2d79a6"},
    "imprecise": {"color": "#eeaf70"},
    "contradicted": {"color": "#ea893a", "hatch": "///"},
    "not seen at this scale": {"color": "#d4d4d4"},
    "inconclusive": {"color": "#e9e9e9", "hatch": "..."},
    "not testable here": {"color": "white"},
}
"""How verdicts are drawn: told apart by lightness and hatching where hues are not."""
_THEME = {
    **sns.axes_style("ticks", {"axes.grid": True, "grid.color": "0.92"}),
    **sns.plotting_context("paper", font_scale=1.1),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.handlelength": 3,
}


def style(name: str | Gate) -> dict:
    """How a gate is drawn: keyword arguments for `Axes.plot`, label included.

    Colour and line together identify a gate, and so do marker and its face: either survives
    a black-and-white print.
    """
    g, axis = gate(name), start(name)
    return {
        "color": _HUE[axis],
        "linestyle": _LINE[g.auxiliary],
        "marker": _MARKER[axis],
        "markerfacecolor": _FACE[g.auxiliary] or _HUE[axis],
        "label": "- (standard)" if g.name == "-" else g.name,
    }


def start(name: str | Gate) -> str:
    """How a gate's main gate starts, the first axis of Table 1: "constant", "fast uniform", …"""
    g = gate(name)
    if g.activation == "sigmoid":
        return g.bias
    return f"{g.activation} {g.bias}" if g.distributional else g.activation


STYLE: dict[str, dict] = {name: style(name) for name in GATES}


def subplots(rows: int = 1, cols: int = 1, *, size: tuple[float, float] | None = None, **grid):
    """A new figure and its axes, `matplotlib.pyplot.subplots` without the global state.

    Args:
        size: width and height in inches; 4.2 x 3.2 per panel, at most 9.6 wide, if not given.
        grid: passed on to `Figure.subplots` (sharex, width_ratios, …).
    """
    with mpl.rc_context(_THEME):
        fig = Figure(figsize=size or (min(4.2 * cols, 9.6), 3.2 * rows), layout="constrained")
        return fig, fig.subplots(rows, cols, **grid)


def legend(
    place: Figure | Axes,
    gates: Iterable[str] = GATES,
    *,
    loc: str = "outside right center",
    others: Sequence[Line2D] = (),
) -> None:
    """One legend of gates for a whole figure, beside the axes, or for one panel.

    Args:
        others: lines that are no gate's, shown below the gates.
    """
    handles = [*(Line2D([], [], **style(name)) for name in gates), *others]
    whole = isinstance(place, Figure)
    small = {} if whole else {"fontsize": "small", "handlelength": 2.5}
    with mpl.rc_context(_THEME):
        place.legend(handles=handles, loc=loc, title="gate" if whole else None, **small)


def facets(
    gates: Iterable[str],
    *,
    by: Callable[[str], str] = start,
    size: tuple[float, float] = (9.6, 3.4),
) -> tuple[Figure, list[tuple[Axes, list[str]]]]:
    """A figure with a panel for each start that the gates have, with its legend and on equal axes.

    Args:
        by: what else a panel has in common; it is the panel's title.
    Returns:
        The figure, and each panel with its gates; one empty panel if there is none.
    """
    groups: dict[str, list[str]] = {}
    for name in gates:
        groups.setdefault(by(name), []).append(name)
    groups = groups or {"no gate yet": []}
    fig, axes = subplots(1, len(groups), size=size, sharex=True, sharey=True, squeeze=False)
    for ax, (title, names) in zip(axes[0], groups.items(), strict=True):
        ax.set_title(title)
        legend(ax, names, loc="best")
    return fig, list(zip(axes[0], groups.values(), strict=True))


def level(ax: Axes, y: float, text: str, line: str = "--") -> None:
    """A grey line at a height that matters, named in the right margin of a row's last panel."""
    ax.axhline(y, color="0.4", lw=1, ls=line, zorder=0)
    place = ax.get_subplotspec()
    if place is None or place.is_last_col():
        ax.annotate(
            text, (1, y), (3, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", va="center", color="0.3", fontsize="small",
        )  # fmt: skip
