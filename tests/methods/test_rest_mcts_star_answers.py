"""ReST-MCTS*: its ways to answer, ends and steps that are asked for, what learn trains, and its options."""

import asyncio
from dataclasses import replace

import pytest
from searching import QUICK, RIGHT, SUM, WALK, answering, asking, collecting, near

from selfimprove.errors import ConfigError
from selfimprove.methods import rest_mcts_star
from selfimprove.methods.rest_mcts_star import Config, moves_of, rules_of
from selfimprove.records import Example, Steps, as_messages
from selfimprove.search.selection import score
from selfimprove.search.tree import Node
from selfimprove.store import Rows, RowWriter
from selfimprove.worlds.value_search import (
    parse_step,
    read_reflection,
    says_solved,
    usable,
)


@pytest.fixture
def ask(tmp_path):
    """Return what runs something for every prompt, see searching.py."""
    return asking(tmp_path)


ANSWER_VALUES = {"1 + 2 = 3\n": 0.5, "1 + 2 = 4\n": 0.4, "1 + 2 = 3\n3 + 3 = 6\n": 0.7, RIGHT: 0.95}


ANSWER_VALUES |= {
    f"1 + 2 = {a}\n{rest}": 0.1 for a, rest in ((3, "3 + 3 = 7\n"), (4, "4 + 3 = 7\n"), (4, "4 + 3 = 8\n"))
}


def test_a_search_answers_with_the_leaf_that_passes_the_gate_or_the_most_valued_node(ask):
    prompt = replace(SUM, meta={"values": ANSWER_VALUES})
    [[found]], measured, kept, _ = ask(answering(Config(branch=2, end_gate=0.8)), [prompt], WALK)
    assert found.text == RIGHT and found.finish == "stop" and measured["tree_rounds"] < 50 and not kept
    assert measured["answer_score"] >= 0.8
    # one visit sees only the first two steps: 1 + 2 = 3 is worth most, and the policy writes the rest
    few = Config(branch=2, iterations=1, roll_forward=0)
    table = {**WALK, "1 + 2 = 3\n": ["3 + 3 = 6. The answer is 6"]}
    [[found]], measured, *_ = ask(answering(few), [prompt], table, ledger="few.sqlite")
    assert found.text == "1 + 2 = 3\n3 + 3 = 6. The answer is 6" and measured["answer_score"] == 0.5


def test_leaves_vote_by_their_value(ask):
    table = {"*": ["The answer is 6", "It is 6.0", "The answer is 7"]}
    values = {"The answer is 6": 0.3, "It is 6.0": 0.3, "The answer is 7": 0.5}
    prompt = replace(SUM, meta={"values": values})
    config = Config(branch=3, iterations=2, vote="tree", end_gate=2.0)
    [[found]], measured, *_ = ask(answering(config), [prompt], table)
    assert found.text in ("The answer is 6", "It is 6.0") and measured["answer_score"] == near(0.6 / 1.1)
    [[found]], *_ = ask(answering(replace(config, vote="search")), [prompt], table)
    assert found.text == "The answer is 7"


@pytest.mark.parametrize(
    ("vote", "values", "expected"),
    [
        ("sc", (0.1, 0.9), "The answer is 6"),
        ("orm", (0.4, 0.5), "The answer is 7"),
        ("sc_orm", (0.4, 0.5), "The answer is 6"),
        ("sc_orm", (0.4, 0.9), "The answer is 7"),
    ],
)
def test_votes_over_whole_answers(ask, vote, values, expected):
    prompt = replace(SUM, meta={"values": dict(zip(("The answer is 6", "The answer is 7"), values, strict=True))})
    table = {"*": ["The answer is 6", "The answer is 7", "The answer is 6"]}
    [[found]], *_ = ask(answering(Config(vote=vote, samples=3)), [prompt], table)
    assert found.text == expected


def test_before_there_is_a_value_model_the_answer_is_the_plain_one(ask):
    [[found]], measured, *_ = ask(answering(Config()), [SUM], {"*": ["It is 5", "It is 6"]}, round=1)
    assert found.text == "It is 5" and measured == {"without_value_model": 1.0}


def test_without_a_search_right_samples_are_learned(ask):
    config = Config(start="none", search="none", samples=4)
    table = {"*": ["The answer is 6", "The answer is 7", "So 6", "The answer is 6"]}
    [rows], measured, *_ = ask(collecting(config), [SUM], table)
    assert {row.completion for row in rows} == {"The answer is 6", "So 6"} and len({row.id for row in rows}) == 2
    assert measured == {"right_answers": 2}
    [[skip]], *_ = ask(collecting(config), [replace(SUM, gold="5")], table)
    assert skip.reason == "none_right"
    [[skip]], *_ = ask(collecting(config), [SUM], table, failure_rate=1.0, ledger="failing.sqlite")
    assert skip.reason == "engine_error"


def test_right_answers_of_little_value_or_length_can_be_refused(ask):
    low = replace(SUM, meta={"values": {RIGHT: 0.1}})
    for config in (Config(**QUICK, min_score=0.2), Config(**QUICK, min_characters=50)):
        [rows], measured, *_ = ask(collecting(config), [low], WALK)
        assert rows and all(isinstance(row, Steps) for row in rows) and measured["right_refused"] == 1
    [rows], *_ = ask(collecting(Config(**QUICK, min_score=0.05)), [low], WALK)
    assert isinstance(rows[0], Example) and rows[0].meta == {"value": 0.1}


def test_a_leaf_that_passes_the_gate_is_finished_by_the_policy_and_judged_as_a_whole(ask):
    gated = replace(SUM, meta={"values": {"1 + 2 = 3\n": 0.95, "1 + 2 = 4\n": 0.0}})
    table = {SUM.text: ["1 + 2 = 3\n", "1 + 2 = 4\n"], "1 + 2 = 3\n": ["3 + 3 = 6"]}
    config = Config(branch=2, iterations=2, end_gate=0.9, heldout_share=0.0, roll_forward=0)
    [rows], *_ = ask(collecting(config), [gated], table)
    assert rows[0].completion == "1 + 2 = 3\n3 + 3 = 6" and rows[0].meta == {"value": None}
    assert (rows[1].steps, rows[1].labels) == (("1 + 2 = 3\n",), (1.0,)) and len(rows) == 2
    [[skip]], *_ = ask(collecting(replace(config, unfinished="leave")), [gated], table)
    assert skip.reason == "none_right"  # 3 is not 6
    [rows], measured, *_ = ask(collecting(replace(config, max_tokens=5)), [gated], table)
    assert [type(row) for row in rows] == [Steps] and measured["right_refused"] == 1  # right, but cut
    [[found]], measured, *_ = ask(answering(config), [gated], table)
    assert found.text == "1 + 2 = 3\n3 + 3 = 6" and measured["tree_rounds"] == 1


def test_options_reach_the_search():
    def scores(config, children, visits):
        parent = Node(0, -1, 0, 0, visits=visits)
        nodes = [
            Node(place, 0, place, 1, guess=value, value=value, quality=value, visits=n)
            for place, (value, n) in enumerate(children)
        ]
        return [score(parent, node, rules_of(config).select) for node in nodes]

    found = scores(Config(exploration=0.5, bonus=0.9), [(0.6, 2), (0.4, 1), (0.2, 0)], 3)
    assert found == [near(1.1241), near(1.1412), near(1.1)]
    assert scores(Config(exploration=0.1, bonus=0.8), [(0.95, 4), (0.05, 0)], 4) == [near(1.0333), near(0.85)]
    hard = Config(labels="hard", roll_forward=2)
    assert rules_of(hard).gate is None and moves_of(hard).forward == 0
    moves = moves_of(Config(alpha=0.3, roll_forward=2, roll_branch=4, shortest=5, tries=6))
    assert (moves.blend, moves.forward, moves.forward_branch, moves.shortest, moves.tries) == (0.3, 2, 4, 5, 6)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Next step: add 2 and 3", "Step 2: add 2 and 3\n"),
        ("Sure.\nnext step: Step 2: add\nand more", "Step 2: add\n"),
        ("Step 2: add", "Step 2: add\n"),
        ("add them\nthen stop", "Step 2: add them\n"),
        ("  \n", ""),
    ],
)
def test_the_step_of_a_reply(reply, expected):
    assert parse_step(reply, 2) == expected


def test_what_replies_say():
    assert says_solved("Solved.") and not says_solved("unsolved") and not says_solved("Unsolved, not solved")
    assert not says_solved("continue")
    assert read_reflection("Problem solved") == (True, "")
    assert read_reflection("Analysis: add 3") == (False, "add 3") and read_reflection("add 3") == (False, "add 3")
    assert (
        usable("3 + 3", "1 + 2\n")
        and not usable("1 + 2\n", "1 + 2\n")
        and not usable("x", "")
        and not usable("", "", 0)
    )
    assert not usable("Step 2: add", "Step 1: add\n")


ASKED = '''
"""Adds step by step when it is asked for steps, and knows when it is done."""
def answer(request, seed):
    last = request.messages[-1]["content"]
    done = "3 + 3 = 6" in last
    if "exactly one word" in last:
        return "Solved" if done else "unsolved"
    if "Analysis:" in last:
        return "Problem solved" if done else "Analysis: take three more"
    if "The final answer is $...$" in last:
        return "Well.\\nThe final answer is $6$"
    if "Existing steps:\\nNone" in last:
        return "Next step: 1 + 2 = 3"
    return "Next step: 3 + 3 = 6" if {needs!r} in last else "Next step: 3 + 3 = 7"
'''


@pytest.mark.parametrize(("ends", "needs"), [("ask", ""), ("reflect", "Advice: take three more")])
def test_steps_can_be_asked_for(ask, tmp_path, ends, needs):
    (tmp_path / "asked.py").write_text(ASKED.format(needs=needs))
    config = Config(
        steps="asked", ends=ends, unfinished="summary", branch=2, iterations=6, heldout_share=0.0, end_gate=2.0,
        roll_forward=0,
    )  # fmt: skip
    [rows], *_ = ask(collecting(config), [SUM], {}, answers=None, script=str(tmp_path / "asked.py"))
    [row] = [row for row in rows if isinstance(row, Example)]
    assert row.completion == "Step 1: 1 + 2 = 3\nStep 2: 3 + 3 = 6\nThe final answer is $6$"
    [line] = [row for row in rows if isinstance(row, Steps)]
    assert line.steps == ("Step 1: 1 + 2 = 3\n", "Step 2: 3 + 3 = 6\n") and line.labels == (0.5, 1.0)
    values = {line.steps[0]: 0.5, "".join(line.steps): 0.9}
    valued = replace(SUM, meta={"values": values})
    [[found]], *_ = ask(answering(config), [valued], {}, answers=None, script=str(tmp_path / "asked.py"))
    assert found.text == row.completion


def test_an_answer_that_cannot_be_read_is_a_wrong_one(ask):
    puzzle = replace(SUM, verifier="countdown", gold="1 + 2", meta={"numbers": [1, 2], "target": 3})
    [[skip]], measured, *_ = ask(collecting(Config(**{**QUICK, "final": "Answer:"})), [puzzle], {"*": ["no idea"]})
    assert skip.reason == "none_right" and measured["ungraded_leaves"] == 0


def test_the_verifier_may_say_what_an_end_is(ask):
    puzzle = replace(
        SUM, verifier="countdown", gold="1 + 2", meta={"numbers": [1, 2], "target": 3}, messages=as_messages("Make 3")
    )
    table = {"Make 3": ["1 + 2 = 3 (left: 3)\n"], "1 + 2 = 3 (left: 3)\n": ["Answer: 1 + 2\n"], "*": ["more\n"]}
    config = Config(**{**QUICK, "final": "", "iterations": 3})
    [rows], *_ = ask(collecting(replace(config, ends="answer")), [puzzle], table)
    assert rows[0].completion == "1 + 2 = 3 (left: 3)\nAnswer: 1 + 2"
    assert rows[1].labels == (0.5, 1.0)


class Taught:
    """What learn sees of a run: a train that says what it was given."""

    async def train(self, kind, rows, **options):
        return kind, len(rows), options


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ("both", {"policy": ("sft", 1, {}), "value": ("steps", 2, {})}),
        ("sft", {"policy": ("sft", 1, {})}),
        ("steps", {"value": ("steps", 2, {})}),
    ],
)
def test_learn_trains_both_models_on_their_rows(tmp_path, made, expected):
    writer = RowWriter(tmp_path / made)
    if made != "steps":
        writer.write(Example.of(SUM, RIGHT))
    for number in range(2 if made != "sft" else 0):
        writer.write(Steps.of(SUM, ["a\n"], [0.5], tag=str(number)))
    assert asyncio.run(rest_mcts_star.learn(Config(), Taught(), Rows(tuple(writer.close())))) == expected


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"start": "dpo"}, "start is 'dpo'"),
        ({"vote": "prm"}, "vote is 'prm'; one of search, tree, sc, orm, sc_orm"),
        ({"branch": 0}, "branch is 0; it must be at least 1"),
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"heldout_share": 1.0}, "some prompts must train the value model"),
        ({"ends": "reflect"}, "set steps: asked"),
        ({"final": "("}, "no regular expression"),
    ],
)
def test_values_that_cannot_work_are_refused(options, sentence):
    with pytest.raises(ConfigError, match="rest-mcts-star: ") as error:
        Config(**options)
    assert sentence in str(error.value)
