"""Twins of figures that move: sliders in JupyterLab and on the site, neither with a kernel's help.

A twin says in SymPy's symbols what is drawn.  Its formulas are the library's own, called with
symbols and printed as JavaScript (`symbolic.javascript`); twins.js draws them.  So one output is
the same wherever a script may run, holds nothing random, and nbval compares it.  Where none may
run, on a code host, there is a sentence in its place, and the picture beside it stays.
f main gate, r refine gate, g effective gate, z pre-activation, D decay period [steps],
q share of units with smaller gates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import sympy

from urgates.symbolic import javascript

_SCRIPT = Path(__file__).with_suffix(".js")


class Slider(NamedTuple):
    """A number to move from `low` to `high`: by equal ratios if `log`, rounded if `whole`."""

    name: str
    label: str
    low: float
    high: float
    start: float
    log: bool = False
    whole: bool = False


class Choice(NamedTuple):
    """One of some options, by its number, from 0 on; see `chosen`."""

    name: str
    label: str
    options: Sequence[str]


class Formula(NamedTuple):
    """Arithmetic that the reader writes: the function `name` of some names, `text` at first."""

    name: str
    label: str
    of: Sequence[str]
    text: str


class Axis(NamedTuple):
    """What runs from `low` to `high`: a symbol's name, where lines are drawn over it."""

    name: str
    low: float
    high: float
    label: str = ""
    log: bool = False


class Line(NamedTuple):
    """y over x, both expressions; x is the symbol of the panel's axis, or of `over`, if not given.

    Args:
        to: another y; what lies between is filled.
        over: what runs along the line in place of the panel's axis.
        mean: a symbol over whose values, between 0 and 1, y is averaged.
        slope: draw y's derivative by what runs instead, for a formula that SymPy cannot know.
        point: a single place instead of a line.
    """

    label: str
    color: str
    y: sympy.Expr
    x: sympy.Expr | None = None
    to: sympy.Expr | None = None
    over: Axis | None = None
    dash: str = ""
    mean: str = ""
    slope: bool = False
    point: bool = False


class Panel(NamedTuple):
    """Lines on axes. `given` are names that they use, computed in order."""

    title: str
    x: Axis
    y: Axis
    lines: Sequence[Line]
    given: Mapping[str, sympy.Expr] = {}


class Twin(NamedTuple):
    """A figure with sliders. Readings are a name, an expression and a unit each."""

    controls: Sequence[Slider | Choice | Formula]
    panels: Sequence[Panel]
    readings: Sequence[tuple[str, sympy.Expr, str]] = ()
    given: Mapping[str, sympy.Expr] = {}

    def __repr__(self) -> str:
        moved = ", ".join(control.label for control in self.controls)
        return f"a figure with sliders: {moved}"

    def _repr_html_(self) -> str:
        script = _SCRIPT.read_text(encoding="utf-8").replace("TWIN", _written(self), 1)
        said = "Sliders stand here in JupyterLab, once this cell has run, and on the book's site."
        return f'<div class="twin"><p><em>{said}</em></p>\n<script>\n{script}</script></div>'


def chosen(name: str, options: Sequence[sympy.Expr]) -> sympy.Expr:
    """The option whose number the `Choice` of that name has."""
    cases = [(e, sympy.Eq(sympy.Symbol(name), i)) for i, e in enumerate(options[:-1])]
    return sympy.Piecewise(*cases, (options[-1], True))


def _written(value) -> str:
    """A value as JavaScript; an expression is a function, see `symbolic.javascript`."""
    if isinstance(value, sympy.Basic):
        return javascript(value)
    if hasattr(value, "_asdict"):
        fields, defaults = value._asdict(), value._field_defaults
        own = {k: v for k, v in fields.items() if k not in defaults or v is not defaults[k]}
        value = {"kind": type(value).__name__, **own}
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_written(v)}" for name, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",\n".join(map(_written, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("</", r"<\/")  # ends no script
