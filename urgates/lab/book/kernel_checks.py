"""Whether kernels compute on this device what the equations say: every gate, both passes, 16 bits.

A `Check` is a layer beside the float64 reference with the same weights, on the same device: outputs
and all gradients. Tests do the same of more sizes; this needs no tests, and keeps what it finds.
M models, T time steps, B batch, I inputs, H hidden units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import product

import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from urgates.checks import choice, require
from urgates.gates import GATES
from urgates.kernels import triton
from urgates.lab.book.contenders import DTYPES, OURS, captured
from urgates.lab.book.timing import error_ratio, where
from urgates.lab.devices import float32_products

HOW = ("layer", "vmap", "graph")
FLOOR, TIMES = 5e-7, 4.0  # eight roundings of a float32; of the plain loop's own error
LOW = 2e-2  # stash, outputs and gradients keep eight bits


@dataclass(frozen=True)
class Check:
    """What is compared.

    Args:
        how: "layer", "vmap" over stacked models, or "graph", a layer replayed by a CUDA graph.
        dtype, fp32: "float32" or "bfloat16", and how a GPU multiplies float32, "tf32" or "ieee".
    """

    how: str = "layer"
    cell: str = "lstm"
    gate: str = "UR"
    keep_reset: bool = True
    dtype: str = "float32"
    fp32: str = "tf32"
    hidden: int = 256
    time: int = 40
    batch: int = 50
    inputs: int = 1
    models: int = 1
    downsize: int = 16

    def __post_init__(self) -> None:
        choice("how", self.how, HOW)
        choice("dtype", self.dtype, ("float32", "bfloat16"))
        alone = self.models == 1 or self.how == "vmap"
        require("models", alone, "be 1 but for vmap", self.models)


def checks(preset: str, device: str) -> list[Check]:
    """Those of a preset, the most telling first; graphs only on a GPU.

    On a GPU T is, like X1's, no multiple of 16: for those Triton compiles a kernel of its own.
    """
    kinds = [{"dtype": "float32"}, {"dtype": "bfloat16"}, {"fp32": "ieee"}]
    if preset == "smoke":
        base = Check(hidden=12, time=3, batch=5, downsize=4)
        stacks, few, sizes = ({"models": 2},), ("-",), ({"hidden": 5, "batch": 1},)
    else:
        base, few = Check(), ("-", "UR", "OM")
        stacks = ({"models": 3}, {"models": 27})
        sizes = ({"hidden": 60}, {"hidden": 130, "time": 9, "batch": 7}, {"hidden": 2048})
    low, gates = kinds[:2], (*GATES, "F")
    rows = [{**k, "gate": g} for k, g in product(kinds, gates)]
    rows += [{"how": "vmap", **k, **s, "gate": g} for s, k, g in product(stacks, low, few)]
    if device.startswith("cuda"):
        rows += [{"how": "graph", **k, "gate": g} for k, g in product(low, few)]
    rows += [{"cell": "gru", **k, "gate": g} for k, g in product(low, gates)]
    rows += [{"cell": "gru", "keep_reset": False, **k, "gate": "UR"} for k in low]
    odd = {"downsize": 1}
    rows += [{**k, **s, **odd, "gate": g} for s, k, g in product(sizes, kinds, ("UR", "OR"))]
    return [replace(base, **row) for row in rows]


def look(check: Check, device: str) -> pd.DataFrame:
    """One row: the check's fields, `error` and in `worst` whose, `plain`, `limit`, `verdict` …

    Errors are RMS of the difference over RMS of the truth, of the worst of all outputs and
    gradients; `plain` is that of the plain loop, whose sums are float32: in float32 ours may err so
    many TIMES as much, in 16 bits up to LOW. A second pass must repeat the first to the bit.
    """
    on_device = torch.cuda.device(device) if device.startswith("cuda") else nullcontext()
    with on_device, float32_products(check.fp32):
        kernel = "triton" if device.startswith("cuda") or triton.interpreting() else "auto"
        ours = _layers(check, kernel, DTYPES[check.dtype], device)
        given = _drawn(check, device)
        run = {"layer": _each, "vmap": _stacked, "graph": _replayed}[check.how]
        found, again = run(ours, *given), run(ours, *given)
        truth = _each(_like(check, ours, torch.float64, device), *given)
        plain = _each(_like(check, ours, DTYPES[check.dtype], device), *given)
    errors, others = ({k: error_ratio(f[k], truth[k]) for k in truth} for f in (found, plain))
    worst = max(errors, key=lambda k: (errors[k] != errors[k], errors[k]))
    limit = LOW if check.dtype == "bfloat16" else FLOOR + TIMES * max(others.values())
    repeats = all(torch.equal(found[k], again[k]) for k in found)
    verdict = "fine" if repeats else "differs when repeated"
    verdict = verdict if errors[worst] <= limit else "too far from the truth"
    row = asdict(check) | {"kernel": ours[0].backend, "error": errors[worst], "worst": worst}
    row |= {"plain": max(others.values()), "limit": limit, "verdict": verdict, **where(device)}
    return pd.DataFrame([row])


def _layers(check: Check, kernel: str, dtype: torch.dtype, device: str) -> list[nn.Module]:
    torch.manual_seed(0)
    more = {} if check.cell == "lstm" else {"keep_reset": check.keep_reset}
    more |= {"gate": check.gate, "downsize": check.downsize, "t_max": max(check.time, 3)}
    layers = [
        OURS[check.cell](check.inputs, check.hidden, kernel=kernel, **more)
        for _ in range(check.models)
    ]
    return [layer.to(device, dtype) for layer in layers]


def _like(
    check: Check, layers: Sequence[nn.Module], dtype: torch.dtype, device: str
) -> list[nn.Module]:
    """The reference with the same weights."""
    others = _layers(check, "reference", dtype, device)
    for other, layer in zip(others, layers, strict=True):
        other.load_state_dict(layer.state_dict())
    return others


def _drawn(check: Check, device: str) -> list[Tensor]:
    """Inputs [M, T, B, I], and gradients of the outputs [M, T, B, H] and last states [M, B, H]."""
    dice, dtype = torch.Generator().manual_seed(1), DTYPES[check.dtype]
    steps = check.models, check.time, check.batch
    shapes = (*steps, check.inputs), (*steps, check.hidden), (*steps[::2], check.hidden)
    return [torch.randn(s, generator=dice).to(device, dtype) for s in shapes]


def _passes(call: Callable, weights: Mapping[str, Tensor], x: Tensor, *cotangents: Tensor) -> dict:
    """Both passes: outputs, last states, and the gradients of weights and input."""
    y, state = call(x)
    last = state[1] if isinstance(state, tuple) else state
    last = last.reshape(cotangents[1].shape)
    gradients = torch.autograd.grad([y, last], [x, *weights.values()], cotangents)
    return {"h": y, "last": last, **dict(zip(["x", *weights], gradients, strict=True))}


def _plain(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.detach().cpu().double() for k, v in found.items()}


def _each(layers: Iterable[nn.Module], x: Tensor, *cotangents: Tensor) -> dict[str, Tensor]:
    """Results of layers one after the other, each [M, …]."""
    rows = []
    for layer, *given in zip(layers, x, *cotangents, strict=True):
        weights = dict(layer.named_parameters())
        own, *others = (a.to(layer.weight_hh_l0.dtype) for a in given)
        rows.append(_plain(_passes(layer, weights, own.requires_grad_(), *others)))
    return {k: torch.stack([row[k] for row in rows]) for k in rows[0]}


def _stacked(layers: Sequence[nn.Module], x: Tensor, *cotangents: Tensor) -> dict[str, Tensor]:
    """The same of all in one call."""
    weights, _ = stack_module_state(list(layers))
    every = vmap(lambda p, x: functional_call(layers[0], p, (x,)))
    own = x.clone().requires_grad_()
    return _plain(_passes(lambda x: every(weights, x), weights, own, *cotangents))


def _replayed(layers: Sequence[nn.Module], x: Tensor, *cotangents: Tensor) -> dict[str, Tensor]:
    """The same of a CUDA graph of one layer, captured with another input."""
    (layer,), found = layers, {}
    own, weights = torch.zeros_like(x[0]).requires_grad_(), dict(layer.named_parameters())
    first = [c[0] for c in cotangents]
    graph = captured(lambda: found.update(_passes(layer, weights, own, *first)))
    with torch.no_grad():
        own.copy_(x[0])
    graph.replay()
    return {k: v.unsqueeze(0) for k, v in _plain(found).items()}
