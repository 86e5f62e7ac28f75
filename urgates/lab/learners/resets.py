"""States that start from zero in the middle of a segment, where a row's next article begins.

L steps of a segment, B rows, I inputs; M models under `vmap`.
The segment is cut before each step at which some row restarts, and the layer's kernels run part
after part.  That is exactly the plain loop over the articles, whatever the layer; articles are
long (some 3,600 words on WikiText-103), so cuts are few.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from urgates.checks import refusal


def restarts(resets: Tensor, batch_first: bool = False) -> list[int]:
    """The steps at which any row of resets [..., L, B] ([..., B, L] if batch-first) restarts."""
    steps = resets.movedim(-1 if batch_first else -2, 0).flatten(1)
    return steps.any(1).nonzero()[:, 0].tolist()


def through(
    rnn: nn.Module, x: Tensor, hx: Any, resets: Tensor, at: list[int] | None = None
) -> tuple[Tensor, Any]:
    """`rnn(x, hx)`, with the states of a row zeroed before each step that `resets` marks.

    Args:
        rnn: `urgates.LSTM` or `GRU`, or torch.nn's, of one direction.
        x, hx: as the layer takes them, x with rows: [L, B, I], or [B, L, I] if batch-first.
        resets: [L, B] bool, or [B, L] likewise.
        at: `restarts(resets)`; needed under `vmap`, where the steps of all models together must be
            given, and on a GPU it spares waiting for it.
    Returns:
        outputs and last states, as the layer gives them.
    Raises:
        ValueError: unless `resets` is bool and fits x, and for a layer of two directions.
    """
    if resets.dtype != torch.bool or x.dim() != 3 or resets.shape != x.shape[:2]:
        got = f"{resets.dtype} of shape {list(resets.shape)}"
        raise refusal("resets", f"be torch.bool of shape {list(x.shape[:2])}", got)
    if rnn.bidirectional:
        raise refusal("rnn", "have one direction", "one that reads from the end as well")
    time = int(rnn.batch_first)
    at = restarts(resets, rnn.batch_first) if at is None else at
    outputs = []
    for begin, end in pairwise([*sorted({0, *at}), x.shape[time]]):
        if begin in at and hx is not None:
            hx = _zeroed(hx, resets.select(time, begin).to(x.device))
        y, hx = rnn(x.narrow(time, begin, end - begin), hx)
        outputs.append(y)
    return torch.cat(outputs, time), hx


def _zeroed(hx: Any, rows: Tensor) -> Any:
    """States [layers, B, H] (an LSTM's are two), zero in the rows [B] bool."""
    if isinstance(hx, Tensor):
        return torch.where(rows[:, None], 0, hx)
    return tuple(_zeroed(state, rows) for state in hx)
