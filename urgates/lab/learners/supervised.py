"""The supervised learner: M models (seeds × rates) of one cell and gate that train as one stack.

M models, B batch, T time steps, I inputs, H hidden units; a stacked parameter is [M, *shape].
Every seed has its own weights and its own data stream, the same for every gate (D.1); Adam, and
clipping by the global norm of each model. A model whose loss or gradient is no longer finite is
frozen and recorded as diverged; the others do not notice.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from urgates.lab.devices import choose_device
from urgates.lab.jobs import Job
from urgates.lab.learners.base import digits, masks
from urgates.lab.learners.networks import build
from urgates.lab.learners.stacked import Stacked, StackedAdam, along
from urgates.lab.tasks import Score

_EVAL_BATCH = 500


def norms(gradients: Sequence[Tensor]) -> Tensor:
    """Each model's global norm [M] of gradients [M, …]; finite where all of its entries are."""

    def summed(dtype: torch.dtype) -> Tensor:
        return sum(g.flatten(1).to(dtype).square().sum(1) for g in gradients).sqrt()

    norm = summed(gradients[0].dtype)
    if norm.isfinite().all():
        return norm
    return torch.where(norm.isfinite(), norm, summed(torch.float64).to(norm.dtype))  # beyond 1e19


class Stack(Stacked):
    """The M models of a job as they train side by side; see `Learner`.

    A sweep of S seeds and L rates is one stack of L · S models.
    """

    def __init__(self, job: Job, device: str = "auto"):
        self.protocol, self.device = job.protocol, choose_device(device)
        self.rates, self.seeds = zip(*job.models, strict=True)
        self.task = self.protocol.make_task()
        self.scores = (Score("loss"), *self.task.scores)
        self.select = self.task.select
        models = [
            build(self.protocol, job.cell, job.gate, seed).to(self.device) for seed in self.seeds
        ]
        self.parameters, _ = stack_module_state(models)
        self.network = models[0].eval()
        self.rnn = self.network.rnn
        self.adam = StackedAdam(self.parameters, self.rates)
        self.step = 0
        self.died_at: list[int | None] = [None] * len(self.seeds)

    def forward(self, x: Tensor, parameters: dict[str, Tensor] | None = None) -> Tensor:
        """Outputs [M, B, …] of every model on its own x [M, B, T, I]; weights: the current ones."""
        return vmap(lambda p, inputs: functional_call(self.network, p, (inputs,)))(
            parameters or self.parameters, x
        )

    def _masked(self, x: Tensor) -> Tensor:
        """`forward` with dropout and zoneout: masks of each model's own seed and the step alone.

        So the models answer one after the other; what a seed learns does not depend on the others.
        """
        weights = zip(*(p.unbind() for p in self.parameters.values()), strict=True)
        outs = []
        self.network.train()
        for seed, own, inputs in zip(self.seeds, weights, x, strict=True):
            named = dict(zip(self.parameters, own, strict=True))
            with masks(seed, self.step, self.device):
                outs.append(functional_call(self.network, named, (inputs,)))
        self.network.eval()
        return torch.stack(outs)

    def advance(self) -> dict[str, Tensor]:
        """One update of every living model; returns its loss and metrics, each [M]."""
        batches = [self.task.batch(seed, self.step, self.protocol.batch) for seed in self.seeds]
        x, target = (torch.stack(part).to(self.device) for part in zip(*batches, strict=True))
        out = self._masked(x) if self.protocol.masked else self.forward(x)
        loss = vmap(self.task.loss)(out, target)
        for p in self.parameters.values():
            p.grad = None
        loss.sum().backward()
        norm = self._clip()
        self.update(loss.isfinite() & norm.isfinite())
        with torch.no_grad():
            return {"loss": loss.detach()} | vmap(self.task.metrics)(out, target)

    def _clip(self) -> Tensor:
        """Scale each model's gradient to a global norm of at most `clip`; the norms [M] before."""
        gradients = [p.grad for p in self.parameters.values()]
        norm = norms(gradients)
        scale = (self.protocol.clip / norm).clamp(max=1.0)
        for g in gradients:
            g.mul_(along(scale, g))
        return norm

    def evaluate(self, split: str, weights: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The task's scores [M] on "valid" or "test", of these weights or the current."""
        sums, count = {score.name: 0.0 for score in self.task.scores}, 0
        with torch.no_grad():
            for x, target in self.task.evaluate_batches(split, _EVAL_BATCH):
                n = self.task.answers(target)
                x, target = x.to(self.device), target.to(self.device)
                out = self.forward(x.expand(len(self.seeds), *x.shape), weights)
                for name, mean in vmap(self.task.metrics, (0, None))(out, target).items():
                    sums[name] += (n * mean.double()).round(decimals=3)  # whole right answers
                count += n
        return {name: total / count for name, total in sums.items()}

    def probe(self) -> list[dict[str, list[float]]]:
        """Per model, each unit's mean over a fresh batch and time of every gate (Fig. 4, 9).

        "f" is the main gate and "g" the effective forget gate, where no state is held; lists of H
        floats, six digits (None where a diverged model's gate is not a number).
        """

        def plain(gate: Tensor, held: Tensor | None) -> list[float | None]:
            return digits(gate.mean((0, 1)) if held is None else gate[~held].mean(0))

        means = []
        for m, seed in enumerate(self.seeds):
            self.network.load_state_dict({k: p[m] for k, p in self.parameters.items()})
            x, _ = self.task.batch(seed, self.protocol.steps, self.protocol.batch)
            x = x.to(self.device)
            held = self.task.held(x)
            gates = self.network.rnn.gates(x, held=held)
            means.append({name: plain(gates[name], held) for name in ("f", "g")})
        return means
