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
# # §2.5 Related gating mechanisms
#
# [← 24](24_refining_recurrent_models.ipynb) ·
# [home](00_start_here.ipynb) ·
# [26 →](26_gate_ablations.ipynb)
#
# **What do chrono initialisation and Ordered Neurons change, and how do they relate to U and R?**
#
# A preview: the equations of chrono (17–18) are at home in [B3](B3_chrono.ipynb), those of Ordered
# Neurons (19–27) in [B4](B4_on_lstm.ipynb). Nothing is trained: some seconds on a CPU.

# %% [markdown]
# **In short.** Chrono starts every gate above 1/2 and needs a time scale to be chosen; cumax puts
# the gates in order and spreads them as a uniform start does. Master gates can only lower what
# they master, so that forget and input gate start with a sum of 5/6; doubled and tied, they are a
# refine gate. No claim is decided here: see B3 and B4.

# %% tags=["parameters"]
seed: int = 0  # of the random weights, biases and inputs below

# %% tags=["nbval-ignore-output"]
import numpy as np
import pandas as pd
import torch

import urgates
from urgates.gates import cumax, decay_period, master, reach, refine
from urgates.lab import Bench, figures
from urgates.lab.book import twin_figures

torch.manual_seed(seed)
bench = Bench("25_related_gates")
bench

# %% [markdown]
# ## Chrono initialisation
#
# > Tallec & Ollivier (2018) suggest an initialization strategy to capture long-term dependencies
# > on the order of $T_{max}$, by sampling the gate biases from $b_f \sim \log U(1, T_{max}-1)$.
# > Although similar to UGI in definition, chrono initialization (CI) has key differences in the
# > timescales captured, for example by using an explicit timescale parameter and having no negative
# > biases.

# %%
urgates.gate("C")

# %% [markdown]
# The bias is subtracted from the input gate, $b_i = -b_f$. As long as the weights say nothing, the
# two gates add up to one; with random weights, nearly:

# %%
layer = urgates.LSTM(8, 256, gate="C")
x = torch.randn(50, 16, 8)
weighted = layer.gates(x)
with torch.no_grad():
    for name in ("weight_ih_l0", "weight_hh_l0"):
        getattr(layer, name).zero_()
silent = layer.gates(x)

assert torch.allclose(silent["g"] + silent["i"], torch.ones(()))
spread = (weighted["g"] + weighted["i"]).std().item()
assert spread < 0.2
print(f"f + i at the start: exactly 1 without weights, 1 ± {spread:.1g} with them")

# %% [markdown]
# The price is a number to choose. The original paper used values of $T_{max}$ from 8 to 2000 (B.3);
# whatever one takes, no unit starts below $f = 1/2$, and half of them remember longer than
# $T_{max}/2$:

# %%
chrono, rows = urgates.gate("C"), {}
for t_max in (8, 32, 256, 2000):
    f = torch.sigmoid(chrono.initial_bias(100_000, t_max=t_max))
    rows[t_max] = {
        "smallest f": f.min().item(),
        "median f": f.median().item(),
        "median D": decay_period(f.median().item()),
        "share of D > 100": (decay_period(f) > 100).float().mean().item(),
    }
table = pd.DataFrame(rows).T.rename_axis("t_max")
assert (table["smallest f"] >= 0.5).all()
assert np.allclose(table["median D"], table.index / 2 + 1, rtol=0.05)

# %% tags=["nbval-ignore-output"]
table.round(3)

# %% [markdown]
# **Move it yourself.** $T_{max}$ sets where chrono's decay periods end, and with them everything
# else; a uniform start needs no such number. Is there a $T_{max}$ that serves both 10 and 1,000
# steps?

# %%
twin_figures.chrono()

# %% [markdown]
# ## Ordered Neurons, first half: cumax
#
# > (i) the cumax := cumsum ∘ softmax activation function which creates a monotonically increasing
# > vector in [0, 1]
#
# Every input gets the same order of units: the last remember longest. Only how steeply the gates
# rise is up to the input.

# %%
z = 2 * torch.randn(1000, 64)
assert torch.allclose(cumax(z), torch.softmax(z, -1).cumsum(-1))
assert (cumax(z).diff(dim=-1) >= 0).all() and cumax(z).max() == 1
print("1000 random inputs, 1000 increasing vectors within [0, 1]")

# %% [markdown]
# ## Three ways to spread the gates
#
# Sixty-four units each. Chrono and uniform gates are drawn (and sorted here for the eye), three
# draws each. Cumax gates come in order by themselves, three inputs:

# %%
uniform = urgates.gate("U")
draws = {
    "C": [torch.sigmoid(chrono.initial_bias(64)).sort().values for _ in range(3)],
    "O": list(cumax(z[:3])),
    "U": [torch.sigmoid(uniform.initial_bias(64)).sort().values for _ in range(3)],
}
spread = pd.DataFrame(
    [
        (name, draw, unit, f)
        for name, drawn in draws.items()
        for draw, values in enumerate(drawn)
        for unit, f in enumerate(values.tolist(), 1)
    ],
    columns=["gate", "draw", "unit", "f"],
)

# %% tags=["hide-input"]
titles = {"C": "C: chrono, $T_{max}$ = 64", "O": "O: cumax", "U": "U: uniform"}
fig, axes = figures.subplots(1, 3, size=(9.2, 3), sharey=True)
for ax, (name, part) in zip(axes, spread.groupby("gate"), strict=True):
    for draw, line in part.groupby("draw"):
        look = {**figures.STYLE[name], "linestyle": "", "ms": 3, "alpha": 1 - 0.3 * draw}
        ax.plot(line.unit, line.f, **look)
    ax.set(title=titles[name], xlabel="unit", xlim=(0, 65))
axes[0].set_ylabel("main gate f at the start")
bench.save(fig, "three_starts", data=spread)

# %% [markdown]
# Uniform gates have the distribution of cumax gates without the sum over units: that is why the
# paper calls UGI a replacement ([B3](B3_chrono.ipynb) tests it, G21). Chrono puts nearly every unit
# near one.

# %% [markdown]
# ## Ordered Neurons, second half: master gates
#
# > (ii) a pair of “master gates” which are ordered by cumax and fine-tuned with another pair of
# > gates. […] one controls the distribution of a gate activation, and the other is an auxiliary
# > gate with modulating behavior.

# %%
urgates.gate("OM")

# %% [markdown]
# ## The flaw in the scaling
#
# > we find that the ON-LSTM has drawbacks including speed/stability issues and theoretical flaws in
# > the scaling of its gates
#
# Take tied master gates, $\tilde i = 1 - \tilde f$. Where can the fine gate move the result? From
# $\tilde f^2$ up to $\tilde f$ only: it can forget more than its master says, never less. A refine
# gate moves as far up as down.

# %%
f = np.linspace(0, 1, 101)
lowest, highest = reach(f)
bands = pd.DataFrame(
    {
        "f": f,
        "master, a = 0": master(f, 1 - f, 0),
        "master, a = 1/2": master(f, 1 - f, 0.5),
        "master, a = 1": master(f, 1 - f, 1),
        "refine, r = 0": lowest,
        "refine, r = 1/2": refine(f, 0.5),
        "refine, r = 1": highest,
    }
)
assert np.allclose(bands["master, a = 0"], f**2) and np.allclose(bands["master, a = 1"], f)
assert np.allclose(bands["refine, r = 1"], 1 - (1 - f) ** 2)

# %% tags=["hide-input"]
fig, axes = figures.subplots(1, 2, size=(8.4, 3.9), sharey=True)
for ax, kind, name in zip(axes, ("master", "refine"), ("UM", "UR"), strict=True):
    low, middle, high = (bands[c] for c in bands if c.startswith(kind))
    color = figures.STYLE[name]["color"]
    ax.fill_between(
        f, low, high, color=color, alpha=0.2, lw=0, label="what the second gate reaches"
    )
    ax.plot(f, middle, color=color, lw=2, label="second gate at 1/2")
    ax.plot(f, f, color="0.3", lw=1, ls="--", label="main gate alone")
    ax.set(
        title=f"auxiliary {kind} gate", xlabel=f"{'master' if kind == 'master' else 'main'} gate"
    )
    ax.set_aspect("equal")
axes[0].set_ylabel("effective forget gate")
fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
bench.save(fig, "master_and_refine", data=bands)

# %% [markdown]
# Doubling the fine gate's share repairs the scale, and what comes out is the refine gate itself
# (Prop. 4, in [B4](B4_on_lstm.ipynb)):

# %%
for a in (0.0, 0.3, 0.8, 1.0):
    assert np.allclose(master(f, 1 - f, a, scale=2), refine(f, a))

# %% [markdown]
# ## What it does to the state
#
# If forget and input gate add up to less than one, the state shrinks. At the start they add up to
# $1 - \omega(2 - f - i)$, on average $5/6$. Measured on a layer whose weights say nothing:

# %%
sums = {}
for name in ("OM", "UM", "OR", "UR"):
    layer = urgates.LSTM(8, 256, gate=name)
    with torch.no_grad():
        layer.weight_ih_l0.zero_(), layer.weight_hh_l0.zero_()
    gates = layer.gates(x[:1])
    sums[name] = (gates["g"] + gates["i"]).mean().item()
    print(f"{name}: forget + input = {sums[name]:.2f}")

assert abs(sums["OM"] - 5 / 6) < 0.001 and abs(sums["UM"] - 5 / 6) < 0.03
assert abs(sums["OR"] - 1) < 1e-6 and abs(sums["UR"] - 1) < 1e-6

# %% [markdown]
# **Open point O5.** Below the master gates sits a plain pair $f, i$. Does its forget gate keep the
# usual bias of 1? The paper does not say. Prop. 3 needs $E[f + i] = 1$, and the authors of the
# ON-LSTM use no such bias: we take 0. With a bias of 1 the mean sum would start higher:

# %%
omega = torch.arange(1, 257) / 256 * (1 - torch.arange(1, 257) / 256)
for bias in (0.0, 1.0):
    f_fine = torch.sigmoid(torch.tensor(bias))
    total = (1 - omega * (2 - f_fine - 0.5)).mean().item()
    print(f"bias {bias:.0f} of the fine forget gate: forget + input = {total:.3f}")

# %% [markdown]
# ## Two axes
#
# | axis | choices |
# |---|---|
# | start of the main gate | constant bias (`-`), chrono (`C`), cumax (`O`), uniform (`U`) |
# | auxiliary gate | none, master gates (`M`), refine gate (`R`) |
#
# Each mechanism of this page is one choice on one axis, or two. The next notebook combines them
# freely. A gate with `t_max` or `downsize` brings a number to tune; UR brings none.
#
# **Your turn.**
#
# - Compose the axes: `urgates.gate("CR")` and `urgates.gate("CM")` exist, though the paper left
#   them out “due to lack of interpretation”. Which start do they have?
# - In `three_starts`, scale `z` by 0.1 and by 10. What do cumax gates become?
#
# **Next:** [26_gate_ablations](26_gate_ablations.ipynb), all nine gates side by side.
