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
# # §3.2 The same gates on a GRU, and Table 2 in full
#
# [← 32a](32a_sequential_cifar.ipynb) ·
# [home](00_start_here.ipynb) ·
# [32c →](32c_zoneout.ipynb)
#
# **Does what helps an LSTM also help a GRU, at what cost in parameters, and what remains of
# Table 2's sentences?**
#
# [Decided here](40_scoreboard.ipynb): **confirmed** G52T, G54T, G55T, G57T, G58T; **imprecise**
# G53T, G56T; **seen** G58; **not seen at this scale** G55; **inconclusive** G52, G53, G57; **not
# testable here** G56.
#
# Covers: Table 2
#
# | preset | what you get | where |
# |---|---|---|
# | smoke | 8 × 8 digits; decides nothing | any CPU |
# | laptop | GRUs on permuted MNIST; stored runs, also of 32 and 32a | a CPU core, 90 min |
# | (paper's) | H 64 (512), N 784, 1,500 steps (162,000), batch 50 | |
# | paper | GRUs on sequential CIFAR, the paper's sizes and rates | a GPU |

# %% [markdown]
# **In short.** *Seen*: gates rank alike on GRU and LSTM (G58). *Inconclusive*: refine gates are
# above master gates in four pairs of six, seeds overlap in two (G52); uniform starts, UR among the
# best (G53, G57). *Not seen at this scale*: that chrono is worst (G55); on sCIFAR it is among the
# best. Of Table 2 these sentences are *confirmed*, but for two, *imprecise*: U's starts are better
# than chrono, not than ordered gates (G53T); UR may not be the only stable GRU (G56T).

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

from urgates import GRU
from urgates.lab import Bench, show_source
from urgates.lab.book import image_figures
from urgates.lab.book.claims import IMPRECISE, UNTESTABLE
from urgates.lab.experiments.image_tables import TABLE_2, TABLE_2_DIVERGED, starred
from urgates.lab.experiments.images import accuracies, best_run, best_stable, by_gate
from urgates.lab.experiments.seeds import above, all_of, most, rank_correlation
from urgates.lab.jobs import mastered

bench = Bench("32b_gru", preset, recompute, seeds, gates, device, limit_minutes)
bench

# %% [markdown]
# ## A GRU with a refine gate
#
# > Table 2 also reports scores when the same gating mechanisms are applied to the GRU model instead
# > of the LSTM, where similar trends hold across the gating variants. In particular, UR-GRU is the
# > only method that is able to stably attain good performance.
#
# The paper gives no equations for these GRUs.
#
# **Open point O13.** *Which gate of a GRU is refined, and what becomes of the reset gate?* Our
# reading: the update gate is the main gate, in the sense of a forget gate; its input side is tied,
# $i = 1 - f$, as in a GRU anyway; the reset gate stays a plain sigmoid.

# %% [markdown]
# **Deviation D46.** The refine gate is then a *fourth* set of weights beside reset, update and
# candidate, while in an LSTM it takes the input gate's place for nothing. `keep_reset=False` drops
# the reset gate, and the count is the plain GRU's again. At the paper's size (512 units, three
# channels):


# %%
def parameters(gate, keep_reset):
    """Parameters of a GRU of 512 units that reads three channels."""
    gru = GRU(3, 512, gate=gate, downsize=16, keep_reset=keep_reset)
    return sum(p.numel() for p in gru.parameters())


counts = pd.DataFrame(
    {
        "with reset gate": {g: parameters(g, True) for g in TABLE_2.index},
        "without": {g: parameters(g, False) for g in TABLE_2.index},
    }
)
counts.assign(ratio=(counts["with reset gate"] / counts["with reset gate"]["-"]).round(3))

# %% [markdown]
# With biases, `UR` has a third more parameters than the plain GRU; without a reset gate it has as
# many, but for the 512 numbers of its gate bias:

# %%
plain = parameters("-", True)
assert parameters("UR", False) == plain + 512
assert 1.33 < parameters("UR", True) / plain < 1.34
print(f"UR over -: {parameters('UR', True) / plain:.3f}; without reset gate +512 of {plain:,}")

# %% [markdown]
# ## Nine GRUs
#
# **Deviation D47.** Preset `laptop` trains the GRUs on permuted MNIST, which is cheaper than
# sequential CIFAR, the paper's task for them. A constant forget bias is 0 for a GRU, as in
# `torch.nn.GRU`, where an LSTM has 1.

# %%
paper_size = preset == "paper"
task, row = ("scifar", "sCIFAR") if paper_size else ("pmnist", "pMNIST")
gru = bench.runs(task, "gru", rates=(2e-4, 5e-4) if paper_size else None)
table = accuracies(gru)
medians = best_stable(table)
medians.reindex(gru.gates).round({"valid": 1, "test": 1})

# %% tags=["hide-input"]
fig, plotted = image_figures.learning(gru, table)
bench.save(fig, "gru", data=plotted, paper="Table 2, reduced scale", runs=gru)

# %% [markdown]
# ## LSTM and GRU side by side

# %%
swept = bench.protocol("pmnist").sweep if paper_size else None
lstm = {
    "pMNIST": bench.runs("pmnist", of="32_pixel_images", rates=swept),
    "sCIFAR": bench.runs("scifar", of="32a_sequential_cifar", rates=swept),
}
groups = {**lstm, f"{row} (GRU)": gru}
tables = {name: accuracies(runs) for name, runs in groups.items()}

# %%
view = best_run if paper_size else best_stable
ours = pd.DataFrame({name: view(t).valid for name, t in tables.items()})
ours = ours.reindex([g for g in TABLE_2.index if g in ours.index])
fallen = pd.DataFrame({name: best_run(t).diverged for name, t in tables.items()})
starred(ours, fallen.fillna(0).astype(int)).T

# %% [markdown]
# The paper's, best of twelve runs each:

# %%
starred(TABLE_2, TABLE_2_DIVERGED).T

# %% [markdown]
# The same two tables as what each variant gains over its plain cell, in points:

# %% tags=["hide-input"]
fig, plotted = image_figures.gains(ours)
every = list(groups.values())
bench.save(fig, "table2", data=plotted, paper="Table 2", runs=every)

# %% [markdown]
# In the paper sixteen units share a master gate, which makes 32 of them; at 64 units it takes two
# (Deviation D75 in [31](31_synthetic_memory.ipynb)). Sixteen would leave 4. Validation accuracy
# with either share:

# %%
sixteen = {}
for name, runs in groups.items() if not paper_size else ():
    other = bench.runs(f"{runs.protocol.task}-downsize16", runs.cell, where=mastered)
    sixteen[name, other.protocol.downsize] = best_stable(accuracies(other)).valid
    sixteen[name, runs.protocol.downsize] = ours[name]
pd.DataFrame(sixteen).reindex(["OM", "UM"]).round(1) if sixteen else None

# %% [markdown]
# That is worth three to fifteen points, for a quarter more weights (D75): with four master units OM
# is last of the variants in every row, with more of them chrono is, but on sequential CIFAR.

# %% [markdown]
# ## The verdicts
#
# > the uniform gate initialization methods are generally better than the ordered and chrono
# > initialization, and the refine gate performs better than the master gate
#
# Each pair of gates differs in one choice. Is the first one better, with all its seeds, in every
# row? *Generally* means in more than half of the pairs.

# %%
show_source(above, all_of, most)


# %%
seeds_of = {name: by_gate(table) for name, table in tables.items()}


def compared(*pairs):
    """Over rows and pairs: is the first gate better with all seeds (None: ranges overlap)?"""
    return [above(v.get(a, ()), v.get(b, ())) for v in seeds_of.values() for a, b in pairs]


def say(parts):
    """Counts in words."""
    return f"{parts.count(True)} of {len(parts)}, {parts.count(False)} the other way"


refined = compared(("OR", "OM"), ("UR", "UM"))
chrono = compared(("U", "C"))
ordered = compared(("U", "O"), ("UR", "OR"), ("UM", "OM"))


# %%
bench.claim(
    "G52",
    holds=all_of(*refined),
    ours=f"pairs of gates: {say(refined)}",
    runs=[runs.only("OR", "OM", "UR", "UM") for runs in every],
)
bench.claim(
    "G53",
    holds=all_of(most(chrono), most(ordered)),
    ours=f"better than C: {say(chrono)}; than ordered: {say(ordered)}",
    runs=[runs.only("U", "C", "O", "UR", "OR", "UM", "OM") for runs in every],
)

# %% [markdown]
# > CI solves the synthetic memory tasks but is worse than any other variant outside of those. […]
# > UR- gates are consistently among the best performing and most stable.

# %%
variants = ours.drop("-", errors="ignore")
last = {name: seen.idxmin() if seen.notna().any() else "–" for name, seen in variants.items()}
bench.claim(
    "G55",
    holds=all_of(*compared(*((g, "C") for g in gru.gates if g not in ("-", "C")))),
    ours="last of eight: " + ", ".join(f"{g} on {name}" for name, g in last.items()),
    runs=every,
)
rank = ours.rank(ascending=False)
ranks = rank.loc["UR"].tolist() if "UR" in rank.index else [np.nan] * 3
lost = int(fallen.loc["UR"].sum()) if "UR" in fallen.index else 0
beaten = [
    [above(v[g], v["UR"]) for g in v if g != "UR"] if "UR" in v else [] for v in seeds_of.values()
]
surely, perhaps = (max(sum(p is True or (p is None and maybe) for p in row) for row in beaten)
                   for maybe in (False, True))  # fmt: skip
bench.claim(
    "G57",
    holds=all_of(True if perhaps <= 2 else False if surely > 2 else None, lost == 0),
    ours=f"ranks {', '.join(f'{r:.0f}' for r in ranks)} on {', '.join(ours)}; {lost} diverged",
    runs=every,
)

# %% [markdown]
# Among the GRUs alone: is UR the only one that is good, with no seed diverged? The paper gives
# *good* no number. So UR has to be the best of those without a diverged seed; if it is not the only
# one, nobody can tell. Below the paper's scale nearly all are stable, which tells nothing.


# %%
def alone(valid, fallen):
    """The GRUs with no seed diverged; whether UR is the only one (None: the best, but not only)."""
    stable = valid[fallen.reindex(valid.index) == 0]
    first = len(stable) > 0 and stable.idxmax() == "UR"
    return stable, None if first and len(stable) > 1 else first


name = list(ours)[-1]
stable, only = alone(ours[name].dropna(), fallen[name])
bench.claim(
    "G56",
    holds=only if paper_size else UNTESTABLE,
    ours=f"stable: {len(stable)} of {len(ours)}; best {', '.join(stable.nlargest(1).index)}, "
    f"{stable.max():.1f} %; UR {stable.get('UR', np.nan):.1f} %",
    runs=groups[name],
)

# %% [markdown]
# "Similar trends": do the gates rank alike in LSTM and GRU on the same task? The paper's own rows
# correlate with and without the plain cells:

# %%
pair = [row, f"{row} (GRU)"]
for source, values, columns in (
    ("paper", TABLE_2, ["sCIFAR", "sCIFAR (GRU)"]),
    ("ours", ours, pair),
):
    both = values[columns]
    rho = [rank_correlation(part) for part in (both.drop("-", errors="ignore"), both)]
    print(f"{source:6} eight variants {rho[0]:.2f}, with the plain cell {rho[1]:.2f}")

# %%
rho = rank_correlation(ours[pair].drop("-", errors="ignore"))
bench.claim(
    "G58",
    holds=bool(rho > 0.5),
    ours=f"{row}: rank correlation {rho:.2f} over the variants; asked: 0.5",
    runs=[groups[name] for name in pair],
)

# %% [markdown]
# ## The same sentences in Table 2 itself
#
# Nothing trained: are they true of the numbers that the paper prints?

# %%
T = TABLE_2
won = {
    sentence: [bool(T.loc[a, row] > T.loc[b, row]) for a, b in pairs for row in T]
    for sentence, pairs in {
        "master": (("OR", "OM"), ("UR", "UM")),
        "chrono": (("U", "C"),),
        "ordered": (("U", "O"), ("UR", "OR"), ("UM", "OM")),
        "last": [(g, "C") for g in T.index if g not in ("-", "C")],
    }.items()
}
said = {sentence: f"{sum(parts)} of {len(parts)}" for sentence, parts in won.items()}
bench.claim("G52T", holds=all(won["master"]), ours=f"{said['master']} pairs")
both = most(won["chrono"]), most(won["ordered"])
bench.claim(
    "G53T",
    holds=all(both) or (IMPRECISE if any(both) else False),
    ours=f"better than chrono in {said['chrono']}, than ordered in {said['ordered']} pairs",
)

# %%
over = T.loc["O"] - T.loc["-"]
bench.claim(
    "G54T",
    holds=bool((over[["pMNIST", "sCIFAR"]] > 0).all()),
    ours=", ".join(f"{v:+.2f} on {row}" for row, v in over.items()),
)
bench.claim("G55T", holds=all(won["last"]), ours=f"below the others in {said['last']}")
steady, only = alone(T["sCIFAR (GRU)"], TABLE_2_DIVERGED["sCIFAR (GRU)"])
bench.claim(
    "G56T",
    holds=IMPRECISE if only is None else only,
    ours="no seed diverged: "
    + ", ".join(f"{g} {v:.2f}" for g, v in steady.items())
    + "; if U's is good, too, UR is not the only one",
)

# %%
places = T.rank(ascending=False).loc["UR"].astype(int)
bench.claim(
    "G57T",
    holds=bool((places <= 3).all() and (TABLE_2_DIVERGED.loc["UR"] == 0).all()),
    ours=f"ranks {', '.join(map(str, places))}; no seed diverged",
)
rows = T[["sCIFAR", "sCIFAR (GRU)"]]
alike = [rank_correlation(part) for part in (rows.drop("-"), rows)]
bench.claim(
    "G58T",
    holds=bool(alike[0] > 0.5),
    ours=f"sCIFAR: rank correlation {alike[0]:.2f} over the variants; asked: 0.5; with the plain "
    f"cells {alike[1]:.2f}",
)

# %% [markdown]
# ## What it costs

# %%
bench.cost(gru)

# %% [markdown]
# **Your turn**, from the top folder of the repository:
#
# - Two GRUs on MNIST, in seven minutes:
#   `urgates run 32b --preset laptop --recompute -p gates=UR,-`
# - The paper's size on a GPU, an hour at a time (the same line again goes on):
#   `urgates run 32b --preset paper --recompute -p limit_minutes=60`
#
# **Next:** [32c_zoneout](32c_zoneout.ipynb), regularised, against other models.
# Back: [32a_sequential_cifar](32a_sequential_cifar.ipynb).
