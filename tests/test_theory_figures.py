"""Pictures of the second paper: every column is drawn, every gate in its panel, minima in words."""

import numpy as np
import pandas as pd
import pytest

from urgates.lab.book import fast_figures, theory_figures


def drawn(ax) -> dict:
    """The lines of a panel that have a name: their numbers."""
    lines = {line.get_label(): line.get_ydata() for line in ax.lines}
    return {name: list(y) for name, y in lines.items() if len(y) and not name.startswith("_")}


def test_every_activation_of_a_table_is_drawn_and_nothing_else():
    z = np.linspace(-1, 1, 3)
    frame = pd.DataFrame({"z": z, "fast": z**2, "fast slope": 2 * z, "yours": -z})
    frame["yours slope"] = -1.0
    gates, slopes = theory_figures.shapes(frame).axes
    assert drawn(gates) == {"fast": [1, 0, 1], "yours": [1, 0, -1]}
    assert drawn(slopes) == {"fast": [-2, 0, 2], "yours": [-1, -1, -1]}
    looks = [theory_figures.look(name) for name in (*theory_figures.LIKE, "yours", "mine")]
    assert len({(look["color"], str(look["linestyle"])) for look in looks}) == 5
    assert [look["label"] for look in looks[-2:]] == ["yours", "mine"]


def test_a_minimum_outside_the_picture_is_told_in_words():
    frame = pd.DataFrame({"z": [-1.0, 16.0], "sigmoid": [0.9, 0.1], "softsign": [0.9, 0.9]})
    ax = theory_figures.losses(frame, {"sigmoid": 6.9, "softsign": 948.0}, "loss").axes[0]
    assert [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "v"] == [6.9]
    assert [text.get_text() for text in ax.texts] == ["softsign's minimum\nis at z = 948"]


def test_a_race_parts_gates_by_their_start_whatever_they_are():
    rows = [(g, s, k, 2.0 - k / 10) for g in ("F", "CF", "O", "-") for s in (1, 2) for k in (1, 2)]
    frame = pd.DataFrame(rows, columns=["gate", "seed", "step", "loss"])
    beside = {"another": pd.DataFrame({"step": [1, 2], "loss": [1.5, 1.0]})}
    order = ["-", "F", "UF", "CF", "O"]
    fig, data = fast_figures.race(frame, order, 2.1, "Copy", "loss", beside)
    left, right = (set(drawn(ax)) for ax in fig.axes)
    assert (left, right) == ({"- (standard)", "F"}, {"CF", "O", "another"})
    assert [ax.get_title() for ax in fig.axes] == ["Copy: constant start", "Copy: spread starts"]
    names = [text.get_text() for text in fig.legends[0].get_texts()]
    assert names == ["- (standard)", "F", "CF", "O", "another"]
    assert set(data.gate) == {"F", "CF", "O", "-", "another"}
    fig, data = fast_figures.race(frame.head(0), order, 2.1, "Copy", "loss", {})
    assert data.empty and not any(map(drawn, fig.axes))


def test_bars_of_cost_are_the_ratios():
    kinds = [(by, g, p) for by in ("loop", "urgates") for g in ("-", "R, free input")
             for p in ("training", "inference")]  # fmt: skip
    frame = pd.DataFrame(kinds, columns=["by", "gate", "phase"]).assign(ratio=np.arange(1.0, 9.0))
    frame = frame.assign(low=frame.ratio - 0.1, high=frame.ratio + 0.2)
    for ax, expected in zip(
        fast_figures.cost(frame).axes, ([2, 4, 1, 3], [6, 8, 5, 7]), strict=True
    ):
        assert [bar.get_width() for bar in ax.patches] == expected  # inference, then training
        assert [tick.get_text() for tick in ax.get_yticklabels()] == ["-", "R, free input"]


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_panel_for_every_step(steps):
    rows = [(g, 100 * (k + 1), k + 50.0) for g in ("F", "UF") for k in range(steps)]
    frame = pd.DataFrame(rows, columns=["gate", "step", "percent"])
    axes = fast_figures.by_step(frame, "percent", "accuracy [%]", ["F", "UF"]).axes
    found = [ax.get_title() for ax in axes]
    assert found == [f"after {100 * (k + 1)} steps" for k in range(steps)] or (steps, found) == (
        0,
        [""],
    )
