"""What learners of stacked models share: Adam, each model at a rate of its own, and their state.

M models; a stacked parameter is [M, *shape].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from urgates.checks import require
from urgates.lab.devices import device_name
from urgates.lab.learners.base import progress
from urgates.lab.protocol import Protocol
from urgates.rnn import GRU, LSTM

MOMENTS = ("exp_avg", "exp_avg_sq")


def begin(adam: torch.optim.Adam) -> torch.optim.Adam:
    """Give an Adam the state that it has before the first step, so that it can be restored."""
    for group in adam.param_groups:
        for p in group["params"]:
            moments = {name: torch.zeros_like(p.detach()) for name in MOMENTS}
            adam.state[p] = {"step": torch.tensor(0.0), **moments}
    return adam


class StackedAdam:
    """torch's Adam on the parameters [M, …] of M models at M rates; it reads their `grad`.

    torch's knows one rate per group of parameters: neighbours of one rate are views of their own.
    `options` are Adam's others.  Raises ValueError unless all rates are within (0, 1).
    """

    def __init__(self, parameters: Mapping[str, Tensor], rates: Sequence[float], **options):
        for rate in rates:
            require("rates", 0 < rate < 1, "be within (0, 1)", rate)
        self.parameters = parameters
        ends = [m + 1 for m, rate in enumerate(rates) if rates[m + 1 : m + 2] != (rate,)]
        self.spans = [slice(*pair) for pair in zip([0, *ends], ends, strict=False)]
        self.views = {
            name: [p.detach()[span].requires_grad_() for span in self.spans]
            for name, p in parameters.items()
        }
        groups = zip(*self.views.values(), strict=True)
        by_rate = (
            {"params": views, "lr": rates[span.start]}
            for views, span in zip(groups, self.spans, strict=True)
        )
        self.adam = begin(torch.optim.Adam(by_rate, **options))

    def step(self, alive: Sequence[bool]) -> None:
        """Update the models that live; without gradient and momentum the others rest."""
        keep = None if all(alive) else torch.tensor(alive)
        for name, p in self.parameters.items():
            gradient = p.grad
            if keep is not None:
                gradient = torch.where(along(keep.to(p.device), p), gradient, 0)
            for view, span in zip(self.views[name], self.spans, strict=True):
                view.grad = gradient[span]
        self.adam.step()

    def freeze(self, m: int) -> None:
        """Take model m's momentum away."""
        for views in self.views.values():
            for view, span in zip(views, self.spans, strict=True):
                if span.start <= m < span.stop:
                    self.adam.state[view]["exp_avg"][m - span.start] = 0

    def state(self) -> dict[str, Tensor]:
        """Weights and moments by name, each [M, …]."""
        named = {f"weights/{name}": p.detach() for name, p in self.parameters.items()}
        for name, views in self.views.items():
            for moment in MOMENTS:
                parts = [self.adam.state[view][moment] for view in views]
                named[f"{moment}/{name}"] = torch.cat(parts)
        return named

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Take up what `state` gave after so many steps."""
        for name, p in self.parameters.items():
            p.copy_(tensors[f"weights/{name}"])
            for view, span in zip(self.views[name], self.spans, strict=True):
                adam = self.adam.state[view]
                adam["step"].fill_(step)
                for moment in MOMENTS:
                    adam[moment].copy_(tensors[f"{moment}/{name}"][span])


class Stacked:
    """M models that train side by side; who derives from it fills in the attributes."""

    protocol: Protocol
    device: str
    seeds: tuple[int, ...]
    parameters: dict[str, Tensor]
    adam: StackedAdam
    rnn: LSTM | GRU
    """The recurrent layer of any of them."""
    step: int
    died_at: list[int | None]

    @property
    def alive(self) -> list[bool]:
        """Which models still train."""
        return [step is None for step in self.died_at]

    @property
    def done(self) -> bool:
        """Whether nothing is left to train: the last step is made, or no model is finite."""
        return self.step >= self.protocol.steps or not any(self.alive)

    def update(self, finite: Tensor) -> None:
        """One step of the models that live; those that are not `finite` [M] bool end before it."""
        for m, fine in enumerate(finite.tolist()):
            if self.died_at[m] is None and not fine:
                self.died_at[m] = self.step
                self.adam.freeze(m)
        self.adam.step(self.alive)
        self.step += 1

    def weights(self) -> dict[str, Tensor]:
        """The parameters, each [M, *shape]."""
        return {name: p.detach() for name, p in self.parameters.items()}

    def state(self) -> tuple[dict[str, Tensor], dict]:
        """Weights and Adam's moments by name; the step, and when models ended."""
        return self.adam.state(), {"step": self.step, "died_at": self.died_at}

    def restore(self, tensors: dict[str, Tensor], plain: dict) -> None:
        """Take up what `state` gave."""
        self.step, self.died_at = progress(plain, self.protocol.steps, len(self.seeds))
        self.adam.restore(tensors, self.step)

    def provenance(self) -> dict:
        """The device and the kernel."""
        return {"device": device_name(self.device), "kernel": self.rnn.backend}


def along(per_model: Tensor, like: Tensor) -> Tensor:
    """[M] as [M, 1, …] with the dimensions of `like`."""
    return per_model.view(-1, *[1] * (like.dim() - 1))
