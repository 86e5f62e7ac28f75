"""The step that SymPy reads out of the equations, and its way back, against ones by hand."""

import pytest
import sympy
import torch
from test_kernels import cells

import urgates
from urgates import GATES, tape
from urgates.gates import Gate
from urgates.kernels import Recurrence
from urgates.kernels.reference import step
from urgates.symbolic import partials, trace

NAMES = [*GATES, "UFR", "OM"]


def known(r, H=5):
    """A step of doubles in which everything is at hand, by the names that the lines use."""
    draw = torch.Generator().manual_seed(3)
    gx, rh, h, c = (
        torch.randn(4, n * H, generator=draw, dtype=torch.float64)
        for n in (len(r.heads), len(r.heads), 1, 1)
    )
    s = step(r, gx, rh, None, h, c)
    x_u = r.split(gx, H)["u"]
    state = c if r.cell == "lstm" else h
    given = {"state": state, "x_u": x_u, "v": s.reset_u, "z_u": s.pre["u"], "o": s.out}
    given |= {"reset": s.out, "d_h": torch.randn(4, H, generator=draw).double()}
    given |= s.value | {f"{name}_c": a for name, a in s.complement.items()}
    return s, given | {"d_c": torch.randn(4, H, generator=draw).double()}


def run(lines, given):
    """The values of lines one after the other."""
    found = dict(given)
    for name, e in lines.items():
        arguments = sorted(e.free_symbols, key=str)
        f = sympy.lambdify(arguments, e, modules=[torch])
        found[name] = f(*(found[a.name] for a in arguments))
    return found


def by_hand(r, s, given):
    """The cell's gradients as one writes them down."""
    d_h, state, u = given["d_h"], given["state"], s.u
    tanh_c = torch.tanh(s.c)
    carrier = given["d_c"] + d_h * s.out * (1 - tanh_c * tanh_c) if r.cell == "lstm" else d_h
    found = {"d_next": carrier, "d_state": carrier * s.forget}
    d_u = carrier * s.input * (1 - u * u)
    if r.cell == "lstm":
        found |= {"d_o": d_h * tanh_c, "d_z_u": d_u}
    elif r.keep_reset:
        found |= {"d_x_u": d_u, "d_v": d_u * s.out, "d_reset": d_u * s.reset_u}
    else:
        found["d_z_u"] = d_u
    for name, (to_forget, to_input) in effective(r, given).items():
        found[f"d_{name}"] = carrier * (to_forget * state + to_input * u)
    return found


def effective(r, given):
    """How the effective gates change with each head, by head."""
    names = [*trace(r.gate, r.heads).a]
    values = [given[n] for n in (*names, *(f"{n}_c" for n in names))]
    return dict(zip(names, partials(r.gate, r.heads)(*values), strict=True))


@cells
@pytest.mark.parametrize("name", NAMES)
def test_the_lines_are_the_step_and_its_gradients(name, cell, keep_reset):
    r = Recurrence(cell, urgates.gate(name), keep_reset)
    s, given = known(r)
    found = run(tape.forwards(r), given)
    expected = {"forget": s.forget, "input": s.input, "u": s.u, "next": s.c, "h": s.h}
    slopes = {}
    for head, pair in effective(r, given).items():
        slopes |= {f"dforget_{head}": pair[0], f"dinput_{head}": pair[1]}
    found = run(tape.backwards(r), found | slopes)
    expected |= by_hand(r, s, given)
    for line, value in expected.items():
        torch.testing.assert_close(found[line], value, rtol=1e-12, atol=1e-14, msg=line)


@cells
@pytest.mark.parametrize("name", ["-", "UR", "OM"])
def test_slopes_are_what_gradients_are_multiplied_by(name, cell, keep_reset):
    r = Recurrence(cell, urgates.gate(name), keep_reset)
    s, given = known(r)
    own = {"forget": s.forget, "input": s.input, "u": s.u, "tanh_c": torch.tanh(s.c)}
    found = tape.slopes(r)(given | own)
    expected = by_hand(r, s, given | {"d_c": torch.zeros_like(s.c)})
    for line, value in expected.items():
        of = given["d_h"] if line in ("d_next", "d_o") else expected["d_next"]
        torch.testing.assert_close(found[line[2:]] * of, value, rtol=1e-9, atol=1e-12, msg=line)


def test_a_gate_whose_formula_changes_takes_its_way_back_along():
    class Cubed(Gate):
        name = "cubed"

        def combine(self, a, c):
            return a["f"] ** 3, c["f"] * a["f"]

    r = Recurrence("lstm", Cubed())
    s, given = known(r)
    assert tape.forwards(r)["forget"] == sympy.Symbol("f", real=True) ** 3
    assert torch.allclose(run(tape.forwards(r), given)["h"], s.h)
    back = tape.backwards(r)["d_f"]
    assert {"dforget_f", "dinput_f"} <= {name.name for name in back.free_symbols}
