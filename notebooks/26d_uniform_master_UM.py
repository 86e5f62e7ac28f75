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
# # §2.6 UM: master gates without an order
#
# [← 26c](26c_ordered_O.ipynb) ·
# [home](00_start_here.ipynb) ·
# [26e →](26e_ordered_refine_OR.ipynb)
#
# **Is it the cumax that makes an ON-LSTM, or the pair of master gates?**
#
# Covers: Eqs. 30–33; Table 1
#
# A page of seconds; the trained results are in [31](31_synthetic_memory.ipynb).

# %% [markdown]
# **In short.** The flaw in the ON-LSTM's scaling comes from the pair of master gates, not from
# cumax: without an order, UM's forget and input gates lose the same sixth that OM's lose. UR's,
# tied, lose nothing. No claim is decided here.

# %% tags=["parameters"]
seed: int = 0  # of the random weights, biases and inputs below

# %% tags=["nbval-ignore-output"]
import numpy as np
import pandas as pd
import torch

import urgates
from urgates.gates import logit, master
from urgates.lab import Bench, figures

torch.manual_seed(seed)
bench = Bench("26d_uniform_master_UM")
bench

# %% [markdown]
# ## Definition
#
# > UM- This variant of the ON-LSTM ablates the cumax operation on the master gates, replacing it
# > with a sigmoid activation initialized with UGI. (B.5)
#
# $$
# \tilde f_t = \sigma(L_{\tilde f}(x_t, h_{t-1}) + b), \qquad
# \tilde i_t = \sigma(L_{\tilde i}(x_t, h_{t-1}) - b)
# $$
#
# The effective gates are the ON-LSTM's, Eqs. 21–23.

# %%
urgates.gate("UM")

# %% [markdown]
# **Deviation D11.** Eq. 30 draws from $U(0,1)$; with downsized master gates we draw $H/C$ numbers
# from $U[1/H, 1-1/H]$, D.5's range for a layer of $H$ units. Why: Eq. 31 is infinite at the ends.
# Effect: decay periods end at $H$.

# %%
layer = urgates.LSTM(10, 256, gate="UM", downsize=16)
b = layer.gate_bias_l0
assert b.shape == (16,) and b.abs().max() <= logit(1 - 1 / 256)

# %% [markdown]
# ## One step, by hand
#
# With weights on, first step, state zero: Eqs. 32, 33 and 21–23 against the layer.

# %%
x = torch.randn(20, 8, 10)
L = dict(
    zip(layer.rows, (x[0] @ layer.weight_ih_l0.T).split([256] * 4 + [16] * 2, -1), strict=True)
)
f_master = torch.sigmoid(L["f_master"] + b).repeat_interleave(16, -1)
i_master = torch.sigmoid(L["i_master"] - b).repeat_interleave(16, -1)
omega = f_master * i_master
f_hat = torch.sigmoid(L["f"]) * omega + (f_master - omega)
i_hat = torch.sigmoid(L["i"]) * omega + (i_master - omega)

gates = layer.gates(x)
torch.testing.assert_close((f_hat, i_hat), (gates["g"][0], gates["i"][0]))
torch.testing.assert_close(master(f_master, i_master, torch.sigmoid(L["f"])), f_hat)

# %% [markdown]
# ## What it isolates: the flaw in the scaling
#
# Order gone, spread kept. What stays is the pair of master gates, whose effective gates do not add
# up to one. Forget and input share of every unit ($C = 1$), stacked; the white rest up to 1 is
# what a state loses at every step:

# %%
shares = []
for name in ("UM", "OM", "UR"):
    gates = urgates.LSTM(10, 256, gate=name).gates(x)
    forget, input_ = (gates[k].mean((0, 1)) for k in ("g", "i"))
    order = forget.argsort()
    columns = {"unit": range(1, 257), "forget": forget[order], "input": input_[order]}
    shares.append(pd.DataFrame({"gate": name, **columns}))
shares = pd.concat(shares)

# %% tags=["hide-input"]
fig, axes = figures.subplots(1, 3, size=(9.4, 3.2), sharey=True)
for ax, (name, part) in zip(axes, shares.groupby("gate", sort=False), strict=True):
    total = part.forget + part.input
    ax.stackplot(part.unit, part.forget, part.input, colors=(figures.STYLE[name]["color"], "0.8"))
    ax.plot(part.unit, total, color="0.2", lw=1)
    ax.text(200, 0.25, "forget", color="white", weight="bold", ha="center")
    ax.text(60, 0.5, "input", ha="center")
    if total.mean() < 0.99:
        ax.text(128, 0.9, "missing", ha="center", color="0.3")
    ax.set(title=f"{name}: sum {total.mean():.2f} on average", xlim=(1, 256), ylim=(0, 1))
    ax.set_xlabel("unit, sorted")
axes[0].set_ylabel("effective gates, stacked")
bench.save(fig, "shares", data=shares)

# %% [markdown]
# UM loses what OM loses: $1 - E[\omega] = 5/6$ for uniform master gates, ordered or not (Prop. 3).
# The ablation answers its question: the scaling flaw comes from the pair, not from cumax. UR, tied,
# loses nothing.

# %%
u = torch.linspace(1 / 256, 1 - 1 / 256, 100_001, dtype=torch.float64)
expected = (1 - u * (1 - u)).mean().item()
totals = shares.groupby("gate")[["forget", "input"]].mean().sum(axis=1)
assert abs(expected - 5 / 6) < 0.002 and abs(totals["UM"] - expected) < 0.03
assert abs(totals["OM"] - 5 / 6) < 0.01 and abs(totals["UR"] - 1) < 1e-6
print(f"expected forget + input of UM at H = 256: {expected:.4f}, of n = ∞: {5 / 6:.4f}")

# %% [markdown]
# ## It trains
#
# Forty steps of Copy at `smoke` size, through the training loop of every other notebook:

# %% tags=["nbval-ignore-output"]
losses = bench.trial("UM", seed)
assert np.isfinite(losses).all() and losses[-1] < losses[0]
print(f"loss {losses[0]:.3f} at first, {losses[-1]:.3f} after 40 steps")

# %% [markdown]
# **Your turn.** `master(..., scale=2)` with tied masters is the refine gate
# ([B4](B4_on_lstm.ipynb)). Subclass `Gate` as in [26](26_gate_ablations.ipynb), with `scale=2` and
# free masters: do the shares add up to one?
#
# **Next:** [26e_ordered_refine_OR](26e_ordered_refine_OR.ipynb). Evidence:
# [31_synthetic_memory](31_synthetic_memory.ipynb); in the paper UM is stuck on Copy (G35).
