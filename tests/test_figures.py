"""Figures: nine looks that can be told apart, plotted numbers that are returned, stable files."""

import hashlib
import itertools
import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from urgates.gates import GATES
from urgates.lab import figures

# Machado et al. (2009), severity 1: what a deuteranope and a protanope see of linear RGB.
BLINDNESS = {
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
}


def runs(lengths: dict, gate: str = "UR") -> pd.DataFrame:
    """Curves of a gate: seed -> number of logged steps."""
    rows = [(gate, s, 10 * k, 2.0 - k / 10 + s) for s, n in lengths.items() for k in range(n)]
    return pd.DataFrame(rows, columns=["gate", "seed", "step", "loss"])


def test_nine_looks_are_distinct_twice_over():
    looks = [figures.style(name) for name in GATES]
    for keys in (("color", "linestyle"), ("marker", "markerfacecolor")):
        assert len({tuple(map(str, map(look.get, keys))) for look in looks}) == 9, keys
    assert list(figures.STYLE) == list(GATES)


def test_every_composition_has_a_look_of_its_own():
    starts = [bias + activation for activation in ("F", "S", "") for bias in ("", "C", "U", "P")]
    looks = [figures.style(name + a or "-") for name in starts for a in ("", "R", "M")]
    looks += [figures.style(name) for name in ("O", "OM", "OR")]
    for keys in (("color", "linestyle"), ("marker", "markerfacecolor")):
        assert len({tuple(map(str, map(look.get, keys))) for look in looks}) == 39, keys


def test_axes_of_table_1_are_axes_of_the_look():
    same = figures.style
    assert same("U")["color"] == same("UR")["color"] == same("UM")["color"]
    assert same("UR")["linestyle"] == same("OR")["linestyle"] == same("CR")["linestyle"]
    assert same("UF")["color"] == same("UFR")["color"] != same("F")["color"]
    assert same("C")["color"] == same("CM")["color"] != same("U")["color"]
    with pytest.raises(ValueError, match="'XY'"):
        figures.style("XY")


@pytest.mark.parametrize("kind", BLINDNESS)
def test_colours_survive_colour_blindness(kind):
    seen = []
    for color in {figures.style(name)["color"] for name in (*GATES, "P", "F", "UF", "S", "US")}:
        linear = np.array(to_rgb(color)) ** 2.2
        seen.append(np.clip(BLINDNESS[kind] @ linear, 0, 1) ** (1 / 2.2))
    nearest = min(np.abs(a - b).max() for a, b in itertools.combinations(seen, 2))
    assert nearest > 0.1, f"two colours look alike: {nearest:.2f}"


def test_curves_return_median_and_quartiles_over_seeds():
    ax = figures.subplots()[1]
    out = figures.curves(ax, runs({0: 5, 1: 5, 2: 5}), baseline=2.1).set_index("line")
    assert out.loc["median", "loss"].tolist() == pytest.approx([3.0, 2.9, 2.8, 2.7, 2.6])
    assert out.loc["lower quartile", "loss"].iloc[0] == pytest.approx(2.5)
    assert out.loc["upper quartile", "loss"].iloc[0] == pytest.approx(3.5)
    assert [line.get_label() for line in ax.lines].count("UR") == 1


def test_diverged_seed_is_drawn_to_its_end_and_marked():
    frame = runs({0: 5, 1: 3})
    frame.loc[frame.index[-1], "loss"] = np.nan  # seed 1: two finite rows, then divergence
    ax = figures.subplots()[1]
    out = figures.curves(ax, frame).set_index("line")
    assert out.loc["seed 1", "step"].tolist() == [0, 10]
    assert out.loc["median", "step"].tolist() == [0, 10], "the median needs every seed"
    crosses = [line for line in ax.lines if line.get_marker() == "x"]
    assert [line.get_xdata()[0] for line in crosses] == [10]


def test_curves_need_their_columns():
    with pytest.raises(ValueError, match="accuracy"):
        figures.curves(figures.subplots()[1], runs({0: 2}), y="accuracy")


def test_accuracy_curves_average_training_and_keep_validations():
    frame = runs({0: 4, 1: 4}).assign(accuracy=[0.1, 0.2, 0.3, 0.4] * 2)
    frame["step"] += 10
    frame["valid_accuracy"] = [np.nan, 0.2, np.nan, 0.5] * 2
    out = figures.accuracy_curves(figures.subplots(1, 2)[1], frame)
    median = out[out.line == "median"]
    assert median.valid_accuracy.dropna().tolist() == [0.2, 0.5]
    assert median.accuracy.dropna().tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_ranking_marks_diverged_seeds_and_keeps_gates_the_paper_lacks():
    table = pd.DataFrame(
        {"gate": ["-", "-", "CR"], "valid": [60.0, 50, 70], "diverged": [False, True, False]}
    )
    ours, theirs = figures.subplots(1, 2)[1]
    out = figures.ranking(ours, theirs, table, pd.Series({"-": 63.0}), pd.Series({"-": 2}))
    assert out.paper.fillna(0).tolist() == [63, 63, 0]
    crosses = [line for line in ours.lines if line.get_marker() == "x"]
    assert [x for line in crosses for x in line.get_xdata()] == [50]
    assert [label.get_text() for label in ours.get_yticklabels()] == ["CR", "-"]
    assert theirs.lines[0].get_markerfacecolor() == "white"  # seeds of it diverged


def test_histogram_returns_shares_that_sum_to_one():
    ax = figures.subplots()[1]
    out = figures.histogram(ax, "UR", np.linspace(0, 1, 50), np.ones(50))
    assert out.groupby("when")["share"].sum().tolist() == pytest.approx([1, 1])
    assert out[out.when == "after"].share.iloc[-1] == 1
    with pytest.raises(ValueError, match="after"):
        figures.histogram(ax, "UR", np.ones(3), np.array([1.5]))


def test_saved_twice_is_byte_identical_whatever_the_commit(tmp_path):
    meta = {"notebook": "23_refine_gate", "paper": "Fig. 2b", "preset": "exact", "seeds": []}
    for folder in "ab":
        fig, ax = figures.subplots()
        data = figures.curves(ax, runs({0: 4, 1: 4}))
        figures.legend(fig, ["UR"])
        record = figures.save(fig, tmp_path / folder / "fig", data, meta | {"commit": folder})
    for suffix in ("png", "csv"):
        a, b = ((tmp_path / folder / f"fig.{suffix}").read_bytes() for folder in "ab")
        assert a == b
        assert record["sha256"][suffix] == hashlib.sha256(a).hexdigest()
    saved = json.loads((tmp_path / "b/fig.json").read_text())
    assert saved == record and saved["commit"] == "b" and list(saved) == sorted(saved)


def test_picture_carries_its_provenance(tmp_path):
    from PIL import Image

    fig, _ = figures.subplots()
    meta = {"notebook": "31_synthetic_memory", "paper": "Fig. 3 left", "commit": "abc"}
    figures.save(fig, tmp_path / "fig3", runs({0: 2}), meta)
    chunks = Image.open(tmp_path / "fig3.png").text
    assert chunks["Source"] == "urgates, 31_synthetic_memory/fig3"
    description = {"notebook": "31_synthetic_memory", "paper": "Fig. 3 left"}
    assert json.loads(chunks["Description"]) == description and "Software" not in chunks


def test_figure_without_numbers_is_refused(tmp_path):
    fig, _ = figures.subplots()
    with pytest.raises(ValueError, match="plotted numbers"):
        figures.save(fig, tmp_path / "fig", pd.DataFrame(), {})
