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
# # §X.2 Sweeps
#
# [← X1](X1_kernels.ipynb) ·
# [home](00_start_here.ipynb) ·
# [X3 →](X3_in_torchs_place.ipynb)
#
# **How do hundreds of trainings get done, on a laptop or a cluster, whatever is killed meanwhile?**
#
# | preset | what you get | where |
# |---|---|---|
# | smoke | four small models trained in four ways, in a minute | any CPU |
# | laptop | eight models of Copy, four ways; some minutes | two CPU cores |
# | paper | the same at the paper's size | a machine with GPUs |

# %% [markdown]
# **In short.** A sweep is a list of stacks; each is a run like any other, so it is its own record
# of what is done. Models of one gate share a stack, stacks share processes, processes machines.
# What each step of that ladder brings is measured below; what the paper's tables would take on 1,
# 8 and 64 GPUs is *computed* from stated times. No claim is decided here.

# %% tags=["parameters"]
preset: str = "laptop"  # smoke, laptop or paper
recompute: bool = False  # measure now instead of reading stored times
device: str = "auto"  # auto, cpu or cuda

# %% tags=["nbval-ignore-output"]
from pathlib import Path
from tempfile import TemporaryDirectory

from urgates.lab import Bench, show_source, sweep
from urgates.lab.book import sweep_costs, sweep_figures
from urgates.lab.executors import ENGINES, RETRIES, execute
from urgates.lab.experiments.tables import TABLES
from urgates.lab.plans import hours_on

bench = Bench("X2_sweeps", preset, recompute, device=device)
bench

# %% [markdown]
# ## What is wanted
#
# `urgates sweep table2 --preset paper` asks for all that Table 2 rests on: every task, gate, seed
# and learning rate, each known by its key.

# %%
table2 = sweep.wanted(["table2"], "paper")
models = sum(len(one.job.models) for one in table2)
print(f"{len(table2)} trainings, {models} models; the first: {table2[0].job.key.stem}")
assert models == (3 * 9 * 4 + 9 * 2) * 3  # tasks × gates × rates, and GRUs at two, by 3 seeds

# %% [markdown]
# Models of one task and gate differ in seed and rate alone. They train as one stack, on the
# kernels' model axis; a limit makes the stacks smaller and more:

# %%
nowhere = Path("/nonexistent")  # nothing is trained yet
for most in (0, 6, 3, 1):
    sizes = [len(one.job.models) for one in sweep.stacks(table2, nowhere, most)]
    print(f"at most {most or 'all'}: {len(sizes)} stacks of {min(sizes)} to {max(sizes)} models")

# %% [markdown]
# ## One sweep
#
# Four trainings of a smoke test. Done twice, nothing is done again: what is finished says so in its
# own files, and there is no other book-keeping that could be wrong.

# %% tags=["nbval-ignore-output"]
with TemporaryDirectory() as place:
    root = Path(place)
    few = sweep.wanted(["copy"], "smoke")[:4]
    assert sweep.work(few, root, jobs=1) == 0
    left = sweep.table(few, root)
    files = {path: path.stat().st_mtime_ns for path in root.rglob("*.csv")}
    sweep.work(few, root, jobs=1)
    assert files == {path: path.stat().st_mtime_ns for path in root.rglob("*.csv")}
left[["task", "gate", "seeds", "state", "steps", "of"]]

# %% [markdown]
# ## Who does it
#
# This process, others beside it, or Ray's, on this machine or a cluster. All get the same calls,
# and a call whose process is killed is made again. A training then goes on from its checkpoint and
# ends with the bytes that it would have had; a lock keeps two from one training.

# %%
print(f"engines: {', '.join(ENGINES)}; a call is made again {RETRIES} times at most")
show_source(execute)

# %% [markdown]
# The tests kill workers, the driver and Ray's machines with SIGKILL amid a sweep, work on it again,
# and compare every file with those of one process that nobody disturbed.
#
# ## The ladder, measured
#
# The same models of Copy, in four ways that take turns: a training for each; all in one stack; two
# stacks, one after the other; and the same two in two processes, whose start counts.

# %%
# models, steps, rounds
SIZES = {"smoke": (4, 20, 1), "laptop": (8, 1_000, 1), "paper": (8, 400, 3)}
ladder = bench.timings("ladder", measure=lambda: sweep_costs.ladder(preset, *SIZES[preset]))
print(ladder[["rung", "processes", "seconds", "per_model"]].round(2).to_string(index=False))

# %%
singles, stack, turns, beside = ladder.seconds
print(f"a stack takes {stack / singles:.2f} × the time of its models one by one,")
print(f"two processes {beside / turns:.2f} × that of one for the same two stacks,")
print(f"and {beside / stack:.2f} × that of one stack")

# %% tags=["hide-input"]
fig = sweep_figures.ladder(ladder)
bench.save(fig, "ladder", data=ladder)

# %% [markdown]
# An engine's own share: seconds until its first process has answered, and then for each call that
# does nothing. A training takes minutes to days.

# %%
shares = bench.timings("engines", measure=sweep_costs.overhead)
print(shares[["engine", "start", "per_call"]].round(3).to_string(index=False))
assert (shares.per_call < 1).all()

# %% [markdown]
# ## What the paper would take, computed
#
# **Open point O37.** Nobody has measured the paper's sizes on a GPU with this code. What follows
# is arithmetic from two *stated* numbers: 40 µs for a time step forward and backward, until a
# stack's operations fill a GPU at 30 TFLOP/s. It leaves out softmax, memory cores and pictures of
# games, so Figs. 7 to 11 and Table 6 will take longer. `urgates plan` measures instead:

# %%
print(f"stated: {1e6 * sweep_costs.STEP:.0f} µs a time step, {sweep_costs.RATE / 1e12:.0f} TFLOP/s")
show_source(sweep_costs.gpu_seconds, hours_on)

# %%
needs = sweep_costs.needs()
print("hours on so many GPUs, computed:", needs.round(1).to_string(index=False), sep="\n")
assert list(needs.table) == list(TABLES)

# %% tags=["hide-input"]
fig = sweep_figures.needs(needs)
bench.save(fig, "needs", data=needs)

# %%
total = needs[["1", "8", "64"]].sum()
shown = ", ".join(f"{hours:.0f} h on {n}" for n, hours in total.items())
print(f"all, one table after the other: {needs.models.sum()} models, {shown}")

# %% [markdown]
# More GPUs help until there are as many as stacks, then until each model is alone: Table 6 has
# seven language models, so 64 GPUs take as long as 8, unless several share one model (`torchrun`,
# see [33](33_language_modeling.ipynb)).
#
# ## Your turn
#
# - `urgates plan fig3 --preset paper --device cuda`: measured, on your device.
# - `urgates sweep copy --preset smoke --jobs 2`, and Ctrl-C, and again.
# - With Ray on two machines: `urgates sweep fig3 --preset paper --address HOST:6379`.
