"""An independent script around torch.nn.LSTM reaches what our pipeline reaches with gate "-"."""

from dataclasses import replace
from statistics import mean, stdev

import pytest
import torch
from plain_lstm import best_accuracy, permutation
from sklearn.datasets import load_digits
from torch import nn

from urgates.lab.experiments import protocol
from urgates.lab.experiments.images import accuracies
from urgates.lab.jobs import Job
from urgates.lab.learners.networks import build
from urgates.lab.learners.supervised import Stack
from urgates.lab.store.runs import Runs
from urgates.lab.tasks import bit_reversal
from urgates.lab.train import train

SEEDS = (1, 2, 3)


@pytest.fixture(autouse=True)
def one_thread():
    """Of small layers; torch's own LSTM crawls where other processes hold a core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_an_independent_lstm_reaches_the_same_accuracy_within_seed_spread(tmp_path):
    p = replace(protocol("pmnist", "smoke"), hidden=64, steps=500, log_every=50, eval_every=100)
    train(Job(p, "lstm", "-", SEEDS), tmp_path, "cpu", progress=False)
    ours = accuracies(Runs(tmp_path, p, "lstm", SEEDS, ("-",))).valid.tolist()
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
    how = {"hidden": p.hidden, "batch": p.batch, "steps": p.steps, "lr": p.lr}
    theirs = [100 * best_accuracy(x, y, s, eval_every=p.eval_every, **how) for s in SEEDS]
    assert min(ours + theirs) > 30, (ours, theirs)  # all have learned, guessing gives 10
    spread = (stdev(ours) ** 2 + stdev(theirs) ** 2) ** 0.5
    assert abs(mean(ours) - mean(theirs)) < 3 * spread, (ours, theirs)


def test_from_one_start_and_on_the_same_images_torch_trains_to_the_same_losses():
    p = replace(protocol("pmnist", "smoke"), hidden=64)
    stack, network = Stack(Job(p, "lstm", "-"), "cpu"), build(p, "lstm", "-", 1)
    lstm, head = nn.LSTM(1, 64, batch_first=True), network.head
    lstm.load_state_dict(network.rnn.state_dict())
    parameters = [*lstm.parameters(), *head.parameters()]
    adam = torch.optim.Adam(parameters, p.lr)
    for step in range(30):
        x, y = stack.task.batch(1, step, p.batch)
        loss = nn.functional.cross_entropy(head(lstm(x)[0][:, -1]), y)
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, p.clip)
        adam.step()
        assert loss.item() == pytest.approx(stack.advance()["loss"].item(), rel=1e-3), step


def test_its_permutation_is_ours():
    for n in (64, 784, 1024):
        assert permutation(n) == bit_reversal(n).tolist()
