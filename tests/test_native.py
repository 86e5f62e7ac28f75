"""The compiled kernel: equal to the float64 reference, for every gate, size and stride; builds."""

import os
import subprocess
import sys
import warnings

import pytest
import torch
from tolerances import assert_close, assert_rounded
from torch.func import functional_call, stack_module_state, vmap

import urgates
from urgates import GATES, kernels
from urgates.kernels import Inputs, Recurrence, eager, native, reference
from urgates.kernels.native import build
from urgates.kernels.reference import Gradients

pytestmark = pytest.mark.skipif(native.compiler() is None, reason="needs a C++ compiler")
CELLS = [("lstm", True), ("gru", True), ("gru", False)]
cells = pytest.mark.parametrize(("cell", "keep_reset"), CELLS)
GRADIENTS = Gradients._fields
N = len(GRADIENTS)


def problem(r, M, T, B, H, C=1, zoneout=False, scale=1.0, inputs=3):
    """Arguments of a back end's forward, and cotangents, all float32."""
    draw = torch.Generator().manual_seed(M + 10 * T + 100 * B + H)

    def normal(*shape):
        return torch.randn(shape, generator=draw)

    G = r.rows(H, C)[r.heads[-1]].stop
    b_u = normal(M, H) if "reset" in r.heads else None
    args = [normal(M, T, B, inputs) * scale, normal(M, G, inputs), normal(M, G)]
    args += [normal(M, G, H) * H**-0.5, b_u, normal(M, B, H)]
    keep = [None, None]
    if zoneout:  # one mask per unit, one per row for all units
        keep = [(torch.rand(M, T, B, H, generator=draw) < 0.3).float()]
        keep.append(torch.rand(1, T, B, 1, generator=draw))
    return [*args, normal(M, B, H), *keep], (normal(M, T, B, H), normal(M, B, H))


def truth(r, args, cotangents, dtype=torch.float64):
    """States and gradients by the reference; in float32 what the plain loop makes of them."""
    args = [None if a is None else a.detach().to(dtype) for a in args]
    inputs = [a.requires_grad_() for a in args[:N] if a is not None]
    hs, cs = reference.scan(r, Inputs(*args))
    lstm = r.cell == "lstm"
    outputs = [hs, cs[:, -1]] if lstm else [hs]
    cotangents = [c.to(dtype) for c in cotangents][: len(outputs)]
    found = iter(torch.autograd.grad(outputs, inputs, cotangents, allow_unused=True))
    gradients = {
        n: None if a is None else next(found) for n, a in zip(GRADIENTS, args[:N], strict=True)
    }
    return {"hs": hs, "cs": cs if lstm else None, **gradients}


def ours(r, args, cotangents, backend=native):
    x = Inputs(*args)
    states = backend.forward(r, x)
    gradients = backend.backward(r, x, states, *cotangents)
    return {"hs": states.hs, "cs": states.cs, **dict(zip(GRADIENTS, gradients, strict=True))}


def agree(r, args, cotangents):
    plain = truth(r, args, cotangents, torch.float32)
    assert_rounded(ours(r, args, cotangents), plain, truth(r, args, cotangents))


STEEP = 1e-4  # with inputs of 1e4, one unit on the steep part of its gate decides
SIZES = [(5, 1, 31, 1, 1), (1, 2, 13, 4, 2), (2, 63, 7, 34, 1), (3, 20, 13, 64, 16)]


@cells
@pytest.mark.parametrize("name", GATES)
def test_equals_the_reference(name, cell, keep_reset):
    r = Recurrence(cell, urgates.gate(name), keep_reset)
    for size in SIZES:
        agree(r, *problem(r, *size))
        agree(r, *problem(r, *size, zoneout=True))


BEYOND = [("F", "lstm"), ("S", "gru"), ("UFM", "lstm"), ("USR", "lstm")]  # beyond Table 1


@pytest.mark.parametrize(("name", "cell"), BEYOND)
def test_other_activations_equal_the_reference_and_stay_finite(name, cell):
    r = Recurrence(cell, urgates.gate(name))
    for size in SIZES:
        agree(r, *problem(r, *size))
        agree(r, *problem(r, *size, zoneout=True))
    args, cotangents = problem(r, 1, 7, 3, 20, scale=1e4)
    found = ours(r, args, cotangents)
    assert all(torch.isfinite(x).all() for x in found.values())
    assert_close("hs", found["hs"], truth(r, args, cotangents)["hs"], STEEP)
    args[3][0, 0, 0] = float("nan")
    assert ours(r, args, cotangents)["hs"].isnan().any()


def test_powers_and_roots_of_a_users_formula_reach_c_as_they_are():
    class Bent(urgates.Gate):
        def combine(self, a, c):
            forget = a["f"] ** 3 * (2 - a["f"] ** 0.5) / (1 + c["i"] ** 1.5) ** 2
            return forget, c["f"] ** 1.25 / (1 + a["i"]) ** 3

    r = Recurrence("lstm", Bent())
    agree(r, *problem(r, 1, 4, 3, 20))


@cells
@pytest.mark.parametrize("inputs", [1, 17, 70])
def test_any_number_of_inputs_and_batches_beyond_a_block(inputs, cell, keep_reset):
    r = Recurrence(cell, urgates.gate("UR"), keep_reset)
    agree(r, *problem(r, 1, 5, 3, 20, inputs=inputs, scale=inputs**-0.5))
    agree(r, *problem(r, 1, 2, 300, 5, inputs=inputs, scale=inputs**-0.5))


@pytest.mark.parametrize("name", [*GATES, "F"])
def test_two_thousand_steps_of_a_fresh_layer_lose_no_accuracy(name):
    torch.manual_seed(0)
    x, dy = torch.randn(2000, 2, 2), torch.randn(2000, 2, 20)
    weights, found = urgates.LSTM(2, 20, gate=name, t_max=2000).state_dict(), []
    for kernel, like in (("native", x), ("reference", x), ("reference", x.double())):
        layer = urgates.LSTM(2, 20, gate=name, kernel=kernel, dtype=like.dtype)
        layer.load_state_dict(weights)
        y, (_, c) = layer(x.to(like))
        y.backward(dy.to(like))
        found.append({"h": y, "c": c} | {k: p.grad for k, p in layer.named_parameters()})
    assert_rounded(*found)


def test_inference_keeps_nothing():
    r = Recurrence("lstm", urgates.gate("UR"))
    args, _ = problem(r, 1, 5, 3, 20)
    training, inference = (native.forward(r, Inputs(*args), flag) for flag in (True, False))
    assert torch.equal(training.hs, inference.hs) and inference.stash.numel() == 0


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
@pytest.mark.parametrize("name", ["-", "UR", "OM"])
def test_layers_stack_to_one_call_and_equal_the_torch_kernel(name, cell):
    models = [getattr(urgates, cell)(3, 18, gate=name, kernel="native") for _ in range(3)]
    parameters, _ = stack_module_state(models)
    x = torch.randn(3, 11, 5, 3)

    def losses(module):
        run = vmap(lambda p, x: functional_call(module, p, (x,))[0].square().sum())
        return run(parameters, x)

    def gradients(module):
        return torch.autograd.grad(losses(module).sum(), list(parameters.values()))

    slow = getattr(urgates, cell)(3, 18, gate=name, kernel="eager")
    assert_close("loss", losses(models[0]), losses(slow))
    for name, a, b in zip(parameters, gradients(models[0]), gradients(slow), strict=True):
        assert_close(name, a, b, 3e-6)  # two single roundings


@pytest.mark.parametrize("name", ["UR", "OM"])
def test_strides_do_not_matter(name):
    r = Recurrence("lstm", urgates.gate(name))
    args, cotangents = problem(r, 2, 9, 5, 12, zoneout=True)
    plain = ours(r, args, cotangents)

    def twist(x):
        return None if x is None else x.movedim(-1, 0).contiguous().movedim(0, -1)

    def spread(x):
        return None if x is None else torch.stack([x, x], 1).flatten(0, 1)[::2]

    for change in (twist, spread):
        odd = ours(r, [change(a) for a in args], [change(c) for c in cotangents])
        assert all(torch.equal(plain[k], odd[k]) for k in plain)
    flat = cotangents[0][:, :1, :1, :1].expand_as(cotangents[0]), cotangents[1]
    broadcast = ours(r, args, flat)
    dense = ours(r, args, [c.contiguous() for c in flat])
    assert all(torch.equal(broadcast[k], dense[k]) for k in dense)


def repeats(r, args, cotangents):
    """The kernel's numbers are the same again, and those that are no sums with other threads."""
    before = torch.get_num_threads()
    try:
        runs = []
        for threads in (1, 1, 2, 5):
            torch.set_num_threads(threads)
            runs.append(ours(r, args, cotangents))
    finally:
        torch.set_num_threads(before)
    for run in runs[1:]:
        for name in runs[0]:
            if name not in ("w_x", "b", "w_h"):  # sums over the batch, in as many parts as threads
                assert torch.equal(run[name], runs[0][name]), name
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


def test_repeats_bit_for_bit_whatever_the_threads():
    r = Recurrence("lstm", urgates.gate("OR"))
    repeats(r, *problem(r, 3, 20, 17, 24))


@cells
@pytest.mark.parametrize("name", ["-", "UR", "O", "OM", "UM"])
def test_extreme_activations_stay_finite(name, cell, keep_reset):
    r = Recurrence(cell, urgates.gate(name), keep_reset)
    args, cotangents = problem(r, 1, 7, 3, 20, scale=1e4)
    found = ours(r, args, cotangents)
    assert all(torch.isfinite(x).all() for x in found.values())
    assert_close("hs", found["hs"], truth(r, args, cotangents)["hs"], STEEP)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["UR", "OM"])
def test_a_bad_model_leaves_its_neighbour_alone(name, bad):
    r = Recurrence("lstm", urgates.gate(name))
    args, cotangents = problem(r, 2, 6, 3, 20)
    good = ours(r, args, cotangents)
    args[3][0, 0, 0] = args[0][0, 2, :, 2] = bad
    found = ours(r, args, cotangents)
    assert all(torch.equal(good[k][1], found[k][1]) for k in good)
    reason = ours(r, args, cotangents, backend=eager)
    assert torch.equal(found["hs"].isnan(), reason["hs"].isnan())  # inf may just close a gate
    assert not torch.isfinite(found["w_h"][0]).all()


@pytest.mark.parametrize(("T", "B"), [(0, 2), (3, 0), (0, 0)])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_nothing_to_do(cell, T, B):
    r = Recurrence(cell, urgates.gate("UR"))
    args, cotangents = problem(r, 2, T, B, 5)
    found = ours(r, args, cotangents)
    assert found["hs"].shape == (2, T, B, 5) and found["x"].shape == args[0].shape
    for name, like in zip(GRADIENTS[1:-1], args[1 : N - 1], strict=True):
        assert like is None or torch.equal(found[name], torch.zeros_like(like)), name
    if cell == "lstm":
        assert torch.equal(found["c0"], cotangents[1])


# ------------------------------------------------------------------ choice and build


def test_auto_takes_it_where_it_fits():
    r = Recurrence("lstm", urgates.gate("UR"))
    single, double = torch.zeros(1), torch.zeros(1, dtype=torch.float64)
    assert kernels.choose("auto", r, single) == "native"
    assert kernels.choose("auto", r, double) == "eager"
    with pytest.raises(
        ValueError, match="be one that can run this here, got 'native': it takes float32"
    ):
        kernels.choose("native", r, double)


@pytest.mark.parametrize(("cxx", "why"), [("/bin/false", "/bin/false failed"), (None, "no C++")])
def test_without_a_working_compiler_the_torch_kernel_runs_and_says_so_once(cxx, why, monkeypatch):
    monkeypatch.setenv("CXX", cxx or "")
    monkeypatch.setattr(native, "_LIBRARIES", {})
    kernels._say_once.cache_clear()
    if cxx is None:
        monkeypatch.setattr(build.shutil, "which", lambda name: None)
        assert "native" not in kernels.available()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for gate in ("UR", "-"):
            out, _ = urgates.LSTM(2, 3, gate=gate)(torch.zeros(4, 1, 2))
            out.sum().backward()
    assert [why in str(w.message) for w in said] == [True]
    with pytest.raises(
        ValueError, match="be one that can run this here, got 'native': " + why.replace("+", r"\+")
    ):
        urgates.LSTM(2, 3, kernel="native")(torch.zeros(4, 1, 2))


@pytest.mark.long
def test_two_processes_may_build_at_once_and_leave_one_library(tmp_path):
    layer = "urgates.GRU(2, 3, kernel='native')(torch.ones(4, 2))"
    code = f"import torch, urgates; print({layer}[0].shape)"
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=-1, stderr=-1, text=True
        )
        for _ in range(2)
    ]
    for run in runs:
        out, error = run.communicate(timeout=600)
        assert "torch.Size([4, 3])" in out, error
    assert [p.suffix for p in (tmp_path / "urgates").iterdir()] == [".so"]
