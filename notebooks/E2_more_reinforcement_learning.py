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
# # §E.2 More reinforcement learning
#
# [← E1](E1_synthetic_forgetting.ipynb) ·
# [home](00_start_here.ipynb) ·
# [E3 →](E3_program_execution.ipynb)
#
# **When apples pay half as much as the right choice, do agents still learn to remember for it?**
#
# Covers: Fig. 10
#
# | preset | what you get | where |
# |---|---|---|
# | smoke | games of a dozen steps, every cell in less than a minute; decides nothing | any CPU |
# | laptop | the grid game with 60 steps; its agents are not trained yet | two CPU cores |
# | (paper's) | H 64 (256), N 30 (450), 6,000 steps (41,700), batch 64 (16) | |
# | paper | games of up to 600 steps, agents of the released sizes | a GPU |

# %% [markdown]
# **In short.** Active Match with apples that pay 5: the same game as in 34, and the reward that
# counts is lost among others. How large these are is measured. **At `laptop` no agents are trained
# yet**: what an LSTM, a DNC and the memory that was released in a DNC's place learn of it with
# three gates is written here once there are runs.

# %% tags=["parameters"]
preset: str = "laptop"  # smoke, laptop or paper
recompute: bool = False  # train what is missing instead of reading stored runs
seeds: int = 0  # how many; 0 is the protocol's number
gates: str = "all"  # or names joined by commas, like "UR,R,-"
device: str = "auto"  # auto, cpu or cuda
limit_minutes: float = 0.0  # stop training after so long, to be resumed; 0 is no limit

# %% tags=["nbval-ignore-output"]
import pandas as pd
import torch

from urgates.cores import DNC
from urgates.lab import Bench
from urgates.lab.book import match_figures
from urgates.lab.experiments import chance, match
from urgates.lab.tasks import Rules
from urgates.lab.tasks.match import Match
from urgates.lab.tasks.oracle import knowing

bench = Bench("E2_more_reinforcement_learning", preset, recompute, seeds, gates, device,
              limit_minutes)  # fmt: skip
bench

# %% [markdown]
# ## The task
#
# > We additionally ran the agents on an even harder version of the Active Match task with larger
# > distractor rewards […]. Similarly to the other results, the UR- gated core is noticeably better
# > than the others. For the DNC model, it is the only one that performs better than random chance.
#
# The game is that of [34](34_reinforcement_learning.ipynb), with its rules and deviations. Only the
# apples of the middle phase pay more: 5 each, where the right square pays 10.

# %%
boards, played = match_figures.episode(Rules("active", apple_reward=5.0), seed=3)
fig, played = match_figures.filmstrip(
    boards, played, (0, 10, 15, 30, 60, 90, 104, 105, 107, 109, 111, 113)
)
bench.save(fig, "episode", data=played, paper="E.2")

# %% [markdown]
# ## How loud the distractors are
#
# 256 episodes of one who walks at random, and of one who always eats the nearest apple and then
# chooses the right square: the reward of the last phase is at most six per cent of the whole, and a
# fraction of what the apples vary by.


# %%
def apples(policy, copies=256):
    world, total = Match(Rules("active", apple_reward=5.0), copies, seed=5), torch.zeros(copies)
    world.restart()
    for _ in range(world.rules.steps):
        total += world.step(policy(world)).reward
    eaten = total - world.last
    return {"apples": eaten.mean(), "their sd": eaten.std(), "last phase": world.last.mean()}


dice = torch.Generator().manual_seed(1)
walk = apples(lambda world: torch.randint(4, (world.copies,), generator=dice))
loud = pd.DataFrame({"walks": walk, "knows": apples(knowing)}).astype(float)
assert loud.loc["last phase", "knows"] == 10
loud.round(1)

# %% [markdown]
# At $\gamma = 0.96$ little of the last reward reaches back even into the distractor phase: half of
# it 17 steps before its end. What an agent learns there is to eat; what it must learn is to keep,
# meanwhile, a colour that is worth nothing until the end.

# %% [markdown]
# ## Which memory is the paper's "DNC"?
#
# > the basic LSTM, the DNC (an LSTM with memory), and the RMA (which also uses an LSTM core)
#
# **Open point O35.** Released is no DNC but "LSTM+Mem": the RMA's memory of all it saw, without
# reconstruction. Graves et al.'s (2016) DNC writes where it wants, erases, and follows the order of
# its writes. Both are run: `dnc` decides what the paper says of a DNC, `mem` stands beside it. The
# gates are those of the LSTMs in them; what a DNC calls gates of its own stays as it is.

# %%
layer = DNC(input_size=32, hidden_size=64, rows=16, width=16, reads=1, gate="UR")
print(layer)

# %% [markdown]
# **Deviation D74.** The grid game has ten apples, and each is back after 20 steps; the level has
# some 36 of them. What a good collector earns is of the same order: about 160 in 90 steps here.

# %% [markdown]
# ## The protocols

# %%
bench.protocol("active-5")

# %%
bench.protocol("active-5-dnc")

# %% [markdown]
# ## What is to be decided
#
# *Area* and *final* as in 34: the mean reward of the last phase over all of training, and over its
# last tenth. A gate is better if all its seeds are.
#
# - G96: UR's area is the greatest, with the LSTM and with the DNC.
# - G72: with the DNC, UR ends at least 5 % above choosing any square, and no other gate does.

# %%
cells = {"active-5": "lstm", "active-5-dnc": "dnc", "active-5-mem": "mem"}
groups = {task: bench.runs(task, cell) for task, cell in cells.items()}
tables = {task: match.outcomes(runs) for task, runs in groups.items()}
for score in ("area", "final"):
    print(f"{score}:", match.spread(tables, score).to_string(), sep="\n", end="\n\n")

# %% [markdown]
# ## Learning curves
#
# Lines are medians, bands reach from the lowest to the highest seed:

# %% tags=["hide-input"]
levels = {task: match_figures.marks(runs) for task, runs in groups.items()}
curves = {task: match.curves(runs) for task, runs in groups.items()}
fig, plotted = match_figures.learning(curves, levels)
bench.save(fig, "fig10", data=plotted, paper="Fig. 10, reduced scale", runs=[*groups.values()])

# %% [markdown]
# Readable on the paper's axis is 4.25, one above choosing any of four squares.

# %% [markdown]
# ## The verdicts

# %%
both = {task: tables[task] for task in ("active-5", "active-5-dnc")}
best = match.learns_best(both.values())
bench.claim("G96", best, match.medians(both), [groups[task] for task in both])
guess = 1.05 * chance.levels(groups["active-5-dnc"].protocol.make_task())["choose at random"]
alone = match.only_above(tables["active-5-dnc"], guess)
dnc = {"active-5-dnc": tables["active-5-dnc"]}
bench.claim("G72", alone, match.medians(dnc, "final"), groups["active-5-dnc"])

# %%
bench.cost(*groups.values())

# %% [markdown]
# **Your turn**, from the top folder of the repository:
#
# - Two gates on a game of a dozen steps: `urgates run E2 -p gates=UR,-`
# - Only the DNC, trained further: `urgates train active-5-dnc --cell dnc --preset laptop --gate UR`
# - The paper's own sizes, ten hours at a time (the same line again goes on): `urgates train
#   active-5 --preset paper --gate UR --limit-minutes 600`

# %% [markdown]
# What would you pay for an apple, so that an agent that never chooses a square earns as much as one
# that only chooses? (A walk eats eight: some 1.25, if choices are right, and 0.42 if they are not.)
#
# **Next:** [E3_program_execution](E3_program_execution.ipynb), programs to execute.
# Back: [34_reinforcement_learning](34_reinforcement_learning.ipynb), the same game in peace.
