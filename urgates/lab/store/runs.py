"""Runs: reading what is stored, and the language of claims about runs.

A run is keyed by task, cell, gate, preset, learning rate and seed; `Runs` holds those of one task
and cell.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from urgates.lab.jobs import Job
from urgates.lab.protocol import Protocol
from urgates.lab.store.files import complete_lines
from urgates.lab.store.stored import COMPLETE, met_goal, read_record


class Runs:
    """The stored runs of one task and cell; empty (and false) if there are none.

    `gates` are those that claims are about, `paths` the CSVs of those that were read and exist;
    `rates` are the learning rates, of all gates or by gate, the protocol's only if not given;
    `tried` is, by gate, from how many its own was chosen, empty if none was.
    """

    def __init__(
        self,
        folder: Path,
        protocol: Protocol,
        cell: str,
        seeds: Iterable[int],
        gates: Iterable[str],
        read: Iterable[str] | None = None,
        rates: Iterable[float] | Mapping[str, Iterable[float]] | None = None,
        tried: Mapping[str, int] | None = None,
    ):
        self.folder, self.protocol, self.cell = Path(folder), protocol, cell
        self.seeds, self.gates = tuple(seeds), tuple(gates)
        self.read = self.gates if read is None else tuple(read)
        self.tried = dict(tried or {})
        by_gate = isinstance(rates, Mapping)
        self._rates = {
            g: tuple((rates.get(g) if by_gate else rates) or (protocol.lr,))
            for g in dict.fromkeys(self.gates + self.read)
        }
        self.rates = tuple(dict.fromkeys(rate for own in self._rates.values() for rate in own))
        jobs = [
            Job(protocol, cell, gate, (seed,), (rate,))
            for gate in self.read
            for seed, rate in product(self.seeds, self._rates[gate])
        ]
        paths = [self.folder / f"{job.key.stem}.csv" for job in jobs]
        self.paths = [path for path in paths if path.with_suffix(".json").exists()]

    def __bool__(self) -> bool:
        return bool(self.paths)

    def __repr__(self) -> str:
        return f"{len(self.paths)} runs of {self.protocol.task} at {self.protocol.preset}"

    def only(self, *gates: str) -> Runs:
        """The runs of these gates: what a claim about them needs, and no more."""
        read = [gate for gate in gates if gate in self.read]
        tried = {gate: n for gate, n in self.tried.items() if gate in read}
        own = self.folder, self.protocol, self.cell, self.seeds
        return Runs(*own, gates, read, self._rates, tried)

    def at(self, rate: float | Mapping[str, float]) -> Runs:
        """The runs at this learning rate, or at the one that was chosen for each gate."""
        chosen = isinstance(rate, Mapping)
        rates = {g: (rate[g] if chosen else rate,) for g in self._rates}
        tried = self.info.groupby("gate").lr.nunique().to_dict() if chosen else {}
        own = self.folder, self.protocol, self.cell, self.seeds
        return Runs(*own, self.gates, self.read, rates, tried)

    @cached_property
    def _records(self) -> list[dict]:
        records = [read_record(path.with_suffix(".json")) for path in self.paths]
        for path, record in zip(self.paths, records, strict=True):
            job, rate = Job(self.protocol, self.cell, record["gate"]), record["protocol"]["lr"]
            if not job.fits(record, rate):
                raise ValueError(
                    f"{path} was trained under protocol {record['digest']}, not "
                    f"{job.at(rate).digest}: train it again, or move it away"
                )
        return records

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Tidy rows: task, cell, gate, lr, seed, step, then the scores, the loss first."""
        parts = []
        for path, record in zip(self.paths, self._records, strict=True):
            rows = _rows(path)
            key = {name: record[name] for name in ("task", "cell", "gate")}
            key |= {"lr": record["protocol"]["lr"], "seed": record["seed"]}
            for place, (name, value) in enumerate(key.items()):
                rows.insert(place, name, value)
            parts.append(rows)
        columns = ["task", "cell", "gate", "lr", "seed", "step", "loss"]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)

    @property
    def loss(self) -> str:
        """The first score: "loss", or what a learner has in its place."""
        return self.frame.columns[self.frame.columns.get_loc("step") + 1]

    @cached_property
    def info(self) -> pd.DataFrame:
        """One row per run: lr, status, steps, wall_seconds, digest, device, commit, accuracies …"""
        heavy = ("protocol", "probes")
        rows = [
            {"lr": r["protocol"]["lr"]} | {k: v for k, v in r.items() if k not in heavy}
            for r in self._records
        ]
        return pd.DataFrame(rows, columns=None if rows else ["gate", "lr", "seed", "status"])

    @cached_property
    def probes(self) -> pd.DataFrame:
        """One row per unit and moment: gate, seed, when ("before", "after"), unit, f and g."""
        parts = [
            pd.DataFrame({"gate": r["gate"], "seed": r["seed"], "when": when, **units}).assign(
                unit=lambda part: part.index
            )
            for r in self._records
            for when, units in r["probes"].items()
        ]
        columns = ["gate", "seed", "when", "unit", "f", "g"]
        return (
            pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)
        )

    @cached_property
    def complete(self) -> dict[str, list[int]]:
        """Seeds that came to an end at every rate: the last step, their goal, or divergence."""
        ended = [r["status"] in COMPLETE or met_goal(r) for r in self._records]
        done = self.info[np.array(ended, bool)]
        rates = {gate: done.seed[done.gate == gate].value_counts() for gate in self.gates}
        return {g: sorted(n.index[n == len(self._rates[g])]) for g, n in rates.items()}

    @property
    def minutes(self) -> pd.Series:
        """Minutes of training by gate; the seeds of a stack trained together and count once."""
        stacks = self.info.astype({"stack": str}).drop_duplicates(["gate", "stack"])
        return stacks.groupby("gate").wall_seconds.sum() / 60

    @property
    def cost(self) -> str:
        """What training took, in a sentence: all gates, the slowest, the device."""
        return (
            f"{self.protocol.task} at {self.protocol.preset}: {self.minutes.sum():.0f} min in all, "
            f"the slowest gate {self.minutes.max():.1f}, {self.provenance['device']}"
        )

    @property
    def provenance(self) -> dict:
        """Preset, seeds, device and commit behind these runs."""
        info = self.info if self else pd.DataFrame({"device": [], "commit": []})
        finished = [set(map(int, seeds)) for seeds in self.complete.values() if seeds]
        return {
            "preset": self.protocol.preset,
            "seeds": sorted(set.intersection(*finished)) if finished else [],  # common to all
            "device": ", ".join(sorted(set(info.device))) or "–",
            "commit": ", ".join(sorted(set(info.commit))) or "–",
        }

    def _repr_markdown_(self) -> str:
        lines = [f"| gate | seeds | status | {self.loss} at the end, median |", "|---|---|---|---|"]
        for gate in self.gates:
            part = self.info[self.info.gate == gate]
            status = ", ".join(f"{n} {word}" for word, n in part.status.value_counts().items())
            loss = final_loss(self, gate).median()
            seeds = ", ".join(map(str, sorted(part.seed)))
            lines.append(f"| {gate} | {seeds} | {status or 'not run'} | {loss:.4g} |")
        return "\n".join(lines)


def _rows(path: Path) -> pd.DataFrame:
    try:
        rows = pd.read_csv(io.StringIO("\n".join(complete_lines(path))))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    step, loss = [kind.kind for kind in (*rows.dtypes, np.dtype(object), np.dtype(object))][:2]
    if rows.columns[0] != "step" or not (rows.empty or (step == "i" and loss in "if")):
        raise ValueError(f"{path} is damaged: expected whole steps, and losses, under step,loss,…")
    return rows


def several(runs: Runs | Sequence[Runs]) -> list[Runs]:
    """One or more groups of runs, as a list."""
    return [runs] if isinstance(runs, Runs) else list(runs)


def completed(runs: Runs | Sequence[Runs]) -> dict[tuple, list[int]]:
    """Complete seeds by group and gate."""
    groups = enumerate(several(runs))
    return {(k, gate): seeds for k, group in groups for gate, seeds in group.complete.items()}


def provenance(runs: Runs | Sequence[Runs]) -> dict:
    """`Runs.provenance` of one or more groups: the seeds they share, all devices and commits."""
    parts = [group.provenance for group in several(runs)]
    words = {
        key: ", ".join(sorted({word for part in parts for word in part[key].split(", ")} - {"–"}))
        for key in ("device", "commit")
    }
    seeds = [set(part["seeds"]) for part in parts if part["seeds"]]
    return {
        "preset": parts[0]["preset"],
        "seeds": sorted(set.intersection(*seeds)) if seeds else [],
        **{key: text or "–" for key, text in words.items()},
    }


def final_loss(runs: Runs, gate: str, until: int | None = None) -> pd.Series:
    """Mean loss over the last 1 % of the steps made, by completed seed; infinite if it diverged.

    `until` looks at no later steps.
    """
    frame, info = runs.frame[runs.frame.gate == gate], runs.info[runs.info.gate == gate]
    frame = frame if until is None else frame[frame.step <= until]
    late = frame[frame.step > 0.99 * frame.groupby("seed").step.transform("max")]
    means = late.groupby("seed")[runs.loss].mean().astype(float)
    means[means.index.isin(info.seed[info.status == "diverged"])] = float("inf")
    return means.reindex(runs.complete[gate])


def solved(runs: Runs, gate: str) -> bool:
    """Whether the median seed ends below 5 % of the best constant predictor's loss."""
    return bool(final_loss(runs, gate).median() < 0.05 * _baseline(runs))


def stuck(runs: Runs, gate: str) -> bool:
    """Whether the median seed ends above 95 % of the best constant predictor's loss."""
    return bool(final_loss(runs, gate).median() > 0.95 * _baseline(runs))


def steps_to(runs: Runs, gate: str, level: float = 0.1) -> pd.Series:
    """First step at which the smoothed loss is below `level` of the baseline, by completed seed.

    Smoothing: exponential, 0.99 per training step. Infinite for seeds that never get there.
    """
    keep = 0.99**runs.protocol.log_every
    frame, first = runs.frame, {}
    for seed in runs.complete[gate]:
        rows = frame[(frame.gate == gate) & (frame.seed == seed)]
        smooth = rows[runs.loss].ewm(alpha=1 - keep, adjust=False).mean()
        below = rows.step[smooth < level * _baseline(runs)]
        first[seed] = float(below.min()) if len(below) else float("inf")
    return pd.Series(first, dtype=float)


def _baseline(runs: Runs) -> float:
    baseline = runs.protocol.make_task().baseline
    if baseline is None:
        raise ValueError(f"task {runs.protocol.task!r} has no baseline loss to compare with")
    return baseline


def smoothed(frame: pd.DataFrame, y: str, stretch: int) -> pd.DataFrame:
    """Means of `y` over stretches of so many steps, by run: columns gate, seed, step, `y`."""
    step = np.ceil(frame.step.astype(float) / stretch) * stretch
    return frame.groupby(["gate", "seed", step], sort=False)[y].mean().reset_index()
