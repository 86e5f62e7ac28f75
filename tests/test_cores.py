"""The memories of DNC and RMA against their equations, written out once more, row by row."""

import copy
import itertools
import math

import pytest
import torch
from tolerances import assert_close
from torch import nn

import urgates
from urgates.cores import DNC, RMA, dnc, reconstructive

DOUBLE = torch.float64
T, B, INPUTS, H, N, W, R, TOP = 6, 3, 4, 5, 4, 3, 2, 3
GATES = ("-", "U", "UR", "OM")
SIZES = {"rows": N, "width": W, "reads": R, "dtype": DOUBLE}


def build(kind, gate="UR", seed=0, **options):
    """A core with all weights random."""
    torch.manual_seed(seed)
    options = SIZES | ({"top": TOP} if kind is RMA else {}) | options
    core = kind(INPUTS, H, gate=gate, **options)
    with torch.no_grad():
        for p in core.parameters():
            p.add_(0.4 * torch.randn_like(p))
    return core


def state(core, seed=1):
    """A state as it may come about; probabilities where the DNC has them."""
    torch.manual_seed(seed)
    given = {n: torch.randn(B, *s, dtype=DOUBLE) for n, s in core.sizes._asdict().items()}
    for name in {"usage", "write", "read", "precedence", "links"} & set(given):
        given[name] = given[name].softmax(-1) * 0.8
    if "links" in given:
        given["links"].diagonal(0, -2, -1).zero_()
    if "t" in given:
        given["t"] = torch.tensor([0, 2, 7])
    return type(core.sizes)(**given)


# ------------------------------------------------------------------ the equations, once more


def rma_equations(core, x, s):
    """One sequence x [T, inputs] from a state without B: outputs, and the memory at last."""
    p = dict(core.named_parameters())
    rows, reads, t = [*s.memory.detach()], [*s.reads], int(s.t)
    h, c, outs = [*s.h.split(H)], [*s.c.split(H)], []
    for x_t in x:
        a = torch.tanh(p["z_in.weight"] @ torch.cat([x_t, *h, *reads]) + p["z_in.bias"])
        z = p["z_out.weight"] @ a + p["z_out.bias"]
        h[0], c[0] = core.lower(z, (h[0], c[0]))
        h[1], c[1] = core.upper(torch.cat([h[0], z]), (h[1], c[1]))
        said = p["ask.weight"] @ torch.cat(h) + p["ask.bias"]
        reads = []
        for r in range(R):
            key, strength = said[r * W : (r + 1) * W], torch.log1p(said[R * W + r].exp())
            cosines = [
                key @ row / (key.square().sum().sqrt() * row.square().sum().sqrt().clamp(min=1e-6))
                for row in rows
            ]
            best = sorted(range(N), key=lambda n, of=cosines: -of[n].item())[:TOP]
            shares = [torch.exp(strength * cosines[n]) for n in best]
            reads.append(sum(a * rows[n] for a, n in zip(shares, best, strict=True)) / sum(shares))
        rows[t % N] = z.detach()
        t += 1
        outs.append(torch.cat([z, *h, *reads]))
    return torch.stack(outs), torch.stack(rows)


def dnc_equations(core, x, s):
    """One sequence x [T, inputs] from a state without B: outputs, and the memory at last."""
    p, eps = dict(core.named_parameters()), 1e-6
    h, c, reads, M, u, w, w_r, L, prec = s
    sizes, outs = [W, W, R, 1, 1, 3 * R, W, 1, R * W, R], []

    def content(M, key, strength):
        length = (key.square().sum() + eps).sqrt()
        e = [torch.exp(strength * (key @ m) / (length * (m @ m + eps).sqrt() + eps)) for m in M]
        return torch.stack(e) / sum(e)

    for x_t in x:
        h, c = core.controller(torch.cat([x_t, *reads]), (h, c))
        said = (p["interface.weight"] @ h + p["interface.bias"]).split(sizes)
        v, e, free, g_a, g_w, modes, k_w, b_w, k_r, b_r = said
        u = u + (1 - u) * w.detach()
        for r in range(R):
            u = u * (1 - torch.sigmoid(free[r]) * w_r[r])
        squeezed, a, so_far = eps + (1 - eps) * u, [None] * N, 1.0
        for j in sorted(range(N), key=lambda n, of=u: of[n].item()):
            a[j] = (1 - squeezed[j]) * so_far
            so_far = so_far * squeezed[j]
        g_a, g_w = torch.sigmoid(g_a), torch.sigmoid(g_w)
        by_content = content(M, k_w, torch.log1p(b_w[0].exp()))
        w = g_w * (g_a * torch.stack(a) + (1 - g_a) * by_content)
        M = torch.stack([M[n] * (1 - w[n] * torch.sigmoid(e)) + w[n] * v for n in range(N)])
        new = torch.zeros_like(L)
        for i, j in itertools.permutations(range(N), 2):
            new[i, j] = (1 - w[i] - w[j]) * L[i, j] + w[i] * prec[j]
        L, prec = new, (1 - w.sum()) * prec + w
        weights, reads = [], []
        for r in range(R):
            back, forward, by_key = torch.softmax(modes[3 * r : 3 * r + 3], 0)
            found = content(M, k_r[r * W : (r + 1) * W], torch.log1p(b_r[r].exp()))
            weights.append(back * (L.T @ w_r[r]) + forward * (L @ w_r[r]) + by_key * found)
            reads.append(weights[r] @ M)
        w_r = torch.stack(weights)
        outs.append(p["output.weight"] @ torch.cat([h, *reads]) + p["output.bias"])
    return torch.stack(outs), M


EQUATIONS = {RMA: rma_equations, DNC: dnc_equations}
KINDS = pytest.mark.parametrize("kind", [RMA, DNC])


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("begun", [False, True])
@KINDS
def test_every_step_and_gradient_is_as_the_equations_say(kind, gate, begun):
    core = build(kind, gate)
    x = torch.randn(T, B, INPUTS, dtype=DOUBLE, requires_grad=True)
    s = state(core) if begun else core(x[:1])[1]
    if not begun:
        s = type(s)(*(torch.zeros_like(a) for a in s))
    y, last = core(x, s if begun else None)
    rows = [EQUATIONS[kind](core, x[:, b], type(s)(*(a[b] for a in s))) for b in range(B)]
    expected, memory = (torch.stack(part, 1) for part in zip(*rows, strict=True))
    torch.testing.assert_close(y, expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(last.memory, memory.transpose(0, 1), atol=1e-9, rtol=0)
    weights = torch.randn_like(y)
    names, wanted = zip(*core.named_parameters(), ("x", x), strict=True)
    ours, truth = (torch.autograd.grad((y * weights).sum(), wanted) for y in (y, expected))
    for name, a, b in zip(names, ours, truth, strict=True):
        assert b.any(), name
        assert_close(name, a, b, 1e-9)


@KINDS
def test_gradcheck(kind):
    """Of one step from an arbitrary state: what is detached would tell differences otherwise."""
    core = build(kind, "UR", batch_first=True)
    names, values = zip(*core.named_parameters(), strict=True)
    s = state(core)
    free = [n for n in s._fields if n not in ("t", "write", *["memory"] * (kind is RMA))]
    x = torch.randn(B, 1, INPUTS, dtype=DOUBLE, requires_grad=True)

    def run(x, *tensors):
        given = dict(zip((*names, *free), tensors, strict=True))
        hx = s._replace(**{n: given.pop(n) for n in free})
        y, last = torch.func.functional_call(core, given, (x, hx))
        return y, *(a for a in last if a.requires_grad)

    states = [getattr(s, n).requires_grad_() for n in free]
    assert torch.autograd.gradcheck(run, (x, *values, *states), fast_mode=True)


@pytest.mark.parametrize("gate", ["-", "UR", "OM"])
@KINDS
def test_stacked_models_and_rows_of_a_batch_are_each_as_alone(kind, gate):
    models = [build(kind, gate, seed) for seed in range(3)]
    parameters, _ = torch.func.stack_module_state(models)
    x, held = torch.randn(3, T, B, INPUTS, dtype=DOUBLE), torch.rand(3, T, B) < 0.3

    def run(p, x, hx=None, held=None):
        return torch.func.functional_call(models[0], p, (x, hx), {"held": held})

    _, s = torch.func.vmap(run)(parameters, x[:, :2])
    y, _ = torch.func.vmap(run)(parameters, x[:, 2:], s, held[:, 2:])
    weights = torch.randn_like(y)
    (y * weights).sum().backward()
    for m, model in enumerate(models):
        begun = model(x[m, :2])[1]
        alone = model(x[m, 2:], begun, held=held[m, 2:])[0]
        assert_close("output", y[m], alone)
        one = type(begun)(*(a[1] for a in begun))
        assert_close("row", model(x[m, 2:, 1], one, held=held[m, 2:, 1])[0], alone[:, 1])
        (alone * weights[m]).sum().backward()
        for name, p in model.named_parameters():
            assert_close(name, parameters[name].grad[m], p.grad)


@KINDS
def test_a_run_in_two_halves_layouts_and_held_steps(kind):
    core, x = build(kind), torch.randn(T, B, INPUTS, dtype=DOUBLE)
    y, last = core(x)
    first, half = core(x[:2])
    kept = [a.detach().clone() for a in half]
    second, end = core(x[2:], half)
    assert all(map(torch.equal, half, kept)), "a state that was given stays as it was"
    assert_close("halves", torch.cat([first, second]), y)
    for name, a, b in zip(end._fields, end, last, strict=True):
        assert_close(name, a.double(), b.double())
    assert_close(
        "batch first", build(kind, batch_first=True)(x.transpose(0, 1))[0].transpose(0, 1), y
    )
    assert y.shape == (T, B, kind.outputs(H, width=W, reads=R))
    held = torch.rand(T, B) < 0.4
    held[:, 0], held[-1, 1] = False, True
    state_held = core(x, half, held=held)[1]
    for row in range(B):
        alone = core(x[~held[:, row], row], type(half)(*(a[row] for a in half)))[1]
        for name, a, b in zip(half._fields, state_held, alone, strict=True):
            assert_close(name, a[row].double(), b.double())


@KINDS
def test_gates_are_those_of_the_first_cell(kind):
    core, x = build(kind, batch_first=True), torch.randn(B, T, INPUTS, dtype=DOUBLE)
    seen, (_, last) = core.gates(x), core(x[:, :1])
    assert {name: a.shape for name, a in seen.items()} == dict.fromkeys("frgi", (B, T, H))
    f, r, g = (seen[name] for name in "frg")
    assert_close("refined", 2 * r * f + (1 - 2 * r) * f.square(), g)
    candidate = last.c[:, :H] / (1 - g[:, 0])  # the cell was 0
    assert (candidate.abs() <= 1).all()
    assert_close("later", core.gates(x[:, 1:], last)["g"], g[:, 1:])


# ------------------------------------------------------------------ where these memories go wrong


@KINDS
def test_empty_rows_and_zero_keys_make_nothing_infinite(kind):
    core, x = build(kind), torch.zeros(1, B, INPUTS, dtype=DOUBLE, requires_grad=True)
    with torch.no_grad():
        for p in core.parameters():
            p.zero_()
    y, _ = core(x)
    gradients = torch.autograd.grad(y.sum(), [x, *core.parameters()])
    assert y.isfinite().all() and all(g.isfinite().all() for g in gradients)


def test_an_rma_reads_before_it_writes_and_empty_rows_too():
    core, x = build(RMA, seed=1), torch.randn(2, B, INPUTS, dtype=DOUBLE)
    y, _ = core(x)
    z, h, reads = core.parts(y)
    assert not reads[0].any(), "nothing is there to be read at first"
    keys, strengths = core.queries(h[1])
    cosine = nn.functional.cosine_similarity(keys, z[0].unsqueeze(1), -1)
    assert (cosine > 0).any(), "else no head would find it"
    own = torch.exp(strengths * cosine)
    expected = (own / (own + TOP - 1)).unsqueeze(-1) * z[0].unsqueeze(1)
    found = reads[1].unflatten(-1, (R, W))
    assert_close("diluted", found[cosine > 0], expected[cosine > 0])


def test_what_an_rma_writes_has_no_gradient():
    core, x = build(RMA), torch.randn(3, B, INPUTS, dtype=DOUBLE, requires_grad=True)
    _, s = core(x)
    assert s.h.requires_grad and not s.memory.requires_grad
    memory = torch.randn(B, N, W, dtype=DOUBLE, requires_grad=True)
    y, _ = core(x, s._replace(memory=memory))
    assert torch.autograd.grad(y.sum(), memory, allow_unused=True) == (None,)


def test_rows_are_overwritten_from_the_oldest():
    core, x = build(RMA), torch.randn(N + 2, B, INPUTS, dtype=DOUBLE)
    y, s = core(x)
    z = core.parts(y)[0]
    for row, t in enumerate((N, N + 1, *range(2, N))):
        assert torch.equal(s.memory[:, row], z[t]), row
    assert (s.t == N + 2).all()


def test_the_most_alike_rows_are_read():
    memory = torch.eye(4, dtype=DOUBLE)[None] * torch.tensor([1.0, 5.0, 2.0, 3.0])[:, None]
    keys = torch.tensor([[[0.0, 0.1, 0.0, 0.9]]], dtype=DOUBLE)
    lengths, strong = memory.norm(dim=-1), torch.full((1, 1), 50.0, dtype=DOUBLE)
    found = reconstructive.read(memory, lengths, keys, strong, 1)
    assert torch.equal(found[0, 0], memory[0, 3]), "the direction counts, the row itself is read"


def test_the_least_used_row_is_allocated_first():
    usage = torch.tensor([[0.9, 0.1, 0.5]], dtype=DOUBLE)
    expected = torch.tensor([[0.1 * 0.1 * 0.5, 0.9, 0.5 * 0.1]], dtype=DOUBLE)
    torch.testing.assert_close(dnc.allocation(usage), expected, atol=1e-5, rtol=0)
    empty = dnc.allocation(torch.zeros(1, 3, dtype=DOUBLE))
    assert empty.argmax() == 0 and empty.sum() == pytest.approx(1, abs=1e-5)


def test_a_dnc_reads_in_the_order_in_which_it_wrote():
    write, s = (
        torch.eye(N, dtype=DOUBLE)[None],
        build(DNC)(torch.zeros(1, 1, INPUTS, dtype=DOUBLE))[1],
    )
    s = s._replace(links=torch.zeros(1, N, N, dtype=DOUBLE), precedence=0 * s.precedence)
    others = 1 - torch.eye(N, dtype=DOUBLE)
    for row in (2, 0, 3):
        links, precedence = dnc.linked(s, write[:, row], others)
        s = s._replace(links=links, precedence=precedence)
    assert not s.links.diagonal(0, -2, -1).any()
    assert torch.equal(s.links[0] @ write[0, 2], write[0, 0]), "after row 2 came row 0"
    assert torch.equal(s.links[0].T @ write[0, 3], write[0, 0]), "before row 3 came row 0"
    again = dnc.linked(s, write[:, 3], others)[0]
    assert not again.diagonal(0, -2, -1).any(), "no row follows itself, written twice in a row too"


def test_what_a_dnc_wrote_counts_as_used_without_a_gradient_and_reads_free_it():
    core = build(DNC)
    s = state(core)
    write = s.write.requires_grad_()
    usage = dnc.used(s, torch.zeros(B, R, 1, dtype=DOUBLE))
    assert not usage.requires_grad and (usage >= s.usage).all()
    freed = dnc.used(s._replace(read=torch.ones_like(s.read)), torch.ones(B, R, 1, dtype=DOUBLE))
    assert write.any() and not freed.any()


def test_a_dnc_can_be_clipped():
    core, x = build(DNC, clip=0.1), torch.randn(T, B, INPUTS, dtype=DOUBLE)
    y, s = core(x)
    for a in (y, s.h, s.c):
        assert a.abs().max() == 0.1
    assert build(DNC)(x)[0].abs().max() > 0.1


# ------------------------------------------------------------------ as modules


@KINDS
def test_a_state_dict_knows_its_gate(kind):
    saved, x = build(kind).state_dict(), torch.randn(T, B, INPUTS, dtype=DOUBLE)
    copied = build(kind, seed=4)
    copied.load_state_dict(copy.deepcopy(saved))
    assert torch.equal(copied(x)[0], build(kind)(x)[0])
    with pytest.raises(RuntimeError, match="be of lstm 'U', got one of lstm 'UR'"):
        build(kind, "U").load_state_dict(saved)


@KINDS
def test_a_gate_reaches_every_cell(kind):
    core = kind(INPUTS, 32, gate="UR")
    assert len(core.cells) == (2 if kind is RMA else 1) == len(core.all_weights)
    for cell, (w_x, _, b, _, bias) in zip(core.cells, core.all_weights, strict=True):
        assert cell.gate.name == core.gate.name == "UR" and w_x is cell.weight_ih
        f = torch.sigmoid(bias)
        assert bias is cell.gate_bias and f.std() > 0.2 and not b.any()
    plain = kind(INPUTS, 32, gate="-", forget_bias=2.0)
    assert all((b[plain.rows["f"]] == 2).all() for _, _, b, _ in plain.all_weights)


X = torch.zeros(2, 1, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RMA(3, 8, rows=4), "top must be at most rows 4, got 8"),
        (lambda: RMA(3, 8, reads=0), "reads must be a positive int, got 0"),
        (lambda: RMA(0, 8), "input_size must be a positive int, got 0"),
        (lambda: DNC(3, 8, width=1.5), "width must be a positive int, got 1.5"),
        (lambda: DNC(3, 8, clip=-1.0), "clip must be positive, got -1.0"),
        (lambda: DNC(3, 8, gate="X"), "gate must be one of"),
        (lambda: DNC(3, 8)(X[..., :2]), "input must have 2 or 3 dimensions, the last of size 3"),
        (lambda: RMA(3, 8)(X.double()), "input must be of torch.float32, as the weights are"),
        (lambda: RMA(3, 8)(X[:0]), "input must have a time step"),
        (lambda: DNC(3, 8)(X * math.nan), "input must be finite, got 6 NaN or inf"),
        (lambda: RMA(3, 8)(X, X), r"hx must be the tensors \(h, c, reads, memory, t\)"),
        (lambda: RMA(3, 8)(X, (X,) * 5), r"hx.h must have shape \(1, 16\), got \[2, 1, 3\]"),
        (
            lambda: (core := RMA(3, 8))(X, core(X)[1]._replace(t=torch.zeros(1))),
            "hx.t must be a tensor of int64",
        ),
        (lambda: DNC(3, 8)(X, held=X), "held must be a tensor of bool"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_they_are_had_from_urgates_itself():
    assert urgates.DNC is DNC and urgates.RMA is RMA
