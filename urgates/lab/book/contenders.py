"""What is timed: a `Case` of layer, gate and sizes, and who runs it - ours, torch's, users' loops.

T time steps, B batch, I inputs, H hidden units, M models; times in milliseconds, input side and
weight gradients included, of one training step (forward and backward) and of its forward.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from urgates.checks import require
from urgates.gates import gate, positive_int, refine, update
from urgates.lab.book.clock import kept, now
from urgates.rnn import GRU, LSTM

OURS, TORCH = {"lstm": LSTM, "gru": GRU}, {"lstm": nn.LSTM, "gru": nn.GRU}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Case:
    """What is timed against torch's layer of the same cell and size.

    Args:
        provider: "urgates", "plain loop", "compiled loop" (torch.compile of its step), "reference",
            "torch without oneDNN", or a package of others, if `installed()`: "FlashRNN" or
            "haste" (plain LSTMs on a GPU alone; haste in float32).
        rival: "torch.nn", or "urgates" to see what a provider costs against ours.
        models: so many stacked models in one go, against as many of the rival one after another.
        graphs: capture both into CUDA graphs first.
    """

    provider: str = "urgates"
    rival: str = "torch.nn"
    cell: str = "lstm"
    gate: str = "UR"
    hidden: int = 64
    time: int = 100
    batch: int = 50
    inputs: int = 1
    models: int = 1
    downsize: int = 16
    dtype: str = "float32"
    graphs: bool = False

    def __post_init__(self) -> None:
        for name in ("hidden", "time", "batch", "inputs", "models", "downsize"):
            positive_int(name, getattr(self, name))
        for name, known in {
            "provider": (*_PROVIDERS, "torch.nn"), "rival": ("torch.nn", "urgates"),
            "cell": OURS, "dtype": DTYPES,
        }.items():  # fmt: skip
            if getattr(self, name) not in known:
                value = getattr(self, name)
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        gate(self.gate)


# ------------------------------------------------------------------ the loops people write


class PlainLoop(nn.Module):
    """The fair loop: input side in one product, `unbind` instead of indexing, autograd per step.

    Only "-" and "UR" LSTMs, each written out as a user would.
    """

    def __init__(self, case: Case, step: Callable | None = None):
        super().__init__()
        if case.cell != "lstm" or case.gate not in ("-", "UR"):
            raise ValueError(f"the plain loop is an LSTM with gate - or UR, got {case}")
        self.weights = nn.LSTM(case.inputs, case.hidden)
        self.gate_bias = nn.Parameter(torch.randn(case.hidden))
        self.step = step or {"-": _plain_step, "UR": _ur_step}[case.gate]

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Hidden states [T, B, H] of x [T, B, I]."""
        w = self.weights
        gx = nn.functional.linear(x, w.weight_ih_l0, w.bias_ih_l0 + w.bias_hh_l0)
        h = c = x.new_zeros(x.shape[1], w.hidden_size)
        hs = []
        for gx_t in gx.unbind(0):
            h, c = self.step(gx_t, w.weight_hh_l0, self.gate_bias, h, c)
            hs.append(h)
        return torch.stack(hs), None


def _plain_step(gx: Tensor, w_h: Tensor, bias: Tensor, h: Tensor, c: Tensor):
    i, f, u, o = torch.addmm(gx, h, w_h.t()).chunk(4, -1)
    c = update(f.sigmoid(), i.sigmoid(), c, u.tanh())
    return o.sigmoid() * c.tanh(), c


def _ur_step(gx: Tensor, w_h: Tensor, bias: Tensor, h: Tensor, c: Tensor):
    r, f, u, o = torch.addmm(gx, h, w_h.t()).chunk(4, -1)
    g = refine((f + bias).sigmoid(), (r - bias).sigmoid())
    c = update(g, 1 - g, c, u.tanh())
    return o.sigmoid() * c.tanh(), c


# ------------------------------------------------------------------ who runs


def _ours(case: Case, kernel: str = "auto") -> nn.Module:
    more = {"downsize": case.downsize} if case.hidden % case.downsize == 0 else {}
    return OURS[case.cell](
        case.inputs, case.hidden, gate=case.gate, t_max=max(case.time, 3), kernel=kernel, **more
    )


def _compiled(case: Case) -> nn.Module:
    step = {"-": _plain_step, "UR": _ur_step}.get(case.gate)
    return PlainLoop(case, torch.compile(step, dynamic=False))


def _torch(case: Case) -> nn.Module:
    return TORCH[case.cell](case.inputs, case.hidden)


class FlashRNN(nn.Module):
    """FlashRNN's LSTM (Pöppel et al. 2024) with torch's weights: input side apart, one head."""

    def __init__(self, case: Case, backend: str = "cuda_fused"):
        super().__init__()
        self.weights, self.backend = nn.LSTM(case.inputs, case.hidden), backend
        self.dtype = case.dtype
        self.run = _package(case, "FlashRNN").flashrnn

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Hidden states [T, B, H] of x [T, B, I]."""
        w, head = self.weights, (4, 1, self.weights.hidden_size)
        gx = nn.functional.linear(x, w.weight_ih_l0).transpose(0, 1).unflatten(-1, head)
        w_h, b = w.weight_hh_l0.unflatten(0, head), w.bias_ih_l0 + w.bias_hh_l0
        how = {"function": "lstm", "backend": self.backend, "dtype": self.dtype}
        states, _ = self.run(gx, w_h, b.unflatten(0, head), **how)  # [h or c, B, T, head, H]
        return states[0].squeeze(2).transpose(0, 1), None


def _haste(case: Case) -> nn.Module:
    return _package(case, "haste").LSTM(case.inputs, case.hidden)


_PACKAGES = {"FlashRNN": "flashrnn", "haste": "haste_pytorch"}


def installed() -> list[str]:
    """The packages of others that are here."""
    return [name for name, module in _PACKAGES.items() if find_spec(module)]


def _package(case: Case, name: str) -> ModuleType:
    require("provider", name in installed(), f"be installed ({_PACKAGES[name]})", name)
    what = f"{case.gate} of {case.cell}"
    require("gate", what == "- of lstm", f"be - of lstm for {name}", what)
    return import_module(_PACKAGES[name])


_PROVIDERS: dict[str, Callable[[Case], nn.Module]] = {
    "urgates": _ours,
    "plain loop": PlainLoop,
    "compiled loop": _compiled,
    "reference": lambda case: _ours(case, "reference"),
    "torch without oneDNN": _torch,
    "FlashRNN": FlashRNN,
    "haste": _haste,
}


class Contender:
    """Who runs a case, built for a device by the provider's name."""

    def __init__(self, case: Case, provider: str, device: str):
        build, dtype = {"torch.nn": _torch, **_PROVIDERS}[provider], DTYPES[case.dtype]
        self.device, many = device, case.models > 1
        modules = [build(case).to(device, dtype) for _ in range(case.models)]
        shape = (case.models, case.time, case.batch)
        x = torch.randn(*shape, case.inputs, device=device, dtype=dtype)
        dy = torch.randn(*shape, case.hidden, device=device, dtype=dtype)
        self.context = nullcontext
        if provider == "torch without oneDNN":
            self.context = _without_onednn
        if many and provider == "urgates":  # one call for all
            stacked, _ = stack_module_state(modules)
            self.parameters = list(stacked.values())
            run = vmap(lambda p, x: functional_call(modules[0], p, (x,))[0])
            self.calls = [(lambda: run(stacked, x), dy)]
        else:
            self.parameters = [p for module in modules for p in module.parameters()]
            self.calls = [(lambda m=m, a=a: m(a)[0], d) for m, a, d in zip(modules, x, dy)]  # noqa: B905
        self.graph = captured(self._step) if case.graphs else None

    def _step(self) -> float:
        forward = 0.0
        for p in self.parameters:
            p.grad = None
        for call, dy in self.calls:
            begun = now(self.device)
            y = call()
            forward += now(self.device) - begun
            y.backward(dy)
        return forward

    def __call__(self) -> tuple[float, float]:
        """Do it once: milliseconds of the training step, and of its forward part."""
        forward = math.nan  # a graph has no halves
        with self.context():
            begun = now(self.device)
            if self.graph:
                self.graph.replay()
            else:
                forward = self._step()
            return now(self.device) - begun, forward

    def kept(self) -> int:
        """Bytes of tensors kept from forward to backward, weights and inputs included."""
        with self.context():
            return kept(lambda: [call() for call, _ in self.calls])


@contextmanager
def _without_onednn():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch speaks of another vendor's GPUs here
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def captured(step: Callable) -> torch.cuda.CUDAGraph:
    """A CUDA graph of a step, after three to warm up."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        step()
    return graph
