"""DNC: the differentiable neural computer of Graves et al. (2016) with the gate of your choice.

An LSTM writes to and reads from a memory, by content, by what is free and by the order in which it
wrote.  Equations as in the authors' library.  The gate is the LSTM's; the memory's own are plain.
I inputs, O outputs, H hidden units, N rows of W features, R read heads, B batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from urgates import checks
from urgates.cells import LSTMCell
from urgates.cores.stepwise import Stepwise, stepper
from urgates.gates import Gate

EPSILON = 1e-6  # of lengths and of usage: rows start at 0, and all start unused


class State(NamedTuple):
    """What is carried from step to step, each [B, …]."""

    h: Tensor  # [H]
    c: Tensor
    reads: Tensor  # [R, W]
    memory: Tensor  # [N, W]
    usage: Tensor  # [N]
    write: Tensor  # [N] write weights
    read: Tensor  # [R, N] read weights
    links: Tensor  # [N, N] of i and j: how much row i was written to right after row j
    precedence: Tensor  # [N] how much a row was the last one written to


class Interface(NamedTuple):
    """What the controller says to the memory, each [B, …]."""

    vector: Tensor  # [1, W] to be written
    erase: Tensor  # [1, W] in (0, 1)
    free: Tensor  # [R, 1] in (0, 1): what was read is not needed any more
    allocate: Tensor  # [1] in (0, 1): write to a free row, not by content
    write: Tensor  # [1] in (0, 1)
    modes: Tensor  # [R, 3] shares of reading backwards, forwards, by content
    write_key: Tensor  # [1, W]
    write_strength: Tensor  # [1, 1]
    read_keys: Tensor  # [R, W]
    read_strengths: Tensor  # [R, 1]


class DNC(Stepwise):
    """A differentiable neural computer behind the interface of torch.nn's layers.

    Its output is a linear map of the controller's output and the reads.

    Args:
        input_size, batch_first: as in torch.
        hidden_size: H, of the controller.
        output_size: O; H if None.
        rows: N. width: W. reads: R.
        clip: the largest size of the controller's states and of outputs; None: they are as they
            are.
        gate, downsize, t_max, forget_bias: of the controller, as `urgates.LSTM`.
    """

    def __init__(
        self, input_size: int, hidden_size: int, output_size: int | None = None, rows: int = 16,
        width: int = 16, reads: int = 4, batch_first: bool = False, *, device=None, dtype=None,
        clip: float | None = None, gate: str | Gate = "UR", downsize: int = 1,
        t_max: float | None = None, forget_bias: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, batch_first)
        H = hidden_size
        sizes = {"output_size": H if output_size is None else output_size}
        sizes |= {"rows": rows, "width": width, "reads": reads}
        O, N, W, R = (checks.positive_int(name, size) for name, size in sizes.items())  # noqa: E741
        if clip is not None:
            checks.require("clip", checks.number("clip", clip) > 0, "be positive", clip)
        self.clip, self.reads = clip, R
        factory = {"device": device, "dtype": checks.float_type("dtype", dtype)}
        options = {"gate": gate, "downsize": downsize, "t_max": t_max, "forget_bias": forget_bias}
        self.controller = LSTMCell(input_size + R * W, H, **options, **factory)
        one, keys = (1, W), (R, W)
        self.said = Interface(one, one, (R, 1), (1,), (1,), (R, 3), one, (1, 1), keys, (R, 1))
        self.interface = nn.Linear(H, sum(map(_count, self.said)), **factory)
        self.output = nn.Linear(H + R * W, O, **factory)
        self.sizes = State((H,), (H,), (R, W), (N, W), (N,), (N,), (R, N), (N, N), (N,))

    @staticmethod
    def outputs(hidden_size: int, output_size: int | None = None, **_) -> int:
        """How many features the output has."""
        return hidden_size if output_size is None else output_size

    def says(self, h: Tensor) -> Interface:
        """What the controller's output [B, H] says."""
        flat = self.interface(h).split([_count(size) for size in self.said], -1)
        pairs = zip(flat, self.said, strict=True)
        raw = Interface(*(part.unflatten(-1, size) for part, size in pairs))
        return raw._replace(
            erase=torch.sigmoid(raw.erase), free=torch.sigmoid(raw.free),
            allocate=torch.sigmoid(raw.allocate), write=torch.sigmoid(raw.write),
            modes=torch.softmax(raw.modes, -1), write_strength=softplus(raw.write_strength),
            read_strengths=softplus(raw.read_strengths),
        )  # fmt: skip

    def _ready(self, x: Tensor, state: State):
        controller = stepper(self.controller, x)
        N = state.memory.shape[1]
        others = 1 - torch.eye(N, dtype=x.dtype, device=x.device)

        def advance(x_t: Tensor, s: State, held: Tensor | None):
            new = controller((x_t, s.reads.flatten(1)), s.h, s.c)
            h, c = self._clipped(new.h), self._clipped(new.c)
            said = self.says(h)
            usage = used(s, said.free)
            by_content = address(s.memory, said.write_key, said.write_strength).squeeze(1)
            a = said.allocate
            write = said.write * (a * allocation(usage) + (1 - a) * by_content)
            to = write.unsqueeze(-1)
            memory = s.memory * (1 - to * said.erase) + to * said.vector
            links, precedence = linked(s, write, others)
            read = heads(s.read, links, memory, said)
            reads = read @ memory
            y = self._clipped(self.output(torch.cat([h, reads.flatten(1)], -1)))
            return y, State(h, c, reads, memory, usage, write, read, links, precedence)

        return x, state, advance

    def _clipped(self, y: Tensor) -> Tensor:
        return y if self.clip is None else y.clamp(-self.clip, self.clip)

    def _fed(self, x: Tensor, y: Tensor, reads: Tensor) -> tuple[Tensor, ...]:
        return x, reads.flatten(2)

    def extra_repr(self) -> str:
        """Sizes and gate, for `print(module)`."""
        rows, width = self.sizes.memory
        return f"{super().extra_repr()}, rows={rows}, width={width}, reads={self.reads}"


def _count(size: tuple[int, ...]) -> int:
    return size[0] * size[-1] if len(size) == 2 else size[0]


# ------------------------------------------------------------------ equations of a step


def address(memory: Tensor, keys: Tensor, strengths: Tensor) -> Tensor:
    """Weights [B, k, N] by likeness of rows [B, N, W] to keys [B, k, W], strengths [B, k, 1]."""
    by_key, by_row = ((a.square().sum(-1) + EPSILON).sqrt() for a in (keys, memory))
    both = by_key.unsqueeze(-1) * by_row.unsqueeze(-2)
    return torch.softmax(strengths * (keys @ memory.mT) / (both + EPSILON), -1)


def used(s: State, free: Tensor) -> Tensor:
    """Usage [B, N] after the last write, and after what the last reads freed."""
    write = s.write.detach()
    retention = (1 - free * s.read).prod(-2)
    return (s.usage + (1 - s.usage) * write) * retention


def allocation(usage: Tensor) -> Tensor:
    """Weights [B, N] of the rows to write to, the least used first; the order has no gradient."""
    least, order = (EPSILON + (1 - EPSILON) * usage).sort(stable=True, dim=-1)
    before = least.cumprod(-1) / least  # of the rows that are used even less
    return torch.zeros_like(usage).scatter(-1, order, (1 - least) * before)


def linked(s: State, write: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Links [B, N, N] and precedence [B, N] after a write; no row follows itself."""
    i, j = write.unsqueeze(-1), write.unsqueeze(-2)
    links = ((1 - i - j) * s.links + i * s.precedence.unsqueeze(-2)) * others
    return links, (1 - write.sum(-1, keepdim=True)) * s.precedence + write


def heads(read: Tensor, links: Tensor, memory: Tensor, said: Interface) -> Tensor:
    """Read weights [B, R, N]: rows written before and after the last ones read, and by content."""
    content = address(memory, said.read_keys, said.read_strengths)
    backwards, forwards, by_content = said.modes.split(1, -1)
    return backwards * (read @ links) + forwards * (read @ links.mT) + by_content * content
