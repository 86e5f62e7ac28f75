"""Copy and Adding (§3.1, App. D.1), made afresh for every step.

B batch, T time steps. With no memory the best loss is log 8 on Copy and 1/6 on Adding.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from urgates.lab.tasks.base import ACCURACY, Score, Task, draws, whole

SYMBOLS = 8  # the alphabet 1..8; 0 is blank, 9 asks for the answer
CUES = 10  # how many symbols are shown, and asked for


@dataclass(frozen=True)
class Copy(Task):
    """Recall ten symbols after `length` blank steps (§3.1); T = length + 20.

    Raises ValueError unless `length` is a whole number of at least 1.
    """

    length: int = 500

    name = "copy"
    input_size = output_size = SYMBOLS + 2
    readout = CUES
    baseline = math.log(SYMBOLS)
    scores = (ACCURACY, Score("loss_8", unit="nats"))

    def __post_init__(self):
        whole("length", self.length, 1)

    def batch(self, seed: int, step: int, batch_size: int) -> tuple[Tensor, Tensor]:
        """One-hot tokens [B, T, 10] float32 and the symbols to recall [B, 10] int64 in 1..8."""
        shape = whole("batch_size", batch_size, 1), CUES
        raw = draws(math.prod(shape), seed, step) % SYMBOLS  # 8 divides 2^64: exactly uniform
        symbols = 1 + torch.from_numpy(raw.astype(np.int64)).view(shape)
        blanks = symbols.new_zeros(batch_size, self.length)
        tokens = torch.cat([symbols, blanks, torch.full_like(symbols, SYMBOLS + 1)], dim=1)
        return torch.eye(self.input_size)[tokens], symbols

    def metrics(self, out: Tensor, target: Tensor) -> dict[str, Tensor]:
        """`accuracy`, and `loss_8`: the cross-entropy among the eight symbols alone."""
        symbols = out[..., 1 : 1 + SYMBOLS].flatten(0, -2)
        return super().metrics(out, target) | {
            "loss_8": F.cross_entropy(symbols, target.flatten() - 1)
        }


@dataclass(frozen=True)
class Adding(Task):
    """Add the two marked values of a sequence, one from each half (§3.1); T = length.

    Raises ValueError unless `length` is a whole number of at least 2.
    """

    length: int = 2000

    name = "adding"
    input_size = 2
    output_size = 1
    readout = "last"
    baseline = 1 / 6  # the variance of a sum of two uniform numbers
    scores = ()

    def __post_init__(self):
        whole("length", self.length, 2)

    def batch(self, seed: int, step: int, batch_size: int) -> tuple[Tensor, Tensor]:
        """(value in [0, 1), marker in {0, 1}) [B, T, 2] float32 and the sums [B] float32."""
        B, T, half = whole("batch_size", batch_size, 1), self.length, self.length // 2
        raw = draws(B * (T + 2), seed, step).reshape(B, T + 2)
        value = torch.from_numpy((raw[:, :T] >> 40).astype(np.float32)) * 2**-24
        marked = np.stack([raw[:, T] % half, half + raw[:, T + 1] % (T - half)], axis=1)
        marked = torch.from_numpy(marked.astype(np.int64))
        marker = torch.zeros_like(value).scatter_(1, marked, 1.0)
        return torch.stack([value, marker], dim=2), value.gather(1, marked).sum(1)

    def loss(self, out: Tensor, target: Tensor) -> Tensor:
        """Mean squared error, scalar; `out` [B, 1], `target` [B]."""
        self._check(out, target)
        return F.mse_loss(out.squeeze(-1), target)

    def metrics(self, out: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Nothing beyond the loss."""
        return {}
