"""What the matching games are played in: cells, their colours, and the rooms of the three phases.

A board has 7 rows and 11 columns.  A *cell* is an index into the board with a margin of two cells,
so that a window of 5 by 5 around any place is within it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

ROWS, COLUMNS, SIGHT = 7, 11, 2
NORTH, SOUTH, WEST, EAST = ACTIONS = range(4)
WIDTH = COLUMNS + 2 * SIGHT
CELLS = (ROWS + 2 * SIGHT) * WIDTH
STEPS = (-WIDTH, WIDTH, -1, 1)  # from a cell to where an action leads
WINDOW = [r * WIDTH + c for r in range(-SIGHT, SIGHT + 1) for c in range(-SIGHT, SIGHT + 1)]


def cell(row: int, column: int) -> int:
    """The index of a place on the board."""
    return (row + SIGHT) * WIDTH + column + SIGHT


OUTSIDE = torch.ones(CELLS, dtype=torch.bool)
OUTSIDE[[cell(r, c) for r in range(ROWS) for c in range(COLUMNS)]] = False


# ------------------------------------------------------------------ what a cell can hold

BACKGROUND, WALL, PLAYER, APPLE, KEY, DOOR, HELD = range(7)
PLAIN = (  # RGB
    (204, 204, 204), (25, 25, 25), (228, 148, 109), (140, 178, 0), (159, 81, 44), (134, 206, 235),
    (255, 255, 255),
)  # fmt: skip
THREE = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
SIXTEEN = tuple(  # the colours of CGA, as in the 3D levels
    (170, 85, 0) if n == 6 else tuple(170 * (n >> k & 1) + 85 * (n >> 3) for k in (2, 1, 0))
    for n in range(16)
)
PAINTED = len(PLAIN)  # a wall in a colour, by number; then squares, which one can step on
SQUARE = PAINTED + len(THREE) + len(SIXTEEN)
PALETTE = torch.tensor([*PLAIN, *2 * (THREE + SIXTEEN)], dtype=torch.uint8)
SOLID = torch.zeros(len(PALETTE), dtype=torch.bool)
SOLID[[WALL, DOOR, *range(PAINTED, SQUARE)]] = True

# ------------------------------------------------------------------ the rooms
# "#" wall, "@" where the player starts, "?" one of several places to start at, "o" a wall that
# may be painted, "k" a place for the key, "d" the door, digits the squares

_PASSIVE = """
...........
....ooo....
....o@o....
....ooo....
...........
...........
...........
"""
_ACTIVE = """
..ooooooo..
..o.....o..
..o.....o..
..oo...oo..
..o?????o..
..o?????o..
..ooooooo..
"""
_KEYS = _ACTIVE.replace("o", "#").replace("#.....#", "#kkkkk#")
_DISTRACTOR = """
###########
#.........#
#.........#
#.........#
#.........#
#....@....#
###########
"""
_CHOICE = """
###########
#.0..1..2.#
#.........#
#.........#
####...####
...#.@.#...
...#####...
"""
_FOUR = _CHOICE.replace(".0..1..2.", "0..1.2..3")
_DOOR = """
...........
...##d##...
...#...#...
...#.@.#...
...#...#...
...#####...
...........
"""
APPLES = [
    cell(r, c) for r in range(1, 6) for c in range(1, 10) if (r + c) % 2 == 0 and (r, c) != (5, 5)
]


class Room(NamedTuple):
    """A phase's board and its special places."""

    board: Tensor  # [cells] uint8
    marks: dict[str, list[int]]

    @property
    def begins(self) -> list[int]:
        """The cells where a player may find itself at first."""
        return self.marks.get("?") or self.marks["@"]

    @property
    def squares(self) -> list[int]:
        """The cells of the squares, from left to right; none if there is a door instead."""
        return [self.marks[str(n)][0] for n in range(9) if str(n) in self.marks]


def room(drawing: str) -> Room:
    """Read a drawing."""
    board, marks = torch.full((CELLS,), BACKGROUND, dtype=torch.uint8), {}
    for r, line in enumerate(drawing.split()):
        for c, sign in enumerate(line):
            marks.setdefault(sign, []).append(cell(r, c))
    board[marks.get("#", []) + marks.get("o", [])] = WALL
    return Room(board, marks)


GAMES: Mapping[str, tuple[str, str]] = {
    "passive": (_PASSIVE, _CHOICE), "active": (_ACTIVE, _CHOICE), "key": (_KEYS, _DOOR),
}  # fmt: skip


def of(game: str, squares: int) -> list[Room]:
    """The rooms of a game's three phases."""
    first, last = GAMES[game]
    last = _FOUR if squares == 4 and last == _CHOICE else last
    return [room(drawing) for drawing in (first, _DISTRACTOR, last)]
