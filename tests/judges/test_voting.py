"""Combining N answers: the worked votes of ID-sampling, ties, and samples that do not vote."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.judges.voting import ballot, choose, likelihood_weights


def test_worked_votes():
    assert ballot(["7", "5", "7", None]) == ("7", pytest.approx(2 / 3))
    assert ballot(["5", "7", "7", "5"]) == ("5", 0.5)  # a tie goes to the answer seen first
    assert ballot([None, None]) == (None, 0.0)
    answer, share = ballot(["5", "7", "7"], [0.9, 0.3, 0.4])
    assert answer == "5" and share == pytest.approx(0.9 / 1.6)  # 0.9 against 0.7
    assert choose("best_of_n", ["5", "7"], [0.2, 0.2]) == (0, 0.2)  # a tie goes to the first


def test_who_cannot_vote_does_not():
    assert ballot(["5", "7", "7"], [0.5, None, 0.4]) == ("5", pytest.approx(0.5 / 0.9))
    assert ballot(["5"], [None]) == (None, 0.0)
    assert ballot([]) == (None, 0.0)
    assert ballot(["5", "7"], [-1.0, -2.0]) == ("5", 0.0)  # no share of a weight below 0


def test_the_sample_that_stands_for_the_choice():
    answers, scores = [None, "5", "7", "7"], [0.9, None, 0.1, 0.3]
    assert choose("majority", answers, scores, scores) == (2, pytest.approx(2 / 3))
    assert choose("weighted_majority", answers, scores, scores) == (2, 1.0)
    assert choose("best_of_n", answers, scores, scores) == (0, 0.9)  # a judge may like what cannot be read
    assert choose("weighted_majority", ["7", "7"], [None, 0.3], [None, 0.3])[0] == 1  # the one that voted
    for how in ("majority", "weighted_majority", "best_of_n"):
        assert choose(how, [None], [None], [None]) == (None, None)


@settings(deadline=None)
@given(st.lists(st.floats(-900, 0), min_size=1, max_size=8), st.floats(-1e4, 0))
def test_a_vote_by_likelihood_does_not_depend_on_a_common_factor(logprobs, shift):
    weights = likelihood_weights([value + shift for value in logprobs])
    assert max(weights) == 1.0
    known = likelihood_weights(logprobs)
    assert all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-12) for a, b in zip(weights, known, strict=True))


def test_log_probs_that_are_not_to_be_had():
    assert likelihood_weights([None, -1.0, -1.0 - math.log(2)]) == [None, 1.0, pytest.approx(0.5)]
    assert likelihood_weights([None]) == [None]
