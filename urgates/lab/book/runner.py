"""Executing the book with papermill: `run` for a reader, `publish` for what is committed.

`run` writes below `runs/`, which git ignores, and never touches a committed file.  Publishing
executes with a notebook's own defaults in a copy of the book (publishing.py).
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import papermill
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbformat import NotebookNode
from tqdm import tqdm

from urgates.lab.book.bench import check_settings
from urgates.lab.book.claims import read_claims
from urgates.lab.book.notebooks import EXACT, declared, read, stamped
from urgates.lab.book.publishing import adopt_runs, figure_files, land, publish, staged
from urgates.lab.devices import choose_device, device_name
from urgates.lab.progress import Progress
from urgates.lab.store.files import locked, owned

LAST = "40_scoreboard"  # reads the verdicts of all others
PATIENCE = 60.0  # seconds that an interrupted kernel has to save its checkpoints
INTERRUPTED = "interrupted; what was trained is kept"


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
        mark = "stopped" if self.error == INTERRUPTED else mark
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
        publishing: take the notebooks' own defaults, and put the results of all of them in their
            places; of none, if one fails.
        progress: learns how far their training is.
    Raises:
        ValueError: for `jobs` below 1, parameters together with `publishing`, or impossible ones.
        KeyboardInterrupt: when the kernels have been told, and training has saved checkpoints.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    if publishing and parameters:
        raise ValueError(f"parameters must be left out when publishing, got {dict(parameters)}")
    for script in scripts:  # before a path is made of any of them
        check_settings(**{**declared(read(script)), **(parameters or {})})
    progress = progress or Progress()
    if not publishing:
        return _run_all(scripts, parameters or {}, jobs, progress, publishing=False)
    root = scripts[0].parents[1]
    with staged(root) as copy:
        scripts = [copy / "notebooks" / script.name for script in scripts]
        for script in scripts:
            preset = str(declared(read(script)).get("preset", EXACT))
            adopt_runs(
                root / "runs" / preset / script.stem / "runs",
                copy / "figures" / script.stem / "runs",
            )
        reports = _run_all(scripts, {}, jobs, progress, publishing=True)
        if not any(report.error for report in reports):
            land(root, [report.name for report in reports])
    return reports


def _run_all(
    scripts: Sequence[Path], parameters: Mapping, jobs: int, progress: Progress, publishing: bool
) -> list[Report]:
    env = {"OMP_NUM_THREADS": "1"} if min(jobs, len(scripts)) > 1 else {}
    kernels: dict[str, set[int]] = {}  # process ids of what is being executed
    stopping: list[bool] = []
    cells = {script: len(_code(read(script))) for script in scripts}
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
                    report, script, parameters, publishing,
                    env=env | progress.watch(script.stem), on_cell=on_cell,
                    kernels=kernels.setdefault(script.stem, set()),
                    printed=_LastLine(bar, script.stem),
                )  # fmt: skip
            except papermill.PapermillExecutionError as error:
                reason = error.evalue.strip().split("\n")[0]
                report.error = (
                    f"In [{error.exec_count}] of {report.output}: {error.ename}: {reason}"
                )
            except Exception as error:  # a dead kernel, a full disk: the summary says so
                report.error = f"{type(error).__name__}: {error}"
            kernels.pop(script.stem, None)
            if stopping and report.error:
                report.error = INTERRUPTED
            report.seconds = time.monotonic() - start
            progress.cells(bar, left)
            bar.write(str(report))
            return report

        def side_by_side(some: Sequence[Path]) -> list[Report]:
            futures = [pool.submit(attempt, script) for script in some]
            try:
                return [future.result() for future in futures]
            except KeyboardInterrupt:
                stopping.append(True)
                _interrupt(futures, kernels)
                raise

        return [
            *side_by_side([s for s in scripts if s.stem != LAST]),
            *side_by_side([s for s in scripts if s.stem == LAST]),
        ]


def _interrupt(futures: Sequence[Future], kernels: Mapping[str, set[int]]) -> None:
    """Interrupt what is being executed, and give training the time to save its checkpoints."""

    def send(number: int) -> None:
        for process in set().union(*list(kernels.values())):
            with suppress(ProcessLookupError):  # it has ended by itself
                os.kill(process, number)

    for future in futures:
        future.cancel()
    deadline = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < deadline and not all(future.done() for future in futures):
            send(signal.SIGINT)  # again and again: between two cells a kernel does not listen
            wait(futures, timeout=5)
    finally:
        send(signal.SIGTERM)


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
    made.parent.mkdir(parents=True, exist_ok=True)
    with locked(made.with_name(f"{made.name}.lock"), f"executing {script.stem} at {preset}"):
        for file in figure_files(owned(made, root / "runs")):
            file.unlink()  # an earlier execution's would pass for this one's
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


def verdicts(made: Path) -> dict[str, str]:
    """Claim -> verdict, as a notebook left them beside its figures."""
    path = made / "claims.json"
    return {name: entry["verdict"] for name, entry in read_claims(path).items()}


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]
