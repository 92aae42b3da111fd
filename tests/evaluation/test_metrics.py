"""Metrics against numbers worked by hand, against scipy, and against their definitions."""

from itertools import combinations, permutations
from math import comb, isclose

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from selfimprove.errors import DataError
from selfimprove.evaluation.metrics import (
    distinct_n,
    majority_at_k,
    mcnemar,
    mean_length,
    paired_bootstrap,
    pass_at_k,
    wilson,
)


@pytest.mark.parametrize(
    ("samples", "correct", "k", "expected"),
    [
        (5, 2, 1, 0.4),  # 2/5
        (5, 2, 2, 0.7),  # 1 - C(3,2)/C(5,2) = 1 - 3/10
        (10, 3, 5, 11 / 12),  # 1 - C(7,5)/C(10,5) = 1 - 21/252
        (4, 0, 4, 0.0),
        (4, 4, 1, 1.0),
        (8, 1, 8, 1.0),  # all are drawn, one of them is right
    ],
)
def test_pass_at_k_by_hand(samples, correct, k, expected):
    assert isclose(pass_at_k(samples, correct, k), expected, abs_tol=1e-12)


@settings(derandomize=True, deadline=None)
@given(st.data())
def test_pass_at_k_is_the_share_of_draws_with_a_right_answer(data):
    samples = data.draw(st.integers(1, 9))
    correct = data.draw(st.integers(0, samples))
    k = data.draw(st.integers(1, samples))
    draws = list(combinations([True] * correct + [False] * (samples - correct), k))
    assert isclose(pass_at_k(samples, correct, k), sum(map(any, draws)) / len(draws), abs_tol=1e-12)


def test_pass_at_k_is_stable_for_large_counts():
    # 1 - C(9999, 100)/C(10000, 100) = 100/10000 exactly: one right answer, 100 of 10 000 draws
    assert isclose(pass_at_k(10_000, 1, 100), 0.01, rel_tol=1e-9)
    exact = 1 - comb(9_500, 50) / comb(10_000, 50)
    assert isclose(pass_at_k(10_000, 500, 50), exact, rel_tol=1e-9)


@pytest.mark.parametrize(("samples", "correct", "k"), [(4, 5, 1), (4, -1, 1), (4, 1, 0), (4, 1, 5)])
def test_pass_at_k_refuses_impossible_counts(samples, correct, k):
    with pytest.raises(DataError, match="not defined"):
        pass_at_k(samples, correct, k)


@pytest.mark.parametrize(
    ("answers", "scores", "expected"),
    [
        (["7", "7", "8"], [1, 1, 0], 1.0),
        (["7", "8", "8"], [1, 0, 0], 0.0),
        (["7", "8"], [1, 0], 0.5),  # a tie: the mean over the tied answers
        (["7", "8", "9"], [1, 0, 0], 1 / 3),
        ([None, None, "7"], [0, 0, 1], 1.0),  # no answer, no vote
        ([None, None], [None, None], 0.0),
        (["7", "7", "8"], [None, None, 1], 0.0),  # not gradable is never right
        ([], [], 0.0),
    ],
)
def test_majority_by_hand(answers, scores, expected):
    assert isclose(majority_at_k(answers, scores), expected)


def test_majority_of_the_first_k_only():
    answers, scores = ["7", "8", "8"], [1.0, 0.0, 0.0]
    assert majority_at_k(answers, scores, k=1) == 1.0
    assert majority_at_k(answers, scores, k=2) == 0.5
    with pytest.raises(DataError, match="majority@4"):
        majority_at_k(answers, scores, k=4)
    with pytest.raises(DataError, match="3 answers but 2"):
        majority_at_k(answers, scores[:2])


@settings(derandomize=True, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=5))
def test_majority_does_not_depend_on_the_order(answers):
    grade = {"a": 1.0, "b": 0.0, "c": 0.0, None: 0.0}
    values = {round(majority_at_k(p, [grade[a] for a in p]), 12) for p in permutations(answers)}
    assert len(values) == 1


def test_wilson_by_hand():
    # 1 of 10, z = 1.96: centre (0.1 + 0.19208)/(1.38416) = 0.21108, half 0.19324 -> [0.0179, 0.4042]
    low, high = wilson(1, 10)
    assert (round(low, 4), round(high, 4)) == (0.0179, 0.4042)


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 500), st.data())
def test_wilson_agrees_with_scipy(total, data):
    correct = data.draw(st.integers(0, total))
    confidence = data.draw(st.sampled_from([0.8, 0.95, 0.99]))
    expected = binomtest(correct, total).proportion_ci(confidence, method="wilson")
    low, high = wilson(correct, total, confidence)
    assert isclose(low, expected.low, abs_tol=1e-9)
    assert isclose(high, expected.high, abs_tol=1e-9)
    assert 0 <= low <= correct / total <= high <= 1


def test_wilson_at_the_edges():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 20)[0] == 0.0
    assert wilson(20, 20)[1] == 1.0
    with pytest.raises(DataError, match="not a share"):
        wilson(3, 2)
    with pytest.raises(DataError, match="confidence"):
        wilson(1, 2, confidence=95)


def test_mcnemar_by_hand():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(1, 9) == 22 / 1024  # 2 * (1 + 10) / 2^10
    assert mcnemar(9, 1) == 22 / 1024
    assert mcnemar(5, 5) == 1.0
    with pytest.raises(DataError, match="cannot be negative"):
        mcnemar(-1, 3)


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_agrees_with_scipy(gained, lost):
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert isclose(mcnemar(gained, lost), expected, rel_tol=1e-9, abs_tol=1e-300)


def test_mcnemar_does_not_overflow():
    assert mcnemar(3_000, 3_100) == pytest.approx(binomtest(3_000, 6_100).pvalue, rel=1e-9)


def test_bootstrap_finds_the_difference_and_is_seeded():
    before = [0.0] * 60 + [1.0] * 40
    after = [0.0] * 40 + [1.0] * 60  # 20 items gained, none lost
    difference, low, high = paired_bootstrap(before, after, draws=4_000)
    assert difference == pytest.approx(0.2)
    # sd of one difference: sqrt(0.2 * 0.8) = 0.4; of the mean of 100: 0.04; 1.96 of that: 0.0784
    assert low == pytest.approx(0.2 - 0.0784, abs=0.012)
    assert high == pytest.approx(0.2 + 0.0784, abs=0.012)
    assert paired_bootstrap(before, after, draws=4_000) == (difference, low, high)
    assert len({paired_bootstrap(before, after, draws=5, seed=seed) for seed in range(5)}) > 1
    swapped = paired_bootstrap(after, before, draws=4_000)
    assert swapped == pytest.approx((-difference, -high, -low), abs=1e-12)


def test_bootstrap_of_no_change_has_no_width():
    assert paired_bootstrap([1, 0, 1], [1, 0, 1], draws=100) == (0.0, 0.0, 0.0)
    with pytest.raises(DataError, match="same items twice"):
        paired_bootstrap([1, 0], [1])
    with pytest.raises(DataError, match="same items twice"):
        paired_bootstrap([], [])


def test_distinct_n_by_hand():
    assert distinct_n(["a b c", "a b d"], 2) == 3 / 4  # ab bc ab bd
    assert distinct_n(["a a a a"], 1) == 1 / 4
    assert distinct_n(["a", ""], 2) == 0.0
    assert distinct_n([], 1) == 0.0
    with pytest.raises(DataError, match="at least 1"):
        distinct_n(["a"], 0)


def test_mean_length():
    assert mean_length([3, 5]) == 4.0
    assert mean_length([]) == 0.0
