"""The recurrence of a relational memory, for many models at once, without a graph per step.

What depends on the input alone comes in ready for all steps.  `step` is the equations; `reference`
leaves their derivatives to autograd.  The other way keeps what the steps computed: gates, norms and
attention of all steps are then gone through in one go, only four products and the attention's stay
in the loop backwards, and each weight's gradient is one product.  The gates' derivatives are
SymPy's, as in `kernels.eager`; the rest is by hand.
M models, B batch, T steps, S slots of F features, h heads of d = F/h, G rows of the gates.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from urgates.gates import update
from urgates.kernels.eager import release, routes
from urgates.kernels.reference import Recurrence, Step, hold

EPSILON = 1e-5  # of the norms, over the features of a row


class Inputs(NamedTuple):
    """The tensors of the recurrence."""

    k: Tensor  # [M, T, B, h, d] of the input's own row: its key
    v: Tensor  # and its value
    gx: Tensor  # [M, T, B, G] the input's part of the gates, with all biases
    m: Tensor  # [M, B, S, F] the memory at first
    keep: Tensor | None  # [M, T, B] 1 where a step leaves the memory as it is, else 0
    w_qkv: Tensor  # [M, 3F, F] queries, keys and values of a head stand together
    b_qkv: Tensor
    scale_qkv: Tensor  # [M, 3F] of the norm over all of them
    shift_qkv: Tensor
    scale_1: Tensor  # [M, F] of the norm after the attention
    shift_1: Tensor
    w_1: Tensor  # [M, F, F] of the ReLU layer
    b_1: Tensor
    w_2: Tensor
    b_2: Tensor
    scale_2: Tensor  # of the norm after it
    shift_2: Tensor
    w_g: Tensor  # [M, G, F] the memory's part of the gates


class Kept(NamedTuple):
    """What a step computes that its backward pass needs, [M, B, …]; of all steps [M, T, B, …]."""

    a: Tensor  # [S, 3F] before the norm
    mean_a: Tensor
    rstd_a: Tensor
    p: Tensor  # [h, S, S + 1] attention
    y_1: Tensor  # [S, F] before the norm
    mean_1: Tensor
    rstd_1: Tensor
    relu: Tensor  # [S, F]
    y_2: Tensor  # [S, F] before the norm
    mean_2: Tensor
    rstd_2: Tensor
    u: Tensor  # [S, F] the candidate
    pre: Tensor  # [S, G] the gates' pre-activations


def kept_shapes(heads: int, x: Inputs, training: bool = True) -> list[tuple[int, ...]]:
    """The sizes of `Kept`, of all steps."""
    S, F = x.m.shape[2:]
    row = *x.gx.shape[:3], S
    wide, one = (*row, F), (*row, 1)
    p, pre = (*row[:3], heads, S, S + 1), (*row, x.gx.shape[3])
    return [(*row, 3 * F), one, one, p, wide, one, one, wide, wide, one, one, wide, pre]


def linear(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """w x + b of rows x [M, …, F], each model's own."""
    rows = x.flatten(1, -2)
    y = rows @ w.mT if b is None else torch.baddbmm(b.unsqueeze(1), rows, w.mT)
    return y.unflatten(1, x.shape[1:-1])


def normal(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows with mean 0 and variance 1, and what they had: (rows, mean, 1 / deviation)."""
    return torch.native_layer_norm(x, x.shape[-1:], None, None, EPSILON)


def affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """scale · x + shift by features, each model's own."""
    like = len(scale), *[1] * (x.dim() - 2), -1
    return torch.addcmul(shift.view(like), x, scale.view(like))


def shares(scores: Tensor) -> Tensor:
    """Softmax over the last dimension; torch's is four times slower over a handful of numbers."""
    e = (scores - scores.amax(-1, keepdim=True)).exp()
    return e / e.sum(-1, keepdim=True)


def by_head(qkv: Tensor, heads: int) -> tuple[Tensor, ...]:
    """Queries, keys and values [M, …, h, S, d] of rows [M, …, S, 3F]."""
    return qkv.unflatten(-1, (heads, -1)).transpose(-3, -2).chunk(3, -1)


def step(r: Recurrence, heads: int, x: Inputs, m: Tensor, k_x: Tensor, v_x: Tensor, gx: Tensor):
    """The memory [M, B, S, F] after one step, and what was computed."""
    a = linear(m, x.w_qkv, x.b_qkv)
    hat, *moments_a = normal(a)
    q, k, v = by_head(affine(hat, x.scale_qkv, x.shift_qkv), heads)
    k, v = torch.cat([k, k_x.unsqueeze(-2)], -2), torch.cat([v, v_x.unsqueeze(-2)], -2)
    p = shares((q * q.shape[-1] ** -0.5) @ k.mT)
    y_1 = m + (p @ v).transpose(-3, -2).flatten(-2)
    hat, *moments_1 = normal(y_1)
    z_1 = affine(hat, x.scale_1, x.shift_1)
    relu = torch.relu(linear(z_1, x.w_1, x.b_1))
    y_2 = z_1 + linear(relu, x.w_2, x.b_2)
    hat, *moments_2 = normal(y_2)
    u = torch.tanh(affine(hat, x.scale_2, x.shift_2))
    pre = gx.unsqueeze(2) + linear(torch.tanh(m), x.w_g)
    forget, input_ = r.gate.coefficients(split(r, pre, m))
    kept = Kept._make((a, *moments_a, p, y_1, *moments_1, relu, y_2, *moments_2, u, pre))
    return update(forget, input_, m, u), kept


def split(r: Recurrence, pre: Tensor, m: Tensor) -> dict[str, Tensor]:
    """The gates' pre-activations by head: as wide as the memory, or one for a slot."""
    return r.split(pre, 1 if pre.shape[-1] == len(r.layout) else m.shape[-1])


def reference(r: Recurrence, heads: int, x: Inputs) -> Tensor:
    """The memories [M, T, B, S, F]."""
    m, ms = x.m, []
    for t, (k_x, v_x, gx) in enumerate(zip(*(part.unbind(1) for part in x[:3]), strict=True)):
        m = hold(step(r, heads, x, m, k_x, v_x, gx)[0], m, _keep(x, t))
        ms.append(m)
    return torch.stack(ms, 1)


def forward(r: Recurrence, heads: int, x: Inputs, training: bool = True) -> tuple[Tensor, Kept]:
    """The memories [M, T, B, S, F] and what the steps computed, whatever follows."""
    m, ms, steps = x.m, [], []
    for t, (k_x, v_x, gx) in enumerate(zip(*(part.unbind(1) for part in x[:3]), strict=True)):
        new, kept = step(r, heads, x, m, k_x, v_x, gx)
        m = hold(new, m, _keep(x, t))
        ms.append(m)
        steps.append(kept)
    return torch.stack(ms, 1), Kept(*(torch.stack(part, 1) for part in zip(*steps, strict=True)))


def _keep(x: Inputs, t: int) -> Tensor | None:
    return None if x.keep is None else x.keep[:, t, :, None, None]


# ------------------------------------------------------------------ backwards


def denormal(d: Tensor, y: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
    """The gradient of `normal`'s input from that of its rows."""
    mean, rstd = mean.contiguous(), rstd.contiguous()  # torch reads their memory as if they were
    mask = [True, False, False]
    return torch.ops.aten.native_layer_norm_backward(
        d, y, y.shape[-1:], mean, rstd, None, None, mask
    )[0]


class Slopes(NamedTuple):
    """What a step's way back hands over to the weights, [M, B, …]; of all steps [M, T, B, …]."""

    pre: Tensor  # [S, G]
    z_2: Tensor  # [S, F]
    y_2: Tensor
    relu: Tensor  # behind it
    z_1: Tensor
    qkv: Tensor  # [S, 3F]
    a: Tensor
    k_x: Tensor  # [h, 1, d]
    v_x: Tensor


def backward(r: Recurrence, heads: int, x: Inputs, ms: Tensor, kept: Kept, dms: Tensor) -> Inputs:
    """Gradients of the inputs from those of the memories."""
    before = torch.cat([x.m.unsqueeze(1), ms[:, :-1]], 1)
    tanh_m = torch.tanh(before)
    hat_a, hat_1, hat_2 = ((y - mean) * rstd for y, mean, rstd in (kept[:3], kept[4:7], kept[8:11]))
    q, k, v = by_head(affine(hat_a, x.scale_qkv, x.shift_qkv), heads)
    k, v = torch.cat([k, x.k.unsqueeze(-2)], -2), torch.cat([v, x.v.unsqueeze(-2)], -2)
    gates, forget, to_u = _gates(r, kept, before)
    over_time = [a.unbind(1) for a in (*kept, q, k, v, forget, to_u, 1 - tanh_m.square())]

    dm, steps = torch.zeros_like(x.m), []
    for t in reversed(range(dms.shape[1])):
        now = [a[t] for a in over_time]
        dm, dm_held = release(dms[:, t] + dm, _keep(x, t))
        dpre = torch.empty_like(kept.pre[:, t])
        for name, rows in split(r, dpre, dm).items():
            gates[name](t, dm, rows)
        through, slopes = _step_back(x, Kept._make(now[:13]), now[13:16], dm * now[17])
        dm = dm_held + dm * now[16] + linear(dpre, x.w_g.mT) * now[18] + through
        steps.append(Slopes(dpre, *slopes))
    d = Slopes(*(torch.stack(part, 1) for part in zip(*reversed(steps), strict=True)))
    return Inputs(
        d.k_x.squeeze(-2), d.v_x.squeeze(-2), d.pre.sum(3), dm, None,
        product(d.a, before), _total(d.a), _total(d.qkv * hat_a), _total(d.qkv),
        _total(d.z_1 * hat_1), _total(d.z_1),
        product(d.relu, affine(hat_1, x.scale_1, x.shift_1)), _total(d.relu),
        product(d.y_2, kept.relu), _total(d.y_2),
        _total(d.z_2 * hat_2), _total(d.z_2),
        product(d.pre, tanh_m),
    )  # fmt: skip


def _gates(r: Recurrence, kept: Kept, before: Tensor) -> tuple[dict, Tensor, Tensor]:
    """Routes to the gates' heads, the effective forget gates, and what reaches the candidates."""
    pre = split(r, kept.pre, before)
    value, complement = r.gate.activate(pre)
    forget, input_ = r.gate.combine(value, complement)
    nothing = torch.zeros(())  # what cells with an output gate have
    s = Step(pre, value, complement, forget, input_, kept.u, *[nothing] * 4)
    to, slopes = routes(r, s, before)
    return to, slopes["state"], slopes["z_u"]


def _step_back(x: Inputs, kept: Kept, qkv: list[Tensor], dz_2: Tensor) -> tuple[Tensor, tuple]:
    """From behind the candidate's tanh to the memory, and the slopes on the way."""
    q, k, v = qkv
    dy_2 = denormal(dz_2 * x.scale_2[:, None, None], kept.y_2, kept.mean_2, kept.rstd_2)
    drelu = linear(dy_2, x.w_2.mT) * (kept.relu > 0)
    dz_1 = dy_2 + linear(drelu, x.w_1.mT)
    dy_1 = denormal(dz_1 * x.scale_1[:, None, None], kept.y_1, kept.mean_1, kept.rstd_1)
    dout = dy_1.unflatten(-1, (q.shape[-3], -1)).transpose(-3, -2)
    dp = dout @ v.mT
    dscores = kept.p * (dp - (dp * kept.p).sum(-1, keepdim=True)) * q.shape[-1] ** -0.5
    dk, dv = dscores.mT @ q, kept.p.mT @ dout
    parts = torch.cat([dscores @ k, dk[..., :-1, :], dv[..., :-1, :]], -1)
    dqkv = parts.transpose(-3, -2).flatten(-2)
    da = denormal(dqkv * x.scale_qkv[:, None, None], kept.a, kept.mean_a, kept.rstd_a)
    slopes = dz_2, dy_2, drelu, dz_1, dqkv, da, dk[..., -1:, :], dv[..., -1:, :]
    return dy_1 + linear(da, x.w_qkv.mT), slopes


def product(d: Tensor, x: Tensor) -> Tensor:
    """A weight's gradient [M, out, in] over all rows d [M, …, out], x [M, …, in]."""
    return d.flatten(1, -2).mT @ x.flatten(1, -2)


def _total(d: Tensor) -> Tensor:
    """[M, n] summed over all rows."""
    return d.flatten(1, -2).sum(1)
