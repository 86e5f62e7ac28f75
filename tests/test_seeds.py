"""What seeds can tell: yes, no, or neither."""

import math

import pandas as pd
import pytest

from urgates.lab.experiments.seeds import (
    above,
    all_of,
    below,
    in_words,
    leads,
    most,
    rank_correlation,
)


@pytest.mark.parametrize(
    ("upper", "lower", "said"),
    [
        ([3, 4], [1, 2], True),
        ([1, 2], [3, 4], False),
        ([1, 3], [2, 4], None),
        ([2], [2], None),
        ([], [1], None),
        ([math.nan, 5], [1], None),
        ([math.inf, math.inf], [1, 2], True),
        ([math.inf], [math.inf], None),
    ],
)
def test_above_needs_ranges_apart(upper, lower, said):
    assert above(upper, lower) is said


def test_below_needs_all_seeds_on_one_side():
    assert below([1, 2], 3) is True
    assert below([4, 5], 3) is False
    assert below([2, 4], 3) is None
    assert below([], 3) is None


def test_numbers_in_words_have_their_range_and_leave_out_what_is_missing():
    assert in_words([0.25, 0.5, math.nan, 0.125]) == "0.250 (0.125–0.500)"
    assert in_words([12, math.inf], ".3g") == "inf (12–inf)"
    assert in_words([math.nan]) == in_words([]) == "–"


def test_and_knows_what_it_does_not_know():
    assert all_of(True, True) is True
    assert all_of(True, None) is None
    assert all_of(None, False) is False
    assert all_of() is None


def test_generally_is_in_more_than_half():
    assert most([True, True, None]) is True
    assert most(part for part in (False, None, False)) is False
    assert most([True, True, False, None]) is None
    assert most([]) is None


def test_a_gate_leads_when_no_other_can_be_above_it():
    assert leads({"UR": [3, 4], "R": [1, 2], "-": [0]}, "UR") is True
    assert leads({"UR": [3, 4], "R": [1, 3.5], "-": [0]}, "UR") is None
    assert leads({"UR": [3, 4], "R": [5, 6], "-": [3.5]}, "UR") is False
    assert leads({"R": [1]}, "UR") is None


def test_ranks_are_correlated_over_what_both_have():
    pairs = pd.DataFrame({"ours": [1, 2, 3, 9], "theirs": [10, 30, 20, None]}, list("abcd"))
    assert rank_correlation(pairs) == pytest.approx(0.5)
    assert rank_correlation(pairs * -1.0) == pytest.approx(0.5)
    assert math.isnan(rank_correlation(pairs[:2])) and math.isnan(rank_correlation(pairs * 0))
