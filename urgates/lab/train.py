"""Training: the loop that drives a learner and its record, and what is left to train.

A run is a CSV of losses and a JSON of provenance; a killed run resumes from its checkpoint and
ends with the very bytes it would have ended with.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from urgates.lab.experiments import Protocol
from urgates.lab.learners.networks import Network
from urgates.lab.learners.supervised import Stack
from urgates.lab.progress import tell
from urgates.lab.store.files import locked
from urgates.lab.store.record import Record, begun, run_stem
from urgates.lab.store.stored import COMPLETE, read_model, read_record

_TELL_SECONDS = 1.0


def keep_freed_memory() -> None:
    """Let glibc reuse what it frees: fresh pages cost as much time as the recurrence."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no block of its own for a large tensor
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: nothing goes back to the system


def train(
    protocol: Protocol,
    cell: str,
    gate: str,
    seeds: Iterable[int],
    out_dir: Path | str,
    device: str = "auto",
    *,
    rates: Iterable[float] | None = None,
    until: int = 0,
    goal: float = 0.0,
    limit_minutes: float = 0.0,
    progress: bool = True,
    checkpoint_seconds: float = 60.0,
) -> None:
    """Train one cell and gate as a stack, or go on where it was interrupted.

    Its models are every seed at every rate of `rates` (the protocol's only, if not given). Writes
    a CSV and a JSON per model and a checkpoint per stack into `out_dir`. `limit_minutes > 0`
    stops in time, with status "partial"; the same call then goes on. So do `until` steps, and
    `goal`, a loss that every living model is below over its last ten rows; the JSON then says
    why it stopped. `progress` shows a bar on a terminal and a line per tenth elsewhere.

    Raises RuntimeError if another process trains this stack, CheckpointError or ValueError for
    files that cannot be resumed, OSError if the disk is full; nothing complete is lost by either.
    Ctrl-C ends the step, saves a checkpoint and raises KeyboardInterrupt.
    """
    keep_freed_memory()
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    begun = saved = time.monotonic()
    seeds, rates = tuple(seeds), tuple(rates or (protocol.lr,))
    lock = out_dir / f"{run_stem(protocol, cell, gate)}.lock"
    with locked(lock), _interrupts() as interrupts, ExitStack() as closing:
        stack = Stack(
            *(protocol, cell, gate, seeds * len(rates), device),
            rates=[rate for rate in rates for _ in seeds],
        )
        record = Record(stack, cell, gate, out_dir)
        closing.callback(record.close)
        name = run_stem(protocol, cell, gate, seeds, rates)
        show = _Progress(
            f"{protocol.task} {cell} {gate}", name, stack.step, protocol.steps, progress
        )
        closing.callback(show.close)
        while not (ended := stack.done or record.stop(until, goal)):
            if interrupts or 0 < 60 * limit_minutes < time.monotonic() - begun:
                break
            record.add(stack.advance())
            show.count(stack.step)
            if stack.step % protocol.log_every == 0:
                show.row(stack.step, record.row())
            if not stack.done and time.monotonic() - saved > checkpoint_seconds:
                record.save()
                saved = time.monotonic()
        record.save()
        tell(name, stack.step, stack.step if ended else protocol.steps)
        if interrupts:
            raise KeyboardInterrupt(
                f"stopped after step {stack.step} of {protocol.steps}; the same call goes on there"
            )


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


class _Progress:
    """A bar on a terminal, else a printed line for every tenth of the steps, or nothing.

    Whoever executes the notebook is told in any case.
    """

    def __init__(self, label: str, name: str, start: int, steps: int, wanted: bool):
        self.label, self.step, self.steps, self.wanted = label, start, steps, wanted
        self.name = name
        tell(name, start, steps)
        self.told = time.monotonic()
        on_terminal = wanted and sys.stderr.isatty()
        self.bar = tqdm(total=steps, initial=start, desc=label) if on_terminal else None

    def count(self, step: int) -> None:
        """Tell of the step, once in a while."""
        if time.monotonic() - self.told > _TELL_SECONDS:
            tell(self.name, step, self.steps)
            self.told = time.monotonic()

    def row(self, step: int, losses: list[float]) -> None:
        """Show the losses of a new row."""
        text = " ".join(f"{loss:.4g}" for loss in losses)
        if self.bar is not None:
            self.bar.update(step - self.step)
            self.bar.set_postfix_str(f"loss {text}")
        elif self.wanted and 10 * step // self.steps > 10 * self.step // self.steps:
            print(f"{self.label}: step {step} of {self.steps}, loss {text}", flush=True)
        self.step = step

    def close(self) -> None:
        """End the bar's line."""
        if self.bar is not None:
            self.bar.close()


def run_missing(
    keys: Iterable[tuple[Protocol, str, str]],
    seeds: Iterable[int],
    folder: Path,
    *,
    rates: Iterable[float] | None = None,
    jobs: int = 1,
    device: str = "auto",
    deadline: float = float("inf"),
    progress: bool = True,
) -> None:
    """Train every (protocol, cell, gate) whose seeds are not complete in `folder`, at all `rates`.

    Models that were begun together go on together; runs of an earlier protocol are moved aside
    into `folder/old-<digest>/`. With `jobs` > 1, so many processes of one thread each share the
    work. An error in one stack does not stop the others; the first is raised at the end.
    """
    folder = Path(folder)
    rates = tuple(rates or ())
    stacks = []
    for p, cell, gate in keys:
        missing = _missing(p, cell, gate, seeds, rates or (p.lr,), folder)
        for some_rates, some in missing:
            tell(run_stem(p, cell, gate, some, some_rates), 0, p.steps, planned=True)
        if not missing:
            tell(run_stem(p, cell, gate, seeds, rates), p.steps, p.steps, planned=True)
        stacks += [(p, cell, gate, *key, folder, device, deadline, progress) for key in missing]
    if jobs == 1 or len(stacks) < 2:
        for stack in stacks:
            _train_until(*stack)
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the new processes when torch starts there
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        try:
            for future in as_completed([pool.submit(_train_until, *stack) for stack in stacks]):
                future.result()
        except KeyboardInterrupt:  # each process has its own, and saves; the others do not begin
            pool.shutdown(cancel_futures=True)
            raise


def _train_until(p, cell, gate, rates, seeds, folder, device, deadline, progress) -> None:
    minutes = (deadline - time.time()) / 60
    if minutes > 0:
        limit = 0.0 if minutes == float("inf") else minutes
        train(
            *(p, cell, gate, seeds, folder, device),
            **{"rates": rates, "limit_minutes": limit, "progress": progress},
        )


def _missing(
    p: Protocol,
    cell: str,
    gate: str,
    seeds: Iterable[int],
    rates: Iterable[float],
    folder: Path,
) -> list[tuple[tuple[float, ...], tuple[int, ...]]]:
    """The stacks left to train, each the product of some rates and some seeds."""
    stem = run_stem(p, cell, gate)
    own, swept = (
        [read_record(path) for path in folder.glob(f"{stem}_{kind}*.json")]
        for kind in ("s", "lr*_s")
    )
    expected = [p.digest] * len(own)
    expected += [replace(p, lr=r["protocol"]["lr"]).digest for r in swept]
    records = own + swept
    if strange := {r["digest"] for r in records} - set(expected):
        aside = folder / f"old-{strange.pop()}"
        aside.mkdir(exist_ok=True)
        for path in _files(folder, stem):
            target = aside / path.relative_to(folder)
            target.parent.mkdir(exist_ok=True)
            os.replace(path, target)
        print(f"{stem}: the protocol has changed; earlier runs are now in {aside}")
        records = []
    done = {(r["protocol"]["lr"], r["seed"]) for r in records if r["status"] in COMPLETE}
    left = {rate: [seed for seed in seeds if (rate, seed) not in done] for rate in rates}
    stacks = []
    for stack in begun(folder, p, cell, gate):  # goes on as a whole, with seeds not asked for too
        pairs = set(product(*stack))
        wanted = {(rate, seed) for rate, some in left.items() for seed in some} & pairs
        if wanted and not done & pairs:
            stacks.append(stack)
            for rate, seed in wanted:
                left[rate].remove(seed)
    alike: dict[tuple[int, ...], list[float]] = {}
    for rate, some in left.items():
        alike.setdefault(tuple(some), []).append(rate)
    return stacks + [(tuple(some), key) for key, some in alike.items() if key]


def _files(folder: Path, stem: str) -> list[Path]:
    """All files of the runs of that stem; the JSONs, which make them count, come last."""
    places, kinds = (folder, folder / "models"), (f"{stem}_s*", f"{stem}_lr*_s*")
    found = [path for place in places for kind in kinds for path in place.glob(kind)]
    return sorted(found, key=lambda path: path.suffix == ".json")


def trained(protocol: Protocol, cell: str, gate: str, seed: int, folder: Path) -> Network:
    """The network that a finished run left in `folder`, as it was at its best validation.

    Raises ValueError if there is none (protocols with `keep_models` leave them), if its file is
    not the one that was left, or if it was trained under another protocol.
    """
    network = Network(protocol, cell, gate)
    network.load_state_dict(read_model(folder, protocol, cell, gate, seed))
    return network.eval()
