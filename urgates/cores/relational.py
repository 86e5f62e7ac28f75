"""RMC: the relational memory core of Santoro et al. (2018) with the gate of your choice (App. E.3).

A memory of S slots attends to itself and to the input, and a gate decides what it keeps; equations
as released (M' = input * tanh(candidate) + forget * M, output all of M').
I input size, H hidden units of a slot, S slots, B batch, T time steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from urgates import checks, starts
from urgates.cores import attending
from urgates.cores.layout import Sequences
from urgates.cores.scan import KERNELS, choose, scan
from urgates.gated import Gated, Options, without_autocast
from urgates.gates import Gate
from urgates.kernels.reference import wide

GATINGS = ("unit", "memory")


class RMC(Sequences, Gated):
    """A relational memory core behind the interface of torch.nn's layers; slots are its directions.

    Its state is the memory [S, B, H], its output all slots side by side, [T, B, S · H].

    Args:
        input_size, batch_first: as in torch.
        hidden_size: H, units of one slot.
        slots: S. heads: of the attention; must divide H.
        gate: of the memory's update, as in `urgates.LSTM`; the same parameters serve all slots.
        gating: "unit", every unit has a gate, or "memory", every slot has one (as Santoro et al.
            ran it), which can be neither ordered nor have a bias a unit.
        downsize: C, neurons per master unit ("OM", "UM"); must divide H.
        t_max: longest dependency of chrono gates, in steps; H if None.
        forget_bias: initial forget bias of constant-bias gates.
        kernel: "native", a compiled loop (float32 on the CPU, "unit" gating; "auto" takes it
            where it can), "eager", torch's operations anywhere, or "reference", slower, all by
            autograd; second derivatives take that anyway.
    """

    cell = "rmc"
    slots = 4
    gate_bias: nn.Parameter  # of gates that have one

    def __init__(
        self, input_size: int, hidden_size: int, slots: int = slots, heads: int = 4,
        batch_first: bool = False, *, device=None, dtype=None, gate: str | Gate = "UR",
        gating: str = "unit", downsize: int = 1, t_max: float | None = None,
        forget_bias: float = 1.0, kernel: str = "auto",
    ) -> None:  # fmt: skip
        checks.choice("kernel", kernel, KERNELS)
        options = Options(gate, (0.0, 0.0), downsize, t_max, forget_bias, True, kernel)
        super().__init__(input_size, hidden_size, True, options)
        self.slots, self.heads = checks.positive_int("slots", slots), heads
        self.batch_first = checks.flag("batch_first", batch_first)
        fine = hidden_size % checks.positive_int("heads", heads) == 0
        checks.require("heads", fine, f"divide hidden_size {hidden_size}", heads)
        self.gating = checks.choice("gating", gating, GATINGS)
        if gating == "memory":
            self._one_gate_a_slot()
        H, G = hidden_size, self.rows[self.recurrence.heads[-1]].stop
        factory = {"device": device, "dtype": checks.float_type("dtype", dtype)}
        self.project = nn.Linear(input_size, H, **factory)
        self.qkv = nn.Linear(H, 3 * H, **factory)
        self.norm_qkv = nn.LayerNorm(3 * H, attending.EPSILON, **factory)
        self.norm_1, self.norm_2 = (nn.LayerNorm(H, attending.EPSILON, **factory) for _ in "12")
        self.mlp_1, self.mlp_2 = (nn.Linear(H, H, **factory) for _ in "12")
        self.gates_x, self.gates_m = (nn.Linear(H, G, **factory) for _ in "xm")
        if self.gate.distributional:
            self.gate_bias = nn.Parameter(torch.empty(self.units, **factory))
        self.reset_parameters()

    @staticmethod
    def outputs(hidden_size: int, slots: int = slots, **_) -> int:
        """How many features the output has."""
        return slots * hidden_size

    def _one_gate_a_slot(self) -> None:
        fine = self.gate.activation != "cumax" and not self.gate.distributional
        if not fine or self.gate.auxiliary == "master":
            why = "one gate a slot is neither ordered nor has it a bias a unit"
            raise checks.refusal("gating", f"be unit with gate {self.gate.name!r}", "memory", why)
        self.rows = self.recurrence.rows(1)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw weights by fan-in, as released; biases are 0 but for the gates' own start (§D.5)."""
        linears = [layer for layer in self.children() if isinstance(layer, nn.Linear)]
        for norm in (self.norm_qkv, self.norm_1, self.norm_2):
            norm.reset_parameters()
        for layer in linears:
            layer.reset_parameters()
            layer.bias.zero_()
        weights = [layer.weight for layer in linears]
        for pair in zip(weights[::2], weights[1::2], strict=True):
            starts.weights("fan-in", *pair)
        main = self.rows[self.gate.main]
        target = self.gate_bias if self.gate.distributional else self.gates_x.bias[main]
        o = self.options
        start = self.gate.initial_bias(
            self.hidden_size, units=len(target), t_max=o.t_max, forget_bias=o.forget_bias
        )
        target.copy_(start)

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The gates' own parameters: weights of input and memory, bias, and a `gate_bias`."""
        own: list[Tensor] = [self.gates_x.weight, self.gates_m.weight, self.gates_x.bias]
        return [[*own, self.gate_bias] if self.gate.distributional else own]

    @property
    def backend(self) -> str:
        """The kernel that runs on the weights as they are."""
        return self._chosen(self.kernel)

    def _chosen(self, kernel: str) -> str:
        return choose(kernel, self.recurrence, wide(self.qkv.weight), self.gating == "unit")

    # ---------------------------------------------------------------- what a sequence gives

    def _inputs(self, x: Tensor, m: Tensor, held: Tensor | None) -> attending.Inputs:
        """All that depends on x [T, B, I] alone, for all steps at once; models' axis of 1."""
        get = {name: wide(p) for name, p in self.named_parameters()}

        def linear(y: Tensor, name: str) -> Tensor:
            return nn.functional.linear(y, get[f"{name}.weight"], get[f"{name}.bias"])

        projected = linear(x, "project")
        norm = get["norm_qkv.weight"], get["norm_qkv.bias"]
        qkv = linear(projected, "qkv")
        qkv = nn.functional.layer_norm(qkv, qkv.shape[-1:], *norm, attending.EPSILON)
        _, k, v = qkv.unflatten(-1, (self.heads, -1)).chunk(3, -1)
        bias, _ = self._biases(get["gates_x.bias"], get["gates_m.bias"], get.get("gate_bias"))
        gx = nn.functional.linear(projected, get["gates_x.weight"], bias)
        names = ("qkv", "norm_qkv", "norm_1", "mlp_1", "mlp_2", "norm_2")
        weights = [get[f"{name}.{kind}"] for name in names for kind in ("weight", "bias")]
        keep = None if held is None else held.to(x)
        given = k, v, gx, m, keep, *weights, get["gates_m.weight"]
        return attending.Inputs._make(None if a is None else a.unsqueeze(0) for a in given)

    def _laid_out(self, input: Tensor, hx: Tensor | None, held: Tensor | None):
        """Checked: x [T, B, I], the memory [B, S, H] and the mask [T, B]."""
        x, mask = self._sequence(input, held, self.qkv.weight)
        S, B, H = self.slots, x.shape[1], self.hidden_size
        if hx is None:  # every slot another unit vector
            m = torch.eye(S, H, dtype=x.dtype, device=x.device).expand(B, S, H)
        else:
            given = (S, H) if input.dim() == 2 else (S, B, H)
            m, _ = self._states(hx, x, self.qkv.weight, given)
            m = m.unsqueeze(0) if input.dim() == 2 else m.transpose(0, 1)
        return wide(x), wide(m), mask

    def forward(
        self, input: Tensor, hx: Tensor | None = None, *, held: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run the sequence.

        Args:
            input: [T, B, I], or [B, T, I] with `batch_first`, or [T, I], of the weights' type.
            hx: initial memory [S, B, H] (without B for unbatched input); the identity if None.
            held: bool [T, B] ([B, T], [T], as `input`), True where a step leaves the memory as it
                is, whatever its input.
        Returns:
            output, laid out as `input` with S · H features, and the last memory, as hx.
        Raises:
            ValueError: for other types and shapes, and for non-finite input on the CPU.
        """
        x, m, mask = self._laid_out(input, hx, held)
        with without_autocast(x):
            inputs = self._inputs(x, m, mask)
            ms = scan(self.recurrence, self.heads, inputs, self._chosen(self._kernel))[0]
        ms = ms.to(self.qkv.weight.dtype)
        return self._as_given(ms, input).flatten(-2), self._last(ms[-1], input)

    def _last(self, m: Tensor, input: Tensor) -> Tensor:
        return m.squeeze(0) if input.dim() == 2 else m.transpose(0, 1)

    # ---------------------------------------------------------------- for probes and pictures

    @torch.no_grad()
    def _seen(self, input: Tensor, hx: Tensor | None, held: Tensor | None):
        """The memories before each step and what the steps computed, all [T, B, …]."""
        inputs = self._inputs(*self._laid_out(input, hx, held))
        ms, kept = attending.forward(self.recurrence, self.heads, inputs)
        before = torch.cat([inputs.m.unsqueeze(1), ms[:, :-1]], 1)
        return before[0], attending.Kept._make(part[0] for part in kept)

    def gates(
        self, input: Tensor, hx: Tensor | None = None, *, held: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Gate activations over a sequence: "g" effective forget gate, "i" effective input gate,
        "f" main gate, and those of the other heads; each laid out as `forward`'s output.
        """
        before, kept = self._seen(input, hx, held)
        value, complement = self.gate.activate(attending.split(self.recurrence, kept.pre, before))
        forget, input_ = self.gate.combine(value, complement)
        named = {**value, "f": value[self.gate.main], "g": forget, "i": input_}
        return {
            name: self._as_given(a.expand_as(before), input).flatten(-2)
            for name, a in named.items()
        }

    def attention(
        self, input: Tensor, hx: Tensor | None = None, *, held: Tensor | None = None
    ) -> Tensor:
        """How much each slot attends to each and, last, to the input: [T, B, heads, S, S + 1]."""
        return self._as_given(self._seen(input, hx, held)[1].p, input)

    def extra_repr(self) -> str:
        """Sizes and gate, for `print(module)`."""
        return f"{super().extra_repr()}, slots={self.slots}, heads={self.heads}"
