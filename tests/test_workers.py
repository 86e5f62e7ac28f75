"""Processes that share a batch: the numbers of one alone, on any number of them, through kills."""

import csv
import json
import os
import shutil
import signal
import socket
import sys
from dataclasses import replace
from multiprocessing import get_context

import pytest
import torch
import torch.distributed as dist
from test_streamed import P, written
from tolerances import assert_close

from urgates.lab import experiments
from urgates.lab.jobs import Job
from urgates.lab.learners import workers
from urgates.lab.learners.share import Share
from urgates.lab.learners.streamed import Streamed
from urgates.lab.store.files import load_checkpoint
from urgates.lab.tasks import Text
from urgates.lab.train import train

P = replace(P, batch=4, steps=12, log_every=1, eval_every=4)
JOB = Job(P, "lstm", "UR", (1,))
gloo = pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="no gloo")


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setattr(Text, "corpus", written())


def split(parts):
    return replace(
        JOB, protocol=replace(P, learner_options=P.learner_options | {"accumulate": parts})
    )


# ------------------------------------------------------------------ the same numbers


def member(rank, port, job, folder, said, fate):
    """One of two processes; at step 7 rank 1 meets its fate, if it has one."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_PORT": str(port)}
    loopback = "lo" if sys.platform == "linux" else "lo0"
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": loopback}
    torch.set_num_threads(1)
    Text.corpus, advance = written(), Streamed.advance

    def fateful(self):
        if rank == 1 and self.step == 7 and fate == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if rank == 1 and self.step == 7 and fate:
            raise RuntimeError(fate)
        return advance(self)

    Streamed.advance = fateful
    try:
        with workers.team("cpu") as team:
            if rank:
                return team.follow()
            train(job, folder, "cpu", progress=False, checkpoint_seconds=0, make=team.learner)
    except (ConnectionError, ValueError) as error:
        said.put(str(error))


def two(job, folder, fate=""):
    """Train in two processes; what rank 0 had to say."""
    processes = get_context("forkserver")
    processes.set_forkserver_preload(["torch._dynamo", "urgates.lab.train"])  # or each would
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = processes.Queue()
    started = [
        processes.Process(target=member, args=(rank, port, job, folder, said, fate), daemon=True)
        for rank in range(2)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(300)
        assert process.exitcode is not None, "it hangs"
    return [said.get() for _ in range(1 - said.empty())], [p.exitcode for p in started]


def result(folder):
    """Losses and perplexities of a run, and all tensors of its checkpoint."""
    (path,), (checkpoint,) = folder.glob("*_s1.csv"), folder.glob("*_s1.safetensors")
    rows = [[float(v or 0) for v in row[1:]] for row in list(csv.reader(path.open()))[1:]]
    return load_checkpoint(checkpoint)[0] | {"scores": torch.tensor(rows)}


def assert_same(ours, theirs, ratio=1e-6):
    assert ours.keys() == theirs.keys()
    for name, x in theirs.items():
        assert_close(name, ours[name].double(), x.double(), ratio)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process makes of the whole batch."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "corpus", written())
        train(JOB, folder, "cpu", progress=False)
    return result(folder)


def test_parts_of_a_batch_come_to_the_whole(alone, tmp_path):
    train(split(2), tmp_path, "cpu", progress=False)
    assert_same(result(tmp_path), alone)


@gloo
def test_two_processes_come_to_what_one_does(alone, tmp_path):
    assert two(split(2), tmp_path) == ([], [0, 0])
    assert_same(result(tmp_path), alone)
    (record,) = tmp_path.glob("*_s1.json")
    assert json.loads(record.read_text())["processes"] == 2


@gloo
def test_a_killed_process_stops_all_and_any_number_goes_on(alone, tmp_path):
    said, codes = two(JOB, tmp_path / "cut", "killed")
    assert said == [
        "rank 1 of 2 processes was lost (it was killed or has crashed), so all stop; what was "
        "saved is whole, and the same command goes on from the last checkpoint"
    ]
    assert codes == [0, -signal.SIGKILL]
    (checkpoint,) = (tmp_path / "cut").glob("*.safetensors")
    tensors, state = load_checkpoint(checkpoint)
    assert state["learner"]["step"] == 7
    assert tensors["states/h"].shape == (1, 2, P.batch, P.hidden), "those of the whole batch"
    shutil.copytree(tmp_path / "cut", tmp_path / "one")
    train(JOB, tmp_path / "one", "cpu", progress=False)
    assert_same(result(tmp_path / "one"), alone)
    assert two(JOB, tmp_path / "cut") == ([], [0, 0])
    assert_same(result(tmp_path / "cut"), alone)


@gloo
def test_an_error_in_one_process_is_told_by_rank_0(tmp_path):
    (said,), (first, second) = two(JOB, tmp_path, "out of memory")
    assert "rank 1 of 2 processes was lost (RuntimeError: out of memory), so all stop" in said
    assert first == 0 and second == 1
    assert not list(tmp_path.glob("*.part"))


# ------------------------------------------------------------------ what is refused


def options(**more):
    return replace(JOB, protocol=replace(P, learner_options=P.learner_options | more))


@pytest.mark.parametrize(
    ("job", "share", "said"),
    [
        (options(layer=2), Share(), "learner_options must be one of layers, .*got 'layer'"),
        (options(accumulate=0), Share(), "accumulate must be a positive int, got 0"),
        (options(accumulate=3), Share(), r"a multiple of 1 processes × accumulate 3, got 4"),
        (options(accumulate=2), Share(1, 4), r"multiple of 4 processes × accumulate 2, got 4"),
        (options(autocast="fp8"), Share(), "autocast must be 'bfloat16' or '', got 'fp8'"),
        (replace(JOB, seeds=(1, 2)), Share(0, 2), r"seeds must be one where .*, got \[1, 2\]"),
        (replace(JOB, protocol=replace(P, zoneout={"lstm": (0.1, 0.1)})), Share(0, 2), "zoneout"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(job, share, said):
    with pytest.raises(ValueError, match=said):
        Streamed(job, "cpu", share)


def test_other_learners_and_devices_cannot_be_shared():
    job = Job(experiments.protocol("copy", "smoke"), "lstm", "-")
    with pytest.raises(ValueError, match=r"learner must be streamed where .*, got 'supervised'"):
        workers.Leader(job, None)
    with pytest.raises(ValueError, match=r"device must be auto, cpu or cuda where .*'cpu:0'"):
        with workers.team("cpu:0"):
            pass


# ------------------------------------------------------------------ mixed precision


def test_autocast_trains_in_bfloat16_and_keeps_float32(alone, tmp_path):
    train(options(autocast="bfloat16"), tmp_path, "cpu", progress=False)
    found = result(tmp_path)
    assert {x.dtype for name, x in found.items() if "/" in name} == {torch.float32}
    loss, full = found["scores"][:, 0], alone["scores"][:, 0]
    assert not torch.equal(loss, full)
    assert_close("loss", loss, full, 1e-2)  # eight bits
