"""Picks of best-of-N by the model's own likelihood and votes, against worked numbers."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.judges.picking import (
    Rules,
    adaptive_stop,
    best_of,
    pick,
    r_logp,
    r_majority,
    r_norm,
    rewards_of,
    stopping_mu,
    unusable,
    vote_shares,
)
from selfimprove.records import Sample

TOKENS = [[-0.2, -0.2], [-0.05] * 10, [-0.5, -0.4, -0.6], [-0.3] * 4]
ANSWERS = ["7", "9", "12", "12"]


def picks(token_logprobs, answers):
    """The pick of every reward, from token log-probs."""
    logprobs, lengths = [r_logp(each) for each in token_logprobs], [len(each) for each in token_logprobs]
    return {name: pick(name, logprobs, lengths, answers) for name in ("logp", "norm", "majority")}


def test_four_responses_three_rewards_three_picks():
    assert [r_logp(each) for each in TOKENS] == pytest.approx([-0.4, -0.5, -1.5, -1.2])
    assert [r_norm(r_logp(each), len(each)) for each in TOKENS] == pytest.approx([-0.2, -0.05, -0.5, -0.3])
    assert r_majority(ANSWERS) == [0.25, 0.25, 0.5, 0.5]
    assert picks(TOKENS, ANSWERS) == {"logp": 0, "norm": 1, "majority": 3}  # of the two 12s the likelier one


def test_equal_likelihood_goes_to_the_first_and_the_likelihood_a_token_may_still_differ():
    assert picks([[-0.5, -0.5], [-1.0]], ["1", "2"]) == {"logp": 0, "norm": 0, "majority": 0}  # -0.5 against -1.0
    assert picks([[-1.0], [-0.5, -0.5]], ["1", "2"]) == {"logp": 0, "norm": 1, "majority": 0}


def test_an_empty_response_wins_by_plain_likelihood_and_no_other_way():
    assert picks([[-1.0], []], [None, None]) == {"logp": 1, "norm": 0, "majority": None}
    assert r_norm(0.0, 0) is None
    empty = Sample("", tokens=1, logprob=-0.0)
    assert unusable(empty, None, Rules()) == "empty"  # which is why it may not be picked


@pytest.mark.parametrize(
    ("sample", "answer", "options", "reason"),
    [
        (Sample("4", 2), "4", {}, None),
        (Sample("", error="refused", finish="error"), None, {}, "engine_error"),
        (Sample("It is 4", 3, finish="length"), "4", {}, "truncated"),
        (Sample(" \n", 2), None, {}, "empty"),
        (Sample("4", 2), "4", {"min_tokens": 3}, "too_short"),
        (Sample("Who knows?", 4), None, {}, "no_answer"),
        (Sample("Who knows?", 4), None, {"need_answer": False}, None),
        (Sample("Who knows?", 4), "who knows", {"must_match": "[0-9]"}, "no_match"),
        (Sample("It is 4.", 4), "4", {"must_match": "[0-9]"}, None),
    ],
)
def test_what_may_not_be_picked_says_why(sample, answer, options, reason):
    assert unusable(sample, answer, Rules(**options)) == reason


def test_samples_without_an_answer_count_among_all_and_get_nothing():
    assert r_majority(["4", None, "4", "5"]) == [0.5, 0.0, 0.5, 0.25]
    assert vote_shares(["4", None, "4", "5"]) == {"4": 0.5, "5": 0.25}
    assert rewards_of("majority", [-1.0, -0.1, -2.0, -3.0], [2, 2, 2, 2], ["4", None, "4", "5"])[1] is None
    assert vote_shares([]) == {}


def test_a_reward_that_is_not_known_never_wins():
    assert best_of([None, -3.0, None]) == 1
    assert best_of([None, None]) is None and best_of([]) is None
    assert pick("logp", [None, -9.0], [3, 3], ["1", "2"]) == 1
    assert best_of([1.0, 1.0, 1.0], [None, -5.0, -5.0]) == 1  # ties: the larger second value, then the first


def test_adaptive_draws_stop_where_the_best_seen_probability_allows():
    mu = stopping_mu(0.5)
    assert mu == pytest.approx(1.386294, abs=1e-6)  # ln 4
    draws = [math.log(p) for p in (0.02, 0.3, 0.1, 0.3, 0.3, 0.3)]
    # 1 / 0.3 = 3.33: k / mu is 2.16 at k = 3, 2.89 at 4 and 3.61 at 5
    assert adaptive_stop(draws, mu) == 5 and adaptive_stop(draws[:4], mu) is None
    assert adaptive_stop([math.log(0.01), math.log(0.02)], mu) is None
    assert adaptive_stop([-100.0] * 50, mu) is None  # a long text: no draw is likely enough, and nothing overflows
    assert adaptive_stop([None, *draws[1:]], mu) == 5  # a cut draw counts, and has no probability


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.floats(-50, 0), st.integers(1, 20), st.sampled_from(["a", "b", None])), max_size=8))
def test_no_other_sample_has_a_higher_reward_than_the_pick(drawn):
    logprobs, tokens = [each[0] for each in drawn], [each[1] for each in drawn]
    answers = [each[2] for each in drawn]
    for reward in ("logp", "norm", "majority"):
        values = rewards_of(reward, logprobs, tokens, answers)
        known = [value for value in values if value is not None]
        found = pick(reward, logprobs, tokens, answers)
        assert (found is None) == (not known)
        if found is not None:
            assert values[found] == max(known)
    if drawn:
        assert pick("logp", logprobs, tokens, answers) == logprobs.index(max(logprobs))
