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
# # §2.6 OR: an ordered main gate, refined
#
# [← 26d](26d_uniform_master_UM.ipynb) ·
# [home](00_start_here.ipynb) ·
# [31 →](31_synthetic_memory.ipynb)
#
# **Does the refine gate work with cumax, too, and what becomes of the order?**
#
# Covers: Eqs. 34–37; Table 1
#
# A page of seconds; the trained results are in [31](31_synthetic_memory.ipynb).

# %% [markdown]
# **In short.** The refine gate works with cumax, too: the main gates stay in order, the effective
# ones move freely within their bands. The last unit stays as dead as under O, and a common forget
# bias does nothing. No claim is decided here.

# %% tags=["parameters"]
seed: int = 0  # of the random weights, biases and inputs below

# %% tags=["nbval-ignore-output"]
import numpy as np
import pandas as pd
import torch

import urgates
from urgates.gates import cumax, reach, refine
from urgates.lab import Bench, figures

torch.manual_seed(seed)
bench = Bench("26e_ordered_refine_OR")
bench

# %% [markdown]
# ## Definition
#
# $$
# f_t = \mathrm{cumax}(L_f(x_t, h_{t-1}) + b_f), \qquad r_t = \sigma(L_r(x_t, h_{t-1}) + b_r)
# $$
#
# $$
# g_t = r_t\,(1-(1-f_t)^2) + (1-r_t)\,f_t^2, \qquad i_t = 1 - g_t
# $$

# %%
urgates.gate("OR")

# %% [markdown]
# ## The biases of Eqs. 34 and 35
#
# The paper writes $b_f$ and $b_r$ here, and says nothing of where they start. They are the linear
# maps' ordinary biases, zero at first: nothing is drawn, there is no `gate_bias`. A common forget
# bias would do nothing at all, as a softmax does not see a shift:

# %%
layer = urgates.LSTM(10, 64, gate="OR")
assert "gate_bias_l0" not in layer.state_dict() and (layer.bias_ih_l0 == 0).all()

z = torch.randn(1000, 64, dtype=torch.float64)
torch.testing.assert_close(cumax(z + 5), cumax(z))
print("cumax(z + 5) = cumax(z): only differences between units count")

# %% [markdown]
# ## What it isolates: order, then freedom
#
# The main gate is ordered. The refine gate moves every unit within its band as it likes. To see it
# move, the refine rows are made thirty times larger here:

# %%
x = torch.randn(20, 8, 10)
with torch.no_grad():
    layer.weight_ih_l0[layer.rows["r"]] *= 30
gates = layer.gates(x)
step = pd.DataFrame({k: gates[k][-1, 0].numpy() for k in ("f", "r", "g")})
step.insert(0, "unit", range(1, 65))
assert np.allclose(refine(step.f, step.r), step.g, atol=1e-6)

# %% tags=["hide-input"]
fig, ax = figures.subplots(size=(7.4, 3.8))
look = figures.STYLE["OR"]
ax.fill_between(step.unit, *reach(step.f), color=look["color"], alpha=0.15, lw=0, label="band")
ax.vlines(step.unit, step.f, step.g, color="0.7", lw=1)
ax.plot(step.unit, step.f, color="0.3", lw=1.5, label="main gate f, in order")
ax.plot(step.unit, step.g, "^", color=look["color"], ms=5, label="effective gate g")
ax.set(xlabel="unit", ylabel="gate activation")
ax.legend(frameon=False)
bench.save(fig, "refined_order", data=step)

# %% [markdown]
# The order of $f$ holds at every step and input; that of $g$ is up to the refine gate. The last
# unit stays out of reach: where $f = 1$ the band has no width, and the unit is as dead as under
# [O](26c_ordered_O.ipynb).

# %%
assert (gates["f"].diff(dim=-1) >= -1e-6).all()
assert (gates["g"].diff(dim=-1) < 0).float().mean() > 0.2
assert (gates["i"][..., -1] == 0).all() and (layer(x)[0][..., -1] == 0).all()
print("f in order: always; g in order: no; last unit: i = 0, h = 0")

# %% [markdown]
# ## It trains
#
# Forty steps of Copy at `smoke` size, through the training loop of every other notebook:

# %% tags=["nbval-ignore-output"]
losses = bench.trial("OR", seed)
assert np.isfinite(losses).all() and losses[-1] < losses[0]
print(f"loss {losses[0]:.3f} at first, {losses[-1]:.3f} after 40 steps")

# %% [markdown]
# At its start OR is spread as widely as O, wider than UR, whose offset $-b$ draws it to the middle
# ([26](26_gate_ablations.ipynb), first figure).
#
# **Your turn.** Give OR the refine start of UR: draw `b` uniform, subtract it from the refine rows
# of `bias_ih_l0`. What does the start look like?
#
# **Next:** [31_synthetic_memory](31_synthetic_memory.ipynb), where all nine compete.
