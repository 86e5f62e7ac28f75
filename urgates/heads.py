"""A head: one row block of the weights, and what becomes of the pre-activations it gives.

`Gate.head` makes them; layers, kernels and SymPy's reader ask them and nobody looks at a name.
H hidden units, C neurons to a master unit.
"""

from __future__ import annotations

from dataclasses import dataclass

MASTERS = ("i_master", "f_master")
MIXED = ("f", "i", "r", "f_master", "i_master")  # the gate's own, which `Gate.combine` reads


@dataclass(frozen=True)
class Head:
    """A row block of the weights.

    Args:
        chunked: whether a unit serves a chunk of C neurons, so that there are H/C of them.
        activation: "tanh", or one of `activations.ACTIVATIONS`.
        falling: whether its value is 1 - cumax, Eqs. (20), (29).
        bias_sign: 1 where the gate's own bias per unit is added, -1 where it is subtracted, else 0.
    """

    name: str
    chunked: bool
    activation: str
    falling: bool
    bias_sign: int

    def width(self, hidden_size: int, downsize: int = 1) -> int:
        """How many rows it has."""
        return hidden_size // downsize if self.chunked else hidden_size

    @property
    def mixed(self) -> bool:
        """Whether it is one of the gate's own, and not candidate, output or reset gate."""
        return self.name in MIXED

    @property
    def ordered(self) -> bool:
        """Whether its units are activated together, by cumax, and not one by one."""
        return self.activation == "cumax"

    @property
    def special(self) -> bool:
        """Whether neither sigmoid nor tanh nor cumax activates it."""
        return self.activation not in ("sigmoid", "tanh", "cumax")
