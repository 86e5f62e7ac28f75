"""The streamed learner: against torch's own LSTM and softmax, and through kills."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tolerances import assert_close
from torch import nn

from urgates.lab.jobs import Job
from urgates.lab.learners.language import LanguageModel
from urgates.lab.learners.softmax import cross_entropy
from urgates.lab.learners.streamed import Streamed
from urgates.lab.protocol import Protocol
from urgates.lab.store.files import load_checkpoint
from urgates.lab.store.runs import Runs
from urgates.lab.tasks import Text
from urgates.lab.tasks.corpus import Corpus
from urgates.lab.tasks.text import NO_TARGET
from urgates.lab.train import train

WORDS = 23
P = Protocol(
    task="ptb", preset="smoke", task_options={"length": 5}, gates=("-", "UR"), hidden=8, batch=3,
    steps=24, lr=1e-2, clip=0.5, downsize=4, log_every=4, eval_every=8, keep_models=True,
    learner="streamed", learner_options={"layers": 2, "embedding": 6, "dropout": 0.25},
)  # fmt: skip


def written() -> Corpus:
    """A text in which a word decides which comes next, in most cases; with articles."""
    dice = np.random.default_rng(1)
    tokens = [0]
    while len(tokens) < 900:
        known = dice.random() < 0.8
        tokens.append((5 * tokens[-1] + 3) % WORDS if known else int(dice.integers(WORDS)))
    text = np.array(tokens, np.int32)
    streams = {"train": text[:600], "valid": text[600:750], "test": text[750:]}
    starts = {name: np.array([0, 41, 42, 97]) for name in streams}
    return Corpus("ptb", tuple(map(str, range(WORDS))), streams, starts, False)


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setattr(Text, "corpus", written())


# ------------------------------------------------------------------ the softmax


@pytest.mark.parametrize("rows", [1, 4, 100])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_softmax_in_chunks_is_torch_s(rows, dtype):
    torch.manual_seed(1)
    h, w, b = (torch.randn(shape, dtype=dtype) for shape in ((11, 6), (WORDS, 6), (WORDS,)))
    target = torch.randint(WORDS, (11,))
    target[[2, 7]] = NO_TARGET
    found = []
    for function in (
        lambda h, w, b: cross_entropy(h, w, b, target, rows),
        lambda h, w, b: nn.functional.cross_entropy(h @ w.T + b, target, reduction="sum"),
    ):
        leaves = [x.clone().requires_grad_() for x in (h, w, b)]
        loss = function(*leaves)
        (3 * loss).backward()
        found.append([loss.detach(), *(x.grad for x in leaves)])
    for name, ours, theirs in zip(("loss", "h", "w", "b"), *found, strict=True):
        assert_close(name, ours.double(), theirs.double(), 1e-5)


def test_the_softmax_keeps_one_chunk_of_logits():
    h, w, b = torch.randn(512, 4), torch.randn(2000, 4), torch.zeros(2000)
    target, seen = torch.randint(2000, (512,)), []

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            seen.extend(x.numel() for x in (out,) if isinstance(x, torch.Tensor))
            return out

    with Sizes():
        cross_entropy(h, w.requires_grad_(), b, target, rows=16).backward()
    assert max(seen) == 16 * 2000


# ------------------------------------------------------------------ the model and its steps


class Plain(nn.Module):
    """The same model out of torch's own parts, read article by article."""

    def __init__(self, ours: LanguageModel):
        super().__init__()
        self.embed = nn.Embedding(WORDS, 6)
        self.lstm = nn.LSTM(6, 8, 2)
        self.project = nn.Linear(8, 6)
        self.bias = nn.Parameter(torch.zeros(WORDS))
        self.embed.load_state_dict(ours.embed.state_dict())
        self.lstm.load_state_dict(ours.rnn.state_dict())
        self.project.load_state_dict(ours.project.state_dict())

    def forward(self, x, resets, hx):
        logits = []
        for step, again in zip(x, resets, strict=True):
            hx = tuple(state * ~again[:, None] for state in hx)
            y, hx = self.lstm(self.embed(step)[None], hx)
            logits.append(self.project(y[0]) @ self.embed.weight.T + self.bias)
        return torch.stack(logits), hx


def test_it_trains_to_the_losses_of_torch_s_own_parts():
    p = replace(P, learner_options={"layers": 2, "embedding": 6})
    ours = Streamed(Job(p, "lstm", "-", (1, 2)), "cpu")
    plain = Plain(ours.models[1])
    adam, hx = torch.optim.Adam(plain.parameters(), p.lr), (torch.zeros(2, 3, 8),) * 2
    for step in range(12):
        x, target, resets = ours.task.batch(2, step, 3)
        logits, hx = plain(x.T, resets.T, tuple(state.detach() for state in hx))
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), target.T.flatten())
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), p.clip)
        adam.step()
        assert ours.advance()["loss"][1].item() == pytest.approx(loss.item(), rel=1e-4), step
    stream, begins = ours.task.stream("valid"), ours.task.corpus.starts["valid"]
    x = torch.from_numpy(stream[np.arange(len(stream)) - 1].astype(np.int64))[:, None]
    resets = torch.from_numpy(np.isin(np.arange(len(stream)), begins))[:, None]
    logits, _ = plain(x, resets, (torch.zeros(2, 1, 8),) * 2)
    target = torch.from_numpy(stream.astype(np.int64))
    theirs = nn.functional.cross_entropy(logits[:, 0], target).exp().item()
    assert ours.evaluate("valid")["perplexity"][1].item() == pytest.approx(theirs, rel=1e-3)


def test_a_seed_learns_the_same_whatever_trains_beside_it():
    both, alone = (Streamed(Job(P, "lstm", "UR", seeds), "cpu") for seeds in ((1, 2), (2,)))
    for _ in range(3):
        assert both.advance()["loss"][1] == alone.advance()["loss"][0]


def test_it_learns_what_can_be_known(tmp_path):
    p = replace(
        P,
        steps=400,
        log_every=50,
        eval_every=100,
        learner_options={"layers": 1, "embedding": 16, "tied": False},
    )
    train(Job(p, "lstm", "UR", (1,)), tmp_path, "cpu", progress=False)
    info = Runs(tmp_path, p, "lstm", (1,), ("UR",)).info.iloc[0]
    least = math.exp(-(0.8 * math.log(0.8 + 0.2 / WORDS) + 0.2 * math.log(0.2 / WORDS)))
    assert least < info.best_valid_perplexity < 9 < WORDS and info.test_perplexity < 9


def test_a_run_killed_in_mid_epoch_ends_with_the_same_bytes(tmp_path, monkeypatch):
    job, advance = Job(P, "lstm", "UR", (1, 2)), Streamed.advance
    train(job, tmp_path / "whole", "cpu", progress=False)

    def dying(self):
        if self.step == 14:
            raise RuntimeError("killed")
        return advance(self)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(Streamed, "advance", dying)
        train(job, tmp_path / "cut", "cpu", progress=False, checkpoint_seconds=0)
    _, state = load_checkpoint(next((tmp_path / "cut").glob("*.safetensors")))
    assert state["learner"]["step"] == 14
    train(job, tmp_path / "cut", "cpu", progress=False)
    files = [path for path in (tmp_path / "whole").rglob("*_s[12].[cs]*")]
    assert len(files) == 4
    for path in files:
        assert (
            path.read_bytes()
            == (tmp_path / "cut" / path.relative_to(tmp_path / "whole")).read_bytes()
        )


def test_a_diverged_model_ends_alone():
    both = Streamed(Job(P, "lstm", "UR", (1, 2)), "cpu")
    both.advance()
    with torch.no_grad():
        both.models[0].bias[0] = math.inf
    losses = [both.advance()["loss"] for _ in range(2)]
    assert both.died_at == [1, None] and not losses[1][0].isfinite() and losses[1][1].isfinite()
