"""The Gate: formulas, algebra of §2.3 and §B.4, starts of Table 4, heads, parameters (Table 1)."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import sympy
import torch

from urgates import GATES, Gate, gate, symbolic
from urgates.gates import (
    band,
    cumax,
    cumax_complement,
    decay_period,
    logit,
    master,
    reach,
    refine,
    update,
)  # fmt: skip
from urgates.theory import decay_density


def names(heads) -> tuple[str, ...]:
    return tuple(head.name for head in heads)


GRID = torch.linspace(0, 1, 201, dtype=torch.float64)
F, R = torch.meshgrid(GRID, GRID, indexing="ij")


def kolmogorov(samples: torch.Tensor, cdf) -> float:
    """Largest distance of the empirical distribution from `cdf`."""
    x = samples.double().sort().values
    n, p = len(x), cdf(x)
    k = torch.arange(n + 1, dtype=torch.float64) / n
    return float(torch.maximum((k[1:] - p).abs().max(), (p - k[:-1]).abs().max()))


def test_refine_agrees_in_its_three_printed_forms():
    g = refine(F, R)
    torch.testing.assert_close(g, R * (1 - (1 - F) ** 2) + (1 - R) * F**2, rtol=0, atol=1e-12)
    torch.testing.assert_close(g, F + F * (1 - F) * (2 * R - 1), rtol=0, atol=1e-12)
    torch.testing.assert_close(g, 2 * R * F + (1 - 2 * R) * F**2, rtol=0, atol=1e-12)


def test_refine_stays_in_its_band_and_is_monotone():
    g = refine(F, R)
    assert (g >= F**2 - 1e-15).all() and (g <= 1 - (1 - F) ** 2 + 1e-15).all()
    assert (g.diff(dim=0) >= -1e-15).all() and (g.diff(dim=1) >= -1e-15).all()
    assert (g - F).abs().sub(band(F)).max() <= 1e-15
    assert refine(0.9, 1.0) == pytest.approx(0.99)


def test_reach_is_where_a_refine_gate_ends():
    lowest, highest = reach(GRID)
    torch.testing.assert_close(lowest, GRID**2, rtol=0, atol=1e-15)
    torch.testing.assert_close(highest, 1 - (1 - GRID) ** 2, rtol=0, atol=1e-15)
    assert reach(0.9) == pytest.approx((0.81, 0.99))


def test_refine_is_symmetric():
    torch.testing.assert_close(refine(1 - F, 1 - R), 1 - refine(F, R), rtol=0, atol=1e-15)


def test_complement_of_refine_is_exact_where_the_gate_rounds_to_one():
    z = torch.tensor(10.0)
    naive = 1 - refine(torch.sigmoid(z), torch.sigmoid(z))
    ours = refine(torch.sigmoid(-z), torch.sigmoid(-z))
    p = 1 / (1 + math.exp(10.0))
    assert naive == 0 and float(ours) == pytest.approx(3 * p**2 - 2 * p**3, rel=1e-5)


def test_rescaled_tied_masters_are_the_refine_gate():
    torch.testing.assert_close(master(F, 1 - F, R, scale=2), refine(F, R), rtol=0, atol=1e-14)
    both = master(F, 1 - F, R, scale=2) + master(1 - F, F, 1 - R, scale=2)
    torch.testing.assert_close(both, torch.ones_like(F), rtol=0, atol=1e-14)


def test_master_is_equations_21_to_23():
    m, other, a = 0.8, 0.3, 0.6
    omega = m * other
    assert master(m, other, a) == pytest.approx(a * omega + (m - omega))


@pytest.mark.parametrize("kind", [float, np.array, torch.tensor, sympy.Rational])
def test_formulas_take_floats_arrays_tensors_and_symbols(kind):
    f, r = (kind("0.75") if kind is sympy.Rational else kind(x) for x in (0.75, 0.75))
    assert float(refine(f, r)) == 0.84375
    assert float(update(f, 1 - f, r, r)) == 0.75
    assert float(decay_period(f)) == 4.0


def test_cumax_stays_in_the_unit_interval_and_ends_at_one():
    z = torch.randn(2000, 512, generator=torch.Generator().manual_seed(0)) * 3
    f, complement = cumax(z), cumax_complement(z)
    assert torch.softmax(z, -1).cumsum(-1).max() > 1  # the trap the clamp is for
    assert f.min() >= 0 and f.max() <= 1 and complement.min() >= 0 and complement.max() <= 1
    assert (f.diff(dim=-1) >= 0).all()
    assert (complement[:, -1] == 0).all()
    torch.testing.assert_close(f, 1 - complement, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["O", "OM", "OR"])
def test_the_last_unit_of_ordered_gates_takes_nothing_in(name):
    g = gate(name)
    pre = {h: torch.randn(7, 32) for h in g.heads if h not in ("u", "o")}
    _, input_ = g.coefficients(pre)
    assert (input_[:, -1] <= 1e-7).all()


def test_table_1_has_nine_gates_in_order_with_their_heads():
    assert list(GATES) == ["-", "C", "O", "U", "R", "OM", "UM", "OR", "UR"]
    assert all(g.name == name for name, g in GATES.items())
    assert GATES["-"].heads == ("i", "f", "u", "o")
    assert GATES["UR"].heads == GATES["R"].heads == GATES["OR"].heads == ("r", "f", "u", "o")
    assert GATES["OM"].heads == ("i", "f", "u", "o", "i_master", "f_master")
    assert names(GATES["-"].layout("gru")) == ("reset", "f", "u")
    assert names(GATES["UR"].layout("gru")) == ("reset", "f", "u", "r")
    assert names(GATES["UR"].layout("gru", keep_reset=False)) == ("r", "f", "u")


_PLAIN = "i:sigmoid f:sigmoid u:tanh"


@pytest.mark.parametrize(
    ("name", "cell", "expected"),
    [
        ("-", "lstm", f"{_PLAIN} o:sigmoid"),
        ("U", "lstm", "i:sigmoid- f:sigmoid+ u:tanh o:sigmoid"),
        ("O", "lstm", "i:cumax:falling f:cumax u:tanh o:sigmoid"),
        ("OR", "lstm", "r:sigmoid f:cumax u:tanh o:sigmoid"),
        ("UFR", "gru", "reset:sigmoid f:fast+ u:tanh r:fast-"),
        ("OM", "lstm", f"{_PLAIN} o:sigmoid i_master/C:cumax:falling f_master/C:cumax"),
        ("UM", "lstm", f"{_PLAIN} o:sigmoid i_master/C:sigmoid- f_master/C:sigmoid+"),
    ],
)
def test_what_becomes_of_each_head(name, cell, expected):
    said = [
        f"{h.name}{'/C' * h.chunked}:{h.activation}{':falling' * h.falling}{' +-'[h.bias_sign]}"
        for h in gate(name).layout(cell)
    ]
    assert " ".join(map(str.strip, said)) == expected
    widths = {h.width(12, 3) for h in gate(name).layout(cell)}
    assert widths == ({12, 4} if "M" in name else {12})


def test_compositions_beyond_table_1():
    assert gate("CR") == Gate(bias="chrono", auxiliary="refine")
    assert gate("CM") == Gate(bias="chrono", auxiliary="master")
    assert gate(GATES["UR"]) is GATES["UR"]


@pytest.mark.parametrize(
    ("n", "d", "counts"),
    [
        (10, 256, (273_408, 8_544)),
        (1, 512, (1_052_672, 32_896)),
        (3, 512, (1_056_768, 33_024)),
    ],
)
def test_parameter_counts(n, d, counts):
    plain, masters = counts
    for name in ("-", "O", "R", "OR"):
        assert gate(name).parameters(n, d) == plain
    for name in ("C", "U", "UR"):
        assert gate(name).parameters(n, d) == plain + d
    assert gate("OM").parameters(n, d, downsize=16) == plain + masters


def test_refine_adds_a_third_to_a_gru_unless_it_replaces_the_reset_gate():
    assert gate("-").parameters(1, 512, cell="gru") == 789_504
    assert gate("R").parameters(1, 512, cell="gru") == 1_052_672
    assert gate("R").parameters(1, 512, cell="gru", keep_reset=False) == 789_504


def test_uniform_start_is_uniform_within_its_bounds():
    d = 4096
    b = gate("U").initial_bias(d, generator=torch.Generator().manual_seed(0))
    f = torch.sigmoid(b)
    assert 1 / d <= f.min() and f.max() <= 1 - 1 / d
    assert kolmogorov(f, lambda x: x) < 1.63 / math.sqrt(d)  # p = 0.01
    assert 0.45 < (b < 0).double().mean() < 0.55


def test_chrono_start_has_uniform_decay_periods():
    d, t_max = 4096, 500
    b = gate("C").initial_bias(d, t_max=t_max, generator=torch.Generator().manual_seed(0))
    period = decay_period(torch.sigmoid(b.double()))
    assert (b >= 0).all() and period.max() <= t_max
    assert kolmogorov(period, lambda x: (x - 2) / (t_max - 2)) < 1.63 / math.sqrt(d)


def test_constant_start_is_3_7_steps():
    assert decay_period(torch.sigmoid(gate("-").initial_bias(4)))[0] == pytest.approx(
        3.718, abs=1e-3
    )
    assert (gate("O").initial_bias(4) == 0).all()


@pytest.mark.parametrize(
    ("start", "options", "low", "high"),
    [
        ("uniform", {}, 1, 1e6),
        ("uniform", {"hidden_size": 64}, 1, 70),
        ("cumax", {}, 1, 1e6),
        ("chrono", {"t_max": 50}, 1, 60),
    ],
)
def test_decay_densities_are_normalised(start, options, low, high):
    D = np.geomspace(low, high, 2_000_001)
    mass = np.trapezoid(decay_density(start, D, **options), D)
    assert mass == pytest.approx(1, abs=2e-3)


def test_parameter_free_chrono_density_is_normalised():
    log = np.linspace(math.log(2), 5000, 5_000_001)  # D up to e^5000: integrate over log D
    mass = np.trapezoid(math.log(2) / log**2, log)
    at = np.array([2.0, 10.0, 1e6])
    assert mass == pytest.approx(1, abs=2e-3)
    np.testing.assert_allclose(
        decay_density("chrono_unknown", at) * at, math.log(2) / np.log(at) ** 2
    )


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("name", [*GATES, "CR", "CM", "F", "USR", "UFM"])
def test_traced_derivatives_equal_autograd(name, cell):
    g = gate(name)
    heads = names(g.layout(cell))
    t = symbolic.trace(g, heads)
    a = {h: torch.rand(5, dtype=torch.float64, requires_grad=True) for h in t.a}
    forget, input_ = g.combine(a, {h: 1 - x for h, x in a.items()})
    pairs = symbolic.partials(g, heads)(*a.values(), *(1 - x for x in a.values()))
    for effective, k in ((forget, 0), (input_, 1)):
        truth = torch.autograd.grad(
            effective.sum(), list(a.values()), retain_graph=True, allow_unused=True
        )
        for pair, true in zip(pairs, truth, strict=True):
            ours = torch.as_tensor(pair[k], dtype=torch.float64)
            expected = torch.zeros(5, dtype=torch.float64) if true is None else true
            torch.testing.assert_close(ours.expand(5), expected)


def test_card_explains_a_gate():
    text = GATES["UR"]._repr_markdown_()
    assert (
        "**UR gate**" in text and r"\sigma" in text and "2 f_{t} r_{t}" in text and "§2.1" in text
    )


def test_a_tenth_gate_is_a_few_lines():
    @dataclass(frozen=True)
    class Cubic(Gate):
        name = "cubic"

        def combine(self, a, c):
            return a["f"] ** 3, 1 - a["f"] ** 3

    g = Cubic(bias="uniform")
    t = symbolic.trace(g, g.heads)
    assert sympy.simplify(t.derivatives("f")[0] - 3 * t.a["f"] ** 2) == 0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: gate("XR"), "gate must be one of -, C, O"),
        (lambda: Gate(activation="relu"), "activation must be one of"),
        (lambda: Gate(bias="zero"), "bias must be one of"),
        (lambda: Gate(auxiliary="reset"), "auxiliary must be one of"),
        (lambda: Gate(activation="cumax", bias="uniform"), "bias must be 'constant'"),
        (lambda: gate("C").initial_bias(8, t_max=2), "t_max must be a finite number above 2"),
        (lambda: gate("C").initial_bias(8, t_max=math.inf), "t_max"),
        (lambda: gate("U").initial_bias(0), "hidden_size must be a positive int, got 0"),
        (lambda: gate("U").initial_bias(1), "hidden_size must be at least 2"),
        (lambda: gate("U").layout("rnn"), "cell must be one of"),
        (lambda: decay_density("normal", torch.ones(1)), "start must be one of"),
        (lambda: decay_density("chrono", torch.ones(1), t_max=1), "t_max must be above 2"),
    ],
)
def test_bad_arguments_are_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_logit_inverts_the_sigmoid():
    assert logit(0.9) == pytest.approx(float(torch.tensor(0.9, dtype=torch.float64).logit()))
