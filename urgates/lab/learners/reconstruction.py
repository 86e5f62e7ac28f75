"""What agents with a memory learn beside their task: to tell from z what was seen (§3.4).

The memory holds z, so z should say what there was.  Losses and weights as Hung et al. (2018)
released them; z [..., W].
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from urgates.lab.tasks.match import ACTIONS, SIGHT

IMAGE = 50.0  # of the mean over all pixels; action and reward count 1
READING, LOOSE = 5e-5, 2.0  # of read strengths, which cost the same up to the second
_SIDE = 2 * SIGHT + 1


class Reconstruction(nn.Module):
    """Decoders of z: the picture (the encoder's layers turned round), the last action and reward.

    `channels` are those of the encoder's convolutions, if it has any.
    """

    names = ("image_cost", "action_cost", "reward_cost")

    def __init__(self, width: int, channels: tuple[int, ...] = ()):
        super().__init__()
        above = [*reversed(channels), 3]
        layers: list[nn.Module] = [nn.Linear(width, above[0] * _SIDE**2)]
        layers.append(nn.Unflatten(-1, (above[0], _SIDE, _SIDE)))
        for deep, shallow in pairwise(above):
            layers += [nn.ReLU(), nn.ConvTranspose2d(deep, shallow, 3, padding=1)]
        self.image = nn.Sequential(*layers)
        self.action, self.reward = nn.Linear(width, len(ACTIONS)), nn.Linear(width, 1)

    def forward(self, z: Tensor, pixels: Tensor, action: Tensor, reward: Tensor):
        """Each loss [...] by its name, weighted: of pixels [..., 5, 5, 3], actions and rewards."""
        shape = action.shape
        flat = z.flatten(0, -2)
        seen = pixels.flatten(0, -4).permute(0, 3, 1, 2).to(z) / 255
        image = binary_cross_entropy_with_logits(self.image(flat), seen, reduction="none")
        before = cross_entropy(self.action(flat), action.flatten(), reduction="none")
        ahead = self.reward(z)[..., 0] - reward
        losses = IMAGE * image.mean((1, 2, 3)).view(shape), before.view(shape), ahead.square() / 2
        return dict(zip(self.names, losses, strict=True))


def reading(strengths: Tensor) -> Tensor:
    """What read strengths [..., R] cost, [...]: weights need not be sharper than that."""
    return READING * torch.clamp(strengths, min=LOOSE).sum(-1)
