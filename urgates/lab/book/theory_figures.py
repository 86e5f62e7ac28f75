"""Pictures of the second paper's theory: how activations saturate, and how fast they then learn.

Every function takes the plotted numbers, a column per activation of theory/saturation.py after the
one of the horizontal axis, and gives the figure; `Bench.save` stores both.  z pre-activation,
f activation, u = 1 - f distance to saturation, τ training time, k horizon in steps.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from urgates.lab.book.look import style, subplots

LIKE = {"softsign": "S", "sigmoid": "-", "fast": "F", "refine": "R"}
"""The gate whose look an activation has."""
_DISTANCE = "distance to saturation, 1 − f (log scale)"
_PREDICTED = {"color": "0.15", "lw": 0.9, "ls": ":"}


def look(name: str) -> dict:
    """How an activation is drawn: keyword arguments for `Axes.plot`; your own in dashes."""
    if name not in LIKE:
        return {"color": "0.1", "linestyle": (0, (5, 1)), "lw": 2, "label": name}
    like = style(LIKE[name])
    return {"color": like["color"], "linestyle": like["linestyle"], "lw": 2, "label": name}


def named(frame: pd.DataFrame) -> list[str]:
    """The activations that a table has columns of."""
    return [name for name in frame.columns[1:] if " " not in name]


def _lines(ax: Axes, frame: pd.DataFrame, suffix: str = "", **scales: str) -> None:
    x = frame[frame.columns[0]]
    for name in named(frame):
        ax.plot(x, frame[name + suffix], **look(name))
    ax.set(**{f"{axis}scale": kind for axis, kind in scales.items()})


def _gates(ax: Axes, frame: pd.DataFrame) -> None:
    _lines(ax, frame)
    ax.set(xlabel="pre-activation z", ylabel="gate φ(z)", xlim=(-6, 6), ylim=(-0.02, 1.02))
    ax.legend(frameon=False, loc="upper left")


# ------------------------------------------------------------------ saturation


def shapes(frame: pd.DataFrame) -> Figure:
    """Gates and their gradients by z: columns z, then each activation and its " slope"."""
    fig, axes = subplots(1, 2, size=(9.6, 3.4))
    _gates(axes[0], frame)
    _lines(axes[1], frame, " slope")
    axes[1].set(xlabel="pre-activation z", ylabel="gradient φ'(z)", xlim=(-6, 6), ylim=(0, 0.3))
    return fig


def tails(frame: pd.DataFrame) -> Figure:
    """Distance to saturation and gradient by z: columns z, then each activation and " slope"."""
    fig, axes = subplots(1, 2, size=(9.6, 3.6))
    _lines(axes[0], frame, y="log")
    _lines(axes[1], frame, " slope", y="log")
    axes[0].set(xlabel="pre-activation z", ylabel="distance to saturation, 1 − φ (log scale)")
    axes[1].set(xlabel="pre-activation z", ylabel="gradient φ' (log scale)")
    for ax in axes:
        ax.set(xlim=(0, 12), ylim=(1e-9, 1))
    axes[0].legend(frameon=False, loc="lower right")
    return fig


def gain(frame: pd.DataFrame) -> Figure:
    """Gradients over a sigmoid's at the same u: columns u, "band low", "band high", activations."""
    fig, ax = subplots(size=(6.8, 3.8))
    color = look("refine")["color"]
    ax.fill_between(frame.u, frame["band low"], frame["band high"], color=color, alpha=0.2, lw=0)
    _lines(ax, frame, x="log", y="log")
    ax.annotate("any refine gate (Fig. 2d)", (1e-9, 2.3), color=color, ha="center",
                fontsize="small")  # fmt: skip
    ax.set(xlabel=_DISTANCE, xlim=(0.5, 1e-12), ylim=(0.04, 60))
    ax.set(ylabel="gradient over a sigmoid's\nat the same f (log scale)")
    ax.legend(frameon=False, loc="upper left")
    return fig


# ------------------------------------------------------------------ learnability


def losses(frame: pd.DataFrame, best: Mapping[str, float], label: str) -> Figure:
    """Loss by z, with the minima.

    Args:
        frame: columns z, then each activation.
        best: where each activation's loss is least; what lies outside is said in words.
        label: of the vertical axis.
    """
    fig, ax = subplots(size=(6.4, 3.4))
    _lines(ax, frame)
    for name, z in best.items():
        color = look(name)["color"]
        if z < frame.z.max():
            ax.plot(z, 0, "v", ms=7, color=color, clip_on=False)
        else:
            ax.annotate(f"{name}'s minimum\nis at z = {z:.0f}", (15.8, 0.74), ha="right",
                        color=color)  # fmt: skip
    ax.set(xlabel="pre-activation z", ylabel=label, xlim=(-1, 16), ylim=(0, 0.95))
    ax.legend(frameon=False, loc="center right")
    return fig


def learning_curves(frame: pd.DataFrame) -> Figure:
    """u by τ under the flow to λ* = 1: columns tau, then each activation and its " predicted"."""
    fig, ax = subplots(size=(7.2, 4.4))
    for name in named(frame):
        ax.loglog(frame.tau, frame[name], **look(name) | {"lw": 2.2})
        ax.loglog(frame.tau, frame[f"{name} predicted"], **_PREDICTED)
    at = (frame.tau - 1e8).abs().idxmin()
    for name, formula, shift in (
        ("softsign", "(3τ)$^{-1/3}$", (0, 8)), ("sigmoid", "1/τ", (0, 14)),
        ("refine", "1/(2τ)", (-22, -24)), ("fast", "1/(τ ln²τ)", (-34, -22)),
    ):  # fmt: skip
        ax.annotate(formula, (1e8, frame[name][at]), shift, textcoords="offset points",
                    color=look(name)["color"], ha="center")  # fmt: skip
    ax.plot([], [], **_PREDICTED, label="predicted")
    ax.set(xlabel="training time τ (log scale)", ylabel=_DISTANCE, xlim=(1, 1e10), ylim=(1e-13, 1))
    ax.legend(frameon=False, loc="lower left")
    return fig


def local_exponents(frame: pd.DataFrame) -> Figure:
    """d ln u / d ln τ by u: columns u, then each activation."""
    fig, ax = subplots(size=(6.8, 3.4))
    _lines(ax, frame, x="log")
    for level, text in ((-1 / 3, "−1/3"), (-1, "−1")):
        ax.axhline(level, **_PREDICTED, zorder=0)
        ax.annotate(text, (1.4e-15, level), (0, 3), textcoords="offset points", ha="right")
    ax.set(xlabel=_DISTANCE, ylabel="local exponent", xlim=(0.3, 1e-15), ylim=(-3.6, 0))
    ax.legend(frameon=False, loc="lower right")
    return fig


def finite_time(frame: pd.DataFrame, target: float, rate: float) -> Figure:
    """u by τ, flow and descent, whole and near the target.

    Args:
        frame: columns tau, then each activation and its ", rate …".
        target: the u that is to be reached.
        rate: of the descent.
    """
    fig, axes = subplots(1, 2, size=(9.6, 3.4))
    for ax in axes:
        ax.axhline(target, color="0.4", lw=1, ls="--", zorder=0)
        for name in named(frame):
            dots = {"color": look(name)["color"], "ms": 3, "lw": 0.6}
            ax.plot(frame.tau, frame[f"{name}, rate {rate}"], ".-", **dots)
            ax.plot(frame.tau, frame[name], **look(name))
        ax.set(xlabel="training time τ", ylabel="1 − f")
    axes[0].set(xlim=(0, 16), title=f"flow (line) and descent, rate {rate} (dots)")
    axes[0].legend(frameon=False, loc="upper right")
    axes[1].set(xlim=(10, 14), ylim=(0.0092, 0.0122), title="at the target: descent chatters")
    return fig


def horizon(frame: pd.DataFrame) -> Figure:
    """Time to learn k steps, by k: columns k, then each activation and its " from 1/2"."""
    fig, axes = subplots(1, 2, size=(9.6, 3.6))
    _lines(axes[0], frame, " from 1/2", y="log")
    _lines(axes[1], frame, x="log", y="log")
    places = {"softsign": (150, 1e9), "sigmoid": (1e5, 20), "refine": (1e5, 0.6)}
    for name, place in (places | {"fast": (20, 0.03)}).items():
        axes[1].annotate(name, place, color=look(name)["color"], ha="center")
    axes[0].set(title="start f = 1/2: a plateau for every gate", xlim=(2, 100), ylim=(1, 1e30))
    axes[0].annotate("softsign", (14, 1e6), color=look("softsign")["color"], ha="center")
    axes[0].annotate("sigmoid, refine and fast\non one line", (54, 1e8))
    axes[0].set(xlabel="horizon k [steps]", ylabel="training time to λ* = 0.9 (log scale)")
    axes[1].set(title="start f = 1 − 1/k: the gate's order", xlim=(2, 1e6), ylim=(1e-2, 1e12))
    axes[1].set(xlabel="horizon k [steps] (log scale)")
    return fig


def race(gates: pd.DataFrame, flows: pd.DataFrame) -> Figure:
    """Gates by z, and those gates' u by τ: columns z or tau, then each activation."""
    fig, axes = subplots(1, 2, size=(9.6, 3.6))
    _gates(axes[0], gates)
    _lines(axes[1], flows[["tau", *named(gates)]], x="log", y="log")
    axes[1].set(xlabel="training time τ (log scale)", ylabel="1 − f (log scale)", xlim=(1, 1e8))
    return fig
