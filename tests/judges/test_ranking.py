"""Agreement of rankings and ranking metrics, against worked numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.judges.ranking import (
    best_and_worst,
    best_index,
    kendall,
    kendall_agreement,
    ordinal_ranks,
    pearson,
    ranking_metrics,
    spearman_agreement,
    top_order_agreement,
    worst_index,
)

scores = st.lists(st.floats(-10, 10), min_size=2, max_size=7, unique=True)


def test_agreement_of_two_rankings_of_five_answers():
    current, previous = [0.8, -0.2, 1.5, 0.1, -0.9], [0.3, 0.4, 0.9, -0.6, -0.7]
    assert kendall_agreement(current, previous) == pytest.approx(0.8)  # 2 of 10 pairs discordant: tau 0.6
    assert spearman_agreement(current, previous) == pytest.approx(0.85)
    assert top_order_agreement(current, previous) == 1.0
    assert (best_index(current), worst_index(current)) == (2, 4)


def test_a_reversed_ranking_agrees_in_nothing():
    assert kendall_agreement([3, 2, 1, 0], [0, 1, 2, 3]) == 0.0
    assert best_and_worst([3, 2, 1, 0]) == (0, 3)


def test_ties_are_ranked_by_their_place():
    tied, other = [1, 1, 0, 0.5], [0.2, 0.7, 0.1, 0.4]
    assert ordinal_ranks(tied) == [3, 4, 1, 2]
    assert kendall_agreement(tied, other) == pytest.approx(0.833333, abs=1e-6)
    assert spearman_agreement(tied, other) == pytest.approx(0.9)
    assert best_and_worst(tied) == (0, 2)


def test_equal_scores_give_no_pair_though_their_ranks_agree():
    assert kendall_agreement([0.5, 0.5, 0.5], [0.1, 0.2, 0.3]) == 1.0
    assert best_and_worst([0.5, 0.5, 0.5]) is None


def test_what_was_not_scored_is_neither_best_nor_worst():
    assert best_and_worst([None, 2.0, None, 1.0]) == (1, 3)
    assert best_and_worst([None, 2.0]) is None
    assert best_and_worst([float("nan"), 2.0, 3.0]) == (2, 1)
    assert best_and_worst([]) is None


def test_ranking_metrics_of_three_prompts():
    found = ranking_metrics([([0, 1, 2], [5, 3, 1]), ([0, 1], [4, 4]), ([1, 0, 2], [5, 4, 2])])
    assert found["pairwise"] == pytest.approx(5 / 7)
    assert found["exact"] == pytest.approx(1 / 3)
    assert found["spearman"] == pytest.approx(0.75)  # the mean of the two prompts where it is defined
    assert found["kendall"] == pytest.approx(2 / 3)
    assert found["top_is_best"] == 0.5


def test_ranking_metrics_that_are_undefined_are_none():
    found = ranking_metrics([([0, 1], [3, 3])])
    assert found == {"pairwise": 0.0, "exact": 0.0, "spearman": None, "kendall": None, "top_is_best": None}


def test_pearson_of_scores_with_grades():
    assert pearson([8.1, 3.0, 6.5, 6.5, 1.2], [9, 4, 8, 5, 3]) == pytest.approx(0.889348, abs=1e-6)
    assert pearson([1, 1, 1], [1, 2, 3]) is None


@given(scores, st.randoms())
def test_agreement_is_symmetric_and_whole_with_itself(first, random):
    second = random.sample(first, len(first))
    for agreement in (kendall_agreement, spearman_agreement, top_order_agreement):
        assert agreement(first, first) == pytest.approx(1.0)
        assert agreement(first, second) == pytest.approx(agreement(second, first))
        assert -1e-9 <= agreement(first, second) <= 1 + 1e-9


@given(scores)
def test_reversing_one_list_turns_tau_round(first):
    assert kendall(first, [-value for value in first]) == pytest.approx(-1.0)
