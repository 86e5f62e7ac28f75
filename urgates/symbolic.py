"""What SymPy reads out of a Gate: LaTeX, derivative, C and JavaScript, from the one Python formula.

`combine` of a Gate and the tail of its activation are traced with symbols in place of tensors, so a
gate written in plain Python arrives here without a second copy.  The kernels have two derivatives
from here: that of the effective gates by their heads, and φ' of an activation that is neither
sigmoid nor cumax; `tape` has that of the cell around the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import ClassVar, NamedTuple

import sympy
import torch
from sympy.core.function import AppliedUndef
from sympy.printing.c import C99CodePrinter
from sympy.printing.str import StrPrinter

from urgates.activations import SYMMETRIC
from urgates.checks import refusal
from urgates.heads import MIXED
from urgates.starts import POWER

_LATEX = {"f_master": r"\tilde f", "i_master": r"\tilde i"}
_FUNCTION = {"sigmoid": r"\sigma", "cumax": r"\mathrm{cumax}"}  # any other is called φ


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
        heads: names of the weights' row blocks; of these only the gate's own are traced.
    """
    names = [h for h in heads if h in MIXED]
    a = {h: sympy.Symbol(h, real=True) for h in names}
    c = {h: sympy.Symbol(f"{h}_c", real=True) for h in names}
    forget, input_ = gate.combine(a, c)
    return Trace(sympy.sympify(forget), sympy.sympify(input_), a, c)


@cache
def partials(gate, heads: tuple[str, ...]) -> Callable:
    """One function of `(*activations, *complements)`: [(∂forget/∂head, ∂input/∂head), …].

    Activations come in the order of the traced heads, as tensors, arrays or floats.
    """
    t = trace(gate, heads)
    args = [*t.a.values(), *t.c.values()]
    return sympy.lambdify(args, [t.derivatives(h) for h in t.a], modules="math", cse=True)


# ------------------------------------------------------------------ activations

TAIL = sympy.Symbol("u", positive=True)  # u = 1 - φ(|z|), how far from saturation
_SIZE = sympy.Symbol("a", positive=True)  # a = |z|
TINY = 1e-37  # below it u's slope is 0 to float32, but 0 times log 0 is NaN


@cache
def slope_formula(activation: str) -> sympy.Expr:
    """φ' of a row of `SYMMETRIC` as an expression in `TAIL`: the tail's derivative, inverted."""
    phi = SYMMETRIC[activation]
    return sympy.simplify(-phi.tail(_SIZE).diff(_SIZE).subs(_SIZE, phi.inverse(TAIL)))


@cache
def _slope(activation: str) -> Callable:
    return sympy.lambdify([TAIL], slope_formula(activation), modules=[torch], cse=True)


def slope(activation: str, value, complement):
    """φ' where φ has that value and complement, tensors: what a kernel multiplies a gradient by."""
    if activation == "sigmoid":
        return value * complement
    return _slope(activation)(torch.minimum(value, complement).clamp(min=TINY))


def _activation(activation: str) -> tuple[sympy.Expr, sympy.Expr]:
    """Tail of |z| and slope by tail, with no function but exp, log and sqrt."""
    tail = sympy.sympify(SYMMETRIC[activation].tail(_SIZE)).rewrite(sympy.exp)
    return tail, slope_formula(activation)


def value_formula(activation: str, z: sympy.Symbol) -> sympy.Expr:
    """φ(z) of a row of `SYMMETRIC`: `activations.pair`, of a symbol."""
    tail = SYMMETRIC[activation].tail
    return sympy.Piecewise((1 - tail(z), z >= 0), (tail(-z), True))


def c_activation(activation: str) -> str:
    """C functions `tail` of a = |z| and `slope` of the tail u, in a floating type called `T`."""
    functions = []
    for name, x, e in zip(("tail", "slope"), (_SIZE, TAIL), _activation(activation), strict=True):
        *shared, (_, result) = _shared({"": e})
        body = f"{c_lines(shared)}\nreturn {_CPrinter().doprint(result)};"
        functions.append(f"inline T {name}(T {x}) {{\n{body}\n}}")
    return "\n".join(functions)


def triton_activation(activation: str) -> tuple[str, str]:
    """Statements that assign `tail` from `a` and `slope` from `u`, for Triton."""
    pair = zip(("tail", "slope"), _activation(activation), strict=True)
    tail, slope = (triton_lines(_shared({name: e})) for name, e in pair)
    return tail, f"u = tl.where(u < {TINY}, {TINY}, u)\n{slope}"  # tl.maximum would lose a NaN


# ------------------------------------------------------------------ statements and their printers


def _shared(outputs: dict[str, sympy.Expr]) -> list[tuple[str, sympy.Expr]]:
    """Names and expressions in order, common parts first."""
    shared, reduced = sympy.cse(list(outputs.values()))
    return [*((str(n), e) for n, e in shared), *zip(outputs, reduced, strict=True)]


def c_lines(lines: Iterable[tuple[str, sympy.Expr]]) -> str:
    """Names and expressions as C constants of a type called `T`."""
    return "\n".join(f"const T {name} = {_CPrinter().doprint(e)};" for name, e in lines)


def triton_lines(lines: Iterable[tuple[str, sympy.Expr]]) -> str:
    """Names and expressions as assignments that Triton compiles, `tl` being `triton.language`.

    Raises:
        ValueError: for an expression with a function that Triton does not have.
    """
    return "\n".join(f"{name} = {_TritonPrinter().doprint(e)}" for name, e in lines)


def _assignments(gate, heads: tuple[str, ...], gradients: bool) -> list[tuple[str, sympy.Expr]]:
    """Names and expressions, in order, of which the last are those `c_statements` speaks of."""
    t = trace(gate, heads)
    outputs = {"forget": t.forget, "input": t.input}
    if gradients:
        for h in t.a:
            outputs[f"dforget_{h}"], outputs[f"dinput_{h}"] = t.derivatives(h)
    return _shared(outputs)


def c_statements(gate, heads: tuple[str, ...], gradients: bool = False) -> str:
    """C assignments to `forget`, `input` (and `dforget_<head>`, `dinput_<head>` with `gradients`).

    The activations are C variables of the heads' names, their complements `<head>_c`, all of a
    floating type called `T`, for which exp, log and sqrt exist.
    """
    return c_lines(_assignments(gate, heads, gradients))


def triton_statements(gate, heads: tuple[str, ...], gradients: bool = False) -> str:
    """The same as Python that Triton compiles, `tl` being `triton.language`.

    Raises:
        ValueError: for a formula with a function that Triton does not have.
    """
    return triton_lines(_assignments(gate, heads, gradients))


def javascript(expression) -> str:
    """A JavaScript function of an object that holds the expression's names: `({f, r}) => f*r`."""
    e = sympy.sympify(expression)
    names = e.free_symbols | {call.func for call in e.atoms(AppliedUndef)}
    text = sympy.jscode(e, allow_unknown_functions=True)
    return f"({{{', '.join(sorted(map(str, names)))}}}) => {text}"


class _CPrinter(C99CodePrinter):
    """C in which whole powers are products and other ones need no function but exp, log, sqrt."""

    def _print_Pow(self, e):
        base = self._print(e.base)
        if e.exp == -1:
            return super()._print_Pow(e)
        if e.exp.is_Integer:
            product = "*".join([f"({base})"] * abs(int(e.exp)))
            return f"({product})" if e.exp > 0 else f"(1/({product}))"
        if 2 * abs(e.exp) == 1:
            return f"sqrt({base})" if e.exp > 0 else f"(1/sqrt({base}))"
        return f"exp(({self._print(e.exp)})*log({base}))"


class _TritonPrinter(StrPrinter):
    """Python with Triton's functions; powers are products, constants are floats."""

    functions: ClassVar = {name: f"tl.{name}" for name in ("exp", "log", "sqrt", "sin", "cos")}
    functions |= {"Abs": "tl.abs", "Max": "tl.maximum", "Min": "tl.minimum", "tanh": "tanh"}

    def _print_Function(self, e):
        name = e.func.__name__
        if name not in self.functions:
            known = ", ".join(sorted(self.functions))
            raise refusal("gate", f"use no functions but {known} in its formula", repr(name))
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
    heads = {head.name: head for head in gate.layout(cell)}
    t = trace(gate, tuple(heads))
    names = {h: sympy.Symbol(_LATEX.get(h, h) + "_t") for h in t.a}
    plain = {t.a[h]: n for h, n in names.items()} | {t.c[h]: 1 - n for h, n in names.items()}
    forget, input_ = t.forget.subs(plain), t.input.subs(plain)
    lines = []
    for head in (heads[h] for h in t.a):
        bias = ("", " + b", " - b")[head.bias_sign]
        function = _FUNCTION.get(head.activation, r"\varphi")
        one_minus = "1 - " if head.falling else ""
        name = names[head.name].name
        lines.append(rf"{name} &= {one_minus}{function}(L_{{{name[:-2]}}}(x_t, h_{{t-1}}){bias})")
    if gate.auxiliary:
        effective = {"refine": ("g_t", "i_t"), "master": (r"\hat f_t", r"\hat i_t")}[gate.auxiliary]
        lines.append(rf"{effective[0]} &= {sympy.latex(forget)}")
        tied = gate.tied or sympy.simplify(forget + input_ - 1) == 0
        right = f"1 - {effective[0]}" if tied else sympy.latex(input_)
        lines.append(rf"{effective[1]} &= {right}")
    if gate.activation not in _FUNCTION:
        tail = sympy.latex(sympy.simplify(SYMMETRIC[gate.activation].tail(sympy.Symbol("z"))))
        lines.append(rf"1 - \varphi(z) &= \varphi(-z) = {tail},\quad z \ge 0")
    return r"\begin{aligned}" + "\n" + " \\\\\n".join(lines) + "\n" + r"\end{aligned}"


def card(gate) -> str:
    """Markdown that explains a gate: title, equations, start, heads, parameters, source."""
    start = {
        "uniform": r"$b = \sigma^{-1}(u),\ u \sim U[1/H, 1-1/H]$: decay period density $D^{-2}$",
        "chrono": r"$b \sim \log U[1, T_{max}-1]$: decay periods uniform on $[2, T_{max}]$",
        "power": rf"$b = -\log(e^{{1/T}} - 1),\ 1/T \sim \Gamma({POWER})$: "
        rf"all units together forget like $(1 + t)^{{-{POWER}}}$",
        "constant": "one constant bias: a single decay period",
    }[gate.bias]
    if gate.activation not in _FUNCTION:
        start += (
            r"; here $\varphi^{-1}(\sigma(b))$ in place of $b$, so that $\varphi$ starts there too"
        )
    if gate.activation == "cumax":
        start = "no bias: cumax itself spreads the gates, decay periods with density $D^{-2}$"
    slopes = []
    if gate.activation not in _FUNCTION:
        formula = sympy.latex(slope_formula(gate.activation))
        slopes = [rf"slope: $\varphi' = {formula}$ with $u = \min(\varphi, 1 - \varphi)$  "]
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
            *slopes,
            f"rows of the LSTM's weights: {', '.join(f'`{h}`' for h in gate.heads)}  ",
            f"parameters beyond the plain LSTM at I = 1, H = 256, C = 16: {extra:,}",
        ]
    )
