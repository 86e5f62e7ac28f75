"""Passive and Active Match (§3.4, E.2): rows of Figs. 7, 8 and 10, and how their runs compare.

A task's number is what an apple of the distractor phase pays ("active-5"), a cell in its name is
the agents' other memory ("active-1-rma").  What counts is the reward of the last phase alone.
"""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from urgates.lab.experiments.rows import CHRONO, OPEN, row
from urgates.lab.experiments.seeds import above, all_of, below, in_words, leads
from urgates.lab.protocol import Protocol
from urgates.lab.store.runs import Runs, smoothed

_FIG_7, _FIG_8, _FIG_10 = "D.3: Figs. 7 and 10", "D.3: Fig. 8", "E.2"
_MORE = "Fig. 7's, our choice: no figure has Passive Match with these cores"
_MATCH = (
    CHRONO
    | OPEN
    | {
        "learner": ("actor-critic", "§3.4 says A3C; batches of whole episodes, as released"),
        "gates": (("-", "U", "UR"), "Fig. 7"),
        "clip": (1.0, "not used: slopes of logits and values are clipped at 10, as released"),
        "seeds": 3,
        "log_every": 100,
    }
)
_RELEASED = "the released agents of Hung et al. (2018)"
_PAPER = _MATCH | {
    "hidden": (256, _RELEASED),
    "batch": (16, _RELEASED),
    "steps": (41_700, "Figs. 7, 8: 4e8 steps (the exponent is hard to read), in episodes of 600"),
    "lr": (2e-4, f"{_RELEASED}; the paper names none"),
    "downsize": (16, "D"),
}
_LAPTOP = _MATCH | {
    "hidden": 64, "batch": 64, "lr": 2e-3, "downsize": 16, "log_every": 10,
}  # fmt: skip
_SMOKE = _MATCH | {
    "hidden": 16, "batch": 8, "steps": 20, "lr": 5e-3, "downsize": 8, "seeds": 1, "log_every": 5,
}  # fmt: skip

_FRAMES = {  # task options of the three presets
    "smoke": {"frames": (2, 5, 5)},
    "laptop": {"frames": (15, 30, 15)},
    "paper": {"frames": (75, 450, 75), "squares": 4, "wrong": 1.0, "ends": True},
}
_FROM = {
    "smoke": "our choice: a dozen steps",
    "laptop": "the released grid games, but 30 steps of distraction for 90: our choice",
    "paper": "Hung et al.'s levels: 5, 30, 5 s of 15 steps, four squares, 1 for a wrong one",
}
_AGENT = {  # learner options
    "smoke": {"features": 8, "width": 8, "entropy": 0.02, "baseline": 0.4},
    "laptop": {"features": 32, "width": 32, "entropy": 0.15, "baseline": 0.4,
               "contrast": (0.5, 16.0)},
    "paper": {"features": 500, "convolutions": (16, 32), "width": 200, "entropy": 0.01,
              "baseline": 0.4},
}  # fmt: skip
_MEMORY = {  # of the other cores: rows, heads, and how many rows a head reads
    "smoke": {"rma": {"rows": 12, "top": 4}, "dnc": {"rows": 4, "width": 4, "reads": 1}},
    "laptop": {"rma": {"rows": 120, "top": 8}, "dnc": {"rows": 16, "width": 16, "reads": 1}},
    "paper": {
        "rma": {"rows": 1000, "reads": 3, "top": 50},
        "dnc": {"rows": 128, "width": 64, "reads": 3},
    },
}
_MEMORY = {preset: own | {"mem": own["rma"]} for preset, own in _MEMORY.items()}
_FAMILIES = {"smoke": _SMOKE, "laptop": _LAPTOP, "paper": _PAPER}

_TASKS = {  # what an apple pays, γ, and where both are said
    "passive": (0.0, 0.96, _FIG_7),
    "active": (0.0, 0.96, _FIG_7),
    "passive-rma": (0.0, 0.96, _MORE),
    "passive-dnc": (0.0, 0.96, _MORE),
    "active-1": (1.0, 0.998, _FIG_8),
    "active-1-rma": (1.0, 0.998, _FIG_8),
    "active-5": (5.0, 0.96, _FIG_10),
    "active-5-dnc": (5.0, 0.96, _FIG_10),
    "active-5-mem": (5.0, 0.96, _FIG_10),
}


def _row(task: str, preset: str) -> Protocol:
    apple, discount, said = _TASKS[task]
    cell = task.split("-")[-1]
    memory = {cell: _MEMORY[preset][cell]} if cell in _MEMORY[preset] else {}
    rules = _FRAMES[preset] | {"apple_reward": apple}
    agent = _AGENT[preset] | memory | {"discount": discount}
    known = _RELEASED if preset == "paper" else "our choice"
    numbers = {
        "task_options": (rules, f"{_FROM[preset]}; apples: {said}"),
        "learner_options": (agent, f"γ: {said}; the others: {known}"),
    }
    if preset == "laptop":  # other memories take twice as long; Active Match is learned later
        numbers["steps"] = 2_000 if memory else 3_000 if task == "passive" else 6_000
    return row(task, preset, _FAMILIES[preset], **numbers)


ROWS = tuple(_row(task, preset) for task in _TASKS for preset in _FAMILIES)


# ------------------------------------------------------------------ what runs say


def frames(protocol: Protocol) -> int:
    """Agent steps of an update, which are frames of the games; at most, where a choice ends one."""
    return protocol.batch * protocol.make_task().steps


def curves(runs: Runs, points: int = 60) -> pd.DataFrame:
    """Reward of the last phase: gate, seed, step, frames (agent steps so far), last_phase.

    Means over equal stretches of training, so many a run.
    """
    p = runs.protocol
    found = (
        smoothed(runs.frame, "last_phase", max(p.log_every, p.steps // points))
        if runs
        else (pd.DataFrame(columns=["gate", "seed", "step", "last_phase"]))
    )
    found.insert(3, "frames", found.step.astype(float) * frames(p))
    return found


def outcomes(runs: Runs) -> pd.DataFrame:
    """A row per finished run: gate, seed, `area` and `final`, rewards of the last phase.

    `area` is the mean over all of training (the area under the learning curve, per step): what
    learns faster or higher has more of it.  `final` is that over the last tenth.
    """
    rows = []
    for gate, seeds in runs.complete.items():
        for seed in seeds:
            own = runs.frame[(runs.frame.gate == gate) & (runs.frame.seed == seed)]
            late = own[own.step > 0.9 * runs.protocol.steps]
            rows.append((gate, seed, own.last_phase.mean(), late.last_phase.mean()))
    return pd.DataFrame(rows, columns=["gate", "seed", "area", "final"])


def by_gate(table: pd.DataFrame, score: str = "area") -> dict[str, list[float]]:
    """A score of `outcomes` by gate, a number a seed."""
    return {gate: part[score].tolist() for gate, part in table.groupby("gate", sort=False)}


def spread(tables: Mapping[str, pd.DataFrame], score: str) -> pd.DataFrame:
    """A score of each task's `outcomes` in words, "median (least–most)": tasks by gate."""
    said = {
        task: {gate: in_words(values, ".2f") for gate, values in by_gate(table, score).items()}
        for task, table in tables.items()
    }
    return pd.DataFrame(said).T


def medians(tables: Mapping[str, pd.DataFrame], score: str = "area") -> str:
    """A score of each task's `outcomes` in a line: the median of each gate."""
    parts = []
    for task, table in tables.items():
        found = {gate: pd.Series(v).median() for gate, v in by_gate(table, score).items()}
        said = (f"{gate.replace('-', 'LSTM')} {value:.2f}" for gate, value in found.items())
        parts.append(f"{task}: {', '.join(said) if found else 'no runs'}")
    return f"{score} " + "; ".join(parts)


# ------------------------------------------------------------------ what decides a claim


def learns_best(
    tables: Iterable[pd.DataFrame], gate: str = "UR", scores: Sequence[str] = ("area",)
) -> bool | None:
    """Whether all seeds of a gate have more than all of every other, in each table and score."""
    return all_of(*(leads(by_gate(t, s) or {gate: ()}, gate) for t in tables for s in scores))


def improves(tables: Iterable[pd.DataFrame], better: str = "UR", worse: str = "-") -> bool | None:
    """Whether all seeds of a gate have a greater area than all of another, in each table."""
    found = [by_gate(table) for table in tables]
    return all_of(*(above(areas.get(better, ()), areas.get(worse, ())) for areas in found))


def only_above(table: pd.DataFrame, level: float, gate: str = "UR") -> bool | None:
    """Whether a gate ends above a level with all its seeds, and no other gate with any."""
    final = by_gate(table, "final")
    fails = {name: below(values, level) for name, values in final.items()}
    mine = fails.pop(gate, None)
    return all_of(None if mine is None else not mine, *fails.values())


def reorders(before: pd.DataFrame, after: pd.DataFrame) -> bool | None:
    """Whether two gates change places from one table to another; None if none is seen to."""
    one, two = by_gate(before), by_gate(after)
    pairs = [(a, b) for a in one for b in one if a != b]
    seen = [(above(one[a], one[b]), above(two.get(a, ()), two.get(b, ()))) for a, b in pairs]
    if (True, False) in seen:
        return True
    return False if seen and all(x == y is not None for x, y in seen) else None
