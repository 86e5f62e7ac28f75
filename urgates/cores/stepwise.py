"""What cores share that go through a sequence step by step, around LSTM cells of any gate.

I inputs, H hidden units of a cell, B batch, T time steps; each tensor of a state is [B, …].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from urgates import checks
from urgates.cells import LSTMCell
from urgates.cores.layout import Sequences
from urgates.gated import without_autocast
from urgates.gates import Gate
from urgates.kernels.reference import Step, step

Advance = Callable[[Tensor, Any, Tensor | None], tuple[Tensor, Any]]


class Stepwise(Sequences, nn.Module):
    """A core with a memory around LSTM cells of any gate; see `DNC` and `RMA`.

    Who derives from it gives the `cells`, the `sizes` of its state without B, `_ready` and `_fed`.
    """

    backend = "reference"
    sizes: NamedTuple
    """Of each tensor of the state; among them h and c of all cells side by side, and reads."""

    def __init__(self, input_size: int, hidden_size: int, batch_first: bool) -> None:
        super().__init__()
        self.input_size = checks.positive_int("input_size", input_size)
        self.hidden_size = checks.positive_int("hidden_size", hidden_size)
        self.batch_first = checks.flag("batch_first", batch_first)

    @property
    def cells(self) -> list[LSTMCell]:
        """The LSTM cells, from the input upwards."""
        return [layer for layer in self.children() if isinstance(layer, LSTMCell)]

    @property
    def gate(self) -> Gate:
        """The gate of all cells."""
        return self.cells[0].gate

    @property
    def rows(self) -> dict[str, slice]:
        """Where each head's rows are in the weights of a cell."""
        return self.cells[0].rows

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """The parameters of each cell, in torch's order; a `gate_bias` is last."""
        return [[*cell.parameters(recurse=False)] for cell in self.cells]

    # ---------------------------------------------------------------- what a core is made of

    def _ready(self, x: Tensor, state: Any) -> tuple[Tensor, Any, Advance]:
        """Inputs [T, B, ·] of the steps, the state at first, and what makes (output, state).

        A step may write into tensors of the state in place, but not where it is held [B].
        """
        raise NotImplementedError

    def _fed(self, x: Tensor, y: Tensor, reads: Tensor) -> tuple[Tensor, ...]:
        """What the first cell was fed: of inputs, outputs and the reads before [T, B, …]."""
        raise NotImplementedError

    # ---------------------------------------------------------------- what a sequence gives

    def forward(
        self, input: Tensor, hx: Any = None, *, held: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """Run the sequence.

        Args:
            input: [T, B, I], or [B, T, I] with `batch_first`, or [T, I], of the weights' type.
            hx: the state at first, as this returns it, each tensor [B, …] (without B for unbatched
                input); zeros if None.
            held: bool [T, B] ([B, T], [T], as `input`), True where a step leaves the state as it
                is, whatever its input.
        Returns:
            output, laid out as `input`, and the last state.
        Raises:
            ValueError: for other types and shapes, and for non-finite input on the CPU.
        """
        x, state, mask = self._laid_out(input, hx, held)
        with without_autocast(x):
            y, state = self._scan(x, state, mask)
        if input.dim() == 2:
            state = type(state)(*(a.squeeze(0) for a in state))
        return self._as_given(y, input), state

    def _scan(self, x: Tensor, state: Any, held: Tensor | None, before: list | None = None):
        """Outputs [T, B, ·] and the last state; h, c and reads before each step join a list."""
        inputs, state, advance = self._ready(x, state)
        outputs = []
        for t, x_t in enumerate(inputs.unbind(0)):
            if before is not None:
                before.append((state.h, state.c, state.reads))
            keep = None if held is None else held[t]
            y, new = advance(x_t, state, keep)
            state = new if keep is None else _held(new, state, keep)
            outputs.append(y)
        return torch.stack(outputs), state

    @torch.no_grad()
    def gates(
        self, input: Tensor, hx: Any = None, *, held: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Gate activations of the first cell over a sequence, named as `urgates.LSTM.gates` does.

        Takes what `forward` takes; tensors with H features, laid out as `input`.
        """
        x, state, mask = self._laid_out(input, hx, held)
        before: list[tuple[Tensor, ...]] = []
        y, _ = self._scan(x, state, mask, before)
        h, c, reads = (torch.stack(part) for part in zip(*before, strict=True))
        cell, H = self.cells[0], self.hidden_size
        s = stepper(cell, x)(self._fed(x, y, reads), h[..., :H], c[..., :H])
        named = {**s.value, "f": s.value[cell.gate.main], "g": s.forget, "i": s.input}
        return {name: self._as_given(a, input) for name, a in named.items()}

    # ---------------------------------------------------------------- states

    def _laid_out(self, input: Tensor, hx: Any, held: Tensor | None):
        """Checked: x [T, B, I], the state and the mask [T, B]."""
        x, mask = self._sequence(input, held, self.cells[0].weight_ih)
        if hx is None:
            types = (torch.int64 if name == "t" else x.dtype for name in self.sizes._fields)
            pairs = zip(self.sizes, types, strict=True)
            state = (x.new_zeros(x.shape[1], *size, dtype=dtype) for size, dtype in pairs)
            return x, type(self.sizes)(*state), mask
        return x, self._given(hx, x, input.dim() == 2), mask

    def _given(self, hx: Any, x: Tensor, single: bool):
        """A state as given, checked."""
        names = self.sizes._fields
        fine = isinstance(hx, tuple | list) and len(hx) == len(names)
        checks.require("hx", fine, f"be the tensors ({', '.join(names)})", hx)
        state = []
        for name, given, size in zip(names, hx, self.sizes, strict=True):
            if name == "t":
                fine = isinstance(given, Tensor) and given.dtype == torch.int64
                checks.require("hx.t", fine, "be a tensor of int64", given)
            else:
                checks.tensor(f"hx.{name}", given, self.cells[0].weight_ih)
                given = given.to(x)
            checks.shape(f"hx.{name}", given, size if single else (x.shape[1], *size))
            checks.finite(f"hx.{name}", given)
            state.append(given.unsqueeze(0) if single else given)
        return type(self.sizes)(*state)

    def extra_repr(self) -> str:
        """Sizes and gate, for `print(module)`."""
        return f"{self.input_size}, {self.hidden_size}, gate={self.gate.name!r}"


def stepper(cell: LSTMCell, like: Tensor) -> Callable[[Sequence[Tensor], Tensor, Tensor], Step]:
    """A cell's step of its inputs (side by side), h and c [..., ·], in the type of `like`.

    What depends on the weights alone is computed once, and a step's product is one.
    """
    w_x, b, w_h, b_u = cell._weights("", like)
    w = torch.cat([w_x, w_h], -1)

    def advance(inputs: Sequence[Tensor], h: Tensor, c: Tensor) -> Step:
        return step(cell.recurrence, b, linear(torch.cat([*inputs, h], -1), w), b_u, h, c)

    return advance


def _held(new: Any, old: Any, keep: Tensor) -> Any:
    """The state, the old one where `keep` [B]; tensors written in place are both."""
    return type(new)(
        *(
            a if a is b else torch.where(keep.view(-1, *[1] * (a.dim() - 1)), b, a)
            for a, b in zip(new, old, strict=True)
        )
    )
