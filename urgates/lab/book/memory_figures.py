"""Pictures of synthetic memory and forgetting: the tasks, learning curves, what is left at the end.

Every function returns what `Bench.save` wants: a figure and the plotted numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from urgates.lab.book import figures
from urgates.lab.book.look import start, style, subplots
from urgates.lab.experiments.memory import thinned
from urgates.lab.store.runs import Runs

LOSS = {"copy": "cross-entropy", "adding": "mean squared error"}
ZONES = {"solved": (0, 0.05, "#009e73"), "not learned": (0.95, 2, "0.3")}  # shares of the baseline


def both_tasks(tokens: Tensor, numbers: Tensor) -> tuple[Figure, pd.DataFrame]:
    """One sequence of Copy above one of Adding.

    Args:
        tokens: Copy's one-hot inputs [T, 10].
        numbers: Adding's inputs [T, 2], values and marks.
    """
    tokens, (value, marked) = tokens.numpy(), numbers.numpy().T
    tasks = pd.DataFrame({"step": np.arange(len(tokens)), "token": tokens.argmax(-1)})
    tasks = tasks.assign(value=value, marked=marked.astype(int))
    fig, (top, bottom) = subplots(2, 1, size=(9, 3.6), sharex=True)
    top.imshow(tokens.T, cmap="Greys", aspect="auto", origin="lower", vmax=1.4)
    answer = len(tokens) - 10
    color = style("O")["color"]
    top.axvspan(answer - 0.5, len(tokens) - 0.5, color=color, alpha=0.2, lw=0)
    top.annotate("now say the ten symbols", (answer + 4.5, 4.5), ha="center", va="center")
    rest = (10 + answer) / 2 - 0.5
    top.annotate("remember …", (rest, 4.5), ha="center", va="center", color="0.5")
    top.set(title="Copy", ylabel="token", yticks=range(0, 10, 3))
    bottom.bar(tasks.step, tasks.value, color=np.where(tasks.marked, "#d55e00", "0.8"))
    bottom.set(title="Adding: the sum of the two marked values", ylabel="value")
    bottom.set_xlabel("time step")
    for ax in (top, bottom):
        ax.grid(False)
    return fig, tasks


def losses(
    runs: Runs, frame: pd.DataFrame | None = None, by: Callable[[str], str] = start
) -> tuple[Figure, pd.DataFrame]:
    """Learning curves of runs of a memory task, in panels by what the gates have in common.

    Args:
        frame: the curves, if not `thinned(runs)`.
    """
    task = runs.protocol.make_task()
    ylabel = f"{LOSS[task.name]}, N = {task.length}"
    frame = thinned(runs) if frame is None else frame
    return figures.memory_facets(frame, task.baseline, ylabel, by)


def what_is_left(final: pd.DataFrame, gates: Sequence[str]) -> tuple[Figure, pd.DataFrame]:
    """Two panels, Copy and Adding: the share of the baseline's loss at the end of every run.

    Args:
        final: columns task, gate, left, a row per run; a share that is not finite is left out.
        gates: the rows, from top to bottom.
    """
    final = final[np.isfinite(final.left)]
    lowest = final.left.min() / 2 if len(final) else 0.01
    order = [gate for gate in gates if gate in set(final.gate)]
    fig, axes = subplots(1, 2, size=(9, 3.8), sharey=True)
    for ax, task in zip(axes, ("copy", "adding"), strict=True):
        figures.dots(ax, final[final.task == task], "left", order)
        for word, (left, right, color) in ZONES.items():
            ax.axvspan(max(left, lowest), right, color=color, alpha=0.12, lw=0)
            ax.text(right, len(order) - 0.4, f"{word} ", ha="right", fontsize="small", va="center")
        ax.set(xscale="log", xlim=(lowest, 2), ylim=(-0.6, len(order)), title=task.title())
        ax.set(xlabel="loss left [of the baseline] (log scale)")
    return fig, final
