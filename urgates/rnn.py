"""LSTM and GRU with any gate, behind `torch.nn`'s interface: change one word and the gate is yours.

Replace `torch.nn.LSTM` by `urgates.LSTM`; arguments, shapes, returned values and the state_dict of
plain gates ("-") are torch's own.  I input size, H hidden units, L layers, B batch, T time steps;
the rows of the weights are the gate's heads (Eqs. 2-8, 9-15).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from urgates import kernels
from urgates.gates import Gate, gate, positive_int
from urgates.kernels.cpu import forward, replay
from urgates.kernels.reference import Inputs, Recurrence, wide


def probability(name: str, value) -> float:
    """The value as a float; ValueError unless it is a number in [0, 1]."""
    if not (isinstance(value, (int, float)) and 0 <= value <= 1):
        raise ValueError(f"{name} must be a probability in [0, 1], got {value!r}")
    return float(value)


class Gated(nn.Module):
    """What layers and cells share: the sizes, the rows of the weights and how they start."""

    cell: str

    def __init__(self, input_size, hidden_size, bias, gate_, downsize, t_max, forget_bias, keep):
        super().__init__()
        for name, value in (("input_size", input_size), ("hidden_size", hidden_size)):
            positive_int(name, value)
        positive_int("downsize", downsize)
        self.gate: Gate = gate(gate_)
        if self.gate.auxiliary == "master" and hidden_size % downsize:
            raise ValueError(f"downsize must divide hidden_size {hidden_size}, got {downsize}")
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bool(bias)
        self.downsize, self.t_max, self.forget_bias = downsize, t_max, float(forget_bias)
        self.recurrence = Recurrence(self.cell, self.gate, keep)
        self.rows = self.recurrence.rows(hidden_size, downsize)

    def _add(self, suffix: str, input_size: int, device, dtype) -> None:
        rows = self.rows[self.recurrence.heads[-1]].stop
        shapes = {"weight_ih": (rows, input_size), "weight_hh": (rows, self.hidden_size)}
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.gate.distributional:
            main = self.rows[self.gate.main]
            shapes["gate_bias"] = (main.stop - main.start,)
        for name, shape in shapes.items():
            empty = torch.empty(shape, device=device, dtype=dtype)
            self.register_parameter(name + suffix, nn.Parameter(empty))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw weights from U(±1/√H); biases are 0 but for the gates' own start (§2.2, §D.5)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for name, p in self.named_parameters():
            nn.init.uniform_(p, -bound, bound) if "weight" in name else p.zero_()
        for name, p in self.named_parameters():
            if "gate_bias" in name or ("bias_ih" in name and not self.gate.distributional):
                start = self.gate.initial_bias(
                    self.hidden_size,
                    units=self.rows[self.gate.main].stop - self.rows[self.gate.main].start,
                    t_max=self.t_max,
                    forget_bias=self.forget_bias,
                )
                (p if "gate_bias" in name else p[self.rows[self.gate.main]]).copy_(start)

    def _biases(self, b_ih, b_hh, gate_bias) -> tuple[Tensor | None, Tensor | None]:
        """All biases in one [G], and the one inside a GRU's reset product [H]; None without."""
        b_u = None
        if b_hh is not None and self.cell == "gru" and self.recurrence.keep_reset:
            u = self.rows["u"]
            b_u = b_hh[u]
            b_hh = torch.cat([b_hh[: u.start], torch.zeros_like(b_u), b_hh[u.stop :]])
        biases = [b_ih, b_hh]
        if gate_bias is not None:
            offsets = {self.gate.main: gate_bias, self.gate.partner: -gate_bias}
            zeros = {h: gate_bias.new_zeros(r.stop - r.start) for h, r in self.rows.items()}
            biases.append(torch.cat([offsets.get(h, zero) for h, zero in zeros.items()]))
        biases = [b for b in biases if b is not None]
        return sum(biases[1:], biases[0]) if biases else None, b_u

    def extra_repr(self) -> str:
        """Sizes and gate, for `print(module)`."""
        return f"{self.input_size}, {self.hidden_size}, gate={self.gate.name!r}"


class _RNN(Gated):
    """Layers and directions; see `LSTM` and `GRU`."""

    def __init__(
        self, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
        *, gate_, zoneout, downsize, t_max, forget_bias, keep_reset, kernel, device, dtype,
    ):  # fmt: skip
        super().__init__(
            input_size, hidden_size, bias, gate_, downsize, t_max, forget_bias, keep_reset
        )
        positive_int("num_layers", num_layers)
        self.num_layers, self.batch_first = num_layers, bool(batch_first)
        self.dropout = probability("dropout", dropout)
        self.bidirectional = bool(bidirectional)
        self.zoneout, self.kernel = zoneout, kernel
        kernels.choose(kernel)
        self.suffixes = [
            [f"_l{layer}{way}" for way in ("", "_reverse")[: 1 + self.bidirectional]]
            for layer in range(num_layers)
        ]
        for layer, names in enumerate(self.suffixes):
            for suffix in names:
                self._add(suffix, hidden_size * len(names) if layer else input_size, device, dtype)
        self.reset_parameters()

    # ---------------------------------------------------------------- one layer, one direction

    def _keep(self, p: float, x: Tensor, lengths: Tensor | None) -> Tensor | None:
        """How much of the old state each step holds: zoneout's masks, and all of it in padding."""
        keep = None
        if p:
            keep = x.new_full((1, 1, 1), p)  # at test time the expectation takes the masks' place
            if self.training:
                keep = (torch.rand_like(x[..., :1].expand(*x.shape[:2], self.hidden_size)) < p).to(
                    x
                )
        if lengths is not None:
            past = (torch.arange(len(x), device=x.device)[:, None] >= lengths).to(x)[..., None]
            keep = past if keep is None else torch.maximum(keep, past)
        return keep

    def _weights(self, suffix: str, x: Tensor) -> list[Tensor | None]:
        """w_x, b, w_h and b_u of a layer in the dtype of x, as the kernels take them."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "gate_bias")
        found = [getattr(self, n + suffix, None) for n in names]
        w_x, w_h, *biases = [None if w is None else w.to(x.dtype) for w in found]
        b, b_u = self._biases(*biases)
        return [w_x, b, w_h, b_u]

    def _mixed(self, x: Tensor) -> bool:
        """Whether the kernel itself takes 16-bit tensors and keeps gates and cells in float32."""
        if self.kernel != "triton" and x.device.type == "cpu":
            return False
        return kernels.choose(self.kernel, self.recurrence, x) == "triton"

    def _typed(self, x: Tensor) -> Tensor:
        """The input in the dtype to compute in: the weights', or that of autocast."""
        if torch.is_autocast_enabled(x.device.type):
            low = x.to(torch.get_autocast_dtype(x.device.type))
            if self._mixed(low):
                return low
        return x.to(self.weight_hh_l0.dtype)

    def _direction(self, suffix: str, x: Tensor, h0: Tensor, c0: Tensor, lengths: Tensor | None):
        """One direction of one layer over x [T, B, I]: hidden states, last h, last c."""
        back = suffix.endswith("_reverse")
        given = x if self._mixed(x) else wide(x)
        keep_c, keep_h = (self._keep(p, wide(x), lengths) for p in self.zoneout)
        hs, c = kernels.scan(
            self.recurrence,
            _reverse(given, lengths) if back else given,
            *self._weights(suffix, given),
            *(h0.to(given.dtype), wide(c0), keep_h, keep_c),
            kernel=self.kernel,
        )
        hs, c = hs.to(x), c.to(x)
        last = hs[-1] if len(x) else h0
        return (_reverse(hs, lengths) if back else hs), last, c

    def _layers(self, x: Tensor, h: Tensor, c: Tensor, lengths: Tensor | None):
        """All layers over x [T, B, I]: output, last h and c [L · directions, B, H]."""
        last = []
        for layer, names in enumerate(self.suffixes):
            if layer and self.dropout:
                x = nn.functional.dropout(x, self.dropout, self.training)
            outs = []
            for suffix in names:
                out, *state = self._direction(suffix, x, h[len(last)], c[len(last)], lengths)
                outs.append(out)
                last.append(state)
            x = torch.cat(outs, -1) if self.bidirectional else outs[0]
        return x, *(torch.stack(states) for states in zip(*last, strict=True))

    # ---------------------------------------------------------------- torch.nn's forward

    def forward(self, input: Tensor | PackedSequence, hx=None):
        """Run the sequence; arguments and returns are those of `torch.nn`.

        Args:
            input: [T, B, I], or [B, T, I] with `batch_first`, or [T, I], or a PackedSequence.
            hx: initial state, zeros if None: h0 of a GRU, (h0, c0) of an LSTM, each
                [L · directions, B, H] (without B for unbatched input).
        Returns:
            output, laid out as `input` with H · directions features, and the last state, as hx.
            16-bit weights compute their gates in float32 (bfloat16 gates would cap memory at 256
            steps). Under autocast the Triton kernel takes its dtype, others the weights'.
        Raises:
            ValueError: for shapes that do not fit, or non-finite input (checked on the CPU, outside
                `torch.compile` and `vmap`).
        """
        packed = isinstance(input, PackedSequence)
        if packed:
            plain = PackedSequence(input.data, input.batch_sizes)  # keep the sorted order
            x, lengths = pad_packed_sequence(plain)
            lengths = lengths.to(x.device)
        else:
            x, lengths = input, None
        single = x.dim() == 2
        if x.dim() not in (2, 3) or x.shape[-1] != self.input_size:
            raise ValueError(
                f"input must have 2 or 3 dimensions, the last of size {self.input_size}, "
                f"got shape {list(x.shape)}"
            )
        _check_finite("input", x)
        if single:
            x = x.unsqueeze(1)
        elif self.batch_first and not packed:
            x = x.transpose(0, 1)
        x = self._typed(x)
        h, c = self._initial(hx, x, single)
        if packed and input.sorted_indices is not None:
            h, c = h[:, input.sorted_indices], c[:, input.sorted_indices]
        with torch.autocast(x.device.type, enabled=False):
            x, h, c = self._layers(x, h, c, lengths)
        if packed:
            valid = torch.arange(x.shape[1]) < input.batch_sizes[:, None]
            x = PackedSequence(x[valid.to(x.device)], *input[1:])
            if input.unsorted_indices is not None:
                h, c = h[:, input.unsorted_indices], c[:, input.unsorted_indices]
        elif single:
            x, h, c = x.squeeze(1), h.squeeze(1), c.squeeze(1)
        elif self.batch_first:
            x = x.transpose(0, 1)
        return x, ((h, c) if self.cell == "lstm" else h)

    def _initial(self, hx, x: Tensor, single: bool) -> tuple[Tensor, Tensor]:
        """h0 and c0 as [L · directions, B, H]."""
        shape = (sum(map(len, self.suffixes)), x.shape[1], self.hidden_size)
        if hx is None:
            zeros = x.new_zeros(shape)
            return zeros, zeros
        h, c = hx if self.cell == "lstm" else (hx, hx)
        for name, state in (("h0", h), ("c0", c)):
            expected = (shape[0], shape[2]) if single else shape
            if tuple(state.shape) != expected:
                raise ValueError(f"{name} must have shape {expected}, got {list(state.shape)}")
            _check_finite(name, state)
        h, c = h.to(x), c.to(x)
        return (h.unsqueeze(1), c.unsqueeze(1)) if single else (h, c)

    @torch.no_grad()
    def gates(self, input: Tensor, hx=None) -> dict[str, Tensor]:
        """Gate activations of the first layer over a sequence, for probes and pictures.

        Args:
            input, hx: as `forward` takes them (no PackedSequence).
        Returns:
            [T, B, H] tensors (laid out as `input`): "g" effective forget gate, "i" effective input
            gate, "f" main gate, and the activations of the other gate heads ("r", masters).
        """
        x = input.transpose(0, 1) if self.batch_first else input
        h, c = self._initial(hx, x, single=False)
        suffix = self.suffixes[0][0]
        keep_c, keep_h = (self._keep(p, wide(x), None) for p in self.zoneout)
        x = wide(x)
        args = x, *self._weights(suffix, x), wide(h[0]), wide(c[0]), keep_h, keep_c
        inputs = Inputs(*(None if a is None else a.unsqueeze(0) for a in args))
        s, *_ = replay(self.recurrence, inputs, forward(self.recurrence, inputs))
        named = {**s.value, "f": s.value[self.gate.main], "g": s.forget, "i": s.input}
        lay = (lambda a: a[0].transpose(0, 1)) if self.batch_first else (lambda a: a[0])
        return {name: lay(a) for name, a in named.items()}


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
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        gate: str | Gate = "UR",
        zoneout: tuple[float, float] = (0.0, 0.0),
        downsize: int = 1,
        t_max: float | None = None,
        forget_bias: float = 1.0,
        kernel: str = "auto",
        device=None,
        dtype=None,
    ) -> None:
        zoneout = zoneout_pair(zoneout)
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            gate_=gate, zoneout=zoneout, downsize=downsize, t_max=t_max, forget_bias=forget_bias,
            keep_reset=True, kernel=kernel, device=device, dtype=dtype,
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
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        gate: str | Gate = "UR",
        zoneout: float = 0.0,
        keep_reset: bool = True,
        downsize: int = 1,
        t_max: float | None = None,
        forget_bias: float = 0.0,
        kernel: str = "auto",
        device=None,
        dtype=None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            gate_=gate, zoneout=(0.0, probability("zoneout", zoneout)), downsize=downsize,
            t_max=t_max, forget_bias=forget_bias, keep_reset=bool(keep_reset), kernel=kernel,
            device=device, dtype=dtype,
        )  # fmt: skip


# ------------------------------------------------------------------ small helpers


def zoneout_pair(zoneout) -> tuple[float, float]:
    """Zoneout of an LSTM, (cell, hidden); ValueError unless it is a pair of probabilities."""
    if not (isinstance(zoneout, (tuple, list)) and len(zoneout) == 2):
        raise ValueError(f"zoneout must be a pair (cell, hidden) of probabilities, got {zoneout!r}")
    return tuple(probability("zoneout", p) for p in zoneout)


def _reverse(x: Tensor, lengths: Tensor | None) -> Tensor:
    """x [T, B, ·] back to front, each row within its own length."""
    if lengths is None:
        return x.flip(0)
    t = torch.arange(len(x), device=x.device)[:, None]
    index = torch.where(t < lengths, lengths - 1 - t, t)
    return x.gather(0, index[..., None].expand_as(x))


def _check_finite(name: str, x: Tensor) -> None:
    hidden = torch.compiler.is_compiling() or torch._C._functorch.is_functorch_wrapped_tensor(x)
    if (
        hidden or x.device.type != "cpu" or math.isfinite(x.detach().sum())
    ):  # one pass over most inputs
        return
    if not torch.isfinite(x).all():
        raise ValueError(f"{name} must be finite, got {int((~torch.isfinite(x)).sum())} NaN or inf")
