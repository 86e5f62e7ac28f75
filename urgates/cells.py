"""LSTMCell and GRUCell with any gate: one step, behind the interface of torch.nn's cells.

I input size, H hidden units, B batch; Eqs. (2)-(8) and (10)-(15).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from urgates import checks
from urgates.gated import Gated, Options, without_autocast
from urgates.gates import Gate
from urgates.kernels.reference import hold, step, wide


class _Cell(Gated):
    """One step; see `LSTMCell` and `GRUCell`."""

    weight_hh: Tensor

    def __init__(self, input_size, hidden_size, bias, options: Options, **factory: Any) -> None:
        super().__init__(input_size, hidden_size, bias, options)
        self._add("", input_size, **factory)
        self.reset_parameters()

    def _add(self, suffix: str, input_size: int, device: Any, dtype: torch.dtype | None) -> None:
        super()._add(suffix, input_size, device, dtype)
        if not self.bias:  # as torch's cells have it, unlike its layers
            self.bias_ih = self.bias_hh = None

    def _advance(self, input: Tensor, hx: Any) -> tuple[Tensor, Tensor]:
        checks.tensor("input", input, self.weight_hh)
        if input.dim() not in (1, 2) or input.shape[-1] != self.input_size:
            due = f"be [B, {self.input_size}] or [{self.input_size}]"
            raise checks.refusal("input", due, f"shape {list(input.shape)}")
        checks.finite("input", input)
        given = input.to(self.weight_hh.dtype)
        expected = (*input.shape[:-1], self.hidden_size)
        if hx is None:
            h = c = given.new_zeros(expected)
        else:
            h, c = self._states(hx, given, self.weight_hh, expected)
        with without_autocast(input):
            h, c = self._step(wide(given), wide(h), wide(c))
        return h.to(given), c.to(given)

    def _step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        w_x, b, w_h, b_u = self._weights("", x)
        gx = nn.functional.linear(x, w_x, b)
        s = step(self.recurrence, gx, nn.functional.linear(h, w_h), b_u, h, c)
        z_c, z_h = (self._mask(p, h) for p in self.zoneout)
        return hold(s.h, h, z_h), hold(s.c, c, z_c)

    def _mask(self, p: float, h: Tensor) -> Tensor | float | None:
        if not p:
            return None
        return (torch.rand_like(h) < p).to(h) if self.training else p


class LSTMCell(_Cell):
    """`torch.nn.LSTMCell` with the gate of your choice; arguments as `LSTM`."""

    cell = "lstm"

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, device=None, dtype=None,
        gate: str | Gate = "UR", zoneout: tuple[float, float] = (0.0, 0.0), downsize: int = 1,
        t_max: float | None = None, forget_bias: float = 1.0,
    ) -> None:  # fmt: skip
        options = Options(
            gate, zoneout, downsize, t_max, forget_bias, keep_reset=True, kernel="reference"
        )
        super().__init__(input_size, hidden_size, bias, options, device=device, dtype=dtype)

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """One step: input [B, I] or [I], hx = (h, c) [B, H] each; returns (h, c).

        Raises ValueError for what torch.nn refuses, and for non-finite tensors on the CPU.
        """
        return self._advance(input, hx)


class GRUCell(_Cell):
    """`torch.nn.GRUCell` with the gate of your choice; arguments as `GRU`."""

    cell = "gru"

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, device=None, dtype=None,
        gate: str | Gate = "UR", zoneout: float = 0.0, keep_reset: bool = True, downsize: int = 1,
        t_max: float | None = None, forget_bias: float = 0.0,
    ) -> None:  # fmt: skip
        options = Options(
            gate, (0.0, zoneout), downsize, t_max, forget_bias, keep_reset, kernel="reference"
        )
        super().__init__(input_size, hidden_size, bias, options, device=device, dtype=dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """One step: input [B, I] or [I], hx [B, H]; returns the new hidden state.

        Raises ValueError for what torch.nn refuses, and for non-finite tensors on the CPU.
        """
        return self._advance(input, hx)[0]
