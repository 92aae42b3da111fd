"""Coverage, sharpness and the sizes of best-of-N, against worked numbers."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.errors import DataError
from selfimprove.evaluation.coverage import (
    best_mass,
    best_set,
    coverage,
    coverage_bar,
    hit_probability,
    is_sharpened,
    regularised_beta,
    samples_needed,
    sharpened_share,
    training_sizes,
)

THREE = [[0.5, 0.3, 0.2], [0.1, 0.1, 0.05, 0.75], [0.3, 0.3, 0.4]]


def test_both_coverages_agree_without_ties():
    # (1 / 0.5 + 1 / 0.75 + 1 / 0.4) / 3 = (2 + 1.333333 + 2.5) / 3
    assert coverage(THREE) == pytest.approx(1.944444, abs=1e-6)
    assert coverage_bar(THREE) == pytest.approx(1.944444, abs=1e-6)


def test_ties_share_their_mass():
    assert coverage([[0.4, 0.4, 0.2]]) == pytest.approx(1.25)  # 1 / (0.4 + 0.4)
    assert coverage_bar([[0.4, 0.4, 0.2]]) == pytest.approx(2.5)  # 1 / 0.4
    assert best_set([0.4, 0.4, 0.2]) == [0, 1]


def test_another_reward_has_other_maximisers():
    assert best_set([0.5, 0.3, 0.2], [-2.0, -1.0, -1.0]) == [1, 2]
    assert coverage([[0.5, 0.3, 0.2]], [[-2.0, -1.0, -1.0]]) == pytest.approx(2.0)  # 1 / (0.3 + 0.2)


def test_nearly_best_responses_count_where_gamma_allows():
    assert best_set([0.5, 0.4, 0.1], gamma=0.2) == [0, 1]  # 0.4 = (1 - 0.2) * 0.5
    assert best_mass([0.5, 0.4, 0.1], gamma=0.19) == 0.5
    with pytest.raises(DataError, match="gamma is 0.2"):
        best_set([0.5, 0.5], [-1.0, -2.0], gamma=0.2)
    with pytest.raises(DataError, match="one reward a response"):
        best_set([])


def test_sharpened_is_mass_on_the_bases_favourites_for_most_prompts():
    sharp = [[0.95, 0.05, 0.0], [0.0, 0.0, 0.1, 0.9], [0.5, 0.5, 0.0]]  # the last one sharpens the wrong responses
    assert sharpened_share(sharp, THREE, delta=0.1) == pytest.approx(2 / 3)
    assert is_sharpened(sharp, THREE, epsilon=1 / 3, delta=0.1)
    assert not is_sharpened(sharp, THREE, epsilon=0.3, delta=0.1)
    assert not is_sharpened(THREE, THREE, epsilon=0.5, delta=0.1)
    assert is_sharpened([[0.5, 0.49, 0.01]], [[0.4, 0.4, 0.2]], epsilon=0.0, delta=0.01)  # either favourite will do


def test_chance_of_a_hit_and_the_samples_for_it():
    assert hit_probability(0.1, 50) == pytest.approx(0.994846, abs=1e-6)  # 1 - 0.9^50
    assert samples_needed(0.1, 0.05) == 30  # ln 20 / 0.1 = 29.96
    assert hit_probability(1.0, 1) == 1.0 and hit_probability(0.5, 0) == 0.0
    with pytest.raises(DataError):
        samples_needed(0.0, 0.05)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.floats(1e-3, 1.0), st.floats(1e-3, 0.5))
def test_the_bound_on_samples_keeps_its_promise(mass, rho):
    assert hit_probability(mass, samples_needed(mass, rho)) >= 1 - rho - 1e-9


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=5), min_size=1, max_size=4))
def test_coverage_lies_between_one_and_its_stronger_form(counts):
    distributions = [[count / sum(row) for count in row] for row in counts]
    assert 1 - 1e-9 <= coverage(distributions) <= coverage_bar(distributions) + 1e-9


def test_sizes_of_the_theory():
    # n = ln(1000 / 0.1) / (0.1 * 0.2) = 9.2103 / 0.02 = 460.5; N = 2 ln(20) / 0.2 = 29.96
    assert training_sizes(math.log(1000), cover=2.0, epsilon=0.2, delta=0.1, rho=0.1) == (461, 30)
    assert regularised_beta(0.5, 1000, 0.1) == pytest.approx(0.5 / (2 * math.log(20000)))
