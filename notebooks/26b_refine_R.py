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
# # §2.6 R: the refine gate alone
#
# [← 26a](26a_uniform_U.ipynb) ·
# [home](00_start_here.ipynb) ·
# [26c →](26c_ordered_O.ipynb)
#
# **How far does a refine gate reach when all main gates start alike?**
#
# Covers: Eqs. 11–13; Table 1
#
# A page of seconds; the trained results are in [31](31_synthetic_memory.ipynb) and
# [E1](E1_synthetic_forgetting.ipynb).

# %% [markdown]
# **In short.** R's units start in one place and reach the same short stretch; UR's stand all along
# the band, some of them within reach of long memories. Even so R has an easier way up than a plain
# gate, which must climb much farther. No claim is decided here.

# %% tags=["parameters"]
seed: int = 0  # of the random weights, biases and inputs below

# %% tags=["nbval-ignore-output"]
import numpy as np
import pandas as pd
import torch

import urgates
from urgates.gates import decay_period, logit, reach, refine
from urgates.lab import Bench, figures

torch.manual_seed(seed)
bench = Bench("26b_refine_R")
bench

# %% [markdown]
# ## Definition
#
# $$
# g_t = f_t^2 + 2 r_t f_t (1-f_t), \qquad i_t = 1 - g_t
# $$
#
# The main gate keeps the standard forget bias of 1. Nothing is drawn at the start.

# %%
urgates.gate("R")

# %% [markdown]
# **Open point O6.** The paper does not give the refine gate's bias for R (Listing 2 offsets it by
# the uniform bias, which R lacks). We take $b_f = 1$ and $b_r = 0$: then $r = 1/2$ and the
# effective gate starts exactly where the plain LSTM's forget gate does. The runs of 31 have
# $b_f = 0$ (O24).

# %%
f = torch.sigmoid(torch.ones((), dtype=torch.float64)).item()
assert abs(refine(f, 0.5) - f) < 1e-15
low, high = reach(f)
print(f"R starts at f = g = {f:.3f}, D = {decay_period(f):.2f}")
print(f"its refine gate alone reaches D = {decay_period(low):.2f} to {decay_period(high):.1f}")

# %% [markdown]
# ## What it isolates: reach without spread
#
# Each dot is a unit of an untrained layer, at its main gate $f$ and effective gate $g$. The band is
# what its refine gate could do on the spot, with $f$ left alone.

# %%
x = torch.randn(20, 8, 10)
dots = []
for name in ("R", "UR"):
    gates = urgates.LSTM(10, 256, gate=name).gates(x)
    values = {k: gates[k].mean((0, 1)).numpy() for k in ("f", "g")}
    dots.append(pd.DataFrame({"gate": name, **values}))
dots = pd.concat(dots)

# %% tags=["hide-input"]
line = np.linspace(0, 1, 201)
fig, axes = figures.subplots(1, 2, size=(8.2, 4), sharey=True)
for ax, (name, units) in zip(axes, dots.groupby("gate"), strict=True):
    color = figures.STYLE[name]["color"]
    ax.fill_between(line, *reach(line), color="0.9", lw=0)
    ax.vlines(units.f, *reach(units.f), color=color, lw=0.7, alpha=0.25)
    ax.plot(units.f, units.g, "o", ms=3, color=color)
    ax.set(title=name, xlabel="main gate f", xlim=(0, 1), ylim=(0, 1))
    ax.set_aspect("equal")
axes[0].set_ylabel("effective gate g")
bench.save(fig, "reach", data=dots)

# %% [markdown]
# All of R's units stand in one place and reach the same short stretch. UR's stand all along the
# band, and Listing 2's offset $-b$ starts them on its inner side: high gates refined down, low
# gates refined up. There is room on the outer side to learn into.

# %%
reachable = {n: (decay_period(reach(u.f)[1]) > 100).mean() for n, u in dots.groupby("gate")}
assert reachable["R"] == 0 and abs(reachable["UR"] - 0.1) < 0.07
print("units whose refine gate alone can reach D > 100 steps:")
print(f"R {reachable['R']:.0%}, UR about a tenth (P(f > 0.9))")

# %% [markdown]
# Still, R has an easier way up than a plain gate. For $g = 0.99$ with an open refine gate the main
# pre-activation must climb from 1 to 2.2; a sigmoid alone must climb to 4.6, into its flat part.

# %%
needed = logit(1 - 0.01**0.5), logit(0.99)
assert np.allclose(needed, (2.197, 4.595), atol=1e-3)
print("pre-activation for g = 0.99: {:.2f} refined, {:.2f} plain".format(*needed))

# %% [markdown]
# ## It trains
#
# Forty steps of Copy at `smoke` size, through the training loop of every other notebook:

# %% tags=["nbval-ignore-output"]
losses = bench.trial("R", seed)
assert np.isfinite(losses).all() and losses[-1] < losses[0]
print(f"loss {losses[0]:.3f} at first, {losses[-1]:.3f} after 40 steps")

# %% [markdown]
# **Your turn.** Draw `reach` with `forget_bias=6`, the start of
# [E1](E1_synthetic_forgetting.ipynb): how far down can R come without moving $f$?
#
# **Next:** [26c_ordered_O](26c_ordered_O.ipynb). Evidence:
# [31_synthetic_memory](31_synthetic_memory.ipynb).
