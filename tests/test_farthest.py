"""Nth farthest: its rows, what guessing earns, and what an RMC and an LSTM have to do, by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from urgates.lab.book import program_figures
from urgates.lab.experiments import farthest, notebook, protocol
from urgates.lab.experiments.programs import CELLS, KEY
from urgates.lab.jobs import Job
from urgates.lab.learners.networks import build
from urgates.lab.store.runs import Runs
from urgates.lab.tasks import Farthest
from urgates.lab.train import train

ROOT = Path(__file__).resolve().parents[1]


def table(**levels):
    """Ends of runs, a seed for each level: lstm=[…], rmc=[…]."""
    rows = [
        ("farthest", cell, "-", seed, 100, level)
        for cell, found in levels.items()
        for seed, level in enumerate(found, 1)
    ]
    return pd.DataFrame(rows, columns=[*KEY, "step", "accuracy"])


@pytest.mark.parametrize("vectors", [3, 6, 8])
def test_whoever_knows_that_the_nearest_is_the_vector_itself_is_right_so_often(vectors):
    task = Farthest(vectors, 2)
    x, target = task.batch(1, 1, 20_000)
    n, m = (part.argmax(1).numpy() for part in x[:, 0, 2:].split(vectors, 1)[1:])
    target, last = target.numpy(), n == vectors - 1
    assert (target[last] == m[last]).all() and (target[~last] != m[~last]).all()
    others = np.random.default_rng(1).integers(1, vectors, len(m))
    right = (np.where(last, m, (m + others) % vectors) == target).mean()
    assert right == pytest.approx(farthest.guess(task), abs=0.02)  # five deviations


def test_rows_hold_the_numbers_of_2018():
    lstm, rmc = (protocol(f"farthest{more}", "paper") for more in CELLS.values())
    for p in (lstm, rmc):
        task = p.make_task()
        assert (task.length, task.dimension, p.batch, p.lr) == (8, 16, 1600, 1e-4)
    assert rmc.learner_options["rmc"]["slots"] == 8
    small = replace(rmc, task_options={"length": 8, "dimension": 1})
    head = build(small, "rmc", "-", 1).head
    sizes = [(a.in_features, a.out_features) for a in head if isinstance(a, nn.Linear)]
    assert sizes == [(2048, 256), *[(256, 256)] * 3, (256, 8)]
    for name, cell in (("farthest", "lstm"), ("farthest-rmc", "rmc")):
        assert notebook(name, cell) == "E3_program_execution"


def test_runs_are_trained_and_read_to_their_ends(tmp_path):
    groups = []
    for cell, more in CELLS.items():
        p = protocol(f"farthest{more}", "smoke")
        train(Job(p, cell, "UR", (1, 2)), tmp_path, "cpu", progress=False)
        groups.append(Runs(tmp_path, p, cell, (1, 2), farthest.GATES))
    curves = farthest.curves(groups)
    assert set(curves.category) == {"farthest"} and set(curves.step) == {5, 10, 15, 20}
    ends = farthest.ends(curves)
    assert ends[["cell", "gate", "seed", "step"]].values.tolist() == [
        [cell, "UR", seed, 20] for cell in CELLS for seed in (1, 2)
    ]
    fig, plotted = program_figures.farthest(curves, 2 / 3)
    assert [ax.get_title() for ax in fig.axes] == ["LSTM", "RMC"]
    low = ends.groupby("cell").accuracy.min()
    assert plotted[plotted.step == 20].set_index("cell").low.to_dict() == low.to_dict()


def test_no_runs_are_no_rows(tmp_path):
    none = [Runs(tmp_path, protocol("farthest", "smoke"), "lstm", (1,), farthest.GATES)]
    ends = farthest.ends(farthest.curves(none))
    assert ends.empty and farthest.passed(ends) is None
    assert program_figures.farthest(farthest.curves(none), 0.5)[1].empty


@pytest.mark.parametrize(
    ("lstm", "rmc", "expected"),
    [
        ([0.33, 0.39], [0.86, 0.99], True),
        ([0.33, 0.41], [0.86, 0.99], None),
        ([0.33], [0.84, 0.99], None),
        ([0.33], [0.33, 0.5], False),
        ([0.5, 0.6], [0.99], False),
        ([], [0.99], None),
    ],
)
def test_a_memory_passes_where_an_lstm_fails(lstm, rmc, expected):
    assert farthest.passed(table(lstm=lstm, rmc=rmc)) is expected


def test_what_a_memory_holds_comes_through_the_readout_as_it_starts():
    torch.manual_seed(1)
    head, memories = Farthest(6, 1).head(192), torch.randn(500, 192)
    sizes = [memories.square().mean()]
    for layer in head:
        memories = layer(memories)
        sizes.append(memories.square().mean())
    after = torch.stack(sizes[2::2]) / sizes[0]  # of each ReLU
    assert (after > 0.5).all() and (after < 2).all()


def test_stored_runs_are_of_this_protocol_and_end_as_the_page_says():
    folder = ROOT / "figures/E3_program_execution/runs"
    groups = [
        Runs(folder, protocol(f"farthest{more}", "laptop"), cell, (1, 2, 3), farthest.GATES)
        for cell, more in CELLS.items()
    ]
    ends = farthest.ends(farthest.curves(groups))
    assert ends.groupby(["cell", "gate"]).size().to_dict() == {
        (cell, gate): 3 for cell in CELLS for gate in farthest.GATES
    }
    assert farthest.passed(ends) is not True
    best = ends.groupby(["cell", "gate"]).accuracy.agg(["min", "max"])
    assert (best.loc["lstm", "min"] > 0.9).all() and (best.loc["rmc", "max"] > 0.9).all()
