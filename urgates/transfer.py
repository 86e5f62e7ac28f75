"""torch.nn's recurrent modules with their weights, as ours: any gate that can be what torch's is.

A gate can if some weights of it compute exactly what torch's module does.  An LSTM's own bias of
the main gate is 0 then, a GRU's refine gate is 1/2 and leaves its update gate alone, Eq. (16).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from urgates.cells import GRUCell, LSTMCell
from urgates.checks import refusal, require
from urgates.gated import Gated
from urgates.gates import Gate, gate
from urgates.rnn import GRU, LSTM

_OURS: dict[type, Any] = {nn.LSTM: LSTM, nn.GRU: GRU, nn.LSTMCell: LSTMCell, nn.GRUCell: GRUCell}
_LAYER = ("num_layers", "batch_first", "dropout", "bidirectional")


def from_torch(module: nn.Module, gate: str | Gate = "-", **options: Any) -> Gated:
    """A module of ours that computes what a torch.nn module does, until it is trained further.

    Torch's rows i f g o (of a GRU r z n) become i f u o (reset f u).  A refine gate's rows, which
    only a GRU can have room for, and a `gate_bias` start at 0: gates of chrono, uniform and
    power-law start lose their spread of time scales.

    Args:
        module: a torch.nn.LSTM, GRU, LSTMCell or GRUCell, without projection.
        gate: "-", "C", "U", "P"; of a GRU also "R", "CR", "UR", "PR".
        options: what torch's module has no word for (`kernel`, `zoneout`).
    Raises:
        ValueError: for another module, and for a gate that no weights make torch's.
    """
    found = [(theirs, ours) for theirs, ours in _OURS.items() if isinstance(module, theirs)]
    if not found:
        known = ", ".join(theirs.__name__ for theirs in _OURS)
        raise refusal("module", f"be one of torch.nn's {known}", type(module).__name__)
    ours, layer = found[0][1], isinstance(module, nn.RNNBase)
    projected = layer and module.proj_size
    require("module", not projected, "have proj_size 0", projected)
    chosen = _can_be_torchs(gate, ours.cell, options.get("keep_reset", True))
    theirs = dict(module.named_parameters())
    names = ("input_size", "hidden_size", "bias", *(_LAYER if layer else ()))
    same = {name: getattr(module, name) for name in names}
    like = module.weight_hh_l0 if layer else module.weight_hh
    made = ours(**same, gate=chosen, device=like.device, dtype=like.dtype, **options)
    with torch.no_grad():
        for name, p in made.named_parameters():
            p.zero_()
            if name in theirs:
                p[: len(theirs[name])] = theirs[name]
    return made.train(module.training)


def _can_be_torchs(name: str | Gate, cell: str, keep_reset: bool) -> Gate:
    """The gate, if torch's module is one of the functions that it can be."""
    chosen = gate(name)
    reason = None
    if chosen.activation != "sigmoid":
        reason = f"its activation is {chosen.activation}"
    elif chosen.auxiliary == "master":
        reason = "its master gates never open fully"
    elif chosen.auxiliary == "refine" and cell == "lstm":
        reason = "its refine gate has the rows of the input gate"
    elif not keep_reset:
        reason = "without keep_reset the reset gate's rows have no place"
    if reason:
        expected = f"be one that can compute what torch's {cell.upper()} does"
        raise refusal("gate", expected, repr(chosen.name), reason)
    return chosen
