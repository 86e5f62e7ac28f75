"""The list of known bugs stays one that can be tried; `python tests/mutations.py` tries them."""

import re

import pytest
from mutations import MUTATIONS, ROOT, main, unfit


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_applies_and_names_tests_that_are_there(name):
    mutation = MUTATIONS[name]
    assert not unfit(mutation)
    file = (ROOT / f"tests/test_{mutation.tests}.py").read_text(encoding="utf-8")
    assert all(word in file for word in re.findall(r"\w+", mutation.only) if word != "and")


@pytest.mark.long
def test_one_mutation_is_caught_and_one_that_changes_nothing_is_missed(monkeypatch, capsys):
    name = "refine moves half as far"
    harmless = MUTATIONS[name]._replace(new="f * f + r * 2 * band(f)")
    stale = harmless._replace(old="f * f + 3 * r * band(f)")
    monkeypatch.setitem(MUTATIONS, "harmless", harmless)
    monkeypatch.setitem(MUTATIONS, "stale", stale)
    assert main([name, "harmless", "stale"]) == 1
    said = capsys.readouterr().out
    assert f"caught  {name}" in said and "MISSED  harmless: " in said
    assert "BROKEN  stale: 'f * f + 3 * r * band(f)' occurs 0 times in urgates/gates.py" in said
    assert main(["typo"]) == 2
