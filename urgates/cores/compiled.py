"""The recurrence of a relational memory as a compiled loop over time, on the CPU in float32.

`attending.cpp` is the loop; the gate's C statements are spliced in and a library is built as for
`kernels.native`.  Any gate fits that has a value for every unit.
M models, B batch, T steps, S slots of F features, h heads of d = F/h, G rows of the gates.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from urgates.cores import attending
from urgates.cores.attending import Inputs, affine, product
from urgates.kernels import native
from urgates.kernels.native import build, memory
from urgates.kernels.native.build import BuildError
from urgates.kernels.reference import Recurrence, by_key

ROWS = 48  # (sample, slot) that go through all steps together, about


class Kept(NamedTuple):
    """What the way back needs of every step, [M, T, B, …]; of one step only if there is none."""

    hat_a: Tensor  # [S, 3F] queries, keys and values, normed
    rstd_a: Tensor  # [S]
    p: Tensor  # [h, S, S + 1] attention
    hat_1: Tensor  # [S, F] after the attention, normed
    rstd_1: Tensor
    relu: Tensor  # [S, F]
    hat_2: Tensor  # [S, F] after the ReLU layer, normed
    rstd_2: Tensor
    tanh_m: Tensor  # [S, F] of the memory before
    gates: Tensor  # [S, G] activations; the smaller of a sigmoid and its complement, with a sign


def kept_shapes(heads: int, x: Inputs, training: bool) -> list[tuple[int, ...]]:
    """The sizes of `Kept`."""
    M, T, B, G = x.gx.shape
    S, F = x.m.shape[2:]
    row = M, T if training else 1, B, S
    p = *row[:3], heads, S, S + 1
    wide = *row, F
    return [(*row, 3 * F), row, p, wide, row, wide, wide, row, wide, (*row, G)]


# ------------------------------------------------------------------ build and call

_SIZES = (
    "models", "time", "batch", "slots", "hidden", "heads", "downsize", "blocks", "threads",
    "kept_time", "inputs",
)  # fmt: skip
_SLOPES = ("d_a", "d_relu", "d_y_2", "d_pre", "d_k", "d_v", "d_m", "sums")


class _Args(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in _SIZES),
        *((name, ctypes.c_void_p) for name in Inputs._fields),
        *((name, ctypes.c_void_p) for name in ("ms", *Kept._fields, "dms", *_SLOPES)),
    ]


@cache
def _built(key: str) -> ctypes.CDLL | BuildError:
    text = native.source(by_key(key), Path(__file__).parent / "attending.cpp")
    text = text.replace("/*@epsilon*/", str(attending.EPSILON))
    try:
        found = build.load(text)
    except BuildError as e:
        return e
    for function in (found.urgates_forward, found.urgates_backward):
        function.argtypes, function.restype = [ctypes.POINTER(_Args)], ctypes.c_int
    return found


def library(r: Recurrence) -> ctypes.CDLL:
    """The compiled recurrence; the first use compiles it, in a few seconds.

    Raises:
        BuildError: if that failed, once or before.
    """
    found = _built(r.key)
    if isinstance(found, BuildError):
        raise found
    return found


def _blocks(x: Inputs) -> int:
    """Into how many parts the batch is cut: a row's numbers and the sums depend on nothing else."""
    B, S = x.m.shape[1:3]
    return -(-B // max(1, ROWS // S))


def _run(r: Recurrence, heads: int, which: str, x: Inputs, **buffers: Tensor) -> None:
    """Call the library; all tensors are contiguous."""
    M, T, B, G = x.gx.shape
    S, F = x.m.shape[2:]
    args = _Args(M, T, B, S, F, heads, r.downsize(G, F), _blocks(x), torch.get_num_threads())
    args.kept_time = buffers["hat_a"].shape[1]
    for name, a in (x._asdict() | buffers).items():
        if a is not None:
            setattr(args, name, a.data_ptr())
    if getattr(library(r), f"urgates_{which}")(ctypes.byref(args)):
        sizes = f"M = {M}, T = {T}, B = {B}, S = {S}, F = {F}"
        raise MemoryError(f"no memory for the native kernel's {which} pass with {sizes}")


def _in_order(parts):
    return (None if a is None else a.contiguous() for a in parts)


def forward(r: Recurrence, heads: int, x: Inputs, training: bool = True) -> tuple[Tensor, Kept]:
    """The memories [M, T, B, S, F] and what the steps computed, if a backward may follow."""
    x = Inputs._make(_in_order(x))
    ms = memory.empty(*x.gx.shape[:3], *x.m.shape[2:])
    kept = Kept._make(memory.empty(*shape) for shape in kept_shapes(heads, x, training))
    _run(r, heads, "forward", x, ms=ms, **kept._asdict())
    return ms, kept


def backward(r: Recurrence, heads: int, x: Inputs, ms: Tensor, kept: Kept, dms: Tensor) -> Inputs:
    """Gradients of the inputs from those of the memories."""
    x, kept = Inputs._make(_in_order(x)), Kept._make(_in_order(kept))
    ms, dms = _in_order((ms, dms))
    F = ms.shape[-1]
    d_a, d_relu, d_y_2, d_pre = (
        memory.empty(*like.shape) for like in (kept.hat_a, kept.relu, kept.relu, kept.gates)
    )
    d_k, d_v, d_m = (torch.empty_like(a) for a in (x.k, x.v, x.m))
    sums = x.m.new_zeros(len(ms), _blocks(x), 15 * F)
    _run(
        r, heads, "backward", x, ms=ms, **kept._asdict(), dms=dms,
        d_a=d_a, d_relu=d_relu, d_y_2=d_y_2, d_pre=d_pre, d_k=d_k, d_v=d_v, d_m=d_m, sums=sums,
    )  # fmt: skip
    parts = sums.sum(1).split([3 * F] * 3 + [F] * 6, -1)
    b_qkv, shift_qkv, scale_qkv, *rest = (part.clone() for part in parts)
    b_1, b_2, shift_1, scale_1, shift_2, scale_2 = rest
    before = torch.cat([x.m.unsqueeze(1), ms[:, :-1]], 1)
    z_1 = affine(kept.hat_1, x.scale_1, x.shift_1)
    return Inputs(
        d_k, d_v, d_pre.sum(3), d_m, None,
        product(d_a, before), b_qkv, scale_qkv, shift_qkv, scale_1, shift_1,
        product(d_relu, z_1), b_1, product(d_y_2, kept.relu), b_2, scale_2, shift_2,
        product(d_pre, kept.tanh_m),
    )  # fmt: skip
