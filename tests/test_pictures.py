"""Pictures of single pages: what they plot is returned, and empty runs draw empty axes."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from urgates.lab import experiments
from urgates.lab.book import (
    choice_figures,
    gate_figures,
    image_figures,
    memory_figures,
    reader_figures,
    time_figures,
)
from urgates.lab.experiments.choices import ACCURACY, LEFT
from urgates.lab.experiments.image_tables import TABLE_2
from urgates.lab.experiments.images import accuracies
from urgates.lab.experiments.memory import ends
from urgates.lab.store.runs import Runs
from urgates.lab.tasks import Adding, Copy, bit_reversal


def none_of(task: str, folder) -> Runs:
    """Runs of a task at laptop that nobody has trained."""
    p = replace(experiments.protocol(task, "laptop"), gates=("-", "UR"))
    return Runs(folder, p, "lstm", (1,), p.gates)


def test_runs_that_nobody_trained_draw_empty_axes(tmp_path):
    copy, pixels = none_of("copy", tmp_path), none_of("pmnist", tmp_path)
    table, rows = accuracies(pixels), ("sMNIST", "pMNIST", "sCIFAR")
    final = pd.concat({"copy": ends(copy)}, names=["task"]).reset_index()
    for fig, plotted in (
        memory_figures.losses(copy),
        memory_figures.what_is_left(final, copy.gates),
        image_figures.learning(pixels, table, guessing=True),
        image_figures.beside_table_2(pixels, table, "pMNIST"),
        image_figures.by_rate({"lstm": table, "gru": table}, (1e-3,), ("-",)),
        image_figures.beside_table_3({("LSTM", row): table for row in rows}, "laptop"),
    ):
        assert plotted.empty and fig.axes
        fig.canvas.draw()


def test_starts_stand_in_one_order_whatever_has_been_run():
    rows = [("Copy", "joint", "UR", 0.2, LEFT), ("Copy", "joint", "-", 1.0, LEFT)]
    rows += [("Copy", "torch", "UR", 0.1, LEFT), ("pMNIST", "fan-in", "UR", 61.0, ACCURACY)]
    columns = ["task", "start", "gate", "score", "what"]
    fig = choice_figures.by_start(pd.DataFrame(rows, columns=columns))
    copy, pixels = fig.axes
    assert [tick.get_text() for tick in copy.get_xticklabels()] == ["torch", "fan-in", "joint"]
    assert (copy.get_yscale(), pixels.get_yscale()) == ("log", "linear")
    assert LEFT in copy.get_ylabel() and pixels.get_ylabel() == ACCURACY
    places = {line.get_xdata()[0]: line.get_ydata()[0] for line in copy.lines if line.get_marker()}
    assert {round(x): y for x, y in places.items() if y < 1} == {0: 0.1, 2: 0.2}
    assert len(choice_figures.by_start(pd.DataFrame(columns=columns)).axes) == 1


def test_one_sequence_of_each_memory_task():
    tokens, _ = Copy(length=12).batch(seed=1, step=0, batch_size=1)
    numbers, total = Adding(length=32).batch(seed=1, step=0, batch_size=1)
    fig, tasks = memory_figures.both_tasks(tokens[0], numbers[0])
    assert tasks.token[22:].eq(9).all() and tasks.marked.sum() == 2
    assert tasks.value[tasks.marked == 1].sum() == pytest.approx(total.item())
    assert fig.axes[0].get_title() == "Copy"


def test_what_is_left_drops_runs_that_diverged_and_keeps_the_order_of_gates():
    rows = [("copy", "UR", 0.01), ("adding", "-", 1.0), ("copy", "U", np.inf)]
    final = pd.DataFrame(rows, columns=["task", "gate", "left"])
    fig, plotted = memory_figures.what_is_left(final, ("-", "U", "UR"))
    assert plotted.gate.tolist() == ["UR", "-"]
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == ["UR", "- (standard)"]
    assert fig.axes[0].get_xlim()[0] == pytest.approx(0.005)


def test_gains_are_over_the_plain_cell_and_none_without_it():
    ours = pd.DataFrame({"pMNIST": {"-": 50.0, "UR": 60}, "sCIFAR": {"-": 30, "UR": 29}})
    ours["pMNIST (GRU)"] = ours.pMNIST
    _, plotted = image_figures.gains(ours)
    assert plotted.ours.tolist() == [10, -1, 10]
    assert plotted.paper[0].tolist()[0] == TABLE_2.pMNIST["UR"] - TABLE_2.pMNIST["-"]
    assert image_figures.gains(ours.drop("-"))[1].empty


def test_a_partly_read_image_shows_the_pixels_read():
    pixels = torch.arange(1, 65) / 64
    said = pd.DataFrame({"label": 3, "pixels": [16] * 12, "answer": 3, "confidence": 50})
    fig = reader_figures.along(torch.stack([pixels, pixels]), said)
    shown = np.ma.filled(fig.axes[0].images[0].get_array(), np.nan).ravel()
    order = bit_reversal(64).numpy()
    assert np.isfinite(shown).sum() == 16
    assert shown[order[:16]] == pytest.approx(pixels[:16].numpy())


def test_what_a_gap_costs_is_told_in_points():
    full = pd.Series({("UR", 1): 0.9, ("UR", 2): 0.8}).rename_axis(["gate", "seed"])
    rows = [("UR", 1, 8, 0.7, 0.5), ("UR", 2, 8, 0.7, 0.4)]
    gapped = pd.DataFrame(rows, columns=["gate", "seed", "step", "eighth", "all_before"])
    _, plotted = reader_figures.gaps(gapped, full, ["UR"])
    medians = plotted[plotted.line == "median"].set_index("blank").lost
    assert medians.to_dict() == pytest.approx({"eighth": 15, "all_before": 40})


def test_traces_fade_by_unit_and_step():
    fig, traces = gate_figures.fading({"U": np.full((3, 4), 0.5), "-": np.ones((3, 4))})
    assert list(traces) == ["gate", "unit", 1, 2, 3, 4] and len(traces) == 6
    assert len(fig.axes) == 3  # two panels and their colours


def test_table_1_has_its_nine_gates_and_three_empty_places():
    names = ("-", "C", "O", "U", "R", "OM", "UM", "OR", "UR")
    shares = pd.DataFrame(0.5, index=[0.0, 0.5], columns=names)
    fig = gate_figures.table_1(shares, dict.fromkeys(names, (1.0, 1e6)))
    said = [text.get_text() for ax in fig.axes for text in ax.texts]
    assert sum(text == "D: 1 to ∞" for text in said) == 9
    assert sorted(text for text in said if text.startswith("(")) == ["(CM)", "(CR)", "(M)"]


def test_ratios_have_a_panel_per_cell_and_size():
    rows = [(g, h, 0.9, 0.8, 1.0) for g in ("-", "UR") for h in (16, 32, 64)]
    frame = pd.DataFrame(rows, columns=["gate", "hidden", "ratio", "low", "high"])
    fig = time_figures.ratios({"LSTM": frame, "GRU": frame}, ("UR", "-"))
    assert [ax.get_title() for ax in fig.axes][3:] == [f"GRU, H = {h}" for h in (16, 32, 64)]
