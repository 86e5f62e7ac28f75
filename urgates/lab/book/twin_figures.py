"""The book's figures with sliders (twins.py), in the symbols of its formulas."""

from __future__ import annotations

from collections.abc import Mapping

import sympy

from urgates import theory
from urgates.activations import SYMMETRIC
from urgates.checks import require
from urgates.gates import Gate, band, decay_period, refine
from urgates.lab.book.look import STYLE, style
from urgates.lab.book.twins import Axis, Choice, Formula, Line, Panel, Slider, Twin, chosen
from urgates.starts import chrono_odds, within
from urgates.symbolic import TAIL, slope_formula, trace, value_formula

BLUE, GREY, DARK, OWN = STYLE["-"]["color"], "#888888", "currentColor", "#7a3fb0"
f, r, g, z, k, q, s, b, H, T = sympy.symbols("f r g z k q s b H T", real=True)
_R = Slider("r", "refine gate r", 0, 1, 1)
_TRACE = (Axis("k", 1, 1000, "steps k (log scale)", log=True), Axis("left", 0, 1))


def refine_gate() -> Twin:
    """Fig. 2: what r makes of f, in gates, in time and in gradient."""
    forget = Slider("f", "forget gate f", 0, 1, 0.9)
    refined, slopes = refine(f, r), theory.refine_gradient(theory.main_gate(g, r), r)
    gain = sympy.sqrt(slopes[0] ** 2 + slopes[1] ** 2) / band(g)
    adjusted = [
        Line("any r", BLUE, refine(f, 0), to=refine(f, 1)),
        Line("f alone", GREY, f, dash="4 3"),
        Line("this r", BLUE, refined),
        Line("", BLUE, refined, x=f, point=True),
    ]
    kept = [Line("f alone", GREY, f**k, dash="4 3"), Line("refined", BLUE, refined**k)]
    gradient = [
        Line("plain gate", GREY, sympy.Integer(1), dash="4 3"),
        Line("this r", BLUE, gain),
        Line("", BLUE, gain.subs(g, refined), x=refined, point=True),
    ]
    axis = Axis("f", 0, 1, "forget gate f")
    panels = [
        Panel("effective gate g", axis, Axis("g", 0, 1), adjusted),
        Panel("what is left after k steps", *_TRACE, kept),
        Panel("gradient, refined / plain", Axis("g", 0.001, 0.999, "effective gate g"),
              Axis("gain", 0.8, 2.1), gradient),
    ]  # fmt: skip
    read = [("g", refined, ""), ("D of f", decay_period(f), "steps")]
    return Twin([forget, _R], panels, [*read, ("D of g", decay_period(refined), "steps")])


# ------------------------------------------------------------------ how a layer's gates start


def _start(kinds: Mapping[str, tuple[str, sympy.Expr]]) -> list[Panel]:
    """Gates, decay periods and memory of a layer's units; forget gates by q, with their colours."""
    share = Axis("s", 1e-4, 1, log=True)
    steps = Axis("k", 1, 10_000, "steps k (log scale)", log=True)
    periods = Axis("D", 1, 10_000, "decay period D [steps] (log scale)", log=True)
    gates, tails, traces = [], [], []
    for label, (color, forget) in kinds.items():
        gates.append(Line(label, color, forget))
        tails.append(Line(label, color, s, x=decay_period(forget.subs(q, 1 - s)), over=share))
        traces.append(Line(label, color, forget**k, mean="q"))
    return [
        Panel("gates at the start", Axis("q", 0, 1, "units, by their f"), Axis("f", 0, 1), gates),
        Panel("share of units beyond D", periods, share, tails),
        Panel("left in the layer after k steps", steps, share, traces),
    ]  # fmt: skip


_BIAS = Slider("b", "constant bias b", -4, 6, 1)
_UNITS = Slider("H", "hidden units H", 8, 4096, 256, log=True, whole=True)
_LONGEST = Slider("T", "chrono's T_max", 3, 3000, 300, log=True, whole=True)
_CONSTANT = value_formula("sigmoid", b)
_CHRONO = chrono_odds(q, T) / (1 + chrono_odds(q, T))


def starts() -> Twin:
    """A constant bias beside the uniform start, Prop. 1."""
    kinds = {
        "constant bias": (STYLE["-"]["color"], _CONSTANT),
        "uniform": (STYLE["U"]["color"], within(q, H)),
    }
    read = ("D of every unit with a constant bias", decay_period(_CONSTANT), "steps")
    return Twin(
        [_BIAS, _UNITS], _start(kinds), [read, ("longest D of a uniform start", H, "steps")]
    )


def chrono() -> Twin:
    """Chrono initialisation beside the uniform start, Table 4."""
    kinds = {
        "chrono": (STYLE["C"]["color"], _CHRONO),
        "uniform": (STYLE["U"]["color"], within(q, H)),
    }
    middle = decay_period(_CHRONO.subs(q, sympy.Rational(1, 2)))
    read = [
        ("median D of chrono", middle, "steps"),
        ("median D of uniform", sympy.Integer(2), "steps"),
    ]
    return Twin([_LONGEST, _UNITS], _start(kinds), read)


# ------------------------------------------------------------------ activations


def saturation() -> Twin:
    """Sigmoid, fast gate and softsign: how near 1 they are at z, and what gradient is left."""
    names, looks = list(SYMMETRIC), [STYLE["-"], style("F"), style("S")]
    colors = dict(zip(names, (look["color"] for look in looks), strict=True))
    place, tail, slope = sympy.symbols("place tail slope", real=True)  # where the slider stands
    tails = {name: SYMMETRIC[name].tail(z) for name in names}
    here = {
        "tail": chosen("phi", [tail.subs(z, place) for tail in tails.values()]),
        "slope": chosen("phi", [slope_formula(name).subs(TAIL, tail) for name in names]),
    }

    def lines(curves: Mapping[str, sympy.Expr], x: sympy.Expr, y: sympy.Expr) -> list[Line]:
        drawn = [Line(name, colors[name], curve) for name, curve in curves.items()]
        return [*drawn, Line("", DARK, y, x=x, point=True)]

    curves = lines({name: value_formula(name, z) for name in names}, place, 1 - tail)
    curves.append(Line("tangent", DARK, 1 - tail + slope * (z - place), dash="4 3"))
    equal = {name: slope_formula(name) / band(TAIL) for name in names}
    distance = Axis("u", 1e-12, 0.5, "1 − f (log scale)", log=True)
    panels = [
        Panel("gate f = φ(z)", Axis("z", -6, 6, "pre-activation z"), Axis("f", 0, 1),
              curves, here),
        Panel("distance to saturation, 1 − f", Axis("z", 0, 6, "pre-activation z"), distance,
              lines(tails, place, tail), here),
        Panel("slope at equal f / sigmoid's", distance, Axis("gain", 0, 28),
              lines(equal, tail, slope / band(tail)), here),
    ]  # fmt: skip
    controls = [Slider("place", "pre-activation z", 0, 6, 3), Choice("phi", "activation φ", names)]
    read = [("1 − f", tail, ""), ("D", 1 / tail, "steps"), ("φ′(z)", slope, "")]
    return Twin(controls, panels, read, here)


# ------------------------------------------------------------------ a gate of one's own


def own_gate(gate: Gate) -> Twin:
    """A gate's formula, to be rewritten by the reader, with every activation and start.

    Args:
        gate: one whose effective forget gate is a formula of its heads f and r.
    Raises:
        ValueError: for any other gate.
    """
    traced = trace(gate, gate.heads)
    formula = traced.forget.subs({c: 1 - traced.a[head] for head, c in traced.c.items()})
    fine = {str(symbol) for symbol in formula.free_symbols} <= {"f", "r"}
    require("gate", fine, "have an effective forget gate of the heads f and r alone", gate.name)
    own, names = sympy.Function("own"), list(SYMMETRIC)
    main = chosen("phi", [value_formula(name, z) for name in names])
    begun = chosen("start", [within(q, H), _CHRONO, _CONSTANT])
    reach = [
        Line("any r", OWN, own(main, 0), to=own(main, 1)),
        Line("f alone", GREY, main, dash="4 3"),
        Line("this r", OWN, own(main, r)),
    ]
    steep = [
        Line("plain sigmoid", GREY, band(g), x=1 - g, over=Axis("g", 1e-4, 1 - 1e-4), dash="4 3"),
        Line("this r", OWN, own(main, r), x=1 - own(main, r), over=Axis("z", -12, 12), slope=True),
    ]
    ahead = Axis("z", -6, 6, "pre-activation z of f")
    gates, _, traces = _start({"f alone": (GREY, begun), "g": (OWN, own(begun, 1 - begun))})
    panels = [
        Panel("effective gate g", ahead, Axis("g", 0, 1), reach),
        Panel("gradient dg/dz at equal g", Axis("u", 1e-4, 1, "1 − g (log scale)", log=True),
              Axis("slope", 1e-4, 1, log=True), steep),
        gates,
        traces,
    ]  # fmt: skip
    controls = [
        Formula("own", "g(f, r) =", ("f", "r"), str(formula)),
        Choice("phi", "activation φ", names),
        _R._replace(start=0.9),
        Choice("start", "start of f", ("uniform", "chrono", "constant bias")),
        _UNITS, _LONGEST, _BIAS,
    ]  # fmt: skip
    ends = ((f"g(0.9, {at})", own(sympy.Float("0.9"), at), "") for at in (0, r, 1))
    return Twin(controls, panels, [*ends])
