"""LSTM and GRU with any gate, behind `torch.nn`'s interface: change one word and the gate is yours.

Replace `torch.nn.LSTM` by `urgates.LSTM`; arguments, shapes, returned values and the state_dict of
plain gates ("-") are torch's own.  I input size, H hidden units, L layers, B batch, T time steps;
the rows of the weights are the gate's heads (Eqs. 2-8, 9-15).
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from urgates import checks, kernels
from urgates.gated import PARAMETERS, Gated, Options, without_autocast
from urgates.gates import Gate
from urgates.kernels.eager import forward, replay
from urgates.kernels.reference import Inputs, wide


class _RNN(Gated):
    """Layers and directions; see `LSTM` and `GRU`."""

    proj_size = 0
    weight_hh_l0: Tensor

    def __init__(
        self, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
        options: Options, **factory: Any,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, bias, options)
        self.num_layers = checks.positive_int("num_layers", num_layers)
        self.batch_first = checks.flag("batch_first", batch_first)
        self.dropout = checks.probability("dropout", dropout)
        self.bidirectional = checks.flag("bidirectional", bidirectional)
        if self.dropout and num_layers == 1:
            warnings.warn("dropout acts between layers, and there is one layer", stacklevel=3)
        self.suffixes = [
            [f"_l{layer}{way}" for way in ("", "_reverse")[: 1 + self.bidirectional]]
            for layer in range(num_layers)
        ]
        for layer, names in enumerate(self.suffixes):
            for suffix in names:
                self._add(suffix, hidden_size * len(names) if layer else input_size, **factory)
        self.reset_parameters()

    # ---------------------------------------------------------------- what torch.nn's layers have

    @property
    def mode(self) -> str:
        """torch's word for the cell: "LSTM" or "GRU"."""
        return self.cell.upper()

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """The parameters of each layer and direction, in torch's order; a `gate_bias` is last."""
        suffixes = [suffix for names in self.suffixes for suffix in names]
        return [
            [getattr(self, name + suffix) for name in PARAMETERS if hasattr(self, name + suffix)]
            for suffix in suffixes
        ]

    def flatten_parameters(self) -> None:
        """Nothing to do: the kernels take the weights where they are."""

    # ---------------------------------------------------------------- one layer, one direction

    def _keep(self, p: float, x: Tensor, held: Tensor | None) -> Tensor | None:
        """How much of the old state each step keeps: zoneout's masks, and all of it where held."""
        keep = None
        if p:
            keep = x.new_full((1, 1, 1), p)  # at test time the expectation takes the masks' place
            if self.training:
                units = x[..., :1].expand(*x.shape[:2], self.hidden_size)
                keep = (torch.rand_like(units) < p).to(x)
        if held is not None:
            full = held.to(x)[..., None]
            keep = full if keep is None else torch.maximum(keep, full)
        return keep

    @property
    def backend(self) -> str:
        """The kernel that runs on the weights as they are."""
        return kernels.choose(self.kernel, self.recurrence, self.weight_hh_l0)

    def _mixed(self, x: Tensor) -> bool:
        """Whether the kernel itself takes 16-bit tensors and keeps gates and cells in float32."""
        kernel = self._kernel
        if kernel != "triton" and x.device.type == "cpu" and kernels.native.unfit(x):
            return False
        return kernels.choose(kernel, self.recurrence, x) in ("triton", "native")

    def _typed(self, x: Tensor) -> Tensor:
        """The input in the dtype to compute in: the weights', or that of autocast."""
        if checks.autocasting(x):
            low = x.to(torch.get_autocast_dtype(x.device.type))
            there = self._kernel == "triton" or x.device.type != "cpu"  # else nothing is compiled
            if there and kernels.choose(self._kernel, self.recurrence, low) == "triton":
                return low
        return x.to(self.weight_hh_l0.dtype)

    def _direction(
        self, suffix: str, x: Tensor, h0: Tensor, c0: Tensor,
        lengths: Tensor | None, held: Tensor | None,
    ):  # fmt: skip
        """One direction of one layer over x [T, B, I]: hidden states, last h, last c."""
        back = suffix.endswith("_reverse")
        given = x if self._mixed(x) else wide(x)
        if lengths is not None:  # their padding, which stays in its place
            held = torch.arange(len(x), device=x.device)[:, None] >= lengths
        elif back and held is not None:
            held = held.flip(0)
        keep_c, keep_h = (self._keep(p, wide(x), held) for p in self.zoneout)
        turned = _reverse(given, lengths) if back else given
        states = h0.to(given.dtype), wide(c0)
        inputs = Inputs(turned, *self._weights(suffix, given), *states, keep_h, keep_c)
        hs, c = kernels.scan(self.recurrence, inputs, self._kernel)
        hs, c = hs.to(x), c.to(x)
        return (_reverse(hs, lengths) if back else hs), hs[-1], c

    def _layers(self, x: Tensor, h: Tensor, c: Tensor, lengths: Tensor | None, held: Tensor | None):
        """All layers over x [T, B, I]: output, last h and c [L · directions, B, H]."""
        last: list[list[Tensor]] = []
        for layer, names in enumerate(self.suffixes):
            if layer and self.dropout:
                x = nn.functional.dropout(x, self.dropout, self.training)
            outs = []
            for suffix in names:
                states = h[len(last)], c[len(last)]
                out, *state = self._direction(suffix, x, *states, lengths, held)
                outs.append(out)
                last.append(state)
            x = torch.cat(outs, -1) if self.bidirectional else outs[0]
        return x, *(torch.stack(states) for states in zip(*last, strict=True))

    # ---------------------------------------------------------------- torch.nn's forward

    def forward(
        self, input: Tensor | PackedSequence, hx: Any = None, *, held: Tensor | None = None
    ) -> tuple[Any, Any]:
        """Run the sequence; arguments and returns are those of `torch.nn`.

        Args:
            input: [T, B, I], or [B, T, I] with `batch_first`, or [T, I], or a PackedSequence, of
                the weights' type; T at least 1.
            hx: initial state, zeros if None: h0 of a GRU, (h0, c0) of an LSTM, each
                [L · directions, B, H] (without B for unbatched input).
            held: bool [T, B] ([B, T], [T], as `input`), True where a step leaves all states as they
                are, whatever its input: padding before, within or after a sequence.
        Returns:
            output, laid out as `input` with H · directions features, and the last state, as hx.
            16-bit weights compute their gates in float32 (bfloat16 gates would cap memory at 256
            steps). Under autocast the Triton kernel takes its dtype, others the weights'.
        Raises:
            ValueError: for what torch.nn refuses (types, shapes, no time step), and for non-finite
                input (checked on the CPU, outside `torch.compile` and `vmap`).
        """
        x, h, c, lengths = self._laid_out(input, hx)
        if isinstance(input, PackedSequence) and input.sorted_indices is not None:
            h, c = h[:, input.sorted_indices], c[:, input.sorted_indices]
        x = self._typed(x)
        with without_autocast(x):
            y, h, c = self._layers(x, h, c, lengths, self._held(held, input))
        if isinstance(input, PackedSequence):
            valid = torch.arange(y.shape[1]) < input.batch_sizes[:, None]
            y = PackedSequence(y[valid.to(y.device)], *input[1:])
            if input.unsorted_indices is not None:
                h, c = h[:, input.unsorted_indices], c[:, input.unsorted_indices]
        elif input.dim() == 2:
            y, h, c = y.squeeze(1), h.squeeze(1), c.squeeze(1)
        elif self.batch_first:
            y = y.transpose(0, 1)
        return y, ((h, c) if self.cell == "lstm" else h)

    def _laid_out(self, input: Any, hx: Any) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Checked: x [T, B, I], h and c [L · directions, B, H], and the lengths [B] if packed."""
        packed, lengths = isinstance(input, PackedSequence), None
        name, dims = ("input.data", (2,)) if packed else ("input", (2, 3))
        x = checks.tensor(name, input.data if packed else input, self.weight_hh_l0)
        if x.dim() not in dims or x.shape[-1] != self.input_size:
            of = f"{' or '.join(map(str, dims))} dimensions, the last of size {self.input_size}"
            raise checks.refusal(name, f"have {of}", f"shape {list(x.shape)}")
        checks.finite(name, x)
        single = not packed and x.dim() == 2
        if packed:
            plain = PackedSequence(input.data, input.batch_sizes)  # keep the sorted order
            x, lengths = pad_packed_sequence(plain)
            lengths = lengths.to(x.device)
        elif single:
            x = x.unsqueeze(1)
        elif self.batch_first:
            x = x.transpose(0, 1)
        if not x.shape[0]:
            raise checks.refusal("input", "have a time step", f"shape {list(input.shape)}")
        return x, *self._initial(hx, x, single), lengths

    def _held(self, held: Tensor | None, input: Tensor | PackedSequence) -> Tensor | None:
        """The mask as [T, B], checked."""
        if held is None:
            return None
        if isinstance(input, PackedSequence):
            raise checks.refusal("held", "be None", "a mask", "a PackedSequence has its lengths")
        mask = checks.mask("held", held, input)
        return mask.T if self.batch_first and mask.dim() == 2 else mask.view(len(input), -1)

    def _initial(self, hx: Any, x: Tensor, single: bool) -> tuple[Tensor, Tensor]:
        """h0 and c0 as [L · directions, B, H]."""
        full = (sum(map(len, self.suffixes)), x.shape[1], self.hidden_size)
        if hx is None:
            zeros = x.new_zeros(full)
            return zeros, zeros
        expected = (full[0], full[2]) if single else full
        h, c = self._states(hx, x, self.weight_hh_l0, expected)
        return (h.unsqueeze(1), c.unsqueeze(1)) if single else (h, c)

    @torch.no_grad()
    def gates(
        self, input: Tensor, hx: Any = None, *, held: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Gate activations of the first layer over a sequence, for probes and pictures.

        Args:
            input, hx, held: as `forward` takes them (no PackedSequence).
        Returns:
            [T, B, H] tensors (laid out as `input`): "g" effective forget gate, "i" effective input
            gate, "f" main gate, and the activations of the other gate heads ("r", masters).
        """
        if isinstance(input, PackedSequence):
            raise checks.refusal("input", "be a tensor", "a PackedSequence", "pad it first")
        x, h, c, _ = self._laid_out(input, hx)
        suffix = self.suffixes[0][0]
        x = wide(x.to(self.weight_hh_l0.dtype))
        mask = self._held(held, input)
        keep_c, keep_h = (self._keep(p, x, mask) for p in self.zoneout)
        with without_autocast(x):
            args = x, *self._weights(suffix, x), h[0].to(x), c[0].to(x), keep_h, keep_c
            inputs = Inputs._make(None if a is None else a.unsqueeze(0) for a in args)
            s, *_ = replay(self.recurrence, inputs, forward(self.recurrence, inputs))
        named = {**s.value, "f": s.value[self.gate.main], "g": s.forget, "i": s.input}
        if input.dim() == 2:
            return {name: a[0].squeeze(1) for name, a in named.items()}
        return {
            name: a[0].transpose(0, 1) if self.batch_first else a[0] for name, a in named.items()
        }


class LSTM(_RNN):
    """`torch.nn.LSTM` with the gate of your choice.

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional: as in torch.
        gate: a name of Table 1 ("-", "C", "O", "U", "R", "OM", "UM", "OR", "UR"), a composition of
            its axes and of those beyond it ("CR", "F", "UFR", see `urgates.gate`), or a `Gate`.
        zoneout: probabilities (cell state, hidden state) that a unit keeps its old value.
        downsize: C, neurons per master unit ("OM", "UM"); must divide `hidden_size`.
        t_max: longest dependency of chrono gates, in steps; `hidden_size` if None (§3).
        forget_bias: initial forget bias of constant-bias gates (§2.2); needs `bias`.
        kernel: "auto", or a name of `urgates.kernels.available()`.
    """

    cell = "lstm"

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
        proj_size: int = 0, *, device=None, dtype=None,
        gate: str | Gate = "UR", zoneout: tuple[float, float] = (0.0, 0.0), downsize: int = 1,
        t_max: float | None = None, forget_bias: float = 1.0, kernel: str = "auto",
    ) -> None:  # fmt: skip
        if isinstance(proj_size, bool) or proj_size != 0:
            why = (
                "no kernel projects what it feeds back; torch.nn.Linear(hidden_size, proj_size) "
                "after the layer makes its output smaller"
            )
            raise checks.refusal("proj_size", "be 0", repr(proj_size), why)
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            Options(gate, zoneout, downsize, t_max, forget_bias, keep_reset=True, kernel=kernel),
            device=device, dtype=dtype,
        )  # fmt: skip


class GRU(_RNN):
    """`torch.nn.GRU` with the gate of your choice on its update gate.

    torch's z multiplies the old state, so z is the forget gate here and "-" is torch's own GRU.
    Plain gates are tied, f + i = 1; the reset gate is left alone by every variant.

    Args:
        zoneout: probability that a unit of the hidden state keeps its old value.
        keep_reset: False drops the reset gate: with "R", "UR", "OR" the refine gate takes its
            rows, so that the number of parameters is the plain GRU's.
        forget_bias: initial bias of the forget gate of constant-bias gates; torch has 0.
        others: as `LSTM`.
    """

    cell = "gru"

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
        *, device=None, dtype=None,
        gate: str | Gate = "UR", zoneout: float = 0.0, keep_reset: bool = True, downsize: int = 1,
        t_max: float | None = None, forget_bias: float = 0.0, kernel: str = "auto",
    ) -> None:  # fmt: skip
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            Options(gate, (0.0, zoneout), downsize, t_max, forget_bias, keep_reset, kernel),
            device=device, dtype=dtype,
        )  # fmt: skip


# ------------------------------------------------------------------ small helpers


def _reverse(x: Tensor, lengths: Tensor | None) -> Tensor:
    """x [T, B, ·] back to front, each row within its own length."""
    if lengths is None:
        return x.flip(0)
    t = torch.arange(len(x), device=x.device)[:, None]
    index = torch.where(t < lengths, lengths - 1 - t, t)
    return x.gather(0, index[..., None].expand_as(x))
