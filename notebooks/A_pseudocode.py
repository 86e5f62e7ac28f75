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
# # App. A Pseudocode
#
# [← 40](40_scoreboard.ipynb) ·
# [home](00_start_here.ipynb) ·
# [B2 →](B2_timescales.ipynb)
#
# **Do the paper's two listings run, and do they compute what the equations and the library say?**
#
# Covers: Listings 1, 2
#
# Cost: some seconds on a CPU; nothing is trained.

# %% [markdown]
# **In short.** Both listings run and equal library and equations, once the output gate gets the
# sigmoid that they leave out; without it about half of the units show the opposite of what they
# hold. The line that draws the biases is a syntax error as printed. The minus in `r - forget_bias`
# halves a long memory at the start. No claim is decided here.

# %% tags=["parameters"]
seed: int = 0  # of the random weights and inputs

# %% tags=["nbval-ignore-output"]
import ast

import numpy as np
import pandas as pd
import torch

import urgates
from urgates.gates import decay_period
from urgates.lab import Bench, figures

bench = Bench("A_pseudocode")
bench

# %% [markdown]
# ## Listing 1: LSTM
#
# ```python
# forget_bias = 1.0 # hyperparameter
# ...
# f, i, u, o = Linear(x, prev_hidden)
# f_ = sigmoid(f + forget_bias)
# i_ = sigmoid(i)
# next_cell = f_ * prev_cell + i_ * tanh(u)
# next_hidden = o * tanh(next_cell)
# ```
#
# Line by line in NumPy. We keep the last line as printed, and pass in what becomes of `o`:


# %%
def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def listing_1(f, i, u, o, prev_cell, forget_bias=1.0, output=lambda o: o):
    f_ = sigmoid(f + forget_bias)
    i_ = sigmoid(i)
    next_cell = f_ * prev_cell + i_ * np.tanh(u)
    next_hidden = output(o) * np.tanh(next_cell)
    return next_hidden, next_cell


# %% [markdown]
# ## Listing 2: UR-LSTM
#
# ```python
# # Recurrent update
# f, r, u, o = Linear(x, prev_hidden)
# f_ = sigmoid(f + forget_bias)
# r_ = sigmoid(r - forget_bias)
# g = 2*r_*f_ + (1-2*r_)*f_**2
# next_cell = g * prev_cell + (1-g) * tanh(u)
# next_hidden = o * tanh(next_cell)
# ```
#
# The same signature, one more line: what replaced the input gate is $1 - g$.


# %%
def listing_2(f, r, u, o, prev_cell, forget_bias, output=lambda o: o):
    f_ = sigmoid(f + forget_bias)
    r_ = sigmoid(r - forget_bias)
    g = 2 * r_ * f_ + (1 - 2 * r_) * f_**2
    next_cell = g * prev_cell + (1 - g) * np.tanh(u)
    next_hidden = output(o) * np.tanh(next_cell)
    return next_hidden, next_cell


# %% [markdown]
# ## Its initialisation
#
# ```python
# u = np.random.uniform(low=1/hidden_size, high=1-1/hidden_size, hidden_size)
# forget_bias = -np.log(1/u-1)
# ```
#
# The first line is pseudocode: Python does not take a bare argument after a named one. With
# `size=` it runs, and the second line is the inverse sigmoid of Eq. (9).

# %%
printed = "u = np.random.uniform(low=1/hidden_size, high=1-1/hidden_size, hidden_size)"
try:
    ast.parse(printed)
except SyntaxError:
    print("as printed: a syntax error")

# %%
hidden_size = 64
rng = np.random.default_rng(seed)
u = rng.uniform(low=1 / hidden_size, high=1 - 1 / hidden_size, size=hidden_size)
forget_bias = -np.log(1 / u - 1)

np.testing.assert_allclose(sigmoid(forget_bias), u, rtol=1e-12)
print("σ(forget_bias) is u again: the forget gates start uniform")

# %% [markdown]
# ## Against the library
#
# `urgates.LSTMCell` on the same numbers. Its rows are stacked in the order of the gate's heads, not
# of the listings, so we split them by name. This is the listings' `Linear(x, prev_hidden)`:

# %%
torch.manual_seed(seed)
x, h, c = (torch.randn(8, n, dtype=torch.float64) for n in (10, hidden_size, hidden_size))


def linear(cell, x, h):
    rows = x @ cell.weight_ih.T + h @ cell.weight_hh.T + cell.bias_ih + cell.bias_hh
    return dict(zip(cell.gate.heads, np.split(rows.detach().numpy(), 4, -1), strict=True))


plain = urgates.LSTMCell(10, hidden_size, gate="-").double()
refined = urgates.LSTMCell(10, hidden_size, gate="UR").double()
print("rows of '-':", *plain.gate.heads, "  rows of 'UR':", *refined.gate.heads)

# %% [markdown]
# Where do the forget biases live? The plain cell keeps its 1 in `bias_ih`, as in torch, and trains
# it; the listing has a constant and adds it later, so it gets 0 here. The UR cell has a vector of
# its own, trained as §D.5 says, and it starts where the listing starts:

# %%
assert (plain.bias_ih[plain.rows["f"]] == 1).all() and (plain.bias_hh == 0).all()
assert (refined.bias_ih == 0).all() and (refined.bias_hh == 0).all()

b = refined.gate_bias.detach().numpy()
assert abs(sigmoid(b) - 0.5).max() < 0.5 - 1 / hidden_size + 1e-6
print(f"the UR cell's gates start within [1/{hidden_size}, 1 - 1/{hidden_size}]")

# %% [markdown]
# Now each listing against its cell, one step, as printed and with a sigmoid on `o`:

# %%
cases = {
    "Listing 1": (plain, lambda **k: listing_1(**linear(plain, x, h), forget_bias=0.0, **k)),
    "Listing 2": (refined, lambda **k: listing_2(**linear(refined, x, h), forget_bias=b, **k)),
}

for name, (cell, listing) in cases.items():
    ours_h, ours_c = (state.detach().numpy() for state in cell(x, (h, c)))
    for reading, output in (("as printed", lambda o: o), ("with σ(o)", sigmoid)):
        next_hidden, next_cell = listing(prev_cell=c.numpy(), output=output)
        assert np.abs(next_cell - ours_c).max() < 1e-12
        far = np.abs(next_hidden - ours_h).max()
        print(f"{name} {reading:10}: cell state equal, hidden state "
              + ("equal" if far < 1e-12 else f"off by up to {far:.1f}"))  # fmt: skip
        assert (far < 1e-12) == (reading == "with σ(o)")

# %% [markdown]
# **Open point O2.** Both listings multiply by `o` as the linear map returns it; Eqs. (6) and (14)
# say $o_t = \sigma(L_o(x_t, h_{t-1}))$, and so do we. Only with the sigmoid do the listings equal
# the equations, `torch.nn.LSTM` and the library. Effect of the other reading: the output gate may
# change sign and is not bounded, so $|h_t| \le 1$ is lost, and $h$ feeds every later step.

# %% [markdown]
# A picture of it: run Listing 2 for 100 steps on random inputs, both ways, and draw what the cell
# holds against what it shows. A gate lets a share of the content through, between none and all; a
# raw `o` may show the opposite of what is there.


# %%
inputs = 2 * torch.randn(100, 16, 10, dtype=torch.float64)


def run(output):
    hidden, cell = np.zeros((2, 16, hidden_size))
    for x_t in inputs:
        pre = linear(refined, x_t, torch.from_numpy(hidden))
        hidden, cell = listing_2(**pre, prev_cell=cell, forget_bias=b, output=output)
    return pd.DataFrame({"content": np.tanh(cell).ravel(), "shown": hidden.ravel()})


shown = {"with σ(o)": run(sigmoid), "as printed": run(lambda o: o)}
share = {name: (part.shown / part.content) for name, part in shown.items()}
assert share["with σ(o)"].between(0, 1).all()
negative = (share["as printed"] < 0).mean()
print("as printed, about half of the units show the opposite of their content")
assert 0.4 < negative < 0.6

# %% tags=["hide-input"]
fig, axes = figures.subplots(1, 2, size=(9.6, 3.6), sharey=True)
for ax, (name, part) in zip(axes, shown.items(), strict=True):
    ax.fill_between([-1, 0, 1], [-1, 0, 1], color="0.93")
    ax.plot(part.content, part.shown, ".", ms=3, color=figures.STYLE["UR"]["color"])
    ax.set(title=name, xlabel="content tanh(c)", xlim=(-1, 1))
axes[0].set_ylabel("shown h")
axes[0].annotate("between none and all", (0.98, 0.03), ha="right", fontsize="small")
bench.save(fig, "output_gate", data=pd.concat(part.assign(reading=n) for n, part in shown.items()))

# %% [markdown]
# ## The minus in `r - forget_bias`
#
# One character of Listing 2 that the text does not mention. With $+$ the refine gate would start on
# the side of the main gate and spread the effective gates instead of pulling them together:

# %%
for sign in (-1, 1):
    f_, r_ = sigmoid(forget_bias), sigmoid(sign * forget_bias)
    g = 2 * r_ * f_ + (1 - 2 * r_) * f_**2
    print(f"r_ = sigmoid({'+-'[sign < 0]}b): effective gates from {g.min():.3f} to {g.max():.3f}, "
          f"longest memory {decay_period(g.max()):.0f} steps")  # fmt: skip

# %% [markdown]
# The main gates alone reach up to $d = 64$ steps. The minus halves a long memory $D$, the plus
# would make it $D^2/3$. The paper gives no reason; [22](22_uniform_gate_init.ipynb) compares the
# readings.

# %% [markdown]
# **Your turn.**
# - Replace `(1-g)` in `listing_2` by an input gate of its own, `sigmoid(i)`. How many rows does
#   `Linear` need now?
# - Write Listing 3, a UR-GRU, and test it against `urgates.GRUCell(10, 64)`.
# - Give `listing_1` the `forget_bias` of Listing 2 and $-b$ on `i`. Which gate of Table 1 is that?
#
# **Next:** [B2_timescales](B2_timescales.ipynb), what the gates mean in steps of time.
