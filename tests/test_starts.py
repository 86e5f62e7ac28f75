"""How the weights and biases start, where the paper leaves it open."""

from dataclasses import replace

import pytest
import torch

from urgates import starts
from urgates.lab.networks import build
from urgates.lab.protocols import protocol

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
    with pytest.raises(ValueError, match=r"weight_init is 'orthogonal'; expected one of torch"):
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


def test_a_split_start_is_as_high_as_one_high_bias():
    for task, biases in (("forgetting", (6.0, 0.0)), ("forgetting-split", (3.511, 3.511))):
        rnn = build(protocol(task, "smoke"), "lstm", "R", seed=1).rnn
        for head, bias in zip("fr", biases, strict=True):
            assert rnn.bias_ih_l0[rnn.rows[head]].allclose(torch.full((32,), bias))
        with torch.no_grad():
            rnn.weight_ih_l0.zero_(), rnn.weight_hh_l0.zero_()
        start = rnn.gates(torch.zeros(1, 1, 2))["g"]
        assert start.allclose(torch.sigmoid(torch.tensor(6.0)), atol=1e-6)
