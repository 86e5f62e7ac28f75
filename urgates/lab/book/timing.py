"""Timings side by side: our layers, torch's, and the loops people write, in one process.

A time by itself says little on a shared machine, a ratio of two runs that alternate says a lot:
every `Case` runs turn about with torch's layer of the same size, and both times are kept.
T time steps, B batch, I inputs, H hidden units, M models; times in milliseconds, input side and
weight gradients included, of one training step (forward and backward) and of its forward.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from statistics import mean

import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from urgates.gates import gate, positive_int, refine, update
from urgates.lab.store.record import commit, device_name
from urgates.lab.train import keep_freed_memory
from urgates.rnn import GRU, LSTM

OURS, TORCH = {"lstm": LSTM, "gru": GRU}, {"lstm": nn.LSTM, "gru": nn.GRU}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Case:
    """What is timed against torch's layer of the same cell and size.

    Args:
        provider: "urgates", "plain loop", "compiled loop" (torch.compile of its step), "reference"
            or "torch without oneDNN".
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


_PROVIDERS: dict[str, Callable[[Case], nn.Module]] = {
    "urgates": _ours,
    "plain loop": PlainLoop,
    "compiled loop": _compiled,
    "reference": lambda case: _ours(case, "reference"),
    "torch without oneDNN": _torch,
}


class _Runner:
    """One contender: call it for the milliseconds of (training step, its forward)."""

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
        self.graph = _captured(self._step) if case.graphs else None

    def _clock(self) -> float:
        if self.device.startswith("cuda") and not torch.cuda.is_current_stream_capturing():
            torch.cuda.synchronize(self.device)
        return 1e3 * time.perf_counter()

    def _step(self) -> float:
        forward = 0.0
        for p in self.parameters:
            p.grad = None
        for call, dy in self.calls:
            begun = self._clock()
            y = call()
            forward += self._clock() - begun
            y.backward(dy)
        return forward

    def __call__(self) -> tuple[float, float]:
        forward = math.nan  # a graph has no halves
        with self.context():
            begun = self._clock()
            if self.graph:
                self.graph.replay()
            else:
                forward = self._step()
            return self._clock() - begun, forward

    def kept(self) -> int:
        """Bytes of tensors kept from forward to backward, weights and inputs included."""
        seen = {}

        def pack(x: Tensor) -> Tensor:
            seen[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with self.context(), torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            results = [call() for call, _ in self.calls]
        del results
        return sum(seen.values())


@contextmanager
def _without_onednn():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch speaks of another vendor's GPUs here
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def _captured(step: Callable) -> torch.cuda.CUDAGraph:
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        step()
    return graph


# ------------------------------------------------------------------ measuring


def measure(
    cases: Iterable[Case],
    pairs: int = 9,
    device: str = "cpu",
    threads: int | None = None,
    seconds: float = 0.05,
    progress: Callable[[str], None] = lambda line: None,
) -> pd.DataFrame:
    """Time every case turn about with its rival.

    Args:
        pairs: how often, odd so that the median is one of them.
        threads: torch's number of threads; as it is if None.
        seconds: each turn repeats until about so long.
        progress: called with a line per case.
    Raises:
        ValueError: for a number below 1, and for CUDA graphs on another device.
    Returns:
        A row per case: its fields, ms and rival_ms (medians of a training step), ratio with low
        and high (quartiles), forward (ratio of the forwards), us (per time step and model), kept
        and rival_kept (MB from forward to backward), threads, device, torch, commit.
    """
    cases, before = list(cases), torch.get_num_threads()
    positive_int("pairs", pairs)
    positive_int("threads", before if threads is None else threads)
    if not device.startswith("cuda") and any(case.graphs for case in cases):
        raise ValueError(f"graphs must be False without a GPU, got True and device {device!r}")
    keep_freed_memory()
    torch.set_num_threads(before if threads is None else threads)
    try:
        rows = []
        with torch.cuda.device(device) if device.startswith("cuda") else nullcontext():
            for case in cases:
                rows.append(_row(case, pairs, device, seconds))
                progress(table(pd.DataFrame(rows[-1:])))
        return pd.DataFrame(rows)
    finally:
        torch.set_num_threads(before)


def _row(case: Case, pairs: int, device: str, seconds: float) -> dict:
    ours, theirs = (_Runner(case, name, device) for name in (case.provider, case.rival))
    turns = {}
    for runner in (ours, theirs):
        runner()  # compiles, packs, warms up
        turns[runner] = max(1, round(1e3 * seconds / runner()[0]))

    def turn(runner: _Runner) -> tuple[float, float]:
        steps, forwards = zip(*(runner() for _ in range(turns[runner])), strict=True)
        return mean(steps), mean(forwards)

    found = [(*turn(ours), *turn(theirs)) for _ in range(pairs)]
    frame = pd.DataFrame(found, columns=["ms", "forward_ms", "rival_ms", "rival_forward_ms"])
    ratio = frame.ms / frame.rival_ms
    medians = frame.median()
    kept = {} if case.graphs else {"kept": ours.kept() / 1e6, "rival_kept": theirs.kept() / 1e6}
    return asdict(case) | {
        "ms": medians.ms, "rival_ms": medians.rival_ms, "ratio": ratio.median(),
        "low": ratio.quantile(0.25), "high": ratio.quantile(0.75),
        "forward": (frame.forward_ms / frame.rival_forward_ms).median(),
        "us": 1e3 * medians.ms / case.time / case.models,
        **kept, "pairs": pairs, "threads": torch.get_num_threads(), "device": device_name(device),
        "torch": torch.__version__, "commit": commit(),
    }  # fmt: skip


def table(frame: pd.DataFrame) -> str:
    """The rows as text: what ran, its size, milliseconds, ratio and quartiles."""
    lines = []
    for r in frame.itertuples():
        size = f"T={r.time} B={r.batch} I={r.inputs} H={r.hidden}" + f" M={r.models}" * (
            r.models > 1
        )
        what = f"{r.provider} {r.gate}-{r.cell.upper()}".replace("--", "-")
        lines.append(
            f"{what:24} {size:28} {r.ms:9.2f} ms  {r.us:8.2f} us/step  "
            f"{r.ratio:5.2f} x {r.rival} ({r.low:.2f} to {r.high:.2f}), forward {r.forward:.2f} x"
        )
    return "\n".join(lines)


def gemm_peak(device: str = "cpu", size: int = 1024, repeats: int = 20) -> pd.DataFrame:
    """Speed of a square float32 product at 1 thread and at torch's number: threads, gflops."""
    rows, before = [], torch.get_num_threads()
    a = torch.randn(size, size, device=device)
    for threads in sorted({1, before}):
        torch.set_num_threads(threads)
        best = math.inf
        for _ in range(repeats):
            begun = time.perf_counter()
            a @ a
            if device.startswith("cuda"):
                torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - begun)
        found = {"threads": threads, "gflops": 2e-9 * size**3 / best, "device": device_name(device)}
        rows.append(found | {"torch": torch.__version__, "commit": commit()})
    torch.set_num_threads(before)
    return pd.DataFrame(rows)


def error_ratios(
    name: str, time: int, batch: int = 4, hidden: int = 64, device: str = "cpu"
) -> list[dict]:
    """RMS errors of a float32 LSTM against the float64 reference, relative to the truth's RMS.

    Rows: provider ("urgates", and "torch.nn" for the gate "-"), gate, time, what, error; `what` is
    the hidden states, the last cell state or the parameter whose gradient it is.
    """
    torch.manual_seed(0)
    truth = LSTM(2, hidden, gate=name, t_max=max(time, 3), kernel="reference", dtype=torch.float64)
    contenders = {"urgates": LSTM(2, hidden, gate=name, t_max=max(time, 3))}
    if name == "-":
        contenders["torch.nn"] = nn.LSTM(2, hidden)
    x, dy = (torch.randn(time, batch, n, dtype=torch.float64) for n in (2, hidden))

    def found(module: nn.Module) -> dict[str, Tensor]:
        module.to(device)
        like = next(module.parameters())
        y, (_, c) = module(x.to(like))
        y.backward(dy.to(like))
        gradients = {name: p.grad for name, p in module.named_parameters()}
        return {k: v.detach().cpu().double() for k, v in {"h": y, "c": c, **gradients}.items()}

    for module in contenders.values():
        module.load_state_dict(truth.state_dict())
    exact, rows = found(truth), []
    for provider, module in contenders.items():
        for what, value in found(module).items():
            error = (value - exact[what]).square().mean().sqrt() / exact[
                what
            ].square().mean().sqrt()
            row = {"provider": provider, "gate": name, "time": time, "what": what}
            rows.append(row | {"error": float(error)})
    return rows
