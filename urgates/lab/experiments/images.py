"""Pixel images (§3.2, D.2): the rows of Tables 2 and 3, and how accuracies are counted.

Accuracies are per cent of the images: Table 2's best run, Fig. 5's best stable rate, divergence.
"""

import numpy as np
import pandas as pd

from urgates.lab.experiments.rows import (
    FEW_MASTERS,
    LAPTOP,
    OPEN,
    SMALL,
    THREE_WAYS,
    row,
    started,
    with_options,
)
from urgates.lab.store.runs import Runs
from urgates.starts import WEIGHT_INITS

_IMAGES = LAPTOP | {
    "hidden": (512, "D.2, Table 2"),
    "batch": (50, "D.2"),
    "lr": (1e-3, "D.2: inside the sweep"),
    "sweep": ((2e-4, 5e-4, 1e-3, 2e-3), "D.2"),
}
_TWO_GATES = (("-", "UR"), "our choice: too easy to tell gates apart (§3.2, footnote 3)")
_SCANLINE = ({"dataset": "mnist"}, "D.2; 10 % of the training images validate: our choice")
_BIT_REVERSAL = (
    {"dataset": "mnist", "permuted": True},
    "D.5: bit reversal; 10 % of the training images validate: our choice",
)
_COLOURS = ({"dataset": "cifar10"}, "D.2; 10 % of the training images validate: our choice")
_SMALL_PIXELS = SMALL | {
    "hidden": 32,
    "batch": 25,
    "steps": 50,
    "lr": 5e-3,
    "downsize": 8,
    "log_every": 10,
    "eval_every": 50,
}
_LAPTOP_PIXELS = LAPTOP | {
    "hidden": 64,
    "downsize": (2, "our choice: at 64 units 32 of a master gate, as in the paper (512 / 16)"),
    "batch": (50, "D.2"),
    "steps": 1_500,
    "lr": (2e-3, "D.2: inside the sweep"),
    "sweep": (
        (5e-4, 2e-3, 8e-3),
        "D.2 but for the last: our choice, to look for where training breaks",
    ),
    "log_every": 50,
    "eval_every": 500,
}
_DIGITS = {"dataset": "digits"}
_SCRAMBLED_DIGITS = {"dataset": "digits", "permuted": True}
_ONLY_UR = (("UR",), "Table 3")
_ZONEOUT = {
    "gates": _ONLY_UR,
    "zoneout": ({"lstm": (0.5, 0.05), "gru": 0.1}, "D.2: (cell, hidden) of an LSTM; a GRU's"),
}
_150_EPOCHS = {
    "steps": (162_000, "D.2: 150 epochs of 54,000 images"),
    "log_every": 360,
    "eval_every": 1_080,
}
_100_EPOCHS = {
    "steps": (90_000, "D.2: 100 epochs of 45,000 images"),
    "log_every": 300,
    "eval_every": 900,
}
_3_EPOCHS = {"steps": 3_240, "log_every": 60, "eval_every": 540}
_EVERY_RATE = {
    "sweep": ((2e-4, 5e-4, 1e-3, 2e-3, 8e-3), "D.2; the last: our choice, beyond the paper's"),
}
_5_EPOCHS = _EVERY_RATE | {"steps": 5_400, "log_every": 60, "eval_every": 540}
_THREE_GATES = {
    "gates": (("-", "U", "UR"), "our choice: nine would take too long on a laptop"),
    "keep_models": True,
}
_TABLE_3 = (
    ("smnist", _DIGITS, _SCANLINE),
    ("pmnist", _SCRAMBLED_DIGITS, _BIT_REVERSAL),
    ("scifar", _DIGITS, _COLOURS),
)
_WIDE = {
    "smnist": _IMAGES | _150_EPOCHS | {"hidden": (1024, "D.2, Table 3")},
    "pmnist": _IMAGES | _150_EPOCHS | {"hidden": (1024, "D.2, Table 3")},
    "scifar": _IMAGES | _100_EPOCHS | {"hidden": (2048, "D.2, Table 3")},
}


ROWS = (
    row("smnist", "smoke", _SMALL_PIXELS, task_options=_DIGITS),
    row("smnist", "laptop", _LAPTOP_PIXELS, task_options=_SCANLINE, gates=_TWO_GATES),
    row("smnist", "paper", _IMAGES | _150_EPOCHS, task_options=_SCANLINE),
    row("pmnist", "smoke", _SMALL_PIXELS, task_options=_SCRAMBLED_DIGITS),
    row("pmnist", "laptop", _LAPTOP_PIXELS, task_options=_BIT_REVERSAL),
    row("pmnist", "paper", _IMAGES | _150_EPOCHS, task_options=_BIT_REVERSAL),
    row("scifar", "smoke", _SMALL_PIXELS, task_options=_DIGITS),
    row("scifar", "laptop", _LAPTOP_PIXELS, task_options=_COLOURS),
    row("scifar", "paper", _IMAGES | _100_EPOCHS, task_options=_COLOURS),
    *(
        row("pmnist-long", preset, family | _THREE_GATES, task_options=options)
        for preset, family, options in (
            ("smoke", _SMALL_PIXELS, _SCRAMBLED_DIGITS),
            ("laptop", _LAPTOP_PIXELS | _3_EPOCHS, _BIT_REVERSAL),
            ("paper", _IMAGES | _150_EPOCHS, _BIT_REVERSAL),
        )
    ),
    *(
        row("pmnist-swept", preset, family | OPEN, task_options=options)
        for preset, family, options in (
            ("smoke", _SMALL_PIXELS | _EVERY_RATE, _SCRAMBLED_DIGITS),
            ("laptop", _LAPTOP_PIXELS | _5_EPOCHS, _BIT_REVERSAL),
        )
    ),
    *(
        row(f"{task}-downsize16", preset, family | FEW_MASTERS, task_options=options)
        for task, preset, family, options in (
            ("pmnist", "smoke", _SMALL_PIXELS, _SCRAMBLED_DIGITS),
            ("pmnist", "laptop", _LAPTOP_PIXELS, _BIT_REVERSAL),
            ("scifar", "smoke", _SMALL_PIXELS, _DIGITS),
            ("scifar", "laptop", _LAPTOP_PIXELS, _COLOURS),
        )
    ),
    *(
        row(task, preset, family, task_options=with_options(options, score=score), gates=("UR",))
        for task, score in (
            ("pmnist-mean-logits", "mean_logits"),
            ("pmnist-all-steps", "loss_all_steps"),
        )
        for preset, family, options in (
            ("smoke", _SMALL_PIXELS, _SCRAMBLED_DIGITS),
            ("laptop", _LAPTOP_PIXELS, _BIT_REVERSAL),
        )
    ),
    *(
        row(
            f"{task}-zoneout",
            preset,
            family | _ZONEOUT,
            task_options=with_options(options, dropout=0.5),
        )
        for task, small, full in _TABLE_3
        for preset, family, options in (
            ("smoke", _SMALL_PIXELS, small),
            ("laptop", _LAPTOP_PIXELS, full),
            ("paper", _WIDE[task], full),
        )
    ),
    *(
        row(f"pmnist-{start}", preset, family | THREE_WAYS | started(start), task_options=options)
        for start in WEIGHT_INITS
        for preset, family, options in (
            ("smoke", _SMALL_PIXELS, _SCRAMBLED_DIGITS),
            ("laptop", _LAPTOP_PIXELS, _BIT_REVERSAL),
            ("paper", _IMAGES | _150_EPOCHS, _BIT_REVERSAL),
        )
    ),
    *(
        row(f"{task}-wide", "paper", _WIDE[task], task_options=full, gates=_ONLY_UR)
        for task, _, full in _TABLE_3
    ),
)

KNEW, FORGOT = 0.4, 0.2  # training accuracy that a collapsed run once had, and then fell below


def accuracies(runs: Runs) -> pd.DataFrame:
    """One row per run: cell, gate, lr, seed, status, `valid`, `test`, `final` [%] and `diverged`.

    `valid` is the best validation accuracy, `test` belongs to it, `final` is the last validation.
    The paper does not say when a run counts as diverged. Ours: its loss or gradient was no longer
    finite, or its training accuracy fell below 20 % after it had been above 40 %.
    """
    info = runs.info.reindex(
        columns=["gate", "lr", "seed", "status", "best_valid_accuracy", "test_accuracy"]
    )
    table = info.rename(columns={"best_valid_accuracy": "valid", "test_accuracy": "test"})
    table.insert(0, "cell", runs.cell)
    for column in ("valid", "test"):
        table[column] = 100 * table[column].astype(float)
    frame, keys = runs.frame, ["gate", "lr", "seed"]
    last = {}
    if "valid_accuracy" in frame:
        last = (100 * frame.groupby(keys).valid_accuracy.last()).to_dict()
    collapsed = {
        key: bool(((rows.accuracy.cummax() > KNEW) & (rows.accuracy < FORGOT)).any())
        for key, rows in (frame.groupby(keys) if len(frame) else ())
    }
    runs_in_order = list(zip(*(table[key] for key in keys), strict=True))
    table["final"] = [last.get(key, float("nan")) for key in runs_in_order]
    fallen = pd.Series([collapsed.get(key, False) for key in runs_in_order], table.index, bool)
    table["diverged"] = fallen | (table.status == "diverged")
    return table


def best_run(table: pd.DataFrame) -> pd.DataFrame:
    """Table 2's view, by gate: the best `valid` of any run, its `lr`, how many `diverged` at it.

    Args:
        table: rows of `accuracies`.
    """
    rows = {}
    for gate, part in table.dropna(subset="valid").groupby("gate", sort=False):
        best = part.loc[part.valid.idxmax()]
        stars = part.diverged[part.lr == best.lr].sum()
        rows[gate] = {"valid": best.valid, "lr": best.lr, "diverged": int(stars)}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["valid", "lr", "diverged"])


def best_stable(table: pd.DataFrame) -> pd.DataFrame:
    """Fig. 5's view, by gate: medians over seeds at the best rate at which no seed diverged.

    The best rate has the highest mean `final` (App. D.2). Columns `valid`, `test`, `lr`, `seeds`;
    gates without a stable rate are left out.
    """
    rows = {}
    for gate, part in table.dropna(subset="valid").groupby("gate", sort=False):
        by_rate = part.groupby("lr").agg(
            valid=("valid", "median"),
            test=("test", "median"),
            final=("final", "mean"),
            seeds=("seed", "nunique"),
            diverged=("diverged", "sum"),
        )
        stable = by_rate[by_rate.diverged == 0]
        if len(stable):
            best = stable.final.idxmax()
            rows[gate] = stable.loc[best, ["valid", "test"]].to_dict() | {"lr": best}
            rows[gate]["seeds"] = int(stable.seeds[best])
    columns = ["valid", "test", "lr", "seeds"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def at_best_rate(frame: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `Runs.frame` at each gate's best stable rate, which Fig. 5 draws."""
    return frame[frame.lr == frame.gate.map(best_stable(table).lr)]


def by_gate(table: pd.DataFrame, column: str = "valid") -> dict[str, np.ndarray]:
    """A column of `accuracies` by gate, one number a seed, at the gate's best stable rate."""
    rows = at_best_rate(table, table).dropna(subset=column)
    return {gate: part[column].to_numpy() for gate, part in rows.groupby("gate", sort=False)}
