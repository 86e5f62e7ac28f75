"""RMA: the core of Hung et al.'s (2018) reconstructive memory agent, with any gate (§3.4).

What is seen is condensed to z; two LSTMs read it and ask a memory that holds the last N of the z.
Equations as released.  What makes the agent reconstructive are losses on z, which the learner has;
without them it is the agent "LSTM + Mem".
I inputs, W features of z and of a row, H hidden units of a cell, N rows, R read heads, B batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize, softplus

from urgates import checks
from urgates.cells import LSTMCell
from urgates.cores.stepwise import Stepwise, stepper
from urgates.gates import Gate

EPSILON = 1e-6  # the shortest length of a row or key: nothing written yet is like nothing


class State(NamedTuple):
    """What is carried from step to step, each [B, …]; of all, no gradient reaches the memory."""

    h: Tensor  # [2H] of the lower and the upper cell
    c: Tensor
    reads: Tensor  # [R, W]
    memory: Tensor  # [N, W]
    t: Tensor  # [] int64, steps made


class RMA(Stepwise):
    """A controller with a memory of what it saw, behind the interface of torch.nn's layers.

    A step: z of the input, the cells' last outputs and the last reads; the cells, the upper one of
    which sees z too; reads by likeness to keys; then z is written over the oldest row.
    Its output is z, both cells' outputs and the reads side by side, W + 2H + R · W features.

    Args:
        input_size, batch_first: as in torch.
        hidden_size: H.
        width: W. rows: N. reads: R.
        top: how many rows a head reads, those most like its key; at most `rows`.
        gate, downsize, t_max, forget_bias: of both cells, as `urgates.LSTM`.
    """

    def __init__(
        self, input_size: int, hidden_size: int, width: int = 32, rows: int = 128, reads: int = 1,
        top: int = 8, batch_first: bool = False, *, device=None, dtype=None,
        gate: str | Gate = "UR", downsize: int = 1, t_max: float | None = None,
        forget_bias: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, batch_first)
        self.width, self.reads = _positive(width=width, reads=reads)
        self.memory_rows, self.top = _positive(rows=rows, top=top)
        checks.require("top", top <= rows, f"be at most rows {rows}", top)
        H, W, R = hidden_size, width, reads
        factory = {"device": device, "dtype": checks.float_type("dtype", dtype)}
        options = {"gate": gate, "downsize": downsize, "t_max": t_max, "forget_bias": forget_bias}
        self.z_in = nn.Linear(input_size + 2 * H + R * W, 2 * W, **factory)
        self.z_out = nn.Linear(2 * W, W, **factory)
        self.lower = LSTMCell(W, H, **options, **factory)
        self.upper = LSTMCell(H + W, H, **options, **factory)
        self.ask = nn.Linear(2 * H, R * (W + 1), **factory)
        self.sizes = State((2 * H,), (2 * H,), (R, W), (rows, W), ())

    @staticmethod
    def outputs(hidden_size: int, width: int = 32, reads: int = 1, **_) -> int:
        """How many features the output has."""
        return width + 2 * hidden_size + reads * width

    def parts(self, output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z [..., W], the cells' outputs [..., 2H] and the reads [..., R · W] of an output."""
        return output.split([self.width, 2 * self.hidden_size, self.reads * self.width], -1)

    def queries(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Keys [..., R, W] and their strengths [..., R] of the cells' outputs [..., 2H]."""
        keys, strengths = self.ask(h).split([self.reads * self.width, self.reads], -1)
        return keys.unflatten(-1, (self.reads, self.width)), softplus(strengths)

    def _ready(self, x: Tensor, state: State):
        w_x, w_back = self.z_in.weight.tensor_split([self.input_size], 1)
        inputs = linear(x, w_x, self.z_in.bias)
        memory = state.memory.detach().clone()
        lengths = _lengths(memory)
        lower, upper = stepper(self.lower, x), stepper(self.upper, x)

        def advance(x_t: Tensor, s: State, held: Tensor | None):
            back = torch.cat([s.h, s.reads.flatten(1)], -1)
            z = self.z_out(torch.tanh(x_t + linear(back, w_back)))
            (h_1, h_2), (c_1, c_2) = s.h.chunk(2, -1), s.c.chunk(2, -1)
            low = lower((z,), h_1, c_1)
            high = upper((low.h, z), h_2, c_2)
            h, c = torch.cat([low.h, high.h], -1), torch.cat([low.c, high.c], -1)
            reads = read(memory, lengths, *self.queries(h), self.top)
            write(memory, lengths, s.t % self.memory_rows, z.detach(), held)
            y = torch.cat([z, h, reads.flatten(1)], -1)
            return y, State(h, c, reads, memory, s.t + 1)

        return inputs, state._replace(memory=memory), advance

    def _fed(self, x: Tensor, y: Tensor, reads: Tensor) -> tuple[Tensor, ...]:
        return (y[..., : self.width],)

    def extra_repr(self) -> str:
        """Sizes and gate, for `print(module)`."""
        own = f"width={self.width}, rows={self.memory_rows}, reads={self.reads}, top={self.top}"
        return f"{super().extra_repr()}, {own}"


def _positive(**sizes: int) -> list[int]:
    return [checks.positive_int(name, size) for name, size in sizes.items()]


def _lengths(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=-1).clamp_min(EPSILON)


def read(memory: Tensor, lengths: Tensor, keys: Tensor, strengths: Tensor, top: int) -> Tensor:
    """Reads [B, R, W] of the rows most like each key, weighted by softmax(strength · cosine).

    Gradients reach keys [B, R, W] and strengths [B, R], not the memory [B, N, W], which may change
    afterwards; `lengths` [B, N] are its rows'.
    """
    keys = normalize(keys, dim=-1, eps=EPSILON)
    with torch.no_grad():
        cosines = keys @ memory.mT / lengths.unsqueeze(1)
        index = cosines.topk(top, -1).indices
        flat = index.flatten(1).unsqueeze(-1).expand(-1, -1, memory.shape[-1])
        rows = memory.gather(1, flat).unflatten(1, index.shape[1:])  # [B, R, top, W]
        directions = normalize(rows, dim=-1, eps=EPSILON)
    cosines = (directions @ keys.unsqueeze(-1)).squeeze(-1)
    weights = torch.softmax(strengths.unsqueeze(-1) * cosines, -1)
    return (weights.unsqueeze(-2) @ rows).squeeze(-2)


def write(memory: Tensor, lengths: Tensor, at: Tensor, z: Tensor, held: Tensor | None) -> None:
    """Put z [B, W] into row `at` [B] of the memory, in place, but not where `held` [B]."""
    each = torch.arange(len(at), device=at.device)
    if held is not None:
        z = torch.where(held.unsqueeze(1), memory[each, at], z)
    memory[each, at] = z
    lengths[each, at] = _lengths(z)
