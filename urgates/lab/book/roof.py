"""What one thread can do at most: multiply in registers, and copy from memory to memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pandas as pd
import torch

from urgates.kernels import native
from urgates.kernels.native import build
from urgates.lab.book.clock import stopwatch, turn_about
from urgates.lab.book.clock import threads as on_threads
from urgates.lab.book.contenders import DTYPES
from urgates.lab.book.timing import where

_LOOP = """
#define LOW {low}
#include "vectors.h"
#include "product.h"
extern "C" float urgates_multiply(N times, float a) {{  // a tile's sums, without memory
  V sum[ROWS * VECTORS];
  for (int j = 0; j < ROWS * VECTORS; ++j) sum[j] = V{{}} + (float)j;
  for (N i = 0; i < times; ++i)
#pragma GCC unroll 32
    for (int j = 0; j < ROWS * VECTORS; ++j) sum[j] = multiply_add(sum[j], a, V{{}} + a);
  for (int j = 1; j < ROWS * VECTORS; ++j) sum[0] += sum[j];
  return sum[0][0];
}}
extern "C" N urgates_operations() {{ return 2 * ROWS * VECTORS * W * PER_CELL; }}
"""


def _multiply(dtype: str, times: int) -> tuple[Callable[[], object], int] | None:
    """A call that multiplies and adds in registers, and its operations; None where it cannot."""
    if native.compiler() is None or native.unfit(torch.zeros(1, dtype=DTYPES[dtype])):
        return None
    library = build.load(native.inlined(_LOOP.format(low=int(dtype == "bfloat16"))))
    library.urgates_multiply.restype = ctypes.c_float
    library.urgates_multiply.argtypes = [ctypes.c_int64, ctypes.c_float]
    library.urgates_operations.restype = ctypes.c_int64
    done = times * library.urgates_operations()
    return lambda: library.urgates_multiply(times, 1.0), done


def _product(dtype: str, size: int, device: str) -> tuple[Callable[[], object], int]:
    """A square product of torch's, and its operations."""
    a = torch.randn(size, size, device=device).to(DTYPES[dtype])
    return lambda: a @ a, 2 * size**3


def roof(device: str = "cpu", size: int = 512, repeats: int = 20) -> pd.DataFrame:
    """A row per limit: its name in `what`, how much in `most`; threads, device, torch, commit.

    "float32", "bfloat16": GFLOP/s of the multipliers, of a square product on a GPU or without a
    compiler; "copy": GB/s read and written, of a tensor far beyond the caches.
    """
    x = torch.ones(2 * size, 64 * size, device=device)
    y = torch.empty_like(x)
    limits = {"copy": (lambda: y.copy_(x), 8 * x.numel())}
    for dtype in ("float32", "bfloat16"):
        own = _multiply(dtype, 100 * size) if device == "cpu" else None
        limits[dtype] = own or _product(dtype, size, device)
    calls = {k: lambda f=f: stopwatch(f, device=device) for k, (f, _) in limits.items()}
    with on_threads(1):
        best = turn_about(calls, repeats).min((0, 2))
    most = [1e-6 * done / ms for (_, done), ms in zip(limits.values(), best, strict=True)]
    return pd.DataFrame({"what": list(limits), "most": most, "threads": 1, **where(device)})
