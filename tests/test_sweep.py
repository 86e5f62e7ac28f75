"""The queue: what is left is trained, what is done is left alone, an error stops nobody else."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from urgates.gates import gate
from urgates.lab import experiments
from urgates.lab.experiments import protocol
from urgates.lab.experiments.tables import TABLES
from urgates.lab.jobs import Job
from urgates.lab.plans import by_gate, hours_on, plan, step_seconds
from urgates.lab.sweep import QUEUE, Training, each, stacks, table, wanted, work
from urgates.lab.train import train

ROOT = Path(__file__).resolve().parents[1]
TINY = replace(
    protocol("copy", "smoke"),
    task_options={"length": 3},
    hidden=16,
    batch=4,
    steps=200,
    log_every=5,
)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(experiments.PROTOCOLS, ("copy", "smoke"), TINY)
    return Training("31_synthetic_memory", Job(TINY, "lstm", "UR", (1, 2), until=20))


def but(training, **changes):
    """A training of a job that is another in some ways."""
    return replace(training, job=replace(training.job, **changes))


def test_training_stops_where_it_was_asked_to_says_so_and_goes_on(tmp_path, tiny):
    assert tiny.state(tmp_path) == ("waiting", 0, 0.0)
    tiny.run(tmp_path)
    state, steps, seconds = tiny.state(tmp_path)
    assert (state, steps) == ("done", 20) and seconds >= 0
    record = json.loads((tiny.folder(tmp_path) / "copy_lstm_UR_smoke_s1.json").read_text())
    assert record["status"] == "partial" and record["stopped"] == "at 20 steps, as asked"
    assert set(record["probes"]) == {"before", "after"}
    longer = but(tiny, until=40)
    assert longer.state(tmp_path)[:2] == ("begun", 20)
    longer.run(tmp_path)
    train(longer.job, tmp_path / "whole", progress=False)
    for path in (tmp_path / "whole").glob("*.csv"):
        assert path.read_bytes() == (longer.folder(tmp_path) / path.name).read_bytes()


def test_a_training_is_done_when_all_of_its_records_say_so(tmp_path, tiny):
    tiny.run(tmp_path)
    (tiny.folder(tmp_path) / "copy_lstm_UR_smoke_s2.json").unlink()
    assert tiny.state(tmp_path)[:2] == ("begun", 20)
    tiny.run(tmp_path)
    assert tiny.state(tmp_path)[:2] == ("done", 20)


def test_training_stops_when_every_living_model_is_below_the_goal(tmp_path):
    seeds = (1, 2)
    train(Job(TINY, "lstm", "UR", seeds), tmp_path / "whole", progress=False)
    whole = [rows(tmp_path / "whole", seed) for seed in seeds]
    means = [[sum(r[k - 10 : k]) / 10 for k in range(10, len(r) + 1)] for r in whole]
    late = max(pair[0] for pair in zip(*means, strict=True))
    goal = (late + max(row[-1] for row in means)) / 2
    first = next(k for k, pair in enumerate(zip(*means, strict=True)) if max(pair) < goal) + 10
    assert 10 < first < len(whole[0])

    train(Job(TINY, "lstm", "UR", seeds, goal=goal), tmp_path / "goal", progress=False)
    for seed, all_rows in zip(seeds, whole, strict=True):
        assert rows(tmp_path / "goal", seed) == all_rows[:first]
        record = json.loads((tmp_path / f"goal/copy_lstm_UR_smoke_s{seed}.json").read_text())
        assert record["stopped"] == f"at {5 * first} steps: loss below {goal:.4g}"


def rows(folder, seed):
    """The losses of a run."""
    lines = (folder / f"copy_lstm_UR_smoke_s{seed}.csv").read_text().splitlines()[1:]
    return [float(line.split(",")[1]) for line in lines]


def test_the_queue_is_worked_off_and_an_error_stops_nobody_else(tmp_path, capsys):
    good, bad = each("copy", "smoke", "- nonsense", (1,), until=10)
    assert work([bad, good], tmp_path, jobs=1) == 1
    assert good.state(tmp_path)[0] == "done"
    printed = capsys.readouterr()
    assert "gate must be one of" in printed.err
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.csv")}
    assert work([good], tmp_path, jobs=1) == 0
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.csv")}


def test_the_table_guesses_hours_from_what_was_measured(tmp_path, tiny):
    tiny.run(tmp_path)
    queue = [tiny, but(tiny, gate="U", until=60)]
    frame = table(queue, tmp_path)
    assert list(frame.state) == ["done", "waiting"]
    assert frame.hours[0] == 0
    _, steps, seconds = tiny.state(tmp_path)
    assert frame.hours[1] == pytest.approx(60 * seconds / steps / 3600)


# ------------------------------------------------------------------ what tasks and tables take


def test_a_table_takes_all_tasks_gates_seeds_and_rates_where_they_are_read():
    table2 = wanted(["table2", "smnist"], "paper")  # which is in it
    assert sum(len(one.job.models) for one in table2) == (3 * 9 * 4 + 9 * 2) * 3
    homes = {(one.notebook, one.job.cell) for one in table2}
    assert homes == {
        ("32_pixel_images", "lstm"), ("32a_sequential_cifar", "lstm"), ("32b_gru", "gru")
    }  # fmt: skip
    (ptb, *_) = wanted(["table6"], "laptop")
    assert ptb.job.protocol.task == "ptb" and not ptb.job.rates
    for name in TABLES:
        assert {one.job.protocol.preset for one in wanted([name], "paper")} == {"paper"}
        assert all(
            (ROOT / f"notebooks/{one.notebook}.py").exists() for one in wanted([name], "paper")
        )


def test_a_task_goes_where_one_says():
    (one, *_) = wanted(["pmnist"], "laptop", "gru", "32d_open_choices")
    assert (one.notebook, one.job.cell, one.job.seeds) == ("32d_open_choices", "gru", (1, 2, 3))
    with pytest.raises(ValueError, match="task must be one of fig3"):
        wanted(["juggling"], "paper")


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5, 6, 12])
def test_stacks_hold_every_model_once_and_not_too_many(tmp_path, tiny, most):
    whole = but(tiny, seeds=(1, 2, 3), rates=(1e-3, 2e-3, 4e-3, 8e-3))
    parts = stacks([whole], tmp_path, most)
    assert sorted(model for part in parts for model in part.job.models) == sorted(whole.job.models)
    assert max(len(part.job.models) for part in parts) <= most
    assert len({part.job.key for part in parts}) == len(parts) <= -(-12 // most) + 2


def test_what_was_begun_goes_on_as_it_is_and_what_is_done_is_left_out(tmp_path, tiny):
    but(tiny, until=5).run(tmp_path)  # seeds 1 and 2
    whole = but(tiny, seeds=(1, 2, 3), until=0)
    assert [one.job.seeds for one in stacks([whole], tmp_path, 1)] == [(1, 2), (3,)]
    but(tiny, until=0).run(tmp_path)
    assert [one.job.seeds for one in stacks([whole], tmp_path, 1)] == [(3,)]


def test_runs_of_an_earlier_protocol_are_moved_only_to_train(tmp_path, tiny):
    but(tiny, until=0).run(tmp_path)
    other = but(tiny, protocol=replace(TINY, lr=9e-3), until=0)
    for _ in range(2):
        assert len(stacks([other], tmp_path, aside=False)) == 1
        assert (tiny.folder(tmp_path) / "copy_lstm_UR_smoke_s1.csv").exists()
    assert len(stacks([other], tmp_path)) == 1
    assert not (tiny.folder(tmp_path) / "copy_lstm_UR_smoke_s1.csv").exists()


def test_hours_are_planned_from_what_one_stack_of_each_size_takes(tmp_path, tiny):
    but(tiny, until=5).run(tmp_path)
    whole, asked = but(tiny, seeds=(1, 2, 3, 4), until=0), []

    def measure(job):
        asked.append(len(job.models))
        if job.gate == "U":
            raise OSError("no data")
        return 36.0

    told = []
    found = plan([whole, but(whole, gate="U")], tmp_path, measure, most=1, told=told.append)
    assert asked == [2, 1, 1]  # the stack that was begun; one of the others; U's
    assert found.hours[:3].tolist() == [1.95, 2.0, 2.0] and found.hours[3:].isna().all()
    assert told == ["copy_lstm_U_smoke_s1 cannot be measured: no data"]
    table = by_gate(found).set_index("gate")
    assert table.hours["UR"] == pytest.approx(5.95) and table.stacks["UR"] == 3
    assert step_seconds(tiny.job, "cpu", 2) > 0


def test_hours_on_several_are_those_of_the_last_to_end():
    assert hours_on([3, 1, 1, 1], 1) == 6 and hours_on([3, 1, 1, 1], 2) == 3
    assert hours_on([1, 1, 1, 3], 2) == 4 and hours_on([], 8) == 0


def test_everything_in_the_queue_can_be_run():
    assert len({(one.notebook, one.job.key) for one in QUEUE}) == len(QUEUE)
    for training in QUEUE:
        assert training.steps % training.job.protocol.log_every == 0
        assert gate(training.job.gate).name == training.job.gate


def test_an_interrupted_queue_does_not_begin_others(tmp_path, tiny, monkeypatch):
    begun = []

    def interrupted(training, *_):
        begun.append(training)
        time.sleep(0.1)
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "run", interrupted)
    monkeypatch.setattr(
        "urgates.lab.executors.ProcessPoolExecutor",
        lambda *_, **__: ThreadPoolExecutor(max_workers=1),
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    queue = [but(tiny, gate=gate) for gate in ("-", "U", "R", "O", "C", "UR", "UM", "OM")]
    with pytest.raises(KeyboardInterrupt):
        work(queue, tmp_path)
    assert 1 <= len(begun) < len(queue)
