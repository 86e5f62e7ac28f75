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
# # App. B.4 The ON-LSTM
#
# [← B3](B3_chrono.ipynb) ·
# [home](00_start_here.ipynb) ·
# [C →](C_gradient_bands.ipynb)
#
# **What do ordered and master gates do at the start, and when is a master gate a refine gate?**
#
# [Decided here](40_scoreboard.ipynb): **confirmed** G18, G19, G20; **contradicted** G17.
#
# Covers: Eqs. 19–27; Props. 3–4
#
# | preset | what it computes | time |
# |---|---|---|
# | any | identities, samples, a few steps of small layers; nothing is trained | 10 seconds, CPU |

# %% [markdown]
# **In short.** *Contradicted*: the effective forget gates do not start with a mean of 5/6; that is
# the sum of forget and input gate, as Prop. 3's proof shows (G17). *Confirmed*: cumax gates have
# means $j/n$ (G18); tied and rescaled, master gates are a refine gate, on the input side too (G19,
# G20). The last neurons of an ordered gate never learn.

# %% tags=["parameters"]
seed: int = 0  # of random logits, weights and inputs

# %% tags=["nbval-ignore-output"]
import numpy as np
import pandas as pd
import sympy
import torch

import urgates
from urgates import theory
from urgates.gates import GATES, cumax, master, refine
from urgates.lab import Bench, figures

torch.manual_seed(seed)
bench = Bench("B4_on_lstm")

# %% [markdown]
# ## Ordered gates
#
# > The master gates are a cumax-activation gate (§B.4)
#
# $$
# \tilde f_t = \mathrm{cumax}(L_{\tilde f}(x_t, h_{t-1})) \qquad (19)
# $$
#
# $$
# \tilde i_t = 1 - \mathrm{cumax}(L_{\tilde i}(x_t, h_{t-1})) \qquad (20)
# $$
#
# cumax is a cumulative sum of a softmax: softmax shares one unit of mass among the neurons, and a
# neuron's gate is the mass up to and including itself. So the gates rise from neuron to neuron.

# %%
z = torch.randn(3, 6, dtype=torch.float64)
print(cumax(z).numpy().round(2))

assert torch.allclose(cumax(z), torch.softmax(z, -1).cumsum(-1))
assert (cumax(z).diff() >= 0).all() and torch.allclose(cumax(z)[:, -1], torch.ones(()).double())

# %% [markdown]
# ## Their mean at the start
#
# > Looking at individual units in the ordered master gates, we have $E \tilde f^{(j)} = \frac jn$,
# > $E \tilde i^{(j)} = 1 - \frac jn$. (§B.4)
#
# Before training no neuron is favoured, so each softmax weight has the mean $1/n$, and $j$ of them
# sum to $j/n$.
#
# **Predicted (G18):** exactly so for logits 0; for Gaussian logits every unit's mean lies within 3
# standard errors of $j/n$.

# %%
n, draws = 64, 4096
diagonal = torch.arange(1, n + 1, dtype=torch.float64) / n
gates = cumax(torch.randn(draws, n, dtype=torch.float64))

errors = (gates.mean(0) - diagonal)[:-1] / (
    gates.std(0)[:-1] / draws**0.5
)  # the last has no spread
exact = torch.allclose(cumax(torch.zeros(n, dtype=torch.float64)), diagonal)
worst = errors.abs().max().item()
bench.claim("G18", holds=exact and worst < 3, ours=f"largest of 63 errors {worst:.1f} SE")

# %% tags=["hide-input"]
fig, ax = figures.subplots(size=(5.4, 3.6))
color = figures.STYLE["O"]["color"]
for row in gates[:40]:
    ax.plot(range(1, n + 1), row, color=color, lw=0.5, alpha=0.4)
ax.plot(range(1, n + 1), gates.mean(0), color=color, lw=3, label="mean of 4,096 draws")
ax.plot([0, n], [0, 1], color="0.1", lw=1, ls=":", label="j/n")
ax.set(xlabel="neuron j of 64", ylabel="cumax gate, Gaussian logits", xlim=(0, n), ylim=(0, 1))
ax.legend(frameon=False)
table = pd.DataFrame(gates[:40].T.numpy()).add_prefix("draw ").assign(mean=gates.mean(0).numpy())
bench.save(fig, "cumax_means", data=table, paper="§B.4")

# %% [markdown]
# ## A sum that is not quite 1
#
# **Deviation D21.** The paper defines cumax as cumsum∘softmax. In float32 the running sum of 512
# shares is off by its rounding, in some rows *above* 1, and then $1 - \mathrm{cumax}$ is negative.
# We clamp it to $[0, 1]$ and sum the complement from the other end, so that small input gates keep
# their digits. Effect: some $10^{-7}$ on the forget gate; the right sign for the input gate.

# %% tags=["nbval-ignore-output"]
z = torch.randn(4096, 512)
raw = torch.softmax(z, -1).cumsum(-1)
above = (raw > 1).any(-1).float().mean()

print(f"rows above 1: {above:.0%}, by at most {raw.max() - 1:.1e}")
assert above > 0.05 and cumax(z).max() <= 1 and cumax(z).min() >= 0

# %% [markdown]
# ## The last neuron never learns
#
# The last gate is the whole mass: $f = 1$, and $i = 1 - 1 = 0$, whatever the input and the weights.
# A cell state that starts at 0 stays there. In an ON-LSTM a master unit serves a chunk of $C$
# neurons, and the whole last chunk is dead: at the paper's $H = 256$, $C = 16$ that is 1 neuron in
# 16. Under a refine gate (OR) the same happens, since $g = 1$ where $f = 1$.


# %%
def cell_states(gate: str, downsize: int = 1, steps: int = 60) -> torch.Tensor:
    cell = urgates.LSTMCell(4, 32, gate=gate, downsize=downsize).requires_grad_(False)
    state, states = (torch.zeros(1, 32), torch.zeros(1, 32)), []
    for x in 2 * torch.randn(steps, 1, 4):
        state = cell(x, state)
        states.append(state[1][0])
    return torch.stack(states).T  # [H, steps]


alive = {"O": cell_states("O"), "OM": cell_states("OM", downsize=4), "OR": cell_states("OR")}
for name, c in alive.items():
    print(f"{name:2}  neurons that stay at 0: {(c == 0).all(1).sum()} of 32")
assert [(c == 0).all(1).sum() for c in alive.values()] == [1, 4, 1]

# %%
relative = {name: c / c.abs().amax(1, keepdim=True) for name, c in alive.items()}  # dead: nan
tidy = pd.concat([pd.DataFrame(c.numpy()).assign(gate=name) for name, c in alive.items()])

# %% tags=["hide-input"]
fig, axes = figures.subplots(1, 3, size=(9.6, 3.4), sharey=True)
for ax, (name, c) in zip(axes, relative.items(), strict=True):
    image = ax.imshow(c, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto", interpolation="none")
    ax.set(title=name, xlabel="step", facecolor="0.15")
    ax.grid(False)
axes[0].set_ylabel("neuron, in order")
fig.colorbar(image, ax=axes, label="cell state over its own maximum")
bench.save(fig, "dead_last_neurons", data=tidy, paper="§B.4")

# %% [markdown]
# Black rows at the bottom are dead. The picture shows the purpose, too: the further down a neuron,
# the longer it keeps its colour. Order is time.

# %% [markdown]
# ## Master gates over plain gates
#
# $$
# \omega_t = \tilde f_t \circ \tilde i_t \qquad (21)
# $$
#
# $$
# \hat f_t = f_t \circ \omega_t + (\tilde f_t - \omega_t) \qquad (22)
# $$
#
# $$
# \hat i_t = i_t \circ \omega_t + (\tilde i_t - \omega_t) \qquad (23)
# $$
#
# Where the masters overlap ($\omega$), the plain gates decide; elsewhere the masters do. The whole
# mechanism is one line, used for both kinds:

# %%
f, i, f_master, i_master = sympy.symbols("f i f_master i_master")
omega = f_master * i_master
f_hat, i_hat = master(f_master, i_master, f), master(i_master, f_master, i)

assert sympy.expand(f_hat - (f * omega + (f_master - omega))) == 0  # Eq. 22
total = f_master + i_master + (f + i - 2) * omega  # the sum of Eqs. 22 and 23
assert sympy.expand(f_hat + i_hat - total) == 0
print("f_hat =", sympy.collect(sympy.expand(f_hat), omega))

# %% [markdown]
# ## Proposition 3: how large they start
#
# > At initialization, the expected value of the average effective forget gate activation
# > $\hat f_t$ is 5/6. (Prop. 3)
#
# The proof computes something else: with $E[f+i] = 1$ the sum of *both* effective gates of neuron
# $j$ is $1 - \frac jn(1 - \frac jn)$, and averages over $j$ to
#
# $$
# E_j E[\hat f^{(j)} + \hat i^{(j)}] \approx 1 - \int_0^1 (x - x^2) dx = \frac 56
# $$
#
# **Predicted (G17), as worded:** the mean of $\hat f$ is 5/6. By the proof, it must be about half.

# %%
n = 256
heads = ("f", "i", "f_master", "i_master")
zeros = dict.fromkeys(heads, torch.zeros(n, dtype=torch.float64))
f_hat, i_hat = GATES["OM"].coefficients(zeros)

mean_f, mean_sum = f_hat.mean().item(), (f_hat + i_hat).mean().item()
assert abs(mean_sum - (5 / 6 + 1 / (6 * n**2))) < 1e-12
assert np.allclose((mean_f, mean_sum), theory.on_lstm_start(n)[::2])
holds = abs(mean_f - 5 / 6) < 0.01
bench.claim("G17", holds=holds, ours=f"mean f_hat {mean_f:.3f}; of f_hat + i_hat {mean_sum:.3f}")

# %% [markdown]
# **Deviation D22.** Prop. 3 says 5/6 of $\hat f$; we read it of $\hat f + \hat i$, which is what
# its proof shows and what the argument needs. Exactly: $5/6 + 1/(6n^2)$ for $n$ master units, of
# which $\hat f$ has $5/12 + 1/(2n) + 1/(12n^2)$. Effect: none on the method; a forget gate of mean
# 5/6 would be a long memory, and 5/12 is a short one.
#
# A real layer with random weights agrees, chunks of $C = 16$ included ($n = 16$):

# %%
x = torch.randn(1, 256, 10)
layers = [urgates.LSTM(10, 256, gate="OM", downsize=16) for _ in range(8)]
gates = [rnn.gates(x) for rnn in layers]
measured = [torch.stack([g[key].mean() for g in gates]).mean().item() for key in ("g", "i")]

expected = theory.on_lstm_start(16)
print("expected: f_hat {:.2f}, i_hat {:.2f}, sum {:.2f}".format(*expected))
assert np.allclose(measured, expected[:2], atol=0.02)

# %% [markdown]
# ## Proposition 4: rescaled and tied, a master gate refines
#
# Tie the masters and the plain gates, $i = 1 - f$, and double what happens in the overlap:
#
# $$
# \tilde i_t = 1 - \tilde f_t \qquad (24)
# $$
#
# $$
# \omega_t = \tilde f_t \circ \tilde i_t \qquad (25)
# $$
#
# $$
# \hat f_t = 2 \cdot f_t \circ \omega_t + (\tilde f_t - \omega_t) \qquad (26)
# $$
#
# $$
# \hat i_t = 2 \cdot i_t \circ \omega_t + (\tilde i_t - \omega_t) \qquad (27)
# $$
#
# > The resulting gate mechanism is exactly equivalent to that of the refine gate. (Prop. 4)

# %%
rescaled = master(f_master, 1 - f_master, f, scale=2)  # Eqs. 24-26

assert sympy.expand(rescaled - refine(f_master, f)) == 0
print("f_hat =", sympy.expand(refine(f_master, f)))

# %% [markdown]
# The master gate plays the forget gate's part, and the forget gate the refine gate's.
#
# > the effective input gate $\hat i_t$ (27) is also defined through a refine gate mechanism, where
# > $\tilde i_t = 1 - \tilde f_t$ is refined by $i_t$ (§B.4)
#
# **Predicted (G19, G20):** both identities hold on a grid of gates to $10^{-12}$, and the two
# effective gates sum to 1 when $f + i = 1$.

# %%
m, a = np.meshgrid(np.linspace(0, 1, 201), np.linspace(0, 1, 201))
forget = master(m, 1 - m, a, scale=2)
off = np.abs(forget - refine(m, a)).max()
said = "equal on 40,401 pairs" if off < 1e-12 else f"off by {off:.0e}"
bench.claim("G19", holds=bool(off < 1e-12), ours=said)

inputs = master(1 - m, m, 1 - a, scale=2)
off = max(np.abs(inputs - refine(1 - m, 1 - a)).max(), np.abs(forget + inputs - 1).max())
said = "equal on 40,401 pairs; f_hat + i_hat = 1" if off < 1e-12 else f"off by {off:.0e}"
bench.claim("G20", holds=bool(off < 1e-12), ours=said)

# %% [markdown]
# ## What the missing sixth costs
#
# Feed a unit the constant $u = 1$ until it settles: $c = \hat i / (1 - \hat f)$. Tied gates settle
# at 1, whatever the time scale. Untied masters settle below, and the slower the unit, the lower:
# with $x = j/n$ at
#
# $$
# c_\infty = \frac{1 - x/2}{1 + x/2}
# $$
#
# The neurons meant for long memories write at a third of the amplitude. This is the magnitude
# argument of §3.1 for why OM struggles on Copy.

# %%
x = diagonal.numpy()
start = pd.DataFrame({"x": x, "f_master": x, "i_master": 1 - x, "overlap": x * (1 - x)})
start["f_hat"], start["i_hat"] = master(x, 1 - x, 0.5), master(1 - x, x, 0.5)
start["sum"] = start.f_hat + start.i_hat
start["gain"] = start.i_hat / (1 - start.f_hat)

inner = start[start.x < 1]
assert np.allclose(inner.gain, (1 - inner.x / 2) / (1 + inner.x / 2))
assert np.allclose(refine(x, 0.5) + refine(1 - x, 0.5), 1)

# %% tags=["hide-input"]
fig, (left, right) = figures.subplots(1, 2, size=(9.6, 3.6))
OM, OR = figures.STYLE["OM"]["color"], figures.STYLE["U"]["color"]
for master_gate in (start.f_master, start.i_master):
    left.plot(x, master_gate, color="0.5", lw=1, ls=":")
for label, at, look in (("f_hat", 0.82, "-"), ("i_hat", 0.18, "--")):
    left.plot(x, start[label], color=OM, lw=2, ls=look)
    left.annotate(rf"$\hat {label[0]}$", (at, 0.66), color=OM, ha="right" if at > 0.5 else "left")
left.plot(x, start["sum"], color="0.1", lw=2)
left.fill_between(x, start["sum"], 1, color=OR, alpha=0.35, lw=0)
left.annotate("1/6 is missing", (0.5, 0.87), ha="center")
left.annotate(r"$\hat f + \hat i$", (0.5, 0.68), ha="center")
left.annotate("masters", (0.5, 0.53), color="0.4", ha="center")
left.set(xlabel="neuron, j/n", ylabel="gate at the start", xlim=(0, 1), ylim=(0, 1.02))
right.plot(inner.x, inner.gain, color=OM, lw=2, label="OM: master gates")
right.axhline(1, color=OR, lw=2, label="rescaled and tied: a refine gate")
right.set(xlabel="neuron, j/n", ylabel="settles at, for input 1", xlim=(0, 1), ylim=(0, 1.1))
right.legend(frameon=False, loc="lower left")
bench.save(fig, "prop3_magnitudes", data=start, paper="Prop. 3")

# %% [markdown]
# **Your turn.** Keep the masters untied but double their overlap, and the sum is right at the start
# although nothing is tied. A new gate is a class with its own `combine`; does it leave Copy's
# baseline where OM stays ([31](31_synthetic_memory.ipynb))?
#
# ```python
# class Doubled(urgates.Gate):
#     name = "2OM"
#     def combine(self, a, c):
#         return (master(a["f_master"], a["i_master"], a["f"], scale=2),
#                 master(a["i_master"], a["f_master"], a["i"], scale=2))
#
# lstm = urgates.LSTM(10, 64, gate=Doubled("cumax", auxiliary="master"))
# ```
#
# **Next:** [C_gradient_bands](C_gradient_bands.ipynb), why refining helps learning.
# **Back:** [B3_chrono](B3_chrono.ipynb), [25_related_gates](25_related_gates.ipynb).
