"""The recurrence as the equations say it: the truth every other kernel is tested against.

Plain torch, one step after the other, every dtype, differentiable as often as you like.
M models, B batch, T time, H hidden units, G rows of the weights (the heads, H or H/C each).
Eqs. (1)-(7) and (10)-(15) with the gate of your choice; zoneout and padding hold a state with
`keep` = 1 (Krueger et al. 2016: the un-zoned cell feeds h, the output is the zoned h).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from urgates.gates import Gate, advance, candidate
from urgates.heads import Head

_Maybe = TypeVar("_Maybe", Tensor, Tensor | None)


@dataclass(frozen=True)
class Recurrence:
    """What one layer computes per step: cell, gate, and whether a GRU keeps its reset gate.

    `key` names it to `torch.library` ops, which take no Python objects; `layout` has the row blocks
    of the weights, in order, and `heads` their names.
    """

    cell: str
    gate: Gate
    keep_reset: bool = True
    key: str = field(init=False, compare=False, repr=False)
    layout: tuple[Head, ...] = field(init=False, compare=False, repr=False)
    heads: tuple[str, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        layout = self.gate.layout(self.cell, self.keep_reset)
        object.__setattr__(self, "layout", layout)
        object.__setattr__(self, "heads", tuple(head.name for head in layout))
        name = f"{self.cell}/{self.gate.name}/{'reset' if self.keep_reset else 'no reset'}"
        key, count = name, 1
        while _BY_KEY.setdefault(key, self) != self:  # a gate of that name, redefined
            count += 1
            key = f"{name} {count}"
        object.__setattr__(self, "key", key)

    def __reduce__(self):  # unpickled in another process, it must be known by its key there
        return Recurrence, (self.cell, self.gate, self.keep_reset)

    def rows(self, hidden_size: int, downsize: int = 1) -> dict[str, slice]:
        """Where each head's rows are."""
        rows, start = {}, 0
        for head in self.layout:
            stop = start + head.width(hidden_size, downsize)
            rows[head.name] = slice(start, stop)
            start = stop
        return rows

    def downsize(self, rows: int, hidden_size: int) -> int:
        """How many units share one of a master head, where the weights have so many rows."""
        chunked = sum(head.chunked for head in self.layout)
        width = rows - (len(self.layout) - chunked) * hidden_size
        return chunked * hidden_size // width if chunked else 1

    def split(self, x: Tensor, hidden_size: int) -> dict[str, Tensor]:
        """Views of x [..., G] by head."""
        rows = self.rows(hidden_size, self.downsize(x.shape[-1], hidden_size))
        return {head: x[..., where] for head, where in rows.items()}


_BY_KEY: dict[str, Recurrence] = {}


def by_key(key: str) -> Recurrence:
    """The recurrence a key names."""
    return _BY_KEY[key]


class Inputs(NamedTuple):
    """The tensors of a recurrence over M models, T steps and B rows; `None` where there are none.

    `kernels.scan` also takes them all without the axis M, or with an M of 1 beside larger ones.
    """

    x: Tensor  # [M, T, B, I]
    w_x: Tensor  # [M, G, I]
    b: Tensor | None  # [M, G]
    w_h: Tensor  # [M, G, H]
    b_u: Tensor | None  # [M, H] bias inside a GRU's reset product
    h0: Tensor  # [M, B, H]
    c0: Tensor
    keep_h: Tensor | None = None  # in [0, 1], broadcastable to [M, T, B, H]: how much of the old
    keep_c: Tensor | None = None  # state a step holds (zoneout, padding)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(M, T, B, H) of the states."""
        return *self.x.shape[:3], self.w_h.shape[-1]

    def input_side(self) -> Tensor:
        """What the input adds to the pre-activations, biases included [M, T, B, G]."""
        gx = self.x.flatten(1, 2) @ self.w_x.mT
        gx = gx if self.b is None else gx + self.b.unsqueeze(1)
        return gx.unflatten(1, self.x.shape[1:3])


class States(NamedTuple):
    """What a kernel's forward hands to its backward."""

    hs: Tensor  # [M, T, B, H]
    cs: Tensor  # [M, T, B, H], or [M, 0] of a GRU
    stash: Tensor  # [M, T, B, S], whatever else spares the backward pass work; S may be 0


class Gradients(NamedTuple):
    """What a kernel's backward returns: shapes as in `Inputs`, empty for what is None."""

    x: Tensor
    w_x: Tensor
    b: Tensor
    w_h: Tensor
    b_u: Tensor
    h0: Tensor
    c0: Tensor


class Step(NamedTuple):
    """What one step computes; tensors [..., H] unless said otherwise."""

    pre: dict[str, Tensor]  # pre-activations by head (a GRU's u: without its reset gate)
    value: dict[str, Tensor]  # activations of the gate's heads
    complement: dict[str, Tensor]
    forget: Tensor
    input: Tensor
    u: Tensor
    out: Tensor  # the gate on the way out: o of an LSTM, reset of a GRU (ones without)
    reset_u: Tensor  # what reset multiplies: R_u h + b_u (GRU only)
    c: Tensor  # new cell state (LSTM) or new hidden state (GRU), before zoneout
    h: Tensor  # new hidden state, before zoneout


def step(r: Recurrence, gx: Tensor, rh: Tensor, b_u: Tensor | None, h: Tensor, c: Tensor) -> Step:
    """One step, or many at once where the states are known.

    Args:
        gx: [..., G] input side, biases included. rh: [..., G] recurrent side, h @ w_h.T.
        b_u: [..., H] bias inside a GRU's reset product, None for an LSTM.
        h, c: [..., H] previous states (a GRU's c is not read).
    """
    pre = r.split(gx + rh, h.shape[-1])
    value, complement = r.gate.activate(pre)
    forget, input_ = r.gate.combine(value, complement)
    if r.cell == "lstm":
        out, u, v, given = torch.sigmoid(pre["o"]), torch.tanh(pre["u"]), None, c
    else:
        v, given = r.split(rh, h.shape[-1])["u"], h
        v = v if b_u is None else v + b_u
        out = torch.sigmoid(pre["reset"]) if r.keep_reset else torch.ones_like(v)
        u = torch.tanh(candidate(r.split(gx, h.shape[-1])["u"], out, v))
    c, h = advance(r.cell, forget, input_, out, u, given, torch.tanh)
    return Step(pre, value, complement, forget, input_, u, out, u if v is None else v, c, h)


def hold(new: Tensor, old: Tensor, keep: Tensor | float | None) -> Tensor:
    """Zoneout and padding: `keep` of the old state, 1 - keep of the new."""
    return new if keep is None else keep * old + (1 - keep) * new


def wide(x: _Maybe) -> _Maybe:
    """x with 16-bit floats as float32."""
    return x.float() if x is not None and x.dtype in (torch.float16, torch.bfloat16) else x


def keep_at(keep: Tensor | None, t: int) -> Tensor | None:
    """The step's slice of keep [M or 1, T or 1, B or 1, H or 1]."""
    return None if keep is None else keep[:, t if keep.shape[1] > 1 else 0]


def scan(r: Recurrence, x: Inputs) -> tuple[Tensor, Tensor]:
    """Hidden and cell states [M, T, B, H] (a GRU's cell states are its hidden states)."""
    h, c, hs, cs = x.h0, x.c0, [], []
    b_u = None if x.b_u is None else x.b_u.unsqueeze(1)
    for t, gx_t in enumerate(x.input_side().unbind(1)):  # gx[:, t] would make the backward O(T²)
        new = step(r, gx_t, h @ x.w_h.mT, b_u, h, c)
        h = hold(new.h, h, keep_at(x.keep_h, t))
        c = hold(new.c, c, keep_at(x.keep_c, t)) if r.cell == "lstm" else h
        hs.append(h)
        cs.append(c)
    empty = x.h0.unsqueeze(1)[:, :0]
    return (torch.stack(hs, 1), torch.stack(cs, 1)) if hs else (empty, empty)
