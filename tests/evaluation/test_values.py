"""AUC and Brier score of values against labels: literal numbers, and what must hold for any."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.errors import DataError
from selfimprove.evaluation.values import auc, brier

steps = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 1.0, None]), st.sampled_from([-1.0, 0.1, 0.2, 0.9, None])))


@pytest.mark.parametrize(
    ("labels", "values", "expected"),
    [
        ([1, 1, 0, 0], [0.9, 0.4, 0.5, 0.1], 0.75),  # (0.9 beats both) + (0.4 beats one): 3 of 4
        ([1, 0], [0.3, 0.3], 0.5),
        ([1, 0], [0.1, 0.9], 0.0),
        ([1, 0, 0], [0.5, 0.5, 0.2], 0.75),  # half + one, of two
        ([1, 0, None, 1], [0.9, 0.1, 0.0, None], 1.0),  # without label or value: left out
        ([1, 1], [0.1, 0.2], None),
        ([], [], None),
    ],
)
def test_auc(labels, values, expected):
    assert auc(labels, values) == (None if expected is None else pytest.approx(expected))


def test_labels_from_minus_one_to_one_are_cut_at_zero():
    assert auc([0.3, -0.3, 0.1], [0.5, 0.2, 0.4], above=0.0) == 1.0


@given(steps)
def test_auc_counts_ordered_couples(rows):
    labels, values = [label for label, _ in rows], [value for _, value in rows]
    known = [(label, value) for label, value in rows if label is not None and value is not None]
    couples = [(g > b) + (g == b) / 2 for lg, g in known if lg > 0.5 for lb, b in known if lb <= 0.5]
    assert auc(labels, values) == (pytest.approx(sum(couples) / len(couples)) if couples else None)


def test_brier():
    assert brier([1, 0, None], [0.8, 0.4, 0.3]) == pytest.approx(0.1)  # (0.04 + 0.16) / 2
    assert brier([None], [0.5]) is None
    with pytest.raises(DataError, match="2 labels but 1 values"):
        brier([1, 0], [0.5])
