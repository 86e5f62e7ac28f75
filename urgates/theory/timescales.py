"""Closed forms behind the notebooks: decay periods, the ON-LSTM's start, gradients of refine gates.

D decay period in steps, f r g main, refine and effective gate, H hidden units, n master units.
App. B.2-B.4 (Props. 1-3, Table 4) and App. C (Fig. 2d).  NumPy arrays or floats in and out;
`refined_period`, `main_gate` and `refine_gradient` are plain arithmetic: torch and SymPy too.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from torch import Tensor

from urgates.checks import choice, positive_int, refusal, require
from urgates.gates import band

STARTS = ("constant", "chrono", "chrono_unknown", "uniform", "cumax")
"""The rows of Table 4."""

# ------------------------------------------------------------------ decay periods, App. B.2 and B.3


def tail(start: str, x, *, bias: float = 1.0, hidden_size: int | None = None, t_max=None):
    """P(D > x) at initialisation, the survival function of Table 4's densities.

    Args:
        start: a row of Table 4, one of `STARTS`; the parameters are those of `decay_density`.
        x: decay periods in steps.
        bias: where all units start with start "constant", at D = 1 + e^bias.
        hidden_size: H with "uniform" and "cumax", D within [H/(H-1), H]; unbounded if None.
        t_max: longest period with "chrono", in steps, above 2.
    """
    choice("start", start, STARTS)
    x = np.asarray(x, float)
    if start == "constant":
        return np.where(x < 1 + math.exp(bias), 1.0, 0.0)
    if start == "chrono":
        _longest(t_max)
        return np.clip((t_max - x) / (t_max - 2), 0, 1)
    if start == "chrono_unknown":
        return math.log(2) / np.log(np.maximum(x, 2))
    if hidden_size is None:
        return 1 / np.maximum(x, 1)
    _spread(hidden_size)
    return np.clip((hidden_size / np.maximum(x, 1) - 1) / (hidden_size - 2), 0, 1)


def decay_density(start: str, D, *, hidden_size: int | None = None, t_max: float | None = None):
    """Density of the decay period D at initialisation, Table 4 and Prop. 1.

    Args:
        start: "uniform" and "cumax": D^-2, on [H/(H-1), H] if `hidden_size` H is given, else on
            [1, ∞); "chrono": flat on [2, t_max]; "chrono_unknown": ∝ 1/(D log² D) on [2, ∞).
        D: array or tensor of decay periods in steps, NumPy or torch.
    Returns:
        The normalised density at D (a constant bias is a point mass at 1 + e^b and has none).
    """
    choice("start", start, STARTS[1:])
    if start == "chrono":
        _longest(t_max)
        return ((D >= 2) & (D <= t_max)) / (t_max - 2)
    if start == "chrono_unknown":
        log = D.log() if isinstance(D, Tensor) else np.log(D)
        return (D >= 2) * (math.log(2) / (D * log**2))
    if hidden_size is None:
        return (D >= 1) / D**2
    _spread(hidden_size)
    low, high = hidden_size / (hidden_size - 1), hidden_size
    return ((D >= low) & (D <= high)) / D**2 * (hidden_size / (hidden_size - 2))


def _longest(t_max) -> None:
    require("t_max", t_max is not None and t_max > 2, "be above 2 (steps)", t_max)


def _spread(hidden_size: int) -> None:
    positive_int("hidden_size", hidden_size)
    require("hidden_size", hidden_size > 2, "be an int above 2", hidden_size)


def refined_period(D, r):
    """Decay period of the effective gate whose main gate has period D, Prop. 2.

    From D²/(2D - 1) > D/2 at r = 0 through D at r = 1/2 to D² at r = 1.
    """
    return D * D / (1 + 2 * (1 - r) * (D - 1))


def chrono_bias_mean(t_max: float) -> float:
    """Mean of the chrono bias log U[1, t_max - 1], Eq. (17)."""
    _longest(t_max)
    m = t_max - 1
    return m * math.log(m) / (m - 1) - 1


# ------------------------------------------------------------------ the ON-LSTM's start, App. B.4


class MasterStart(NamedTuple):
    """Expectations at the start, averaged over the units."""

    forget: float  # of f_hat, Eq. (22)
    input: float  # of i_hat, Eq. (23)
    total: float  # of their sum: what the proof of Prop. 3 computes


def on_lstm_start(n: int) -> MasterStart:
    """What effective gates of an ON-LSTM with n master units are on average, Prop. 3.

    Unit j has E f_master = j/n, E i_master = 1 - j/n, independent of each other, and plain gates
    of mean 1/2; the sum is 5/6 but for a term in 1/n², its forget half 5/12 but for one in 1/n.
    """
    positive_int("n", n)
    overlap = (1 - 1 / n**2) / 6
    forget, input_ = (n + 1) / (2 * n) - overlap / 2, (n - 1) / (2 * n) - overlap / 2
    return MasterStart(forget, input_, forget + input_)


# ------------------------------------------------------------------ gradients, App. C and Fig. 2d


def main_gate(g, r):
    """The main gate f that a refine gate r turns into g: the inverse of `refine` in f."""
    return g / (r + (r * r + (1 - 2 * r) * g) ** 0.5)


def refine_gradient(f, r):
    """Derivatives of the effective gate by the two pre-activations, main and refine, App. C."""
    return 2 * band(f) * (f + r - 2 * f * r), 2 * band(f) * band(r)


def gradient_ratio(g, r):
    """|gradient of g| over g(1 - g), the gradient a plain gate has at the same activation.

    It is invariant under (g, r) -> (1 - g, 1 - r), so ask for a small g rather than one near 1.

    Args:
        g, r: effective gate in (0, 1) and refine gate in [0, 1], broadcast against each other.
    """
    return np.hypot(*refine_gradient(main_gate(g, r), r)) / band(g)


def gradient_bounds(g) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest `gradient_ratio` over all refine gates, the curves of Fig. 2d.

    The largest is 2 / (1 + √min(g, 1 - g)), reached at r = 0 or 1.  The least, always above 1, is
    searched for on ever finer grids; App. C too says that "this was performed numerically".

    Args:
        g: effective gates in (0, 1), any shape.
    """
    g = np.asarray(g, float)
    if not np.all((g > 0) & (g < 1)):
        raise refusal("g", "be within (0, 1)", f"{g.min()} to {g.max()}")
    g = np.minimum(g, 1 - g)[..., None]
    best = np.full_like(g, 0.5)
    for width in (1.0, 1e-2, 1e-4):
        r = np.clip(best + width * np.linspace(-0.5, 0.5, 801), 0, 1)
        best = np.take_along_axis(r, gradient_ratio(g, r).argmin(-1, keepdims=True), -1)
    return gradient_ratio(g, best)[..., 0], 2 / (1 + np.sqrt(g[..., 0]))
