"""What stands behind each trained table and figure of the first paper: tasks, cells, rates."""

from dataclasses import dataclass, replace
from itertools import chain

from urgates.lab import experiments
from urgates.lab.experiments.programs import CATEGORIES, CELLS
from urgates.lab.experiments.rows import OTHER_STARTS
from urgates.lab.jobs import Job
from urgates.lab.protocol import Protocol

_MEMORY, _CHOICES = "31_synthetic_memory", "32d_open_choices"
_DIGITS, _COLOURS, _WIDE = "32_pixel_images", "32a_sequential_cifar", "32c_zoneout"
_PIXELS = ("smnist", "pmnist", "scifar")
_BOTH_RATES = {"rates": "swept", "at": "laptop"}


@dataclass(frozen=True)
class Part:
    """Tasks that one notebook reads of one cell; at one of the presets at these rates, if any."""

    notebook: str
    tasks: tuple[str, ...]
    cell: str = "lstm"
    rates: str | tuple[float, ...] = ()  # "swept": those of the protocol's sweep
    at: str = "paper"

    def jobs(self, preset: str) -> list[Job]:
        """A job for each task and gate, of all seeds and rates; none of tasks without a row."""
        found = []
        for task in self.tasks:
            if p := _row(task, preset):
                rates = p.sweep if self.rates == "swept" else self.rates
                rates, seeds = rates if preset == self.at else (), range(1, p.seeds + 1)
                found += [Job(p, self.cell, gate, seeds, rates) for gate in p.gates]
        return found


def _row(task: str, preset: str) -> Protocol | None:
    """A task's protocol at a preset, or of the task that stands for it there; None without one."""
    names = (task, *(task.replace(full, own) for own, full in experiments.STANDS_FOR.items()))
    known = experiments.PROTOCOLS
    return next((known[name, preset] for name in names if (name, preset) in known), None)


TABLES = {
    "fig3": (Part(_MEMORY, ("copy", "adding"), **_BOTH_RATES),),
    "table2": (
        Part(_DIGITS, ("smnist", "pmnist"), rates="swept"),
        Part(_COLOURS, ("scifar",), rates="swept"),
        Part("32b_gru", ("scifar",), "gru", (2e-4, 5e-4)),
    ),
    "table3": (
        Part(_WIDE, tuple(f"{task}-wide" for task in _PIXELS), rates="swept"),
        Part(_WIDE, tuple(f"{task}-zoneout" for task in _PIXELS), rates="swept"),
        Part(_WIDE, tuple(f"{task}-zoneout" for task in _PIXELS), "gru", "swept"),
    ),
    "table6": (
        Part("33_language_modeling", ("wikitext103", "wikitext103-tmax8", "wikitext103-tmax11")),
    ),
    "fig7": (Part("34_reinforcement_learning", ("passive", "active")),),
    "fig8": (
        Part("34_reinforcement_learning", ("active-1",)),
        Part("34_reinforcement_learning", ("active-1-rma",), "rma"),
    ),
    "fig9": (Part("E1_synthetic_forgetting", ("forgetting",)),),
    "fig10": tuple(
        Part("E2_more_reinforcement_learning", (task,), cell)
        for task, cell in {"active-5": "lstm", "active-5-dnc": "dnc", "active-5-mem": "mem"}.items()
    ),
    "fig11": tuple(
        Part("E3_program_execution", tuple(f"{name}{more}" for name in CATEGORIES), cell)
        for cell, more in CELLS.items()
    ),
}
"""By the paper's number."""

_BESIDE = (  # what the paper leaves open, measured
    Part(_MEMORY, ("copy-tmax102", "copy-forget1"), **_BOTH_RATES),
    Part(_CHOICES, tuple(f"copy-{start}" for start in OTHER_STARTS), **_BOTH_RATES),
)


def part(task: str, cell: str, notebook: str = "") -> Part:
    """What a notebook (if not given, the one that reads it) wants of a task and a cell."""
    for one in chain(*TABLES.values(), _BESIDE):
        if task in one.tasks and cell == one.cell and notebook in ("", one.notebook):
            return replace(one, tasks=(task,))
    return Part(notebook or experiments.notebook(task, cell), (task,), cell)
