"""Closed forms of urgates.theory against quadrature, sampling, autograd and brute-force search."""

import itertools
import math

import numpy as np
import pytest
import sympy
import torch
from scipy import integrate, optimize, stats

from urgates.gates import GATES, decay_period, refine
from urgates.theory import (
    STARTS,
    chrono_bias_mean,
    decay_density,
    gradient_bounds,
    gradient_ratio,
    main_gate,
    on_lstm_start,
    refine_gradient,
    refined_period,
    tail,
)

SIZES = {
    "chrono": {"t_max": 40.0},
    "chrono_unknown": {},
    "uniform": {"hidden_size": 64},
    "cumax": {},
}


@pytest.mark.parametrize("start", SIZES)
def test_tail_is_the_integral_of_the_density(start):
    ends = [2.0, 3.5, 9.0, 35.0]
    for low, high in itertools.pairwise(ends):
        inside, _ = integrate.quad(
            lambda x: float(decay_density(start, np.array(x), **SIZES[start])), low, high
        )
        assert inside == pytest.approx(float(-np.diff(tail(start, [low, high], **SIZES[start]))[0]))


@pytest.mark.parametrize("start", STARTS)
def test_tail_falls_from_one(start):
    x = np.geomspace(1, 1e4, 300)
    p = tail(start, x, **SIZES.get(start, {}))
    assert p[0] == 1 and np.all(np.diff(p) <= 0) and np.all((p >= 0) & (p <= 1))


def test_tail_of_the_constant_start_steps_at_its_period():
    assert tail("constant", [3.7, 3.8]).tolist() == [1, 0]


@pytest.mark.parametrize("name, start", [("U", "uniform"), ("C", "chrono")])
def test_tail_is_what_a_gate_draws(name, start):
    bias = GATES[name].initial_bias(64, units=20_000, generator=torch.manual_seed(0), t_max=40)
    D = decay_period(torch.sigmoid(bias.double())).numpy()
    result = stats.kstest(D, lambda x: 1 - tail(start, x, **SIZES[start]))
    assert result.pvalue > 0.05


def test_refined_period_is_the_period_of_the_refined_gate():
    D, r = np.meshgrid(np.geomspace(1.01, 1e3, 40), np.linspace(0, 1, 21))
    expected = decay_period(refine(1 - 1 / D, r))
    np.testing.assert_allclose(refined_period(D, r), expected, rtol=1e-9)


def test_refined_period_stays_within_proposition_2():
    D, r = sympy.Symbol("D", positive=True), sympy.Symbol("r")
    assert sympy.simplify(refined_period(D, 0) - D**2 / (2 * D - 1)) == 0
    assert sympy.simplify(refined_period(D, 1) - D**2) == 0
    assert sympy.simplify(refined_period(D, sympy.Rational(1, 2)) - D) == 0
    change = sympy.factor(sympy.diff(refined_period(D, r), r))  # >= 0 for D > 1: the ends bound it
    assert sympy.simplify(change * (1 + 2 * (1 - r) * (D - 1)) ** 2 - 2 * D**2 * (D - 1)) == 0


@pytest.mark.parametrize("t_max", [3.0, 8.0, 11.0, 256.0])
def test_chrono_bias_mean_is_an_integral(t_max):
    area, _ = integrate.quad(math.log, 1, t_max - 1)
    assert chrono_bias_mean(t_max) == pytest.approx(area / (t_max - 2))


@pytest.mark.parametrize("n", [1, 2, 16, 256])
def test_on_lstm_start_is_the_mean_over_units_of_the_gate_itself(n):
    zero = torch.zeros(n, dtype=torch.float64)
    pre = dict.fromkeys(("f", "i", "f_master", "i_master"), zero)
    forget, input_ = GATES["OM"].coefficients(pre)
    start = on_lstm_start(n)
    assert start.forget == pytest.approx(forget.mean().item(), abs=1e-12)
    assert start.input == pytest.approx(input_.mean().item(), abs=1e-12)
    assert start.total == pytest.approx(5 / 6 + 1 / (6 * n**2), abs=1e-12)


def test_main_gate_undoes_refine():
    g, r = np.meshgrid(np.geomspace(1e-9, 1 - 1e-6, 50), np.linspace(0, 1, 21))
    np.testing.assert_allclose(refine(main_gate(g, r), r), g, rtol=1e-9)


def test_refine_gradient_is_autograd():
    z = torch.linspace(-6, 6, 25, dtype=torch.float64)
    z_f, z_r = (a.clone().requires_grad_() for a in torch.meshgrid(z, z, indexing="ij"))
    f, r = z_f.sigmoid(), z_r.sigmoid()
    expected = torch.autograd.grad(refine(f, r).sum(), (z_f, z_r))
    for ours, theirs in zip(refine_gradient(f, r), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    "g, least, largest",
    [(0.5, 1.1131, 1.1716), (0.75, 1.0611, 1.3333), (0.9, 1.0249, 1.5195), (0.99, 1.0025, 1.8182)],
)
def test_gradient_bounds(g, least, largest):
    def ratio(r):
        return float(gradient_ratio(g, r))

    r = np.linspace(0, 1, 2001)
    around = r[gradient_ratio(g, r).argmin()]
    found = optimize.minimize_scalar(ratio, bounds=(around - 0.01, around + 0.01), method="bounded")
    low, high = gradient_bounds(g)
    assert low == pytest.approx(found.fun, abs=1e-8) and low == pytest.approx(least, abs=1e-4)
    assert high == pytest.approx(gradient_ratio(g, r).max(), abs=1e-12)
    assert high == pytest.approx(largest, abs=1e-4)


def test_gradient_bounds_are_symmetric_and_reach_their_limits():
    s = np.array([0.3, 1e-2, 1e-4])
    np.testing.assert_allclose(gradient_bounds(s), gradient_bounds(1 - s), rtol=1e-9)
    low, high = gradient_bounds(1e-12)
    assert low == pytest.approx(1) and high == pytest.approx(2, abs=1e-5) and high < 2


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: tail("normal", 2.0), "start must be one of"),
        (lambda: tail("chrono", 2.0, t_max=2), "t_max must be above 2"),
        (lambda: tail("uniform", 2.0, hidden_size=2), "hidden_size must be an int above 2"),
        (lambda: chrono_bias_mean(2), "t_max must be above 2"),
        (lambda: on_lstm_start(0), "n must be a positive int"),
        (lambda: gradient_bounds([0.5, 1.0]), "g must be within"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
