"""Two libraries under one piece of a user's code: torch.nn's modules, and ours in their place.

A row is such a piece.  It is given a `User`, whose `make` builds a module as torch.nn's
constructors do, and runs with torch.nn's module, with ours of gate "-" and the same weights, and
with ours of gate "UR".  T = 5 steps, B = 2 rows, I = 3 inputs, H = 4 units.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import urgates

COLUMNS = ("LSTM", "GRU", "LSTMCell", "GRUCell")
SAME, BOTH_REFUSE = "same", "both refuse"
OURS_REFUSES, OURS_ALONE, ABSENT = "ours refuses", "ours alone", "–"

_KINDS = (ValueError, TypeError, AttributeError)  # the last two for names that a cell has not


class User(NamedTuple):
    """What a row's code is given: a constructor, and inputs that fit its modules."""

    column: str
    gate: str | None  # None for torch.nn's own

    def make(self, *args: Any, **options: Any) -> nn.Module:
        """A module of 3 inputs and 4 units; its weights are drawn by their names' order."""
        args = args or (3, 4)
        if self.gate is None:
            module = getattr(nn, self.column)(*args, **options)
        else:
            module = getattr(urgates, self.column)(*args, **options, gate=self.gate)
        draw = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for p in module.parameters():
                value = torch.rand(p.shape, generator=draw, dtype=torch.float64) - 0.5
                p.copy_(value) if p.device.type != "meta" else None
        return module

    @property
    def layer(self) -> bool:
        """Whether the column is a layer, not a cell."""
        return not self.column.endswith("Cell")

    def x(self, *shape: int) -> Tensor:
        """Inputs [T, B, I] of a layer, [B, I] of a cell."""
        shape = shape or ((5, 2, 3) if self.layer else (2, 3))
        return torch.randn(shape, generator=torch.Generator().manual_seed(2))

    def state(self, rows: int = 2, kind: type = tuple) -> Any:
        """An initial state, h of a GRU and (h, c) of an LSTM."""
        shape = (1, rows, 4) if self.layer else (rows, 4)
        h, c = torch.randn(2, *shape, generator=torch.Generator().manual_seed(3))
        return kind((h, c)) if self.column.startswith("LSTM") else h


class Row(NamedTuple):
    """One line of the table."""

    feature: str
    code: Callable[[User], Any]
    expected: tuple[str, ...]  # by column
    ratio: float  # how near is the same, as a share of the largest number
    needs: tuple[str, ...]  # packages beyond torch's own

    @property
    def runs_here(self) -> bool:
        """Whether what it needs is installed."""
        return all(find_spec(name) for name in self.needs)

    def found(self, column: str) -> str:
        """The word of the cell, found by running the code.

        Raises:
            AssertionError: if both libraries answer, and not alike.
        """
        theirs, ours = (_outcome(self.code, User(column, gate)) for gate in (None, "-"))
        if isinstance(ours, Exception):
            kinds = ValueError if not isinstance(theirs, Exception) else _KINDS
            assert isinstance(ours, kinds) and len(str(ours).splitlines()) == 1, repr(ours)
            return BOTH_REFUSE if isinstance(theirs, Exception) else OURS_REFUSES
        refined = _outcome(self.code, User(column, "UR"))
        if isinstance(refined, Exception):
            raise AssertionError(f"gate 'UR': {refined!r}") from refined
        a, b, c = (tensors(answer) for answer in (ours, theirs, refined))
        assert len(a) == len(c) and all(x.isfinite().all() for x in c), "gate 'UR' answers less"
        if isinstance(theirs, Exception):
            return OURS_ALONE
        assert len(a) == len(b) and _rest(ours) == _rest(theirs), (ours, theirs)
        for x, y in zip(a, b, strict=True):
            limit = self.ratio * float(y.detach().abs().max()) if y.numel() else 0.0
            torch.testing.assert_close(x.detach(), y.detach(), rtol=0, atol=limit)
        return SAME

    def all_found(self) -> tuple[str, ...]:
        """The words of all cells that the table asks for."""
        cells = zip(COLUMNS, self.expected, strict=True)
        return tuple(word if word == ABSENT else self.found(column) for column, word in cells)


def _outcome(code: Callable[[User], Any], user: User) -> Any:
    """What the code returns, or the exception that it ends in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return code(user)
        except Exception as e:
            return e


def tensors(answer: Any) -> list[Tensor]:
    """All tensors of an answer, nested as it may be."""
    if isinstance(answer, Tensor):
        return [answer]
    if isinstance(answer, (tuple, list)):
        return [x for part in answer for x in tensors(part)]
    return []


def _rest(answer: Any) -> Any:
    """All of an answer that is no tensor."""
    if isinstance(answer, (tuple, list)):
        return [_rest(part) for part in answer]
    return None if isinstance(answer, Tensor) else answer


def floats(answer: Any) -> list[Tensor]:
    """The tensors of an answer that can be differentiated."""
    return [x for x in tensors(answer) if x.is_floating_point()]
