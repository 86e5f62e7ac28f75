"""The relational memory core against its equations, written out once more, slot by slot."""

import copy
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from tolerances import assert_close
from torch import nn

import urgates
from urgates import RMC
from urgates.lab.jobs import Job
from urgates.lab.learners.networks import build, features
from urgates.lab.learners.supervised import Stack
from urgates.lab.protocol import Protocol

DOUBLE = torch.float64
GATES = ("-", "C", "U", "UR", "OM")
T, B, INPUTS, S, H, HEADS, CHUNK = 5, 3, 4, 3, 8, 2, 2


def layer(gate="UR", seed=0, **options):
    """A layer with all weights random, norms' too."""
    torch.manual_seed(seed)
    options = {"slots": S, "heads": HEADS, "downsize": CHUNK, "dtype": DOUBLE, **options}
    rmc = RMC(INPUTS, H, gate=gate, **options)
    with torch.no_grad():
        for p in rmc.parameters():
            p.add_(0.4 * torch.randn_like(p))
    return rmc


def equations(rmc, x, M):
    """Santoro et al. (2018) as released, for one sequence x [T, inputs] and memory M [S, H]."""
    p, slots, memories = dict(rmc.named_parameters()), len(M), []

    def linear(y, name):
        return y @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    def norm(y, name):
        centred = y - y.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * p[f"{name}.weight"] + p[f"{name}.bias"]

    for x_t in x:
        xi = linear(x_t, "project")
        Z = torch.cat([M, xi[None]])
        outs = []
        for head in norm(linear(Z, "qkv"), "norm_qkv").chunk(rmc.heads, -1):
            q, k, v = head.chunk(3, -1)
            outs.append(torch.softmax(q @ k.T / k.shape[-1] ** 0.5, -1) @ v)
        Z = norm(Z + torch.cat(outs, -1), "norm_1")
        Z = norm(Z + linear(torch.relu(linear(Z, "mlp_1")), "mlp_2"), "norm_2")
        a = linear(xi, "gates_x") + linear(torch.tanh(M), "gates_m")
        f, i = gates(rmc, a, p.get("gate_bias"))
        M = i * torch.tanh(Z[:slots]) + f * M
        memories.append(M.flatten())
    return torch.stack(memories), M


def gates(rmc, a, b):
    """Effective gates (f, i) of the transfer to the memory's update, from pre-activations."""
    width = H if rmc.gating == "unit" else 1
    (a_i, a_f), masters = a[:, : 2 * width].chunk(2, -1), a[:, 2 * width :]
    sigmoid, name = torch.sigmoid, rmc.gate.name
    if name != "OM":
        f, i = (sigmoid(a_f), sigmoid(a_i)) if b is None else (sigmoid(a_f + b), sigmoid(a_i - b))
        if name.endswith("R"):
            g = 2 * i * f + (1 - 2 * i) * f**2
            return g, 1 - g
        return f, i
    i_master, f_master = masters.chunk(2, -1)
    f_master = torch.softmax(f_master, -1).cumsum(-1).repeat_interleave(CHUNK, -1)
    i_master = 1 - torch.softmax(i_master, -1).cumsum(-1).repeat_interleave(CHUNK, -1)
    w = f_master * i_master
    return sigmoid(a_f) * w + (f_master - w), sigmoid(a_i) * w + (i_master - w)


@pytest.mark.parametrize("kernel", ["eager", "reference"])
@pytest.mark.parametrize(
    ("gate", "gating"), [*((g, "unit") for g in GATES), ("-", "memory"), ("R", "memory")]
)
def test_every_gate_is_as_the_equations_say(gate, gating, kernel):
    rmc = layer(gate, gating=gating, kernel=kernel)
    x, m = torch.randn(T, B, INPUTS, dtype=DOUBLE), torch.randn(S, B, H, dtype=DOUBLE)
    y, last = rmc(x, m)
    for row in range(B):
        expected, state = equations(rmc, x[:, row], m[:, row])
        torch.testing.assert_close(y[:, row], expected, atol=1e-9, rtol=0)
        torch.testing.assert_close(last[:, row], state, atol=1e-9, rtol=0)


def test_the_first_memory_is_the_identity():
    for slots in (3, 8, 10):
        rmc = layer("-", slots=slots)
        x = torch.randn(2, 1, INPUTS, dtype=DOUBLE)
        expected, _ = equations(rmc, x[:, 0], torch.eye(slots, H, dtype=DOUBLE))
        torch.testing.assert_close(rmc(x)[0][:, 0], expected, atol=1e-9, rtol=0)


def derivatives(rmc, x, m, held=None):
    """Gradients of the input, the memory at first and every parameter under random cotangents."""
    y, last = rmc(x, m, held=held)
    torch.manual_seed(9)
    loss = (torch.randn_like(y) * y).sum() + (torch.randn_like(last) * last).sum()
    return dict(zip(["x", "m", *dict(rmc.named_parameters())],
                    torch.autograd.grad(loss, [x, m, *rmc.parameters()]), strict=True))  # fmt: skip


@pytest.mark.parametrize("gate", [*GATES, "OR", "F", "memory"])
def test_gradients_by_hand_are_autograds(gate):
    gate, gating = ("R", "memory") if gate == "memory" else (gate, "unit")
    x = torch.randn(T, B, INPUTS, dtype=DOUBLE, requires_grad=True)
    m = torch.randn(S, B, H, dtype=DOUBLE, requires_grad=True)
    held = torch.rand(T, B) < 0.4
    ours, truth = (
        derivatives(layer(gate, gating=gating, kernel=kernel), x, m, held)
        for kernel in ("eager", "reference")
    )
    for name, gradient in truth.items():
        if name != "gates_m.bias":  # the same as gates_x.bias's, which stands beside it
            assert gradient.any(), name
        assert_close(name, ours[name], gradient)


def test_gradcheck():
    rmc = RMC(2, 4, slots=2, heads=2, batch_first=True, gate="UR", dtype=DOUBLE)
    names, values = zip(*rmc.named_parameters(), strict=True)
    x = torch.randn(2, 3, 2, dtype=DOUBLE, requires_grad=True)

    def run(x, *weights):
        return torch.func.functional_call(rmc, dict(zip(names, weights, strict=True)), (x,))[0]

    assert torch.autograd.gradcheck(run, (x, *values), fast_mode=True)


def test_second_derivatives_are_the_references():
    x = torch.randn(3, 2, INPUTS, dtype=DOUBLE, requires_grad=True)
    found = []
    for kernel in ("reference", "eager"):
        rmc = layer("UR", kernel=kernel)
        wanted = [x, rmc.qkv.weight, rmc.gate_bias]
        first = torch.autograd.grad(rmc(x)[0].square().sum(), wanted, create_graph=True)
        found.append(torch.autograd.grad(sum(g.square().sum() for g in first), wanted))
    for ours, truth in zip(*found, strict=True):
        assert truth.any()
        assert_close("second", ours, truth)


@pytest.mark.parametrize("gate", ["-", "UR", "OM"])
def test_stacked_models_are_each_as_alone(gate):
    models = [layer(gate, seed) for seed in range(3)]
    parameters, _ = torch.func.stack_module_state(models)
    x, held = torch.randn(3, T, B, INPUTS, dtype=DOUBLE), torch.rand(3, T, B) < 0.3
    weights = torch.randn(3, T, B, S * H, dtype=DOUBLE)

    def run(p, x, held):
        return torch.func.functional_call(models[0], p, (x,), {"held": held})[0]

    y = torch.func.vmap(run)(parameters, x, held)
    (y * weights).sum().backward()
    for m, model in enumerate(models):
        alone = model(x[m], held=held[m])[0]
        assert_close("output", y[m], alone)
        (alone * weights[m]).sum().backward()
        for name, p in model.named_parameters():
            assert_close(name, parameters[name].grad[m], p.grad)


def test_a_run_in_two_halves_layouts_and_held_steps():
    rmc, x = layer(), torch.randn(T, B, INPUTS, dtype=DOUBLE)
    y, last = rmc(x)
    first, state = rmc(x[:2])
    second, end = rmc(x[2:], state)
    assert_close("halves", torch.cat([first, second]), y)
    assert_close("state", end, last)
    assert_close("output is the state", y[-1], last.transpose(0, 1).flatten(1))
    turned = layer(batch_first=True)
    assert_close("batch first", turned(x.transpose(0, 1))[0], y.transpose(0, 1))
    assert_close("unbatched", rmc(x[:, 1])[0], y[:, 1])
    assert_close("unbatched state", rmc(x[:, 1], state[:, 1])[1], rmc(x, state)[1][:, 1])
    held = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 0], [0, 1, 0]]).bool()
    for row in range(B):
        alone = rmc(x[~held[:, row], row][:, None])[1]
        assert_close("held", rmc(x, held=held)[1][:, row : row + 1], alone)


def test_gates_and_attention_can_be_looked_at():
    rmc, x = layer("UR", batch_first=True), torch.randn(B, T, INPUTS, dtype=DOUBLE)
    y, _ = rmc(x)
    seen, attention = rmc.gates(x), rmc.attention(x)
    assert {name: a.shape for name, a in seen.items()} == dict.fromkeys("frgi", (B, T, S * H))
    assert attention.shape == (B, T, HEADS, S, S + 1)
    assert_close("shares", attention.sum(-1), torch.ones(B, T, HEADS, S, dtype=DOUBLE))
    g, before = seen["g"][:, 1:], y[:, :-1]
    assert_close("tied", seen["i"], 1 - seen["g"])
    u = (y[:, 1:] - g * before) / (1 - g)  # the update turned round
    assert (u.abs() <= 1 + 1e-9).all()
    memory = layer("R", gating="memory")
    assert memory.gates(x[0])["g"].shape == (T, S * H)


@pytest.mark.parametrize(("gate", "bias"), [("-", 1.0), ("R", 1.0), ("OM", 0.0)])
def test_gates_without_a_bias_of_their_own_start_where_the_paper_says(gate, bias):
    rmc = RMC(INPUTS, H, gate=gate)
    main = rmc.rows[rmc.gate.main]
    assert (rmc.gates_x.bias[main] == bias).all() and not rmc.gates_m.bias.any()
    assert rmc.gates_x.bias.count_nonzero() == (bias != 0) * H


def test_the_uniform_bias_is_one_vector_for_all_slots():
    rmc = RMC(INPUTS, 64, gate="UR")
    assert rmc.gate_bias.shape == (64,) and not rmc.gates_x.bias.any()
    f = torch.sigmoid(rmc.gate_bias)
    assert f.min() >= 1 / 64 - 1e-6 and f.max() <= 1 - 1 / 64 + 1e-6 and f.std() > 0.2


def test_parameters_depend_neither_on_slots_nor_on_heads():
    sizes = {
        sum(p.numel() for p in RMC(45, 512, slots=s, heads=h, gate="-").parameters())
        for s, h in ((2, 2), (4, 4))
    }
    assert len(sizes) == 1 and abs(sizes.pop() / 2.39e6 - 1) < 0.005  # as released, vocabulary 45


def test_a_state_dict_knows_its_gate():
    saved = layer("UR").state_dict()
    copied = layer("UR", seed=4)
    copied.load_state_dict(copy.deepcopy(saved))
    x = torch.randn(T, B, INPUTS, dtype=DOUBLE)
    assert torch.equal(copied(x)[0], layer("UR")(x)[0])
    with pytest.raises(RuntimeError, match="be of rmc 'U', got one of rmc 'UR'"):
        layer("U").load_state_dict(saved)


X = torch.zeros(2, 1, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RMC(3, 6, heads=4), "heads must divide hidden_size 6, got 4"),
        (lambda: RMC(3, 8, slots=0), "slots must be a positive int, got 0"),
        (lambda: RMC(3, 8, gate="OM", downsize=3), "downsize must divide hidden_size 8, got 3"),
        (lambda: RMC(3, 8, gate="X"), "gate must be one of"),
        (lambda: RMC(3, 8, gating="slot"), "gating must be one of unit, memory, got 'slot'"),
        (
            lambda: RMC(3, 8, gate="UR", gating="memory"),
            "gating must be unit with gate 'UR', got memory: one gate a slot",
        ),
        (lambda: RMC(3, 8, gate="OM", gating="memory"), "gating must be unit with gate 'OM'"),
        (lambda: RMC(3, 8, kernel="numpy"), "kernel must be one of auto, reference, eager, native"),
        (lambda: RMC(3, 8)(X[..., :2]), "input must have 2 or 3 dimensions, the last of size 3"),
        (lambda: RMC(3, 8)(X.double()), "input must be of torch.float32, as the weights are"),
        (lambda: RMC(3, 8)(X[:0]), "input must have a time step"),
        (lambda: RMC(3, 8)(X * torch.nan), "input must be finite, got 6 NaN or inf"),
        (lambda: RMC(3, 8)(X, X), r"hx must have shape \(4, 1, 8\), got \[2, 1, 3\]"),
        (lambda: RMC(3, 8)(X, held=X), "held must be a tensor of bool"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_low_precision_layer_computes_its_memory_in_float32():
    rmc = layer("UR").bfloat16()
    x = torch.randn(T, B, INPUTS).bfloat16()
    y, last = rmc(x)
    assert y.dtype == last.dtype == torch.bfloat16
    wide = copy.deepcopy(rmc).float()(x.float())[0]
    assert torch.equal(y, wide.bfloat16())
    y.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.bfloat16 for p in rmc.parameters())


def test_import_urgates_does_not_import_the_cores():
    code = "import sys, urgates; urgates.LSTM; assert 'urgates.cores' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert urgates.cores.RMC is RMC and issubclass(RMC, nn.Module)


# ------------------------------------------------------------------ trained by the supervised stack

P = Protocol(
    task="addition", preset="smoke", task_options={"length": 2, "nesting": 1, "evaluated": 30},
    hidden=8, batch=8, steps=4, lr=1e-3, log_every=1, eval_every=2, downsize=2,
    learner_options={"rmc": {"slots": 2, "heads": 2}},
)  # fmt: skip


def test_stacks_of_it_train_evaluate_are_probed_and_resume():
    both, alone = Stack(Job(P, "rmc", "UR", (1, 2))), Stack(Job(P, "rmc", "UR", (2,)))
    for _ in range(3):
        torch.testing.assert_close(
            both.advance()["loss"][1:], alone.advance()["loss"], rtol=1e-5, atol=0
        )
    assert both.provenance()["kernel"] == both.rnn.backend
    assert both.evaluate("valid")["accuracy"].shape == (2,)
    assert len(both.probe()[1]["g"]) == 16
    again = Stack(Job(P, "rmc", "UR", (1, 2)))
    again.restore(*copy.deepcopy(both.state()))
    assert torch.equal(both.advance()["loss"], again.advance()["loss"])
    assert all(map(torch.equal, both.weights().values(), again.weights().values()))


def test_a_network_reads_out_all_slots_however_many():
    for options, width in (({}, 4 * 8), ({"rmc": {"slots": 3, "heads": 1}}, 3 * 8)):
        protocol = replace(P, learner_options=options)
        network = build(protocol, "rmc", "-", 1)
        assert network.head[0].in_features == width == features(protocol, "rmc")
        assert network(P.make_task().batch(1, 1, 2)[0]).shape == (2, 3, 10)
    assert features(P, "lstm") == 8
