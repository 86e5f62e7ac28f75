"""From C++ text to an open library: the compiler, and a cache that opens what it wrote itself.

A library is kept in the user's cache folder as `<key>-<SHA-256 of its bytes>.so`.  The key is a
hash of source, compiler and CPU; the bytes are hashed again before they are opened, so that a file
cut short is compiled anew.  The folder must belong to the user, and nobody else may write to it:
otherwise every process compiles for itself, in a private temporary folder.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from contextlib import suppress
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

FLAGS = ("-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-w")
LINK = ("-shared", "-fPIC", "-pthread")
LIMIT_SECONDS = 180.0  # for one call of the compiler, which takes 3-15
STALE_SECONDS = 3600.0  # a build folder as old as this belongs to a process that was killed

_HANGING: set[str] = set()  # compilers that are not asked again


class BuildError(RuntimeError):
    """The library cannot be built or loaded; the message is one line."""


# ------------------------------------------------------------------ the compiler


def compiler() -> str | None:
    """The command of the C++ compiler: the environment's CXX, or the first one found."""
    return os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), None)


def _end(process: subprocess.Popen) -> None:
    """Kill a process and all that it started."""
    with suppress(ProcessLookupError, PermissionError):  # it ended by itself
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _finish(command: list[str], out: BinaryIO, error: BinaryIO) -> int:
    """The exit status of a command; TimeoutExpired if it takes longer than `LIMIT_SECONDS`."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": error}
    process = subprocess.Popen(command, **streams, start_new_session=True)
    try:
        return process.wait(LIMIT_SECONDS)
    except BaseException:  # also where the user interrupts
        _end(process)
        raise


def _call(cxx: str, *arguments: str) -> str:
    """What the compiler prints; one that hangs is not asked again."""
    late = BuildError(f"{cxx} gave no answer within {LIMIT_SECONDS:g} seconds")
    if cxx in _HANGING:
        raise late
    try:  # files, as a pipe stays open as long as any process that inherited it
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
            failed = _finish([*shlex.split(cxx), *arguments], out, error)
            out.seek(0), error.seek(0)
            printed, said = (file.read().decode(errors="replace") for file in (out, error))
    except subprocess.TimeoutExpired as e:
        _HANGING.add(cxx)
        raise late from e
    except (OSError, ValueError) as e:
        raise BuildError(f"{cxx} failed: {e}") from e
    if failed:
        lines = said.strip().splitlines() or [f"no message, exit status {failed}"]
        raise BuildError(f"{cxx} failed: {next((x for x in lines if 'error' in x), lines[0])}")
    return printed


@cache
def _target(cxx: str) -> tuple[str, str]:
    """The flag that means this CPU, and all macros set with it: they name CPU and compiler."""
    for flag in ("-march=native", "-mcpu=native"):
        try:
            return flag, _call(cxx, flag, *FLAGS, "-dM", "-E", "-x", "c++", os.devnull)
        except BuildError as e:
            error = e
    raise error


@cache
def target_has(macro: str) -> bool:
    """Whether the compiler, asked for this CPU, sets a macro; False without one that works."""
    cxx = compiler()
    try:
        return cxx is not None and f"#define {macro} 1" in _target(cxx)[1].splitlines()
    except BuildError:
        return False


# ------------------------------------------------------------------ the cache


def cache_folder() -> Path:
    """The user's folder of libraries, made if missing.

    Raises:
        OSError: if it cannot be had, or if another user could have put files there.
    """
    place = os.environ.get("XDG_CACHE_HOME", "")
    try:
        root = Path(place) if os.path.isabs(place) else Path.home() / ".cache"
    except RuntimeError as e:
        raise OSError("there is no home folder") from e
    folder = root / "urgates"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if hasattr(os, "geteuid"):
        about = folder.stat()
        if about.st_uid != os.geteuid():
            raise PermissionError(f"{folder} belongs to another user")
        if about.st_mode & 0o022:
            raise PermissionError(f"other users can write to {folder}; remove it")
        folder.chmod(0o700)
    return folder


def _key(cxx: str, text: str) -> str:
    parts = (cxx, text, *FLAGS, *LINK, *_target(cxx))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _name(key: str, content: bytes) -> str:
    return f"{key}-{hashlib.sha256(content).hexdigest()}.so"


def _cached(folder: Path, key: str) -> Path | None:
    """The library of this key, if its bytes are those that were written; others are removed."""
    for path in folder.glob(f"{key}-*.so"):
        with suppress(FileNotFoundError):  # another process removes it too
            if path.name == _name(key, path.read_bytes()):
                return path
            path.unlink()
    return None


def _compile(cxx: str, text: str, folder: Path, key: str) -> Path:
    """Compile into `folder`; other processes see the whole library or none."""
    for left in folder.glob("build-*"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=folder) as work:
        cpp, so = Path(work) / "native.cpp", Path(work) / "native.so"
        cpp.write_text(text)
        _call(cxx, _target(cxx)[0], *FLAGS, *LINK, str(cpp), "-o", str(so))
        return so.replace(folder / _name(key, so.read_bytes()))


@cache
def _say_once(reason: str) -> None:
    text = f"compiled kernels are not kept, every process compiles its own: {reason}"
    warnings.warn(text, stacklevel=2)


@cache
def _private() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(ignore_cleanup_errors=True)


def module(text: str) -> ModuleType:
    """A Python module of this text, imported from a file in the cache; Triton reads it again there.

    Raises:
        OSError: if it can be written nowhere.
    """
    name = hashlib.sha256(text.encode()).hexdigest()
    try:
        folder = cache_folder()
    except OSError as e:
        _say_once(str(e))
        folder = Path(_private().name)
    path = folder / f"{name}.py"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with tempfile.NamedTemporaryFile(
            "w", dir=folder, suffix=".part", delete=False, encoding="utf-8"
        ) as part:
            part.write(text)
        os.replace(part.name, path)  # whole or not at all
    spec = spec_from_file_location(f"urgates_{name}", path)
    assert spec is not None and spec.loader is not None  # a path that ends in .py
    made = module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def load(text: str) -> ctypes.CDLL:
    """The library of this C++ text, from the cache or compiled in a few seconds.

    Raises:
        BuildError: if there is no compiler, or it fails or hangs, or the library does not open.
    """
    cxx = compiler()
    if cxx is None:
        raise BuildError("no C++ compiler found (c++, g++, clang++, or set CXX)")
    key = _key(cxx, text)
    try:
        folder = cache_folder()
        return ctypes.CDLL(str(_cached(folder, key) or _compile(cxx, text, folder, key)))
    except OSError as e:
        _say_once(str(e))
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            return ctypes.CDLL(str(_compile(cxx, text, Path(folder), key)))
    except OSError as e:
        raise BuildError(f"cannot build or load the library: {e}") from e
