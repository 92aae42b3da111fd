"""Accuracies and comparisons as they are told to a person."""

import pytest

from selfimprove.errors import DataError
from selfimprove.evaluation.report import Accuracy, compare


def test_an_item_that_cannot_be_graded_is_in_no_denominator_but_named():
    accuracy = Accuracy.of({"a": True, "b": False, "c": None, "d": True})
    assert (accuracy.correct, accuracy.total, accuracy.failed, accuracy.share) == (2, 3, 1, 2 / 3)
    assert str(accuracy) == "66.7 % [20.8, 93.9] (2 of 3, 1 not gradable)"
    assert accuracy.to_row()["share"] == 2 / 3


def test_no_items_give_no_knowledge():
    accuracy = Accuracy.of({})
    assert (accuracy.share, accuracy.low, accuracy.high) == (0.0, 0.0, 1.0)


def test_rounds_are_compared_item_by_item():
    before = {f"{i}": i < 10 for i in range(40)}
    after = {f"{i}": 1 <= i < 19 for i in range(40)}  # item 0 lost, items 10 to 18 gained
    comparison = compare(before, dict(reversed(after.items())))
    assert (comparison.gained, comparison.lost, comparison.items) == (9, 1, 40)
    assert comparison.p == 22 / 1024
    assert comparison.difference == pytest.approx(8 / 40)
    assert comparison.low < 0.2 < comparison.high
    assert str(comparison).startswith("+20.0 points [")
    assert str(comparison).endswith("9 gained, 1 lost, p = 0.0215")
    assert compare(after, before).difference == pytest.approx(-8 / 40)


def test_different_items_are_refused():
    with pytest.raises(DataError, match=r"1 only in the first, 1 only in the second, for example 'b'"):
        compare({"a": True, "b": False}, {"a": True, "c": False})


def test_items_that_one_round_could_not_grade_are_left_out_and_counted():
    before = {"a": True, "b": False, "c": None, "d": False}
    after = {"a": True, "b": True, "c": True, "d": None}
    comparison = compare(before, after)
    assert (comparison.items, comparison.gained, comparison.lost, comparison.left_out) == (2, 1, 0, 2)
    assert "2 items not gradable in both" in str(comparison)
    with pytest.raises(DataError, match="none of the 1 items"):
        compare({"c": None}, {"c": True})
