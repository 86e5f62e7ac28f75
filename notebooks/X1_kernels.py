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
# # §X.1 Kernels
#
# [← F5](F5_fast_gate.ipynb) ·
# [home](00_start_here.ipynb) ·
# [X2 →](X2_sweeps.ipynb)
#
# **Can every gate be as fast as the plain LSTM that comes with torch?**
#
# | preset | what you get | where |
# |---|---|---|
# | smoke | every cell on tiny sizes, measured while you wait; decides nothing | any CPU |
# | laptop | T = 100, B = 50, H up to 512, nine gates; 10 minutes to measure | two CPU cores |
# | paper | the paper's sizes, T up to 2000, H up to 3072, also 16 bits and CUDA graphs | GPU |

# %% [markdown]
# **In short.** A training step of a UR-LSTM takes no longer than `torch.nn.LSTM`'s at every size
# measured, in bfloat16 from H = 128, and every other gate keeps within its goal; so do GRUs, memory
# and accuracy. One goal is missed: many small models at once, which are bound by arithmetic.
# Nothing has been measured on a GPU.

# %% tags=["parameters"]
preset: str = "laptop"  # smoke, laptop or paper
recompute: bool = False  # measure now instead of reading stored timings
device: str = "auto"  # auto, cpu or cuda

# %% tags=["nbval-ignore-output"]
from itertools import product

import numpy as np
import pandas as pd

import urgates
from urgates import kernels, symbolic, tape
from urgates.kernels import reference
from urgates.lab import Bench, show_source
from urgates.lab.book import kernel_tables, time_figures
from urgates.lab.book.contenders import PlainLoop
from urgates.lab.book.roof import roof
from urgates.lab.book.timing import error_ratios, gemm_peak

bench = Bench("X1_kernels", preset, recompute, device=device)
bench

# %% tags=["nbval-ignore-output"]
for name, reason in kernels.available().items():
    print(f"{name:10} {reason}")
for name, reason in kernels.unavailable().items():
    print(f"{name:10} not here: {reason}")

# %% [markdown]
# ## The specification
#
# One loop says what every kernel must compute. It is slow, differentiable as often as you like, and
# all others are tested against it in float64.

# %%
show_source(reference.scan)

# %% [markdown]
# Gate and cell are Python arithmetic. SymPy reads a step out of it, goes through it backwards and
# prints both into the compiled loop, so that a new gate needs no kernel of its own:

# %%
print(symbolic.c_statements(urgates.gate("UR"), urgates.gate("UR").heads, gradients=True))
step = kernels.Recurrence("lstm", urgates.gate("UR"))
for lines in (tape.forwards(step), tape.backwards(step)):
    print("", symbolic.c_lines(lines.items()), sep="\n")

# %% [markdown]
# ## What must be done at least
#
# A training step of $T$ time steps, $B$ rows, $I$ inputs and $G$ rows of weights ($G = 4H$ for an
# LSTM) is three products: forward, gradient of the state, gradient of the weights.
#
# $$
# \text{operations} = 2\,T B\, G\, \big((H + I + 1) + H + (H + I + 1)\big)
# $$
#
# Each row's time step also reads or writes its activations once in either pass (the stash, $5H$
# numbers for an LSTM), its states and their gradient.


# %%
def operations(time, batch, inputs, hidden, heads=4):
    """Multiplications and additions of a training step's three products."""
    return 2 * time * batch * heads * hidden * (3 * hidden + 2 * (inputs + 1))


def traffic(time, batch, inputs, hidden, heads=4, width=4):
    """Bytes between processor and memory: stash and cells; x, states, their gradient of `width`."""
    kept = 4 * (2 * (heads + 1) * hidden + 2 * hidden)
    return time * batch * (kept + width * (2 * inputs + 5 * hidden))


for h in (64, 128, 256, 512):
    done, moved = operations(100, 50, 1, h), traffic(100, 50, 1, h)
    print(f"H={h}: {done / 1e9:6.2f} GFLOP, {moved / 1e6:4.0f} MB, {done / moved:.0f} FLOP/byte")

# %% [markdown]
# With so many operations per byte a CPU is bound by its multipliers, not by its memory: the limit
# is the speed of a matrix product, which the same run measured.

# %%
limits = bench.timings("limits", measure=gemm_peak)
limits[["threads", "gflops", "device", "torch", "commit"]]

# %% [markdown]
# ## Nine gates against the plain LSTM
#
# Turn about in one process: a training step of ours (forward, backward, all gradients of the
# weights), then one of `torch.nn.LSTM` of the same size. The bar is the median of the ratios, the
# whisker their quartiles. Below 1 is faster than torch's plain cell, which on the CPU is oneDNN's.
# One input, as in the pixel tasks.

# %%
size, gates = kernel_tables.sizes(preset), kernel_tables.gates(preset)
cases, (how, few) = kernel_tables.cases(preset), kernel_tables.pace(preset)
hidden = size["hidden"]
show_source(kernel_tables.cases)

# %%
lstm = bench.timings("lstm", cases["lstm"], **how)
gru = bench.timings("gru", cases["gru"], **how)


# %% tags=["hide-input"]
cells = {"LSTM": lstm, "GRU": gru}
fig = time_figures.ratios(cells, gates)
bench.save(fig, "ratios", data=pd.concat(cells.values()))


# %%
def wide(frames, column):
    """A row per frame and H, a column per gate."""
    rows = {k: f.pivot(index="hidden", columns="gate", values=column) for k, f in frames.items()}
    return pd.concat(rows)[list(gates)]


wide(cells, "ratio").round(2)

# %% [markdown]
# The two contenders by the clock, torch first, in ms. A shared machine has two speeds at H = 64:
# where it was slow, torch, whose threads meet at every step, lost more than we did. There the ratio
# flatters us, and the highest of the row is the fairest.

# %%
by_the_clock = {"torch.nn": wide({"": lstm}, "rival_ms"), "urgates": wide({"": lstm}, "ms")}
pd.concat(by_the_clock).droplevel(1).round(1)

# %% [markdown]
# Master gates (OM, UM) share a unit among 16 neurons here, as in the paper (App. D). With master
# heads of full size they have six heads instead of four, so half as many products again:

# %%
full = bench.timings("masters", cases["masters"], **how)
full.pivot(index="gate", columns="hidden", values="ratio").round(2)

# %% [markdown]
# How much faster than the limit could anything be? The time the three products would take at the
# measured speed, over ours:

# %%
peak = limits.gflops.max() * 1e9
ur = lstm[lstm.gate == "UR"].copy()
ur["limit_ms"] = [
    1e3 * operations(r.time, r.batch, r.inputs, r.hidden) / peak for r in ur.itertuples()
]
ur["limit / ours"] = (ur.limit_ms / ur.ms).round(2)
ur["limit / torch"] = (ur.limit_ms / ur.rival_ms).round(2)
ur[["hidden", "ms", "rival_ms", "limit_ms", "limit / ours", "limit / torch"]].round(2)

# %% [markdown]
# ## Against the loops people write
#
# What a researcher does with a new gate: a loop over time in torch. A fair one takes the input side
# out of the loop, never indexes `gx[t]` (whose backward costs $O(T^2)$) and lets autograd do the
# rest.

# %%
show_source(PlainLoop.forward)

# %%
rivals = bench.timings("loops", cases["loops"], **few)
rivals.pivot(index="provider", columns="hidden", values="ratio").round(1)

# %% tags=["hide-input"]
fig = time_figures.loops(rivals, list(dict.fromkeys(rivals.provider)))
bench.save(fig, "loops", data=rivals)

# %% [markdown]
# ## How the cost grows
#
# With the length of the sequence, the batch, and the number of inputs.

# %%
growth = {name: f"growth_{name}" for name in ("time", "batch", "inputs")}
growth = {name: bench.timings(table, cases[table], **few) for name, table in growth.items()}
fig = time_figures.growth(growth)
bench.save(fig, "growth", data=pd.concat(growth.values()))

# %%
kept = growth["time"]
slope = np.polyfit(np.log(kept.time), np.log(kept.ms), 1)[0]
memory = np.polyfit(np.log(kept.time), np.log(kept.kept), 1)[0]
longest = kept.loc[kept.time.idxmax()]
print(f"time grows as T^{slope:.2f}, memory as T^{memory:.2f}")
print(f"kept at T={longest.time}: {longest.kept:.0f} MB, torch {longest.rival_kept:.0f} MB")

# %% [markdown]
# ## Whole sweeps as one model
#
# `torch.func.vmap` over stacked models reaches the kernel as one call: other seeds, gate biases and
# data for every model, spread over the cores. The rival trains as many `torch.nn.LSTM`s one after
# another, each on all cores.

# %%
many = size["models"]
stacks = bench.timings("models", cases["models"], **few)
stacks.assign(per_model=stacks.ms / stacks.models, torch_per_model=stacks.rival_ms / stacks.models)[
    ["gate", "models", "per_model", "torch_per_model", "ratio"]
].round(2)

# %% [markdown]
# The three products alone would take this share of the rival's time, so no kernel in float32 can go
# below it:

# %%
row = stacks[(stacks.gate == "UR") & (stacks.models == many[-2])].iloc[0]
floor = operations(row.time, row.batch, row.inputs, row.hidden) / peak * 1e3
mine, theirs = row.ms / row.models, row.rival_ms / row.models
print(f"per model: products {floor:.2f} ms, ours {mine:.2f}, torch {theirs:.2f}")
print(f"lowest ratio possible {floor / theirs:.2f}, ours {row.ratio:.2f}")

# %% [markdown]
# ## bfloat16, small batches, and the roof
#
# A layer of bfloat16 weights (`.bfloat16()`) multiplies bfloat16 where the CPU can (AVX512-BF16);
# sums, gates, cell states and the stash stay float32. On one thread of another CPU (4th-generation
# EPYC), the sizes above, and Copy as the paper trains it: T = 520, a batch of 10.

# %%
types = bench.timings("types", cases["types"], **(how | {"threads": 1}))
types.pivot(index=["time", "batch", "hidden"], columns="dtype", values=["ms", "ratio"]).round(2)

# %% [markdown]
# The roof: the products at the speed of the multipliers (GFLOP/s, measured without memory), or all
# bytes at that of a copy (GB/s). What is left of our time, per hidden unit, row and step, is
# pointwise work, packing, Python, and whatever products lose.

# %%
most = bench.timings("roof", measure=roof).set_index("what").most
one = types.copy()
shape = one[["time", "batch", "inputs", "hidden"]]
one["products"] = [1e-6 * operations(*s) / most[d] for s, d in zip(shape.values, one.dtype)]  # noqa: B905
widths = one.dtype.map({"float32": 4, "bfloat16": 2})
one["bytes"] = [1e-6 * traffic(*s, width=w) / most["copy"] for s, w in zip(shape.values, widths)]  # noqa: B905
one["left, ns"] = 1e6 * (one.ms - one["products"]) / (one.time * one.batch * one.hidden)
one["roof / ours"] = one["products"] / one.ms
one["roof / torch"] = one["products"] / one.rival_ms
print(most.round(0).to_string())
roofs = ["ms", "products", "bytes", "left, ns", "roof / ours", "roof / torch"]
one.set_index(["dtype", "time", "hidden"])[roofs].round(2)

# %% [markdown]
# At `paper` on a GPU, also float16 and CUDA graphs: there torch's kernels differ by type and
# launches cost as much as arithmetic.

# %%
if preset == "paper":
    kinds = bench.timings("dtypes", cases["dtypes"], **how)
    print(kinds.pivot(index=["dtype", "graphs"], columns="hidden", values="ratio").round(2))

# %% [markdown]
# ## Nothing is bought with accuracy
#
# Error of float32 against the float64 reference: RMS of the difference over RMS of the truth, for
# hidden states and every gradient, beside the error of `torch.nn.LSTM` ("-" is the same function).

# %%
errors = bench.timings(
    "errors",
    measure=lambda: pd.DataFrame(
        row
        for time, g in product(size["errors' times"], gates)
        for row in error_ratios(g, time, device=bench.device)
    ),
)
worst = errors.groupby(["provider", "time", "gate"], sort=False).error.max().unstack("gate")
worst.map(lambda e: f"{e:.1e}" if e == e else "–")

# %% [markdown]
# ## Goals
#
# | what | goal |
# |---|---|
# | UR-LSTM against torch's LSTM, every H | ≤ 1.0 |
# | the other eight gates | ≤ 1.15, with cumax ≤ 1.3 |
# | GRUs against torch's GRU | ≤ 1.0 |
# | 27 models at H = 64, B = 32, per model | ≤ 0.5 |
# | the plain loop over ours at H = 64 | ≥ 5 |
# | time and memory over T from 100 to 3200 | linear |
# | error ratio in float32 | ≤ 1e-6 |
# | bfloat16 against torch's in bfloat16, H = 128 to 512 | ≤ 1.0 |


# %%
def verdict(name, value, met):
    """One line of the table of goals."""
    return {"goal": name, "measured": value, "met": "yes" if met else "no"}


others = lstm[~lstm.gate.isin(["UR", "O", "OM", "OR"])]
ordered = lstm[lstm.gate.isin(["O", "OM", "OR"])]
loop = rivals[(rivals.provider == "plain loop") & (rivals.hidden == hidden[0])].ratio.iloc[0]
ours = errors[errors.provider == "urgates"].error.max()
low = types[(types.dtype == "bfloat16") & (types.hidden > hidden[0])]
goals = [
    verdict("UR ≤ 1.0", f"{ur.ratio.max():.2f} at worst", ur.ratio.max() <= 1.0),
    verdict("others ≤ 1.15", f"{others.ratio.max():.2f} at worst", others.ratio.max() <= 1.15),
    verdict("cumax ≤ 1.3", f"{ordered.ratio.max():.2f} at worst", ordered.ratio.max() <= 1.3),
    verdict("GRU ≤ 1.0", f"{gru.ratio.max():.2f} at worst", gru.ratio.max() <= 1.0),
    verdict("27 models ≤ 0.5", f"{row.ratio:.2f}", row.ratio <= 0.5),
    verdict("plain loop ≥ 5", f"{loop:.1f}", loop >= 5),
    verdict("linear in T", f"T^{slope:.2f}, memory T^{memory:.2f}", max(slope, memory) <= 1.05),
    verdict("error ≤ 1e-6", f"{ours:.1e} at worst", ours <= 1e-6),
    verdict("bfloat16 ≤ 1.0", f"{low.ratio.max():.2f} at worst", low.ratio.max() <= 1.0),
]
goals = pd.DataFrame(goals).set_index("goal")
goals if preset == "laptop" else goals.drop(columns="met")

# %% [markdown]
# **On a GPU: not measured.** The goals there wait for a machine: H = 256 and 512, T = 520, B = 50,
# 2.5 times faster than `torch.nn.LSTM` in float32 and bfloat16; 27 and 108 models of H = 256 in one
# go, 25 times; H = 2048 and 3072, not slower. `urgates gpu` checks the kernels there and measures
# the tables of this page in half an hour, row by row; copied from `runs/gpu/` to `figures/`, they
# are what `urgates run X1 --preset paper` shows.

# %% [markdown]
# Until then the Triton kernels are tested in its interpreter and compiled ahead of time for compute
# capability 9.0: shared memory within the limit, no spilled registers for UR one model at a time,
# at most 96 bytes of stack elsewhere.

# %% [markdown]
# ## What was predicted, what came out
#
# Ratios of a UR-LSTM's training step to `torch.nn.LSTM`'s while the CPU kernel was built: T = 100,
# B = 50, medians of 7 turns on two shared cores. The tables above are the final measurement.

# %% [markdown]
# 1. **Threads.** Ours were new ones; torch's, which spin for a while after each product, competed
#    with them. Predicted from torch's own pool: as good as one thread. Came out: H = 64 on two
#    threads 1.85 → 1.24.

# %% [markdown]
# 2. **Blocks.** The product of the backward loop is deep; in blocks of 128 or 256 a panel should
#    stay in the cache and H = 512 gain. Came out: nothing (1.34 → 1.34). Dropped.

# %% [markdown]
# 3. **Stash.** Backward repeated the forward product, a quarter of all arithmetic. Stashed
#    activations make it needless, and every exponential too; a sigmoid stashes the smaller of its
#    value and complement with a sign, so that nothing is lost near 1. Predicted: 1.31 → 1.0. Came
#    out, with our own product for the weights' gradient: H = 64, 128, 256, 512 on one thread 1.31,
#    1.34, 1.32, 1.36 → 1.12, 1.09, 1.05, 1.05.

# %% [markdown]
# 4. **No zeros.** Autograd fills gradients of outputs that have none, and the backward of `hs[0]`
#    fills and copies. Predicted: − 4 % at H = 64. Came out: − 2 %, within the noise.

# %% [markdown]
# 5. **Small copies.** A profile showed a tenth of the kernel in copies of six numbers. Copies of
#    constant length: H = 64 from 1.13 to 1.04.

# %% [markdown]
# 6. **One product.** The input joins the state, [h x 1] times [w_h w_x b], and the tensor of
#    pre-activations never exists. Predicted: − 8 % at H = 64. Came out: H = 64 from 1.03 to 0.95,
#    H = 256 from 1.01 to 0.97, and less than half of torch's memory for backward.

# %% [markdown]
# 7. **Weights' gradient inside the loop**, while its rows are in the cache. Predicted: 27 models
#    are bound by memory, 0.74 → 0.5. Came out: from 3.05 to 2.6 ms per model, 0.7. They are bound
#    by arithmetic, as one model's time (the same per model) showed afterwards.

# %% [markdown]
# 8. **Prefetch** of the stash one step ahead. Predicted: some per cent for 27 models. Came out:
#    nothing. Dropped.

# %% [markdown]
# A second round, on one thread of the other CPU. Ratios now are to the kernel as it was before.
#
# 9. **Where the time goes.** Predicted: with 10 rows, weights of 1 MB are read too often. Came out:
#    forward and backward products run at 95 to 98 % of what the multipliers can do, 118 GFLOP/s by
#    a loop that touches no memory, with 10 rows as with 50. So no other blocking can help; fetching
#    the next panel ahead brought nothing.

# %% [markdown]
# 10. **The weights' gradient** ran at 79 %. It copied its factor into tiles, from rows 4096 bytes
#     apart, which share a set of the cache. Read in place, rows an odd number of lines apart, and
#     [x 1], which half filled a register, turned round. Came out, the whole step: H = 64, 128, 256,
#     512 at .86, .93, .94, .95; 10 rows at H = 256 .945.

# %% [markdown]
# 11. **Ahead.** Backward's gates took 57 ns per register of 16 units, 18 with all in the cache.
#     Fetching a row ahead helped at H = 64 only. Fetching a line per step along the last tiles of
#     the product before: 57 → 24 ns, H = 128 from .93 to .88. In forward, for what is to be
#     written, the product lost what the gates gained. Dropped there.

# %% [markdown]
# 12. **Pages.** Huge ones for the stash: nothing. Fresh ones cost .5 ms of 300 at H = 512 and none
#     elsewhere: the pool does its work.
# 13. **Packing** the weights by squares of 16: slower, their rows crowd the cache. Dropped.

# %% [markdown]
# 14. **bfloat16.** A cell of 32 bits holds two neighbours along the depth, so a product is half as
#     deep and nothing else changes. Predicted: .6. Came out: H = 64, 128, 256, 512 at .61, .55,
#     .52, .51, where widening had made it no faster than float32. Converting the tensors outside
#     cost 5 % at H = 128: the kernel reads and writes bfloat16 itself.

# %% [markdown]
# 15. **What cannot be reached** in float32 on this CPU. At 118 GFLOP/s the products alone take .46,
#     .61, .75 and .85 of torch's time at H = 64, 128, 256, 512, and .78 of what a step of Copy took
#     before. Goals of .7 at 256, .9 at 512, .7 for Copy leave nothing, or too little, for all else;
#     Copy in bfloat16 takes .52.
