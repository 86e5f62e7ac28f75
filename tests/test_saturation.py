"""Activations by their complement against mpmath and autograd; the class 𝓕 and its order."""

import mpmath
import numpy as np
import pytest
import torch

from urgates.gates import band, refine
from urgates.theory import gradient_bounds
from urgates.theory.saturation import (
    activation,
    compare,
    fast,
    membership,
    refined,
    sigmoid,
    smoothstep,
    softsign,
)

REFINE = refined()
GATES = {g.name: g for g in (softsign, sigmoid, fast, smoothstep, REFINE)}
ONE = {name: g for name, g in GATES.items() if name != "refine"}  # of one pre-activation
U = np.array([0.99, 0.6, 0.5, 0.3, 1e-2, 1e-6, 1e-12])


def by_mpmath(name, z):
    """1 - φ(z) with fifty digits, from the definition of φ."""
    z = mpmath.mpf(z)
    s = 1 / (1 + mpmath.exp(-z))
    return {
        "sigmoid": lambda: 1 - s,
        "softsign": lambda: 1 - (1 + z / 2 / (1 + abs(z / 2))) / 2,
        "fast": lambda: 1 - 1 / (1 + mpmath.exp(-mpmath.sinh(z))),
        "smoothstep": lambda: 1 - (3 * s**2 - 2 * s**3),
    }[name]()


@pytest.mark.parametrize("name", ONE)
def test_complement_and_slope_are_those_of_the_definition(name):
    gate = GATES[name]
    with mpmath.workdps(50):
        for z in (-2.5, -0.7, 0.3, 1.0, 3.0, 4.0):
            u = by_mpmath(name, z)
            slope = -mpmath.diff(lambda x: by_mpmath(name, x), z)
            assert float(gate.complement(z)) == pytest.approx(float(u), rel=1e-12)
            assert float(gate.slope(float(u))) == pytest.approx(float(slope), rel=1e-10)


@pytest.mark.parametrize("name", GATES)
def test_inverse_undoes_complement(name):
    gate = GATES[name]
    np.testing.assert_allclose(gate.complement(gate.inverse(U)), U, rtol=1e-11)
    np.testing.assert_allclose(gate.slope(1 - U[:5]), gate.slope(U[:5]), rtol=1e-9)  # symmetric


def test_the_fast_gates_slope_peaks_at_27855():
    z = np.linspace(0, 2, 200_001)
    slope = fast.slope(fast.complement(z))
    assert slope.max() == pytest.approx(0.27855, abs=1e-5)
    assert z[slope.argmax()] == pytest.approx(0.9459, abs=1e-4)


def test_complements_stay_finite_and_positive_where_floats_can():
    assert fast.complement(np.array([-1e4, 1e4])).tolist() == [1.0, 0.0]
    assert sigmoid.complement(700.0) > 0 and softsign.complement(1e300) > 0
    assert 0 < fast.complement(7.0) < 1e-200


def test_refine_follows_the_gradient_of_autograd():
    """Tiny steps of plain descent on two pre-activations pass the same activations and slopes."""
    z = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    passed = []
    for _ in range(2001):
        g = refine(*torch.sigmoid(z))
        (gradient,) = torch.autograd.grad(g, z)
        passed.append((refine(*torch.sigmoid(-z)).item(), gradient.norm().item()))
        with torch.no_grad():
            z += 0.01 * gradient / gradient.norm()
    u, slope = np.array(passed[::250]).T
    assert u[-1] < 1e-11
    np.testing.assert_allclose(REFINE.slope(u), slope, rtol=1e-3)
    np.testing.assert_allclose(REFINE.inverse(u), 0.01 * 250 * np.arange(9), rtol=1e-3, atol=1e-9)


def test_refine_stays_within_the_bounds_at_equal_activation():
    u = np.geomspace(1e-14, 0.5, 60)
    low, high = gradient_bounds(u)
    ratio = REFINE.slope(u) / band(u)
    assert (ratio >= low).all() and (ratio <= high).all()


# ------------------------------------------------------------------ 𝓕 and the order


@pytest.mark.parametrize(
    "name, z0", [("softsign", 0), ("sigmoid", 0), ("fast", 0.9459), ("smoothstep", 0)]
)
def test_gates_are_members(name, z0):
    found = membership(GATES[name])
    assert found.member and found.z0 == pytest.approx(z0, abs=1e-3) and found.slope < 1e-10


def test_a_slope_that_keeps_rising_again_is_no_member():
    def wavy(z):
        return z + 0.4 * np.sin(2 * z)  # φ'/φ'' changes sign for ever, φ increases all the same

    gate = activation(lambda z: 1 / (1 + np.exp(-wavy(z))), lambda z: 1 / (1 + np.exp(wavy(z))))
    assert not membership(gate).member


@pytest.mark.parametrize(
    "a, b, order",
    [
        ("sigmoid", "softsign", "higher"),
        ("fast", "sigmoid", "higher"),
        ("softsign", "fast", "lower"),
        ("refine", "sigmoid", "same"),
        ("smoothstep", "sigmoid", "same"),
        ("refine", "fast", "lower"),
    ],
)
def test_order_of_saturation(a, b, order):
    assert compare(GATES[a], GATES[b]).order == order
    u = np.geomspace(1e-12, 0.4, 200)
    if order == "higher":  # b⁻¹∘a is convex: its derivative grows towards saturation
        assert (np.diff(GATES[a].slope(u) / GATES[b].slope(u)) < 0).all()


def test_gains_have_their_closed_forms():
    u = np.geomspace(1e-12, 0.5, 100)
    np.testing.assert_allclose(sigmoid.slope(u) / softsign.slope(u), (1 - u) / u, rtol=1e-12)
    logit = np.log((1 - u) / u)
    np.testing.assert_allclose(fast.slope(u) / sigmoid.slope(u), np.sqrt(1 + logit**2), rtol=1e-12)


# ------------------------------------------------------------------ your own gate


def test_own_gate_agrees_with_the_built_in_one():
    mine = activation(lambda z: 1 / (1 + np.exp(-z)))
    np.testing.assert_allclose(mine.slope(U[:6]), band(U[:6]), rtol=1e-6)
    np.testing.assert_allclose(mine.inverse(U[:6]), sigmoid.inverse(U[:6]), rtol=1e-8, atol=1e-8)
    assert membership(mine).z0 == pytest.approx(0, abs=0.02)


def test_an_arctan_gate_is_of_softsigns_order():
    exact = activation(
        lambda z: 0.5 + np.arctan(np.pi * z / 4) / np.pi,
        lambda z: np.arctan2(1, np.pi * z / 4) / np.pi,
        name="arctan",
    )
    z = exact.inverse(U)
    np.testing.assert_allclose(exact.slope(U), 0.25 / (1 + (np.pi * z / 4) ** 2), rtol=1e-7)
    assert membership(exact).member and compare(exact, softsign).order == "same"
    assert compare(exact, sigmoid).order == "lower"


@pytest.mark.parametrize(
    "phi, message",
    [
        (lambda z: 1 / (1 + np.exp(z)), "phi must be within .* come within 1e-08 of 0"),
        (
            lambda z: 1 / (1 + np.exp(-z - 2 * np.sin(z))),
            "phi must be increasing, got no rise at z =",
        ),
        (lambda z: np.clip(0.5 + z / 4, 0, 1), r"phi must be within \(0, 1\), got 0 to 1"),
        (np.tanh, r"phi must be within \(0, 1\), got -0.76"),
        (lambda z: 0.45 + 0.9 * np.arctan(z) / np.pi, "come within 1e-08 of 1, got a distance of"),
        (lambda z: z * np.nan, "phi must be a number everywhere, got NaN"),
        (lambda z: np.where(abs(z) < 0.1, np.nan, 1 / (1 + np.exp(-z))), "got NaN at z = -0.0"),
    ],
)
def test_what_is_no_gate_is_refused(phi, message):
    with pytest.raises(ValueError, match=message):
        activation(phi)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: refined(finest=0.7), "finest must be within"),
        (lambda: refined(step=0.0), "step must be within"),
        (
            lambda: activation(lambda z: 1 / (1 + np.exp(-z)), lambda z: 1 / (1 + np.exp(2 * z))),
            "complement must be 1 - phi",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
