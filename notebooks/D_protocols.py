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
# # App. D Protocols
#
# [← C](C_gradient_bands.ipynb) ·
# [home](00_start_here.ipynb) ·
# [E1 →](E1_synthetic_forgetting.ipynb)
#
# **What exactly is run, where does each number come from, and where do we differ from the paper?**
#
# [Decided here](40_scoreboard.ipynb): **confirmed** G27.
#
# Covers: Table 2
#
# A page of seconds: nothing is trained here.

# %% [markdown]
# **In short.** Protocols are data, every number with its source. All deviations, open points and
# quarrels among the sources are gathered here from the pages that have them. *Confirmed*: bit
# reversal destroys locality (G27).

# %% tags=["parameters"]
seed: int = 0  # of the random vectors below

# %% tags=["nbval-ignore-output"]
import hashlib

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown

from urgates.lab import Bench, figures, notebooks
from urgates.lab.experiments import protocol
from urgates.lab.places import checkout
from urgates.lab.tasks import bit_reversal

torch.manual_seed(seed)
bench = Bench("D_protocols")
bench

# %% [markdown]
# ## Synthetic memory (D.1)
#
# > All models consisted of single layer LSTMs with 256 hidden units, trained with the Adam
# > optimizer […] with learning rate 1e-3. Gradients were clipped at 1.0. (D.1)
#
# Protocols are data: every number carries its source. These are the paper's values, with our
# choices where the paper is silent:

# %%
protocol("copy", "paper")

# %%
protocol("adding", "paper")

# %% [markdown]
# ## Pixel images (D.2)
#
# > All training was performed with the Adam optimizer, batch size 50, and gradients clipped at 1.0.
# > MNIST trained for 150 epochs, CIFAR-10 used 100 epochs over the training set. (D.2)

# %%
protocol("pmnist", "paper")

# %% [markdown]
# ## What a laptop runs instead
#
# The `laptop` preset shrinks the paper's sizes until two CPU cores need minutes. Its results speak
# for these sizes and no others:

# %%
fields = ("task_options", "hidden", "batch", "steps", "lr", "seeds")
rows = {
    (task, preset): [getattr(protocol(task, preset), name) for name in fields]
    for task in ("copy", "adding", "forgetting", "pmnist", "smnist")
    for preset in ("laptop", "paper")
}
pd.DataFrame.from_dict(rows, orient="index", columns=fields)

# %% [markdown]
# ## Bit reversal (D.5)
#
# > This permutation sends the index i to the index j such that j's binary representation is the
# > reverse of i's binary representation. (D.5)
#
# The paper's listing builds it by folding. Written from the sentence instead, for 784 pixels:
# reverse the ten binary digits, keep what is below 784.

# %%
reverse = [int(f"{i:010b}"[::-1], 2) for i in range(1024)]
mine = [j for j in reverse if j < 784]
perm = bit_reversal(784).tolist()

assert perm == mine
assert hashlib.sha256(",".join(map(str, perm)).encode()).hexdigest().startswith("e35d73b4d563")
print(perm[:8], "…", perm[-4:])

# %% [markdown]
# **G27**, stated before the result: the permutation destroys locality. Two pixels that are read one
# after the other lie more than 200 positions apart in the image, in the median.

# %%
jumps = np.abs(np.diff(perm))
fig, ax = figures.subplots(size=(6, 3))
ax.hist(jumps, bins=np.arange(0, 800, 16), color="0.5")
ax.axvline(np.median(jumps), color="k", lw=1)
ax.annotate(f"median {np.median(jumps):.0f}", (np.median(jumps) + 8, 260))
ax.set(xlabel="distance in the image of successive pixels [positions]", ylabel="pairs of pixels")
bench.save(fig, "bit_reversal", data=pd.DataFrame({"jump": jumps}), paper="D.5")

# %%
bench.claim("G27", holds=bool(np.median(jumps) > 200), ours=f"median {np.median(jumps):.0f}")

# %% [markdown]
# For 784 pixels it is not its own inverse, so its direction matters: we read pixel `perm[t]` at
# step $t$.

# %%
assert any(perm[perm[i]] != i for i in range(784))
assert [reverse[j] for j in reverse] == list(range(1024))
print("its own inverse for 1024, not for 784")

# %% [markdown]
# ## Two bias vectors (D.5)
#
# > each linear model such as $W_{xf} x_t + W_{hf} h_{t-1}$ had its own trainable bias vector,
# > effectively doubling the learning rate on the pre-activation bias terms (D.5)
#
# So have torch's and our layers. One step of gradient descent on a sum of two equal biases moves
# the sum twice as far:

# %%
target = torch.randn(4)
moved = {}
for count in (1, 2):
    biases = [torch.zeros(4, requires_grad=True) for _ in range(count)]
    (sum(biases) - target).square().sum().backward()
    moved[count] = sum(-0.01 * b.grad for b in biases)

torch.testing.assert_close(moved[2], 2 * moved[1])
print("one step moves the pre-activation twice as far with two biases")

# %% [markdown]
# ## What each gate costs
#
# Measured in [26](26_gate_ablations.ipynb): time of one training step as a ratio, all in one run on
# one machine. Ratios to `torch.nn.LSTM` and to a fair plain loop:

# %% tags=["nbval-ignore-output"]
cost = pd.read_csv(checkout() / "figures/26_gate_ablations/cost.csv").set_index("layer")
assert (cost.filter(like="time") > 0).all().all()
cost.round(2)

# %% [markdown]
# ## Every deviation
#
# Where the paper is silent or we differ, a numbered callout stands beside the text. All of them:


# %%
def table(callouts):
    """Number, text and notebook of callouts, as Markdown."""
    rows = [f"| {c.number} | {c.text} | [{c.notebook}]({c.notebook}.ipynb) |" for c in callouts]
    return Markdown("\n".join(["| | what | where |", "|---|---|---|", *rows]))


table(notebooks.deviations())

# %% [markdown]
# ## Open points
#
# Where the paper can be read in more than one way:

# %%
table(notebooks.callouts("Open point"))

# %% [markdown]
# ## Three sources
#
# Where text, listing and the authors' later public code disagree:

# %%
table(notebooks.callouts("Three sources"))

# %% [markdown]
# **Your turn.** Change a number of `urgates/lab/experiments/memory.py` and run
# `.venv/bin/urgates run 31 --preset smoke`: the protocol's digest changes, so old runs are moved
# aside and never mixed with new ones.
#
# **Next:** [E1_synthetic_forgetting](E1_synthetic_forgetting.ipynb), gates that start saturated.
