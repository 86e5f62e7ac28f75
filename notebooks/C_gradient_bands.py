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
# # App. C Gradients of a refined gate
#
# [← B4](B4_on_lstm.ipynb) ·
# [home](00_start_here.ipynb) ·
# [D →](D_protocols.ipynb)
#
# **How much more gradient does a refine gate leave near saturation?**
#
# [Decided here](40_scoreboard.ipynb): **confirmed** G11, G12, G13.
#
# Covers: Fig. 2d
#
# | preset | what it computes | time |
# |---|---|---|
# | any | algebra, autograd and a search over one variable; nothing is trained | 10 seconds, CPU |

# %% [markdown]
# **In short.** *Confirmed*: the refined gate's gradient is the closed form of App. C (G11); at
# equal activation it lies in the band of Fig. 2d (G12), always above a plain gate's and below
# twice as much (G13). The upper end is $2/(1+\sqrt{\min(g, 1-g)})$ in closed form. Near saturation
# that is a factor, not another order.

# %% tags=["parameters"]
seed: int = 0  # of the random points where formulas are compared

# %% tags=["nbval-ignore-output"]
import numpy as np
import pandas as pd
import sympy
import torch

from urgates import theory
from urgates.gates import band, refine
from urgates.lab import Bench, figures

bench = Bench("C_gradient_bands")

# %% [markdown]
# ## The gradient, by SymPy
#
# > Let $f, r, g$ be the forget, refine, and effective gates $g = 2rf + (1-2r)f^2$. (App. C)
#
# Main and refine gate are sigmoids of pre-activations $x$ and $y$, and a sigmoid's slope is
# $f(1-f)$. SymPy differentiates the library's own `refine`:

# %%
f, r, g = sympy.symbols("f r g", positive=True)
by_x = sympy.factor(sympy.diff(refine(f, r), f) * band(f))
by_y = sympy.factor(sympy.diff(refine(f, r), r) * band(r))

for ours, closed in zip((by_x, by_y), theory.refine_gradient(f, r), strict=True):
    assert sympy.expand(ours - closed) == 0
print("dg/dx =", by_x)
print("dg/dy =", by_y)

# %% [markdown]
# These are the paper's lines
#
# $$
# \nabla_x g = 2f(1-f)[r + (1-2r)f]
# $$
#
# $$
# \nabla_y g = 2fr(1-r)(1-f)
# $$
#
# $$
# \|\nabla g\|^2 = [2f(1-f)]^2\left[(r + f - 2fr)^2 + r^2(1-r)^2\right]
# $$
#
# **Predicted (G11):** autograd finds the same gradient, to $10^{-10}$ in float64, at 10,000 random
# pairs of pre-activations.

# %%
torch.manual_seed(seed)
x, y = (3 * torch.randn(10_000, dtype=torch.float64)).requires_grad_(), torch.randn(10_000).double()
y.requires_grad_()
autograd = torch.autograd.grad(refine(x.sigmoid(), y.sigmoid()).sum(), (x, y))

norm = torch.hypot(*autograd)
F, R = x.sigmoid().detach(), y.sigmoid().detach()
closed = 2 * F * (1 - F) * ((R + F - 2 * F * R) ** 2 + R**2 * (1 - R) ** 2).sqrt()
off = (norm - closed).abs().max().item()
bench.claim("G11", holds=off < 1e-10, ours="equal to 1e-10" if off < 1e-10 else f"off by {off:.0e}")

# %% [markdown]
# ## The gradient at equal activation
#
# A refined gate should be compared with a plain gate that has the *same* activation. So the paper
# eliminates $r$, with $r = (g - f^2)/2f(1-f)$:

# %%
squared = by_x**2 + by_y**2
without_r = squared.subs(r, (g - f**2) / (2 * f * (1 - f)))
first = (g - f**2) * (1 - 2 * f) + 2 * f**2 * (1 - f)
second = 1 - (g - f**2) / (2 * f * (1 - f))

assert sympy.simplify(without_r - (first**2 + (g - f**2) ** 2 * second**2)) == 0

# %% [markdown]
# $$
# \|\nabla g\|^2 = \left[(g-f^2)(1-2f) + 2f^2(1-f)\right]^2
# + (g-f^2)^2 \left(1 - \frac{g-f^2}{2f(1-f)}\right)^2
# $$
#
# **Three sources S7.** The text layer of the paper's PDF ends this line in
# $\left(1 - \frac{g-f^2}{2f(1-f)}\right)$ without a square; the line before it, and algebra, have
# one. We use the square, wherever it was lost. Without it the squared norm comes out too large:

# %%
lost = first**2 + (g - f**2) ** 2 * second
for point in ({f: 0.5, g: 0.5}, {f: 0.9, g: 0.9}, {f: 0.9, g: 0.95}):
    right, wrong = float(without_r.subs(point)), float(lost.subs(point))
    print(f"f = {point[f]}, g = {point[g]}: {right:.4f}, without the square {wrong:.4f}, "
          f"{wrong / right - 1:.0%} more")  # fmt: skip
    assert wrong > right

# %% [markdown]
# The same $g$ can be had from many pairs: any $r$ between 0 and 1 with the $f$ that it needs. The
# library calls that $f$ `main_gate(g, r)`, and `gradient_ratio(g, r)` is $\|\nabla g\|$ over
# $g(1-g)$, the gradient of a plain gate.

# %%
g_values = (0.5, 0.75, 0.9, 0.99, 0.999)
r_grid = np.linspace(0, 1, 1001)
assert np.allclose(refine(theory.main_gate(0.9, r_grid), r_grid), 0.9)

ratios = pd.DataFrame({"r": r_grid})
for value in g_values:
    ratios[f"g = {value}"] = theory.gradient_ratio(1 - value, 1 - r_grid)  # exact near 1

# %% tags=["hide-input"]
fig, ax = figures.subplots(size=(6.4, 3.8))
color = figures.STYLE["R"]["color"]
for shade, column in zip((0.3, 0.45, 0.6, 0.8, 1), ratios.columns[1:], strict=True):
    curve = ratios[column]
    ax.plot(r_grid, curve, color=color, alpha=shade, lw=2, label=column)
    ax.plot(r_grid[curve.argmin()], curve.min(), "v", color=color, alpha=shade)
    ax.plot(r_grid[curve.argmax()], curve.max(), "^", color=color, alpha=shade, clip_on=False)
ax.axhline(1, color="0.2", lw=1, ls=":")
ax.annotate("a plain gate", (0.02, 0.93), color="0.2")
ax.set(xlabel="refine gate r", ylabel="gradient over a plain gate's", xlim=(0, 1), ylim=(0.9, 2.05))
ax.legend(frameon=False, loc="upper center")
bench.save(fig, "ratio_by_refine_gate", data=ratios, paper="App. C")

# %% [markdown]
# ## The upper bound has a closed form
#
# The largest ratios lie at the ends. At $r = 0$, $f = \sqrt g$; at $r = 1$, $1-f = \sqrt{1-g}$; the
# refine gate itself has no gradient there, and
#
# $$
# \max_r \frac{\|\nabla g\|}{g(1-g)} = \frac{2}{1 + \sqrt{\min(g, 1-g)}}
# $$

# %%
at_0 = (by_x / band(refine(f, r))).subs({r: 0, f: sympy.sqrt(g)})
at_1 = (by_x / band(refine(f, r))).subs({r: 1, f: 1 - sympy.sqrt(1 - g)})

assert sympy.simplify(at_0 - 2 / (1 + sympy.sqrt(g))) == 0
points = np.linspace(0.01, 0.99, 99)
error = sympy.lambdify(g, at_1)(points) - 2 / (1 + np.sqrt(1 - points))
assert np.abs(error).max() < 1e-12
print("ratio at r = 0:", sympy.simplify(at_0))

# %% [markdown]
# ## The lower bound is above 1
#
# The paper finds the bounds numerically. That the ratio exceeds 1 needs no search. Write
# $g = fA$ and $1-g = (1-f)B$; then already the main gate's share is
#
# $$
# \frac{\nabla_x g}{g(1-g)} = 1 + \frac{f(1-f)(1-2r)^2}{AB} \ge 1
# $$
#
# with equality only at $r = 1/2$, where the refine gate adds its own share. So a refined gate
# *always* has more gradient than a plain one of equal activation.

# %%
A = f + 2 * r * (1 - f)
B = (1 - f) + 2 * f * (1 - r)
assert sympy.expand(refine(f, r) - f * A) == 0
assert sympy.expand(1 - refine(f, r) - (1 - f) * B) == 0

share = by_x / band(refine(f, r))
assert sympy.simplify(share - 1 - band(f) * (1 - 2 * r) ** 2 / (A * B)) == 0

# %% [markdown]
# ## Figure 2d
#
# > this function can be minimized and maximized … to produce the upper and lower bounds in
# > Figure 2d. This was performed numerically. (App. C)
#
# **Predicted (G12):** the band at equal activation has the values below, derived independently, to
# $10^{-3}$. **Predicted (G13):** the ratio is above 1 and below 2 everywhere: the gradient vanishes
# less quickly, yet to the same order.

# %%
expected = pd.DataFrame(
    {
        "g": [0.5, 0.75, 0.9, 0.99, 0.999],
        "least": [1.1131, 1.0611, 1.0249, 1.0025, 1.0003],
        "largest": [1.1716, 1.3333, 1.5195, 1.8182, 1.9387],
    }
)
low, high = theory.gradient_bounds(expected.g)
print(expected.assign(found_least=low, found_largest=high).round(3).to_string(index=False))
match = np.allclose(low, expected.least, atol=1e-3) and np.allclose(
    high, expected.largest, atol=1e-3
)
bench.claim("G12", holds=match, ours=f"at g = 0.9 from {low[2]:.3f} to {high[2]:.3f}")

# %%
g_grid = np.linspace(0.001, 0.999, 999)
saturation = np.geomspace(1e-6, 0.5, 121)  # 1 - g
low, high = theory.gradient_bounds(g_grid)
low_s, high_s = theory.gradient_bounds(saturation)
brute = theory.gradient_ratio(np.minimum(g_grid, 1 - g_grid)[:, None], r_grid)
assert (brute >= low[:, None] - 1e-9).all() and (brute <= high[:, None] + 1e-9).all()

lows, highs = np.append(low, low_s), np.append(high, high_s)
less_quickly = bool((lows > 1).all() and (highs < 2).all())
bench.claim("G13", holds=less_quickly, ours=f"ratio from {lows.min():.3f} to {highs.max():.3f}")

# %%
plain = band(g_grid)
bounds = pd.DataFrame({"g": g_grid, "plain": plain, "lower": low * plain, "upper": high * plain})
near = pd.DataFrame({"saturation": saturation, "lower ratio": low_s, "upper ratio": high_s})
plotted = pd.concat([bounds, near], ignore_index=True)

# %% tags=["hide-input"]
fig, (left, right) = figures.subplots(1, 2, size=(9.6, 3.8))
color = figures.STYLE["R"]["color"]
left.fill_between(g_grid, bounds.lower, bounds.upper, color=color, alpha=0.25, lw=0)
left.plot(g_grid, bounds.upper, color=color, lw=2, label="refined, largest")
left.plot(g_grid, bounds.lower, color="0.1", lw=2, label="refined, least")
left.plot(g_grid, plain, color="0.5", lw=1.5, ls=":", label="plain gate, g(1 − g)")
left.set(xlabel="effective gate g", ylabel="gradient norm", xlim=(0, 1), ylim=(0, 0.31))
left.legend(frameon=False, loc="lower center")
right.fill_between(saturation, low_s, high_s, color=color, alpha=0.25, lw=0)
right.semilogx(saturation, high_s, color=color, lw=2)
right.semilogx(saturation, low_s, color="0.1", lw=2)
right.axhline(1, color="0.5", lw=1.5, ls=":")
right.set(xlabel="distance to saturation, 1 − g (log scale)", ylabel="ratio to a plain gate")
right.set(xlim=(0.5, 1e-6), ylim=(0.95, 2.05))
bench.save(fig, "fig2d", data=plotted, paper="Fig. 2d")

# %% [markdown]
# Near saturation the best pairs ($r$ at an end) learn twice as fast as a plain gate, the worst no
# faster. That is a factor, not an order: the gradient still falls like $1-g$. The refine gate's
# larger gain is in *reach*, see [23](23_refine_gate.ipynb): with both pre-activations at $z$,
# $1-g \approx 3e^{-2z}$ instead of $e^{-z}$.

# %%
z = torch.tensor([2.0, 4.0, 6.0], dtype=torch.float64)
p = torch.sigmoid(-z)  # 1 - f = 1 - r
beyond = refine(p, p)  # 1 - g
for at, one, two in zip(z, p, beyond, strict=True):
    print(f"z = {at:.0f}: 1 - f = {one:.1e}, 1 - g = {two:.1e}")
assert torch.allclose(beyond[1:], 3 * torch.exp(-2 * z[1:]), rtol=0.06)

# %% [markdown]
# **Open point O7.** "The gradient when using a refine gate" (Fig. 2) is the norm over *two*
# pre-activations against one of a plain gate. Reading it as the main gate's share alone keeps the
# upper bound and moves the lower one to exactly 1, at $r = 1/2$. We draw the norm, as App. C
# derives it; the difference is largest at $g = 1/2$, 11 %.


# %%
def main_share(g, r):
    return theory.refine_gradient(theory.main_gate(g, r), r)[0] / band(g)


shares = main_share(np.array(g_values)[:, None], r_grid)
assert np.allclose(shares.min(1), 1) and (r_grid[shares.argmin(1)] == 0.5).all()
assert np.allclose(shares.max(1), theory.gradient_bounds(g_values)[1])
print(f"least ratio at g = 1/2: norm {theory.gradient_bounds(0.5)[0]:.3f}, main gate alone 1.000")

# %% [markdown]
# **Your turn.** Refine a refined gate: $g_2 = R(R(f, r), s)$. Guess the largest ratio that it
# reaches near saturation, then let SymPy tell you:
#
# ```python
# s = sympy.Symbol("s")
# twice = refine(refine(f, r), s)
# ratio = (sympy.diff(twice, f) * band(f) / band(twice)).subs({r: 1, s: 1})
# print(sympy.limit(sympy.simplify(ratio), f, 1))
# ```
#
# **Next:** [D_protocols](D_protocols.ipynb), how everything was trained.
# **Back:** [B4_on_lstm](B4_on_lstm.ipynb), [23_refine_gate](23_refine_gate.ipynb).
