"""The recurrence as a compiled loop over time, on the CPU in float32 or bfloat16.

`loop.cpp` is the loop; the step of one cell and gate, forward and backward, printed by SymPy from
the Python equations (`urgates.tape`), is spliced into it and a plain call of the C++ compiler makes
a small library (`build`).  By hand are the products (`product.h`) and what a whole row takes part
in, cumax and its way back (`row.h`).
Nothing is linked with fast-math flags: tiny and non-finite numbers are treated as before.
In bfloat16 the factors of products are bfloat16, where the CPU multiplies them (AVX512_BF16); sums,
gates, cell states and all that is kept for backward are float32.
M models, B batch, T time, H hidden units, G rows of the weights.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
from torch import Tensor

import urgates  # its `symbolic` brings SymPy at the first use
from urgates.kernels.native import build, memory
from urgates.kernels.native.build import BuildError, compiler
from urgates.kernels.reference import Gradients, Inputs, Recurrence, States, wide

__all__ = ["BuildError", "backward", "compiler", "forward", "library", "stash_width", "unfit"]

_HERE = Path(__file__).parent

# ------------------------------------------------------------------ source


def source(r: Recurrence, template: Path = _HERE / "loop.cpp", low: bool = False) -> str:
    """The C++ source of one recurrence: the template with its step spliced in.

    `low` makes the factors of products bfloat16; everything else stays float32.
    """
    heads = [name for name in r.heads if name != "u"]
    _, _, *cell = urgates.tape.forwards(r).items()  # the effective gates come with "gate"
    special = any(head.special for head in r.layout)
    kinds = [
        f"MASTER * {int(head.chunked)} + ORDERED * {int(head.ordered)}"
        f" + FALLING * {int(head.falling)} + OWN * {int(head.special)}"
        for head in r.layout
    ]
    splices = {
        "defines": [
            f"#define LOW {int(low)}",
            f"#define LSTM {int(r.cell == 'lstm')}",
            f"#define RESET {int('reset' in r.heads)}",
            f"enum {{ {', '.join(h + '_' for h in r.heads)}, HEADS }};",
            f"constexpr float TINY = {urgates.symbolic.TINY}f;",
            "enum { MASTER = 1, ORDERED = 2, FALLING = 4, OWN = 8 };",
            f"constexpr int KIND[] = {{ {', '.join(kinds)} }};",
        ],
        "activation": [urgates.symbolic.c_activation(r.gate.activation if special else "sigmoid")],
        "gate": [
            *(f"const auto [{h}, {h}_c] = row.gate<{h}_>(j);" for h in heads),
            urgates.symbolic.c_statements(r.gate, r.heads, gradients=True),
        ],
        "cell": [urgates.symbolic.c_lines(cell)],
        "back": [urgates.symbolic.c_lines(urgates.tape.backwards(r).items())],
        "put": [f"row.put<{h}_>(j, d_{h}, {h}, {h}_c);" for h in heads],
    }
    text = inlined(template.read_text())
    for name, lines in splices.items():
        text = text.replace(f"/*@{name}*/", "\n".join(lines))
    return text


def inlined(text: str) -> str:
    """C++ text with the headers of this folder in it."""
    for name in ("vectors.h", "product.h", "threads.h", "row.h"):
        text = text.replace(f'#include "{name}"', (_HERE / name).read_text())
    return text


# ------------------------------------------------------------------ build


def _build(r: Recurrence, low: bool) -> ctypes.CDLL:
    library = build.load(source(r, low=low))
    for function in (library.urgates_forward, library.urgates_backward):
        function.argtypes, function.restype = [ctypes.POINTER(_Args)], ctypes.c_int
    return library


_LIBRARIES: dict[str, ctypes.CDLL | BuildError] = {}


def library(r: Recurrence, low: bool = False) -> ctypes.CDLL:
    """The compiled recurrence, `low` that of bfloat16; the first use compiles it, in a few seconds.

    Raises:
        BuildError: if that failed, once or before.
    """
    key = r.key + " bfloat16" * low
    if key not in _LIBRARIES:
        try:
            _LIBRARIES[key] = _build(r, low)
        except BuildError as e:
            _LIBRARIES[key] = e
    if isinstance(_LIBRARIES[key], BuildError):
        raise _LIBRARIES[key]
    return _LIBRARIES[key]


def unfit(x: Tensor) -> str | None:
    """Why these tensors are not for this kernel, or None."""
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.bfloat16):
        return f"it takes float32 on the CPU, got {x.dtype} on {x.device.type}"
    if x.dtype == torch.bfloat16 and not build.target_has("__AVX512BF16__"):
        return "it takes bfloat16 where the CPU multiplies it (AVX512_BF16), not here"
    return None


# ------------------------------------------------------------------ call


class _View(ctypes.Structure):
    _fields_ = [("p", ctypes.c_void_p), *((axis, ctypes.c_int64) for axis in "mtbh")]


_SIZES = ("models", "time", "batch", "hidden", "inputs", "downsize", "threads")
_VIEWS = ("x", "w_x", "b", "w_h", "b_u", "h0", "c0", "keep_h", "keep_c", "dhs", "dc_last")
_BUFFERS = ("hs", "cs", "stash", "d_x", "d_w_x", "d_b", "d_w_h", "d_b_u", "d_h0", "d_c0")
_AXES = {2: "mh", 3: "mbh", 4: "mtbh"}


class _Args(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in _SIZES),
        *((name, _View) for name in _VIEWS),
        *((name, ctypes.c_void_p) for name in _BUFFERS),
    ]


def _run(r: Recurrence, which: str, x: Inputs, buffers: dict[str, Tensor], **more: Tensor):
    """Call the library. Inputs come with any strides, `buffers` are contiguous."""
    args = _Args(*x.shape, x.x.shape[-1], threads=torch.get_num_threads())
    args.downsize = r.downsize(x.w_h.shape[1], x.w_h.shape[2])
    views = {k: v for k, v in (x._asdict() | more).items() if v is not None}
    views |= {k: wide(views[k]) for k in ("c0", "keep_h", "keep_c", "dc_last") if k in views}
    for name, v in views.items():
        if name in ("keep_h", "keep_c"):
            v = v.expand(x.shape)
        same = v.stride(-1) == 0 and name in ("keep_h", "keep_c", "dhs", "dc_last")
        if v.stride(-1) != 1 and not same:
            v = views[name] = v.contiguous()  # `views` keeps it alive
        strides = dict(zip(_AXES[v.dim()], v.stride(), strict=True)) | {"h": int(not same)}
        setattr(args, name, _View(v.data_ptr(), **strides))
    for name, v in buffers.items():
        setattr(args, name, v.data_ptr())
    low = x.x.dtype == torch.bfloat16
    failed = getattr(library(r, low), f"urgates_{which}")(ctypes.byref(args))
    if failed:
        sizes = "M = {}, T = {}, B = {}, H = {}".format(*x.shape)
        raise MemoryError(f"no memory for the native kernel's {which} pass with {sizes}")


def stash_width(r: Recurrence, x: Inputs) -> int:
    """Columns of the stash: every head's activation, then tanh(c) or what a reset multiplies."""
    extra = r.cell == "lstm" or "reset" in r.heads
    return x.w_h.shape[1] + extra * x.w_h.shape[2]


def forward(r: Recurrence, x: Inputs, training: bool = True) -> States:
    """The states; `training` says whether backward may follow."""
    hs = memory.empty(*x.shape, dtype=x.x.dtype)
    cs = memory.empty(*(x.shape if r.cell == "lstm" else (len(hs), 0)))
    stash = memory.empty(*x.shape[:3], stash_width(r, x) if training else 0)
    _run(r, "forward", x, {"hs": hs, "cs": cs, **({"stash": stash} if training else {})})
    return States(hs, cs, stash)


def backward(
    r: Recurrence, x: Inputs, states: States, dhs: Tensor, dc_last: Tensor, to_x: bool = True
) -> Gradients:
    """Gradients from those of the hidden states and the last cell state; of x only if `to_x`."""
    states = {k: v.contiguous() for k, v in states._asdict().items()}
    wanted = x._asdict() if to_x else x._asdict() | {"x": None}
    dtypes = dict.fromkeys(wanted, x.x.dtype) | {"c0": torch.float32}
    found = {
        name: memory.empty(*((len(x.h0), 0) if v is None else v.shape), dtype=dtypes[name])
        for name, v in list(wanted.items())[: len(Gradients._fields)]
    }
    if r.cell == "gru":
        found["c0"].zero_()
    buffers = states | {f"d_{name}": v for name, v in found.items()}
    _run(r, "backward", x, buffers, dhs=dhs, dc_last=dc_last)
    return Gradients(**found | {"c0": found["c0"].to(x.c0.dtype)})
