"""What the runs' probes say of each unit of a trained network: its gates before and after training.

A unit counts by its mean gate over a batch and over time (D.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from urgates.gates import decay_period

if TYPE_CHECKING:
    from urgates.lab.store.runs import Runs

NEAREST = 1e-6  # the runs store gates with six digits: no decay period beyond a million


def paired(runs: Runs) -> pd.DataFrame:
    """A row per unit, by gate, seed and unit: f_before, f_after, g_before, g_after.

    Units without both moments, of runs that go on, are left out; empty for empty runs.
    """
    moments = pd.MultiIndex.from_product([["f", "g"], ["before", "after"]])
    key = ["gate", "seed", "unit"]
    units = runs.probes.pivot(index=key, columns="when", values=["f", "g"])
    units = units.reindex(columns=moments).astype(float).dropna()
    units.columns = [f"{name}_{when}" for name, when in moments]
    return units


def periods(gates: pd.Series) -> pd.Series:
    """Decay periods [steps] of stored mean gates, §2.2; a million for a gate of 1."""
    return decay_period(gates.astype(float).clip(upper=1 - NEAREST))


def exceedance(periods: Iterable[float], beyond: Iterable[float] | None = None) -> pd.DataFrame:
    """Which share of units remembers longer than D steps: columns D and share.

    Args:
        periods: decay periods [steps], a number a unit.
        beyond: at these D, in their order; if not given, at the units' own periods, falling, each
            with the share that reaches it.
    """
    D = np.sort(np.asarray(periods, float))
    if beyond is None:
        return pd.DataFrame({"D": D[::-1], "share": (np.arange(len(D)) + 1) / len(D)})
    beyond = np.asarray(beyond, float)
    longer = len(D) - np.searchsorted(D, beyond, side="right")
    return pd.DataFrame({"D": beyond, "share": longer / max(len(D), 1)})


def tails(probes: pd.DataFrame, gates: Iterable[str]) -> list[pd.DataFrame]:
    """`exceedance` of decay periods, before and after training: columns gate, when, D, share.

    Args:
        probes: columns gate, when and g, a row per unit and moment.
        gates: those to look at; the ones without a unit are left out.
    """
    groups = {key: part.g for key, part in probes.dropna(subset="g").groupby(["gate", "when"])}
    return [
        exceedance(periods(groups[gate, when])).assign(gate=gate, when=when)[
            ["gate", "when", "D", "share"]
        ]
        for when in ("before", "after")
        for gate in gates
        if (gate, when) in groups
    ]
