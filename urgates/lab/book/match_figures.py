"""Pictures of the matching games and of agents that play them.

What draws returns what `Bench.save` wants: a figure and the plotted numbers.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from PIL import Image

from urgates.lab.book.figures import seed_range
from urgates.lab.book.look import legend, level, subplots
from urgates.lab.experiments import chance
from urgates.lab.jobs import Job
from urgates.lab.store.runs import Runs
from urgates.lab.tasks.match import Match, Rules
from urgates.lab.tasks.oracle import knowing
from urgates.lab.tasks.rooms import SIGHT, WIDTH
from urgates.lab.train import as_left, survey

PHASES = ("look", "distractor", "choose")


# ------------------------------------------------------------------ the games


def episode(rules: Rules, seed: int = 1) -> tuple[np.ndarray, pd.DataFrame]:
    """An episode of one who knows everything: boards [T + 1, 56, 88, 3] uint8, and a row for each.

    What is out of sight of a player who does not is dark.  Columns step, phase, row, column and
    reward (so far).
    """
    world, total = Match(rules, 1, seed), 0.0
    world.restart()
    shown, rows, ends = [_lit(world)], [(0, *_place(world), 0.0)], np.cumsum(rules.frames)
    for step in range(1, rules.steps + 1):
        frame = world.step(knowing(world))
        total += float(frame.reward[0])
        shown.append(_lit(world))
        rows.append((step, *_place(world), total))
        if frame.done[0]:
            break
    table = pd.DataFrame(rows, columns=["step", "row", "column", "reward"])
    phase = np.searchsorted(ends[:2], table.step, side="right")
    table.insert(1, "phase", np.array(PHASES)[phase])
    return np.stack(shown), table


def _place(world: Match) -> tuple[int, int]:
    place = int(world.place[0])
    return place // WIDTH - SIGHT, place % WIDTH - SIGHT


def _lit(world: Match, scale: int = 8, dark: float = 0.45) -> np.ndarray:
    """The board, dark where the player does not see."""
    picture, (row, column) = world.picture(scale=scale), _place(world)
    light = np.full(picture.shape[:2], dark)
    top, left = (max(0, n - SIGHT) * scale for n in (row, column))
    light[top : (row + SIGHT + 1) * scale, left : (column + SIGHT + 1) * scale] = 1.0
    return (picture * light[..., None]).round().astype(np.uint8)


def filmstrip(
    boards: np.ndarray, table: pd.DataFrame, steps: Sequence[int]
) -> tuple[Figure, pd.DataFrame]:
    """Moments of an `episode`, six a row: the step, and the reward so far."""
    rows = -(-len(steps) // 6)
    fig, axes = subplots(rows, 6, size=(9.6, 1.5 * rows))
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[], frame_on=False)
    for ax, step in zip(axes.flat, steps, strict=False):
        ax.imshow(boards[step], interpolation="nearest")
        now = table.iloc[step]
        ax.set_title(f"{now.phase}, step {step}: {now.reward:g}", fontsize=8)
    return fig, table


def gif(boards: np.ndarray, milliseconds: int = 120) -> bytes:
    """Boards [n, h, w, 3] as a film that repeats; the same boards give the same bytes."""
    colours = Image.fromarray(boards.reshape(-1, *boards.shape[2:])).quantize(64)
    films = [Image.fromarray(board).quantize(palette=colours, dither=0) for board in boards]
    out, first = io.BytesIO(), films[0]
    first.save(out, "GIF", save_all=True, append_images=films[1:], duration=milliseconds, loop=0)
    return out.getvalue()


# ------------------------------------------------------------------ agents that learn


def learning(
    parts: Mapping[str, pd.DataFrame], levels: Mapping[str, Mapping[str, float]]
) -> tuple[Figure, pd.DataFrame]:
    """Reward of the last phase by agent steps, a panel each: medians and ranges over the seeds.

    Args:
        parts: by title, rows of `experiments.match.curves`.
        levels: by title, rewards that mean something, grey lines, by what earns them.
    """
    fig, axes = subplots(1, len(parts), size=(9.6, 3.6), sharey=True, squeeze=False)
    gates = dict.fromkeys(gate for part in parts.values() for gate in part.gate)
    for ax, (title, part) in zip(axes[0], parts.items(), strict=True):
        for gate, own in part.groupby("gate", sort=False):
            seed_range(ax, own.pivot(index="frames", columns="seed", values="last_phase"), gate)
        if part.empty:
            ax.text(0.5, 0.54, "not trained yet", transform=ax.transAxes, ha="center", color="0.4")
        for words, reward in levels.get(title, {}).items():
            level(ax, reward, words)
        ax.set(title=title, xlabel="agent steps (frames of the games)", ylim=(-0.3, 10.5))
    axes[0, 0].set_ylabel("reward of the last phase")
    legend(axes[0, 0], gates, loc="best")
    return fig, pd.concat([part.assign(task=title) for title, part in parts.items()])


def marks(runs: Runs) -> dict[str, float]:
    """What `learning` draws lines at: rewards that chance explains, by what earns them."""
    levels = chance.levels(runs.protocol.make_task())
    earn = {"walk": 0, "any\nsquare": 1, "remember\na walk": 3}
    return {words: float(levels.iloc[k]) for words, k in earn.items()}


def traces(groups: Iterable[Runs], folder: Path) -> pd.DataFrame:
    """Effective forget gates of trained agents step by step, in episodes that none was trained on.

    Columns task, gate, seed, step, `all` (mean over units and episodes), `best` (over the tenth of
    the units that keep most through the distractor phase).  Made from the checkpoints in `folder`.
    """
    parts = []
    for runs in groups:
        p, rules = runs.protocol, runs.protocol.make_task()
        for gate, done in runs.complete.items():
            job = Job(p, runs.cell, gate)
            stacks = [key.seeds for key in survey(job, folder).begun if not key.rates]
            for seeds in (some for some in stacks if {*some} <= {*done}):
                agents = as_left(replace(job, seeds=seeds), folder)
                seen = agents.play(p.steps).seen
                for seed, gates in zip(agents.seeds, agents.gates(seen), strict=True):
                    key = {"task": p.task, "gate": gate, "seed": seed}
                    parts.append(_trace(gates["g"], rules).assign(**key))
    columns = ["task", "gate", "seed", "step", "all", "best"]
    return pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)


def _trace(g: torch.Tensor, rules: Rules) -> pd.DataFrame:
    """Of effective gates [B, T, H] of an agent."""
    first, second, _ = np.cumsum(rules.frames)
    mean = g.mean(0)
    kept = g[:, first:second].double().clamp(min=1e-9).log().sum(1).mean(0)
    best = kept.topk(-(-len(kept) // 10)).indices
    columns = {"step": range(1, len(mean) + 1), "all": mean.mean(1), "best": mean[:, best].mean(1)}
    return pd.DataFrame(columns)


def forgetting(table: pd.DataFrame, rules: Rules) -> tuple[Figure, pd.DataFrame]:
    """`traces` of a task: the best tenth of the units, and what they keep after so many steps.

    Args:
        rules: of the task; the distractor phase is shaded.
    """
    fig, (gates, kept) = subplots(1, 2, size=(9.6, 3.6))
    first, second, _ = np.cumsum(rules.frames)
    for gate, own in table.groupby("gate", sort=False):
        wide = own.pivot(index="step", columns="seed", values="best")
        seed_range(gates, wide, gate)
        seed_range(kept, wide[wide.index > first].cumprod(), gate)
    for ax in (gates, kept):
        ax.axvspan(first, second, color="0.9", lw=0, zorder=0)
    gates.set(xlabel="step of the episode", ylabel="effective forget gate g")
    kept.set(xlabel="step of the episode", ylabel="share kept since the first phase")
    legend(gates, dict.fromkeys(table.gate), loc="best")
    return fig, table


def reach(discounts: Sequence[float], steps: int) -> tuple[Figure, pd.DataFrame]:
    """What a reward of 10 is worth so many steps before: discounted γᵏ, and by itself (γλ)ᵏ."""
    k = np.arange(steps + 1)
    table = pd.concat(
        [pd.DataFrame({"discount": d, "k": k, "worth": 10.0 * d**k, "itself": 10.0 * d ** (2 * k)})
         for d in discounts]
    )  # fmt: skip
    fig, ax = subplots(size=(7, 3.4))
    for shade, (d, own) in zip(
        ("0.65", "#0173b2", "#d55e00"), table.groupby("discount"), strict=False
    ):
        ax.plot(own.k, own.worth, color=shade, label=f"γ = {d:g}")
        ax.plot(own.k, own.itself, color=shade, ls=":")
    ax.set(
        yscale="log", ylim=(1e-9, 20), xlabel="steps before the reward of 10", ylabel="its worth"
    )
    ax.legend(title="dotted: by itself")
    return fig, table
