"""What SymPy reads out of a Gate: its LaTeX, its derivative and its C, from the one Python formula.

`combine` of a Gate is traced with symbols in place of tensors, so a gate written in plain Python
arrives here without a second copy.  Kernels take their derivatives from `partials`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import sympy

_LATEX = {"f_master": r"\tilde f", "i_master": r"\tilde i"}


@cache
def trace(gate, heads: tuple[str, ...]) -> tuple[sympy.Expr, sympy.Expr, dict[str, sympy.Symbol]]:
    """Effective (forget, input) of `gate` as expressions in the activations of its gate heads.

    Args:
        gate: any object with a Gate's `combine`.
        heads: the weights' row blocks (`gate.layout(...)`); candidate, output and reset are skipped.
    """
    names = [h for h in heads if h not in ("u", "o", "reset")]
    symbols = {h: sympy.Symbol(h, real=True) for h in names}
    forget, input_ = gate.combine(symbols, {h: 1 - s for h, s in symbols.items()})
    return sympy.sympify(forget), sympy.sympify(input_), symbols


@cache
def partials(gate, heads: tuple[str, ...]) -> dict[str, Callable]:
    """For each gate head, a function of all head activations: (∂forget/∂head, ∂input/∂head).

    The functions take tensors, arrays or floats in the order of the traced heads.
    """
    forget, input_, symbols = trace(gate, heads)
    args = list(symbols.values())

    def derivative(symbol):
        pair = [sympy.factor(e.diff(symbol)) for e in (forget, input_)]
        return sympy.lambdify(args, pair, modules="math", cse=True)

    return {h: derivative(s) for h, s in symbols.items()}


def c_statements(gate, heads: tuple[str, ...], gradients: bool = False) -> str:
    """C assignments to `forget`, `input` (and `dforget_<head>`, `dinput_<head>` with `gradients`).

    The activations of the heads are C variables of the heads' names, of any floating type.
    """
    forget, input_, symbols = trace(gate, heads)
    outputs = {"forget": forget, "input": input_}
    if gradients:
        for h, s in symbols.items():
            outputs[f"dforget_{h}"] = sympy.factor(forget.diff(s))
            outputs[f"dinput_{h}"] = sympy.factor(input_.diff(s))
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
    forget, input_, symbols = trace(gate, heads)
    names = {s: sympy.Symbol(_LATEX.get(h, h) + "_t") for h, s in symbols.items()}
    lines = []
    for head in symbols:
        ordered = gate.activation == "cumax" and head in (gate.main, gate.partner) and head != "r"
        bias = ""
        if gate.distributional and head in (gate.main, gate.partner):
            bias = " + b" if head == gate.main else " - b"
        function = r"\mathrm{cumax}" if ordered else r"\sigma"
        one_minus = "1 - " if ordered and head == gate.partner else ""
        name = names[symbols[head]].name
        lines.append(rf"{name} &= {one_minus}{function}(L_{{{name[:-2]}}}(x_t, h_{{t-1}}){bias})")
    if gate.auxiliary:
        effective = {"refine": ("g_t", "i_t"), "master": (r"\hat f_t", r"\hat i_t")}[gate.auxiliary]
        lines.append(rf"{effective[0]} &= {sympy.latex(forget.subs(names))}")
        tied = gate.tied or sympy.simplify(forget + input_ - 1) == 0
        right = f"1 - {effective[0]}" if tied else sympy.latex(input_.subs(names))
        lines.append(rf"{effective[1]} &= {right}")
    return r"\begin{aligned}" + "\n" + " \\\\\n".join(lines) + "\n" + r"\end{aligned}"


def card(gate) -> str:
    """Markdown that explains a gate: title, equations, start, heads, parameters, source."""
    start = {
        "uniform": r"$b = \sigma^{-1}(u),\ u \sim U[1/H, 1-1/H]$: decay periods with density $D^{-2}$",
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
