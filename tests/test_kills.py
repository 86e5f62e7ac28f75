"""A kill or a full disk at any file operation: started again, all ends as if nothing had been."""

import contextlib

import kills
import pytest

from urgates.lab.book import publishing
from urgates.lab.book.notebooks import check


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted training: how many operations it takes and what it leaves."""
    folder = tmp_path_factory.mktemp("whole")
    return kills.operations(kills.training, folder), kills.contents(folder)


@pytest.mark.parametrize("error", [kills.Killed, OSError], ids=["killed", "disk full"])
def test_an_end_at_any_operation_of_the_last_save_changes_nothing(tmp_path, whole, error):
    count, expected = whole
    assert count > 60 and len(expected) == 7  # checkpoint; CSV, JSON and model of two seeds
    for at in range(count - 24, count + 1):
        folder = tmp_path / str(at)
        folder.mkdir()
        how = (kills.training, kills.resumed, expected, error)
        assert kills.survives(folder, at, *how) == [], f"operation {at} of {count}"


def test_a_publication_is_all_or_nothing(tmp_path):
    """Dead at any operation, it has changed nothing, or a mark says so and the next one ends it."""

    def begin(name):
        kills.book(tmp_path / name)
        return tmp_path / name

    before = kills.contents(begin("before"))
    count = kills.operations(kills.publication, begin("whole"))
    after = kills.contents(tmp_path / "whole")
    assert count > 40 and before.keys() - after.keys() and after.keys() - before.keys()
    halves = 0
    for at in range(1, count + 1):
        root = begin(str(at))
        with contextlib.suppress(kills.Killed), kills.dying(root, at):
            kills.publication(root)
        if kills.contents(root) not in (before, after):
            halves += 1
            (problem,) = [p for p in check(root / "notebooks/20_one.py") if "interrupted" in p]
            assert "run `urgates publish` again" in problem, problem
        with publishing.staged(root):  # whichever notebooks the next publication is about
            left = [p for p in kills.contents(root) if p.endswith(".part")]
            assert not left and kills.contents(root) in (before, after)
        kills.publication(root)
        assert kills.contents(root) == after, f"operation {at} of {count}"
    assert halves > 10
