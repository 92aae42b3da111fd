"""Splits by group."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.building.split import check_shares, group_of, prompt_id, split_of
from selfimprove.errors import ConfigError, DataError

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


@given(st.lists(st.tuples(st.text("pq12", min_size=1, max_size=3), st.integers(0, 9)), max_size=30))
def test_rows_of_one_prompt_stay_together_whatever_else_is_there(rows):
    ids = [f"{prompt}/{tag}" for prompt, tag in rows]
    sides = {row_id: split_of(group_of({"id": row_id}), SHARES) for row_id in ids}
    for row_id, side in sides.items():
        assert side == split_of(row_id.split("/")[0], SHARES)
        assert side == split_of(group_of({"id": row_id, "other": 1}), dict(SHARES))  # nothing of the rest counts


def test_shares_are_met_about():
    counts = dict.fromkeys(SHARES, 0)
    for number in range(20_000):
        counts[split_of(f"p{number}", SHARES)] += 1
    for name, share in SHARES.items():
        assert abs(counts[name] - 20_000 * share) < 4 * math.sqrt(20_000 * share * (1 - share))


def test_another_seed_splits_otherwise_and_the_first_share_only_grows():
    names = [f"p{number}" for number in range(500)]
    assert [split_of(name, SHARES, 0) for name in names] != [split_of(name, SHARES, 1) for name in names]
    small, large = {"a": 0.3, "b": 0.7}, {"a": 0.5, "b": 0.5}
    assert all(split_of(name, large) == "a" for name in names if split_of(name, small) == "a")


def test_what_a_group_is():
    assert prompt_id("p7/3") == prompt_id("p7") == "p7" and prompt_id("gsm8k/12/0") == "gsm8k/12"
    assert group_of({"topic": 3}, "topic") == "3" and group_of({"topic": "a/b"}, "topic") == "a/b"
    assert group_of({"prompt": "a b", "completion": "x"}, "prompt") == group_of({"prompt": "a  b"}, "prompt")
    with pytest.raises(DataError, match="grouped by 'id', .* the row has none"):
        group_of({"prompt": "a"})
    with pytest.raises(DataError, match="not \\[1\\]"):
        group_of({"topic": [1]}, "topic")


@pytest.mark.parametrize("shares", [{}, {"a": 0.5}, {"a": 1.5, "b": -0.5}, {"a": 0.6, "b": 0.6}, {"a": math.nan}])
def test_shares_that_cannot_be(shares):
    with pytest.raises(ConfigError, match="shares"):
        check_shares(shares)
    assert check_shares({"a": 0.1, "b": 0.2, "c": 0.7})
