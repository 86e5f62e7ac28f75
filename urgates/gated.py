"""What layers and cells share: sizes, the rows of the weights, how they start, how they are saved.

I input size, H hidden units; the rows of the weights are the gate's heads (Eqs. 2-8, 9-15).
"""

from __future__ import annotations

import math
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from urgates import checks, kernels
from urgates.gates import Gate, gate
from urgates.kernels.reference import Recurrence

PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "gate_bias")


@dataclass(frozen=True)
class Options:
    """What torch's modules have no word for, checked; `LSTM` and `GRU` say what each is."""

    gate: Any  # comes as a name or a `Gate`, is a `Gate`
    zoneout: tuple[float, float]  # (cell, hidden)
    downsize: int
    t_max: float | None
    forget_bias: float
    keep_reset: bool
    kernel: str

    def __post_init__(self) -> None:
        checked = {
            "gate": gate(self.gate),
            "zoneout": checks.zoneout_pair(self.zoneout),
            "downsize": checks.positive_int("downsize", self.downsize),
            "t_max": None if self.t_max is None else checks.number("t_max", self.t_max),
            "forget_bias": checks.number("forget_bias", self.forget_bias),
            "keep_reset": checks.flag("keep_reset", self.keep_reset),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        kernels.choose(self.kernel)


class Gated(nn.Module):
    """A recurrent layer or cell of any gate; its state_dict says of which."""

    cell: str

    def __init__(self, input_size: int, hidden_size: int, bias: bool, options: Options) -> None:
        super().__init__()
        self.input_size = checks.positive_int("input_size", input_size)
        self.hidden_size = checks.positive_int("hidden_size", hidden_size)
        self.bias = checks.flag("bias", bias)
        self.options, self.zoneout, self.kernel = options, options.zoneout, options.kernel
        self.gate: Gate = options.gate
        self.units = self.gate.units(hidden_size, options.downsize)
        self.recurrence = Recurrence(self.cell, self.gate, options.keep_reset)
        self.rows = self.recurrence.rows(hidden_size, options.downsize)

    def _add(self, suffix: str, input_size: int, device: Any, dtype: torch.dtype | None) -> None:
        rows = self.rows[self.recurrence.heads[-1]].stop
        shapes: dict[str, tuple[int, ...]]
        shapes = {"weight_ih": (rows, input_size), "weight_hh": (rows, self.hidden_size)}
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.gate.distributional:
            shapes["gate_bias"] = (self.units,)
        dtype = checks.float_type("dtype", dtype)
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
                    units=self.units,
                    t_max=self.options.t_max,
                    forget_bias=self.options.forget_bias,
                )
                (p if "gate_bias" in name else p[self.rows[self.gate.main]]).copy_(start)

    def _weights(
        self, suffix: str, x: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
        """w_x, b, w_h and b_u of a layer in the dtype of x, as the kernels take them."""
        found: list[Any] = [getattr(self, name + suffix, None) for name in PARAMETERS]
        w_x, w_h, *biases = found
        b, b_u = self._biases(*(None if b is None else b.to(x.dtype) for b in biases))
        return w_x.to(x.dtype), b, w_h.to(x.dtype), b_u

    def _biases(self, b_ih, b_hh, gate_bias) -> tuple[Tensor | None, Tensor | None]:
        """All biases in one [G], and the one inside a GRU's reset product [H]; None without."""
        b_u = None
        if b_hh is not None and self.cell == "gru" and self.recurrence.keep_reset:
            u = self.rows["u"]
            b_u = b_hh[u]
            b_hh = torch.cat([b_hh[: u.start], torch.zeros_like(b_u), b_hh[u.stop :]])
        biases = [b_ih, b_hh]
        if gate_bias is not None:
            signed = {1: gate_bias, -1: -gate_bias}
            sizes = self.hidden_size, self.options.downsize
            offsets = (
                signed[head.bias_sign]
                if head.bias_sign
                else gate_bias.new_zeros(head.width(*sizes))
                for head in self.recurrence.layout
            )
            biases.append(torch.cat([*offsets]))
        biases = [b for b in biases if b is not None]
        return sum(biases[1:], biases[0]) if biases else None, b_u

    def _states(
        self, hx: Any, x: Tensor, weights: Tensor, expected: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """h and c (a GRU's is h) as given, checked, with the type of x."""
        lstm = self.cell == "lstm"
        names = ("hx[0]", "hx[1]") if lstm else ("hx",)
        states = checks.pair("hx", hx) if lstm else (hx,)
        for name, state in zip(names, states, strict=True):
            checks.shape(name, checks.tensor(name, state, weights), expected)
            checks.finite(name, state)
        return states[0].to(x), states[-1].to(x)

    def extra_repr(self) -> str:
        """Sizes and gate, for `print(module)`."""
        return f"{self.input_size}, {self.hidden_size}, gate={self.gate.name!r}"

    @property
    def _kernel(self) -> str:
        """The back end asked for; where a graph is written for others, the one in plain torch."""
        # torch.onnx is imported by its first use only
        exporting = not torch.compiler.is_dynamo_compiling() and "torch.onnx" in sys.modules
        exporting = exporting and torch.onnx.is_in_onnx_export()
        if exporting and torch.jit.is_tracing():
            raise checks.refusal("dynamo", "be True in torch.onnx.export", "False")
        return "reference" if exporting or torch.jit.is_tracing() else self.kernel

    # ---------------------------------------------------------------- saved and loaded
    # Weights of different gates often have the same names and shapes, and torch's have those of
    # "-". So the gate is noted in the state_dict's metadata, where torch keeps its version numbers:
    # no key more, and torch.nn's own modules pay no heed. A plain dict of tensors has no metadata.

    @property
    def _kind(self) -> str:
        reset = "" if self.recurrence.keep_reset else " without reset"
        return f"{self.cell} {self.gate.name!r}{reset}"

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]]["gate"] = self._kind

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
    ):
        kind = self._kind
        if "version" in local_metadata:  # not a plain dict
            plain = self.gate == Gate() and self.recurrence.keep_reset
            kind = local_metadata.get("gate", self._kind if plain else "torch.nn's")
        if kind != self._kind:
            why = (
                "urgates.from_torch carries torch.nn's weights over, and dict(state_dict) "
                "loads by names and shapes alone"
            )
            found = f"{prefix}state_dict", f"be of {self._kind}", f"one of {kind}"
            error_msgs.append(str(checks.refusal(*found, why)))
            return
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def __prepare_scriptable__(self):
        """What torch.jit.script asks for before it compiles: there is nothing it could read."""
        raise ValueError(
            f"torch.jit.script cannot compile urgates.{type(self).__name__}: "
            "use torch.jit.trace (one length of sequence) or torch.export"
        )


def without_autocast(x: Tensor) -> AbstractContextManager:
    """Within it tensors on the device of x are computed with in the types they have."""
    device = x.device.type
    return nullcontext() if device == "meta" else torch.autocast(device, enabled=False)
