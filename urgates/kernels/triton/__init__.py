"""The recurrence in Triton kernels, on an NVIDIA GPU, in float32, bfloat16 or float16.

`loops.py` is the text of the kernels; one recurrence's heads and its step, forward and backward as
SymPy prints them from the Python equations (`urgates.tape`), are written into it and the module is
kept beside the compiled libraries.  Two plans: `persistent` runs all steps in one launch, weights
on the chip; otherwise a step is one product of cuBLAS and one launch for all the rest.
Gates, cell states and sums stay float32; the stash holds the activations in the tensors' type.
M models, B batch, T time, H hidden units, G rows of the weights, C neurons to a master unit.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

import urgates  # its `symbolic` brings SymPy at the first use
from urgates.heads import Head
from urgates.kernels.eager import through_input_side
from urgates.kernels.native import build
from urgates.kernels.reference import Gradients, Inputs, Recurrence, States, by_key

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_TEXT = Path(__file__).with_name("loops.py")

# ------------------------------------------------------------------ source


class _Specialise(ast.NodeTransformer):
    """Write out `for HEAD in …`, decide `if LSTM` and `if RESET`, put splices in place."""

    def __init__(self, sets: dict, flags: dict, splices: dict) -> None:
        self.sets, self.flags, self.splices = sets, flags, splices

    def visit_For(self, node):
        name = getattr(node.target, "id", None)
        if name not in ("HEAD", "PART"):
            return self.generic_visit(node)
        body = "\n".join(map(ast.unparse, node.body))
        texts = [body.replace(name, value) for value in self.sets[node.iter.id]]
        return self.visit(ast.parse("\n".join(texts))).body

    def visit_If(self, node):
        self.generic_visit(node)
        name = getattr(node.test, "id", None)
        return node if name not in self.flags else node.body if self.flags[name] else node.orelse

    def visit_Expr(self, node):
        text = self.splices.get(getattr(node.value, "id", None))
        return node if text is None else ast.parse(text).body


def source(r: Recurrence) -> str:
    """The Triton source of one recurrence: the text with its heads and its gate written in."""
    own = any(head.special for head in r.layout)
    symbolic, tape = urgates.symbolic, urgates.tape
    tail, slope = symbolic.triton_activation(r.gate.activation if own else "sigmoid")
    _, _, *cell = tape.forwards(r).items()  # the effective gates come with `GATE`
    splices = {
        "TAIL": tail,
        "SLOPE": slope,
        "COLUMNS": "\n".join(_columns(r)),
        "GATE": symbolic.triton_statements(r.gate, r.heads),
        "SLOPES": symbolic.triton_statements(r.gate, r.heads, gradients=True),
        "CELL": symbolic.triton_lines(cell),
        "NEXT": symbolic.triton_lines(line for line in cell if line[0] in ("next", "tanh_c")),
        "BACK": symbolic.triton_lines(tape.backwards(r).items()),
    }
    flags = {"LSTM": r.cell == "lstm", "RESET": "reset" in r.heads}
    special = _Specialise(_sets(r), flags, splices)
    return ast.unparse(special.visit(ast.parse(_TEXT.read_text())))


def _sets(r: Recurrence) -> dict[str, Iterable[str]]:
    """What the names behind `for HEAD in` and `for PART in` stand for."""

    def names(fine: Callable[[Head], bool]) -> list[str]:
        return [head.name for head in r.layout if fine(head)]

    return {
        "PARTS": "0123",
        "HEADS": r.heads,
        "SIGMOIDS": names(lambda h: h.activation == "sigmoid"),
        "OWN": names(lambda h: h.special),
        "POINTWISE": names(lambda h: h.name != "u" and not h.ordered),
        "ORDERED": names(lambda h: h.ordered),
        "RISING": names(lambda h: h.ordered and not h.falling),
        "FALLING": names(lambda h: h.falling),
        "LOGISTIC": names(lambda h: h.activation == "sigmoid"),
        "CHUNKED": names(lambda h: h.chunked and not h.ordered),
        "OTHERS": names(lambda h: h.name != "u"),
    }


def _columns(r: Recurrence) -> Iterator[str]:
    """Statements that say where each head's columns are, and how many there are."""
    full = part = 0
    for h in r.layout:
        yield f"start_{h.name}: tl.constexpr = {full} * H + {part} * (H // C)"
        unit, own = ("j // C", "here & first") if h.chunked else ("j", "here")
        yield f"column_{h.name}, own_{h.name} = start_{h.name} + {unit}, {own}"
        full, part = full + (not h.chunked), part + h.chunked
    yield f"G: tl.constexpr = {full} * H + {part} * (H // C)"
    yield f"S: tl.constexpr = G + {int('reset' in r.heads)} * H"


class BuildError(RuntimeError):
    """The kernels cannot be written; the message is one line."""


@cache
def _library(key: str) -> ModuleType:
    try:
        return build.module(source(by_key(key)))
    except (ValueError, OSError) as e:
        raise BuildError(str(e)) from e


def library(r: Recurrence) -> ModuleType:
    """The kernels `forward` and `backward` of a recurrence, compiled at their first launch."""
    return _library(r.key)


# ------------------------------------------------------------------ what runs where


def interpreting() -> bool:
    """Whether Triton's interpreter runs the kernels (TRITON_INTERPRET=1), on the CPU."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "yes", "on")


def missing() -> str | None:
    """Why this kernel cannot run here on any tensor, or None."""
    if importlib.util.find_spec("triton") is None:
        return "it needs the package triton, on Linux: pip install 'urgates[gpu]'"
    if not torch.cuda.is_available() and not interpreting():
        return "it needs a CUDA device, and torch finds none"
    return None


def unfit(x: Tensor) -> str | None:
    """Why this tensor is not for this kernel, or None."""
    if x.dtype not in DTYPES:
        return f"it takes float32, bfloat16 and float16, got {str(x.dtype).removeprefix('torch.')}"
    if x.device.type != "cuda" and not interpreting():
        return f"it takes tensors on a CUDA device, got {x.device}"
    return None


class Plan(NamedTuple):
    """How the work is cut: tiles of `rows` × `units`, `slices` of all the units, `warps` each."""

    rows: int
    units: int
    slices: int
    warps: int
    persistent: bool = False
    eager: bool = False  # whether backward loads all it needs of a step before it computes
    at_once: bool = True  # all steps in one launch, or (to be interpreted) one step per launch


# Units of a persistent program, by bytes of an element and H as a power of two: with 16 rows and 4
# warps, for the least time per step; with 32 rows and 8 warps, where 16 would leave programs
# queuing; and with 16 rows and 8 warps where one program must hold all units (ordered gates).
# Larger ones spill registers or exceed an H100's 227 KiB of shared memory: tests compile and look.
UNITS = {
    (2, 64): (32, 32, 64), (2, 128): (32, 32, None), (2, 256): (32, 64, None),
    (2, 512): (32, 16, None), (4, 64): (32, 16, 64), (4, 128): (32, 16, None),
    (4, 256): (32, 16, None), (4, 512): (16, 16, None),
}  # fmt: skip
SHARED = 227 * 1024


def plan(r: Recurrence, x: Inputs) -> Plan:
    """The plan for these inputs: persistent where the weights fit on the chip, by a fixed table."""
    (M, _, B, H), G = x.shape, x.w_h.shape[1]
    C, ordered = r.downsize(G, H), any(head.ordered for head in r.layout)
    size, inner = x.x.element_size(), _inner(H)
    multiprocessors, shared = _device(x.x.device)
    fits = (size, inner) in UNITS and shared >= SHARED and len(r.heads) <= 4
    if fits and (size == 2 or torch.backends.cuda.matmul.fp32_precision == "tf32"):
        few, many, all_ = UNITS[size, inner]
        units, rows = (all_, 16) if ordered else (few, 16)
        if not ordered and M * -(-B // 16) * -(-H // few) > multiprocessors:
            units, rows = many, 32
        if units and (slices := -(-H // units)) <= multiprocessors:  # they wait for each other
            eager = rows == 16 and size * inner < 2048
            at_once = slices == 1 or not interpreting()  # which runs programs one after another
            return Plan(rows, units, slices, 8 if ordered else rows // 4, True, eager, at_once)
    units = _power(H) if C > 1 or ordered else min(_power(H), 128)
    rows = max(1, min(_power(B), 512 // units))
    return Plan(rows, units, -(-H // units), max(4, min(16, rows * units // 256)))


def _power(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()


def _inner(H: int) -> int:
    return max(64, _power(H))


@cache
def _device(device: torch.device) -> tuple[int, int]:
    """Multiprocessors, and shared memory of a program in bytes (as of an H100 if interpreted)."""
    if device.type != "cuda":
        return 132, SHARED
    properties = torch.cuda.get_device_properties(device)
    return properties.multi_processor_count, properties.shared_memory_per_block_optin


# ------------------------------------------------------------------ call


def stash_width(r: Recurrence, x: Inputs) -> int:
    """Columns of the stash: the activations, and what a GRU's reset gate multiplies."""
    return x.w_h.shape[1] + ("reset" in r.heads) * x.w_h.shape[-1]


def _product(a: Tensor, b: Tensor, out: Tensor) -> None:
    """out = a @ b in float32, over the models."""
    if a.dtype == torch.float32:
        torch.bmm(a, b, out=out)
    elif a.is_cuda:
        torch.bmm(a, b, out_dtype=torch.float32, out=out)
    else:
        torch.bmm(a.float(), b.float(), out=out)


def constants(r: Recurrence, x: Inputs, plan: Plan) -> dict:
    """The kernels' compile-time arguments."""
    import triton.language as tl

    G, H = x.w_h.shape[1:]
    operand = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}
    return {
        "H": H,
        "C": r.downsize(G, H),
        "BM": plan.rows,
        "BH": plan.units,
        "BK": _inner(H),
        "WIDTH": min(128, _inner(H)),
        "SLICES": plan.slices,
        "DOT": plan.persistent,
        "WAIT": plan.persistent and plan.slices > 1,
        "EAGER": plan.eager,
        "OPERAND": tl.float32 if interpreting() else operand[x.x.dtype],  # it multiplies no bf16
        "PRECISION": "tf32",
    }


def _run(kernel, r: Recurrence, x: Inputs, plan: Plan, pointers, product) -> None:
    """Launch over all steps; `product(n)` writes what step n needs of the one before it."""
    M, T, B, _ = x.shape
    groups = M * -(-B // plan.rows)
    signals = x.x.new_zeros(1 + groups, 32, dtype=torch.int32)  # 128 bytes each: a cache line
    keeps = [None if k is None else k.expand(x.shape) for k in (x.keep_h, x.keep_c)]
    strides = [s for k in keeps for s in ((0,) * 4 if k is None else k.stride())]
    at_once = plan.persistent and plan.at_once
    with torch.cuda.device(x.x.device) if x.x.is_cuda else contextlib.nullcontext():
        for n in range(1 if at_once else T):
            if not plan.persistent:
                product(n)
            elif n:
                signals.zero_()
            kernel[(groups * plan.slices,)](
                *pointers, *keeps, signals, T, B, *((0, T) if at_once else (n, n + 1)), *strides,
                **constants(r, x, plan), num_warps=plan.warps, num_stages=1,
                maxnreg=255 if plan.persistent and plan.rows == 16 else None,  # few programs
            )  # fmt: skip


def _dense(x: Inputs) -> Inputs:
    return Inputs(*(None if v is None else v.contiguous() for v in x[:7]), *x[7:])


def forward(r: Recurrence, x: Inputs, training: bool = True, cut: Plan | None = None) -> States:
    """The states; `training` says whether backward may follow, `cut` replaces the plan."""
    cut, x, lstm = cut or plan(r, x), _dense(x), r.cell == "lstm"
    M, T, B, _ = x.shape
    hs = x.x.new_empty(x.shape)
    cs = hs.new_empty(hs.shape if lstm else (M, 0), dtype=torch.float32)
    stash = hs.new_empty(M, T, B, stash_width(r, x) if training else 0)
    if hs.numel() == 0:
        return States(hs, cs, stash)
    carry = (x.c0 if lstm else x.h0).to(torch.float32, copy=True)  # moves on with each launch
    z = None if cut.persistent else hs.new_empty(M, B, x.w_h.shape[1], dtype=torch.float32)

    def product(t: int) -> None:
        _product(hs[:, t - 1] if t else x.h0, x.w_h.mT, z)

    pointers = (x.input_side(), z, x.w_h, x.b_u, x.h0, hs, cs, stash if training else None, carry)
    _run(library(r).forward, r, x, cut, pointers, product)
    return States(hs, cs, stash)


def backward(
    r: Recurrence,
    x: Inputs,
    states: States,
    dhs: Tensor,
    dc_last: Tensor,
    to_x: bool = True,
    cut: Plan | None = None,
) -> Gradients:
    """Gradients from those of the hidden states and the last cell state; of x only if `to_x`."""
    cut, x, lstm = cut or plan(r, x), _dense(x), r.cell == "lstm"
    hs, cs, stash = (s.contiguous() for s in states)
    T = x.shape[1]
    d_gx = x.x.new_empty(*x.shape[:3], x.w_h.shape[1])
    d_rh = torch.empty_like(d_gx) if "reset" in r.heads else d_gx
    dh = torch.zeros_like(x.h0, dtype=torch.float32)
    dc = torch.zeros_like(dh)
    if lstm:
        dc.copy_(dc_last)
    if hs.numel():
        z = torch.zeros_like(dh)

        def product(n: int) -> None:  # the last one belongs to h0
            if n:
                _product(d_rh[:, T - n], x.w_h, z)

        first, rest = (x.c0, cs) if lstm else (x.h0, hs)
        given = (dhs.contiguous(), None if cut.persistent else z, x.w_h, first, rest, stash)
        pointers = (*given, d_gx if d_rh is not d_gx else None, d_rh, dh, dc)
        _run(library(r).backward, r, x, cut, pointers, product)
        product(T)
        dh += z
    d_b_u = x.w_h.new_empty(len(hs), 0)
    if x.b_u is not None:
        d_b_u = r.split(d_rh, x.w_h.shape[-1])["u"].sum((1, 2))
    states = dh.to(x.h0.dtype), dc.to(x.c0.dtype)
    d_w = _through_states(x, hs, d_rh)
    return Gradients(*through_input_side(x, d_gx, to_x), d_w, d_b_u, *states)


def _through_states(x: Inputs, hs: Tensor, d_rh: Tensor) -> Tensor:
    """Gradient of w_h from those of the pre-activations, as h_{t-1} saw them."""
    if hs.numel() == 0:
        return torch.zeros_like(x.w_h)
    d_w = torch.empty_like(x.w_h)
    # h before step t is hs before it: two products spare a copy of all states
    torch.bmm(d_rh[:, 0].mT, x.h0, out=d_w)
    return d_w.baddbmm_(d_rh[:, 1:].flatten(1, 2).mT, hs[:, :-1].flatten(1, 2))
