"""The matching games behind Gymnasium's interface: batches of tensors or of arrays, and single.

One step function, match.py's. After `register()` there are gymnasium.make("urgates/ActiveMatch")
and gymnasium.make_vec("urgates/ActiveMatch", num_envs=4096).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from gymnasium.vector import AutoresetMode, VectorEnv

from urgates.lab.tasks.match import PRESETS, Match, Rules
from urgates.lab.tasks.rooms import ACTIONS, SIGHT

_SIDE = 2 * SIGHT + 1
IDS = {f"urgates/{name}": game for name, game in (
    ("PassiveMatch", "passive"), ("ActiveMatch", "active"), ("KeyToDoor", "key"),
)}  # fmt: skip


def rules(game: str, preset: str = "grid", **changes: Any) -> Rules:
    """The rules of a game at preset "grid" or "paper", with changes."""
    return replace(Rules(game, **PRESETS[preset]), **changes)


class VectorMatch(VectorEnv):
    """B copies of a game: tensors in and out, on any device.

    A copy whose episode has ended begins its next one in the same step; what it last saw is in
    `info["final_obs"]`, the reward of its last phase in `info["last_phase_reward"]`, both of the
    copies in `info["_final_obs"]`.  With `numpy=True` the same with arrays.
    """

    def __init__(
        self, game: str = "active", num_envs: int = 1, *, device: str = "cpu",
        numpy: bool = False, preset: str = "grid", **changes: Any,
    ):  # fmt: skip
        self.rules, self.num_envs, self.device = rules(game, preset, **changes), num_envs, device
        self.numpy, self._seed = numpy, 0
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": ["rgb_array"]}
        self.render_mode = "rgb_array"
        self.single_observation_space = Box(0, 255, (_SIDE, _SIDE, 3), np.uint8)
        self.single_action_space = Discrete(len(ACTIONS))
        self.observation_space = Box(0, 255, (num_envs, _SIDE, _SIDE, 3), np.uint8)
        self.action_space = MultiDiscrete([len(ACTIONS)] * num_envs)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Begin anew; a seed fixes everything that is drawn from now on."""
        super().reset(seed=seed)
        self._seed = int(self.np_random.integers(2**63))
        self.match = Match(self.rules, self.num_envs, self._seed, self.device)
        return self._given(self.match.restart()), {}

    def step(self, actions):
        """One step of all copies: observations, rewards, terminated, truncated, info."""
        actions = torch.as_tensor(actions, device=self.device)
        seen, reward, done = self.match.step(actions)
        info: dict[str, Any] = {}
        if bool(done.any()):
            last = self.match.last.clone()
            info = {"final_obs": self._given(seen), "_final_obs": self._given(done)}
            info |= {
                "last_phase_reward": self._given(last),
                "_last_phase_reward": info["_final_obs"],
            }
            done = done.clone()
            seen = self.match.restart(done)
        given = tuple(map(self._given, (seen, reward, done, torch.zeros_like(done))))
        return *given, info

    def render(self) -> tuple[np.ndarray, ...]:
        """The boards of all copies, RGB."""
        return tuple(self.match.picture(copy) for copy in range(self.num_envs))

    def _given(self, x: torch.Tensor):
        return x.cpu().numpy() if self.numpy else x


class SingleMatch(gymnasium.Env):
    """One copy of a game with NumPy arrays, as Gymnasium's wrappers and agents expect it."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012 -- their name

    def __init__(
        self, game: str = "active", *, render_mode: str | None = None, preset: str = "grid",
        **changes: Any,
    ):  # fmt: skip
        self.rules, self.render_mode = rules(game, preset, **changes), render_mode
        self.observation_space = Box(0, 255, (_SIDE, _SIDE, 3), np.uint8)
        self.action_space = Discrete(len(ACTIONS))

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Begin an episode."""
        super().reset(seed=seed)
        self.match = Match(self.rules, 1, int(self.np_random.integers(2**63)))
        return self.match.restart()[0].numpy(), {}

    def step(self, action):
        """One step."""
        seen, reward, done = self.match.step(torch.tensor([int(action)]))
        info = {"last_phase_reward": float(self.match.last[0])}
        return seen[0].numpy(), float(reward[0]), bool(done[0]), False, info

    def render(self) -> np.ndarray | None:
        """The board, RGB."""
        return self.match.picture() if self.render_mode == "rgb_array" else None


def register() -> None:
    """Make the ids known to Gymnasium; again does nothing."""
    for name, game in IDS.items():
        if name not in gymnasium.registry:
            gymnasium.register(
                name, entry_point=SingleMatch, vector_entry_point=VectorMatch, kwargs={"game": game}
            )
