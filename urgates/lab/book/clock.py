"""The one clock of the book: milliseconds of calls that take turns, and bytes that they need.

A time by itself says little on a shared machine, a ratio of two that alternate says a lot.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from urgates.gates import positive_int
from urgates.lab.train import keep_freed_memory


def now(device: str = "cpu", clock: Callable[[], float] = time.perf_counter) -> float:
    """Milliseconds on a clock of seconds, once the device has done what it was given."""
    if device.startswith("cuda") and not torch.cuda.is_current_stream_capturing():
        torch.cuda.synchronize(device)
    return 1e3 * clock()


def stopwatch(
    *calls: Callable[[], object],
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Milliseconds that each of these calls takes, one after the other."""
    marks = [now(device, clock)]
    for call in calls:
        call()
        marks.append(now(device, clock))
    return np.diff(marks).tolist()


def turn_about(
    contenders: Mapping[str, Callable[[], Sequence[float]]], rounds: int, seconds: float = 0.0
) -> np.ndarray:
    """Milliseconds [rounds, contenders, phases] of contenders that take turns, in changing order.

    Args:
        contenders: each returns the milliseconds of its phases, `stopwatch` for one; two calls
            before the first round warm it up.
        seconds: each turn repeats until its first phase has taken about so long, and is a mean.
    """
    calls = list(contenders.values())
    repeats = []
    for call in calls:
        call()
        repeats.append(max(1, round(1e3 * seconds / call()[0])) if seconds else 1)
    taken: list[list] = [[None] * len(calls) for _ in range(positive_int("rounds", rounds))]
    for k, row in enumerate(taken):
        for j in np.random.default_rng(k).permutation(len(calls)):
            row[j] = np.mean([calls[j]() for _ in range(repeats[j])], axis=0)
    return np.array(taken)


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Measure on so many of torch's threads, or as many as there are, in memory that is reused."""
    before = torch.get_num_threads()
    wanted = before if number is None else positive_int("threads", number)
    keep_freed_memory()
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def kept(call: Callable[[], object]) -> int:
    """Bytes of tensors kept from forward to backward, weights and inputs included."""
    seen = {}

    def pack(x: Tensor) -> Tensor:
        seen[x.untyped_storage().data_ptr()] = x.untyped_storage()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        results = call()
    del results
    return sum(storage.nbytes() for storage in seen.values())


def peak(call: Callable[[], object]) -> int:
    """Most bytes at any moment in tensors that a call has made, backward included.

    What an operation needs inside and gives back before it returns is not seen.
    """
    with _Living() as living:
        result = call()
    del result
    return living.most


class _Living(TorchDispatchMode):
    """Bytes in what operations have returned, as long as it is there."""

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self.places: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = {storage.data_ptr() for storage in _storages((args, kwargs))}
        out = function(*args, **(kwargs or {}))
        for storage in _storages(out):
            place, size = storage.data_ptr(), storage.nbytes()
            if place not in given | self.places:
                self.places.add(place)
                self.now += size
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self._gone, place, size)
        return out

    def _gone(self, place: int, size: int) -> None:
        self.places.discard(place)
        self.now -= size


def _storages(values: object) -> list[torch.UntypedStorage]:
    return [x.untyped_storage() for x in tree_leaves(values) if isinstance(x, Tensor)]
