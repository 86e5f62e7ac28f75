"""Figures: nine looks that can be told apart, plotted numbers that are returned, stable files."""

import hashlib
import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from urgates.gates import GATES
from urgates.lab.book import figures, units

ROOT = Path(__file__).parents[1]

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
    assert [label.get_text() for label in ours.get_yticklabels()] == ["CR", "- (standard)"]
    assert theirs.lines[0].get_markerfacecolor() == "white"  # seeds of it diverged
    assert "span: 20.0 points" in ours.get_xlabel() and "span: 0.0 points" in theirs.get_xlabel()


def test_empty_data_draw_empty_axes():
    none = runs({}).assign(valid=0.0, diverged=False)
    fig, plotted = figures.memory_facets(none, 2.0, "loss")
    assert plotted.empty and len(fig.axes) == 1 and fig.axes[0].get_ylabel().startswith("loss")
    two = figures.subplots(1, 2)[1]
    assert figures.accuracy_curves(two, runs({})).empty
    assert figures.ranking(*two, none, pd.Series({"-": 63.0}), pd.Series({"-": 0})).empty
    probes = pd.DataFrame(columns=["gate", "seed", "when", "unit", "f", "g"])
    fig, plotted = figures.timescales(probes, ["UR"], 80)
    assert plotted.empty and list(plotted.columns) == ["gate", "when", "D", "share"]
    table = units.paired(SimpleNamespace(probes=probes))
    assert table.empty and list(table) == ["f_before", "f_after", "g_before", "g_after"]
    assert all(
        part[-1].empty
        for part in (
            figures.before_after(table, []),
            figures.period_histograms(table, [], [1, 2]),
            figures.moving_units(table, []),
        )
    )


def test_shares_of_units_beyond_a_period():
    found = units.exceedance([4, 1, 2, 8])
    assert found.D.tolist() == [8, 4, 2, 1] and found.share.tolist() == [0.25, 0.5, 0.75, 1]
    assert units.exceedance([4, 1, 2, 8], [2, 1, 9, 0]).share.tolist() == [0.5, 0.75, 0, 1]
    assert units.exceedance([np.inf, 1], [1e9]).share.tolist() == [0.5]
    assert units.periods(pd.Series([0.5, 0.9, 1.0])).tolist() == pytest.approx([2, 10, 1e6])


def test_units_are_paired_and_their_tails_are_their_gates_own():
    rows = [
        ("UR", 1, when, unit, f, g)
        for when in ("before", "after")
        for unit, (f, g) in enumerate([(0.5, 0.5), (0.4, 0.59)])
    ]
    probes = pd.DataFrame(rows, columns=["gate", "seed", "when", "unit", "f", "g"])
    probes.loc[probes.when == "after", "g"] += 0.4
    probes.loc[len(probes)] = ["-", 1, "before", 0, 0.5, 0.5]  # a run that goes on
    pairs = units.paired(SimpleNamespace(probes=probes))
    assert pairs.index.tolist() == [("UR", 1, 0), ("UR", 1, 1)]
    assert pairs.g_after.tolist() == pytest.approx([0.9, 0.99])
    parts = units.tails(probes, ["UR", "U"])
    assert [part.when[0] for part in parts] == ["before", "after"]
    assert parts[1].D.tolist() == pytest.approx([100, 10]) and parts[1].share.tolist() == [0.5, 1]
    fig, plotted = figures.timescales(probes, ["UR", "U"], 80)
    assert len(plotted) == 4 and [ax.get_title() for ax in fig.axes][1] == "after training"


def test_dots_keep_their_row_whatever_a_panel_lacks():
    table = pd.DataFrame({"gate": ["-", "UR", "UR"], "loss": [3.0, 1, 2]})
    ax = figures.subplots()[1]
    figures.dots(ax, table, "loss", ["UR", "C", "-"])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["- (standard)", "C", "UR"]
    marks = {(x, y) for line in ax.lines if line.get_marker() != "|" for x, y in line.get_xydata()}
    assert marks == {(3, 0), (1, 2), (2, 2)}
    bars = [tuple(line.get_xydata()[0]) for line in ax.lines if line.get_marker() == "|"]
    assert (1.5, 2) in bars


def test_facets_part_gates_by_their_start():
    _, panels = figures.facets(GATES)
    found = {ax.get_title(): names for ax, names in panels}
    assert found == {
        "constant": ["-", "R"],
        "chrono": ["C"],
        "cumax": ["O", "OM", "OR"],
        "uniform": ["U", "UM", "UR"],
    }
    for ax, names in panels:
        labels = [figures.style(name)["label"] for name in names]
        assert [text.get_text() for text in ax.get_legend().get_texts()] == labels
        assert ax.get_shared_y_axes().joined(ax, panels[0][0])


def test_memory_facets_name_their_levels_once():
    frame = pd.concat([runs({0: 4}, gate) for gate in ("-", "U", "UR")])
    fig, plotted = figures.memory_facets(frame, 2.0, "loss")
    assert set(plotted.gate) == {"-", "U", "UR"}
    constant, uniform = fig.axes
    assert [text.get_text() for text in constant.texts] == []
    assert [text.get_text() for text in uniform.texts] == ["constant\npredictor", "solved:\n5 %"]
    heights = [line.get_ydata()[0] for line in uniform.lines if line.get_color() == "0.4"]
    assert heights == pytest.approx([2.0, 0.1])
    assert constant.get_ylabel() == "loss (log scale)" and uniform.get_ylabel() == ""


def test_histogram_returns_shares_that_sum_to_one():
    ax = figures.subplots()[1]
    out = figures.histogram(ax, "UR", np.linspace(0, 1, 50), np.ones(50))
    assert out.groupby("when")["share"].sum().tolist() == pytest.approx([1, 1])
    assert out[out.when == "after"].share.iloc[-1] == 1
    with pytest.raises(ValueError, match="after"):
        figures.histogram(ax, "UR", np.ones(3), np.array([1.5]))


def test_histogram_of_decay_periods_is_logarithmic():
    ax = figures.subplots()[1]
    out = figures.histogram(ax, "R", np.full(4, 3.0), np.array([1.5, 5, 6, 7]), edges=[1, 2, 4, 8])
    assert ax.get_xscale() == "log" and "[steps]" in ax.get_xlabel()
    assert out.share.tolist() == [0, 1, 0, 0.25, 0, 0.75]
    with pytest.raises(ValueError, match=r"before must be numbers in \[1, 8\]"):
        figures.histogram(ax, "R", np.array([9.0]), np.ones(1), edges=[1, 2, 4, 8])


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


def test_verdicts_differ_in_lightness_for_every_eye():
    for blindness in (np.eye(3), *map(np.array, BLINDNESS.values())):
        light = {}
        for word, look in figures.VERDICT.items():
            linear = blindness @ np.array(to_rgb(look["color"])) ** 2.2
            light[word] = max(np.array([0.213, 0.715, 0.072]) @ linear, 0) ** (1 / 2.2)
        assert min(abs(a - b) for a, b in itertools.combinations(light.values(), 2)) > 0.07
        assert light["contradicted"] - light["confirmed"] > 0.3


def test_verdict_bars_write_their_numbers():
    counts = pd.DataFrame(0, index=["text", "trained"], columns=list(figures.VERDICT))
    counts.loc["text", ["confirmed", "contradicted"]] = 2, 3
    counts.loc["trained", "contradicted"] = 1
    ax = figures.subplots()[1]
    figures.verdict_bars(ax, counts)
    written = {(*text.get_position(), text.get_text()) for text in ax.texts}
    assert written == {(1.0, 0, "2"), (3.5, 0, "3"), (0.5, 1, "1")}


def test_period_tails_part_before_from_after():
    parts = [
        pd.DataFrame({"gate": "UR", "when": when, "D": [80.0, 2], "share": [0.5, 1]})
        for when in ("before", "after", "after")
    ]
    axes = figures.subplots(1, 2)[1]
    figures.period_tails(axes, parts, 80)
    stepped = [sum(line.get_drawstyle() == "steps-post" for line in ax.lines) for ax in axes]
    assert stepped == [1, 2]
    assert [text.get_text() for text in axes[0].texts] == ["1/x", "T = 80"]


def test_what_the_book_says_of_a_figure_is_on_it_and_beside_it(tmp_path):
    fig, _ = figures.subplots(size=(6, 3))
    texts = {"title": "A title", "alt": "What is seen", "read": "How to read it"}
    record = figures.save(fig, tmp_path / "fig", runs({0: 2}), {"notebook": "20"}, texts)
    assert fig.get_suptitle() == "A title" and fig.get_figheight() > 3
    assert (
        record == json.loads((tmp_path / "fig.json").read_text()) and record.items() > texts.items()
    )
    assert figures.described("20", "of nobody") == {}


def test_every_committed_figure_has_its_title_alternative_text_and_reading():
    pictures = sorted((ROOT / "figures").glob("*/*.png"))
    assert pictures
    texts = {}
    for picture in pictures:
        texts[picture] = figures.described(picture.parent.name, picture.stem)
        assert set(texts[picture]) == {"title", "alt", "read"}, picture
        record = json.loads(picture.with_suffix(".json").read_text())
        saved = {key: record.get(key) for key in texts[picture]}
        assert saved == texts[picture], f"{picture}: publish it again"
    for key in ("title", "alt", "read"):
        found = [text[key] for text in texts.values()]
        twice = {text for text in found if key == "alt" and found.count(text) > 1}
        short = [text for text in found if len(text) < {"title": 10, "alt": 40, "read": 40}[key]]
        assert not twice and not short, key
    drawn = {f"{picture.parent.name}/{picture.stem}" for picture in pictures}
    for waits in set(figures._book().sections()) - drawn:  # for runs, as its page says
        home, _, name = waits.partition("/")
        twin = (ROOT / "notebooks" / f"{home}.ipynb").read_text()
        assert f"{name}: nothing to draw yet" in twin, f"{waits} is a text without a figure"
