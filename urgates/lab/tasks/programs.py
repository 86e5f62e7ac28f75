"""Learning to Execute (App. E.3, D.4): read a program by characters and write its answer.

B programs, T steps, I characters of the alphabet, k characters of the longest answer.
A program is shown flush right, so that all end at the same step; before it the states are held.
Then k steps without input answer, all characters at once: what one was does not reach the next.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from urgates.checks import choice, refusal
from urgates.lab.tasks.base import ACCURACY, Task, draws, perceptron, whole
from urgates.lab.tasks.languages import SANTORO, ZAREMBA
from urgates.lab.tasks.text import NO_TARGET
from urgates.lab.tasks.writer import Rows, Writer

CATEGORIES = {
    "addition": (SANTORO, ("add",)),
    "control": (SANTORO, ("if", "for")),
    "program": (SANTORO, tuple(SANTORO.operations)),
    "program2014": (ZAREMBA, tuple(ZAREMBA.operations)),
}
CURRICULA = ("mix", "full")
SPLITS = ("valid", "test")


@dataclass(frozen=True)
class Programs(Task):
    """Execute programs of a category, with literals of `length` digits, nested `nesting` deep.

    Training programs have full size, or in the curriculum "mix" sizes drawn up to it, each program
    its own (in "program2014" each literal its own); `evaluated` fixed programs of full size score.
    Raises ValueError for an unknown category or curriculum, sizes below 1, and sizes whose values
    64 bits cannot hold (lengths above 9).
    """

    category: str = "addition"
    length: int = 9
    nesting: int = 4
    curriculum: str = "mix"
    evaluated: int = 12_800

    baseline = None  # in which order programs come decides it
    select = ACCURACY

    def __post_init__(self):
        language, _ = CATEGORIES[choice("category", self.category, CATEGORIES)]
        for name in ("length", "nesting", "evaluated"):
            whole(name, getattr(self, name), 1)
        choice("curriculum", self.curriculum, CURRICULA)
        fine = language.holds(self.length, self.nesting)
        if not fine:
            sizes = f"{self.length} and {self.nesting}"
            raise refusal("length and nesting", "have values that 64 bits can hold", sizes)

    @property
    def name(self) -> str:
        """The category."""
        return self.category

    @cached_property
    def writer(self) -> Writer:
        """What writes the programs."""
        return Writer(*CATEGORIES[self.category], self.length, self.nesting)

    @property
    def input_size(self) -> int:
        """I, characters of programs."""
        return len(self.writer.language.alphabet)

    @property
    def output_size(self) -> int:
        """Characters of answers."""
        return len(self.writer.language.endings)

    @property
    def readout(self) -> int:
        """k, steps that answer."""
        return self.writer.answer_size

    def batch(self, seed: int, step: int, batch_size: int) -> tuple[Tensor, Tensor]:
        """Characters [B, T, I] float32, one-hot, and those of the answers [B, k] int64.

        Zeros come before a program and after it; `NO_TARGET` after an answer.
        """
        return self._tensors(self._rows(batch_size, self.curriculum == "mix", seed, step))

    def evaluate_batches(self, split: str, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The fixed programs of "valid" or "test", as `batch` gives them; the last may be short."""
        rows = self._fixed[choice("split", split, SPLITS)]
        for start in range(0, self.evaluated, whole("batch_size", batch_size, 1)):
            yield self._tensors(Rows(*(part[start : start + batch_size] for part in rows)))

    @cached_property
    def _fixed(self) -> dict[str, Rows]:
        # two numbers for the step, where a training step has one: other random numbers
        return {split: self._rows(self.evaluated, False, 0, 0, n) for n, split in enumerate(SPLITS)}

    def _rows(self, count: int, mix: bool, *key: int) -> Rows:
        raw = draws(whole("batch_size", count, 1) * self.writer.draws, *key)
        return self.writer.write(raw.reshape(count, -1), mix)

    def _tensors(self, rows: Rows) -> tuple[Tensor, Tensor]:
        codes = np.pad(rows.text, ((0, 0), (0, self.readout)))
        characters = torch.eye(1 + self.input_size)[:, 1:]  # none of them: zeros
        target = rows.answer.astype(np.int64) - 1
        target[rows.answer == 0] = NO_TARGET
        return characters[torch.from_numpy(codes.astype(np.int64))], torch.from_numpy(target)

    def held(self, x: Tensor) -> Tensor:
        """The steps [B, T] bool before the first character."""
        return x.sum(-1).cumsum(1) == 0

    def head(self, hidden_size: int) -> nn.Module:
        """Four ReLU layers of 256 units, then a linear one: [..., H] -> [..., characters]."""
        return perceptron(hidden_size, self.output_size)

    def answers(self, target: Tensor) -> int:
        """How many characters all answers have together."""
        return int((target != NO_TARGET).sum())

    def metrics(self, out: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The share of right characters."""
        self._check(out, target)
        right = (out.argmax(-1) == target).sum()  # never where there is none
        return {"accuracy": right / (target != NO_TARGET).sum()}

    def show(self, x: Tensor, target: Tensor) -> list[tuple[str, str]]:
        """Texts of the programs and answers of a batch."""
        language = self.writer.language
        codes = (x * torch.arange(1, 1 + self.input_size)).sum(-1).int()
        return [
            (language.text(row), "".join(language.endings[c] for c in wanted if c != NO_TARGET))
            for row, wanted in zip(codes.tolist(), target.tolist(), strict=True)
        ]
