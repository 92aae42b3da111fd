"""Selective answering: curve, areas and thresholds in the worked numbers, ties, and what is said of abstentions."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.errors import DataError
from selfimprove.evaluation.heldout import Item, own_figures, scores, summary
from selfimprove.evaluation.selective import (
    Threshold,
    aurc,
    auroc,
    choose_threshold,
    excess_aurc,
    risks,
    selective_figures,
    thresholds,
)
from selfimprove.judges.ranking import pearson, spearman
from selfimprove.records import ABSTAINED
from selfimprove.reporting.rounds import told_of_scores
from selfimprove.reporting.selective import risk_coverage

SCORES, LOSSES = [8.1, 3.0, 6.5, 6.5, 1.2], [0, 1, 0, 1, 1]


def test_the_worked_curve():
    assert risks(SCORES, LOSSES) == pytest.approx([0, 0, 1 / 3, 0.5, 0.6])  # losses by score: 0, 0, 1, 1, 1
    assert aurc(SCORES, LOSSES) == pytest.approx(0.286667, abs=1e-6)
    assert excess_aurc(SCORES, LOSSES) == pytest.approx(0.0)
    assert auroc(SCORES, [1, 0, 1, 0, 0]) == pytest.approx(0.916667, abs=1e-6)  # 5.5 of 6 pairs, one tie
    assert auroc(SCORES, [1] * 5) is None and auroc(SCORES, [0] * 5) is None


def test_a_constant_score_depends_on_the_order_unless_orders_are_averaged():
    assert risks([5, 5, 5], [1, 0, 0]) == pytest.approx([1, 0.5, 1 / 3])
    assert aurc([5, 5, 5], [1, 0, 0]) == pytest.approx(0.611111, abs=1e-6)
    assert excess_aurc([5, 5, 5], [1, 0, 0]) == pytest.approx(0.5)
    for losses in ([1, 0, 0], [0, 0, 1]):
        assert aurc([5, 5, 5], losses, shuffled=True) == pytest.approx(1 / 3)
    assert auroc([5, 5, 5], [0, 1, 1]) == 0.5


def test_correlations_with_another_grader():
    assert pearson(SCORES, [9, 4, 8, 5, 3]) == pytest.approx(0.889348, abs=1e-6)
    assert pearson([5, 5, 5], [1, 2, 3]) is None and spearman([5, 5, 5], [1, 2, 3]) is None


def test_thresholds_take_equal_scores_together():
    found = thresholds(SCORES, LOSSES)
    assert [each.score for each in found] == [8.1, 6.5, 3.0, 1.2]
    assert [each.coverage for each in found] == pytest.approx([0.2, 0.6, 0.8, 1.0])
    assert [each.risk for each in found] == pytest.approx([0, 1 / 3, 0.5, 0.6])
    assert choose_threshold(SCORES, LOSSES, 0.2) == Threshold(8.1, 0.2, 0.0)  # not 0.4: both of 6.5 come or none
    assert choose_threshold(SCORES, LOSSES, 0.5) == Threshold(3.0, 0.8, 0.5)
    assert choose_threshold([2.0, 1.0], [1, 0], 0.2) is None


def test_risk_may_fall_again_and_the_largest_coverage_counts():
    assert choose_threshold([3, 2, 1], [1, 0, 0], 0.4) == Threshold(1.0, 1.0, pytest.approx(1 / 3))


def test_an_answer_without_a_score_comes_last_and_under_no_threshold():
    given = [None, 3.0, math.nan, 4.0]
    assert risks(given, [0, 1, 0, 0]) == pytest.approx([0, 0.5, 1 / 3, 0.25])
    assert [each.score for each in thresholds(given, [0, 1, 0, 0])] == [4.0, 3.0]
    assert thresholds(given, [0, 1, 0, 0])[-1].coverage == 0.5
    figures = selective_figures(given, [0, 1, 0, 0])
    assert figures["unscored"] == 2 and figures["answers"] == 4
    assert figures["auroc"] == pytest.approx(1 / 3)  # of the three good answers one is above the bad one


def test_nothing_and_unequal_lists():
    assert aurc([], []) is None and excess_aurc([], []) is None and auroc([], []) is None
    with pytest.raises(DataError, match="2 scores but 1 losses"):
        risks([1, 2], [0])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), min_size=1, max_size=30))
def test_areas_lie_between_the_best_and_the_worst_order(pairs):
    given, losses = [score for score, _ in pairs], [loss for _, loss in pairs]
    best, worst = aurc([-loss for loss in losses], losses), aurc(losses, losses)
    for shuffled in (False, True):
        assert best - 1e-9 <= aurc(given, losses, shuffled=shuffled) <= worst + 1e-9
    assert risks(given, losses)[-1] == pytest.approx(sum(losses) / len(losses))
    area = auroc(given, [loss == 0 for loss in losses])
    if area is not None:
        pairs = [(a, b) for a, x in zip(given, losses, strict=True) for b, y in zip(given, losses, strict=True)
                 if x == 0 and y == 1]  # fmt: skip
        assert area == pytest.approx(sum((a > b) + 0.5 * (a == b) for a, b in pairs) / len(pairs))


ITEMS = [
    Item("a", True, score=8.0),
    Item("b", False, score=6.0),
    Item("c", None, finish=ABSTAINED, score=2.0, withheld=False),
    Item("d", None, finish=ABSTAINED, withheld=True),
    Item("e", None, finish="error"),
]


def test_abstentions_are_in_no_denominator_and_are_told():
    found = summary(ITEMS)
    assert (found["correct"], found["total"], found["failed"]) == (1, 2, 3)
    assert scores(ITEMS)["c"] is None
    assert found["abstained"] == 2 and found["answered"] == pytest.approx(0.6) and found["right_withheld"] == 0.5
    # all four graded answers, by score: right, wrong, wrong, right (that one without a score): risks 0 1/2 2/3 1/2
    assert found["aurc"] == pytest.approx((0 + 1 / 2 + 2 / 3 + 1 / 2) / 4)
    assert told_of_scores(found) == [
        "answered 60.0 %, kept 2 to itself, 50.0 % of them right",
        "its own score: AURC 0.417, E-AURC 0.208, AUROC 0.500",
    ]


def test_without_scores_and_abstentions_nothing_is_added():
    plain = [Item("a", True), Item("b", False)]
    assert own_figures(plain) == {} and told_of_scores(summary(plain)) == []


def test_the_chart_shows_risk_by_coverage_and_a_long_curve_in_few_points():
    chart = risk_coverage({"judge": (SCORES, LOSSES), "coin": ([1.0] * 5000, [0, 1] * 2500)})
    judge, coin = chart.series
    assert [point.x for point in judge.points] == pytest.approx([0.2, 0.6, 0.8, 1.0])
    assert [point.y for point in judge.points] == pytest.approx([0, 1 / 3, 0.5, 0.6])
    assert [(point.x, point.y) for point in coin.points] == [(1.0, 0.5)]
    assert "threshold 8.1" in judge.points[0].text and "judge" in chart.words and chart.svg
    many = risk_coverage({"all": ([float(i) for i in range(5000)], [0, 1] * 2500)}).series[0].points
    assert len(many) <= 100 and many[-1].x == 1.0
