"""The supervised learner: M models (seeds × rates) of one cell and gate that train as one stack.

M models, B batch, T time steps, I inputs, H hidden units; a stacked parameter is [M, *shape].
Every seed has its own weights and its own data stream, the same for every gate (D.1); Adam, and
clipping by the global norm of each model. A model whose loss or gradient is no longer finite is
frozen and recorded as diverged; the others do not notice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from urgates.lab.learners.networks import build
from urgates.lab.tasks.base import draws

if TYPE_CHECKING:
    from urgates.lab.experiments.protocol import Protocol

_EVAL_BATCH = 500


def choose_device(device: str) -> str:
    """The device "auto" stands for (a GPU if there is one), or `device` itself if it works here."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.empty(0, device=device).is_meta:
            raise RuntimeError("it holds no numbers")
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(
            f"device is {device!r}; expected auto, cpu, cuda or cuda:N ({reason})"
        ) from None
    return device


class Stack:
    """M models of one protocol, cell and gate that train side by side, one per seed.

    `rates` are their learning rates, the protocol's if not given: a sweep of S seeds and L rates is
    one stack of L · S models.  `step` counts updates; `died_at[m]` is the one at which model m
    stopped being finite, or None.
    """

    def __init__(
        self,
        protocol: Protocol,
        cell: str,
        gate: str,
        seeds: Iterable[int],
        device: str = "auto",
        rates: Iterable[float] | None = None,
    ):
        self.protocol, self.seeds, self.device = protocol, tuple(seeds), choose_device(device)
        self.task = protocol.make_task()
        models = [build(protocol, cell, gate, seed).to(self.device) for seed in self.seeds]
        self.parameters, _ = stack_module_state(models)
        self.network = models[0].eval()
        self.rates = tuple(rates or [protocol.lr] * len(self.seeds))
        if len(self.rates) != len(self.seeds) or not all(0 < rate < 1 for rate in self.rates):
            raise ValueError(f"rates must be one in (0, 1) per seed, got {self.rates}")
        # Adam knows one rate per group of parameters: neighbours of one rate are views of their own
        ends = [m + 1 for m, rate in enumerate(self.rates) if self.rates[m + 1 : m + 2] != (rate,)]
        self.spans = [slice(*pair) for pair in zip([0, *ends], ends, strict=False)]
        self.views = {
            name: [p.detach()[span].requires_grad_() for span in self.spans]
            for name, p in self.parameters.items()
        }
        groups = zip(*self.views.values(), strict=True)
        self.optimizer = torch.optim.Adam(
            {"params": views, "lr": self.rates[span.start]}
            for views, span in zip(groups, self.spans, strict=True)
        )
        self.step = 0
        self.died_at: list[int | None] = [None] * len(self.seeds)

    @property
    def alive(self) -> list[bool]:
        """Which models still train."""
        return [step is None for step in self.died_at]

    @property
    def done(self) -> bool:
        """Whether nothing is left to train: the last step is made, or no model is finite."""
        return self.step >= self.protocol.steps or not any(self.alive)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of what `advance` returns: the loss, then the task's own scores."""
        _, target = self.task.batch(self.seeds[0], 0, 1)
        out = torch.zeros(*target.shape, self.task.output_size)
        return ("loss", *self.task.metrics(out, target))

    def forward(self, x: Tensor, parameters: dict[str, Tensor] | None = None) -> Tensor:
        """Outputs [M, B, …] of every model on its own x [M, B, T, I]; weights: the current ones."""
        return vmap(
            lambda p, inputs: functional_call(self.network, p, (inputs,)), randomness="different"
        )(parameters or self.parameters, x)

    @contextmanager
    def _masks(self) -> Iterator[None]:
        """Dropout and zoneout masks, each model's own, of the first seed and the step alone."""
        self.network.train()
        with torch.random.fork_rng([self.device] if self.device.startswith("cuda") else []):
            torch.manual_seed(int(draws(1, self.seeds[0], self.step)[0]) >> 1)
            yield
        self.network.eval()

    def advance(self) -> dict[str, Tensor]:
        """One update of every living model; returns its loss and metrics, each [M]."""
        batches = [self.task.batch(seed, self.step, self.protocol.batch) for seed in self.seeds]
        x, target = (torch.stack(part).to(self.device) for part in zip(*batches, strict=True))
        with self._masks():
            out = self.forward(x)
        loss = vmap(self.task.loss)(out, target)
        for p in self.parameters.values():
            p.grad = None
        loss.sum().backward()
        norm = self._clip()
        finite = (loss.isfinite() & norm.isfinite()).tolist()
        for m, fine in enumerate(finite):
            if self.died_at[m] is None and not fine:
                self._freeze(m)
        if not all(self.alive):
            keep = torch.tensor(self.alive, device=self.device)
            for p in self.parameters.values():
                p.grad = torch.where(_along(keep, p), p.grad, 0)
        for name, p in self.parameters.items():
            for view, span in zip(self.views[name], self.spans, strict=True):
                view.grad = p.grad[span]
        self.optimizer.step()
        self.step += 1
        with torch.no_grad():
            return {"loss": loss.detach()} | vmap(self.task.metrics)(out, target)

    def _clip(self) -> Tensor:
        """Scale each model's gradient to a global norm of at most `clip`; the norms [M] before."""
        gradients = [p.grad for p in self.parameters.values()]
        norm = sum(g.flatten(1).square().sum(1) for g in gradients).sqrt()
        scale = (self.protocol.clip / norm).clamp(max=1.0)
        for g in gradients:
            g.mul_(_along(scale, g))
        return norm

    def _freeze(self, m: int) -> None:
        """Keep model m at its last finite weights: without momentum and gradient Adam rests."""
        self.died_at[m] = self.step
        for views in self.views.values():
            for view, span in zip(views, self.spans, strict=True):
                if span.start <= m < span.stop and view in self.optimizer.state:
                    self.optimizer.state[view]["exp_avg"][m - span.start] = 0

    def accuracy(self, split: str, parameters: dict[str, Tensor] | None = None) -> Tensor:
        """Share of right answers [M] on "valid" or "test", of these parameters or the current."""
        right, count = 0, 0
        with torch.no_grad():
            for x, target in self.task.evaluate_batches(split, _EVAL_BATCH):
                x, target = x.to(self.device), target.to(self.device)
                out = self.forward(x.expand(len(self.seeds), *x.shape), parameters)
                share = vmap(self.task.metrics, (0, None))(out, target)["accuracy"]
                right = right + (share * len(target)).round()
                count += len(target)
        return right / count

    def unit_gates(self) -> list[dict[str, list[float]]]:
        """Per model, each unit's mean over a fresh batch and time of every gate (Fig. 4, 9).

        "f" is the main gate and "g" the effective forget gate; lists of H floats, six digits
        (None where a diverged model's gate is not a number).
        """

        def plain(gate: Tensor) -> list[float | None]:
            return [round(v, 6) if v == v else None for v in gate.mean((0, 1)).tolist()]

        means = []
        for m, seed in enumerate(self.seeds):
            self.network.load_state_dict({k: p[m] for k, p in self.parameters.items()})
            x, _ = self.task.batch(seed, self.protocol.steps, self.protocol.batch)
            gates = self.network.rnn.gates(x.to(self.device))
            means.append({name: plain(gates[name]) for name in ("f", "g")})
        return means

    def tensors(self) -> dict[str, Tensor]:
        """Weights and Adam's moments by name."""
        named = {f"weights/{name}": p for name, p in self.parameters.items()}
        for name, views in self.views.items():
            states = [self.optimizer.state[view] for view in views if view in self.optimizer.state]
            for moment in ("exp_avg", "exp_avg_sq"):
                if states:
                    named[f"{moment}/{name}"] = torch.cat([state[moment] for state in states])
        return named

    def restore(self, tensors: dict[str, Tensor], step: int, died_at: list[int | None]) -> None:
        """Take up what `tensors` gave after `step` updates."""
        self.step, self.died_at = step, died_at
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(tensors[f"weights/{name}"])
                for view, span in zip(self.views[name], self.spans, strict=True):
                    if not step:
                        continue
                    moments = {
                        moment: tensors[f"{moment}/{name}"][span].to(self.device).clone()
                        for moment in ("exp_avg", "exp_avg_sq")
                    }
                    self.optimizer.state[view] = {"step": torch.tensor(float(step)), **moments}


def _along(per_model: Tensor, like: Tensor) -> Tensor:
    """[M] as [M, 1, …] with the dimensions of `like`."""
    return per_model.view(-1, *[1] * (like.dim() - 1))
