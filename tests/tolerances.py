"""How close is equal, and why. Errors are RMS of the difference over RMS of the truth."""

import torch
from torch import Tensor

RATIO = {
    torch.float64: 1e-10,  # same formulas in another order of summation
    torch.float32: 1e-6,  # single rounding, T up to a few hundred
    torch.bfloat16: 1e-2,  # eight bits of mantissa in weights and inputs
}
TIMES, FLOOR = 4, 5e-7  # of the plain loop's own error; eight roundings of a float32


def error_ratio(ours: Tensor, truth: Tensor) -> float:
    """RMS(ours - truth) / RMS(truth), NaN and inf refused; just RMS of `ours` for a zero truth."""
    assert ours.shape == truth.shape, (ours.shape, truth.shape)
    assert torch.isfinite(ours).all(), "not finite"
    ours, truth = ours.detach(), truth.detach()
    difference = (ours.double() - truth.double()).square().sum().sqrt()
    scale = truth.double().square().sum().sqrt()
    return float(difference / scale) if scale > 0 else float(difference)


def assert_close(name: str, ours: Tensor, truth: Tensor, ratio: float | None = None) -> None:
    """Fail with the name and the error ratio."""
    limit = RATIO[ours.dtype] if ratio is None else ratio
    error = error_ratio(ours, truth)
    assert error <= limit, f"{name}: error ratio {error:.2e} above {limit:.2e}"


def assert_rounded(
    ours: dict[str, Tensor], plain: dict[str, Tensor], truth: dict[str, Tensor | None]
) -> None:
    """Fail where float32 `ours` is further from the float64 truth than rounding accounts for.

    How far single precision ends up depends on the draw, on the number of steps and on the order
    in which this machine's BLAS sums: no one number fits them all.  `plain` is what the float32
    loop of the equations makes of the same draw on the same machine; ours may err `TIMES` as much
    as it does in its worst tensor (one alone may be right by luck).
    """
    known = {name: x for name, x in truth.items() if x is not None}
    limit = FLOOR + TIMES * max(error_ratio(plain[name], x) for name, x in known.items())
    for name, x in known.items():
        assert_close(name, ours[name], x, limit)
