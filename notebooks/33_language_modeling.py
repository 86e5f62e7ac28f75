# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,-all
#     formats: ipynb,py:percent
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # §3.3 Language modelling
#
# [← 32e](32e_inside_a_reader.ipynb) ·
# [home](00_start_here.ipynb) ·
# [34 →](34_reinforcement_learning.ipynb)
#
# **Which gates help a well-tuned language model, and what time scales do they learn from text?**
#
# [Decided here](40_scoreboard.ipynb): **confirmed** G66T, G68T, G69, G70T; **imprecise** G67T;
# **seen** G66; **not seen at this scale** G67; **inconclusive** G68, G70; **not testable here**
# G65.
#
# Covers: Table 6a; Fig. 6b
#
# | preset | what you get | where |
# |---|---|---|
# | smoke | some 2,000 words, every cell in about a minute; decides nothing | any CPU |
# | laptop | Penn Treebank, a million words; stored runs, their cost at the end | two CPU cores |
# | (paper's) | H 128 (3,072), N 64 (128), 2,700 steps (500,000), batch 8 (128) | |
# | paper | WikiText-103, a hundred million words, at the paper's own sizes | a GPU |

# %% [markdown]
# **In short.** *Confirmed* in Table 6a: OM, U and UR improve on the LSTM (G66T), chrono stays
# behind U and UR (G68T) and is nowhere better than UR (G70T); *imprecise*: OM does no better than
# U and UR (G67T). In small models of another text it is *seen* that OM, U and UR improve (G66),
# *not seen at this scale* that OM does no better (G67): it is first, with 1.25 times their gates'
# weights; *inconclusive*: G68, G70, since seeds overlap.

# %% tags=["parameters"]
preset: str = "laptop"  # smoke, laptop or paper
recompute: bool = False  # train what is missing instead of reading stored runs
seeds: int = 0  # how many; 0 is the protocol's number
gates: str = "all"  # or names joined by commas, like "UR,R,-"
device: str = "auto"  # auto, cpu or cuda
limit_minutes: float = 0.0  # stop training after so long, to be resumed; 0 is no limit

# %% tags=["nbval-ignore-output"]
import math
import textwrap

import numpy as np
import pandas as pd
import torch

from urgates.lab import Bench, show_source
from urgates.lab.book import language_figures
from urgates.lab.book import units as of_units
from urgates.lab.book.claims import IMPRECISE, UNTESTABLE
from urgates.lab.book.language_costs import language_times, softmax_peaks
from urgates.lab.experiments import memory, protocol, text
from urgates.lab.experiments.image_tables import TABLE_2
from urgates.lab.experiments.images import accuracies, by_gate
from urgates.lab.experiments.seeds import above, all_of
from urgates.lab.experiments.text import RAE_LSTM, TABLE_6A, lower, shown, training_flops
from urgates.lab.learners.language import LanguageModel
from urgates.lab.tasks import Text

bench = Bench("33_language_modeling", preset, recompute, seeds, gates, device, limit_minutes)
bench

# %% [markdown]
# ## The paper's own table
#
# > We find that the OM-LSTM, U-LSTM, and UR-LSTM improve over the standard LSTM with no additional
# > tuning. However, although the OM-LSTM was designed to capture the hierarchical nature of
# > language with the cumax activation, it does not perform better than the U-LSTM and UR-LSTM.
#
# Perplexities, lower is better. The best of a split is 1.2 below the LSTM at most, so a tenth
# matters:

# %%
TABLE_6A.assign(gain=TABLE_6A.loc["-", "test"] - TABLE_6A["test"]).round(1)

# %% tags=["hide-input"]
fig, plotted = language_figures.table_6a()
bench.save(fig, "table6a", data=plotted, paper="Table 6a")

# %% [markdown]
# Both sentences against both splits:

# %%
lstm, three = TABLE_6A.loc["-"], TABLE_6A.loc[["OM", "U", "UR"]]
gain = lstm - three
bench.claim(
    "G66T",
    holds=bool((gain > 0).all(axis=None)),
    ours=f"gains of {gain.min(axis=None):.1f} to {gain.max(axis=None):.1f}",
)
ahead = TABLE_6A.loc["OM"] - TABLE_6A.loc[["U", "UR"]]
below = [f"{gate} on {split}" for (gate, split), gap in ahead.stack().items() if gap < 0]
bench.claim(
    "G67T",
    holds=IMPRECISE if 0 < len(below) < ahead.size else not below,
    ours=f"in {ahead.size - len(below)} of {ahead.size}; better than {', '.join(below)}",
)

# %% [markdown]
# Chrono at $T_{max} = H$, and at the two values that the paper takes from earlier work. "Far" is at
# least half a point. Then the plain LSTM beside that of earlier work, with 2,048 units:

# %%
tuned = TABLE_6A.loc[["C, Tmax 8", "C, Tmax 11"]].min()
gap = tuned - TABLE_6A.loc[["U", "UR"]].max()
default = TABLE_6A.loc["C"] - lstm
bench.claim(
    "G68T",
    holds=bool((default > 0.5).all() and (gap > 0.45).all()),
    ours=f"default +{default.min():.1f}; tuned {gap.min():.1f} to {gap.max():.1f} behind the worse "
    "of U and UR",
)
bench.claim(
    "G69",
    holds=bool((lstm < RAE_LSTM).all()),
    ours=f"{lstm['test']} against {RAE_LSTM['test']} (Rae et al. 2018), test",
)

# %% [markdown]
# > We found no scenarios where it outperformed UR- gates. (B.3, on chrono)
#
# In the paper's tables, where both stand side by side:

# %%
pairs = [TABLE_2.loc["UR"] > TABLE_2.loc["C"]]
pairs += [TABLE_6A.loc["UR"] < TABLE_6A.loc[name] for name in TABLE_6A.index if name[0] == "C"]
better = sum(int(pair.sum()) for pair in pairs)
bench.claim(
    "G70T",
    holds=better == sum(map(len, pairs)),
    ours=f"UR is better in {better} of {sum(map(len, pairs))} comparisons",
)

# %% [markdown]
# ## The task: which word is next?
#
# A text is one long row of numbers, a word's number its rank by frequency, and an `<eos>` at the
# end of every line. Here is the first line on which models are validated; a rare word would be
# `<unk>`. It is read once and stored, so that this page opens without the text.

# %%
name = "wikitext103" if preset == "paper" else "ptb"
task = bench.protocol(name).make_task()


def first_line():
    """The first line of the validation text that has words: token, number."""
    stream, eos = task.stream("valid"), task.corpus.number["<eos>"]
    ends = np.flatnonzero(stream[:1000] == eos)
    end = ends[np.diff(ends, prepend=-1) > 1][0]
    start = ends[ends < end].max(initial=-1) + 1
    numbers = stream[start : end + 1].tolist()
    return pd.DataFrame({"token": [task.corpus.words[n] for n in numbers], "number": numbers})


line = bench.table("line", first_line)
print(*line.token)
print(*line.number)

# %% [markdown]
# ## States are carried, until an article ends
#
# > The LSTM state was reset between article boundaries. (D.3)
#
# Otherwise it is carried on. Eight segments of 16 words, one after the other, score as one of 128
# does; no gradient passes from one to the next. Where a new article begins, the states start from
# zero. Scikit-learn's descriptions of its data sets are such a text, and need no download:

# %%
short, rows = Text("descriptions", length=16), 4
torch.manual_seed(1)
model = LanguageModel(protocol("ptb", "smoke"), "lstm", "UR", short.output_size).eval()
hx, carried, forgetful, resets = model.states(rows), 0.0, 0.0, 0
for step in range(8):
    segment = short.batch(1, step, rows)
    forgetful += model(segment, model.states(rows))[0].item()
    loss, hx = model(segment, hx)
    carried, resets = carried + loss.item(), resets + int(segment.resets.sum())

long = Text("descriptions", length=128).batch(1, 0, rows)
at_once = model(long, model.states(rows))[0].item()
print(f"{long.x.numel()} words of {rows} rows, {resets} new articles")
assert math.isclose(carried, at_once, rel_tol=1e-6) and resets == long.resets.sum()
assert not math.isclose(forgetful, at_once, rel_tol=1e-6)

# %% [markdown]
# ## The protocol

# %%
bench.protocol(name)

# %% [markdown]
# **Deviation D51.** Preset `laptop` reads the Penn Treebank (10,000 words, no articles), with a
# small network, for one and a half passes. **Its perplexities cannot be compared with Table 6a**:
# another text, another vocabulary. The order of the gates may be. Learning rate and clipping are
# those of two each that suited the plain LSTM best, in trials that are not stored.

# %% [markdown]
# **Deviation D53.** The last of OM's master gates is always 1, and the input's always 0: its chunk
# of units never learns anything. With $C = 32$ that is one unit in 96 of the paper's 3,072, and
# would be one in four of our 128. So preset `laptop` has $C = 2$, one in 64, but the two master
# gates then add a quarter to the gates' weights, in the paper 1.6 %.

# %% [markdown]
# **Deviation D52.** Preset `smoke` reads scikit-learn's descriptions of its data sets, so that it
# needs no download.
#
# **Open point O14.** D.3 prints its choice of layers, dropout of the embedding, layer norm and tied
# weights in bold, which the text of the PDF has lost, and no width of the embedding. Preset `paper`
# takes one layer, dropout 0.3, no layer norm, and tied weights of width 512.

# %% [markdown]
# ## What is to be decided
#
# - G66: OM, U and UR improve on the standard LSTM.
# - G67: OM does not perform better than U and UR.
# - G68: chrono's default $T_{max} = H$ is worse than the LSTM; tuned, it stays behind U and UR.
# - G70: in no case chrono is better than UR; here, in 31 and in 32.
#
# A row is better if all its seeds lie below all of the other's, on both splits. Where ranges meet,
# nobody knows:

# %%
show_source(lower, above, all_of)

# %% [markdown]
# ## Perplexities

# %%
groups = [bench.runs(f"{name}{variant}") for variant in ("", "-tmax8", "-tmax11")]
table = text.perplexities(groups)
found = text.spread(table)
found.round(1)

# %% [markdown]
# What is that worth? A *unigram* model knows how frequent words are and nothing else; interpolated
# modified Kneser–Ney counts what followed the last one to four words, in this very text.

# %%
anchors = bench.table("anchors", lambda: text.counting(task.corpus))
fig, plotted = language_figures.beside_counting(table, anchors)
bench.save(fig, "perplexity", data=plotted, paper="Table 6a, reduced scale", runs=groups)

# %% [markdown]
# ## Learning curves
#
# Fig. 6b has validation curves between 3.52 and 3.60 nats. Ours are of training: a laptop validates
# three times only. They lie close together, too; but models of one seed read the same words at the
# same step, whatever their gate: the difference to the plain LSTM is without the noise of the text.

# %% tags=["hide-input"]
fig, plotted = language_figures.learning(text.curves(groups))
bench.save(fig, "fig6b", data=plotted, paper="Fig. 6b, reduced scale", runs=groups)

# %% [markdown]
# ## The verdicts
#
# G65 speaks of one text: no perplexity on another can decide it.

# %%
main, medians = groups[0], found["test", "median"]
full = table.loc[table.row == "UR", ["valid", "test"]].median()
near = bool(abs(full.to_numpy() - TABLE_6A.loc["UR"]).max() < 0.5)
ours = f"{name}: {full.valid:.1f}, {full.test:.1f}" + "; another text" * (name == "ptb")
bench.claim("G65", near if name != "ptb" else UNTESTABLE, ours, main.only("UR"))

improves = all_of(*(lower(table, g, "-") for g in ("OM", "U", "UR")))
said = f"{name}, test: {shown(medians.reindex(['-', 'OM', 'U', 'UR']))}"
bench.claim("G66", improves, said, main.only("-", "OM", "U", "UR"))
behind = all_of(*(lower(table, g, "OM") for g in ("U", "UR")))
said = f"{name}, test: {shown(medians.reindex(['OM', 'U', 'UR']))}"
bench.claim("G67", behind, said, main.only("OM", "U", "UR"))

# %%
chrono = ["C", "C, Tmax 8", "C, Tmax 11"]
tuned = [lower(table, g, c) for c in chrono[1:] for g in ("U", "UR")]
bench.claim(
    "G68",
    holds=all_of(lower(table, "-", "C"), *tuned),
    ours=f"{name}, test: {shown(medians.reindex(['-', *chrono, 'U', 'UR']))}",
    runs=[main.only("-", "C", "U", "UR"), *(group.only("C") for group in groups[1:])],
)

# %% [markdown]
# And UR against chrono wherever both were trained, here and on the pages before:

# %%
others = {
    other: memory.at_best_rate(
        bench.runs(other, of="31_synthetic_memory", rates=bench.protocol(other).sweep)
    )
    for other in ("copy", "adding")
}
left = {o: [memory.per_run(r, "left", g) for g in ("C", "UR")] for o, r in others.items()}
others["pmnist"] = bench.runs("pmnist", of="32_pixel_images")
right = by_gate(accuracies(others["pmnist"]))
cases = {
    name: all_of(*(lower(table, "UR", c) for c in chrono)),
    **{other: above(*losses) for other, losses in left.items()},
    "pmnist": above(right.get("UR", ()), right.get("C", ())),
}
word = {True: "better", False: "worse", None: "open"}
bench.claim(
    "G70",
    holds=all_of(*cases.values()),
    ours="UR: " + ", ".join(f"{word[case]} on {other}" for other, case in cases.items()),
    runs=[r.only("C", "UR") for r in (main, *others.values())] + [r.only("C") for r in groups[1:]],
)

# %% [markdown]
# ## How far back does a text depend on itself?
#
# > We attribute these observations to the nature of language having dependencies on multiple
# > widely-varying timescales […]
#
# A measure that needs no model: how often does the *same word* stand $d$ words later, compared with
# words in random order? The most frequent 2 % stand anywhere and are left out. (Mutual information
# would have to find $10,000^2$ frequencies in a million words.) Where the ratio is 1, nothing is
# left of the subject.

# %%
far = np.unique(np.geomspace(1, 1_000 if preset == "smoke" else 4_000, 25).astype(int))
again = bench.table("repeats", lambda: text.repeats(task.corpus, far))
most = again.ratio.idxmax()
half = again.distance[(again.index > most) & (again.ratio < again.ratio[most] / 2)].min()
print(f"most at {again.distance[most]} words, {again.ratio[most]:.0f} times chance;", end=" ")
print(f"half of that at {half}")

# %% [markdown]
# ## The time scales that gates learn
#
# A unit of mean effective gate $g$ remembers for $D = 1/(1-g)$ words. Which share of the units
# remembers longer than $x$, before and after training; and beside it, the text. The rule is the
# segment of training, beyond which no gradient reaches:

# %% tags=["hide-input"]
fig, plotted = language_figures.time_scales(main.probes, main.gates, task.length, again)
bench.save(fig, "time_scales", data=plotted, paper="§3.3", runs=main)

# %% [markdown]
# *Reading the figure:* all units of the plain LSTM start with one period. While it learns they
# spread along the dotted line $1/x$, on which U starts.

# %%
units = of_units.paired(main)
memory_of = {
    (when, f"D > {d}"): (of_units.periods(units[f"g_{when}"]) > d).groupby("gate").mean()
    for when in ("before", "after")
    for d in (4, 16, 64)
}
pd.DataFrame(memory_of).reindex(main.gates).round(3)

# %% [markdown]
# ## What they write
#
# Words drawn from each row's first model, all with the same dice, after the end of a line (a `/`);
# in this text `N` is any number and `<unk>` any rare word.
# Stored when the models were at hand; they are too large to be kept:

# %%
samples = bench.table("samples", lambda: language_figures.paragraphs(groups, bench.runs_folder))
for row, said in zip(samples.row, samples.text, strict=True):
    print(textwrap.fill(f"{row:>10} | {said}", 98, subsequent_indent=" " * 13), end="\n\n")

# %% [markdown]
# ## What it costs
#
# Training steps of the whole model, turn about with the same model on `torch.nn.LSTM`: tokens per
# second, and the ratio with its quartiles; above 1 is faster than torch's. Then the memory of the
# softmax over WikiText-103's vocabulary, in chunks and with all logits at once:

# %%
small = {"pairs": 3, "hidden": 32, "words": 200} if preset == "smoke" else {}
speed = bench.timings("costs", measure=language_times, **small)
columns = ["tokens_per_second", "ratio", "low", "high"]
speed.set_index("model")[columns].round({"tokens_per_second": 0}).round(2)

# %%
few = {"words": 2_000} if preset == "smoke" else {}
peaks = bench.timings("softmax", measure=softmax_peaks, **few)
peaks.pivot(index="tokens", columns="softmax", values="peak").round(1)

# %% [markdown]
# The paper's own run, **computed, not measured**: the matrix products of one token, forward and
# backward, and the hours of 500,000 steps for a GPU that sustains so many operations per second.
# OM costs hardly more, U and UR nothing.

# %%
p = protocol("wikitext103", "paper")
flops = {g: training_flops(p, g, words=267_735) for g in p.gates}
tokens = p.steps * p.batch * p.make_task().length
hours = {
    f"{rate} TFLOP/s": {"tokens per second": 1e12 * rate / flops["UR"]} for rate in (10, 50, 200)
}
for rate in hours.values():
    rate["hours"] = tokens / rate["tokens per second"] / 3600
print(f"{flops['-'] / 1e9:.3f} GFLOP a token ({flops['OM'] / 1e9:.3f} of OM), {tokens:.2g} tokens")
pd.DataFrame(hours).round(0).astype(int)

# %%
bench.cost(*groups)

# %% [markdown]
# **Your turn**, from the top folder of the repository:
#
# - Two gates side by side on a few words: `urgates run 33 -p gates=UR,-`
# - Chrono with a refine gate on the Penn Treebank: `urgates run 33 --preset laptop --recompute -p
#   gates=CR`
# - The paper's own run on a GPU, ten hours at a time (the same line again goes on): `urgates train
#   wikitext103 --preset paper --gate UR --limit-minutes 600`; on eight of them: `torchrun
#   --nproc-per-node 8 -m urgates train wikitext103 --preset paper --gate UR`

# %% [markdown]
# Perplexities of different vocabularies cannot be compared: which of the numbers above could a
# character model be held against? (None.)
#
# **Next:** [40_scoreboard](40_scoreboard.ipynb), all verdicts.
# Back: [32c_zoneout](32c_zoneout.ipynb), the same question for images.
