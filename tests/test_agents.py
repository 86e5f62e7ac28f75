"""Agents with a memory: they learn side by side, every part of them, and survive a kill."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_actor_critic import OPTIONS, SMALL, P, killed_run
from tolerances import assert_close
from torch import nn

from urgates.lab.jobs import Job
from urgates.lab.learners.actor_critic import ActorCritic, Agent, Seen
from urgates.lab.learners.reconstruction import Reconstruction, reading
from urgates.lab.store.runs import Runs

P = replace(
    P, hidden=6, downsize=2, steps=6, learner_options=OPTIONS | {
        "mem": SMALL, "rma": SMALL, "dnc": {"rows": 5, "width": 3, "reads": 2},
    },
)  # fmt: skip
COSTS = ["reading_cost", *Reconstruction.names]
MEMORIES = pytest.mark.parametrize("cell", ["mem", "rma", "dnc"])


@MEMORIES
def test_what_is_played_is_what_is_gone_through_again(cell):
    agents = ActorCritic(Job(P, cell, "UR", (1, 2)), "cpu")
    played = agents.play(0)
    logits = agents.forward(played.seen).logits
    chances = logits.softmax(-1).cumsum(-1)[..., :-1]
    again = (agents._luck(0)[..., None] > chances).sum(-1)
    assert (again == played.action).float().mean() > 0.99  # but for the last digit


@MEMORIES
def test_an_update_reaches_every_part(cell):
    agents = ActorCritic(Job(P, cell, "UR", (1, 2)), "cpu")
    before = {name: p.clone() for name, p in agents.weights().items()}
    scores = agents.advance()
    assert list(scores) == [score.name for score in agents.scores]
    assert all(score.isfinite().all() for score in scores.values())
    for name, p in agents.parameters.items():
        assert p.grad.flatten(1).any(1).all(), f"{name} has no gradient"
        assert not torch.equal(p, before[name]), f"{name} does not change"


@pytest.mark.parametrize("cell", ["mem", "rma"])
def test_costs_are_part_of_the_loss_until_an_episode_ends(cell):
    options = {"frames": [1, 1, 12], "squares": 4, "wrong": 1.0, "ends": True}
    agents = ActorCritic(Job(replace(P, task_options=options, batch=64), cell, "-", (1, 2)), "cpu")
    assert [score.name for score in agents.scores[4:]] == COSTS[: 1 if cell == "mem" else 4]
    played = agents.play(0)
    assert not played.alive.all(), "else none ended early"
    logits, value, _, costs = agents.forward(played.seen, learning=True)
    loss, _ = agents._loss(played, logits, value)
    scores = agents.advance()
    for name, cost in costs.items():
        counted = torch.where(played.alive, cost, 0).sum(2).mean(1)
        assert_close(name, scores[name], counted.detach(), 1e-4)
    assert_close("loss", scores["loss"], sum(scores[name] for name in costs) + loss.detach(), 1e-4)


def test_what_is_to_be_told_shapes_z():
    agents = ActorCritic(Job(P, "rma", "UR", (1, 2)), "cpu")
    costs = agents.forward(agents.play(0).seen, learning=True).costs
    weight = agents.parameters["rnn.z_out.weight"]
    for name in Reconstruction.names:
        assert torch.autograd.grad(costs[name].sum(), weight, retain_graph=True)[0].any(), name


def test_gates_are_in_every_lstm_and_are_probed():
    for cell, layers in (("mem", 2), ("rma", 2), ("dnc", 1)):
        agent = Agent(replace(P, forget_bias=3.0), cell, "-")
        assert len(agent.rnn.all_weights) == layers
        assert all((b[agent.rnn.rows["f"]] == 3).all() for _, _, b, _ in agent.rnn.all_weights)
        agents = ActorCritic(Job(P, cell, "UR", (1, 2)), "cpu")
        means = agents.probe()
        assert len(means) == 2 and len(means[0]["g"]) == P.hidden
        assert agents.provenance()["kernel"] == "reference"


@MEMORIES
def test_a_seed_learns_the_same_whatever_plays_beside_it(cell):
    both, alone = (ActorCritic(Job(P, cell, "UR", seeds), "cpu") for seeds in ((1, 2), (2,)))
    for _ in range(2):
        ours, own = both.advance(), alone.advance()
        for name, score in own.items():
            assert ours[name][1].item() == pytest.approx(score.item(), rel=1e-3, abs=1e-6), name


@MEMORIES
def test_a_killed_run_ends_with_the_same_bytes(cell, tmp_path, monkeypatch):
    killed_run(Job(P, cell, "UR", (1, 2)), 4, tmp_path, monkeypatch)
    columns = list(Runs(tmp_path / "cut", P, cell, (1, 2), ("UR",)).frame.columns[5:])
    assert columns[5:] == COSTS[: {"dnc": 0, "mem": 1, "rma": 4}[cell]]


# ------------------------------------------------------------------ reconstruction


@pytest.mark.parametrize("channels", [(), (4, 6)])
def test_reconstruction_is_that_of_a_plain_loop(channels):
    tells = Reconstruction(8, channels)
    z, reward = torch.randn(2, 3, 8), torch.randn(2, 3)
    pixels = torch.randint(0, 256, (2, 3, 5, 5, 3), dtype=torch.uint8)
    action = torch.randint(0, 4, (2, 3))
    found = tells(z, pixels, action, reward)
    assert list(found) == COSTS[1:] and all(cost.shape == (2, 3) for cost in found.values())
    for b, t in np.ndindex(2, 3):
        p = tells.image(z[b, t][None]).sigmoid()[0].permute(1, 2, 0)
        seen = pixels[b, t].float() / 255
        bernoulli = -(seen * p.log() + (1 - seen) * (1 - p).log()).sum() * 50 / 75
        guess = tells.action(z[b, t]).softmax(0)[action[b, t]]
        ahead = tells.reward(z[b, t])[0] - reward[b, t]
        for name, cost in zip(found, (bernoulli, -guess.log(), ahead**2 / 2), strict=True):
            assert found[name][b, t].item() == pytest.approx(cost.item(), rel=1e-4), name


def test_a_decoder_is_the_encoder_turned_round():
    agent = Agent(
        replace(P, learner_options=P.learner_options | {"convolutions": [4, 6]}), "rma", "-"
    )
    down = [layer for layer in agent.eyes if isinstance(layer, nn.Conv2d)]
    up = [layer for layer in agent.tells.image if isinstance(layer, nn.ConvTranspose2d)]
    shapes = [layer.weight.shape for layer in up]
    assert shapes == [layer.weight.shape for layer in reversed(down)]
    seen = Seen(
        torch.zeros(2, 3, 5, 5, 3, dtype=torch.uint8), torch.zeros(2, 3).long(), torch.zeros(2, 3)
    )
    assert agent(seen, learning=True).costs["image_cost"].shape == (2, 3)


def test_strengths_cost_nothing_more_up_to_two():
    strengths = torch.tensor([[0.5, 1.9], [3.0, 1.0]], requires_grad=True)
    cost = reading(strengths)
    assert cost.tolist() == pytest.approx([2e-4, 2.5e-4])
    cost.sum().backward()
    assert torch.equal(strengths.grad, torch.tensor([[0.0, 0.0], [5e-5, 0.0]]))
