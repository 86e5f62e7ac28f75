"""What stands behind each trained table and figure of the first paper: tasks, cells, rates."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain

from urgates.lab import experiments
from urgates.lab.experiments.programs import CATEGORIES, CELLS
from urgates.lab.experiments.rows import OTHER_STARTS
from urgates.lab.jobs import Job
from urgates.lab.protocol import Protocol

_PIXELS = ("smnist", "pmnist", "scifar")
_ZONEOUT = tuple(f"{task}-zoneout" for task in _PIXELS)
_AT_LAPTOP = {"rates": "swept", "at": "laptop"}


@dataclass(frozen=True)
class Part:
    """Tasks whose runs of a cell one notebook reads; at one of the presets at these rates."""

    tasks: tuple[str, ...]
    cell: str = "lstm"
    rates: str | tuple[float, ...] = ()  # "swept": those of the protocol's sweep; none: its own
    at: str = "paper"
    elsewhere: str = ""  # in another notebook than the one that is the tasks' own

    @property
    def notebook(self) -> str:
        """The notebook that reads them."""
        return self.elsewhere or experiments.notebook(self.tasks[0], self.cell)

    def jobs(self, preset: str) -> list[Job]:
        """A job for each task and gate, of all seeds and rates; none of tasks without a row."""
        rows = filter(None, (_row(task, preset) for task in self.tasks))
        return [self.job(p, gate, range(1, p.seeds + 1)) for p in rows for gate in p.gates]

    def job(
        self,
        protocol: Protocol,
        gate: str,
        seeds: Iterable[int],
        rates: Iterable[float] = (),
        **how,
    ) -> Job:
        """One of a gate, at these rates, or those of the protocol's preset; `how` goes to it."""
        own = protocol.sweep if self.rates == "swept" else self.rates
        own = own if protocol.preset == self.at else ()
        return Job(protocol, self.cell, gate, seeds, rates or own, **how)


def _row(task: str, preset: str) -> Protocol | None:
    """A task's protocol at a preset, or of the task that stands for it there; None without one."""
    names = (task, *(task.replace(full, own) for own, full in experiments.STANDS_FOR.items()))
    known = experiments.PROTOCOLS
    return next((known[name, preset] for name in names if (name, preset) in known), None)


TABLES = {
    "fig3": (Part(("copy", "adding"), **_AT_LAPTOP),),
    "table2": (
        Part(("smnist", "pmnist"), rates="swept"),
        Part(("scifar",), rates="swept"),
        Part(("scifar",), "gru", (2e-4, 5e-4), elsewhere="32b_gru"),
    ),
    "table3": (
        Part(tuple(f"{task}-wide" for task in _PIXELS), rates="swept"),
        Part(_ZONEOUT, rates="swept"),
        Part(_ZONEOUT, "gru", "swept", elsewhere="32c_zoneout"),
    ),
    "table6": (Part(("wikitext103", "wikitext103-tmax8", "wikitext103-tmax11")),),
    "fig7": (Part(("passive", "active")),),
    "fig8": (Part(("active-1",)), Part(("active-1-rma",), "rma")),
    "fig9": (Part(("forgetting",)),),
    "fig10": (Part(("active-5",)), Part(("active-5-dnc",), "dnc"), Part(("active-5-mem",), "mem")),
    "fig11": tuple(
        Part(tuple(f"{name}{more}" for name in CATEGORIES), cell) for cell, more in CELLS.items()
    ),
}
"""By the paper's number."""

_BESIDE = (  # what the paper leaves open, measured
    Part(("copy-tmax102", "copy-forget1"), **_AT_LAPTOP),
    Part(("copy-downsize16", "adding-downsize16", "copy-forget1-downsize16"), **_AT_LAPTOP),
    Part(tuple(f"copy-{start}" for start in OTHER_STARTS), **_AT_LAPTOP),
    Part(("pmnist-swept",), **_AT_LAPTOP),
    Part(("pmnist-downsize16",), "gru", elsewhere="32b_gru"),
)


def part(task: str, cell: str = "lstm", notebook: str = "") -> Part:
    """What a notebook (if not given, the one that reads it) wants of a task and a cell."""
    for one in chain(*TABLES.values(), _BESIDE):
        if task in one.tasks and cell == one.cell and notebook in ("", one.notebook):
            return replace(one, tasks=(task,))
    return Part((task,), cell, elsewhere=notebook)
