"""Pictures: one look per gate for the whole project, the plot kinds, and saving with provenance.

A gate's colour is its first axis in Table 1 (how the main gate starts), its line is the second
(the auxiliary gate), so that a legend reads like the table.  Fast and softsign gates have a hue of
their own, in a shade that tells their start.  A saved figure is three siblings:
NAME.png (the picture), NAME.csv (exactly the plotted numbers), NAME.json (where they come from).
Figures are plain objects without a window or a current figure; this file alone needs matplotlib.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from urgates.gates import GATES, Gate, gate

DPI = 120
VOLATILE = ("commit", "device", "wall_seconds")  # true of one execution, not of the picture

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
    g = gate(name)
    axis = g.bias if g.activation == "sigmoid" else g.activation
    if g.distributional and g.activation != "sigmoid":
        axis = f"{g.activation} {g.bias}"
    return {
        "color": _HUE[axis],
        "linestyle": _LINE[g.auxiliary],
        "marker": _MARKER[axis],
        "markerfacecolor": _FACE[g.auxiliary] or _HUE[axis],
        "label": "- (standard)" if g.name == "-" else g.name,
    }


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


def legend(fig: Figure, gates: Iterable[str] = GATES, *, loc: str = "outside right center") -> None:
    """One legend of gates for the whole figure, beside the axes."""
    handles = [Line2D([], [], **style(name)) for name in gates]
    with mpl.rc_context(_THEME):
        fig.legend(handles=handles, loc=loc, title="gate")


def curves(
    ax: Axes,
    frame: pd.DataFrame,
    y: str = "loss",
    *,
    baseline: float | None = None,
    ylabel: str | None = None,
    log: bool = False,
) -> pd.DataFrame:
    """Learning curves: every seed thin, per gate the median thick and the quartiles as a band.

    Median and band reach as far as all seeds of the gate do; a run that ended before its gate's
    longest one, or in a number that is not finite, is drawn as far as it came and closed by a ×.

    Args:
        frame: columns gate, seed, step and `y`, one row per logged step.
        baseline: loss of the best constant predictor, a grey dashed line.
    Returns:
        The plotted numbers: columns gate, line ("seed 0", "median", …), step, `y`.
    """
    if missing := {"gate", "seed", "step", y} - set(frame.columns):
        raise ValueError(f"frame must have the columns gate, seed, step, {y}; lacks {missing}")
    plotted = []
    for name, group in frame.groupby("gate", sort=False):
        look = style(name)
        color, line = look["color"], look["linestyle"]
        wide = group.pivot(index="step", columns="seed", values=y).sort_index()
        finite = wide.where(np.isfinite(wide))
        for seed, values in finite.items():
            ran = values.dropna()
            ax.plot(ran.index, ran, color=color, linestyle=line, lw=0.6, alpha=0.5)
            if len(ran) and ran.index[-1] < wide.index[-1]:
                ax.plot(ran.index[-1], ran.iloc[-1], "x", color=color, ms=6)
            plotted.append(_tidy(name, f"seed {seed}", ran, y))
        shared = finite.dropna()
        if shared.empty:
            continue
        low, median, high = (shared.quantile(q, axis=1) for q in (0.25, 0.5, 0.75))
        every = max(1, len(median) // 8)
        ax.plot(median.index, median, **look, lw=1.8, ms=4, markevery=every)
        ax.fill_between(median.index, low, high, color=color, alpha=0.15, lw=0)
        for label, values in (
            ("lower quartile", low),
            ("median", median),
            ("upper quartile", high),
        ):
            plotted.append(_tidy(name, label, values, y))
    if baseline is not None:
        ax.axhline(baseline, color="0.4", lw=1, ls="--", zorder=0)
        ax.annotate(
            "constant predictor", (1, baseline), (-2, 2), xycoords=("axes fraction", "data"),
            textcoords="offset points", ha="right", color="0.4", fontsize="small",
        )  # fmt: skip
    ax.set(xlabel="training step", ylabel=(ylabel or y) + (" (log scale)" if log else ""))
    if log:
        ax.set_yscale("log")
    return pd.concat(plotted, ignore_index=True) if plotted else frame.head(0)


def thinned(frame: pd.DataFrame, y: str, stretch: int) -> pd.DataFrame:
    """Means of `y` over stretches of so many steps, by run: columns gate, seed, step, `y`."""
    step = np.ceil(frame.step.astype(float) / stretch) * stretch
    return frame.groupby(["gate", "seed", step], sort=False)[y].mean().reset_index()


def memory_curves(ax: Axes, frame: pd.DataFrame, baseline: float) -> pd.DataFrame:
    """`curves` of losses on a log scale, with the lines that claims speak of.

    Args:
        frame: columns gate, seed, step and loss.
        baseline: loss of the best constant predictor; 5 % of it count as solved.
    Returns:
        The plotted numbers.
    """
    plotted = curves(ax, frame, baseline=baseline, log=True)
    ax.axhline(0.05 * baseline, color="0.4", lw=1, ls=":", zorder=0)
    ax.annotate("solved: 5 %", (0, 0.05 * baseline), (4, -10), textcoords="offset points",
                color="0.4", fontsize="small")  # fmt: skip
    return plotted


def accuracy_curves(axes: Sequence[Axes], frame: pd.DataFrame) -> pd.DataFrame:
    """Two panels as Fig. 5: accuracy on training batches (80 means), and on validation images.

    Args:
        axes: where to draw the two.
        frame: columns gate, seed, step, accuracy, valid_accuracy (empty between validations).
    Returns:
        The plotted numbers.
    """
    stretch = max(frame.step.min(), frame.step.max() // 80)
    train = thinned(frame, "accuracy", stretch)
    valid = frame.dropna(subset="valid_accuracy")
    parts = [
        curves(axes[0], train, "accuracy", ylabel="training accuracy"),
        curves(axes[1], valid, "valid_accuracy", ylabel="validation accuracy"),
    ]
    return pd.concat(parts)


def ranking(
    ours: Axes, theirs: Axes, table: pd.DataFrame, paper: pd.Series, diverged: pd.Series
) -> pd.DataFrame:
    """Two panels of gates: the accuracies of our runs with their median, and the paper's number.

    Args:
        table: columns gate, valid [%] and diverged, one row per run.
        paper, diverged: the paper's accuracy [%] and diverged seeds by gate; open where any did.
    Returns:
        The plotted numbers: the table with a column `paper`.
    """
    rows = list(dict.fromkeys(table.gate))[::-1]
    for row, name in enumerate(rows):
        part, look = table[table.gate == name], style(name)
        ours.plot(part.valid, [row] * len(part), **{**look, "linestyle": ""}, ms=6)
        fallen = part.valid[part.diverged]
        ours.plot(fallen, [row] * len(fallen), "x", color=look["color"], ms=9)
        ours.plot(part.valid.median(), row, "|", color=look["color"], ms=18, mew=2)
        if name in paper.index:
            face = "white" if diverged[name] else "0.6"
            theirs.plot(paper[name], row, "o", color="0.6", mfc=face, ms=7)
    ours.set(xlabel="best validation accuracy [%]", yticks=range(len(rows)), yticklabels=rows)
    theirs.set(xlabel="best of all its runs [%]; open: seeds diverged")
    return table.merge(paper.rename("paper"), left_on="gate", right_index=True, how="left")


def _tidy(name: str, line: str, values: pd.Series, y: str) -> pd.DataFrame:
    return pd.DataFrame({"gate": name, "line": line, "step": values.index, y: values.to_numpy()})


def histogram(
    ax: Axes, name: str, before: np.ndarray, after: np.ndarray, *, bins: int = 20
) -> pd.DataFrame:
    """Activations of one gate in [0, 1], before training (outline) and after (filled), Figs. 4, 9.

    Args:
        before, after: one mean activation per unit, any shape.
    Returns:
        The plotted shares of units: columns gate, when, left, right, share.
    """
    edges, color, plotted = np.linspace(0, 1, bins + 1), style(name)["color"], []
    for when, values in (("before", before), ("after", after)):
        values = np.ravel(values)
        if not (values.size and np.all((values >= 0) & (values <= 1))):
            raise ValueError(
                f"{when} must be numbers in [0, 1], got {values[:3]} … ({values.size})"
            )
        share = np.histogram(values, edges)[0] / values.size
        look = {"color": "0.3", "lw": 1} if when == "before" else {"color": color, "fill": True}
        ax.stairs(share, edges, label=when, alpha=1 if when == "before" else 0.6, **look)
        left, right = edges[:-1], edges[1:]
        columns = {"gate": name, "when": when, "left": left, "right": right, "share": share}
        plotted.append(pd.DataFrame(columns))
    ax.set(xlim=(0, 1), title=style(name)["label"], xlabel="gate activation")
    ax.set_ylabel("share of units")
    return pd.concat(plotted, ignore_index=True)


def save(fig: Figure, stem: Path, data: pd.DataFrame, meta: Mapping) -> dict:
    """Write STEM.png, STEM.csv and STEM.json; the same figure and data give the same bytes.

    Args:
        data: the plotted numbers, written with six digits.
        meta: provenance (notebook, paper, preset, seeds, …), plain JSON values.  All of it goes
            into the JSON file and, except the `VOLATILE` keys, into the picture's text chunks.
    Returns:
        What the JSON file holds: `meta` and the files' hashes under "sha256".
    """
    if not isinstance(data, pd.DataFrame) or data.empty:
        raise ValueError(f"data must be a DataFrame with the plotted numbers, got {data!r}")
    stem = Path(stem)
    lasting = {key: value for key, value in meta.items() if key not in VOLATILE}
    picture = io.BytesIO()
    chunks = {
        "Software": None,  # matplotlib's version would change the bytes
        "Source": f"urgates, {meta.get('notebook', '')}/{stem.name}",
        "Description": json.dumps(lasting, sort_keys=True),
    }
    fig.savefig(picture, format="png", dpi=DPI, metadata=chunks)
    table = data.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()
    files = {".csv": table, ".png": picture.getvalue()}
    hashes = {suffix[1:]: hashlib.sha256(content).hexdigest() for suffix, content in files.items()}
    record = {**meta, "sha256": hashes}
    files[".json"] = (json.dumps(record, indent=1, sort_keys=True) + "\n").encode()
    stem.parent.mkdir(parents=True, exist_ok=True)
    for suffix, content in files.items():
        stem.with_name(stem.name + suffix).write_bytes(content)
    return record
