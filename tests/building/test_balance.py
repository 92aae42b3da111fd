"""Length balance of pairs."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.building.balance import balance_lengths
from selfimprove.errors import ConfigError

sizes = st.integers(0, 500)


def balanced(chosen, rejected, share=0.1):
    return balance_lengths(np.array(chosen, np.int64), np.array(rejected, np.int64), share)


def test_the_longest_goes_and_as_few_as_can_be():
    found = balanced([100, 300, 110, 105], [100, 100, 100, 100])
    assert found.taken.tolist() == [False, True, False, False]
    assert found.before == (153.75, 100.0) and found.after == (105.0, 100.0)


def test_the_other_side_is_held_too():
    found = balanced([100, 100, 100, 100], [100, 300, 110, 105])
    assert found.taken.tolist() == [False, True, False, False]
    assert found.before == (100.0, 153.75) and found.after == (100.0, 105.0)


def test_what_holds_is_left_alone():
    assert not balanced([110, 100], [100, 100]).taken.any()  # 210 <= 1.1 * 200
    assert balanced([111, 110], [100, 100]).taken.tolist() == [True, False]  # 221 > 220


def test_the_last_to_go_is_the_smallest_that_suffices_and_the_later_of_equals():
    found = balanced([100, 190, 190, 100, 100, 300, 100], [100] * 7, 0.55)  # 1080 <= 1085
    assert found.taken.tolist() == [False] * 7
    found = balanced([100, 190, 190, 100, 100, 300, 100], [100] * 7, 0.4)  # 1080 > 980 by 100: only 300 - 140 suffices
    assert found.taken.tolist() == [False, False, False, False, False, True, False]
    found = balanced([100, 300, 300, 100, 100, 500, 100], [100] * 7, 1.1)  # 1500 > 1470 by 30: 300 - 210 does
    assert found.taken.tolist() == [False, False, True, False, False, False, False]


@given(st.lists(st.tuples(sizes, sizes), max_size=40), st.sampled_from([0.01, 0.1, 0.25, 1.0, 3.0]))
def test_the_guarantee_holds_exactly_and_both_ways(pairs, share):
    chosen, rejected = [one for one, _ in pairs], [other for _, other in pairs]
    found = balanced(chosen, rejected, share)
    kept = [pair for pair, taken in zip(pairs, found.taken, strict=True) if not taken]
    most = 1 + Fraction(str(share))
    long, short = sum(one for one, _ in kept), sum(other for _, other in kept)
    assert long <= most * short and short <= most * long
    assert not balanced([one for one, _ in kept], [other for _, other in kept], share).taken.any()  # idempotent


@given(st.lists(st.tuples(sizes, sizes), min_size=1, max_size=12), st.sampled_from([0.1, 0.5]))
def test_swapping_the_sides_takes_the_same_pairs_where_one_side_is_too_long(pairs, share):
    chosen, rejected = [one for one, _ in pairs], [other for _, other in pairs]
    one, other = balanced(chosen, rejected, share), balanced(rejected, chosen, share)
    if one.after and one.after[0] >= one.after[1]:  # no tipping over to be treated second
        assert other.taken.sum() == one.taken.sum() or other.after != one.after
    assert one.before == (other.before[1], other.before[0])


@given(st.lists(sizes, min_size=1, max_size=9), st.sampled_from([0.1, 0.5]))
def test_no_smaller_set_of_pairs_would_do(lengths, share):
    import itertools

    rejected = [100] * len(lengths)
    chosen = [100 + length for length in lengths]  # only the chosen side can be too long
    taken = int(balanced(chosen, rejected, share).taken.sum())
    excess = [one - (1 + Fraction(str(share))) * 100 for one in chosen]
    for size in range(taken):
        assert all(sum(excess) - sum(excess[i] for i in gone) > 0
                   for gone in itertools.combinations(range(len(lengths)), size))  # fmt: skip


@pytest.mark.parametrize("share", [0, -0.1, 0.00001, float("nan")])
def test_a_share_that_cannot_be(share):
    with pytest.raises(ConfigError, match="balance_length is"):
        balanced([1], [1], share)
