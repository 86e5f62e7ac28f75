"""How fast a gate learns a long time scale: the minimal problem of the second paper, solved.

One unit keeps the share f^k of its content c over k steps and ought to keep λ*: L(z) = c |f^k - λ*|
with f = φ(z), Eqs. (11)-(14) of Ohno, Kanai and Ida, arXiv 2210.01348.  Gradient flow, Eq. (15),
is solved in u = 1 - f, where it reads du/dτ = -K f^(k-1) g(u)² with K = ck and g(u) = φ'(z), so
that nothing cancels however near f comes to 1.  The solutions are our derivation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from urgates.checks import refusal, require
from urgates.theory.saturation import Activation, sigmoid

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


@dataclass(frozen=True)
class Problem:
    """Learn to keep the share λ* over k steps.

    Args:
        k: steps between writing and reading, t1 - t0, at least 1.
        target: λ*, the share to keep, in [0, 1].
        content: c, what the cell holds at first, above 0.
    """

    k: float = 1.0
    target: float = 1.0
    content: float = 1.0

    def __post_init__(self) -> None:
        long = self.k >= 1 and math.isfinite(self.k)
        require("k", long, "be a finite number of at least 1 (steps)", self.k)
        require("target", 0 <= self.target <= 1, "be within [0, 1]", self.target)
        filled = self.content > 0 and math.isfinite(self.content)
        require("content", filled, "be finite and above 0", self.content)

    @property
    def gain(self) -> float:
        """K = ck."""
        return self.content * self.k

    @property
    def optimum(self) -> float:
        """The complement of the best gate, 1 - λ*^(1/k)."""
        return -math.expm1(math.log(self.target) / self.k) if self.target else 1.0

    def loss(self, u):
        """L where the gate's complement is u, Eq. (14); exact near the optimum."""
        log_kept = self.k * np.log1p(-np.asarray(u, float))
        if not self.target:
            return self.content * np.exp(log_kept)
        return self.content * self.target * np.abs(np.expm1(log_kept - math.log(self.target)))

    def slope(self, gate: Activation, u):
        """|dL/dz| = K f^(k-1) φ'(z), off the optimum."""
        u = np.asarray(u, float)
        return self.gain * np.exp((self.k - 1) * np.log1p(-u)) * gate.slope(u)

    # -------------------------------------------------------------- gradient flow

    def time(self, gate: Activation, u, start: float = 0.5):
        """Time that the flow takes from complement `start` to u, exact to about ten digits.

        Args:
            u: between `start` and the optimum, and not below what the gate resolves.
            start: 1 - f at time 0.
        Returns:
            τ of u's shape: ∫ du / (K f^(k-1) g(u)²), inf beyond the range of floats.
        """
        self._check_start(start)
        u = np.asarray(u, float)
        low, high = sorted((start, max(self.optimum, 0.0)))
        outside = ~((u >= low * (1 - 1e-12)) & (u <= high)) | ~(u < 1)
        if outside.any():
            raise refusal("u", f"be on the flow's way, {low:g} to {high:g}", str(u[outside]))
        if (u < gate.finest).any():
            raise refusal("u", f"be at least {gate.finest:g} for {gate.name}", f"{u.min():g}")
        ends, order = np.unique(u, return_inverse=True)
        ends, flip = (ends, False) if self.optimum > start else (ends[::-1], True)
        edges = np.log(ends) - np.log1p(-ends)
        edges = np.concatenate([[math.log(start) - math.log1p(-start)], edges])
        total = np.cumsum(self._span(gate, edges[:-1], edges[1:]))
        return (total[::-1] if flip else total)[order].reshape(u.shape)

    def hitting_time(self, gate: Activation, start: float = 0.5) -> float:
        """When the flow arrives at the optimum and stops: finite for λ* < 1, inf for λ* = 1."""
        self._check_start(start)
        if self.optimum in (0.0, 1.0):
            return math.inf
        return float(self.time(gate, self.optimum, start))

    def flow(self, gate: Activation, tau, start: float = 0.5):
        """The complement 1 - f at times τ of the gradient flow, Eq. (15), to about ten digits.

        Args:
            tau: times, 0 or more.
            start: 1 - f at time 0.
        """
        self._check_start(start)
        tau = np.asarray(tau, float)
        if not (tau >= 0).all():
            raise refusal("tau", "be 0 or more", str(tau.min()))
        knots = self._knots(gate, start)
        spent = np.concatenate([[0], np.cumsum(self._span(gate, knots[:-1], knots[1:]))])
        ended = tau >= spent[-1]
        if ended.any() and not gate.finest <= self.optimum < 1:
            expected = f"be below {spent[-1]:.3g}, where {gate.name} is no longer resolved"
            raise refusal("tau", expected, f"{tau.max():.3g}")
        i = np.clip(np.searchsorted(spent, tau, "right") - 1, 0, len(knots) - 2)
        low, high = np.minimum(knots[i], knots[i + 1]), np.maximum(knots[i], knots[i + 1])
        part = np.clip((tau - spent[i]) / (spent[i + 1] - spent[i]), 0, 1)
        x = knots[i] + (knots[i + 1] - knots[i]) * part
        for _ in range(12):  # Newton steps within the panel
            off = tau - spent[i] - self._panels(gate, knots[i], x, 1)
            x = np.clip(x + off / self._pace(gate, x) * np.sign(knots[-1] - knots[0]), low, high)
        return np.where(ended, self.optimum, sigmoid.complement(-x))

    def exponent(self, gate: Activation, u, start: float = 0.5):
        """Local slope d ln u / d ln τ of the flow, where its complement is u."""
        u = np.asarray(u, float)
        return -self.time(gate, u, start) * self.slope(gate, u) * gate.slope(u) / u

    # -------------------------------------------------------------- gradient descent

    def descend(self, gate: Activation, rate: float, steps: int, start: float = 0.5) -> np.ndarray:
        """Plain gradient descent on z with a fixed learning rate.

        Returns:
            [steps + 1] complements 1 - f, the start first.
        """
        self._check_start(start)
        require("rate", rate > 0, "be above 0", rate)
        u, z = [float(start)], float(gate.inverse(start))
        for _ in range(steps):
            z += rate * float(self.slope(gate, u[-1])) * math.copysign(1, u[-1] - self.optimum)
            u.append(float(gate.complement(z)))
        return np.array(u)

    # -------------------------------------------------------------- quadrature in x = logit u

    def _pace(self, gate, x):
        """|dτ/dx|."""
        u, f = sigmoid.complement(-x), sigmoid.complement(x)
        with np.errstate(divide="ignore", over="ignore"):  # f^(k-2) may be 0: it takes forever
            return u / f ** (self.k - 2) / self.gain / gate.slope(u) ** 2

    def _panels(self, gate, a, b, count):
        """∫|dτ| from a to b, elementwise, by Gauss-Legendre on `count` panels."""
        a, b = np.asarray(a)[..., None, None], np.asarray(b)[..., None, None]
        width = (b - a) / count
        middle = a + width * (np.arange(count)[:, None] + 0.5)
        pace = self._pace(gate, middle + width / 2 * _NODES)
        return np.abs((pace * _WEIGHTS * width / 2).sum((-1, -2)))

    def _span(self, gate, a, b):
        change = np.abs(sigmoid.complement(b) - sigmoid.complement(a))
        count = (2 * np.abs(b - a) + self.k * change / 4).max()
        return self._panels(gate, a, b, math.ceil(count))

    def _knots(self, gate, start):
        end = min(max(self.optimum, gate.finest), 1 - 1e-12)
        a, b = (-float(sigmoid.inverse(u)) for u in (start, end))
        count = math.ceil(4 * abs(b - a) + self.k * abs(end - start) / 4)
        return np.linspace(a, b, max(count, 1) + 1)

    def _check_start(self, start) -> None:
        require("start", 0 < start < 1, "be within (0, 1)", start)
