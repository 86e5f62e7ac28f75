"""How the weights and biases start, where the paper leaves it open."""

from dataclasses import replace

import pytest
import torch

import urgates
from urgates import GATES, starts
from urgates.lab.experiments import protocol
from urgates.lab.experiments.rows import OTHER_STARTS
from urgates.lab.learners.networks import CELLS, build

INPUTS, H = 100, 300
DEVIATION = {  # a uniform draw on ±b has b/√3, a normal cut at two deviations .8796 of its own
    "torch": (H**-0.5 / 3**0.5,) * 2,
    "fan-in": (0.8796 * INPUTS**-0.5, 0.8796 * H**-0.5),
    "joint": (0.8796 * (INPUTS + H) ** -0.5,) * 2,
    "joint-kaiming": ((2 / (INPUTS + H)) ** 0.5,) * 2,
}


@pytest.mark.parametrize("kind", starts.WEIGHT_INITS)
def test_weights_have_the_deviation_that_their_start_says(kind):
    torch.manual_seed(1)
    w_x, w_h = torch.empty(4 * H, INPUTS), torch.empty(4 * H, H)
    starts.weights(kind, w_x, w_h)
    for w, deviation in zip((w_x, w_h), DEVIATION[kind], strict=True):
        assert abs(w.mean()) < 5 * deviation / w.numel() ** 0.5
        assert w.std() == pytest.approx(deviation, rel=0.01)
    if kind in ("fan-in", "joint"):  # nothing beyond two deviations of the normal
        assert w_h.abs().max() <= 2 * DEVIATION[kind][1] / 0.8796 * 1.0001


def test_an_unknown_start_is_named():
    with pytest.raises(ValueError, match=r"kind must be one of torch, .*, got 'orthogonal'"):
        starts.weights("orthogonal", torch.empty(2, 2), torch.empty(2, 2))
    with pytest.raises(ValueError, match=r"weight_init must be one of torch.*got 'orthogonal'"):
        replace(protocol("copy", "smoke"), weight_init="orthogonal")


def test_a_protocol_s_weights_start_as_it_says_and_alike_for_every_gate():
    p = replace(protocol("copy", "smoke"), weight_init="fan-in")
    one, other = (build(p, "lstm", gate, seed=3).rnn for gate in ("-", "R"))
    assert torch.equal(one.weight_ih_l0, other.weight_ih_l0)
    plain = build(replace(p, weight_init="torch"), "lstm", "-", seed=3).rnn
    assert one.weight_ih_l0.std() > 1.3 * plain.weight_ih_l0.std()  # 10 inputs,  H = 32


@pytest.mark.parametrize(
    ("gate", "bias"), [("-", 1.0), ("R", 0.0), ("F", torch.tensor(1.0).asinh())]
)
def test_only_gates_without_an_auxiliary_have_the_vanilla_forget_bias(gate, bias):
    rnn = build(replace(protocol("copy", "smoke"), variant_bias=0.0), "lstm", gate, seed=1).rnn
    assert rnn.bias_ih_l0[rnn.rows["f"]].allclose(torch.full((32,), float(bias)))


@pytest.mark.parametrize("gate", ["OM", "UM", "OR"])
def test_a_plain_forget_gate_beside_master_gates_takes_the_variants_bias(gate):
    p = protocol("copy", "laptop")
    none, one = (build(replace(p, variant_bias=b), "lstm", gate, seed=1).rnn for b in (0.0, 1.0))
    moved = one.bias_ih_l0 - none.bias_ih_l0
    expected = torch.zeros_like(moved)
    if gate != "OR":  # whose forget gate is cumax, without a bias
        expected[none.rows["f"]] = 1.0
    assert torch.equal(moved, expected)


_CHOICES = {
    **dict.fromkeys(("copy-tmax102", "copy-forget1"), ("copy", "laptop")),
    **{f"copy-{start}": ("copy", "laptop") for start in OTHER_STARTS},
    **{f"pmnist-{start}": ("pmnist-fan-in", "laptop") for start in OTHER_STARTS},
    **{f"forgetting-{way}": ("forgetting", "paper") for way in ("split", "tied", *OTHER_STARTS)},
}


@pytest.mark.parametrize("task", _CHOICES)
def test_a_start_that_is_measured_is_another_start_for_every_gate(task):
    base, preset = _CHOICES[task]
    ways = protocol(task, preset), protocol(base, preset)
    for gate in ways[0].gates:
        ours, theirs = (build(p, "lstm", gate, seed=1).state_dict() for p in ways)
        assert any(not torch.equal(ours[name], theirs[name]) for name in ours), gate


def test_a_split_start_is_as_high_as_one_high_bias():
    for task, biases in (("forgetting", (6.0, 0.0)), ("forgetting-split", (3.511, 3.511))):
        rnn = build(protocol(task, "smoke"), "lstm", "R", seed=1).rnn
        for head, bias in zip("fr", biases, strict=True):
            assert rnn.bias_ih_l0[rnn.rows[head]].allclose(torch.full((32,), bias))
        with torch.no_grad():
            rnn.weight_ih_l0.zero_(), rnn.weight_hh_l0.zero_()
        start = rnn.gates(torch.zeros(1, 1, 2))["g"]
        assert start.allclose(torch.sigmoid(torch.tensor(6.0)), atol=1e-6)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "LSTMCell", "GRUCell"])
def test_a_layers_own_weights_fill_one_over_root_h(kind):
    for name, w in getattr(urgates, kind)(40, 100).named_parameters():
        if "weight" in name:
            assert 0.099 < w.abs().max() <= 0.1001, name
            assert w.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.05), name


@pytest.mark.parametrize("kind", ["LSTM", "LSTMCell"])
@pytest.mark.parametrize("name", GATES)
def test_only_constant_forget_gates_start_with_a_linear_bias(name, kind):
    m = getattr(urgates, kind)(3, 8, gate=name, downsize=2, forget_bias=2.0)
    expected = torch.zeros(m.rows[m.recurrence.heads[-1]].stop)
    if name in ("-", "R"):
        expected[m.rows["f"]] = 2.0
    biases = {k: p for k, p in m.named_parameters() if k.startswith("bias")}
    for k, p in biases.items():
        assert torch.equal(p.detach(), expected if "ih" in k else 0 * expected), k
    assert len(biases) == 2


@pytest.mark.parametrize("downsize", [1, 16])
def test_downsized_master_gates_start_within_one_in_h_too(downsize):
    torch.manual_seed(0)
    layers = [urgates.LSTM(1, 64, gate="UM", downsize=downsize) for _ in range(100)]
    f = torch.sigmoid(torch.stack([layer.gate_bias_l0.detach() for layer in layers]))
    assert f.shape == (100, 64 // downsize)
    assert 1 / 64 <= f.min() < 0.04 and 0.96 < f.max() <= 63 / 64


@pytest.mark.parametrize(
    "cell", sorted(set(CELLS) - {"rmc", "mem", "rma"})
)  # their gates see biases
@pytest.mark.parametrize("bias", [1.0, 6.0])
def test_the_forget_bias_of_a_protocol_is_that_of_lstms_alone(cell, bias):
    rnn = build(replace(protocol("copy", "smoke"), forget_bias=bias), cell, "-", seed=1).rnn
    start = rnn.gates(torch.zeros(1, 1, 10))["f"]
    assert start.allclose(torch.tensor(bias if cell in ("lstm", "dnc") else 0.0).sigmoid())
