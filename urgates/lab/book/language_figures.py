"""Pictures of language models, and the paragraphs that they write.

A *row* is one of Table 6a: a gate, and for chrono its T_max where that is not H.  What draws
returns what `Bench.save` wants: a figure and the plotted numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from urgates.lab.book import unit_figures
from urgates.lab.book import units as of_units
from urgates.lab.book.figures import seed_range
from urgates.lab.book.look import legend, style, subplots
from urgates.lab.experiments.text import SPLITS, TABLE_6A, row_name
from urgates.lab.jobs import Job
from urgates.lab.store.runs import Runs
from urgates.lab.tasks.corpus import EOS
from urgates.lab.train import language_model

_TUNED = {"8": {"marker": "<", "linestyle": "-."}, "11": {"marker": ">", "linestyle": ":"}}


def look(row: str) -> dict:
    """How a row is drawn: as its gate, tuned chrono with a marker and a line of its own."""
    gate, _, t_max = row.partition(", Tmax ")
    return style(gate) | ({"label": row, **_TUNED.get(t_max, {})} if t_max else {})


def table_6a() -> tuple[Figure, pd.DataFrame]:
    """The paper's Table 6a: validation filled, test open, the plain LSTM dotted."""
    fig, ax = subplots(size=(7, 3))
    places = range(len(TABLE_6A))[::-1]
    for place, (_, found) in zip(places, TABLE_6A.iterrows(), strict=True):
        ax.plot(found, [place, place], color="0.7", lw=1.2, zorder=0)
        for split, face in (("valid.", "0.2"), ("test", "white")):
            ax.plot(found[split], place, "o", mfc=face, mec="0.2", ms=6)
    for level in TABLE_6A.loc["-"]:
        ax.axvline(level, color="0.2", lw=0.8, ls=":")
    ax.set(yticks=places, yticklabels=TABLE_6A.index, xlabel="perplexity on WikiText-103")
    return fig, TABLE_6A.reset_index(names="gate")


def beside_counting(table: pd.DataFrame, anchors: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Perplexities of every run: left beside what counting achieves, right by themselves.

    Args:
        table: rows of `experiments.text.perplexities`.
        anchors: columns row, valid, test: the counting models.
    """
    fig, (far, near) = subplots(1, 2, size=(9.6, 3.8), sharey=True)
    rows = [name for name in TABLE_6A.index if name in set(table.row)][::-1]
    for place, name in enumerate(rows):
        drawn = look(name) | {"linestyle": "", "ms": 6}
        for split, face in zip(SPLITS, (drawn["color"], "white"), strict=True):
            values, up = table[split][table.row == name], 0.15 if split == "valid" else -0.15
            near.plot([values.min(), values.max()], [place + up] * 2, color="0.6", lw=1.2, zorder=0)
            for ax in (near, far) if split == "test" else (near,):
                ax.plot(values, [place + up] * len(values), **drawn | {"markerfacecolor": face})
    for name, perplexity in zip(anchors.row, anchors.test, strict=True):
        far.axvline(perplexity, color="0.4", lw=1, ls="--", zorder=0)
        last = perplexity == anchors.test.max()  # its name is to the left, inside the axes
        beside = {"xytext": (-3 if last else 3, 0), "textcoords": "offset points", "va": "top"}
        beside |= {"ha": "right" if last else "left", "color": "0.3"}
        far.annotate(f"{name}\n{perplexity:.0f}", (perplexity, len(rows) + 0.25), **beside)
    far.set(xscale="log", yticks=range(len(rows)), yticklabels=rows, ylim=(-0.6, len(rows) + 0.3))
    far.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    far.xaxis.set_major_formatter("{x:g}")
    far.xaxis.set_minor_formatter("")
    far.set(xlabel="test perplexity (log scale)", title="beside counting")
    near.set(xlabel="perplexity (filled: validation, open: test)", title="by themselves")
    return fig, pd.concat([table, anchors], ignore_index=True)


def learning(curves: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Loss of training by step, and the gap to the plain LSTM on the same words: medians, ranges.

    Args:
        curves: rows of `experiments.text.curves`.
    """
    fig, axes = subplots(1, 2, size=(9.6, 3.8), sharex=True)
    rows = [name for name in TABLE_6A.index if name in set(curves.row)]
    for ax, y in zip(axes, ("loss", "gap"), strict=True):
        for name in rows:
            own = curves[curves.row == name]
            seed_range(ax, own.pivot(index="step", columns="seed", values=y), look(name))
        ax.set_xlabel("training step")
    axes[0].set(ylabel="training loss [nats per word]", title="learning curves")
    axes[1].set(ylabel="loss less the LSTM's [nats per word]", title="compared on the same words")
    lines = [Line2D([], [], **look(name)) for name in rows]
    fig.legend(handles=lines, loc="outside right center", title="row", frameon=False)
    late = curves[curves.step > 0.3 * curves.step.max()]
    for ax, y in zip(axes, ("loss", "gap"), strict=True):
        if late[y].notna().any():  # the first steps would flatten all that is of interest
            margin = 0.1 * (late[y].max() - late[y].min()) + 1e-3
            ax.set_ylim(late[y].min() - margin, late[y].max() + margin)
    return fig, curves


def time_scales(
    probes: pd.DataFrame, gates: Sequence[str], length: int, repeats: pd.DataFrame
) -> tuple[Figure, pd.DataFrame]:
    """Decay periods of units before and after training, beside how far apart words depend.

    Args:
        probes: columns gate, when and g, a row per unit and moment, as `Runs.probes` has them.
        length: of a segment of training, a labelled rule.
        repeats: rows of `experiments.text.repeats`.
    """
    parts = of_units.tails(probes, gates)
    fig, axes = subplots(1, 3, size=(9.6, 3.6), sharex=True)
    unit_figures.period_tails(axes[:2], parts, length)
    axes[2].axhline(1, color="0.4", lw=1, ls="--")
    axes[2].plot(repeats.distance, repeats.ratio, color="0.2", marker=".")
    axes[2].axvline(length, color="0.4", lw=1)
    axes[2].set(title="the text", xlabel="distance [words] (log scale)")
    axes[2].set_ylabel("same word again, times chance")
    legend(fig, dict.fromkeys(part.gate.iloc[0] for part in parts))
    text = repeats.rename(columns={"distance": "D", "ratio": "share"})
    return fig, pd.concat([*parts, text.assign(gate="text", when="always")])


def paragraphs(
    groups: Iterable[Runs], folder: Path, words: int = 60, seed: int = 1
) -> pd.DataFrame:
    """What each row's first finished model writes after the end of a sentence: row, text.

    Args:
        folder: where the checkpoints are that training left.
    """
    found = []
    for runs in groups:
        text = runs.protocol.make_task().corpus
        for gate in (gate for gate in runs.gates if runs.complete[gate]):
            first = Job(runs.protocol, runs.cell, gate, runs.complete[gate][:1])
            model = language_model(first, folder)
            said = [text.words[token] for token in model.sample(text.number[EOS], words, seed)]
            row = row_name(runs.protocol, gate)
            found.append({"row": row, "text": " ".join(said).replace(f" {EOS}", " /")})
    return pd.DataFrame(found, columns=["row", "text"])
