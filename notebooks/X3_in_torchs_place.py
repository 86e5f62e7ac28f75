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
# # In torch's place
#
# [← X2](X2_sweeps.ipynb) ·
# [home](00_start_here.ipynb) ·
# [X4 →](X4_your_own_gate.ipynb)
#
# **What changes when one word replaces torch.nn's?**
#
# Cost: half a minute on a CPU; nothing is trained.

# %% [markdown]
# **In short.** With gate `"-"` weights, numbers, names and shapes are torch's; the table below runs
# a user's code with both libraries and says where they agree and where one refuses. With any other
# gate the interface stays, and the gate's name travels with the weights. No claim is decided here.

# %% tags=["parameters"]
seed: int = 0  # of the random weights and inputs below

# %% tags=["nbval-ignore-output"]
import pandas as pd
import torch
from torch import nn

import urgates
from urgates.lab import show_source
from urgates.lab.book.comparison import ABSENT, Row
from urgates.lab.book.compatibility import ROWS, table

torch.manual_seed(seed)
print("torch", torch.__version__)

# %% [markdown]
# ## One word
#
# `torch.nn.LSTM` becomes `urgates.LSTM`. With gate `"-"` it takes torch's weights as they are and
# gives torch's numbers; with the default, `"UR"`, the interface stays and the gates are others.

# %%
theirs, ours = nn.LSTM(10, 32, num_layers=2), urgates.LSTM(10, 32, num_layers=2, gate="-")
print(ours.load_state_dict(theirs.state_dict()))

x = torch.randn(50, 8, 10)
torch.testing.assert_close(ours(x), theirs(x))
print([tuple(y.shape) for y in (urgates.LSTM(10, 32, num_layers=2)(x)[0], theirs(x)[0])])

# %% [markdown]
# ## The table
#
# A row is a piece of a user's code. A cell compares what it returns with torch's module and with
# ours of gate `"-"` and the same weights, and runs it once more with `"UR"`:
#
# - **same**: the same numbers, names, shapes and types;
# - **both refuse**: torch.nn raises, and so do we, in one line;
# - **ours refuses**, **ours alone**: only one of the two answers.

# %%
pd.set_option("display.max_rows", None)
table()

# %% [markdown]
# This is how a cell is decided, and here each one is, as the tests do it:

# %%
show_source(Row.found)

# %%
checked = [row for row in ROWS if not row.needs]
assert all(row.all_found() == row.expected for row in checked)
cells = (table().loc[[row.feature for row in checked]] != ABSENT).sum().sum()
print(f"{len(checked)} rows, {cells} cells: all as the table says")

# %% [markdown]
# Two rows need packages for ONNX, which the book does not ask for. If they are here, they run too:

# %% tags=["nbval-ignore-output"]
for row in ROWS:
    if row.needs and row.runs_here:
        assert row.all_found() == row.expected
    if row.needs:
        print(f"{row.feature}: {'checked' if row.runs_here else 'not here, needs '}", *row.needs)

# %% [markdown]
# ## Where we refuse and torch does not
#
# A NaN would be everywhere a few steps later. No kernel projects what it feeds back.
# `torch.jit.script` reads a subset of Python that a `Gate` is not written in; a trace or an
# exported program does what it is wanted for.


# %%
def refused(call):
    try:
        call()
    except (ValueError, RuntimeError) as error:
        print("-", str(error).strip().splitlines()[-1].strip())


layer, cell = urgates.LSTM(3, 4), urgates.GRUCell(3, 4)
refused(lambda: layer(torch.full((5, 2, 3), torch.nan)))
refused(lambda: urgates.LSTM(3, 4, proj_size=2))
refused(lambda: urgates.GRUCell(3, 4, bias="no"))
refused(lambda: torch.jit.script(layer))

# %% [markdown]
# ## Whose weights?
#
# Weights of different gates often have the same names and shapes. A `state_dict` therefore notes
# its gate where torch keeps version numbers, and another gate does not take it. `from_torch`
# carries torch's weights into every gate that can compute what torch's does: a GRU's refine gate at
# 1/2, for one, leaves the update gate alone.

# %%
refused(lambda: urgates.LSTM(3, 4, gate="O").load_state_dict(nn.LSTM(3, 4).state_dict()))
refused(lambda: urgates.from_torch(nn.LSTM(3, 4), "R"))

gru = nn.GRU(10, 32)
for name in ("-", "U", "R", "UR"):
    torch.testing.assert_close(urgates.from_torch(gru, name)(x), gru(x))
print("one GRU of torch's, four gates, the same numbers")

# %% [markdown]
# **Your turn.**
# - Replace the word in a model of yours. Which row of the table is missing?
# - `urgates.from_torch(gru, "UR")` starts as torch's GRU and trains as a UR-GRU. Does it forget
#   what it knew?
# - Export a layer with `torch.export` and look for `urgates.scan` in the graph; then trace it.
#
# **Next:** [X1_kernels](X1_kernels.ipynb), what the kernels gain.
