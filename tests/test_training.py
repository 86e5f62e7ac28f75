"""Training: stacks of seeds, clipping, divergence, and runs that survive kill, disk and damage."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from tolerances import assert_close
from torch.func import functional_call

from urgates.lab.devices import choose_device
from urgates.lab.experiments import PROTOCOLS, Protocol, protocol
from urgates.lab.jobs import Job, RunKey
from urgates.lab.learners.networks import build
from urgates.lab.learners.supervised import Stack, norms
from urgates.lab.store import files as storage
from urgates.lab.store.files import CheckpointError, load_checkpoint, locked, save_checkpoint
from urgates.lab.store.record import keys
from urgates.lab.tasks import Pixels
from urgates.lab.tasks.images import SCORES
from urgates.lab.train import train, trained

TINY = replace(
    protocol("copy", "smoke"), task_options={"length": 3}, hidden=16, batch=4, steps=40, log_every=5
)


def quiet(p, cell, gate, seeds, folder, *, rates=(), **kwargs):
    train(Job(p, cell, gate, seeds, rates), folder, progress=False, **kwargs)


def stack_of(p, cell, gate, seeds, rates=()):
    return Stack(Job(p, cell, gate, seeds, rates))


def files(folder, suffix=".csv"):
    return {p.name: p.read_bytes() for p in sorted(folder.glob(f"*{suffix}"))}


# ------------------------------------------------------------------ protocols


@pytest.mark.parametrize("key", PROTOCOLS)
def test_every_number_of_a_protocol_has_a_source(key):
    p = PROTOCOLS[key]
    assert (p.task, p.preset) == key
    for name in ("task_options", "hidden", "batch", "steps", "lr", "clip", "downsize", "seeds"):
        assert p.source[name]
    assert p.clip == 1.0 or p.learner == "streamed"
    assert p.source["hidden"] in p._repr_markdown_()


def test_paper_protocols_hold_the_paper_s_numbers():
    copy, adding = protocol("copy", "paper"), protocol("adding", "paper")
    assert (copy.hidden, copy.lr, copy.steps, copy.make_task().length) == (256, 1e-3, 100_000, 500)
    assert (adding.hidden, adding.lr, adding.make_task().length) == (256, 1e-3, 2000)
    forgetting = protocol("forgetting", "paper")
    assert (forgetting.hidden, forgetting.lr, forgetting.steps) == (64, 1e-4, 20_000)
    assert forgetting.forget_bias == 6.0
    pmnist = protocol("pmnist", "paper")
    assert (pmnist.hidden, pmnist.batch, pmnist.downsize) == (512, 50, 16)
    assert pmnist.sweep == (2e-4, 5e-4, 1e-3, 2e-3)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"hidden": 0}, "hidden must be a positive int, got 0"),
        ({"lr": float("nan")}, "lr must be a finite number, got nan"),
        ({"downsize": 7}, "downsize must divide hidden 16, got 7"),
        ({"log_every": 7}, "log_every must divide steps 40, got 7"),
        ({"eval_every": 7}, "eval_every must be a multiple of log_every 5, got 7"),
    ],
)
def test_protocol_refuses_what_cannot_run(change, text):
    with pytest.raises(ValueError, match=text):
        replace(TINY, **change)


def test_unknown_task_and_preset_are_named():
    with pytest.raises(ValueError, match=r"task must be .*copy.*got 'copi'"):
        protocol("copi", "smoke")
    with pytest.raises(ValueError, match=r"preset must be .*laptop.*got 'huge'"):
        protocol("copy", "huge")


def test_digest_follows_the_numbers_only():
    assert replace(TINY, seeds=5, preset="paper").digest == TINY.digest
    assert replace(TINY, lr=1e-3).digest != TINY.digest


# ------------------------------------------------------------------ the stack


def test_a_seed_starts_every_gate_alike_and_draws_its_gate_bias_once():
    plain, uniform, refined = (build(TINY, "lstm", g, 3) for g in ("-", "U", "UR"))
    for name in ("rnn.weight_ih_l0", "rnn.weight_hh_l0", "head.weight"):
        assert torch.equal(plain.get_parameter(name), refined.get_parameter(name))
    assert torch.equal(uniform.rnn.gate_bias_l0, refined.rnn.gate_bias_l0)
    other = build(TINY, "lstm", "UR", 4)
    assert not torch.equal(other.rnn.weight_ih_l0, refined.rnn.weight_ih_l0)


@pytest.mark.parametrize(
    ("task", "gate", "tied"),
    [("forgetting", "R", True), ("forgetting", "-", False), ("forgetting-tied", "-", True)],
)
def test_forgetting_starts_saturated(task, gate, tied):
    network = build(protocol(task, "paper"), "lstm", gate, 1)
    x = torch.zeros(1, 1, 2)  # at h = 0 and x = 0 only the biases speak
    effective = network.rnn.gates(x)
    expected = torch.full((64,), 6.0).sigmoid()
    torch.testing.assert_close(effective["g"].flatten(), expected)
    written = 1 - expected if tied else torch.full((64,), 0.5)
    torch.testing.assert_close(effective["i"].flatten(), written, atol=1e-6, rtol=0)


def one_model_steps(p, cell, gate, seed, steps):
    """An oracle: one unstacked network, torch's own clipping, a plain loop; the last gradients."""
    task, network = p.make_task(), build(p, cell, gate, seed)
    adam = torch.optim.Adam(network.parameters(), lr=p.lr)
    losses = []
    for step in range(steps):
        x, target = task.batch(seed, step, p.batch)
        loss = task.loss(network(x), target)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), p.clip)
        adam.step()
        losses.append(loss.item())
    return torch.tensor(losses), {name: w.grad for name, w in network.named_parameters()}


@pytest.mark.parametrize(("cell", "gate"), [("lstm", "UR"), ("lstm", "OM"), ("gru", "-")])
def test_stack_equals_single_models_with_torch_s_clipping(cell, gate):
    p = replace(TINY, clip=0.05)  # small enough that clipping always acts
    stack = stack_of(p, cell, gate, (1, 2, 7))
    stacked = torch.stack([stack.advance()["loss"] for _ in range(8)])
    for m, seed in enumerate(stack.seeds):
        losses, gradients = one_model_steps(p, cell, gate, seed, 8)
        torch.testing.assert_close(stacked[:, m], losses, rtol=1e-5, atol=0)
        for name, g in gradients.items():  # Adam hides their scale from the losses
            assert_close(name, stack.parameters[name].grad[m], g, 1e-3)


def test_a_row_is_the_mean_of_the_steps_since_the_last(tmp_path):
    p = replace(TINY, steps=15)
    quiet(p, "lstm", "UR", (1,), tmp_path)
    lines = (tmp_path / "copy_lstm_UR_smoke_s1.csv").read_text().splitlines()
    stored = {int(row["step"]): float(row["loss"]) for row in csv.DictReader(lines)}
    losses, _ = one_model_steps(p, "lstm", "UR", 1, 15)
    assert list(stored) == [5, 10, 15]
    assert list(stored.values()) == pytest.approx(losses.view(3, 5).mean(1).tolist(), rel=1e-4)


def test_a_sweep_of_learning_rates_is_one_stack():
    job = Job(TINY, "lstm", "UR", (1, 2), (1e-2, 3e-3))
    sweep = Stack(job)
    alone = [stack_of(job.at(rate), "lstm", "UR", (seed,)) for rate, seed in job.models]
    for _ in range(5):
        sweep.advance()
        for stack in alone:
            stack.advance()
    for m, stack in enumerate(alone):
        for name, p in stack.parameters.items():
            torch.testing.assert_close(sweep.parameters[name][m], p[0], rtol=1e-4, atol=1e-6)
    assert not torch.equal(sweep.parameters["head.weight"][0], sweep.parameters["head.weight"][2])
    later = Stack(job)
    later.restore(*sweep.state())
    for stack in (sweep, later):
        stack.advance()
    for name, p in sweep.parameters.items():
        assert torch.equal(p, later.parameters[name]), name
    with pytest.raises(ValueError, match="rates must be within"):
        stack_of(TINY, "lstm", "UR", (1, 2), rates=(1.5,))
    with pytest.raises(ValueError, match="seeds must be different ones"):
        Job(TINY, "lstm", "UR", (1, 1))


def test_every_gate_sees_the_same_data():
    seen = {}
    for gate in ("-", "UR"):
        stack = stack_of(TINY, "lstm", gate, (1, 2))
        batches = []
        batch = stack.task.batch
        object.__setattr__(
            stack.task,
            "batch",
            lambda *a, keep=batches, make=batch: keep.append(make(*a)) or keep[-1],
        )
        stack.advance(), stack.advance()
        seen[gate] = batches
    assert len(seen["-"]) == 4
    for a, b in zip(seen["-"], seen["UR"], strict=True):
        assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
    assert not torch.equal(seen["-"][0][0], seen["-"][1][0])


def test_a_diverged_model_is_frozen_and_the_others_do_not_notice():
    healthy, ill = (stack_of(TINY, "lstm", "UR", (1, 2, 3)) for _ in range(2))
    for _ in range(3):
        healthy.advance(), ill.advance()
    with torch.no_grad():
        ill.parameters["head.weight"][1] = float("inf")
    frozen = {k: p[1].clone() for k, p in ill.parameters.items()}
    for _ in range(3):
        fine, scores = healthy.advance(), ill.advance()
    assert ill.died_at == [None, 3, None]
    assert not scores["loss"][1].isfinite()
    for m in (0, 2):
        assert scores["loss"][m] == fine["loss"][m]
        for name, p in ill.parameters.items():
            assert torch.equal(p[m], healthy.parameters[name][m])
    for name, p in ill.parameters.items():
        assert torch.equal(p[1], frozen[name])


def test_a_gradient_whose_square_overflows_is_clipped_and_one_that_is_not_finite_is_not():
    gradients = [torch.ones(4, 2, 3), torch.ones(4, 3)]
    for g in gradients:
        g[1] *= 1e27
    gradients[1][2, 0], gradients[0][3, 0, 0] = torch.inf, torch.nan
    found = norms(gradients)
    assert found[:2].tolist() == pytest.approx([3, 3e27], rel=1e-6)
    assert not found[2:].isfinite().any()


def test_a_diverged_run_is_recorded_and_its_rows_stop(tmp_path, monkeypatch):
    advance = Stack.advance

    def poisoned(stack):
        if stack.step == 12:
            with torch.no_grad():
                stack.parameters["head.bias"][0] = float("nan")
        return advance(stack)

    monkeypatch.setattr(Stack, "advance", poisoned)
    quiet(TINY, "lstm", "UR", (1, 2), tmp_path)
    info = {s: json.loads((tmp_path / f"copy_lstm_UR_smoke_s{s}.json").read_text()) for s in (1, 2)}
    assert [(i["status"], i["died_at"]) for i in info.values()] == [
        ("diverged", 12),
        ("finished", None),
    ]
    rows = {s: (tmp_path / f"copy_lstm_UR_smoke_s{s}.csv").read_text().split() for s in (1, 2)}
    assert rows[1][-1].startswith("10,") and rows[2][-1].startswith("40,")


def test_unit_gates_are_means_over_batch_and_time():
    stack = stack_of(TINY, "lstm", "UR", (1, 2))
    stack.advance()
    units = stack.probe()[1]
    network = build(TINY, "lstm", "UR", 2)
    x, _ = stack.task.batch(2, TINY.steps, TINY.batch)
    own = {k: p[1] for k, p in stack.parameters.items() if k.startswith("rnn.")}
    network.load_state_dict({k: p[1] for k, p in stack.parameters.items()})
    assert own
    for name in ("f", "g"):
        mean = network.rnn.gates(x)[name].flatten(0, 1).mean(0)
        torch.testing.assert_close(torch.tensor(units[name]), mean, atol=1e-6, rtol=0)


def test_pixel_tasks_validate_and_test_the_best_weights(tmp_path):
    p = replace(protocol("pmnist", "smoke"), hidden=8, steps=40, log_every=10, eval_every=20)
    quiet(p, "lstm", "UR", (1, 2), tmp_path)
    lines = (tmp_path / "pmnist_lstm_UR_smoke_s1.csv").read_text().split()
    assert lines[0] == "step,loss,accuracy,valid_accuracy"
    validated = {int(line.split(",")[0]): line.split(",")[3] for line in lines[1:]}
    assert [step for step, value in validated.items() if value] == [20, 40]
    info = json.loads((tmp_path / "pmnist_lstm_UR_smoke_s1.json").read_text())
    best = max(validated.values(), key=lambda v: float(v or 0))
    assert float(best) == pytest.approx(info["best_valid_accuracy"], abs=1e-6)
    tensors, _ = load_checkpoint(tmp_path / "pmnist_lstm_UR_smoke_s1+2.safetensors")
    network, task = build(p, "lstm", "UR", 1), p.make_task()
    weights = {k: tensors[f"best/{k}"][0] for k in network.state_dict()}
    right = [
        functional_call(network, weights, (x,)).argmax(-1) == y
        for x, y in task.evaluate_batches("test", 100)
    ]
    assert torch.cat(right).float().mean().item() == pytest.approx(info["test_accuracy"], abs=1e-6)


def test_the_best_weights_are_those_of_the_best_validation(tmp_path, monkeypatch):
    """Beside a test set that gets worse as training goes on: its labels are wrong."""
    split = Pixels.split

    def mislabelled(task, name):
        x, y = split(task, name)
        return x, (y + 5) % 10 if name == "test" else y

    monkeypatch.setattr(Pixels, "split", mislabelled)
    p = replace(
        protocol("pmnist-long", "smoke"),
        **{"hidden": 32, "steps": 120, "lr": 1e-2, "log_every": 20, "eval_every": 20},
    )
    quiet(p, "lstm", "UR", (1, 2), tmp_path)
    for seed in (1, 2):
        network, task = trained(Job(p, "lstm", "UR", (seed,)), tmp_path), p.make_task()
        stem = tmp_path / f"pmnist-long_lstm_UR_smoke_s{seed}"
        rows = csv.DictReader(stem.with_suffix(".csv").read_text().splitlines())
        curve = {int(row["step"]): float(row["valid_accuracy"]) for row in rows}
        info = json.loads(stem.with_suffix(".json").read_text())
        assert info["best_step"] == max(curve, key=curve.get) > 20, curve
        for name, told in (("valid", max(curve.values())), ("test", info["test_accuracy"])):
            x, y = next(task.evaluate_batches(name, 1000))
            right = (network(x).argmax(-1) == y).double().mean().item()
            assert right == pytest.approx(told, abs=1e-6), name
        assert info["best_valid_accuracy"] == pytest.approx(max(curve.values()), abs=1e-6)


NOISY = replace(protocol("pmnist-zoneout", "smoke"), hidden=8, steps=12, log_every=2, eval_every=6)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_masks_depend_on_seed_and_step_alone_and_rest_when_answering(cell):
    first, again = (stack_of(NOISY, cell, "UR", (1, 2)) for _ in range(2))
    for _ in range(2):
        torch.manual_seed(torch.randint(1000, ()).item())  # the global generator does not matter
        a, b = first.advance(), again.advance()
        assert torch.equal(a["loss"], b["loss"])
    assert torch.equal(first.evaluate("valid")["accuracy"], first.evaluate("valid")["accuracy"])
    x, _ = first.task.batch(1, 0, 4)
    network = build(NOISY, cell, "UR", 1)
    assert network.rnn.zoneout == ((0.5, 0.05) if cell == "lstm" else (0.0, 0.1))
    assert not torch.equal(network(x), network(x))
    assert torch.equal(network.eval()(x), network(x))


def test_masks_are_a_seed_s_own_whatever_trains_beside_it():
    together, alone = (stack_of(NOISY, "lstm", "UR", seeds) for seeds in ((1, 2), (2,)))
    for _ in range(3):
        losses, own = together.advance()["loss"], alone.advance()["loss"]
        assert losses[1] == own[0] and losses[0] != own[0]
    sweep = stack_of(NOISY, "lstm", "UR", (2,), rates=(1e-3, 2e-3))
    first = sweep.advance()["loss"]
    assert first[0] == first[1], "one seed has one mask, whatever its rate"


def test_training_with_masks_resumes_to_the_same_bytes(tmp_path, monkeypatch):
    interrupted(tmp_path / "cut", 7, monkeypatch, NOISY)
    for folder in ("whole", "cut"):
        quiet(NOISY, "lstm", "UR", (1, 2), tmp_path / folder)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_a_sweep_is_stored_by_rate_and_resumes(tmp_path):
    p = replace(TINY, steps=20)
    rates = (p.lr, 2 * p.lr)
    quiet(p, "lstm", "UR", (1, 2), tmp_path, rates=rates, limit_minutes=1e-6)
    (begun,) = keys(tmp_path, Job(p, "lstm", "UR").group, ".safetensors")
    assert begun == Job(p, "lstm", "UR", (1, 2), rates).key == RunKey.parse(begun.stem)
    quiet(p, "lstm", "UR", (1, 2), tmp_path, rates=rates)
    stem = f"copy_lstm_UR_smoke_lr{2 * p.lr:g}_s"
    names = {"copy_lstm_UR_smoke_s1", "copy_lstm_UR_smoke_s2", f"{stem}1", f"{stem}2"}
    assert {path.stem for path in tmp_path.glob("*.csv")} == names
    info = json.loads((tmp_path / f"{stem}2.json").read_text())
    assert info["protocol"]["lr"] == 2 * p.lr and info["seed"] == 2
    assert info["digest"] == replace(p, lr=2 * p.lr).digest
    quiet(p, "lstm", "UR", (1, 2), tmp_path / "alone")
    first = "copy_lstm_UR_smoke_s1.csv"
    alone, swept = (
        [float(line.split(",")[1]) for line in (folder / first).read_text().split()[1:]]
        for folder in (tmp_path / "alone", tmp_path)
    )
    assert swept == pytest.approx(alone, rel=1e-4)


def test_a_trained_network_comes_back_with_its_best_weights(tmp_path):
    p = replace(protocol("pmnist-long", "smoke"), hidden=8, steps=20, log_every=10, eval_every=10)
    with pytest.raises(ValueError, match=r"s2.safetensors is missing: train pmnist-long_lstm_UR_"):
        trained(Job(p, "lstm", "UR", (2,)), tmp_path)
    quiet(p, "lstm", "UR", (1, 2), tmp_path)
    network, task = trained(Job(p, "lstm", "UR", (2,)), tmp_path), p.make_task()
    right = [network(x).argmax(-1) == y for x, y in task.evaluate_batches("test", 100)]
    info = json.loads((tmp_path / "pmnist-long_lstm_UR_smoke_s2.json").read_text())
    assert torch.cat(right).float().mean().item() == pytest.approx(info["test_accuracy"], abs=1e-6)
    with pytest.raises(ValueError, match=r"is of protocol .*, not"):
        trained(Job(replace(p, batch=7), "lstm", "UR", (2,)), tmp_path)


@pytest.mark.parametrize("score", SCORES)
def test_which_states_the_head_reads(score):
    task = replace(PROTOCOLS["pmnist", "smoke"].make_task(), score=score)
    head, h = task.head(6), torch.randn(3, 64, 6)
    target = torch.tensor([0, 4, 9])
    out, logits = task.decode(head, h), head(h)
    if score == "loss_all_steps":
        each = [torch.nn.functional.cross_entropy(logits[:, t], target) for t in range(64)]
        expected, answer = torch.stack(each).mean(), logits[:, -1]
    else:
        answer = logits[:, -1] if score == "last" else logits.mean(1)
        expected = torch.nn.functional.cross_entropy(answer, target)
    torch.testing.assert_close(task.loss(out, target), expected)
    share = (answer.argmax(-1) == target).float().mean()
    assert task.metrics(out, target)["accuracy"] == share


def test_an_unknown_score_is_named():
    with pytest.raises(ValueError, match=r"score must be one of last, mean_logits.*'first'"):
        replace(PROTOCOLS["pmnist", "smoke"].make_task(), score="first")


def test_bad_cell_and_device_are_named():
    with pytest.raises(ValueError, match=r"cell must be one of lstm, gru.*got 'rnn'"):
        build(TINY, "rnn", "UR", 1)
    with pytest.raises(ValueError, match=r"device must be auto.*got 'abacus'"):
        choose_device("abacus")


# ------------------------------------------------------------------ interruption

RUN = """
import os, signal, sys
from dataclasses import replace
from urgates.lab.experiments import protocol
from urgates.lab.jobs import Job
from urgates.lab.learners.supervised import Stack
from urgates.lab.train import train

advance = Stack.advance

def killed(stack):
    if stack.step == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return advance(stack)

Stack.advance = killed
tiny = dict(task_options={"length": 3}, hidden=16, batch=4, steps=200, log_every=5)
p = replace(protocol("copy", "smoke"), **tiny)
train(Job(p, "lstm", "UR", (1, 2)), sys.argv[1], "cpu", checkpoint_seconds=0.05, progress=False)
"""


def test_killed_and_started_again_ends_with_the_same_bytes(tmp_path):
    def run(folder, kill_at):
        command = [sys.executable, "-c", RUN, tmp_path / folder, str(kill_at)]
        return subprocess.run(command).returncode

    killed = tmp_path / "killed"
    assert run("killed", 123) == -signal.SIGKILL
    csv = killed / "copy_lstm_UR_smoke_s1.csv"
    assert csv.read_bytes().count(b"\n") == 1 + 123 // 5
    assert (killed / "copy_lstm_UR_smoke_s1+2.safetensors").exists()
    with csv.open("ab") as file:
        file.write(b"125,0.1")  # a half-written line, as a kill may leave it
    assert run("killed", 999) == 0 and run("whole", 999) == 0
    assert files(killed) == files(tmp_path / "whole")
    assert json.loads((killed / "copy_lstm_UR_smoke_s1.json").read_text())["status"] == "finished"


def interrupted(folder, after, monkeypatch, p=TINY, **kwargs):
    """Train and stop with KeyboardInterrupt after `after` updates, a checkpoint every step."""
    advance = Stack.advance

    def stop(stack):
        if stack.step == after:
            raise KeyboardInterrupt
        return advance(stack)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Stack, "advance", stop)
        quiet(p, "lstm", "UR", (1, 2), folder, checkpoint_seconds=0, **kwargs)


@pytest.fixture(scope="module")
def whole_csv(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    quiet(TINY, "lstm", "UR", (1, 2), folder)
    return files(folder)


def test_ctrl_c_ends_the_step_and_saves(tmp_path, whole_csv, monkeypatch):
    advance = Stack.advance

    def interrupting(stack):
        if stack.step == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return advance(stack)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="step 8 of 40"):
            patch.setattr(Stack, "advance", interrupting)
            quiet(TINY, "lstm", "UR", (1, 2), tmp_path)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    _, state = load_checkpoint(tmp_path / "copy_lstm_UR_smoke_s1+2.safetensors")
    assert state["learner"]["step"] == 8
    quiet(TINY, "lstm", "UR", (1, 2), tmp_path)
    assert files(tmp_path) == whole_csv


def test_limit_minutes_stops_with_status_partial_and_goes_on(tmp_path, whole_csv):
    quiet(TINY, "lstm", "UR", (1, 2), tmp_path, limit_minutes=1e-6)
    info = json.loads((tmp_path / "copy_lstm_UR_smoke_s2.json").read_text())
    assert info["status"] == "partial" and info["steps"] < TINY.steps
    quiet(TINY, "lstm", "UR", (1, 2), tmp_path)
    assert files(tmp_path) == whole_csv


@pytest.mark.parametrize("damage", ["truncated", "flipped", "garbage"])
def test_a_damaged_checkpoint_gives_way_to_its_predecessor(
    tmp_path, whole_csv, monkeypatch, capsys, damage
):
    interrupted(tmp_path, 23, monkeypatch)
    path = tmp_path / "copy_lstm_UR_smoke_s1+2.safetensors"
    data = bytearray(path.read_bytes())
    if damage == "truncated":
        data = data[: len(data) // 2]
    elif damage == "flipped":
        data[-100] ^= 1
    else:
        data = b"not a checkpoint"
    path.write_bytes(data)
    quiet(TINY, "lstm", "UR", (1, 2), tmp_path)
    assert f"{path} is damaged" in capsys.readouterr().out
    assert files(tmp_path) == whole_csv


def test_without_a_good_checkpoint_nothing_is_thrown_away_silently(tmp_path, monkeypatch):
    interrupted(tmp_path, 23, monkeypatch)
    before = files(tmp_path)
    path = tmp_path / "copy_lstm_UR_smoke_s1+2.safetensors"
    for damaged in (path, path.with_name(path.name + ".prev")):
        damaged.write_bytes(damaged.read_bytes()[:99])
    with pytest.raises(CheckpointError, match=r"safetensors is damaged.*delete the file"):
        quiet(TINY, "lstm", "UR", (1, 2), tmp_path)
    assert files(tmp_path) == before


def test_a_checkpoint_that_lost_its_csv_says_so(tmp_path, monkeypatch):
    interrupted(tmp_path, 23, monkeypatch)
    csv = tmp_path / "copy_lstm_UR_smoke_s2.csv"
    csv.write_bytes(csv.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"s2.csv has \d complete rows.*expects 4"):
        quiet(TINY, "lstm", "UR", (1, 2), tmp_path)


def test_another_protocol_does_not_overwrite_a_run(tmp_path, monkeypatch):
    interrupted(tmp_path, 23, monkeypatch)
    with pytest.raises(ValueError, match="was trained under protocol"):
        quiet(replace(TINY, lr=1e-3), "lstm", "UR", (1, 2), tmp_path)


class FullDisk:
    """A file whose writes fail, as on a full disk, after half of the bytes arrived."""

    def __init__(self, file):
        self.file = file

    def write(self, data):
        self.file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_full_disk_under_the_csv(tmp_path, whole_csv, monkeypatch):
    interrupted(tmp_path, 23, monkeypatch)
    append = storage.CsvLog.append

    def full(log, values):
        if values[0] == 30:
            log._file = FullDisk(log._file)
        append(log, values)

    with monkeypatch.context() as patch, pytest.raises(OSError, match=r"s1.csv: the disk is full"):
        patch.setattr(storage.CsvLog, "append", full)
        quiet(TINY, "lstm", "UR", (1, 2), tmp_path)
    quiet(TINY, "lstm", "UR", (1, 2), tmp_path)
    assert files(tmp_path) == whole_csv


def test_full_disk_under_the_checkpoint(tmp_path, whole_csv, monkeypatch):
    interrupted(tmp_path, 23, monkeypatch)
    kept = files(tmp_path, ".safetensors")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(OSError, match=r"the disk is full.*resumes"):
        patch.setattr(storage.os, "fsync", full)
        quiet(TINY, "lstm", "UR", (1, 2), tmp_path, checkpoint_seconds=0)
    assert files(tmp_path, ".safetensors") == kept
    assert not list(tmp_path.glob("*.part"))
    quiet(TINY, "lstm", "UR", (1, 2), tmp_path)
    assert files(tmp_path) == whole_csv


def test_two_processes_do_not_train_the_same_run(tmp_path):
    with (
        locked(tmp_path / "copy_lstm_UR_smoke_s1.lock"),
        pytest.raises(RuntimeError, match="another process is training this run"),
    ):
        quiet(TINY, "lstm", "UR", (1, 2), tmp_path)


def test_a_checkpoint_holds_tensors_and_json_only(tmp_path):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, {"w": torch.arange(3.0)}, {"step": 1, "rows": [0.1 + 0.2]})
    tensors, state = load_checkpoint(path)
    assert torch.equal(tensors["w"], torch.arange(3.0)) and state == {
        "step": 1,
        "rows": [0.1 + 0.2],
    }
    header = int.from_bytes(path.read_bytes()[:8], "little")
    assert set(json.loads(path.read_bytes()[8 : 8 + header])) == {"__metadata__", "w"}
    with pytest.raises(TypeError):
        save_checkpoint(path, {"w": torch.zeros(1)}, {"code": print})
    assert load_checkpoint(tmp_path / "none.safetensors") is None


def test_progress_is_a_line_per_tenth(tmp_path, capsys):
    train(Job(TINY, "lstm", "-"), tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8 and lines[-1].startswith("copy lstm -: step 40 of 40, loss 2.")


def test_protocol_is_frozen():
    with pytest.raises(AttributeError):
        TINY.lr = 1.0
    assert isinstance(TINY, Protocol)
