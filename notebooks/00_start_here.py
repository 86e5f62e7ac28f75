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
# **Which sentences of "Improving the Gating Mechanism of Recurrent Neural Networks" hold when one
# runs them?**
#
# | preset | what it is for | time for this notebook |
# |---|---|---|
# | any | a tour and a check of your installation | 10 seconds, CPU |

# %% tags=["parameters"]
seed: int = 0  # of the random weights and inputs below

# %% tags=["nbval-ignore-output"]
import platform

import torch

import urgates

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
from urgates.gates import decay_period, refine

for r in (0.0, 0.5, 1.0):
    g = refine(0.9, r)
    print(f"f = 0.9, r = {r}:  effective gate {g:.2f}, memory {decay_period(g):.1f} steps")

assert abs(refine(0.9, 1.0) - 0.99) < 1e-12

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
# ## Where to go
#
# A notebook is a section of the paper and has its number. Short on time? Read
# [21](21_ur_lstm.ipynb) for the model, [23](23_refine_gate.ipynb) for the idea,
# [31](31_synthetic_memory.ipynb) for the evidence and [40](40_scoreboard.ipynb) for the verdicts.

# %%
from IPython.display import Markdown

from urgates.lab import notebooks

Markdown(notebooks.contents())

# %% [markdown]
# **Your turn.** Replace `torch.nn.LSTM` by `urgates.LSTM` in a model of yours; or run a notebook
# with other parameters, from the top folder of the repository:
#
# ```
# .venv/bin/urgates run 31 --preset smoke -p gates=UR,-
# ```
#
# **Next:** [20_gated_rnns](20_gated_rnns.ipynb), what gates are and where they get stuck.
