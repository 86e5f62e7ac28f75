"""The networks that are trained: a recurrent layer, started as the protocol says, and a head."""

from functools import partial

import torch
from torch import Tensor, nn

from urgates import starts
from urgates.checks import choice
from urgates.cores import DNC, RMA, RMC
from urgates.gates import gate as find_gate
from urgates.lab.protocol import Protocol
from urgates.rnn import GRU, LSTM

CELLS = {
    "lstm": LSTM,
    "gru": GRU,
    "gru-no-reset": partial(GRU, keep_reset=False),
    "rmc": RMC,  # hidden units are those of a slot
    "mem": RMA,  # without reconstruction, which an agent adds: "rma"
    "rma": RMA,
    "dnc": DNC,
}


def recurrent(
    protocol: Protocol, cell: str, gate: str, input_size: int, num_layers: int = 1, **known
) -> LSTM | GRU:
    """Recurrent layers, batch first, whose weights and gates start as the protocol says.

    `learner_options` of the protocol may have a cell's own arguments under its name; `known` are
    those that follow from others.
    """
    make = CELLS[choice("cell", cell, CELLS)]
    auxiliary, forget_bias = find_gate(gate).auxiliary, protocol.forget_bias
    if auxiliary and protocol.variant_bias is not None:
        forget_bias = protocol.variant_bias
    # A GRU's gate starts at 0, as torch's does (the paper does not say).
    biased = not cell.startswith("gru")
    options = {"forget_bias": forget_bias} if biased else {}
    options |= dict(**protocol.learner_options.get(cell, {}), **known)
    if num_layers > 1:
        options["num_layers"] = num_layers
    if cell in protocol.zoneout:
        options["zoneout"] = protocol.zoneout[cell]
    options |= {"gate": gate, "downsize": protocol.downsize, "t_max": protocol.t_max}
    rnn = make(input_size, protocol.hidden, batch_first=True, **options)
    for w_x, w_h, b, *_ in rnn.all_weights:
        if protocol.weight_init != "torch":  # the layer's own, drawn already
            starts.weights(protocol.weight_init, w_x, w_h)
        with torch.no_grad():
            if protocol.tied_start and "i" in rnn.rows:
                b[rnn.rows["i"]] = -forget_bias
            if "r" in rnn.rows:
                b[rnn.rows["r"]] += protocol.refine_bias
            if biased and auxiliary == "master" and protocol.variant_bias:
                b[rnn.rows["f"]] += protocol.variant_bias
    return rnn


def features(protocol: Protocol, cell: str, **known) -> int:
    """How many numbers a step of the layers gives that `recurrent` makes: hidden units or more."""
    layer = CELLS[choice("cell", cell, CELLS)]
    if layer in (DNC, RMA, RMC):
        return layer.outputs(protocol.hidden, **protocol.learner_options.get(cell, {}), **known)
    return protocol.hidden


class Network(nn.Module):
    """A recurrent layer and a task's head: x [B, T, I] -> [B, O], or [B, k, O] for k steps.

    Its weights and gates start as the protocol says.
    """

    def __init__(self, protocol: Protocol, cell: str, gate: str):
        super().__init__()
        task = protocol.make_task()
        self.held, self.decode = task.held, task.decode
        # The head comes first, so that its weights do not depend on how many the gate draws.
        self.head = task.head(features(protocol, cell))
        self.rnn = recurrent(protocol, cell, gate, task.input_size)

    def forward(self, x: Tensor) -> Tensor:
        """Read a sequence and answer."""
        return self.decode(self.head, self.rnn(x, held=self.held(x))[0])


def build(protocol: Protocol, cell: str, gate: str, seed: int) -> Network:
    """A network as `seed` starts it, the same for every gate as far as shapes agree."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(protocol, cell, gate)
