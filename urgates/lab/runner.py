"""Executing the book with papermill: `run` for a reader, `publish` for what is committed.

`run` writes below `runs/`, which git ignores, and never touches a committed file.  `publish`
executes with a notebook's own defaults and replaces its twin and its folder in `figures/`, but
only where more than the time and place of execution has changed.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import papermill
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbformat import NotebookNode
from tqdm import tqdm

from urgates.lab.figures import VOLATILE
from urgates.lab.notebooks import EXACT, blemishes, declared, read, stamped
from urgates.lab.progress import Progress
from urgates.lab.records import device_name
from urgates.lab.storage import write_atomically
from urgates.lab.training import choose_device

LAST = "40_scoreboard"  # reads the verdicts of all others
_FIGURE_FILES = ("*.png", "*.csv", "*.json")


@dataclass
class Report:
    """What became of one notebook."""

    name: str
    seconds: float = 0.0
    error: str = ""
    changed: bool = False
    output: Path | None = None
    verdicts: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        mark = "FAILED" if self.error else "changed" if self.changed else "ok"
        said = self.error or " · ".join(f"{claim} {word}" for claim, word in self.verdicts.items())
        return f"{mark:8}{self.name:32}{self.seconds:5.0f} s   {said}".rstrip()


def run(
    scripts: Sequence[Path],
    parameters: Mapping[str, object] | None = None,
    *,
    jobs: int = 2,
    publishing: bool = False,
    progress: Progress | None = None,
) -> list[Report]:
    """Execute notebooks side by side, a line for each; one that fails does not stop the others.

    Args:
        scripts: of one checkout, `root/notebooks/NN_name.py`.
        parameters: each notebook gets those that it declares.
        publishing: take the notebooks' own defaults, and commit the results to their places.
        progress: learns how far their training is.
    Raises:
        ValueError: for `jobs` below 1, or parameters together with `publishing`.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    if publishing and parameters:
        raise ValueError(f"parameters must be left out when publishing, got {dict(parameters)}")
    env = {"OMP_NUM_THREADS": "1"} if min(jobs, len(scripts)) > 1 else {}
    kernels: set[int] = set()
    cells = {script: len(_code(read(script))) for script in scripts}
    progress = progress or Progress()
    with (
        tqdm(total=sum(cells.values()), unit="cell", disable=None, leave=False) as bar,
        progress.shown(bar),
        ThreadPoolExecutor(jobs) as pool,
    ):

        def attempt(script: Path) -> Report:
            report, start, left = Report(script.stem), time.monotonic(), cells[script]

            def on_cell(**_) -> None:
                nonlocal left
                left -= 1
                bar.set_postfix_str(script.stem, refresh=False)
                progress.cells(bar)

            try:
                _attend(
                    report, script, parameters or {}, publishing,
                    env=env | progress.watch(script.stem), kernels=kernels, on_cell=on_cell,
                    printed=_LastLine(bar, script.stem),
                )  # fmt: skip
            except papermill.PapermillExecutionError as error:
                reason = error.evalue.strip().split("\n")[0]
                report.error = (
                    f"In [{error.exec_count}] of {report.output}: {error.ename}: {reason}"
                )
            except Exception as error:  # a dead kernel, a full disk: the summary says so
                report.error = f"{type(error).__name__}: {error}"
            report.seconds = time.monotonic() - start
            progress.cells(bar, left)
            bar.write(str(report))
            return report

        try:
            reports = list(pool.map(attempt, [s for s in scripts if s.stem != LAST]))
            return reports + [attempt(script) for script in scripts if script.stem == LAST]
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in kernels:
                _kill(process)
            raise


class _LastLine:
    """A stream that shows the last line a notebook printed behind the bar."""

    def __init__(self, bar: tqdm, name: str):
        self.bar, self.name = bar, name

    def write(self, text: str) -> None:
        for line in text.strip().splitlines()[-1:]:
            self.bar.set_postfix_str(f"{self.name}: {line}")

    def flush(self) -> None:
        """Nothing is held back."""


def summary(reports: Sequence[Report], seconds: float) -> str:
    """The last lines of a run: notebooks, time, verdicts."""
    failed = [report.name for report in reports if report.error]
    counts = Counter(word for report in reports for word in report.verdicts.values())
    lines = [f"{len(reports) - len(failed)} of {len(reports)} notebooks ran, {seconds:.0f} s"]
    if failed:
        lines[0] += f"; failed: {', '.join(failed)}"
    if counts:
        lines.append("claims: " + ", ".join(f"{n} {word}" for word, n in counts.most_common()))
    return "\n".join(lines)


def _attend(report: Report, script: Path, parameters: Mapping, publishing: bool, **how) -> None:
    """Execute one notebook into its place below `runs/`, and publish it if that is wanted."""
    defaults = declared(read(script))
    given = {name: value for name, value in parameters.items() if name in defaults}
    preset = str(given.get("preset", defaults.get("preset", EXACT)))
    root = script.parents[1]
    made, kept = root / "runs" / preset / script.stem, root / "figures" / script.stem
    if publishing:
        adopt_runs(made / "runs", kept / "runs")
    for file in _files(made):  # an earlier execution's would pass for this one's
        file.unlink()
    report.output = root / "runs" / preset / "notebooks" / f"{script.stem}.ipynb"
    executed = execute(script, report.output, given, **how)
    report.verdicts = verdicts(made)
    if publishing:
        device = device_name(choose_device(str(defaults.get("device", "cpu"))))
        notebook = stamped(executed, script, preset, device)
        report.changed = publish(notebook, script, made, kept)


def execute(
    script: Path,
    output: Path,
    parameters: Mapping | None = None,
    *,
    env: Mapping[str, str] | None = None,
    kernels: set[int] | None = None,
    on_cell: Callable[..., None] | None = None,
    printed: object | None = None,
) -> NotebookNode:
    """Execute one notebook in its own folder, as `pytest --nbval` does.

    Args:
        output: the executed notebook, rewritten after each cell.
        parameters: injected below the notebook's own; ValueError if it does not declare one.
        env: environment variables for the kernel, beside the present ones.
        kernels: receives the kernel's process id.
        on_cell: called after each code cell.
        printed: a stream that receives what the notebook prints.
    Raises:
        papermill.PapermillExecutionError: a cell failed; `output` shows where.
    """
    notebook, parameters = read(script), dict(parameters or {})
    defaults = declared(notebook)
    if unknown := set(parameters) - set(defaults):
        known = ", ".join(defaults)
        raise ValueError(f"parameters of {script.stem} must be among {known}, got {unknown}")
    output.parent.mkdir(parents=True, exist_ok=True)
    return papermill.execute_notebook(
        notebook,
        output,
        parameters,
        progress_bar=False,
        resources={"metadata": {"path": str(script.parent)}},
        kernel_manager_class=_kernel(env or {}, set() if kernels is None else kernels),
        on_cell_complete=on_cell,
        stdout_file=printed,
    )


def _kernel(env: Mapping[str, str], kernels: set[int]) -> type[AsyncKernelManager]:
    """This very interpreter as the kernel, whatever kernels a user has installed elsewhere."""
    env = {**os.environ, "TQDM_DISABLE": "1", **env}  # a stored bar never compares equal
    quiet = ["--log-level=50"]  # it warns of its loopback sockets and of being shut down

    class Kernel(AsyncKernelManager):
        kernel_spec = KernelSpec(resource_dir=RESOURCES, **get_kernel_dict(quiet))

        async def start_kernel(self, **options) -> None:
            await super().start_kernel(**options, env=env)
            kernels.add(self.provisioner.pid)

    return Kernel


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGTERM)
    except ProcessLookupError:
        return  # it has ended by itself


def verdicts(made: Path) -> dict[str, str]:
    """Claim -> verdict, as a notebook left them beside its figures."""
    path = made / "claims.json"
    claims = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {name: claim["verdict"] for name, claim in claims.items()}


# ------------------------------------------------------------------ publishing


def publish(notebook: NotebookNode, script: Path, made: Path, kept: Path) -> bool:
    """Put a stamped notebook in its place, and the figure files of `made` into `kept`.

    Returns:
        Whether any file was written or removed; none is if only the stamps would change.
    Raises:
        ValueError: if the notebook must not be committed, with what is wrong.
    """
    if found := blemishes(notebook):
        raise ValueError(f"{script.stem} {'; '.join(found)}")
    twin = script.with_suffix(".ipynb")
    old = nbformat.read(twin, as_version=4) if twin.exists() else None
    changed = old is None or _essence(old) != _essence(notebook)
    if changed:
        write_atomically(twin, (nbformat.writes(notebook) + "\n").encode())
    fresh = {file.name: file for file in _files(made)}
    for file in _files(kept):
        if file.name not in fresh:
            file.unlink()
            changed = True
    return any([_replace(file, kept / name) for name, file in fresh.items()]) or changed


def adopt_runs(made: Path, kept: Path) -> None:
    """Take runs, tables and models over, but no unfinished run in place of a finished one."""
    for record in sorted(made.glob("*.json")):
        old = kept / record.name
        if _status(record) == "partial" and old.exists() and _status(old) != "partial":
            continue
        for file in (record.with_suffix(".csv"), record):
            _replace(file, kept / file.name)
    for table in sorted(made.glob("*.csv")):
        if not table.with_suffix(".json").exists():  # a stored table, not the curve of a run
            _replace(table, kept / table.name)
    for model in sorted(made.glob("models/*.safetensors")):
        _replace(model, kept / "models" / model.name)


def _status(record: Path) -> str:
    return json.loads(record.read_text(encoding="utf-8"))["status"]


def _files(place: Path) -> list[Path]:
    return sorted(file for pattern in _FIGURE_FILES for file in place.glob(pattern))


def _replace(source: Path, target: Path) -> bool:
    """Copy a file unless the target says the same, stamps aside; whether it was copied."""
    new = source.read_bytes()
    old = target.read_bytes() if target.exists() else b""
    if new == old or (target.suffix == ".json" and old and _same_json(old, new)):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, new)
    return True


def _same_json(old: bytes, new: bytes) -> bool:
    return _lasting(json.loads(old)) == _lasting(json.loads(new))


def _lasting(value):
    """`value` without the keys that tell one execution from another."""
    if not isinstance(value, dict):
        return value
    return {key: _lasting(part) for key, part in value.items() if key not in VOLATILE}


def _essence(notebook: NotebookNode) -> dict:
    """All of a notebook that another execution must repeat."""
    essence = _lasting(nbformat.from_dict(notebook))
    for cell in essence["cells"]:
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            cell["outputs"] = []
    return essence


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]
