"""Bad input to layers, cells, gates and kernels: one line says what, what came, what was due."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

import urgates
from urgates import GRU, LSTM, Gate, GRUCell, LSTMCell, from_torch, gate
from urgates.checks import require
from urgates.kernels import Inputs, scan
from urgates.theory import decay_density

X, ROW = torch.zeros(5, 2, 3), torch.zeros(2, 3)  # of a layer, of a cell
H, S = torch.zeros(1, 2, 4), torch.zeros(2, 4)  # a state of either
NAN = float("nan")


def layer(x=X, hx=None, of=LSTM, **options):
    return of(3, 4, **options)(x, hx)


def cell(x=ROW, hx=None, of=LSTMCell, **options):
    return of(3, 4, **options)(x, hx)


def recurrence(kernel="auto", **changed):
    m = LSTM(3, 4, gate="-")
    fine = {"x": X, "w_x": m.weight_ih_l0, "b": None, "w_h": m.weight_hh_l0, "b_u": None,
            "h0": S, "c0": S}  # fmt: skip
    return scan(m.recurrence, Inputs(**(fine | changed)), kernel)


def test_a_value_that_is_fine_passes_through_and_another_is_shown_in_a_few_words():
    assert require("steps", True, "be above 0", 3) == 3
    for value, shown in [
        (-3, "-3"),
        ("many", "'many'"),
        (X, "a tensor of shape [5, 2, 3]"),
        ([0.5] * 99, "a list of length 99"),
        (X.numpy(), "a ndarray"),
    ]:
        with pytest.raises(ValueError, match=re.escape(f"steps must be above 0, got {shown}")):
            require("steps", False, "be above 0", value)


CONSTRUCTORS = [
    (lambda: LSTM(0, 4), "input_size must be a positive int, got 0"),
    (lambda: LSTM(3, -1), "hidden_size must be a positive int, got -1"),
    (lambda: LSTM(3, 4.0), "hidden_size must be a positive int, got 4.0"),
    (lambda: GRU("3", 4), "input_size must be a positive int, got '3'"),
    (lambda: GRUCell(True, 4), "input_size must be a positive int, got True"),
    (lambda: LSTMCell(3, None), "hidden_size must be a positive int, got None"),
    (lambda: LSTM(3, 4, 0), "num_layers must be a positive int, got 0"),
    (lambda: LSTM(3, 4, 1.5), "num_layers must be a positive int, got 1.5"),
    (lambda: LSTM(3, 4, bias="no"), "bias must be True or False, got 'no'"),
    (lambda: GRUCell(3, 4, bias=None), "bias must be True or False, got None"),
    (lambda: LSTM(3, 4, batch_first=1), "batch_first must be True or False, got 1"),
    (lambda: GRU(3, 4, bidirectional="no"), "bidirectional must be True or False, got 'no'"),
    (lambda: GRU(3, 4, keep_reset=0), "keep_reset must be True or False, got 0"),
    (lambda: LSTM(3, 4, dropout=2), "dropout must be a probability in [0, 1], got 2"),
    (lambda: LSTM(3, 4, dropout=True), "dropout must be a probability in [0, 1], got True"),
    (lambda: GRU(3, 4, dropout="half"), "dropout must be a probability in [0, 1], got 'half'"),
    (lambda: LSTM(3, 4, proj_size=2), "proj_size must be 0, got 2"),
    (lambda: LSTM(3, 4, proj_size=-1), "proj_size must be 0, got -1"),
    (lambda: LSTM(3, 4, dtype=torch.int64), "dtype must be one of torch.float16, torch.bfloat16"),
    (lambda: GRUCell(3, 4, dtype="float32"), "torch.float64, got 'float32'"),
    (lambda: LSTM(3, 4, gate="??"), "gate must be one of -, C, O"),
    (lambda: LSTM(3, 4, gate=["UR"]), "got ['UR']"),
    (lambda: LSTM(3, 4, gate="OM", downsize=3), "downsize must divide hidden_size 4, got 3"),
    (lambda: LSTM(3, 4, downsize=0), "downsize must be a positive int, got 0"),
    (lambda: LSTM(3, 1, gate="U"), "hidden_size must be at least 2 for uniform"),
    (lambda: LSTM(3, 4, gate="C", t_max=2), "t_max must be a finite number above 2"),
    (lambda: LSTM(3, 4, gate="C", t_max="long"), "t_max must be a finite number, got 'long'"),
    (lambda: LSTM(3, 4, forget_bias=NAN), "forget_bias must be a finite number, got nan"),
    (lambda: LSTMCell(3, 4, forget_bias=None), "forget_bias must be a finite number, got None"),
    (lambda: LSTM(3, 4, gate="S", forget_bias=200), "forget_bias must be one that activation 'so"),
    (lambda: LSTM(3, 4, zoneout=(1.5, 0.0)), "zoneout must be a probability in [0, 1], got 1.5"),
    (lambda: LSTM(3, 4, zoneout=0.5), "zoneout must be a pair (cell, hidden) of probabilities"),
    (lambda: LSTMCell(3, 4, zoneout=(0.1,)), "zoneout must be a pair"),
    (lambda: GRU(3, 4, zoneout=-0.1), "zoneout must be a probability in [0, 1], got -0.1"),
    (lambda: GRUCell(3, 4, zoneout=(0, 0)), "zoneout must be a probability in [0, 1], got (0, 0)"),
    (lambda: LSTM(3, 4, kernel="fpga"), "kernel must be one of"),
]
INPUTS = [
    (lambda: layer(torch.zeros(5, 2, 4)), "input must have 2 or 3 dimensions, the last of size 3"),
    (lambda: layer(torch.zeros(3)), "input must have 2 or 3 dimensions"),
    (lambda: layer(X[None], of=GRU), "got shape [1, 5, 2, 3]"),
    (lambda: layer(X[:0]), "input must have a time step, got shape [0, 2, 3]"),
    (lambda: layer(X[:, :0], batch_first=True), "input must have a time step, got shape [5, 0, 3]"),
    (
        lambda: layer(X.long()),
        "input must be of torch.float32, as the weights are, got torch.int64",
    ),
    (
        lambda: layer(X > 0, of=GRU),
        "input must be of torch.float32, as the weights are, got torch.",
    ),
    (lambda: layer(X.double() + 1e39), "as the weights are, got torch.float64"),
    (lambda: layer(X.bfloat16()), "as the weights are, got torch.bfloat16"),
    (lambda: layer(X.numpy()), "input must be a tensor, got a ndarray"),
    (lambda: layer(None), "input must be a tensor, got None"),
    (lambda: layer(X.tolist()), "input must be a tensor, got a list of length 5"),
    (lambda: layer(X.to("meta")), "input must be on cpu, where the weights are, got meta"),
    (lambda: layer(X.to_sparse()), "input must be a dense tensor, got torch.sparse_coo"),
    (lambda: layer(X + NAN), "input must be finite, got 30 NaN or inf"),
    (
        lambda: layer(pack_sequence([X[:, 0, :2]])),
        "input.data must have 2 dimensions, the last of s",
    ),
    (lambda: layer(pack_sequence([X[:, 0].double()])), "input.data must be of torch.float32"),
    (lambda: cell(torch.zeros(2, 4)), "input must be [B, 3] or [3], got shape [2, 4]"),
    (lambda: cell(X, of=GRUCell), "input must be [B, 3] or [3], got shape [5, 2, 3]"),
    (
        lambda: cell(ROW.int()),
        "input must be of torch.float32, as the weights are, got torch.int32",
    ),
    (lambda: cell(ROW + NAN), "input must be finite, got 6 NaN or inf"),
    (lambda: cell([1.0, 2.0, 3.0]), "input must be a tensor, got [1.0, 2.0, 3.0]"),
    (lambda: LSTM(3, 4).gates(X + NAN), "input must be finite, got 30 NaN or inf"),
    (lambda: LSTM(3, 4).gates(X.double()), "input must be of torch.float32"),
    (lambda: LSTM(3, 4).gates(pack_sequence([X[:, 0]])), "input must be a tensor, got a PackedSe"),
    (lambda: GRU(3, 4).gates(X, H[:, :1]), "hx must have shape (1, 2, 4), got [1, 1, 4]"),
]
STATES = [
    (lambda: layer(hx=H), "hx must be a pair (h, c) of tensors, got a tensor of shape [1, 2, 4]"),
    (lambda: layer(hx=()), "hx must be a pair (h, c) of tensors, got ()"),
    (lambda: layer(hx=(H, H, H)), "hx must be a pair (h, c) of tensors, got a tuple of length 3"),
    (lambda: layer(hx={"h": H, "c": H}), "hx must be a pair (h, c) of tensors, got a dict"),
    (lambda: layer(hx=(H, None)), "hx[1] must be a tensor, got None"),
    (lambda: layer(hx=(H[0], H[0])), "hx[0] must have shape (1, 2, 4), got [2, 4]"),
    (lambda: layer(X[:, 0], (H, H)), "hx[0] must have shape (1, 4), got [1, 2, 4]"),
    (lambda: layer(hx=(H, H.double())), "hx[1] must be of torch.float32"),
    (lambda: layer(hx=(H, H + NAN)), "hx[1] must be finite, got 8 NaN or inf"),
    (lambda: layer(hx=(H, H), of=GRU), "hx must be a tensor, got a tuple of length 2"),
    (lambda: layer(hx=0, of=GRU), "hx must be a tensor, got 0"),
    (lambda: layer(hx=H.long(), of=GRU), "hx must be of torch.float32"),
    (lambda: cell(hx=()), "hx must be a pair (h, c) of tensors, got ()"),
    (lambda: cell(hx=torch.stack([S, S])), "hx must be a pair (h, c) of tensors, got a tensor of"),
    (lambda: cell(hx=(S, S[:1])), "hx[1] must have shape (2, 4), got [1, 4]"),
    (lambda: cell(hx=(S > 0, S)), "hx[0] must be of torch.float32"),
    (lambda: cell(hx=(S + NAN, S)), "hx[0] must be finite, got 8 NaN or inf"),
    (lambda: cell(hx=S[:1], of=GRUCell), "hx must have shape (2, 4), got [1, 4]"),
    (lambda: cell(hx=False, of=GRUCell), "hx must be a tensor, got False"),
]
OTHERS = [
    (lambda: gate(5), "gate must be one of -, C, O"),
    (lambda: gate(None), "got None"),
    (lambda: Gate("relu"), "activation must be one of sigmoid, cumax, fast, softsign, got 'relu'"),
    (
        lambda: Gate(bias=["chrono"]),
        "bias must be one of constant, chrono, uniform, power, got ['chrono']",
    ),
    (
        lambda: Gate(auxiliary="reset"),
        "auxiliary must be one of None, refine, master, got 're",
    ),
    (lambda: Gate("cumax", "uniform"), "bias must be 'constant' with activation 'cumax'"),
    (lambda: gate("UR").layout("rnn"), "cell must be one of lstm, gru, rmc, got 'rnn'"),
    (lambda: gate("UR").initial_bias(0), "hidden_size must be a positive int, got 0"),
    (lambda: gate("UR").initial_bias(8, units=0), "units must be a positive int, got 0"),
    (lambda: gate("UR").parameters(3, "8"), "hidden_size must be a positive int, got '8'"),
    (lambda: gate("OM").parameters(3, 8, downsize=3), "downsize must divide hidden_size 8, got 3"),
    (
        lambda: decay_density("flat", np.ones(2)),
        "start must be one of chrono, chrono_unknown, uni",
    ),
    (
        lambda: decay_density("chrono", np.ones(2)),
        "t_max must be above 2 (steps), got None",
    ),
    (
        lambda: decay_density("uniform", 2.0, hidden_size=2),
        "hidden_size must be an int above 2, got",
    ),
    (
        lambda: from_torch(nn.RNN(3, 4)),
        "module must be one of torch.nn's LSTM, GRU, LSTMCell, GRUCel",
    ),
    (lambda: from_torch(nn.LSTM(3, 4, proj_size=2)), "module must have proj_size 0, got 2"),
    (
        lambda: from_torch(nn.LSTM(3, 4), "R"),
        "got 'R': its refine gate has the rows of the input ga",
    ),
    (lambda: from_torch(nn.GRU(3, 4), "O"), "got 'O': its activation is cumax"),
    (lambda: from_torch(nn.GRU(3, 4), "UM"), "got 'UM': its master gates never open fully"),
    (lambda: from_torch(nn.GRUCell(3, 4), "R", keep_reset=False), "the reset gate's rows have no"),
    (lambda: torch.jit.script(LSTM(3, 4)), "torch.jit.script cannot compile urgates.LSTM"),
    (lambda: recurrence(h0=S[:1]), "h0 must have shape [..., 2, 4], got [1, 4]"),
    (lambda: recurrence(c0=S.to("meta")), "c0 must be on cpu, where x is, got meta"),
    (lambda: recurrence(x=X.double()), "w_x must be of torch.float64, as x is, got torch.float32"),
    (lambda: recurrence(w_h=torch.zeros(17, 4)), "w_h must have the rows of i, f, u, o, got 17"),
    (
        lambda: recurrence(keep_h=torch.zeros(2, 2, 4)),
        "keep_h must broadcast to [5, 2, 4], got [2,",
    ),
    (lambda: recurrence(kernel="cuda"), "kernel must be one of"),
]


@pytest.mark.parametrize(
    ("call", "says"),
    [*CONSTRUCTORS, *INPUTS, *STATES, *OTHERS],
    ids=lambda x: "" if callable(x) else x[:60],  # not its address: two workers must agree
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ValueError) as error:
        call()
    assert says in str(error.value) and len(str(error.value).splitlines()) == 1


def test_dropout_with_nowhere_to_act_is_said():
    with pytest.warns(UserWarning, match="dropout acts between layers, and there is one layer"):
        urgates.LSTM(3, 4, dropout=0.5)
