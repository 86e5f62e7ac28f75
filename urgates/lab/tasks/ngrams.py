"""What counting achieves: perplexities of word frequencies and n-grams, to stand beside networks.

N tokens, V words.  A k-gram is a context c of k - 1 tokens and a word w; no context reaches beyond
the <eos> before a line.  Modified Kneser-Ney, interpolated (Chen & Goodman 1998, §3):
p_k(w | c) = (a - D(a) + p_{k-1}(w | c') Σ D) / Σ a, where c' lacks the first token of c, a counts
the k-gram (or, below the highest order, what was seen before it, unless a line begins with it),
D(0) = 0, and Σ runs over all words after c.  p_0 = 1 / V.
"""

from typing import NamedTuple

import numpy as np

from urgates.checks import refusal
from urgates.lab.tasks.corpus import EOS, Corpus


def unigram_perplexity(text: Corpus, split: str) -> float:
    """Perplexity of a split under the frequencies of the training text."""
    counts = np.bincount(text.streams["train"], minlength=len(text.words))
    return float(np.exp(-np.log(counts / counts.sum())[text.streams[split]].mean()))


class _Order(NamedTuple):
    codes: np.ndarray  # the k-grams [n], sorted: number of the context · V + word
    share: np.ndarray  # (a - D(a)) / Σ a of each
    rest: np.ndarray  # Σ D / Σ a of each context; 1 where nothing follows, as behind an <eos>


class KneserNey:
    """An n-gram model of a training text, by arrays of all its k-grams: not for 103 M tokens.

    Raises ValueError for an order below 2, and for a text in which no k-gram occurs 1, 2, 3 or 4
    times: the discounts are estimated from how many do.
    """

    def __init__(self, text: Corpus, order: int = 5):
        if order < 2:
            raise refusal("order", "be at least 2", str(order))
        self.text, self.v = text, len(text.words)
        s, reach = self._read("train")
        codes, counts, sizes = [], [], [1]
        context, gram, begins = np.zeros(len(s), np.int64), s, False
        for k in range(1, order + 1):
            at = np.flatnonzero(reach >= k - 1)
            kinds, first, which, count = np.unique(
                context[at] * self.v + s[at], return_index=True, return_inverse=True,
                return_counts=True,
            )  # fmt: skip
            if k > 1:  # how many different tokens stand before each shorter one
                before = np.bincount(gram[at[first]], minlength=sizes[-1])
                counts[-1] = np.where(begins, counts[-1], before)
                begins = reach[at[first]] == k - 1
            gram = _spread(len(s), at, which)
            context = np.roll(gram, 1)
            codes, counts, sizes = [*codes, kinds], [*counts, count], [*sizes, len(kinds)]
        self.orders = list(map(self._order, codes, counts, sizes))

    def _read(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """An <eos>, then a split's tokens [1 + N]; how many of its line each has before it."""
        eos = self.text.number[EOS]
        s = np.concatenate([[eos], self.text.streams[split]]).astype(np.int64)
        at = np.arange(len(s))
        last = np.maximum.accumulate(np.where(s == eos, at, 0))  # <eos> up to here
        return s, at - np.concatenate([[0], last[:-1]])

    def _order(self, codes: np.ndarray, a: np.ndarray, size: int) -> _Order:
        """The k-grams, their a, and how many contexts there are."""
        n = np.bincount(np.minimum(a, 5), minlength=6)[1:5].astype(float)
        if not n.all():
            raise refusal("text", "have k-grams that occur 1, 2, 3 and 4 times", f"{n} of them")
        j = np.arange(1, 4)
        discount = np.concatenate([[0], j - (j + 1) * n[0] / (n[0] + 2 * n[1]) * n[1:] / n[:3]])
        off, context = discount[np.minimum(a, 3)], codes // self.v
        total, left = (np.bincount(context, weights, size) for weights in (a, off))
        rest = np.divide(left, total, out=np.ones(size), where=total > 0)
        return _Order(codes, (a - off) / total[context], rest)

    def probabilities(self, split: str) -> np.ndarray:
        """p of each token of a split [N]."""
        s, _ = self._read(split)
        p, context = np.full(len(s), 1 / self.v), np.zeros(len(s), np.int64)
        for order in self.orders:
            at = np.flatnonzero(context >= 0)
            code = context[at] * self.v + s[at]
            which = np.searchsorted(order.codes, code) % len(order.codes)
            known = order.codes[which] == code
            p[at] = np.where(known, order.share[which], 0) + order.rest[context[at]] * p[at]
            context = np.roll(_spread(len(s), at, np.where(known, which, -1)), 1)
        return p[1:]

    def perplexity(self, split: str) -> float:
        """exp of the mean surprise at a token of a split."""
        return float(np.exp(-np.log(self.probabilities(split)).mean()))


def _spread(n: int, at: np.ndarray, values: np.ndarray) -> np.ndarray:
    """[n]: the values at their places, -1 elsewhere."""
    out = np.full(n, -1)
    out[at] = values
    return out
