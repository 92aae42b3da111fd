"""What an audit says of judges whose faults are known."""

import pytest

from selfimprove.config import Limit
from selfimprove.evaluation.audit import (
    Judged,
    better_is_longer,
    bins_of,
    broken,
    calibration_error,
    compared,
    figures,
)


def judged(right, kind="correct", **values):
    return Judged(f"{kind}-1", kind, right, **values)


def test_grades_become_a_side_and_a_confidence():
    assert compared((4.0, 2.0), (0, 5)) == (1.0, pytest.approx(0.7))  # 1/2 + 2/5/2
    assert compared((2.0, 4.0), (0, 5)) == (0.0, pytest.approx(0.7))
    assert compared((3.0, 3.0), (0, 5)) == (0.5, 0.5)
    assert compared((-1.0, -2.0), None) == (1.0, pytest.approx(0.731059, abs=1e-6))
    assert compared((None, 2.0), (0, 5)) == (None, None)


def test_an_answer_is_longer_from_a_fifth_more_words():
    assert better_is_longer("one two three four five six", "one two three four five") is True
    assert better_is_longer("one two three four five", "one two three four five six") is False
    assert better_is_longer("one two three four five six", "six five four three two one") is None


def test_a_judge_who_sees_only_length():
    seen = [judged(1.0, longer=True)] * 30 + [judged(0.0, longer=False)] * 30 + [judged(0.5, longer=None)] * 20
    found = figures(seen)
    assert found["length_preference"] == 1.0 and found["length_matched"] == 0.5
    assert found["accuracy"] == pytest.approx(0.5) and found["ties"] == 0.25
    fair = figures([judged(1.0, longer=True)] * 30 + [judged(1.0, longer=False)] * 30)
    assert fair["length_preference"] == 0.0 and fair["low"] > 0.9


def test_failures_are_counted_and_in_no_accuracy():
    found = figures([judged(1.0), judged(None), judged(None), judged(1.0)])
    assert found["accuracy"] == 1.0 and found["parse_failures"] == 0.5
    assert figures([judged(None)])["accuracy"] is None


def test_swaps_repeats_own_answers_and_the_use_of_the_scale():
    seen = [judged(1.0, swapped=False, grades=(4.0, 4.0)), judged(0.5, swapped=True, grades=(4.0, 1.0))]
    found = figures(seen, repeated=[judged(1.0), judged(1.0)], preferred=[1.0, 0.0, None, 0.5], bounds=(0, 5))
    assert found["swap_rate"] == 0.5 and found["repeatability"] == 0.5 and found["self_preference"] == 0.5
    assert found["grades"] == {1.0: 1, 4.0: 3} and found["largest_grade_share"] == 0.75
    assert figures([judged(1.0)])["swap_rate"] is None


def test_accuracy_is_told_by_kind():
    found = figures([judged(1.0), judged(0.0), judged(1.0, kind="padding")])
    assert found["kinds"] == {"correct": 0.5, "padding": 1.0}


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy():
    assert calibration_error(bins_of([(0.9, 1.0)] * 9 + [(0.9, 0.0)])) == pytest.approx(0.0)
    assert calibration_error(bins_of([(1.0, 0.0)] * 4)) == 1.0
    # bins [0.55, 0.60) and [0.95, 1.0]: 2/4 * |0.55 - 0.5| + 2/4 * |1.0 - 0.5|
    assert calibration_error(bins_of([(0.55, 1.0), (0.55, 0.0), (1.0, 1.0), (1.0, 0.0)])) == pytest.approx(0.275)
    assert calibration_error(bins_of([])) is None


def test_a_broken_limit_is_a_sentence():
    found = {"swap_rate": 0.4, "accuracy": 0.6, "length_preference": None}
    limits = {"swap_rate": Limit(max=0.15), "accuracy": Limit(min=0.5), "length_preference": Limit(max=0.2)}
    assert broken(found, limits) == ["swap_rate is 0.400, above 0.15"]
    assert broken({"accuracy": 0.4}, limits) == ["accuracy is 0.400, below 0.5"]
