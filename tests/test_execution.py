"""Program execution (E.3): what is read of its runs, and what decides its claims, by hand."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from urgates.lab.book import program_answers, program_figures
from urgates.lab.experiments import programs, protocol
from urgates.lab.experiments.programs import CATEGORIES, CELLS, GATES
from urgates.lab.experiments.seeds import trails
from urgates.lab.jobs import Job
from urgates.lab.learners.networks import Network
from urgates.lab.store.runs import Runs
from urgates.lab.tasks import Programs
from urgates.lab.tasks.interpreter import answer
from urgates.lab.train import best_network, train

# ------------------------------------------------------------------ what programs are like


def test_a_constant_answer_is_counted_by_hand():
    task = Programs("program", 2, 2)
    (batch,) = replace(task, evaluated=300).evaluate_batches("test", 300)
    texts, answers = zip(*task.show(*batch), strict=True)
    right = sum(
        max(sum(a[k : k + 1] == digit for a in answers) for digit in "0123456789") for k in range(3)
    )
    found = programs.constant(task, 300)
    assert found.right.sum() == right and found.asked.sum() == len("".join(answers))
    assert found.place.tolist() == [1, 2, 3]
    numbers = programs.statistics(task, 300)
    assert numbers["constant"] == pytest.approx(right / len("".join(answers)))
    assert numbers["answer"] == pytest.approx(np.mean([len(a) for a in answers]))
    sizes = [len(text) for text in texts]
    assert [numbers[k] for k in ("least", "most")] == [min(sizes), max(sizes)]
    assert numbers["mean"] == pytest.approx(np.mean(sizes))


def test_sizes_are_read_off_a_program():
    for length, nesting in ((1, 1), (3, 2), (2, 4)):
        task = Programs("program", length, nesting, curriculum="full")
        for text, _ in task.show(*task.batch(1, 1, 50)):
            assert (programs.digits(text), programs.operations(text)) == (length, nesting)


# ------------------------------------------------------------------ what is read of runs


def store(folder, kind, cell, gate, seed, valid, test=None):
    """A run whose validations these are, and which has ended if it has a test accuracy."""
    p = protocol(f"{kind}{CELLS[cell]}", "laptop")
    stem = folder / Job(p, cell, gate, (seed,)).key.stem
    rows = [f"{50 * (1 + k)},1.0,0.1,{'' if v is None else v}" for k, v in enumerate(valid)]
    head = "step,loss,accuracy,valid_accuracy"
    stem.with_name(f"{stem.name}.csv").write_text("\n".join([head, *rows]) + "\n")
    record = {"task": p.task, "cell": cell, "gate": gate, "preset": p.preset, "seed": seed}
    record |= {"status": "finished" if test else "partial", "digest": p.digest, "commit": "abc"}
    record |= {"protocol": p.numbers, "device": "CPU", "wall_seconds": 1.0, "stack": [seed]}
    best = max(v for v in valid if v is not None)
    record |= {"best_valid_accuracy": best, "probes": {}} | (
        {"test_accuracy": test} if test else {}
    )
    stem.with_name(f"{stem.name}.json").write_text(json.dumps(record))


@pytest.fixture
def groups(tmp_path):
    store(tmp_path, "addition", "lstm", "-", 1, [None, 0.3, None, 0.5, None, 0.7], 0.69)
    store(tmp_path, "addition", "lstm", "UR", 1, [None, 0.2, None, 0.6], 0.58)
    store(tmp_path, "addition", "lstm", "UR", 2, [None, 0.4], 0)
    store(tmp_path, "addition", "rmc", "-", 1, [None, 0.45, None, 0.4], 0.44)
    return [
        Runs(tmp_path, protocol(f"{kind}{more}", "laptop"), cell, (1, 2), GATES)
        for cell, more in CELLS.items()
        for kind in CATEGORIES
    ]


def test_a_table_has_every_finished_run(groups):
    table = programs.accuracies(groups)
    assert table.drop(columns="seed").values.tolist() == [
        ["addition", "lstm", "-", 0.7, 0.69],
        ["addition", "lstm", "UR", 0.6, 0.58],
        ["addition", "rmc", "-", 0.45, 0.44],
    ]
    of = programs.panels(table)
    assert list(of) == [(kind, cell) for cell in CELLS for kind in CATEGORIES]
    assert of["addition", "lstm"]["UR"].tolist() == [0.58]
    assert [len(of["control", "rmc"][gate]) for gate in GATES] == [0] * 5
    more = pd.concat([table, table[1:2].assign(seed=2, test=0.61), table[1:2].assign(test=0.6)])
    wide = programs.spread(more)
    assert wide.loc[("lstm", "UR"), "addition"] == "0.600 (0.580–0.610)"
    assert wide.loc[("rmc", "-"), "control"] == "–"
    assert wide.index.tolist() == [("lstm", "-"), ("lstm", "UR"), ("rmc", "-")]


def test_cores_are_compared_within_the_steps_that_both_have_made(groups):
    curves = programs.curves(groups)
    assert curves.step.tolist() == [100, 200, 300, 100, 200, 100, 100, 200]
    even = programs.at_equal_steps(curves)
    assert even.valid.tolist() == [0.5, 0.6, 0.4, 0.45]
    assert programs.panels(even, "valid")["addition", "lstm"]["-"].tolist() == [0.5]


def test_no_runs_are_no_rows(tmp_path):
    none = [Runs(tmp_path, protocol("addition", "laptop"), "lstm", (1,), GATES)]
    assert programs.accuracies(none).empty and programs.curves(none).empty
    of = programs.panels(programs.accuracies(none))
    assert programs.at_equal_steps(programs.curves(none)).empty
    assert programs.spread(programs.accuracies(none)).empty
    assert programs.shown(of, *of) == programs.against(of, *of, gate="UR") == ""
    assert programs.lowest(of, "C") == "lowest in 0 of 0"


# ------------------------------------------------------------------ what decides claims


def paper(**changed):
    """Panels in which all that E.3 says is so; changes by "addition_lstm"={gate: level}."""
    of = {}
    for cell in CELLS:
        for kind in CATEGORIES:
            level = {"-": 5, "C": 1, "OM": 6, "U": 7, "UR": 8}
            if kind == "addition":
                level |= {"U": 9}
            if cell == "rmc":
                level = {g: v - 0.5 for g, v in level.items()} | {"OM": 2}
                level |= {"UR": 4} if kind == "addition" else {}
            level |= changed.get(f"{kind}_{cell}", {})
            of[kind, cell] = {g: np.array([v, v + 0.1, v + 0.2]) for g, v in level.items()}
    return of


SAID = [
    programs.chrono_is_last,
    programs.uniform_is_first_on_addition,
    programs.ordered_is_good,
    programs.ordered_falls,
    programs.lstm_is_ahead,
    programs.refined_gains_nothing,
    programs.refined_is_first_of_lstms,
    programs.refined_is_first_of_rmcs,
    programs.mostly_transfers,
]
OTHERWISE = [  # a predicate, what is changed in the paper's panels, and what it says then
    ("chrono_is_last", {"control_rmc": {"C": 3}}, False),
    ("chrono_is_last", {"control_rmc": {"C": 2.1}}, None),
    ("uniform_is_first_on_addition", {"addition_rmc": {"U": 4}}, False),
    ("uniform_is_first_on_addition", {"control_lstm": {"U": 0}}, True),
    ("ordered_is_good", {"control_lstm": {"OM": 4}}, False),
    ("ordered_is_good", {"control_lstm": {"OM": 9}}, False),
    ("ordered_is_good", {"program_lstm": {"OM": 8.1}}, None),
    ("ordered_falls", {"program_rmc": {"OM": 6}}, False),
    ("ordered_falls", {"addition_rmc": {"OM": 9}}, True),
    ("ordered_is_good", {"addition_lstm": {"OM": 1}}, True),
    ("lstm_is_ahead", {"program_rmc": {"C": 1.1}}, None),
    ("lstm_is_ahead", {"program_rmc": {"U": 8}}, False),
    ("refined_gains_nothing", {"addition_rmc": {"UR": 6}}, False),
    ("refined_gains_nothing", {"addition_rmc": {"UR": 4.4}}, None),
    ("refined_is_first_of_lstms", {"addition_lstm": {"U": 5}}, True),
    ("refined_is_first_of_lstms", {"addition_lstm": {"OM": 9}}, False),
    ("refined_is_first_of_lstms", {"program_lstm": {"U": 9}}, False),
    ("refined_is_first_of_rmcs", {"program_rmc": {"U": 9}}, False),
    ("refined_is_first_of_rmcs", {"addition_rmc": {"UR": 0}}, True),
    ("mostly_transfers", {"program_rmc": {"UR": 1}}, False),
    ("mostly_transfers", {"program_rmc": {"UR": 4.4}}, None),
    ("mostly_transfers", {"program_rmc": {"UR": 4.4}, "addition_rmc": {"UR": 6}}, True),
]


@pytest.mark.parametrize("said", SAID, ids=lambda said: said.__name__)
def test_what_the_paper_says_holds_of_its_own_panels_and_of_none_that_are_empty(said):
    assert said(paper()) is True
    empty = {place: {g: np.empty(0) for g in GATES} for place in paper()}
    assert said(empty) is None


@pytest.mark.parametrize(("name", "changed", "answer"), OTHERWISE)
def test_a_claim_falls_with_what_it_speaks_of_and_nothing_else(name, changed, answer):
    assert getattr(programs, name)(paper(**changed)) is answer


def test_a_gate_trails_when_no_other_can_be_below_it():
    assert trails({"C": [1, 2], "-": [3], "U": [4, 5]}, "C") is True
    assert trails({"C": [1, 3.5], "-": [3]}, "C") is None
    assert trails({"C": [3, 4], "-": [1, 2], "U": [3.5]}, "C") is False
    assert trails({"-": [1]}, "C") is None


def test_evidence_in_words():
    of = paper(program_lstm={"C": 9})
    assert programs.shown(of, ("addition", "lstm"), gates=("-", "UR")) == (
        "addition lstm - 5.100, UR 8.100"
    )
    assert programs.against(of, ("addition", "lstm"), gate="UR") == (
        "addition lstm UR 8.100, U 9.100"
    )
    without = programs.against(of, ("addition", "lstm"), gate="UR", without="U")
    assert without == "addition lstm UR 8.100, OM 6.100"
    assert programs.lowest(of, "C") == "lowest in 5 of 6, not in program lstm"


# ------------------------------------------------------------------ what models answer


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two LSTMs and an RMC, trained for a moment: their runs and their folder."""
    folder, groups = tmp_path_factory.mktemp("runs"), []
    for task, cell, seeds in (("addition", "lstm", (1, 2)), ("program-rmc", "rmc", (1,))):
        p = replace(protocol(task, "smoke"), gates=("UR",), steps=6, log_every=2, eval_every=2)
        train(Job(p, cell, "UR", seeds), folder, "cpu", progress=False)
        groups.append(Runs(folder, p, cell, seeds, ("UR",)))
    return groups, folder


def test_models_are_those_of_the_best_validation(trained):
    groups, folder = trained
    models = list(program_answers.models(groups, folder))
    assert [tuple(key.values()) for key, *_ in models] == [
        ("addition", "lstm", "UR", 1), ("addition", "lstm", "UR", 2), ("program", "rmc", "UR", 1),
    ]  # fmt: skip
    shares = program_answers.shares(groups, folder, batches=1)
    places = shares[shares.by == "place"].groupby(["category", "seed"])[["right", "asked"]].sum()
    for (_, row), expected in zip(places.iterrows(), programs.accuracies(groups).test, strict=True):
        assert row.right / row.asked == pytest.approx(expected, abs=1e-6)
    mixed = shares[shares.by == "characters"]
    assert set(mixed["at"][mixed.category == "addition"]) == {3, 7} and set(mixed.digits) == {1}
    _, target = protocol("addition", "smoke").make_task().batch(0, 0, 500)
    assert mixed.asked[(mixed.category == "addition") & (mixed.seed == 1)].sum() == (
        (target >= 0).sum()
    )
    with pytest.raises(ValueError, match="no checkpoint of a finished"):
        best_network(Job(groups[0].protocol, "lstm", "UR", (3,)), folder)


def test_what_goes_wrong_is_told_as_it_was_said(trained):
    groups, folder = trained
    table = program_answers.failures(groups, folder, count=2)
    assert list(table.groupby("category").size()) == [2, 2] and table.seed.eq(1).all()
    for text in table.text:
        program, wanted, said = re.fullmatch(r"(.+) = (\d+), said (\d+)", text).groups()
        assert answer(program) == wanted != said and len(said) == len(wanted)
    (_, network, task), *_ = program_answers.models(groups, folder)
    x, target = next(task.evaluate_batches("test", 500))
    with torch.no_grad():
        guess = network(x).argmax(-1)
    fine = [((g == t) | (t < 0)).all() for g, t in zip(guess, target, strict=True)]
    assert table.whole[0] == pytest.approx(np.mean(fine))
    assert program_answers.failures(groups, folder, "OM").empty


def test_attention_is_that_of_the_steps_that_hold_nothing(trained):
    groups, folder = trained
    table = program_answers.attention(groups[1:], folder)
    sums = table.groupby(["step", "head", "slot"]).weight.sum()
    assert np.allclose(sums, 1, atol=1e-3)
    steps = table.drop_duplicates("step")
    text = "".join(steps.character[~steps.answers])
    task = groups[1].protocol.make_task()
    assert text in [program for program, _ in task.show(*next(task.evaluate_batches("test", 64)))]
    assert steps.answers.sum() == task.readout
    ((_, network, _),) = program_answers.models(groups[1:], folder)
    x = torch.zeros(1, len(text) + task.readout, task.input_size)
    for step, character in enumerate(text):
        x[0, step, task.writer.language.codes[character] - 1] = 1
    weights = network.rnn.attention(x).flatten()
    assert torch.allclose(torch.tensor(table.weight.to_numpy()).float(), weights, atol=1e-4)
    fig, plotted = program_figures.attention(table)
    assert len(plotted) == len(table) and [ax.get_title() for ax in fig.axes[:2]] == [
        "head 1", "head 2",
    ]  # fmt: skip


def test_tables_of_no_models_are_empty_and_draw(tmp_path):
    p = protocol("program-rmc", "laptop")
    none = [Runs(tmp_path, p, "rmc", (1,), GATES)]
    for make in (program_answers.shares, program_answers.failures, program_answers.attention):
        assert make(none, tmp_path).empty and len(make(none, tmp_path).columns) >= 6
    for fig, plotted in (
        program_figures.attention(program_answers.attention(none, tmp_path)),
        program_figures.panels(programs.curves(none), "step", "accuracy", "step", {"control": 0.1}),
        program_figures.time_scales(none * 2, 40),
    ):
        assert plotted.empty
        fig.canvas.draw()


def test_steps_are_timed_beside_the_lstm_of_their_gate():
    table = program_answers.step_times("smoke", ("-", "UR"), pairs=1)
    assert table[["cell", "gate"]].values.tolist() == [[c, g] for c in CELLS for g in ("-", "UR")]
    ms = table.set_index(["cell", "gate"]).ms
    assert (table.ratio[:2] == 1).all() and (table.ms > 0).all()
    assert table.ratio[3] == pytest.approx(ms["rmc", "UR"] / ms["lstm", "UR"])


def test_loops_of_a_memory_are_timed_beside_the_plain_one():
    table = program_answers.loop_times("smoke", 2, 3, pairs=1, loops=("reference", "eager"))
    slots = protocol("program-rmc", "smoke").learner_options["rmc"]["slots"]
    assert table.slots.tolist() == [slots] * 2 + [2 * slots] * 2
    assert (table.ratio[::2] == 1).all() and (table.ms > 0).all()
    assert table.ratio[1] == pytest.approx(table.ms[1] / table.ms[0])


# ------------------------------------------------------------------ pictures


def test_panels_show_the_median_and_the_range_of_seeds():
    rows = [
        ("addition", "rmc", "UR", s, at, v) for s, at, v in [(1, 5, 0.2), (2, 5, 0.4), (3, 5, 0.3)]
    ]
    rows += [("control", "lstm", "-", 1, 5, 0.9)]
    frame = pd.DataFrame(rows, columns=[*programs.KEY, "at", "accuracy"])
    line = pd.DataFrame({"at": [1, 5], "accuracy": [0.5, 0.1]})
    fig, plotted = program_figures.panels(frame, "at", "accuracy", "place", {"addition": line})
    assert plotted.values.tolist() == [
        ["addition", "rmc", "UR", 5, 0.3, 0.2, 0.4], ["control", "lstm", "-", 5, 0.9, 0.9, 0.9],
    ]  # fmt: skip
    assert fig.axes[3].get_title() == "Addition, RMC"
    assert fig.axes[3].lines[-1].get_ydata().tolist() == [0.5, 0.1]
    assert not fig.axes[1].lines[-1].get_linestyle() == "--"


def test_points_of_a_gate_are_parted_into_lines():
    rows = [("addition", "lstm", "-", 1, 10 * n + k, 0.1, n) for n in (1, 2) for k in (3, 4, 5)]
    frame = pd.DataFrame(rows, columns=[*programs.KEY, "at", "accuracy", "digits"])
    fig, plotted = program_figures.panels(frame, "at", "accuracy", "place", apart="digits")
    assert [line.get_xdata().tolist() for line in fig.axes[0].lines] == [[13, 14, 15], [23, 24, 25]]
    assert [text.get_text() for text in fig.axes[0].texts] == ["1", "2"]
    assert plotted.digits.tolist() == [1] * 3 + [2] * 3


def test_a_network_is_read_from_its_checkpoint(trained):
    groups, folder = trained
    job = Job(groups[0].protocol, "lstm", "UR", (2,))
    network = best_network(job, folder)
    assert isinstance(network, Network) and not network.training
    task = job.protocol.make_task()
    right = asked = 0
    with torch.no_grad():
        for x, target in task.evaluate_batches("test", 500):
            right += (network(x).argmax(-1) == target).sum().item()
            asked += (target >= 0).sum().item()
    assert right / asked == pytest.approx(groups[0].info.test_accuracy[1], abs=1e-6)
