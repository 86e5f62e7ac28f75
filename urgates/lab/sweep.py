"""The queue: trainings in order of worth, resumable at any moment, one process a core.

`QUEUE` lists what the book still wants to know, the most telling first. Every training is a run
like any other, below `runs/<preset>/<notebook>/`: stop it whenever you like, start it again and it
goes on; `urgates publish` takes over what is there.
"""

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import pandas as pd

from urgates.lab.experiments import protocol
from urgates.lab.jobs import Job
from urgates.lab.store.files import read_json
from urgates.lab.store.stored import met_goal
from urgates.lab.train import execute, train

_TOLD = {"status": str, "steps": int, "wall_seconds": int | float}
SOLVED = 0.01  # of the baseline's loss: nothing is left to learn


@dataclass(frozen=True)
class Training:
    """A job, and the notebook that wants it."""

    notebook: str
    job: Job

    @property
    def steps(self) -> int:
        """How many it makes, unless it is solved before."""
        return min(self.job.until or self.job.protocol.steps, self.job.protocol.steps)

    def folder(self, root: Path) -> Path:
        """Where its files go."""
        return Path(root) / "runs" / self.job.protocol.preset / self.notebook / "runs"

    def state(self, root: Path) -> tuple[str, int, float]:
        """("waiting", "begun" or "done", steps made, seconds spent), as its records tell."""
        paths = [self.folder(root) / f"{key.stem}.json" for key in self.job.runs]
        records = [read_json(path, _TOLD) for path in paths if path.exists()]
        if not records:
            return "waiting", 0, 0.0
        done = len(records) == len(paths) and all(
            record["status"] != "partial" or record["steps"] >= self.steps or met_goal(record)
            for record in records
        )  # of the whole stack: a kill may leave the last save half-way
        return "done" if done else "begun", records[0]["steps"], records[0]["wall_seconds"]

    def run(self, root: Path, limit_minutes: float = 0.0) -> None:
        """Train it, or go on."""
        train(self.job, self.folder(root), limit_minutes=limit_minutes, progress=False)


def each(
    notebook: str, tasks: str, preset: str, gates: str, *stacks, cell: str = "lstm", until: int = 0
) -> list[Training]:
    """Every task × stack of seeds × gate (words separated by spaces), gates innermost.

    Where a task has a baseline, a training ends once it is solved.
    """
    trainings = []
    for task, seeds, gate in product(tasks.split(), stacks or ((1, 2, 3),), gates.split()):
        p = protocol(task, preset)
        goal = SOLVED * (p.make_task().baseline or 0.0)
        trainings.append(Training(notebook, Job(p, cell, gate, seeds, until=until, goal=goal)))
    return trainings


def work(queue: Sequence[Training], root: Path, *, jobs: int = 2, minutes: float = 0.0) -> int:
    """Train what is left of the queue, `jobs` processes of one thread each; how many failed.

    Each is stopped after `minutes` (0: never), to go on when the queue is worked on again. An
    error in one does not stop the others: it is printed.
    """
    left = [training for training in queue if training.state(root)[0] != "done"]

    def told(k: int, error: Exception | None) -> None:
        if error:
            traceback.print_exception(error)
        print(f"{left[k].job.key.stem}: {left[k].state(root)[0]}", flush=True)

    errors = execute([partial(training.run, root, minutes) for training in left], jobs, told)
    return sum(error is not None for error in errors)


def table(queue: Sequence[Training], root: Path) -> pd.DataFrame:
    """One row per training: what it is, its state, steps made and wanted, hours left.

    Hours are guessed from the seconds a step that other gates of the task and preset have taken.
    """
    rows = []
    for training in queue:
        state, steps, seconds = training.state(root)
        key, models = training.job.group, len(training.job.models)
        row = {name: getattr(key, name) for name in ("task", "preset", "cell", "gate")}
        row |= {"seeds": " ".join(map(str, training.job.seeds)), "state": state, "steps": steps}
        pace = seconds / steps / models if steps else None
        rows.append(row | {"of": training.steps, "models": models, "pace": pace})
    frame = pd.DataFrame(rows)
    pace = frame.pace.fillna(frame.groupby(["task", "preset", "cell"]).pace.transform("median"))
    left = (frame.of - frame.steps).where(frame.state != "done", 0)
    return frame.assign(hours=left * frame.models * pace / 3600).drop(columns="pace")


_MEMORY, _FORGET, _CHOICES = "31_synthetic_memory", "E1_synthetic_forgetting", "32d_open_choices"
_STARTS = ("torch", "fan-in", "joint", "joint-kaiming")
_FIVE = (1, 2, 3, 4, 5)

QUEUE: list[Training] = [
    *each(_CHOICES, "pmnist-torch pmnist-fan-in", "laptop", "-"),
    *each(_MEMORY, "copy", "paper", "UR - R U OR O C UM OM", (1,), until=20_000),
    *each(_FORGET, "forgetting", "paper", "R - UR", _FIVE),
    *each(_FORGET, "forgetting-split", "paper", "R", _FIVE),
    *each(_FORGET, "forgetting-tied", "paper", "-", _FIVE),
    *each(_FORGET, "forgetting-batch-50", "paper", "R -", _FIVE),
    *each(_CHOICES, "pmnist-joint pmnist-joint-kaiming", "laptop", "-"),
    *each(_CHOICES, " ".join(f"pmnist-{start}" for start in _STARTS), "laptop", "UR R"),
    *each(_CHOICES, " ".join(f"copy-{start}" for start in _STARTS), "laptop", "- UR R"),
    *each(_FORGET, "forgetting-torch forgetting-joint forgetting-joint-kaiming", "paper", "- R"),
    *each(_MEMORY, "copy-torch", "paper", "UR R -", (1,), until=20_000),
    *each(_MEMORY, "adding", "paper", "R UR OR - U", (1,)),
    *each(_MEMORY, "copy", "paper", "UR - R U OR O C UM OM", (2,), (3,), until=20_000),
]
