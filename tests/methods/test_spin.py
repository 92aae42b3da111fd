"""SPIN: the solution is chosen, the opponent's own answer rejected; every other outcome is a Skip."""

import pytest

from selfimprove.config import fill
from selfimprove.errors import ConfigError
from selfimprove.methods import configure, spin
from selfimprove.records import Pair, Prompt, as_messages

SOLUTION = "2 + 2 = 4. The answer is 4."


def prompt(name: str, solution: str | None = SOLUTION) -> Prompt:
    return Prompt(name, as_messages(f"{name}: what is 2 + 2?"), gold="4", solution=solution)


def test_the_gold_answer_is_chosen_and_the_opponents_rejected(collect):
    [[pair]], measured = collect(spin, spin.Config(), [prompt("good")], {"*": ["It is 5."]})
    assert isinstance(pair, Pair)
    assert (pair.chosen, pair.rejected, pair.round) == (SOLUTION, "It is 5.", 1)
    assert measured["identical"] == 0.0


def test_a_generation_better_than_the_solution_is_still_rejected(collect):
    [[pair]], _ = collect(spin, spin.Config(), [prompt("good", solution="I do not know.")], {"*": ["It is 4."]})
    assert (pair.chosen, pair.rejected) == ("I do not know.", "It is 4.")


@pytest.mark.parametrize(
    ("case", "answers", "options", "reason"),
    [
        (prompt("identical"), [f"  {SOLUTION}\n"], {}, "identical"),
        (prompt("empty"), ["  \n "], {}, "empty"),
        (prompt("unsolved", solution=None), ["5"], {}, "no_solution"),
        (prompt("blank", solution="  "), ["5"], {}, "no_solution"),
        (prompt("long"), ["one two three four five six"], {"cut": 1.0}, "truncated"),
        (prompt("failing"), ["5"], {"failure_rate": 1.0}, "engine_error"),
    ],
)
def test_every_early_exit_is_a_skip_with_its_reason(collect, case, answers, options, reason):
    [[skip]], _ = collect(spin, spin.Config(), [case], {"*": answers}, **options)
    assert (skip.id, skip.reason) == (case.id, reason)


def test_truncated_answers_can_be_kept(collect):
    [[pair]], _ = collect(spin, spin.Config(drop_truncated=False), [prompt("long")], {"*": ["one two three"]}, cut=1.0)
    assert isinstance(pair, Pair)


def test_each_round_has_its_own_rows(collect):
    [[first]], _ = collect(spin, spin.Config(), [prompt("good")], {"*": ["5"]}, round=1)
    [[second]], _ = collect(spin, spin.Config(), [prompt("good")], {"*": ["5"]}, round=2)
    assert (first.id, second.id) == ("good/round-1", "good/round-2")


def test_greedy_opponents_are_refused():
    with pytest.raises(ConfigError, match="temperature is 0.0; the rejected side is a sample"):
        spin.Config(temperature=0.0)
    with pytest.raises(ConfigError, match="has no option 'temprature'; did you mean 'temperature'"):
        fill(spin.Config, {"temprature": 1.0}, "r.yaml: method")
    assert configure({"name": "spin"})[1] == spin.Config()
