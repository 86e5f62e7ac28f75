"""Training: what is left to train, and the loop that drives a learner and its record.

A run is a CSV of scores and a JSON of provenance; a killed run resumes from its checkpoint and
ends with the very bytes it would have ended with.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

from urgates.lab.executors import execute
from urgates.lab.jobs import Job, RunKey
from urgates.lab.learners import Learner, learner, workers
from urgates.lab.learners.language import LanguageModel
from urgates.lab.learners.networks import Network
from urgates.lab.progress import Bar, tell
from urgates.lab.store.files import load_checkpoint, locked
from urgates.lab.store.record import Record, keys
from urgates.lab.store.stored import COMPLETE, read_best, read_model, read_record


def keep_freed_memory() -> None:
    """Let glibc reuse what it frees: fresh pages cost as much time as the recurrence."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no block of its own for a large tensor
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: nothing goes back to the system


# ------------------------------------------------------------------ one job


def train(
    job: Job,
    folder: Path | str,
    device: str = "auto",
    *,
    limit_minutes: float = 0.0,
    progress: bool = True,
    checkpoint_seconds: float = 60.0,
    make: Callable[[Job, str], Learner] = learner,
    patience: float = 0.0,
) -> None:
    """Train the models of a job as one stack, or go on where they were interrupted.

    Writes a CSV and a JSON per model and a checkpoint per stack into `folder`. `limit_minutes > 0`
    stops in time, with status "partial"; the same call then goes on. So do the job's own limits;
    the JSON then says why it stopped. `progress` shows a bar on a terminal and a line per tenth
    elsewhere. `make` builds the learner, where it is not the protocol's in this process.
    `patience` is how many seconds another process that trains this stack has to end.

    Raises RuntimeError if another process trains this stack, CheckpointError or ValueError for
    files that cannot be resumed, OSError if the disk is full; nothing complete is lost by either.
    After Ctrl-C the step is ended and saved, then KeyboardInterrupt raised.
    """
    keep_freed_memory()
    folder, p, name = Path(folder), job.protocol, job.key.stem
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60 * (limit_minutes or float("inf"))
    with _interrupts() as interrupts, ExitStack() as closing:
        for key in sorted(job.runs):
            closing.enter_context(locked(folder / f"{key.stem}.lock", patience=patience))
        models = make(job, device)
        record = Record(models, job, folder)
        closing.callback(record.close)
        bar = Bar(f"{p.task} {job.cell} {job.gate}", name, models.step, p.steps, progress)
        closing.callback(bar.close)
        halt = partial(_late, interrupts, deadline)
        ended = drive(models, record, bar, halt, checkpoint_seconds)
        tell(name, models.step, models.step if ended else p.steps)
        if interrupts:
            raise KeyboardInterrupt(
                f"stopped after step {models.step} of {p.steps}; the same call goes on there"
            )


def _late(interrupts: list[int], deadline: float) -> bool:
    return bool(interrupts) or time.monotonic() > deadline


def train_together(job: Job, folder: Path | str, device: str = "auto", **how) -> None:
    """`train` in one process, or in each of those that torchrun has started, as one.

    Raises ConnectionError if one of them is lost, besides what `train` raises.
    """
    if not workers.several():
        return train(job, folder, device, **how)
    with workers.team(device) as team:
        if team.rank:
            team.follow()
        else:
            train(job, folder, team.device, make=team.learner, **how)


def drive(
    models: Learner, record: Record, bar: Bar, halt: Callable, checkpoint_seconds: float
) -> bool:
    """Advance a learner and keep its record until it is done; whether it is, or has met its goal.

    `halt`, asked before every step, stops it earlier.
    """
    saved, every = time.monotonic(), record.protocol.log_every
    while not (ended := bool(models.done or record.stop())) and not halt():
        record.add(models.advance())
        bar.count(models.step)
        if models.step % every == 0:
            bar.row(models.step, record.row())
        if not models.done and time.monotonic() - saved > checkpoint_seconds:
            record.save()
            saved = time.monotonic()
    record.save()
    return ended


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """The signals of Ctrl-C so far, which do nothing else here: a step is made whole or not at all.

    Elsewhere than in the main thread, or where Ctrl-C is ignored, it stays empty.
    """
    noted: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield noted
        return
    signal.signal(signal.SIGINT, lambda number, _: noted.append(number))
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def trained(job: Job, folder: Path) -> Network:
    """The network that the finished run of a job's one model left, at its best validation.

    Raises ValueError if there is none (protocols with `keep_models` leave them), if its file is
    not the one that was left, or if it was trained under another protocol.
    """
    network = Network(job.protocol, job.cell, job.gate)
    network.load_state_dict(read_model(folder, job))
    return network.eval()


def language_model(job: Job, folder: Path) -> LanguageModel:
    """The language model of a job's one finished run, at its best validation; see `read_best`."""
    words = job.protocol.make_task().output_size
    model = LanguageModel(job.protocol, job.cell, job.gate, words)
    model.load_state_dict(read_best(folder, job))
    return model.eval()


def best_network(job: Job, folder: Path) -> Network:
    """The network of a job's one finished run, at its best validation; see `read_best`."""
    network = Network(job.protocol, job.cell, job.gate)
    network.load_state_dict(read_best(folder, job))
    return network.eval()


def as_left(job: Job, folder: Path, device: str = "cpu") -> Learner:
    """The models of a job as their finished stack left them, from its checkpoint in `folder`.

    ValueError if there is none of all of them, or one of another protocol.
    """
    path = Path(folder) / f"{job.key.stem}.safetensors"
    tensors, state = load_checkpoint(path) or ({}, {})
    if state.get("digest") != job.protocol.digest or "results" not in state:
        raise ValueError(f"{path} must be of a finished stack of this protocol: train it there")
    models = learner(job, device)
    models.restore(tensors, state["learner"])
    return models


# ------------------------------------------------------------------ what is left


@dataclass(frozen=True)
class Stored:
    """What a folder holds of a job's cell and gate: complete models (rate, seed), stacks begun.

    `stale` is the digest of another protocol that something was trained under, else "".
    """

    done: frozenset[tuple[float, int]] = frozenset()
    begun: tuple[RunKey, ...] = ()
    stale: str = ""


def survey(job: Job, folder: Path) -> Stored:
    """Look what is there."""
    found = [
        (key, read_record(Path(folder) / f"{key.stem}.json"))
        for key in keys(folder, job.group, ".json")
    ]
    stale = [
        record["digest"]
        for key, record in found
        if not job.fits(record, record["protocol"]["lr"] if key.rates else None)
    ]
    done = {(r["protocol"]["lr"], r["seed"]) for _, r in found if r["status"] in COMPLETE}
    kinds = ("", ".prev")
    stacks = {key for kind in kinds for key in keys(folder, job.group, f".safetensors{kind}")}
    return Stored(frozenset(done), tuple(sorted(stacks)), stale[0] if stale else "")


def plan(job: Job, stored: Stored) -> list[Job]:
    """The stacks that are left to train of a job, given what is stored.

    Models that were begun together go on together, with seeds that are not asked for too; the
    others train as few stacks, each the product of some rates and some seeds.
    """
    own = (job.protocol.lr,)
    left = {
        rate: [seed for seed in job.seeds if (rate, seed) not in stored.done]
        for rate in job.rates or own
    }
    stacks = []
    for key in stored.begun:
        pairs = set(product(key.rates or own, key.seeds))
        wanted = {(rate, seed) for rate, some in left.items() for seed in some} & pairs
        if wanted and not stored.done & pairs:
            stacks.append(replace(job, seeds=key.seeds, rates=key.rates))
            for rate, seed in wanted:
                left[rate].remove(seed)
    alike: dict[tuple[int, ...], list[float]] = {}
    for rate, some in left.items():
        alike.setdefault(tuple(some), []).append(rate)
    fresh = [replace(job, seeds=some, rates=tuple(rates)) for some, rates in alike.items() if some]
    return stacks + fresh


def put_aside(job: Job, folder: Path, digest: str) -> None:
    """Move all files of a job's cell and gate to `folder/old-<digest>`."""
    aside = Path(folder) / f"old-{digest}"
    aside.mkdir(exist_ok=True)
    places = (Path(folder), Path(folder) / "models")
    found = [path for place in places for path in place.glob(f"{job.group.stem}_*")]
    for path in sorted(found, key=lambda path: path.suffix == ".json"):  # these make them count
        target = aside / path.relative_to(folder)
        target.parent.mkdir(exist_ok=True)
        os.replace(path, target)
    print(f"{job.group.stem}: the protocol has changed; earlier runs are now in {aside}")


def remaining(job: Job, folder: Path, aside: bool = True) -> list[Job]:
    """The stacks left of a job; runs of an earlier protocol, if any, are moved aside (or not)."""
    stored = survey(job, folder)
    if stored.stale and aside:
        put_aside(job, folder, stored.stale)
    return plan(job, Stored() if stored.stale else stored)


def run_missing(
    jobs: Iterable[Job],
    folder: Path,
    *,
    workers: int = 1,
    device: str = "auto",
    deadline: float = float("inf"),
    progress: bool = True,
) -> None:
    """Train what is not complete in `folder`, until the clock shows `deadline`.

    Runs of an earlier protocol are moved aside into `folder/old-<digest>/`. An error in one stack
    does not stop the others; the first is raised at the end, with the others noted.
    """
    calls = []
    for job in jobs:
        steps, left = job.protocol.steps, remaining(job, folder)
        for stack in left or [job]:
            tell(stack.key.stem, 0 if left else steps, steps, planned=True)
        calls += [
            partial(_train_until, stack, Path(folder), device, deadline, progress) for stack in left
        ]
    errors = [error for error in execute(calls, workers) if error]
    if errors:
        for other in errors[1:]:
            errors[0].add_note(f"and in another stack: {other!r}")
        raise errors[0]


def _train_until(job: Job, folder: Path, device: str, deadline: float, progress: bool) -> None:
    minutes = (deadline - time.time()) / 60
    if minutes > 0:
        limit = 0.0 if minutes == float("inf") else minutes
        train(job, folder, device, limit_minutes=limit, progress=progress)
