"""What every task offers, and the random numbers that its batches are made of.

B batch, T time steps, I inputs per step, O outputs, k decoded steps.
A batch is a function of (seed, step, batch size) and of nothing else: every gate sees the same
data (App. D.1), a resumed run needs no generator state, and no order of calls matters.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from operator import index

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from urgates.checks import refusal


def whole(name: str, value: int, least: int) -> int:
    """`value` as an int; ValueError unless it is a whole number of at least `least`."""
    try:
        number = index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise refusal(name, f"be a whole number of at least {least}", repr(value))
    return number


def draws(count: int, seed: int, *step: int) -> np.ndarray:
    """`count` uniform 64-bit numbers [count] uint64 that depend on seed and step only.

    PCG64's raw stream, unlike the distributions of torch and NumPy, is promised never to change;
    and torch's CPU generator reads only 32 bits of its seed, so long runs would repeat batches.
    """
    key = tuple(whole("step", number, 0) for number in step)
    source = np.random.SeedSequence(whole("seed", seed, 0), spawn_key=key)
    return np.random.PCG64(source).random_raw(count)


def perceptron(hidden_size: int, output_size: int) -> nn.Module:
    """Four ReLU layers of 256 units and a linear one, as Santoro et al. (2018) read a memory."""
    sizes = [whole("hidden_size", hidden_size, 1), *[256] * 4]
    layers = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], output_size))


@dataclass(frozen=True)
class Score:
    """A number that tells how well a model does: "lower" or "higher" is better."""

    name: str
    better: str = "lower"
    unit: str = ""

    def beats(self, value: float, best: float | None) -> bool:
        """Whether a value is better than the best so far (None: none so far)."""
        return best is None or (value < best if self.better == "lower" else value > best)


ACCURACY = Score("accuracy", "higher")


class Task(ABC):
    """A supervised sequence task; this base class scores class labels (cross-entropy)."""

    name: str
    """The word in file names, figures and protocols."""
    length: int
    """The paper's length of the task."""
    input_size: int
    """I, numbers per step."""
    output_size: int
    """O, numbers per decoded step."""
    readout: str | int
    """`"last"`: the head reads the last hidden state; a number k: each of the last k."""
    baseline: float | None
    """Loss of the best constant predictor; None where it is not a closed form."""
    scores: tuple[Score, ...] = (ACCURACY,)
    """What `metrics` tells beside the loss, in order."""
    select: Score | None = None
    """The one of `scores` that picks the best weights, on a validation set, where there is one."""

    @abstractmethod
    def batch(self, seed: int, step: int, batch_size: int) -> tuple[Tensor, Tensor]:
        """Inputs [B, T, I] float32 and targets of training step `step`."""

    def held(self, x: Tensor) -> Tensor | None:
        """Where in x a network's states stay as they are [B, T] bool: padding; None: nowhere."""
        return None

    def head(self, hidden_size: int) -> nn.Module:
        """The map from hidden states [..., H] to outputs [..., O]."""
        return nn.Linear(whole("hidden_size", hidden_size, 1), self.output_size)

    def decode(self, head: nn.Module, h: Tensor) -> Tensor:
        """What is scored of the hidden states h [B, T, H]: outputs [B, O], or [B, k, O]."""
        return head(h[:, -1] if self.readout == "last" else h[:, -self.readout :])

    def loss(self, out: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy in nats, scalar; `out` [B, O] or [B, k, O], `target` without O."""
        self._check(out, target)
        return F.cross_entropy(out.flatten(0, -2), target.flatten())

    def answers(self, target: Tensor) -> int:
        """How many answers a batch asks for: so much does it weigh in a mean over batches."""
        return len(target)

    def metrics(self, out: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Further scores, each a scalar: the share of right answers."""
        self._check(out, target)
        return {"accuracy": (out.argmax(-1) == target).float().mean()}

    def _check(self, out: Tensor, target: Tensor) -> None:
        """Refuse shapes that would broadcast into a wrong loss."""
        expected = (*target.shape, self.output_size)
        if out.shape != expected:
            raise refusal("out", f"have shape {expected}", str(tuple(out.shape)))
