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
# # §F.4 Learnability
#
# [← F4a](F4a_saturation.ipynb) ·
# [home](00_start_here.ipynb) ·
# [F5 →](F5_fast_gate.ipynb)
#
# **Why does a gate that goes flat sooner learn long time scales faster?**
#
# [Decided here](40_scoreboard.ipynb): **confirmed** F01, F02, F03, F12, F09, F10, F11, F20, F13,
# F15, F14.
#
# This page covers §4.1 of the second paper (Ohno, Kanai and Ida, AAAI 2023), Eqs. 11–15, and draws
# the consequences. The gates and their order of saturation are in [F4a](F4a_saturation.ipynb).
#
# | preset | what it computes | time |
# |---|---|---|
# | any | one gate, one number to learn: formulas, integrals, plain descent | 20 seconds, CPU |

# %% [markdown]
# **In short.** *Confirmed*: the higher its order of saturation, the sooner a gate learns values
# near 1 (F12). With time $1-f$ falls as $\tau^{-1/3}$ (softsign), $1/\tau$ (sigmoid, with a refine
# gate twice as fast) and $1/(\tau\ln^2\tau)$ (fast; F09–F11, F20). From $f = 1/2$ no gate learns a
# long horizon $k$ (F15); from $1 - 1/k$ the fast gate is the sooner the longer it is (F14). A
# target below 1 is reached after a finite time (F13).

# %% tags=["parameters"]
seed: int = 0  # of the cell's random content

# %% tags=["nbval-ignore-output"]
import numpy as np
import pandas as pd
import sympy
import torch

import urgates
from urgates.lab import Bench
from urgates.lab.book import theory_figures
from urgates.theory import saturation
from urgates.theory.learnability import Problem
from urgates.theory.saturation import fast, refined, sigmoid, smoothstep, softsign

bench = Bench("F4b_learnability")
three, refine = (softsign, sigmoid, fast), refined()  # see F4a
four = (*three, refine)

# %% [markdown]
# Quotes are the paper's; orders, rates and times of learning are **our derivation** from its
# setting, as open point O20 in [F4a](F4a_saturation.ipynb) says. Written in the *complement* $u =
# 1-f$, which keeps the digits that floating point would lose near $f = 1$.

# %% [markdown]
# ## What a cell keeps
#
# > Recall Eq. (8), which describes the time scales of the memory cell $c_t$ of an LSTM via
# > exponential decay. Let the memory cell at time $t_1$ be $c_{t_1} = \lambda c_{t_0}$ with
# > $\lambda \in [0,1]$. (§4.1)
#
# **Predicted (F01):** an LSTM whose input gate is shut and whose forget gate has a constant
# pre-activation $z$ holds $f^k c_{t_0}$ after $k$ steps, to $10^{-6}$.

# %%
z, hidden = torch.linspace(-2, 6, 16), 16
cell = urgates.LSTMCell(1, hidden, gate="-").double()
with torch.no_grad():
    for parameter in cell.parameters():
        parameter.zero_()
    cell.bias_ih[:hidden], cell.bias_ih[hidden : 2 * hidden] = -800.0, z  # input, forget

torch.manual_seed(seed)
c0 = torch.randn(1, hidden, dtype=torch.float64)
state, off = (torch.zeros_like(c0), c0), 0.0
for k in range(1, 101):
    state = cell(torch.zeros(1, 1, dtype=torch.float64), state)
    off = max(off, (state[1] - torch.sigmoid(z.double()) ** k * c0).abs().max().item())
assert off < 1e-12
bench.claim("F01", holds=off < 1e-6, ours="100 steps of an LSTM cell, off by less than 1e-12")

# %% [markdown]
# ## The minimal problem
#
# > We consider this as the minimal problem to analyze the learnability of the forget gate for long
# > time scales. (§4.1)
#
# Learn the one number $z$, so that the share $\lambda_*$ is left after $k = t_1 - t_0$ steps:
#
# $$
# L(z) = c_{t_0}\,\lvert \varphi(z)^k - \lambda_* \rvert
# $$
#
# (Eq. 14, there with $\sigma$.) It is least, 0, at what the paper calls the global solution:
#
# $$
# z = \varphi^{-1}(\lambda_*^{1/k})
# $$

# %% [markdown]
# **Predicted (F02):** the best point of a fine grid is this one, for three gates and three
# horizons.

# %%
worst = 0.0
for gate in three:
    for k in (1, 10, 100):
        problem = Problem(k, target=0.9)
        best = float(gate.inverse(problem.optimum))
        grid = np.linspace(best - 2, best + 2, 400_002)
        loss = np.abs((1 - gate.complement(grid)) ** k - 0.9)
        worst = max(worst, abs(grid[loss.argmin()] - best))
        assert np.allclose(loss, problem.loss(gate.complement(grid)), atol=1e-12)
bench.claim("F02", holds=worst <= 1e-5, ours=f"grid and formula within {worst:.0e}, 9 cases")

# %%
k, z = 100, np.linspace(-1, 16, 600)
losses = pd.DataFrame({"z": z})
for gate in three:
    losses[gate.name] = Problem(k, 0.9).loss(gate.complement(z))
best = {gate.name: float(gate.inverse(Problem(k, 0.9).optimum)) for gate in three}
label = "loss L(z), k = 100, λ* = 0.9"
bench.save(theory_figures.losses(losses, best, label), "loss", data=losses, paper="Eq. 14")

# %% [markdown]
# Two things make it hard: left of the slope a *plateau*, where $f^k$ is 0 for any $f$ not near 1;
# and the *saturation* of $\varphi$ beyond it. The second is what a gate's shape can change.

# %% [markdown]
# ## From descent to flow
#
# > Learning dynamics with gradient methods can be analyzed considering learning rate → 0 limit
# > known as gradient flow (§4.1)
#
# $$
# \frac{dz}{d\tau} = -\frac{\partial L}{\partial z}
# $$
#
# (Eq. 15.) **Predicted (F03):** halve the learning rate, and the largest gap between descent and
# flow halves, too.

# %%
problem, end, gaps = Problem(k=10, target=1.0), 4, {}
for gate in three:
    for rate in (0.04, 0.02, 0.01, 0.005):
        descent = problem.descend(gate, rate, round(end / rate), start=0.1)
        flow = problem.flow(gate, rate * np.arange(len(descent)), start=0.1)
        gaps[gate.name, rate] = np.abs(descent - flow).max()
gaps = pd.Series(gaps).unstack()
print(gaps.map("{:.2e}".format).to_string())
ratios = gaps[0.01] / gaps[0.005]
halves = bool((np.abs(ratios - 2) < 0.1).all())
bench.claim("F03", holds=halves, ours=f"gap falls by {ratios.min():.2f} to {ratios.max():.2f}")

# %% [markdown]
# ## The flow of the gate's value (our derivation)
#
# By the chain rule $f$ moves with the *square* of the gradient: once to move $z$, once to move $f$.
# With $s(u)$ for the slope $\varphi'$ at activation $1-u$, and $K = c_{t_0}k$, below the target:
#
# $$
# \frac{du}{d\tau} = -K\,(1-u)^{k-1}\,s(u)^2
# $$
#
# So training time is an integral, and only $s(u)$ tells gates apart: what counts is the gradient
# *at equal activation*, not at equal $z$.

# %%
u0, u1 = 0.3, 1e-4
grid = np.geomspace(u0, u1, 200_001)
for gate in three:
    pace = 1 / (10 * (1 - grid) ** 9 * gate.slope(grid) ** 2)
    by_hand = ((pace[1:] + pace[:-1]) / 2 * -np.diff(grid)).sum()
    solver = float(Problem(k=10).time(gate, u1, start=u0))
    print(f"{gate.name:9} from f = 0.7 to 0.9999: time {solver:.4g}")
    assert abs(by_hand / solver - 1) < 1e-6

# %% [markdown]
# ## The rates for λ* = 1 (our derivation)
#
# Near $f = 1$ the factor $f^{k-1}$ is 1 and $K\tau = \int du/s(u)^2$:
#
# | gate | $s(u)$ | $1-f$ after time $\tau$ |
# |---|---|---|
# | softsign | $u^2$ | $(3K\tau)^{-1/3}$ |
# | sigmoid | $u$ | $1/(K\tau)$ |
# | refine | $\sqrt2\,u$ | $1/(2K\tau)$ |
# | refine, $r = f$ | $2u$ | $1/(4K\tau)$ |
# | fast | $u\ln\frac1u$ | $1/(K\tau\ln^2 K\tau)$ |
#
# The fast gate's *exponent* is the sigmoid's, $-1$; the gain is the squared logarithm.

# %% [markdown]
# For two gates the integral is elementary, from $f_0 = \frac12$ with $K = k = 1$:
#
# $$
# \tau_{ns} = \frac{u^{-3}-8}{3}
# \qquad
# \tau_\sigma = \frac1u - \frac1{1-u} + 2\ln\frac{1-u}u
# $$

# %%
v = sympy.Symbol("v", positive=True)
for gate, square in ((softsign, v**4), (sigmoid, v**2 * (1 - v) ** 2)):
    integral = sympy.integrate(sympy.apart(1 / square), (v, sympy.Rational(1, 10), sympy.S.Half))
    assert abs(gate.time(0.1) - float(integral)) < 1e-9
    deep = np.array([1e-3, 1e-7, 1e-12])
    assert np.allclose(Problem().time(gate, deep), gate.time(deep), rtol=1e-12)
print("the solver agrees with the closed forms to 1e-12, down to 1 - f = 1e-12")

# %% [markdown]
# **Predicted (F12):** at every level the fast gate is first and softsign last, and the times are
# those below, computed independently, within 1 %.

# %%
levels = [1e-1, 1e-2, 1e-3, 1e-4, 1e-6]
expected = pd.DataFrame(
    {
        "softsign": [330.7, 3.333e5, 3.333e8, 3.333e11, 3.333e17],
        "sigmoid": [13.28, 108.2, 1013, 1.002e4, 1.000e6],
        "fast": [5.858, 12.50, 36.42, 162.2, 6209],
    },
    index=pd.Index(levels, name="1 - f"),
)
times = pd.DataFrame({g.name: Problem().time(g, levels) for g in four}, index=expected.index)
print(times.map("{:.4g}".format).to_string())
close = bool(np.abs(times[expected.columns] / expected - 1).to_numpy().max() < 0.01)
u = np.geomspace(0.49, 1e-12, 300)
slow, middle, quick = (Problem().time(gate, u) for gate in three)
ordered = bool((slow > middle).all() and (middle > quick).all())
bench.claim("F12", holds=close and ordered,
            ours="time to 1 − f = 0.001 (k = 1): softsign 3e8, sigmoid 1013, fast 36")  # fmt: skip

# %% [markdown]
# **Predicted:** F09 $K\tau u \to 1$ for the sigmoid, within 2 % at $ku = 10^{-3}$, for three $K$.
# F10 $3K\tau u^3 \to 1$ for softsign, likewise. F11 $\tau u \ln^2\frac1u \to 1$ *from above* for
# the fast gate: 1.738, 1.245, 1.151, 1.111 at $u = 10^{-3}, 10^{-5}, 10^{-7}, 10^{-9}$. (There
# $\ln\frac1u$ stands for $\ln\tau$; their ratio tends to 1.)

# %%
constant = {}
for k, content in ((1, 1.0), (1, 0.2), (20, 1.0)):
    p, u, start = Problem(k, 1.0, content), 1e-3 / k, 0.5 / k
    constant[f"K = {p.gain:g}"] = [
        p.gain * float(p.time(sigmoid, u, start)) * u,
        3 * p.gain * float(p.time(softsign, u, start)) * u**3,
    ]
constant = pd.DataFrame(constant, index=["sigmoid", "softsign"])
print(constant.round(4).to_string())

# %%
near = [constant.loc[name].sub(1).abs().max() < 0.02 for name in ("sigmoid", "softsign")]
(low, high), (least, most) = constant.agg(["min", "max"], axis=1).to_numpy()
bench.claim("F09", holds=near[0], ours=f"Kτ(1 − f) from {low:.3f} to {high:.3f}")
bench.claim("F10", holds=near[1], ours=f"3Kτ(1 − f)³ from {least:.4f} to {most:.4f}")

u = np.array([1e-3, 1e-5, 1e-7, 1e-9, 1e-30, 1e-90])
product = u * Problem().time(fast, u) * np.log(1 / u) ** 2
falling = bool((np.diff(product) < 0).all() and product[-1] > 1)
known = np.allclose(product[:4], [1.738, 1.245, 1.151, 1.111], atol=1e-3)
bench.claim("F11", holds=falling and known, ours=", ".join(f"{p:.3f}" for p in product[:4])
            + f" … {product[-1]:.3f} at 1e-90")  # fmt: skip

# %% [markdown]
# > It is rather heuristic and does not provide theoretical justification. (§3, of the refine gate)
#
# **Predicted (F20), our derivation:** it has the sigmoid's order. $K\tau u \to \frac12$, and
# $\frac14$ if $r$ is tied to $f$: a factor, no more. So the fast gate beats it by $\ln^2$ alone.

# %%
u = np.array([1e-4, 1e-8, 1e-12, 1e-15])
loose = u * Problem().time(refine, u)
tied = u * Problem().time(smoothstep, u)
print("refine:", loose.round(4), " tied:", tied.round(4))
factor = abs(2 * loose[-1] - 1) < 0.01 and abs(4 * tied[-1] - 1) < 0.01
factor &= {saturation.compare(g, sigmoid).order for g in (refine, smoothstep)} == {"same"}
bench.claim("F20", holds=bool(factor), ours=f"τ(1 − f) → {loose[-1]:.4f}; tied, {tied[-1]:.4f}")

# %%
tau = np.geomspace(1, 1e10, 181)
flows = pd.DataFrame({"tau": tau})
for gate in four:
    flows[gate.name] = Problem().flow(gate, tau)
    flows[f"{gate.name} predicted"] = gate.rate(np.where(tau > 30, tau, np.nan))
bench.save(theory_figures.learning_curves(flows), "learning_curves", data=flows)

# %% [markdown]
# The fast gate's curve approaches its prediction slowly, as logarithms do. Its *local* exponent
# $d\ln u/d\ln\tau$ passes through $-1.4$ and $-1.2$ on the way: over any range that one can train,
# it looks like a better power. It is not; the limit is $-1$.

# %%
u = np.geomspace(0.3, 1e-15, 200)
exponents = pd.DataFrame({"u": u} | {g.name: Problem().exponent(g, u) for g in four})
at = {level: float(Problem().exponent(fast, level)) for level in (1e-2, 1e-4, 1e-6, 1e-15, 1e-90)}
print({level: round(value, 3) for level, value in at.items()})
assert np.allclose(list(at.values())[:3], [-2.71, -1.39, -1.19], atol=6e-3)
assert at[1e-90] > -1.02
bench.save(theory_figures.local_exponents(exponents), "local_exponents", data=exponents)

# %% [markdown]
# ## A target below 1 is reached
#
# The absolute loss keeps its slope up to the very optimum, so $\lambda_* < 1$ is hit after a
# *finite* time; the rates above are about $\lambda_* = 1$. **Predicted (F13), our derivation:** the
# flow stops at
#
# $$
# T = \int \frac{df}{K f^{k-1} s^2} < \infty
# $$
#
# and descent with rate 0.001 gets there after $T/0.001$ steps, within 1 %.

# %%
problem, start, rate = Problem(k=10, target=0.9), 0.1, 0.001
arrival = {}
for gate in (sigmoid, fast):
    T = problem.hitting_time(gate, start)
    path = problem.descend(gate, rate, round(1.5 * T / rate), start)
    first = rate * int((path <= problem.optimum).argmax())
    arrival[gate.name] = T, first
    stays = problem.flow(gate, [T * 0.999, T * 1.001, 10 * T], start)
    assert stays[0] > problem.optimum and (stays[1:] == problem.optimum).all()
    print(f"{gate.name:8} T = {T:.4f}, descent arrives at {first:.3f}")

stops = all(abs(first / T - 1) < 0.01 for T, first in arrival.values())
bench.claim("F13", holds=stops, ours=", ".join(f"{g}: {T:.3f}" for g, (T, _) in arrival.items()))

# %%
tau = np.linspace(0, 16, 321)
hits = pd.DataFrame({"tau": tau})
for gate in (sigmoid, fast):
    hits[gate.name] = problem.flow(gate, tau, start)
    hits[f"{gate.name}, rate 0.05"] = problem.descend(gate, 0.05, 320, start)
fig = theory_figures.finite_time(hits, problem.optimum, rate=0.05)
bench.save(fig, "finite_time", data=hits)

# %% [markdown]
# Past the target the loss changes sign at once, so descent with a fixed rate jumps to and fro, the
# fast gate farther: its gradient at that $f$ is larger. A larger gradient is no free lunch.

# %% [markdown]
# ## The plateau, which no gate repairs
#
# At $f_0 = \frac12$ the gradient carries the factor $2^{1-k}$. **Predicted (F15), our derivation:**
# for $k = 100$ and $\lambda_* = 0.9$ every gate takes more than $10^{26}$ units of time. The remedy
# is the start: a forget bias, chrono or uniform initialisation.

# %%
far = Problem(k=100, target=0.9)
biased = float(sigmoid.complement(1.0))
plateau = pd.DataFrame(
    {gate.name: [far.hitting_time(gate, start) for start in (0.5, biased, 0.01)] for gate in four},
    index=["f = 1/2", "f = σ(1)", "f = 1 − 1/k"],
)
print(plateau.map("{:.2e}".format).to_string())
least = plateau.iloc[0].min()
bench.claim("F15", holds=bool(least > 1e26), ours=f"at least {least:.1e} units of time")

# %% [markdown]
# ## Scaling with the horizon
#
# So start at $f_0 = 1 - 1/k$. Put $v = ku$; for large $k$ (our derivation)
#
# $$
# T_{ns} \approx \frac{k^2}{c}\!\int\!\frac{e^v}{v^4}dv
# \quad
# T_\sigma \approx \frac1c\!\int\!\frac{e^v}{v^2}dv
# \quad
# T_{fast} \approx \frac1c\!\int\!\frac{e^v\,dv}{v^2\ln^2(k/v)}
# $$
#
# **Predicted (F14):** in $k$, time grows with the exponent 2, with 0, and falls; the values are
# those below within 1 %.

# %%
horizons = np.array([10, 100, 1000])
scaling = pd.DataFrame(
    {g.name: [Problem(int(k), 0.9).hitting_time(g, 1 / k) for k in horizons] for g in four},
    index=pd.Index(horizons, name="k"),
)
known = {"softsign": [3.34e4, 3.34e6, 3.34e8], "sigmoid": [11.80, 11.34, 11.29],
         "fast": [0.908, 0.317, 0.164]}  # fmt: skip
print(scaling.map("{:.4g}".format).to_string())
matches = all(np.allclose(scaling[name], values, rtol=0.01) for name, values in known.items())
power = {g.name: np.log10(scaling[g.name].iloc[2] / scaling[g.name].iloc[1]) for g in four}
right = abs(power["softsign"] - 2) < 0.01 and abs(power["sigmoid"]) < 0.01 and power["fast"] < -0.2
ours = ", ".join(f"{name} {round(power[name], 2) + 0.0:.2f}" for name in known)
bench.claim("F14", holds=matches and bool(right), ours=f"exponents at k = 100 to 1000: {ours}")

# %%
k = np.unique(np.geomspace(2, 1e6, 61).round()).astype(int)
from_half = [int(n) for n in k if n <= 300]
reach = pd.DataFrame({"k": k})
for gate in four:
    reach[gate.name] = [Problem(int(n), 0.9).hitting_time(gate, 1 / n) for n in k]
    plain = [Problem(n, 0.9).hitting_time(gate) for n in from_half]
    reach[f"{gate.name} from 1/2"] = pd.Series(plain)
bench.save(theory_figures.horizon(reach), "horizon", data=reach)

# %% [markdown]
# That is the case for a fast gate in one picture: with a good start, a sigmoid learns a horizon of
# a million steps as soon as one of ten, softsign takes ten billion times as long, and the fast gate
# is the sooner the longer. And the plateau on the left is why gate and initial bias belong
# together.

# %% [markdown]
# ## In whole steps
#
# Plain descent with learning rate 1, $k = 10$, from $f_0 = 0.9$ towards $\lambda_* = 1$:

# %%
steps = [1, 10, 100, 1000]
walk = {gate.name: Problem(10).descend(gate, 1.0, 1000, 0.1)[steps] for gate in three}
table = pd.DataFrame(walk, index=pd.Index(steps, name="steps")).T
print(table.map("{:.3g}".format).to_string())
known = {"softsign": [0.0996, 0.0963, 0.0753, 0.0371],
         "sigmoid": [0.0727, 0.0118, 1.03e-3, 1.00e-4],
         "fast": [4.95e-3, 1.45e-4, 8.83e-6, 5.65e-7]}  # fmt: skip
assert all(np.allclose(walk[name], values, rtol=0.01) for name, values in known.items())

# %% [markdown]
# After 1000 steps the sigmoid remembers for $10^4$ steps, the fast gate for $1.8\cdot10^6$,
# softsign for 27. These are pure gates with one number to learn; networks have more to do.

# %% [markdown]
# ## Your own gate
#
# Write $\varphi$ as NumPy would have it. `saturation.activation` refuses what is no gate
# ([F4a](F4a_saturation.ipynb)). The complement is optional; with it, digits near saturation are
# kept. As an example, arctan:


# %%
def phi(z):
    """Your gate: increasing, from 0 to 1."""
    return 0.5 + np.arctan(np.pi * z / 4) / np.pi


def complement(z):
    """1 - phi(z) without cancellation, or None."""
    return np.arctan2(1, np.pi * z / 4) / np.pi


mine = saturation.activation(phi, complement, name="yours")

# %%
m = saturation.membership(mine)
print(
    f"in 𝓕: {m.member}; the gradient falls from z0 = {m.z0:.2f}, to {m.slope:.0e} at {m.reach:.0e}"
)
for gate in four:
    c = saturation.compare(mine, gate)
    print(f"saturates in {c.order:6} order {'as' if c.order == 'same' else 'than'} {gate.name}")
deep = 10 * m.reach
print(f"local exponent at 1 - f = {deep:.0e}: {float(Problem().exponent(mine, deep)):.3f}")
print(f"time to 1 - f = 0.001: {float(Problem().time(mine, 1e-3)):.3g}")

# %%
tau = np.geomspace(1, 1e8, 121)
race = pd.DataFrame({"tau": tau} | {g.name: Problem().flow(g, tau) for g in (*four, mine)})
z = np.linspace(-6, 6, 121)
gates = pd.DataFrame({"z": z} | {g.name: 1 - g.complement(z) for g in (*three, mine)})
bench.save(theory_figures.race(gates, race), "your_own_gate", data=race)

# %% [markdown]
# The arctan gate is softsign in disguise: a tail like $1/z$, the exponent $-\frac13$, and a larger
# constant.

# %% [markdown]
# **Your turn.** The normal distribution's function saturates like $e^{-z^2/2}$, between sigmoid and
# fast gate. Guess its rate, then ask:
#
# ```python
# from scipy.special import ndtr
# normal = saturation.activation(lambda z: ndtr(z), lambda z: ndtr(-z), name="normal")
# print(*(saturation.compare(normal, gate).order for gate in (sigmoid, fast)))
# print(Problem().exponent(normal, 1e-12))
# ```
#
# **Next:** [F5_fast_gate](F5_fast_gate.ipynb), the gates in whole networks.
# **Back:** [F4a_saturation](F4a_saturation.ipynb), the gates and their orders.
