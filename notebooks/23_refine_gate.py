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
# # §2.3 The refine gate
#
# [← 22](22_uniform_gate_init.ipynb) ·
# [home](00_start_here.ipynb) ·
# [24 →](24_refining_recurrent_models.ipynb)
#
# **Why this formula and no other, how far does it move a gate, and how much does it really help?**
#
# [Decided here](40_scoreboard.ipynb): **confirmed** G07, G08, G09, G10, G14.
#
# Covers: Eqs. 12, 16; Prop. 2; Figs. 2a–d
#
# Cost: some seconds on a CPU; nothing is trained.

# %% [markdown]
# **In short.** *Confirmed*: three demands on a band leave $f(1-f)$ as the widest simple one (G07),
# all printed forms of the gate agree (G08), it stays in its band, rising with $f$ and $r$ (G09),
# and modest gates act like high ones (G10, G14). Its gradient is more than a plain gate's at equal
# activation, yet less than twice: learning is faster by a factor, not by an order.

# %% tags=["parameters"]
seed: int = 0  # of the random points

# %% tags=["nbval-ignore-output"]
import numpy as np
import pandas as pd
import sympy
import torch

from urgates import theory
from urgates.gates import band, logit, reach, refine
from urgates.lab import Bench, figures
from urgates.lab.book import twin_figures

bench = Bench("23_refine_gate")
bench

# %% [markdown]
# ## Move the output, not the input
#
# > This problem cannot be fully addressed only by modifying the input to the sigmoid […], as the
# > gradient will still vanish by backpropagating through the activation function. Therefore […] we
# > consider modifying the output. (§2.3)
#
# So the effective gate is $g = f + \phi(f, x)$ within a range $f \pm \alpha(f)$, and the paper asks
# three things of the range:
#
# > **Validity** $\alpha(f) \le \min(f, 1-f)$ · **Symmetry** $\alpha(f) = \alpha(1-f)$ ·
# > **Differentiability** $\alpha \in C^1$

# %% [markdown]
# ## The band falls out
#
# The simplest continuous derivative is linear, $\alpha'(f) = a + b f$. Symmetry turns it into
# $\alpha'(f) = -\alpha'(1-f)$, validity at 0 asks for $\alpha(0) = 0$ and $a \le 1$:

# %%
f, a, b = sympy.symbols("f a b")
slope = a + b * f
b_symmetric = sympy.solve(slope + slope.subs(f, 1 - f), b)[0]
alpha = sympy.factor(sympy.integrate(slope.subs(b, b_symmetric), f))
print("α(f) =", alpha)

alpha = alpha.subs(a, 1)  # the widest
assert sympy.expand(alpha - band(f)) == 0

# %% [markdown]
# With the largest slope allowed this is the band of the paper, $\alpha(f) = f (1 - f)$. It is also
# the slope of the sigmoid: the gate may be adjusted by just as much as it could still learn.
#
# **Predicted (G07):** validity, symmetry and a finite, continuous gradient hold everywhere.

# %%
points = torch.linspace(0, 1, 1001, dtype=torch.float64, requires_grad=True)
width = band(points)
(steepness,) = torch.autograd.grad(width.sum(), points)

valid = bool((width <= torch.minimum(points, 1 - points)).all())
symmetric = torch.allclose(width, width.flip(0), atol=1e-15)
smooth = bool(steepness.isfinite().all()) and steepness.diff().abs().max().item() < 0.0021
bench.claim(
    "G07",
    holds=valid and symmetric and smooth,
    ours="1,001 points: below min(f, 1 − f), mirrored, slope 1 − 2f",
)

# %% [markdown]
# ## The adjustment falls out, too
#
# > the simplest such function $\phi$ satisfying this is $\phi(f,x) = \alpha(f) \psi(f,x)$ for some
# > $\psi(\cdot) \in [-1, 1]$. Using the standard method for defining [−1,1]-valued functions via a
# > tanh non-linearity leads to $\phi(f,x) = \alpha(f)(2r-1)$ for another gate $r = \sigma(L(x))$
#
# since $\tanh(z/2) = 2\sigma(z) - 1$. That is the refine gate:
#
# $$
# g = f + f(1-f)(2r-1) = (1-r) \cdot f^2 + r \cdot (1 - (1-f)^2) \qquad (16)
# $$

# %% [markdown]
# **Predicted (G08):** both forms of Eq. (16), the form of §D.5 and Listing 2, and the library's
# `refine` differ by less than $10^{-12}$.

# %%
f, r = np.meshgrid(np.linspace(0, 1, 201), np.linspace(0, 1, 201))
forms = [
    f + f * (1 - f) * (2 * r - 1),
    (1 - r) * f**2 + r * (1 - (1 - f) ** 2),
    2 * r * f + (1 - 2 * r) * f**2,
]
apart = max(np.abs(form - refine(f, r)).max() for form in forms)
bench.claim("G08", holds=bool(apart < 1e-12), ours="40,401 points, apart by less than 1e-15")
assert apart < 1e-15

# %% [markdown]
# **Predicted (G09):** $g$ stays in $[f^2, 1-(1-f)^2]$ and rises with $r$ and with $f$.
# **(G10):** $f = 0.9$ reaches $g = 0.99$.

# %%
g = refine(f, r)
inside = (g >= f**2 - 1e-15).all() and (g <= 1 - (1 - f) ** 2 + 1e-15).all()
rises = (np.diff(g, axis=0) >= -1e-15).all() and (np.diff(g, axis=1) > 0).all()
bench.claim("G09", holds=bool(inside and rises), ours="40,401 points inside, monotone")

# %%
bench.claim("G10", holds=abs(refine(0.9, 1.0) - 0.99) < 1e-12, ours=f"{refine(0.9, 1.0):.2f}")

# %%
f = np.linspace(0, 1, 101)
fig2a = pd.DataFrame({"f": f, "alpha": band(f), "limit": np.minimum(f, 1 - f)})
z = np.linspace(-6, 6, 121)
f = 1 / (1 + np.exp(-z))
lower, upper = reach(f)
fig2b = pd.DataFrame({"z": z, "f": f, "lower": lower, "upper": upper})
BLUE = figures.STYLE["-"]["color"]

# %% tags=["hide-input"]
fig, (left, right) = figures.subplots(1, 2, size=(9.6, 3.4))
left.plot(fig2a.f, fig2a.limit, color="0.5", ls="--", label="min(f, 1 − f), with a kink")
left.plot(fig2a.f, fig2a.alpha, color="black", label="α(f) = f(1 − f)")
left.fill_between(fig2a.f, fig2a.alpha, color=BLUE, alpha=0.15, lw=0)
left.set(xlabel="forget gate f", ylabel="how far g may be from f", ylim=(0, 0.65))
left.legend(frameon=False, loc="upper left")
right.fill_between(fig2b.z, fig2b.lower, fig2b.upper, color=BLUE, alpha=0.15, lw=0)
right.plot(fig2b.z, fig2b.f, color="black", label="f = σ(z)")
right.plot(fig2b.z, fig2b.upper, color=BLUE, label="upper end, 1 − (1 − f)²")
right.plot(fig2b.z, fig2b.lower, color=BLUE, ls="--", label="lower end, f²")
right.set(xlabel="pre-activation z of the forget gate", ylabel="effective gate g")
right.legend(frameon=False, loc="upper left")
bench.save(fig, "fig2ab", data=pd.concat([fig2a, fig2b]), paper="Fig. 2a-b")

# %% [markdown]
# ## In time scales: squared
#
# > Given a forget gate activation with timescale $D$, the refine gate creates an effective forget
# > gate with timescale in $(D/2, D^2)$. (Prop. 2)
#
# At $r = 1$ the distance to saturation is squared, $1 - g = (1 - f)^2$, hence $D^2$. The
# proposition is tested in [B2](B2_timescales.ipynb); here is what it means for a few gates:

# %%
for D in (2, 10, 100, 1000):
    low, high = (theory.refined_period(D, r) for r in (0.0, 1.0))
    print(f"D = {D:4}: refined to anything from {low:5.1f} to {high:9,.0f} steps")
    assert D / 2 < low < D < high == D**2

# %% [markdown]
# ## High gates from modest ones
#
# > High effective activations can be achieved with more modest $f_t, r_t$ values. (Fig. 2c)
#
# **Predicted (G14):** $g = 0.99$ needs no more than 0.942 from the larger of $f$ and $r$. On the
# diagonal $f = r = 1 - p$ the complement is $1 - g = 3p^2 - 2p^3$:

# %%
p = min(root for root in np.roots([-2, 3, 0, -0.01]) if root > 0)
f = r = 1 - p
assert abs(refine(f, r) - 0.99) < 1e-12

grid = np.linspace(0, 1, 2001)
enough = refine(grid[:, None], grid) >= 0.99
larger = np.maximum(grid[:, None], grid)[enough].min()
bench.claim(
    "G14",
    holds=bool(larger <= 0.942),
    ours=f"f = r = {f:.4f} (pre-activation {logit(f):.2f}) act like 0.99 (4.60)",
)

# %%
axis = np.linspace(0, 1, 51)
fig2c = pd.DataFrame([(f, r, refine(f, r)) for r in axis for f in axis], columns=["f", "r", "g"])
surface = fig2c.pivot(index="r", columns="f", values="g")
g = np.linspace(0.005, 0.995, 199)
fig2d = pd.DataFrame(
    dict(zip(("least", "largest"), theory.gradient_bounds(g), strict=True))
).assign(g=g)

# %% [markdown]
# Figure 2d asks how strong the gradient of $g$ is, compared with a plain gate's at the same
# activation. The chain rule through both pre-activations gives (App. C)
#
# $$
# \|\nabla g\|^2 = \left[2f(1-f)\right]^2 \left[(f + r - 2fr)^2 + r^2 (1-r)^2\right]
# $$
#
# which autograd confirms at random points; the bounds are derived in [C](C_gradient_bands.ipynb).

# %%
z = torch.randn(2, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
z.requires_grad_()
(gradient,) = torch.autograd.grad(refine(*torch.sigmoid(z)).sum(), z)

f, r = torch.sigmoid(z.detach())
squared = (2 * f * (1 - f)) ** 2 * ((f + r - 2 * f * r) ** 2 + r**2 * (1 - r) ** 2)
torch.testing.assert_close(gradient.square().sum(0), squared, rtol=1e-10, atol=1e-15)
print("App. C's gradient equals autograd's at 1,000 points")

# %% tags=["hide-input"]
fig, (left, right) = figures.subplots(1, 2, size=(9.6, 3.8))
levels = [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99]
left.contourf(axis, axis, surface, levels=[0, *levels, 1], cmap="viridis", alpha=0.5)
lines = left.contour(axis, axis, surface, levels=levels, colors="black", linewidths=0.8)
left.clabel(lines, levels[1:-1], fontsize=8)
left.plot(0.942, 0.942, "o", color="white", mec="black", ms=7)
left.annotate("0.99", (0.942, 0.942), (0.83, 0.93), fontsize=9)
left.set(xlabel="forget gate f", ylabel="refine gate r", title="effective gate g", aspect="equal")
right.plot(fig2d.g, fig2d.least, color="black", label="lower bound")
right.plot(fig2d.g, fig2d.largest, color=BLUE, label="upper bound")
right.fill_between(fig2d.g, fig2d.least, fig2d.largest, color=BLUE, alpha=0.15, lw=0)
right.axhline(1, color="0.4", lw=1, ls="--")
right.annotate("plain gate", (0.5, 0.97), color="0.4", ha="center", va="top")
right.set(xlabel="effective gate g", ylabel="gradient, refined / plain", ylim=(0.85, 2.05))
right.legend(frameon=False, loc="upper center")
bench.save(fig, "fig2cd", data=pd.concat([fig2c, fig2d]), paper="Fig. 2c-d")

# %% [markdown]
# ## Move it yourself
#
# Figure 2 with its two gates on sliders, and what they mean for memory. Start from $f = 0.9$: what
# does $r = 1$ make of it, what $r = 0$? At which $f$ does $r$ matter least?

# %%
twin_figures.refine_gate()

# %% [markdown]
# ## How much faster is that?
#
# Figure 2d promises more gradient, but less than twice as much. Let a plain and a refined gate
# climb from 1/2 while the loss asks for memory at a constant rate, $L = 1 - g$, once by gradient
# descent and once by Adam, the paper's optimiser:


# %%
def climb(optimiser, lr, steps=1000):
    z = torch.zeros(3, dtype=torch.float64, requires_grad=True)  # of one plain, one refined gate
    step, rows = optimiser([z], lr=lr), []
    for t in range(steps):
        p = torch.sigmoid(-z)
        plain, refined = p[0], refine(p[1], p[2])  # 1 - f and 1 - g
        rows.append((optimiser.__name__, t + 1, 1 / plain.item(), 1 / refined.item()))
        step.zero_grad()
        (plain + refined).backward()
        step.step()
    return rows


# %%
rows = climb(torch.optim.SGD, 1.0) + climb(torch.optim.Adam, 0.01)
climbs = pd.DataFrame(rows, columns=["optimiser", "step", "plain", "refined"])

last = climbs.groupby("optimiser").last()
ratio = last.refined / last.plain
print(f"memory after 1,000 steps, refined over plain: SGD {ratio.SGD:.2f}, Adam {ratio.Adam:.2f}")
assert 1.8 < ratio.SGD < 2 < ratio.Adam < 3

# %% tags=["hide-input"]
fig, axes = figures.subplots(1, 2, size=(9.6, 3.2), sharey=True)
titles = {"SGD": "gradient descent, rate 1", "Adam": "Adam, rate 0.01"}
for ax, (name, title) in zip(axes, titles.items(), strict=True):
    part = climbs[climbs.optimiser == name]
    ax.loglog(part.step, part.plain, color="black", label="plain")
    ax.loglog(part.step, part.refined, color=BLUE, label="refined")
    ax.set(title=title, xlabel="step (log scale)")
axes[0].set_ylabel("decay period D [steps] (log scale)")
axes[0].legend(frameon=False)
bench.save(fig, "climb", data=climbs)

# %% [markdown]
# Two to three times faster, and the same power of time: parallel lines. The refine gate does not
# abolish saturation, it halves its price. What it changes in kind is the *reach* upwards: two
# gates that are both 0.94 act like one of 0.99. Downwards $r$ alone does little: at $f^2$ the decay
# period is still more than half of what it was (Prop. 2), so a saturated $f$ must itself come down.
# Whether that matters is measured on real tasks in [31](31_synthetic_memory.ipynb) and
# [E1](E1_synthetic_forgetting.ipynb).

# %% [markdown]
# ## The trap near 1
#
# Long memory lives in the digits of $1 - g$. Subtracting loses them; but the complement is itself a
# refined gate, of the complements:
#
# $$
# 1 - g(f, r) = g(1-f, 1-r)
# $$
#
# **Deviation D2.** §D.5 computes $g = 2rf + (1-2r)f^2$ and takes $1 - g$. We compute both $g$ and
# $1-g$ as refined gates, from $\sigma(z)$ and $\sigma(-z)$. Why: in `float32` the subtraction is
# exactly 0 from $z_f = z_r = 9.5$ on, where $2 \cdot 10^{-8}$ is right, and nothing is written.
# Effect: none in exact arithmetic.

# %%
z = torch.linspace(0, 16, 321)
f, p, exact = torch.sigmoid(z), torch.sigmoid(-z), torch.sigmoid(-z.double())
trap = pd.DataFrame({
    "z": z, "exact": refine(exact, exact), "complement": refine(p, p),
    "subtraction": 1 - (2 * f * f + (1 - 2 * f) * f**2),
})  # fmt: skip
error = (trap.complement / trap.exact - 1).abs().max()
assert error < 1e-6 and (trap.subtraction[trap.z >= 10.5] == 0).all()
for z in (4, 8, 9, 12):
    row = trap[trap.z == z].iloc[0]
    print(f"z = {z:2}: 1 - g = {row.exact:.2e}, complement {row.complement:.2e}, "
          f"subtraction {row.subtraction:.2e}")  # fmt: skip

# %% tags=["hide-input"]
fig, ax = figures.subplots(size=(6.4, 3.2))
ax.plot(trap.z, trap.subtraction, color="#d55e00", label="1 − g, subtracted in float32")
ax.plot(
    trap.z, trap.complement, color=BLUE, lw=3, alpha=0.5, label="refine(1 − f, 1 − r) in float32"
)
ax.plot(trap.z, trap.exact, color="black", lw=0.8, label="exact")
ax.set(
    yscale="log", ylim=(1e-14, 1), xlabel="pre-activations z of f and r", ylabel="1 − g (log scale)"
)
ax.legend(frameon=False, loc="lower left")
bench.save(fig, "complement", data=trap)

# %% [markdown]
# **Your turn.**
# - Another band: replace `alpha` by $\min(f, 1-f)$ in Fig. 2b. Where does the upper end break?
# - Tie the refine gate to its main gate, $r = f$: `refine(p[1], p[1])` in `climb`. Is
#   it slower or faster than two separate ones?
# - Refine twice, `refine(refine(f, r), r)`. How far does $f = 0.9$ reach, and what is the band?
#
# **Next:** [24_refining_recurrent_models](24_refining_recurrent_models.ipynb), the gate in a cell.
