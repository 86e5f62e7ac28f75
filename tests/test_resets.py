"""States reset in the middle of a segment, against a plain loop over the articles of each row."""

from itertools import pairwise

import pytest
import torch
from tolerances import assert_close, assert_rounded
from torch import nn

import urgates
from urgates.kernels import unavailable
from urgates.lab.learners.resets import restarts, through

L, B, INPUTS, H = 9, 4, 3, 8
RESETS = {  # [row, step]
    "none": [],
    "inside": [(1, 4)],
    "first step": [(0, 0)],
    "last step": [(2, L - 1)],
    "first step of all": [(row, 0) for row in range(B)],
    "rows at the same step": [(0, 5), (3, 5)],
    "rows at other steps": [(0, 2), (1, 6), (3, 0), (3, L - 1)],
    "articles of one token": [(2, 3), (2, 4), (2, 5), (0, 4)],
    "everywhere": [(row, step) for row in range(B) for step in range(L)],
}


def mask(places):
    resets = torch.zeros(L, B, dtype=torch.bool)
    for row, step in places:
        resets[step, row] = True
    return resets


def articles(rnn, x, hx, resets):
    """Row by row and article by article."""
    outputs, last = [], []
    for row in range(B):
        cuts = [0, *(t for t in range(1, L) if resets[t, row]), L]
        state = tuple(s[:, row : row + 1] for s in hx)
        y = []
        for begin, end in pairwise(cuts):
            if resets[begin, row]:
                state = tuple(torch.zeros_like(s) for s in state)
            out, state = rnn(x[begin:end, row : row + 1], state)
            y.append(out)
        outputs.append(torch.cat(y))
        last.append(state)
    return torch.cat(outputs, 1), tuple(torch.cat(s, 1) for s in zip(*last, strict=True))


def results(run, rnn, x, hx, resets):
    """Outputs, last states, and gradients of a weighted sum of them, by name."""
    x, hx = x.clone().requires_grad_(), tuple(s.clone().requires_grad_() for s in hx)
    y, state = run(rnn, x, hx, resets)
    generator = torch.Generator().manual_seed(1)
    total = 0
    for out in (y, *state):
        weight = torch.randn(out.shape, generator=generator, dtype=torch.float64)
        total = total + (out * weight.to(out)).sum()
    names = [name for name, _ in rnn.named_parameters()]
    gradients = torch.autograd.grad(total, [x, *hx, *rnn.parameters()], materialize_grads=True)
    named = zip(["d_x", "d_h0", "d_c0", *names], gradients, strict=True)
    return {"y": y, "h": state[0], "c": state[1], **dict(named)}


def drawn(dtype, layers):
    generator = torch.Generator().manual_seed(0)
    sizes = (L, B, INPUTS), (layers, B, H), (layers, B, H)
    x, *hx = (torch.randn(*size, generator=generator, dtype=torch.float64) for size in sizes)
    return x.to(dtype), tuple(s.to(dtype) for s in hx)


@pytest.mark.parametrize("places", RESETS.values(), ids=RESETS)
@pytest.mark.parametrize(("gate", "layers"), [("-", 1), ("OM", 1), ("UR", 1), ("UR", 2)])
@pytest.mark.parametrize("kernel", ["eager", "native"])
def test_resets_are_a_loop_over_articles(gate, layers, kernel, places):
    if kernel in unavailable():
        pytest.skip(unavailable()[kernel])
    torch.manual_seed(0)
    rnn = urgates.LSTM(INPUTS, H, layers, gate=gate, kernel="reference", dtype=torch.float64)
    resets = mask(places)
    truth = results(articles, rnn, *drawn(torch.float64, layers), resets)
    if kernel == "eager":
        rnn.kernel = kernel
        for name, ours in results(through, rnn, *drawn(torch.float64, layers), resets).items():
            assert_close(name, ours, truth[name])
        return
    plain = results(articles, rnn.float(), *drawn(torch.float32, layers), resets)
    rnn.kernel = kernel
    ours = results(through, rnn, *drawn(torch.float32, layers), resets)
    assert_rounded(ours, plain, truth)


def test_what_was_before_a_reset_has_no_influence_at_all():
    rnn = urgates.LSTM(INPUTS, H, gate="UR", kernel="eager", dtype=torch.float64)
    x, hx = drawn(torch.float64, 1)
    resets = mask([(1, 4)])
    y, _ = through(rnn, x, hx, resets)
    x[:4, 1], hx[0][0, 1], hx[1][0, 1] = 5, -1, 1e9
    changed, _ = through(rnn, x, hx, resets)
    assert torch.equal(y[4:, 1], changed[4:, 1]) and torch.equal(y[:, 2:], changed[:, 2:])
    assert (y[:4, 1] != changed[:4, 1]).all()


@pytest.mark.parametrize("layer", [urgates.LSTM, urgates.GRU, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("batch_first", [False, True])
def test_any_layer_in_its_own_layout_and_without_states(layer, batch_first):
    rnn = layer(INPUTS, H, batch_first=batch_first, dtype=torch.float64)
    x, resets = drawn(torch.float64, 1)[0], mask([(0, 3), (2, 3), (2, 7), (3, 0)])

    def laid_out(sequence):
        return sequence.transpose(0, 1) if batch_first else sequence

    y, state = through(rnn, laid_out(x), None, laid_out(resets))
    article, row = (laid_out(rnn(laid_out(part))[0]) for part in (x[3:7, 2:3], x[:, 1:2]))
    y = laid_out(y)
    assert_close("an article", y[3:7, 2:3], article)
    assert_close("a row without resets", y[:, 1:2], row)
    assert_close(
        "the last state", (state[0] if layer in (urgates.LSTM, nn.LSTM) else state)[0], y[-1]
    )


class Resetting(nn.Module):
    """A layer whose resets are an input."""

    def __init__(self, hx, at):
        super().__init__()
        self.rnn = urgates.LSTM(INPUTS, H, gate="UR", kernel="eager", dtype=torch.float64)
        self.hx, self.at = hx, at

    def forward(self, x, resets):
        return through(self.rnn, x, self.hx, resets, self.at)[0]


def test_models_with_other_articles_run_under_vmap():
    x, hx = drawn(torch.float64, 1)
    resets = torch.stack([mask([(1, 4)]), mask([(0, 2), (3, 4)])])
    at = restarts(resets)
    assert at == [2, 4] and restarts(resets.mT, batch_first=True) == [2, 4]
    models = [Resetting(hx, at) for _ in range(2)]
    parameters, _ = torch.func.stack_module_state(models)
    ours = torch.func.vmap(lambda p, marks: torch.func.functional_call(models[0], p, (x, marks)))(
        parameters, resets
    )
    for model, marks, y in zip(models, resets, ours, strict=True):
        assert_close("a model", y, articles(model.rnn, x, hx, marks)[0])


@pytest.mark.parametrize(
    ("resets", "message"),
    [
        (
            torch.zeros(B, L, dtype=torch.bool),
            r"bool of shape \[9, 4\], got torch.bool of shape \[4, 9\]",
        ),
        (torch.zeros(L, B), r"resets must be torch.bool of shape \[9, 4\], got torch.float32"),
        (torch.zeros(L, dtype=torch.bool), r"resets must be torch.bool"),
    ],
)
def test_resets_that_do_not_fit_are_refused(resets, message):
    with pytest.raises(ValueError, match=message):
        through(urgates.LSTM(INPUTS, H), torch.zeros(L, B, INPUTS), None, resets)


def test_a_layer_of_two_directions_is_refused():
    with pytest.raises(ValueError, match="rnn must have one direction"):
        through(nn.LSTM(INPUTS, H, bidirectional=True), torch.zeros(L, B, INPUTS), None, mask([]))
