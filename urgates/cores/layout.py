"""How cores take a sequence and give one back: laid out as torch.nn's layers have it.

I inputs, B batch, T time steps.
"""

from __future__ import annotations

from torch import Tensor

from urgates import checks


class Sequences:
    """For a module whose input is [T, B, I], or [B, T, I] with `batch_first`, or [T, I]."""

    input_size: int
    batch_first: bool

    def _sequence(
        self, input: Tensor, held: Tensor | None, like: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Checked: x [T, B, I] in the type of the weights `like`, and the mask [T, B]."""
        x = checks.tensor("input", input, like)
        if x.dim() not in (2, 3) or x.shape[-1] != self.input_size:
            of = f"2 or 3 dimensions, the last of size {self.input_size}"
            raise checks.refusal("input", f"have {of}", f"shape {list(x.shape)}")
        checks.finite("input", x)
        mask = None if held is None else checks.mask("held", held, input)
        if x.dim() == 2:
            x, mask = x.unsqueeze(1), None if mask is None else mask.unsqueeze(1)
        elif self.batch_first:
            x, mask = x.transpose(0, 1), None if mask is None else mask.T
        if not x.shape[0]:
            raise checks.refusal("input", "have a time step", f"shape {list(input.shape)}")
        return x.to(like.dtype), mask

    def _as_given(self, y: Tensor, input: Tensor) -> Tensor:
        """[T, B, …] laid out as the input."""
        if input.dim() == 2:
            return y.squeeze(1)
        return y.transpose(0, 1) if self.batch_first else y
