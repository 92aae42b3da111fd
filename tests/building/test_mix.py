"""Mixing by weight."""

from fractions import Fraction
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.building.mix import Mixed, mix, schedule
from selfimprove.errors import ConfigError, DataError


def source(name: str, count: int) -> list[dict]:
    return [{"id": f"{name}{number}"} for number in range(count)]


@settings(deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=6), st.integers(0, 5))
def test_every_stretch_from_the_start_is_in_proportion(parts, seed):
    weights = {f"s{number}": part / 100 for number, part in enumerate(parts)}
    total = sum(Fraction(str(weight)) for weight in weights.values())
    given_by = dict.fromkeys(weights, 0)
    most = 1 - Fraction(1, 2 * len(parts) - 2) if len(parts) > 1 else 0
    for count, name in enumerate(islice(schedule(weights, seed), 400), 1):
        given_by[name] += 1
        for other, weight in weights.items():
            assert abs(given_by[other] - Fraction(str(weight)) / total * count) <= most


def test_seven_to_three_is_exact_and_keeps_each_order():
    told = Mixed()
    rows = list(mix({"a": source("a", 70), "b": source("b", 30)}, {"a": 0.7, "b": 0.3}, told=told))
    assert len(rows) == 100 and told.rows == {"a": 70, "b": 30}
    for name in "ab":
        assert [row for row in rows if row["id"].startswith(name)] == source(name, told.rows[name])
    assert [sum(row["id"].startswith("a") for row in rows[:n]) for n in (10, 20, 50)] == [7, 14, 35]


def test_it_ends_where_a_source_runs_out():
    told = Mixed()
    rows = list(mix({"a": source("a", 1000), "b": source("b", 3)}, {"a": 3, "b": 1}, told=told))
    assert told.ended_by == "b" and told.rows["b"] == 3 and told.rows["a"] in range(9, 13)
    assert len(rows) == sum(told.rows.values())


def test_repeating_goes_on_until_every_source_was_read():
    told = Mixed()
    list(mix({"a": source("a", 10), "b": source("b", 3)}, {"a": 1, "b": 1}, repeat=True, told=told))
    assert told.rows["a"] == 10 and told.rows["b"] in (9, 10, 11) and told.repeats == {"a": 0, "b": 3}
    told = Mixed()
    rows = list(mix({"a": source("a", 2), "b": source("b", 3)}, {"a": 1, "b": 1}, rows=50, repeat=True, told=told))
    assert len(rows) == 50 and told.rows == {"a": 25, "b": 25} and told.ended_by is None


def test_the_seed_decides_between_equal_claims_and_nothing_else():
    weights = dict.fromkeys("abcd", 1.0)
    turns = {tuple(islice(schedule(weights, seed), 8)) for seed in range(20)}
    assert len(turns) > 1
    assert all(sorted(turn[:4]) == sorted(turn[4:]) == list("abcd") for turn in turns)
    assert list(islice(schedule(weights, 3), 50)) == list(islice(schedule(dict(reversed(weights.items())), 3), 50))


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf")])
def test_a_weight_that_cannot_be(weight):
    with pytest.raises(ConfigError, match="the weight of a is"):
        next(schedule({"a": weight}))


def test_what_cannot_be_mixed():
    with pytest.raises(DataError, match="b: there are no rows"):
        list(mix({"a": source("a", 5), "b": []}, {"a": 1, "b": 1}))
    with pytest.raises(DataError, match="cannot be read a second time"):
        list(mix({"a": iter(source("a", 5))}, {"a": 1}, rows=9, repeat=True))
    with pytest.raises(ConfigError, match="nothing to mix"):
        next(schedule({}))
