"""Who knows everything: a player of the matching games that sees the whole board.

It looks at the colour, eats the nearest apple, again and again, and goes to the right square: the
most that can be had in the last phase, and about what a good collector can eat before.
"""

import torch
from torch import Tensor

from urgates.lab.tasks import rooms
from urgates.lab.tasks.match import Match


def knowing(world: Match) -> Tensor:
    """The next action of each copy [B] int64."""
    distance = distances(world, goals(world))
    ahead = world.place[:, None] + torch.tensor(rooms.STEPS, device=world.device)
    return distance.gather(1, ahead).argmin(1)


def goals(world: Match) -> Tensor:
    """Where each copy wants to be [B, cells] bool: a frame tells the phase."""
    first, second, _ = torch.tensor(world.rules.frames).cumsum(0).tolist()
    phase, board = (world.frame >= first).int() + (world.frame >= second), world.board
    if world.rules.game == "key":
        wanted = [board == rooms.KEY, board == rooms.APPLE, board == rooms.DOOR]
    else:
        offsets = torch.tensor(rooms.WINDOW, device=world.device)
        look = torch.zeros_like(board, dtype=torch.bool)
        look.scatter_(1, world.mark[:, None] + offsets, True)  # from there it is in the window
        right = board == (rooms.SQUARE + world.target)[:, None]
        wanted = [look, board == rooms.APPLE, right]
    return torch.stack(wanted, 1)[torch.arange(world.copies), phase.long()]


def distances(world: Match, goals: Tensor) -> Tensor:
    """Steps from every cell to the nearest goal [B, cells]; many from where no way leads there.

    A way keeps off squares, but for a goal at its end.
    """
    solid, outside = (table.to(world.device) for table in (rooms.SOLID, rooms.OUTSIDE))
    free = ~(solid[world.board.int()] | outside | (world.board >= rooms.SQUARE))
    found = torch.where(goals, 0, rooms.CELLS).to(torch.uint8)
    while True:
        near = torch.stack([found.roll(-step, 1) for step in rooms.STEPS]).amin(0) + 1
        nearer = torch.where(free, torch.minimum(found, near), found)
        if torch.equal(nearer, found):
            return found
        found = nearer
