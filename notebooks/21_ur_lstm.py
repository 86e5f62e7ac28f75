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
# # §2.1 The UR-LSTM
#
# [← 20](20_gated_rnns.ipynb) ·
# [home](00_start_here.ipynb) ·
# [22 →](22_uniform_gate_init.ipynb)
#
# **What is the whole model, and is one formula really enough for text, library, gradient and C?**
#
# [Decided here](40_scoreboard.ipynb): **confirmed** G28.
#
# Covers: Eqs. 9–15
#
# Cost: some seconds on a CPU; nothing is trained.

# %% [markdown]
# **In short.** The UR-LSTM is ten lines. Its one formula, `refine`, is read by NumPy, torch, SymPy
# and C alike; from it come the derivatives that are the gate's own, while the rest of a cell's
# backward pass is written by hand and tested. *Confirmed*: it needs no number but its sizes (G28).

# %% tags=["parameters"]
seed: int = 0  # of the random weights and inputs below

# %% tags=["nbval-ignore-output"]
import ctypes
import inspect
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import sympy
import torch
from IPython.display import Markdown, Math

import urgates
from urgates.gates import refine
from urgates.lab import Bench, figures, show_source
from urgates.symbolic import c_statements, trace

bench = Bench("21_ur_lstm")
bench

# %% [markdown]
# ## The model
#
# > these methods can be used to modify any gate (or more generally, bounded function) in any model.
# > In this context the UR-LSTM is simply defined by applying UGI and a refine gate $r$ on the
# > original forget gate $f$ to create an effective forget gate $g$ (§2.1)
#
# **U**, the uniform start: each unit draws its own forget bias, so that the gates start spread out:
#
# $$
# b_f \sim \sigma^{-1}(U[0, 1]) \qquad (9)
# $$
#
# **R**, the refine gate: a second gate $r$ moves the first within a band, and the result $g$ does
# what forget and input gate did:
#
# $$
# \begin{aligned}
# f_t &= \sigma(L_f(x_t, h_{t-1})) & (10) \\
# r_t &= \sigma(L_r(x_t, h_{t-1})) & (11) \\
# g_t &= r_t \cdot (1 - (1 - f_t)^2) + (1 - r_t) \cdot f_t^2 & (12) \\
# c_t &= g_t c_{t-1} + (1 - g_t) u_t & (13) \\
# o_t &= \sigma(L_o(x_t, h_{t-1})) & (14) \\
# h_t &= o_t \tanh(c_t) & (15)
# \end{aligned}
# $$

# %% [markdown]
# **Open point O1.** The text layer of the paper's PDF has $(1 - r_t) \cdot f_t$ in Eq. (12) and in
# the first line of §D.5, without the square. Eqs. (16) and (36), App. C, Listing 2 and the second
# line of §D.5 need $f_t^2$, and that is what we use. Effect of the other reading: the symmetry
# between remembering and forgetting, $g(1-f, 1-r) = 1 - g(f, r)$, is lost, and the refine gate
# could only raise $f$, never lower it:


# %%
def without_square(f, r):
    return r * (1 - (1 - f) ** 2) + (1 - r) * f


for form in (refine, without_square):
    lowest, mirror = form(0.9, 0.0), form(0.9, 0.2) + form(0.1, 0.8)
    print(f"{form.__name__:15} f = 0.9 lowered to {lowest:.2f}, g(f,r) + g(1-f,1-r) = {mirror:.3f}")

# %% [markdown]
# ## Ten lines


# %%
def ur_lstm(x, h, c, W, b, b_f):
    """Eqs. (10)-(15); one matrix W[head] over [x_t, h_{t-1}] and one bias b[head] per head."""
    for x_t in x:
        pre = {head: torch.cat([x_t, h], -1) @ W[head].T + b[head] for head in W}
        f = torch.sigmoid(pre["f"] + b_f)
        r = torch.sigmoid(pre["r"] - b_f)
        g = r * (1 - (1 - f) ** 2) + (1 - r) * f**2
        c = g * c + (1 - g) * torch.tanh(pre["u"])
        h = torch.sigmoid(pre["o"]) * torch.tanh(c)
    return h, c


# %% [markdown]
# The bias $b_f$ enters $f$ with a plus and $r$ with a minus, as in the paper's Listing 2. What that
# sign does is measured in [22](22_uniform_gate_init.ipynb).
#
# Now the library's module, in `float64` and with random numbers in every parameter. The row blocks
# of its weights are the heads of the gate:

# %%
torch.manual_seed(seed)
lstm = urgates.LSTM(3, 5).double()  # gate="UR" is the default
for p in lstm.parameters():
    p.data.normal_()

w_x, w_h, b_x, b_h, b_f = lstm.parameters()
W = dict(zip(lstm.gate.heads, torch.cat([w_x, w_h], 1).chunk(4), strict=True))
b = dict(zip(lstm.gate.heads, (b_x + b_h).chunk(4), strict=True))
print("row blocks:", *lstm.gate.heads)

# %%
x = torch.randn(50, 2, 3, dtype=torch.float64)
zeros = torch.zeros(2, 5, dtype=torch.float64)
ours = ur_lstm(x, zeros, zeros, W, b, b_f)
_, (h, c) = lstm(x)
torch.testing.assert_close((h[0], c[0]), ours, rtol=1e-10, atol=1e-13)
print("after 50 steps the module is where the ten lines are")

# %%
weights = list(lstm.parameters())
by_hand = torch.autograd.grad((ours[0] + ours[1]).sum(), weights)
by_module = torch.autograd.grad((h + c).sum(), weights)
torch.testing.assert_close(by_module, by_hand, rtol=1e-8, atol=1e-11)
print("and so are the gradients of all", sum(p.numel() for p in weights), "parameters")

# %% [markdown]
# ## A gate explains itself
#
# Nothing above is special to UR. A `Gate` is a small object on two axes, how the main gate starts
# and what modulates it; models, figures and this card read from it:

# %% tags=["nbval-ignore-output"]
card = urgates.GATES["UR"]
assert (card.bias, card.auxiliary, card.tied) == ("uniform", "refine", True)
card

# %% [markdown]
# ## One formula, four readers
#
# Here is all there is to refining. It is plain arithmetic without a torch call, so it runs on
# whatever one brings: numbers, arrays, tensors, symbols.

# %%
show_source(refine)

# %% [markdown]
# **Reader 1: NumPy.** Arrays in, arrays out. Each line is one setting of the refine gate:

# %%
f = np.linspace(0, 1, 101)
band = pd.concat(pd.DataFrame({"f": f, "r": r, "g": refine(f, r)}) for r in np.linspace(0, 1, 9))
assert band.g.between(0, 1).all()

# %% tags=["hide-input"]
fig, ax = figures.subplots(size=(5.0, 3.8))
for r, part in band.groupby("r"):
    ax.plot(part.f, part.g, color=(0.85 - 0.8 * r, 0.35 + 0.2 * r, 0.1 + 0.6 * r), lw=1.5)
ax.plot([0, 1], [0, 1], color="black", lw=1, ls=":")
ax.annotate("r = 1:  1 − (1 − f)²", (0.05, 0.9), color=(0.05, 0.55, 0.7))
ax.annotate("r = 0:  f²", (0.95, 0.1), color=(0.85, 0.35, 0.1), ha="right")
ax.annotate("r = 1/2 (dotted):  f", (0.95, 0.03), ha="right")
ax.set(xlabel="main gate f", ylabel="effective gate g", aspect="equal", xlim=(0, 1), ylim=(0, 1))
bench.save(fig, "refine", data=band)

# %% [markdown]
# **Reader 2: torch.** Tensors in, gradients out.

# %%
point = torch.tensor([0.9, 0.8], dtype=torch.float64, requires_grad=True)
refine(*point).backward()
by_f, by_r = point.grad.tolist()
print(f"g = {refine(0.9, 0.8):.3f},  dg/df = {by_f:.3f},  dg/dr = {by_r:.3f}")

# %% [markdown]
# **Reader 3: SymPy.** Symbols in, the equation and its derivatives out, ready for a page:

# %% tags=["nbval-ignore-output"]
F, R = sympy.symbols("f r")
g = sympy.collect(sympy.expand(refine(F, R)), R)
dg = [sympy.factor(sympy.diff(g, v)) for v in (F, R)]
parts = {"g": g, r"\partial g / \partial f": dg[0], r"\partial g / \partial r": dg[1]}
Math(r" \qquad ".join(f"{name} = {sympy.latex(part)}" for name, part in parts.items()))

# %%
equation_12 = R * (1 - (1 - F) ** 2) + (1 - R) * F**2
assert sympy.expand(g - equation_12) == 0
at_point = [float(d.subs({F: 0.9, R: 0.8})) for d in dg]
np.testing.assert_allclose(at_point, point.grad, rtol=1e-12)
print("SymPy: equal to Eq. (12), and its derivatives are torch's")

# %% [markdown]
# **Reader 4: C.** The library traces the gate's own Python once, with symbols for tensors. The
# letters `_c` mark complements, `f_c` for $1 - f$: near saturation those carry the digits that
# $1 - g$ would lose (see [23](23_refine_gate.ipynb)).

# %% tags=["nbval-ignore-output"]
gate = urgates.GATES["UR"]
body = c_statements(gate, gate.heads)
code = f"typedef double T;\nT effective(T f, T r, T f_c, T r_c) {{\n{body}\nreturn forget;\n}}\n"
Markdown(f"```c\n{code}```")

# %% tags=["nbval-ignore-output"]
if compiler := shutil.which("cc"):
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "gate.c"), Path(folder, "gate.so")
        source.write_text(code)
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", source, "-o", library], check=True)
        effective = ctypes.CDLL(str(library)).effective
    effective.restype, effective.argtypes = ctypes.c_double, [ctypes.c_double] * 4
    worst = max(abs(effective(f, r, 1 - f, 1 - r) - g) for f, r, g in band.to_numpy())
    assert worst < 1e-15
    print(f"compiled C and NumPy agree on {len(band)} points, largest difference {worst:.1e}")
else:
    print("no C compiler here, so the fourth reader is silent")

# %% [markdown]
# SymPy differentiates the same trace. From it the kernels' backward passes have the derivatives of
# both effective gates by each head, and the slopes of the fast and softsign activations:

# %%
gradient = trace(gate, gate.heads)
a, c = gradient.a, gradient.c
complements = {c[head]: 1 - a[head] for head in a}
for head, expected in zip(("f", "r"), dg, strict=True):
    derived = gradient.derivatives(head)[0].subs(complements)
    assert sympy.expand(derived - expected.subs({F: a["f"], R: a["r"]})) == 0
print("derivatives for the kernels: equal to SymPy's above")

# %% [markdown]
# So is the cell around the gate: from the same lines of Python, backwards (`urgates/tape.py`). By
# hand, once in each kernel, are the sigmoid's slope $\sigma(1-\sigma)$, cumax's sums, the products
# and the chain through time. Tests hold all of it against autograd through the plain loop of
# `kernels/reference.py`; the gradients that were compared above went through both parts.

# %% [markdown]
# ## What the paper promises
#
# > two synergistic modifications to the standard gating mechanism that are easy to implement,
# > introduce no additional hyperparameters (abstract)
#
# So the constructor of a UR-LSTM may not need, nor listen to, anything but sizes. **G28** holds if
# the arguments of other gates change nothing in a UR model drawn from the same seed.


# %%
def drawn(**options):
    torch.manual_seed(seed)
    return torch.cat([p.flatten() for p in urgates.LSTM(10, 64, **options).parameters()])


others = {"forget_bias": 3.0, "t_max": 500, "downsize": 4}
ignored = [name for name, value in others.items() if drawn().equal(drawn(**{name: value}))]
needed = [
    name
    for name, p in inspect.signature(urgates.LSTM).parameters.items()
    if p.default is inspect.Parameter.empty
]
bench.claim(
    "G28",
    holds=needed == ["input_size", "hidden_size"] and set(ignored) == set(others),
    ours=f"needs {', '.join(needed)}; ignores {', '.join(ignored)}",
)

# %% [markdown]
# ## What is different at the start
#
# The same random sequence through an untrained LSTM and an untrained UR-LSTM. Each row is a unit,
# each column a time step, the colour is the effective forget gate:

# %%
torch.manual_seed(seed)
sequence = torch.randn(48, 1, 8)
start = {}
for name in ("-", "UR"):
    g = urgates.LSTM(8, 48, gate=name).gates(sequence)["g"][:, 0]
    start[name] = g[:, g.mean(0).argsort(descending=True)].T.numpy()

cells = pd.concat(
    pd.DataFrame(g).melt(ignore_index=False, var_name="t", value_name="g").assign(gate=name)
    for name, g in start.items()
).reset_index(names="unit")

# %% tags=["hide-input"]
fig, axes = figures.subplots(1, 2, size=(9.6, 3.4))
for ax, (name, g) in zip(axes, start.items(), strict=True):
    image = ax.imshow(g, vmin=0, vmax=1, cmap="viridis", aspect="auto", interpolation="nearest")
    ax.grid(False)
    ax.set(title=figures.style(name)["label"], xlabel="time step", ylabel="unit, sorted")
fig.colorbar(image, ax=axes, label="effective forget gate g")
bench.save(fig, "start", data=cells)

# %% [markdown]
# The LSTM starts with one time scale, $D \approx 3.7$ steps for everyone. The UR-LSTM starts with a
# staircase of them, from units that follow the input to units that hardly move. The rest of §2
# takes the two ideas apart: the staircase in [22](22_uniform_gate_init.ipynb), the band in
# [23](23_refine_gate.ipynb).

# %% [markdown]
# **Your turn.**
# - Replace `refine` in reader 1 by `refine(refine(f, r), r)`: refine twice. How far does 0.9 get?
# - Swap the sign of `b_f` in the line of `r` in the ten lines: which assertion breaks, and why only
#   then?
# - Draw the staircase of `gate="C"` or `gate="O"` by changing one word in the last cell.
#
# **Next:** [22_uniform_gate_init](22_uniform_gate_init.ipynb), where the biases come from.
