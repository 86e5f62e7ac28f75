"""How close is equal, and why. Errors are RMS of the difference over RMS of the truth."""

import torch
from torch import Tensor

RATIO = {
    torch.float64: 1e-10,  # same formulas in another order of summation
    torch.float32: 1e-6,  # single rounding, T up to a few hundred
    torch.bfloat16: 1e-2,  # eight bits of mantissa in weights and inputs
}


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
    assert error <= limit, f"{name}: error ratio {error:.2e} above {limit:.0e}"
