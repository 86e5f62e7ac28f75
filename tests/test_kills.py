"""A kill or a full disk at any file operation: started again, all ends as if nothing had been."""

import kills
import pytest


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
