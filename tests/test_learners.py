"""A learner needs no network and no task of ours: a bandit is trained like everything else."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from urgates.lab import Bench, experiments
from urgates.lab.jobs import Job
from urgates.lab.learners import LEARNERS, learner
from urgates.lab.protocol import Protocol
from urgates.lab.store.files import CheckpointError, load_checkpoint, save_checkpoint
from urgates.lab.store.runs import Runs, final_loss
from urgates.lab.tasks import Score
from urgates.lab.tasks.base import draws
from urgates.lab.train import run_missing, train

ARMS = torch.tensor([0.1, 0.5, 0.9])
P = Protocol(
    task="bandit", preset="smoke", gates=("greedy", "curious"), hidden=3, batch=1, steps=200,
    lr=0.1, downsize=1, log_every=10, eval_every=50, seeds=2, keep_models=True, learner="bandit",
)  # fmt: skip


class Bandit:
    """Pull one arm a step, the best so far or any; a "gate" is how curious it is."""

    scores, select = (Score("regret"), Score("reward", "higher")), Score("regret")
    done = property(lambda self: self.step >= P.steps)

    def __init__(self, job, device):
        self.seeds, self.curious = job.seeds, 0.3 * (job.gate == "curious")
        self.step, self.died_at = 0, [None] * len(job.seeds)
        self.value, self.pulls = torch.zeros(2, len(job.seeds), 3).unbind()

    def advance(self):
        free, any_arm, luck = np.stack([draws(3, s, self.step) for s in self.seeds], 1) / 2**64
        arm = np.where(free < self.curious, (3 * any_arm).astype(int), self.value.argmax(1))
        at, reward = (range(len(arm)), arm), torch.tensor(luck < ARMS.numpy()[arm]).float()
        self.pulls[at] += 1
        self.value[at] += (reward - self.value[at]) / self.pulls[at]
        self.step += 1
        return {"regret": 0.9 - ARMS[arm], "reward": reward}

    def evaluate(self, split, weights=None):
        return {"regret": 0.9 - ARMS[(weights or self.weights())["value"].argmax(1)]}

    def weights(self):
        return {"value": self.value}

    def state(self):
        return {"value": self.value, "pulls": self.pulls}, {"step": self.step}

    def restore(self, tensors, plain):
        self.value, self.pulls, self.step = tensors["value"], tensors["pulls"], plain["step"]

    def probe(self):
        return []

    def provenance(self):
        return {"device": "CPU"}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(LEARNERS, "bandit", f"{__name__}:Bandit")
    monkeypatch.setitem(experiments.PROTOCOLS, ("bandit", "smoke"), P)


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*_s[12].[cs]*"))}


KILLED = """
import os, signal, sys, test_learners
from urgates.lab.learners import LEARNERS
from urgates.lab.train import train
from urgates.lab.jobs import Job
LEARNERS["bandit"] = "test_learners:Bandit"
advance = test_learners.Bandit.advance
def dying(self):
    if self.step == 117:
        os.kill(os.getpid(), signal.SIGKILL)
    return advance(self)
test_learners.Bandit.advance = dying
job = Job(test_learners.P, "-", "curious", (1, 2))
train(job, sys.argv[1], checkpoint_seconds=0.0, progress=False)
"""


def test_a_bandit_is_killed_and_ends_with_the_same_bytes(tmp_path):
    job = Job(P, "-", "curious", (1, 2))
    train(job, tmp_path / "whole", progress=False)
    here = os.environ | {"PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    command = [sys.executable, "-c", KILLED, tmp_path / "cut"]
    assert subprocess.run(command, env=here).returncode == -signal.SIGKILL
    rows = (tmp_path / "cut/bandit_-_curious_smoke_s1.csv").read_text().splitlines()
    assert rows[0] == "step,regret,reward,valid_regret" and len(rows) == 12
    train(job, tmp_path / "cut", progress=False)
    assert (
        files(tmp_path / "cut") == files(tmp_path / "whole") and len(files(tmp_path / "cut")) == 4
    )


def test_a_bandit_is_read_like_any_run(tmp_path):
    run_missing([Job(P, "-", gate, (1, 2)) for gate in P.gates], tmp_path, progress=False)
    runs = Runs(tmp_path, P, "-", (1, 2), P.gates)
    assert runs.complete == {"greedy": [1, 2], "curious": [1, 2]}
    info = runs.info.set_index(["gate", "seed"])
    assert (info.loc["curious", "best_valid_regret"] == 0).all(), "lower is better"
    assert (info.loc["curious", "test_regret"] == 0).all()
    assert (info.loc["greedy", "best_valid_regret"] > 0.3).all(), "it never tries another arm"
    reward = runs.frame[runs.frame.step > 100].groupby("gate").reward.mean()
    assert reward["curious"] > reward["greedy"] + 0.2
    table = runs._repr_markdown_()
    assert "| curious | 1, 2 | 2 finished |" in table
    assert final_loss(runs, "curious").median() < final_loss(runs, "greedy").median()


def test_a_bench_trains_a_bandit(tmp_path, monkeypatch):
    monkeypatch.setattr("urgates.lab.book.bench.checkout", lambda: tmp_path)
    bench = Bench("34_toy", "smoke", gates="all", device="cpu")
    runs = bench.runs("bandit", "-", gates=P.gates)
    assert runs.complete == {"greedy": [1, 2], "curious": [1, 2]} and runs.probes.empty


def test_bests_and_models_are_those_of_the_best_validation(tmp_path):
    train(Job(P, "-", "curious", (1, 2)), tmp_path, progress=False)
    for seed in (1, 2):
        stem = f"bandit_-_curious_smoke_s{seed}"
        info = json.loads((tmp_path / f"{stem}.json").read_text())
        rows = [row.split(",") for row in (tmp_path / f"{stem}.csv").read_text().splitlines()[1:]]
        found = {int(row[0]): float(row[3]) for row in rows if row[3]}
        assert list(found) == [50, 100, 150, 200]
        assert info["best_step"] == min(found, key=found.get) and info["probes"] == {}
        assert info["best_valid_regret"] == pytest.approx(min(found.values()), abs=1e-6)


def test_an_unknown_learner_and_a_state_that_is_not_its_own_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"learner must be one of supervised, .*got 'oracle'"):
        learner(Job(replace(P, learner="oracle"), "-", "greedy"))
    job = Job(P, "-", "greedy", (1, 2))
    train(replace(job, until=10), tmp_path, progress=False)
    (checkpoint,) = tmp_path.glob("*.safetensors")
    tensors, state = load_checkpoint(checkpoint)
    for wrong, said in (
        ((tensors | {"value": tensors["value"][:1]}, state), "tensor 'value' must be"),
        ((tensors, state | {"learner": {}}), "'learner' must have"),
    ):
        save_checkpoint(checkpoint, *wrong)
        with pytest.raises(CheckpointError, match=f"safetensors is damaged: {said}"):
            train(job, tmp_path, progress=False)
