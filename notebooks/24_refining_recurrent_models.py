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
# # §2.4 Refining recurrent models
#
# [← 23](23_refine_gate.ipynb) ·
# [home](00_start_here.ipynb) ·
# [25 →](25_related_gates.ipynb)
#
# **How does a refine gate enter an LSTM or a GRU, and what does it cost?**
#
# [Decided here](40_scoreboard.ipynb): **imprecise** G15.
#
# Covers: Fig. 1; Eqs. 11–13
#
# Nothing is trained here: some seconds on a CPU.

# %% [markdown]
# **In short.** *Imprecise*: refine-gate LSTMs have as many parameters as the plain LSTM, but for
# UR's one bias per unit (G15). A refined GRU has a fourth map. Tied to its input gate the state
# stays within $[-1, 1]$. `urgates.LSTM` replaces `torch.nn.LSTM` by one word, and before any
# training its gradient reaches further back.

# %% tags=["parameters"]
seed: int = 0  # of the random weights and inputs below

# %% tags=["nbval-ignore-output"]
from functools import partial

import pandas as pd
import torch
from torch import nn

import urgates
from urgates.gates import refine
from urgates.lab import Bench, figures
from urgates.lab.book.claims import IMPRECISE

torch.manual_seed(seed)
bench = Bench("24_refining_recurrent_models")
bench

# %% [markdown]
# ## The paper says (§2.4)
#
# > Note that it is an isolated change where the forget gate (10) is modified before applying the
# > standard update (1). […]
# >
# > Finally, to simplify comparisons and ensure that we always use the same number of parameters as
# > the standard gates, when using the refine gate we tie the input gate to the effective forget
# > gate, $i_t = 1 - g_t$.

# %% [markdown]
# ## Figure 1, redrawn
#
# In grey the LSTM as everyone knows it. In colour what refining adds: one neural layer, $r_t$,
# which picks a point between the lower and the upper end of the band around $f_t$, and the input
# gate tied to the result. First the parts of the drawing, then how they are wired:

# %% tags=["hide-input"]
parts = pd.DataFrame(
    [
        ("f", "layer", 2.25, 1.6, r"$\sigma$"),
        ("r", "new layer", 4.7, 1.6, r"$\sigma$"),
        ("u", "layer", 7.0, 1.6, r"$\tanh$"),
        ("o", "layer", 9.0, 1.6, r"$\sigma$"),
        ("lower end", "new", 1.2, 3.0, r"$f^2$"),
        ("upper end", "new", 3.3, 3.0, r"$1-(1-f)^2$"),
        ("interpolate", "new", 3.3, 4.2, r"$g$"),
        ("tie", "new", 5.4, 5.2, r"$1-$"),
        ("forget", "point", 3.3, 6.2, r"$\times$"),
        ("input", "point", 7.0, 5.2, r"$\times$"),
        ("add", "point", 7.0, 6.2, r"$+$"),
        ("squash", "point", 10.3, 4.6, r"$\tanh$"),
        ("output", "point", 10.3, 3.0, r"$\times$"),
    ],
    columns=["part", "kind", "x", "y", "text"],
)

# %% tags=["hide-input"]
standard = [
    [(0, 6.2), (3.04, 6.2)], [(3.3, 6.2), (6.74, 6.2)], [(7, 6.2), (12, 6.2)],
    [(10.3, 6.2), (10.3, 4.95)], [(10.3, 4.6), (10.3, 3.26)], [(10.3, 3), (12, 3)],
    [(0, 0.5), (9, 0.5), (9, 1.25)], [(0.9, -0.4), (0.9, 0.5)], [(2.25, 0.5), (2.25, 1.25)],
    [(7, 0.5), (7, 1.25)], [(7, 1.6), (7, 4.94)], [(7, 5.2), (7, 5.94)],
    [(9, 1.6), (9, 3), (10.04, 3)],
]  # fmt: skip
added = [
    [(2.25, 1.6), (2.25, 2.3), (1.2, 2.3), (1.2, 2.7)], [(2.25, 2.3), (3.3, 2.3), (3.3, 2.7)],
    [(1.2, 3), (1.2, 4.2), (3.04, 4.2)], [(3.3, 3), (3.3, 3.94)],
    [(4.7, 0.5), (4.7, 1.25)], [(4.7, 1.6), (4.7, 4.2), (3.56, 4.2)],
    [(3.3, 4.2), (3.3, 5.94)], [(3.3, 5.2), (5.08, 5.2)], [(5.4, 5.2), (6.74, 5.2)],
]  # fmt: skip
labels = {
    "$c_{t-1}$": (-0.4, 6.2), "$c_t$": (12.3, 6.2), "$h_{t-1}$": (-0.4, 0.5), "$h_t$": (12.3, 3),
    "$x_t$": (0.9, -0.65), "$f_t$": (2.5, 2.07), "$r_t$": (4.95, 3), "$u_t$": (7.25, 3),
    "$o_t$": (9.25, 2.5), "$g_t$": (3.05, 5.45), "$i_t$": (6.15, 5.45),
}  # fmt: skip

# %% tags=["hide-input"]
accent, standard_blue = (figures.STYLE[name]["color"] for name in ("UR", "-"))
grey = "0.45"
looks = {
    "layer": {"boxstyle": "round,pad=.45", "fc": "0.93", "ec": grey},
    "new layer": {"boxstyle": "round,pad=.45", "fc": "white", "ec": accent, "lw": 2},
    "point": {"boxstyle": "circle,pad=.2", "fc": "white", "ec": grey},
    "new": {"boxstyle": "round,pad=.3,rounding_size=.5", "fc": "white", "ec": accent, "lw": 2},
}
fig, ax = figures.subplots(size=(8.4, 4.8))
for paths, color in ((standard, grey), (added, accent)):
    for *way, last in paths:
        ax.plot(*zip(*way, strict=True), color=color, lw=1.6, zorder=1, solid_capstyle="round")
        arrow = {"arrowstyle": "-|>", "color": color, "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", last, way[-1], arrowprops=arrow, zorder=1)
for part in parts.itertuples():
    ax.text(part.x, part.y, part.text, ha="center", va="center", size=10, bbox=looks[part.kind])
for text, place in labels.items():
    ax.text(*place, text, ha="center", va="center", size=12)
ax.set(xlim=(-0.9, 12.8), ylim=(-0.95, 6.8))
ax.axis("off")
bench.save(fig, "fig1", data=parts, paper="Fig. 1")

# %% [markdown]
# ## One step, by hand
#
# $$
# g_t = r_t\,(1-(1-f_t)^2) + (1-r_t)\,f_t^2
# $$
#
# $$
# c_t = g_t\,c_{t-1} + (1-g_t)\,u_t
# $$
#
# The weights of a refined LSTM hold four blocks of rows, `r f u o`: `r` sits where a plain LSTM
# keeps `i`. The linear biases start at zero, so we may leave them out.

# %%
cell = urgates.LSTMCell(3, 8, gate="UR", dtype=torch.float64)
x, h, c = (torch.randn(5, n, dtype=torch.float64) for n in (3, 8, 8))
L_r, L_f, L_u, L_o = (x @ cell.weight_ih.T + h @ cell.weight_hh.T).chunk(4, -1)

f = torch.sigmoid(L_f + cell.gate_bias)  # Eq. 10
r = torch.sigmoid(L_r - cell.gate_bias)  # Eq. 11, with Listing 2's offset
g = r * (1 - (1 - f) ** 2) + (1 - r) * f**2  # Eq. 12
c_new = g * c + (1 - g) * torch.tanh(L_u)  # Eq. 13
h_new = torch.sigmoid(L_o) * torch.tanh(c_new)

torch.testing.assert_close((h_new, c_new), cell(x, (h, c)))
print("Eqs. 10 to 15, line by line, are urgates.LSTMCell(gate='UR')")

# %% [markdown]
# ## What tying buys
#
# With $i_t = 1 - g_t$ the new state is a weighted mean of the old state and a tanh. It can never
# leave $[-1, 1]$, however long the sequence. A plain LSTM with $f \to 1$ and $i \to 1$ counts up
# without limit:

# %%
ones = torch.ones(500, 1, 1)
for name in ("-", "UR"):
    layer = urgates.LSTM(1, 64, gate=name)
    with torch.no_grad():
        layer.bias_ih_l0 += 5  # open every gate: f, i (or r), u and o near 1
    _, (_, c_last) = layer(ones)
    print(f"{name:2}  largest |c| after 500 steps: {c_last.abs().max().item():.0f}")

gates = layer.gates(ones)
assert torch.allclose(gates["g"] + gates["i"], torch.ones(())) and c_last.abs().max() <= 1

# %% [markdown]
# ## Counting parameters
#
# Claims **G15** (as many parameters as the plain LSTM) is about the column `LSTM`. A GRU has one
# map less, and nothing to tie: refining it adds a fourth map, unless the refine gate takes the
# reset gate's place (`keep_reset=False`). One bias vector per map is counted, $I = 1$, $H = 512$,
# $C = 16$.

# %%
sizes = {"input_size": 1, "hidden_size": 512, "downsize": 16}
table = pd.DataFrame(
    {
        "LSTM": {n: g.parameters(**sizes) for n, g in urgates.GATES.items()},
        "GRU": {n: g.parameters(**sizes, cell="gru") for n, g in urgates.GATES.items()},
        "GRU, no reset": {
            n: g.parameters(**sizes, cell="gru", keep_reset=False) for n, g in urgates.GATES.items()
        },
    }
)
for column in ("LSTM", "GRU"):
    table[f"{column} / plain"] = (table[column] / table[column]["-"]).round(4)
table

# %% [markdown]
# The formula counts what the modules really hold, and these are the numbers one gets for the
# paper's layers (Copy: $I = 10$, $H = 256$; pixels: $I = 1$ or $3$, $H = 512$):

# %%
for cell_type in (urgates.LSTM, urgates.GRU):
    for name, gate in urgates.GATES.items():
        layer = cell_type(3, 32, gate=name, downsize=8)
        formula = gate.parameters(3, 32, downsize=8, cell=layer.cell, biases=2)
        assert formula == sum(p.numel() for p in layer.parameters()), name

plain, ordered = urgates.gate("-"), urgates.gate("OM")
for size, count, extra in (
    ((10, 256), 273_408, 8_544), ((1, 512), 1_052_672, 32_896), ((3, 512), 1_056_768, 33_024),
):  # fmt: skip
    assert plain.parameters(*size) == count
    assert ordered.parameters(*size, downsize=16) - count == extra
assert table.loc["R", "GRU"] == 1_052_672 and table.loc["R", "GRU, no reset"] == 789_504

# %%
beyond = {n: table.loc[n, "LSTM"] - table.loc["-", "LSTM"] for n in ("R", "OR", "UR")}
bench.claim(
    "G15",
    holds=IMPRECISE if max(beyond.values()) == 512 else max(beyond.values()) == 0,
    ours=f"R {beyond['R']:+d}, OR {beyond['OR']:+d}, UR {beyond['UR']:+d} (the gate bias, H = 512)",
)

# %% [markdown]
# **Deviation D10.** The paper says that all methods have as many parameters as the standard ones
# (§2.6). For LSTMs we agree, up to one gate bias per unit (D.5 has it too). For GRUs we do not: a
# refined GRU has a fourth map, +33 %. Why: the paper does not say what its GRU gave up. Effect:
# capacity; `keep_reset=False` restores parity, and counts stand beside every GRU result.

# %% [markdown]
# ## Refining a GRU
#
# $$
# h_t = g_t\,h_{t-1} + (1-g_t)\,\tanh(W_u x_t + \rho_t \circ (R_u h_{t-1} + b))
# $$
#
# The gate refined is the one that multiplies the old state: torch calls it $z$, we call it $f$.

# %%
cell = urgates.GRUCell(3, 8, gate="UR", dtype=torch.float64)
heads = cell.recurrence.heads
print("rows of the weights:", *heads)
from_x = dict(zip(heads, (x @ cell.weight_ih.T).chunk(4, -1), strict=True))
from_h = dict(zip(heads, (h @ cell.weight_hh.T).chunk(4, -1), strict=True))

f = torch.sigmoid(from_x["f"] + from_h["f"] + cell.gate_bias)
r = torch.sigmoid(from_x["r"] + from_h["r"] - cell.gate_bias)
reset = torch.sigmoid(from_x["reset"] + from_h["reset"])
g = 2 * r * f + (1 - 2 * r) * f**2
h_new = g * h + (1 - g) * torch.tanh(from_x["u"] + reset * from_h["u"])
torch.testing.assert_close(h_new, cell(x, h))

# %% [markdown]
# **Open point O4.** Table 2 reports GRUs with all nine gates, but the text defines none of them.
# We change the forget gate alone: plain gates are tied ($i = 1 - f$, so C and U need no second
# bias), refine adds its map, master gates add a free pair and two masters. The reset gate stays
# plain.

# %% [markdown]
# **Three sources S4.** Is the reset gate applied before or after the recurrent product? The paper:
# silent. Cho et al.'s first version and the author's later code (hippo-code): before,
# $R_u(\rho \circ h)$. cuDNN and torch: after, $\rho \circ (R_u h + b)$. We follow torch, so that
# weights of `torch.nn.GRU` load. The effect at the start:

# %%
rows, W, R, b = cell.rows, cell.weight_ih, cell.weight_hh, cell.gate_bias
after = before = h
for x_t in torch.randn(100, 5, 3, dtype=torch.float64):
    after = cell(x_t, after)
    z = x_t @ W.T + before @ R.T
    g = refine(torch.sigmoid(z[:, rows["f"]] + b), torch.sigmoid(z[:, rows["r"]] - b))
    old = torch.sigmoid(z[:, rows["reset"]]) * before  # Cho et al.: reset first, then multiply
    before = g * before + (1 - g) * torch.tanh(x_t @ W[rows["u"]].T + old @ R[rows["u"]].T)

difference = ((after - before).square().mean() / after.square().mean()).sqrt().item()
assert 0 < difference < 0.3
print(f"relative difference of the state after 100 steps: {difference:.2f}")

# %% [markdown]
# ## Replace `torch.nn.LSTM`, change one word
#
# The same model, built with either layer:


# %%
class Reader(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.rnn = layer(4, 256, batch_first=True)
        self.out = nn.Linear(256, 1)

    def forward(self, x):
        return self.out(self.rnn(x)[0][:, -1])


models = {"torch.nn.LSTM": Reader(nn.LSTM), "urgates.LSTM": Reader(urgates.LSTM)}

# %% [markdown]
# Neither has seen any data. Ask how much the answer at the last step depends on an input $k$ steps
# back, $\|\partial y_T/\partial x_{T-k}\|$: this is what learning can use. A third model, with
# `gate="-"`, has torch's equations and the paper's forget bias of 1.

# %%
models["urgates.LSTM, gate='-'"] = Reader(partial(urgates.LSTM, gate="-"))
inputs = torch.randn(8, 300, 4, requires_grad=True)
reach = pd.DataFrame(
    {
        name: torch.autograd.grad(model(inputs).sum(), inputs)[0].norm(dim=(0, 2)).flip(0)
        for name, model in models.items()
    }
).rename_axis("lag")

# %% tags=["hide-input"]
fig, ax = figures.subplots(size=(6.8, 3.4))
for (name, values), color in zip(reach.items(), ("0.6", accent, standard_blue), strict=True):
    ax.plot(values[values > 1e-10], lw=2, color=color, label=name)
ax.set(yscale="log", ylim=(1e-9, 1), xlabel="lag k [steps]")
ax.set(ylabel="norm of the gradient (log scale)")
ax.legend(frameon=False)
bench.save(fig, "gradient_reach", data=reach.reset_index())

# %%
at_200 = reach.loc[200]
assert at_200["torch.nn.LSTM"] < at_200["urgates.LSTM, gate='-'"] < at_200["urgates.LSTM"] / 1e6

# %% [markdown]
# With equal gates the gradient shrinks by a constant factor per step: torch's own start sees some
# forty steps back, a forget bias of 1 about a hundred. UR gates give every layer a few units that
# start slow, with decay periods up to about $H/2$, and through them the far past stays visible.
# One word changed.

# %% [markdown]
# ## Zoneout
#
# The paper's best image results add zoneout (Krueger et al., 2016): a unit keeps its old value with
# probability $z$. In training the mask is random; in evaluation its expectation takes its place.
# The output is the held $h$, and the un-held cell feeds it.

# %%
x60 = torch.randn(60, 1, 4)
layer = urgates.LSTM(4, 64, zoneout=(0.5, 0.5))
free = urgates.LSTM(4, 64)
free.load_state_dict(layer.state_dict())

with torch.no_grad():
    traces = pd.DataFrame(
        {
            "no zoneout": free(x60)[0][:, 0, 0],
            "training (z = 0.5)": layer.train()(x60)[0][:, 0, 0],
            "evaluation (z = 0.5)": layer.eval()(x60)[0][:, 0, 0],
        }
    ).rename_axis("step")

# %% tags=["hide-input"]
fig, ax = figures.subplots(size=(7.2, 3))
for (name, values), color in zip(traces.items(), ("0.6", accent, "0.1"), strict=True):
    held = name.startswith("training")
    ax.plot(values, label=name, color=color, lw=1.6, drawstyle="steps-post" if held else "default")
ax.set(xlabel="step", ylabel="hidden state of one unit")
fig.legend(loc="outside lower center", ncols=3, frameon=False)
bench.save(fig, "zoneout", data=traces.reset_index())

# %%
frozen = urgates.LSTM(4, 64, zoneout=(1.0, 1.0))
state = torch.randn(1, 1, 64), torch.randn(1, 1, 64)
assert torch.equal(frozen(x60, state)[1][0], state[0])  # z = 1: nothing ever changes
assert torch.equal(layer.eval()(x60)[0], layer(x60)[0])  # evaluation has no chance in it
print("zoneout 1 freezes the state; evaluation is deterministic")

# %% [markdown]
# ## Many models at once, in three lines
#
# Eight seeds as one computation: `vmap` reaches the kernels' model axis, so a stack of small
# models costs little more than one.

# %%
stack = [urgates.LSTM(4, 16) for _ in range(8)]
parameters, _ = torch.func.stack_module_state(stack)
run = torch.func.vmap(lambda p: torch.func.functional_call(stack[0], p, (x60,))[0])

torch.testing.assert_close(run(parameters), torch.stack([model(x60)[0] for model in stack]))
print("outputs of the stack [models, T, B, H]:", *run(parameters).shape)

# %% [markdown]
# **Your turn.**
#
# - Build `Reader` with `functools.partial(urgates.LSTM, gate="C", t_max=300)`: where does its
#   gradient reach, and where does it fall below UR's?
# - Draw `gradient_reach` for `urgates.GRU`, with and without `keep_reset`.
# - The paper mentions an independent input gate with its own refine gate. How many parameters would
#   it have? ([26](26_gate_ablations.ipynb) shows how to write gates.)
#
# **Next:** [25_related_gates](25_related_gates.ipynb), what others did about the same problem.
