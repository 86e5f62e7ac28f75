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
# # §4 Scoreboard
#
# [← 34](34_reinforcement_learning.ipynb) ·
# [home](00_start_here.ipynb) ·
# [A →](A_pseudocode.ipynb)
#
# **Which sentences of the paper hold, at which scale, and where is the evidence?**
#
# A page of seconds: it only collects what the other notebooks decided. There is no grand total: a
# theorem and a training run of an eighth of the paper's width are not the same kind of evidence.

# %% [markdown]
# **In short.** Mathematics and text, the paper's own tables, runs, and our own derivations are
# counted apart. Away from the paper's size a run is *seen* or *not seen at this scale* and
# contradicts nothing; what is *contradicted* here is text.

# %% tags=["parameters"]
details: bool = True  # also list every claim and every equation

# %% tags=["nbval-ignore-output"]
import pandas as pd
from IPython.display import Markdown

from urgates.lab import Bench, figures, notebooks
from urgates.lab.book.claims import TABLES, VERDICTS, counts, scoreboard, stored
from urgates.lab.book.ledger import CLAIMS

bench = Bench("40_scoreboard")
bench

# %% [markdown]
# ## How a verdict comes about
#
# A claim is a sentence of a paper, in our words, with a predicate. A notebook computes it and
# leaves a verdict with its evidence.
#
# | verdict | of | means |
# |---|---|---|
# | confirmed, contradicted | mathematics, text, tables | it follows, or its opposite does |
# | imprecise | the same | true once put another way, or of most cases; the row says which |
# | reproduced, contradicted | runs at the paper's size | all seeds agree with it, or against it |
# | seen | smaller runs, timings | all seeds agree with it, at the size in the row |
# | not seen at this scale | the same | all disagree with a part of it, which refutes nothing |
# | inconclusive | runs | fewer than three seeds, unfinished, or their ranges overlap |
# | not testable here | runs | this size, or what we train, cannot speak |
#
# Where a claim is about a correlation or a measured time, no seeds are compared: the row has the
# level that its notebook asks for.

# %% [markdown]
# **Letters.** `-` is the plain LSTM; a name says how a gate starts (C chrono, U uniform, O cumax)
# and what is beside it (R refine, M master); F is the fast gate. H is units, N the task's length;
# "lr × steps 3 of 162": ours of the paper's; "one rate of 4": we ran one, it four; "best of 2
# rates": each gate at its better. A gate *solves* below 5 % of a constant's loss, is *stuck* above
# 95 %. An *extreme* unit: below .1, above .9.

# %%
found = stored()
numbers = pd.DataFrame({title: counts(title, found) for title in TABLES}).T
numbers = numbers.reindex(columns=VERDICTS).fillna(0).astype(int)
assert numbers.to_numpy().sum() == len(found) and set(found) <= set(CLAIMS)
numbers.T

# %% tags=["hide-input"]
fig, ax = figures.subplots(size=(9, 2.8))
figures.verdict_bars(ax, numbers[::-1])
bench.save(fig, "verdicts", data=numbers.reset_index(names="table"))

# %% [markdown]
# ## Every claim

# %%
Markdown(scoreboard().replace("](notebooks/", "](") if details else "")

# %% [markdown]
# ## Where each equation, proposition, table and figure is
#
# Read the PDF, look up the number:

# %%
places = notebooks.coverage()
rows = [f"| {item} | {', '.join(places[item])} |" for item in places if details]
Markdown("\n".join(["| in the paper | notebooks |", "|---|---|", *rows]))

# %% [markdown]
# **Your turn.** Pick a claim that is not seen at this scale or inconclusive, open its notebook, and
# train nearer to the paper's size: `urgates run 31 --preset paper --recompute` does, on a GPU or
# with patience; `urgates claims` prints these tables in a terminal.
#
# **Next:** [A_pseudocode](A_pseudocode.ipynb), the paper's two listings executed.
