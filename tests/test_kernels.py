"""Back ends: the reference by gradcheck, every other one against the reference; vmap; opcheck."""

import copy

import pytest
import torch
from tolerances import assert_close, assert_rounded
from torch.func import functional_call, grad, stack_module_state, vmap

import urgates
from urgates import GATES, kernels
from urgates.kernels import Inputs, Recurrence

DOUBLE = torch.float64
NAMES = [*GATES, "CR", "CM", "F", "USR"]
CELLS = [("lstm", True), ("gru", True), ("gru", False)]
cells = pytest.mark.parametrize(("cell", "keep_reset"), CELLS)


def problem(cell, keep_reset, name, T, B=3, H=6, M=1, *, seed=0, zoneout=False, dtype=DOUBLE):
    """A recurrence and random arguments of `kernels.scan`, weights large enough to saturate."""
    r = Recurrence(cell, urgates.gate(name), keep_reset)
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        x = torch.randn(shape, generator=draw, dtype=DOUBLE).to(dtype)
        return x.requires_grad_()

    rows = r.rows(H, 2 if H % 2 == 0 else 1)
    G = rows[r.heads[-1]].stop
    b_u = normal(M, H) if cell == "gru" and keep_reset else None
    args = [normal(M, T, B, 2), normal(M, G, 2), normal(M, G), normal(M, G, H), b_u]
    args += [normal(M, B, H), normal(M, B, H)]
    keep = [(torch.rand(M, T, B, H, generator=draw) < p).to(dtype) for p in (0.3, 0.6)]
    return r, args + (keep if zoneout else [None, None])


def gradients(r, args, kernel):
    """States and gradients of a random projection of them."""
    hs, c = kernels.scan(r, Inputs(*args), kernel)
    draw = torch.Generator().manual_seed(9)
    dh, dc = (torch.randn(x.shape, generator=draw, dtype=DOUBLE).to(x) for x in (hs, c))
    inputs = [a for a in args[:7] if a is not None]
    out = (hs * dh).sum() + ((c * dc).sum() if r.cell == "lstm" else 0)
    found = [None] * len(inputs)  # nothing depends on them in a GRU's empty sequence
    if out.requires_grad:
        found = torch.autograd.grad(out, inputs, allow_unused=True)
    return [
        hs,
        c,
        *(torch.zeros_like(a) if g is None else g for g, a in zip(found, inputs, strict=True)),
    ]


def check(ours, truth):
    for k, (a, b) in enumerate(zip(ours, truth, strict=True)):
        assert_close(f"tensor {k}", a, b)


@cells
@pytest.mark.parametrize("name", NAMES)
def test_reference_gradients_are_right_to_second_order(name, cell, keep_reset):
    r, args = problem(cell, keep_reset, name, T=2, B=1, H=4)
    inputs = tuple(a for a in args[:7] if a is not None)

    def f(*given):
        given = list(given)
        full = [None if a is None else given.pop(0) for a in args[:7]]
        return kernels.scan(r, Inputs(*full), "reference")[: 2 if cell == "lstm" else 1]

    assert torch.autograd.gradcheck(f, inputs)
    assert torch.autograd.gradgradcheck(f, inputs)


@cells
@pytest.mark.parametrize("name", [*NAMES, "UFM"])
@pytest.mark.parametrize("T", [0, 1, 2, 63])
def test_cpu_equals_reference(name, cell, keep_reset, T):
    r, args = problem(cell, keep_reset, name, T, zoneout=T == 63)
    check(gradients(r, args, "eager"), gradients(r, args, "reference"))


@pytest.mark.parametrize(("B", "H"), [(1, 1), (1, 7), (5, 3), (2, 17)])
@pytest.mark.parametrize("name", ["-", "UR", "O"])
def test_cpu_takes_odd_sizes(name, B, H):
    r, args = problem("lstm", True, name, 4, B, H)
    check(gradients(r, args, "eager"), gradients(r, args, "reference"))


@pytest.mark.parametrize("name", ["-", "O", "UR"])
def test_single_precision_stays_close_over_long_sequences(name):
    r, args = problem("lstm", True, name, 500, dtype=torch.float32)
    for k, scale in ((1, 0.5), (3, 0.2)):
        args[k] = (args[k] * scale).detach().requires_grad_()
    wide = [None if a is None else a.detach().double().requires_grad_() for a in args]
    found = (gradients(r, args, kernel) for kernel in ("eager", "reference"))
    truth = gradients(r, wide, "reference")
    assert_rounded(*(dict(enumerate(tensors)) for tensors in (*found, truth)))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("name", ["-", "OM", "UR"])
def test_double_backward_through_the_op(name, cell):
    r, args = problem(cell, True, name, T=2, B=1, H=4, zoneout=True)
    inputs = tuple(a for a in args[:7] if a is not None)

    def f(*given):
        given = list(given)
        full = [None if a is None else given.pop(0) for a in args[:7]]
        return kernels.scan(r, Inputs(*full, *args[7:]), "eager")[: 2 if cell == "lstm" else 1]

    assert torch.autograd.gradgradcheck(f, inputs)


@pytest.mark.parametrize("kernel", ["reference", "eager"])
def test_non_contiguous_input(kernel):
    r, args = problem("lstm", True, "UR", 5)
    turned = [None if a is None else a.detach().mT.contiguous().mT for a in args[:7]]
    turned = [None if a is None else a.requires_grad_() for a in turned] + [None, None]
    check(gradients(r, turned, kernel), gradients(r, args, kernel))


def test_models_do_not_touch_each_other():
    r, args = problem("lstm", True, "UR", 5, M=3)
    together = gradients(r, args, "eager")
    for m in range(3):
        alone = [None if a is None else a[m : m + 1].detach().requires_grad_() for a in args]
        hs, _ = kernels.scan(r, Inputs(*alone))
        assert_close("states", together[0][m : m + 1], hs)
    args[0].data[1] = torch.nan
    poisoned, _ = kernels.scan(r, Inputs(*args))
    assert poisoned[1].isnan().all()
    assert_close("others", poisoned[[0, 2]], together[0][[0, 2]])


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
@pytest.mark.parametrize("name", NAMES)
def test_vmap_over_stacked_models_equals_one_by_one(name, cell):
    models = [getattr(urgates, cell)(3, 6, gate=name, downsize=2, dtype=DOUBLE) for _ in range(3)]
    stacked, _ = stack_module_state(models)
    x = torch.randn(3, 5, 2, 3, dtype=DOUBLE)

    def loss(parameters, x):
        return functional_call(models[0], parameters, (x,))[0].square().sum()

    vmap(loss)(stacked, x).sum().backward()
    functional = vmap(grad(loss))({k: v.detach() for k, v in stacked.items()}, x)
    for m, model in enumerate(models):
        model(x[m])[0].square().sum().backward()
        for k, p in model.named_parameters():
            assert_close(k, stacked[k].grad[m], p.grad)
            assert_close(f"{k} of vmap(grad)", functional[k][m], p.grad)


def test_a_sweep_reaches_the_kernel_as_one_call(monkeypatch):
    calls = []
    original = kernels.eager.forward
    monkeypatch.setattr(
        kernels.eager,
        "forward",
        lambda r, x, training: calls.append(x.x.shape) or original(r, x, training),
    )
    models = [urgates.LSTM(3, 4, kernel="eager") for _ in range(5)]
    stacked, _ = stack_module_state(models)
    vmap(lambda p, x: functional_call(models[0], p, (x,))[0])(stacked, torch.randn(5, 7, 2, 3))
    assert calls == [(5, 7, 2, 3)]


def test_runs_repeat_to_the_bit():
    r, args = problem("lstm", True, "UR", 50, dtype=torch.float32)
    first, second = gradients(r, args, "auto"), gradients(r, args, "auto")
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_ops_are_well_formed(cell):
    r, args = problem(cell, True, "UR", 3)
    args = [None if a is None else a.detach() for a in args]
    inputs = (r.key, "eager", True, *args)
    checks = ("test_schema", "test_faketensor")  # autograd is the Function's, not the op's
    torch.library.opcheck(torch.ops.urgates.scan.default, inputs, test_utils=checks)
    hs, c, *states = torch.ops.urgates.scan(*inputs)
    backward = (r.key, "eager", True, *args, hs, *states, torch.ones_like(hs), torch.ones_like(c))
    torch.library.opcheck(torch.ops.urgates.scan_backward.default, backward, test_utils=checks)


def test_third_derivatives_equal_the_reference():
    found = []
    for kernel in ("reference", "eager"):
        torch.manual_seed(0)
        layer = urgates.LSTM(3, 4, dtype=DOUBLE, kernel=kernel)
        x = torch.ones(2, 1, 3, dtype=DOUBLE, requires_grad=True)
        y = layer(x)[0]
        for _ in range(3):
            (y,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        found.append(y)
    assert found[0].abs().max() > 0
    assert_close("third derivative", found[1], found[0])


def test_time_and_memory_grow_linearly_not_quadratically():
    """Ops per step stay the same: indexing gx[t] would touch all T steps in each of T backwards."""
    m = copy.deepcopy(urgates.LSTM(2, 4, kernel="eager"))
    counts = []
    for T in (50, 100):
        with torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
        ) as profile:
            m(torch.zeros(T, 1, 2))[0].sum().backward()
        counts.append(
            sum(e.self_cpu_memory_usage for e in profile.events() if e.self_cpu_memory_usage > 0)
        )
    assert counts[1] < 2.5 * counts[0]


def test_available_names_the_back_ends():
    assert {"reference", "eager"} <= set(kernels.available())
    with pytest.raises(ValueError, match="kernel must be one of"):
        kernels.choose("gpu")


@pytest.mark.parametrize(
    ("place", "bad", "message"),
    [
        ("w_x", torch.zeros(24, 3), "w_x must have shape"),
        ("b", torch.zeros(23), "b must have shape"),
        ("w_h", torch.zeros(23, 6), "w_h must have the rows of r, f, u, o, got 23 for H = 6"),
        ("h0", torch.zeros(2, 6), "h0 must have shape"),
        ("c0", torch.zeros(3, 5), "c0 must have shape"),
        ("h0", torch.zeros(3, 6, dtype=torch.int64), "h0 must be of torch.float32, as x is"),
        ("keep_h", torch.zeros(4, 3, 5), "keep_h must broadcast to"),
        ("h0", torch.zeros(3, 6, device="meta"), "h0 must be on cpu, where x is, got meta"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(place, bad, message):
    r = Recurrence("lstm", urgates.gate("UR"))
    good = {
        "x": torch.zeros(4, 3, 2), "w_x": torch.zeros(24, 2), "b": torch.zeros(24),
        "w_h": torch.zeros(24, 6), "b_u": None, "h0": torch.zeros(3, 6), "c0": torch.zeros(3, 6),
    }  # fmt: skip
    assert kernels.scan(r, Inputs(**good))[0].shape == (4, 3, 6)
    with pytest.raises(ValueError, match=message):
        kernels.scan(r, Inputs(**(good | {place: bad})))


@pytest.mark.parametrize("kernel", ["auto", "eager"])
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_first_and_second_derivatives_inside_autocast_are_those_outside(cell, kernel):
    torch.manual_seed(0)
    layer = getattr(urgates, cell)(3, 8, kernel=kernel)
    x = torch.randn(7, 4, 3, requires_grad=True)
    wanted, found = [x, *layer.parameters()], []
    for inside in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=inside):
            loss = layer(x)[0].square().sum()
            first = torch.autograd.grad(loss, wanted, create_graph=True)
            second = torch.autograd.grad(sum(g.square().sum() for g in first), wanted)
        found.append([*first, *second])
    check(found[1], found[0])
