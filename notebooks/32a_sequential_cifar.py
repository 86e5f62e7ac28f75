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
# # §3.2 Sequential CIFAR-10
#
# [← 32](32_pixel_images.ipynb) ·
# [home](00_start_here.ipynb) ·
# [32b →](32b_gru.ipynb)
#
# **Which gates learn from 1,024 coloured pixels, and does the order of the paper come out?**
#
# [Decided here](40_scoreboard.ipynb): **not seen at this scale** G51; **inconclusive** G54.
#
# Covers: Table 2; Fig. 5b
#
# | preset | what you get | where |
# |---|---|---|
# | smoke | 8 × 8 digits in place of the photographs; decides nothing | any CPU |
# | laptop | real CIFAR-10, less than two epochs; stored runs | two CPU cores, an hour |
# | (paper's) | H 64 (512), N 1,024, 1,500 steps (90,000), batch 50 | |
# | paper | the paper's own sizes and learning rates | a GPU |

# %% [markdown]
# **In short.** *Not seen at this scale*: that R is best on sequential CIFAR, but unstable (G51): no
# run of R diverged, and the ranges of C, R, UR and OR overlap, C's median first. *Inconclusive*:
# ordered gates are effective here, but not on permuted MNIST (G54).

# %% tags=["parameters"]
preset: str = "laptop"  # smoke, laptop or paper
recompute: bool = False  # train what is missing instead of reading stored runs
seeds: int = 0  # how many; 0 is the protocol's number
gates: str = "all"  # or names joined by commas, like "UR,R,-"
device: str = "auto"  # auto, cpu or cuda
limit_minutes: float = 0.0  # stop training after so long, to be resumed; 0 is no limit

# %% tags=["nbval-ignore-output"]
import numpy as np
import pandas as pd

from urgates.lab import Bench, show_source
from urgates.lab.book import image_figures
from urgates.lab.experiments.image_tables import TABLE_2, TABLE_2_DIVERGED, starred
from urgates.lab.experiments.images import accuracies, best_run, best_stable, by_gate
from urgates.lab.experiments.seeds import above, all_of, leads, rank_correlation

bench = Bench("32a_sequential_cifar", preset, recompute, seeds, gates, device, limit_minutes)
bench

# %% [markdown]
# ## The task
#
# > Inputs x to the model were given in batches as a sequence of shape (sequence length, num
# > channels), (e.g. (1024,3) for CIFAR-10), by flattening the input image left-to-right,
# > top-to-bottom. (D.2)
#
# One step is one pixel with its three colours. A neighbour to the right is one step away, a
# neighbour below 32 steps: an object leaves its traces all over the sequence, and what it is must
# be said at the end.

# %%
p = bench.protocol("scifar")
p

# %% [markdown]
# **Deviation D44.** Colours are centred and scaled by each channel's mean and deviation over the
# training images; the paper does not mention a normalisation. One tenth of the training images,
# drawn once, validates.
#
# **Deviation D45.** Preset `laptop` stops after the steps above, which is 1.7 of the paper's 100
# epochs, with an eighth of its hidden units. **Its accuracies are no reproduction of Table
# 2.** They tell which gates get off the ground.

# %% [markdown]
# ## What the paper claims
#
# > The basic LSTM is noticeably worse than all of the others. This suggests that any of the gate
# > modifications […] are better than standard gates especially when long-term dependencies are
# > present. (§3.2, on Fig. 5)
#
# Best validation accuracy of any run, an asterisk for each diverged seed:

# %%
row = "sCIFAR"
starred(TABLE_2[[row]], TABLE_2_DIVERGED).T

# %% [markdown]
# R is ahead of UR by 0.8 points, but one of its three seeds diverged.
#
# ## What we find

# %%
scifar = bench.runs("scifar", rates=p.sweep if preset == "paper" else None)
table = accuracies(scifar)
medians = best_stable(table)
medians.reindex(scifar.gates).round({"valid": 1, "test": 1})

# %% tags=["hide-input"]
fig, plotted = image_figures.learning(scifar, table, guessing=True)
bench.save(fig, "fig5b", data=plotted, paper="Fig. 5b, reduced scale", runs=scifar)

# %% tags=["hide-input"]
fig, data = image_figures.beside_table_2(scifar, table, row)
bench.save(fig, "ranking", data=data, paper="Table 2, reduced scale", runs=scifar)

# %%
score = (best_run(table) if preset == "paper" else medians).valid
both = pd.concat([score, TABLE_2[row]], axis=1).dropna()
rho = rank_correlation(both)
print(f"rank correlation of our order with the paper's: {rho:.2f}, {len(both)} gates")
ahead = (score - score.get("-", np.nan)).drop("-", errors="ignore")
print(f"ahead of the LSTM: {(ahead > 0).sum()} of {len(ahead)} variants")
print(ahead.sort_values(ascending=False).round(1).to_string())

# %% [markdown]
# ## The verdicts
#
# R's seeds above those of every other gate, and at least one of its runs diverged; either part
# alone can refuse it:

# %%
show_source(above, all_of, leads)

# %%
rank = score.rank(ascending=False)
fallen = int(table.diverged[table.gate == "R"].sum())
first = score.idxmax() if len(score) else "–"
bench.claim(
    "G51",
    holds=all_of(leads(by_gate(table), "R"), fallen >= 1),
    ours=f"R {score.get('R', np.nan):.1f} %, rank {rank.get('R', np.nan):.0f}, {fallen} diverged; "
    f"first {first}, {score.max():.1f} %",
    runs=scifar,
)

# %% [markdown]
# > We find ordered (Cumax) gates to be effective
#
# which we read as: O improves on the LSTM, here and on [permuted MNIST](32_pixel_images.ipynb).

# %%
pmnist = bench.runs(
    "pmnist", of="32_pixel_images", rates=scifar.rates if preset == "paper" else None
)
gain, better = {}, []
for task, runs in (("pMNIST", pmnist), ("sCIFAR", scifar)):
    valid = by_gate(accuracies(runs))
    better.append(above(valid.get("O", ()), valid.get("-", ())))
    gain[task] = np.median(valid.get("O", np.nan)) - np.median(valid.get("-", np.nan))
bench.claim(
    "G54",
    holds=all_of(*better),
    ours="O − LSTM: " + ", ".join(f"{points:+.1f} on {task}" for task, points in gain.items()),
    runs=[pmnist.only("-", "O"), scifar.only("-", "O")],
)

# %% [markdown]
# ## What it costs

# %%
bench.cost(scifar)

# %% [markdown]
# **Your turn**, from the top folder of the repository:
#
# - Two gates on the real photographs, a quarter of an hour:
#   `urgates run 32a --preset laptop --recompute -p gates=UR,-`
# - The paper's size on a GPU, an hour at a time (the same line again goes on):
#   `urgates run 32a --preset paper --recompute -p limit_minutes=60`
#
# **Next:** [32b_gru](32b_gru.ipynb), the same gates on a GRU, and Table 2 in full.
# Back: [32_pixel_images](32_pixel_images.ipynb).
