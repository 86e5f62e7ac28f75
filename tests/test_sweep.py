"""The queue: what is left is trained, what is done is left alone, an error stops nobody else."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from urgates.gates import gate
from urgates.lab import experiments
from urgates.lab.experiments import protocol
from urgates.lab.jobs import Job
from urgates.lab.sweep import QUEUE, Training, each, table, work
from urgates.lab.train import train

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
    good, bad = each("31_synthetic_memory", "copy", "smoke", "- nonsense", (1,), until=10)
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
