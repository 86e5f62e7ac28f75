"""What trainings will take: seconds a step, measured on this device, and hours until the end."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median

import pandas as pd

from urgates.checks import positive_int
from urgates.lab.jobs import Job
from urgates.lab.learners import learner
from urgates.lab.sweep import Training, stacks
from urgates.lab.train import keep_freed_memory


def step_seconds(job: Job, device: str = "auto", steps: int = 3) -> float:
    """Seconds of one update of a job's stack: the median of so many, after one to warm up.

    Nothing is stored. Raises what making the learner raises: OSError where data are missing.
    """
    keep_freed_memory()
    models, taken = learner(job, device), []
    for _ in range(positive_int("steps", steps) + 1):
        start = time.perf_counter()
        for score in models.advance().values():
            score.sum().item()  # a GPU has to be done before it can answer
        taken.append(time.perf_counter() - start)
    return median(taken[1:])


def plan(
    trainings: Iterable[Training],
    root: Path,
    measure: Callable[[Job], float] = step_seconds,
    *,
    most: int = 0,
    told: Callable[[str], None] = print,
) -> pd.DataFrame:
    """A row for each stack that is left: its key, models, steps left, `seconds` a step, hours.

    Args:
        measure: gives a stack's seconds a step; stacks of equal size differ in seeds and rates
            alone, so one of them speaks for all.
        most: models in a stack, as in `sweep.stacks`.
        told: hears of what cannot be measured, and why; its hours are missing.
    """
    rows = []
    for training in trainings:
        known: dict[int, float] = {}
        for stack in stacks([training], root, most, aside=False):
            models, (state, made, _) = len(stack.job.models), stack.state(root)
            if models not in known:
                try:
                    known[models] = measure(stack.job)
                except OSError as error:
                    told(f"{stack.job.key.stem} cannot be measured: {error}")
                    known[models] = float("nan")
            left = stack.steps - (made if state == "begun" else 0)
            key = {name: getattr(stack.job.group, name) for name in ("task", "cell", "gate")}
            row = {"models": models, "steps": left, "seconds": known[models]}
            rows.append(key | row | {"hours": left * known[models] / 3600})
    columns = ["task", "cell", "gate", "models", "steps", "seconds", "hours"]
    return pd.DataFrame(rows, columns=columns)


def by_gate(stacks: pd.DataFrame) -> pd.DataFrame:
    """The rows of `plan` by task, cell and gate: stacks, models, seconds a step, hours in all."""
    groups = stacks.groupby(["task", "cell", "gate"], sort=False)
    return groups.agg(
        stacks=("models", "size"),
        models=("models", "sum"),
        steps=("steps", "max"),
        seconds=("seconds", "max"),
        hours=("hours", lambda hours: hours.sum(skipna=False)),
    ).reset_index()


def hours_on(hours: Sequence[float], processes: int) -> float:
    """Hours until all are done, each begun in turn by the process that is free first."""
    busy = [0.0] * positive_int("processes", processes)
    for one in hours:
        heapq.heapreplace(busy, busy[0] + one)
    return max(busy)
