"""Engines: a killed process, driver or machine costs time and nothing else."""

import os
import secrets
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest
import sweeps
from kills import contents

from urgates.lab import executors
from urgates.lab.executors import RETRIES, execute

HERE = Path(__file__).resolve().parent
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{HERE.parent}:{HERE}"}
RAY = pytest.mark.skipif(
    not executors.here_is_ray(), reason="Ray is not installed (the extra [cluster])"
)
BOTH = pytest.mark.parametrize("engine", ["processes", pytest.param("ray", marks=RAY)])
HEAD, OTHER = "127.0.0.2", "127.0.0.3"  # two addresses of the loopback
PORT, STARTED = 6391, "Ray runtime started"
AGENTS = ("metrics-export", "dashboard-agent-listen", "dashboard-agent-grpc", "runtime-env-agent")


def note(path: Path, times: int = 0) -> None:
    """Note this process and its GPU, and kill it the first so many times."""
    with open(path, "a") as file:
        file.write(f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')}\n")
    if len(path.read_text().splitlines()) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)


def meet(path: Path, processes: int) -> None:
    """Note this process, and wait for the others."""
    note(path)
    sweeps.awaited(lambda: len(set(path.read_text().splitlines())) == processes)


def refuse() -> None:
    raise ValueError("as asked")


def ends(folder: Path, engine: str) -> list[int]:
    """Calls of which one is killed once, one always; how often each began."""
    calls = [partial(note, folder / name, n) for name, n in (("a", 0), ("b", 1), ("c", 99))]
    told = {}
    errors = execute([*calls, refuse], 2, told.__setitem__, engine=engine)
    assert told == dict(enumerate(errors))
    assert errors[:2] == [None, None] and str(errors[3]) == "as asked"
    lost = "WorkerCrashedError" if engine == "ray" else BrokenProcessPool.__name__
    assert type(errors[2]).__name__ == lost and isinstance(errors[3], ValueError)
    return [len((folder / name).read_text().splitlines()) for name in "abc"]


@BOTH
def test_a_killed_call_is_made_again_and_no_other_is_disturbed(tmp_path, engine, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ENV["PYTHONPATH"])  # Ray's processes are to find this file
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert ends(tmp_path, engine) == [1, 2, 1 + RETRIES]


def test_each_process_has_a_gpu_or_a_share_of_one_to_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(executors, "visible_gpus", lambda: ["3", "5"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for share, processes in ((None, 2), (0.5, 4)):
        path = tmp_path / str(share)
        assert not any(execute([partial(meet, path, processes)] * 8, 8, share=share))
        seen = {tuple(line.split()) for line in path.read_text().splitlines()}
        assert len(seen) == processes and {gpu for _, gpu in seen} == {"3", "5"}


def test_what_an_engine_cannot_do_is_refused():
    for wrong, said in (
        ({"engine": "steam"}, "engine must be one of processes, ray"),
        ({"engine": "processes", "address": "10.0.0.1:1"}, "address must be left out without Ray"),
        ({"share": 0}, "share must be a positive part of a GPU"),
    ):
        with pytest.raises(ValueError, match=said):
            execute([refuse], 2, **wrong)


def test_without_ray_its_engine_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"pip install 'urgates\[cluster\]'"):
        execute([refuse], 2, engine="ray")


# ------------------------------------------------------------------ a sweep that is killed


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What the sweep leaves when one process works on it and nothing happens."""
    root = tmp_path_factory.mktemp("whole")
    subprocess.run(
        [sys.executable, HERE / "sweeps.py", root, "processes", "1"], env=ENV, check=True
    )
    assert len(sweeps.begun(root)) == len(sweeps.QUEUE)
    return contents(root / "runs")


def driver(root: Path, engine: str, address: str = "", env=ENV, **how) -> subprocess.Popen:
    command = [sys.executable, str(HERE / "sweeps.py"), str(root), engine, "2", address]
    return subprocess.Popen(command, env=env, **how)


def killed_half_way(root: Path, start) -> None:
    """Kill a worker, then the driver, each amid a training; work on it again to the end."""
    first = start()
    stem, process = sweeps.awaited(lambda: sweeps.running(root))[0]
    os.kill(process, signal.SIGKILL)
    sweeps.awaited(lambda: [begun for begun, _ in sweeps.begun(root)].count(stem) == 2)
    sweeps.awaited(lambda: sweeps.done(root) and sweeps.running(root))
    first.kill()
    first.wait()
    ended, before = sweeps.done(root), sweeps.begun(root)
    assert ended and len(ended) < len(sweeps.QUEUE)
    assert start().wait() == 0
    again = [begun for begun, _ in sweeps.begun(root)[len(before) :]]
    assert len(again) == len({*again}) and not ended & {*again}
    assert start().wait() == 0 and len(sweeps.begun(root)) == len(before) + len(again)


@pytest.mark.long
@BOTH
def test_a_sweep_whose_worker_and_driver_are_killed_ends_as_if_nothing_had_happened(
    tmp_path, whole, engine
):
    killed_half_way(tmp_path, partial(driver, tmp_path, engine))
    assert contents(tmp_path / "runs") == whole


@pytest.mark.long
@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["driver", "all"])
@BOTH
def test_after_ctrl_c_what_trained_has_saved_and_nothing_else_has_begun(
    tmp_path, whole, engine, send
):
    """Whether the driver alone is told or, as by a terminal, all processes are."""
    ignored = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # by `&`
    first = driver(
        tmp_path, engine, env=ENV | {"SWEEP_SAVES": "1e9"}, start_new_session=True, **ignored
    )
    half = sweeps.awaited(lambda: len(at := sweeps.logging(tmp_path)) == 2 and at)
    ended, before = sweeps.done(tmp_path), sweeps.begun(tmp_path)
    assert steps(tmp_path, half) == [0, 0] and len(before) == len(half | ended)
    send(first.pid, signal.SIGINT)
    assert first.wait(300) == -signal.SIGINT
    assert sweeps.begun(tmp_path) == before and sweeps.done(tmp_path) == ended
    assert all(0 < made < sweeps.SLOW.steps for made in steps(tmp_path, half))
    assert driver(tmp_path, engine).wait() == 0
    again = [begun for begun, _ in sweeps.begun(tmp_path)[len(before) :]]
    assert len(again) == len({*again}) == len(sweeps.QUEUE) - len(ended)
    assert contents(tmp_path / "runs") == whole


def steps(root: Path, stems: set[str]) -> list[int]:
    """How many steps each has saved."""
    return [one.state(root)[1] for one in sweeps.QUEUE if one.job.key.stem in stems]


def ray_node(folder: Path, env, number: int, *options) -> subprocess.Popen:
    """A Ray node of one CPU as a process of its own, once it is up; it ends with it.

    On a busy machine Ray gives up after 15 s without these ports, after 30 s in any case.
    """
    ray = Path(sys.executable).with_name("ray")
    command = [str(ray), "start", "--block", "--num-cpus=1", "--object-store-memory=100000000"]
    command += [f"--{name}-port={PORT + 4 * number + k}" for k, name in enumerate(AGENTS, 1)]
    for k in range(5):
        said = folder / f"node-{number}-{k}.log"
        with open(said, "w") as log:
            node = subprocess.Popen([*command, *options], env=env, stdout=log, stderr=log)
        sweeps.awaited(lambda n=node, s=said: n.poll() is not None or STARTED in s.read_text())
        if node.poll() is None:
            return node
    raise RuntimeError(said.read_text())


def lost(node: subprocess.Popen) -> None:
    """Kill a node and all that it has started."""
    for process in [*psutil.Process(node.pid).children(recursive=True), node]:
        process.kill()
    node.wait()


@contextmanager
def two_nodes(folder: Path, env):
    """Two Ray nodes with addresses of their own; the head's process."""
    nodes, own = [], ("--head", f"--port={PORT}", "--include-dashboard=false")
    try:
        nodes.append(ray_node(folder, env, 0, *own, f"--node-ip-address={HEAD}"))
        own = ("--address", f"{HEAD}:{PORT}")
        nodes.append(ray_node(folder, env, 1, *own, f"--node-ip-address={OTHER}"))
        yield nodes[0]
    finally:
        for node in reversed(nodes):
            if node.poll() is None:
                lost(node)


@pytest.fixture
def env():
    """What lets processes join a cluster of this test alone."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    return (
        ENV
        | token
        | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_gcs_rpc_server_reconnect_timeout_s": "5"}
    )


@RAY
@pytest.mark.long
def test_so_does_one_on_two_machines(tmp_path, whole, env):
    with two_nodes(tmp_path, env):
        killed_half_way(tmp_path, partial(driver, tmp_path, "ray", f"{HEAD}:{PORT}", env))
    assert contents(tmp_path / "runs") == whole


@RAY
@pytest.mark.long
def test_a_lost_head_ends_the_sweep_which_then_goes_on_elsewhere(tmp_path, whole, env):
    start = partial(driver, tmp_path, "ray", f"{HEAD}:{PORT}", env)
    with two_nodes(tmp_path, env) as head:
        first = start()
        sweeps.awaited(lambda: sweeps.done(tmp_path) and sweeps.running(tmp_path))
        lost(head)
        assert first.wait(300) != 0
    ended, before = sweeps.done(tmp_path), len(sweeps.begun(tmp_path))
    assert ended and len(ended) < len(sweeps.QUEUE)
    with two_nodes(tmp_path, env):
        assert start().wait() == 0
    assert not ended & {begun for begun, _ in sweeps.begun(tmp_path)[before:]}
    assert contents(tmp_path / "runs") == whole
