"""A small sweep to be killed: it notes who trains what, and saves after every step.

`python tests/sweeps.py ROOT ENGINE JOBS [ADDRESS]` works on it, or goes on; test_executors.py kills
its workers and itself. SWEEP_SAVES lets it save less often.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from urgates.lab.experiments import protocol
from urgates.lab.jobs import Job
from urgates.lab.sweep import Training, work
from urgates.lab.train import train

SLOW = replace(
    protocol("copy", "smoke"),
    **{"task_options": {"length": 3}, "hidden": 8, "batch": 2, "downsize": 8},
    **{"steps": 40, "log_every": 2, "keep_models": True},
)
PAUSE = 0.05  # seconds a step, so that there is time to be killed in
SAVES = float(os.environ.get("SWEEP_SAVES", 0))  # seconds between two; the last one aside


class Noted(Training):
    """A training that notes its process before it begins."""

    def run(self, root: Path, limit_minutes: float = 0.0) -> None:
        if self.state(root)[0] != "done":
            with open(root / "begun", "a") as file:
                file.write(f"{self.job.key.stem} {os.getpid()}\n")
            how = {"progress": False, "checkpoint_seconds": SAVES, "make": slow, "patience": 60}
            train(self.job, self.folder(root), "cpu", **how)


def slow(job: Job, device: str):
    """The learner of a job, at a step every now and then."""
    from urgates.lab.learners import learner

    models = learner(job, device)
    advance = models.advance

    def later():
        time.sleep(PAUSE)
        return advance()

    models.advance = later
    return models


QUEUE = [
    Noted("31_synthetic_memory", Job(SLOW, "lstm", gate, seeds))
    for seeds in ((1,), (2, 3))
    for gate in ("-", "U", "R", "UR")
]


def begun(root: Path) -> list[tuple[str, int]]:
    """What was begun, in order, and by which process."""
    path = root / "begun"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(stem, int(process)) for stem, process in map(str.split, lines)]


def done(root: Path) -> set[str]:
    """What has come to its end."""
    return {one.job.key.stem for one in QUEUE if one.state(root)[0] == "done"}


def running(root: Path) -> list[tuple[str, int]]:
    """What is half-way, and the process that is at it."""
    ends, last = done(root), dict(begun(root))
    half = {one.job.key.stem for one in QUEUE if one.state(root)[1] > SLOW.steps // 4} - ends
    return [(stem, process) for stem, process in last.items() if stem in half]


def logging(root: Path) -> set[str]:
    """What has logged some rows and is not done, whether or not it has saved."""
    logs = {one.job.key.stem: one.folder(root) / f"{one.job.runs[0].stem}.csv" for one in QUEUE}
    some = {k for k, log in logs.items() if log.exists() and log.read_text().count("\n") > 4}
    return some - done(root)


def awaited(what: Callable, seconds: float = 300.0):
    """The first true value of a call; TimeoutError if it takes too long."""
    end = time.monotonic() + seconds
    while not (value := what()):
        if time.monotonic() > end:
            raise TimeoutError(f"nothing within {seconds} s")
        time.sleep(0.05)
    return value


if __name__ == "__main__":
    from sweeps import QUEUE as importable  # the processes know it by that name

    root, engine, jobs, address = *sys.argv[1:4], (*sys.argv, "")[4]
    sys.exit(work(importable, Path(root), jobs=int(jobs), engine=engine, address=address))
