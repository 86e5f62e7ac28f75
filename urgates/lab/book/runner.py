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
from itertools import cycle, islice
from pathlib import Path
from queue import SimpleQueue

import papermill
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbformat import NotebookNode
from tqdm import tqdm

from urgates.checks import positive_int, refusal
from urgates.lab.book.bench import check_settings
from urgates.lab.book.claims import read_claims
from urgates.lab.book.notebooks import EXACT, declared, read, stamped
from urgates.lab.book.publishing import adopt_runs, figure_files, land, publish, staged
from urgates.lab.devices import choose_device, device_name, visible_gpus
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

    Where there are several GPUs, each has one to itself, as long as there are so many.

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
    positive_int("jobs", jobs)
    if publishing and parameters:
        raise refusal("parameters", "be left out when publishing", str(dict(parameters)))
    for script in scripts:  # before a path is made of any of them
        check_settings(**{**declared(read(script)), **(parameters or {})})
    progress = progress or Progress()
    if not publishing:
        return _Execution(scripts, parameters or {}, jobs, progress).reports()
    root = scripts[0].parents[1]
    with staged(root) as copy:
        copies = [copy / "notebooks" / script.name for script in scripts]
        for script in copies:
            made, kept = _places(script, {}, root)[0], copy / "figures" / script.stem
            adopt_runs(made / "runs", kept / "runs")
        reports = _Execution(copies, {}, jobs, progress, publishing=True).reports()
        if not any(report.error for report in reports):
            land(root, [report.name for report in reports])
    return reports


@dataclass
class _Execution:
    """Notebooks as they are executed side by side, the scoreboard last."""

    scripts: Sequence[Path]
    parameters: Mapping
    jobs: int
    progress: Progress
    publishing: bool = False
    kernels: dict[str, set[int]] = field(default_factory=dict)  # process ids, by notebook
    stopping: bool = False
    gpus: SimpleQueue = field(default_factory=SimpleQueue)  # which one a notebook may take next

    def __post_init__(self):
        device = str(self.parameters.get("device", "auto"))
        there = visible_gpus() if device in ("auto", "cuda") else []
        for gpu in islice(cycle(there or [""]), self.jobs):
            self.gpus.put(gpu)

    def reports(self) -> list[Report]:
        """Execute them all."""
        cells = sum(len(_code(read(script))) for script in self.scripts)
        last = [script for script in self.scripts if script.stem == LAST]
        others = [script for script in self.scripts if script.stem != LAST]
        with (
            tqdm(total=cells, unit="cell", disable=None, leave=False) as bar,
            self.progress.shown(bar),
            ThreadPoolExecutor(self.jobs) as pool,
        ):
            return [*self._side_by_side(pool, bar, others), *self._side_by_side(pool, bar, last)]

    def _side_by_side(self, pool, bar: tqdm, scripts: Sequence[Path]) -> list[Report]:
        futures = [pool.submit(self._attempt, script, bar) for script in scripts]
        try:
            return [future.result() for future in futures]
        except KeyboardInterrupt:
            self.stopping = True
            _interrupt(futures, self.kernels)
            raise

    def _attempt(self, script: Path, bar: tqdm) -> Report:
        """Execute one; an error is told in its report."""
        report, start, left = Report(script.stem), time.monotonic(), len(_code(read(script)))

        def on_cell(**_) -> None:
            nonlocal left
            left -= 1
            bar.set_postfix_str(script.stem, refresh=False)
            self.progress.cells(bar)

        gpu = self.gpus.get()
        try:
            line = _LastLine(bar, script.stem)
            self._attend(report, script, gpu, on_cell=on_cell, printed=line)
        except papermill.PapermillExecutionError as error:
            reason = error.evalue.strip().split("\n")[0]
            report.error = f"In [{error.exec_count}] of {report.output}: {error.ename}: {reason}"
        except Exception as error:  # a dead kernel, a full disk: the summary says so
            report.error = f"{type(error).__name__}: {error}"
        self.gpus.put(gpu)
        self.kernels.pop(script.stem, None)
        if self.stopping and report.error:
            report.error = INTERRUPTED
        report.seconds = time.monotonic() - start
        self.progress.cells(bar, left)
        bar.write(str(report))
        return report

    def _attend(self, report: Report, script: Path, gpu: str, **shown) -> None:
        """Execute one, on this GPU if any, into its place below `runs/`; publish it if wanted."""
        defaults = declared(read(script))
        given = {name: value for name, value in self.parameters.items() if name in defaults}
        root = script.parents[1]
        made, preset = _places(script, given, root)
        made.parent.mkdir(parents=True, exist_ok=True)
        env = {"OMP_NUM_THREADS": "1"} if min(self.jobs, len(self.scripts)) > 1 else {}
        env |= self.progress.watch(script.stem) | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {})
        kernels = self.kernels.setdefault(script.stem, set())
        with locked(made.with_name(f"{made.name}.lock"), f"executing {script.stem} at {preset}"):
            for file in figure_files(owned(made, root / "runs")):
                file.unlink()  # an earlier execution's would pass for this one's
            report.output = root / "runs" / preset / "notebooks" / f"{script.stem}.ipynb"
            executed = execute(script, report.output, given, env=env, kernels=kernels, **shown)
            report.verdicts = verdicts(made)
        if self.publishing:
            device = device_name(choose_device(str(defaults.get("device", "cpu"))))
            notebook = stamped(executed, script, preset, device)
            report.changed = publish(notebook, script, made, root / "figures" / script.stem)


def _places(script: Path, given: Mapping, root: Path) -> tuple[Path, str]:
    """Where a notebook's results go, and its preset."""
    preset = str({"preset": EXACT, **declared(read(script)), **given}["preset"])
    return root / "runs" / preset / script.stem, preset


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
