"""Program execution (E.3, D.4): the rows of Fig. 11, and what its panels decide.

Accuracies are shares of the characters of answers to programs of full size that were not trained
on.  A panel is a category with a cell; a run is one (gate, seed) of it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from urgates.lab.experiments.rows import ADAM, CHRONO, OPEN, SMALL, row
from urgates.lab.experiments.seeds import above, all_of, in_words, leads, trails
from urgates.lab.store.runs import Runs
from urgates.lab.tasks.programs import Programs
from urgates.lab.tasks.text import NO_TARGET

CATEGORIES = ("addition", "control", "program")
CELLS = {"lstm": "", "rmc": "-rmc"}
"""What the tasks of a cell are called, after the category: each core has sizes of its own."""
GATES = ("-", "C", "OM", "U", "UR")

_ALL = (
    ADAM
    | CHRONO
    | OPEN
    | {
        "gates": (GATES, "Fig. 11"),
        "clip": (1.0, "unstated for this task; 1 as in D.1 and D.2"),
    }
)
_PAPER = _ALL | {
    "task_options": ({"length": 9, "nesting": 4}, "E.3; 12,800 programs of full size evaluate"),
    "batch": (128, "D.4, as Santoro et al. (2018)"),
    "lr": (1e-3, "D.4: inside the sweep"),
    "sweep": ((5e-4, 1e-3), "D.4"),
    "downsize": (32, "D"),
    "log_every": 500,
    "eval_every": 5_000,
    "seeds": (3, "unstated; Fig. 11 has medians with intervals"),
}
_LAPTOP = _ALL | {
    "task_options": {"length": 2, "nesting": 2, "evaluated": 2_560},
    "batch": 32,
    "lr": (5e-3, "our choice: of 1, 2 and 5e-3 the best for the plain LSTM in 1,750 steps"),
    "seeds": 3,
    "log_every": 50,
    "eval_every": 250,
}
_SECONDS = SMALL | {
    "gates": _ALL["gates"],
    "task_options": {"length": 1, "nesting": 2, "evaluated": 64},
    "batch": 16,
    "steps": 20,
    "lr": 5e-3,
    "downsize": 8,
    "log_every": 5,
    "eval_every": 10,
}
_SIZES = {  # by cell and preset
    ("lstm", "smoke"): {"hidden": 32},
    ("lstm", "laptop"): {"hidden": 128, "steps": 6_000, "downsize": 8},
    ("lstm", "paper"): {"hidden": (1024, "D.4: 1024 or 2048"), "steps": (500_000, "D.4")},
    ("rmc", "smoke"): {"hidden": 16, "learner_options": {"rmc": {"slots": 2, "heads": 2}}},
    ("rmc", "laptop"): {
        "hidden": 64,
        "steps": 4_000,
        "lr": (2e-3, "our choice: 1, 2 and 5e-3 are alike for the plain core in 1,250 steps"),
        "downsize": 4,
        "learner_options": {"rmc": {"slots": 2, "heads": 2}},
    },
    ("rmc", "paper"): {
        "hidden": (512, "D.4: units of a slot"),
        "steps": (200_000, "D.4"),
        "learner_options": ({"rmc": {"slots": 4, "heads": 4}}, "D.4: 2 or 4 slots, 2 or 4 heads"),
    },
}
_FAMILIES = {"smoke": _SECONDS, "laptop": _LAPTOP, "paper": _PAPER}
_WIDE = _PAPER | _SIZES["lstm", "paper"] | {"hidden": (2048, "D.4: 1024 or 2048")}

ROWS = (
    *(
        row(f"{category}{CELLS[cell]}", preset, _FAMILIES[preset] | sizes)
        for category in CATEGORIES
        for (cell, preset), sizes in _SIZES.items()
    ),
    *(row(f"{category}-wide", "paper", _WIDE) for category in CATEGORIES),
)

RELEASED = pd.DataFrame(
    {
        ("addition", 9, 4): (55, 55, 55, 10.0, 0.149),
        ("control", 9, 4): (95, 123, 151, 9.6, 0.107),
        ("program", 9, 4): (55, 82, 151, 9.75, 0.113),
        ("addition", 3, 2): (13, 13, 13, 3.9, 0.254),
        ("control", 3, 2): (33, 35, 37, 3.6, 0.120),
        ("program", 3, 2): (13, 22, 37, 3.7, 0.140),
    },
    index=["least", "mean", "most", "answer", "constant"],
).T.rename_axis(["category", "length", "nesting"])
"""`statistics` of 20,000 programs that the generator of Santoro et al. (2018) wrote, rounded."""


# ------------------------------------------------------------------ what programs are like


def constant(task: Programs, count: int = 20_000) -> pd.DataFrame:
    """What one digit for each place of the answer gets right: place, right, asked (characters).

    The most frequent digit of each place, among `count` programs of full size.
    """
    answers = np.concatenate([target for _, target in _full(task, count)])
    digits = [np.bincount(place[place != NO_TARGET], minlength=1) for place in answers.T]
    rows = [(1 + k, found.max(), found.sum()) for k, found in enumerate(digits)]
    return pd.DataFrame(rows, columns=["place", "right", "asked"])


def statistics(task: Programs, count: int = 20_000) -> dict[str, float]:
    """Characters of programs of full size (least, mean, most) and of their answers (mean).

    And `constant`, the accuracy of always giving the same answer.
    """
    sizes = np.concatenate([x.sum((1, 2)) for x, _ in _full(task, count)])
    found = constant(task, count)
    return {
        "least": sizes.min(),
        "mean": sizes.mean(),
        "most": sizes.max(),
        "answer": found.asked.sum() / len(sizes),
        "constant": found.right.sum() / found.asked.sum(),
    }


def digits(program: str) -> int:
    """How many digits the numbers of a program have."""
    return len(re.findall(r"\d+", program)[-1])


def operations(program: str) -> int:
    """How deep a program is nested."""
    return 1 + program.count("(")


def _full(task: Programs, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The programs that test, or more of them."""
    batches = replace(task, evaluated=count).evaluate_batches("test", 500)
    return ((x.numpy(), target.numpy()) for x, target in batches)


# ------------------------------------------------------------------ what runs did

KEY = ["category", "cell", "gate", "seed"]
Panels = Mapping[tuple[str, str], Mapping[str, np.ndarray]]


def category(runs: Runs) -> str:
    """What the programs of these runs are."""
    return runs.protocol.task.partition("-")[0]


def accuracies(groups: Iterable[Runs]) -> pd.DataFrame:
    """One row per finished run: category, cell, gate, seed, `valid` (the best), `test` (with it).

    `test` is of the weights that did best on `valid`.
    """
    columns = {"best_valid_accuracy": "valid", "test_accuracy": "test"}
    return gathered(groups, lambda runs: runs.info, columns)


def curves(groups: Iterable[Runs]) -> pd.DataFrame:
    """Validations as training went on: category, cell, gate, seed, step, accuracy."""
    columns = {"step": "step", "valid_accuracy": "accuracy"}
    return gathered(groups, lambda runs: runs.frame, columns)


def gathered(
    groups: Iterable[Runs], of: Callable[[Runs], pd.DataFrame], columns: Mapping[str, str]
) -> pd.DataFrame:
    """The rows of all groups that have these columns, under their new names."""
    parts = []
    for runs in groups:
        part = of(runs).reindex(columns=["gate", "seed", *columns]).rename(columns=columns)
        parts.append(part.assign(category=category(runs), cell=runs.cell).dropna())
    found = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    types = {"seed": int} | dict.fromkeys(columns.values(), float)
    return found[[*KEY, *columns.values()]].astype(types)


def at_equal_steps(curves: pd.DataFrame) -> pd.DataFrame:
    """Each run's best validation within the steps that every core has made: KEY and `valid`.

    Args:
        curves: rows of `curves`.
    """
    last = curves.groupby("cell").step.max().min()
    within = curves[curves.step <= last]
    return within.groupby(KEY, sort=False).accuracy.max().rename("valid").reset_index()


def panels(table: pd.DataFrame, column: str = "test") -> Panels:
    """A column by (category, cell) and gate, one number a seed; the panels and gates of Fig. 11."""
    groups = {key: part.to_numpy() for key, part in table.groupby(KEY[:3])[column]}
    none = np.empty(0)
    return {
        (kind, cell): {gate: groups.get((kind, cell, gate), none) for gate in GATES}
        for cell in CELLS
        for kind in CATEGORIES
    }


def spread(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracies on test programs in words, "0.512 (0.498–0.530)": median and range over seeds.

    A row per cell and gate, a column per category.
    """
    found = table.groupby(["cell", "gate", "category"], sort=False).test.agg(in_words)
    order = [(cell, gate) for cell in CELLS for gate in dict.fromkeys([*GATES, *table.gate])]
    wide = found.unstack().reindex(columns=CATEGORIES).astype(object)
    wide = wide.reindex([key for key in order if key in wide.index])
    return wide.where(wide.notna(), "–")


def shown(of: Panels, *where: tuple[str, str], gates: Iterable[str] = GATES) -> str:
    """Medians of some panels in words: "addition lstm - 0.512, UR 0.530; …"."""
    found = {place: _medians(of[place], gates) for place in where}
    return "; ".join(
        f"{' '.join(place)} " + ", ".join(f"{g} {m:.3f}" for g, m in medians.items())
        for place, medians in found.items()
        if medians
    )


def against(of: Panels, *where: tuple[str, str], gate: str, without: Iterable[str] = ()) -> str:
    """A gate's medians and the best of the others': "addition lstm UR 0.530, U 0.512; …".

    Args:
        without: gates that do not count.
    """
    parts = []
    for place in where:
        medians = _medians(of[place], [g for g in GATES if g not in without])
        others = [g for g in medians if g != gate]
        if gate in medians and others:
            parts.append(shown(of, place, gates=(gate, max(others, key=medians.get))))
    return "; ".join(parts)


def lowest(of: Panels, gate: str) -> str:
    """In how many panels a gate's median is the lowest: "lowest in 4 of 6, not in …"."""
    medians = {place: _medians(panel, GATES) for place, panel in of.items()}
    counted = {place: m for place, m in medians.items() if gate in m and len(m) > 1}
    above = [" ".join(p) for p, m in counted.items() if min(m, key=m.get) != gate]
    return f"lowest in {len(counted) - len(above)} of {len(counted)}" + (
        f", not in {', '.join(above)}" if above else ""
    )


def _medians(panel: Mapping[str, np.ndarray], gates: Iterable[str]) -> dict[str, float]:
    return {g: float(np.median(panel[g])) for g in gates if len(panel[g])}


# ------------------------------------------------------------------ what E.3 says of them


def chrono_is_last(of: Panels) -> bool | None:
    """Whether chrono is below every other gate across the board, in all six panels."""
    return all_of(*(trails(panel, "C") for panel in of.values()))


def uniform_is_first_on_addition(of: Panels) -> bool | None:
    """Whether U is the best gate on Addition, in both cores."""
    return all_of(*(leads(of["addition", cell], "U") for cell in CELLS))


def ordered_is_good(of: Panels) -> bool | None:
    """Whether, on Control and Program, the OM-LSTM is above the plain LSTM, but not above UR."""
    of = [of[kind, "lstm"] for kind in ("control", "program")]
    parts = [(above(lstm["OM"], lstm["-"]), above(lstm["UR"], lstm["OM"])) for lstm in of]
    return all_of(*(part for pair in parts for part in pair))


def ordered_falls(of: Panels) -> bool | None:
    """Whether, on Control and Program, the OM-RMC is below the plain RMC."""
    of = [of[kind, "rmc"] for kind in ("control", "program")]
    return all_of(*(above(rmc["-"], rmc["OM"]) for rmc in of))


def lstm_is_ahead(of: Panels) -> bool | None:
    """Whether, consistently, each LSTM is better than the RMC of its gate.

    Args:
        of: panels of `at_equal_steps`.
    """
    pairs = ((of[kind, "lstm"][g], of[kind, "rmc"][g]) for kind in CATEGORIES for g in GATES)
    return all_of(*(above(*pair) for pair in pairs))


def refined_gains_nothing(of: Panels) -> bool | None:
    """Whether, on Addition, the UR-RMC does not improve on the RMC: it lies below."""
    return above(of["addition", "rmc"]["-"], of["addition", "rmc"]["UR"])


def refined_is_first_of_lstms(of: Panels) -> bool | None:
    """Whether the UR-LSTM is above every other LSTM, aside from U on Addition."""
    without = {g: v for g, v in of["addition", "lstm"].items() if g != "U"}
    rest = (of[kind, "lstm"] for kind in ("control", "program"))
    return all_of(*(leads(panel, "UR") for panel in (without, *rest)))


def refined_is_first_of_rmcs(of: Panels) -> bool | None:
    """Whether the UR-RMC is above every other RMC on Control and on Program."""
    return all_of(*(leads(of[kind, "rmc"], "UR") for kind in ("control", "program")))


def mostly_transfers(of: Panels) -> bool | None:
    """Whether, for the most part, UR improves on the plain RMC: on two categories of three."""
    found = [above(of[kind, "rmc"]["UR"], of[kind, "rmc"]["-"]) for kind in CATEGORIES]
    yes, no = found.count(True), found.count(False)
    return True if yes >= 2 else False if no >= 2 else None
