"""What a language model costs: tokens per second beside torch's parts, bytes of its softmax.

For notebook 33: `language_times()` and `softmax_peaks()`, tables that `Bench.timings` can store.
T tokens of a segment, B rows, V words, E features of a word, H hidden units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter, process_time

import pandas as pd
import torch
from torch import Tensor, nn

from urgates.lab.book.clock import peak, stopwatch, threads, turn_about
from urgates.lab.book.timing import where
from urgates.lab.experiments import protocol
from urgates.lab.learners.language import LanguageModel
from urgates.lab.learners.softmax import cross_entropy
from urgates.lab.tasks.text import Segment

TORCH = "torch.nn"


def language_times(
    gates: Sequence[str] = ("-", "U", "UR", "OM"),
    pairs: int = 9,
    *,
    hidden: int = 256,
    words: int = 10_000,
    time: int = 64,
    batch: int = 16,
    device: str = "cpu",
) -> pd.DataFrame:
    """Time training steps of our language models turn about with the same model on torch.nn.LSTM.

    A step is all of it: forward, backward, clipping, Adam; E = H, tied weights, the softmax in
    chunks everywhere, one thread.  On a CPU it is the process's own time that counts: other work
    on the machine does not enter.

    Returns:
        A row per model, torch's first: model ("torch.nn" or a gate), ms and tokens_per_second
        (medians), ratio of the tokens per second to torch's, turn by turn, with low and high
        (quartiles); hidden, words, time, batch, pairs, threads, device, torch, commit.
    """
    sizes = {"hidden": hidden, "words": words, "time": time, "batch": batch}
    with threads(1):
        steps = {name: _step(name, device=device, **sizes) for name in (TORCH, *gates)}
        ms = turn_about(steps, pairs)[:, :, 0]
        used = torch.get_num_threads()
    ratios = pd.DataFrame(ms[:, :1] / ms, columns=list(steps))
    table = pd.DataFrame({"model": list(steps), "ms": pd.DataFrame(ms).median()})
    table["tokens_per_second"] = 1e3 * time * batch / table.ms
    for column, part in {"ratio": 0.5, "low": 0.25, "high": 0.75}.items():
        table[column] = ratios.quantile(part).to_numpy()
    return table.assign(**sizes, pairs=pairs, threads=used, **where(device))


def model(name: str, hidden: int, words: int) -> LanguageModel:
    """The model of a gate, or that of "-" with torch.nn.LSTM and the same weights ("torch.nn")."""
    torch.manual_seed(0)
    options = {"layers": 1, "embedding": hidden, "tied": True}
    p = protocol("ptb", "laptop")
    p = replace(p, hidden=hidden, downsize=32, learner_options=options)  # 32: D.3
    built = LanguageModel(p, "lstm", "-" if name == TORCH else name, words)
    if name == TORCH:
        ours, built.rnn = built.rnn, nn.LSTM(hidden, hidden, batch_first=True)
        built.rnn.load_state_dict(ours.state_dict())
    return built


def _step(name: str, hidden: int, words: int, time: int, batch: int, device: str) -> Callable:
    """One training step of a model on tokens by chance, on the clock."""
    network = model(name, hidden, words).to(device)
    adam = torch.optim.Adam(network.parameters())
    x, target = torch.randint(words, (2, batch, time), device=device)
    segment = Segment(x, target, torch.zeros(batch, time, dtype=torch.bool))
    hx = network.states(batch)

    def train() -> None:
        adam.zero_grad()
        total, _ = network(segment, hx)
        (total / target.numel()).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()

    clock = process_time if device == "cpu" else perf_counter
    return lambda: stopwatch(train, device=device, clock=clock)


def softmax_peaks(
    tokens: Sequence[int] = (64, 128, 256), words: int = 267_735, features: int = 32
) -> pd.DataFrame:
    """Most memory in forward and backward of a softmax over a vocabulary, WikiText-103's.

    Returns:
        A row per number of tokens N and softmax ("in chunks", "all logits"): tokens, words,
        features, softmax, peak [MB] of the tensors that it makes, the gradients included, device,
        torch, commit.
    """
    rows = []
    for count in tokens:
        for name, function in {"in chunks": cross_entropy, "all logits": _at_once}.items():
            shapes = ((count, features), (words, features), (words,))
            leaves = [torch.zeros(shape).normal_(0, 0.1).requires_grad_() for shape in shapes]
            target = torch.randint(words, (count,))
            row = {"tokens": count, "words": words, "features": features, "softmax": name}
            row["peak"] = peak(lambda f=function, x=leaves, t=target: f(*x, t).backward()) / 1e6
            rows.append(row | where("cpu"))
    return pd.DataFrame(rows)


def _at_once(h: Tensor, w: Tensor, b: Tensor, target: Tensor) -> Tensor:
    """What is usually written: every logit at once."""
    logits = nn.functional.linear(h, w, b)
    return nn.functional.cross_entropy(logits, target, reduction="sum")
