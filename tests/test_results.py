"""Runs, predicates, claims and the bench: what is read, what is trained, what is decided."""

import json
import time
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import kills
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from urgates.__main__ import main
from urgates.gates import GATES
from urgates.gates import gate as find_gate
from urgates.lab import Bench, experiments, show_source
from urgates.lab.book import claims
from urgates.lab.book.claims import (
    IMPRECISE,
    TABLES,
    UNTESTABLE,
    VERDICTS,
    counts,
    evidence,
    scoreboard,
    stored,
    verdict,
)
from urgates.lab.book.ledger import CLAIMS, KINDS
from urgates.lab.experiments import protocol
from urgates.lab.jobs import Job, mastered
from urgates.lab.store.runs import Runs, final_loss, solved, steps_to, stuck
from urgates.lab.train import run_missing, train

ROOT = Path(__file__).resolve().parents[1]
TINY = replace(
    protocol("copy", "smoke"),
    task_options={"length": 3},
    gates=("-", "UR"),
    hidden=16,
    batch=4,
    steps=20,
    log_every=5,
)
BASELINE = TINY.make_task().baseline


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """An empty checkout with the working directory in its notebooks, and a tiny smoke protocol."""
    for folder in ("notebooks", "urgates"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    monkeypatch.setitem(experiments.PROTOCOLS, ("copy", "smoke"), TINY)
    return tmp_path


def store(folder: Path, gate: str, seed: int, losses, status="finished", preset="laptop", p=None):
    """Write a run by hand: rows every 5 of TINY's 20 steps."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"copy_lstm_{gate}_{preset}_s{seed}"
    rows = [f"{5 * (k + 1)},{loss}" for k, loss in enumerate(losses)]
    stem.with_suffix(".csv").write_text("\n".join(["step,loss", *rows]) + "\n")
    units = {"f": [0.1, 0.9], "g": [0.2, 0.8]}
    record = {"task": "copy", "cell": "lstm", "gate": gate, "preset": preset, "seed": seed}
    record |= {"status": status, "digest": (p or TINY).digest, "device": "CPU"}
    record |= {"commit": "abc"}
    record |= {"wall_seconds": 1.0, "stack": [seed], "protocol": (p or TINY).numbers}
    record["probes"] = {"before": units, "after": units}
    stem.with_suffix(".json").write_text(json.dumps(record))


@pytest.fixture
def laptop(tmp_path):
    """Hand-made runs: UR solves, - is stuck, R half-way, O diverges in two of three seeds."""
    for seed in (1, 2, 3):
        store(tmp_path, "UR", seed, [2.0, 0.1, 0.01, 0.02 * seed])
        store(tmp_path, "-", seed, [2.1, 2.08, 2.07, 2.06])
        store(tmp_path, "R", seed, [2.0, 1.5, 1.0, 1.0], "partial" if seed == 3 else "finished")
        store(tmp_path, "O", seed, [2.0] if seed < 3 else [2, 1, 0.1, 0.01], "diverged")
    p = replace(TINY, preset="laptop", gates=("-", "O", "R", "UR"))
    return Runs(tmp_path, p, "lstm", (1, 2, 3), p.gates)


# ------------------------------------------------------------------ runs and predicates


def test_a_run_that_met_its_goal_has_ended_and_one_stopped_otherwise_has_not(laptop):
    for seed, why in ((1, "at 15 steps: loss below 0.02"), (2, "at 15 steps, as asked")):
        store(laptop.folder, "U", seed, [2.0, 1.0, 0.01], "partial")
        path = laptop.folder / f"copy_lstm_U_laptop_s{seed}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"stopped": why}))
    runs = Runs(laptop.folder, laptop.protocol, "lstm", (1, 2, 3), ("U",))
    assert runs.complete == {"U": [1]}
    assert final_loss(runs, "U").to_dict() == {1: 0.01} and solved(runs, "U")
    assert steps_to(runs, "U").index.tolist() == [1]


def test_frame_info_and_probes_are_tidy(laptop):
    assert list(laptop.frame.columns) == ["task", "cell", "gate", "lr", "seed", "step", "loss"]
    assert len(laptop.frame) == 3 * 4 * 3 + 1 + 1 + 4
    assert set(laptop.info.status) == {"finished", "partial", "diverged"}
    assert len(laptop.info) == 12 and "probes" not in laptop.info
    assert list(laptop.probes.columns) == ["gate", "seed", "when", "unit", "f", "g"]
    assert len(laptop.probes) == 12 * 2 * 2
    assert laptop.complete == {"-": [1, 2, 3], "O": [1, 2, 3], "R": [1, 2], "UR": [1, 2, 3]}
    assert laptop.provenance["device"] == "CPU"
    assert laptop.provenance["seeds"] == [1, 2]  # R lacks seed 3


def test_predicates_on_hand_made_losses(laptop):
    assert final_loss(laptop, "UR").to_dict() == pytest.approx({1: 0.02, 2: 0.04, 3: 0.06})
    assert solved(laptop, "UR") and not stuck(laptop, "UR")
    assert stuck(laptop, "-") and not solved(laptop, "-")
    assert not stuck(laptop, "R") and not solved(laptop, "R")
    assert list(final_loss(laptop, "R").index) == [1, 2]  # seed 3 is unfinished
    assert final_loss(laptop, "O")[1] == np.inf and not solved(laptop, "O")


def test_thresholds_are_shares_of_the_baseline(tmp_path):
    p = replace(TINY, preset="laptop")
    for share, is_solved, is_stuck in ((0.049, 1, 0), (0.051, 0, 0), (0.949, 0, 0), (0.951, 0, 1)):
        for seed in (1, 2, 3):
            store(tmp_path, "UR", seed, [2, 2, 2, share * BASELINE])
        runs = Runs(tmp_path, p, "lstm", (1, 2, 3), ("UR",))
        assert (solved(runs, "UR"), stuck(runs, "UR")) == (is_solved, is_stuck)


def test_steps_to_follows_the_smoothed_loss(tmp_path):
    p = replace(TINY, preset="laptop", steps=20_000, log_every=500)
    losses = [2.0] * 9 + [0.1] * 30
    store(tmp_path, "UR", 1, losses, p=p)
    rows = "".join(f"{500 * (k + 1)},{loss}\n" for k, loss in enumerate(losses))
    (tmp_path / "copy_lstm_UR_laptop_s1.csv").write_text("step,loss\n" + rows)
    store(tmp_path, "UR", 2, [2.0] * 4, p=p)
    runs = Runs(tmp_path, p, "lstm", (1, 2), ("UR",))
    # 0.99^500 = 0.0066: the row at step 5000 already is 0.1 + 0.0066 · 1.9 = 0.1125 < 0.2079
    assert steps_to(runs, "UR").to_dict() == {1: 5000.0, 2: np.inf}
    smooth = replace(p, log_every=5, steps=20)  # 0.99^5 = 0.951: 30 rows are not enough
    store(tmp_path, "UR", 1, losses, p=smooth)
    assert steps_to(Runs(tmp_path, smooth, "lstm", (1,), ("UR",)), "UR")[1] == np.inf


def test_predicates_need_a_baseline_and_cope_with_nothing(tmp_path):
    empty = Runs(tmp_path, TINY, "lstm", (1, 2, 3), ("UR",))
    assert not empty and empty.frame.empty and empty.probes.empty
    assert not solved(empty, "UR") and not stuck(empty, "UR")
    assert empty.complete == {"UR": []} and "not run" in empty._repr_markdown_()
    with pytest.raises(ValueError, match=r"'pmnist' has no baseline"):
        solved(Runs(tmp_path, protocol("pmnist", "smoke"), "lstm", (1,), ("UR",)), "UR")


def test_a_half_written_line_is_not_read(laptop):
    with laptop.paths[0].open("a") as file:
        file.write("25,0.")
    again = laptop.only("-")
    assert again.frame[again.frame.seed == 1].step.max() == 20


# ------------------------------------------------------------------ training what is missing


def stems(folder):
    return sorted(path.name for path in folder.glob("*.csv"))


def test_run_missing_trains_only_what_is_missing(tmp_path):
    run_missing([Job(TINY, "lstm", "-", (1, 2))], tmp_path, progress=False)
    first = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*_-_smoke_s*.*")}
    jobs = [Job(TINY, "lstm", gate, (1, 2, 3)) for gate in ("-", "UR")]
    run_missing(jobs, tmp_path, progress=False)
    assert {p: p.stat().st_mtime_ns for p in first} == first
    assert stems(tmp_path) == [
        f"copy_lstm_{g}_smoke_s{s}.csv" for g in ("-", "UR") for s in (1, 2, 3)
    ]
    runs = Runs(tmp_path, TINY, "lstm", (1, 2, 3), ("-", "UR"))
    stacks = runs.info.set_index(["gate", "seed"])["stack"]
    assert stacks["-", 2] == [1, 2] and stacks["-", 3] == [3] and stacks["UR", 3] == [1, 2, 3]


def test_seeds_begun_together_go_on_together(tmp_path):
    run_missing([Job(TINY, "lstm", "UR", (1, 2))], tmp_path, deadline=0.0, progress=False)
    assert stems(tmp_path) == []
    train(Job(TINY, "lstm", "UR", (1, 2)), tmp_path, limit_minutes=1e-9, progress=False)
    run_missing([Job(TINY, "lstm", "UR", (1, 2, 3))], tmp_path, progress=False)
    runs = Runs(tmp_path, TINY, "lstm", (1, 2, 3), ("UR",))
    assert runs.info["stack"].tolist() == [[1, 2], [1, 2], [3]]
    assert set(runs.info.status) == {"finished"}


def test_a_sweep_trains_only_the_rates_and_seeds_that_are_missing(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "urgates.lab.train.train", lambda job, *_, **__: asked.append((job.rates, job.seeds))
    )
    rates = (TINY.lr, 1e-2, 1e-3)
    job = Job(TINY, "lstm", "UR", (1, 2), rates)
    run_missing([job], tmp_path)
    assert asked == [(rates, (1, 2))]
    store(tmp_path, "UR", 1, [2.0] * 4, preset="smoke")
    asked.clear()
    run_missing([job], tmp_path)
    assert asked == [((TINY.lr,), (2,)), ((1e-2, 1e-3), (1, 2))]


def test_a_changed_protocol_moves_earlier_runs_aside(tmp_path, capsys):
    run_missing([Job(TINY, "lstm", "UR")], tmp_path, progress=False)
    old = (tmp_path / "copy_lstm_UR_smoke_s1.csv").read_bytes()
    changed = replace(TINY, lr=1e-2)
    run_missing([Job(changed, "lstm", "UR")], tmp_path, progress=False)
    assert (tmp_path / f"old-{TINY.digest}" / "copy_lstm_UR_smoke_s1.csv").read_bytes() == old
    assert (tmp_path / "copy_lstm_UR_smoke_s1.csv").read_bytes() != old
    assert "the protocol has changed" in capsys.readouterr().out


def test_two_jobs_write_what_one_job_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    jobs = [Job(TINY, "lstm", gate, (1, 2)) for gate in ("-", "UR")]
    run_missing(jobs, tmp_path / "one", progress=False)
    run_missing(jobs, tmp_path / "two", workers=2, progress=False)
    for path in (tmp_path / "one").glob("*.csv"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert len(stems(tmp_path / "two")) == 4


def test_interrupted_jobs_do_not_begin_others(tmp_path, monkeypatch):
    begun = []

    def interrupted(*stack):
        begun.append(stack)
        time.sleep(0.1)
        raise KeyboardInterrupt

    monkeypatch.setattr("urgates.lab.train._train_until", interrupted)
    monkeypatch.setattr(
        "urgates.lab.executors.ProcessPoolExecutor", lambda *_, **__: ThreadPoolExecutor(1)
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    jobs = [Job(TINY, "lstm", gate) for gate in GATES]
    with pytest.raises(KeyboardInterrupt):
        run_missing(jobs, tmp_path, workers=2)
    assert 1 <= len(begun) < len(jobs)


# ------------------------------------------------------------------ claims


def test_ledger_is_complete_and_brief():
    numbers = dict.fromkeys(name[:3] for name in CLAIMS)
    known = [f"G{k:02}" for k in (*range(1, 85), *range(90, 98))]
    known += [f"F{k:02}" for k in range(1, 29)]
    assert set(numbers) == set(known)
    for claim in CLAIMS.values():
        assert 10 < len(claim.sentence) <= 110 and claim.kind in KINDS
        assert claim.section and claim.paper and "|" not in claim.sentence
    assert len({claim.sentence for claim in CLAIMS.values()}) == len(CLAIMS)
    assert sorted(kind for kinds in TABLES.values() for kind in kinds) == sorted(KINDS)


THREE = {"UR": [1, 2, 3], "-": [4, 5, 6]}


@pytest.mark.parametrize(
    ("kind", "holds", "preset", "seeds", "word"),
    [
        ("text", True, "exact", None, "confirmed"),
        ("text", False, "exact", None, "contradicted"),
        ("text", IMPRECISE, "exact", None, "imprecise"),
        ("table", False, "laptop", None, "contradicted"),
        ("ours", True, "exact", None, "confirmed"),
        ("measured", True, "laptop", None, "seen"),
        ("measured", False, "laptop", None, "not seen at this scale"),
        ("trained", True, "laptop", THREE, "seen"),
        ("trained", False, "laptop", THREE, "not seen at this scale"),
        ("trained", True, "paper", THREE, "reproduced"),
        ("trained", False, "paper", THREE, "contradicted"),
        ("trained", True, "laptop", {"UR": [1, 2, 3], "-": [1, 2]}, "inconclusive"),
        ("trained", False, "paper", {"UR": [1]}, "inconclusive"),
        ("trained", True, "laptop", {"UR": [1, 1, 1]}, "inconclusive"),
        ("trained", True, "smoke", {"UR": [1, 2, 3]}, "inconclusive"),
        ("trained", None, "laptop", THREE, "inconclusive"),
        ("trained", UNTESTABLE, "laptop", THREE, "not testable here"),
        ("trained", True, "laptop", {"UR": [], "-": []}, "not testable here"),
    ],
)
def test_verdicts(kind, holds, preset, seeds, word):
    assert verdict(kind, holds, preset, seeds) == word
    assert word in VERDICTS


def test_nothing_trained_below_the_paper_s_size_contradicts_it():
    for name, entry in stored(ROOT / "figures").items():
        if CLAIMS[name].kind in ("trained", "measured") and entry["verdict"] == "contradicted":
            assert entry["preset"] == "paper" and not entry["scale"], name


def test_scoreboard_collects_what_notebooks_found(tmp_path):
    place = tmp_path / "31_synthetic_memory"
    place.mkdir()
    entry = {"verdict": "seen", "ours": "a|b", "notebook": "31_synthetic_memory"}
    entry |= {"preset": "laptop", "seeds": [1, 2, 3], "device": "CPU", "commit": "abc"}
    entry |= {"scale": "H 64 of 256"}
    (place / "claims.json").write_text(json.dumps({"G34": entry}))
    board = scoreboard(tmp_path)
    assert board.index("### Trained") < board.index("G34") < board.index("### Our own")
    row = next(line for line in board.splitlines() if "G34" in line)
    size = "laptop · seeds 1, 2, 3 · CPU · H 64 of 256"
    for text in ("**seen**", "a\\|b", size, CLAIMS["G34"].sentence):
        assert text in row
    missing = board.split("### Not attempted yet")[1]
    assert all(name in missing for name in CLAIMS if name != "G34") and "G34 " not in missing
    assert counts("Trained, or timed", {"G34": entry}) == {"seen": 1}
    assert claims.evidence({"preset": "text"}) == "exact"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "claims.json").write_text(json.dumps({"G34": entry}))
    with pytest.raises(ValueError, match="decides G34 again"):
        scoreboard(tmp_path)
    (tmp_path / "other" / "claims.json").write_text(json.dumps({"G99": entry}))
    with pytest.raises(ValueError, match="G99"):
        scoreboard(tmp_path)


ENTRY = {"verdict": "seen", "ours": "1", "notebook": "31", "preset": "laptop", "seeds": [1]}
ENTRY |= {"device": "CPU", "commit": "abc"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no JSON"),
        ("\x00\x9f", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[1]", "expected a JSON object"),
        ('{"G34": 3}', "'G34' must be dict"),
        (json.dumps({"G34": ENTRY | {"verdict": "maybe"}}), "verdict of G34 must be one of"),
        (
            json.dumps({"G34": ENTRY | {"ours": None}}),
            "G34 is damaged: 'ours' must be str",
        ),
        (json.dumps({"G34": ENTRY | {"seeds": 1}}), "G34 is damaged: 'seeds' must be list"),
        (json.dumps({"G34": {"verdict": "seen"}}), "'ours' must be str, got nothing"),
    ],
)
def test_damaged_claims_are_refused_by_file_and_key(checkout, capsys, text, complaint):
    path = checkout / "figures/31/claims.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode("latin-1"))
    (checkout / "notebooks/20_toy.py").touch()
    assert main(["claims"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(path) in said and complaint in said


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"probes": []}, "'probes' must be dict"), ({"seed": "1"}, "'seed' must be int"),
        ({"status": "so-so"}, "'status' is 'so-so'"), ({"protocol": {}}, "'lr' must be float"),
        ({"stack": None}, "'stack' must be list"), ({"wall_seconds": ""}, "'wall_seconds' must"),
    ],
)  # fmt: skip
def test_a_damaged_record_is_refused_by_file_and_key(laptop, change, complaint):
    path = laptop.paths[0].with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=f"{path.name}.*{complaint}"):
        _ = laptop.complete


@pytest.mark.parametrize(
    "text", ["", "garbage\n", "step,loss\n1,2\nx,3\n", "step,loss\n1,2,3,4\n\n1\n"]
)
def test_a_damaged_csv_of_an_unfinished_run_is_refused_by_name(tmp_path, text):
    store(tmp_path, "UR", 1, [2.0], "partial")
    runs = Runs(tmp_path, replace(TINY, preset="laptop"), "lstm", (1,), ("UR",))
    runs.paths[0].write_text(text)
    with pytest.raises(ValueError, match=f"{runs.paths[0].name} is damaged: "):
        _ = runs.frame
    again = runs.only("UR")
    again.paths[0].write_text("step,loss\n")  # it has just begun
    assert again.frame.empty


def test_a_table_is_whole_or_not_there(checkout, monkeypatch):
    bench, frame = Bench("32", preset="smoke"), pd.DataFrame({"x": range(1000)})
    bench.table("numbers", lambda: frame)
    path = bench.runs_folder / "numbers_smoke.csv"
    before = path.read_bytes()
    for at in range(1, 5):
        with pytest.raises(kills.Killed), kills.dying(checkout, at):
            bench.table("numbers", lambda: frame + 1)
        assert path.read_bytes() == before, at


def test_text_from_a_file_is_escaped_in_the_scoreboard(tmp_path):
    (tmp_path / "31").mkdir()
    spoilt = {"ours": "a|b\n<script>&", "device": "<b>\n\nCPU|"}
    (tmp_path / "31/claims.json").write_text(json.dumps({"G34": ENTRY | spoilt}))
    table = scoreboard(tmp_path).split("\n")
    (row,) = [line for line in table if "G34" in line]
    assert "a\\|b &lt;script>&amp;" in row and "&lt;b> CPU\\|" in row


# ------------------------------------------------------------------ the bench


def test_smoke_trains_and_a_claim_stays_undecided(checkout, capsys):
    bench = Bench("31_synthetic_memory", preset="smoke")
    runs = bench.runs("copy")
    assert capsys.readouterr().out == ""  # no progress in a notebook unless one asks for training
    assert sorted(set(runs.frame.gate)) == ["-", "UR"] and runs.info.status.eq("finished").all()
    assert stems(checkout / "runs/smoke/31_synthetic_memory/runs") == [
        "copy_lstm_-_smoke_s1.csv",
        "copy_lstm_UR_smoke_s1.csv",
    ]
    bench.claim("G34", stuck(runs, "-"), "loss 2.1", runs=runs.only("-"))
    line = capsys.readouterr().out
    assert line == (
        "G34 inconclusive · The LSTM makes no progress on Copy "
        "· paper log 8 = 2.079 · ours loss 2.1\n"
    )
    kept = json.loads((checkout / "runs/smoke/31_synthetic_memory/claims.json").read_text())["G34"]
    assert kept["verdict"] == "inconclusive" and kept["seeds"] == [1] and kept["preset"] == "smoke"
    assert kept["device"] == "CPU" and kept["commit"]


def test_laptop_reads_committed_runs_only(checkout, capsys, monkeypatch):
    p = replace(TINY, preset="laptop", seeds=3)
    monkeypatch.setitem(experiments.PROTOCOLS, ("copy", "laptop"), p)
    bench = Bench("31_synthetic_memory", preset="laptop")
    runs = bench.runs("copy")
    out = capsys.readouterr().out
    assert not runs and "no stored runs of copy (lstm) at laptop" in out and "--recompute" in out
    bench.claim("G34", stuck(runs, "-"), "nothing", runs=runs)
    assert "G34 not attempted yet" in capsys.readouterr().out
    assert not (bench.out / "claims.json").exists() and not (checkout / "figures").exists()
    folder = checkout / "figures/31_synthetic_memory/runs"
    for seed in (1, 2, 3):
        store(folder, "-", seed, [2.1, 2.1, 2.1, 2.05])
    runs = bench.runs("copy")
    bench.claim("G34", stuck(runs, "-"), "2.05 of 2.079", runs=runs.only("-"))
    bench.claim("G36", True, "no UR yet", runs=runs)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("G34 seen") and lines[1].startswith("G36 inconclusive")
    bench.claim("G77", True, "of Adding nothing", runs=[runs.only("-"), bench.runs("adding")])
    kept = json.loads((bench.out / "claims.json").read_text())
    assert kept["G77"]["scale"] == kept["G34"]["scale"] and "of 256" in kept["G77"]["scale"]


def test_what_was_not_measured_says_so():
    entry = ENTRY | {"preset": "measured", "seeds": []}
    assert evidence(entry | {"verdict": UNTESTABLE}) == "not measured"
    assert evidence(entry | {"verdict": "seen"}).startswith("measured · ")


def test_runs_of_another_notebook_are_read_and_never_trained(checkout, monkeypatch, capsys):
    p = replace(TINY, preset="laptop", seeds=3)
    monkeypatch.setitem(experiments.PROTOCOLS, ("copy", "laptop"), p)
    trained = lambda *_, **__: pytest.fail("trained")  # noqa: E731
    monkeypatch.setattr("urgates.lab.book.bench.run_missing", trained)
    store(checkout / "figures/31/runs", "-", 1, [2.1] * 4)
    for recompute in (False, True):
        bench = Bench("32", preset="laptop", recompute=recompute)
        assert [path.parts[-3] for path in bench.runs("copy", of="31").paths] == ["31"]
    store(checkout / "runs/laptop/31/runs", "UR", 1, [2.1] * 4)
    fresh = Bench("32", preset="laptop", recompute=True).runs("copy", of="31")
    assert fresh.complete == {"-": [], "UR": [1]}  # retrained runs go before the committed ones
    assert not Bench("32", preset="smoke").runs("copy", of="31")
    assert "urgates run 31 --preset smoke" in capsys.readouterr().out


def test_a_claim_on_several_groups_needs_the_seeds_of_all(checkout, monkeypatch, capsys):
    p = replace(TINY, preset="laptop", seeds=3)
    monkeypatch.setitem(experiments.PROTOCOLS, ("copy", "laptop"), p)
    for seed in (1, 2, 3):
        store(checkout / "figures/31/runs", "-", seed, [2.1] * 4)
        store(checkout / "figures/32/runs", "-", seed, [2.1] * 4)
        if seed < 3:
            store(checkout / "figures/32/runs", "UR", seed, [2.1] * 4)
    bench = Bench("32", preset="laptop")
    theirs, ours = bench.runs("copy", of="31").only("-"), bench.runs("copy")
    bench.claim("G34", True, "", runs=[theirs, ours.only("-")])
    bench.claim("G36", True, "", runs=[theirs, ours.only("-", "UR")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("G34 seen") and lines[1].startswith("G36 inconclusive")
    kept = json.loads((bench.out / "claims.json").read_text())
    assert kept["G34"]["seeds"] == [1, 2, 3] and kept["G36"]["seeds"] == [1, 2]
    fig = Figure()
    fig.subplots()
    groups = [theirs, ours.only("-"), bench.runs("copy", "gru")]  # nobody has trained the last
    bench.save(fig, "both", data=pd.DataFrame({"x": [1]}), runs=groups)
    meta = json.loads((bench.out / "both.json").read_text())
    assert meta["runs"][0] == "../31/runs/copy_lstm_-_laptop_s1.csv"
    assert meta["runs"][-1] == "runs/copy_lstm_-_laptop_s3.csv" and meta["protocol"] == p.digest


def test_runs_at_one_rate_of_a_sweep(checkout):
    rates = (TINY.lr, 1e-2)
    runs = Bench("31", preset="smoke").runs("copy", gates=("UR",), rates=rates)
    assert sorted(runs.info.lr) == sorted(rates) and runs.complete == {"UR": [1]}
    assert set(runs.at(1e-2).frame.lr) == {1e-2} and len(runs.at(1e-2).paths) == 1
    assert runs.at(1e-2).tried == {}  # asked for, not chosen
    assert runs.at({"UR": 1e-2}).only("UR").tried == {"UR": 2}
    partly = Bench("31", preset="smoke").runs("copy", gates=("UR",))
    wider = Runs(partly.folder, TINY, "lstm", (1,), ("UR",), rates=(*rates, 0.1))
    assert wider.complete == {"UR": []}  # a seed counts when it has trained at every rate


def test_a_task_that_is_for_some_gates_leaves_out_the_others(checkout, capsys):
    for name in (*GATES, "CM", "PFM", "USR"):
        assert mastered(name) == (find_gate(name).auxiliary == "master"), name
    assert not mastered("greedy")  # a bandit's
    bench = Bench("31", preset="laptop", gates="UR,CM")
    assert bench.runs("copy", where=mastered).read == ("CM",)
    assert capsys.readouterr().out.startswith("no stored runs of copy")
    runs = Bench("31", preset="laptop", gates="UR").runs("copy", where=mastered)
    assert runs.read == () and capsys.readouterr().out == ""  # none of them was asked for


def test_a_filter_of_gates_cannot_decide_claims_about_others(checkout, monkeypatch):
    p = replace(TINY, preset="laptop", seeds=3)
    monkeypatch.setitem(experiments.PROTOCOLS, ("copy", "laptop"), p)
    for seed in (1, 2, 3):
        for gate in ("-", "UR"):
            store(checkout / "figures/31/runs", gate, seed, [2.1, 2.1, 2.1, 2.05])
    runs = Bench("31", preset="laptop", gates="-").runs("copy")
    assert set(runs.frame.gate) == {"-"}
    assert verdict("trained", True, "laptop", runs.complete) == "inconclusive"
    assert verdict("trained", True, "laptop", runs.only("-").complete) == "seen"
    assert verdict("trained", True, "laptop", runs.only("UR").complete) == UNTESTABLE


def test_recompute_trains_shows_progress_and_takes_composed_gates(checkout, capsys):
    bench = Bench("31", preset="smoke", recompute=True, gates="UR, CR", seeds=2)
    runs = bench.runs("copy")
    assert set(runs.info.gate) == {"UR", "CR"} and set(runs.info.seed) == {1, 2}
    assert "copy lstm CR: step 20 of 20" in capsys.readouterr().out


def test_a_trial_trains_any_gate_and_stores_nothing(checkout):
    first = Bench("26_gate_ablations").trial("CR", seed=3, steps=5)
    assert len(first) == 5 and all(0 < loss < 10 for loss in first)
    assert first == Bench("26_gate_ablations").trial("CR", seed=3, steps=6)[:5]
    assert first != Bench("26_gate_ablations").trial("CR", seed=4, steps=5)
    assert not (checkout / "runs").exists()


def test_a_time_limit_leaves_partial_runs(checkout):
    runs = Bench("31", preset="smoke", limit_minutes=1e-9).runs("copy")
    assert not runs
    assert Bench("31", preset="smoke").runs("copy").complete == {"-": [1], "UR": [1]}


def test_exact_claims_need_no_runs_and_training_claims_do(checkout, capsys):
    bench = Bench("23_refine_gate")
    bench.claim("G10", np.bool_(True), "0.99")
    bench.claim("G25", False, "1.27, 1.56")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("G10 confirmed") and lines[1].startswith("G25 contradicted")
    kept = json.loads((checkout / "runs/exact/23_refine_gate/claims.json").read_text())
    assert list(kept) == ["G10", "G25"] and kept["G10"]["preset"] == "text"
    with pytest.raises(ValueError, match=r"runs must be those that decide G34, got None"):
        bench.claim("G34", True, "")
    with pytest.raises(ValueError, match=r"name must be one of G01.*got 'G0'"):
        bench.claim("G0", True, "")
    with pytest.raises(ValueError, match=r"holds must be one of .*, got 'yes'"):
        bench.claim("G10", "yes", "")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"preset": "huge"}, r"preset must be one of .*laptop.*, got 'huge'"),
        ({"gates": "UR,XX"}, "XX"),
        ({"gates": "UR, UR"}, "gates must have every name once, got 'UR, UR'"),
        ({"seeds": -1}, r"seeds must be a whole number.*, got -1"),
        ({"device": "abacus"}, r"device must be auto.*, got 'abacus'"),
        ({"device": "meta"}, r"device must be auto.*, got 'meta'"),
        ({"limit_minutes": -1.0}, r"limit_minutes must be 0 .*got -1"),
        ({"limit_minutes": float("nan")}, r"limit_minutes must be 0 .*got nan"),
        ({"recompute": "yes"}, "recompute must be True or False, got 'yes'"),
    ],
)
def test_bench_refuses_unknown_values(checkout, change, text):
    with pytest.raises(ValueError, match=text):
        Bench("31", **{"preset": "smoke", **change})


def test_save_writes_picture_numbers_and_provenance(checkout, capsys):
    bench = Bench("31", preset="smoke")
    runs = bench.runs("copy")
    fig = Figure()
    fig.subplots().plot([1, 2], [3, 4])
    bench.save(fig, "fig3_left", data=pd.DataFrame({"x": [1]}), paper="Fig. 3 left", runs=runs)
    place = checkout / "runs/smoke/31"
    assert (place / "fig3_left.png").exists() and (place / "fig3_left.csv").exists()
    meta = json.loads((place / "fig3_left.json").read_text())
    assert meta["paper"] == "Fig. 3 left" and meta["seeds"] == [1] and meta["preset"] == "smoke"
    assert meta["runs"] == [f"runs/copy_lstm_{g}_smoke_s1.csv" for g in ("-", "UR")]
    caption = "fig3_left.csv · smoke · seeds 1 · data " + meta["sha256"]["csv"][:8]
    assert capsys.readouterr().out.splitlines()[-1] == caption


def test_a_figure_without_numbers_is_not_saved_and_runs_without_files_cost_nothing(
    checkout, monkeypatch, capsys
):
    p = replace(TINY, preset="laptop", seeds=3)
    monkeypatch.setitem(experiments.PROTOCOLS, ("copy", "laptop"), p)
    bench = Bench("31", preset="laptop")
    none = bench.runs("copy")
    bench.save(Figure(), "fig3_left", data=none.frame, runs=none)
    bench.cost(none)
    assert capsys.readouterr().out.splitlines()[1:] == ["fig3_left: nothing to draw yet"]
    assert not bench.out.exists()
    store(checkout / "figures/31/runs", "-", 1, [2.1] * 4)
    bench.cost(none, bench.runs("copy"))
    assert capsys.readouterr().out.startswith("lstm copy at laptop: 0 min in all")


def test_a_saved_figure_is_shown_with_its_alternative_text_and_reading(checkout, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda what, **how: shown.append((what, how)))
    bench = Bench("20_gated_rnns")
    fig = Figure()
    fig.subplots()
    bench.save(fig, "decay", data=pd.DataFrame({"x": [1]}))
    (picture, how), (reading, _) = shown
    alt = json.loads((bench.out / "decay.json").read_text())["alt"]
    assert alt.startswith("Four falling curves") and picture["text/plain"] == alt
    assert how == {"raw": True, "metadata": {"image/png": {"alt": alt}}}
    assert b64decode(picture["image/png"]) == (bench.out / "decay.png").read_bytes()
    assert reading.data.startswith("*How to read it.* Each dot")


def test_timings_are_measured_once_and_carry_their_provenance(checkout, capsys):
    from urgates.lab.book.contenders import Case

    cases = [Case(hidden=8, time=3, batch=2, inputs=1, downsize=4)]
    how = {"pairs": 1, "threads": 1, "seconds": 0.001}
    laptop = Bench("X1_kernels", preset="laptop")
    with pytest.raises(ValueError, match="no stored table 'lstm' at laptop; this makes it"):
        laptop.timings("lstm", cases, **how)
    smoke = Bench("X1_kernels", preset="smoke")
    first = smoke.timings("lstm", cases, **how)
    assert "UR-LSTM" in capsys.readouterr().out
    assert smoke.timings("lstm", cases, **how).equals(first)
    path = smoke.runs_folder / "lstm_smoke.csv"
    for digits in ("8189427", "12e4567"):  # hashes that look like numbers
        path.write_text(path.read_text().replace(str(first.commit[0]), digits))
        first = smoke.timings("lstm")
        assert first.commit[0] == digits
    fig = Figure()
    fig.subplots()
    smoke.save(fig, "bars", data=first)
    meta = json.loads((smoke.out / "bars.json").read_text())
    assert meta["preset"] == "smoke" and meta["device"] == "CPU"
    assert meta["commit"] == first.commit[0]
    assert f"measured at {meta['commit']}" in capsys.readouterr().out


def test_tables_are_read_back_as_stored_and_made_only_where_runs_are_trained(checkout):
    made = []

    def make():
        made.append(len(made))
        return pd.DataFrame({"gate": ["-"], "share": [1 / 3], "round": [len(made)]})

    laptop = Bench("32", preset="laptop")
    with pytest.raises(
        ValueError, match=r"no stored table 'seen' at laptop.*run 32 --preset laptop"
    ):
        laptop.table("seen", make)
    assert not made, "nothing is made where stored results are read"
    smoke = Bench("32", preset="smoke")
    first = smoke.table("seen", make)
    assert first.to_dict("list") == {"gate": ["-"], "share": [0.333333], "round": [1]}
    assert smoke.table("seen", make, once=True).equals(first) and len(made) == 1
    assert smoke.table("seen", make)["round"][0] == 2, "other gates or seeds, perhaps"
    again = Bench("32", preset="smoke", recompute=True).table("seen", make, once=True)
    assert again["round"][0] == 3
    assert (checkout / "runs/smoke/32/runs/seen_smoke.csv").exists()
    commits = pd.DataFrame({"commit": ["31415e9", "2718281"]})
    assert smoke.table("commits", lambda: commits).equals(commits)


def test_cards(checkout):
    assert "| preset | smoke |" in Bench("31", preset="smoke")._repr_markdown_()
    assert "nothing is trained" in Bench("23_refine_gate")._repr_markdown_()
    assert repr(Bench("31", preset="smoke")) == "Bench('31', smoke, trains)"
    assert "def verdict(" in show_source(claims.verdict).data
    both = show_source(claims.verdict, claims.summary).data
    assert both.count("```") == 2 and both.index("def verdict(") < both.index("def summary(")
    assert set(protocol("copy", "paper").gates) == set(GATES)
