"""Where gates start: one bias a unit, drawn so that decay periods spread as the paper wants them.

All are biases of a sigmoid; `activations.matched` carries them over to other activations.
The weights' start, which the paper leaves open, is a choice of four.
H hidden units, I inputs, b bias, u uniform draw, T memory in steps of a unit with forget gate
e^(-1/T).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from urgates.checks import choice, require

POWER = 0.56  # Mahto et al. (2021) took it for English text, fixed, in the middle of three layers


def constant(units: int, forget_bias: float) -> Tensor:
    """One bias for all (§2.2)."""
    return torch.full((units,), float(forget_bias), dtype=torch.float64)


def chrono(units: int, t_max: float, generator: torch.Generator | None) -> Tensor:
    """b = log U[1, t_max - 1]: decay periods uniform on [2, t_max] steps, Eq. (17)."""
    fine = t_max > 2 and math.isfinite(t_max)
    require("t_max", fine, "be a finite number above 2 (steps)", t_max)
    draw = torch.rand(units, generator=generator, dtype=torch.float64)
    return chrono_odds(draw, t_max).log()


def uniform(units: int, hidden_size: int, generator: torch.Generator | None) -> Tensor:
    """b = logit u, gates uniform on [1/H, 1 - 1/H], Eq. (9) and §D.5."""
    return _bounded(units, hidden_size, generator).logit()


def power(units: int, hidden_size: int, generator: torch.Generator | None) -> Tensor:
    """1/T drawn from Gamma(`POWER`): all units together forget like (1 + t)^-POWER.

    The mean of e^(-t/T) is that power of time exactly (Mahto et al. 2021; that it is drawn within
    the quantiles [1/H, 1 - 1/H] and trained is our choice).  With 1 in the exponent's place it is
    `uniform`: a uniform gate forgets like 1/(1 + t).
    """
    rate = gamma_quantile(_bounded(units, hidden_size, generator), POWER)
    return -torch.expm1(rate).log()


def chrono_odds(draw, t_max):
    """f / (1 - f) = D - 1 of a chrono gate by its draw from [0, 1], Eq. (17); plain arithmetic."""
    return 1 + draw * (t_max - 2)


def within(draw, hidden_size):
    """A draw from [0, 1] brought to [1/H, 1 - 1/H], §D.5; plain arithmetic."""
    low = 1 / hidden_size
    return low + draw * (1 - 2 * low)


def _bounded(units: int, hidden_size: int, generator: torch.Generator | None) -> Tensor:
    expected = "be at least 2 for uniform and power-law gates"
    require("hidden_size", hidden_size >= 2, expected, hidden_size)
    return within(torch.rand(units, generator=generator, dtype=torch.float64), hidden_size)


def gamma_quantile(p: Tensor, shape: float) -> Tensor:
    """x with P(X > x) = p for X from Gamma(shape), of unit rate: bisection of log x in float64."""
    low, high = torch.full_like(p, -300.0), torch.full_like(p, 6.0)
    for _ in range(60):
        middle = (low + high) / 2
        beyond = torch.special.gammaincc(torch.full_like(p, shape), middle.exp()) > p
        low, high = torch.where(beyond, middle, low), torch.where(beyond, high, middle)
    return middle.exp()


# ------------------------------------------------------------------ weights

WEIGHT_INITS = {
    "torch": "U(±1/√H) throughout, as torch.nn",
    "fan-in": "truncated normal, each map by its own fan-in: deviations 1/√I and 1/√H",
    "joint": "truncated normal of deviation 1/√(I + H), as in the authors' library of 2019",
    "joint-kaiming": "normal of deviation √(2/(I + H)), as in the first author's later code",
}


def truncated(w: Tensor, std: float) -> None:
    """Draw a normal deviation in place, cut at two of them, from torch's generator."""
    nn.init.trunc_normal_(w, std=std, a=-2 * std, b=2 * std)


@torch.no_grad()
def weights(kind: str, w_x: Tensor, w_h: Tensor) -> None:
    """Draw input weights [rows, I] and state weights [rows, H] in place, from torch's generator.

    Truncation is at two deviations. Raises ValueError unless `kind` is one of `WEIGHT_INITS`.
    """
    choice("kind", kind, WEIGHT_INITS)
    bound, joint = w_h.shape[-1] ** -0.5, w_x.shape[-1] + w_h.shape[-1]
    for w in (w_x, w_h):
        if kind == "torch":
            nn.init.uniform_(w, -bound, bound)
        elif kind == "joint-kaiming":
            nn.init.normal_(w, std=(2 / joint) ** 0.5)
        else:
            std = (w.shape[-1] if kind == "fan-in" else joint) ** -0.5
            truncated(w, std)
