"""Compiled kernels' files and failures: hanging compilers, spoilt caches, no memory."""

import os
import re
import stat
import subprocess
import sys
import time
import warnings

import pytest
import torch

import urgates
from urgates import kernels
from urgates.kernels import native
from urgates.kernels.native import build

pytestmark = pytest.mark.skipif(native.compiler() is None, reason="needs a C++ compiler")
posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs owners of files")
TEXT = 'extern "C" int answer() { return 42; }'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The cache folder of a process that has not compiled anything."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build._say_once.cache_clear()
    return tmp_path / "cache" / "urgates"


def quietly(text=TEXT):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return build.load(text)


def kept(folder):
    return sorted(path.name for path in folder.iterdir())


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


# ------------------------------------------------------------------ the compiler


def alive(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"


@posix
def test_a_hanging_compiler_is_ended_with_its_children_and_said_once(tmp_path, monkeypatch):
    cxx, pids = tmp_path / "cxx", tmp_path / "pids"
    cxx.write_text(f"#!/bin/sh\nsleep 600 &\necho $! $$ >> {pids}\nwait\n")
    cxx.chmod(0o700)
    monkeypatch.setenv("CXX", str(cxx))
    monkeypatch.setattr(build, "LIMIT_SECONDS", 1.5)
    monkeypatch.setattr(native, "_LIBRARIES", {})
    kernels._say_once.cache_clear()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for gate in ("UR", "-"):
            urgates.LSTM(2, 3, gate=gate)(torch.zeros(4, 1, 2))[0].sum().backward()
    assert ["cxx gave no answer within 1.5 seconds" in str(w.message) for w in said] == [True]
    started = pids.read_text().split()
    assert len(started) == 2, "it was asked again"
    for pid in started:
        for _ in range(100):  # its end takes the system a moment
            if not os.path.exists(f"/proc/{pid}") or not alive(pid):
                break
            time.sleep(0.05)
        else:
            pytest.fail(f"process {pid} still runs")


def test_a_compiler_that_leaves_a_child_behind_is_not_waited_for(tmp_path, monkeypatch, folder):
    cxx = tmp_path / "cxx"
    cxx.write_text(f'#!/bin/sh\nsleep 30 &\necho $! >> {tmp_path}/pids\n{native.compiler()} "$@"\n')
    cxx.chmod(0o700)
    monkeypatch.setenv("CXX", str(cxx))
    monkeypatch.setattr(build, "LIMIT_SECONDS", 25)
    try:
        assert quietly().answer() == 42
    finally:
        for pid in (tmp_path / "pids").read_text().split():
            os.kill(int(pid), 9)


# ------------------------------------------------------------------ the cache


def test_a_library_is_compiled_once_and_kept_for_its_user_alone(folder, monkeypatch):
    assert quietly().answer() == 42
    before = kept(folder)
    assert len(before) == 1 and re.fullmatch(r"[0-9a-f]{24}-[0-9a-f]{64}\.so", before[0])
    monkeypatch.setattr(build, "_compile", None)
    assert quietly().answer() == 42
    assert kept(folder) == before
    if hasattr(os, "geteuid"):
        assert mode(folder) == 0o700


@pytest.mark.parametrize("spoil", ["truncate", "empty", "flip"])
def test_a_damaged_library_is_never_opened_but_compiled_anew(folder, spoil):
    """In another process: opening a file cut short may kill it."""
    folder.mkdir(mode=0o700, parents=True)
    target = build._compile(native.compiler(), TEXT, folder, build._key(native.compiler(), TEXT))
    content = target.read_bytes()
    flipped = content[:4000] + bytes([content[4000] ^ 1]) + content[4001:]
    changed = {"truncate": content[: len(content) // 2], "empty": b"", "flip": flipped}[spoil]
    target.write_bytes(changed)
    code = f"import runpy; print(runpy.run_path({build.__file__!r})['load']({TEXT!r}).answer())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "42\n", "")
    assert kept(folder) == [target.name] and target.read_bytes() != changed


def test_a_planted_library_is_never_opened(folder):
    planted = 'extern "C" int answer() { return 13; }'
    quietly(planted)
    key = build._key(native.compiler(), TEXT)
    (library,) = folder.iterdir()
    library.rename(folder / f"{key}-{'0' * 64}.so")
    assert quietly().answer() == 42


@posix
@pytest.mark.parametrize("change", ["group", "others", "owner"])
def test_a_folder_in_which_others_could_plant_is_refused_with_one_warning(
    folder, change, monkeypatch
):
    folder.mkdir(mode=0o700, parents=True)
    if change == "owner":
        monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
        expected = f"{folder} belongs to another user"
    else:
        folder.chmod(0o770 if change == "group" else 0o707)
        expected = f"other users can write to {folder}"
    monkeypatch.setattr(build, "_cached", None)  # not even looked into
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert [build.load(TEXT).answer() for _ in range(2)] == [42, 42]
    assert [expected in str(w.message) for w in said] == [True]
    assert kept(folder) == []


@posix
def test_a_folder_that_others_may_only_read_is_closed_to_them(folder):
    folder.mkdir(mode=0o755, parents=True)
    folder.chmod(0o755)
    assert quietly().answer() == 42
    assert mode(folder) == 0o700 and len(kept(folder)) == 1


def no_home(monkeypatch, tmp_path):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/paths/do/not/count")

    def unknown(cls):
        raise RuntimeError("could not determine home directory")

    monkeypatch.setattr(build.Path, "home", classmethod(unknown))


def a_file_in_its_place(monkeypatch, tmp_path):
    (tmp_path / "urgates").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.parametrize("change", [no_home, a_file_in_its_place])
def test_a_cache_that_cannot_be_used_costs_a_build_and_a_warning(change, tmp_path, monkeypatch):
    change(monkeypatch, tmp_path)
    build._say_once.cache_clear()
    with pytest.warns(UserWarning, match="every process compiles its own"):
        library = build.load(TEXT)
    assert library.answer() == 42
    assert not os.path.exists(library._name)


def test_build_folders_of_killed_processes_are_removed_and_live_ones_stay(folder):
    for name, age in (("build-old", 2 * build.STALE_SECONDS), ("build-new", 10)):
        (folder / name).mkdir(parents=True)
        (folder / name / "native.cpp").write_text(TEXT)
        os.utime(folder / name, (time.time() - age,) * 2)
    folder.chmod(0o700)
    assert quietly().answer() == 42
    assert [name for name in kept(folder) if not name.endswith(".so")] == ["build-new"]


# ------------------------------------------------------------------ no memory

NO_MEMORY = """
import os, resource, torch, urgates
from urgates import kernels
from urgates.kernels import Inputs, Recurrence

H, r = 64, Recurrence("lstm", urgates.gate("UR"))

def run(M, B, training):  # one model's tensors for all: only the kernel's own are large
    shapes = (1, 1, B, 1), (1, 4 * H, 1), (1, 4 * H), (1, 4 * H, H), (1, 1, H), (1, 1, H)
    x, w_x, b, w_h, h, c = (torch.zeros(s, requires_grad=training) for s in shapes)
    x, w_x, b, w_h = (a.expand(M, *a.shape[1:]) for a in (x, w_x, b, w_h))
    h, c = (a.expand(M, B, H) for a in (h, c))
    with torch.set_grad_enabled(training):
        return kernels.scan(r, Inputs(x, w_x, b, w_h, None, h, c), "native")[0]

def attempt(threads, *sizes):
    torch.set_num_threads(threads)
    run(1, threads, True).sum().backward()
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 100 * 2**20,) * 2)
    try:
        run(*sizes, False)
    except MemoryError as e:
        print(e)
    run(1, 2, True).sum().backward()
    print("goes on", flush=True)

for case in (1, 4000, 1), (1, 1, 160_000), (8, 1, 160_000):
    if not (child := os.fork()):
        attempt(*case)
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_AS and /proc")
def test_no_memory_is_an_error_of_python_and_the_process_goes_on():
    """Where weights are packed, in the loop over time, and there in every thread."""
    one_heap = os.environ | {"MALLOC_ARENA_MAX": "1"}  # threads' own were reserved beforehand
    run = subprocess.run(
        [sys.executable, "-c", NO_MEMORY], env=one_heap, capture_output=True, text=True
    )
    expected = ""
    for M, B in (4000, 1), (1, 160_000), (1, 160_000):
        what = f"forward pass with M = {M}, T = 1, B = {B}, H = 64"
        expected += f"no memory for the native kernel's {what}\ngoes on\n0\n"
    assert (run.returncode, run.stdout) == (0, expected), run.stderr
