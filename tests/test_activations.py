"""Fast and softsign gates and power-law starts against torch, mpmath and closed forms."""

import math

import mpmath
import numpy as np
import pytest
import sympy
import torch
from test_gates import kolmogorov

import urgates
from urgates import gate, symbolic
from urgates.activations import SYMMETRIC, fast, matched, pair, softsign
from urgates.starts import gamma_quantile

DOUBLE = torch.float64
SLOW_AND_FAST = ("softsign", "fast")
both = pytest.mark.parametrize("activation", SLOW_AND_FAST)
Z = torch.linspace(-6, 6, 241, dtype=DOUBLE)


def exact(activation, z):
    """1 - φ and φ' by mpmath, from the definitions."""
    with mpmath.workdps(60):
        z = mpmath.mpf(z.item())
        if activation == "softsign":
            below = z / (1 + abs(z / 2)) / 2  # softsign(z/2)
            return float((1 - below) / 2), float(1 / (1 + abs(z / 2)) ** 2 / 4)
        s = mpmath.sinh(z)
        tail = 1 / (1 + mpmath.exp(s))
        return float(tail), float(mpmath.cosh(z) * tail * (1 - tail))


def test_values_are_torchs_sigmoid_of_sinh_and_scaled_softsign():
    torch.testing.assert_close(fast(Z), torch.sigmoid(torch.sinh(Z)), rtol=1e-14, atol=1e-15)
    truth = (torch.nn.functional.softsign(Z / 2) + 1) / 2
    torch.testing.assert_close(softsign(Z), truth, rtol=1e-14, atol=0)


@pytest.mark.parametrize("kind", [float, np.float64, np.array, torch.tensor])
def test_floats_arrays_and_tensors_alike(kind):
    assert float(fast(kind(0.5))) == pytest.approx(1 / (1 + math.exp(-math.sinh(0.5))))
    assert float(softsign(kind(-3.0))) == pytest.approx(0.2)
    assert float(fast(kind(-1e4))) == 0 and float(fast(kind(1e4))) == 1


@both
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_complement_and_gradient_keep_their_digits_where_the_gate_rounds_to_one(activation, dtype):
    digits = 2e-5 if dtype == torch.float32 else 1e-13  # d log u / dz = cosh z, up to 74
    for z in (-5.0, -3.6, -0.3, 0.0, 0.2, 3.6, 5.0):
        x = torch.tensor(z, dtype=dtype, requires_grad=True)
        f, complement = pair(activation, x)
        tail, slope = exact(activation, x)
        assert complement.item() == pytest.approx(tail, rel=digits)
        for y, sign in ((f, 1), (complement, -1)):
            (found,) = torch.autograd.grad(y, x, retain_graph=True)
            assert found.item() == pytest.approx(sign * slope, rel=digits)
        ours = symbolic.slope(activation, f, complement)
        assert ours.item() == pytest.approx(slope, rel=digits)
    (lost,) = torch.autograd.grad(torch.sigmoid(torch.sinh(x)), x)
    assert activation == "softsign" or dtype == DOUBLE or lost == 0  # what this is good for


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, DOUBLE])
def test_enormous_pre_activations_stay_finite(activation, dtype):
    z = torch.tensor([-1e4, -90.0, -12.0, 0.0, 12.0, 90.0, 1e4], dtype=dtype, requires_grad=True)
    f, complement = pair(activation, z)
    (slope,) = torch.autograd.grad(f.sum(), z)
    again = symbolic.slope(activation, f, complement)
    assert all(x.isfinite().all() for x in (f, complement, slope, again))
    assert ((f >= 0) & (f <= 1) & (slope >= 0)).all() and (f.diff() >= 0).all()
    assert slope[3] == 0.25 and again[3] == 0.25
    assert activation == "fast" or (slope > 0).all()  # 1/z² does not underflow


@both
def test_gradients_to_second_order(activation):
    z = torch.tensor([-4.0, -1.1, 0.3, 2.0, 4.0], dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: pair(activation, z), z)
    assert torch.autograd.gradgradcheck(lambda z: pair(activation, z), z)


def test_slopes_that_sympy_derives():
    u = symbolic.TAIL
    assert sympy.simplify(symbolic.slope_formula("sigmoid") - u * (1 - u)) == 0
    assert sympy.simplify(symbolic.slope_formula("softsign") - u**2) == 0
    truth = u * (1 - u) * sympy.sqrt(1 + sympy.log((1 - u) / u) ** 2)
    assert sympy.simplify(symbolic.slope_formula("fast") - truth) == 0


def test_the_steepest_point_of_the_fast_gate():
    z = torch.linspace(0.9, 1.0, 100_001, dtype=DOUBLE, requires_grad=True)
    (slope,) = torch.autograd.grad(fast(z).sum(), z)
    at = slope.argmax()
    assert slope[at].item() == pytest.approx(0.27855, abs=1e-5)
    assert z[at].item() == pytest.approx(0.9459, abs=1e-4)


@pytest.mark.parametrize("activation", SYMMETRIC)
def test_the_inverse_inverts_the_tail(activation):
    tail, inverse = SYMMETRIC[activation]
    for a in (0.0, 0.5, 3.0):
        for kind in (float, torch.tensor):
            assert float(inverse(tail(kind(a)))) == pytest.approx(a, abs=1e-12 + 1e-5 * a)


# ------------------------------------------------------------------ starts


def test_a_fast_gate_starts_at_asinh_of_the_bias():
    b = torch.linspace(-8, 8, 33, dtype=DOUBLE)
    torch.testing.assert_close(matched("fast", b), torch.asinh(b), rtol=1e-12, atol=1e-15)
    f = torch.sigmoid(b)
    z = (f - 0.5).sign() * (1 / torch.minimum(f, 1 - f) - 2)
    torch.testing.assert_close(matched("softsign", b), z, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bias", ["", "C", "U", "P"])
@pytest.mark.parametrize(("letter", "phi"), [("S", softsign), ("F", fast)])
def test_every_start_is_the_sigmoids(letter, phi, bias):
    b, ours = (
        gate(name).initial_bias(512, t_max=100, generator=torch.Generator().manual_seed(0))
        for name in (bias or "-", bias + letter)
    )
    torch.testing.assert_close(phi(ours), torch.sigmoid(b), rtol=2e-6, atol=0)


@pytest.mark.parametrize(("name", "phi"), [("UF", fast), ("US", softsign)])
def test_uniform_starts_stay_uniform_within_their_bounds(name, phi):
    d = 4096
    f = phi(gate(name).initial_bias(d, generator=torch.Generator().manual_seed(0)).double())
    assert (1 - 1e-6) / d <= f.min() and f.max() <= 1 - (1 - 1e-6) / d
    assert kolmogorov(f, lambda x: x) < 1.63 / math.sqrt(d)  # p = 0.01


@pytest.mark.parametrize(
    ("plain", "name"), [("UR", "UFR"), ("UR", "USR"), ("U", "UF"), ("UM", "UFM")]
)
def test_without_input_all_gates_of_a_layer_start_as_the_sigmoids(plain, name):
    gates = []
    for g in (plain, name):
        torch.manual_seed(1)
        gates.append(urgates.LSTM(3, 16, gate=g).gates(torch.zeros(1, 1, 3)))
    for head in gates[0]:
        torch.testing.assert_close(gates[0][head], gates[1][head], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("name", "exponent"), [("U", 1), ("P", 0.56)])
def test_a_power_law_start_forgets_like_a_power_of_time_and_a_uniform_one_like_its_inverse(
    name, exponent
):
    d = 16384
    f = torch.sigmoid(gate(name).initial_bias(d, generator=torch.Generator().manual_seed(0)))
    for t in (1, 10, 100):
        kept = f.double() ** t
        truth = (1 + t) ** -exponent
        assert kept.mean().item() == pytest.approx(truth, abs=4 * kept.std().item() / d**0.5)


def test_power_law_start_is_gamma_distributed_within_its_quantiles():
    d = 4096
    b = gate("P").initial_bias(d, generator=torch.Generator().manual_seed(0))
    rate = -torch.nn.functional.logsigmoid(b.double())  # 1/T
    shape = torch.tensor(0.56, dtype=DOUBLE)
    assert kolmogorov(rate, lambda x: torch.special.gammainc(shape, x)) < 1.63 / math.sqrt(d)
    above = torch.special.gammaincc(shape, rate)
    assert (1 - 1e-4) / d <= above.min() and above.max() <= 1 - (1 - 1e-4) / d
    m = urgates.LSTM(3, 16, gate="P")
    gates = m.gates(torch.zeros(1, 1, 3))
    torch.testing.assert_close(gates["f"] + gates["i"], torch.ones(1, 1, 16))
    with pytest.raises(ValueError, match="hidden_size must be at least 2 for uniform and power"):
        gate("P").initial_bias(1)


@pytest.mark.parametrize("shape", [0.56, 1.0, 3.0])
def test_quantiles_of_the_gamma_distribution(shape):
    p = torch.tensor([1e-6, 0.01, 0.5, 0.99, 1 - 1e-6], dtype=DOUBLE)
    again = torch.special.gammaincc(torch.full_like(p, shape), gamma_quantile(p, shape))
    torch.testing.assert_close(again, p, rtol=1e-9, atol=0)


def test_a_bias_that_no_float_can_match_is_refused():
    with pytest.raises(ValueError, match="forget_bias must be one that activation 'softsign'"):
        gate("S").initial_bias(4, forget_bias=100)


# ------------------------------------------------------------------ rows of the activation axis


@pytest.mark.parametrize("bias", ["", "C", "U", "P"])
@pytest.mark.parametrize("auxiliary", ["", "R", "M"])
@pytest.mark.parametrize("letter", "SF")
def test_names_compose_and_cost_no_parameter(letter, auxiliary, bias):
    plain, other = gate(bias + auxiliary or "-"), gate(bias + letter + auxiliary)
    assert other.name == bias + letter + auxiliary
    assert (other.bias, other.auxiliary) == (plain.bias, plain.auxiliary)
    assert other.heads == plain.heads and other.tied == plain.tied
    assert other.parameters(10, 64) == plain.parameters(10, 64)
    layers = [urgates.LSTM(2, 8, gate=g, downsize=2) for g in (plain, other)]
    shapes = [[(k, p.shape) for k, p in m.named_parameters()] for m in layers]
    assert shapes[0] == shapes[1]


def test_which_heads_take_the_activation():
    assert {h: gate("F").head(h).activation for h in "fio"} == {
        "f": "fast",
        "i": "fast",
        "o": "sigmoid",
    }
    assert gate("UFR").head("r").activation == "fast"
    assert gate("OR").head("r").activation == "sigmoid"
    masters = {h: gate("SM").head(h).activation for h in ("f", "i", "f_master", "i_master")}
    assert masters == dict(zip(masters, ["sigmoid"] * 2 + ["softsign"] * 2, strict=True))


def test_f_lstm_is_the_lstm_with_another_function():
    m = urgates.LSTM(3, 4, gate="F", dtype=DOUBLE)
    x, h, c = torch.randn(1, 2, 3, dtype=DOUBLE), *torch.randn(2, 1, 2, 4, dtype=DOUBLE)
    linear = x[0] @ m.weight_ih_l0.T + m.bias_ih_l0 + h[0] @ m.weight_hh_l0.T + m.bias_hh_l0
    i, f, u, o = linear.chunk(4, -1)
    i, f = torch.sigmoid(torch.sinh(i)), torch.sigmoid(torch.sinh(f))
    c_next = f * c[0] + i * torch.tanh(u)
    y, (_, c_ours) = m(x, (h, c))
    torch.testing.assert_close(c_ours[0], c_next)
    torch.testing.assert_close(y[0], torch.sigmoid(o) * torch.tanh(c_next))


def test_cards_say_what_phi_is_and_whose_choice():
    text = gate("UF")._repr_markdown_()
    assert "**UF gate**" in text and r"\varphi(L_{f}(x_t, h_{t-1}) + b)" in text
    assert r"\frac{1}{e^{\sinh{\left(z \right)}} + 1}" in text and "our choice" in text
    assert r"\varphi' = u^{2}" in gate("S")._repr_markdown_()
    assert "varphi" not in gate("UR")._repr_markdown_()
