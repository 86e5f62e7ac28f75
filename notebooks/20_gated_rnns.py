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
# # §2 Gated recurrent networks
#
# [← 00](00_start_here.ipynb) ·
# [home](00_start_here.ipynb) ·
# [21 →](21_ur_lstm.ipynb)
#
# **What does a gate do, how long does it remember, and where does it stop learning?**
#
# Covers: Eqs. 1–8
#
# Cost: seconds, CPU; nothing is trained.

# %% [markdown]
# **In short.** A unit with the forget gate $f$ remembers for about $D = 1/(1-f)$ steps; with its
# input gate tied, it is a low-pass filter that leaves about half of the power of a wave of period
# $2\pi D$. Gate `"-"` is `torch.nn.LSTM`, gradients included. A sigmoid's slope near 1 is $1/D$,
# so that ten times the memory takes ten times as long to learn. No claim is decided here.

# %% tags=["parameters"]
seed: int = 0  # of the random signals and weights below

# %% tags=["nbval-ignore-output"]
import numpy as np
import pandas as pd
import torch

import urgates
from urgates.gates import decay_period, logit, update
from urgates.lab import Bench, figures

bench = Bench("20_gated_rnns")
bench

# %% [markdown]
# ## One line moves every gated network
#
# > This mechanism essentially smooths out the update (§2)
#
# $$
# h_t = f_t \circ h_{t-1} + i_t \circ u_t \qquad (1)
# $$
#
# The forget gate $f$ says how much of the old state stays, the input gate $i$ how much of the
# candidate $u$ enters. Here is the whole mechanism, forgetting a 1 for ten steps:

# %%
state = 1.0
for _ in range(10):
    state = update(f=0.9, i=0.0, state=state, u=0.0)

print(f"after 10 steps at f = 0.9: {state:.4f} = 0.9^10")
assert abs(state - 0.9**10) < 1e-12

# %% [markdown]
# ## Tied, it is a low-pass filter
#
# > When the gates are tied, i.e. $f_t + i_t = 1$ as in GRUs, they behave as a low-pass filter (§2)
#
# A slow wave in noise goes through three units that differ in $f$ alone:

# %%
rng = np.random.default_rng(seed)
signal = np.sin(2 * np.pi * np.arange(600) / 300) + rng.normal(size=600)

rows = []
for f in (0.5, 0.9, 0.99):
    h = 0.0
    for t, u in enumerate(signal):
        h = update(f, 1 - f, h, u)
        rows.append((f, t, h))
filtered = pd.DataFrame(rows, columns=["f", "t", "state"])

# %% [markdown]
# A wave of angular frequency $\omega$ passes with the gain $(1-f) / |1 - f e^{-i\omega}|$. Half of
# its power is gone at a period of about $2\pi D$, where $D = 1/(1-f)$ is the unit's time scale.


# %%
def gain(f, period):
    return (1 - f) / abs(1 - f * np.exp(-2j * np.pi / period))


for f in (0.9, 0.99, 0.999):
    power = gain(f, 2 * np.pi * decay_period(f)) ** 2
    print(f"f = {f}: a wave of period 2πD keeps {power:.3f} of its power")
    assert abs(power - 0.5) < 0.03

# %%
periods = np.geomspace(2, 1e4, 150)
response = pd.concat(
    pd.DataFrame({"f": f, "period": periods, "gain": gain(f, periods)}) for f in (0.5, 0.9, 0.99)
)
SHADE = {0.5: "#9ecae1", 0.9: "#4292c6", 0.99: "#08306b", 0.999: "black"}

# %% tags=["hide-input"]
fig, (left, right) = figures.subplots(1, 2, size=(9.6, 3.2))
left.plot(signal, color="0.85", lw=0.8, label="input")
for f, part in filtered.groupby("f"):
    left.plot(part.t, part.state, color=SHADE[f], lw=0.8 + f, label=f"f = {f}")
left.set(title="a noisy wave, filtered", xlabel="time step", ylabel="state", ylim=(-2.5, 3.2))
left.legend(
    ncols=4, loc="upper right", fontsize="small", columnspacing=1, handlelength=1, frameon=False
)
for f, part in response.groupby("f"):
    right.loglog(part.period, part.gain, color=SHADE[f])
    right.axvline(2 * np.pi * decay_period(f), color=SHADE[f], lw=0.8, ls=":")
right.set(xlabel="period of a wave [steps] (log scale)", ylabel="gain (log scale)")
right.set_title("what is left of a wave")
right.annotate("dotted: 2πD", (0.97, 0.06), xycoords="axes fraction", ha="right", color="0.3")
bench.save(fig, "low_pass", data=pd.concat([filtered, response]))

# %% [markdown]
# ## How long is memory?
#
# > the contribution of an input $x_t$ in $k$ time steps will decay by $(f_t)^k$ (§2.2)
#
# The paper calls $D = 1/(1-f)$ the decay period: the steps it takes to fall to $1/e$. That is
# exact in the limit of long memory, and a quarter is left instead of $1/e = 0.368$ at $D = 2$:

# %%
for D in (2, 4, 10, 100, 1000):
    f = 1 - 1 / D
    assert round(decay_period(f)) == D
    print(f"D = {D:4}: f = {f:5.3f}, left after D steps: {f**D:.3f}")

# %% [markdown]
# An LSTM whose weights are zero does the same to its cell state, and nothing else:

# %%
lstm = urgates.LSTM(1, 1, gate="-", forget_bias=logit(0.99)).double()
torch.nn.init.zeros_(lstm.weight_ih_l0)
torch.nn.init.zeros_(lstm.weight_hh_l0)

x, h0, c0 = (torch.full((T, 1, 1), v, dtype=torch.double) for T, v in ((100, 0), (1, 0), (1, 1)))
_, (h, c) = lstm(x, (h0, c0))
print(f"cell state after 100 steps at f = 0.99: {c.item():.4f}, and 0.99^100 = {0.99**100:.4f}")
assert abs(c.item() - 0.99**100) < 1e-6

# %%
k = np.geomspace(1, 5000, 120)
decay = pd.concat(pd.DataFrame({"f": f, "k": k, "left": f**k}) for f in SHADE)

# %% tags=["hide-input"]
fig, ax = figures.subplots(size=(5.6, 3.2))
for f, part in decay.groupby("f"):
    D = decay_period(f)
    ax.plot(part.k, part.left, color=SHADE[f])
    ax.plot(D, f**D, "o", color=SHADE[f], ms=5)
    ax.annotate(f"f = {f}\nD = {D:.0f}", (1.15 * D, 0.4))
ax.axhline(1 / np.e, color="0.4", lw=1, ls="--", zorder=0)
ax.annotate("1/e", (7e3, 0.31), color="0.4", ha="right")
ax.set(xscale="log", xlabel="k [steps] (log scale)", ylabel="share left after k steps")
bench.save(fig, "decay", data=decay)

# %% [markdown]
# ## The LSTM
#
# $$
# \begin{aligned}
# f_t &= \sigma(L_f(x_t, h_{t-1})) & (2) \\
# i_t &= \sigma(L_i(x_t, h_{t-1})) & (3) \\
# u_t &= \tanh(L_u(x_t, h_{t-1})) & (4) \\
# c_t &= f_t \circ c_{t-1} + i_t \circ u_t & (5) \\
# o_t &= \sigma(L_o(x_t, h_{t-1})) & (6) \\
# h_t &= o_t \tanh(c_t) & (7)
# \end{aligned}
# $$
#
# Each $L$ is a linear map of input and state with a bias, here for $f$:
#
# $$
# L_f(x_t, h_{t-1}) = W_{fx} x_t + W_{fh} h_{t-1} + b_f \qquad (8)
# $$


# %%
def lstm_step(x, h, c, W_x, W_h, b):
    """Eqs. (2)-(8); rows of the weights: i, f, u, o."""
    i, f, u, o = (x @ W_x.T + h @ W_h.T + b).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(u)
    return torch.sigmoid(o) * torch.tanh(c), c


# %% [markdown]
# ## Three LSTMs, one function
#
# Gate `"-"` is the plain gate of Table 1. With the same weights, `torch.nn.LSTM`, our
# `urgates.LSTM` and the loop above must agree in `float64`, gradients included. torch names its
# row blocks i, f, g, o; its g is the paper's $u$. We never call the candidate g: that letter is the
# effective gate, throughout. (In [F4a](F4a_saturation.ipynb) and [F4b](F4b_learnability.ipynb)
# $u$ is $1-f$.)

# %%
torch.manual_seed(seed)
theirs = torch.nn.LSTM(3, 5).double()
ours = urgates.LSTM(3, 5, gate="-").double()
ours.load_state_dict(theirs.state_dict())

x = torch.randn(40, 2, 3, dtype=torch.float64)
h = c = torch.zeros(2, 5, dtype=torch.float64)
W_x, W_h, b_x, b_h = theirs.parameters()
for x_t in x:
    h, c = lstm_step(x_t, h, c, W_x, W_h, b_x + b_h)

# %%
results = [model(x)[0] for model in (theirs, ours)]
torch.testing.assert_close(results[1], results[0], rtol=1e-10, atol=1e-14)
torch.testing.assert_close(h, results[0][-1], rtol=1e-10, atol=1e-14)
print("outputs agree over", len(x), "steps")


# %%
def gradients(model):
    return torch.autograd.grad(model(x)[0].square().sum(), list(model.parameters()))


for name, a, b in zip(ours.state_dict(), gradients(ours), gradients(theirs), strict=True):
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    print(f"gradients agree: {name} {tuple(a.shape)}")

# %% [markdown]
# ## Where saturation hurts
#
# > large forget gate activations close to $f_t = 1$ are necessary for recurrent models to address
# > long-term dependencies (§2)
#
# A gate $f = \sigma(z)$ learns through its slope, which its own value fixes:
#
# $$
# \frac{\partial f}{\partial z} = f (1 - f) \approx \frac{1}{D}
# $$
#
# Let the loss ask for more memory at a constant rate, $\partial L / \partial f = -1$. Gradient
# descent moves $\dot z = f(1-f)$ and needs the time $2 z + 2 \sinh z \approx D$ from $z = 0$.


# %%
def time_to_reach(D):
    z = logit(1 - 1 / D)
    return 2 * z + 2 * np.sinh(z)


z, rate = 0.0, 0.1
for _ in range(int(time_to_reach(1000) / rate)):
    f = 1 / (1 + np.exp(-z))
    z += rate * f * (1 - f)
print(f"time {time_to_reach(1000):.0f}: descent reached D = {1 + np.exp(z):.0f}, formula 1000")
assert abs((1 + np.exp(z)) / 1000 - 1) < 0.01

# %%
D = np.geomspace(2.05, 1e4, 100)
f = 1 - 1 / D
climb = pd.DataFrame({"D": D, "slope": f * (1 - f), "time": [time_to_reach(d) for d in D]})
sigmoid = pd.DataFrame({"z": np.linspace(-8, 8, 161)})
sigmoid["f"] = 1 / (1 + np.exp(-sigmoid.z))

# %% tags=["hide-input"]
fig, (gate, slope, time) = figures.subplots(1, 3, size=(9.6, 3.2))
gate.plot(sigmoid.z, sigmoid.f, color="black", label="gate f = σ(z)")
gate.plot(sigmoid.z, sigmoid.f * (1 - sigmoid.f), color="#d55e00", ls="--", label="slope f(1 − f)")
gate.axvspan(logit(0.99), 8, color="0.92", lw=0)
gate.annotate("slope\n< 1 %", (6.3, 0.4), ha="center", fontsize="small")
for D in (10, 100, 1000):
    gate.plot(logit(1 - 1 / D), 1 - 1 / D, "ko", ms=4)
    gate.annotate(f"{D}", (logit(1 - 1 / D), 1.05), fontsize="small", ha="center")
gate.annotate("D =", (0.9, 1.05), fontsize="small", ha="right")
gate.set(title="a gate and its slope", xlabel="pre-activation z", xlim=(-8, 8), ylim=(0, 1.15))
gate.legend(loc="center left", frameon=False, fontsize="small", handlelength=1.5)
slope.loglog(climb.D, climb.slope, color="#d55e00", ls="--")
slope.set(title="what is left of the slope", ylabel="slope at D (log scale)")
time.loglog(climb.D, climb.time, color="black")
time.set(title="how long the climb takes", ylabel="time from f = 1/2 to D (log scale)")
for ax in (slope, time):
    ax.set_xlabel("decay period D [steps] (log scale)")
bench.save(fig, "saturation", data=pd.concat([climb, sigmoid]))

# %% [markdown]
# The flat end of the sigmoid is exactly where long memory lives: ten times the memory takes ten
# times as long to learn, and as long to unlearn. Two things would help. Start some units there
# already ([22](22_uniform_gate_init.ipynb)), and let the gate move more per unit of
# pre-activation ([23](23_refine_gate.ipynb)).

# %% [markdown]
# **Your turn.**
# - Untie the filter: `update(f, 1.0, h, u)` integrates. What happens to the gain at long periods?
# - Give `lstm_step` a forget gate tied to its input gate, $i = 1 - f$. How large can $|c|$ get now?
# - Start the climb at `z = 6` and ask for less memory instead. How long is the way back?
#
# **Next:** [21_ur_lstm](21_ur_lstm.ipynb), the paper's model on one page.
