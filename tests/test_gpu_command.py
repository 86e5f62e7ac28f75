"""`urgates gpu`, as far as it goes without a GPU: checks, tables, resuming, and what it refuses."""

import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch

from urgates.kernels import eager, native
from urgates.lab import Bench, apart, experiments, sweep
from urgates.lab.book import contenders, gpu, kernel_checks, kernel_tables, time_figures, timing
from urgates.lab.book.contenders import Case, FlashRNN
from urgates.lab.book.kernel_checks import Check, look
from urgates.lab.book.kernel_tables import Part
from urgates.lab.devices import float32_products
from urgates.lab.store.files import BusyError, locked

ROOT = Path(__file__).resolve().parents[1]
TINY = Check(hidden=8, time=3, batch=2, downsize=4)
CASE = Case(hidden=8, time=4, batch=2, gate="-", downsize=4)

# ------------------------------------------------------------------ checks


def test_interpreted_kernels_are_fine():
    code = (
        "from dataclasses import replace\n"
        "from urgates.lab.book.kernel_checks import Check, look\n"
        "tiny = Check(hidden=4, time=2, batch=2, downsize=2)\n"
        "for row in ({'fp32': 'ieee'}, {'gate': 'UM', 'dtype': 'bfloat16'},\n"
        "            {'how': 'vmap', 'gate': '-', 'models': 2}, {'cell': 'gru', 'gate': 'R'}):\n"
        "    found = look(replace(tiny, **row), 'cpu').iloc[0]\n"
        "    print(found.kernel, found.verdict, found.error > 0)\n"
    )
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines() == ["triton fine True"] * 4, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("spoil", "verdict"),
    [
        (lambda dc, again: dc, "fine"),
        (lambda dc, again: dc * 1.001, "too far from the truth"),
        (lambda dc, again: dc * float("nan"), "too far from the truth"),
        (lambda dc, again: dc * (1 + 2e-7 * again), "differs when repeated"),
    ],
)
def test_a_wrong_kernel_is_found_out(monkeypatch, spoil, verdict):
    times = []
    for backend in (native, eager):
        right = backend.backward

        def wrong(r, x, states, *given, right=right):
            found = right(r, x, states, *given)
            times.append(1)
            return found._replace(w_h=spoil(found.w_h, len(times) > 1))

        monkeypatch.setattr(backend, "backward", wrong)
    (row,) = look(replace(TINY, gate="R"), "cpu").to_dict("records")
    assert row["verdict"] == verdict and len(times) == 2
    assert row["worst"] == "weight_hh_l0" or verdict in ("fine", "differs when repeated")
    assert row["device"] == "CPU" and asdict(replace(TINY, gate="R")).items() <= row.items()


def test_a_graph_is_replayed_with_an_input_it_has_not_seen(monkeypatch):
    class Graph:
        def __init__(self, step):
            self.replay = step
            step()

    monkeypatch.setattr(kernel_checks, "captured", Graph)
    assert look(replace(TINY, how="graph"), "cpu").verdict.item() == "fine"
    monkeypatch.setattr(Graph, "replay", lambda self: None, raising=False)
    monkeypatch.setattr(kernel_checks, "captured", lambda step: step() or Graph(lambda: None))
    assert look(replace(TINY, how="graph"), "cpu").verdict.item() == "too far from the truth"


def test_checks_are_of_every_gate_both_types_and_all_manners():
    found = kernel_checks.checks("paper", "cuda")
    assert len({*found}) == len(found) < 100
    for how, cell, dtype, fp32 in (
        ("layer", "lstm", "float32", "tf32"),
        ("layer", "lstm", "float32", "ieee"),
        ("layer", "lstm", "bfloat16", "tf32"),
        ("layer", "gru", "float32", "tf32"),
        ("layer", "gru", "bfloat16", "tf32"),
    ):
        some = [c for c in found if (c.how, c.cell, c.dtype, c.fp32) == (how, cell, dtype, fp32)]
        assert {*kernel_checks.GATES, "F"} <= {c.gate for c in some}
    assert {(c.dtype, c.models) for c in found if c.how == "vmap"} >= {("bfloat16", 27)}
    assert {c.dtype for c in found if c.how == "graph"} == {"float32", "bfloat16"}
    assert not [c for c in kernel_checks.checks("smoke", "cpu") if c.how == "graph"]
    with pytest.raises(ValueError, match="models must be 1 but for vmap, got 2"):
        Check(models=2)


def test_precision_is_as_it_was():
    switches = torch.backends.cuda.matmul, torch.backends.cudnn.rnn
    before = [s.fp32_precision for s in switches]
    with pytest.raises(ZeroDivisionError), float32_products("tf32"):
        assert [s.fp32_precision for s in switches] == ["tf32", "tf32"]
        raise ZeroDivisionError
    assert [s.fp32_precision for s in switches] == before
    with pytest.raises(ValueError, match="precision must be one of tf32, ieee"):
        float32_products("half").__enter__()


# ------------------------------------------------------------------ tables


def answer(cases, **how):
    """What the notebook's own cells can go on with, whatever it asked for."""
    rows = [asdict(c) | {"ms": 2.0 * c.time, "rival_ms": 4.0, "ratio": 0.5} for c in cases]
    more = {"low": 0.4, "high": 0.6, "forward": 0.5, "us": 1.0, "kept": 1.0, "rival_kept": 2.0}
    return pd.DataFrame(rows).assign(**more, **timing.where("cpu"))


@pytest.mark.parametrize("preset", kernel_tables.PRESETS)
def test_the_notebook_times_what_the_command_measures(preset, monkeypatch, capsys):
    asked, made = {}, {
        "limits": [{"threads": 1, "gflops": 1.0}],
        "roof": [{"what": w, "most": 1.0} for w in ("copy", "float32", "bfloat16")],
        "errors": [{"provider": "urgates", "gate": "-", "time": 1, "error": 1e-9}],
    }  # fmt: skip

    def timings(self, name, cases=(), measure=None, **how):
        asked[name] = list(cases), how
        return answer(cases) if cases else pd.DataFrame(made[name]).assign(**timing.where("cpu"))

    monkeypatch.setattr(Bench, "timings", timings)
    monkeypatch.setattr(Bench, "save", lambda *_, **__: None)
    for name in ("ratios", "loops", "growth"):
        monkeypatch.setattr(time_figures, name, lambda *_: None)
    script = (ROOT / "notebooks/X1_kernels.py").read_text()
    code = "\n".join(c for c in script.split("# %%") if not c.startswith(" [markdown]"))
    names = {"__name__": "X1"}
    chosen = code.replace('preset: str = "laptop"', f"preset: str = {preset!r}")
    exec(re.sub(r"^ tags=.*$", "", chosen, flags=re.MULTILINE), names)
    device = "cuda" if preset == "paper" else "cpu"
    tables = kernel_tables.tables(preset, device)
    own = {"checks", "stacks", "strict", "others"}
    assert {*asked} == {*tables} - own - ({"dtypes"} if preset == "smoke" else set())
    for name, (cases, how) in asked.items():
        parts = tables[name]
        if cases:
            assert [p.key for p in parts] == [asdict(c) for c in cases], name
            assert all(p.make.args[0] == "tf32" for p in parts)
            assert all(how.items() <= p.make.args[2].items() for p in parts), name
    wanted = {(g, t) for g in names["gates"] for t in names["size"]["errors' times"]}
    assert {(p.key["gate"], p.key["time"]) for p in tables["errors"]} == wanted


def test_flashrnn_gives_what_torch_does_where_it_is_installed(monkeypatch):
    case = Case(provider="FlashRNN", gate="-", hidden=6, time=4, batch=3, inputs=2)
    if "FlashRNN" not in contenders.installed():
        with pytest.raises(ValueError, match=r"provider must be installed \(flashrnn\), got 'Fl"):
            FlashRNN(case)
        pytest.skip("needs the package flashrnn")
    x, layer = torch.randn(4, 3, 2), FlashRNN(case, "vanilla")
    assert torch.allclose(layer(x)[0], layer.weights(x)[0], atol=1e-6)


def test_packages_of_others_are_plain_lstms(monkeypatch):
    monkeypatch.setattr(contenders, "installed", lambda: ["FlashRNN", "haste"])
    for wish in ({"gate": "UR"}, {"gate": "-", "cell": "gru"}):
        with pytest.raises(ValueError, match="gate must be - of lstm for haste"):
            contenders.Contender(Case(provider="haste", **wish), "haste", "cpu")
    monkeypatch.setattr(kernel_tables, "installed", lambda: ["FlashRNN", "haste"])
    others = kernel_tables.tables("paper", "cuda")["others"]
    kinds = {(p.key["provider"], p.key["dtype"]) for p in others}
    assert ("haste", "float32") in kinds and ("haste", "bfloat16") not in kinds
    assert len(kinds) == 4 and {p.key["gate"] for p in others} == {"-"}


# ------------------------------------------------------------------ a process apart


def test_what_hangs_dies_or_fails_is_told_and_the_next_call_made(monkeypatch):
    monkeypatch.setattr(apart, "PATIENCE", 5.0)
    with apart.Apart(time.time() + 60) as work:
        assert work(partial(sum, [1, 2])) == 3
        first = work.process.pid
        assert work(os.getpid) == first
        with pytest.raises(RuntimeError, match="ValueError: invalid literal for int"):
            work(partial(int, "x"))
        with pytest.raises(RuntimeError, match="its process has died"):
            work(partial(os._exit, 3))
        assert work(os.getpid) not in (first, os.getpid())
        work.end = time.time()
        with pytest.raises(RuntimeError, match="no answer in 1 s"):
            work(partial(time.sleep, 60))
        left = work.process
    assert left is None and work.process is None


# ------------------------------------------------------------------ the visit


def parts(**given):
    """Tables of few parts, in the place of all."""
    few = {"checks": [], "lstm": [Part(asdict(CASE), partial(answer, [CASE]))], **given}
    return lambda preset, device: few


class Here:
    """In the place of a process apart."""

    def __init__(self, end):
        self.calls = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __call__(self, call):
        self.calls.append(call)
        return call()


@pytest.fixture
def quick(monkeypatch):
    """Copy for twenty steps, one gate; calls made here."""
    p = replace(experiments.protocol("copy", "smoke"), steps=20)
    job = sweep.Job(p, "lstm", "-", (1,))
    one = sweep.Training("31_synthetic_memory", job)
    monkeypatch.setattr(sweep, "wanted", lambda *_: [one])
    monkeypatch.setattr(gpu, "Apart", Here)
    return partial(gpu.visit, preset="smoke", device="cpu", minutes=5)


def test_a_visit_stores_rows_and_runs_and_does_nothing_twice(quick, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "Apart", apart.Apart)  # once, the whole way
    how = {"pairs": 1, "threads": 1, "seconds": 0.001}
    few = {
        "checks": [Part(asdict(TINY), partial(look, TINY, "cpu"))],
        "lstm": [Part(asdict(CASE), partial(kernel_tables.timed, "tf32", CASE, how))],
        "limits": [Part({}, partial(timing.gemm_peak, size=64, repeats=2))],
    }
    monkeypatch.setattr(gpu, "tables", lambda *_: few)
    lines = []
    assert quick(tmp_path, told=lines.append) == 0, lines
    runs = tmp_path / "X1_kernels/runs"
    assert {path.name for path in runs.iterdir()} == {
        "checks_smoke.csv", "lstm_smoke.csv", "limits_smoke.csv",
    }  # fmt: skip
    for name in ("checks", "lstm", "limits"):
        rows = timing.stored(runs / f"{name}_smoke.csv")
        most = 2 if name == "limits" else 1  # on one thread, and on all
        assert 1 <= len(rows) <= most and {*rows.device} == {"CPU"}
    assert (tmp_path / "31_synthetic_memory/runs/copy_lstm_-_smoke_s1.csv").exists()
    assert "copy_lstm_-_smoke_s1: done, 20 of 20 steps" in lines
    assert lines[-1] == "rehearsed without a GPU: X1's tables for one stay 'not measured'"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.csv")}
    monkeypatch.setattr(Here, "__call__", lambda *_: pytest.fail("it measures again"))
    monkeypatch.setattr(gpu, "Apart", Here)
    assert quick(tmp_path) == 0
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.csv")}
    again, known = tmp_path / "again", tmp_path
    monkeypatch.setattr(gpu, "tables", parts(lstm=[]))
    monkeypatch.setattr(gpu, "run_missing", lambda *_, **__: pytest.fail("it trains again"))
    assert quick(again, known=known) == 0


def test_what_goes_wrong_is_kept_and_tried_again(quick, monkeypatch, tmp_path):
    def fails():
        raise RuntimeError("no memory")

    other = replace(CASE, hidden=16)
    table = [Part(asdict(other), fails), Part(asdict(CASE), partial(answer, [CASE]))]
    monkeypatch.setattr(gpu, "tables", parts(lstm=table))
    assert quick(tmp_path, minutes=0.001) == 1
    (row,) = pd.read_csv(tmp_path / "problems.csv").to_dict("records")
    assert row["table"] == "lstm" and "hidden=16" in row["what"] and row["why"] == "no memory"
    path = tmp_path / "X1_kernels/runs/lstm_smoke.csv"
    assert timing.stored(path).hidden.tolist() == [8]
    monkeypatch.setattr(
        gpu, "tables", parts(lstm=[replace(table[0], make=partial(answer, [other])), table[1]])
    )
    assert quick(tmp_path) == 0 and timing.stored(path).hidden.tolist() == [8, 16]


def test_time_is_up_when_it_is_up(tmp_path):
    made = []
    some = [Part(asdict(CASE), lambda: made.append(1))]
    left, problems = gpu.fill(tmp_path / "t.csv", some, Here(0), 0.0, "cpu", made.append)
    assert (left, problems, made) == (1, [], []) and not (tmp_path / "t.csv").exists()


@pytest.mark.parametrize("why", ["verdict", "raised"])
def test_a_gate_whose_check_went_wrong_is_not_trained(quick, monkeypatch, tmp_path, why):
    bad = replace(TINY, gate="-")

    def checked():
        if why == "raised":
            raise RuntimeError("no answer in 240 s")
        return look(bad, "cpu").assign(verdict="too far from the truth")

    monkeypatch.setattr(gpu, "tables", parts(checks=[Part(asdict(bad), checked)], lstm=[]))
    lines = []
    assert quick(tmp_path, told=lines.append) == 1
    assert "copy_lstm_-_smoke_s1: not trained, as a check of its kernel went wrong" in lines
    assert not (tmp_path / "31_synthetic_memory").exists()


def test_rows_of_two_devices_and_two_visits_at_once_are_refused(quick, monkeypatch, tmp_path):
    path = tmp_path / "X1_kernels/runs/lstm_smoke.csv"
    timing.store(answer([CASE]).assign(device="NVIDIA H200"), path)
    monkeypatch.setattr(gpu, "tables", parts())
    with pytest.raises(ValueError, match=r"out must hold rows of CPU alone, got .*NVIDIA H200"):
        quick(tmp_path)
    with locked(tmp_path / "gpu.lock"), pytest.raises(BusyError, match="is visiting a GPU"):
        quick(tmp_path)


def test_the_queue_of_the_book_is_what_a_gpu_trains(monkeypatch, tmp_path):
    begun = []
    monkeypatch.setattr(gpu, "run_missing", lambda jobs, folder, **_: begun.append(*jobs))
    gpu._train(tmp_path, "paper", "cpu", time.time() + 9, None, ("OM",), lambda line: None)
    book = [t.job for t in sweep.QUEUE if t.job.protocol.task == "copy"]
    book = [job for job in book if job.protocol.preset == "paper" and job.gate != "OM"]
    assert begun == book and len(book) == 3 * 8
