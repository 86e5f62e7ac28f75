"""Gated recurrent networks that remember: the gates, layers and kernels of the UR-gates paper."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from urgates.cells import GRUCell, LSTMCell
    from urgates.cores.dnc import DNC
    from urgates.cores.reconstructive import RMA
    from urgates.cores.relational import RMC
    from urgates.gates import GATES, Gate, gate
    from urgates.rnn import GRU, LSTM
    from urgates.transfer import from_torch

__version__ = "0.1.0"
__all__ = [
    "DNC", "GATES", "GRU", "LSTM", "RMA", "RMC",
    "GRUCell", "Gate", "LSTMCell", "from_torch", "gate",
]  # fmt: skip

_MODULES = (
    "activations",
    "cells",
    "cores",
    "gates",
    "kernels",
    "rnn",
    "starts",
    "symbolic",
    "tape",
)


def __getattr__(name: str):
    """Import what is asked for: torch takes seconds, which `urgates --help` need not wait for."""
    if name in _MODULES:
        return import_module(f"urgates.{name}")
    if name in __all__:
        home = {"LSTM": "rnn", "GRU": "rnn", "LSTMCell": "cells", "GRUCell": "cells"}
        home |= {"from_torch": "transfer", **dict.fromkeys(("DNC", "RMA", "RMC"), "cores")}
        return getattr(import_module(f"urgates.{home.get(name, 'gates')}"), name)
    raise AttributeError(f"module 'urgates' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
