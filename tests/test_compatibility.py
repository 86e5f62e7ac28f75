"""In torch.nn's place: the table of compatibility, derivatives, graphs, and whose a state is."""

import copy
import pickle

import pytest
import torch
from tolerances import assert_close
from torch import nn

import urgates
from urgates.lab.book.comparison import ABSENT, COLUMNS
from urgates.lab.book.compatibility import ROWS

DOUBLE = torch.float64
CELLS = [(row, column) for row in ROWS for column in COLUMNS]


@pytest.mark.parametrize(("row", "column"), CELLS, ids=lambda x: getattr(x, "feature", x))
def test_cell_of_the_table(row, column):
    expected = row.expected[COLUMNS.index(column)]
    if expected == ABSENT:
        assert row.expected.count(ABSENT) == 2  # a question that only layers or cells can be asked
        return
    if not row.runs_here:
        pytest.skip(f"needs {', '.join(row.needs)}")
    assert row.found(column) == expected


def test_the_table_finds_a_difference():
    """The comparison itself: another answer, a refusal by other than one ValueError."""

    def code(answer):
        return lambda user: answer if user.gate is None else user.make()(user.x())[0]

    def broken(user):
        return user.make() if user.gate is None else user.nothing

    row = ROWS[0]._replace(code=code(torch.zeros(5, 2, 4)))
    with pytest.raises(AssertionError, match="are not"):
        row.found("LSTM")
    with pytest.raises(AssertionError, match="AttributeError"):
        row._replace(code=broken).found("LSTM")
    with pytest.raises(AssertionError):
        row._replace(code=lambda user: user.gate).found("LSTM")


# ------------------------------------------------------------------ derivatives and graphs


@pytest.mark.parametrize("kernel", ["auto", "eager"])
@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_second_derivatives_of_a_layer_are_the_same_under_autocast(name, kernel):
    torch.manual_seed(0)
    m = getattr(urgates, name)(3, 16, kernel=kernel)
    x = torch.randn(7, 4, 3).mul(2).requires_grad_()

    def second():
        (first,) = torch.autograd.grad(m(x)[0].square().sum(), x, create_graph=True)
        return first, *torch.autograd.grad(first.square().sum(), [x, *m.parameters()])

    truth = second()
    with torch.autocast("cpu", torch.bfloat16):
        again = second()
    for k, (a, b) in enumerate(zip(again, truth, strict=True)):
        assert_close(f"[{k}]", a, b, 1e-5)  # bfloat16 would be off by 2e-3


@pytest.mark.parametrize("name", ["LSTM", "GRU", "LSTMCell", "GRUCell"])
def test_autocast_changes_no_output(name):
    m, x = getattr(urgates, name)(3, 16), torch.randn(4, 3)
    x = x if name.endswith("Cell") else x[None]
    with torch.autocast("cpu", torch.bfloat16):
        again, rounded = flat(m(x)), flat(m(x.bfloat16()))
    for a, b, c in zip(again, flat(m(x)), rounded, strict=True):
        assert torch.equal(a, b) and a.dtype == c.dtype == torch.float32
        assert_close("of a rounded input", c, b, 1e-2)


def test_a_trace_carries_no_op_of_ours_and_takes_any_batch():
    m = urgates.GRU(3, 4, 2, bidirectional=True).eval()
    traced = torch.jit.trace(m, torch.randn(5, 2, 3))
    assert "urgates::" not in str(traced.inlined_graph)
    x = torch.randn(5, 7, 3)
    assert_close("output", traced(x)[0], m(x)[0])


def ops(program):
    """All that an exported program calls, in its inner graphs too."""
    parts = program.graph_module.modules()
    return " ".join(str(part.graph) for part in parts if hasattr(part, "graph"))


def test_an_exported_program_keeps_the_op_and_takes_any_batch():
    m, batch = urgates.LSTM(3, 4).eval(), torch.export.Dim("batch", min=2)
    program = torch.export.export(m, (torch.randn(5, 2, 3),), dynamic_shapes=({1: batch},))
    assert "urgates.scan" in ops(program)
    x = torch.randn(5, 7, 3)
    assert_close("output", program.module()(x)[0], m(x)[0])


def test_a_graph_for_onnx_carries_no_op_of_ours(monkeypatch):
    m, x = urgates.LSTM(3, 4).eval(), torch.randn(5, 2, 3)
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    program = torch.export.export(m, (x,))
    assert "urgates" not in ops(program)
    assert_close("output", program.module()(x)[0], m(x)[0])
    with pytest.raises(ValueError, match=r"dynamo must be True in torch.onnx.export, got False"):
        torch.jit.trace(m, x)


# ------------------------------------------------------------------ of which gate a state is


def load(source, target, **options):
    return lambda: target.load_state_dict(source.state_dict(), **options)


LSTM, GRU = urgates.LSTM, urgates.GRU
FOREIGN = [
    (LSTM(3, 4, gate="R"), LSTM(3, 4, gate="-"), "lstm '-', got one of lstm 'R'"),
    (LSTM(3, 4, gate="UR"), LSTM(3, 4, gate="U"), "lstm 'U', got one of lstm 'UR'"),
    (nn.LSTM(3, 4), LSTM(3, 4, gate="O"), "lstm 'O', got one of torch.nn's"),
    (LSTM(3, 4, gate="UR"), GRU(3, 4, gate="UR"), "gru 'UR', got one of lstm 'UR'"),
    (GRU(3, 4, gate="R", keep_reset=False), GRU(3, 4, gate="-"), "gru '-', got one of gru 'R' wi"),
    (nn.LSTMCell(3, 4), urgates.LSTMCell(3, 4, gate="R"), "lstm 'R', got one of torch.nn's"),
]


@pytest.mark.parametrize(("source", "target", "says"), FOREIGN, ids=lambda x: str(x)[:40])
@pytest.mark.parametrize("strict", [True, False])
def test_a_state_of_another_gate_is_refused(source, target, says, strict):
    before = {name: p.clone() for name, p in target.state_dict().items()}
    for a, b in ((source, target), (nn.Sequential(source), nn.Sequential(target))):
        with pytest.raises(RuntimeError, match=says):
            load(a, b, strict=strict)()
    assert all(torch.equal(p, before[name]) for name, p in target.state_dict().items())


def test_states_that_fit_still_load():
    for name in ("-", "UR", "OM"):
        source, target = LSTM(3, 4, gate=name), LSTM(3, 4, gate=name)
        x = torch.randn(5, 2, 3)
        load(source, target)()
        assert torch.equal(target(x)[0], source(x)[0])
        target = LSTM(3, 4, gate=name)
        target.load_state_dict(dict(source.state_dict()), assign=True)  # as safetensors keeps them
        assert torch.equal(target(x)[0], source(x)[0])
        assert list(source.state_dict()) == [k for k, _ in source.named_parameters()]


# ------------------------------------------------------------------ torch's weights


@pytest.mark.parametrize(
    ("name", "gates"),
    [
        *[(name, ("-", "C", "U", "P")) for name in ("LSTM", "LSTMCell")],
        *[(name, ("-", "C", "U", "P", "R", "CR", "UR", "PR")) for name in ("GRU", "GRUCell")],
    ],
)
def test_a_gate_takes_torchs_weights_and_computes_the_same(name, gates):
    cell, options = name.endswith("Cell"), {"dtype": DOUBLE}
    options |= {} if cell else {"num_layers": 2, "bidirectional": True, "batch_first": True}
    theirs = getattr(nn, name)(3, 5, **options).eval()
    x = torch.randn((4, 3) if cell else (4, 7, 3), dtype=DOUBLE)
    for gate in gates:
        ours = urgates.from_torch(theirs, gate)
        assert type(ours) is getattr(urgates, name) and ours.gate.name == gate
        assert not ours.training and next(ours.parameters()).dtype == DOUBLE
        for a, b in zip(flat(ours(x)), flat(theirs(x)), strict=True):
            assert_close(gate, a, b)
        flat(ours(x))[0].sum().backward()
        assert all(p.grad is not None for p in ours.parameters())


def flat(answer):
    parts = answer if isinstance(answer, tuple) else (answer,)
    return [y for part in parts for y in (part if isinstance(part, tuple) else (part,))]


# ------------------------------------------------------------------ a relational memory
# torch.nn has none: what a module among modules must do, held against its own plain loop.


def memory_core(kernel="auto", **options):
    torch.manual_seed(0)
    return urgates.RMC(3, 8, slots=3, heads=2, kernel=kernel, **options)


def answer(m, x):
    """Output, last memory and all gradients."""
    y, last = m(x)
    return y, last, *torch.autograd.grad(y.square().sum() + last.sum(), [*m.parameters()])


@pytest.mark.parametrize(("kernel", "backend"), [("auto", "aot_eager"), ("eager", "eager")])
def test_a_relational_memory_compiles_whole(kernel, backend):
    torch.compiler.reset()
    m, x = memory_core(kernel), torch.randn(5, 2, 3)
    compiled = torch.compile(m, fullgraph=True, backend=backend)
    y, last = compiled(x)
    gradients = torch.autograd.grad(y.square().sum() + last.sum(), [*m.parameters()])
    for k, (a, b) in enumerate(zip((y, last, *gradients), answer(m, x), strict=True)):
        assert_close(f"[{k}]", a, b, 1e-5)


@pytest.mark.parametrize(("kernel", "training"), [("auto", False), ("eager", True)])
def test_a_relational_memorys_ops_are_as_torch_library_wants_them(kernel, training):
    m = memory_core(kernel)
    held = torch.rand(5, 2) < 0.5
    inputs = m._inputs(torch.randn(5, 2, 3), torch.randn(2, 3, 8), held)
    inputs = [None if a is None else a.detach() for a in inputs]
    of = m.recurrence.key, m.heads, m.backend
    torch.library.opcheck(torch.ops.urgates.attend.default, (*of, training, inputs))
    ms, *kept = torch.ops.urgates.attend(*of, True, inputs)
    backward = torch.ops.urgates.attend_backward.default
    torch.library.opcheck(backward, (*of, inputs, ms, kept, torch.randn_like(ms)))


def test_a_relational_memory_is_exported_traced_copied_and_pickled():
    m, batch = memory_core().eval(), torch.export.Dim("batch", min=2)
    program = torch.export.export(m, (torch.randn(5, 2, 3),), dynamic_shapes=({1: batch},))
    traced = torch.jit.trace(m, torch.randn(5, 2, 3))
    assert "urgates.attend" in ops(program) and "urgates::" not in str(traced.inlined_graph)
    x = torch.randn(5, 7, 3)
    for other in (program.module(), traced, copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert_close("output", other(x)[0], m(x)[0])


def test_a_relational_memory_keeps_its_type_under_autocast_and_takes_no_rows():
    m, x = memory_core(), torch.randn(5, 2, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert all(map(torch.equal, m(x), memory_core()(x)))
    assert all(a.shape[-1:] and not a.any() for a in answer(m, x[:, :0]))
    assert memory_core(device="meta")(x.to("meta"))[0].shape == (5, 2, 24)
    with pytest.raises(ValueError, match=r"torch.jit.script cannot compile urgates.RMC"):
        torch.jit.script(m)
