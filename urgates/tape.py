"""A step as lines that SymPy reads out of the equations, and the same lines backwards.

`forwards` runs `Gate.combine`, `gates.candidate` and `gates.advance` on symbols.  `backwards` is
that in reverse mode: a line for d_x, the gradient of each x.  The compiled kernels print both, the
eager one calls `slopes`; nobody writes the derivative of a cell.
The lines speak of a gate's heads and their complements <head>_c; of state, next and h; of z_u, u =
tanh(z_u) and tanh_c = tanh(next); of o of an LSTM; of x_u, v and reset of a GRU (v is what reset
multiplies).  What leads on from a head's activation to its pre-activation is not among them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import sympy

from urgates import symbolic
from urgates.gates import advance, candidate

Lines = dict[str, sympy.Expr]


def _symbol(name: str) -> sympy.Symbol:
    return sympy.Symbol(name, real=True)


@cache
def forwards(r) -> Lines:
    """Names and values of a step in order: forget, input, (z_u,) u, next, (tanh_c,) h.

    Args:
        r: a `kernels.Recurrence`, or what has its cell, gate and heads.
    """
    effective = symbolic.trace(r.gate, r.heads)
    lines = {"forget": effective.forget, "input": effective.input}
    if "reset" in r.heads:
        lines["z_u"] = candidate(*map(_symbol, ("x_u", "reset", "v")))
    lines["u"] = sympy.tanh(_symbol("z_u"))

    def tanh(new: sympy.Expr) -> sympy.Expr:
        lines.update(next=new, tanh_c=sympy.tanh(_symbol("next")))
        return _symbol("tanh_c")

    given = map(_symbol, ("forget", "input", "o", "u", "state"))
    new, h = advance(r.cell, *given, tanh)
    return lines | {"next": new, "h": _symbol("next") if h == new else h}


@cache
def backwards(r) -> Lines:
    """d_next, d_state, d_z_u (or d_x_u and d_v), d_o or d_reset, d_<head>, in an order that works.

    Given are d_h, and d_c of an LSTM: what reaches `next` other than through h.  The lines use
    dforget_<head> and dinput_<head> where these are no numbers: `symbolic.c_statements` has them.
    """
    effective, lines = symbolic.trace(r.gate, r.heads), forwards(r)
    gradient: Lines = {"h": _symbol("d_h")}
    if r.cell == "lstm":
        gradient["next"] = _symbol("d_c")
    back: Lines = {}
    for name, value in reversed(lines.items()):
        if name != "h":
            back[f"d_{name}"] = gradient[name]
        if name not in ("forget", "input"):
            for x in sorted(value.free_symbols, key=str):
                slope = value.diff(x).subs(value, _symbol(name))  # of a tanh by itself
                gradient[x.name] = gradient.get(x.name, 0) + _symbol(f"d_{name}") * slope
    back |= {f"d_{name}": value for name, value in gradient.items() if name not in lines}
    for head in effective.a:
        slopes = effective.derivatives(head)
        named = (_symbol(f"{of}_{head}") for of in ("dforget", "dinput"))
        to_forget, to_input = (e if e.is_number else n for n, e in zip(named, slopes, strict=True))
        back[f"d_{head}"] = _symbol("d_forget") * to_forget + _symbol("d_input") * to_input
    return back


@cache
def slopes(r) -> Callable[[dict], dict]:
    """A function of all that `backwards` reads, by name: what gradients are multiplied by.

    Those of `d_next` by all that it gives but `next`, whose is that of d_h itself; so is an LSTM's
    `o`.  Tensors, arrays or floats.
    """
    effective, found = symbolic.trace(r.gate, r.heads), {}
    seen = {"d_h": sympy.Integer(1), "d_c": sympy.Integer(0)}
    for head in effective.a:
        seen[f"dforget_{head}"], seen[f"dinput_{head}"] = effective.derivatives(head)
    for name, value in backwards(r).items():
        found[name] = value.subs({s: seen[s.name] for s in value.free_symbols if s.name in seen})
        seen[name] = sympy.Integer(1) if name == "d_next" else found[name]
    arguments = sorted(set().union(*(e.free_symbols for e in found.values())), key=str)
    values = sympy.lambdify(arguments, [*found.values()], modules="math", cse=True)
    names = [name.removeprefix("d_") for name in found]
    return lambda given: dict(zip(names, values(*(given[a.name] for a in arguments)), strict=True))
