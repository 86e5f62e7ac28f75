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
# # §2.6 U: uniform gate initialisation alone
#
# [← 26](26_gate_ablations.ipynb) ·
# [home](00_start_here.ipynb) ·
# [26b →](26b_refine_R.ipynb)
#
# **What does a spread start do by itself, without a refine gate?**
#
# Covers: Eq. 9; Table 1
#
# A page of seconds; the trained results are in [31](31_synthetic_memory.ipynb).

# %% [markdown]
# **In short.** A spread start alone gives the units memories of all lengths: at every lag some have
# just let go, where standard gates forget in step. Its price: as many units begin with hardly any
# memory. U is the plain LSTM from another start, and nothing else. No claim is decided here.

# %% tags=["parameters"]
seed: int = 0  # of the random weights, biases and inputs below

# %% tags=["nbval-ignore-output"]
import numpy as np
import torch

import urgates
from urgates.gates import decay_period, logit
from urgates.lab import Bench
from urgates.lab.book import gate_figures

torch.manual_seed(seed)
bench = Bench("26a_uniform_U")
bench

# %% [markdown]
# ## Definition
#
# $$
# b \sim \sigma^{-1}(U[1/H,\, 1-1/H])
# $$
#
# One bias per unit, added to the forget gate and subtracted from the input gate (D.5). Everything
# else is the plain LSTM.

# %%
urgates.gate("U")

# %% [markdown]
# ## What it isolates
#
# `U` and `-` differ in where they start, and in nothing else. Fold the gate bias into a plain
# LSTM's own biases, and the two are one function:

# %%
uniform, plain = urgates.LSTM(10, 64, gate="U"), urgates.LSTM(10, 64, gate="-")
state = {key: value.clone() for key, value in uniform.state_dict().items()}
b = state.pop("gate_bias_l0")
state["bias_ih_l0"][uniform.rows["f"]] += b
state["bias_ih_l0"][uniform.rows["i"]] -= b
plain.load_state_dict(state)

x = torch.randn(100, 8, 10)
torch.testing.assert_close(plain(x), uniform(x))
print("U with its bias folded in is '-'")

# %% [markdown]
# ## What the units remember, untrained
#
# Follow a trace in each of 64 units for 100 steps: what is left of it after $k$ steps is the
# product of the forget gates, $\prod_{j \le k} f_{t+j}$. Bright is all of it, black nothing; units
# are sorted.

# %%
left = {}
for name in ("-", "U"):
    trace = urgates.LSTM(10, 64, gate=name).gates(x)["g"][:, 0].cumprod(0)
    left[name] = trace[:, trace.sum(0).argsort()].T.numpy()

# %% tags=["hide-input"]
fig, traces = gate_figures.fading(left)
bench.save(fig, "traces", data=traces)

# %% [markdown]
# Standard gates forget in step with each other, a factor $e$ in some four steps. Uniform gates form
# a fan: at every lag some units have just let go. The price is at the lower edge: as many units
# begin with hardly any memory.

# %%
half = int((torch.sigmoid(b) < 0.5).sum())
longest = decay_period(torch.sigmoid(b)).max().item()
assert 16 < half < 48 and longest < 64 and decay_period(torch.sigmoid(torch.ones(()))) < 3.72
assert abs(logit(1 - 1 / 64) - np.log(63)) < 1e-12
print(f"{half} of 64 units start with f < 1/2; the longest D is {longest:.0f} steps, below H = 64")

# %% [markdown]
# ## It trains
#
# Forty steps of Copy at `smoke` size, through the training loop of every other notebook:

# %% tags=["nbval-ignore-output"]
losses = bench.trial("U", seed)
assert np.isfinite(losses).all() and losses[-1] < losses[0]
print(f"loss {losses[0]:.3f} at first, {losses[-1]:.3f} after 40 steps")

# %% [markdown]
# **Your turn.** Draw `traces` for `"C"` with `t_max=16`, `64`, `1000`. Which one would you call
# spread?
#
# **Next:** [26b_refine_R](26b_refine_R.ipynb), the other half of UR. Evidence:
# [31_synthetic_memory](31_synthetic_memory.ipynb); in the paper U gets half-way on Copy (G33).
