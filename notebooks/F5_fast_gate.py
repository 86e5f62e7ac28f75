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
# # §F.5 The fast gate
#
# [← F4b](F4b_learnability.ipynb) ·
# [home](00_start_here.ipynb) ·
# [X1 →](X1_kernels.ipynb)
#
# **Does a gate that saturates sooner beat the refine gate, on the first paper's own tasks?**
#
# [Decided here](40_scoreboard.ipynb): **confirmed** F28, F27, F17; **imprecise** F18, F23; **seen**
# F19; **inconclusive** F21, F24, F22.
#
# | preset | what you get | where |
# |---|---|---|
# | smoke | every cell, in less than a minute; decides nothing | any CPU |
# | laptop | the stored runs below; what they cost stands at the end | two CPU cores |
# | paper | the first paper's sizes | a GPU |

# %% [markdown]
# **In short.** *Confirmed*: the fast gate has the LSTM's parameters, nothing of its own to tune,
# and is numerically safe (F17, F28, F27). *Imprecise*: a refine gate adds parameters beside a free
# input gate only (F18), the state is bounded beside a tied one only (F23). *Seen*: its plain loop
# is cheaper than a refine gate's (F19). *Inconclusive*: whether it learns sooner or better than a
# sigmoid of equal start and auxiliary (F21, F22), and whether UF beats U and F (F24).

# %% tags=["parameters"]
preset: str = "laptop"  # smoke, laptop or paper
recompute: bool = False  # train what is missing instead of reading stored runs
seeds: int = 0  # how many; 0 is the protocol's number
gates: str = "all"  # or names joined by commas, like "UR,R,-"
device: str = "auto"  # auto, cpu or cuda
limit_minutes: float = 0.0  # stop training after so long, to be resumed; 0 is no limit

# %% tags=["nbval-ignore-output"]
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import nn

import urgates
from urgates.activations import fast, pair
from urgates.gates import refine, update
from urgates.lab import Bench, figures
from urgates.lab.book import fast_figures
from urgates.lab.book.claims import IMPRECISE
from urgates.lab.book.clock import stopwatch, threads, turn_about
from urgates.lab.book.units import periods
from urgates.lab.experiments.images import accuracies, best_stable, by_gate
from urgates.lab.experiments.memory import ends, outcomes, thinned, words
from urgates.lab.experiments.seeds import above, all_of
from urgates.lab.store.record import commit
from urgates.theory import saturation

bench = Bench("F5_fast_gate", preset, recompute, seeds, gates, device, limit_minutes)
bench

# %% [markdown]
# ## The gate
#
# > Our method mitigates the gradient vanishing by controlling the order of saturation, while
# > maintaining the bounded state transition. (paper 2, §3)
#
# [F4a](F4a_saturation.ipynb) has the theory: near 1 the gate's gradient is larger
# than a sigmoid's *at equal activation*, by $\sqrt{1+\ell^2}$ with $\ell$ the logit of $f$. This
# page puts it into networks.

# %%
z = torch.linspace(-3, 3, 61, dtype=torch.float64)
assert torch.allclose(fast(z), torch.sigmoid(torch.sinh(z)), rtol=1e-14)
assert torch.allclose(1 - fast(z), fast(-z), atol=1e-15)
urgates.gate("F")

# %% [markdown]
# **Open point O22.** We know the end of this paper's §2.2, its §3, §4.1 and the opening of §4.2,
# not its experiments: neither their sizes, nor how its gates start, nor any of its numbers. So
# nothing here repeats a table; the gates run at the *first* paper's protocols.

# %% [markdown]
# **Deviation D60.** The fast gate replaces the sigmoid of the forget gate *and* of its partner
# (input or refine gate), and starts where a sigmoid would: forget bias 1 becomes
# $\sinh^{-1}(1) = 0.881$. Both are our choice.

# %%
cells = {g: urgates.LSTM(1, 256, gate=g) for g in ("-", "F")}
bias = cells["F"].bias_ih_l0[256:512]  # rows i f u o
assert torch.allclose(bias, torch.tensor(1.0).asinh())
assert torch.allclose(fast(bias), torch.sigmoid(cells["-"].bias_ih_l0[256:512]))
print(f"F starts at z = {bias[0]:.4f}, f = {fast(bias[0]):.4f}, where a sigmoid with bias 1 does")

# %% [markdown]
# ## Nothing to tune
#
# > This training protocol includes hyperparameters controlling noise level, which requires manual
# > tuning. (§3, of noisy gates)
#
# **Predicted (F28):** the fast gate needs the sizes, and nothing that a plain LSTM does not have.
# `t_max` and `downsize`, which others need, change nothing; with a uniform start the forget bias
# drops out, too.


# %%
def start(gate, **more):
    """All numbers of a fresh LSTM, from one seed."""
    torch.manual_seed(0)
    layer = urgates.LSTM(3, 32, gate=gate, **more)
    return b"".join(p.detach().numpy().tobytes() for p in layer.parameters())


options = {"t_max": 9.0, "downsize": 8, "forget_bias": 2.0}
needed = {
    g: [name for name, value in options.items() if start(g, **{name: value}) != start(g)]
    for g in ("-", "C", "OM", "F", "UF")
}
for g, names in needed.items():
    print(f"{g:3} is changed by: {', '.join(names) or 'nothing'}")
none = needed["F"] == needed["-"] and not needed["UF"] and needed["C"] and needed["OM"]
bench.claim("F28", holds=bool(none), ours="only the plain LSTM's forget bias; UF has not even that")

# %% [markdown]
# ## Safe numbers
#
# $\sinh$ overflows in float32 beyond $z = 89$, and $\sigma(\sinh z)$ as one would write it then has
# a gradient of $0 \cdot \infty$. So `pair` computes the *tail*, clipped where it is 0 anyway.
#
# **Predicted (F27):** gate, complement and gradients are finite for $z$ up to $\pm10^4$, in float32
# and bfloat16, also through whole layers.

# %%
big = torch.tensor([0.0, 1, 5, 10, 50, 89, 100, 1e3, 1e4])
naive = torch.cat([-big, big]).requires_grad_()
torch.sigmoid(torch.sinh(naive)).sum().backward()
assert naive.grad[naive.abs() >= 100].isnan().all(), "the plain formula is meant to fail here"
safe = True
for dtype in (torch.float32, torch.bfloat16):
    z = torch.cat([-big, big]).to(dtype).requires_grad_()
    for which in (0, 1):  # the gate and its complement
        part = pair("fast", z)[which]
        (slope,) = torch.autograd.grad(part.sum(), z)
        safe &= bool(part.isfinite().all() and slope.isfinite().all())
print("written plainly: from |z| = 100 on all gradients are NaN")
print(f"1 - f at z = 4, float32: {1 - torch.sigmoid(torch.sinh(torch.tensor(4.0))):.1e} plainly, "
      f"{pair('fast', torch.tensor(4.0))[1]:.1e} by its tail")  # fmt: skip

# %%
for dtype in (torch.float32, torch.bfloat16):
    for g in ("F", "UF", "FR", "UFR"):
        torch.manual_seed(0)
        layer = urgates.LSTM(2, 16, gate=g).to(dtype)
        x = (4e4 * torch.randn(20, 4, 2)).to(dtype)
        y, _ = layer(x)
        y.float().square().sum().backward()
        found = [y, *(p.grad for p in layer.parameters())]
        safe &= all(bool(part.isfinite().all()) for part in found)
bench.claim("F27", holds=safe, ours="z up to ±1e4 and four layers, float32 and bfloat16")

# %% [markdown]
# ## Parameters: where the two papers contradict each other
#
# > It also requires additional parameters for the auxiliary gate, which increases the
# > computational cost for both inference and training. In contrast, our method theoretically
# > improves learnability and does not introduce any additional parameters. (paper 2, §3, of the
# > refine gate)
#
# The first paper (§2.4) ties the input gate, $i = 1 - g$: the refine gate takes its rows, and the
# count is the LSTM's. Keep the input gate free, and the refine gate is a fifth set of rows. Both
# papers are right, about different baselines. Here are all four, written as people write loops:

# %%
LOOPS = {  # sets of rows; forget and input gate from the pre-activations
    "-": (4, lambda f, i: (f.sigmoid(), i.sigmoid())),
    "F": (4, lambda f, i: (f.sinh().sigmoid(), i.sinh().sigmoid())),
    "R": (4, lambda f, r: (g := refine(f.sigmoid(), r.sigmoid()), 1 - g)),
    "R, free input": (5, lambda f, r, i: (refine(f.sigmoid(), r.sigmoid()), i.sigmoid())),
}


# %%
class Loop(nn.Module):
    """An LSTM, step by step: all inputs in one product, then the time steps."""

    def __init__(self, kind, inputs, hidden):
        super().__init__()
        self.rows, self.gates = LOOPS[kind]
        self.x = nn.Linear(inputs, self.rows * hidden)
        self.h = nn.Linear(hidden, self.rows * hidden)

    def forward(self, x):
        c = h = x.new_zeros(x.shape[1], self.h.in_features)
        hs, w, gx = [], self.h.weight.t(), self.x(x) + self.h.bias
        for row in gx.unbind(0):
            *gated, u, o = torch.addmm(row, h, w).chunk(self.rows, -1)
            c = update(*self.gates(*gated), c, u.tanh())
            h = o.sigmoid() * c.tanh()
            hs.append(h)
        return torch.stack(hs), None


# %% [markdown]
# **Predicted:** F17, the fast gate has the LSTM's parameters exactly. F18, the refine gate has 1.25
# times as many beside a free input gate and 1.0 times with a tied one.

# %%
loops = {kind: Loop(kind, 10, 256) for kind in LOOPS}
layers = {g: urgates.LSTM(10, 256, gate=g) for g in ("-", "F", "R", "UF", "UR")}


def numel(module):
    """Trainable numbers."""
    return sum(p.numel() for p in module.parameters())


count = {f"{kind} (loop)": numel(m) for kind, m in loops.items()}
count |= {g: numel(m) for g, m in layers.items()}
for name, n in count.items():
    print(f"{name:20} {n:9,}   {n / count['-']:.4f} of the LSTM's")
plain = numel(nn.LSTM(10, 256))
assert count["-"] == count["- (loop)"] == plain
bench.claim("F17", holds=count["F"] == plain, ours=f"{count['F']:,} and {plain:,}")
free, tied = count["R, free input (loop)"] / plain, count["R"] / plain
bench.claim(
    "F18",
    holds=IMPRECISE if free > 1 >= tied else free > 1,
    ours=f"{free:.2f} × beside a free input gate; {tied:.2f} × beside a tied one",
)

# %% [markdown]
# A GRU's gates are tied already, so there a refine gate is an addition: $4/3$ of the parameters
# ([32b](32b_gru.ipynb)). A uniform start adds one trainable bias per unit, to either gate.

# %% [markdown]
# ## Time
#
# **Predicted (F19):** per training step, the fast gate's loop costs less than the refine gate's
# with a free input gate. All contenders run turn about on one thread; each time is divided by the
# plain LSTM's of the same turn, so that a busy machine slows both.


# %%
def turn(module, x):
    """Milliseconds of a training step, and of its forward without gradients."""
    forward = torch.no_grad()(partial(module, x))
    return stopwatch(lambda: module(x)[0].sum().backward(), forward)


def cost(steps=20 if preset == "smoke" else 100, rounds=3 if preset == "smoke" else 31):
    """A row per contender and phase: ms, and its ratio to the plain LSTM with quartiles."""
    x, rows = torch.randn(steps, 32, 10), []
    for by, modules in {"loop": loops, "urgates": layers}.items():
        with threads(1):
            taken = turn_about({g: partial(turn, m, x) for g, m in modules.items()}, rounds)
        ratio = np.quantile(taken / taken[:, :1], (0.25, 0.5, 0.75), axis=0)
        for (j, gate), i in product(enumerate(modules), range(2)):
            row = {"by": by, "gate": gate, "phase": ("training", "inference")[i]}
            row["ms"] = np.median(taken[:, j, i])
            rows.append(row | dict(zip(("low", "ratio", "high"), ratio[:, j, i], strict=True)))
    where = {"device": "CPU", "torch": torch.__version__, "commit": commit()}
    return pd.DataFrame(rows).assign(time=steps, batch=32, hidden=256, turns=rounds, **where)


# %%
took = bench.timings("cost", measure=cost)
bench.save(fast_figures.cost(took), "cost", data=took)
ratios = took.set_index(["by", "gate", "phase"]).ratio
ratios.unstack().round(2)

# %%
loop = {g: ratios["loop", g, "training"] for g in LOOPS}
ours = ", ".join(f"{g} {ratio:.2f} ×" for g, ratio in loop.items() if g != "-")
kernel = {g: ratios["urgates", g, "training"] for g in ("F", "R")}
ours += f"; in our kernels F {kernel['F']:.2f}, R {kernel['R']:.2f}"
bench.claim("F19", holds=bool(loop["F"] < loop["R, free input"]), ours=ours)
gap = loop["R"] / loop["F"] - 1
print(f"the tied refine gate's loop against the fast gate's: {gap:+.0%} time")

# %% [markdown]
# ## A bounded state
#
# > Since its state and memory vector evolves in unbounded regions, the behavior of the gradient can
# > be unstable depending on tasks. (§3, of the NRU)
#
# "[…] while maintaining the bounded state transition", it says of its own gate. **Predicted
# (F23):** where $i = 1 - f$, each new state is a mean of the old one and a $\tanh$: it never leaves
# $[-1, 1]$, whatever weights and inputs. In an LSTM the fast gate leaves the input gate free, and
# the *cell* can grow by 1 a step; only $h = o \tanh c$ is bounded.

# %%
torch.manual_seed(0)
drive, largest = 3 * torch.randn(500, 4, 8), {}
cells = {"F in an LSTM": urgates.LSTMCell(8, 32, gate="F")}
cells |= {f"{g} in an LSTM": urgates.LSTMCell(8, 32, gate=g) for g in ("R", "FR", "UFR")}
cells |= {f"{g} in a GRU": urgates.GRUCell(8, 32, gate=g) for g in ("F", "UF")}
for name, cell in cells.items():
    with torch.no_grad():
        for p in cell.parameters():
            p.mul_(10)  # gates far in saturation
        cell.bias_ih.add_(20 * (name == "F in an LSTM"))  # all gates open: the worst case
        state, top = None, 0.0
        for x in drive:
            state = cell(x, state)
            top = max(top, (state[1] if "LSTM" in name else state).abs().max().item())
    largest[name] = top
    print(f"{name:15} largest state {top:.6g}")
free = largest.pop("F in an LSTM")
most = max(largest.values())
ours = f"{len(largest)} tied cells: at most {most:.6f}; free input gate: {free:.0f} after 500 steps"
bench.claim(
    "F23", holds=(IMPRECISE if free > 1 else True) if most <= 1 + 1e-6 else False, ours=ours
)

# %% [markdown]
# ## The tasks, and who runs
#
# Copy, Adding and permuted MNIST at protocols of [31](31_synthetic_memory.ipynb) and
# [32](32_pixel_images.ipynb), unchanged: sizes, learning rates, data and seeds. At `laptop` Copy
# and Adding are the shorter tasks that 31 began with, $N = 60$ and $200$. The runs of `-`, `C`,
# `U`, `R` and `UR` are read from there; new are the fast gate `F`, softsign `S`, combinations, and
# two methods that the second paper cites.

# %% [markdown]
# **Deviation D61.** `P` draws the forget biases so that all units together forget like a power of
# time, as Mahto et al. (2021) do, with their exponent for English text. They fix these biases, in
# one of three layers; here they are trained like all others.

# %% [markdown]
# > Another study suggests that omitting gates other than the forget gate makes training of models
# > for long time scales easier (Van Der Westhuizen and Lasenby 2018). However, such simplification
# > may lose the expressive power of the model and limit its application fields. (§3)
#
# **Deviation D62.** That is JANET. We run a GRU without reset gate with chrono biases,
#
# $$
# h_t = f_t h_{t-1} + (1 - f_t) \tanh(L_u), \quad f_t = \sigma(L_f)
# $$
#
# It has JANET's one gate, its chrono start and half of an LSTM's parameters. It is *not* JANET
# itself, whose input side is $1 - \sigma(L_f - \beta)$ with $\beta = 1$: ours has $\beta = 0$.

# %%
layer = urgates.GRU(3, 32, gate="C", keep_reset=False)
x, h = torch.randn(7, 2, 3), torch.zeros(2, 32)
b, w = layer.bias_ih_l0 + layer.bias_hh_l0, (layer.weight_ih_l0, layer.weight_hh_l0)
b = b + torch.cat([layer.gate_bias_l0, torch.zeros(32)])
for x_t in x:
    f, u = (x_t @ w[0].t() + h @ w[1].t() + b).chunk(2, -1)
    h = torch.lerp(u.tanh(), h, f.sigmoid())
assert torch.allclose(layer(x)[0][-1], h, atol=1e-6)

# %%
FIRST, OURS = ("-", "C", "U", "R", "UR"), ("F", "S", "UF", "FR", "UFR", "P")
JANET = "JANET, β = 0"
ORDER = ["S", "-", "R", "F", "FR", "C", "P", "U", "UR", "UF", "UFR", JANET]


def trained(task, home):
    """The runs of a task: the first paper's gates, the new ones, and JANET's kind."""
    first = bench.runs(task, gates=FIRST, of=home)
    ours = bench.runs(task, gates=OURS)
    janet = bench.runs(task, "gru-no-reset", gates=("C",))
    new = [g for g in ours.gates if g not in FIRST]  # the notebook's parameter may bring others
    return first.only(*FIRST), ours.only(*new), janet.only("C")


# %% [markdown]
# ## What is claimed, and how it is decided
#
# > Note that this approach can be combined with our method since it is complementary with our work.
# > (§3, of forget biases that follow a power law)
#
# The abstract claims accuracy beyond earlier gates on very long time scales. Our words for it:
#
# - **F21**: on Copy *and* Adding F gets to 10 % of the baseline's loss sooner than `-`, UF than U,
#   FR than R and UFR than UR.
# - **F22**: the same pairs by accuracy on permuted MNIST.
# - **F24**: on Copy UF leaves less loss than U, and than F.
#
# Each for all seeds, or else *inconclusive*; softsign and NRU get no verdict.

# %%
short = "-short" if preset == "laptop" else ""
copy, adding = (trained(f"{task}{short}", "31_synthetic_memory") for task in ("copy", "adding"))
done = {runs.protocol.task: 0 for runs in (*copy, *adding)}
for runs in (*copy, *adding):
    done[runs.protocol.task] += len(runs.paths)
print("runs that are read:", done)


# %% tags=["hide-input"]
def race(groups, name, ylabel):
    """Learning curves of one task, by start, with JANET's kind beside them."""
    first, ours, janet = groups
    task = ours.protocol.make_task()
    frame = pd.concat([thinned(runs) for runs in (first, ours) if runs] or [thinned(first)])
    beside = {JANET: thinned(janet).groupby("step").loss.median().reset_index()} if janet else {}
    names, title = dict.fromkeys([*ORDER[:-1], *ours.gates]), f"{name}, N = {task.length}"
    fig, plotted = fast_figures.race(frame, names, task.baseline, title, ylabel, beside)
    bench.save(fig, name.lower(), data=plotted, runs=groups)


def table(groups):
    """Outcomes of all gates, a row each; said first, who was soonest and who learnt most."""
    first, ours, janet = (outcomes(runs) for runs in groups)
    rows = pd.concat([first, ours, janet.rename({"C": JANET})])
    rows = rows.reindex(dict.fromkeys([*ORDER, *rows.index]))
    rows = rows.assign(ours=rows.get("ours", pd.Series(dtype=object)).fillna("not run"))
    ran = rows[rows.ours != "not run"]
    soon = ran.steps.idxmin() if np.isfinite(ran.steps.min()) else "none"
    least = ran.left.idxmin() if len(ran) else "none"
    missing = ", ".join(g for g in ORDER if g not in ran.index) or "none"
    print(f"first to 10 %: {soon}; least loss left: {least}; not run: {missing}")
    return rows


# %% [markdown]
# ## Copy
#
# Left, gates that start from one constant bias; right, from biases spread over the units. Not every
# gate may have been run: the line below says so.

# %%
race(copy, "Copy", "cross-entropy")
on_copy = table(copy)
on_copy.round({"left": 3})

# %% [markdown]
# ## Adding

# %%
race(adding, "Adding", "mean squared error")
on_adding = table(adding)
on_adding.round({"left": 3})

# %% [markdown]
# ## The activation alone
#
# **Deviation D63.** R and F differ in two ways: R's input gate is tied, F's is free, as in a plain
# LSTM. So the order of F and R says nothing about refinement alone. These pairs differ in the
# activation only; which of the two leaves less of the loss, and gets to 10 % sooner?

# %%
PAIRS = {"-": "F", "U": "UF", "R": "FR", "UR": "UFR"}
ahead = {
    (task, f"{quick} over {slow}"): {
        "left, sigmoid": rows.left[slow], "left, fast": rows.left[quick],
        "steps, sigmoid": rows.steps[slow], "steps, fast": rows.steps[quick],
    }
    for task, rows in (("Copy", on_copy), ("Adding", on_adding))
    for slow, quick in PAIRS.items()
}  # fmt: skip
ahead = pd.DataFrame(ahead).T
known = ahead.dropna()
less = known["left, fast"] < known["left, sigmoid"]
sooner = known["steps, fast"] < known["steps, sigmoid"]
print(f"{len(known)} of {len(ahead)} pairs have been run; less loss with the fast gate in "
      f"{less.sum()} of them, sooner at 10 % in {sooner.sum()}")  # fmt: skip
ahead.round(3)

# %% [markdown]
# ## The verdicts on memory


# %%
def by_seed(runs, column):
    """A column of `ends` by gate, one number a seed."""
    both = pd.concat([ends(part) for part in runs[:2]])
    return {g: rows[column].dropna() for g, rows in both.groupby("gate")}


def fair(values):
    """Is the fast gate's number below that of its sigmoid twin, in all seeds of all pairs?"""
    return all_of(*(above(values.get(s, ()), values.get(f, ())) for s, f in PAIRS.items()))


# %%
about = [part for task in (copy, adding) for part in (task[0].only(*PAIRS),
                                                      task[1].only(*PAIRS.values()))]  # fmt: skip
twins = [name for pair in PAIRS.items() for name in pair]
steps = {"Copy": on_copy.steps, "Adding": on_adding.steps}
bench.claim(
    "F21",
    holds=all_of(*(fair(by_seed(task, "steps")) for task in (copy, adding))),
    ours="steps to 10 %, of the shorter tasks: "
    + "; ".join(f"{name} {words(s, *twins)}" for name, s in steps.items()),
    runs=about,
)

# %%
left, seeds_left = on_copy.left, by_seed(copy, "left")
bench.claim(
    "F24",
    holds=all_of(*(above(seeds_left.get(g, ()), seeds_left.get("UF", ())) for g in ("U", "F"))),
    ours=f"Copy, loss left: {words(left, 'UF', 'U', 'F')}",
    runs=[copy[0].only("U"), copy[1].only("UF", "F")],
)
lost = {
    runs.protocol.task: int((runs.info.status == "diverged").sum()) for runs in (copy[1], adding[1])
}
print("runs of this notebook that diverged:", lost)

# %% [markdown]
# ## Time scales reached
#
# Decay periods $D = 1/(1-g)$ of the units' mean effective gates, before and after training on Copy;
# medians over the seeds. The runs store $g$ with six digits, so $D$ ends at a million. Does a gate
# that saturates sooner get to longer periods?

# %%
probes = pd.concat([runs.probes for runs in copy[:2]])
probes = probes.assign(D=periods(probes.g))
T = copy[0].protocol.make_task().length + 20
by_run, by_name = probes.groupby(["gate", "when", "seed"]).D, ("longest", "share above T")
found = by_run.max(), by_run.apply(lambda D: (D > T).mean())
scales = pd.concat(found, axis=1, keys=by_name)
scales = scales.groupby(["gate", "when"]).median().unstack()
if len(scales):
    moments = [(name, when) for name in by_name for when in ("before", "after")]
    scales = scales.reindex([g for g in ORDER if g in scales.index])[moments]
    print(f"T = {T}\n{scales.round({'longest': 0}).round(3).to_string()}")

fig, tails = figures.timescales(probes, ("-", "R", "F", "U", "UR", "UF", "UFR"), T, last=1e5)
tails = tails.sort_values(["when", "gate"], kind="stable")
bench.save(fig, "timescales", data=tails, runs=copy[:2])

# %% [markdown]
# ## Permuted MNIST

# %%
pixels = trained("pmnist", "32_pixel_images")
scores = [accuracies(runs) for runs in pixels]
scores[2] = scores[2].assign(gate=JANET)
medians = best_stable(pd.concat([part for part in scores if len(part)] or scores))

frames = [runs.frame.dropna(subset="valid_accuracy") for runs in pixels[:2] if runs]
if frames:
    frame = pd.concat(frames)[["gate", "seed", "step", "valid_accuracy"]]
    frame = frame.assign(percent=100 * frame.pop("valid_accuracy"))
    last = frame[frame.step.isin(frame.step.unique()[-3:])]
    rows = [g for g in ORDER if g in set(frame.gate)]
    fig = fast_figures.by_step(last, "percent", "validation accuracy [%]", rows)
    bench.save(fig, "pmnist", data=last, runs=pixels)
medians[["valid", "test", "seeds"]].reindex(ORDER).round(1)

# %%
valid = medians.valid.reindex(ORDER)
reached = {g: v for part in scores[:2] if len(part) for g, v in by_gate(part).items()}
bench.claim(
    "F22",
    holds=fair({g: -v for g, v in reached.items()}),
    ours=f"validation accuracy [%] on pMNIST: {words(valid.round(1), *twins)}",
    runs=[pixels[0].only(*PAIRS), pixels[1].only(*PAIRS.values())],
)

# %% [markdown]
# ## Related methods, and what each costs
#
# > For example, performance of LSTM language models can be improved by fixing the bias parameter of
# > the forget gate in accordance with a power law of time scale distribution […] Such techniques
# > require us to know the appropriate time scales of data a priori, which is often difficult.
#
# > The noisy gradient for a piece-wise linear gate function was proposed to prevent the gradient to
# > take zero values (Gulcehre et al. 2016).
#
# > Chandar et al. (2019) proposed an RNN with a non-saturating activation function to directly
# > avoid the gradient vanishing due to saturation. (all §3)

# %% [markdown]
# | method | changes | brings numbers to choose | trained here |
# |---|---|---|---|
# | chrono | the start | $T_{max}$ | `C` |
# | power-law biases | the start | an exponent | `P` (D61) |
# | uniform start | the start | – | `U` |
# | noisy gate | the gradient | noise level | no |
# | refine gate | a second gate | – | `R`, `UR` |
# | JANET | one gate only | $T_{max}$, $\beta$ | with $\beta = 0$ (D62) |
# | NRU | a memory without saturation | its size, among others | no |
# | fast gate | the activation | – | `F`, `UF`, `FR`, `UFR` |
#
# The parameters of those we train, at $I = 1$ and $H = 256$:

# %%
names = ("-", "C", "P", "U", "R", "UR", "S", "F", "UF")
sizes = {g: urgates.gate(g).parameters(1, 256, biases=2) for g in names}
sizes["R, free input"] = numel(Loop("R, free input", 1, 256))
sizes[JANET] = urgates.gate("C").parameters(1, 256, cell="gru", keep_reset=False, biases=2)
assert sizes["F"] == numel(urgates.LSTM(1, 256, gate="F"))
costs = pd.DataFrame({"parameters": sizes})
costs.assign(ratio=(costs.parameters / sizes["-"]).round(3))

# %% [markdown]
# ## The same saturation, seen three ways
#
# A unit that remembers for $D$ steps needs $1 - f = 1/D$, where gates are flat. Three answers:
#
# | as | gate | what it changes |
# |---|---|---|
# | initialisation | U | some units start there, so that nobody has to go |
# | auxiliary gate | R | a second path, up to twice the gradient at equal $f$ |
# | activation | F | the way is shorter: $\sqrt{1+\ell^2}$ of the gradient at equal $f$ |
#
# Measured for $H = 256$: the share of units that start with $D > 100$, and the gradient at
# $f = 0.999$ over a sigmoid's:

# %% tags=["nbval-ignore-output"]
u = 1e-3
gain = {"refine": saturation.refined(), "fast": saturation.fast, "sigmoid": saturation.sigmoid}
gain = {name: float(a.slope(u) / saturation.sigmoid.slope(u)) for name, a in gain.items()}
ways = {}
for g in ("-", "U", "R", "UR", "F", "UF"):
    torch.manual_seed(0)
    layer = urgates.LSTM(1, 256, gate=g)
    with torch.no_grad():
        layer.weight_ih_l0.zero_(), layer.weight_hh_l0.zero_()
        kept = layer.gates(torch.zeros(1, 1, 1))["g"].flatten()
    kind = "fast" if "F" in g else "refine" if "R" in g else "sigmoid"
    ways[g] = {"starts with D > 100": (kept > 0.99).float().mean().item(), "gradient": gain[kind]}
ways = pd.DataFrame(ways).T
ways.round(3)

# %% [markdown]
# Each works on another quantity, so they combine: that is what UF, FR and UFR are for. On the
# parameters the papers only seem to disagree: §2.4 of the first ties the input gate and counts
# none; §3 of the second counts an auxiliary gate on top. On the justification ("rather heuristic",
# says the second paper of the refine gate), F20 in [F4b](F4b_learnability.ipynb): it
# has the sigmoid's order, with a better constant.

# %% [markdown]
# ## What it costs
#
# From the runs' own records:

# %%
bench.cost(copy[1], adding[1], pixels[1])

# %% [markdown]
# **Your turn**, from the top folder of the repository:
#
# - Fast gates, chrono-started: `urgates run F5 -p gates=CF,F`
# - Train what this page lacks: `urgates run F5 --preset laptop --recompute`
# - In `LOOPS`, write a gate of your own and time it; [F4a](F4a_saturation.ipynb) tells its order of
#   saturation.
#
# **Next:** [X1_kernels](X1_kernels.ipynb), every gate at speed.
# **Back:** [F4b_learnability](F4b_learnability.ipynb), the theory.
