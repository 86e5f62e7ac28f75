"""Cross-entropy over a large vocabulary without all of its logits at once.

N tokens, E features, V words.  The full softmax, its loss and its gradients, in chunks of R tokens:
one chunk of logits [R, V] is all that ever exists, where autograd would keep [N, V] twice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from urgates.checks import positive_int
from urgates.lab.tasks.text import NO_TARGET

CHUNK_BYTES = 64 << 20  # of logits in float32


def cross_entropy(h: Tensor, w: Tensor, b: Tensor, target: Tensor, rows: int = 0) -> Tensor:
    """Sum of -log softmax(h wᵀ + b)[target] in nats, a scalar in float32.

    Args:
        h: [N, E]; w: [V, E]; b: [V]; target: [N] int64, `NO_TARGET` where there is none.
        rows: R, tokens at a time; 0 takes as many as fit into 64 MiB of logits.
    Returns:
        the sum; its gradients are computed along with it, one chunk after the other.
    """
    rows = positive_int("rows", rows or max(1, CHUNK_BYTES // (4 * len(w))))
    return _CrossEntropy.apply(h, w, b, target, rows)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h, w, b, target, rows):
        wanted = any(ctx.needs_input_grad)
        total = h.new_zeros((), dtype=torch.float32)
        d_h, d_w, d_b = torch.empty_like(h), torch.zeros_like(w), torch.zeros_like(b)
        for part in torch.arange(len(h)).split(rows):
            at = slice(int(part[0]), int(part[-1]) + 1)
            p = torch.nn.functional.linear(h[at], w, b.to(h.dtype)).float()
            given = target[at] != NO_TARGET
            label = target[at].where(given, 0)[:, None]
            size = p.logsumexp(-1, keepdim=True)
            total += (size - p.gather(1, label))[given].sum()
            if wanted:
                p.sub_(size).exp_().scatter_add_(1, label, p.new_full(label.shape, -1))
                if not given.all():
                    p.mul_(given[:, None])
                d_b += p.sum(0)
                p = p.to(h.dtype)
                torch.mm(p, w.to(h.dtype), out=d_h[at])
                d_w.addmm_(p.mT, h[at]) if w.dtype == h.dtype else d_w.add_(p.mT @ h[at])
            del p  # or it would live on beside the next chunk's
        ctx.save_for_backward(d_h, d_w, d_b)
        return total

    @staticmethod
    def backward(ctx, d_total):
        d_h, d_w, d_b = ctx.saved_tensors
        return d_h * d_total.to(d_h), d_w * d_total, d_b * d_total, None, None
