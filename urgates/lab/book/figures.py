"""Pictures: the plot kinds of the book in the `look` of the project, and saving with provenance.

A saved figure is three siblings: NAME.png (the picture), NAME.csv (exactly the plotted numbers),
NAME.json (where they come from).  What the book says about its figures (title, alternative text,
how to read it) is in figures.ini.  What unit_figures.py draws is here, too.  Empty data draw empty
axes, which `Bench.save` does not keep.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from configparser import ConfigParser
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from urgates.lab.book.look import STYLE, VERDICT, facets, legend, level, start, style, subplots
from urgates.lab.book.unit_figures import (
    before_after,
    histogram,
    moving_units,
    period_histograms,
    period_tails,
    ranked_periods,
    timescales,
)
from urgates.lab.store.runs import smoothed

__all__ = [
    "STYLE",
    "VERDICT",
    "VOLATILE",
    "accuracy_curves",
    "before_after",
    "curves",
    "described",
    "dots",
    "facets",
    "histogram",
    "legend",
    "level",
    "memory_curves",
    "memory_facets",
    "moving_units",
    "period_histograms",
    "period_tails",
    "ranked_periods",
    "ranking",
    "save",
    "seed_range",
    "start",
    "style",
    "subplots",
    "timescales",
    "verdict_bars",
]

DPI = 120
VOLATILE = ("commit", "device", "wall_seconds")  # true of one execution, not of the picture


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
    plotted = [
        part
        for name, group in frame.groupby("gate", sort=False)
        for part in _of_gate(ax, name, group.pivot(index="step", columns="seed", values=y), y)
    ]
    if baseline is not None:
        level(ax, baseline, "constant\npredictor")
    ax.set(xlabel="training step", ylabel=(ylabel or y) + (" (log scale)" if log else ""))
    if log:
        ax.set_yscale("log")
    return pd.concat(plotted, ignore_index=True) if plotted else frame.head(0)


def _of_gate(ax: Axes, name: str, wide: pd.DataFrame, y: str) -> Iterator[pd.DataFrame]:
    """Draw the seeds of one gate, a column each by step, and their quartiles."""
    look = style(name)
    thin = {"color": look["color"], "linestyle": look["linestyle"], "lw": 0.6, "alpha": 0.5}
    wide = wide.sort_index()
    finite = wide.where(np.isfinite(wide))
    for seed, values in finite.items():
        ran = values.dropna()
        ax.plot(ran.index, ran, **thin)
        if len(ran) and ran.index[-1] < wide.index[-1]:
            ax.plot(ran.index[-1], ran.iloc[-1], "x", color=look["color"], ms=6)
        yield _tidy(name, f"seed {seed}", ran, y)
    shared = finite.dropna()
    if shared.empty:
        return
    low, median, high = (shared.quantile(q, axis=1) for q in (0.25, 0.5, 0.75))
    ax.plot(median.index, median, **look, lw=1.8, ms=4, markevery=max(1, len(median) // 8))
    ax.fill_between(median.index, low, high, color=look["color"], alpha=0.15, lw=0)
    lines = {"lower quartile": low, "median": median, "upper quartile": high}
    yield from (_tidy(name, line, values, y) for line, values in lines.items())


def seed_range(ax: Axes, wide: pd.DataFrame, name: str | Mapping) -> None:
    """Draw the median of the seeds, a column each by step, and the range that all of them span.

    Args:
        name: a gate, or keyword arguments of `Axes.plot`.
    """
    look = style(name) if isinstance(name, str) else name
    wide = wide.dropna()
    ax.plot(wide.median(axis=1), **look, lw=1.6, ms=4, markevery=max(1, len(wide) // 8))
    low, high = wide.min(axis=1), wide.max(axis=1)
    ax.fill_between(wide.index, low, high, color=look["color"], alpha=0.12, lw=0)


def memory_curves(ax: Axes, frame: pd.DataFrame, baseline: float) -> pd.DataFrame:
    """`curves` of losses on a log scale, with the lines that claims speak of.

    Args:
        frame: columns gate, seed, step and loss.
        baseline: loss of the best constant predictor; 5 % of it count as solved.
    Returns:
        The plotted numbers.
    """
    plotted = curves(ax, frame, baseline=baseline, log=True)
    level(ax, 0.05 * baseline, "solved:\n5 %", ":")
    return plotted


def memory_facets(
    frame: pd.DataFrame, baseline: float, ylabel: str, by: Callable[[str], str] = start
) -> tuple[Figure, pd.DataFrame]:
    """`memory_curves` in `facets`: the figure and the plotted numbers."""
    fig, panels = facets(dict.fromkeys(frame.gate), by=by)
    parts = [memory_curves(ax, frame[frame.gate.isin(names)], baseline) for ax, names in panels]
    for ax, _ in panels:
        ax.set_ylabel("")
        ax.locator_params(axis="x", nbins=3)  # four panels share a page's width
    panels[0][0].set_ylabel(f"{ylabel} (log scale)")
    return fig, pd.concat(parts)


def accuracy_curves(axes: Sequence[Axes], frame: pd.DataFrame) -> pd.DataFrame:
    """Two panels as Fig. 5: accuracy on training batches (80 means), and on validation images.

    Args:
        axes: where to draw the two.
        frame: columns gate, seed, step, accuracy, valid_accuracy (empty between validations).
    Returns:
        The plotted numbers.
    """
    if frame.empty:
        frame = frame.reindex(columns=["gate", "seed", "step", "accuracy", "valid_accuracy"])
    stretch = max(frame.step.min(), frame.step.max() // 80) if len(frame) else 1
    train = smoothed(frame, "accuracy", stretch)
    valid = frame.dropna(subset="valid_accuracy")
    parts = [
        curves(axes[0], train, "accuracy", ylabel="training accuracy"),
        curves(axes[1], valid, "valid_accuracy", ylabel="validation accuracy"),
    ]
    return pd.concat(parts)


def dots(ax: Axes, frame: pd.DataFrame, x: str, gates: Iterable[str] | None = None) -> None:
    """One row per gate, from top to bottom: a mark for every run and a bar at their median.

    Args:
        frame: columns gate and `x`, one row per run; × over those `diverged`, if it has that too.
        gates: the rows, those of the frame if not given.
    """
    rows = list(dict.fromkeys(frame.gate if gates is None else gates))[::-1]
    for row, name in enumerate(rows):
        part, look = frame[frame.gate == name], style(name)
        ax.plot(part[x], [row] * len(part), **{**look, "linestyle": ""}, ms=6)
        if len(part) > 1:
            ax.plot(part[x].median(), row, "|", color=look["color"], ms=18, mew=2)
        if "diverged" in part:
            fallen = part[x][part.diverged]
            ax.plot(fallen, [row] * len(fallen), "x", color=look["color"], ms=9)
    ax.set(yticks=range(len(rows)), yticklabels=[style(name)["label"] for name in rows])


def ranking(
    ours: Axes, theirs: Axes, table: pd.DataFrame, paper: pd.Series, diverged: pd.Series
) -> pd.DataFrame:
    """Two panels of gates: the accuracies of our runs with their median, and the paper's number.

    The panels have scales of their own, and say how far each reaches.

    Args:
        table: columns gate, valid [%] and diverged, one row per run.
        paper, diverged: the paper's accuracy [%] and diverged seeds by gate; open where any did.
    Returns:
        The plotted numbers: the table with a column `paper`.
    """
    dots(ours, table, "valid")
    for row, name in enumerate(dict.fromkeys(table.gate[::-1])):
        if name in paper.index:
            face = "white" if diverged[name] else "0.6"
            theirs.plot(paper[name], row, "o", color="0.6", mfc=face, ms=7)
    data = table.merge(paper.rename("paper"), left_on="gate", right_index=True, how="left")
    ours.set_xlabel(f"best validation accuracy [%]\nmarks: runs, bar: median; {_span(data.valid)}")
    theirs.set_xlabel(f"best of all its runs [%]\nopen: seeds diverged; {_span(data.paper)}")
    return data


def _span(percent: pd.Series) -> str:
    return f"span: {percent.max() - percent.min():.1f} points"


def _tidy(name: str, line: str, values: pd.Series, y: str) -> pd.DataFrame:
    return pd.DataFrame({"gate": name, "line": line, "step": values.index, y: values.to_numpy()})


def verdict_bars(ax: Axes, counts: pd.DataFrame) -> None:
    """Stacked bars of claims: a row per table, a column per verdict, with the numbers in them."""
    left = 0 * counts.sum(axis=1)
    for word in (word for word in VERDICT if counts[word].any()):
        look, count = VERDICT[word], counts[word]
        ax.barh(counts.index, count, left=left, ec="0.2", label=word, **look)
        dark = word in ("confirmed", "reproduced", "seen")
        ink = {"ha": "center", "va": "center", "color": "white" if dark else "black"}
        box = {"fc": look["color"], "ec": "none", "pad": 1.5}
        for row, number in enumerate(count):
            if number:
                ax.text(left.iloc[row] + number / 2, row, str(number), bbox=box, **ink)
        left = left + count
    ax.set(xlabel="claims")
    ax.grid(axis="y", visible=False)
    ax.figure.legend(frameon=False, ncols=4, loc="outside lower center")


@cache
def _book() -> ConfigParser:
    texts = ConfigParser(interpolation=None)
    texts.read_string(Path(__file__).with_suffix(".ini").read_text(encoding="utf-8"))
    return texts


def described(notebook: str, name: str) -> dict[str, str]:
    """What the book says about a figure: its `title`, `alt` (what is seen) and `read` (how to).

    Empty for a figure that is not in figures.ini; a test wants every committed one there.
    """
    section = f"{notebook}/{name}"
    texts = dict(_book()[section]) if section in _book() else {}
    return {key: " ".join(text.split()) for key, text in texts.items()}


def _picture(fig: Figure, chunks: Mapping[str, str]) -> bytes:
    """A PNG of at most 256 colours, which takes a third of the bytes; with these text chunks."""
    full, small, told = io.BytesIO(), io.BytesIO(), PngInfo()
    fig.savefig(full, format="png", dpi=DPI)
    for key, text in chunks.items():
        told.add_text(key, text)
    with Image.open(full) as image:
        few = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(small, "PNG", optimize=True, dpi=(DPI, DPI), pnginfo=told)
    return small.getvalue()


def save(
    fig: Figure, stem: Path, data: pd.DataFrame, meta: Mapping, texts: Mapping[str, str] = {}
) -> dict:
    """Write STEM.png, STEM.csv and STEM.json; the same figure and data give the same bytes.

    Args:
        data: the plotted numbers, written with six digits.
        meta: provenance (notebook, paper, preset, seeds, …), plain JSON values.  All of it goes
            into the JSON file and, except the `VOLATILE` keys, into the picture's text chunks.
        texts: what `described` gives; all of it goes into the JSON file, the title on the picture.
    Returns:
        What the JSON file holds: `meta`, `texts` and the files' hashes under "sha256".
    """
    if not isinstance(data, pd.DataFrame) or data.empty:
        raise ValueError(f"data must be a DataFrame with the plotted numbers, got {data!r}")
    stem = Path(stem)
    if "title" in texts:
        fig.set_figheight(fig.get_figheight() + 0.3)  # room of its own: the panels stay as they are
        fig.suptitle(texts["title"], x=0.01, ha="left", weight="bold", size=11)
    lasting = {key: value for key, value in meta.items() if key not in VOLATILE}
    chunks = {
        "Source": f"urgates, {meta.get('notebook', '')}/{stem.name}",
        "Description": json.dumps(lasting, sort_keys=True),
    }
    table = data.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()
    files = {".csv": table, ".png": _picture(fig, chunks)}
    hashes = {suffix[1:]: hashlib.sha256(content).hexdigest() for suffix, content in files.items()}
    record = {**meta, **texts, "sha256": hashes}
    files[".json"] = (json.dumps(record, indent=1, sort_keys=True) + "\n").encode()
    stem.parent.mkdir(parents=True, exist_ok=True)
    for suffix, content in files.items():
        stem.with_name(stem.name + suffix).write_bytes(content)
    return record
