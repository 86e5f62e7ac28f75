"""The recurrence without an autograd graph per step, in torch ops: runs wherever torch runs.

Forward keeps the states only.  Once they are known, every gate of every step follows in one go, and
the backward pass of any gate is a linear recurrence with known coefficients: only two products per
head and one GEMM remain inside the loop; each weight gradient is one GEMM.  The coefficients are
derived from the step itself (`urgates.tape`); cumax's sums and the products are by hand.
M models, B batch, T time, H hidden units, G rows of the weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

import urgates  # its `symbolic` brings SymPy at the first use
from urgates.kernels.reference import (
    Gradients,
    Inputs,
    Recurrence,
    States,
    Step,
    hold,
    keep_at,
    step,
)


def stash_width(r: Recurrence, x: Inputs) -> int:
    """Columns of the stash: the input side; the rest follows from the states."""
    return x.w_h.shape[1]


def forward(r: Recurrence, x: Inputs, training: bool = True) -> States:
    """The states, without a graph; `training` says whether backward may follow."""
    gx = x.input_side()
    hs = gx.new_empty(x.shape)
    cs = gx.new_empty(x.shape if r.cell == "lstm" else (len(gx), 0))
    h, c, w = x.h0, x.c0, x.w_h.mT
    b_u = None if x.b_u is None else x.b_u.unsqueeze(1)
    for t, gx_t in enumerate(gx.unbind(1)):
        new = step(r, gx_t, h @ w, b_u, h, c)
        h = hs[:, t].copy_(hold(new.h, h, keep_at(x.keep_h, t)))
        if r.cell == "lstm":
            c = cs[:, t].copy_(hold(new.c, c, keep_at(x.keep_c, t)))
    return States(hs, cs, gx if training else gx[..., :0].clone())


def replay(r: Recurrence, x: Inputs, states: States) -> tuple[Step, Tensor, Tensor]:
    """Every step's gates at once from the known states: (Step [M, T, B, ·], h and c before it)."""
    hs, cs, gx = states
    T = hs.shape[1]
    h = torch.cat([x.h0.unsqueeze(1), hs[:, :-1]], 1)[:, :T]
    c = torch.cat([x.c0.unsqueeze(1), cs[:, :-1]], 1)[:, :T] if r.cell == "lstm" else h
    rh = (h.flatten(1, 2) @ x.w_h.mT).unflatten(1, h.shape[1:3])
    return step(r, gx, rh, None if x.b_u is None else x.b_u[:, None, None], h, c), h, c


class Route:
    """How the state's gradient reaches one head's pre-activation: dz_t = slope_t * carrier_t.

    An ordered head adds its softmax's backward; a chunked head sums over its chunk of C neurons.
    """

    def __init__(self, slope: Tensor, width: int, softmax: Tensor | None = None) -> None:
        self.slope, self.slopes, self.width = slope, slope.unbind(1), width
        self.softmaxes = None if softmax is None else softmax.unbind(1)

    def __call__(self, t: int, carrier: Tensor, out: Tensor) -> None:
        """Write the gradient of the head's pre-activation at step t."""
        if self.softmaxes is None and carrier.shape[-1] == self.width:
            torch.mul(carrier, self.slopes[t], out=out)
            return
        dz = (carrier * self.slopes[t]).unflatten(-1, (self.width, -1)).sum(-1)
        if self.softmaxes is not None:
            p = self.softmaxes[t]
            q = dz.flip(-1).cumsum(-1).flip(-1)
            dz = p * (q - (p * q).sum(-1, keepdim=True))
        out.copy_(dz)


def routes(r: Recurrence, s: Step, state: Tensor) -> tuple[dict[str, Route], dict[str, Tensor]]:
    """What `tape.slopes` makes of known steps: routes to the pre-activations, and all slopes.

    The routes are of what reaches the next state, but an LSTM's to `o` of what reaches h.
    """
    named = {f"{name}_c": c for name, c in s.complement.items()}
    effective = {"forget": s.forget, "input": s.input}
    own = {"state": state, "u": s.u, "o": s.out, "reset": s.out, "v": s.reset_u}
    if r.cell == "lstm":
        own["tanh_c"] = torch.tanh(s.c)
    slopes = urgates.tape.slopes(r)(s.value | named | effective | own)
    out, rest = (dict.fromkeys(("o", "reset"), a) for a in (s.out, 1 - s.out))
    values, complements = s.value | out, s.complement | rest
    found = {"u": Route(slopes["z_u"], s.u.shape[-1])}
    for head in r.layout:
        if head.name == "u":
            continue
        slope, z, softmax = slopes[head.name], s.pre[head.name], None
        if head.ordered:
            slope, softmax = -slope if head.falling else slope, torch.softmax(z, -1)
        else:
            pair = values[head.name], complements[head.name]
            slope = slope * urgates.symbolic.slope(head.activation, *pair)
        found[head.name] = Route(slope, z.shape[-1], softmax)
    return found, slopes


def backward(
    r: Recurrence, x: Inputs, states: States, dhs: Tensor, dc_last: Tensor, to_x: bool = True
) -> Gradients:
    """Gradients from those of the hidden states and the last cell state; of x only if `to_x`."""
    lstm, H = r.cell == "lstm", x.h0.shape[-1]
    s, h_prev, c_prev = replay(r, x, states)
    d_gx = x.x.new_empty(*x.shape[:3], x.w_h.shape[1])
    rows = r.split(d_gx, H)
    to, slopes = routes(r, s, c_prev)
    to_o = to.pop("o") if lstm else None
    wanted = ("next", "state") if lstm else ("state", "v")
    each = {name: slopes[name].unbind(1) for name in wanted if name in slopes}

    # what h_{t-1} saw: the same rows, but a GRU's u behind its reset gate
    d_rh = d_gx if lstm or not r.keep_reset else torch.empty_like(d_gx)
    recurrent_rows = r.split(d_rh, H)
    dh, dc = torch.zeros_like(x.h0), dc_last
    for t in reversed(range(x.shape[1])):
        dh, dh_held = release(dhs[:, t] + dh, keep_at(x.keep_h, t))
        carrier = dh
        if lstm:
            dc, dc_held = release(dc, keep_at(x.keep_c, t))
            to_o(t, dh, out=rows["o"][:, t])
            carrier = torch.addcmul(dc, dh, each["next"][t])
        for name, route in to.items():
            route(t, carrier, out=rows[name][:, t])
        if d_rh is not d_gx:
            d_rh[:, t] = d_gx[:, t]
            torch.mul(carrier, each["v"][t], out=recurrent_rows["u"][:, t])
        dh = dh_held + d_rh[:, t] @ x.w_h
        through = carrier * each["state"][t]
        if lstm:
            dc = dc_held + through
        else:
            dh = dh + through
    d_w = d_rh.flatten(1, 2).mT @ h_prev.flatten(1, 2)
    d_b_u = recurrent_rows["u"].sum((1, 2)) if x.b_u is not None else d_w.new_empty(len(d_w), 0)
    dc = dc if lstm else torch.zeros_like(x.c0)
    return Gradients(*through_input_side(x, d_gx, to_x), d_w, d_b_u, dh, dc)


def through_input_side(x: Inputs, d_gx: Tensor, to_x: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, w_x and b from those of the pre-activations."""
    d = d_gx.flatten(1, 2)
    empty = d.new_empty(len(d), 0)
    d_x = (d @ x.w_x).unflatten(1, x.x.shape[1:3]) if to_x else empty
    d_w = (x.x.flatten(1, 2).mT @ d).mT.contiguous()  # 7x faster than dᵀ·x for few inputs
    return d_x, d_w, empty if x.b is None else d.sum(1)


def release(gradient: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor | float]:
    """Split a state's gradient over the new value and the held one, cf. `reference.hold`."""
    return (gradient, 0.0) if keep is None else ((1 - keep) * gradient, keep * gradient)
