"""How an activation φ saturates, in its complement u = 1 - φ: five gates, and any of your own.

z pre-activation, f = φ(z) activation, u = 1 - f distance to saturation, g(u) = φ'(z) the slope
where the activation is 1 - u.  Near saturation u keeps the digits that f loses, so u is what all
is written in.  Definition 4.1 of the second paper (Ohno, Kanai and Ida, arXiv 2210.01348); orders
of saturation and rates are our derivation.  NumPy arrays or floats in and out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from urgates.activations import SYMMETRIC, pair
from urgates.checks import refusal, require
from urgates.gates import band, refine
from urgates.theory.timescales import refine_gradient


class Activation(NamedTuple):
    """What theory needs to know of a gate, by its complement u = 1 - φ(z)."""

    name: str
    complement: Callable  # z -> u
    inverse: Callable  # u -> z
    slope: Callable  # u -> φ'(z), the gradient that is left at activation 1 - u
    finest: float = 1e-100  # the smallest u at which these three keep their digits
    rate: Callable | None = None  # leading term of u under the flow to λ* = 1, by K·time
    time: Callable | None = None  # K·time of that flow from f = 1/2 to u at k = 1, in closed form


# ------------------------------------------------------------------ gates of one pre-activation


def _symmetric(name: str, slope: Callable, **known) -> Activation:
    """A row of `SYMMETRIC` as an `Activation`."""
    inverse = SYMMETRIC[name].inverse
    return Activation(
        name,
        lambda z: pair(name, z)[1],
        lambda u: np.sign(0.5 - u) * inverse(np.minimum(u, 1 - u)),
        slope,
        **known,
    )


def _smoothstep_root(u):
    """The p with 3p² - 2p³ = u, without cancellation at small u."""
    a = np.arcsin(np.sqrt(u)) / 3
    return 2 * np.sin(a) * np.sin(a + np.pi / 3)


sigmoid = _symmetric(
    "sigmoid",
    band,
    rate=lambda x: 1 / x,
    time=lambda u: 1 / u - 1 / (1 - u) + 2 * sigmoid.inverse(u),
)
softsign = _symmetric(  # normalised to a range of (0, 1) and a slope of 1/4 at 0
    "softsign",
    lambda u: np.minimum(u, 1 - u) ** 2,
    rate=lambda x: (3 * x) ** (-1 / 3),
    time=lambda u: (u**-3.0 - 8) / 3,
)
fast = _symmetric(  # σ(sinh z); by z alone, cosh z = √(1 + sinh² z)
    "fast",
    lambda u: band(u) * np.hypot(1, sigmoid.inverse(u)),
    rate=lambda x: 1 / (x * np.log(x) ** 2),
)
smoothstep = Activation(  # a refine gate tied to its own main gate, r = f
    "smoothstep",
    lambda z: refine(sigmoid.complement(z), sigmoid.complement(z)),
    lambda u: sigmoid.inverse(_smoothstep_root(u)),
    lambda u: 6 * band(_smoothstep_root(u)) ** 2,
    rate=lambda x: 1 / (4 * x),
)


# ------------------------------------------------------------------ the refine gate, of two


def refined(finest: float = 1e-16, step: float = 0.01) -> Activation:
    """The refine gate as a gate of one pre-activation: along its gradient line from f = r = 1/2.

    Descent on any loss of g moves the two pre-activations along ∇g, so they stay on one line.  Its
    arc length, 0 at g = 1/2, is the one pre-activation, and |∇g| the slope.

    Args:
        finest: how close to 1 the line is followed, within (0, 1/2).
        step: of the Runge-Kutta integration in ln u.
    """
    require("finest", 0 < finest < 0.5, "be within (0, 1/2)", finest)
    require("step", 0 < step <= 0.1, "be within (0, 0.1]", step)
    x = np.arange(np.log(0.5), np.log(finest) - 2 * step, -step)  # ln u
    points = [np.zeros(3)]
    for _ in x[1:]:
        points.append(_runge_kutta(_along, points[-1], -step))
    line, tangent = np.array(points), np.array([_along(y) for y in points])

    def at(u):  # z_f, z_r and arc length; the other half of the line is its mirror image
        return _hermite(np.log(np.minimum(u, 1 - u)), x, line, tangent)

    def slope(u):
        z_f, z_r, _ = np.moveaxis(at(u), -1, 0)
        return np.hypot(*refine_gradient(sigmoid.complement(z_f), sigmoid.complement(z_r)))

    def complement(s):
        u = np.exp(np.interp(np.abs(s), line[:, 2], x))
        for _ in range(3):  # Newton steps in ln u
            u = u * np.exp((at(u)[..., 2] - np.abs(s)) * slope(u) / u)
        return np.where(np.less(s, 0), 1 - u, u)

    return Activation(
        "refine",
        complement,
        lambda u: np.sign(0.5 - u) * at(u)[..., 2],
        slope,
        finest,
        rate=lambda x: 1 / (2 * x),
    )


def _along(y):
    """d(z_f, z_r, arc length) / d ln u on the gradient line."""
    p, q = sigmoid.complement(y[:2])
    d_f, d_r = refine_gradient(p, q)
    size = np.hypot(d_f, d_r)
    return -refine(p, q) / size * np.array([d_f / size, d_r / size, 1.0])


def _runge_kutta(derivative, y, h):
    k1 = derivative(y)
    k2 = derivative(y + h / 2 * k1)
    k3 = derivative(y + h / 2 * k2)
    return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + derivative(y + h * k3))


def _hermite(at, x, y, dy):
    """Cubic interpolation of y [n, m] with derivatives dy, on the even grid x [n]."""
    h = x[1] - x[0]
    i = np.clip(np.asarray((at - x[0]) / h).astype(int), 0, len(x) - 2)
    t = np.asarray((at - x[i]) / h)[..., None]
    left = (1 + 2 * t) * y[i] + t * h * dy[i]
    right = (3 - 2 * t) * y[i + 1] - (1 - t) * h * dy[i + 1]
    return (1 - t) ** 2 * left + t**2 * right


# ------------------------------------------------------------------ your own gate


def activation(phi: Callable, complement: Callable | None = None, name="yours") -> Activation:
    """Any activation as an `Activation`: inverse by bisection, slope by differences in logit u.

    Args:
        phi: increasing function of a NumPy array, with values in (0, 1) and limits 0 and 1.
        complement: 1 - phi in a form without cancellation; without it the gate is followed to
            1 - phi = 1e-8 only, with it to 1e-14.
        name: for tables and legends.
    Raises:
        ValueError: if phi gives NaN, leaves (0, 1), does not come near 0 and 1, or falls somewhere.
    """
    finest = 1e-8 if complement is None else 1e-14
    upper = complement or (lambda z: 1 - np.asarray(phi(z), float))
    ends = -_reach(lambda z: phi(-z), finest, 0), _reach(upper, finest, 1)
    low, high = np.arcsinh(ends)
    z = np.sinh(np.linspace(low, high, 4001))
    _check(z, np.asarray(phi(z), float), np.asarray(upper(z), float))

    def inverse(u):
        u = np.asarray(u, float)
        a, b = np.full_like(u, low), np.full_like(u, high)
        for _ in range(60):
            middle = (a + b) / 2
            above = upper(np.sinh(middle)) > u
            a, b = np.where(above, middle, a), np.where(above, b, middle)
        return np.sinh((a + b) / 2)

    def slope(u):
        h = 0.02
        logit = -sigmoid.inverse(np.asarray(u, float))
        z = [inverse(sigmoid.complement(-logit - j * h)) for j in (-2, -1, 1, 2)]
        return 12 * h * band(u) / -(z[0] - 8 * z[1] + 8 * z[2] - z[3])

    return Activation(name, upper, inverse, slope, finest * 1.1)


def _check(z, values, beyond):
    """Refuse what is no gate: `values` of phi at z, and `beyond`, their complements."""
    near = np.where(z < 0, values, beyond)  # distance to the nearer limit
    if np.isnan(near).any():
        place = z[np.isnan(near).argmax()]
        raise refusal("phi", "be a number everywhere", f"NaN at z = {place:g}")
    if not (np.all(near > 0) and np.all(near < 1)):
        raise refusal("phi", "be within (0, 1)", f"{values.min():g} to {values.max():g}")
    if not np.allclose(values + beyond, 1, rtol=0, atol=1e-9):
        off = np.abs(values + beyond - 1).max()
        raise refusal("complement", "be 1 - phi", f"a sum that differs from 1 by {off:g}")
    falls = np.where(z[1:] < 0, np.diff(values), -np.diff(beyond)) <= 0
    if falls.any():
        raise refusal("phi", "be increasing", f"no rise at z = {z[1:][falls.argmax()]:g}")


def _reach(side, finest, limit):
    """A z at which `side`, one minus phi or phi mirrored, has fallen below `finest`."""
    z = 1.0
    while z < 2.0**60:
        value = float(side(np.array(z)))
        if np.isnan(value):
            raise refusal("phi", "be a number everywhere", f"NaN at |z| = {z:g}")
        if value < finest:
            return z
        z *= 1.25
    expected = f"be within (0, 1) and come within {finest:g} of {limit}"
    raise refusal("phi", expected, f"a distance of {value:g} at |z| = {z:.0e}")


# ------------------------------------------------------------------ the class 𝓕, and its order


class Membership(NamedTuple):
    """Whether φ is in 𝓕, Definition 4.1, as far as numbers can tell."""

    member: bool  # φ' falls on the nearer half of the way, in decades of u, down to `reach`
    z0: float  # where the last fall of φ' sets in
    slope: float  # φ' at `reach`
    reach: float  # the smallest u looked at


def membership(gate: Activation) -> Membership:
    """Whether φ' is monotone beyond some z0 >= 0, as Definition 4.1 asks, and where z0 is.

    That φ increases from 0 to 1 is the other half; `activation` refuses what does not.
    """
    reach = max(gate.finest, 1e-12)
    start = float(gate.complement(0.0))
    u = np.geomspace(start, reach, 3001)
    rises = np.flatnonzero(np.diff(gate.slope(u)) >= 0)
    last = u[rises[-1] + 1] if len(rises) else start
    member = last > np.sqrt(start * reach)
    if len(rises) and member:  # sharpen the place of the maximum, as far as differences allow
        for width in (1e-2, 1e-4):
            near = np.minimum(last * np.exp(np.linspace(width, -width, 401)), start)
            last = near[gate.slope(near).argmax()]
    z0 = max(float(gate.inverse(last)), 0.0) + 0.0  # no -0.0
    return Membership(bool(member), z0, float(gate.slope(reach)), reach)


class Comparison(NamedTuple):
    """How two gates compare in saturation."""

    order: str  # "higher", "same" or "lower": the first gate's order against the second's
    growth: float  # of ln(g_a/g_b) over the last decade of u
    gain: float  # g_a/g_b at `reach`: the gradient of a over that of b at one activation
    reach: float  # the smallest u looked at


def compare(a: Activation, b: Activation) -> Comparison:
    """Which of two gates saturates in the higher order, as far as numbers can tell.

    b⁻¹∘a has the derivative g_a/g_b where both activations are 1 - u.  It grows beyond bounds just
    when a(z) overtakes b(sz) for every stretch s and b⁻¹∘a is convex in the end: then a's order is
    higher.  A growth of more than 1 % in the last decade of u counts as unbounded.
    """
    reach = max(a.finest, b.finest, 1e-12)
    before, last = (float(a.slope(u) / b.slope(u)) for u in (10 * reach, reach))
    growth = float(np.log(last / before))
    order = "higher" if growth > 0.01 else "lower" if growth < -0.01 else "same"
    return Comparison(order, growth, last, reach)
