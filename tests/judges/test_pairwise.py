"""Both orders, ties on disagreement, and the implicit judge's arithmetic."""

import pytest

from selfimprove.errors import ConfigError
from selfimprove.judges.implicit import Config, verdict
from selfimprove.judges.pairwise import combine
from selfimprove.records import Scored


def sigmoid(x):
    return 1 / (1 + 2.718281828459045**-x)


def test_the_probability_is_the_mean_of_both_orders():
    found = combine(sigmoid(2.0 - 0.5), sigmoid(0.2 - 1.0))  # q1 0.817574, q2 0.689974
    assert found.probability == pytest.approx(0.753774, abs=1e-6)
    assert found.agreed and found.winner == 0
    other = combine(sigmoid(0.2 - 1.0), sigmoid(2.0 - 0.5))
    assert other.probability == pytest.approx(1 - 0.753774, abs=1e-6) and other.winner == 1


def test_a_judge_who_always_says_a_prefers_nobody():
    found = combine(sigmoid(2.0), sigmoid(2.0))
    assert found.probability == pytest.approx(0.5) and not found.agreed and found.winner is None


def test_a_failure_is_no_preference():
    assert combine(None, 0.4).probability is None and combine(0.4, None).winner is None


def test_the_implicit_reward_is_a_difference_of_sums():
    own, base = Scored((-1.0, -2.0)), Scored((-1.5, -3.0))
    assert verdict(own, base).score == pytest.approx(1.5)
    assert verdict(own, None).score == -3.0 and verdict(own, None, normalise=True).score == -1.5
    assert verdict(Scored(error="too long"), base).score is None
    assert verdict(own, Scored(error="too long")).reason == "too long"


def test_a_policy_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="policy, previous, base"):
        Config(policy="next")
