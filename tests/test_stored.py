"""What is stored: bound by checksums, the same bytes for the same content, refused by name."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import kills
import pytest
import torch
from safetensors.torch import load_file

from urgates.lab.experiments import protocol
from urgates.lab.jobs import Job
from urgates.lab.store.files import CheckpointError, load_checkpoint, save_checkpoint
from urgates.lab.store.record import keys
from urgates.lab.store.runs import Runs, final_loss
from urgates.lab.store.stored import read_record
from urgates.lab.train import run_missing, trained

ROOT = Path(__file__).resolve().parents[1]
STEM = "copy_lstm_UR_smoke"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished stack of two seeds: CSVs, JSONs, models and the checkpoint."""
    folder = tmp_path_factory.mktemp("finished")
    kills.training(folder)
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of it, to spoil."""
    return shutil.copytree(finished, tmp_path / "runs")


def runs(folder: Path) -> Runs:
    return Runs(folder, kills.TINY, "lstm", kills.SEEDS, ("UR",))


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# ------------------------------------------------------------------ one run, three files


def test_a_run_s_json_knows_its_csv_and_its_model(folder):
    record = read_record(folder / f"{STEM}_s1.json")
    assert record["rows"] == 2 and set(record["sha256"]) == {"csv", "model"}
    assert runs(folder).complete == {"UR": [1, 2]}
    weights = load_file(folder / f"models/{STEM}_s2.safetensors")
    network = trained(Job(kills.TINY, "lstm", "UR", (2,)), folder)
    assert all(torch.equal(p, weights[name]) for name, p in network.state_dict().items())


def cut(path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def spoil_last_cell(path):
    path.write_text(path.read_text().rstrip("\n").rsplit(",", 1)[0] + ",nan\n")


def half_line(path):
    path.write_text(path.read_text() + "6,0.")


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("spoil", [cut, spoil_last_cell, half_line, Path.unlink])
def test_a_csv_other_than_recorded_is_refused_by_name(folder, spoil):
    path = folder / f"{STEM}_s2.csv"
    spoil(path)
    for read in (
        lambda: final_loss(runs(folder), "UR"),
        lambda: runs(folder).complete,
        lambda: kills.resumed(folder),
    ):
        with pytest.raises(ValueError, match=rf"{path.name}.*{STEM}_s2.json.*start the run again"):
            read()


@pytest.mark.parametrize("spoil", [flip, Path.unlink])
def test_a_model_other_than_recorded_is_refused_and_comes_back(folder, spoil):
    path = folder / f"models/{STEM}_s2.safetensors"
    data = path.read_bytes()
    spoil(path)
    for read in (
        lambda: trained(Job(kills.TINY, "lstm", "UR", (2,)), folder),
        lambda: runs(folder).complete,
    ):
        with pytest.raises(ValueError, match=rf"{path.name} is not the file .*s2.json.*start the"):
            read()
    (folder / f"{STEM}_s2.json").unlink()  # as the message says
    kills.resumed(folder)
    assert path.read_bytes() == data and runs(folder).complete == {"UR": [1, 2]}


def test_the_runs_of_an_earlier_version_are_read(folder):
    path = folder / f"{STEM}_s1.json"
    record = json.loads(path.read_text())
    del record["sha256"], record["rows"]
    path.write_text(json.dumps(record))
    assert runs(folder).complete == {"UR": [1, 2]}


def test_every_committed_run_is_bound_to_its_files():
    paths = sorted(ROOT.glob("figures/*/runs/*.json"))
    assert len(paths) >= 279
    for path in paths:
        record = read_record(path)
        assert record["sha256"]["csv"] and record["rows"] > 0, path
        model = path.parent / "models" / f"{path.stem}.safetensors"
        assert model.exists() == ("model" in record["sha256"]), path
    assert all(p.with_suffix(".json").exists() for p in ROOT.glob("figures/*/runs/*_s[0-9].csv"))


# ------------------------------------------------------------------ a stack is one


def test_no_run_of_a_stack_is_complete_before_the_last(folder):
    edit(folder / f"{STEM}_s2.json", status="partial")
    assert runs(folder).complete == {"UR": []}
    (folder / f"{STEM}_s2.json").unlink()
    assert runs(folder).complete == {"UR": []}
    assert set(runs(folder).info.status) == {"partial"}
    before = {path: path.read_bytes() for path in folder.glob("*_s1.*")}
    kills.resumed(folder)
    assert runs(folder).complete == {"UR": [1, 2]}
    assert {path: path.read_bytes() for path in before} == before, "wall_seconds included"


def test_a_stack_goes_on_as_a_whole_when_fewer_seeds_are_asked_for(folder, finished):
    (folder / f"{STEM}_s2.json").unlink()
    run_missing([Job(kills.TINY, "lstm", "UR")], folder, device="cpu", progress=False)
    assert kills.contents(folder) == kills.contents(finished)
    assert list(keys(folder, kills.JOB.group, ".safetensors")) == [kills.JOB.key]


def test_a_changed_protocol_takes_the_models_along(folder):
    changed = replace(kills.TINY, lr=1e-3)
    run_missing([Job(changed, "lstm", "UR")], folder, device="cpu", progress=False)
    old = Runs(folder / f"old-{kills.TINY.digest}", kills.TINY, "lstm", kills.SEEDS, ("UR",))
    assert old.complete == {"UR": [1, 2]}


# ------------------------------------------------------------------ checkpoints


def small(path: Path) -> bytes:
    tensors = {"w": torch.arange(3.0), "a": torch.zeros(2, 2, dtype=torch.float64)}
    save_checkpoint(path, tensors, {"step": 1, "rows": [0.1 + 0.2], "é": None})
    return path.read_bytes()


def test_the_same_content_gives_the_same_bytes(tmp_path, folder, finished):
    assert len({small(tmp_path / f"{k}.safetensors") for k in range(20)}) == 1
    kills.training(tmp_path / "again")
    for name in (f"{STEM}_s1.safetensors", f"{STEM}_s2.safetensors"):
        again = tmp_path / "again/models" / name
        assert again.read_bytes() == (finished / "models" / name).read_bytes()
    assert set(load_file(tmp_path / "0.safetensors")) == {"w", "a"}, "plain safetensors"


def test_no_flipped_bit_of_a_checkpoint_loads(tmp_path):
    path = tmp_path / "a.safetensors"
    data = bytearray(small(path))
    assert len(data) > 300
    for bit in range(8 * len(data)):
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CheckpointError, match=r"a.safetensors is damaged"):
            load_checkpoint(path)
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=r"a.safetensors is damaged"):
            load_checkpoint(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("learner", {"step": 4}), ("learner", 4), ("rows", [2]), ("rows", 2), ("seconds", None),
        ("best_step", {}), ("best_valid", [1.0]), ("csv_sha256", [None, None]),
        ("before", {}), ("digest", 7), ("results", [{}]),
    ],
)  # fmt: skip
def test_an_edited_state_is_refused_by_the_name_of_its_key(folder, key, value):
    path = folder / f"{STEM}_s1+2.safetensors"
    tensors, state = load_checkpoint(path)
    (folder / f"{STEM}_s1.json").unlink()
    for edited in (state | {key: value}, {k: v for k, v in state.items() if k != key}):
        if key == "results" and key not in edited:
            continue  # the state of a stack that is not done
        save_checkpoint(path, tensors, edited)
        with pytest.raises(CheckpointError, match=rf"1\+2.safetensors is damaged: .*'{key}' must"):
            kills.resumed(folder)


@pytest.mark.parametrize(
    ("key", "value"), [("step", "4"), ("step", 99), ("died_at", [None, "1"]), ("died_at", [None])]
)
def test_an_edited_state_of_the_learner_is_refused_too(folder, key, value):
    path = folder / f"{STEM}_s1+2.safetensors"
    tensors, state = load_checkpoint(path)
    (folder / f"{STEM}_s1.json").unlink()
    save_checkpoint(path, tensors, state | {"learner": state["learner"] | {key: value}})
    with pytest.raises(CheckpointError, match=rf"1\+2.safetensors is damaged: .*'{key}' must"):
        kills.resumed(folder)


def test_edited_tensors_are_refused_by_name(folder):
    path = folder / f"{STEM}_s1+2.safetensors"
    tensors, state = load_checkpoint(path)
    (folder / f"{STEM}_s1.json").unlink()
    name = "exp_avg/head.weight"
    without = {key: tensor for key, tensor in tensors.items() if key != name}
    for edited in (
        without,
        without | {name: tensors[name][:1]},
        tensors | {"weights/x": torch.ones(1)},
    ):
        save_checkpoint(path, edited, state)
        with pytest.raises(CheckpointError, match=r"tensor '(exp_avg/head.weight|weights/x)' must"):
            kills.resumed(folder)


# ------------------------------------------------------------------ protocols


def test_a_run_of_another_protocol_is_refused_by_name(folder):
    p = replace(runs(folder).protocol, batch=5)
    said = rf"{STEM}_s1.csv was trained under protocol \w+, not {p.digest}"
    with pytest.raises(ValueError, match=said):
        _ = Runs(folder, p, "lstm", (1, 2), ("UR",)).frame


def test_every_committed_run_is_of_the_protocol_it_is_read_under():
    for path in sorted(ROOT.glob("figures/*/runs/*.json")):
        record = read_record(path)
        p, rate = protocol(record["task"], record["preset"]), record["protocol"]["lr"]
        assert Job(p, record["cell"], record["gate"]).fits(record, rate), path


@pytest.mark.parametrize("gate, counts", [("-", False), ("UR", False), ("OM", True), ("CM", True)])
def test_units_that_share_a_master_gate_count_for_gates_that_have_one(gate, counts):
    run, now = (replace(kills.TINY, downsize=n) for n in (8, 4))
    record = {"digest": replace(run, lr=0.1).digest, "protocol": replace(run, lr=0.1).numbers}
    assert Job(run, "lstm", gate).fits(record, 0.1)
    assert Job(now, "lstm", gate).fits(record, 0.1) != counts
    assert not Job(now, "lstm", gate).fits(record, None)  # at another rate
    assert not Job(replace(now, hidden=16), "lstm", gate).fits(record, 0.1)
