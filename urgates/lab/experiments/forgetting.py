"""Synthetic forgetting (E.1): Adding from saturated gates, and what E.1 leaves open."""

from urgates.lab.experiments.rows import ADAM, OPEN, OTHER_STARTS, row, started

_STATED = (
    ADAM
    | OPEN
    | {
        "task_options": ({"length": 500}, "E.1"),
        "gates": (("-", "R", "UR"), "E.1, Fig. 9 (its text says R, its caption UR)"),
        "hidden": (64, "E.1"),
        "lr": (1e-4, "E.1"),
        "steps": (20_000, "E.1 speaks of 10,000; twice as many to see what comes next"),
        "batch": (20, "our choice: unstated in the paper; small enough for one CPU core"),
        "forget_bias": (6.0, "E.1: effective forget gate σ(6)"),
        "variant_bias": (6.0, "E.1; with a refine bias of 0 the effective gate is σ(6), too"),
        "downsize": (16, "D"),
        "seeds": (5, "our choice: unstated"),
        "log_every": 100,
    }
)
_SMALL = {
    "task_options": {"length": 20},
    "downsize": 8,
    "hidden": 32,
    "batch": 16,
    "steps": 60,
    "seeds": 1,
    "log_every": 10,
}
_BEFORE = _STATED | {  # the first runs of E.1
    "gates": (("-", "R"), "E.1, Fig. 9"),
    "weight_init": ("torch", "unstated"),
    "variant_bias": (None, "as the forget bias; the refine bias 0 is our choice"),
    "tied_start": (True, "our choice: the LSTM's input bias starts at −6"),
    "steps": (10_000, "E.1"),
    "seeds": (3, "our choice: as in D.1"),
}
_OTHERS = {  # open points of E.1
    "forgetting-batch-50": {"batch": (50, "our choice: as in the paper's image tasks")},
    "forgetting-split": {
        "gates": ("R",),
        "variant_bias": (3.511, "our choice: with the refine bias the same, σ(6) again"),
        "refine_bias": (3.511, "our choice"),
    },
    "forgetting-tied": {
        "gates": ("-",),
        "tied_start": (True, "our choice: the LSTM's input bias starts at −6"),
    },
}

ROWS = (
    *(
        row(task, preset, _STATED | other | own)
        for task, other in ({"forgetting": {}} | _OTHERS).items()
        for preset, own in (("smoke", _SMALL), ("paper", {}))
    ),
    row("forgetting", "laptop", _BEFORE),
    *(
        row(f"forgetting-{start}", preset, _STATED | started(start) | own)
        for start in OTHER_STARTS
        for preset, own in (("smoke", _SMALL), ("paper", {}))
    ),
)
