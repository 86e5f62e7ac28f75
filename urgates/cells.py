"""LSTMCell and GRUCell with any gate: one step, behind the interface of torch.nn's cells.

I input size, H hidden units, B batch; Eqs. (2)-(8) and (10)-(15).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from urgates.gates import Gate
from urgates.kernels.reference import hold, step
from urgates.rnn import Gated, probability, zoneout_pair


class _Cell(Gated):
    def _advance(self, input: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        names = ("bias_ih", "bias_hh", "gate_bias")
        b, b_u = self._biases(*(getattr(self, n, None) for n in names))
        gx = nn.functional.linear(input, self.weight_ih, b)
        s = step(self.recurrence, gx, h @ self.weight_hh.mT, b_u, h, c)
        z_c, z_h = (self._mask(p, h) for p in self.zoneout)
        return hold(s.h, h, z_h), hold(s.c, c, z_c)

    def _mask(self, p: float, h: Tensor) -> Tensor | float | None:
        if not p:
            return None
        return (torch.rand_like(h) < p).to(h) if self.training else p

    def _checked(self, input: Tensor, *states: Tensor) -> None:
        if input.dim() not in (1, 2) or input.shape[-1] != self.input_size:
            raise ValueError(
                f"input must be [B, {self.input_size}] or [{self.input_size}], "
                f"got shape {list(input.shape)}"
            )
        expected = (*input.shape[:-1], self.hidden_size)
        for state in states:
            if tuple(state.shape) != expected:
                raise ValueError(f"hx must have shape {expected}, got {list(state.shape)}")


class LSTMCell(_Cell):
    """`torch.nn.LSTMCell` with the gate of your choice; arguments as `LSTM`."""

    cell = "lstm"

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, gate: str | Gate = "UR",
        zoneout: tuple[float, float] = (0.0, 0.0), downsize: int = 1, t_max: float | None = None,
        forget_bias: float = 1.0, device=None, dtype=None,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, bias, gate, downsize, t_max, forget_bias, True)
        self.zoneout = zoneout_pair(zoneout)
        self._add("", input_size, device, dtype)
        self.reset_parameters()

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None):
        """One step: input [B, I] or [I], hx = (h, c) [B, H] each; returns (h, c)."""
        h, c = hx or (input.new_zeros(*input.shape[:-1], self.hidden_size),) * 2
        self._checked(input, h, c)
        return self._advance(input, h, c)


class GRUCell(_Cell):
    """`torch.nn.GRUCell` with the gate of your choice; arguments as `GRU`."""

    cell = "gru"

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, gate: str | Gate = "UR",
        zoneout: float = 0.0, keep_reset: bool = True, downsize: int = 1,
        t_max: float | None = None, forget_bias: float = 0.0, device=None, dtype=None,
    ) -> None:  # fmt: skip
        super().__init__(
            input_size, hidden_size, bias, gate, downsize, t_max, forget_bias, bool(keep_reset)
        )
        self.zoneout = (0.0, probability("zoneout", zoneout))
        self._add("", input_size, device, dtype)
        self.reset_parameters()

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """One step: input [B, I] or [I], hx [B, H]; returns the new hidden state."""
        h = input.new_zeros(*input.shape[:-1], self.hidden_size) if hx is None else hx
        self._checked(input, h)
        return self._advance(input, h, h)[0]
