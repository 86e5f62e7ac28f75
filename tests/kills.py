"""Simulated and real kills: die at the k-th file operation, start again, compare the ends.

`dying` makes this process die, as far as its files can tell, at an operation below a folder: a
write then arrives by half, and nothing is written any more. `python tests/kills.py` goes through
all operations of a training and of a publication, and sends 60 real SIGKILLs (minutes);
test_kills.py does a part of it.
"""

import builtins
import contextlib
import errno
import io
import itertools
import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from urgates.lab import places
from urgates.lab.book import publishing, runner
from urgates.lab.book.figures import VOLATILE
from urgates.lab.experiments import protocol
from urgates.lab.jobs import Job
from urgates.lab.store.files import load_checkpoint
from urgates.lab.train import run_missing, train

ROOT = Path(__file__).resolve().parents[1]
TINY = replace(
    protocol("copy", "smoke"),
    **{"task_options": {"length": 3}, "hidden": 8, "batch": 2, "downsize": 8},
    **{"steps": 4, "log_every": 2, "keep_models": True},
)
SEEDS = (1, 2)
JOB = Job(TINY, "lstm", "UR", SEEDS)


class Killed(BaseException):
    """The process is no more."""


class Deaths:
    """Counts the operations on files below `root` and dies at number `at` (0: never)."""

    def __init__(self, root: Path, at: int = 0, error: type | None = None):
        self.root, self.at, self.count = str(root), at, 0
        self.error = error or Killed

    def step(self, path: object = None) -> None:
        """One more operation; raises if it is the last, and at all that come after a kill."""
        if path is not None and not str(path).startswith(self.root):
            return
        self.count += 1
        if self.at and (self.count == self.at or (self.count > self.at and self.error is Killed)):
            if self.error is OSError:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise self.error


class _File:
    """A file open for writing, whose writes are operations."""

    def __init__(self, file, deaths: Deaths):
        self._file, self._deaths = file, deaths

    def write(self, data) -> int:
        try:
            self._deaths.step()
        except BaseException:
            self._file.write(data[: len(data) // 2])
            self._file.flush()
            raise
        return self._file.write(data)

    def __getattr__(self, name: str):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


@contextlib.contextmanager
def dying(root: Path, at: int = 0, error: type | None = None) -> Iterator[Deaths]:
    """Die (or fail with `error` once) at operation `at` below `root`; counts if `at` is 0."""
    deaths = Deaths(root, at, error)
    plain = {name: getattr(os, name) for name in ("replace", "fsync", "unlink", "mkdir", "rmdir")}
    real_open = builtins.open

    def opened(file, mode="r", *args, **kwargs):
        if not set(mode) & set("wax+") or not str(file).startswith(deaths.root):
            return real_open(file, mode, *args, **kwargs)
        deaths.step(file)
        return _File(real_open(file, mode, *args, **kwargs), deaths)

    def counted(name: str) -> Callable:
        def operation(path, *args, **kwargs):
            deaths.step(None if name == "fsync" else path)
            return plain[name](path, *args, **kwargs)

        return operation

    try:
        builtins.open = io.open = opened
        for name in plain:
            setattr(os, name, counted(name))
        yield deaths
    finally:
        builtins.open = io.open = real_open
        for name, function in plain.items():
            setattr(os, name, function)


def lasting(value):
    """JSON values without the keys that tell one execution from another."""
    if isinstance(value, dict):
        return {k: lasting(v) for k, v in value.items() if k not in (*VOLATILE, "seconds")}
    return [lasting(part) for part in value] if isinstance(value, list) else value


def contents(root: Path) -> dict[str, object]:
    """Every file below a folder, as far as an interruption must not change it; not `runs/`."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.startswith("runs"):
            continue
        if path.suffix == ".json":
            found[name] = lasting(json.loads(path.read_text()))
        elif path.suffix == ".safetensors" and path.parent.name != "models":
            tensors, state = load_checkpoint(path)
            weights = {key: tensor.numpy().tobytes() for key, tensor in tensors.items()}
            found[name] = weights, lasting(state)
        elif path.is_file() and path.suffix not in (".prev", ".lock"):
            found[name] = path.read_bytes()
    return found


def training(folder: Path) -> None:
    """Train two seeds together, with a checkpoint after each step."""
    train(JOB, folder, "cpu", progress=False, checkpoint_seconds=0)


def resumed(folder: Path) -> None:
    """What `urgates run` does with whatever a kill has left."""
    run_missing([JOB], folder, device="cpu", progress=False)


def operations(action: Callable[[Path], None], root: Path) -> int:
    """How many operations an action makes below a folder."""
    with dying(root) as deaths:
        action(root)
    return deaths.count


def survives(
    root: Path,
    at: int,
    action: Callable[[Path], None],
    again: Callable[[Path], None],
    expected: dict[str, object],
    error: type | None = None,
) -> list[str]:
    """Die at one operation, start again; the names of files that end otherwise than expected."""
    with contextlib.suppress(Killed, OSError), dying(root, at, error):
        action(root)
    again(root)
    found = contents(root)
    return [k for k in sorted(found.keys() | expected.keys()) if found.get(k) != expected.get(k)]


def book(root: Path) -> None:
    """A checkout with two notebooks, as if published long ago."""
    for name in ("20_one", "21_two"):
        figures = root / "figures" / name
        (figures / "runs").mkdir(parents=True)
        (root / "notebooks").mkdir(exist_ok=True)
        (root / f"notebooks/{name}.py").write_text("# a script\n")
        for path in (root / f"notebooks/{name}.ipynb", figures / "a.png", figures / "old.csv"):
            path.write_text("old\n")
        (figures / "runs" / "r.csv").write_text("step,loss\n")


def publication(root: Path) -> None:
    """Publish both, with what their execution would have left in the copy."""
    with publishing.staged(root) as copy:
        for name in ("20_one", "21_two"):
            figures = copy / "figures" / name
            (figures / "old.csv").unlink(missing_ok=True)
            new = (copy / f"notebooks/{name}.ipynb", figures / "a.png", figures / "runs/new.csv")
            for path in new:
                path.write_text("new\n")
        publishing.land(root, ["20_one", "21_two"])


def execution(root: Path) -> None:
    """Publish two notebooks in earnest, kernels and all."""
    reports = runner.run(places.find(root=root), publishing=True, jobs=1)
    assert not any(report.error for report in reports), [report.error for report in reports]


def scripts(root: Path) -> None:
    """A checkout with two notebooks that leave numbers."""
    header = next(ROOT.glob("notebooks/2*.py")).read_text().split("# %%")[0]
    cell = (
        "import pathlib\nout = pathlib.Path('../runs/exact/{0}')\nout.mkdir(parents=True)\n"
        "_ = (out / 'numbers.csv').write_text('x,y\\n1,2\\n')\nprint('{0}')"
    )
    for folder in ("urgates", "notebooks"):
        (root / folder).mkdir(parents=True)
    for name in ("20_one", "21_two"):
        parts = "# %% [markdown]\n# # Title", '# %% tags=["parameters"]\nseed: int = 0'
        text = "\n\n".join([header.rstrip(), *parts, f"# %%\n{cell.format(name)}\n"])
        (root / f"notebooks/{name}.py").write_text(text)


def killed(action: Callable[[Path], None], root: Path, seconds: float) -> bool:
    """Run an action in a process of its own and kill it by SIGKILL; whether it still ran."""
    process = os.fork()
    if not process:
        try:
            action(root)
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


def at_operations(base: Path) -> int:
    """A kill, and a full disk, at every operation of a training and of a publication."""
    tried = 0
    for error, (begin, action, again) in itertools.product(
        (Killed, OSError), ((Path.mkdir, training, resumed), (book, publication, publication))
    ):
        whole = base / f"whole-{action.__name__}-{error.__name__}"
        begin(whole)
        count, expected = operations(action, whole), contents(whole)
        for at in range(1, count + 1):
            root = base / f"{action.__name__}-{error.__name__}-{at}"
            begin(root)
            wrong = survives(root, at, action, again, expected, error)
            assert not wrong, f"{root}: {wrong}"
            shutil.rmtree(root)
        print(f"{action.__name__}, {error.__name__}: {count} operations, all as if uninterrupted")
        tried += count
    return tried


def at_any_time(base: Path, seed: int = 1) -> int:
    """Real SIGKILLs at random times, until each action has been hit so often."""
    times, hits = random.Random(seed), 0
    plans = (
        (30, Path.mkdir, training, resumed), (20, book, publication, publication),
        (10, scripts, execution, execution),
    )  # fmt: skip
    for wanted, begin, action, again in plans:
        whole = base / f"random-{action.__name__}"
        begin(whole)
        start = time.monotonic()
        action(whole)
        took, expected = time.monotonic() - start, contents(whole)
        hit = tried = 0
        while hit < wanted:
            root, tried = base / f"random-{action.__name__}-{tried}", tried + 1
            begin(root)
            hit += killed(action, root, times.uniform(0, took))
            again(root)
            found = contents(root)
            wrong = {k for k in found.keys() | expected if found.get(k) != expected.get(k)}
            assert not wrong, f"{root}: {wrong}"
            shutil.rmtree(root)
        print(f"{action.__name__}: {hit} SIGKILLs in {tried} tries, all as if uninterrupted")
        hits += hit
    return hits


if __name__ == "__main__":
    torch.set_num_threads(1)  # the processes are forked
    with tempfile.TemporaryDirectory() as name:
        ends, kills = at_operations(Path(name)), at_any_time(Path(name))
    print(f"{ends} ends at operations and {kills} SIGKILLs: nothing lost, nothing changed")
