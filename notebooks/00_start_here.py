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
# # Start here
#
# [home](00_start_here.ipynb) ·
# [20 →](20_gated_rnns.ipynb)
#
# **Which sentences of two papers on gates that remember hold when one runs them?**
#
# The papers: "Improving the Gating Mechanism of Recurrent Neural Networks" and "Fast Saturating
# Gate for Learning Long Time Scales with Recurrent Neural Networks".
#
# | preset | what it is for | time for this notebook |
# |---|---|---|
# | any | a tour and a check of your installation | 10 seconds, CPU |

# %% [markdown]
# **In short.** Two papers on gates that remember become sentences, and each sentence a verdict that
# code gives: all of them stand in [40](40_scoreboard.ipynb). `urgates.LSTM` takes the place of
# `torch.nn.LSTM` by one word, with torch's numbers for gate `"-"`. A refine gate lengthens a memory
# of ten steps to a hundred. No claim is decided here.

# %% tags=["parameters"]
seed: int = 0  # of the random weights and inputs below

# %% tags=["nbval-ignore-output"]
import platform

import numpy as np
import pandas as pd
import torch

import urgates
from urgates.gates import decay_period, reach, refine
from urgates.lab import Bench, figures, notebooks

bench = Bench("00_start_here")
torch.manual_seed(seed)
print(f"Python {platform.python_version()}, torch {torch.__version__}")
print("GPU:", torch.cuda.get_device_name() if torch.cuda.is_available() else "none, which is fine")

# %% [markdown]
# ## What this is about
#
# A gated recurrent network updates its state $c$ with a forget gate $f$:
#
# $$
# c_t = f_t \circ c_{t-1} + i_t \circ u_t
# $$
#
# A unit remembers for about $D = 1/(1-f)$ steps. Long memory needs $f$ very near 1, where the
# sigmoid is flat and hardly learns. The paper repairs this twice: it **starts** the gates evenly
# spread (U), and it lets a second gate **refine** the first (R). Together they are UR gates: no
# extra weight matrices, nothing to tune.

# %% [markdown]
# ## One step of a refine gate
#
# A main gate at 0.9 forgets within 10 steps. The refine gate $r$ moves the effective gate within a
# band whose upper end is $1-(1-f)^2$:

# %%
for r in (0.0, 0.5, 1.0):
    g = refine(0.9, r)
    print(f"f = 0.9, r = {r}:  effective gate {g:.2f}, memory {decay_period(g):.1f} steps")

assert abs(refine(0.9, 1.0) - 0.99) < 1e-12

# %%
f, k = np.linspace(0, 1, 101), np.geomspace(1, 1000, 101)
lowest, highest = reach(f)
band = pd.DataFrame({"f": f, "lowest": lowest, "highest": highest})
kept = pd.DataFrame({"k": k, "0.9": 0.9**k, "0.99": 0.99**k})

# %% tags=["hide-input"]
fig, (left, right) = figures.subplots(1, 2, size=(6.4, 2.0))
blue, red = figures.STYLE["-"]["color"], figures.STYLE["UR"]["color"]
left.fill_between(f, band.lowest, band.highest, color=red, alpha=0.25, lw=0)
left.plot(f, f, color=blue)
left.annotate("", (0.9, 0.99), (0.9, 0.9), arrowprops={"arrowstyle": "->", "color": red, "lw": 2})
left.annotate("0.9 → 0.99", (0.84, 1.0), ha="right", color=red)
left.annotate("within reach\nof a refine gate", (0.03, 0.84), color=red)
left.set(xlabel="forget gate f", ylabel="effective gate g", ylim=(0, 1.14), xlim=(0, 1))
right.semilogx(k, kept["0.9"], color=blue, lw=2)
right.semilogx(k, kept["0.99"], color=red, lw=2)
right.annotate("f = 0.9", (5, 0.4), ha="right", color=blue)
right.annotate("refined\nto 0.99", (110, 0.42), color=red)
right.set(xlabel="k [steps] (log scale)", ylabel="share kept", ylim=(0, 1.05))
bench.save(fig, "refine", data=pd.concat([band, kept]))

# %% [markdown]
# ## Use it in your own model: change one word
#
# `urgates.LSTM` takes the arguments of `torch.nn.LSTM` and returns what it returns. The keyword
# `gate` chooses the mechanism: `"UR"` is the default, and `"-"` is the LSTM you know:

# %%
x = torch.randn(5, 3, 8, dtype=torch.float64)
theirs = torch.nn.LSTM(8, 16, num_layers=2).double()
ours = urgates.LSTM(8, 16, num_layers=2, gate="-").double()
ours.load_state_dict(theirs.state_dict())

torch.testing.assert_close(ours(x)[0], theirs(x)[0], rtol=1e-10, atol=1e-12)
print("the same outputs:", tuple(ours(x)[0].shape))

# %%
model = urgates.LSTM(8, 16, num_layers=2)
output, (h, c) = model(x.float())
output.sum().backward()
print(model)

# %% [markdown]
# ## The nine gates of Table 1
#
# Two axes span them: how the main gate is activated and started, and what modulates it. Other
# combinations work too, say `"CR"`.

# %%
for name, gate in urgates.GATES.items():
    print(f"{name:3} {gate.title:52} {gate.parameters(8, 16):5} parameters   {gate.source}")

# %% [markdown]
# ## The way through the book
#
# Sections and appendices of the first paper keep their numbers: 20 to 40, A to E. F is the second
# paper, X goes beyond both.
#
# - *Ten minutes:* [23](23_refine_gate.ipynb) for the idea, [40](40_scoreboard.ipynb) for the
#   verdicts.
# - *An hour:* [20](20_gated_rnns.ipynb) to [23](23_refine_gate.ipynb), then
#   [31](31_synthetic_memory.ipynb) and [32](32_pixel_images.ipynb), the evidence.
# - *The theory:* [B2](B2_timescales.ipynb), [C](C_gradient_bands.ipynb),
#   [F4a](F4a_saturation.ipynb), [F4b](F4b_learnability.ipynb).
# - *To build on it:* [21](21_ur_lstm.ipynb), [26](26_gate_ablations.ipynb),
#   [X1](X1_kernels.ipynb).

# %%
from IPython.display import Markdown

Markdown(notebooks.contents())

# %% [markdown]
# ## Words and letters
#
# | you read | it means |
# |---|---|
# | G17, F12 | a claim: a sentence of the first (G) or second (F) paper, decided by code |
# | **confirmed**, **contradicted** | verdicts on mathematics, text and tables |
# | **imprecise** | true once put another way, or of most cases |
# | **reproduced** | a verdict on runs of the paper's own size |
# | **seen**, **not seen at this scale** | verdicts on smaller runs, and on timings |
# | **inconclusive** | fewer than three seeds, or seeds that disagree; more in 40 |
# | smoke, laptop, paper | sizes of what is trained: seconds, minutes to hours, the paper's own |
# | **Deviation D1** | where we differ from the paper; all are in [D](D_protocols.ipynb) |
# | **Open point O1** | where the paper can be read in more than one way |
# | **Three sources S1** | where its text, its listing and later code disagree |

# %% [markdown]
# Three letters lead several lives; the place tells which:
#
# | letter | in a formula | with a number | a gate or a notebook |
# |---|---|---|---|
# | D | the decay period $1/(1-f)$ | D1 a deviation, D.1 a section | notebook D: protocols |
# | C | master gates' downsize factor | – | gate C: chrono; notebook C: gradients |
# | F | – | F12 a claim | gate F: fast; notebooks F4a, F4b and F5 |
# | O | – | O1 an open point | gate O: cumax |
# | S | – | S1 three sources | gate S: softsign |
#
# $f$ is the forget gate, $r$ the refine gate, $g$ the effective gate, $u$ the candidate.

# %% [markdown]
# **Your turn.** Replace `torch.nn.LSTM` by `urgates.LSTM` in a model of yours; or run a notebook
# with other parameters, from the top folder of the repository:
#
# ```
# .venv/bin/urgates run 31 --preset smoke -p gates=UR,-
# ```
#
# **Next:** [20_gated_rnns](20_gated_rnns.ipynb), what gates are and where they get stuck.
