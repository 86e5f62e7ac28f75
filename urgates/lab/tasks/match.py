"""Passive and Active Match, Key-to-Door (§3.4): see a colour, be distracted, act on what you saw.

The grid worlds that Hung et al. (2018) released, as one tensor program for B copies at once, on any
device: three phases with rooms of their own on a board of 7 rows and 11 columns, of which an agent
sees 5 by 5 cells around itself.  What is drawn at random in an episode is a function of the seed,
the copy and the episode alone.
B copies, T steps of an episode; cells and rooms are those of rooms.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from urgates.checks import choice, refusal, require
from urgates.lab.tasks import rooms
from urgates.lab.tasks.base import draws, whole
from urgates.lab.tasks.rooms import ACTIONS, ROWS, SIGHT, WIDTH, cell

RESPAWN = 21  # frames after which an apple that was taken is back


@dataclass(frozen=True)
class Rules:
    """What game is played, and for how long.

    Args:
        game: "passive" (the colour is before you), "active" (look for it) or "key" (to a door).
        frames: of the three phases.
        squares: 3 as released, or 4 as in the 3D levels, their colours 4 of 16.
        right, wrong: what choosing the right square pays, and a wrong one.
        ends: whether the choice ends the episode.
        apples: how many there are; `apple_reward`: what each pays, or a pair of which each episode
            takes one.
    Raises ValueError for anything that cannot be played.
    """

    game: str = "active"
    frames: tuple[int, int, int] = (15, 90, 15)
    squares: int = 3
    right: float = 10.0
    wrong: float = 0.0
    ends: bool = False
    apples: int = 10
    apple_reward: float | tuple[float, float] = 0.0
    rewards: tuple[float, float] = field(init=False, repr=False)

    baseline = None  # a reward has no loss to compare with

    def __post_init__(self):
        choice("game", self.game, rooms.GAMES)
        object.__setattr__(self, "frames", tuple(self.frames))
        fine = len(self.frames) == 3 and all(isinstance(n, int) and n >= 1 for n in self.frames)
        require("frames", fine, "be three whole numbers of at least 1", str(self.frames))
        choice("squares", self.squares, (3, 4))
        whole("apples", self.apples, 0)
        most = len(rooms.APPLES)
        require(
            "apples", self.apples <= most, f"be at most {most}, the cells for them", self.apples
        )
        pair = self.apple_reward
        pair = tuple(pair) if isinstance(pair, tuple | list) else (pair, pair)
        require("apple_reward", len(pair) == 2, "be a number or a pair of them", self.apple_reward)
        object.__setattr__(self, "rewards", tuple(map(float, pair)))

    @property
    def length(self) -> int:
        """The delay between the colour and the choice, in steps."""
        return self.frames[1]

    @property
    def steps(self) -> int:
        """T, the longest episode."""
        return sum(self.frames)


PRESETS = {
    "grid": {},
    "paper": {"frames": (75, 450, 75), "squares": 4, "wrong": 1.0, "ends": True},
}


class Frame(NamedTuple):
    """What a step gives."""

    seen: Tensor  # [B, 5, 5, 3] uint8
    reward: Tensor  # [B] float32
    done: Tensor  # [B] bool


class Match:
    """B copies of a game that are played in step; copies that have ended wait for `restart`.

    Args:
        rules: what is played.
        copies: B; of each seed, if there are several, one seed's after the other's.
        seed: of everything that is drawn at random; or a sequence of them.
        device: where.
    """

    def __init__(
        self, rules: Rules, copies: int, seed: int | Sequence[int] = 0, device: str = "cpu"
    ):
        self.seeds = tuple(seed) if isinstance(seed, Sequence) else (seed,)
        self.rules, self.each = rules, whole("copies", copies, 1)
        self.copies, self.device = self.each * len(self.seeds), torch.device(device)
        self.rooms = rooms.of(rules.game, rules.squares)
        self._tables()
        B, new = self.copies, self._new
        self.episode = np.full(B, -1)
        self.frame, self.place = new(B), new(B)
        self.target, self.start, self.mark = new(B), new(B), new(B)
        self.colours = new(B, rules.squares)
        self.grows = new(B, len(rooms.APPLES), dtype=torch.bool)  # where apples are in this episode
        self.back = new(B, len(rooms.APPLES))  # the frame from which on an apple is there
        self.pays = new(B, dtype=torch.float32)
        self.has_key, self.chosen = new(B, dtype=torch.bool), new(B, dtype=torch.bool)
        self.done = torch.ones(B, dtype=torch.bool, device=self.device)
        self.last = new(B, dtype=torch.float32)  # reward of the last phase
        self.board = new(B, rooms.CELLS, dtype=torch.uint8)

    def _new(self, *shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=self.device)

    def _tables(self) -> None:
        """Look-up tables on the device."""
        to = self.device
        self._boards = torch.stack([r.board for r in self.rooms]).to(to)
        self._begins = [r.begins[0] for r in self.rooms]
        first, last = self.rooms[0].marks, self.rooms[2].marks
        self._places = torch.tensor(self.rooms[0].begins, device=to)
        self._marks = torch.tensor(first.get("o") or first["k"], device=to)
        self._squares = torch.tensor(self.rooms[2].squares, device=to)
        self._door = last.get("d", [0])[0]
        self._apples = torch.tensor(rooms.APPLES, device=to)
        numbers = torch.full((rooms.CELLS,), len(rooms.APPLES), device=to)
        numbers[self._apples] = torch.arange(len(rooms.APPLES), device=to)
        self._apple_at = numbers
        self._moves = torch.tensor(rooms.STEPS, device=to)
        self._window = torch.tensor(rooms.WINDOW, device=to)
        self._palette, self._solid = rooms.PALETTE.to(to), rooms.SOLID.to(to)
        self._outside = rooms.OUTSIDE.to(to)
        self._phases = torch.tensor(np.cumsum(self.rules.frames), device=to)

    # ---------------------------------------------------------------- an episode's beginning

    def restart(self, which: Tensor | None = None) -> Tensor:
        """Begin the next episode of all copies, or of those `which` [B] bool; what they see."""
        which = torch.ones_like(self.done) if which is None else which
        at = which.nonzero()[:, 0]
        if len(at):
            rows = at.cpu().numpy()
            self.episode[rows] += 1
            self._lay_out(at, torch.from_numpy(self._drawn(rows)).to(self.device))
            for tensor in (self.frame, self.back, self.last, self.has_key, self.chosen, self.done):
                tensor[at] = 0
            self._enter(at, 0)
        return self.see()

    def _drawn(self, rows: np.ndarray) -> np.ndarray:
        """Uniform 32-bit numbers [n, 64] for the present episodes of some copies."""
        found = np.empty((len(rows), 64), np.uint64)
        for episode in np.unique(self.episode[rows]):
            mine = self.episode[rows] == episode
            for n, seed in enumerate(self.seeds):
                own = mine & (rows // self.each == n)
                if not own.any():
                    continue
                all_copies = draws(64 * self.each, seed, int(episode)).reshape(-1, 64)
                found[own] = all_copies[rows[own] % self.each]
        return (found >> 32).astype(np.int64)

    def _lay_out(self, at: Tensor, drawn: Tensor) -> None:
        """Draw what is where in the episodes that begin: drawn [n, 64]."""
        n, squares = len(rooms.APPLES), self.rules.squares
        order = drawn[:, 22:38].argsort(1) if squares == 4 else drawn[:, 22:25].argsort(1)
        first = len(rooms.THREE) if squares == 4 else 0
        self.colours[at] = order[:, :squares] + first
        which = drawn[:, 40] % squares
        self.target[at] = self.colours[at].gather(1, which[:, None])[:, 0]
        self.start[at] = self._places[drawn[:, 41] % len(self._places)]
        self.mark[at] = self._marks[drawn[:, 42] % len(self._marks)]
        low, high = self.rules.rewards
        self.pays[at] = torch.where(drawn[:, 43] % 2 == 0, low, high).float()
        rank = drawn[:, :n].argsort(1).argsort(1)
        self.grows[at] = rank < self.rules.apples

    def _enter(self, at: Tensor, phase: int) -> None:
        """Put copies into a phase's room."""
        self.board[at] = self._boards[phase]
        self.place[at] = self.start[at] if phase == 0 else self._begins[phase]
        if phase == 0:
            sign = rooms.PAINTED + self.target[at]
            sign = torch.full_like(sign, rooms.KEY) if self.rules.game == "key" else sign
            self.board[at, self.mark[at]] = sign.to(torch.uint8)
        elif phase == 1:
            codes = torch.where(self.grows[at], rooms.APPLE, rooms.BACKGROUND).to(torch.uint8)
            self.board[at[:, None], self._apples] = codes
        elif self.rules.game == "key":
            self.board[at, self._door] = rooms.DOOR
        else:
            codes = (rooms.SQUARE + self.colours[at]).to(torch.uint8)
            self.board[at[:, None], self._squares] = codes

    # ---------------------------------------------------------------- a step

    def step(self, action: Tensor) -> Frame:
        """Move every copy: action [B] int64, 0 north, 1 south, 2 west, 3 east.

        The step that ends a phase pays, and shows the next room; copies that have ended must be
        restarted first.
        """
        self._check(action)
        self.frame += 1
        moved = self.place + self._moves[action]
        code = self.board.gather(1, moved[:, None])[:, 0].long()
        blocked = self._solid[code] & ~((code == rooms.DOOR) & self.has_key) | self._outside[moved]
        self.place = torch.where(blocked, self.place, moved)
        first, second, third = self._phases.tolist()
        reward = self._new(self.copies, dtype=torch.float32)
        early, late = (int(self.frame.min()), int(self.frame.max()))
        if self.rules.game == "key" and early <= first:
            self._take_key(self.frame <= first)
        if late > first and early <= second:
            reward += self._eat((self.frame > first) & (self.frame <= second))
        if late > second:
            ended = self.frame > second
            gained = self._open(ended) if self.rules.game == "key" else self._choose(ended)
            self.last += gained
            reward += gained
        self.done = self.frame >= third
        if self.rules.ends:
            self.done = self.done | self.chosen
        for phase, begins in ((1, first), (2, second)):
            if early <= begins <= late and len(at := (self.frame == begins).nonzero()[:, 0]):
                self._enter(at, phase)
        return Frame(self.see(), reward, self.done)

    def _check(self, action: Tensor) -> None:
        fine = isinstance(action, Tensor) and action.dtype == torch.int64
        if not fine or action.shape != (self.copies,):
            got = (
                f"{action.dtype} {list(action.shape)}"
                if isinstance(action, Tensor)
                else repr(action)
            )
            raise refusal("action", f"be an int64 tensor [{self.copies}]", got)
        low, high = (int(n) for n in action.aminmax())
        require(
            "action", low >= 0 and high < len(ACTIONS), "be in 0 … 3", high if low >= 0 else low
        )
        if bool(self.done.any()):
            count = int(self.done.sum())
            raise refusal("step", "come after restart", f"{count} episodes that have ended")

    def _eat(self, here: Tensor) -> Tensor:
        """What apples pay where copies stand; they are gone until later."""
        number, frame = self._apple_at[self.place], self.frame[:, None]
        on = here & (number < len(self._apples))
        number = number.clamp(max=len(self._apples) - 1)[:, None]
        ripe = self.grows & (self.back < frame)  # one that has just come back waits for a frame
        taken = on & ripe.gather(1, number)[:, 0]
        self.back.scatter_(
            1, number, torch.where(taken[:, None], frame + RESPAWN, self.back.gather(1, number))
        )
        shown = torch.where(self.grows & (self.back <= frame), rooms.APPLE, rooms.BACKGROUND)
        rows = here.nonzero()[:, 0]
        self.board[rows[:, None], self._apples] = shown[rows].to(torch.uint8)
        return torch.where(taken, self.pays, 0.0)

    def _choose(self, here: Tensor) -> Tensor:
        """What the squares pay on which copies stand; after one choice there are none."""
        code = self.board.gather(1, self.place[:, None])[:, 0].long()
        choosing = here & (code >= rooms.SQUARE)
        at = choosing.nonzero()[:, 0]
        if len(at):
            self.board[at[:, None], self._squares] = rooms.BACKGROUND
            self.chosen[at] = True
        right = code - rooms.SQUARE == self.target
        return torch.where(choosing, torch.where(right, self.rules.right, self.rules.wrong), 0.0)

    def _take_key(self, here: Tensor) -> None:
        self.board[(here & self.has_key), cell(0, 5)] = rooms.WALL
        found = here & (self.place == self.mark) & ~self.has_key
        at = found.nonzero()[:, 0]
        self.board[at, self.mark[at]] = rooms.BACKGROUND
        self.board[at, cell(0, 5)] = rooms.HELD  # shown for one frame
        self.has_key |= found

    def _open(self, here: Tensor) -> Tensor:
        opening = here & (self.place == self._door) & ~self.chosen
        self.chosen |= opening
        return torch.where(opening, self.rules.right, 0.0)

    def see(self) -> Tensor:
        """What each copy sees, [B, 5, 5, 3] uint8: itself in the middle."""
        codes = self.board.gather(1, self.place[:, None] + self._window)
        codes[:, len(self._window) // 2] = rooms.PLAYER
        side = 2 * SIGHT + 1
        return self._palette[codes.int()].view(self.copies, side, side, 3)

    def picture(self, copy: int = 0, scale: int = 8) -> np.ndarray:
        """The whole board of a copy for people, [7·scale, 11·scale, 3] uint8."""
        board = self.board[copy].clone()
        board[self.place[copy]] = rooms.PLAYER
        shown = self._palette[board.int()].view(ROWS + 2 * SIGHT, WIDTH, 3)
        shown = shown[SIGHT:-SIGHT, SIGHT:-SIGHT].cpu().numpy()
        return shown.repeat(scale, 0).repeat(scale, 1)
