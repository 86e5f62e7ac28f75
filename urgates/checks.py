"""What public functions accept, and the one way they refuse: "NAME must be ..., got ...".

Each check returns the value it was given, so that it can stand where the value is used.
`require` is the check for all that has no name of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def refusal(name: str, expected: str, got: str, why: str = "") -> ValueError:
    """The error that says what the argument `name` must be (or have), what came, and why."""
    return ValueError(f"{name} must {expected}, got {got}{why and ': '}{why}")


def require(name: str, fine: Any, expected: str, value: Any) -> Any:
    """The value if it is fine, else "NAME must EXPECTED, got VALUE".

    >>> require("lr", 0.1 > 0, "be above 0", 0.1)
    0.1
    """
    if not fine:
        raise refusal(name, expected, _what(value))
    return value


def choice(name: str, value: Any, options: Iterable[Any]) -> Any:
    """One of the options."""
    options = list(options)
    if value not in options:
        raise refusal(name, f"be one of {', '.join(map(str, options))}", _what(value))
    return value


def positive_int(name: str, value: Any) -> int:
    """A positive whole number."""
    fine = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return require(name, fine, "be a positive int", value)


def flag(name: str, value: Any) -> bool:
    """True or False, and not something that merely counts as one."""
    return require(name, isinstance(value, bool), "be True or False", value)


def number(name: str, value: Any) -> float:
    """A finite number, as a float."""
    fine = _real(value) and math.isfinite(value)
    return float(require(name, fine, "be a finite number", value))


def probability(name: str, value: Any) -> float:
    """A number in [0, 1], as a float."""
    fine = _real(value) and 0 <= value <= 1
    return float(require(name, fine, "be a probability in [0, 1]", value))


def zoneout_pair(zoneout: Any) -> tuple[float, float]:
    """Zoneout of an LSTM, (cell, hidden)."""
    fine = isinstance(zoneout, (tuple, list)) and len(zoneout) == 2
    require("zoneout", fine, "be a pair (cell, hidden) of probabilities", zoneout)
    return probability("zoneout", zoneout[0]), probability("zoneout", zoneout[1])


def float_type(name: str, dtype: Any) -> torch.dtype | None:
    """A type that weights can have, or None for torch's default."""
    return None if dtype is None else choice(name, dtype, FLOATS)


def _real(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# ------------------------------------------------------------------ tensors
# Their sentences are made only where they are said: a compiler that follows could not read them.


def tensor(name: str, x: Any, like: Tensor) -> Tensor:
    """A dense tensor on the device of the weights `like`, and of their type.

    Under autocast the other types that it casts will do too.
    """
    if not isinstance(x, Tensor):
        raise refusal(name, "be a tensor", _what(x))
    if x.device != like.device:
        raise refusal(name, f"be on {like.device}, where the weights are", str(x.device))
    if x.layout != torch.strided:
        raise refusal(name, "be a dense tensor", str(x.layout))
    if x.dtype != like.dtype and not (x.dtype in FLOATS[:3] and autocasting(x)):
        raise refusal(name, f"be of {like.dtype}, as the weights are", str(x.dtype))
    return x


def pair(name: str, value: Any) -> tuple[Any, Any]:
    """The two states of an LSTM."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise refusal(name, "be a pair (h, c) of tensors", _what(value))
    return value[0], value[1]


def shape(name: str, x: Tensor, expected: tuple[int, ...]) -> Tensor:
    """A tensor of exactly that shape."""
    if tuple(x.shape) != expected:
        raise refusal(name, f"have shape {expected}", str(list(x.shape)))
    return x


def mask(name: str, x: Any, like: Tensor) -> Tensor:
    """A bool for each step of the sequences `like`, on their device."""
    if not isinstance(x, Tensor) or x.dtype != torch.bool:
        raise refusal(name, "be a tensor of bool", str(getattr(x, "dtype", _what(x))))
    if x.device != like.device:
        raise refusal(name, f"be on {like.device}, where the input is", str(x.device))
    return shape(name, x, tuple(like.shape[:-1]))


def finite(name: str, x: Tensor) -> Tensor:
    """No NaN or inf; looked at on the CPU only, and only where values can be seen."""
    hidden = traced() or torch._C._functorch.is_functorch_wrapped_tensor(x)
    if hidden or x.device.type != "cpu" or math.isfinite(x.detach().sum()):
        return x  # one pass over most inputs
    if not torch.isfinite(x).all():
        raise refusal(name, "be finite", f"{int((~torch.isfinite(x)).sum())} NaN or inf")
    return x


def traced() -> bool:
    """Whether torch is recording operations rather than computing."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def autocasting(x: Tensor) -> bool:
    """Whether autocast is on for the device of x."""
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


def _what(value: Any) -> str:
    """The value in a few words."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)}"
    text = repr(value)
    if len(text) <= 80 and "\n" not in text:
        return text
    length = f" of length {len(value)}" if isinstance(value, (tuple, list)) else ""
    return f"a {type(value).__name__}{length}"
