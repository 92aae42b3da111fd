"""The figures of the drift watch against numbers worked out by hand, limits, and the judge against the truth."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.config import Limit, Watch, make_recipe
from selfimprove.errors import ConfigError
from selfimprove.evaluation.heldout import Item
from selfimprove.evaluation.heldout import summary as heldout_summary
from selfimprove.evaluation.watch import (
    Probe,
    best_round,
    breaches,
    broken_limits,
    check_watch,
    distinct,
    is_refusal,
    summary,
)
from selfimprove.store import RowWriter, Store


def test_figures_of_three_answers():
    found = summary(
        [
            Probe("a#0", "one two one two", 4, "stop", -4.0, -6.0, True, 2.0),
            Probe("a#1", "I cannot do that", 6, "length", -2.0, -2.0, False, 4.0),
            Probe("b#0", "one", 2, "stop", None, None, None, None),
        ]
    )
    assert found["tokens"] == 4.0  # (4 + 6 + 2) / 3
    assert found["truncated"] == pytest.approx(1 / 3)
    assert found["distinct_1"] == pytest.approx(6 / 9)  # one two i cannot do that, of 9 words
    assert found["distinct_2"] == pytest.approx(5 / 6)  # "one two" stands twice among 3 + 3 pairs
    assert found["entropy"] == pytest.approx(6 / 10)  # 4 + 2 nats over 4 + 6 tokens; the third has no log-prob
    assert found["refusals"] == pytest.approx(1 / 3)
    assert found["kl"] == pytest.approx(1.0)  # (2 + 0) / 2
    assert found["kl_per_token"] == pytest.approx(0.2)  # 2 nats over 10 tokens
    assert (found["verified"], found["judge"]) == (0.5, 3.0)


def test_nothing_measured_is_none_and_never_zero():
    assert set(summary([]).values()) == {None}
    found = summary([Probe("a#0", "", 0, "stop", None)])
    assert found["entropy"] is None and found["kl"] is None and found["verified"] is None
    assert found["distinct_1"] is None  # no words at all


@given(st.lists(st.text(alphabet="ab ", max_size=20), max_size=6), st.integers(1, 3))
def test_distinct_is_a_share_and_repeating_the_texts_never_raises_it(texts, n):
    value = distinct(texts, n)
    if value is None:
        assert all(len(text.split()) < n for text in texts)
    else:
        assert 0 < value <= 1
        assert distinct(texts * 2, n) == pytest.approx(value / 2)


@pytest.mark.parametrize(
    "text", ["I'm sorry, but I can't", "As an AI language model", "I cannot answer", "I’m unable to"]
)
def test_refusals_are_seen(text):
    assert is_refusal(text)


@pytest.mark.parametrize("text", ["The answer is 4.", "He said: I cannot go.", "Sorry is a word", ""])
def test_other_answers_are_no_refusals(text):
    assert not is_refusal(text)


@pytest.mark.parametrize(
    ("limit", "broken"),
    [
        (Limit(max=15), []),
        (Limit(max=11), ["tokens 12 is above the limit 11"]),
        (Limit(min=13), ["tokens 12 is below the limit 13"]),
        (Limit(max_ratio=1.1), ["tokens 12 is 1.2 times the start's 10, above the limit 1.1"]),
        (Limit(min_ratio=1.3), ["tokens 12 is 1.2 times the start's 10, below the limit 1.3"]),
        (Limit(min=12, max=12, min_ratio=1.2, max_ratio=1.2), []),
    ],
)
def test_limits_are_held_against_the_last_round(limit, broken):
    assert breaches([{"tokens": 10.0}, {"tokens": 99.0}, {"tokens": 12.0}], {"tokens": limit}) == broken


def test_a_figure_that_is_missing_breaks_nothing():
    assert breaches([{"kl": None}, {"kl": None}], {"kl": Limit(max=0)}) == []
    assert breaches([{"judge": None}, {"judge": 2.0}, {"judge": 5.0}], {"judge": Limit(max_ratio=2)}) == [
        "judge 5 is 2.5 times the start's 2, above the limit 2"
    ]
    assert breaches([{"kl": 0.0}, {"kl": 3.0}], {"kl": Limit(max_ratio=2)}) == []  # nothing to divide by


def test_limits_are_checked_before_the_run():
    with pytest.raises(ConfigError, match=r"watch\.limits\.entropie: no such figure; did you mean 'entropy'"):
        check_watch(Watch(limits={"entropie": Limit(max=1)}), "r.yaml")
    with pytest.raises(ConfigError, match="has no bound"):
        check_watch(Watch(limits={"kl": Limit()}), "r.yaml")


@pytest.fixture
def watched(tmp_path):
    """Return a function that writes measured rounds: (judge of every answer, right held-out items) a round."""
    recipe = make_recipe({"method": "raft", "prompts": "none"}, "test")

    def write(*rounds, items=100):
        store = Store(tmp_path / "run").open(recipe)
        for number, (judged, right) in enumerate(rounds):
            writer = RowWriter(store.stage_folder(number, "evaluate") / "sums")
            found = [Item(f"i{i}", i < right) for i in range(items)]
            for item in found:
                writer.write(item)
            store.finish(number, "evaluate", writer.close(), sets={"sums": heldout_summary(found)})
            writer = RowWriter(store.stage_folder(number, "watch"))
            probes = [Probe(f"p#{i}", "x", 1, "stop", -1.0, -1.0, None, score) for i, score in enumerate(judged)]
            for probe in probes:
                writer.write(probe)
            store.finish(number, "watch", writer.close(), figures=summary(probes), breaches=[])
        store.close()
        return store

    return write


def test_a_judge_that_rises_while_the_truth_falls_is_caught(watched):
    store = watched(([1.0] * 20, 60), ([2.0] * 20, 30))
    [sentence] = broken_limits(store, 1, Watch())
    assert "judge's mean score rose by 1" in sentence and "sums -30.0 points" in sentence
    assert store.marker(1, "watch")["breaches"] == [sentence]
    assert broken_limits(store, 1, Watch(judge_against_truth=False)) == []
    assert store.marker(1, "watch")["breaches"] == []  # what is concluded follows the recipe of today


@pytest.mark.parametrize(
    "rounds",
    [
        (([1.0] * 20, 60), ([2.0] * 20, 61)),  # both rise
        (([2.0] * 20, 60), ([1.0] * 20, 30)),  # both fall
        (([1.0] * 20, 60), ([2.0] * 20, 58)),  # the truth falls within chance: 2 lost, p = 0.5
        (([1.0, 3.0] * 10, 60), ([3.0, 1.1] * 10, 30)),  # the judge rises within chance
        (([], 60), ([], 30)),  # no judge
    ],
)
def test_nothing_is_said_without_evidence_of_both(watched, rounds):
    assert broken_limits(watched(*rounds), 1, Watch()) == []


def test_the_best_round_is_the_most_accurate_sound_one(watched):
    store = watched(([1.0], 20), ([1.0], 50), ([1.0], 70), ([1.0], 50))
    store.rewrite(2, "watch", {**store.marker(2, "watch"), "breaches": ["kl 9 is above the limit 5"]})
    assert best_round(store, range(4)) == 1  # round 2 broke a limit, round 3 is not better than round 1
    assert best_round(store, range(1)) == 0
    assert math.isclose(store.marker(1, "evaluate")["sets"]["sums"]["share"], 0.5)
