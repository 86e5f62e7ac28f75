"""Counting models against plain loops over dictionaries, and against published perplexities."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from urgates.lab.tasks import corpus, data
from urgates.lab.tasks.ngrams import KneserNey, unigram_perplexity

WORDS = ("<eos>", "<unk>", *(f"w{i}" for i in range(78)))
ZIPF = 1 / np.arange(1, 80) ** 1.5


def text(seed=0, lines=300, test=None):
    """A corpus of short lines of 80 words, many of them rare, all of them in the training text."""
    random = np.random.default_rng(seed)
    streams = {}
    for split, n in (("train", lines), ("valid", 40), ("test", 40)):
        drawn = (random.choice(79, random.integers(0, 9), p=ZIPF / ZIPF.sum()) for _ in range(n))
        streams[split] = np.concatenate([[*(1 + line), 0] for line in drawn])
    streams["train"] = np.concatenate([streams["train"], np.arange(1, 80), [0]])
    if test is not None:
        streams["test"] = np.array(test)
    return corpus.Corpus("toy", WORDS, streams, {}, False)


def sentences(stream):
    line = [-1]  # stands before it, and is no word
    for word in stream:
        line.append(int(word))
        if word == 0:
            yield line
            line = [-1]


def plain(train, order):
    """p(word, history) by the book: counts of tuples, one recursion."""
    counts = [Counter() for _ in range(order + 1)]
    for line in sentences(train):
        for end in range(1, len(line)):
            for k in range(1, min(order, end + 1) + 1):
                counts[k][tuple(line[end - k + 1 : end + 1])] += 1
    for k in range(1, order):
        lefts = defaultdict(set)
        for gram in counts[k + 1]:
            lefts[gram[1:]].add(gram[0])
        counts[k] = {g: n if g[0] == -1 else len(lefts[g]) for g, n in counts[k].items()}
    after = [defaultdict(dict) for _ in range(order + 1)]
    for k in range(1, order + 1):
        for gram, n in counts[k].items():
            after[k][gram[:-1]][gram[-1]] = n
    number = [Counter(counts[k].values()) for k in range(order + 1)]

    def discount(k, a):
        n, a = number[k], min(a, 3)
        return a - (a + 1) * n[1] / (n[1] + 2 * n[2]) * n[a + 1] / n[a] if a else 0

    def p(word, history, k):
        if k == 0:
            return 1 / len(WORDS)
        lower = p(word, history[1:], k - 1)
        known = after[k].get(history)
        if not known:
            return lower
        a = known.get(word, 0)
        spare = sum(discount(k, n) for n in known.values())
        return (a - discount(k, a) + spare * lower) / sum(known.values())

    def probability(word, history):
        history = tuple(history[-(order - 1) :])
        return p(word, history, len(history) + 1)

    return probability


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("split", ["train", "test"])
def test_kneser_ney_is_what_the_book_says(order, split):
    toy = text()
    truth = plain(toy.streams["train"], order)
    expected = [
        truth(line[at], line[:at])
        for line in sentences(toy.streams[split])
        for at in range(1, len(line))
    ]
    model = KneserNey(toy, order)
    np.testing.assert_allclose(model.probabilities(split), expected, rtol=1e-12)
    logs = [math.log(p) for p in expected]
    assert model.perplexity(split) == pytest.approx(math.exp(-sum(logs) / len(logs)))


@pytest.mark.parametrize("history", [[], [2], [3, 3], [5, 2, 4, 1, 1], [2, 3, 4, 5, 5, 5]])
def test_probabilities_of_all_words_add_up_to_one(history):
    lines = np.array([[*history, word, 0] for word in range(1, 80)])
    p = KneserNey(text(test=np.append(lines, [*history, 0])), 4).probabilities("test")
    of_words, of_end = p[: lines.size].reshape(lines.shape)[:, -2], p[-1]
    assert of_words.sum() + of_end == pytest.approx(1, abs=1e-12) and (p > 0).all()


def test_the_unigram_perplexity_is_that_of_frequencies():
    toy = text(test=[2, 2, 0])
    n = Counter(toy.streams["train"].tolist())
    total = sum(n.values())
    expected = (total**3 / (n[2] ** 2 * n[0])) ** (1 / 3)
    assert unigram_perplexity(toy, "test") == pytest.approx(expected)


def test_bad_arguments_raise_one_clear_error():
    with pytest.raises(ValueError, match="order must be at least 2, got 1"):
        KneserNey(text(), 1)
    with pytest.raises(ValueError, match="text must have k-grams that occur 1, 2, 3 and 4 times"):
        KneserNey(text(lines=1), 3)


def test_ptb_has_the_published_perplexities():
    """Mikolov et al. (2011): 148.3 by 3-grams and 141.2 by 5-grams, on the test text."""
    form = data.FORMATS["ptb"]
    if not all((data.data_root() / form.folder / file).is_file() for file in form.files):
        pytest.skip(f"no ptb below {data.data_root()}; run `urgates data ptb`")
    ptb = corpus.load("ptb")
    assert [round(KneserNey(ptb, n).perplexity("test"), 1) for n in (3, 5)] == [148.3, 141.2]
    counts = Counter(ptb.streams["train"].tolist())
    surprise = [-math.log(counts[word] / 929_589) for word in ptb.streams["test"].tolist()]
    assert unigram_perplexity(ptb, "test") == pytest.approx(math.exp(sum(surprise) / 82_430))
