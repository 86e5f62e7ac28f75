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
# # §F.4 Saturation
#
# [← E3](E3_program_execution.ipynb) ·
# [home](00_start_here.ipynb) ·
# [F4b →](F4b_learnability.ipynb)
#
# **Every gate goes flat near 1. Which one does so sooner, and what gradient is left to it there?**
#
# [Decided here](40_scoreboard.ipynb): **confirmed** F26, F25, F04, F06, F07, F08, F16;
# **imprecise** F05.
#
# The second paper is "Fast Saturating Gate for Learning Long Time Scales with Recurrent Neural
# Networks" (Ohno, Kanai and Ida, AAAI 2023). Of it this page covers §2.2, on saturation, the
# abstract and §4.2 with Definition 4.1; [F4b](F4b_learnability.ipynb) has §4.1 and what follows for
# learning.
#
# | preset | what it computes | time |
# |---|---|---|
# | any | gates and their slopes: formulas, limits | 10 seconds, CPU |

# %% [markdown]
# **In short.** *Confirmed*: long time scales force a gate into saturation (F25), which no gate
# escapes (F04). The fast gate saturates doubly exponentially, in a higher order than the sigmoid,
# and that in a higher one than softsign (F06, F07). In $z$ its gradient is gone soonest; at equal
# activation it is the largest of all (F08, F16), never above 0.279 (F26). *Imprecise*: the
# definition asks for all of [0, 1], and no gate attains 0 or 1 (F05).

# %% tags=["parameters"]
deepest: float = 1e-12  # the smallest distance to saturation, 1 - f, that is looked at

# %% tags=["nbval-ignore-output"]
import mpmath
import numpy as np
import pandas as pd
import sympy

from urgates.gates import band
from urgates.lab import Bench
from urgates.lab.book import theory_figures, twin_figures
from urgates.lab.book.claims import IMPRECISE
from urgates.theory import gradient_bounds, saturation
from urgates.theory.learnability import Problem
from urgates.theory.saturation import fast, refined, sigmoid, softsign

bench = Bench("F4a_saturation")

# %% [markdown]
# **Open point O20.** What is quoted here and in [F4b](F4b_learnability.ipynb) is the paper's, from
# the end of §2.2, §3, §4.1 and the opening of §4.2. Everything else, orders of saturation, rates
# and times included, is **our derivation** from that setting, and marked so; the paper's own
# theorems may be put otherwise. The claims carry the same mark.

# %% [markdown]
# ## The gates
#
# | gate | $\varphi(z)$ |
# |---|---|
# | softsign, normalised | $\frac12 + \frac{z}{2(2+\lvert z\rvert)}$ |
# | sigmoid | $\sigma(z) = 1/(1+e^{-z})$ |
# | fast | $\sigma(\sinh z)$ |
#
# All pass through $(0, \frac12)$ with the slope $\frac14$. What matters happens where $f = \varphi$
# is so near 1 that floating point rounds it to 1; so we compute with the *complement* $u = 1-f$
# (in this notebook $u$ is never the candidate of [20](20_gated_rnns.ipynb)).

# %%
three, refine = (softsign, sigmoid, fast), refined()  # the refine gate: explained below
four = (*three, refine)

for gate in three:
    print(f"{gate.name:9} 1 - f at z = 4: {float(gate.complement(4.0)):.1e}")
    assert abs(gate.complement(0.0) - 0.5) < 1e-15 and abs(gate.slope(0.5) - 0.25) < 1e-15

# %%
z = np.linspace(-6, 6, 401)
shapes = pd.DataFrame({"z": z})
for gate in three:
    shapes[gate.name] = gate.complement(-z)  # point symmetry: φ(z) = 1 - φ(-z)
    shapes[f"{gate.name} slope"] = gate.slope(gate.complement(np.abs(z)))
bench.save(theory_figures.shapes(shapes), "gates", data=shapes)

# %% [markdown]
# **Predicted (F26), our derivation:** the fast gate's gradient cannot explode. Its largest value is
# 0.27855, barely above the sigmoid's $\frac14$.

# %%
x = sympy.Symbol("x", positive=True)
slope = sympy.diff(1 / (1 + sympy.exp(-sympy.sinh(x))), x)
peak = float(sympy.nsolve(sympy.diff(slope, x), x, 1.0))
largest = float(slope.subs(x, peak))
assert abs(fast.slope(fast.complement(peak)) - largest) < 1e-12
ours = f"largest {largest:.5f} at z = {peak:.3f}"
bench.claim("F26", holds=abs(largest - 0.27855) < 1e-4, ours=ours)

# %% [markdown]
# ## Long time scales need saturation
#
# > gated RNNs must face saturation of the forget gate to learn long time scales (§2.2)
#
# **Predicted (F25):** keeping 0.9 over $k$ steps takes at least $f = 0.9^{1/k}$. If units serve
# horizons $1, 2, \dots, N$, the share of those that need $f > 0.99$ grows with $N$, and the
# gradient left at that $f$ falls with $k$, whatever the gate.

# %%
horizons = np.array([1, 10, 100, 1000, 10_000])
needed = np.array([Problem(int(k), 0.9).optimum for k in horizons])  # 1 - f
assert np.allclose((1 - needed) ** horizons, 0.9)
assert (((1 - 1.001 * needed) ** horizons) < 0.9).all()  # any smaller f keeps less

shares = [float(np.mean(0.9 ** (1 / np.arange(1, n + 1)) > 0.99)) for n in horizons]
left = np.array([gate.slope(needed) for gate in three])
forced = bool((np.diff(shares[1:]) > 0).all() and (np.diff(left[:, 1:]) < 0).all())
print("N", horizons, "share with f > 0.99:", np.round(shares, 3))
bench.claim("F25", holds=forced, ours=f"share with f > 0.99: {shares[1]:.0%} at N = 10, "
            f"{shares[2]:.0%} at 100, {shares[3]:.0%} at 1,000")  # fmt: skip

# %% [markdown]
# ## Saturation is inevitable
#
# > **Definition 4.1.** Let $\mathcal F$ be a set of differentiable and strictly increasing
# > surjective functions $\varphi: \mathbb R \to [0,1]$ such that the derivative $\varphi'$ is
# > monotone on $z > z_0$ for some $z_0 \ge 0$. (§4.2)
#
# **Open point O21.** Taken literally no function qualifies: one that strictly increases and attains
# 1 at some $z$ exceeds 1 beyond it. We read $(0,1)$, with the limits 0 and 1.

# %% [markdown]
# **Predicted (F05):** with that reading all gates are in $\mathcal F$; $\varphi'$ falls from
# $z_0 = 0$, for the fast gate from $z_0 = 0.946$. Read as printed, none is: no finite $z$ gives
# $f = 1$.

# %%
found = {gate.name: saturation.membership(gate) for gate in four}
for name, m in found.items():
    print(f"{name:9} in 𝓕: {m.member}, z0 = {m.z0:.3f}, gradient at 1 - f = {m.reach:.0e}: "
          f"{m.slope:.0e}")  # fmt: skip

with mpmath.workdps(5000):  # a float rounds f to 1; the number itself is below
    assert all(1 / (1 + mpmath.exp(-mpmath.sinh(z))) < 1 for z in (5, 9))
right = all(m.member for m in found.values()) and abs(found["fast"].z0 - 0.946) < 1e-3
right &= all(found[name].z0 == 0 for name in ("softsign", "sigmoid"))
bench.claim("F05", holds=IMPRECISE if right else False,
            ours="onto (0, 1): no increasing φ attains the printed [0, 1]; "
            f"fast from z0 = {found['fast'].z0:.3f}")  # fmt: skip

# %% [markdown]
# `saturation.activation` makes a gate of any $\varphi$, written as NumPy would have it, and refuses
# what is none: not increasing, not between 0 and 1, not a number. So it answers mistakes:

# %%
for name, wrong in {
    "hard sigmoid": lambda z: np.clip(0.5 + z / 4, 0, 1),
    "tanh": np.tanh,
    "wavy": lambda z: 1 / (1 + np.exp(-z - 2 * np.sin(z))),
}.items():
    try:
        saturation.activation(wrong)
    except ValueError as error:
        print(f"{name}: {error}")

# %% [markdown]
# > we first show that saturation is inevitable regardless of the choice of $\varphi \in \mathcal F$
# > (§4.2)
#
# The reason (our derivation): $\varphi'$ integrates to at most 1, and falls beyond $z_0$. So
# $\frac z2 \varphi'(z) \le \varphi(z) - \varphi(\frac z2) \to 0$: even $z\varphi'(z)$ vanishes.
#
# **Predicted (F04):** $\varphi'$ and $z\varphi'$ fall towards 0 in every gate, and obey that bound.

# %%
inevitable = True
for gate in four:
    u = np.geomspace(1e-2, deepest, 11)
    z = gate.inverse(u)
    for vanishing in (gate.slope(u), z * gate.slope(u)):
        inevitable &= bool((np.diff(vanishing) < 0).all() and vanishing[-1] < 1e-9)
    inevitable &= bool((z / 2 * gate.slope(u) <= gate.complement(z / 2) - u).all())
bench.claim("F04", holds=inevitable, ours="φ' and zφ' fall to below 1e-9, four gates")

# %% [markdown]
# ## How fast do they saturate?
#
# The paper's abstract calls the fast gate's convergence doubly exponential. Expanding the three
# formulas for large $z$:
#
# $$
# u_{ns} \approx \frac1z \qquad u_\sigma \approx e^{-z} \qquad u_{fast} \approx e^{-e^z/2}
# $$
#
# **Predicted (F06):** $\ln(-\ln u)/z \to 1$; the distance to 1 is $\ln 2/z$.

# %%
z = np.array([5.0, 20.0, 100.0, 500.0])
minus_log_u = np.logaddexp(0, np.sinh(z))  # -ln(1 - σ(s)) = ln(1 + e^s): no underflow
ratio = np.log(minus_log_u) / z
print("z", z, "ln(-ln u)/z", ratio.round(4))
assert np.allclose(minus_log_u[0], -np.log(fast.complement(5.0)))
doubly = bool((np.diff(ratio) > 0).all() and np.allclose((1 - ratio) * z, np.log(2), atol=1e-3))
bench.claim(
    "F06", holds=doubly, ours=f"ln(−ln u)/z = {ratio[0]:.3f} at z = 5, {ratio[-1]:.4f} at 500"
)

# %%
z = np.linspace(0, 12, 241)
tails = pd.DataFrame({"z": z} | {gate.name: gate.complement(z) for gate in three})
for gate in three:
    tails[f"{gate.name} slope"] = gate.slope(tails[gate.name].clip(1e-99))
tails = tails.where(tails > 1e-20)
bench.save(theory_figures.tails(tails), "saturation", data=tails)

# %% [markdown]
# ## Order of saturation (our derivation)
#
# We say that $\varphi$ saturates in a *higher order* than $\psi$ if no stretching helps $\psi$: for
# every $a > 0$
#
# $$
# \frac{1-\varphi(z)}{1-\psi(az)} \to 0 \quad (z \to \infty)
# $$
#
# and $\psi^{-1}\circ\varphi$ is convex from some $z$ on. **Predicted (F07):** fast > sigmoid >
# softsign, for $a = 0.1, 1, 10$; the compositions are $e^z-1$ and $\sinh z$.


# %%
def log_ratio(high, low, a, z):
    return np.log(high.complement(z)) - np.log(low.complement(a * z))


pairs, higher = ((sigmoid, softsign, 60, np.expm1), (fast, sigmoid, 6.4, np.sinh)), True
for high, low, end, composed in pairs:
    for a in (0.1, 1, 10):
        ratio = log_ratio(high, low, a, np.linspace(0.8 * end, end, 9))
        print(f"{high.name} to {low.name}, a = {a}: e^{ratio[0]:.0f} … e^{ratio[-1]:.0f}")
        higher &= bool((np.diff(ratio) < 0).all() and ratio[-1] < -40)
    z = np.linspace(0.01, 6, 200)
    bent = low.inverse(high.complement(z))
    higher &= bool(np.allclose(bent, composed(z), rtol=1e-6) and (np.diff(bent, 2) > 0).all())
higher &= {saturation.compare(high, low).order for high, low, *_ in pairs} == {"higher"}
bench.claim(
    "F07", holds=higher, ours="ratios below e⁻⁴⁰ for a = 0.1, 1, 10; both compositions convex"
)

# %% [markdown]
# ## More gradient at equal activation
#
# The derivative of $\psi^{-1}\circ\varphi$ is $g_\varphi/g_\psi$, both at one activation. So a
# higher order *means* that this ratio grows without bound. **Predicted (F08):**
#
# $$
# \frac{g_\sigma}{g_{ns}} = \frac{1-u}{u}
# \qquad
# \frac{g_{fast}}{g_\sigma} = \sqrt{1+\ell^2}, \quad \ell = \ln\frac{1-u}{u}
# $$
#
# The second grows, but only like a logarithm.

# %%
s, logit = sympy.symbols("s l", positive=True)  # s = sinh z = logit of f
u_s = 1 / (1 + sympy.exp(s))
by_chain = sympy.diff(u_s, s) * sympy.sqrt(1 + s**2)  # dz: cosh z = √(1 + sinh² z)
assert sympy.simplify(-by_chain / (u_s * (1 - u_s)) - sympy.sqrt(1 + s**2)) == 0

u = np.geomspace(0.5, deepest, 200)[1:]
first, second = sigmoid.slope(u) / softsign.slope(u), fast.slope(u) / sigmoid.slope(u)
ell = np.log((1 - u) / u)
exact = np.abs(first / ((1 - u) / u) - 1).max() < 1e-10
exact &= np.abs(second / np.sqrt(1 + ell**2) - 1).max() < 1e-10
grow = bool((np.diff(first) > 0).all() and (np.diff(second) > 0).all())
bench.claim(
    "F08",
    holds=bool(exact) and grow,
    ours=f"at u = {deepest:.0e}: {first[-1]:.0e} and {second[-1]:.1f}",
)

# %% [markdown]
# **Predicted (F16), our derivation:** the fast gate's gradient is the *smaller* one in $z$, beyond
# 1.942, and the *larger* one at every activation. Its saturation is sooner and its learning faster;
# there is no contradiction, since it needs less of $z$ to go the same way.

# %%
z = np.linspace(0, 7, 70_001)[1:]
smaller = fast.slope(fast.complement(z)) < sigmoid.slope(sigmoid.complement(z))
crossing = z[smaller.argmax()]
always = bool((fast.slope(u) > sigmoid.slope(u)).all() and smaller[smaller.argmax() :].all())
bench.claim("F16", holds=always and abs(crossing - 1.942) < 1e-3,
            ours=f"smaller for z > {crossing:.3f}; larger at every 1 − f below 1/2")  # fmt: skip

# %% [markdown]
# **Move it yourself.** The dot is one gate at $z$, the dashed line its slope there. Which $\varphi$
# is flattest at $z = 3$, and which is steepest at the $f$ it has there?

# %%
twin_figures.saturation()

# %% [markdown]
# ## Where the refine gate stands
#
# A refine gate has two pre-activations, and descent on any loss of $g = R(f, r)$ moves both along
# $\nabla g$: along one line. Its arc length is a single pre-activation, $\|\nabla g\|$ the
# gradient, so everything above applies. `refined()` follows the line from $f = r = \frac12$. Its
# gain over a sigmoid must lie in the band of paper 1's Fig. 2d ([C](C_gradient_bands.ipynb)).

# %%
u = np.geomspace(0.499, deepest, 240)
low, high = gradient_bounds(u)
gain = pd.DataFrame({"u": u, "band low": low, "band high": high})
for gate in four:
    gain[gate.name] = gate.slope(u) / band(u)
assert gain.refine.between(low, high).all()
print(f"refine's gain at 1 - f = {deepest:.0e}: {gain.refine.iloc[-1]:.4f}, √2 = {2**0.5:.4f}")
bench.save(theory_figures.gain(gain), "gain_at_equal_activation", data=gain)

# %% [markdown]
# **Your turn.** The normal distribution's function saturates like $e^{-z^2/2}$. Is that a higher
# order than the sigmoid's, and is it lower than the fast gate's?
#
# ```python
# from scipy.special import ndtr
# normal = saturation.activation(lambda z: ndtr(z), lambda z: ndtr(-z), name="normal")
# print(*(saturation.compare(normal, gate).order for gate in (sigmoid, fast)))
# ```
#
# **Next:** [F4b_learnability](F4b_learnability.ipynb), what the orders mean for learning.
# **Back:** [C_gradient_bands](C_gradient_bands.ipynb), the refine gate's gradient.
