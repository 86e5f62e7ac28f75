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
# # §3.2 Inside a reader
#
# [← 32d](32d_open_choices.ipynb) ·
# [home](00_start_here.ipynb) ·
# [33 →](33_language_modeling.ipynb)
#
# **What does a trained network do while it reads an image pixel by pixel?**
#
# Covers: Fig. 5a
#
# | preset | what you get | where |
# |---|---|---|
# | smoke | 8 × 8 digits, every cell in under a minute; decides nothing | any CPU |
# | laptop | MNIST, three epochs; stored networks that answer here and now | two CPU cores |
# | (paper's) | H 64 (512), N 784, 3,240 steps (162,000), batch 50 | |

# %% [markdown]
# **In short.** U and UR use what they have read hundreds of steps before; the standard LSTM answers
# nearly as well from the last eighth alone. Between the coarse pictures that bit reversal
# completes, the heads answer poorly, though the hidden states know more. No claim is decided here.

# %% tags=["parameters"]
preset: str = "laptop"  # smoke or laptop
recompute: bool = False  # train what is missing instead of reading stored runs
seeds: int = 0  # how many; 0 is the protocol's number
gates: str = "all"  # or names joined by commas, like "UR,R,-"
device: str = "auto"  # auto, cpu or cuda
limit_minutes: float = 0.0  # stop training after so long, to be resumed; 0 is no limit

# %% tags=["nbval-ignore-output"]
from functools import cache

import numpy as np
import pandas as pd
import torch

from urgates.gates import decay_period
from urgates.lab import Bench, figures
from urgates.lab.book import reader_figures
from urgates.lab.book import units as of_units
from urgates.lab.experiments.images import accuracies, best_stable
from urgates.lab.tasks import bit_reversal

bench = Bench("32e_inside_a_reader", preset, recompute, seeds, gates, device, limit_minutes)
bench

# %% [markdown]
# ## Three epochs of permuted MNIST
#
# > Figure 5 shows the accuracy curves of each method at their best stable learning rate. The basic
# > LSTM is noticeably worse than all of the others. (§3.2)
#
# In [32](32_pixel_images.ipynb) nine gates train for a little more than one epoch. Here three of
# them train longer and leave their weights behind: the standard gate, U and UR. Still few of the
# paper's 150 epochs, one eighth of its width and one learning rate, so no verdict is given here.

# %%
bench.protocol("pmnist-long")

# %%
runs = bench.runs("pmnist-long")
scores = accuracies(runs)
best_stable(scores)[["valid", "test", "seeds"]].round({"valid": 1, "test": 1})

# %% [markdown]
# Per cent of the images, medians over the seeds: `valid` at the best validation of each run, `test`
# at the same moment.

# %%
valid = runs.frame.dropna(subset="valid_accuracy")
fig, axes = figures.subplots(1, 2, size=(9.6, 3.8), sharey=True)
plotted = [
    figures.curves(axes[0], runs.frame, "accuracy", ylabel="training accuracy"),
    figures.curves(axes[1], valid, "valid_accuracy", ylabel="validation accuracy"),
]
figures.legend(fig, runs.read)
bench.save(fig, "learning", data=pd.concat(plotted), paper="Fig. 5a, reduced scale", runs=runs)

medians = valid.groupby(["gate", "step"]).valid_accuracy.median().unstack("gate")
for step, row in medians.iloc[sorted({0, len(medians) // 2, len(medians) - 1})].iterrows():
    ahead = row.sort_values(ascending=False)
    said = ", ".join(f"{gate} {100 * value:.1f} %" for gate, value in ahead.items())
    print(f"validation after {step:4} steps: {said}")

# %% [markdown]
# ## A network to ask
#
# Runs of this protocol store their weights as they were at the best validation. `bench.network`
# loads them into the same `urgates.LSTM` and head that were trained:

# %%
networks = {
    (gate, seed): bench.network("pmnist-long", "lstm", gate, seed)
    for gate in runs.read
    for seed in runs.complete[gate]
}
shown = "UR" if "UR" in runs.read else runs.read[-1]
network = bench.network("pmnist-long", "lstm", shown)
network

# %% [markdown]
# One forward pass is all that reading takes. The head may be applied after any step, not only the
# last, for which it was trained:


# %%
@torch.no_grad()
def read(network, x, every=1):
    """Probabilities of the classes [B, n, 10] after every so many steps of x [B, T, 1]."""
    states, _ = network.rnn(x)
    return network.head(states[:, every - 1 :: every]).softmax(-1)


# %% [markdown]
# Twelve test images to read: the first of each class, and the first two that this network gets
# wrong. They are stored beside the runs, like every number below that needs the whole data set, so
# that this page needs no download.

# %%
task = runs.protocol.make_task()
T = task.length


@cache
def images(count=500):
    """The first test images [count, T, 1] in the order in which they are read, and classes."""
    return next(task.evaluate_batches("test", count))


def dozen():
    """Twelve of them: columns are the class and the pixels."""
    x, y = images()
    first = [int((y == c).nonzero()[0]) for c in range(10)]
    wrong = (read(network, x, T)[:, 0].argmax(-1) != y).nonzero().flatten().tolist()
    rows = first + [i for i in wrong if i not in first][:2]
    return pd.DataFrame(x[rows, :, 0].numpy()).assign(index=rows, label=y[rows])


digits = bench.table("digits", dozen)

# %%
labels = digits.label.to_numpy()
x = torch.tensor(digits.drop(columns=["index", "label"]).to_numpy(np.float32))[..., None]
chances, answers = read(network, x, T)[:, 0].max(-1)
asked = digits[["index", "label"]].assign(answer=answers, confidence=(100 * chances).round().int())
wrong = asked[asked.label != asked.answer]
print(f"{len(asked) - len(wrong)} of {len(asked)} right, {x.shape[1]} pixels each")

fig = reader_figures.dozen(x[..., 0], asked)
bench.save(fig, "dozen", data=asked, runs=runs.only(shown))
wrong.rename_axis("image")

# %% [markdown]
# Twelve images chosen in this way tell no error rate. That one, over the whole test set, has to be
# what the run noted when it ended:


# %%
def measured(name, rows):
    """The stored table of that name, of the networks asked for; `rows()` makes it."""
    table = bench.table(name, lambda: pd.concat(rows()))
    return table[[key in networks for key in zip(table.gate, table.seed, strict=True)]].copy()


def all_answers(batch=500):
    """How often each class got each answer, over the whole test set."""
    for (gate, seed), reader in networks.items():
        pairs = np.zeros((10, 10), int)
        for x, y in task.evaluate_batches("test", batch):
            np.add.at(pairs, (y, read(reader, x, T)[:, 0].argmax(-1)), 1)
        label, answer = np.indices(pairs.shape).reshape(2, -1)
        counts = {"label": label, "answer": answer, "images": pairs.flatten()}
        yield pd.DataFrame({"gate": gate, "seed": seed, **counts})


pairs = measured("answers", all_answers)

# %%
noted = runs.info.set_index(["gate", "seed"]).test_accuracy.astype(float)
right = pairs[pairs.label == pairs.answer].groupby(["gate", "seed"]).images.sum()
total = pairs.groupby(["gate", "seed"]).images.sum()
apart = (right / total - noted).abs()
print(f"{len(apart)} networks, at most {apart.max():.4f} from the accuracy that their runs noted")
assert len(apart) == len(networks) and apart.max() < 5e-4

# %% [markdown]
# What do they take for what? The most frequent mistakes, as shares of the images of that class, all
# seeds:

# %%
share = pairs.groupby(["gate", "label", "answer"]).images.sum()
share = (100 * share / share.groupby(["gate", "label"]).transform("sum")).reset_index(
    name="percent"
)
mistakes = share[share.label != share.answer].sort_values("percent", ascending=False)
for gate in runs.read:
    top = mistakes[mistakes.gate == gate].head(4).itertuples()
    print(f"{gate:3}", ", ".join(f"{m.label} as {m.answer} {m.percent:.1f} %" for m in top))

# %% [markdown]
# ## Answers along the way
#
# In bit-reversal order the image gets sharper everywhere at once (an 8 × 8 digit comes column by
# column). What would the network say if it had to answer early? It never learned to: it was scored
# after the last step only, see the open point in [32](32_pixel_images.ipynb).

# %%
stages = [T // 16, T // 8, T // 4, T // 2, 3 * T // 4, T]
two = [3, len(asked) - 1]
chances, early = read(network, x[two])[:, [n - 1 for n in stages]].max(-1)
along = pd.DataFrame(
    {
        "label": np.repeat(labels[two], len(stages)),
        "pixels": stages * len(two),
        "answer": early.flatten(),
        "confidence": (100 * chances.flatten()).round().int(),
    }
)
fig = reader_figures.along(x[two, :, 0], along)
bench.save(fig, "along", data=along, runs=runs.only(shown))

# %% [markdown]
# Now 500 test images, all networks:

# %%
every = max(1, T // 112)


def by_pixels():
    """Share of right answers after every few steps, of every network."""
    x, y = images()
    for (gate, seed), reader in networks.items():
        right = read(reader, x, every).argmax(-1) == y[:, None]
        share, steps = right.float().mean(0).numpy(), np.arange(every, T + 1, every)
        yield pd.DataFrame({"gate": gate, "seed": seed, "step": steps, "accuracy": share})


accuracy = measured("by_pixels", by_pixels)

# %% [markdown]
# Does a network that answers wrong halfway not know, or can it not say? Let a judge without
# training decide: the nearest of 2,000 training images by the *hidden states* after the same step.
# A second judge compares the pixels read so far: what is there to be known.


# %%
@cache
def known():
    """Training images in the order in which they are read, and their classes."""
    return task.batch(1, 0, min(2_000, len(task.split("train")[1])))


def nearest(x, others):
    """Share of the test images whose nearest training image is of their class."""
    return (known()[1][torch.cdist(x, others).argmin(-1)] == images()[1]).float().mean().item()


def by_images(parts):
    """That share if only these parts of the sequences are compared, by the steps they end at."""
    shares = [nearest(images()[0][:, part, 0], known()[0][:, part, 0]) for part in parts]
    return pd.DataFrame({"step": [part.stop for part in parts], "accuracy": shares})


firsts = [slice(0, n) for n in range(T // 16, T + 1, T // 16)]
possible = bench.table("by_images", lambda: by_images(firsts))


# %%
@torch.no_grad()
def states(reader, x):
    """Hidden states [n, B, H] after each sixteenth of the steps."""
    ends = slice(T // 16 - 1, None, T // 16)
    return torch.cat([reader.rnn(part)[0][:, ends] for part in x.split(500)]).transpose(0, 1)


def by_states():
    """The share of right neighbours by hidden states, of every network."""
    for (gate, seed), reader in networks.items():
        pairs = zip(states(reader, images()[0]), states(reader, known()[0]), strict=True)
        shares = [nearest(*pair) for pair in pairs]
        columns = {"step": [part.stop for part in firsts], "accuracy": shares}
        yield pd.DataFrame({"gate": gate, "seed": seed, **columns})


knows = measured("by_states", by_states)

# %% tags=["hide-input"]
parts = {"its head": accuracy, "nearest state": knows}
fig, plotted = reader_figures.judges(parts, possible, runs.read)
bench.save(fig, "by_pixels", data=plotted, runs=runs)

# %%
judges = {**parts, "nearest by pixels": possible}
rows = {}
for judge, frame in judges.items():
    for gate in runs.read if "gate" in frame else [""]:
        part = frame[frame.gate == gate] if gate else frame
        rows[judge, gate] = 100 * part.groupby("step").accuracy.median()
pd.DataFrame(rows).T[[n * T // 8 for n in range(1, 9)]].round(0).astype(int)

# %% [markdown]
# Per cent of right answers by the number of pixels read, medians over the seeds. *Reading the
# figure:* the head's answers come in bursts. After a quarter, half and three quarters of the steps
# the last pixels read have just completed one more coarse picture of the whole digit, as they have
# at the end, where the head was trained. Between them it has little of an answer, or none.

# %% [markdown]
# ## Which pixels does the answer rest on?
#
# In this order an eighth of the sequence is every eighth pixel: a coarse picture of the whole digit
# (of an 8 × 8 digit, one column). How much does each tell? Nearest neighbours by these pixels:

# %%
order = bit_reversal(T)
eighths = [slice(T * b // 8, T * (b + 1) // 8) for b in range(8)]
assert all(len(set((order[eighth] % 8).tolist())) == 1 for eighth in eighths)

alone = bench.table("eighths", lambda: by_images(eighths))
low, high = 100 * alone.accuracy.min(), 100 * alone.accuracy.max()
print(f"right from one eighth alone: {low:.0f} to {high:.0f} %; from all pixels: ", end="")
print(f"{100 * possible.accuracy.iloc[-1]:.0f} %")

# %% [markdown]
# Now blank one of them. A network that remembers everything should suffer alike wherever the gap
# lies; one that forgets suffers from late gaps only. Then blank all that comes before a step: how
# much of the past is needed at all?


# %%
def without(gap, reader, x, y):
    """Share of right answers if the pixels of these steps are blank."""
    x = x.clone()
    x[:, gap] = 0
    return (read(reader, x, T)[:, 0].argmax(-1) == y).float().mean().item()


def gaps():
    """That share for every network, with one eighth blank and with all up to its end."""
    for (gate, seed), reader in networks.items():
        for part in eighths:
            shares = [without(gap, reader, *images()) for gap in (part, slice(0, part.stop))]
            columns = dict(
                zip(("eighth", "all_before"), ([share] for share in shares), strict=True)
            )
            yield pd.DataFrame({"gate": gate, "seed": seed, "step": part.stop, **columns})


gapped = measured("gaps", gaps)

# %%
full = accuracy[accuracy.step == accuracy.step.max()].set_index(["gate", "seed"]).accuracy
fig, plotted = reader_figures.gaps(gapped, full, runs.read)
bench.save(fig, "gaps", data=plotted, runs=runs)

# %%
for gate in runs.read:
    part = 100 * gapped[gapped.gate == gate].groupby("step").median(numeric_only=True)
    all_, last = 100 * full[gate].median(), part.all_before.iloc[-2]
    early = part.eighth.iloc[:4].min()
    print(f"{gate:3} all pixels {all_:.0f} %, only the last eighth {last:.0f} %, ", end="")
    print(
        f"worst gap in the first half {early:.0f} %, last eighth blank {part.eighth.iloc[-1]:.0f} %"
    )

# %% [markdown]
# *Reading the figure* (preset `laptop`): the standard LSTM answers nearly as well from the last
# eighth alone; it looks at one coarse picture of 98 pixels. U and UR lose about half of their right
# answers (seeds differ widely): they do use what they read hundreds of steps before. A single early
# gap costs none of them much, since the other eighths tell the same.

# %% [markdown]
# Beware: a gap is also an image unlike any seen in training, to which networks may react in other
# ways than by missing what was there.
#
# ## How long the units remember
#
# A gate of constant value $g$ forgets with a decay period of $D = 1/(1-g)$ steps. The runs noted
# each unit's mean effective forget gate before and after training:

# %%
units, edges = of_units.paired(runs), 2.0 ** np.arange(0, 12.5, 0.5)
fig, _, bars = figures.period_histograms(units, runs.read, edges)
bars = bars.drop(columns="right")
bench.save(fig, "decay_periods", data=bars, paper="Fig. 4, other task and axis", runs=runs)

periods = units[["g_before", "g_after"]].apply(of_units.periods).clip(upper=edges[-1])
spread = periods.set_axis(["before", "after"], axis=1).groupby("gate").quantile([0.1, 0.5, 0.9])
spread.unstack().loc[list(runs.read)].round(1)

# %% [markdown]
# Columns are the 10, 50 and 90 % quantiles over all units and seeds, in steps.
#
# ## Where gates open and close
#
# A single image, all units of the first seed, sorted by decay period. Above, the ink of the pixels
# being read:


# %%
@torch.no_grad()
def trace(reader, image):
    """Each unit's decay period [H, n], from its mean forget gate over every few steps."""
    g = reader.rnn.gates(image[None])["g"][0].double()
    return decay_period(torch.stack([part.mean(0) for part in g.split(every)], -1))


def traces():
    """One row per unit: columns are the steps."""
    for gate in runs.read:
        rows = pd.DataFrame(trace(networks[gate, 1], x[0]).numpy()).round(2)
        yield rows.rename_axis("unit").reset_index().assign(gate=gate, seed=1)


traced = measured("traces", traces).drop(columns="seed").set_index(["gate", "unit"])
traced.columns = traced.columns.astype(int) * every
fig = reader_figures.traces(traced, x[0, :, 0], runs.read)
bench.save(fig, "traces", data=traced.reset_index(), runs=runs)

# %% [markdown]
# ## Ink
#
# Does a stroke open or close a gate? For 50 images, each unit's mean gate at blank and at inked
# pixels (ink above 0.1), as decay periods, and its correlation with the ink:


# %%
@torch.no_grad()
def by_ink(reader, x):
    """Each unit's decay period over all steps, at blank and at inked ones; correlation with ink."""
    g, ink = reader.rnn.gates(x)["g"].double().flatten(0, 1), x.double().flatten()
    parts = {"all": g, "blank": g[ink <= 0.1], "inked": g[ink > 0.1]}
    columns = {name: decay_period(part.mean(0)) for name, part in parts.items()}
    both = torch.corrcoef(torch.column_stack([ink, g]).T)[0, 1:]
    return pd.DataFrame({**columns, "correlation": both})


def units():
    """Those of every network."""
    for (gate, seed), reader in networks.items():
        part = by_ink(reader, images()[0][:50]).rename_axis("unit").reset_index()
        yield part.assign(gate=gate, seed=seed)


inked = measured("units", units)

# %%
names = ["below 4", "4 to 16", "16 to 64", "64 and more"]
inked["band"] = pd.cut(inked["all"], [0, 4, 16, 64, np.inf], right=False, labels=names)
bands = inked.groupby(["gate", "band"], observed=True).agg(
    units=("unit", "size"),
    blank=("blank", "median"),
    inked=("inked", "median"),
    closing=("correlation", lambda r: 100 * (r < 0).mean()),
    correlation=("correlation", lambda r: r.abs().mean()),
)
rounded = {"blank": 1, "inked": 1, "closing": 0, "correlation": 2}
bands.loc[list(runs.read)].round(rounded)

# %% [markdown]
# Bands of decay periods in steps; units of all seeds, medians of their decay periods at blank and
# at inked pixels, the per cent of units that close with ink (negative correlation), and the mean
# size of the correlation.

# %% tags=["hide-input"]
fig, plotted = reader_figures.by_ink(inked, runs.read)
bench.save(fig, "ink", data=plotted, runs=runs)

# %% [markdown]
# What is shown goes together, and need not be the cause: where there is ink, the pixels just read
# were likelier inked, too.

# %% [markdown]
# ## What it costs

# %%
bench.cost(runs)

# %% [markdown]
# **Your turn**, from the top folder of the repository:
#
# - The whole page on 8 × 8 digits, in a minute: `urgates run 32e`
# - Another gate inside (a quarter of an hour a gate): `urgates run 32e --preset laptop --recompute
#   -p gates=UR,R`
# - In the notebook, give the network a digit of your own: a tensor `[1, T, 1]` in the order of
#   `bit_reversal`, and `read(network, yours, T)`
#
# **Next:** [40_scoreboard](40_scoreboard.ipynb), all verdicts.
# Back: [32_pixel_images](32_pixel_images.ipynb).
