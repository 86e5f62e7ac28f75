"""What training knows of the models that it trains, and nothing more.

M models advance together; M may be 1. Whoever offers this is trained, killed, resumed, stored,
swept and read like any other.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol as Interface

import torch
from torch import Tensor

from urgates.checks import refusal
from urgates.lab.tasks import Score
from urgates.lab.tasks.base import draws


class Learner(Interface):
    """M models that make their updates together, each by its own seed and rate."""

    scores: tuple[Score, ...]
    """What `advance` tells, in order; the first is the loss."""
    select: Score | None
    """What `evaluate` tells that picks the best weights; None if nothing does."""
    step: int
    """Updates made."""
    died_at: list[int | None]
    """[M] the update at which a model ended because it was no longer finite; None: it lives."""

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""

    def advance(self) -> dict[str, Tensor]:
        """Make one update of every living model; each score [M]."""

    def evaluate(self, split: str, weights: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Scores [M] on "valid" or "test", of these weights or the current."""

    def probe(self) -> list[dict]:
        """What each model's gates do, as plain JSON values; empty if there is nothing to see."""

    def weights(self) -> dict[str, Tensor]:
        """What is kept of a trained model, by name, each [M, …]."""

    def state(self) -> tuple[dict[str, Tensor], dict]:
        """All that `restore` needs, tensors and plain JSON values: always the same names."""

    def restore(self, tensors: dict[str, Tensor], plain: dict) -> None:
        """Go on from what `state` gave; ValueError for values that it cannot have given."""

    def provenance(self) -> dict:
        """What else its numbers depend on: the device, the kernel …"""


def progress(plain: dict, steps: int, models: int) -> tuple[int, list[int | None]]:
    """The step and the ends of so many models in what `state` gave; ValueError if it cannot have.

    `steps` is the last one.
    """
    step, died_at = plain["step"], plain["died_at"]
    if not (isinstance(step, int) and 0 <= step <= steps):
        raise refusal("'step'", f"be in 0 … {steps}", repr(step))
    ends = list(died_at) if isinstance(died_at, list) else [died_at]
    if len(ends) != models or not all(isinstance(end, int | None) for end in ends):
        raise refusal("'died_at'", f"be {models} steps or None", repr(died_at))
    return step, ends


@contextmanager
def masks(seed: int, step: int, device: str) -> Iterator[None]:
    """Within it masks are drawn by a model's own seed and the step alone."""
    with torch.random.fork_rng([device] if device.startswith("cuda") else []):
        torch.manual_seed(int(draws(1, seed, step)[0]) >> 1)
        yield


def digits(means: Tensor) -> list[float | None]:
    """Numbers [H] for a JSON: six digits, None where a diverged model's is not a number."""
    return [round(v, 6) if v == v else None for v in means.tolist()]
