"""Scores by hand: losses left and their words, what counts as diverged, Table 2's best run."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from urgates.lab.experiments import memory, protocol, scale
from urgates.lab.experiments.choices import ACCURACY, LEFT, side_by_side
from urgates.lab.experiments.images import accuracies, at_best_rate, best_run, best_stable
from urgates.lab.experiments.memory import ends, outcomes, so_far, thinned, words
from urgates.lab.jobs import Job
from urgates.lab.store.runs import Runs

P = replace(protocol("pmnist", "laptop"), lr=0.01, steps=20, log_every=5, eval_every=5)
SLOW, FAST = 0.01, 0.1


def store(folder, gate, seed, rate, curve, valid, status="finished"):
    stem = folder / Job(P, "lstm", gate, (seed,), (rate,)).key.stem
    rows = [f"{5 * (k + 1)},1.0,{accuracy},{valid}" for k, accuracy in enumerate(curve)]
    head = "step,loss,accuracy,valid_accuracy"
    (folder / f"{stem.name}.csv").write_text("\n".join([head, *rows]) + "\n")
    p = replace(P, lr=rate)
    record = {"task": P.task, "cell": "lstm", "gate": gate, "preset": P.preset, "seed": seed}
    record |= {"status": status, "digest": p.digest, "protocol": p.numbers, "device": "CPU"}
    record |= {"best_valid_accuracy": valid, "test_accuracy": valid - 0.01, "commit": "abc"}
    member = seed if rate == P.lr else f"{seed} at {rate:g}"
    record |= {"wall_seconds": 1.0, "stack": [member], "probes": {}}
    (folder / f"{stem.name}.json").write_text(json.dumps(record))


@pytest.fixture
def table(tmp_path):
    learns = [0.1, 0.3, 0.5, 0.6]
    for seed in (1, 2, 3):
        store(tmp_path, "UR", seed, SLOW, learns, 0.60 + 0.01 * seed)
        store(tmp_path, "UR", seed, FAST, learns, 0.70 + 0.01 * seed)
        store(tmp_path, "-", seed, SLOW, learns, 0.50 + 0.01 * seed)
        forgets = [0.1, 0.45, 0.15, 0.3] if seed == 2 else learns
        store(tmp_path, "-", seed, FAST, forgets, 0.80 + 0.01 * seed)
        store(tmp_path, "R", seed, FAST, learns[:1], 0.1, "diverged")
    return accuracies(Runs(tmp_path, P, "lstm", (1, 2, 3), ("-", "R", "UR"), rates=(SLOW, FAST)))


def test_a_run_that_forgot_what_it_knew_has_diverged(table):
    fallen = table[table.diverged & (table.status == "finished")]
    assert fallen[["gate", "lr", "seed"]].values.tolist() == [["-", FAST, 2]]
    assert table[table.gate == "R"].diverged.all()
    assert len(table) == 15 and table.valid.max() == pytest.approx(83)


def test_the_best_run_carries_the_asterisks_of_its_rate(table):
    best = best_run(table)
    assert best.loc["-"].tolist() == pytest.approx([83, FAST, 1])
    assert best.loc["UR"].tolist() == pytest.approx([73, FAST, 0])
    assert best.loc["R", "diverged"] == 3


def test_the_best_stable_rate_has_no_diverged_seed(table):
    best = best_stable(table)
    assert best.loc["-"].tolist() == pytest.approx([52, 51, SLOW, 3])
    frame = pd.DataFrame({"gate": ["UR", "UR", "-", "R"], "lr": [SLOW, FAST, SLOW, FAST]})
    assert at_best_rate(frame, table).index.tolist() == [1, 2]
    table.loc[(table.gate == "UR") & (table.lr == SLOW), "final"] = 90
    assert best_stable(table).lr["UR"] == SLOW  # the last validation chooses, not the best
    assert best.loc["UR"].tolist() == pytest.approx([72, 71, FAST, 3])
    assert "R" not in best.index


def test_an_unfinished_or_missing_run_has_no_score(tmp_path):
    empty = accuracies(Runs(tmp_path, P, "lstm", (1,), ("UR",)))
    assert empty.empty and best_run(empty).empty and best_stable(empty).empty


def test_a_level_just_kept_is_no_collapse(tmp_path):
    for seed, curve in ((1, [0.4, 0.1]), (2, [0.41, 0.2]), (3, [0.41, 0.19])):
        store(tmp_path, "UR", seed, SLOW, curve, 0.4)
    table = accuracies(Runs(tmp_path, P, "lstm", (1, 2, 3), ("UR",)))
    assert table.diverged.tolist() == [False, False, True]


def leave(folder, protocol, gate, seed, level, rate=None):
    """Store a finished run of Adding that left `level` of the baseline's loss at every step."""
    job = Job(protocol, "lstm", gate, (seed,), (rate,) if rate else ())
    lines = ["step,loss", *(f"{k},{level / 6}" for k in range(1, protocol.steps + 1))]
    stem, own = job.runs[0].stem, job.at(rate)
    (folder / f"{stem}.csv").write_text("\n".join(lines) + "\n")
    record = {"task": "adding", "cell": "lstm", "gate": gate, "seed": seed, "status": "finished"}
    record |= {"preset": "laptop", "digest": own.digest, "protocol": own.numbers}
    record |= {"device": "CPU", "commit": "abc", "wall_seconds": 1.0, "probes": {}}
    record |= {"stack": job.members}
    (folder / f"{stem}.json").write_text(json.dumps(record))


def test_losses_are_shares_of_the_baseline_and_missing_gates_say_so(tmp_path):
    p = replace(protocol("adding", "laptop"), steps=400, log_every=1)  # baseline 1/6
    for gate, level in (("UR", 0.03), ("-", 1.0), ("U", 0.5)):
        leave(tmp_path, p, gate, 1, level)
    runs = Runs(tmp_path, p, "lstm", (1,), ("UR", "-", "U", "R"))
    table = outcomes(runs)
    assert table.ours.tolist() == ["solved", "stuck", "between", "not run"]
    assert table.left[:3].tolist() == pytest.approx([0.03, 1, 0.5])
    assert table.steps["UR"] == 1 and table.steps["-"] == float("inf")
    assert ends(runs).loc["UR", 1].left == pytest.approx(0.03)
    assert words(table.left, "UR", "-", "R") == "UR 0.03, LSTM 1, R –"
    assert words(table.steps, "UR", "-") == "UR 1, LSTM never"
    thin = thinned(runs, points=4)
    assert thin.step[thin.gate == "UR"].tolist() == [100, 200, 300, 400]
    assert "ours" not in outcomes(Runs(tmp_path, p, "gru", (1,), ("UR",)))


def test_every_gate_counts_at_the_rate_that_leaves_least(tmp_path):
    p = replace(protocol("adding", "laptop"), steps=4, log_every=1)
    slow, fast = p.sweep
    for seed, levels in ((1, (0.3, 0.1)), (2, (0.3, 0.1)), (3, (0.01, 0.9))):
        for rate, level in zip(p.sweep, levels, strict=True):
            leave(tmp_path, p, "UR", seed, level, rate)
    leave(tmp_path, p, "U", 1, 0.2, slow)  # the other rate has not been run
    both = Runs(tmp_path, p, "lstm", (1, 2, 3), ("UR", "U", "R"), rates=p.sweep)
    runs = memory.at_best_rate(both)
    assert runs.rates == (fast, slow) and len(runs.paths) == 4
    assert outcomes(runs).left.UR == pytest.approx(0.1)
    assert set(runs.info.lr[runs.info.gate == "UR"]) == {fast}
    assert runs.complete == {"UR": [1, 2, 3], "U": [1], "R": []}
    assert both.complete["U"] == []
    assert runs.only("U").rates == (slow,) and len(runs.only("U").paths) == 1
    assert not runs.only("OM") and runs.only("OM").complete == {"OM": []}


def test_other_choices_stand_side_by_side_each_at_its_best_rate(tmp_path, table):
    p = replace(protocol("adding", "laptop"), steps=4, log_every=1)
    for rate, level in zip(p.sweep, (0.3, 0.1), strict=True):
        leave(tmp_path, p, "UR", 1, level, rate)
    adding = Runs(tmp_path, p, "lstm", (1, 2), ("UR", "R"), rates=p.sweep)
    pixels = Runs(tmp_path, P, "lstm", (1, 2, 3), ("-",))
    nothing = Runs(tmp_path, p, "lstm", (1,), ("OM",))
    groups = {
        ("Adding", "torch"): adding,
        ("pMNIST", "joint"): pixels,
        ("Adding", "joint"): nothing,
    }
    found = side_by_side(groups, "task", "start")
    one, *others = found.itertuples(index=False)
    assert (one.task, one.start, one.gate, one.seed, one.what) == ("Adding", "torch", "UR", 1, LEFT)
    assert one.score == pytest.approx(0.1)
    assert [row.score for row in others] == pytest.approx([51, 52, 53])
    assert {(row.task, row.start, row.what) for row in others} == {("pMNIST", "joint", ACCURACY)}
    empty = side_by_side({("Adding", "joint"): nothing}, "task", "start")
    assert empty.empty and list(empty) == list(found)


def test_a_size_says_every_rate_that_it_was_run_at():
    p = protocol("copy", "laptop")
    both = "H 64 of 256, N 200 of 500, lr × steps 100–200 of 100"
    assert scale(p, reversed(p.sweep)) == f"{both}, 2 rates"
    assert scale(p, p.sweep, tried=(2, 2)) == f"{both}, best of 2 rates"
    assert scale(p) == "H 64 of 256, N 200 of 500"
    assert scale(p, p.sweep[1:]).endswith(", lr × steps 200 of 100")
    assert scale(protocol("copy", "paper")) == ""


def test_a_size_says_how_many_rates_were_tried_where_the_paper_tried_several():
    p = protocol("pmnist", "laptop")
    assert scale(p) == "H 64 of 512, lr × steps 3 of 162, one rate of 4"
    assert scale(p, (8e-3,), tried=(2, 5)).endswith("12 of 162, best of 2 to 5 rates")


def test_runs_that_go_on_are_compared_where_all_of_a_gate_have_come(tmp_path):
    p = replace(protocol("adding", "laptop"), steps=400, log_every=1)
    falling = [0.8] * 190 + [0.4] * 10 + [0.1] * 200
    for gate, seed, levels in (("UR", 1, falling), ("UR", 2, [0.6] * 200), ("-", 1, [1.0] * 400)):
        leave(tmp_path, p, gate, seed, 1.0)
        path = tmp_path / f"{Job(p, 'lstm', gate, (seed,)).runs[0].stem}.csv"
        rows = [f"{k},{level / 6}\n" for k, level in enumerate(levels, 1)]
        path.write_text("".join(["step,loss\n", *rows]))
        record = json.loads(path.with_suffix(".json").read_text()) | {"status": "partial"}
        path.with_suffix(".json").write_text(json.dumps(record))
    table = so_far(Runs(tmp_path, p, "lstm", (1, 2), ("UR", "-", "R")))
    assert table.index.tolist() == ["UR", "-"]
    assert table.loc["UR"].tolist() == pytest.approx([2, 0.5, 0.4, 0.6, 200])
    assert table.loc["-"].tolist() == pytest.approx([1, 1, 1, 1, 400])
    assert so_far(Runs(tmp_path, p, "lstm", (1,), ("R",))).empty
