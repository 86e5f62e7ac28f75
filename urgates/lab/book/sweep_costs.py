"""What a sweep costs: the same models in several ways, an engine's share, and GPUs for every table.

The first two are measured. The last is computed from stated times, for nobody has measured them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import pandas as pd

from urgates.lab.book.clock import threads
from urgates.lab.book.timing import where
from urgates.lab.executors import ENGINES, execute, here_is_ray
from urgates.lab.experiments import protocol
from urgates.lab.experiments.tables import TABLES
from urgates.lab.jobs import Job
from urgates.lab.plans import hours_on
from urgates.lab.sweep import Training, stacks, wanted

STEP = 40e-6  # seconds of a time step, forward and backward, of a stack too small to fill a GPU
RATE = 30e12  # operations per second of a GPU that is full
CHARACTERS = 151  # of a program: the longest of the benchmark's sizes that the paper names

RUNGS = {
    "one by one": (1, 1), "one stack": (0, 1), "two stacks": (0.5, 1),
    "two stacks, two processes": (0.5, 2),
}  # fmt: skip
"""What part of the models is a stack (1: a model), and in how many processes."""


def ladder(preset: str, models: int, steps: int, rounds: int, device: str = "cpu") -> pd.DataFrame:
    """Seconds of training the same models of Copy in the ways of RUNGS, from nothing to all files.

    Args:
        preset: of Copy's sizes; `steps` are made.
        rounds: in each of which every way takes its turn; the median counts.
    Returns:
        Columns rung, models, processes, seconds, per_model; device, torch, commit.
    """
    p = replace(protocol("copy", preset), steps=steps, log_every=steps // 4)
    whole = Training("X2_sweeps", Job(p, "lstm", "UR", range(1, models + 1)))
    taken: dict[str, list[float]] = {name: [] for name in RUNGS}
    for _ in range(rounds):
        for name, (part, processes) in RUNGS.items():
            most = part if part == 1 else round(part * models)
            with TemporaryDirectory() as root, threads(1):
                calls = [partial(s.run, Path(root)) for s in stacks([whole], Path(root), most)]
                taken[name].append(_seconds(calls, processes, ENGINES[0]))
    rows = {"rung": list(RUNGS), "models": models, "processes": [n for _, n in RUNGS.values()]}
    table = pd.DataFrame(rows | {"seconds": [median(times) for times in taken.values()]})
    return table.assign(per_model=table.seconds / models, **where(device))


def overhead(calls: int = 40, workers: int = 2, device: str = "cpu") -> pd.DataFrame:
    """Seconds until an engine has made its first call, and then for each, all doing nothing.

    Returns:
        Columns engine, start, per_call; device, torch, commit. Ray's row only where it is.
    """
    rows = []
    for engine in ENGINES[: 1 + here_is_ray()]:
        marks = [time.perf_counter()]
        execute([_nothing] * calls, workers, partial(_marked, marks), engine=engine)
        start, spent = marks[1] - marks[0], marks[-1] - marks[1]
        rows.append({"engine": engine, "start": start, "per_call": spent / (calls - 1)})
    return pd.DataFrame(rows).assign(**where(device))


def _nothing() -> None:
    pass


def _marked(marks: list[float], k: int, error: Exception | None) -> None:
    """Note when a call has ended, and that none may fail."""
    marks.append(time.perf_counter())
    if error:
        raise error


def _seconds(calls: list, processes: int, engine: str) -> float:
    start = time.perf_counter()
    for error in execute(calls, processes, engine=engine):
        if error:
            raise error
    return time.perf_counter() - start


# ------------------------------------------------------------------ computed


def gpu_seconds(job: Job) -> float:
    """Seconds of an update of a stack on one GPU, if STEP and RATE hold: computed, not measured.

    The recurrence alone; a memory core, a softmax or a game's pictures come on top.
    """
    p = job.protocol
    rows, layers = p.batch * len(job.models), p.learner_options.get("layers", 1)
    inputs = p.learner_options.get("embedding", 1)
    task = p.make_task()
    length = CHARACTERS if "nesting" in p.task_options else task.length
    done = 2 * prod((length, rows, 4, p.hidden, layers)) * (3 * p.hidden + 2 * (inputs + 1))
    return max(length * layers * STEP, done / RATE)


def needs(gpus: Sequence[int] = (1, 8, 64), preset: str = "paper") -> pd.DataFrame:
    """Hours that every table and figure of the paper takes on so many GPUs: computed.

    Stacks are as large as is best for that many GPUs, from single models to all of a gate.

    Returns:
        Columns table, models, then one for each number of GPUs.
    """
    rows = []
    for name in TABLES:
        trainings = wanted([name], preset)
        row = {"table": name, "models": sum(len(t.job.models) for t in trainings)}
        for number in gpus:
            row[f"{number}"] = min(_hours(trainings, number, most) for most in (0, 1, 2, 3, 6))
        rows.append(row)
    return pd.DataFrame(rows)


def _hours(trainings: Sequence[Training], gpus: int, most: int) -> float:
    left = [stack.job for stack in stacks(trainings, Path("/nonexistent"), most)]
    hours = [gpu_seconds(job) * job.protocol.steps / 3600 for job in left]
    return hours_on(sorted(hours, reverse=True), gpus)
