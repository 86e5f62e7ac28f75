"""What games and agents cost: frames per second, for the notebooks on agents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd
import torch

from urgates.lab.book.clock import stopwatch, threads, turn_about
from urgates.lab.book.timing import where
from urgates.lab.experiments import match, protocol
from urgates.lab.jobs import Job
from urgates.lab.learners.actor_critic import ActorCritic
from urgates.lab.tasks.match import Match, Rules

COLUMNS = ["what", "frames", "ms", "frames_per_second"]


def rates(
    batches: Sequence[int] = (1, 64, 4096), tasks: Sequence[str] = ("active", "active-1-rma"),
    gates: Sequence[str] = ("-", "UR"), preset: str = "laptop", rounds: int = 5, *,
    device: str = "cpu",
) -> pd.DataFrame:  # fmt: skip
    """Frames per second of random play, observations included, and of agents that learn.

    Args:
        batches: copies of the game that are played at once.
        tasks, gates, preset: whose agents make an update, two seeds side by side.
        rounds: of which medians are taken, on one thread.
    Returns:
        A row each: what, frames (of a call), ms, frames_per_second; device, torch, commit.
    """
    calls, frames = {}, {}
    for copies in batches:
        calls[name := f"play, {copies} at once"] = _player(copies, device)
        frames[name] = copies * Rules().steps
    for task in tasks:
        p = replace(protocol(task, preset), steps=10**6, log_every=1)
        cell = task.split("-")[-1] if "-" in task and task[-1].isalpha() else "lstm"
        for gate in gates:
            agents = ActorCritic(Job(p, cell, gate, (1, 2)), device)
            calls[name := f"learn, {task} {gate}"] = agents.advance
            frames[name] = 2 * match.frames(p)
    timed = {name: _timed(call, device) for name, call in calls.items()}
    with threads(1):
        ms = pd.DataFrame(turn_about(timed, rounds)[:, :, 0]).median()
    table = pd.DataFrame({"what": list(frames), "frames": list(frames.values()), "ms": ms})
    table["frames_per_second"] = 1e3 * table.frames / table.ms
    return table.assign(**where(device))


def _timed(call: Callable, device: str) -> Callable[[], list[float]]:
    return lambda: stopwatch(call, device=device)


def _player(copies: int, device: str) -> Callable[[], None]:
    """Plays an episode of every copy at random."""
    world = Match(Rules(), copies, device=device)
    dice = torch.Generator(device).manual_seed(0)

    def play() -> None:
        world.restart()
        for _ in range(world.rules.steps):
            world.step(torch.randint(4, (copies,), generator=dice, device=world.device))

    return play
