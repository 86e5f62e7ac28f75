"""What chance earns in the matching games (§3.4): derived, and played to see that it is so.

Who walks at random is a Markov chain on the cells of a room.  Which squares it touches, and whether
it ever comes to see the colour, follow from its matrix without a single game.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from urgates.lab.tasks import rooms
from urgates.lab.tasks.match import Match, Rules
from urgates.lab.tasks.rooms import ACTIONS, CELLS, Room


def moves(room: Room) -> Tensor:
    """Chances [cells, cells] of getting from a cell to another by a step in any direction."""
    inside = (~rooms.OUTSIDE).nonzero()[:, 0]
    closed = rooms.SOLID[room.board.long()] | rooms.OUTSIDE
    chances = torch.zeros(CELLS, CELLS, dtype=torch.float64)
    for step in rooms.STEPS:
        reached = torch.where(closed[inside + step], inside, inside + step)
        chances[inside, reached] += 1 / len(rooms.STEPS)
    return chances


def begins(room: Room) -> Tensor:
    """Chances [cells] of starting at a cell."""
    chances = torch.zeros(CELLS, dtype=torch.float64)
    chances[room.begins] = 1 / len(room.begins)
    return chances


def touches(rules: Rules) -> Tensor:
    """Chances [squares] that a random walk steps on a square, the first of its choice."""
    room = rooms.of(rules.game, rules.squares)[2]
    chances, at = moves(room), begins(room)
    chances[room.squares] = 0.0
    chances[room.squares, room.squares] = 1.0  # there it stays
    for _ in range(rules.frames[2]):
        at = at @ chances
    return at[room.squares]


def sighted(rules: Rules, frames: int | None = None) -> float:
    """The chance that a random walk sees the colour in so many frames, all of the first phase.

    The first frame is what is seen at the start; in a single one nobody has moved.
    """
    room = rooms.of(rules.game, rules.squares)[0]
    marks = torch.tensor(room.marks["o"])
    window = torch.arange(CELLS)[:, None] + torch.tensor(rooms.WINDOW)
    hidden = (window[None] != marks[:, None, None]).all(-1).double()  # [marks, cells]
    chances, unseen = moves(room), begins(room) * hidden
    for _ in range((frames or rules.frames[0]) - 1):
        unseen = (unseen @ chances) * hidden
    return 1 - unseen.sum(1).mean().item()


def levels(rules: Rules) -> pd.Series:
    """Expected reward of the last phase of those who …, from a walk to the most there is."""
    choice = (rules.right + (rules.squares - 1) * rules.wrong) / rules.squares
    still, walking = sighted(rules, 1), sighted(rules)
    return pd.Series(
        {
            "walk at random": touches(rules).sum().item() * choice,
            "choose at random": choice,
            "remember what they see at once": rules.right * still + choice * (1 - still),
            "remember what a walk shows": rules.right * walking + choice * (1 - walking),
            "look for it, and remember": rules.right,
        }
    )


# ------------------------------------------------------------------ played


def walks(
    rules: Rules, episodes: int = 1_000_000, copies: int = 4096, seed: int = 1
) -> pd.DataFrame:
    """Random walks, played: columns quantity, mean, sd, error (standard, of the mean), exact.

    `exact` is what is derived, empty where nothing is (apples come back); episodes are rounded up
    to whole batches of `copies`.
    """
    rules = replace(rules, apple_reward=1.0, ends=False)  # one choice counts all the same
    world, dice = Match(rules, copies, seed), torch.Generator().manual_seed(seed)
    played = [_walk(world, dice) for _ in range(ceil(episodes / copies))]
    sums = sum(table.sum(0) for table in played)
    squares = sum((table**2).sum(0) for table in played)
    n = copies * len(played)
    mean = sums / n
    sd = np.sqrt(squares / n - mean**2)
    names = [f"touches square {k + 1}" for k in range(rules.squares)]
    exact = [sighted(rules, 1), sighted(rules), np.nan, levels(rules).iloc[0], *touches(rules)]
    return pd.DataFrame(
        {
            "quantity": ["sees it at once", "sees it", "apples", "last-phase reward", *names],
            "mean": mean, "sd": sd, "error": sd / n**0.5, "exact": np.array(exact, float),
            "episodes": n,
        }
    )  # fmt: skip


def _walk(world: Match, dice: torch.Generator) -> np.ndarray:
    """An episode of every copy [B, quantities]."""
    rules, at_once = world.rules, _sees(world, world.restart())
    seen, apples = at_once.clone(), torch.zeros(world.copies)
    squares = torch.tensor(world.rooms[2].squares)
    touched = torch.zeros(world.copies, len(squares), dtype=torch.bool)
    for step in range(1, rules.steps + 1):
        free = ~world.chosen
        pixels, reward, _ = world.step(torch.randint(len(ACTIONS), (world.copies,), generator=dice))
        if step < rules.frames[0]:
            seen |= _sees(world, pixels)
        elif rules.frames[0] < step <= sum(rules.frames[:2]):
            apples += reward
        elif step > sum(rules.frames[:2]):
            touched |= (free & world.chosen)[:, None] & (world.place[:, None] == squares)
    found = [at_once, seen, apples, world.last, *touched.T]
    return torch.stack([part.double() for part in found], 1).numpy()


def _sees(world: Match, pixels: Tensor) -> Tensor:
    """Whether the colour to remember is among the pixels [B, 5, 5, 3]: [B] bool."""
    colour = rooms.PALETTE[rooms.PAINTED + world.target]
    return (pixels == colour[:, None, None]).all(-1).any((1, 2))
