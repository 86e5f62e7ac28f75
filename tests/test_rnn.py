"""Layers and cells: torch.nn is the oracle of the plain gates; zoneout, starts, bad input."""

import copy
import dataclasses
import pickle

import pytest
import torch
from tolerances import assert_close
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

import urgates
from urgates import GATES, gate
from urgates.gates import refine

DOUBLE = torch.float64
KERNELS = ("reference", "eager")
BEYOND = ("F", "S", "UFR", "USM")  # some of the gates beyond Table 1


def twins(name: str, *args, kernel="eager", **options):
    """torch's module and ours with the same weights, in double precision."""
    torch.manual_seed(0)
    theirs = getattr(nn, name)(*args, **options, dtype=DOUBLE)
    ours = getattr(urgates, name)(*args, **options, gate="-", kernel=kernel, dtype=DOUBLE)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def tensors(result) -> list[torch.Tensor]:
    """Output and states as a flat list."""
    y, state = result
    y = y.data if hasattr(y, "data") and not isinstance(y, torch.Tensor) else y
    return [y, *(state if isinstance(state, tuple) else [state])]


def compare(theirs, ours, x, hx=None, inputs=()):
    """Outputs, states and every gradient under a random cotangent."""
    results = tensors(theirs(x, hx)), tensors(ours(x, hx))
    weights = [torch.randn_like(t) for t in results[0]]
    gradients = [
        torch.autograd.grad(
            sum((w * t).sum() for w, t in zip(weights, result, strict=True)),
            [*inputs, *module.parameters()],
        )
        for module, result in zip((theirs, ours), results, strict=True)
    ]
    for name, (truth, mine) in {"outputs": results, "gradients": gradients}.items():
        for k, (a, b) in enumerate(zip(truth, mine, strict=True)):
            assert_close(f"{name}[{k}]", b, a)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
@pytest.mark.parametrize("T", [1, 2, 63])
@pytest.mark.parametrize(
    "options",
    [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}, {"batch_first": True}],
    ids=lambda o: ",".join(o) or "plain",
)
def test_plain_gate_equals_torch(cell, T, options, kernel):
    theirs, ours = twins(cell, 3, 5, kernel=kernel, **options)
    shape = (4, T, 3) if options.get("batch_first") else (T, 4, 3)
    x = torch.randn(shape, dtype=DOUBLE, requires_grad=True)
    compare(theirs, ours, x, inputs=[x])


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_plain_gate_equals_torch_from_an_initial_state(cell):
    theirs, ours = twins(cell, 3, 5, 2)
    x, h, c = (
        torch.randn(s, dtype=DOUBLE, requires_grad=True) for s in ((7, 4, 3), *[(2, 4, 5)] * 2)
    )
    states = [h, c] if cell == "LSTM" else [h]
    compare(theirs, ours, x, tuple(states) if cell == "LSTM" else h, inputs=[x, *states])


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_unbatched_input_equals_torch(cell):
    theirs, ours = twins(cell, 3, 5)
    compare(theirs, ours, torch.randn(6, 3, dtype=DOUBLE))


@pytest.mark.parametrize("sort", [True, False], ids=["sorted", "unsorted"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_packed_sequences_equal_torch(cell, bidirectional, sort):
    theirs, ours = twins(cell, 3, 5, 2, bidirectional=bidirectional)
    lengths = [6, 4, 4, 1] if sort else [4, 6, 1, 4]
    x = pack_sequence([torch.randn(n, 3, dtype=DOUBLE) for n in lengths], enforce_sorted=sort)
    h = torch.randn(4 if bidirectional else 2, 4, 5, dtype=DOUBLE)
    compare(theirs, ours, x, (h, h + 1) if cell == "LSTM" else h)
    padded, found = pad_packed_sequence(ours(x)[0])
    assert found.tolist() == lengths and padded.shape[0] == 6


@pytest.mark.parametrize("name", GATES)
def test_a_packed_row_is_the_row_alone(name):
    layer = urgates.LSTM(3, 8, gate=name, downsize=2, bidirectional=True, dtype=DOUBLE)
    x = torch.randn(9, 2, 3, dtype=DOUBLE)
    y, (h, _) = layer(pack_padded_sequence(x, [9, 5]))
    alone, (h_alone, _) = layer(x[:5, 1:])
    assert_close("output", pad_packed_sequence(y)[0][:5, 1:], alone)
    assert_close("state", h[:, 1:], h_alone)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_plain_cell_equals_torch(cell):
    theirs = getattr(nn, f"{cell}Cell")(3, 5, dtype=DOUBLE)
    ours = getattr(urgates, f"{cell}Cell")(3, 5, gate="-", dtype=DOUBLE)
    ours.load_state_dict(theirs.state_dict())
    x, h = torch.randn(4, 3, dtype=DOUBLE), torch.randn(4, 5, dtype=DOUBLE)
    truth, mine = (m(x, (h, h + 1) if cell == "LSTM" else h) for m in (theirs, ours))
    for a, b in zip(truth, mine, strict=True):
        assert_close("state", b, a)


@pytest.mark.parametrize("name", [*GATES, "CR", "CM", *BEYOND])
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_layer_equals_its_cell_unrolled(cell, name):
    options = {"gate": name, "downsize": 2, "dtype": DOUBLE}
    layer = getattr(urgates, cell)(3, 6, **options)
    single = getattr(urgates, f"{cell}Cell")(3, 6, **options)
    single.load_state_dict({k.replace("_l0", ""): v for k, v in layer.state_dict().items()})
    x, state, ys = torch.randn(5, 2, 3, dtype=DOUBLE), None, []
    for x_t in x:
        state = single(x_t, state)
        ys.append(state[0] if cell == "LSTM" else state)
    assert_close("output", layer(x)[0], torch.stack(ys))


def test_ur_lstm_is_equations_9_to_15():
    m = urgates.LSTM(3, 4, gate="UR", dtype=DOUBLE)
    x, h, c = torch.randn(1, 2, 3, dtype=DOUBLE), *torch.randn(2, 1, 2, 4, dtype=DOUBLE)
    linear = x[0] @ m.weight_ih_l0.T + m.bias_ih_l0 + h[0] @ m.weight_hh_l0.T + m.bias_hh_l0
    r, f, u, o = linear.chunk(4, -1)
    f, r = torch.sigmoid(f + m.gate_bias_l0), torch.sigmoid(r - m.gate_bias_l0)
    g = r * (1 - (1 - f) ** 2) + (1 - r) * f**2
    c_next = g * c[0] + (1 - g) * torch.tanh(u)
    y, (_, c_ours) = m(x, (h, c))
    assert_close("cell state", c_ours[0], c_next)
    assert_close("hidden state", y[0], torch.sigmoid(o) * torch.tanh(c_next))


# ------------------------------------------------------------------ how weights start


def test_uniform_start_is_exact_without_input_and_trainable():
    m = urgates.LSTM(3, 512, gate="U")
    f = m.gates(torch.zeros(1, 1, 3))["f"][0, 0]
    torch.testing.assert_close(f, torch.sigmoid(m.gate_bias_l0))
    assert 0.4 < f.mean() < 0.6 and 0.25 < f.std() < 0.33
    m(torch.randn(4, 2, 3))[0].sum().backward()
    assert m.gate_bias_l0.requires_grad and m.gate_bias_l0.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "LSTMCell", "GRUCell"])
def test_options_are_checked_once_and_reach_the_recurrence(kind):
    zoneout = (0.2, 0.1) if kind.startswith("LSTM") else 0.1
    m = getattr(urgates, kind)(3, 8, gate="UM", downsize=4, zoneout=zoneout, t_max=9)
    assert m.options.gate is m.gate is m.recurrence.gate is urgates.gate("UM")
    assert m.zoneout == m.options.zoneout == (0.2 if kind.startswith("LSTM") else 0.0, 0.1)
    assert m.rows["f_master"].stop - m.rows["f_master"].start == m.units == 2
    assert (m.options.t_max, m.options.forget_bias) == (9.0, float(kind.startswith("LSTM")))
    assert m.kernel == ("reference" if kind.endswith("Cell") else "auto")
    twin = copy.deepcopy(m)
    assert twin.options == m.options and twin.options.gate is not None
    with pytest.raises(dataclasses.FrozenInstanceError):
        m.options.downsize = 2


SHARED = ["U", "C", "P", "UF", "UR", "CR", "UM", "CM"]  # gates with a bias for each unit


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
@pytest.mark.parametrize("name", SHARED)
def test_a_units_bias_is_added_to_its_main_gate_and_taken_from_the_partner(name, cell):
    """As numbers at the start, and in the gradient, which comes through both."""
    m = getattr(urgates, cell)(3, 16, gate=name, downsize=4, dtype=DOUBLE)
    main, partner = (m.rows.get(head) for head in (m.gate.main, m.gate.partner))
    x = torch.randn(4, 2, 3, dtype=DOUBLE)
    moved, b = copy.deepcopy(m), m.gate_bias_l0.detach()
    with torch.no_grad():
        moved.gate_bias_l0.zero_()
        moved.bias_ih_l0[main] += b
        if partner is not None:  # a plain GRU's gate is tied: there is none
            moved.bias_ih_l0[partner] -= b
    assert_close("output", m(x)[0], moved(x)[0])
    m(x)[0].square().sum().backward()
    through = m.bias_ih_l0.grad[main] - (0 if partner is None else m.bias_ih_l0.grad[partner])
    assert_close("gradient", m.gate_bias_l0.grad, through)


def test_uniform_gates_start_alike_from_one_seed():
    starts = []
    for name in ("U", "UR"):
        torch.manual_seed(3)
        m = urgates.LSTM(3, 16, gate=name)
        starts.append(m.gates(torch.ones(2, 1, 3))["f"][0])
    torch.testing.assert_close(*starts)


def test_constant_bias_sits_in_the_linear_map():
    m = urgates.LSTM(3, 4, gate="-", forget_bias=2.0)
    assert m.bias_ih_l0.tolist() == [0] * 4 + [2] * 4 + [0] * 8 and not m.bias_hh_l0.any()
    assert not urgates.GRU(3, 4, gate="-").bias_ih_l0.any()


@pytest.mark.parametrize("name", [*GATES, *BEYOND])
def test_parameter_count_is_the_gates_own(name):
    m = urgates.LSTM(3, 16, gate=name, downsize=4)
    expected = gate(name).parameters(3, 16, downsize=4, biases=2)
    assert sum(p.numel() for p in m.parameters()) == expected


def test_master_gates_serve_chunks():
    fine, coarse = (urgates.LSTM(2, 16, gate="OM", downsize=c) for c in (1, 16))
    assert fine.weight_hh_l0.shape == (96, 16) and coarse.weight_hh_l0.shape == (66, 16)
    one = coarse.gates(torch.randn(3, 1, 2))["f_master"]
    torch.testing.assert_close(one, one[..., :1].expand_as(one))


# ------------------------------------------------------------------ zoneout


def test_zoneout_zero_is_the_identity_and_one_freezes():
    x = torch.randn(5, 2, 3)
    m = urgates.LSTM(3, 4)
    free = m(x)[0]
    m.zoneout = (1.0, 1.0)
    h0, c0 = torch.randn(2, 1, 2, 4)
    y, (_, c) = m(x, (h0, c0))
    torch.testing.assert_close(y, h0.expand_as(y)), torch.testing.assert_close(c, c0)
    m.zoneout = (0.0, 0.0)
    torch.testing.assert_close(m(x)[0], free)


def test_zoneout_follows_its_equations():
    """The un-zoned cell feeds h; the output is the zoned h (Krueger et al. 2016)."""
    m = urgates.LSTM(3, 4, zoneout=(0.5, 0.25)).eval()
    x, (h, c) = torch.randn(1, 2, 3), torch.randn(2, 1, 2, 4)
    y, (_, c_ours) = m(x, (h, c))
    m.zoneout = (0.0, 0.0)
    plain, (_, c_plain) = m(x, (h, c))
    torch.testing.assert_close(c_ours, 0.5 * c + 0.5 * c_plain)
    torch.testing.assert_close(y, 0.25 * h + 0.75 * plain)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_a_cells_zoneout_is_an_expectation_at_test_time_and_masks_in_training(cell):
    kind, p = getattr(urgates, f"{cell}Cell"), (0.25, 0.5)  # of h and of c
    m = kind(3, 400, zoneout=(p[1], p[0]) if cell == "LSTM" else p[0])
    free = kind(3, 400)
    free.load_state_dict(m.state_dict())
    x, old = torch.randn(2, 3), torch.randn(2, 2, 400)

    def step(module):
        new = module(x, tuple(old) if cell == "LSTM" else old[0])
        return new if cell == "LSTM" else [new]

    for share, mean, masked, new, before in zip(
        p, step(m.eval()), step(m.train()), step(free), old, strict=False
    ):
        torch.testing.assert_close(mean, share * before + (1 - share) * new)
        held = masked == before
        assert torch.equal(masked, torch.where(held, before, new))
        assert held.double().mean() == pytest.approx(share, abs=0.08)  # of 800 units


def test_zoneout_at_test_time_is_the_expectation_of_one_step():
    torch.manual_seed(0)
    m = urgates.GRU(3, 4, zoneout=0.3)
    x, h = torch.randn(1, 1, 3), torch.randn(1, 1, 4)
    mean = m(x.expand(1, 20_000, 3), h.expand(1, 20_000, 4))[0].mean(1)
    torch.testing.assert_close(mean, m.eval()(x, h)[0][0], atol=0.02, rtol=0)


def test_zoneout_masks_differ_by_step_and_unit():
    m = urgates.LSTM(3, 64, zoneout=(0.0, 0.5))
    y = m(torch.randn(6, 2, 3))[0]
    held = (y.diff(dim=0) == 0).double().mean((1, 2))
    assert ((held > 0.3) & (held < 0.7)).all() and len(set(held.tolist())) > 1


# ------------------------------------------------------------------ a module among modules


def test_copy_and_pickle_keep_the_function():
    m = urgates.LSTM(3, 8, gate="OM", downsize=2)
    x = torch.randn(4, 2, 3)
    for other in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        torch.testing.assert_close(other(x)[0], m(x)[0])


def test_gates_stay_float32_under_autocast():
    m = urgates.LSTM(3, 8)
    x = torch.randn(4, 2, 3)
    with torch.autocast("cpu", torch.bfloat16):
        y = m(nn.Linear(3, 3)(x))[0]
        assert y.dtype == torch.float32
        torch.testing.assert_close(m(x)[0], m(x)[0])
    y.sum().backward()
    assert m.weight_hh_l0.grad.dtype == torch.float32


@pytest.mark.parametrize(("cell", "name"), [("LSTM", "UR"), ("GRU", "UR"), ("LSTM", "UF")])
def test_16_bit_weights_compute_their_gates_in_float32(cell, name):
    torch.manual_seed(0)
    m = getattr(urgates, cell)(3, 16, gate=name).bfloat16()
    x = torch.randn(30, 4, 3).bfloat16()
    y = m(x)[0]
    assert y.dtype == torch.bfloat16
    assert_close("output", y, copy.deepcopy(m).double()(x.double())[0])


@pytest.mark.parametrize(("cell", "name"), [("LSTM", "UR"), ("GRU", "UR"), ("LSTM", "UF")])
def test_surrounding_model_compiles_whole(cell, name):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = getattr(urgates, cell)(3, 8, gate=name), nn.Linear(8, 2)

        def forward(self, x):
            return self.head(torch.relu(self.rnn(x)[0]))

    model, x = Model(), torch.randn(5, 2, 3)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), model(x))
    truth = torch.autograd.grad(model(x).sum(), list(model.parameters()))
    ours = torch.autograd.grad(compiled(x).sum(), list(model.parameters()))
    for a, b in zip(truth, ours, strict=True):
        torch.testing.assert_close(a, b)


def test_dropout_acts_between_layers_in_training_only():
    m = urgates.LSTM(3, 8, num_layers=2, dropout=0.5)
    x = torch.randn(4, 2, 3)
    assert not torch.equal(m(x)[0], m(x)[0])
    m.eval()
    assert torch.equal(m(x)[0], m(x)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", [*GATES, *BEYOND])
def test_extreme_inputs_stay_finite(name, dtype):
    m = urgates.LSTM(3, 8, gate=name, downsize=2).to(dtype)
    x = torch.randn(6, 2, 3).mul(1e4).to(dtype).requires_grad_()
    y, (_, c) = m(x)
    (y.sum() + c.sum()).backward()
    assert all(t.isfinite().all() for t in (y, c, x.grad, m.weight_hh_l0.grad))
    assert not m.gate.tied or c.abs().max() <= 1 + 1e-6  # a convex mean, rounded


def test_gates_returns_what_the_layer_computes():
    m = urgates.LSTM(3, 8, gate="UR", batch_first=True)
    x = torch.randn(2, 5, 3)
    gates = m.gates(x)
    assert set(gates) == {"f", "r", "g", "i"} and gates["g"].shape == (2, 5, 8)
    torch.testing.assert_close(gates["g"], refine(gates["f"], gates["r"]))
    torch.testing.assert_close(gates["i"], 1 - gates["g"])


def test_a_redefined_gate_is_another_gate():
    """As when a reader edits a gate's cell in a notebook and runs it again."""

    def define(power):
        class Mine(urgates.Gate):
            name = "mine"

            def combine(self, a, c):
                return a["f"] ** power, 1 - a["f"] ** power

        return Mine()

    layers = [urgates.LSTM(3, 4, gate=define(power)) for power in (1, 3)]
    layers[1].load_state_dict(layers[0].state_dict())
    gates = [layer.gates(torch.ones(1, 1, 3)) for layer in layers]
    torch.testing.assert_close(gates[1]["g"], gates[0]["g"] ** 3)
    assert not torch.allclose(*(layer(torch.ones(2, 1, 3))[0] for layer in layers))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_a_held_step_leaves_every_state_as_it_is(cell, kernel):
    torch.manual_seed(0)
    options = {"num_layers": 2, "bidirectional": True, "kernel": kernel, "dtype": DOUBLE}
    layer = getattr(urgates, cell)(3, 4, **options)
    x = torch.randn(9, 5, 3, dtype=DOUBLE, requires_grad=True)
    held = torch.rand(9, 5) < 0.5
    held[2] = False
    y, state = layer(x, held=held)
    for row in range(5):  # the same sequences without those steps
        alone, last = layer(x[~held[:, row], row][:, None])
        assert_close("output", y[~held[:, row], row], alone[:, 0])
        for a, b in zip(tensors((y, state))[1:], tensors((y, last))[1:], strict=True):
            assert_close("state", a[:, row], b[:, 0])
    y.square().sum().backward()
    assert not x.grad[held].any() and x.grad[~held].any(-1).all()
    first = layer(x, held=torch.zeros_like(held))[0]
    assert torch.equal(first, layer(x)[0])


def test_masks_of_held_steps_are_laid_out_as_the_input_and_vmap():
    layer = urgates.LSTM(3, 4, batch_first=True, kernel="eager", dtype=DOUBLE)
    x, held = torch.randn(2, 5, 7, 3, dtype=DOUBLE), torch.rand(2, 5, 7) < 0.5
    both = torch.func.vmap(lambda x, held: layer(x, held=held)[0])(x, held)
    for m in range(2):
        assert_close("stacked", both[m], layer(x[m], held=held[m])[0])
        assert_close("unbatched", layer(x[m, 1], held=held[m, 1])[0], both[m, 1])
    gates = layer.gates(x[0], held=held[0])
    assert gates["g"].shape == (5, 7, 4)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (torch.zeros(4, 2), "held must be a tensor of bool, got torch.float32"),
        ([True], r"held must be a tensor of bool, got \[True\]"),
        (torch.zeros(4, 3, dtype=torch.bool), r"held must have shape \(4, 2\), got \[4, 3\]"),
    ],
)
def test_a_mask_that_does_not_fit_is_named(held, message):
    with pytest.raises(ValueError, match=message):
        urgates.LSTM(3, 4)(torch.zeros(4, 2, 3), held=held)


def test_a_packed_sequence_has_no_further_mask():
    x = pack_sequence([torch.zeros(3, 3), torch.zeros(2, 3)])
    with pytest.raises(ValueError, match="held must be None, got a mask"):
        urgates.LSTM(3, 4)(x, held=torch.zeros(3, 2, dtype=torch.bool))
