"""Figures with sliders as text: what is written, and where none may run (see test_browser.py)."""

import re

import nbformat
import pytest
import sympy

from urgates.gates import GATES, Gate, refine
from urgates.lab.book import twin_figures, twins
from urgates.lab.places import Path
from urgates.symbolic import javascript, value_formula

ROOT = Path(__file__).resolve().parents[1]
FIGURES = {
    "22_uniform_gate_init": twin_figures.starts,
    "23_refine_gate": twin_figures.refine_gate,
    "25_related_gates": twin_figures.chrono,
    "F4a_saturation": twin_figures.saturation,
    "X4_your_own_gate": lambda: twin_figures.own_gate(GATES["UR"]),
}
f, r, z = sympy.symbols("f r z", real=True)


def test_javascript_takes_all_names_of_a_formula():
    assert javascript(f * r) == "({f, r}) => f*r"
    assert javascript(0) == "({}) => 0"
    assert javascript(sympy.Function("own")(f, 1 - f)) == "({f, own}) => own(f, 1 - f)"
    assert javascript(value_formula("softsign", z)).startswith("({z}) => ((z >= 0) ? (")


@pytest.mark.parametrize("activation", ["sigmoid", "fast", "softsign"])
def test_an_activation_of_a_symbol_is_that_of_a_number(activation):
    from urgates.activations import pair

    for place in (-3.0, -0.5, 0.0, 0.5, 3.0):
        exact = value_formula(activation, z).subs(z, place)
        assert float(exact) == pytest.approx(float(pair(activation, place)[0]), rel=1e-12)


@pytest.mark.parametrize("stem", FIGURES)
def test_a_page_holds_what_its_twin_writes(stem):
    cells = nbformat.read(ROOT / f"notebooks/{stem}.ipynb", as_version=4).cells
    outputs = [o.data for cell in cells for o in cell.get("outputs", []) if "data" in o]
    (data,) = (d for d in outputs if 'class="twin"' in d.get("text/html", ""))
    twin = FIGURES[stem]()
    assert data["text/html"] == twin._repr_html_() == FIGURES[stem]()._repr_html_()
    assert data["text/plain"] == repr(twin) and len(data["text/html"]) < 40_000
    assert "https:" not in data["text/html"] and data["text/html"].count("</script>") == 1


def test_where_no_script_runs_a_sentence_stands():
    page = re.sub("<script>.*</script>", "", twin_figures.starts()._repr_html_(), flags=re.DOTALL)
    assert "on the book's site" in re.sub("<[^>]+>", "", page)


def test_values_are_written_as_javascript():
    twin = twins.Twin([twins.Slider("f", 'a "b" </i>', 0, 1, 0.5, log=True)], [])
    text = twin._repr_html_()
    assert 'kind: "Slider", name: "f", label: "a \\"b\\" <\\/i>", low: 0, high: 1' in text
    assert "log: true" in text and "whole: " not in text and "TWIN" not in text


def test_an_own_gate_shows_its_own_formula():
    class Twice(Gate):
        name = "URR"

        def combine(self, a, c):
            return refine(a["r"], a["f"]), refine(c["r"], c["f"])

    formula, *_ = twin_figures.own_gate(Twice(bias="uniform", auxiliary="refine")).controls
    assert sympy.expand(sympy.sympify(formula.text, {"f": f, "r": r}) - refine(r, f)) == 0


def test_a_gate_with_other_heads_is_refused():
    with pytest.raises(ValueError, match=r"gate must have an effective forget gate .* got 'OM'"):
        twin_figures.own_gate(GATES["OM"])
