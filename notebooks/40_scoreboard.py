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
# [← 32e](32e_inside_a_reader.ipynb) ·
# [home](00_start_here.ipynb) ·
# [A →](A_pseudocode.ipynb)
#
# **Which sentences of the paper hold, at which scale, and where is the evidence?**
#
# A page of seconds: it only collects what the other notebooks decided.

# %% tags=["parameters"]
details: bool = True  # also list every claim and every equation

# %% tags=["nbval-ignore-output"]
from collections import Counter

import pandas as pd
from IPython.display import Markdown

from urgates.lab import Bench, figures, notebooks
from urgates.lab.claims import CLAIMS, VERDICTS, scoreboard, stored

bench = Bench("40_scoreboard")
bench

# %% [markdown]
# ## How a verdict comes about
#
# A claim is a sentence of the paper, in our words, with a predicate that was fixed before the
# result. A notebook computes it and leaves a verdict with its evidence. Three rules keep it honest:
# runs at `smoke` decide nothing; fewer than three seeds decide nothing; a failure stays.

# %%
found = stored()
words = Counter(found[name]["verdict"] if name in found else "not run" for name in CLAIMS)
assert set(words) <= set(VERDICTS) and words.total() == len(CLAIMS)
for word in VERDICTS:
    print(f"{word:10} {words[word]:3}")

# %% [markdown]
# `exact` claims follow from formulas, sampling or the paper's own tables, `measured` ones from
# timings, `training` ones from trained models. A `laptop` verdict speaks for the laptop's sizes,
# which [D](D_protocols.ipynb) lists beside the paper's.

# %%
counts = pd.DataFrame(
    [(CLAIMS[name].kind, found.get(name, {}).get("verdict", "not run")) for name in CLAIMS],
    columns=["kind", "verdict"],
)
counts = pd.crosstab(counts.kind, counts.verdict).reindex(columns=VERDICTS, fill_value=0)
counts

# %%
fig, ax = figures.subplots(size=(7, 2.6))
figures.verdict_bars(ax, counts)
fig.legend(frameon=False, ncols=4, loc="outside lower center")
bench.save(fig, "verdicts", data=counts.reset_index())

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
# **Your turn.** Pick a claim that fails or is undecided, open its notebook, and try to save it:
# more steps, another learning rate, a larger model. `urgates run 31 --preset laptop --recompute`
# trains again; `urgates claims` prints this table in a terminal.
#
# **Next:** [A_pseudocode](A_pseudocode.ipynb), the paper's two listings executed.
