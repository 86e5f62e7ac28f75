"""Language modelling (§3.3, App. D.3): which word is next, in a text that is read in one go.

B rows, L tokens of a segment, N of a split, V words.
A network reads segment after segment and carries its states along (truncated back-propagation);
where an article begins they start from zero.  Every token of a text is the target of one step,
whose input is the token before it (of the very first: <eos>).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from urgates.checks import choice, refusal
from urgates.lab.tasks import corpus
from urgates.lab.tasks.base import draws, whole

NO_TARGET = -100
"""Target of steps that are there to fill a row only: what torch's cross-entropy leaves out."""


class Segment(NamedTuple):
    """L steps of B rows; the next segment goes on where this one ends."""

    x: Tensor
    """Tokens [B, L] int64."""
    target: Tensor
    """The token after each [B, L] int64."""
    resets: Tensor
    """Where the target is the first of an article [B, L] bool: zero the states, then read x."""


@dataclass(frozen=True)
class Text:
    """Tell the next word of the text "ptb" or "wikitext103", in segments of `length` tokens.

    "descriptions", a short one that scikit-learn carries, is for quick checks.

    The text is read on first use, see `corpus.load`.
    Raises ValueError for an unknown dataset and a length that is no whole number of at least 1.
    """

    dataset: str = "ptb"
    length: int = 128

    baseline = None  # the unigrams' perplexity is no closed form, see ngrams.py

    def __post_init__(self):
        choice("dataset", self.dataset, corpus.names())
        whole("length", self.length, 1)

    @property
    def name(self) -> str:
        """The word in file names and protocols."""
        return self.dataset

    @cached_property
    def corpus(self) -> corpus.Corpus:
        """The text itself."""
        return corpus.load(self.dataset)

    @property
    def output_size(self) -> int:
        """V, words in the vocabulary."""
        return len(self.corpus.words)

    def stream(self, split: str) -> np.ndarray:
        """The tokens [N] int32 of a split; ValueError unless it is train, valid or test."""
        return self.corpus.streams[choice("split", split, corpus.SPLITS)]

    def steps_per_epoch(self, batch_size: int) -> int:
        """Training steps in which B rows together read the training text once.

        Raises ValueError for more rows than there are segments.
        """
        most = len(self.stream("train")) // self.length
        if whole("batch_size", batch_size, 1) > most:
            segments = f"the segments of {self.length} tokens in the training text"
            raise refusal("batch_size", f"be at most {most}, {segments}", str(batch_size))
        return most // batch_size

    def batch(self, seed: int, step: int, batch_size: int) -> Segment:
        """Segment `step` of the training text, a function of the arguments alone.

        The text is a ring.  B rows start on it at equal distances, the first where the seed says,
        and read on for ever: after N / B steps each is where the next one began.
        """
        self.steps_per_epoch(batch_size)  # or there are too many
        n = len(self.stream("train"))
        begin = int(draws(1, seed)[0]) + whole("step", step, 0) * self.length
        rows = (begin % n + np.arange(batch_size) * n // batch_size) % n
        at = (rows[:, None] + np.arange(self.length)) % n
        return self._segment("train", at)

    def evaluate_batches(self, split: str, batch_size: int) -> Iterator[Segment]:
        """Segments that together hold every token of a split as a target exactly once.

        B rows, cut where articles begin, where the states are zero anyway: so the sum of the
        losses does not depend on B.  A text without articles is cut into equal parts, and a
        row then starts without the words before it; B = 1 reads it as it is.  Rows that end early
        go on with `NO_TARGET`.
        """
        n = len(self.stream(split))
        if whole("batch_size", batch_size, 1) > n:
            raise refusal("batch_size", f"be at most {n}, the tokens of {split}", str(batch_size))
        cuts = np.arange(batch_size + 1) * n // batch_size
        starts = self.corpus.starts[split]
        if len(starts):  # the next one, so that no row is longer than N / B and an article
            cuts[1:-1] = starts[np.searchsorted(starts, cuts[1:-1]).clip(max=len(starts) - 1)]
        begin, end = cuts[:-1, None], cuts[1:, None]
        longest = int((end - begin).max())
        for first in range(0, longest, self.length):
            at = begin + np.arange(first, min(first + self.length, longest))
            segment = self._segment(split, np.minimum(at, n - 1))
            beyond = torch.from_numpy(at >= end)
            segment.target[beyond] = NO_TARGET
            segment.resets[beyond] = False
            yield segment

    def _segment(self, split: str, at: np.ndarray) -> Segment:
        """The steps whose targets are the tokens at the positions [B, L]."""
        stream, starts = self.stream(split), self.corpus.starts[split]
        resets = np.zeros(at.shape, bool)
        if len(starts):
            resets = starts[np.searchsorted(starts, at) % len(starts)] == at
        x, target = stream[at - 1], stream[at]  # before the first comes the last: an <eos>
        tokens = (torch.from_numpy(np.asarray(t, np.int64)) for t in (x, target))
        return Segment(*tokens, torch.from_numpy(resets))
