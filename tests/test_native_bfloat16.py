"""The compiled kernel in bfloat16: close to the float64 reference, float32 inside, and a way out.

Its operands are exact in bfloat16, so what is measured is what the kernel itself rounds: states and
gradients as they enter a product, and what it returns.
"""

import copy

import pytest
import torch
from test_native import SIZES, cells, ours, problem, repeats, truth
from tolerances import RATIO, assert_close
from torch.func import functional_call, stack_module_state, vmap

import urgates
from urgates import kernels
from urgates.kernels import Inputs, Recurrence, native
from urgates.kernels.native import build

LOW = torch.bfloat16
WIDE = ("c0", "keep_h", "keep_c")
pytestmark = [
    pytest.mark.skipif(native.compiler() is None, reason="needs a C++ compiler"),
    pytest.mark.skipif(
        native.unfit(torch.zeros(1, dtype=LOW)) is not None, reason="needs AVX512_BF16"
    ),
]


def low(r, *size, **how):
    """`problem`, rounded to bfloat16 where the kernel takes that."""
    args, (dhs, dc) = problem(r, *size, **how)
    named = zip(Inputs._fields, args, strict=True)
    args = [a if a is None or name in WIDE else a.to(LOW) for name, a in named]
    return args, (dhs.to(LOW), dc)


def agree(r, args, cotangents):
    exact = truth(r, args, cotangents)
    found = ours(r, args, cotangents)
    assert found["hs"].dtype == found["w_h"].dtype == LOW
    for name, x in exact.items():
        if x is not None:
            assert_close(name, found[name], x, RATIO[LOW])


@cells
@pytest.mark.parametrize("name", ["-", "UR", "OM", "F"])
def test_is_close_to_the_reference(name, cell, keep_reset):
    r = Recurrence(cell, urgates.gate(name), keep_reset)
    for size in SIZES:
        agree(r, *low(r, *size))
        agree(r, *low(r, *size, zoneout=True))


@cells
@pytest.mark.parametrize("inputs", [1, 2, 17, 70])
def test_odd_and_even_depths_and_batches_beyond_a_block(inputs, cell, keep_reset):
    r = Recurrence(cell, urgates.gate("UR"), keep_reset)
    agree(r, *low(r, 1, 5, 3, 20, inputs=inputs, scale=inputs**-0.5))
    agree(r, *low(r, 1, 2, 301, 5, inputs=inputs, scale=inputs**-0.5))


def test_cell_states_and_the_stash_are_float32_and_a_state_creeps_on():
    """A GRU's state that moves by a thousandth per step would stand still in bfloat16."""
    r = Recurrence("gru", urgates.gate("-"), keep_reset=False)
    T, H = 400, 16
    rows = r.rows(H)
    w, b = torch.zeros(1, 2 * H, H), torch.zeros(1, 2 * H)
    b[:, rows["u"]], b[:, rows["f"]] = 4.0, 7.0
    args = [torch.zeros(1, T, 1, 1), torch.zeros(1, 2 * H, 1), b, w, None]
    args = [None if a is None else a.to(LOW) for a in args]
    args += [torch.full((1, 1, H), 0.5, dtype=LOW), torch.zeros(1, 1, H), None, None]
    states = native.forward(r, Inputs(*args))
    exact = truth(r, args, (states.hs, args[6]))["hs"]
    assert exact[0, -1, 0, 0] - exact[0, 0, 0, 0] > 0.1
    assert_close("hs", states.hs, exact, RATIO[LOW] / 2)
    lstm = Recurrence("lstm", urgates.gate("UR"))
    states = native.forward(lstm, Inputs(*low(lstm, 1, 3, 2, 20)[0]))
    assert states.cs.dtype == states.stash.dtype == torch.float32


def test_repeats_bit_for_bit_whatever_the_threads():
    r = Recurrence("lstm", urgates.gate("OR"))
    repeats(r, *low(r, 3, 20, 17, 24))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_model_leaves_its_neighbour_alone(bad):
    r = Recurrence("lstm", urgates.gate("UR"))
    args, cotangents = low(r, 2, 6, 3, 20)
    good = ours(r, args, cotangents)
    args[3][0, 0, 0] = args[0][0, 2, :, 2] = bad
    found = ours(r, args, cotangents)
    assert all(torch.equal(good[k][1], found[k][1]) for k in good)
    assert not torch.isfinite(found["w_h"][0]).all()


# ------------------------------------------------------------------ layers


@pytest.mark.parametrize(("cell", "name"), [("LSTM", "UR"), ("GRU", "UR"), ("LSTM", "OM")])
def test_layers_take_it_and_stack_to_one_call(cell, name):
    torch.manual_seed(0)
    models = [getattr(urgates, cell)(3, 18, gate=name, downsize=2, dtype=LOW) for _ in range(3)]
    assert models[0].backend == "native"
    parameters, _ = stack_module_state(models)
    x = torch.randn(3, 11, 5, 3, dtype=LOW)
    y = vmap(lambda p, x: functional_call(models[0], p, (x,))[0])(parameters, x)
    dy = torch.randn(y.shape).to(LOW)
    found = torch.autograd.grad(y, list(parameters.values()), dy)
    for m, model in enumerate(models):
        exact = copy.deepcopy(model).double()
        out = exact(x[m].double())[0]
        assert_close("output", y[m], out)
        gradients = torch.autograd.grad(out, list(exact.parameters()), dy[m].double())
        for k, a, b in zip(parameters, found, gradients, strict=True):
            assert a.dtype == LOW
            assert_close(k, a[m], b)


def test_second_derivatives_follow():
    torch.manual_seed(0)
    m = urgates.LSTM(3, 16, dtype=LOW)
    x = torch.randn(7, 4, 3, dtype=LOW, requires_grad=True)

    def second(m, x):
        (first,) = torch.autograd.grad(m(x)[0].square().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), [x, *m.parameters()])

    exact = second(copy.deepcopy(m).double(), x.detach().double().requires_grad_())
    for k, (a, b) in enumerate(zip(second(m, x), exact, strict=True)):
        assert_close(f"[{k}]", a, b, 5 * RATIO[LOW])  # through gradients that are rounded already


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_ops_are_well_formed(cell):
    r = Recurrence(cell, urgates.gate("UR"))
    args, _ = low(r, 1, 3, 2, 6)
    inputs = (r.key, "native", True, *args)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.urgates.scan.default, inputs, test_utils=checks)
    hs, c, *states = torch.ops.urgates.scan(*inputs)
    backward = (r.key, "native", True, *args, hs, *states, torch.ones_like(hs), torch.ones_like(c))
    torch.library.opcheck(torch.ops.urgates.scan_backward.default, backward, test_utils=checks)


def test_where_the_cpu_does_not_multiply_it_float32_does(monkeypatch):
    torch.manual_seed(0)
    m, x = urgates.LSTM(3, 16, dtype=LOW), torch.randn(9, 4, 3, dtype=LOW)
    monkeypatch.setattr(build, "target_has", lambda macro: False)
    reason = native.unfit(x)
    assert reason is not None and "AVX512_BF16" in reason
    assert kernels.choose("auto", m.recurrence, x) == "eager"
    single = copy.deepcopy(m).float()(x.float())[0]
    assert torch.equal(m(x)[0], single.to(LOW))
