"""Accuracies and comparisons as they are told to a person."""

import pytest

from selfimprove.errors import DataError
from selfimprove.evaluation.report import Accuracy, compare


def test_an_item_that_cannot_be_graded_counts_as_wrong_and_is_named():
    accuracy = Accuracy.of({"a": 1.0, "b": 0.0, "c": None, "d": 1.0})
    assert (accuracy.correct, accuracy.total, accuracy.failed, accuracy.share) == (2.0, 4, 1, 0.5)
    assert str(accuracy) == "50.0 % [15.0, 85.0] (2 of 4, 1 not gradable)"
    assert accuracy.to_row()["share"] == 0.5


def test_no_items_give_no_knowledge():
    accuracy = Accuracy.of({})
    assert (accuracy.share, accuracy.low, accuracy.high) == (0.0, 0.0, 1.0)


def test_rounds_are_compared_item_by_item():
    before = {f"{i}": float(i < 10) for i in range(40)}
    after = {f"{i}": float(1 <= i < 19) for i in range(40)}  # item 0 lost, items 10 to 18 gained
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
        compare({"a": 1.0, "b": 0.0}, {"a": 1.0, "c": 0.0})
