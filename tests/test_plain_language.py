"""An independent script around torch.nn.LSTM reaches what our language model reaches with "-"."""

from dataclasses import replace
from statistics import mean, stdev

import numpy as np
import pytest
import torch
from plain_language import best_perplexity

from urgates.lab.experiments import protocol
from urgates.lab.jobs import Job
from urgates.lab.store.runs import Runs
from urgates.lab.tasks import Text
from urgates.lab.tasks.corpus import Corpus
from urgates.lab.train import train

WORDS, SEEDS = 40, (1, 2, 3)


@pytest.fixture
def text(monkeypatch):
    """A Markov chain of words, with pairs that only a memory of three words can tell."""
    dice, tokens = np.random.default_rng(3), [0, 1, 2]
    while len(tokens) < 24_000:
        known = dice.random() < 0.7
        likely = (3 * tokens[-1] + 5 * (tokens[-3] % 2) + 1) % WORDS
        tokens.append(likely if known else int(dice.integers(WORDS)))
    stream = np.array(tokens, np.int32)
    streams = {"train": stream[:20_000], "valid": stream[20_000:22_000], "test": stream[22_000:]}
    starts = {name: np.array([], np.int64) for name in streams}
    corpus = Corpus("ptb", tuple(map(str, range(WORDS))), streams, starts, False)
    monkeypatch.setattr(Text, "corpus", corpus)
    return [torch.from_numpy(streams[name].astype(np.int64)) for name in ("train", "valid")]


def test_an_independent_script_reaches_the_same_perplexity_within_seed_spread(text, tmp_path):
    p = replace(
        protocol("ptb", "laptop"),
        **{"task_options": {"length": 16}, "hidden": 32, "steps": 400, "log_every": 100},
        **{"eval_every": 200, "learner_options": {"layers": 1, "embedding": 16}},
    )
    train(Job(p, "lstm", "-", SEEDS), tmp_path, "cpu", progress=False)
    ours = Runs(tmp_path, p, "lstm", SEEDS, ("-",)).info.best_valid_perplexity.tolist()
    how = {"sizes": (WORDS, 16, 32), "rows": p.batch, "length": 16, "steps": p.steps, "lr": p.lr}
    how |= {"clip": p.clip, "eval_every": p.eval_every}
    theirs = [best_perplexity(*text, seed, **how) for seed in SEEDS]
    assert max(ours + theirs) < 0.4 * WORDS, (ours, theirs)  # all have learned
    spread = (stdev(ours) ** 2 + stdev(theirs) ** 2) ** 0.5
    assert abs(mean(ours) - mean(theirs)) < 3 * spread, (ours, theirs)
