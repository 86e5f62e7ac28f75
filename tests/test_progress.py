"""Progress of training: what is told, what a bar and the last line make of it."""

import json
from io import StringIO

import pytest
from tqdm import tqdm

from urgates.lab import experiments, progress
from urgates.lab import train as training
from urgates.lab.experiments import Protocol
from urgates.lab.jobs import Job
from urgates.lab.progress import Progress, tell


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "time", lambda: now[0])
    return now


@pytest.fixture
def told(monkeypatch):
    with Progress() as found:
        for name, value in found.watch("31_toy").items():
            monkeypatch.setenv(name, value)
        yield found


def test_nobody_is_told_where_nobody_watches(monkeypatch, tmp_path):
    monkeypatch.delenv("URGATES_PROGRESS", raising=False)
    monkeypatch.chdir(tmp_path)
    tell("a", 0, 10)
    assert list(tmp_path.iterdir()) == []


def test_share_speed_and_time_left(told, clock):
    assert told.steps() == (0, 0) and told.unfinished("x") == ""
    tell("a", 0, 100, planned=True)
    tell("b", 0, 200, planned=True)
    tell("earlier", 50, 50, planned=True)
    assert told.steps() == (50, 350)
    assert "14% of 350 training steps planned so far are done, unknown time left" in (
        told.unfinished("urgates run 31")
    )
    clock[0] = 1000.0  # planned long before it begins, and resumed
    tell("a", 40, 100)
    for step in (60, 80, 100):
        clock[0] += 20
        tell("a", step, 100)
    assert told.steps() == (150, 350)
    assert told.notebooks["31_toy"].minutes_left == pytest.approx(200 / 60)
    assert told.unfinished("urgates run 31") == (
        "31_toy not finished: 43% of 350 training steps planned so far are done, "
        "about 3 min left; to go on: urgates run 31"
    )
    tell("b", 120, 120)  # it diverged, and has no more to do
    assert told.steps() == (270, 270) and told.unfinished("x") == ""


def test_a_half_written_line_waits_for_its_end(told):
    line = json.dumps(["a", 5, 10, 0.0])
    path = told.notebooks["31_toy"].path
    path.write_text(line[:7])
    assert told.steps() == (0, 0)
    path.write_text(line + "\n")
    assert told.steps() == (5, 10)


def test_the_bar_counts_cells_until_there_are_steps(told):
    text = StringIO()
    with tqdm(total=8, unit="cell", file=text, disable=False) as bar:
        told.cells(bar, 3)
        told.show(bar)
        assert (bar.unit, bar.n, bar.total) == ("cell", 3, 8)
        tell("a", 30, 100)
        told.show(bar)
        tell("a", 60, 100)
        told.show(bar)
        told.cells(bar)
        assert (bar.unit, bar.n, bar.total, bar.initial) == ("step", 60, 100, 30)
    assert "60/100" in text.getvalue()


def test_training_tells_its_plan_its_steps_and_its_end(told, tmp_path, monkeypatch):
    tiny = Protocol(
        task="adding", preset="smoke", task_options={"length": 4}, hidden=4, batch=2, steps=12,
        lr=1e-3, log_every=4, gates=("-", "R"), downsize=2,
    )  # fmt: skip
    monkeypatch.setattr(progress, "_TELL_SECONDS", -1.0)  # at every step
    monkeypatch.setitem(experiments.PROTOCOLS, ("adding", "smoke"), tiny)
    jobs = [Job(tiny, "lstm", gate, (1, 2)) for gate in tiny.gates]
    lines = []
    path = told.notebooks["31_toy"].path

    def train(deadline=float("inf")):
        path.unlink(missing_ok=True)
        training.run_missing(jobs, tmp_path, device="cpu", deadline=deadline, progress=False)
        lines[:] = [json.loads(line)[:3] for line in path.read_text().splitlines()]

    plain, refined = ("adding_lstm_-_smoke_s1+2", "adding_lstm_R_smoke_s1+2")
    train(deadline=0.0)
    assert lines == [[plain, 0, 12], [refined, 0, 12]]
    train()
    steps = [[plain, step, 12] for step in (*range(13), 12)]
    assert lines[2:16] == steps and lines[-1] == [refined, 12, 12]
    train()
    assert lines == [[plain, 12, 12], [refined, 12, 12]]
