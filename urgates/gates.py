"""The Gate: nine mechanisms of Table 1, and their relatives, as one small object on two axes.

A gate turns pre-activations L(x_t, h_{t-1}) into the two coefficients of the gated update, Eq. (1):
state = forget * state + input * candidate.  The first axis is how the main gate is activated and
started (constant, chrono, uniform, cumax); the second is the auxiliary gate (none, refine, master).
Beyond Table 1 the sigmoid may give way to the gate of *Fast Saturating Gate* or to its slow cousin.
Every formula is a plain function below; floats, NumPy, torch, SymPy and the kernels all read it.
H hidden units, D decay period in steps; f i r u o: forget, input, refine, candidate, output.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import product

import torch
from torch import Tensor

from urgates import starts
from urgates.activations import (  # noqa: F401 -- formulas of a gate too
    ACTIVATIONS,
    cumax,
    cumax_complement,
    fast,
    matched,
    sigmoid_complement,
    softsign,
)
from urgates.checks import choice, positive_int, require
from urgates.heads import MASTERS, MIXED, Head

# ------------------------------------------------------------------ formulas, in plain arithmetic


def band(f):
    """Half-width of the interval a refine gate may move `f` in: α(f) = f(1 - f), §2.3."""
    return f * (1 - f)


def refine(f, r):
    """Effective gate g: from f² (r = 0) to 1 - (1 - f)² (r = 1), Eqs. (12), (16), (36).

    Its complement is itself, 1 - g = refine(1 - f, 1 - r): evaluate that where g is near 1.
    """
    return f * f + 2 * r * band(f)


def reach(f):
    """Ends (lowest, highest) of what a refine gate can make of f: f² and 1 - (1 - f)², §2.3."""
    return refine(f, 0), refine(f, 1)


def master(m, other, a, scale=1):
    """Effective gate of the ON-LSTM, Eqs. (21)-(23): `a` acts where both master gates overlap.

    `m` is the master gate of the same kind as `a`, `other` the opposite one; `scale=2` gives the
    rescaled gates of Eqs. (26)-(27), which equal `refine(m, a)` when `other = 1 - m` (Prop. 4).
    """
    omega = m * other
    return scale * a * omega + (m - omega)


def update(f, i, state, u):
    """The gated update, Eqs. (1), (5), (13)."""
    return f * state + i * u


def candidate(x, reset, v):
    """What the tanh of a GRU's candidate is of: the input's part, and the reset state's."""
    return x + reset * v


def advance(cell, f, i, o, u, state, tanh):
    """(state, h) after a step, Eqs. (1), (6); only an LSTM has an output gate between the two."""
    new = update(f, i, state, u)
    return new, o * tanh(new) if cell == "lstm" else new


def decay_period(f):
    """Characteristic time scale D = 1 / (1 - f) in steps, §2.2."""
    return 1 / (1 - f)


def logit(p):
    """Inverse sigmoid of a float or tensor, Eq. (9)."""
    return p.logit() if isinstance(p, Tensor) else math.log(p / (1 - p))


# ------------------------------------------------------------------ the object

_BIAS = {"constant": "", "chrono": "C", "uniform": "U", "power": "P"}
_ACTIVATION = {"sigmoid": "", "cumax": "O", "fast": "F", "softsign": "S"}
_AUXILIARY = {None: "", "refine": "R", "master": "M"}
_SOURCE = {
    "-": "§2, Eqs. 2-8", "C": "§B.3, Eqs. 17-18", "O": "§B.5, Eqs. 28-29", "U": "§2.2, Eq. 9",
    "R": "§2.3, Eqs. 11-13, 16", "OM": "§B.4, Eqs. 19-23", "UM": "§B.5, Eqs. 30-33",
    "OR": "§B.5, Eqs. 34-37", "UR": "§2.1, Eqs. 9-15",
    "P": "Mahto et al. (2021), see *Fast Saturating Gate*, §3; trained, in every layer: our choice",
    "F": "*Fast Saturating Gate*, abstract; on both gates of the pair: our choice",
    "S": "*Fast Saturating Gate*, Fig. 1; its scale, and on both gates of the pair: our choice",
}  # fmt: skip


@dataclass(frozen=True)
class Gate:
    """A gate mechanism: how the main gate is activated and started, and what modulates it.

    Args:
        activation: "sigmoid", "cumax", "fast" (σ of sinh) or "softsign" (normalised), of the main
            gate (the master gates where there are any) and of its partner, see `activated`.
        bias: "constant", "chrono" (Eq. 17), "uniform" (Eq. 9) or "power" (Mahto et al. 2021), its
            initial bias; cumax has none.
            Fast and softsign gates start where a sigmoid with that bias would (our choice).
        auxiliary: None, "refine" (Eq. 16) or "master" (Eqs. 21-23).
    """

    activation: str = "sigmoid"
    bias: str = "constant"
    auxiliary: str | None = None

    def __post_init__(self) -> None:
        choice("activation", self.activation, _ACTIVATION)
        choice("bias", self.bias, _BIAS)
        choice("auxiliary", self.auxiliary, _AUXILIARY)
        fine = self.activation != "cumax" or self.bias == "constant"
        expected = "be 'constant' with activation 'cumax', which itself spreads the gates"
        require("bias", fine, expected, self.bias)

    @property
    def name(self) -> str:
        """Table 1's prefix, read left to right: initial bias, activation, auxiliary."""
        parts = _BIAS[self.bias] + _ACTIVATION[self.activation] + _AUXILIARY[self.auxiliary]
        return parts or "-"

    @property
    def title(self) -> str:
        """The mechanism in words."""
        start = {"constant": "standard", "chrono": "chrono-started", "uniform": "uniformly started"}
        start["power"] = "power-law-started"
        kind = {"cumax": "ordered (cumax)", "fast": "fast-saturating", "softsign": "softsign"}
        main = kind.get(self.activation, start[self.bias])
        if self.distributional and self.activation in kind:
            main = f"{start[self.bias]} {main}"
        return {
            None: f"{main} gates", "refine": f"{main} main gate, auxiliary refine gate",
            "master": f"{main} master gates over a plain pair",
        }[self.auxiliary]  # fmt: skip

    @property
    def source(self) -> str:
        """Where the paper defines it."""
        axes = "the axes of Table 1, §2.6 and §B.5"
        if self.activation in ("fast", "softsign") or self.bias == "power":
            axes = f"*Fast Saturating Gate* and {axes}: our choice"
        return _SOURCE.get(self.name, f"composed from {axes}")

    @property
    def tied(self) -> bool:
        """Whether the input gate of an LSTM is 1 - (effective forget gate), §2.4."""
        return self.auxiliary == "refine"

    @property
    def distributional(self) -> bool:
        """Whether each unit has its own trainable gate bias, drawn at the start (§D.5)."""
        return self.bias != "constant"

    @property
    def main(self) -> str:
        """The head that `activation` and `bias` belong to; its partner is `partner`."""
        return "f_master" if self.auxiliary == "master" else "f"

    @property
    def partner(self) -> str:
        """The head whose bias starts at minus the main head's, Eq. (18) and Listing 2."""
        return {None: "i", "refine": "r", "master": "i_master"}[self.auxiliary]

    def head(self, name: str) -> Head:
        """A row block by its name.

        The main head and its partner have the gate's activation, all other gates a sigmoid, and so
        has a refine gate beside cumax (§B.5).  *Fast Saturating Gate* §4.1 speaks of the forget
        gate alone; that its partner, be it input or refine gate, takes the same activation is our
        choice: the two share one ±b and start in balance.
        """
        sign = {self.main: 1, self.partner: -1}.get(name, 0)
        own = sign and not (self.activation == "cumax" and name == "r")
        activation = self.activation if own else "tanh" if name == "u" else "sigmoid"
        falling = activation == "cumax" and sign < 0
        bias_sign = sign if self.distributional else 0
        return Head(name, name in MASTERS, activation, falling, bias_sign)

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the row blocks of an LSTM's weights, in order."""
        return tuple(head.name for head in self.layout("lstm"))

    def layout(self, cell: str = "lstm", keep_reset: bool = True) -> tuple[Head, ...]:
        """Row blocks of the weights, in order, of an "lstm", a "gru" or an "rmc".

        An LSTM has i f u o, with r in i's place where the input gate is tied; an RMC i f alone.
        A GRU has reset f u (torch's r z n: its z multiplies the old state), then what the gate
        adds; without `keep_reset` the addition takes the reset gate's place.
        """
        choice("cell", cell, ("lstm", "gru", "rmc"))
        extra = "r" if self.tied else "i"
        added = [extra] if self.auxiliary else []  # a GRU's plain gates are tied, f + i = 1
        if cell == "lstm":
            names = [extra, "f", "u", "o"]
        elif cell == "rmc":
            names = [extra, "f"]
        else:
            names = ["reset", "f", "u", *added] if keep_reset else [*added, "f", "u"]
        names += MASTERS if self.auxiliary == "master" else ()
        return tuple(map(self.head, names))

    def units(self, hidden_size: int, downsize: int = 1) -> int:
        """How many units the main gate has: H, or H/C of a master gate; C must divide H."""
        positive_int("hidden_size", hidden_size)
        positive_int("downsize", downsize)
        main = self.head(self.main)
        fine = not main.chunked or hidden_size % downsize == 0
        require("downsize", fine, f"divide hidden_size {hidden_size}", downsize)
        return main.width(hidden_size, downsize)

    def coefficients(self, pre: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Effective forget and input gates from the pre-activations of the heads.

        Args:
            pre: tensors [..., H] by head, gate biases included; master heads may be [..., H/C].
                Without "i" and "r" the gates are tied.
        Returns:
            (forget, input), each [..., H].
        """
        value, complement = self.activate(pre)
        return self.combine(value, complement)

    def activate(self, pre: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Activations of the heads and their complements, master heads repeated to [..., H]."""
        value: dict[str, Tensor] = {}
        complement: dict[str, Tensor] = {}
        for head in map(self.head, MIXED):
            if head.name not in pre:
                continue
            z = pre[head.name]
            pair = ACTIVATIONS[head.activation](z)
            pair = pair[::-1] if head.falling else pair
            if head.chunked and (chunk := pre["f"].shape[-1] // z.shape[-1]) > 1:
                pair = tuple(p.repeat_interleave(chunk, -1) for p in pair)
            value[head.name], complement[head.name] = pair
        return value, complement

    def combine(self, a: dict, c: dict) -> tuple:
        """Effective (forget, input) from activations `a` and complements `c`: arithmetic only."""
        if self.auxiliary == "refine":
            return refine(a["f"], a["r"]), refine(c["f"], c["r"])
        if self.auxiliary == "master":
            forget = master(a["f_master"], a["i_master"], a["f"])
            return forget, master(a["i_master"], a["f_master"], a["i"])
        return a["f"], a["i"] if "i" in a else c["f"]

    def initial_bias(
        self,
        hidden_size: int,
        *,
        units: int | None = None,
        forget_bias: float = 1.0,
        t_max: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Initial bias of the main gate's units; its activations start as a sigmoid's would.

        Args:
            hidden_size: H; uniform (and power-law) gates start within [1/H, 1 - 1/H] (§D.5).
            units: how many biases, if fewer than H (downsized master gates).
            forget_bias: the constant of constant-bias gates (§2.2), a sigmoid's; 0 with cumax.
            t_max: longest dependency of chrono gates in steps; H if not given (§3).
        Returns:
            float32 tensor [units].
        """
        positive_int("hidden_size", hidden_size)
        units = hidden_size if units is None else positive_int("units", units)
        if self.activation == "cumax":
            return torch.zeros(units, dtype=torch.float32)
        if self.bias == "constant":
            b = starts.constant(units, forget_bias)
        elif self.bias == "chrono":
            b = starts.chrono(units, hidden_size if t_max is None else t_max, generator)
        else:
            draw = starts.uniform if self.bias == "uniform" else starts.power
            b = draw(units, hidden_size, generator)
        b = matched(self.activation, b).float()
        expected = f"be one that activation {self.activation!r} can start from in float32"
        require("forget_bias", torch.isfinite(b).all(), expected, forget_bias)
        return b

    def parameters(
        self,
        input_size: int,
        hidden_size: int,
        *,
        downsize: int = 1,
        cell: str = "lstm",
        keep_reset: bool = True,
        biases: int = 1,
    ) -> int:
        """Trainable numbers of one layer; `biases` vectors per row block (torch.nn has 2)."""
        positive_int("input_size", input_size)
        own = self.units(hidden_size, downsize)
        heads = self.layout(cell, keep_reset)
        rows = sum(head.width(hidden_size, downsize) for head in heads)
        return rows * (input_size + hidden_size + biases) + own * self.distributional

    def _repr_markdown_(self) -> str:
        from urgates.symbolic import card  # SymPy takes a second to import

        return card(self)


# ------------------------------------------------------------------ Table 1, and any composition

GATES: dict[str, Gate] = {
    g.name: g
    for g in (
        Gate(),
        Gate(bias="chrono"),
        Gate(activation="cumax"),
        Gate(bias="uniform"),
        Gate(auxiliary="refine"),
        Gate(activation="cumax", auxiliary="master"),
        Gate(bias="uniform", auxiliary="master"),
        Gate(activation="cumax", auxiliary="refine"),
        Gate(bias="uniform", auxiliary="refine"),
    )
}
"""The nine gates of Table 1 by name, in its order."""


@cache
def _all() -> dict[str, Gate]:
    axes = product(("sigmoid", "fast", "softsign"), _AUXILIARY, _BIAS)
    composed = (Gate(activation, bias, auxiliary) for activation, auxiliary, bias in axes)
    return GATES | {g.name: g for g in composed if g.name not in GATES}


def gate(name: str | Gate) -> Gate:
    """The gate of that name: a row of Table 1 ("UR") or a composition of its axes.

    A name is read left to right: initial bias ("C", "U", "P" for power law, none for constant),
    activation ("O", "F" for fast, "S" for softsign, none for sigmoid), auxiliary ("R", "M", none):
    "CR", "F", "UFR".

    Raises:
        ValueError: for an unknown name; the message lists the known ones.
    """
    if isinstance(name, Gate):
        return name
    return _all()[choice("gate", name, _all())]
