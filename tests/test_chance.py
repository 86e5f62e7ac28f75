"""What chance earns in the matching games: derived, as in the released games, and as played."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from urgates.lab.experiments import chance
from urgates.lab.tasks.match import PRESETS, Match, Rules
from urgates.lab.tasks.oracle import knowing

ACTIVE = Rules("active")


def test_what_is_derived_is_what_was_measured_in_the_released_games():
    assert chance.touches(ACTIVE).tolist() == pytest.approx([0.02680, 0.10005, 0.02680], abs=1e-5)
    seen = [chance.sighted(ACTIVE, frames) for frames in (1, 15, 30, 75)]
    assert seen == pytest.approx([86 / 260, 0.6192, 0.768, 0.937], abs=5e-4)
    assert chance.sighted(Rules("passive"), 1) == 1
    expected = [0.5122, 10 / 3, 5.538, 7.461, 10]
    assert chance.levels(ACTIVE).tolist() == pytest.approx(expected, abs=5e-4)
    paper = chance.levels(replace(ACTIVE, **PRESETS["paper"]))
    assert paper["choose at random"] == 3.25 and paper.is_monotonic_increasing


def test_who_walks_earns_and_sees_what_is_derived():
    found = chance.walks(ACTIVE, episodes=4000, copies=2048, seed=3)
    assert (found.episodes == 4096).all() and found.exact.isna().sum() == 1
    apples = found.set_index("quantity").loc["apples"]
    assert abs(apples["mean"] - 8.03) < 0.01 + 4 * apples.error
    assert abs(apples.sd - 2.34) < 0.1
    sure = found.dropna()
    assert (np.abs(sure["mean"] - sure.exact) < 4 * sure.error).all()
    binary = sure[sure.quantity.str.startswith(("sees", "touches"))]
    assert binary.sd.to_numpy() == pytest.approx((binary["mean"] * (1 - binary["mean"])) ** 0.5)


def test_a_choice_that_ends_the_game_counts_once():
    rules = replace(ACTIVE, **PRESETS["paper"] | {"frames": (2, 1, 40)})
    found = chance.walks(rules, episodes=2048, copies=2048).set_index("quantity")
    touched = found[found.index.str.startswith("touches")]
    assert len(touched) == 4 and 0.4 < touched["mean"].sum() < 1
    reward = found.loc["last-phase reward"]
    assert abs(reward["mean"] - touched["mean"].sum() * 3.25) < 4 * reward.error


@pytest.mark.parametrize("game", ["passive", "active", "key"])
def test_who_knows_everything_always_gets_ten_and_many_apples(game):
    world = Match(Rules(game, apple_reward=1.0), 128, seed=3)
    world.restart()
    total = torch.zeros(128)
    for _ in range(120):
        total += world.step(knowing(world)).reward
    assert (world.last == 10).all()
    assert abs((total - world.last).mean() - 31.5) < 1.5


def test_who_knows_everything_keeps_off_the_wrong_squares():
    world = Match(Rules("active", (14, 1, 14), squares=4, wrong=1.0), 64, seed=4)
    world.restart()
    for _ in range(29):
        world.step(knowing(world))
    assert (world.last == 10).all() and len(world.target.unique()) > 8
