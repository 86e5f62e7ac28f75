"""Somebody else's agent on our games: RecurrentPPO of sb3-contrib, with `urgates.LSTM` inside.

An example of the games' Gymnasium face, and a check of it by a library that is not ours:
`pip install sb3-contrib`, then run this file with pytest, or with Python for a longer training.
"""

import sys

import numpy as np
import pytest
import torch

import urgates
from urgates.lab.tasks.gym import VectorMatch, register

reason = "sb3-contrib is not installed: pip install sb3-contrib"
sb3_contrib = pytest.importorskip("sb3_contrib", reason=reason)

from sb3_contrib import RecurrentPPO  # noqa: E402
from sb3_contrib.ppo_recurrent import MlpLstmPolicy  # noqa: E402
from stable_baselines3.common.callbacks import BaseCallback  # noqa: E402
from stable_baselines3.common.env_util import make_vec_env  # noqa: E402
from stable_baselines3.common.vec_env import VecEnv  # noqa: E402


class Policy(MlpLstmPolicy):
    """Their policy, with an LSTM of any gate in torch's place."""

    def __init__(self, observation_space, action_space, lr_schedule, *, gate="UR", **options):
        super().__init__(observation_space, action_space, lr_schedule, **options)
        theirs = self.lstm_actor
        self.lstm_actor = urgates.LSTM(theirs.input_size, theirs.hidden_size, gate=gate)
        rate = lr_schedule(1)
        self.optimizer = self.optimizer_class(self.parameters(), lr=rate, **self.optimizer_kwargs)


class Games(VecEnv):
    """Our batch of games, arrays in and out, as Stable-Baselines3 wants its environments."""

    def __init__(self, copies: int, game: str, **rules):
        self.games = VectorMatch(game, copies, numpy=True, **rules)
        face = self.games.single_observation_space, self.games.single_action_space
        super().__init__(copies, *face)
        self.render_mode, self.last_phase = None, []

    def reset(self):
        return self.games.reset(seed=self._seeds[0] or 0)[0]

    def step_async(self, actions):
        self.actions = actions

    def step_wait(self):
        seen, reward, ended, _, info = self.games.step(self.actions)
        infos = [{} for _ in range(self.num_envs)]
        for copy in np.flatnonzero(ended):
            infos[copy] = {"terminal_observation": info["final_obs"][copy]}
            self.last_phase.append(float(info["last_phase_reward"][copy]))
        return seen, reward, ended, infos

    def close(self):
        self.games.close()

    def get_attr(self, attr_name, indices=None):
        return [getattr(self, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name, value, indices=None):
        raise NotImplementedError

    def env_method(self, method_name, *args, indices=None, **kwargs):
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class, indices=None):
        return [False] * self.num_envs


def agent(games, steps: int, gate: str = "UR", units: int = 32, **options) -> RecurrentPPO:
    """An agent that learns from `steps` steps of every copy at a time, with one LSTM for all."""
    inside = {
        "gate": gate, "lstm_hidden_size": units, "net_arch": [32],
        "shared_lstm": True, "enable_critic_lstm": False,
    }  # fmt: skip
    settings = {"gamma": 0.96, "gae_lambda": 0.96, "ent_coef": 0.02, "learning_rate": 3e-3}
    settings |= {"n_steps": steps, "batch_size": steps * games.num_envs // 4, "n_epochs": 4}
    settings |= options
    return RecurrentPPO(Policy, games, policy_kwargs=inside, seed=1, device="cpu", **settings)


@pytest.mark.long
def test_it_learns_to_walk_to_the_square_ahead():
    games = Games(64, "passive", frames=(1, 1, 6))
    agent(games, 16).learn(64 * 8 * 60)
    found = games.last_phase
    assert len(found) >= 64 * 60
    assert np.mean(found[:256]) < 1 and np.mean(found[-512:]) > 2.3  # choosing any: a third of 10


def test_their_states_and_ours_agree_and_single_games_will_do():
    register()
    games = make_vec_env("urgates/ActiveMatch", 2, env_kwargs={"frames": (2, 2, 2)})
    learner = agent(games, 6)
    assert isinstance(learner.policy.lstm_actor, urgates.LSTM)
    before = [p.clone() for p in learner.policy.lstm_actor.parameters()]
    learner.learn(24)
    after = learner.policy.lstm_actor.parameters()
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    action, states = learner.predict(games.reset())
    assert action.shape == (2,) and states[0].shape == (1, 2, 32)


class Tell(BaseCallback):
    """Prints, now and then, what the last phase has paid lately."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        found = self.training_env.last_phase
        print(f"{self.num_timesteps:9,} steps  last phase {np.mean(found[-1000:]):.2f}", flush=True)


if __name__ == "__main__":  # python tests/test_other_agents.py UR 10 400000
    gate, delay, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    games = Games(64, "passive", frames=(3, delay, 12))
    agent(games, 15 + delay, gate).learn(steps, callback=Tell())
