"""The Triton kernels: their results, and what the compiler makes of them for a GPU not at hand.

Triton decides at its import whether it interprets, so triton_cases.py runs in a process of its own.
"""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_native import problem

import urgates
from urgates import kernels, symbolic
from urgates.gates import Gate
from urgates.kernels import Inputs, Recurrence, triton
from urgates.kernels.triton import SHARED, UNITS

HERE = Path(__file__).parent
if importlib.util.find_spec("triton") is None:
    pytest.skip("needs the package triton (Linux)", allow_module_level=True)


@pytest.mark.long
@pytest.mark.parametrize("where", ["interpreted", "gpu"])
def test_cases(where):
    if where == "gpu" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    environment = os.environ | {
        "TRITON_INTERPRET": str(int(where == "interpreted")),
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # or products would not repeat on several streams
    }
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, str(HERE / "triton_cases.py")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search(r"1\d\d passed", done.stdout), done.stdout[-2000:]


# ------------------------------------------------------------------ compiled ahead, for an H100


class Recorder:
    """In the place of a kernel: keeps the arguments of its launch."""

    def __getitem__(self, grid):
        def launch(*args, **constants):
            self.args, self.constants = args, constants

        return launch


def launches(r, B, H, dtype, C=1, zoneout=False, cut=None):
    """Arguments of both kernels' launches over one step."""
    args, (dhs, dc) = problem(r, 1, 1, B, H, C, zoneout)
    args = [None if a is None else a.to(dtype) for a in args[:6]] + args[6:]
    x = Inputs(*args)
    recorders = SimpleNamespace(forward=Recorder(), backward=Recorder())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton, "library", lambda r: recorders)
        states = triton.forward(r, x, cut=cut)
        triton.backward(r, x, states, dhs.to(dtype), dc, cut=cut)
    return vars(recorders)


def resources(kernel, launch):
    """Registers, stack and shared memory [bytes] of a kernel compiled for sm_90."""
    from triton import compile, knobs
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    constants = dict(launch.constants)
    options = {name: constants.pop(name) for name in ("num_warps", "num_stages", "maxnreg")}
    signature, attributes = {}, {}
    types = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}
    types[torch.int32] = "*i32"
    for k, (name, value) in enumerate(zip(kernel.arg_names, launch.args, strict=False)):
        if value is None:
            signature[name], constants[name] = "constexpr", None
        elif isinstance(value, torch.Tensor):
            signature[name], attributes[(k,)] = types[value.dtype], [["tt.divisibility", 16]]
        else:
            signature[name] = "i32"
    signature |= dict.fromkeys(constants, "constexpr")
    source = ASTSource(kernel, {n: signature[n] for n in kernel.arg_names}, constants, attributes)
    compiled = compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(compiled.asm["cubin"])
        command = [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {name: int(n) for name, n in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", report)}
    assert set(found) == {"REG", "STACK", "LOCAL"}, report
    return found | {"SHARED": compiled.metadata.shared}


def fits(r, *size, spilled=16, **more):  # a word or two: the assembler's choice to be small
    for name, launch in launches(r, *size, **more).items():
        found = resources(getattr(triton.library(r), name), launch)
        assert found["STACK"] <= spilled and found["LOCAL"] == 0, (name, found)
        assert found["SHARED"] <= SHARED, (name, found)
        yield name, launch.constants, found


@pytest.fixture
def tf32():
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    yield
    torch.backends.cuda.matmul.fp32_precision = before


@pytest.mark.parametrize("B", [16, 2200], ids=["latency", "throughput"])
@pytest.mark.parametrize(("size", "inner"), UNITS)
def test_every_row_of_the_table_fits(size, inner, B, tf32):
    r = Recurrence("lstm", urgates.gate("UR"))
    dtype = torch.bfloat16 if size == 2 else torch.float32
    for name, constants, _ in fits(r, B, inner, dtype, spilled=0 if B == 16 else 16):
        assert constants["DOT"] and constants["BM"] == (16 if B == 16 else 32), name


@pytest.mark.parametrize(
    ("name", "cell", "keep_reset", "B", "dtype", "zoneout"),
    [
        ("-", "lstm", True, 2200, torch.bfloat16, True),
        ("-", "gru", True, 16, torch.float32, False),
        ("UR", "gru", True, 2200, torch.float32, False),
        ("UR", "gru", False, 16, torch.float16, True),
        ("F", "lstm", True, 16, torch.bfloat16, False),
        ("UFR", "lstm", True, 2200, torch.float32, False),
    ],
)
def test_other_gates_and_masks_fit(name, cell, keep_reset, B, dtype, zoneout, tf32):
    r = Recurrence(cell, urgates.gate(name), keep_reset)
    spilled = 96 if zoneout else 16  # masks may cost a few registers too many
    for _, constants, _ in fits(r, B, 200, dtype, zoneout=zoneout, spilled=spilled):
        assert constants["WAIT"] and constants["BK"] == 256


@pytest.mark.parametrize(("size", "inner"), [row for row, units in UNITS.items() if units[2]])
def test_ordered_gates_fit_where_one_program_holds_all_units(size, inner, tf32):
    r = Recurrence("lstm", urgates.gate("OR"))
    dtype = torch.bfloat16 if size == 2 else torch.float32
    for _, constants, _ in fits(r, 2200, inner, dtype):
        assert constants["DOT"] and not constants["WAIT"] and constants["BM"] == 16


@pytest.mark.parametrize(
    ("name", "H", "C"), [("UR", 2048, 1), ("O", 1000, 1), ("OM", 2048, 16), ("UM", 1536, 6)]
)
def test_steps_fit(name, H, C):
    r = Recurrence("lstm", urgates.gate(name))
    for _, constants, found in fits(r, 50, H, torch.float32, C=C, zoneout=True, spilled=32):
        assert not constants["DOT"] and found["SHARED"] <= 48 * 1024


def test_strict_float32_and_large_layers_go_step_by_step(tf32):
    def persistent(name, H, dtype=torch.float32, C=1):
        r = Recurrence("lstm", urgates.gate(name))
        x = problem(r, 1, 1, 50, H, C)[0]
        return triton.plan(r, Inputs(*(a if a is None else a.to(dtype) for a in x))).persistent

    assert persistent("UR", 300) and persistent("UR", 512, torch.float16)
    assert not persistent("UR", 513, torch.float16) and not persistent("O", 100)
    assert not persistent("OM", 60, C=10) and not persistent("UM", 60)
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    assert not persistent("UR", 300) and persistent("UR", 300, torch.bfloat16)


# ------------------------------------------------------------------ choice


def test_why_it_does_not_run_is_said_in_one_line(monkeypatch):
    r = Recurrence("lstm", urgates.gate("UR"))
    single, double = torch.zeros(1), torch.zeros(1, dtype=torch.float64)
    with pytest.raises(ValueError, match="got 'triton': it takes float32, bfloat16 and"):
        kernels.choose("triton", r, double)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match="got 'triton': it takes tensors on a CUDA device"):
        kernels.choose("triton", r, single)
    with pytest.raises(ValueError, match="this here, got 'triton': it takes tensors on"):
        urgates.LSTM(2, 3, kernel="triton")(torch.zeros(4, 1, 2))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "needs a CUDA device" in kernels.unavailable()["triton"]
    assert "triton" not in kernels.available()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "needs the package triton" in kernels.unavailable()["triton"]
    monkeypatch.undo()
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert "triton" in kernels.available() and kernels.choose("triton", r, single) == "triton"
    assert kernels.choose("auto", r, single) != "triton"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_auto_takes_it_on_a_gpu_where_it_fits(dtype, monkeypatch):
    r = Recurrence("lstm", urgates.gate("UR"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    x = SimpleNamespace(device=torch.device("cuda", 0), dtype=dtype)
    assert kernels.choose("auto", r, x) == ("eager" if dtype == torch.float64 else "triton")


def test_importing_urgates_does_not_import_triton():
    code = "import sys, urgates; urgates.kernels.available(); print('triton' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_tensors_on_several_devices_are_refused_by_name():
    r = Recurrence("lstm", urgates.gate("UR"))
    args = problem(r, 1, 1, 2, 3)[0]
    args[5] = args[5].to("meta")
    with pytest.raises(ValueError, match="h0 must be on cpu, where x is, got meta"):
        kernels.scan(r, Inputs(*args))


# ------------------------------------------------------------------ formulas


def test_formulas_reach_triton_as_they_are():
    class Odd(Gate):
        def combine(self, a, c):
            import sympy as s

            f, i = a["f"], a["i"]
            bent = s.Piecewise((s.exp(-f) * f**3, f < 0.5), (s.sqrt(f) / (1 + i**2), True))
            return bent + s.Rational(1, 3), s.Max(c["f"], i, 0.2) ** s.Rational(3, 2) * s.pi

    heads = Odd().heads
    tl = SimpleNamespace(exp=torch.exp, sqrt=torch.sqrt, log=torch.log, where=torch.where)
    tl.maximum = lambda a, b: torch.maximum(*map(torch.as_tensor, (a, b)))
    f, i = torch.rand(2, 100, dtype=torch.float64)
    names = {"tl": tl, "f": f, "f_c": 1 - f, "i": i, "i_c": 1 - i}
    exec(symbolic.triton_statements(Odd(), heads), names)
    bent = torch.where(f < 0.5, torch.exp(-f) * f**3, f.sqrt() / (1 + i**2)) + 1 / 3
    assert torch.allclose(names["forget"], bent, rtol=1e-12)
    largest = torch.maximum(1 - f, i).clamp(min=0.2)
    assert torch.allclose(names["input"], largest**1.5 * torch.pi, rtol=1e-12)
