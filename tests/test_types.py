"""The package says that it is typed, and its public modules are."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "urgates/py.typed").read_bytes() == b""


def test_public_modules_are_typed(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed: half a minute too much for all")
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
