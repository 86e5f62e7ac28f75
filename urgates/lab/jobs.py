"""What is trained, and what its files are called: jobs, and the keys of their runs.

A `Job` is a protocol with a cell, a gate, seeds and learning rates: M models that train together as
one stack. A `RunKey` names a stack, one of its models, or all runs of a cell and gate; it is the
only place where file names are written and read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from urgates.checks import refusal
from urgates.lab.protocol import Protocol, digest

_STEM = re.compile(
    r"(?P<task>[^_]+)_(?P<cell>[^_]+)_(?P<gate>[^_]+)_(?P<preset>[^_]+)"
    r"(?:_lr(?P<rates>[^_]+))?(?:_s(?P<seeds>\d+(?:\+\d+)*))?"
)


@dataclass(frozen=True, order=True)
class RunKey:
    """Task, cell, gate and preset; seeds, none for all; rates, none for the protocol's own."""

    task: str
    cell: str
    gate: str
    preset: str
    seeds: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()

    @property
    def stem(self) -> str:
        """What file names start with: `{task}_{cell}_{gate}_{preset}[_lr{rates}][_s{seeds}]`."""
        stem = f"{self.task}_{self.cell}_{self.gate}_{self.preset}"
        stem += f"_lr{'+'.join(f'{rate:g}' for rate in self.rates)}" * bool(self.rates)
        return stem + f"_s{'+'.join(map(str, self.seeds))}" * bool(self.seeds)

    @classmethod
    def parse(cls, stem: str) -> RunKey:
        """The key of a stem; ValueError if it is none."""
        if not (found := _STEM.fullmatch(stem)):
            raise refusal("stem", "be like task_cell_gate_preset_s1", repr(stem))
        words = found.groupdict()
        rates, seeds = words.pop("rates"), words.pop("seeds")
        return cls(
            **words,
            seeds=tuple(map(int, seeds.split("+"))) if seeds else (),
            rates=tuple(map(float, rates.split("+"))) if rates else (),
        )

    def member(self, text: object) -> RunKey:
        """The key of the model that `Job.members` calls so."""
        seed, _, rate = str(text).partition(" at ")
        return replace(self, seeds=(int(seed),), rates=(float(rate),) if rate else ())


def mastered(gate: str) -> bool:
    """Whether the gate of this name has a master gate beside its main one.

    What another kind of learner has in a gate's place has none.
    """
    return gate.endswith("M")


@dataclass(frozen=True)
class Job:
    """M models that train as one stack: every seed at every rate (the protocol's own, if none).

    It ends after `until` steps (0: all of the protocol's), or once the first score of every living
    model is below `goal` over its last ten rows (0: never).
    """

    protocol: Protocol
    cell: str
    gate: str
    seeds: tuple[int, ...] = (1,)
    rates: tuple[float, ...] = ()
    until: int = 0
    goal: float = 0.0

    def __post_init__(self):
        for name in ("seeds", "rates"):
            values = tuple(getattr(self, name))
            if len({*values}) < len(values):
                raise refusal(name, "be different ones", str(values))
            object.__setattr__(self, name, values)

    @property
    def models(self) -> list[tuple[float, int]]:
        """(rate, seed) of each model, rates outermost."""
        return [(rate, seed) for rate in self.rates or (self.protocol.lr,) for seed in self.seeds]

    @property
    def key(self) -> RunKey:
        """What the stack's checkpoint is called."""
        return self._key(self.seeds, self.rates)

    @property
    def group(self) -> RunKey:
        """What the files of all seeds and rates start with."""
        return self._key((), ())

    @property
    def runs(self) -> list[RunKey]:
        """What each model's files are called."""
        return [self._key((seed,), (rate,)) for rate, seed in self.models]

    @property
    def members(self) -> list[int | str]:
        """Each model in a word: its seed, and its rate if that is not the protocol's."""
        lr = self.protocol.lr
        return [seed if rate == lr else f"{seed} at {rate:g}" for rate, seed in self.models]

    def at(self, rate: float | None) -> Protocol:
        """The protocol of a model at this rate (None: its own)."""
        return self.protocol if rate is None else replace(self.protocol, lr=rate)

    def fits(self, record: Mapping, rate: float | None) -> bool:
        """Whether a run's record is of this job's protocol, at this rate (None: its own).

        How many units share a master gate is no part of a gate without master gates.
        """
        numbers = self.at(rate).numbers
        if not mastered(self.gate):
            numbers["downsize"] = record["protocol"]["downsize"]
        return record["digest"] == digest(numbers)

    def _key(self, seeds: tuple[int, ...], rates: tuple[float, ...]) -> RunKey:
        p = self.protocol
        rates = () if rates == (p.lr,) else rates
        return RunKey(p.task, self.cell, self.gate, p.preset, seeds, rates)
