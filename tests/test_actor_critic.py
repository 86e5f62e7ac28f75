"""The actor-critic against a plain loop over one agent, through kills, and that it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tolerances import assert_close
from torch import nn

from urgates.lab.jobs import Job
from urgates.lab.learners.actor_critic import ActorCritic, Seen, returns
from urgates.lab.protocol import Protocol
from urgates.lab.store.runs import Runs
from urgates.lab.train import train

SMALL = {"rows": 6, "reads": 2, "top": 3}  # of the RMA's memory
OPTIONS = {"features": 8, "width": 8, "discount": 0.9, "entropy": 0.01, "baseline": 0.4}
P = Protocol(
    task="active", preset="smoke", task_options={"frames": [2, 3, 4], "apple_reward": 1.0},
    gates=("-", "UR"), hidden=8, batch=6, steps=12, lr=1e-2, downsize=4, log_every=3,
    keep_models=True, learner="actor-critic", learner_options=OPTIONS,
)  # fmt: skip


def test_returns_are_those_of_the_recursion():
    reward, value = torch.randn(2, 3, 7, dtype=torch.float64).unbind()
    found = returns(reward, value, 0.9)
    for b in range(3):
        after = 0.0
        for t in reversed(range(7)):
            following = value[b, t + 1] if t < 6 else 0.0
            after = reward[b, t] + 0.9 * (0.1 * following + 0.9 * after)
            assert found[b, t] == pytest.approx(float(after))


def test_what_is_played_is_what_is_gone_through_again():
    agents = ActorCritic(Job(P, "lstm", "UR", (1, 2)), "cpu")
    played = agents.play(0)
    assert played.action.shape == (2, 6, 9) and played.alive.all()
    logits = agents.forward(played.seen).logits
    chances = logits.softmax(-1).cumsum(-1)[..., :-1]
    again = (agents._luck(0)[..., None] > chances).sum(-1)
    assert (again == played.action).float().mean() > 0.99  # but for the last digit
    assert torch.equal(played.seen.action[:, :, 1:], played.action[:, :, :-1])
    assert torch.equal(played.seen.reward[:, :, 1:], played.reward[:, :, :-1])
    assert (played.seen.action[:, :, 0] == 0).all() and (played.seen.reward[:, :, 0] == 0).all()


@pytest.mark.parametrize("cell", ["lstm", "mem", "rma", "dnc"])
def test_a_recorded_glance_gives_the_same_numbers(cell):
    memory = {"mem": SMALL, "rma": SMALL, "dnc": {"rows": 4, "width": 3, "reads": 1}}
    p = replace(P, learner_options=OPTIONS | memory)
    agents = ActorCritic(Job(p, cell, "UR", (1, 2)), "cpu")
    agents.advance()  # records
    found = agents.play(1)
    assert agents._recorded is not None

    def plain(parameters, now, hx):
        answer = agents.forward(now, hx, parameters)
        return answer.logits, answer.hx

    agents._recorded = plain
    again = agents.play(1)
    pairs = zip((*found.seen, *found[1:]), (*again.seen, *again[1:]), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def test_weights_start_as_the_released_ones():
    p = replace(P, learner_options=OPTIONS | {"features": 64, "width": 48})
    agent = ActorCritic(Job(p, "lstm", "UR", (1,)), "cpu").agent
    heads = [m for part in (agent.eyes, agent.z, agent.policy) for m in part.modules()]
    layers = [m for m in heads if isinstance(m, nn.Linear)]
    assert len(layers) == 5 and not any(m.bias.any() for m in layers)
    for m in layers:
        std = m.in_features**-0.5
        assert m.weight.abs().max() <= 2 * std
        assert abs(m.weight.std().item() / std - 0.88) < 0.12  # cut at two deviations


def test_contrast_weighs_shades_and_colours():
    p = replace(P, learner_options=OPTIONS | {"contrast": (0.5, 16.0)})
    agent = ActorCritic(Job(p, "lstm", "UR", (1,)), "cpu").agent
    agent.eyes, agent.z = nn.Flatten(), nn.Identity()
    colours = torch.tensor([[204, 204, 204], [25, 25, 25], [255, 0, 0]])
    pixels = colours[:, None, None, None].expand(3, 1, 5, 5, 3).to(torch.uint8)
    seen = Seen(pixels, torch.zeros(3, 1, dtype=torch.int64), torch.zeros(3, 1))
    ground, wall, red = agent.features(seen)[:, 0, :75].view(3, 3, 25)[..., 0]
    assert ground.abs().max() < 1e-5
    assert_close("wall", wall, torch.full((3,), 0.5 * (25 - 204) / 255), 1e-4)
    shade = torch.tensor([51.0, -204.0, -204.0]) / 255
    assert_close("red", red, 0.5 * shade + 16 * torch.tensor([2.0, -1.0, -1.0]) / 3, 1e-4)


def test_an_update_is_that_of_a_plain_loop_over_one_agent():
    agents = ActorCritic(Job(P, "lstm", "-", (1, 2)), "cpu")
    played, agent = agents.play(0), agents.agent
    agent.load_state_dict({k: p[1] for k, p in agents.parameters.items()})
    seen = Seen(*(part[1] for part in played.seen))
    losses = []
    for b in range(P.batch):
        one = Seen(*(part[b : b + 1] for part in seen))
        logits, value, _, _ = agent(one)
        logits.register_hook(lambda g: g.clamp(-10, 10))
        value.register_hook(lambda g: g.clamp(-10, 10))
        reward, action, target = played.reward[1, b], played.action[1, b], [0.0] * 10
        for t in reversed(range(9)):
            following = value[0, t + 1].item() if t < 8 else 0.0
            target[t] = reward[t].item() + 0.9 * (0.1 * following + 0.9 * target[t + 1])
        for t in range(9):
            log_p = nn.functional.log_softmax(logits[0, t], -1)
            ahead = target[t] - value[0, t]
            entropy = -(log_p.exp() * log_p).sum()
            losses.append(-log_p[action[t]] * ahead.detach() + 0.2 * ahead**2 - 0.01 * entropy)
    loss = sum(losses) / P.batch
    loss.backward()
    before = {name: p[1].clone() for name, p in agents.weights().items()}
    assert agents.advance()["loss"][1].item() == pytest.approx(loss.item(), rel=1e-4)
    for name, p in agent.named_parameters():
        assert_close(name, agents.parameters[name].grad[1], p.grad, 1e-3)
        step = before[name] - agents.weights()[name][1]
        assert step.abs().max() <= P.lr * 1.001  # the first step of Adam: the rate, by sign


def test_a_seed_learns_the_same_whatever_plays_beside_it():
    both, alone = (ActorCritic(Job(P, "lstm", "UR", seeds), "cpu") for seeds in ((1, 2), (2,)))
    for _ in range(3):
        ours, own = both.advance(), alone.advance()
        for name, score in own.items():
            assert ours[name][1].item() == pytest.approx(score.item(), rel=1e-3, abs=1e-6), name


def killed_run(job, step, tmp_path, monkeypatch):
    """Train a job of two seeds, killed at a step, in tmp_path/cut: the same bytes as in one go."""
    advance = ActorCritic.advance
    train(job, tmp_path / "whole", "cpu", progress=False)

    def dying(self):
        if self.step == step:
            raise RuntimeError("killed")
        return advance(self)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(ActorCritic, "advance", dying)
        train(job, tmp_path / "cut", "cpu", progress=False, checkpoint_seconds=0)
    train(job, tmp_path / "cut", "cpu", progress=False)
    whole, cut = (
        {path.name: path.read_bytes() for path in (tmp_path / folder).rglob("*_s[12].[cs]*")}
        for folder in ("whole", "cut")
    )
    assert cut == whole and len(whole) == 4


def test_a_killed_run_ends_with_the_same_bytes(tmp_path, monkeypatch):
    killed_run(Job(P, "lstm", "UR", (1, 2)), 7, tmp_path, monkeypatch)
    runs = Runs(tmp_path / "cut", P, "lstm", (1, 2), ("UR",))
    assert list(runs.frame.columns[5:]) == ["step", "loss", "last_phase", "reward", "entropy"]
    assert set(runs.probes.when) == {"before", "after"}


def test_episodes_that_end_with_the_choice_count_until_then():
    options = {"frames": [1, 1, 12], "squares": 4, "wrong": 1.0, "ends": True}
    p = replace(P, task_options=options, batch=64, steps=60)
    agents = ActorCritic(Job(p, "lstm", "UR", (1,)), "cpu")
    played = agents.play(0)
    ended = ~played.alive
    assert ended.any() and not ended[..., 0].any()
    assert (ended.diff(dim=-1) >= 0).all(), "once over, for ever over"
    assert (played.reward * ended).abs().sum() == 0
    assert torch.equal(played.reward[..., 2:].sum(-1), played.last)
    assert all(np.isfinite(score.tolist()).all() for score in agents.advance().values())


def test_it_learns_to_walk_to_the_square_ahead():
    p = replace(
        P, task="passive", task_options={"frames": [1, 1, 6]}, hidden=16, batch=64, steps=60,
        lr=5e-3, learner_options=OPTIONS | {"features": 16, "width": 16, "discount": 0.96},
    )  # fmt: skip
    agents = ActorCritic(Job(p, "lstm", "UR", (1,)), "cpu")
    scores = [agents.advance()["last_phase"].item() for _ in range(p.steps)]
    assert np.mean(scores[:5]) < 1 and np.mean(scores[-10:]) > 2.5  # chance: a third of 10
