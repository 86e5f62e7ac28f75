"""What public functions accept, and the one way they refuse: "NAME must be ..., got ...".

Each check returns the value it was given, so that it can stand where the value is used.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def choice(name: str, value: Any, options: Iterable[Any]) -> Any:
    """One of the options."""
    if value not in list(options):
        raise ValueError(f"{name} must be one of {list(options)}, got {value!r}")
    return value


def positive_int(name: str, value: Any) -> int:
    """A positive whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ValueError(f"{name} must be a positive int, got {value!r}")
    return value


def flag(name: str, value: Any) -> bool:
    """True or False, and not something that merely counts as one."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")
    return value


def number(name: str, value: Any) -> float:
    """A finite number, as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    return float(value)


def probability(name: str, value: Any) -> float:
    """A number in [0, 1], as a float."""
    if isinstance(value, bool) or not (isinstance(value, (int, float)) and 0 <= value <= 1):
        raise ValueError(f"{name} must be a probability in [0, 1], got {value!r}")
    return float(value)


def zoneout_pair(zoneout: Any) -> tuple[float, float]:
    """Zoneout of an LSTM, (cell, hidden)."""
    if not (isinstance(zoneout, (tuple, list)) and len(zoneout) == 2):
        raise ValueError(f"zoneout must be a pair (cell, hidden) of probabilities, got {zoneout!r}")
    return probability("zoneout", zoneout[0]), probability("zoneout", zoneout[1])


def float_type(name: str, dtype: Any) -> torch.dtype | None:
    """A type that weights can have, or None for torch's default."""
    if dtype is not None and dtype not in FLOATS:
        raise ValueError(f"{name} must be one of {', '.join(map(str, FLOATS))}, got {dtype!r}")
    return dtype


# ------------------------------------------------------------------ tensors


def tensor(name: str, x: Any, like: Tensor) -> Tensor:
    """A dense tensor on the device of the weights `like`, and of their type.

    Under autocast the other types that it casts will do too.
    """
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} must be a tensor, got {_what(x)}")
    if x.device != like.device:
        raise ValueError(f"{name} must be on {like.device}, where the weights are, got {x.device}")
    if x.layout != torch.strided:
        raise ValueError(f"{name} must be a dense tensor, got {x.layout}")
    if x.dtype != like.dtype and not (x.dtype in FLOATS[:3] and autocasting(x)):
        raise ValueError(f"{name} must be of {like.dtype}, as the weights are, got {x.dtype}")
    return x


def pair(name: str, value: Any) -> tuple[Any, Any]:
    """The two states of an LSTM."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ValueError(f"{name} must be a pair (h, c) of tensors, got {_what(value)}")
    return value[0], value[1]


def shape(name: str, x: Tensor, expected: tuple[int, ...]) -> Tensor:
    """A tensor of exactly that shape."""
    if tuple(x.shape) != expected:
        raise ValueError(f"{name} must have shape {expected}, got {list(x.shape)}")
    return x


def finite(name: str, x: Tensor) -> Tensor:
    """No NaN or inf; looked at on the CPU only, and only where values can be seen."""
    hidden = traced() or torch._C._functorch.is_functorch_wrapped_tensor(x)
    if hidden or x.device.type != "cpu" or math.isfinite(x.detach().sum()):
        return x  # one pass over most inputs
    if not torch.isfinite(x).all():
        raise ValueError(f"{name} must be finite, got {int((~torch.isfinite(x)).sum())} NaN or inf")
    return x


def traced() -> bool:
    """Whether torch is recording operations rather than computing."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def autocasting(x: Tensor) -> bool:
    """Whether autocast is on for the device of x."""
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


def _what(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of length {len(value)}"
    return repr(value) if value is None or isinstance(value, (int, float, str)) else (
        f"a {type(value).__name__}"
    )  # fmt: skip
