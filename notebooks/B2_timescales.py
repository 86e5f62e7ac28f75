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
# # App. B.2 Timescales
#
# [← A](A_pseudocode.ipynb) ·
# [home](00_start_here.ipynb) ·
# [B3 →](B3_chrono.ipynb)
#
# **How long does a unit remember when training starts, and what can a refine gate make of it?**
#
# [Decided here](40_scoreboard.ipynb): **confirmed** G05, G06.
#
# Covers: Props. 1–2; Table 4
#
# | preset | what it computes | time |
# |---|---|---|
# | any | formulas and samples; nothing is trained | 10 seconds, CPU |

# %% [markdown]
# **In short.** *Confirmed*: uniform gates have decay periods of density $x^{-2}$ (G05), a Pareto
# law of shape 1 and not 2; a refine gate moves a period $D$ to anything above $D/2$ and up to
# $D^2$ (G06). Sampled layers have the five laws of Table 4, and UR's slow units start at the lower
# edge of their band.

# %% tags=["parameters"]
seed: int = 0  # of the sampled gates

# %% tags=["nbval-ignore-output"]
import numpy as np
import pandas as pd
import sympy
import torch
from scipy import stats

import urgates
from urgates import theory
from urgates.gates import GATES, decay_period, refine
from urgates.lab import Bench, figures

torch.manual_seed(seed)
bench = Bench("B2_timescales")

# %% [markdown]
# ## A gate is a clock
#
# > supposing that a unit in the cell state has constant forget gate value $f_t$, then the
# > contribution of an input $x_t$ in $k$ time steps will decay by $(f_t)^k$. This gives the unit an
# > effective decay period or characteristic timescale of $O(\frac{1}{1-f_t})$. (§2.2)
#
# $$
# D = \frac{1}{1-f}
# $$
#
# After $D$ steps about $1/e$ of a unit's content is left:

# %%
for D in (2, 10, 100, 1000):
    f = 1 - 1 / D
    print(f"D = {D:4} steps: f = {f:.3f}, left after D steps {f**D:.3f}")
    assert abs(decay_period(f) - D) < 1e-9

# %% [markdown]
# ## Proposition 1: uniform gates are heavy-tailed clocks
#
# > UGI is equivalent to sampling the decay period $D = 1/(1-f_t)$ from a distribution with density
# > proportional to $P(D=x) \propto \frac{d}{dx}(1-1/x) = x^{-2}$ (Prop. 1)
#
# $D$ is at most $x$ exactly when $f$ is at most $1-1/x$. With $f$ uniform on $(0,1)$ the density
# follows by one derivative:

# %%
x, u = sympy.symbols("x u", positive=True)
at_most_x = sympy.integrate(1, (u, 0, 1 - 1 / x))  # P(D <= x), and f has density 1
density = sympy.diff(at_most_x, x)

grid = np.geomspace(1, 1e6, 7)
assert np.allclose(sympy.lambdify(x, density)(grid), theory.decay_density("uniform", grid))
print("density of D:", density)

# %% [markdown]
# Equal steps of $f$ become ever larger steps of $D$. One unit in ten remembers for more than 10
# steps, one in a hundred for more than 100: every time scale gets its share, and none has to be
# chosen.
#
# **Predicted (G05):** the share of units with $D > x$ differs from $1/x$ by less than 0.01
# everywhere.

# %%
generator = torch.Generator().manual_seed(seed)
bias = GATES["U"].initial_bias(2**16, generator=generator)  # Eq. 9
D = decay_period(torch.sigmoid(bias.double())).numpy()

distance = stats.kstest(D, lambda x: 1 - theory.tail("uniform", x)).statistic
bench.claim("G05", holds=distance < 0.01, ours=f"largest distance from 1/x is {distance:.3f}")

# %% [markdown]
# **Deviation D20.** The paper calls this a Pareto(α = 2) distribution. We call it a Pareto law of
# *shape 1*: 2 is the exponent of its density, and the usual parameter is that of the tail,
# $P(D>x) = x^{-1}$. Why it matters: a library's `pareto(2)` has the tail $x^{-2}$ and a mean of 2
# steps, while the mean of uniform gates' $D$ is infinite. Effect: none on the method, which
# samples $f$ and not $D$.

# %%
shape_1, shape_2 = stats.pareto(1), stats.pareto(2)

assert np.allclose(shape_1.sf(grid), theory.tail("uniform", grid))
print(f"P(D > 100): uniform gates {theory.tail('uniform', 100):.4f}, "
      f"shape 1 {shape_1.sf(100):.4f}, shape 2 {shape_2.sf(100):.4f}")  # fmt: skip

# %%
ticks = np.linspace(0.05, 0.95, 19)
curve = np.linspace(0, 0.975, 200)
periods = np.geomspace(1, 1e4, 100)
observed = np.array([(D > x).mean() for x in periods])
plotted = pd.DataFrame({"D": periods, "share": observed, "theory": theory.tail("uniform", periods)})

# %% tags=["hide-input"]
fig, (left, right) = figures.subplots(1, 2)
look = {"color": figures.STYLE["U"]["color"]}
left.plot(curve, decay_period(curve), lw=2, **look)
for f in ticks:
    left.plot([f, f, 0], [0.9, decay_period(f), decay_period(f)], lw=0.6, alpha=0.7, **look)
left.set(yscale="log", ylim=(0.9, 40), xlim=(0, 1), xlabel="forget gate f, in equal steps")
left.set(ylabel="decay period D [steps] (log scale)", title="equal steps of f")
right.loglog(periods, observed, ".", ms=5, label="65,536 uniform gates", **look)
right.loglog(periods, theory.tail("uniform", periods), color="0.2", lw=1, label="1/x")
right.set(xlabel="x [steps] (log scale)", ylabel="share of units with D > x (log scale)")
right.set(title="Proposition 1", ylim=(5e-5, 1.5))
right.legend(frameon=False)
bench.save(fig, "prop1_uniform_periods", data=plotted, paper="Prop. 1")

# %% [markdown]
# ## Proposition 2: a refine gate stretches or cuts the clock
#
# > Given a forget gate activation with timescale $D$, the refine gate creates an effective forget
# > gate with timescale in $(D/2, D^2)$. (Prop. 2)
#
# Put $f = 1 - 1/D$ into the refine gate and read off the period of the result:
#
# $$
# D_g = \frac{1}{1-g} = \frac{D^2}{1 + 2(1-r)(D-1)}
# $$

# %%
D_, r = sympy.symbols("D r", positive=True)
refined = decay_period(refine(1 - 1 / D_, r))

assert sympy.simplify(refined - theory.refined_period(D_, r)) == 0
for value in (0, sympy.Rational(1, 2), 1):
    print(f"r = {value!s:3}  D_g =", sympy.simplify(refined.subs(r, value)))

# %% [markdown]
# The denominator falls with $r$, so the ends are extreme: $D^2/(2D-1)$, a little above $D/2$, and
# $D^2$, which a sigmoid only approaches. A gate that remembers 100 steps can be refined to anything
# between 50 and 10,000.
#
# **Predicted (G06):** for every $D > 1$ and $r \in [0,1]$ the refined period lies above $D/2$ and
# not above $D^2$, and the ends are the two closed forms.

# %%
periods = np.geomspace(1.001, 1e4, 400)[:, None]
refined = 1 / refine(1 / periods, 1 - np.linspace(0, 1, 201))  # 1 - g without cancellation

inside = (refined > periods / 2) & (refined <= periods**2 * (1 + 1e-12))
ends = np.hstack([periods**2 / (2 * periods - 1), periods**2])
assert np.allclose(refined[:, [0, -1]], ends, rtol=1e-7)
share = inside.mean()
bench.claim("G06", holds=bool(inside.all()), ours=f"{share:.0%} inside, ends D²/(2D−1) and D²")

# %% [markdown]
# Where do real layers stand in this band? We build three LSTMs with refine gates, show them random
# inputs, and mark each unit by its main and its effective period at the first step.

# %%
inputs = torch.randn(1, 1, 10)
dots = []
for name in ("R", "UR", "OR"):
    gates = urgates.LSTM(10, 256, gate=name).double().gates(inputs.double())
    main, effective = (decay_period(gates[key].flatten()).numpy() for key in ("f", "g"))
    dots.append(pd.DataFrame({"gate": name, "D": main, "D_refined": effective}))
dots = pd.concat(dots, ignore_index=True)
dots = dots[np.isfinite(dots.D)]  # cumax never lets its last unit forget
assert (dots.D_refined > dots.D / 2).all() and (dots.D_refined < dots.D**2).all()

# %% tags=["hide-input"]
fig, ax = figures.subplots(size=(6.4, 4.2))
x = np.geomspace(1, 1e3, 200)
ax.fill_between(x, x / 2, x**2, color="0.93", label="Proposition 2")
for r, line, at, angle in ((0, ":", 400, 31), (0.5, "-", 400, 31), (1, ":", 30, 51)):
    ax.loglog(x, theory.refined_period(x, r), color="0.4", lw=1, ls=line)
    ax.annotate(f"r = {r}", (at, theory.refined_period(at, r)), (-4, 4), color="0.3",
                textcoords="offset points", rotation=angle)  # fmt: skip
for name in ("OR", "UR", "R"):
    part = dots[dots.gate == name]
    ax.plot(part.D, part.D_refined, **figures.STYLE[name] | {"linestyle": "", "ms": 4, "mew": 0.7})
ax.set(xlabel="main gate's period D [steps] (log scale)", xlim=(1, 1e3), ylim=(0.9, 1e4))
ax.set(ylabel="refined period [steps] (log scale)", title="256 units of three layers at the start")
ax.legend(loc="upper left", frameon=False)
bench.save(fig, "prop2_refined_periods", data=dots, paper="Prop. 2")

# %% [markdown]
# R's units huddle at the LSTM's period of 3.7. UR's main gates cover every scale, but the refine
# gate starts *against* them: its bias is $-b$, so $r = 1-f$ and the slow units lie on the lower
# edge, at half their period. OR's refine gates start near 1/2, on the diagonal. Training may move
# each of them anywhere in the band.

# %% [markdown]
# ## Table 4: five starts
#
# | initialisation | $P(D=x)$ proportional to | here |
# |---|---|---|
# | constant bias $b_f = b$ | a single value, $x = 1 + e^b$ | `-`, $b = 1$ |
# | chrono, known time scale | 1 on $[2, T_{max}]$ | `C`, $T_{max} = H$ |
# | chrono, unknown time scale | $1/(x \log^2 x)$ | $\log T$ of §B.3 |
# | uniform gates | $1/x^2$ | `U` |
# | cumax | $1/x^2$ | `O` |
#
# We sample each start with $H = 256$ and count units per octave of $D$. The tails are closed forms:

# %%
H = 256
rows = {
    "constant": {},
    "chrono": {"t_max": H},
    "chrono_unknown": {},
    "uniform": {"hidden_size": H},
    "cumax": {},
}
print("P(D > x) for x =   10    100   1000  10000")
for start, options in rows.items():
    print(f"{start:15}", *[f"{p:7.3f}" for p in theory.tail(start, [10, 100, 1e3, 1e4], **options)])

# %% [markdown]
# Samples: sigmoids of 256 drawn biases at a time; for the unknown time scale the inverse of its
# tail, $P(D>x) = \log 2/\log x$, that is $D = 2^{1/u}$; for cumax the gates of LSTMs with random
# weights and inputs. Its last unit has $f = 1$, which no octave holds.

# %%
draws = 200
samples = {
    "chrono_unknown": 2 ** (1 / np.clip(np.random.default_rng(seed).random(H * draws), 1e-3, 1))
}
for start, name in (("constant", "-"), ("chrono", "C"), ("uniform", "U")):
    bias = torch.cat([GATES[name].initial_bias(H) for _ in range(draws)])
    samples[start] = decay_period(torch.sigmoid(bias.double())).numpy()
ordered = [urgates.LSTM(10, H, gate="O").double() for _ in range(draws // 10)]
f = torch.cat([rnn.gates(torch.randn(1, 10, 10).double())["f"][0] for rnn in ordered])
samples["cumax"] = decay_period(f[:, :-1]).flatten().numpy()

# %%
octaves = 2.0 ** np.arange(15)
table = []
for start, options in rows.items():
    count = H * draws if start != "cumax" else f.numel()
    share = np.histogram(samples[start], octaves)[0] / count
    expected = -np.diff(theory.tail(start, octaves, **options))
    table.append(pd.DataFrame({"start": start, "from": octaves[:-1], "share": share,
                               "theory": expected}))  # fmt: skip
    print(f"{start:15} sample and theory differ by less than 0.02 in every octave:",
          np.abs(share - expected).max() < 0.02)  # fmt: skip
table = pd.concat(table, ignore_index=True)
assert (table.share - table.theory).abs().max() < 0.02

# %% tags=["hide-input"]
fig, axes = figures.subplots(5, 1, size=(7.2, 7), sharex=True, sharey=True)
titles = ["constant bias 1 (-)", "chrono, $T_{max}$ = 256 (C)", "chrono, time scale unknown",
          "uniform gates (U)", "cumax (O)"]  # fmt: skip
colors = [figures.STYLE[name]["color"] for name in ("-", "C", "C", "U", "O")]
for ax, start, title, color in zip(axes, rows, titles, colors, strict=True):
    part = table[table.start == start]
    ax.stairs(part.share, octaves, baseline=1e-4, fill=True, color=color, alpha=0.55)
    ax.plot(octaves[:-1] * 2**0.5, part.theory, "_", color="0.15", ms=14, mew=1.6)
    ax.axvline(H, color="0.4", lw=1, ls=":")
    ax.text(0.99, 0.88, title, transform=ax.transAxes, ha="right", va="top")
axes[0].set(xscale="log", yscale="log", ylim=(4e-4, 1.5), xlim=(0.9, 2**14))
axes[0].set_xticks(octaves[::2], [f"{int(x):,}" for x in octaves[::2]], minor=False)
axes[0].text(H * 1.1, 0.5, "H", color="0.4")
axes[2].set_ylabel("share of units per octave (log scale; dashes: Table 4)")
axes[-1].set_xlabel("decay period D [steps] (log scale)")
bench.save(fig, "table4_periods", data=table, paper="Table 4")

# %% [markdown]
# A constant bias has one clock. Chrono puts half of its units into the last octave below $T_{max}$.
# Uniform gates and cumax halve from octave to octave. The parameter-free chrono start falls only as
# $1/(k(k+1))$ in octave $k$: one unit in ten lies beyond a thousand steps, and some beyond any
# number a float can hold.

# %% [markdown]
# **Your turn.** The paper (§B.3) imagines "a family of Pareto-like distributions" of decay periods.
# Start a layer from any member of it, and look at its clocks:
#
# ```python
# shape = 0.5  # 1 is UGI; smaller remembers longer
# D = torch.rand(256).clamp(min=1e-3) ** (-1 / shape)
# lstm = urgates.LSTM(10, 256, gate="UR")
# with torch.no_grad():
#     lstm.gate_bias_l0.copy_((D - 1).clamp(min=1e-6).log())  # D = 1 + exp(b)
# ```
#
# **Next:** [B3_chrono](B3_chrono.ipynb), the start that came first.
# **Back:** [22_uniform_gate_init](22_uniform_gate_init.ipynb).
