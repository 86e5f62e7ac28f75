"""What changes when one word replaces torch.nn's: a table whose every cell is a comparison.

A row is a piece of a user's code (see comparison.py).  Its word says how our answer and torch.nn's
compare: the same, or who refuses; one word stands for all columns, two for layers and cells.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from urgates.lab.book.comparison import (
    ABSENT,
    BOTH_REFUSE,
    COLUMNS,
    OURS_ALONE,
    OURS_REFUSES,
    SAME,
    Row,
    User,
    floats,
)  # fmt: skip

ROWS: list[Row] = []


def table() -> pd.DataFrame:
    """The words of all cells, as the tests find them."""
    return pd.DataFrame({r.feature: r.expected for r in ROWS}, index=COLUMNS).T


def row(feature: str, *expected: str, ratio: float = 1e-5, needs: tuple[str, ...] = ()):
    """Add a function as a row: one expected word for all columns, for layers and cells, or four."""

    def add(code: Callable[[User], Any]) -> Callable[[User], Any]:
        words = expected or (SAME,)
        words = words * 4 if len(words) == 1 else words
        words = (words[0], words[0], words[1], words[1]) if len(words) == 2 else words
        ROWS.append(Row(feature, code, words, ratio, needs))
        return code

    return add


def learned(module: nn.Module, *args: Any) -> list[Any]:
    """The answer, and the gradients of its squares in the order of torch.nn's weights."""
    answer = module(*args)
    sum(y.square().sum() for y in floats(answer)).backward()
    return [answer, [p.grad for name, p in module.named_parameters() if "gate" not in name]]


# ------------------------------------------------------------------ arguments of the constructor


@row("weights, inputs and gradients")
def _(user: User):
    return learned(user.make(), user.x())


@row("bias=False")
def _(user: User):
    return learned(user.make(bias=False), user.x())


@row("num_layers=2, bidirectional=True", SAME, BOTH_REFUSE)
def _(user: User):
    return learned(user.make(num_layers=2, bidirectional=True), user.x())


@row("batch_first=True", SAME, BOTH_REFUSE)
def _(user: User):
    return user.make(batch_first=True)(user.x(2, 5, 3))


@row("dropout=1.0 between two layers", SAME, BOTH_REFUSE)
def _(user: User):
    return user.make(3, 4, 2, True, False, 1.0)(user.x())


@row("proj_size=2", OURS_REFUSES, BOTH_REFUSE, BOTH_REFUSE, BOTH_REFUSE)
def _(user: User):
    return user.make(proj_size=2)(user.x())


@row("dtype=torch.float64")
def _(user: User):
    return learned(user.make(dtype=torch.float64), user.x().double())


@row("device='meta'")
def _(user: User):
    return [y.shape for y in floats(user.make(device="meta")(user.x().to("meta")))]


@row("bias='no'", BOTH_REFUSE, OURS_REFUSES)
def _(user: User):
    return user.make(bias="no")(user.x())


# ------------------------------------------------------------------ inputs


@row("one sequence, or row, without a batch")
def _(user: User):
    return learned(user.make(), user.x()[:, 0] if user.layer else user.x()[0])


@row("a packed sequence", SAME, BOTH_REFUSE)
def _(user: User):
    lengths = [3, 5]
    packed = pack_padded_sequence(user.x(), lengths, enforce_sorted=False)
    return list(user.make(bidirectional=True)(packed))


@row("an empty batch, B = 0")
def _(user: User):
    return user.make()(user.x()[:, :0] if user.layer else user.x()[:0])


@row("no step, T = 0", BOTH_REFUSE, ABSENT)
def _(user: User):
    return user.make()(user.x()[:0])


@row("whole numbers or bools as input", BOTH_REFUSE)
def _(user: User):
    return user.make()(user.x() > 0)


@row("float64 input of float32 weights", BOTH_REFUSE)
def _(user: User):
    return user.make()(user.x().double())


@row("an input of another size", BOTH_REFUSE)
def _(user: User):
    return user.make()(user.x()[..., :2])


@row("NaN in the input", OURS_REFUSES)
def _(user: User):
    return user.make()(user.x() * float("nan"))


# ------------------------------------------------------------------ initial states


@row("hx, as documented")
def _(user: User):
    return learned(user.make(), user.x(), user.state())


@row("hx=[h, c], a list", SAME, BOTH_REFUSE, SAME, BOTH_REFUSE)
def _(user: User):
    h = user.state()
    return user.make()(user.x(), list(h) if isinstance(h, tuple) else [h])


@row("hx=()", BOTH_REFUSE)
def _(user: User):
    return user.make()(user.x(), ())


@row("hx of one tensor too few, or too many", BOTH_REFUSE)
def _(user: User):
    h = user.state()
    return user.make()(user.x(), h[:1] if isinstance(h, tuple) else (h, h))


@row("hx for another batch", BOTH_REFUSE)
def _(user: User):
    return user.make()(user.x(), user.state(rows=3))


@row("hx in float64 beside float32", BOTH_REFUSE)
def _(user: User):
    h = user.state()
    h = tuple(x.double() for x in h) if isinstance(h, tuple) else h.double()
    return user.make()(user.x(), h)


# ------------------------------------------------------------------ a module among modules


@row("state_dict to torch.nn and back, strictly")
def _(user: User):
    module, torchs = user.make(), User(user.column, None).make(bias=True)
    if user.gate == "UR":  # torch.nn has no place for it
        torchs = user.make()
    torchs.load_state_dict(module.state_dict())
    for p in module.parameters():
        nn.init.zeros_(p)
    return module.load_state_dict(torchs.state_dict()), module(user.x())


@row("names and order of parameters and state_dict")
def _(user: User):
    module = user.make()
    return [n for n, _ in module.named_parameters()], list(module.state_dict())


@row("deepcopy, pickle, torch.save of a state_dict")
def _(user: User):
    other = pickle.loads(pickle.dumps(copy.deepcopy(user.make())))
    file = io.BytesIO()
    torch.save(other.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file))
    return other(user.x())


@row("to(torch.float64)")
def _(user: User):
    return user.make().to(torch.float64)(user.x().double())


@row("to(torch.bfloat16)", ratio=2e-2)
def _(user: User):
    return user.make().to(torch.bfloat16)(user.x().bfloat16())


@row("autocast; ours answers in float32", ratio=2e-2)
def _(user: User):
    with torch.autocast("cpu", torch.bfloat16):
        answer = user.make()(user.x())
    return [y.float() for y in floats(answer)]


@row("flatten_parameters, all_weights, mode, proj_size", SAME, BOTH_REFUSE)
def _(user: User):
    module = user.make()
    module.flatten_parameters()
    return [len(module.all_weights), module.mode, module.proj_size, module.all_weights[0][:4]]


@row("a replica of nn.DataParallel")
def _(user: User):
    module = user.make()
    replica = module._replicate_for_data_parallel()
    for name, p in module.named_parameters():
        setattr(replica, name, p.clone())  # a tensor, no parameter, as nn.parallel.replicate does
    return replica(user.x())


@row("torch.func.functional_call")
def _(user: User):
    module = user.make()
    halved = {name: p / 2 for name, p in module.named_parameters()}
    return torch.func.functional_call(module, halved, (user.x(),))


# ------------------------------------------------------------------ transformations


@row("double backward")
def _(user: User):
    module, x = user.make(dtype=torch.float64), user.x().double().requires_grad_()
    energy = sum(y.square().sum() for y in floats(module(x)))
    (first,) = torch.autograd.grad(energy, x, create_graph=True)
    return torch.autograd.grad(first.square().sum(), [x, module.weight_hh_l0]
                               if user.layer else [x, module.weight_hh])  # fmt: skip


@row("double backward under autocast", ratio=1e-1)
def _(user: User):
    module, x = user.make(), user.x().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        energy = sum(y.float().square().sum() for y in floats(module(x)))
        (first,) = torch.autograd.grad(energy, x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x)


@row("vmap(grad) over a batch of its inputs", OURS_ALONE)
def _(user: User):
    module, x = user.make(dtype=torch.float64), torch.stack([user.x().double()] * 2)
    parameters = {name: p.detach() for name, p in module.named_parameters()}

    def loss(parameters, x):
        answer = torch.func.functional_call(module, parameters, (x,))
        return sum(y.square().sum() for y in floats(answer))

    found = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
    return [g for name, g in found.items() if "gate" not in name]


@row("torch.compile(fullgraph=True)", OURS_ALONE, SAME)
def _(user: User):
    torch.compiler.reset()
    compiled = torch.compile(user.make(), fullgraph=True, backend="eager")
    return compiled(user.x())


@row("torch.export")
def _(user: User):
    return torch.export.export(user.make().eval(), (user.x(),)).module()(user.x())


@row("torch.jit.trace, then another batch")
def _(user: User):
    traced = torch.jit.trace(user.make().eval(), user.x())
    return traced(user.x(5, 3, 3) if user.layer else user.x(3, 3))


@row("torch.jit.script", OURS_REFUSES)
def _(user: User):
    return torch.jit.script(nn.Sequential(user.make()))(user.x())


@row("torch.onnx.export", ratio=1e-4, needs=("onnx", "onnxscript"))
def _(user: User):
    module, x = user.make().eval(), user.x()
    program = torch.onnx.export(module, (x,), verbose=False)
    return [torch.from_numpy(y) if not isinstance(y, torch.Tensor) else y for y in program(x)]


@row("torch.onnx.export(dynamo=False)", OURS_REFUSES, SAME, needs=("onnx",))
def _(user: User):
    torch.onnx.export(user.make().eval(), (user.x(),), io.BytesIO(), dynamo=False, verbose=False)
