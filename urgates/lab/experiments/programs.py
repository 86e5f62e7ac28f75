"""Program execution (E.3, D.4): the rows of Fig. 11, and what its panels decide.

Accuracies are shares of the characters of answers to programs of full size that were not trained
on.  A panel is a category with a cell; a run is one (gate, seed) of it.
"""

from urgates.lab.experiments.rows import ADAM, CHRONO, OPEN, SMALL, row

CATEGORIES = ("addition", "control", "program")
CELLS = {"lstm": "", "rmc": "-rmc"}
"""What the tasks of a cell are called, after the category: each core has sizes of its own."""

_ALL = (
    ADAM
    | CHRONO
    | OPEN
    | {
        "gates": (("-", "C", "OM", "U", "UR"), "Fig. 11"),
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
        "steps": 5_000,
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
