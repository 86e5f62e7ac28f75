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
# # §2.2 Uniform gate initialisation
#
# [← 21](21_ur_lstm.ipynb) ·
# [home](00_start_here.ipynb) ·
# [23 →](23_refine_gate.ipynb)
#
# **How does one line of initialisation give a layer every time scale, and what exactly is drawn?**
#
# [Decided here](40_scoreboard.ipynb): **confirmed** G01, G02, G03, G04, G26.
#
# Covers: Eq. 9; Prop. 1
#
# Cost: some seconds on a CPU; nothing is trained.

# %% [markdown]
# **In short.** *Confirmed*: a zero bias gathers all gates at 1/2 and a bias of 1 gives them one
# short period (G01, G02); the uniform start spreads them over (0, 1), about half of the biases
# negative (G03, G04); the extremes of $d$ draws are expected at $1/(d+1)$ from the ends (G26).
# With Listing 2's offset, UR's *effective* gate does not start uniform: gates above 0.9 are half
# as frequent.

# %% tags=["parameters"]
seed: int = 0  # of the sampled biases, weights and inputs

# %% tags=["nbval-ignore-output"]
import numpy as np
import pandas as pd
import torch
from scipy import stats

import urgates
from urgates.gates import GATES, decay_period, logit, refine
from urgates.lab import Bench, figures
from urgates.lab.book import twin_figures
from urgates.theory import decay_density

bench = Bench("22_uniform_gate_init")
bench

# %% [markdown]
# ## The standard start
#
# > Standard initialization of linear layers $L$ sets the bias term to 0, which causes the forget
# > gate values (2) to concentrate around 1/2. A common trick of setting the forget gate bias to
# > $b_f = 1.0$ does increase the value of the decay period to […] $\approx 3.7$. However, this is
# > still relatively small, and moreover fixed (§2.2)
#
# **Predicted.** G01: with zero biases the mean of $f$ is within 0.05 of 1/2 and its standard
# deviation below 0.15. G02: $1/(1-\sigma(1))$ is 3.718.


# %%
def at_start(gate, which="f", layers=1, **options):
    """Gate activations of untrained layers of 512 units on random inputs."""
    torch.manual_seed(seed)
    lstms = (urgates.LSTM(10, 512, gate=gate, **options) for _ in range(layers))
    gates = [lstm.gates(torch.randn(10, 4, 10))[which].flatten() for lstm in lstms]
    return torch.cat(gates).double()


f = at_start("-", forget_bias=0.0)
mean, sd = f.mean().item(), f.std().item()
bench.claim(
    "G01", holds=0.45 < mean < 0.55 and sd < 0.15, ours=f"mean {mean:.2f}, deviation {sd:.2f}"
)

# %%
D = decay_period(torch.sigmoid(torch.tensor(1.0, dtype=torch.float64))).item()
bench.claim("G02", holds=abs(D - 3.7183) < 1e-3, ours=f"{D:.4f} steps")

# %% [markdown]
# ## The uniform start
#
# > we propose to simply initialize the value of the forget gate activations $f_t$ according to a
# > uniform distribution $U(0, 1)$ (§2.2)
#
# $$
# b_f \sim \sigma^{-1}(U[0, 1]) \qquad (9)
# $$
#
# **Predicted.** G03: $\sigma(b_f)$ passes a Kolmogorov–Smirnov test against the uniform law
# ($p > 0.01$, $d = 4096$), and with weights and inputs switched on the deviation of $f$ stays
# within 5 % of the uniform's. G04: about half of the biases are negative.

# %%
d = 4096
bias = GATES["U"].initial_bias(d, generator=torch.Generator().manual_seed(seed)).double()
f = torch.sigmoid(bias)

p = stats.kstest(f.numpy(), stats.uniform(1 / d, 1 - 2 / d).cdf).pvalue
ratio = at_start("U").std().item() * 12**0.5
bench.claim(
    "G03",
    holds=p > 0.01 and abs(ratio - 1) < 0.05,
    ours=f"KS p = {p:.2f}; with weights, deviation {ratio:.2f} of the uniform's",
)

# %%
negative = (bias < 0).double().mean().item()
bench.claim("G04", holds=0.45 < negative < 0.55, ours=f"{negative:.1%} negative")

# %% [markdown]
# A negative bias means $f < 1/2$: a unit that lives in the present. Chrono initialisation has none
# ([B3](B3_chrono.ipynb)).

# %% [markdown]
# ## Through the timescale microscope
#
# > UGI is equivalent to sampling the decay period $D = 1/(1 - f_t)$ from a distribution with
# > density proportional to […] $x^{-2}$ (Prop. 1)
#
# Since $P(D > x) = P(f > 1 - 1/x) = 1/x$, minus its derivative is $x^{-2}$; the proposition is
# tested in [B2](B2_timescales.ipynb). Here we look at 48 whole layers, with weights and inputs on.
# On logarithmic axes the law is a straight line of slope −2, and a fixed bias is a spike:

# %%
starts = {
    "zero bias": at_start("-", layers=48, forget_bias=0.0),
    "-": at_start("-", layers=48),
    "U": at_start("U", layers=48),
    "UR, effective": at_start("UR", "g", layers=48),
}
f_edges, D_edges = np.linspace(0, 1, 41), 2 ** np.arange(0, 10.25, 0.25)
parts = []
for name, gates in starts.items():
    for of, values, edges in (("f", gates, f_edges), ("D", decay_period(gates), D_edges)):
        density, _ = np.histogram(values, edges, density=True)
        columns = {"start": name, "of": of, "left": edges[:-1], "right": edges[1:]}
        parts.append(pd.DataFrame(columns | {"density": density}))
microscope = pd.concat(parts, ignore_index=True)

# %%
D = decay_period(starts["U"])
for x in (2, 10, 100):
    share = (D > x).double().mean().item()
    print(f"share of U's gates with D > {x:3}: {share:.3f}, and 1/x = {1 / x:.3f}")
    assert abs(share - 1 / x) < 0.01

# %% tags=["hide-input"]
LOOK = {
    "zero bias": {"color": "0.6"},
    "-": {"color": figures.STYLE["-"]["color"]},
    "U": {"color": figures.STYLE["U"]["color"]},
    "UR, effective": {"color": figures.STYLE["UR"]["color"], "ls": (0, (3, 1.5))},
}
fig, (left, right) = figures.subplots(1, 2, size=(9.6, 3.6))
for (of, name), part in microscope.groupby(["of", "start"], sort=False):
    ax = left if of == "f" else right
    ax.stairs(part.density, [*part.left, part.right.iloc[-1]], lw=1.6, label=name, **LOOK[name])
right.plot(D_edges, decay_density("uniform", D_edges), color="black", lw=1)
right.axvline(500, color="0.4", lw=1, ls=":")
right.annotate("length of Copy", (480, 2), rotation=90, ha="right", va="top", color="0.4")
left.set(xlabel="forget gate", ylabel="density")
right.set(xscale="log", yscale="log", ylim=(5e-7, 5), xlabel="decay period D [steps] (log scale)")
right.set(ylabel="density (log scale)")
right.annotate("1/D²", (40, 1e-3))
left.legend(loc="upper left", frameon=False)
bench.save(fig, "timescale_microscope", data=microscope, paper="Prop. 1")

# %% [markdown]
# The standard starts cannot see Copy's 500 steps from where they are: a spike at 2 or at 3.7. The
# uniform start puts nearly one unit in a hundred beyond $D = 100$ and follows $1/D^2$ to the end,
# $D = 512$. The dashed line says that UR's *effective* gate does not start uniform. More below.

# %% [markdown]
# **Move it yourself.** Which bias reaches Copy's 500 steps, and what do all units of such a layer
# then see of the last ten? What does a larger layer add to a uniform start? On the right is
# the mean over units of what each has kept: a uniform layer forgets like $1/(k+1)$ until about
# $k = H$.

# %%
twin_figures.starts()

# %% [markdown]
# ## Why not all of (0, 1)
#
# > The inverse sigmoid function (9) can be unstable if the input is too close to {0, 1}. […] This
# > choice is justified by the fact that with perfect uniform sampling, the expected smallest and
# > largest samples would be $1/(d+1)$ and $1 - 1/(d+1)$. (§D.5)
#
# So the paper draws from $U[1/d, 1 - 1/d]$, which also bounds the biases by $\pm \ln(d - 1)$:

# %%
for d in (256, 512, 1024, 3072):
    b = GATES["U"].initial_bias(d, generator=torch.Generator().manual_seed(seed))
    limit = logit(1 - 1 / d)
    print(f"d = {d:4}: biases within ±{limit:.2f}, decay periods from {d / (d - 1):.3f} to {d}")
    assert b.abs().max() <= limit + 1e-4

# %% [markdown]
# **Predicted.** G26: the mean smallest and the mean largest of $d$ uniform draws are within three
# standard errors of $1/(d+1)$ and $1 - 1/(d+1)$.

# %%
d = 256
draws = np.random.default_rng(seed).random((10_000, d))
smallest, longest = draws.min(1), 1 - draws.max(1)
errors = [(e.mean() - 1 / (d + 1)) / stats.sem(e) for e in (smallest, longest)]
bench.claim(
    "G26",
    holds=max(map(abs, errors)) < 3,
    ours=f"d = {d}: {errors[0]:+.1f} and {errors[1]:+.1f} standard errors off",
)

# %% [markdown]
# The justification has a catch. Drawn *within* the expected extremes, the extremes of a layer lie
# further in: the slowest of 256 units remembers less than half as long.

# %%
clipped = 1 / d + (1 - 2 / d) * draws
for law, sample in (("U[0, 1]", draws), ("U[1/d, 1-1/d]", clipped)):
    typical = np.median(decay_period(sample).max(1))
    print(f"{law:14} median of the longest decay period: {typical:.0f} = {typical / d:.2f} d")

assert np.median(decay_period(clipped).max(1)) < np.median(decay_period(draws).max(1)) / 2

# %% [markdown]
# ## Where the effective gate starts
#
# > the refine gate can also be initialized uniformly, which we do in our experiments whenever both
# > UGI and refine gates are used (§2.4)
#
# *How* uniformly decides where $g$ starts. Four readings, with all weights zero and $f$ on a fine
# grid of (0, 1) in place of random draws:

# %%
n = 1000
f, other = (np.arange(n)[:, None] + 0.5) / n, (np.arange(n) + 0.5) / n
readings = {
    "r = σ(−b), Listing 2": refine(f, 1 - f),
    "r = 1/2, later code": refine(f, 0.5),
    "r = σ(+b)": refine(f, f),
    "r uniform on its own": refine(f, other),
}
for name, g in readings.items():
    print(f"{name:21} P(g > .9) = {(g > 0.9).mean():.3f}   P(g > .99) = {(g > 0.99).mean():.3f}"
          f"   deviation {g.std():.3f}")  # fmt: skip

# %%
deviations = [g.std() for g in readings.values()]
shares = [(g > 0.9).mean() for g in readings.values()]
np.testing.assert_allclose(deviations, [0.234, 0.289, 0.348, 0.307], atol=1e-3)
np.testing.assert_allclose(shares, [0.054, 0.100, 0.196, 0.127], atol=1e-3)

bounded = np.linspace(1 / 256, 1 - 1 / 256, 100_001)  # as a layer of 256 units draws
rarer = [(decay_period(g) > 50).mean() for g in (refine(bounded, 1 - bounded), bounded)]
assert abs(rarer[0] / rarer[1] - 0.39) < 0.005

edges = np.linspace(0, 1, 41)
startup = pd.DataFrame(
    {name: np.histogram(g, edges, density=True)[0] for name, g in readings.items()}
)
startup = startup.assign(g=edges[1:] - 0.0125)

# %% tags=["hide-input"]
fig, axes = figures.subplots(1, 4, size=(9.6, 2.6), sharey=True)
for ax, name in zip(axes, readings, strict=True):
    ax.stairs(startup[name], edges, fill=True, color=figures.STYLE["UR"]["color"], alpha=0.6)
    ax.axhline(1, color="black", lw=1, ls="--")
    ax.set(title=name, xlabel="effective gate g", xlim=(0, 1), ylim=(0, 4))
axes[0].set_ylabel("density at the start")
axes[0].annotate("uniform", (0.03, 1.1), fontsize="small")
bench.save(fig, "startup_of_g", data=startup)

# %% [markdown]
# ## Three sources, three starts
#
# The paper's text, its Listing 2 and the first author's later public code (repository
# `state-spaces/s4`, `src/models/nn/gate.py`) do not agree. What we do, and what it changes:

# %% [markdown]
# **Three sources S1.** *Is $b_f$ trained?* §D.5: "a trainable bias vector". Listing 2: an array,
# no word. Later code: frozen; only the linear map's own bias moves. We: trained.
#
# **Three sources S2.** *What offsets the refine gate?* §2.4: started "uniformly". Listing 2: $-b$,
# the same vector. Later code: nothing, $r = 1/2$. We: Listing 2. Only without an offset is $g$
# itself uniform; with Listing 2 long memories are half as frequent, rarer near the bound $H$: 0.39
# times beyond 50 steps at $H = 256$.

# %% [markdown]
# **Three sources S3.** *What about the biases of the linear maps?* §2.2: standard initialisation
# sets them to 0; §D.5: each linear map has its own, trained. Listing 2: silent. Later code: torch's
# random ones, $U[\pm 1/\sqrt{d}]$. We: zeros, so that the start is exactly Eq. (9) at zero weights.
# How far from uniform do random ones push $f$?

# %%
rng = np.random.default_rng(seed)
for d in (16, 64, 256, 1024):
    b = logit(torch.linspace(1 / d, 1 - 1 / d, 100_000, dtype=torch.float64)).numpy()
    two = rng.uniform(-1, 1, (2, b.size)) / d**0.5  # a torch layer has two bias vectors
    law = stats.uniform(1 / d, 1 - 2 / d).cdf
    exact, pushed = (stats.kstest(1 / (1 + np.exp(-z)), law).statistic for z in (b, b + two.sum(0)))
    print(f"d = {d:4}: largest gap to uniform {exact:.3f} with zeros, {pushed:.3f} with torch's")
    assert exact < 1e-4 and pushed < 0.015

# %% [markdown]
# Harmless: less than a per cent at 16 units, nothing to be seen from 64 on. The refine gate's
# offset matters more than the biases that were left lying about.

# %% [markdown]
# **Deviation D1.** The paper has two trained offsets on each of $f$ and $r$, the linear map's bias
# and $b_f$, which is "effectively doubling the learning rate" of the offset (§D.5, "not intended to
# affect performance"). We have three, because `torch.nn.LSTM` has two biases per linear map and its
# state_dict should load. Effect: below, how far one step of gradient descent moves the offset of
# $f$. `bias=False` leaves $b_f$ alone.

# %% tags=["nbval-ignore-output"]
torch.manual_seed(seed)
lstm = urgates.LSTM(10, 256)
lstm(torch.randn(50, 16, 10))[0][-1].sum().backward()
linear, own = lstm.bias_ih_l0.grad[lstm.rows["f"]], lstm.gate_bias_l0.grad

readings = {"later code, b frozen": linear, "the paper": linear + own, "ours": 2 * linear + own}
steps = {name: (step / linear).median().item() for name, step in readings.items()}
for name, step in steps.items():
    print(f"{name:21} {step:.2f}")
assert steps["ours"] > steps["the paper"] > 1

# %% [markdown]
# In units of one trained bias. The paper's second offset does not quite double the speed, since
# $b_f$ also enters $r$ with a minus: it hears the *difference* of two gradients that mostly agree.

# %% [markdown]
# **Your turn.**
# - Draw $u$ from $U[0, 1]$ in `float32` and look for infinite biases: how many draws does it take?
# - Give half of the units $r = \sigma(+b)$: refine up where $f$ is large. Is that start better for
#   Copy? Try it in [31](31_synthetic_memory.ipynb).
# - Let `at_start("OR", "g")` join the microscope: where does cumax put the last unit?
#
# **Next:** [23_refine_gate](23_refine_gate.ipynb), the second half of UR.
