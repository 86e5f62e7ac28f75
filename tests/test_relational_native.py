"""The relational memory's compiled loop: as right as the plain loop in float32, repeatable."""

import platform
import warnings

import pytest
import torch
from tolerances import assert_close, assert_rounded
from torch.func import functional_call, stack_module_state, vmap

from urgates import RMC, kernels
from urgates.cores import attending, compiled
from urgates.cores.attending import Inputs
from urgates.kernels import native
from urgates.kernels.native import build

pytestmark = pytest.mark.skipif(native.compiler() is None, reason="needs a C++ compiler")
INPUTS = 5


def layer(gate, F, seed=0, **options):
    """A float32 layer with all weights random, norms' too."""
    torch.manual_seed(seed)
    rmc = RMC(INPUTS, F, gate=gate, t_max=20, **options)
    with torch.no_grad():
        for p in rmc.parameters():
            p.add_(0.4 * F**-0.5 * torch.randn_like(p))
    return rmc


def problem(T, B, S, F, M=None):
    """Input, memory at first, what is held, and cotangents of output and last memory."""
    draw, lead = torch.Generator().manual_seed(T + 10 * B + F), () if M is None else (M,)
    shapes = (T, B, INPUTS), (S, B, F), (T, B, S * F), (S, B, F)
    x, m, dy, dm = (torch.randn(*lead, *shape, generator=draw) for shape in shapes)
    return x, m, torch.rand(*lead, T, B, generator=draw) < 0.4, dy, dm


def found(rmc, kernel, x, m, held, dy, dm, dtype=torch.float32):
    """Output, last memory and all gradients, by one kernel."""
    rmc = rmc.to(dtype)
    rmc.kernel = kernel
    x, m, dy, dm = (a.to(dtype) for a in (x, m, dy, dm))
    x.requires_grad_(), m.requires_grad_()
    y, last = rmc(x, m, held=held)
    names = ["x", "m", *dict(rmc.named_parameters())]
    gradients = torch.autograd.grad([y, last], [x, m, *rmc.parameters()], [dy, dm])
    return {"y": y, "last": last, **dict(zip(names, gradients, strict=True))}


def agree(rmc, given):
    ours, plain = (found(rmc, kernel, *given) for kernel in ("native", "reference"))
    eager = found(rmc, "eager", *given)
    truth = found(rmc, "reference", *given, dtype=torch.float64)
    assert_rounded(ours, plain, truth)
    assert_rounded(eager, plain, truth)


# (T, B, S, F, heads, C): one of each; vectors and blocks cut anyhow; more slots than lanes
SIZES = [(1, 1, 1, 4, 1, 1), (7, 5, 3, 20, 2, 4), (2, 29, 4, 66, 3, 1), (3, 2, 18, 36, 4, 18)]


@pytest.mark.parametrize("gate", ["-", "C", "U", "UR", "OM", "O", "UM", "OR", "F", "USR"])
def test_as_right_as_the_plain_loop(gate):
    for T, B, S, F, heads, C in SIZES:
        rmc = layer(gate, F, slots=S, heads=heads, downsize=C)
        x, m, held, *cotangents = problem(T, B, S, F)
        agree(rmc.float(), (x, m, held, *cotangents))
        agree(rmc.float(), (x, m, None, *cotangents))


@pytest.mark.parametrize("gate", ["-", "UR", "OM"])
def test_stacked_models_are_each_as_alone(gate):
    models = [layer(gate, 20, seed, slots=3, heads=2, downsize=4) for seed in range(3)]
    parameters, _ = stack_module_state(models)
    x, m, held, dy, _ = problem(7, 20, 3, 20, M=3)
    models[0].kernel = "native"

    def run(p, x, m, held):
        return functional_call(models[0], p, (x, m), {"held": held})[0]

    y = vmap(run)(parameters, x, m, held)
    y.backward(dy)
    for i, model in enumerate(models):
        alone = model(x[i], m[i], held=held[i])[0]
        assert_close("output", y[i], alone)
        alone.backward(dy[i])
        for name, p in model.named_parameters():
            assert_close(name, parameters[name].grad[i], p.grad)


def given(M=1, T=5, B=40, S=3, F=20, training=True):
    """What the kernel itself is called with, and cotangents."""
    rmc = layer("UR", F, slots=S, heads=2)
    x, m, held, dy, _ = problem(T, B, S, F)
    with torch.no_grad():
        inputs = rmc._inputs(x, m.transpose(0, 1), held)
    return rmc.recurrence, inputs, dy.view(1, T, B, S, F)


def test_twice_and_on_two_threads_the_same_bits():
    r, x, d = given()
    answers, before = [], torch.get_num_threads()
    try:
        for threads in (1, 1, 2):
            torch.set_num_threads(threads)
            ms, kept = compiled.forward(r, 2, x)
            answers.append((ms, *kept, *compiled.backward(r, 2, x, ms, kept, d)))
    finally:
        torch.set_num_threads(before)
    once, twice, shared = (tuple(a for a in part if a is not None) for part in answers)
    assert all(map(torch.equal, once, twice))
    for a, b in zip(once, shared, strict=True):  # the weights' gradients are torch's products
        assert torch.equal(a, b) or a.shape[1:].numel() >= 20 * 20


def test_without_a_backward_one_step_is_kept_and_the_memories_are_the_same():
    r, x, _ = given()
    all_kept, one_kept = (compiled.forward(r, 2, x, training) for training in (True, False))
    assert torch.equal(all_kept[0], one_kept[0])
    assert {a.shape[1] for a in all_kept[1]} == {5} and {a.shape[1] for a in one_kept[1]} == {1}
    rmc = layer("UR", 20, slots=3, heads=2, kernel="native")
    x = torch.randn(4, 2, INPUTS)
    with torch.no_grad():
        quiet = rmc(x)[0]
    assert torch.equal(quiet, rmc(x)[0])


def test_strides_are_no_matter():
    r, given_x, given_d = given()
    turned = Inputs(*(a.mT.contiguous().mT if a.dim() > 2 else a for a in given_x))
    answers = []
    for x, d in ((given_x, given_d), (turned, given_d.mT.contiguous().mT)):
        ms, kept = compiled.forward(r, 2, x)
        answers.append((ms, *compiled.backward(r, 2, x, ms, kept, d)))
    for ours, truth in zip(*answers, strict=True):
        assert ours is truth is None or torch.equal(ours, truth)


def test_second_derivatives_are_the_references():
    answers = []
    for kernel, dtype in (
        ("native", torch.float32), ("reference", torch.float32), ("reference", torch.float64)
    ):  # fmt: skip
        rmc = layer("UR", 8, slots=2, heads=2, kernel=kernel).to(dtype)
        x = problem(3, 2, 2, 8)[0].to(dtype).requires_grad_()
        wanted = {"x": x, "qkv": rmc.qkv.weight, "bias": rmc.gate_bias}
        first = torch.autograd.grad(rmc(x)[0].square().sum(), [*wanted.values()], create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), [*wanted.values()])
        answers.append(dict(zip(wanted, second, strict=True)))
    assert_rounded(*answers)


def test_nan_stays_nan():
    rmc = layer("UR", 20, slots=3, heads=2, kernel="native")
    for name in ("qkv", "mlp_1", "norm_2", "gates_m"):
        broken = layer("UR", 20, slots=3, heads=2, kernel="native")
        with torch.no_grad():
            getattr(broken, name).weight.view(-1)[3] = torch.nan
        x = torch.randn(2, 2, INPUTS)
        assert broken(x)[0].isnan().any() and not rmc(x)[0].isnan().any(), name


# ------------------------------------------------------------------ choice and build


def test_auto_takes_it_where_it_fits():
    assert layer("UR", 8).backend == "native"
    assert layer("UR", 8).bfloat16().backend == "native"  # its memory is computed in float32
    assert layer("UR", 8).double().backend == "eager"
    assert layer("R", 8, gating="memory").backend == "eager"
    says = "kernel must be one that can run this here, got 'native': it takes"
    with pytest.raises(ValueError, match=f"{says} float32 on the CPU, got torch.float64"):
        layer("UR", 8, kernel="native").double()(torch.zeros(2, 1, INPUTS, dtype=torch.float64))
    with pytest.raises(ValueError, match=f"{says} a gate for every unit, got one for a slot"):
        layer("R", 8, kernel="native", gating="memory")(torch.zeros(2, 1, INPUTS))


def test_without_a_working_compiler_the_torch_kernel_runs_and_says_so_once(monkeypatch):
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    monkeypatch.setenv("CXX", "")
    compiled._built.cache_clear()
    kernels._say_once.cache_clear()
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for gate in ("UR", "-"):
                layer(gate, 8)(torch.zeros(4, 1, INPUTS))[0].sum().backward()
        assert ["no C++ compiler" in str(w.message) for w in said] == [True]
        with pytest.raises(ValueError, match="got 'native': no C"):
            layer("UR", 8, kernel="native")(torch.zeros(4, 1, INPUTS))
    finally:
        compiled._built.cache_clear()


def test_a_lack_of_memory_is_said(monkeypatch):
    class Failing:
        urgates_forward = staticmethod(lambda args: 1)

    monkeypatch.setattr(compiled, "library", lambda r: Failing)
    r, x, _ = given()
    with pytest.raises(MemoryError, match="no memory for the native kernel's forward pass with M"):
        compiled.forward(r, 2, x)
    assert attending.forward(r, 2, x)[0].shape == (1, 5, 40, 3, 20)


@pytest.mark.long
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names vectors of x86-64")
@pytest.mark.parametrize("level", ["x86-64", "x86-64-v3"])
def test_lesser_vectors_do_as_well(level, monkeypatch):
    if level == "x86-64-v3" and not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        pytest.skip("needs AVX2")
    monkeypatch.setattr(build, "_target", lambda cxx: (f"-march={level}", level))
    compiled._built.cache_clear()
    try:
        test_as_right_as_the_plain_loop("OM")
    finally:
        compiled._built.cache_clear()
