"""What SymPy reads out of a Gate: its LaTeX, its derivative and its C, from the one Python formula.

`combine` of a Gate is traced with symbols in place of tensors, so a gate written in plain Python
arrives here without a second copy.  Kernels take their derivatives from `partials`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import sympy

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


def c_statements(gate, heads: tuple[str, ...], gradients: bool = False) -> str:
    """C assignments to `forget`, `input` (and `dforget_<head>`, `dinput_<head>` with `gradients`).

    The activations are C variables of the heads' names, their complements `<head>_c`, all of a
    floating type called `T`.
    """
    t = trace(gate, heads)
    outputs = {"forget": t.forget, "input": t.input}
    if gradients:
        for h in t.a:
            outputs[f"dforget_{h}"], outputs[f"dinput_{h}"] = t.derivatives(h)
    shared, reduced = sympy.cse(list(outputs.values()))
    squares = {"Pow": [(lambda b, e: e == 2, lambda b, e: f"(({b})*({b}))")]}
    code = [f"const T {n} = {sympy.ccode(e, user_functions=squares)};" for n, e in shared]
    code += [
        f"const T {name} = {sympy.ccode(e, user_functions=squares)};"
        for name, e in zip(outputs, reduced, strict=True)
    ]
    return "\n".join(code)


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
