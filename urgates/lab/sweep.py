"""The queue: trainings in order of worth, resumable at any moment, one process a core.

`QUEUE` lists what the book still wants to know, the most telling first. Every training is a run
like any other, below `runs/<preset>/<notebook>/`: stop it whenever you like, start it again and it
goes on; `urgates publish` takes over what is there.
"""

import os
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from urgates.lab.experiments import Protocol, protocol
from urgates.lab.store.files import read_json
from urgates.lab.store.record import run_stem
from urgates.lab.train import train

_TOLD = {"status": str, "steps": int, "wall_seconds": int | float}
SOLVED = 0.01  # of the baseline's loss: nothing is left to learn


@dataclass(frozen=True)
class Training:
    """One stack to train: `seeds` at `rates`, up to `until` steps (0: all of the protocol's)."""

    notebook: str
    task: str
    preset: str
    gate: str
    seeds: tuple[int, ...] = (1,)
    rates: tuple[float, ...] = ()
    until: int = 0
    cell: str = "lstm"

    @property
    def protocol(self) -> Protocol:
        """What it is trained under."""
        return protocol(self.task, self.preset)

    @property
    def steps(self) -> int:
        """How many it makes, unless it is solved before."""
        return min(self.until or self.protocol.steps, self.protocol.steps)

    @property
    def goal(self) -> float:
        """The loss at which it is solved; 0 where a task has no baseline."""
        return SOLVED * (self.protocol.make_task().baseline or 0.0)

    def folder(self, root: Path) -> Path:
        """Where its files go."""
        return Path(root) / "runs" / self.preset / self.notebook / "runs"

    def state(self, root: Path) -> tuple[str, int, float]:
        """("waiting", "begun" or "done", steps made, seconds spent), as its records tell."""
        keys = product(self.seeds, self.rates or (self.protocol.lr,))
        stems = [run_stem(self.protocol, self.cell, self.gate, *key) for key in keys]
        paths = [self.folder(root) / f"{stem}.json" for stem in stems]
        records = [read_json(path, _TOLD) for path in paths if path.exists()]
        if not records:
            return "waiting", 0, 0.0
        done = len(records) == len(paths) and all(
            record["status"] != "partial"
            or record["steps"] >= self.steps
            or "loss below" in record.get("stopped", "")
            for record in records
        )  # of the whole stack: a kill may leave the last save half-way
        return "done" if done else "begun", records[0]["steps"], records[0]["wall_seconds"]

    def run(self, root: Path, limit_minutes: float = 0.0) -> None:
        """Train it, or go on."""
        train(
            *(self.protocol, self.cell, self.gate, self.seeds, self.folder(root)),
            **{"rates": self.rates, "until": self.steps, "goal": self.goal},
            **{"limit_minutes": limit_minutes, "progress": False},
        )


def each(notebook: str, tasks: str, preset: str, gates: str, *stacks, **options) -> list[Training]:
    """Every task × stack of seeds × gate (words separated by spaces), gates innermost."""
    keys = product(tasks.split(), stacks or ((1, 2, 3),), gates.split())
    return [Training(notebook, task, preset, gate, seeds, **options) for task, seeds, gate in keys]


def work(queue: Sequence[Training], root: Path, *, jobs: int = 2, minutes: float = 0.0) -> int:
    """Train what is left of the queue, `jobs` processes of one thread each; how many failed.

    Each is stopped after `minutes` (0: never), to go on when the queue is worked on again. An
    error in one does not stop the others: it is printed.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the new processes when torch starts there
    left = [training for training in queue if training.state(root)[0] != "done"]
    failed = 0
    with ProcessPoolExecutor(jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
        futures = {pool.submit(training.run, root, minutes): training for training in left}
        try:
            for future in as_completed(futures):
                training = futures[future]
                if error := future.exception():
                    if isinstance(error, KeyboardInterrupt):
                        raise error
                    failed += 1
                    traceback.print_exception(error)
                print(f"{training}: {training.state(root)[0]}", flush=True)
        except KeyboardInterrupt:  # those that train save; the others do not begin
            pool.shutdown(cancel_futures=True)
            raise
    return failed


def table(queue: Sequence[Training], root: Path) -> pd.DataFrame:
    """One row per training: what it is, its state, steps made and wanted, hours left.

    Hours are guessed from the seconds a step that other gates of the task and preset have taken.
    """
    rows = []
    for training in queue:
        state, steps, seconds = training.state(root)
        key = {name: getattr(training, name) for name in ("task", "preset", "cell", "gate")}
        key |= {"seeds": " ".join(map(str, training.seeds)), "state": state, "steps": steps}
        models = len(training.seeds) * max(len(training.rates), 1)
        pace = seconds / steps / models if steps else None
        rows.append(key | {"of": training.steps, "models": models, "pace": pace})
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
