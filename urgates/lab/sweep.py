"""Sweeps: many trainings, resumable at any moment, on one machine or on a cluster.

`QUEUE` lists what the book still wants to know, the most telling first; `wanted` lists what tasks
or tables take at a preset. Every training is a run like any other, below
`runs/<preset>/<notebook>/`: stop it whenever you like, start it again and it goes on;
`urgates publish` takes over what is there.
"""

import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from urgates.checks import choice
from urgates.lab.executors import execute
from urgates.lab.experiments import PROTOCOLS, protocol
from urgates.lab.experiments.rows import OTHER_STARTS
from urgates.lab.experiments.tables import TABLES, part
from urgates.lab.jobs import Job
from urgates.lab.progress import Progress
from urgates.lab.store.files import read_json
from urgates.lab.store.stored import met_goal
from urgates.lab.train import remaining, survey, train

_TOLD = {"status": str, "steps": int, "wall_seconds": int | float}
SOLVED = 0.01  # of the baseline's loss: nothing is left to learn
_PATIENCE = 20.0  # seconds for what a killed sweep was training to end, too


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
        return self.state_in(self.folder(root))

    def state_in(self, folder: Path) -> tuple[str, int, float]:
        """The same, of the records in another folder."""
        paths = [folder / f"{key.stem}.json" for key in self.job.runs]
        records = [read_json(path, _TOLD) for path in paths if path.exists()]
        if not records:
            return "waiting", 0, 0.0
        done = len(records) == len(paths) and all(
            record["status"] != "partial" or record["steps"] >= self.steps or met_goal(record)
            for record in records
        )  # of the whole stack: a kill may leave the last save half-way
        return "done" if done else "begun", records[0]["steps"], records[0]["wall_seconds"]

    def run(self, root: Path, limit_minutes: float = 0.0) -> None:
        """Train it, or go on; it may have come to its end since somebody asked for it."""
        if self.state(root)[0] != "done":
            how = {"limit_minutes": limit_minutes, "patience": _PATIENCE}
            train(self.job, self.folder(root), progress=False, **how)


def each(tasks: str, preset: str, gates: str, *stacks, cell: str = "lstm", **how) -> list[Training]:
    """Every task × stack of seeds × gate (words separated by spaces), gates innermost.

    Where a task has a baseline, a training ends once it is solved. `how` goes to the jobs (`rates`:
    instead of those that the notebook reads).
    """
    trainings = []
    for task, seeds, gate in product(tasks.split(), stacks or ((1, 2, 3),), gates.split()):
        p, own = protocol(task, preset), part(task, cell)
        goal = SOLVED * (p.make_task().baseline or 0.0)
        trainings.append(Training(own.notebook, own.job(p, gate, seeds, goal=goal, **how)))
    return trainings


def wanted(
    words: Iterable[str], preset: str, cell: str = "lstm", notebook: str = ""
) -> list[Training]:
    """All that tasks, or tables of the paper, take at a preset: a training for each task and gate.

    ValueError for a word that is neither.
    """
    found: dict[tuple, Training] = {}
    for word in words:
        choice("task", word, [*TABLES, *dict.fromkeys(task for task, _ in PROTOCOLS)])
        if word not in TABLES:
            protocol(word, preset)  # or it says which presets there are
        for one in TABLES.get(word) or [part(word, cell, notebook)]:
            for job in one.jobs(preset):
                found.setdefault((one.notebook, job.key), Training(one.notebook, job))
    return list(found.values())


def stacks(
    trainings: Iterable[Training], root: Path, most: int = 0, *, aside: bool = True
) -> list[Training]:
    """What is left of them, as stacks of at most so many models (0: of all that can be together).

    Those that were begun go on as they are; runs of an earlier protocol are moved aside, or not.
    """
    found = []
    for training in trainings:
        left = remaining(training.job, training.folder(root), aside)
        begun = survey(training.job, training.folder(root)).begun
        for job in left:
            found += [
                replace(training, job=j) for j in _split(job, 0 if job.key in begun else most)
            ]
    return found


def _split(job: Job, most: int) -> list[Job]:
    """A job as jobs of at most so many models: all seeds of some rates, or some seeds of a rate."""
    if not most or len(job.models) <= most:
        return [job]
    seeds, rates = len(job.seeds), job.rates or (job.protocol.lr,)
    few, some = min(most, seeds), max(most // seeds, 1)
    return [
        replace(job, seeds=job.seeds[s : s + few], rates=rates[r : r + some])
        for r in range(0, len(rates), some)
        for s in range(0, seeds, few)
    ]


class _Steps(Progress):
    """How far a queue is, as its records tell wherever they are written."""

    def __init__(self, queue: Sequence[Training], root: Path):
        super().__init__()
        self.queue, self.root, self.start = queue, root, time.monotonic()
        self.before = self.steps()[0]

    def steps(self) -> tuple[int, int]:
        """Steps made and wanted, each model's."""
        made = of = 0
        for training in self.queue:
            (state, steps, _), models = training.state(self.root), len(training.job.models)
            of += models * (steps if state == "done" else training.steps)
            made += models * min(steps, training.steps)
        return made, of

    def __str__(self) -> str:
        made, of = self.steps()
        new, seconds = made - self.before, time.monotonic() - self.start
        left = f"{seconds * (of - made) / new / 3600:.2f} h" if new else "unknown time"
        return f"{made / max(of, 1):.0%} of {of:,} steps, {left} left"


def work(
    queue: Sequence[Training], root: Path, *, jobs: int = 2, minutes: float = 0.0, **how
) -> int:
    """Train what is left of the queue, `jobs` processes of one thread each; how many failed.

    Each is stopped after `minutes` (0: never), to go on when the queue is worked on again. An
    error in one does not stop the others: it is printed. `how` says where, to `execute`.
    """
    left = [training for training in queue if training.state(root)[0] != "done"]
    bar = tqdm(unit="step", disable=None)

    def told(k: int, error: Exception | None) -> None:
        if error:
            traceback.print_exception(error)
        nonlocal ended
        ended += 1
        word = f"{left[k].job.key.stem}: {left[k].state(root)[0]}"
        tqdm.write(f"{word}; {ended} of {len(left)} trainings, {steps}")

    ended = 0
    with bar, _Steps(left, root) as steps, steps.shown(bar):
        calls = [partial(training.run, root, minutes) for training in left]
        errors = execute(calls, jobs, told, **how)
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


def _other_starts(task: str) -> str:
    return " ".join(f"{task}-{start}" for start in OTHER_STARTS)


_FIVE = (1, 2, 3, 4, 5)
_BEST = (8e-3,)  # each gate's best in the sweep of its first seed

QUEUE: list[Training] = [
    *each("pmnist-torch pmnist-fan-in", "laptop", "-"),
    *each("copy", "paper", "UR - R U OR O C UM OM", (1,), until=20_000),
    *each("copy", "laptop", "- UR R U C OM O UM OR"),
    *each("adding", "laptop", "- UR R U C OM O UM OR"),
    *each("copy-tmax102", "laptop", "C"),
    *each("copy-forget1", "laptop", "R"),
    *each("forgetting", "paper", "R - UR", _FIVE),
    *each("forgetting-split", "paper", "R", _FIVE),
    *each("forgetting-tied", "paper", "-", _FIVE),
    *each("forgetting-batch-50", "paper", "R -", _FIVE),
    *each("pmnist-joint pmnist-joint-kaiming", "laptop", "-"),
    *each(_other_starts("copy"), "laptop", "- UR R"),
    *each(_other_starts("forgetting"), "paper", "- R"),
    *each(f"pmnist-fan-in {_other_starts('pmnist')}", "laptop", "UR R"),
    *each("pmnist-mean-logits pmnist-all-steps", "laptop", "UR"),
    *each("copy-torch", "paper", "UR R -", (1,), until=20_000),
    *each("copy", "paper", "UR - R U", (2,), (3,), until=20_000),
    *each("pmnist-swept", "laptop", "- UR R U C O OR OM UM", (1,)),
    *each("adding", "paper", "R UR OR - U", (1,)),
    *each("copy", "paper", "OR O C UM OM", (2,), (3,), until=20_000),
    *each("pmnist-swept", "laptop", "- UR R U C O OR OM UM", (2, 3), rates=_BEST),
]
