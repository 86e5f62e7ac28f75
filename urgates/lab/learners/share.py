"""The rows of a batch that one of several processes computes, and what they tell each other.

W processes, each of the same model; of the B rows of a batch process r has r·B/W and those that
follow.  Gradients are means over the processes, as torch's DistributedDataParallel makes them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from urgates.checks import require


@dataclass(frozen=True)
class Share:
    """Process `rank` of `workers`; of one alone, it is everything."""

    rank: int = 0
    workers: int = 1

    def rows(self, batch: int, parts: int) -> list[slice]:
        """Its rows of a batch in equal parts; ValueError unless W · parts divides it."""
        each, left = divmod(batch, self.workers * parts)
        wanted = f"be a multiple of {self.workers} processes × accumulate {parts}"
        require("batch", left == 0, wanted, batch)
        first = self.rank * parts
        return [slice(k * each, (k + 1) * each) for k in range(first, first + parts)]

    def synchronised(self, model: nn.Module) -> nn.Module:
        """The model, with gradients that are means over the processes; all must ask for it."""
        many = self.workers > 1
        return DistributedDataParallel(model, gradient_as_bucket_view=True) if many else model

    def apart(self, model: nn.Module, last: bool) -> AbstractContextManager:
        """Where gradients are summed up here alone: for every part of a batch but the last."""
        return nullcontext() if last or self.workers == 1 else model.no_sync()

    def mean(self, x: Tensor) -> Tensor:
        """The mean over the processes."""
        if self.workers > 1:
            dist.all_reduce(x)
            x /= self.workers
        return x

    def gathered(self, x: Tensor, dim: int) -> Tensor:
        """What all processes have, one after the other along a dimension."""
        if self.workers == 1:
            return x
        parts = [
            torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(self.workers)
        ]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts, dim)


ALONE = Share()
