"""Images read pixel by pixel (§3.2, App. D.2): MNIST, CIFAR-10, and 8×8 digits for quick checks.

B batch, T pixels of an image in scanline order, C channels, n images, H hidden units.
Permuted images follow the fixed bit-reversal order of App. D.5.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor, nn

from urgates.checks import choice, require
from urgates.lab.tasks import data
from urgates.lab.tasks.base import ACCURACY, Task, draws, whole

NAMES = {  # in scanline order, permuted
    "mnist": ("smnist", "pmnist"),
    "cifar10": ("scifar", "pcifar"),
    "digits": ("digits", "pdigits"),
}
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)
HIDDEN = 256  # units of the classifier between the recurrent layer and the logits
SCORES = ("last", "mean_logits", "loss_all_steps")
HELD_OUT = 10  # one in ten training images is for validation


def bit_reversal(n: int) -> Tensor:
    """The order [n] int64 that sorts 0..n-1 by their reversed binary digits (App. D.5).

    Apply it as `x[order]`. It is its own inverse only where n is a power of two.
    Raises ValueError unless n is a whole number of at least 1.
    """
    order = torch.zeros(1, dtype=torch.int64)
    for _ in range((whole("n", n, 1) - 1).bit_length()):
        order = torch.cat([2 * order, 2 * order + 1])
    return order[order < n]


@lru_cache(maxsize=32)
def shuffled(n: int, seed: int, *epoch: int) -> Tensor:
    """A permutation [n] int64 of 0..n-1 that depends on the arguments only."""
    return torch.from_numpy(draws(n, seed, *epoch).argsort(kind="stable"))


@dataclass(frozen=True)
class Pixels(Task):
    """Name the class of an image after reading its T pixels one by one (§3.2).

    `dataset` is "mnist" (T = 784, C = 1), "cifar10" (1024, 3) or "digits" (64, 1; scikit-learn's).
    One in ten training images, drawn by `data_seed`, is kept for validation. `dropout` acts on the
    head's hidden layer (.5 with zoneout, App. D.2). Data is read on first use, see `data.load`.
    `score` says which hidden states the head reads, which D.2 leaves open: "last"; "mean_logits",
    every one, and the logits are averaged; "loss_all_steps", every one is trained to know the
    class, and the last one answers.
    Raises ValueError for an unknown dataset or score, a negative seed, a dropout outside [0, 1).
    """

    dataset: str = "mnist"
    permuted: bool = False
    data_seed: int = 42
    dropout: float = 0.0
    score: str = "last"

    output_size = 10
    readout = "last"
    baseline = None
    select = ACCURACY

    def __post_init__(self):
        choice("dataset", self.dataset, NAMES)
        whole("data_seed", self.data_seed, 0)
        require("dropout", 0 <= self.dropout < 1, "be a probability below 1", self.dropout)
        choice("score", self.score, SCORES)

    @property
    def name(self) -> str:
        """`smnist`, `pmnist`, `scifar`, `pcifar`, `digits` or `pdigits`."""
        return NAMES[self.dataset][self.permuted]

    @property
    def length(self) -> int:
        """T, pixels of an image."""
        return data.FORMATS[self.dataset].pixels

    @property
    def input_size(self) -> int:
        """C, channels of a pixel."""
        return data.FORMATS[self.dataset].channels

    @cached_property
    def _splits(self) -> dict[str, tuple[Tensor, Tensor]]:
        x, y, *test = data.load(self.dataset)
        valid, train = shuffled(len(y), self.data_seed).tensor_split([len(y) // HELD_OUT])
        return {
            "train": (x[train], y[train]),
            "valid": (x[valid], y[valid]),
            "test": tuple(test),
        }

    @cached_property
    def _order(self) -> Tensor:
        return bit_reversal(self.length)

    def split(self, name: str) -> tuple[Tensor, Tensor]:
        """The images as stored [n, T, C] uint8, in scanline order, and their classes [n] int64.

        Raises ValueError unless `name` is "train", "valid" or "test".
        """
        return self._splits[choice("split", name, ("train", "valid", "test"))]

    def steps_per_epoch(self, batch_size: int) -> int:
        """Whole batches in the training images; the rest of an epoch is dropped."""
        n = len(self.split("train")[1])
        fine = whole("batch_size", batch_size, 1) <= n
        require("batch_size", fine, f"be at most {n}, the training images", batch_size)
        return n // batch_size

    def batch(self, seed: int, step: int, batch_size: int) -> tuple[Tensor, Tensor]:
        """Pixels [B, T, C] float32 and classes [B] int64; every epoch has an order of its own."""
        epoch, i = divmod(whole("step", step, 0), self.steps_per_epoch(batch_size))
        x, y = self.split("train")
        rows = shuffled(len(y), seed, epoch)[i * batch_size : (i + 1) * batch_size]
        return self._sequences(x[rows]), y[rows]

    def evaluate_batches(self, split: str, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Every image of a split once, in order, as `batch` gives them; the last may be short."""
        x, y = self.split(split)
        whole("batch_size", batch_size, 1)
        for part, target in zip(x.split(batch_size), y.split(batch_size), strict=True):
            yield self._sequences(part), target

    def _sequences(self, images: Tensor) -> Tensor:
        """Scaled pixels [B, T, C] float32 in the order in which the model reads them."""
        if self.permuted:
            images = images[:, self._order]
        x = images.float() / data.FORMATS[self.dataset].white
        if self.dataset == "cifar10":
            x = (x - torch.tensor(CIFAR_MEAN)) / torch.tensor(CIFAR_STD)
        return x

    def head(self, hidden_size: int) -> nn.Module:
        """The classifier [..., H] -> [..., 10], one ReLU layer of 256 units (App. D.2)."""
        layers = [nn.Linear(whole("hidden_size", hidden_size, 1), HIDDEN), nn.ReLU()]
        if self.dropout:
            layers.append(nn.Dropout(self.dropout))
        return nn.Sequential(*layers, nn.Linear(HIDDEN, self.output_size))

    def decode(self, head: nn.Module, h: Tensor) -> Tensor:
        """Logits [B, 10] of h [B, T, H]; [B, T, 10] where the loss is taken at every step."""
        if self.score == "last":
            return super().decode(head, h)
        logits = head(h)
        return logits.mean(1) if self.score == "mean_logits" else logits

    def loss(self, out: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy in nats, scalar, over the images, and the steps if they are scored."""
        if out.dim() == 3:
            target = target[:, None].expand(out.shape[:2])
        return super().loss(out, target)

    def metrics(self, out: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The share of right answers, given after the last step."""
        return super().metrics(out[:, -1] if out.dim() == 3 else out, target)
