"""Timings side by side: our layers, torch's, and the loops people write, in one process.

Every `Case` (contenders.py) runs turn about with torch's layer of the same size on the clock of
clock.py, and both times are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from urgates.gates import positive_int
from urgates.lab.book.clock import stopwatch, turn_about
from urgates.lab.book.clock import threads as on_threads
from urgates.lab.book.contenders import Case, Contender
from urgates.lab.devices import device_name
from urgates.lab.store.files import write_atomically
from urgates.lab.store.record import commit
from urgates.rnn import LSTM


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
    cases, rows = list(cases), []
    positive_int("pairs", pairs)
    if not device.startswith("cuda") and any(case.graphs for case in cases):
        raise ValueError(f"graphs must be False without a GPU, got True and device {device!r}")
    on_device = torch.cuda.device(device) if device.startswith("cuda") else nullcontext()
    with on_threads(threads), on_device:
        for case in cases:
            rows.append(_row(case, pairs, device, seconds))
            progress(table(pd.DataFrame(rows[-1:])))
    return pd.DataFrame(rows)


def _row(case: Case, pairs: int, device: str, seconds: float) -> dict:
    ours, theirs = (Contender(case, name, device) for name in (case.provider, case.rival))
    taken = turn_about({"ours": ours, "theirs": theirs}, pairs, seconds)
    columns = ["ms", "forward_ms", "rival_ms", "rival_forward_ms"]
    frame = pd.DataFrame(taken.reshape(pairs, 4), columns=columns)
    ratio = frame.ms / frame.rival_ms
    medians = frame.median()
    kept = {} if case.graphs else {"kept": ours.kept() / 1e6, "rival_kept": theirs.kept() / 1e6}
    return asdict(case) | {
        "ms": medians.ms, "rival_ms": medians.rival_ms, "ratio": ratio.median(),
        "low": ratio.quantile(0.25), "high": ratio.quantile(0.75),
        "forward": (frame.forward_ms / frame.rival_forward_ms).median(),
        "us": 1e3 * medians.ms / case.time / case.models,
        **kept, "pairs": pairs, "threads": torch.get_num_threads(), **where(device),
    }  # fmt: skip


def where(device: str) -> dict[str, str]:
    """What a measured row says of its machine and code: device, torch, commit."""
    return {"device": device_name(device), "torch": torch.__version__, "commit": commit()}


def table(frame: pd.DataFrame) -> str:
    """The rows as text: what ran, its size, milliseconds, ratio and quartiles."""
    lines = []
    for r in frame.itertuples():
        size = f"T={r.time} B={r.batch} I={r.inputs} H={r.hidden}"
        size += f" M={r.models}" * (r.models > 1) + f" {r.dtype}" * (r.dtype != "float32")
        size += " graph" * bool(r.graphs)
        what = f"{r.provider} {r.gate}-{r.cell.upper()}".replace("--", "-")
        lines.append(
            f"{what:24} {size:28} {r.ms:9.2f} ms  {r.us:8.2f} us/step  "
            f"{r.ratio:5.2f} x {r.rival} ({r.low:.2f} to {r.high:.2f}), forward {r.forward:.2f} x"
        )
    return "\n".join(lines)


def store(frame: pd.DataFrame, path: Path) -> None:
    """Write a table, with six digits; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_atomically(path, text.encode())


def stored(path: Path) -> pd.DataFrame:
    """Read a stored table."""
    return pd.read_csv(path, dtype={"commit": str})  # 31415e9 would be a number


def gemm_peak(device: str = "cpu", size: int = 1024, repeats: int = 20) -> pd.DataFrame:
    """Speed of a square float32 product at 1 thread and at torch's number: threads, gflops."""
    rows, a = [], torch.randn(size, size, device=device)
    for number in sorted({1, torch.get_num_threads()}):
        with on_threads(number):
            product = {"a @ a": lambda: stopwatch(lambda: a @ a, device=device)}
            best = turn_about(product, repeats).min()
        found = {"threads": number, "gflops": 2e-6 * size**3 / best}
        rows.append(found | where(device))
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
            row = {"provider": provider, "gate": name, "time": time, "what": what}
            rows.append(row | {"error": error_ratio(value, exact[what])})
    return rows


def error_ratio(ours: Tensor, truth: Tensor) -> float:
    """RMS(ours - truth) / RMS(truth)."""
    return float((ours - truth).square().mean().sqrt() / truth.square().mean().sqrt())
