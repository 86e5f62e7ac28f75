"""The minimal problem's solver against mpmath, SciPy's integrators, torch and known numbers."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate, optimize

from urgates.gates import refine
from urgates.theory.learnability import Problem
from urgates.theory.saturation import activation, fast, refined, sigmoid, smoothstep, softsign

REFINE = refined()
GATES = {g.name: g for g in (softsign, sigmoid, fast, smoothstep, REFINE)}
THREE = (softsign, sigmoid, fast)
DEPTHS = [1e-1, 1e-2, 1e-3, 1e-4, 1e-6]
TIMES = {  # to reach u from f = 1/2, K = k = 1
    "softsign": [330.7, 3.333e5, 3.333e8, 3.333e11, 3.333e17],
    "sigmoid": [13.28, 108.2, 1013, 1.002e4, 1.000e6],
    "fast": [5.858, 12.50, 36.42, 162.2, 6209],
}


# ------------------------------------------------------------------ loss and optimum


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("k, target", [(1, 0.5), (10, 0.9), (500, 0.99)])
def test_the_optimum_minimises_the_loss(name, k, target):
    gate, problem = GATES[name], Problem(k, target, content=2.0)
    z = float(gate.inverse(problem.optimum))

    def loss(z):
        f = 1 - float(gate.complement(z))
        return 2.0 * abs(f**k - target)

    around = (z - 0.5, z + 0.5)
    found = optimize.minimize_scalar(
        loss, bounds=around, method="bounded", options={"xatol": 1e-10}
    )
    assert found.x == pytest.approx(z, rel=1e-7, abs=1e-7)
    for shift in (-0.3, 0.2):
        assert float(problem.loss(gate.complement(z + shift))) == pytest.approx(loss(z + shift))
    assert float(problem.loss(problem.optimum)) < 1e-12


@pytest.mark.parametrize("z, sign", [(0.3, 1), (1.7, 1), (6.0, -1)])
def test_the_slope_is_autograds(z, sign):
    problem = Problem(20, 0.9, content=1.5)
    x = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    (1.5 * (torch.sigmoid(x) ** 20 - 0.9).abs()).backward()
    ours = float(problem.slope(sigmoid, sigmoid.complement(z)))
    assert -sign * ours == pytest.approx(x.grad.item(), rel=1e-10)


# ------------------------------------------------------------------ gradient flow


@pytest.mark.parametrize("name", TIMES)
def test_times_are_the_known_ones(name):
    assert Problem().time(GATES[name], DEPTHS) == pytest.approx(TIMES[name], rel=1e-3)


@pytest.mark.parametrize("gate", [softsign, sigmoid], ids=lambda g: g.name)
def test_times_are_the_closed_forms(gate):
    u = np.geomspace(0.49, 1e-12, 30)
    np.testing.assert_allclose(Problem().time(gate, u), gate.time(u), rtol=1e-11)


def test_the_fast_gates_time_is_an_integral_of_the_logit():
    """du = -u (1 - u) dl turns ∫ du / g² into 2 atan(l) + 2 ∫ cosh(l) / (1 + l²) dl."""
    for u in (1e-2, 1e-6, 1e-12):
        end = mpmath.log((1 - mpmath.mpf(u)) / u)
        rest = mpmath.quad(lambda x: mpmath.cosh(x) / (1 + x * x), mpmath.linspace(0, end, 20))
        assert float(Problem().time(fast, u)) == pytest.approx(
            float(2 * mpmath.atan(end) + 2 * rest), rel=1e-11
        )


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("k, target, start", [(1, 1, 0.5), (10, 0.9, 0.3), (40, 0.5, 1e-3)])
def test_times_agree_with_adaptive_quadrature(name, k, target, start):
    gate, problem = GATES[name], Problem(k, target, content=0.7)
    end = problem.optimum or 1e-9

    def pace(x):  # in ln u
        u = math.exp(x)
        return u / (0.7 * k * (1 - u) ** (k - 1) * float(gate.slope(u)) ** 2)

    area, _ = integrate.quad(pace, math.log(start), math.log(end), epsrel=1e-11, limit=500)
    assert float(problem.time(gate, end, start)) == pytest.approx(abs(area), rel=1e-8)


@pytest.mark.parametrize("gate", THREE, ids=lambda g: g.name)
def test_flow_agrees_with_an_ode_solver(gate):
    """The flow in z, Eq. (15), by an eighth-order Runge-Kutta that knows nothing of u."""
    k, tau = 8, np.geomspace(0.1, 300, 25)

    def fall(_, z):
        u = gate.complement(z)
        h = 1e-5
        slope = (gate.complement(z - h) - gate.complement(z + h)) / (2 * h)
        return k * (1 - u) ** (k - 1) * slope

    z0 = [float(gate.inverse(0.2))]
    solved = integrate.solve_ivp(fall, (0, 300), z0, "DOP853", t_eval=tau, rtol=1e-11, atol=1e-12)
    ours = Problem(k).flow(gate, tau, start=0.2)
    np.testing.assert_allclose(ours, gate.complement(solved.y[0]), rtol=1e-7)


def test_refine_flow_agrees_with_an_ode_solver_in_two_variables():
    tau = np.geomspace(0.1, 1e4, 20)

    def fall(_, z):
        f, r = 1 / (1 + np.exp(-z))
        d_f = 2 * f * (1 - f) * (r + (1 - 2 * r) * f)
        d_r = 2 * f * r * (1 - r) * (1 - f)
        return 3 * refine(f, r) ** 2 * np.array([d_f, d_r])

    solved = integrate.solve_ivp(
        fall, (0, 1e4), [0, 0], "DOP853", t_eval=tau, rtol=1e-11, atol=1e-12
    )
    expected = refine(*(1 / (1 + np.exp(solved.y))))
    np.testing.assert_allclose(Problem(3).flow(REFINE, tau), expected, rtol=1e-8)


@pytest.mark.parametrize("gate", THREE, ids=lambda g: g.name)
def test_flow_is_exact_where_f_is_within_1e_12_of_1(gate):
    u = np.array([0.4, 1e-3, 1e-9, 1e-12, 1e-13])
    tau = Problem().time(gate, u)
    np.testing.assert_allclose(Problem().flow(gate, tau), u, rtol=1e-10)
    if gate.time:  # and the time itself by closed form, with many digits
        with mpmath.workdps(40):
            x = mpmath.mpf(1e-12)
            exact = {
                "softsign": (x**-3 - 8) / 3,
                "sigmoid": 1 / x - 1 / (1 - x) + 2 * mpmath.log((1 - x) / x),
            }
            assert tau[3] == pytest.approx(float(exact[gate.name]), rel=1e-12)


def test_flow_from_above_comes_down_and_stops():
    problem = Problem(10, 0.5)
    end = problem.hitting_time(sigmoid, start=0.01)
    u = problem.flow(sigmoid, np.linspace(0, 2 * end, 9), start=0.01)
    assert (np.diff(u[:5]) > 0).all() and u[0] == pytest.approx(0.01)
    assert u[5:].tolist() == [problem.optimum] * 4
    assert problem.time(sigmoid, 0.03, start=0.01) < end


# ------------------------------------------------------------------ rates, horizons, plateaus


@pytest.mark.parametrize("name, close", [("softsign", 1e-9), ("sigmoid", 1e-9), ("refine", 2e-3),
                                         ("smoothstep", 1e-9)])  # fmt: skip
def test_rates_are_reached(name, close):
    gate, problem = GATES[name], Problem(5, content=0.4)
    u = 1e-12
    x = problem.gain * problem.time(gate, u, start=0.2)
    assert float(gate.rate(x)) == pytest.approx(u, rel=close)


def test_the_fast_gates_rate_is_that_of_the_sigmoid_but_for_log_squared():
    u = np.array([1e-3, 1e-5, 1e-7, 1e-9])
    ratio = u * Problem().time(fast, u) * np.log(1 / u) ** 2
    assert ratio == pytest.approx([1.738, 1.245, 1.151, 1.111], abs=1e-3)
    deep = np.array([1e-20, 1e-50, 1e-99])
    limit = deep * Problem().time(fast, deep) * np.log(1 / deep) ** 2
    assert (np.diff(limit) < 0).all() and 1 < limit[-1] < 1.01


@pytest.mark.parametrize(
    "gate, slopes",
    [(softsign, [-1 / 3] * 3), (sigmoid, [-1.060, -1.011, -1.002]), (fast, [-2.71, -1.77, -1.39])],
    ids=lambda x: getattr(x, "name", ""),
)
def test_local_exponents(gate, slopes):
    assert Problem().exponent(gate, [1e-2, 1e-3, 1e-4]) == pytest.approx(slopes, rel=2e-3)


@pytest.mark.parametrize(
    "gate, expected",
    [
        (softsign, [3.34e4, 3.34e6, 3.34e8]),
        (sigmoid, [11.80, 11.34, 11.29]),
        (fast, [0.908, 0.317, 0.164]),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_hitting_times_by_horizon(gate, expected):
    found = [Problem(k, 0.9).hitting_time(gate, start=1 / k) for k in (10, 100, 1000)]
    assert found == pytest.approx(expected, rel=3e-3)


def test_hitting_time_of_the_sigmoid_has_a_limit():
    limit, _ = integrate.quad(lambda v: math.exp(v) / v**2, -math.log(0.9), 1)
    found = Problem(10**6, 0.9).hitting_time(sigmoid, start=1e-6)
    assert found == pytest.approx(limit, rel=1e-5)


@pytest.mark.parametrize("name", GATES)
def test_plateau_at_one_half(name):
    assert Problem(100, 0.9).hitting_time(GATES[name]) > 1e26
    assert math.isinf(Problem(5000, 0.9).hitting_time(GATES[name]))  # beyond floats


def test_plateau_from_a_sigmoids_bias_of_one():
    start = 1 / (1 + math.e)
    found = [Problem(100, 0.9).hitting_time(g, start) for g in THREE]
    assert found == pytest.approx([4.7e11, 5.9e10, 2.8e10], rel=1.3e-2)


# ------------------------------------------------------------------ gradient descent


@pytest.mark.parametrize(
    "gate, expected",
    [
        (softsign, [0.0996, 0.0963, 0.0753, 0.0371]),
        (sigmoid, [0.0727, 0.0118, 1.03e-3, 1.00e-4]),
        (fast, [4.95e-3, 1.45e-4, 8.83e-6, 5.65e-7]),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_descent_in_whole_steps(gate, expected):
    u = Problem(10).descend(gate, 1.0, 1000, start=0.1)
    assert u[[1, 10, 100, 1000]] == pytest.approx(expected, rel=6e-3)


def test_descent_is_torchs_sgd():
    problem = Problem(6, 0.8, content=1.3)
    z = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    sgd, kept = torch.optim.SGD([z], lr=0.3), []
    for _ in range(40):
        kept.append(1 - torch.sigmoid(z).item())
        sgd.zero_grad()
        (1.3 * (torch.sigmoid(z) ** 6 - 0.8).abs()).backward()
        sgd.step()
    ours = problem.descend(sigmoid, 0.3, 39, start=kept[0])
    np.testing.assert_allclose(ours, kept, rtol=1e-9)


@pytest.mark.parametrize("gate", THREE, ids=lambda g: g.name)
def test_descent_approaches_the_flow_as_the_rate_falls(gate):
    problem, gaps = Problem(10), []
    for rate in (0.02, 0.01, 0.005):
        steps = round(4 / rate)
        flow = problem.flow(gate, rate * np.arange(steps + 1), start=0.1)
        gaps.append(np.abs(problem.descend(gate, rate, steps, start=0.1) - flow).max())
    assert np.array(gaps[:-1]) / gaps[1:] == pytest.approx([2, 2], rel=0.1)


def test_descent_chatters_around_a_target_below_one():
    problem = Problem(10, 0.9)
    z = sigmoid.inverse(problem.descend(sigmoid, 0.05, 2000, start=0.1))
    off = np.abs(z[-200:] - float(sigmoid.inverse(problem.optimum)))
    assert 0 < off.max() <= 0.05 * float(problem.slope(sigmoid, problem.optimum)) * 1.1


# ------------------------------------------------------------------ bad input


GOOD = Problem(10, 0.9)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Problem(k=0.5), "k must be a finite number of at least 1"),
        (lambda: Problem(k=math.nan), "k must be a finite number"),
        (lambda: Problem(target=1.1), r"target must be within \[0, 1\], got 1.1"),
        (lambda: Problem(target=-0.1), r"target must be within \[0, 1\]"),
        (lambda: Problem(target=math.nan), r"target must be within \[0, 1\], got nan"),
        (lambda: Problem(content=0.0), "content must be finite and above 0"),
        (lambda: GOOD.time(sigmoid, 1e-3), "u must be on the flow's way, 0.0104"),
        (lambda: GOOD.time(sigmoid, 0.6), "u must be on the flow's way"),
        (lambda: GOOD.time(sigmoid, math.nan), "u must be on the flow's way"),
        (lambda: Problem().time(REFINE, 1e-20), "u must be at least 1e-16 for refine"),
        (lambda: GOOD.flow(sigmoid, -1.0), "tau must be 0 or more"),
        (lambda: Problem().flow(REFINE, 1e18), "tau must be below .* refine is no longer resolved"),
        (lambda: GOOD.hitting_time(sigmoid, start=1.0), "start must be within"),
        (lambda: GOOD.descend(sigmoid, 0.0, 5), "rate must be above 0"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_own_gate_learns_at_its_orders_rate():
    arctan = activation(
        lambda z: 0.5 + np.arctan(np.pi * z / 4) / np.pi,
        lambda z: np.arctan2(1, np.pi * z / 4) / np.pi,
    )
    assert float(Problem().exponent(arctan, 1e-6)) == pytest.approx(-1 / 3, abs=1e-6)
