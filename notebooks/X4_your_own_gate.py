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
# # Make your own gate
#
# [← X3](X3_in_torchs_place.ipynb) ·
# [home](00_start_here.ipynb)
#
# **Which formula would you put between a forget gate and its cell?**
#
# Cost: some seconds on a CPU; nothing is trained for long.

# %% [markdown]
# **In short.** Write a formula of $f$ and $r$ and see what it reaches, which gradient it leaves and
# what a layer of it remembers. Of six ideas two pass the paper's own exam: the refine gate, and the
# refine gate applied twice. A class of four lines makes any of them a layer that trains. No claim
# is decided here.

# %% tags=["parameters"]
seed: int = 0  # of the weights and the data of the trial below

# %% tags=["nbval-ignore-output"]
import pandas as pd
import torch

import urgates
from urgates import GATES, Gate
from urgates.gates import refine
from urgates.lab import Bench
from urgates.lab.book import gate_figures, twin_figures

bench = Bench("X4_your_own_gate")
bench

# %% [markdown]
# ## Six ideas
#
# A gate of this page takes a main gate $f$ and an auxiliary gate $r$, both between 0 and 1, and
# gives the effective gate $g$ that multiplies the cell. Each line is somebody's first idea:


# %%
def cubed(f, r):
    return (1 - r) * f**3 + r * (1 - (1 - f) ** 3)


IDEAS = {
    "refine gate": refine,
    "refined twice": lambda f, r: refine(refine(f, r), r),
    "cubed ends": cubed,
    "mean": lambda f, r: (f + r) / 2,
    "product": lambda f, r: f * r,
    "up to the kink": lambda f, r: f + torch.minimum(f, 1 - f) * (2 * r - 1),
}

# %% [markdown]
# ## The exam
#
# > **Validity** $\alpha(f) \le \min(f, 1-f)$ · **Symmetry** $\alpha(f) = \alpha(1-f)$ ·
# > **Differentiability** $\alpha \in C^1$ (§2.3)
#
# Asked of any formula: does $g$ stay inside $(0, 1)$ and rise with $f$ and $r$? Is it mirrored,
# $1 - g(f, r) = g(1-f, 1-r)$, so that learning to forget is like learning to remember? Has it no
# kink at $f = 1/2$? And does $r = 1/2$ leave $f$ alone?


# %%
def exam(formula):
    """Answers at 161 × 161 points, by autograd."""
    axis = torch.linspace(-8, 8, 161, dtype=torch.float64)
    z = torch.stack(torch.meshgrid(axis, axis, indexing="ij")).flatten(1).requires_grad_()
    f, r = torch.sigmoid(z)
    g, half = formula(f, r), torch.tensor([0.5 - 1e-9, 0.5 + 1e-9], dtype=torch.float64)
    (slope,) = torch.autograd.grad(g.sum(), z)
    (left, right) = torch.func.vmap(torch.func.grad(lambda f: formula(f, torch.ones(()))))(half)
    tenth = torch.tensor(0.9, dtype=torch.float64)
    return {
        "inside": bool(((g > 0) & (g < 1)).all()),
        "rises": bool((slope >= 0).all()),
        "mirrored": torch.allclose(1 - g, formula(1 - f, 1 - r), atol=1e-12),
        "no kink": abs(left - right).item() < 1e-6,
        "r = 1/2: g = f": torch.allclose(formula(f, torch.full_like(r, 0.5)), f),
        "0.9 falls to": formula(tenth, 0 * tenth).item(),
        "0.9 rises to": formula(tenth, tenth / tenth).item(),
        "gradient / plain": (slope.norm(dim=0) / (g * (1 - g))).max().item(),
    }


# %%
answers = pd.DataFrame({name: exam(formula) for name, formula in IDEAS.items()}).T
demands = list(answers.columns[:5])
assert list(answers.index[answers[demands].all(axis=1)]) == ["refine gate", "refined twice"]
answers.replace({True: "yes", False: "–"}).map(lambda x: x if isinstance(x, str) else f"{x:.3f}")

# %%
f = torch.linspace(0, 1, 101, dtype=torch.float64)
bands = []
for name, formula in IDEAS.items():
    ends = [formula(f, torch.full_like(f, r)).numpy() for r in (0, 0.5, 1)]
    columns = dict(zip(("low", "middle", "high"), ends, strict=True))
    bands.append(pd.DataFrame({"idea": name, "f": f.numpy()} | columns))
bands = pd.concat(bands, ignore_index=True)

# %% tags=["hide-input"]
bench.save(gate_figures.reaches(bands), "ideas", data=bands)

# %% [markdown]
# The mean cannot leave the middle: two gates of 0.9 and 0 give 0.45, and its gradient is below a
# plain gate's. The product only ever lowers, which is what master gates do
# ([25](25_related_gates.ipynb)). Up to the kink the gate can jump to 1 from anywhere above 1/2, and
# its gradient, over a plain gate's, has no limit. Cubed ends go further than the refine gate, but
# an undecided $r$ already moves $f$.

# %% [markdown]
# ## Now yours
#
# Rewrite the formula; `sqrt`, `exp`, `log`, `min` and `max` are there, `**` is a power. The panels
# show what $r$ can make of $f$; how steep $g$ still is near 1, on the left, beside a plain sigmoid;
# where a layer's gates start, and what it remembers then, with $r = \sigma(-b)$ where
# $f = \sigma(b)$, as in Listing 2.

# %%
twin_figures.own_gate(GATES["UR"])

# %% [markdown]
# - `f**3*(1-r) + r*(1-(1-f)**3)`, cubed ends: what does the start become?
# - `f*f*(3-2*f)`, the gate refines itself: is its gradient ever below a plain one's?
# - Change $\varphi$ to fast: which panels move, which do not, and why?

# %% [markdown]
# ## From a formula to a layer
#
# In Python the same formula is a method of a class. It is called twice: with the activations `a`,
# and for the complement of $g$ with the complements `c` of $f$ and $r$, which stay exact near 1.
# That is why a gate should be mirrored. SymPy reads the rest out of it: equations, the backward
# pass, C++, and the JavaScript of a figure like the one above.


# %%
class CubedEnds(Gate):
    name = "U3"  # back ends know a gate by its name
    title = "uniformly started main gate, moved between f³ and 1 − (1 − f)³"

    def combine(self, a, c):
        return cubed(a["f"], a["r"]), cubed(c["f"], c["r"])


mine = CubedEnds(bias="uniform", auxiliary="refine")
mine

# %%
torch.manual_seed(seed)
layer = urgates.LSTM(8, 64, gate=mine)
gates = layer.gates(torch.randn(20, 4, 8))
torch.testing.assert_close(gates["g"], cubed(gates["f"], gates["r"]))
torch.testing.assert_close(gates["i"], 1 - gates["g"])
print("a layer of 64 units uses the formula, and 1 - g for its input")

# %% [markdown]
# Sixty steps of Copy at `smoke` size, a check that it learns; [26](26_gate_ablations.ipynb) lets a
# gate like it compete and compares its back ends, and its sliders are
# `twin_figures.own_gate(mine)`.

# %%
losses = bench.trial(mine, seed, steps=60)
assert all(loss > 0 for loss in losses) and losses[-1] < losses[0]
print("the loss falls")

# %% [markdown]
# **Your turn.**
# - Which formula has a larger band than $f(1-f)$, no kink and no unbounded gradient?
# - Put it into `CubedEnds`, give it a `name` of its own and run from there. Then
#   `urgates.LSTM(8, 64, gate=mine)` goes wherever an LSTM goes.
# - What would a gate with *two* auxiliary gates need? See the site's page on
#   gates of one's own, and `layout` in `urgates/gates.py`.
#
# **Next:** [26_gate_ablations](26_gate_ablations.ipynb), the nine gates of the paper.
