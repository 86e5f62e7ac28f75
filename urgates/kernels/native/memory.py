"""Large blocks of memory that are used again: fresh ones cost as much time as the recurrence.

The system clears every page of a new block at its first touch, and takes large blocks back as soon
as they are freed.  `empty` hands out tensors whose block returns to a pool when the last tensor
that lies in it is gone, wherever it went in between: to autograd, to the user, to another thread.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from math import prod

import numpy as np
import torch
from torch import Tensor

SMALLEST = 2**20  # bytes; smaller blocks the C library uses again by itself


def _limit() -> int:
    """Bytes that may lie idle: 2 GiB, or an eighth of the machine's memory if that is less."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", ()):
        return 2**30
    return min(2**31, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8)


class Pool:
    """Idle blocks, at most `limit` bytes of them; safe under threads, fork, garbage collection.

    A block comes back whenever Python frees its last tensor, perhaps while this very thread holds
    the lock.  So returning waits for nothing: `returned` takes the block, and whoever holds the
    lock, now or next, sorts it in.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.idle: list[Tensor] = []  # the longest idle first
        self.returned: deque[Tensor] = deque()
        self.unlock()

    def unlock(self) -> None:
        """A new lock; in the child of a fork nobody would open the old one."""
        self.lock = threading.Lock()

    def take(self, size: int) -> Tensor:
        """A block of at least so many bytes: an idle one of less than twice the size, or new."""
        with self.lock:
            self._sort_in()
            fit = [b for b in reversed(self.idle) if size <= b.numel() < 2 * size]
            if fit:
                block = min(fit, key=Tensor.numel)
                self.idle = [b for b in self.idle if b is not block]
                return block
        try:
            return torch.empty(size, dtype=torch.uint8, device="cpu")
        except RuntimeError:  # no memory, unless the idle blocks are in its way
            if not self.release():
                raise
        return torch.empty(size, dtype=torch.uint8, device="cpu")

    def give(self, block: Tensor) -> None:
        """Take a block back."""
        self.returned.append(block)
        if self.lock.acquire(blocking=False):
            try:
                self._sort_in()
            finally:
                self.lock.release()

    def release(self) -> int:
        """Give all idle blocks back to the system; returns how many bytes they had."""
        with self.lock:
            self._sort_in()
            blocks, self.idle = self.idle, []
        return sum(map(Tensor.numel, blocks))

    def _sort_in(self) -> None:
        while self.returned:
            self.idle.append(self.returned.popleft())
        while sum(map(Tensor.numel, self.idle)) > self.limit:
            self.idle.pop(0)


pool = Pool(_limit())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.unlock)


class _Lease:
    """What an array's memory belongs to; its end is the block's return."""

    def __init__(self, block: Tensor, shape: tuple[int, ...], kind: str) -> None:
        self.block, self.give = block, pool.give
        place = (block.data_ptr(), False)
        self.__array_interface__ = {"data": place, "shape": shape, "typestr": kind, "version": 3}

    def __del__(self) -> None:
        self.give(self.block)


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A float32 or bfloat16 tensor on the CPU with anything in it."""
    kind = np.dtype(np.float32 if dtype == torch.float32 else np.int16)  # NumPy has no bfloat16
    size = kind.itemsize * prod(shape)
    if size < SMALLEST:
        return torch.empty(shape, dtype=dtype, device="cpu")
    return torch.from_numpy(np.asarray(_Lease(pool.take(size), shape, kind.str))).view(dtype)
