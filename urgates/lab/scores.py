"""What runs come to: the losses of §3.1's memory tasks, and accuracies as §3.2 counts them.

A run is one (gate, learning rate, seed); losses are shares of the best constant predictor's,
accuracies per cent of the images: Table 2's best run, Fig. 5's best stable rate, divergence.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from urgates.lab import figures
from urgates.lab.runs import Runs, final_loss, solved, steps_to, stuck

KNEW, FORGOT = 0.4, 0.2  # training accuracy that a collapsed run once had, and then fell below

# ------------------------------------------------------------------ losses


def thinned(runs: Runs, points: int = 40) -> pd.DataFrame:
    """Learning curves of at most so many points a run: means over equal stretches of training.

    Returns:
        Columns gate, seed, step, loss.
    """
    stretch = max(runs.protocol.log_every, runs.protocol.steps // points)
    return figures.thinned(runs.frame, "loss", stretch)


def ends(runs: Runs) -> pd.DataFrame:
    """By gate and seed: `left`, the share of the baseline's loss, and `steps` until 10 % of it."""
    baseline = runs.protocol.make_task().baseline
    found = {
        g: pd.DataFrame({"left": final_loss(runs, g) / baseline, "steps": steps_to(runs, g)})
        for g in runs.gates
    }
    return pd.concat(found, names=["gate", "seed"])


def outcomes(runs: Runs) -> pd.DataFrame:
    """By gate: medians of `ends` over the seeds, and how it ended, `ours`.

    That is "solved", "stuck", "between" or, without a finished run, "not run".
    """
    table = ends(runs).groupby("gate").median().reindex(runs.gates)
    for g, left in table.left.items() if runs else ():
        word = "solved" if solved(runs, g) else "stuck" if stuck(runs, g) else "between"
        table.loc[g, "ours"] = "not run" if np.isnan(left) else word
    return table


def words(values: Mapping[str, float], *gates: str) -> str:
    """Values by gate in words: "UR 0.01, OR 0.02"."""
    shown = (
        f"{g.replace('-', 'LSTM')} {values[g]:{'.3g' if values[g] < 10 else '.0f'}}" for g in gates
    )
    return ", ".join(shown).replace("inf", "never").replace("nan", "–")


# ------------------------------------------------------------------ accuracies


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
