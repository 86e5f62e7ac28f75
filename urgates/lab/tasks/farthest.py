"""Nth farthest (Santoro et al. 2018, §4.1): of some vectors, which is the n-th farthest from one?

B batch, V vectors and as many steps, D coordinates, I = D + 3V inputs per step.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from urgates.lab.tasks.base import Task, draws, perceptron, whole


@dataclass(frozen=True)
class Farthest(Task):
    """Name the vector that is the n-th farthest (Euclidean) from the one labelled m.

    Every step shows a vector, its label, n and m, labels one-hot; the vectors are uniform in
    [-1, 1) and shown in random order of their labels.  n = 1 asks for the farthest; the vector m
    itself is the nearest, and counts.
    Raises ValueError unless `length`, how many vectors, and `dimension` are at least 2 and 1.
    """

    length: int = 8
    dimension: int = 16

    name = "farthest"
    readout = "last"
    baseline = None  # guessing is right once in `length`

    def __post_init__(self):
        whole("length", self.length, 2)
        whole("dimension", self.dimension, 1)

    @property
    def input_size(self) -> int:
        """I = D + 3V."""
        return self.dimension + 3 * self.length

    @property
    def output_size(self) -> int:
        """V."""
        return self.length

    def batch(self, seed: int, step: int, batch_size: int) -> tuple[Tensor, Tensor]:
        """Inputs [B, V, D + 3V] float32, (vector, its label, n, m), and the labels [B] int64."""
        B, V, D = whole("batch_size", batch_size, 1), self.length, self.dimension
        raw = draws(B * (V * D + V + 2), seed, step).reshape(B, -1)
        vectors = (raw[:, : V * D] >> 40).astype(np.float64).reshape(B, V, D) * 2**-23 - 1
        labels = raw[:, V * D : -2].argsort(axis=1)
        n, m = (raw[:, -2:] % V).astype(np.int64).T
        place = (labels == m[:, None]).argmax(axis=1)
        centre = np.take_along_axis(vectors, place[:, None, None], axis=1)
        order = np.square(vectors - centre).sum(axis=2).argsort(axis=1)[:, ::-1]
        wanted = np.take_along_axis(order, n[:, None], axis=1)
        target = torch.from_numpy(np.take_along_axis(labels, wanted, axis=1)[:, 0])
        names = torch.eye(V)
        question = torch.cat([names[n], names[m]], dim=1)[:, None].expand(B, V, 2 * V)
        parts = torch.from_numpy(vectors).float(), names[torch.from_numpy(labels)], question
        return torch.cat(parts, dim=2), target

    def head(self, hidden_size: int) -> nn.Module:
        """Four ReLU layers of 256 units, then a linear one: [..., H] -> [..., V].

        Weights start as He et al. (2015) draw them, so that what a memory holds comes through five
        layers: PyTorch's own start makes it some ninety times as small.
        """
        head = perceptron(hidden_size, self.output_size)
        for layer in head[::2]:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        return head
