"""What stored runs of agents say: curves in agent steps, areas, and the predicates of claims."""

import numpy as np
import pandas as pd
import pytest

from urgates.lab.experiments import PROTOCOLS, match
from urgates.lab.jobs import Job
from urgates.lab.learners.actor_critic import ActorCritic
from urgates.lab.store.runs import Runs
from urgates.lab.train import train

TASKS = dict.fromkeys(row.task for row in match.ROWS)


def table(**finals):
    """Outcomes by gate: a list of finals, whose areas are half as large."""
    names = {"plain": "-"}
    rows = [
        (names.get(g, g), s, v / 2, v) for g, some in finals.items() for s, v in enumerate(some)
    ]
    return pd.DataFrame(rows, columns=["gate", "seed", "area", "final"])


@pytest.mark.parametrize("task", TASKS)
def test_rows_hold_what_the_paper_says(task):
    smoke, laptop, paper = (PROTOCOLS[task, preset] for preset in ("smoke", "laptop", "paper"))
    rules = paper.make_task()
    assert (rules.frames, rules.squares, rules.wrong, rules.ends) == ((75, 450, 75), 4, 1.0, True)
    assert laptop.make_task().frames == (15, 30, 15), "released: 90 of distraction"
    gamma = 0.998 if "-1" in task else 0.96
    pays = {"1": 1.0, "5": 5.0}.get(task.split("-")[1] if "-" in task else "", 0.0)
    said = {0.0: "Figs. 7 and 10", 1.0: "Fig. 8", 5.0: "E.2"}[pays]
    if task in ("passive-rma", "passive-dnc"):
        said = "our choice: no figure has Passive Match with these cores"
    for p in (smoke, laptop, paper):
        assert p.learner_options["discount"] == gamma and p.make_task().rewards == (pays, pays)
        assert p.gates == ("-", "U", "UR") and p.source["task_options"].endswith(said)
    cell = task.split("-")[-1] if task.endswith(("rma", "dnc", "mem")) else "lstm"
    agents = ActorCritic(Job(smoke, cell, "UR", (1,)), "cpu")
    assert agents.advance()["loss"].isfinite().all()


def test_runs_become_curves_and_outcomes(tmp_path):
    p = PROTOCOLS["passive", "smoke"]
    for gate in ("-", "UR"):
        train(Job(p, "lstm", gate, (1,)), tmp_path, "cpu", progress=False)
    runs = Runs(tmp_path, p, "lstm", (1, 2), p.gates)
    found = match.curves(runs, points=2)
    assert match.frames(p) == 8 * 12
    assert found.groupby("gate").frames.apply(list).to_dict() == {
        g: [960, 1920] for g in "- UR".split()
    }
    table = match.outcomes(runs)
    assert table.gate.tolist() == ["-", "UR"] and table.seed.tolist() == [1, 1]
    own = runs.frame[runs.frame.gate == "UR"]
    assert table.area[1] == pytest.approx(own.last_phase.mean())
    assert table.final[1] == own.last_phase.iloc[-1], "of the last tenth: one row of four"
    said = match.spread({"passive": table}, "final")
    assert said.loc["passive", "UR"].startswith(f"{table.final[1]:.2f} (")
    nothing = Runs(tmp_path / "none", p, "lstm", (1,), p.gates)
    assert match.curves(nothing).empty and match.outcomes(nothing).empty
    assert match.spread({"passive": match.outcomes(nothing)}, "area").empty


def test_a_gate_is_best_if_all_its_seeds_are():
    clear = table(plain=[1, 2], U=[3, 4], UR=[5, 6])
    meeting = table(plain=[1, 2], U=[3, 5.5], UR=[5, 6])
    assert match.learns_best([clear, clear]) is True
    assert match.learns_best([clear, meeting]) is None
    assert match.learns_best([clear], gate="U") is False
    assert match.learns_best([clear, clear.head(0)]) is None and match.learns_best([]) is None
    faster = clear.assign(final=5.0)
    assert match.learns_best([faster]) is True
    assert match.learns_best([faster], scores=("area", "final")) is None
    assert match.improves([clear, meeting]) is True and match.improves([clear], "-", "UR") is False
    assert match.improves([clear, clear.head(2)]) is None


@pytest.mark.parametrize(
    ("finals", "expected"),
    [
        ({"plain": [3, 3.1], "U": [3.2], "UR": [5, 6]}, True),
        ({"plain": [3, 3.1], "U": [4, 5], "UR": [5, 6]}, False),
        ({"plain": [3, 3.1], "U": [3.2, 5], "UR": [5, 6]}, None),
        ({"plain": [3, 3.1], "U": [3.2], "UR": [3, 3.2]}, False),
        ({"plain": [3, 3.1]}, None),
    ],
)
def test_who_alone_is_above_chance(finals, expected):
    assert match.only_above(table(**finals), 3.4) is expected


def test_gates_change_places_or_do_not():
    one, other = table(plain=[1, 2], UR=[3, 4]), table(plain=[3, 4], UR=[1, 2])
    assert match.reorders(one, other) is True and match.reorders(one, one) is False
    assert match.reorders(one, table(plain=[1, 3], UR=[2, 4])) is None
    assert match.reorders(one, one.head(0)) is None
    assert np.isnan(one.head(0).area.mean())
