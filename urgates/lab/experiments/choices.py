"""What the paper leaves open, measured: runs that differ in one choice, side by side."""

from collections.abc import Hashable, Mapping

import pandas as pd

from urgates.lab.experiments.images import accuracies
from urgates.lab.experiments.memory import at_best_rate, ends
from urgates.lab.store.runs import Runs

ACCURACY, LEFT = "validation accuracy [%]", "loss left [of the baseline]"


def scores(runs: Runs) -> pd.DataFrame:
    """By gate and seed: `score`, what a run of a task is judged by, at each gate's best rate.

    That is the share of the baseline's loss left at the end, or, where there is no such baseline,
    the best validation accuracy; `what` says which.
    """
    if runs.protocol.make_task().baseline is None:
        table, what = accuracies(runs).set_index(["gate", "seed"]).valid, ACCURACY
    else:
        table, what = ends(at_best_rate(runs)).left, LEFT
    return table.dropna().rename("score").to_frame().assign(what=what)


def side_by_side(groups: Mapping[Hashable, Runs], *names: str) -> pd.DataFrame:
    """`scores` of groups of runs: a row per run, columns `names`, gate, seed, score, what.

    Args:
        names: what the groups' keys say, in order; a column each.
    """
    found = {key: scores(runs) for key, runs in groups.items() if runs}
    if not found:
        return pd.DataFrame(columns=[*names, "gate", "seed", "score", "what"])
    return pd.concat(found, names=names).reset_index()
