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
# # §2.6 O: ordered gates
#
# [← 26b](26b_refine_R.ipynb) ·
# [home](00_start_here.ipynb) ·
# [26d →](26d_uniform_master_UM.ipynb)
#
# **What is left of the ON-LSTM without its master gates, and which unit never wakes up?**
#
# [Decided here](40_scoreboard.ipynb): **not testable here** G31.
#
# Covers: Eqs. 28–29; Table 1
#
# A page of seconds; the trained results are in [31](31_synthetic_memory.ipynb).

# %% [markdown]
# **In short.** Cumax orders the units from fast to slow, and keeps them so. The last unit is dead,
# exactly and for good: its input gate is zero. Written with care, float32 stays within $[0, 1]$.
# *Not testable here*: whether cumax gates are less stable at large sizes (G31).

# %% tags=["parameters"]
seed: int = 0  # of the random weights, biases and inputs below

# %% tags=["nbval-ignore-output"]
import numpy as np
import torch

import urgates
from urgates.gates import cumax, cumax_complement
from urgates.lab import Bench
from urgates.lab.book import gate_figures
from urgates.lab.book.claims import UNTESTABLE

torch.manual_seed(seed)
bench = Bench("26c_ordered_O")
bench

# %% [markdown]
# ## Definition
#
# > O- This ablation uses the cumax activation to order the forget/input gates and has no auxiliary
# > gates. (B.5)
#
# $$
# f_t = \mathrm{cumax}(L_f(x_t, h_{t-1})), \qquad i_t = 1 - \mathrm{cumax}(L_i(x_t, h_{t-1}))
# $$

# %%
urgates.gate("O")

# %% [markdown]
# ## What it isolates: spread with an order
#
# Like U, it starts with gates of all sizes; unlike U, it knows beforehand which units are the slow
# ones, and keeps it so. What is left of a trace after $k$ steps, units **not** sorted:

# %%
x = torch.randn(100, 8, 10)
left = {n: urgates.LSTM(10, 64, gate=n).gates(x)["g"][:, 0].cumprod(0).T for n in ("U", "O")}
assert (left["O"].diff(dim=0) >= 0).all()

# %% tags=["hide-input"]
fig, traces = gate_figures.fading({name: share.numpy() for name, share in left.items()})
bench.save(fig, "traces", data=traces)

# %% [markdown]
# ## The unit that never wakes
#
# The bright line on top is the last unit. A cumulative sum of a softmax ends at exactly 1: the last
# unit keeps all it has, and lets in nothing. Its cell starts at zero and stays there:

# %%
layer = urgates.LSTM(10, 64, gate="O")
h, (_, c) = layer(100 * torch.randn(200, 8, 10))
assert (h[..., -1] == 0).all() and (c[..., -1] == 0).all() and (c[..., -2] != 0).any()
print("last unit, 200 steps of input 100 times too large: exactly", h[..., -1].abs().max().item())

# %% [markdown]
# It costs O and OR one unit in $H$; OM loses its last chunk, one in $H/C$ (6 % at $H = 256$,
# $C = 16$). No gradient will ever revive it.

# %%
h.square().sum().backward()
rows = layer.weight_ih_l0.grad.unflatten(0, (4, 64))[:, -1]  # i, f, u, o of the last unit
assert (rows[2:] == 0).all() and layer.gates(x)["i"][..., -1].abs().max() == 0

# %% [markdown]
# ## Within [0, 1], also in float32
#
# A sum of rounded numbers may overshoot 1, and $1-f$ then turns negative. `cumax` is clamped, and
# its complement is summed from the other end, so that small values stay exact:

# %% tags=["nbval-ignore-output"]
z = torch.randn(10_000, 256)
naive = torch.softmax(z, -1).cumsum(-1).amax(-1)
exact = 1 - cumax(z.double())[:, :-1]
assert cumax(z).max() <= 1 and cumax_complement(z).min() >= 0
assert ((cumax_complement(z)[:, :-1] - exact).abs() / exact).max() < 1e-4
print(f"a naive cumulative sum exceeds 1 in {(naive > 1).float().mean():.0%} of the rows")

# %% [markdown]
# ## It trains
#
# Forty steps of Copy at `smoke` size, through the training loop of every other notebook:

# %% tags=["nbval-ignore-output"]
losses = bench.trial("O", seed)
assert np.isfinite(losses).all() and losses[-1] < losses[0]
print(f"loss {losses[0]:.3f} at first, {losses[-1]:.3f} after 40 steps")

# %% [markdown]
# The paper calls cumax expensive and less stable at large sizes. The first is measured in
# [26](26_gate_ablations.ipynb) (G30). The second needs diverged seeds counted at $H = 1024$, many
# trainings that have not been run:

# %%
bench.claim("G31", holds=UNTESTABLE, ours="not trained at H = 1024")

# %% [markdown]
# **Your turn.** Shift all pre-activations of the forget gate by 5. What happens, and why is there
# no forget bias for O? ([26e](26e_ordered_refine_OR.ipynb) has the answer.)
#
# **Next:** [26d_uniform_master_UM](26d_uniform_master_UM.ipynb). Evidence:
# [31_synthetic_memory](31_synthetic_memory.ipynb).
