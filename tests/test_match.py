"""The matching games: rules, reference numbers, oracles that always win, three faces of a step."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from urgates.lab.tasks import rooms
from urgates.lab.tasks.match import PRESETS, Match, Rules
from urgates.lab.tasks.rooms import EAST, NORTH, SOUTH, WEST, cell

B = 2048


def walk(moves, copies=B):
    return [torch.full((copies,), move) for move in moves]


def colours(seen):
    """What a copy sees, [B, 25] as one number a colour."""
    r, g, b = seen.flatten(1, 2).long().unbind(-1)
    return 65536 * r + 256 * g + b


def of(code):
    r, g, b = rooms.PALETTE[code].long().unbind(-1)
    return 65536 * r + 256 * g + b


# ------------------------------------------------------------------ reference numbers


@pytest.mark.parametrize(("game", "seen_at_reset"), [("active", 86 / 260), ("passive", 1.0)])
def test_a_random_walk_earns_what_it_should(game, seen_at_reset):
    env, dice = Match(Rules(game, apple_reward=1.0), 16 * B, seed=1), torch.Generator()
    seen = (colours(env.restart()) == of(7 + env.target)[:, None]).any(1)
    at_reset, eaten = seen.float().mean().item(), torch.zeros(16 * B)
    for step in range(120):
        if step < 15:
            now = colours(env.see())
            seen |= (now == of(7 + env.target)[:, None]).any(1)
        frame = env.step(torch.randint(4, (16 * B,), generator=dice))
        eaten += frame.reward * (15 <= step < 105)
    n = 16 * B
    assert bool(frame.done.all())
    assert abs(at_reset - seen_at_reset) <= 4 * (seen_at_reset * (1 - seen_at_reset) / n) ** 0.5
    if game == "active":
        assert abs(seen.float().mean() - 0.6192) < 4 * (0.6192 * 0.3808 / n) ** 0.5
    assert abs(env.last.mean() - 0.5122) < 4 * (5.122 - 0.5122**2) ** 0.5 / n**0.5
    assert abs(eaten.mean() - 8.03) < 0.01 + 4 * 2.34 / n**0.5
    assert abs(eaten.std() - 2.34) < 0.05


def test_squares_are_touched_as_often_as_chance_has_it():
    env, dice = Match(Rules("passive", (1, 1, 15)), 64 * B, seed=2), torch.Generator()
    env.restart(), env.step(torch.zeros(64 * B, dtype=torch.int64))
    env.step(torch.zeros(64 * B, dtype=torch.int64))
    touched = torch.full((64 * B,), -1)
    for _ in range(15):
        before = env.chosen.clone()
        env.step(torch.randint(4, (64 * B,), generator=dice))
        touched = torch.where(env.chosen & ~before, env.place, touched)
    for square, p in zip(
        (cell(1, 2), cell(1, 5), cell(1, 8)), (0.0268, 0.10005, 0.0268), strict=True
    ):
        share = (touched == square).float().mean().item()
        assert abs(share - p) < 4 * (p * (1 - p) / (64 * B)) ** 0.5


# ------------------------------------------------------------------ oracles

TO_SQUARE = {0: [NORTH] * 2 + [WEST] * 3 + [NORTH] * 2, 1: [NORTH] * 4}
TO_SQUARE[2] = [EAST if move == WEST else move for move in TO_SQUARE[0]]


@pytest.mark.parametrize("game", ["passive", "active"])
def test_who_knows_the_target_always_gets_ten(game):
    env = Match(Rules(game), B, seed=3)
    env.restart()
    for action in walk([NORTH] * 105):
        env.step(action)
    where = (env.colours == env.target[:, None]).int().argmax(1).tolist()
    plans = torch.tensor([(TO_SQUARE[n] + [SOUTH] * 15)[:15] for n in where])
    total = torch.zeros(B)
    for action in plans.T:
        total += env.step(action).reward
    assert (total == 10).all() and (env.last == 10).all() and env.done.all()


def test_who_looks_around_and_remembers_always_gets_ten():
    """By what is seen alone: the wall's colour in phase 1, the squares' in phase 3."""
    env = Match(Rules("active"), B, seed=4)
    seen, target = env.restart(), torch.full((B,), -1)
    known = of(torch.tensor([7, 8, 9]))
    begin = [(n // 15 - 2, n % 15 - 2) for n in env.place.tolist()]
    plans = []
    for r, c in begin:  # both sides of the lower room, then both of the upper one
        left = c <= 5
        there = [EAST] * (4 - c) + [WEST] * (c - 4) if left else [EAST] * (6 - c) + [WEST] * (c - 6)
        across, back = (EAST, WEST) if left else (WEST, EAST)
        plan = [NORTH] * (r - 4) + there + [across] * 2 + [NORTH] * 2 + [back] * 2
        assert len(plan) <= 8
        plans.append((plan + [NORTH] * 15)[:15])
    for action in torch.tensor(plans).T:
        there = colours(seen)[:, :, None] == known
        target = torch.where(there.any((1, 2)), there.any(1).int().argmax(1), target)
        seen = env.step(action).seen
    assert torch.equal(target, env.target)
    for action in walk([NORTH] * 90 + [NORTH] * 2):
        seen = env.step(action).seen
    wanted = known[target][:, None]
    middle = (colours(seen) == wanted).any(1)
    first = torch.where(middle, NORTH, WEST)
    seen = env.step(first).seen
    left = (colours(seen) == wanted).any(1) & ~middle
    go = {0: [NORTH] + [SOUTH] * 7, 1: [WEST] * 2 + [NORTH] * 2 + [SOUTH] * 4}
    go[2] = [EAST] * 4 + [NORTH] * 2 + [SOUTH] * 2
    which = torch.where(middle, 0, torch.where(left, 1, 2)).tolist()
    total = sum(env.step(action).reward for action in torch.tensor([go[n] for n in which]).T)
    assert (total == 10).all()


def test_key_to_door():
    env = Match(Rules("key"), B, seed=5)
    env.restart()
    row, column = (env.mark // 15 - 2).tolist(), (env.mark % 15 - 2).tolist()
    begin = [(n // 15 - 2, n % 15 - 2) for n in env.place.tolist()]
    plans = []
    for (r, c), kr, kc in zip(begin, row, column, strict=True):
        inward = [EAST] * (4 - c) if c < 4 else [WEST] * (c - 6) if c > 6 else []
        mid = min(max(c, 4), 6)
        path = inward + [NORTH] * (r - kr) + [EAST] * (kc - mid) + [WEST] * (mid - kc)
        plans.append((path + [SOUTH, NORTH] * 8)[:15])
    for action in torch.tensor(plans).T:
        env.step(action)
    assert env.has_key.all()
    for action in walk([NORTH] * 90):
        env.step(action)
    total = sum(env.step(action).reward for action in walk([NORTH] * 15))
    assert (total == 10).all() and (env.last == 10).all()
    env = Match(Rules("key"), B, seed=5)
    env.restart()
    total = sum(env.step(action).reward for action in walk([SOUTH] * 105 + [NORTH] * 15))
    assert (total[~env.has_key] == 0).all() and not env.has_key.all()


# ------------------------------------------------------------------ rules


def test_an_apple_pays_once_and_is_back_after_twenty_frames():
    rules = Rules("passive", (1, 60, 1), apples=22, apple_reward=5.0)
    env = Match(rules, 1)
    env.restart(), env.step(torch.tensor([NORTH]))
    paid = [env.step(torch.tensor([a])).reward.item() for a in [WEST, WEST] + [SOUTH] * 40]
    first = paid.index(5.0)
    assert first == 1 and paid[2:23] == [0.0] * 21 and paid[23] == 5.0


def test_apples_pay_one_of_two_values_for_a_whole_episode():
    env = Match(Rules("passive", apple_reward=(1.0, 10.0)), B)
    env.restart()
    assert set(env.pays.tolist()) == {1.0, 10.0} and 0.45 < (env.pays == 1).float().mean() < 0.55
    assert (env.grows.sum(1) == 10).all()


def test_phases_change_when_they_should():
    env = Match(Rules("passive", (2, 3, 4)), 1)
    rooms = [env.restart()]
    for step in range(9):
        seen, _, done = env.step(torch.tensor([NORTH]))
        rooms.append(seen)
        assert bool(done) == (step == 8)
    boards = [env.rooms[k].board for k in range(3)]
    assert not torch.equal(boards[0], boards[1])
    begins = Match(Rules("passive", (2, 3, 4)), 1)
    begins.restart()
    places = []
    for _ in range(5):
        begins.step(torch.tensor([NORTH]))
        places.append(begins.place.item())
    assert places == [cell(2, 5), cell(5, 5), cell(4, 5), cell(3, 5), cell(5, 5)]


def test_the_paper_s_preset_has_four_squares_and_ends_with_the_choice():
    rules = replace(Rules("active", **PRESETS["paper"]), frames=(1, 1, 60))
    env = Match(rules, B, seed=6)
    env.restart()
    for action in walk([NORTH, NORTH]):
        env.step(action)
    assert env.colours.shape == (B, 4) and len(set(env.colours[0].tolist())) == 4
    assert (env.colours == env.target[:, None]).sum(1).eq(1).all()
    for action in walk([NORTH] * 3 + [WEST, NORTH]):  # the second square
        frame = env.step(action)
    assert frame.done.all() and set(frame.reward.tolist()) == {1.0, 10.0}
    assert abs((frame.reward == 10).float().mean() - 0.25) < 0.05
    env.restart(torch.arange(B) < 5)
    assert (~env.done).sum() == 5
    with pytest.raises(ValueError, match=r"step must come after restart, got \d+ episodes"):
        env.step(torch.zeros(B, dtype=torch.int64))


def test_a_seed_fixes_every_episode_of_every_copy():
    def play(seed, copies):
        env = Match(Rules("active", (3, 4, 3), apple_reward=1.0), copies, seed)
        found = []
        for _ in range(2):
            found.append(env.restart())
            dice = torch.Generator().manual_seed(9)
            for _ in range(10):
                action = torch.randint(4, (8,), generator=dice)[:copies]
                found += env.step(action)[:2]
        return found

    one, again, other = play(1, 8), play(1, 8), play(2, 8)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(one[0], one[21]), "the next episode is another"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda env: Rules("chess"), "game must be one of passive, active, key, got 'chess'"),
        (lambda env: Rules(frames=(0, 1, 1)), "frames must be three whole numbers of at least 1"),
        (lambda env: Rules(apples=23), "apples must be at most 22"),
        (lambda env: Rules(squares=5), "squares must be one of 3, 4, got 5"),
        (lambda env: Match(Rules(), 0), "copies must be a whole number of at least 1, got 0"),
        (lambda env: env.step(torch.zeros(2)), "action must be an int64 tensor"),
        (lambda env: env.step(torch.zeros(3, dtype=torch.int64)), "action must be an int64 tensor"),
        (lambda env: env.step(torch.tensor([0, 4])), "action must be in 0 … 3, got 4"),
        (lambda env: env.step(torch.tensor([-1, 0])), "action must be in 0 … 3, got -1"),
    ],
)
def test_bad_input_is_named(call, said):
    env = Match(Rules(), 2)
    env.restart()
    with pytest.raises(ValueError, match=said):
        call(env)


# ------------------------------------------------------------------ Gymnasium

gymnasium = pytest.importorskip("gymnasium", reason="the extra [lab] has it")


@pytest.mark.parametrize("name", ["PassiveMatch", "ActiveMatch", "KeyToDoor"])
@pytest.mark.filterwarnings("ignore")
def test_the_single_face_passes_gymnasium_s_own_check(name):
    from gymnasium.utils.env_checker import check_env

    from urgates.lab.tasks import gym

    gym.register(), gym.register()
    check_env(gymnasium.make(f"urgates/{name}", render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize("numpy", [True, False])
def test_the_batched_face_restarts_in_the_same_step(numpy):
    from urgates.lab.tasks import gym

    gym.register()
    envs = gymnasium.make_vec(
        "urgates/ActiveMatch", num_envs=5, numpy=numpy, frames=(2, 2, 2), apple_reward=1.0
    )
    assert envs.metadata["autoreset_mode"] is gymnasium.vector.AutoresetMode.SAME_STEP
    kind = np.ndarray if numpy else torch.Tensor
    seen, _ = envs.reset(seed=7)
    plain = Match(envs.rules, 5, envs._seed)
    assert np.array_equal(seen, plain.restart())
    for step in range(1, 13):
        action = np.full(5, step % 4)
        seen, reward, ended, cut, info = envs.step(action)
        theirs = plain.step(torch.tensor(action))
        assert isinstance(seen, kind) and isinstance(reward, kind) and not cut.any()
        assert np.array_equal(reward, theirs.reward) and np.array_equal(ended, theirs.done)
        if step % 6 == 0:
            assert ended.all() and np.array_equal(info["final_obs"], theirs.seen)
            assert np.array_equal(info["last_phase_reward"], plain.last)
            assert np.array_equal(seen, plain.restart())
        else:
            assert not info and np.array_equal(seen, theirs.seen)
    assert len(envs.render()) == 5 and envs.render()[0].shape == (56, 88, 3)


def test_episodes_that_end_at_different_times_restart_alone():
    from urgates.lab.tasks import gym

    envs = gym.VectorMatch("active", 64, preset="paper", frames=(1, 1, 30))
    envs.reset(seed=1)
    dice, ends = torch.Generator().manual_seed(1), 0
    for _ in itertools.repeat(None, 80):
        _, _, ended, _, info = envs.step(torch.randint(4, (64,), generator=dice))
        if ended.any():
            ends += int(ended.sum())
            last = info["last_phase_reward"][ended]
            assert set(last.tolist()) <= {0.0, 1.0, 10.0}
            assert torch.equal(envs.match.frame[ended], torch.zeros(int(ended.sum())).long())
    assert ends > 64 and len(set(envs.match.episode.tolist())) > 1
