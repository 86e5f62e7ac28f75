"""Activations of gates, each with its complement 1 - f: a long memory is all in the complement.

cumax orders its units (§2.5).  The others act unit by unit and are point-symmetric, φ(-z) =
1 - φ(z): a row of `SYMMETRIC` is a tail, how far φ still is from saturation, and its inverse.
NumPy, floats, torch and SymPy read them; SymPy writes the kernels' C and Triton and derives φ'.
z pre-activation, a = |z|, u = 1 - φ(a) the tail, in (0, 1/2].
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


def cumax(z: Tensor) -> Tensor:
    """cumsum(softmax(z)) over the last axis, within [0, 1], §2.5 and Eq. (19)."""
    return torch.softmax(z, -1).cumsum(-1).clamp(max=1.0)


def cumax_complement(z: Tensor) -> Tensor:
    """1 - cumax(z), summed from the other end: exactly 0 for the last unit, small values exact."""
    above = torch.softmax(z, -1).flip(-1).cumsum(-1).flip(-1)[..., 1:]
    return torch.nn.functional.pad(above, (0, 1)).clamp(max=1.0)


def sigmoid_complement(z: Tensor) -> Tensor:
    """1 - sigmoid(z) without cancellation."""
    return torch.sigmoid(-z)


# ------------------------------------------------------------------ point-symmetric, by their tails

FLAT = 10.0  # σ(-sinh 10) is 0 even in float64, and cosh(10) times that is no NaN


def _maths(x):
    """The module whose functions take x: torch, sympy or (also for floats) numpy."""
    if isinstance(x, Tensor):
        return torch
    return sys.modules["sympy"] if type(x).__module__.startswith("sympy.") else np


def sigmoid_tail(a):
    """1 - σ(a), a ≥ 0."""
    e = _maths(a).exp(-a)
    return e / (1 + e)


def sigmoid_inverse(u):
    """a with 1 - σ(a) = u."""
    return _maths(u).log((1 - u) / u)


def fast_tail(a):
    """1 - σ(sinh a), a ≥ 0: about exp(-e^a / 2), doubly exponential (Fast Saturating Gate)."""
    maths = _maths(a)
    if maths in (torch, np):  # symbols do not overflow, and the kernels' exp has its limits
        a = maths.clip(a, 0, FLAT)
    return sigmoid_tail(maths.sinh(a))


def fast_inverse(u):
    """a with 1 - σ(sinh a) = u."""
    maths = _maths(u)
    return (np.arcsinh if maths is np else maths.asinh)(sigmoid_inverse(u))


def softsign_tail(a):
    """1 - (softsign(a/2) + 1)/2 = 1/(2 + a), a ≥ 0."""
    return 1 / (2 + a)


def softsign_inverse(u):
    """a with 1/(2 + a) = u."""
    return 1 / u - 2


class Symmetric(NamedTuple):
    """A φ with φ(-z) = 1 - φ(z); both functions in plain arithmetic and exp, log, sqrt, sinh."""

    tail: Callable  # a ≥ 0 to u
    inverse: Callable  # u to a ≥ 0


SYMMETRIC = {
    "sigmoid": Symmetric(sigmoid_tail, sigmoid_inverse),
    "fast": Symmetric(fast_tail, fast_inverse),
    "softsign": Symmetric(softsign_tail, softsign_inverse),
}  # all have slope 1/4 at 0


def pair(activation: str, z):
    """φ(z) and 1 - φ(z) of a row of `SYMMETRIC`, the smaller one to its last digit.

    So is the gradient: it vanishes where the tail underflows, not where φ rounds to 1.

    Args:
        z: tensor, array or float, any finite size.
    """
    maths, up = _maths(z), z >= 0
    u = SYMMETRIC[activation].tail(maths.where(up, z, -z))  # |z| has no gradient at 0
    return maths.where(up, 1 - u, u), maths.where(up, u, 1 - u)


def fast(z):
    """The fast gate σ(sinh z); 1 - fast(z) = fast(-z): evaluate that where fast(z) is near 1."""
    return pair("fast", z)[0]


def softsign(z):
    """The normalised softsign (z/2 / (1 + |z/2|) + 1) / 2; 1 - softsign(z) = softsign(-z)."""
    return pair("softsign", z)[0]


def matched(activation: str, b: Tensor) -> Tensor:
    """Where φ has the value that a sigmoid has at b: asinh(b) of the fast gate.  Float64."""
    b = b.double()
    if activation == "sigmoid":
        return b
    return b.sign() * SYMMETRIC[activation].inverse(torch.sigmoid(-b.abs()))


ACTIVATIONS: dict[str, Callable] = {  # pre-activations to (value, complement)
    "sigmoid": lambda z: (torch.sigmoid(z), sigmoid_complement(z)),
    "cumax": lambda z: (cumax(z), cumax_complement(z)),
    "fast": partial(pair, "fast"),
    "softsign": partial(pair, "softsign"),
}
