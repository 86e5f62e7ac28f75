"""What the Triton kernels compute; test_triton.py runs this file, interpreted or on a GPU.

The interpreter runs one program after the other, so nothing can wait in it: there, programs that
share rows take one step per launch.
"""

import pytest
import torch
from test_native import CELLS, GRADIENTS, problem, truth
from tolerances import RATIO, assert_close, assert_rounded
from torch.func import functional_call, stack_module_state, vmap

import urgates
from urgates import GATES, kernels
from urgates.gates import Gate
from urgates.kernels import Inputs, Recurrence, triton
from urgates.kernels.triton import Plan

DEVICE = "cpu" if triton.interpreting() else "cuda"
cells = pytest.mark.parametrize(("cell", "keep_reset"), CELLS)
gpu = pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU: the interpreter cannot wait")
LONE = 1e-4  # a single number may cancel to a thousandth of its terms
TF32 = None if DEVICE == "cpu" else 2e-3  # the interpreter's products are exact


class Smooth(Gate):
    """A gate of the user's own: smoothstep of f, bent by r; powers, quotients, constants."""

    def combine(self, a, c):
        forget = a["f"] ** 2 * (3 - 2 * a["f"]) / (1 + a["r"] * c["f"] ** 3)
        return forget, 1 - forget


OWN = Smooth("sigmoid", "uniform", "refine")
EVERY = [*GATES.values(), *map(urgates.gate, ("CR", "CM", "F", "USR", "UFM")), OWN]
PLAIN = [g for g in EVERY if g.auxiliary != "master"]
every = pytest.mark.parametrize("gate", EVERY, ids=lambda g: f"{type(g).__name__}-{g.name}")
plain = pytest.mark.parametrize("gate", PLAIN, ids=lambda g: f"{type(g).__name__}-{g.name}")


def persistent(H, slices=1, rows=16):
    """A plan that holds the weights; several slices only work together on a GPU."""
    units = max(16, triton._power(-(-H // slices)))
    at_once = slices == 1 or DEVICE == "cuda"
    return Plan(rows, units, -(-H // units), 4, True, eager=slices == 2, at_once=at_once)


def ours(r, args, cotangents, cut=None):
    x = Inputs(*(None if a is None else a.to(DEVICE) for a in args))
    states = triton.forward(r, x, cut=cut)
    found = triton.backward(r, x, states, *(c.to(DEVICE) for c in cotangents), cut=cut)
    found = {"hs": states.hs, "cs": states.cs, **dict(zip(GRADIENTS, found, strict=True))}
    return {name: x.cpu() for name, x in found.items()}


def agree(r, args, cotangents, cut=None, ratio=None):
    given = [None if a is None else a.to(DEVICE) for a in args]
    expected = truth(r, given, [c.to(DEVICE) for c in cotangents])
    found = ours(r, args, cotangents, cut)
    expected = {name: x.cpu() for name, x in expected.items() if x is not None}
    if ratio is None:
        assert_rounded(found, truth(r, args, cotangents, torch.float32), expected)
        return found
    for name, x in expected.items():
        assert_close(name, found[name], x, ratio)
    return found


def rounded(args, cotangents, dtype):
    """The problem in 16 bits, but for the cell state and the masks."""
    narrow = [None if a is None else a.to(dtype) for a in args[:6]]
    return [*narrow, *args[6:]], [cotangents[0].to(dtype), cotangents[1]]


# ------------------------------------------------------------------ equal to the reference


@cells
@every
def test_steps(gate, cell, keep_reset):
    r = Recurrence(cell, gate, keep_reset)
    size = (2, 2, 3, 12, 3) if gate.auxiliary == "master" else (2, 2, 5, 13, 1)
    agree(r, *problem(r, *size, zoneout=True))


@cells
@plain
def test_persistent(gate, cell, keep_reset):
    r = Recurrence(cell, gate, keep_reset)
    M, H = (1, 9) if gate.activation == "cumax" else (2, 27)
    agree(r, *problem(r, M, 3, 5, H, zoneout=cell == "lstm"), persistent(H), TF32)


@pytest.mark.parametrize(("M", "T", "B", "H"), [(1, 1, 1, 1), (5, 1, 9, 130)])
@pytest.mark.parametrize("name", ["-", "UR"])
def test_odd_sizes(name, M, T, B, H):
    r = Recurrence("lstm", urgates.gate(name))
    agree(r, *problem(r, M, T, B, H), ratio=LONE if B * H == 1 else None)


@pytest.mark.parametrize(("B", "H"), [(1, 1), (2, 70)])
def test_odd_rows_of_ordered_gates(B, H):
    r = Recurrence("lstm", urgates.gate("OR"))
    agree(r, *problem(r, 1, 1, B, H), ratio=LONE if B * H == 1 else None)


@pytest.mark.parametrize("name", ["OM", "UM"])
def test_master_gates_without_chunks(name):
    r = Recurrence("lstm", urgates.gate(name))
    agree(r, *problem(r, 1, 2, 3, 7))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_number_of_slices_does_not_matter(cell):
    r = Recurrence(cell, urgates.gate("UR"))
    args, cotangents = problem(r, 1, 2, 19, 50, zoneout=True)
    found = [agree(r, args, cotangents, persistent(50, n), TF32) for n in (1, 2, 4)]
    for name in ("hs", "x", "w_h", "h0"):
        assert_close(name, found[1][name], found[0][name], TF32)
        assert_close(name, found[2][name], found[0][name], TF32)


def test_the_inner_sum_in_blocks():
    r = Recurrence("gru", urgates.gate("UR"))
    for eager in (True, False):
        cut = persistent(140, 5)._replace(eager=eager)
        agree(r, *problem(r, 1, 2, 3, 140), cut, TF32)


BF16, FP16 = torch.bfloat16, torch.float16
SIXTEEN = [("UR", "lstm", BF16), ("UR", "gru", BF16), ("O", "lstm", BF16), ("-", "gru", FP16)]
SIXTEEN += [("UF", "lstm", BF16)]


@pytest.mark.parametrize(("name", "cell", "dtype"), SIXTEEN)
def test_sixteen_bits(name, cell, dtype):
    r = Recurrence(cell, urgates.gate(name))
    H = 12 if name == "O" else 24
    args, cotangents = rounded(*problem(r, 1, 4, 5, H, zoneout=True, scale=0.5), dtype)
    ratio = RATIO[torch.bfloat16] / (8 if dtype == torch.float16 else 1)
    for cut in (None, persistent(H)):
        found = agree(r, args, cotangents, cut, ratio)
        assert found["cs"].dtype == torch.float32 and found["hs"].dtype == dtype
        assert found["c0"].dtype == torch.float32 and found["x"].dtype == dtype


def test_sixteen_bits_remember_beyond_their_digits():
    """A GRU's state moves by a thousandth per step, which bfloat16 would round away."""
    r = Recurrence("gru", urgates.gate("R"))
    H, T = 4, 30
    b = torch.zeros(1, r.rows(H)[r.heads[-1]].stop)
    r.split(b, H)["f"].fill_(6.9)
    r.split(b, H)["u"].fill_(4.0)
    half = torch.full((1, 1, H), 0.5)
    x, w_x, w_h = torch.zeros(1, T, 1, 1), torch.zeros(*b.shape, 1), torch.zeros(*b.shape, H)
    args = [x, w_x, b, w_h, None, half, half, None, None]
    args, zeros = rounded(args, (torch.zeros(1, T, 1, H), half * 0), torch.bfloat16)
    expected = truth(r, args, zeros)["hs"][:, -1]
    assert expected.mean() > 0.514
    for cut in (None, persistent(H)):
        assert_close("hs", ours(r, args, zeros, cut)["hs"][:, -1], expected, 2**-7)


@pytest.mark.parametrize(("T", "B"), [(0, 2), (3, 0), (0, 0)])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_nothing_to_do(cell, T, B):
    r = Recurrence(cell, urgates.gate("UR"))
    args, cotangents = problem(r, 2, T, B, 5)
    found = ours(r, args, cotangents)
    assert found["hs"].shape == (2, T, B, 5) and found["x"].shape == args[0].shape
    for name, like in zip(GRADIENTS[1:6], args[1:6], strict=True):
        assert like is None or torch.equal(found[name], torch.zeros_like(like)), name
    if cell == "lstm":
        assert torch.equal(found["c0"], cotangents[1])


# ------------------------------------------------------------------ manners


@pytest.mark.parametrize("cut", [None, persistent(12)], ids=["steps", "persistent"])
def test_strides_do_not_matter_and_runs_repeat_to_the_bit(cut):
    r = Recurrence("lstm", urgates.gate("UR"))
    args, cotangents = problem(r, 2, 4, 5, 12, zoneout=True)
    plain = ours(r, args, cotangents, cut)

    def twist(x):
        return None if x is None else x.movedim(-1, 0).contiguous().movedim(0, -1)

    def spread(x):
        return None if x is None else torch.stack([x, x], 1).flatten(0, 1)[::2]

    for change in (lambda x: x, twist, spread):
        odd = ours(r, [change(a) for a in args], [change(c) for c in cotangents], cut)
        assert all(torch.equal(plain[k], odd[k]) for k in plain)
    flat = cotangents[0][:, :1, :1, :1].expand_as(cotangents[0]), cotangents[1]
    dense = ours(r, args, [c.contiguous() for c in flat], cut)
    assert all(torch.equal(x, dense[k]) for k, x in ours(r, args, flat, cut).items())


@pytest.mark.parametrize("cut", [None, persistent(20)], ids=["steps", "persistent"])
@pytest.mark.parametrize("name", ["-", "O", "UR", "UF"])
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # e^z, interpreted
def test_extreme_activations_stay_finite(name, cut):
    r = Recurrence("lstm", urgates.gate(name))
    for dtype in (torch.float32, torch.float16):
        args, cotangents = rounded(*problem(r, 1, 3, 3, 20, scale=2e3), dtype)
        found = ours(r, args, cotangents, cut)
        assert all(torch.isfinite(x).all() for x in found.values())
        ratio = RATIO[torch.float32] if dtype == torch.float32 else 1e-3
        assert_close("hs", found["hs"], truth(r, args, cotangents)["hs"], TF32 or ratio)


@pytest.mark.parametrize("name", ["UR", "OM"])
def test_a_bad_model_leaves_its_neighbour_alone(name):
    r = Recurrence("lstm", urgates.gate(name))
    args, cotangents = problem(r, 2, 3, 3, 12)
    good = ours(r, args, cotangents)
    args[3][0, 0, 0] = args[0][0, 1, :, 2] = float("nan")
    found = ours(r, args, cotangents)
    assert all(torch.equal(good[k][1], found[k][1]) for k in good)
    assert found["hs"][0, 1:].isnan().any() and found["w_h"][0].isnan().any()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_every_element_of_the_buffers_is_written(cell):
    r = Recurrence(cell, urgates.gate("UR"))
    args, cotangents = problem(r, 1, 2, 19, 50, zoneout=True)
    for cut in (None, persistent(50, 2)):
        clean = ours(r, args, cotangents, cut)
        torch.use_deterministic_algorithms(True)  # new buffers are full of NaN
        try:
            poisoned = ours(r, args, cotangents, cut)
        finally:
            torch.use_deterministic_algorithms(False)
        assert all(torch.equal(clean[k], poisoned[k]) for k in clean)


# ------------------------------------------------------------------ behind the layers


def layers(name, cell, dtype=torch.float32, **more):
    """The same layer for this kernel and, in float64, for the reference."""
    torch.manual_seed(0)
    layer = getattr(urgates, cell)(3, 6, gate=name, downsize=2, kernel="triton", **more)
    layer = layer.to(DEVICE, dtype)
    true = getattr(urgates, cell)(
        3, 6, gate=name, downsize=2, kernel="reference", dtype=torch.float64, **more
    )
    true.load_state_dict(layer.state_dict())
    return layer, true


@pytest.mark.parametrize(("name", "cell"), [("-", "LSTM"), ("OM", "LSTM"), ("UR", "GRU")])
def test_layers_and_stacks_of_them(name, cell):
    layer, true = layers(name, cell, bidirectional=True)
    x = torch.randn(2, 2, 4, 3)
    parameters, _ = stack_module_state([layer, layer])

    def loss(p, x):
        return functional_call(layer, p, (x,))[0].square().sum()

    vmap(loss)(parameters, x.to(DEVICE)).sum().backward()
    for m in range(2):
        true.zero_grad()
        true(x[m].double())[0].square().sum().backward()
        for k, p in true.named_parameters():
            assert_close(k, parameters[k].grad[m].cpu(), p.grad.float(), 2e-6)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_sixteen_bit_layers_and_autocast_agree(cell):
    x = torch.randn(5, 4, 3)
    layer, true = layers("UR", cell, torch.bfloat16)
    y, _ = layer(x.to(DEVICE, torch.bfloat16))
    y.float().square().sum().backward()
    true(x.bfloat16().double())[0].square().sum().backward()
    assert layer.gates(x.to(DEVICE, torch.bfloat16))["g"].dtype == torch.float32
    for k, p in layer.named_parameters():
        assert p.grad.dtype == torch.bfloat16
        assert_close(k, p.grad.cpu(), dict(true.named_parameters())[k].grad, 3e-2)
    whole, _ = layers("UR", cell)
    whole.load_state_dict(layer.state_dict())
    with torch.autocast(DEVICE, torch.bfloat16):
        again, _ = whole(x.to(DEVICE))
    assert again.dtype == torch.bfloat16 and torch.equal(again, y)
    again.float().square().sum().backward()
    assert whole.weight_hh_l0.grad.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_second_derivatives_take_the_reference(dtype):
    layer, true = layers("UR", "LSTM", dtype)
    found = []
    for module, device in ((layer, DEVICE), (true, "cpu")):
        x = torch.ones(2, 1, 3, dtype=module.weight_hh_l0.dtype, device=device, requires_grad=True)
        (first,) = torch.autograd.grad(module(x)[0].square().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        found.append(second.cpu())
    assert_close("second derivative", *found, 3e-6 if dtype == torch.float32 else 3e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_ops_are_well_formed(cell, dtype):
    r = Recurrence(cell, urgates.gate("UR"))
    args, cotangents = rounded(*problem(r, 2, 2, 3, 5), dtype)
    args = [None if a is None else a.to(DEVICE) for a in args]
    dhs, dc = (c.to(DEVICE) for c in cotangents)
    checks = ("test_schema", "test_faketensor")  # autograd is the Function's, not the op's
    for training in (True, False):
        inputs = (r.key, "triton", training, *args)
        torch.library.opcheck(torch.ops.urgates.scan.default, inputs, test_utils=checks)
    hs, _, *states = torch.ops.urgates.scan(r.key, "triton", True, *args)
    backward = (r.key, "triton", True, *args, hs, *states, dhs, dc)
    torch.library.opcheck(torch.ops.urgates.scan_backward.default, backward, test_utils=checks)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiles_as_one_graph(dtype):
    layer, _ = layers("UR", "LSTM", dtype)
    x = torch.randn(3, 2, 3, dtype=dtype, device=DEVICE)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    y, (h, c) = compiled(x)
    assert torch.equal(y, layer(x)[0]) and h.dtype == c.dtype == dtype
    y.sum().backward()


def test_a_formula_beyond_triton_is_refused_in_a_line():
    class Odd(Gate):
        def combine(self, a, c):
            import sympy

            return sympy.gamma(a["f"]), c["f"]

    r = Recurrence("lstm", Odd())
    with pytest.raises(ValueError, match=r"run this here, got 'triton': gate must use .*'gamma'"):
        kernels.choose("triton", r, torch.zeros(1, device=DEVICE))


# ------------------------------------------------------------------ on a GPU only


@gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("M", "B"), [(1, 50), (3, 50), (20, 50)])
@pytest.mark.parametrize("H", [256, 300])
@pytest.mark.parametrize("name", ["-", "UR"])
def test_programs_meet_at_every_step(name, H, M, B, dtype):
    r = Recurrence("lstm", urgates.gate(name))
    args, cotangents = rounded(*problem(r, M, 64, B, H), dtype)
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        assert triton.plan(r, Inputs(*(a if a is None else a.to("cuda") for a in args))).persistent
        first = agree(r, args, cotangents, ratio=TF32 if dtype == torch.float32 else 1e-2)
        for _ in range(20):
            again = ours(r, args, cotangents)
            assert all(torch.equal(first[k], again[k]) for k in first)
    finally:
        torch.backends.cuda.matmul.fp32_precision = "ieee"


@gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_captured_in_a_graph(dtype):
    layer = urgates.LSTM(3, 64, device="cuda", dtype=dtype)
    x = torch.randn(20, 8, 3, device="cuda", dtype=dtype)

    def step():
        layer.zero_grad(set_to_none=False)
        layer(x)[0].float().square().sum().backward()

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    x.normal_()
    graph.replay()
    captured = [p.grad.clone() for p in layer.parameters()]
    step()
    assert all(torch.equal(g, p.grad) for g, p in zip(captured, layer.parameters(), strict=True))


@gpu
def test_offsets_beyond_two_to_the_thirty_one():
    r = Recurrence("lstm", urgates.gate("UR"))
    T, B, H = 4200, 512, 256
    assert T * B * 4 * H > 2**31
    x, w_x, w = (
        torch.randn(1, *shape, device="cuda", dtype=torch.bfloat16)
        for shape in ((T, B, 3), (4 * H, 3), (4 * H, H))
    )
    zero = torch.zeros(1, B, H, device="cuda")
    for cut in (None, Plan(8, 128, 2, 4)):
        s = triton.forward(r, Inputs(x, w_x, None, w / 16, None, zero.bfloat16(), zero), cut=cut)
        start = s.hs[:, -4].contiguous(), s.cs[:, -4].contiguous()
        tail = Inputs(x[:, -3:], w_x, None, w / 16, None, *start)
        assert torch.equal(triton.forward(r, tail, cut=cut).hs, s.hs[:, -3:])
