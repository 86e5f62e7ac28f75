"""The streamed learner: M language models that read a text segment by segment (§3.3, D.3).

Truncated back-propagation: the states at the end of a segment are where the next one begins, but
no gradient passes.  M models, B rows, L tokens of a segment.  Every seed begins at its own place
of the text, the same for every gate; Adam, and clipping by the global norm.  One process may
compute all rows or its share of them (share.py), at once or in parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from urgates.checks import choice, positive_int, require
from urgates.lab.devices import choose_device, device_name
from urgates.lab.jobs import Job
from urgates.lab.learners.base import digits, masks, progress
from urgates.lab.learners.language import LanguageModel
from urgates.lab.learners.share import ALONE, Share
from urgates.lab.learners.stacked import MOMENTS, begin
from urgates.lab.protocol import Protocol
from urgates.lab.tasks import Score
from urgates.lab.tasks.text import NO_TARGET, Segment

_OPTIONS = ("layers", "embedding", "tied", "layer_norm", "dropout", "accumulate", "autocast")


class Streamed:
    """The M models of a job, one after the other: their matrices are large; see `Learner`.

    `learner_options` of the protocol: the model's (language.py); `accumulate`, the parts of a batch
    whose gradients are summed up before an update (default 1); `autocast`, "bfloat16" for training
    in mixed precision (default "": float32, in which every evaluation is made).  Neither parts nor
    processes change numbers by more than rounding: masks are drawn for the whole batch.

    Raises ValueError for other options, a batch that cannot be split evenly, several models where
    processes share a batch, and zoneout where a batch is split: its masks are drawn by the layers.
    """

    scores = (Score("loss", unit="nats per word"),)
    select = Score("perplexity")

    def __init__(self, job: Job, device: str = "auto", share: Share = ALONE):
        p, self.device, self.share = job.protocol, choose_device(device), share
        self.protocol = p
        self.rows, self.mixed = _split(p, share)
        self.rates, self.seeds = zip(*job.models, strict=True)
        several = share.workers > 1 < len(self.seeds)
        require("seeds", not several, "be one where processes share a batch", job.members)
        self.task = p.make_task()
        self.task.steps_per_epoch(p.batch)  # or the batch is too large
        self.models = [self._model(job, seed) for seed in self.seeds]
        self.nets = self.models  # as they are trained, see `join`
        pairs = zip(self.models, self.rates, strict=True)
        self.adams = [begin(torch.optim.Adam(model.parameters(), rate)) for model, rate in pairs]
        self.hx = [model.states(p.batch // share.workers) for model in self.models]
        self.step = 0
        self.died_at: list[int | None] = [None] * len(self.seeds)

    def _model(self, job: Job, seed: int) -> LanguageModel:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = LanguageModel(job.protocol, job.cell, job.gate, self.task.output_size)
        return model.to(self.device).eval()

    def join(self) -> None:
        """Train together with the other processes from now on; all must say so at once."""
        self.nets = [self.share.synchronised(model) for model in self.models]

    @property
    def done(self) -> bool:
        """Whether the last step is made, or no model is finite."""
        return self.step >= self.protocol.steps or None not in self.died_at

    def advance(self) -> dict[str, Tensor]:
        """One update of every living model; its loss per word, [M]."""
        losses = [self._update(m) for m in range(len(self.models))]
        self.step += 1
        return {"loss": torch.stack(losses)}

    def _update(self, m: int) -> Tensor:
        """One update of model m; its loss per word, NaN if it has ended."""
        if self.died_at[m] is not None:
            return torch.tensor(math.nan, device=self.device)
        adam = self.adams[m]
        adam.zero_grad()
        self.models[m].train()
        with masks(self.seeds[m], self.step, self.device):
            loss, hx = self._backward(m)
        self.models[m].eval()
        norm = torch.nn.utils.clip_grad_norm_(self.models[m].parameters(), self.protocol.clip)
        if not (loss.isfinite() and norm.isfinite()):
            self.died_at[m] = self.step
            return loss
        adam.step()
        self.hx[m] = hx
        return loss

    def _backward(self, m: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Gradients of the next batch, part by part; its loss per word, the own rows' states."""
        net, batch = self.nets[m], self.task.batch(self.seeds[m], self.step, self.protocol.batch)
        mask, many = self.models[m].mask(*batch.x.shape), len(self.rows)
        losses, after = [], []
        for k, hx in enumerate(zip(*(state.chunk(many, 1) for state in self.hx[m]), strict=True)):
            segment = self._moved(Segment(*(part[self.rows[k]] for part in batch)))
            with self.share.apart(net, k == many - 1):
                with torch.autocast(self.device.split(":")[0], torch.bfloat16, self.mixed):
                    total, hx = net(segment, hx, mask[self.rows[k]])
                loss = total / (segment.target.numel() * many)
                loss.backward()
            losses.append(loss.detach())
            after.append([state.detach().to(self.hx[m][0].dtype) for state in hx])
        states = tuple(torch.cat(parts, 1) for parts in zip(*after, strict=True))
        return self.share.mean(torch.stack(losses).sum()), states

    def _moved(self, segment: Segment) -> Segment:
        return Segment(*(part.to(self.device) for part in segment))

    def evaluate(self, split: str, weights: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Perplexity [M] over every token of a split, of these weights or the current."""
        rows = self.protocol.batch if self.task.corpus.articles else 1
        found = []
        for m, model in enumerate(self.models):
            own = {name: w[m] for name, w in (weights or self.weights()).items()}
            hx, total, count = model.states(rows), 0.0, 0
            with torch.no_grad():
                for segment in self.task.evaluate_batches(split, rows):
                    call = torch.func.functional_call(model, own, (self._moved(segment), hx))
                    total, hx = total + call[0].double(), call[1]
                    count += int((segment.target != NO_TARGET).sum())
            found.append((total / count).exp())
        return {"perplexity": torch.stack(found)}

    @torch.no_grad()
    def probe(self) -> list[dict[str, list[float | None]]]:
        """Per model, each unit's mean of the first layer's gates over a segment of its own text."""
        means = []
        for seed, model in zip(self.seeds, self.models, strict=True):
            x = self._moved(self.task.batch(seed, self.protocol.steps, self.protocol.batch)).x
            gates = model.rnn.gates(model.embed(x))
            means.append({name: digits(gates[name].mean((0, 1))) for name in ("f", "g")})
        return means

    def weights(self) -> dict[str, Tensor]:
        """The parameters, each [M, *shape]."""
        named = [dict(model.named_parameters()) for model in self.models]
        return {name: torch.stack([own[name].detach() for own in named]) for name in named[0]}

    def state(self) -> tuple[dict[str, Tensor], dict]:
        """Weights, Adam's moments and the carried states by name; the step, and who has ended."""
        named = {f"weights/{name}": w for name, w in self.weights().items()}
        for moment in MOMENTS:
            for name, parts in self._moments(moment):
                named[f"{moment}/{name}"] = torch.stack(parts)
        return named | self.carried(), {"step": self.step, "died_at": self.died_at}

    def carried(self) -> dict[str, Tensor]:
        """The carried states of the whole batch by name; every process must ask at once."""
        states = {n: torch.stack([hx[k] for hx in self.hx]) for k, n in enumerate("hc")}
        return {f"states/{name}": self.share.gathered(h, 2) for name, h in states.items()}

    def _moments(self, moment: str) -> Iterator[tuple[str, list[Tensor]]]:
        pairs = list(zip(self.models, self.adams, strict=True))
        for name, _ in self.models[0].named_parameters():
            yield name, [adam.state[model.get_parameter(name)][moment] for model, adam in pairs]

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor], plain: dict) -> None:
        """Take up what `state` gave."""
        self.step, self.died_at = progress(plain, self.protocol.steps, len(self.seeds))
        own = slice(self.rows[0].start, self.rows[-1].stop)
        for m, (model, adam) in enumerate(zip(self.models, self.adams, strict=True)):
            for name, p in model.named_parameters():
                p.copy_(tensors[f"weights/{name}"][m])
                adam.state[p]["step"].fill_(self.step)
                for moment in MOMENTS:
                    adam.state[p][moment].copy_(tensors[f"{moment}/{name}"][m])
            states = (tensors[f"states/{name}"][m][:, own] for name in "hc")
            self.hx[m] = tuple(state.to(self.device) for state in states)

    def provenance(self) -> dict:
        """The device, the kernel, several processes, and a text that is not the published one."""
        kernel = self.models[0].rnn.backend
        found = {"device": device_name(self.device), "kernel": kernel}
        found |= {"processes": self.share.workers} if self.share.workers > 1 else {}
        return found if self.task.corpus.published else found | {"data": "not as published"}


def _split(p: Protocol, share: Share) -> tuple[list[slice], bool]:
    """The rows of each part of a process's share, and whether it trains in mixed precision."""
    options = p.learner_options
    for name in options:
        choice("learner_options", name, _OPTIONS)
    autocast = options.get("autocast", "")
    require("autocast", autocast in ("", "bfloat16"), "be 'bfloat16' or ''", autocast)
    rows = share.rows(p.batch, positive_int("accumulate", options.get("accumulate", 1)))
    whole = rows == [slice(0, p.batch)]
    require("zoneout", whole or not p.zoneout, "be {} where a batch is split", p.zoneout)
    return rows, autocast != ""
