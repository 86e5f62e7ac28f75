"""What SymPy reads out of a Gate: its LaTeX, its derivative and its C, from the one Python formula.

`combine` of a Gate is traced with symbols in place of tensors, so a gate written in plain Python
arrives here without a second copy.  Kernels take their derivatives from `partials`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import ClassVar, NamedTuple

import sympy
from sympy.printing.str import StrPrinter

_LATEX = {"f_master": r"\tilde f", "i_master": r"\tilde i"}


class Trace(NamedTuple):
    """Effective gates as expressions in the activations `a` and their complements `c` by head."""

    forget: sympy.Expr
    input: sympy.Expr
    a: dict[str, sympy.Symbol]
    c: dict[str, sympy.Symbol]

    def derivatives(self, head: str) -> tuple[sympy.Expr, sympy.Expr]:
        """(∂forget, ∂input) / ∂head, a complement moving against its activation."""
        a, c = self.a[head], self.c[head]
        return tuple(sympy.factor(e.diff(a) - e.diff(c)) for e in (self.forget, self.input))


@cache
def trace(gate, heads: tuple[str, ...]) -> Trace:
    """Run the gate's `combine` on symbols.

    Args:
        gate: any object with a Gate's `combine`.
        heads: the weights' row blocks (`gate.layout(...)`); of these only gates are traced.
    """
    names = [h for h in heads if h not in ("u", "o", "reset")]
    a = {h: sympy.Symbol(h, real=True) for h in names}
    c = {h: sympy.Symbol(f"{h}_c", real=True) for h in names}
    forget, input_ = gate.combine(a, c)
    return Trace(sympy.sympify(forget), sympy.sympify(input_), a, c)


@cache
def partials(gate, heads: tuple[str, ...]) -> Callable:
    """One function from (*activations, *complements) to [(∂forget/∂head, ∂input/∂head), …].

    Activations come in the order of the traced heads, as tensors, arrays or floats.
    """
    t = trace(gate, heads)
    args = [*t.a.values(), *t.c.values()]
    return sympy.lambdify(args, [t.derivatives(h) for h in t.a], modules="math", cse=True)


def _assignments(gate, heads: tuple[str, ...], gradients: bool) -> list[tuple[str, sympy.Expr]]:
    """Names and expressions, in order, of which the last are those `c_statements` speaks of."""
    t = trace(gate, heads)
    outputs = {"forget": t.forget, "input": t.input}
    if gradients:
        for h in t.a:
            outputs[f"dforget_{h}"], outputs[f"dinput_{h}"] = t.derivatives(h)
    shared, reduced = sympy.cse(list(outputs.values()))
    return [*((str(n), e) for n, e in shared), *zip(outputs, reduced, strict=True)]


def c_statements(gate, heads: tuple[str, ...], gradients: bool = False) -> str:
    """C assignments to `forget`, `input` (and `dforget_<head>`, `dinput_<head>` with `gradients`).

    The activations are C variables of the heads' names, their complements `<head>_c`, all of a
    floating type called `T`.
    """
    squares = {"Pow": [(lambda b, e: e == 2, lambda b, e: f"(({b})*({b}))")]}
    return "\n".join(
        f"const T {name} = {sympy.ccode(e, user_functions=squares)};"
        for name, e in _assignments(gate, heads, gradients)
    )


def triton_statements(gate, heads: tuple[str, ...], gradients: bool = False) -> str:
    """The same as Python that Triton compiles, `tl` being `triton.language`.

    Raises:
        ValueError: for a formula with a function that Triton does not have.
    """
    text = _TritonPrinter().doprint
    return "\n".join(f"{name} = {text(e)}" for name, e in _assignments(gate, heads, gradients))


class _TritonPrinter(StrPrinter):
    """Python with Triton's functions; powers are products, constants are floats."""

    functions: ClassVar = {name: f"tl.{name}" for name in ("exp", "log", "sqrt", "sin", "cos")}
    functions |= {"Abs": "tl.abs", "Max": "tl.maximum", "Min": "tl.minimum", "tanh": "tanh"}

    def _print_Function(self, e):
        name = e.func.__name__
        if name not in self.functions:
            raise ValueError(f"gate must use {sorted(self.functions)} in its formula, got {name!r}")
        first, *others = map(self._print, e.args)
        for x in others or [None]:  # Max and Min take any number, Triton's take two
            first = f"{self.functions[name]}({first}{f', {x}' if x else ''})"
        return first

    _print_Abs = _print_Max = _print_Min = _print_LatticeOp = _print_Function

    def _print_Pow(self, e, **_):
        if e.exp.is_Integer:
            product = "*".join([f"({self._print(e.base)})"] * abs(int(e.exp)))
            return f"({product})" if e.exp > 0 else f"(1/({product}))"
        base = self._print(e.base)
        if 2 * e.exp == 1:
            return f"tl.sqrt({base})"
        return f"tl.exp({self._print(e.exp)} * tl.log({base}))"

    def _print_Number(self, e):
        return repr(float(e))

    _print_Rational = _print_Half = _print_Float = _print_NumberSymbol = _print_Number
    _print_Exp1 = _print_Pi = _print_Number

    def _print_Piecewise(self, e):
        (x, condition), *others = e.args
        if condition == True or not others:  # noqa: E712 -- SymPy's own true
            return self._print(x)
        rest = self._print(sympy.Piecewise(*others))
        return f"tl.where({self._print(condition)}, {self._print(x)}, {rest})"


def latex(gate, cell: str = "lstm") -> str:
    """The gate's equations as an `aligned` block for MathJax, heads first, then effective gates."""
    heads = gate.layout(cell)
    t = trace(gate, heads)
    names = {h: sympy.Symbol(_LATEX.get(h, h) + "_t") for h in t.a}
    plain = {t.a[h]: n for h, n in names.items()} | {t.c[h]: 1 - n for h, n in names.items()}
    forget, input_ = t.forget.subs(plain), t.input.subs(plain)
    lines = []
    for head in t.a:
        ordered = gate.ordered(head)
        bias = ""
        if gate.distributional and head in (gate.main, gate.partner):
            bias = " + b" if head == gate.main else " - b"
        function = r"\mathrm{cumax}" if ordered else r"\sigma"
        one_minus = "1 - " if ordered and head == gate.partner else ""
        name = names[head].name
        lines.append(rf"{name} &= {one_minus}{function}(L_{{{name[:-2]}}}(x_t, h_{{t-1}}){bias})")
    if gate.auxiliary:
        effective = {"refine": ("g_t", "i_t"), "master": (r"\hat f_t", r"\hat i_t")}[gate.auxiliary]
        lines.append(rf"{effective[0]} &= {sympy.latex(forget)}")
        tied = gate.tied or sympy.simplify(forget + input_ - 1) == 0
        right = f"1 - {effective[0]}" if tied else sympy.latex(input_)
        lines.append(rf"{effective[1]} &= {right}")
    return r"\begin{aligned}" + "\n" + " \\\\\n".join(lines) + "\n" + r"\end{aligned}"


def card(gate) -> str:
    """Markdown that explains a gate: title, equations, start, heads, parameters, source."""
    start = {
        "uniform": r"$b = \sigma^{-1}(u),\ u \sim U[1/H, 1-1/H]$: decay period density $D^{-2}$",
        "chrono": r"$b \sim \log U[1, T_{max}-1]$: decay periods uniform on $[2, T_{max}]$",
        "constant": "one constant bias: a single decay period",
    }[gate.bias]
    if gate.activation == "cumax":
        start = "no bias: cumax itself spreads the gates, decay periods with density $D^{-2}$"
    extra = gate.parameters(1, 256, downsize=16) - type(gate)().parameters(1, 256)
    return "\n".join(
        [
            f"**{gate.name} gate** · {gate.title} · {gate.source}",
            "",
            "$$",
            latex(gate),
            "$$",
            "",
            f"start: {start}  ",
            f"rows of the LSTM's weights: {', '.join(f'`{h}`' for h in gate.heads)}  ",
            f"parameters beyond the plain LSTM at I = 1, H = 256, C = 16: {extra:,}",
        ]
    )
