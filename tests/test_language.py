"""Page 33: how language models compare, what counting achieves, what is sampled and drawn."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from urgates.lab.book import language_figures
from urgates.lab.experiments import protocol, scale, text
from urgates.lab.experiments.text import TABLE_6A, lower, row_name
from urgates.lab.jobs import Job
from urgates.lab.learners.language import LanguageModel
from urgates.lab.learners.streamed import Streamed
from urgates.lab.store.runs import Runs
from urgates.lab.tasks import corpus
from urgates.lab.tasks.corpus import Corpus
from urgates.lab.tasks.text import Segment
from urgates.lab.train import language_model, train

P = replace(protocol("ptb", "smoke"), steps=10, log_every=5, eval_every=5)


# ------------------------------------------------------------------ tables


def group(task, rows):
    """Finished runs, and one that is not: (gate, seed, valid, test)."""
    columns = ["gate", "seed", "best_valid_perplexity", "test_perplexity"]
    info = pd.DataFrame([*rows, ("U", 9, 50.0, None)], columns=columns)
    return SimpleNamespace(protocol=protocol(task, "laptop"), info=info)


@pytest.fixture
def table():
    """Three seeds: UR below U on both splits, OM meets U on the test split alone."""
    own = {"UR": (90, 80), "U": (100, 90), "OM": (110, 92), "-": (120, 110)}
    rows = [(g, k, v + k, t + k) for g, (v, t) in own.items() for k in (1, 2, 3)]
    tuned = [("C", k, 130.0 + k, 120.0 - k) for k in (1, 2, 3)]
    return text.perplexities([group("ptb", rows), group("ptb-tmax8", tuned)])


def test_rows_are_called_as_in_table_6a():
    tasks = ("ptb", "ptb-tmax8", "ptb-tmax11", "wikitext103-tmax8")
    names = [row_name(protocol(t, "paper" if t[0] == "w" else "laptop"), "C") for t in tasks]
    assert names == ["C", "C, Tmax 8", "C, Tmax 11", "C, Tmax 8"]
    assert set(names) < set(TABLE_6A.index)


def test_a_table_has_every_finished_run_in_the_paper_s_order(table):
    assert list(table.columns) == ["row", "seed", "valid", "test"] and len(table) == 15
    found = text.spread(table)
    assert list(found.index) == ["-", "C, Tmax 8", "OM", "U", "UR"]
    assert found.loc["C, Tmax 8", "test"].tolist() == [118, 117, 119]
    assert (found.seeds == 3).all()
    none = text.perplexities([group("ptb", [])])
    assert none.empty and text.spread(none).empty


@pytest.mark.parametrize(
    ("better", "worse", "answer"),
    [
        ("UR", "U", True),
        ("U", "UR", False),
        ("U", "OM", None),  # clear on one split only
        ("OM", "U", False),  # is not better on one, open on the other
        ("UR", "C", None),  # was not run
    ],
)
def test_a_row_is_lower_if_all_its_seeds_are_on_both_splits(table, better, worse, answer):
    assert lower(table, better, worse) is answer


def test_gaps_compare_models_that_read_the_same_words():
    random = np.random.default_rng(0)
    noise = {seed: random.normal(size=54) for seed in (1, 2)}
    offsets = {("ptb", "-"): 0, ("ptb", "UR"): -0.5, ("ptb-tmax8", "C"): 0.25}
    groups = []
    for task in ("ptb", "ptb-tmax8"):
        rows = [
            {"gate": g, "seed": seed, "step": 50 * (k + 1), "loss": noise[seed][k] + offset}
            for (own, g), offset in offsets.items()
            for seed in noise
            for k in range(54)
            if own == task
        ]
        groups.append(SimpleNamespace(protocol=protocol(task, "laptop"), frame=pd.DataFrame(rows)))
    none = Runs("nowhere", protocol("ptb-tmax11", "laptop"), "lstm", (1,), ("C",))
    found = text.curves([*groups, none], points=9)
    assert found.loss.dtype == found.gap.dtype == float
    assert sorted(set(found.step)) == [300 * k for k in range(1, 10)]
    gaps = found.groupby("row").gap
    assert gaps.std().max() < 1e-9
    assert gaps.mean().round(9).to_dict() == {"-": 0, "C, Tmax 8": 0.25, "UR": -0.5}
    first = found[(found.row == "-") & (found.seed == 1) & (found.step == 300)].loss
    assert first.item() == pytest.approx(noise[1][:6].mean())


def toy(stream, words=40):
    names = ("<eos>", "<unk>", *(f"w{k}" for k in range(words - 2)))
    return Corpus("toy", names, {s: np.array(stream) for s in corpus.SPLITS}, {}, False)


def test_repeats_count_a_word_and_itself_some_words_on():
    random = np.random.default_rng(0)
    stream = random.integers(0, 40, 5000)
    distances = (1, 6, 7, 8, 50)
    chance = text.repeats(toy(stream), distances, common=4)
    assert chance.distance.tolist() == list(distances)
    assert abs(chance.ratio - 1).max() < 0.3
    again = stream.copy()
    for place in range(0, 4980, 14):  # seven words, twice
        again[place + 7 : place + 14] = again[place : place + 7]
    found = text.repeats(toy(again), distances, common=4).set_index("distance").ratio
    assert found[7] > 15 and found.drop(7).max() < 2
    n, by_hand = len(again), 0
    for at in range(n - 7):
        by_hand += again[at] == again[at + 7] >= 4
    shares = [(again == w).mean() for w in range(4, 40)]
    assert found[7] == pytest.approx(by_hand / (n - 7) / sum(p * p for p in shares))


def test_counting_takes_the_order_that_a_text_allows(monkeypatch):
    found = text.counting(corpus.load("descriptions")).set_index("row")
    assert list(found.index) == ["unigram", "3-gram"]
    assert (found.loc["3-gram"] < found.loc["unigram"]).all() and found.loc["3-gram"].min() > 5
    monkeypatch.setattr(text, "TOO_LONG", 2000)
    assert list(text.counting(corpus.load("descriptions")).row) == ["unigram"]


@pytest.mark.parametrize("gate", ["-", "C", "UR", "OM"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("embedding", [16, 32])
def test_operations_are_six_for_every_weight_of_a_product(gate, tied, embedding):
    options = {"layers": 2, "embedding": embedding, "tied": tied}
    p = replace(P, learner_options=options)
    model = LanguageModel(p, "lstm", gate, 50)
    weights = {n: w.numel() for n, w in model.named_parameters() if w.dim() == 2}
    if not tied:
        del weights["embed.weight"]
    assert text.training_flops(p, gate, 50) == 6 * sum(weights.values())


def test_a_smaller_text_is_said_to_stand_for_the_paper_s():
    expected = "ptb for wikitext103, H 128 of 3072, N 64 of 128, lr × steps 13.5 of 500"
    assert scale(protocol("ptb-tmax8", "laptop")) == expected
    assert scale(protocol("wikitext103", "paper")) == ""
    assert scale(protocol("copy", "laptop")).startswith("H 64 of 256")


# ------------------------------------------------------------------ what models write


@pytest.mark.parametrize("tied", [True, False])
def test_sampled_words_follow_from_all_words_before(tied):
    torch.manual_seed(0)
    options = {"layers": 2, "embedding": 16, "tied": tied, "layer_norm": True}
    model = LanguageModel(replace(P, learner_options=options), "lstm", "UR", 30).eval()
    with torch.no_grad():
        for weight in (w for w in model.parameters() if w.dim() == 2):
            weight.mul_(30)  # all that was read matters, and one word is all but sure
    said = model.sample(3, 12, seed=1)
    assert model.sample(3, 12, seed=1) == said and len(set(said)) > 3
    read = torch.tensor([[3, *said[:-1]]])
    losses = []
    for end in range(1, 13):  # read from the start again for every word
        x = read[:, :end]
        quiet = torch.full(x.shape, -100)
        quiet[0, -1] = said[end - 1]
        segment = Segment(x, quiet, torch.zeros(x.shape, dtype=torch.bool))
        losses.append(model(segment, model.states(1))[0].item())
    assert np.median(losses) < 0.1 and max(losses) < 3
    with pytest.raises(ValueError, match="count must be a positive int, got 0"):
        model.sample(3, 0, seed=1)


def test_sampled_words_have_the_model_s_frequencies():
    model = LanguageModel(P, "lstm", "-", 4).eval()
    with torch.no_grad():
        model.embed.weight.zero_()
        model.bias.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]).log())
    shares = np.bincount(model.sample(0, 800, seed=5), minlength=4) / 800
    assert abs(shares - [0.1, 0.2, 0.3, 0.4]).max() < 0.08


def test_a_model_is_read_back_as_it_was_at_its_best(tmp_path):
    job = Job(P, "lstm", "UR", (1, 2))
    with pytest.raises(ValueError, match=r"no checkpoint of a finished ptb_lstm_UR_smoke_s2"):
        language_model(replace(job, seeds=(2,)), tmp_path)
    train(replace(job, until=5), tmp_path, "cpu", progress=False)
    with pytest.raises(ValueError, match="no checkpoint of a finished"):
        language_model(replace(job, seeds=(2,)), tmp_path)
    train(job, tmp_path, "cpu", progress=False)
    runs = Runs(tmp_path, P, "lstm", (1, 2), ("UR",))
    for seed, expected in zip((1, 2), runs.info.test_perplexity, strict=True):
        one = replace(job, seeds=(seed,))
        learner = Streamed(one, "cpu")
        learner.models = [language_model(one, tmp_path)]
        assert learner.evaluate("test")["perplexity"].item() == pytest.approx(expected, rel=1e-5)
    other = replace(P, lr=0.5)
    with pytest.raises(ValueError, match="no checkpoint of a finished"):
        language_model(Job(other, "lstm", "UR", (2,)), tmp_path)
    found = language_figures.paragraphs([runs], tmp_path, words=20)
    assert found.row.tolist() == ["UR"] and len(found.text[0].replace("/", "<eos>").split()) == 20


# ------------------------------------------------------------------ pictures


def test_tuned_chrono_looks_like_chrono_with_a_line_of_its_own():
    looks = [language_figures.look(name) for name in ("C", "C, Tmax 8", "C, Tmax 11")]
    assert len({look["color"] for look in looks}) == 1
    for key in ("marker", "linestyle", "label"):
        assert len({str(look[key]) for look in looks}) == 3
    assert language_figures.look("UR")["label"] == "UR"


def test_pictures_show_every_row_and_take_empty_tables(table):
    anchors = pd.DataFrame({"row": ["unigram", "5-gram"], "valid": [9, 8], "test": [700.0, 140.0]})
    fig, plotted = language_figures.beside_counting(table, anchors)
    labels = [tick.get_text() for tick in fig.axes[0].get_yticklabels()]
    assert labels == ["UR", "U", "OM", "C, Tmax 8", "-"] and len(plotted) == 17
    assert "5-gram\n140" in [note.get_text() for note in fig.axes[0].texts]
    for name in ("perplexities", "curves"):
        columns = {"perplexities": table.columns, "curves": ["row", "seed", "step", "loss", "gap"]}
        draw = {"perplexities": lambda t: language_figures.beside_counting(t, anchors)}
        draw["curves"] = language_figures.learning
        fig, _ = draw[name](pd.DataFrame(columns=columns[name]))
        assert len(fig.axes) == 2


def test_time_scales_stand_beside_the_text():
    probes = pd.DataFrame({"gate": "UR", "seed": 1, "g": [0.5, 0.9, 0.99, 0.999]})
    probes = pd.concat([probes.assign(when=when) for when in ("before", "after")])
    repeats = pd.DataFrame({"distance": [1, 10, 100], "ratio": [0.5, 9.0, 1.0]})
    fig, plotted = language_figures.time_scales(probes, ("-", "UR"), 64, repeats)
    assert set(plotted.when) == {"before", "after", "always"} and len(plotted) == 11
    assert plotted[plotted.gate == "text"].D.tolist() == [1, 10, 100]
    assert [ax.get_title() for ax in fig.axes] == ["before training", "after training", "the text"]
