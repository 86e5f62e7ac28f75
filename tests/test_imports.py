"""The package opens fast: torch and the notebooks' tools are imported where they are needed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "numpy", "pandas", "jupytext", "nbformat", "papermill", "matplotlib", "sympy"}


def imported(code: str, folder: Path = ROOT) -> set[str]:
    """The heavy modules that some code imports in a fresh process."""
    code += f"\nimport sys\nprint('|', *({HEAVY!r} & set(sys.modules)))"
    command = [sys.executable, "-c", f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{code}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("|")[2].split())


@pytest.mark.parametrize(
    "code",
    [
        "import urgates, urgates.lab",
        "import urgates.__main__",
        "from urgates.lab.places import find; find(['31'])",
    ],
)
def test_what_answers_at_once_imports_nothing_heavy(code):
    assert imported(code) == set()


def test_a_layer_is_there_before_sympy_which_its_first_step_needs():
    layer = "import torch, urgates; layer = urgates.LSTM(3, 4)"
    assert "sympy" not in imported(layer)
    assert "sympy" in imported(f"{layer}; layer(torch.ones(2, 1, 3))")


def test_the_public_names_and_modules_come_when_asked_for():
    code = (
        "import urgates, urgates.lab\nfrom urgates import *\n"
        "assert [eval(name) for name in urgates.__all__] and gate('UR') is GATES['UR']\n"
        "assert urgates.LSTM is LSTM and urgates.kernels.available()\n"
        "assert {'LSTM', 'gate', 'kernels', '__version__'} <= set(dir(urgates))\n"
        "for module in (urgates, urgates.lab):\n"
        "    try:\n        module.nothing\n"
        "    except AttributeError as error:\n        assert 'nothing' in str(error)\n"
        "    else:\n        raise AssertionError('nothing is there')\n"
    )
    assert {"torch"} <= imported(code) <= {"torch", "numpy", "sympy"}
