"""What trained models answer, from the weights that did best: tables that a notebook stores.

For notebook E3.  Checkpoints are too large to be kept; what is told of their models is made here
while they are at hand.  Each function takes groups of runs and the folder of their checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from urgates.cores import RMC
from urgates.lab.book.clock import stopwatch, threads, turn_about
from urgates.lab.book.timing import where
from urgates.lab.experiments import protocol
from urgates.lab.experiments.programs import CELLS, GATES, KEY, category, digits
from urgates.lab.jobs import Job
from urgates.lab.learners.networks import Network
from urgates.lab.learners.supervised import Stack
from urgates.lab.store.runs import Runs
from urgates.lab.tasks import Programs
from urgates.lab.tasks.text import NO_TARGET
from urgates.lab.train import best_network

BATCH = 500


def models(groups: Iterable[Runs], folder: Path) -> Iterator[tuple[dict, Network, Programs]]:
    """Every finished model at its best validation: its KEY, the network, and its task."""
    for runs in groups:
        task, done = runs.protocol.make_task(), runs.info[runs.info.status == "finished"]
        for gate, seed in zip(done.gate, map(int, done.seed), strict=True):
            key = dict(zip(KEY, (category(runs), runs.cell, gate, seed), strict=True))
            job = Job(runs.protocol, runs.cell, gate, (seed,))
            yield key, best_network(job, folder), task


def firsts(groups: Iterable[Runs], folder: Path, gate: str) -> Iterator[tuple]:
    """Of `models`, the first of each group with this gate."""
    for runs in groups:
        yield from islice(models([runs.only(gate)] if runs else [], folder), 1)


@torch.no_grad()
def answered(network: Network, x: Tensor, target: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Which characters [B, k] are asked for, and which of them are right."""
    asked = target != NO_TARGET
    return asked.numpy(), (asked & (network(x).argmax(-1) == target)).numpy()


def shares(groups: Iterable[Runs], folder: Path, batches: int = 4) -> pd.DataFrame:
    """How many characters are right, by their place in the answer and by the program's length.

    By "place": in the programs of full size that test.  By "characters": in a mix of all sizes
    that no seed was trained on, though there are few short programs, and those were seen.

    Returns:
        Columns category, cell, gate, seed, by, digits (of the program's numbers), at, right,
        asked; `batches` of 500 programs each.
    """
    rows = []
    for key, network, task in models(groups, folder):
        counts: dict[tuple, np.ndarray] = {}
        for x, target in islice(task.evaluate_batches("test", BATCH), batches):
            for place, both in enumerate(np.stack(answered(network, x, target)).sum(1).T):
                at = "place", task.length, 1 + place
                counts[at] = counts.get(at, 0) + both
        for step in range(batches):
            x, target = task.batch(0, step, BATCH)
            found = np.stack(answered(network, x, target)).sum(2)
            for (program, _), both in zip(task.show(x, target), found.T, strict=True):
                at = "characters", digits(program), len(program)
                counts[at] = counts.get(at, 0) + both
        for at, both in sorted(counts.items()):
            named = dict(zip(("by", "digits", "at"), at, strict=True))
            rows.append(key | named | dict(zip(("asked", "right"), map(int, both), strict=True)))
    return pd.DataFrame(rows, columns=[*KEY, "by", "digits", "at", "right", "asked"])


def failures(
    groups: Iterable[Runs], folder: Path, gate: str = "UR", count: int = 3
) -> pd.DataFrame:
    """The first test programs that each panel's first model of a gate does not execute.

    Returns:
        Columns category, cell, gate, seed, whole (the share of 500 answers without any fault) and
        text: program, answer, and what the model said.
    """
    rows = []
    for key, network, task in firsts(groups, folder, gate):
        x, target = next(task.evaluate_batches("test", BATCH))
        asked, right = answered(network, x, target)
        fine = (asked == right).all(1)
        wrong = np.flatnonzero(~fine)[:count]
        with torch.no_grad():
            guess = network(x[wrong]).argmax(-1).where(target[wrong] != NO_TARGET, NO_TARGET)
        said = [answer for _, answer in task.show(x[wrong], guess)]
        for (program, answer), other in zip(task.show(x[wrong], target[wrong]), said, strict=True):
            text = f"{program} = {answer}, said {other}"
            rows.append(key | {"whole": fine.mean(), "text": text})
    return pd.DataFrame(rows, columns=[*KEY, "whole", "text"])


@torch.no_grad()
def attention(groups: Iterable[Runs], folder: Path, gate: str = "UR") -> pd.DataFrame:
    """Where the slots of the first RMC of a gate attend to while it reads a test program.

    The program is the first that has both a loop and a condition, if there is one.

    Returns:
        Columns category, cell, gate, seed, step, character (said, where it answers), answers,
        head, slot, to ("slot 1", …, "input"), weight.
    """
    rows = []
    for key, network, task in islice(firsts(groups, folder, gate), 1):
        x, target = next(task.evaluate_batches("test", BATCH))
        programs = [text for text, _ in task.show(x, target)]
        both = [n for n, text in enumerate(programs) if "for" in text and "if" in text]
        n = (both or [0])[0]
        x, held = x[n, None], task.held(x[n, None])
        (_, said), = task.show(x, network(x).argmax(-1))  # fmt: skip
        weights = network.rnn.attention(x, held=held)[0][~held[0]]  # [steps, heads, S, S + 1]
        _, heads, S, _ = weights.shape
        for step, character in enumerate(programs[n] + said):
            at = {"step": step, "character": character, "answers": step >= len(programs[n])}
            for head, slot, to in np.ndindex(heads, S, S + 1):
                name = f"slot {1 + to}" if to < S else "input"
                own = {"head": 1 + head, "slot": 1 + slot, "to": name}
                weight = weights[step, head, slot, to].item()
                rows.append(key | at | own | {"weight": round(weight, 4)})
    columns = [*KEY, "step", "character", "answers", "head", "slot", "to", "weight"]
    return pd.DataFrame(rows, columns=columns)


def step_times(preset: str, gates: Sequence[str] = GATES, pairs: int = 9) -> pd.DataFrame:
    """Time training steps of LSTM and RMC on full programs, as protocols say, turn about.

    A step is all of it, the programs included, of one model on one thread of a CPU; it is the
    process's own time that counts: other work on the machine does not enter.

    Returns:
        A row per cell and gate: cell, gate, ms (median), ratio to the LSTM of the gate, turn by
        turn, with low and high (quartiles); pairs, device, torch, commit.
    """
    steps = {}
    for cell, suffix in CELLS.items():
        p = protocol(f"program{suffix}", preset)
        for gate in gates:
            stack = Stack(Job(p, cell, gate, (1,)), "cpu")
            steps[cell, gate] = lambda s=stack: stopwatch(s.advance, clock=process_time)
    rows = _paired(steps, pairs, {(cell, gate): ("lstm", gate) for cell, gate in steps})
    return pd.DataFrame([{"cell": key[0], "gate": key[1], **row} for key, row in rows.items()])


def _paired(steps: Mapping, pairs: int, rivals: Mapping) -> dict[object, dict]:
    """By step: ms (median), ratio to its rival turn by turn, low, high, and where; one thread."""
    with threads(1):
        taken = turn_about(steps, pairs)[:, :, 0]
    ms, rows = dict(zip(steps, taken.T, strict=True)), {}
    for name in steps:
        low, middle, high = np.quantile(ms[name] / ms[rivals[name]], [0.25, 0.5, 0.75])
        row = {"ms": np.median(ms[name]), "ratio": middle, "low": low, "high": high}
        rows[name] = row | {"pairs": pairs} | where("cpu")
    return rows


def _there_and_back(rmc: RMC, x: Tensor) -> None:
    rmc(x)[0].sum().backward()


LOOPS = ("reference", "eager", "native")


def loop_times(
    preset: str, batch: int = 32, time: int = 30, pairs: int = 9, loops: Sequence[str] = LOOPS
) -> pd.DataFrame:
    """Time forward and backward passes of a UR-RMC by its kernels, turn about, as `step_times`.

    Sizes of the slots are the preset's and, beside them, twice as many slots.

    Returns:
        A row per size and kernel: slots, kernel, ms (median), ratio to "reference", autograd
        through a plain loop, with low and high (quartiles); pairs, device, torch, commit.
    """
    p, rows = protocol("program-rmc", preset), []
    own = p.learner_options["rmc"]
    for more in (1, 2):
        options = {name: more * own[name] for name in ("slots", "heads")}
        x, passes = torch.randn(time, batch, 28), {}
        for kernel in loops:
            rmc = RMC(28, p.hidden, gate="UR", kernel=kernel, **options)
            both = partial(_there_and_back, rmc, x)
            passes[kernel] = partial(stopwatch, both, clock=process_time)
        found = _paired(passes, pairs, dict.fromkeys(loops, loops[0]))
        rows += [{"slots": options["slots"], "kernel": k, **row} for k, row in found.items()]
    return pd.DataFrame(rows)
