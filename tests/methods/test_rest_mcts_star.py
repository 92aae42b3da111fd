"""ReST-MCTS*: the search trace, `collect` with a scripted model, the rows, and a killed search."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from searching import QUICK, RIGHT, SUM, WALK, asking, collecting, near

from selfimprove.config import make_recipe
from selfimprove.errors import EngineError
from selfimprove.files import read_jsonl
from selfimprove.loop import run_recipe
from selfimprove.methods.rest_mcts_star import Config, moves_of, rules_of
from selfimprove.records import Example, Prompt, Skip, Steps, as_messages, kind_of
from selfimprove.search.grow import Budget, grow
from selfimprove.search.tree import Candidate, Tree
from selfimprove.store import Store
from selfimprove.worlds.process_values import labels_of, measure_values, value_rows, way_on
from selfimprove.worlds.value_search import (
    ValueSearch,
    blended,
)


@pytest.fixture
def ask(tmp_path):
    """Return what runs something for every prompt, see searching.py."""
    return asking(tmp_path)


TRACE = {"Q": ["a\n", "b\n"], "a\n": ["c\n", "d\n"], "b\n": ["e", "f\n"], "a\nc\n": ["g"]}


TRACE_VALUES = {"a\n": 0.4, "b\n": 0.6, "a\nc\n": 0.5, "a\nd\n": 0.3, "b\ne": 0.85, "b\nf\n": 0.4, "a\nc\ng": 0.9}


def build(shape: str) -> Tree:
    """Return a tree of `a{b{c+, x-}}`: one letter and digits a node, + a right end, - a wrong one."""
    tree = Tree("t")
    node = tree.root
    name = ""

    def made(parent):
        return tree.add(parent, Candidate(name)) if name else None

    parents = [node]
    for sign in [*shape.replace(" ", ""), ","]:
        if sign in "{},+-":
            child = made(parents[-1])
            name = ""
            if sign == "{":
                parents.append(child)
            elif sign == "}":
                parents.pop()
            elif sign in "+-":
                child.outcome, child.state = float(sign == "+"), "terminal"
        else:
            name += sign
    return tree


def texts_of(tree, labels):
    return {tree.text(tree.nodes[number]): near(value) for number, value in labels.items()}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("a{b{c+}}", {"a": 1 / 3, "ab": 2 / 3, "abc": 1}),
        ("a{b{c+, x-}, y{z-}}, q{r}", {"a": 1 / 3, "ab": 2 / 3, "abc": 1, "abx": 0.5, "ay": 0.1111, "ayz": 0}),
        (
            "a{b+, w{w2{w3-}}}, c+",
            {"a": 0.5, "ab": 1, "aw": 0.25, "aww2": 0, "aww2w3": 0, "c": 1},
        ),
        ("a-, b-", {}),
    ],
)
def test_the_values_of_steps(shape, expected):
    tree = build(shape)
    assert texts_of(tree, labels_of(tree, "inferred")) == expected
    rows = value_rows(Prompt("p", as_messages("?")), tree, labels_of(tree, "inferred"), 1)
    given = [
        ("".join(row.steps[: at + 1]), label)
        for row in rows
        for at, label in enumerate(row.labels)
        if label is not None
    ]
    assert len(given) == len(expected) and dict(given) == {text: near(value) for text, value in expected.items()}


def test_hard_labels_are_of_the_ways_to_judged_ends():
    tree = build("a{b{c+, x-}, y{z-}}, q{r}")
    assert texts_of(tree, labels_of(tree, "hard")) == {"a": 1, "ab": 1, "abc": 1, "abx": 0, "ay": 0, "ayz": 0}


def test_a_prefix_that_two_lines_share_is_labelled_once():
    tree = build("a{b{c+, x-}, y{z-}}, q{r}")
    rows = value_rows(Prompt("p", as_messages("?")), tree, labels_of(tree, "inferred"), 3)
    assert [row.steps for row in rows] == [("a", "b", "c"), ("a", "b", "x"), ("a", "y", "z")]
    assert [[label is None for label in row.labels] for row in rows] == [
        [False, False, False], [True, True, False], [True, False, False],
    ]  # fmt: skip
    assert [row.id for row in rows] == ["p/value-3-0.0.0", "p/value-3-0.0.1", "p/value-3-0.1.0"]


def test_a_roll_out_is_blended():
    assert blended(0.6, 0.85, 0.5) == near(0.725)
    assert blended(0.6, 0.85, 0) == 0.6 and blended(0.6, 0.85, 1) == 0.85


def test_the_search_trace(ask):
    # c .5, bonus .9, two steps a node, roll-outs of one step: see the numbers of each round
    config = Config(branch=2, exploration=0.5, bonus=0.9, alpha=0.5, roll_forward=1, shortest=1, end_gate=2.0)
    prompt = Prompt("q", as_messages("Q"), gold="1", meta={"values": TRACE_VALUES})
    seen = []

    async def work(run, prompt):
        tree, world = Tree("q"), ValueSearch(run, prompt, moves_of(config))
        for _ in range(3):
            await grow(tree, world, rules_of(config), Budget(rounds=1))
            seen.append({tree.text(node): (node.value, node.visits) for node in tree.nodes})
        return []

    ask(work, [prompt], TRACE, by_seed=False)
    first, second, third = seen
    # round 1: b is the best new child; its roll-out meets e: (.6 + .85) / 2
    assert first == {"": (near(0.725), 1), "a\n": (0.4, 0), "b\n": (near(0.725), 1)}
    # round 2: a (.4 + .9) goes before b (.725 + .5 sqrt(2 ln 1)); ac meets g: (.5 + .9) / 2; the root is their mean
    assert second["a\nc\n"] == second["a\n"] == (near(0.7), 1) and second["a\nd\n"] == (0.3, 0)
    assert second[""] == (near(0.7125), 2)
    # round 3: b again, and e is an end, so that its V stays; b is worth what e is, the root (2 * .85 + .7) / 3
    assert third["b\ne"] == (near(0.85), 1) and third["b\n"] == (near(0.85), 2) and third["b\nf\n"] == (0.4, 0)
    assert third[""] == (near(0.8), 3)


def test_right_answers_teach_the_policy_and_all_labelled_steps_the_value_model(ask):
    [rows], measured, kept, _ = ask(collecting(Config(**QUICK)), [SUM], WALK)
    right = [row for row in rows if isinstance(row, Example)]
    assert [(row.completion, row.reward, row.round) for row in right] == [(RIGHT, 1.0, 3)]
    steps = [row for row in rows if isinstance(row, Steps)]
    labels = {
        "".join(row.steps[: at + 1]): label
        for row in steps
        for at, label in enumerate(row.labels)
        if label is not None
    }
    assert labels[RIGHT] == 1.0 and labels["1 + 2 = 3\n"] == near(1 / 3)
    assert labels["1 + 2 = 3\n3 + 3 = 7\n"] == near(1 / 9)  # 1/3 - (2/3) / 3, its parent being good
    assert all(label == 0 for text, label in labels.items() if text.startswith("1 + 2 = 4"))
    assert measured["trees_without_right_leaf"] == 0 and measured["right_leaves"] == 1
    [(name, row)] = kept
    tree = Tree.from_row(row)
    assert name == "trees" and tree.rounds == 12 and {node.outcome for node in tree.ends()} == {0.0, 1.0}
    assert "value_mse" not in measured


def test_a_tree_without_a_right_leaf_is_counted_and_teaches_nothing(ask):
    wrong = replace(SUM, gold="10")
    [[skip]], measured, kept, _ = ask(collecting(Config(**QUICK)), [wrong], WALK)
    assert isinstance(skip, Skip) and skip.reason == "none_right"
    assert measured["trees_without_right_leaf"] == 1 and measured["tree_answer_right"] == 0 and len(kept) == 1


@pytest.mark.parametrize(
    ("table", "options", "gold", "reason"),
    [
        ({"*": ["\n", " \n"]}, {}, "6", "no_step"),  # degenerate: nothing but empty lines
        ({"*": ["the same line\n"]}, {}, "6", "none_right"),  # a repeat is no step, so the leaf is finished, and wrong
        ({"*": ["It is 9"]}, {}, "6", "none_right"),  # one end, and a wrong one
        ({"*": ["The answer is 6"]}, {"failure_rate": 1.0}, "6", "engine_error"),
        ({"*": ["The answer is 6"]}, {}, "", "ungraded"),
    ],
)
def test_every_early_exit_is_a_skip_with_its_reason(ask, table, options, gold, reason):
    config = Config(**{**QUICK, "iterations": 3, "unfinished": "leave"})
    [[skip]], *_ = ask(collecting(config), [replace(SUM, gold=gold)], table, **options)
    assert (skip.id, skip.reason) == ("sum", reason)


def test_a_failed_value_is_none_and_not_zero(ask):
    failing = replace(SUM, meta={"values": {"1 + 2 = 4\n": None}})
    [rows], measured, kept, _ = ask(collecting(Config(**QUICK)), [failing], WALK)
    tree = Tree.from_row(kept[0][1])
    lost = next(node for node in tree.nodes if node.text == "1 + 2 = 4\n")
    assert lost.state == "dead" and lost.guess is None and measured["tree_unscored"] >= 1
    assert all(not "".join(row.steps).startswith("1 + 2 = 4") for row in rows if isinstance(row, Steps))


def test_a_killed_search_is_answered_from_the_ledger(ask, tmp_path):
    prompts = [replace(SUM, id=f"q{number}") for number in range(3)]
    config = Config(**QUICK)
    whole, _, trees, (asked, requests) = ask(collecting(config), prompts, WALK, ledger="whole.sqlite")
    (tmp_path / "script-0.py").rename(tmp_path / "kept.py")
    half = requests // 2
    with pytest.raises(EngineError, match="died"):
        ask(collecting(config), prompts, WALK, ledger="killed.sqlite", dies_after=half)
    again, _, trees_again, (_, rest) = ask(collecting(config), prompts, WALK, ledger="killed.sqlite")
    assert again == whole and trees_again == trees
    assert half + rest == requests  # nothing was asked twice
    assert asked > requests  # values and checks are kept there as well


@pytest.mark.slow
def test_a_run_trains_both_models_and_searches_with_them(tmp_path, tiny_model):
    rows = [
        {"id": f"q{i}", "prompt": f"Make {i + 3} out of {i} and 3.", "gold": f"{i} + 3", "verifier": "countdown",
         "solution": f"{i} + 3 = {i + 3} (left: {i + 3})\nAnswer: {i} + 3",
         "meta": {"numbers": [i, 3], "target": i + 3}}
        for i in range(4, 10)
    ]  # fmt: skip
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    section = {
        "method": {"name": "rest_mcts_star", "branch": 2, "iterations": 2, "step_tokens": 6, "max_tokens": 12,
                   "ways_on": 1, "final": "Answer:", "heldout_share": 0.0},
        "model": str(tiny_model), "rounds": 3, "prompts_per_round": 2, "prompts": str(tmp_path / "prompts.jsonl"),
        "engine": {"name": "transformers"}, "output": str(tmp_path / "run"), "export": "adapter",
        "train": {"max_steps": 1, "per_device_train_batch_size": 2, "dtype": "float32", "max_length": 256,
                  "lora": {"r": 4, "alpha": 8}},
        "value": {"learning_rate": 0.05}, "watch": {"prompts": 0},
    }  # fmt: skip
    folder = run_recipe(make_recipe(section, "test.yaml"), "test.yaml", say=lambda line: None)
    store = Store(folder)
    assert Counter(kind_of(row) for number in (1, 2) for row in store.rows(number)) == {"sft": 2, "steps": 2}
    first, second = store.marker(1, "learn"), store.marker(2, "learn")
    assert first["adapter"] == second["adapter"] and "models" not in first
    assert second["models"]["value"]["adapter"] not in (None, first["adapter"])
    trees = [Tree.from_row(row) for row in read_jsonl(folder / "round-3" / "collect" / "trees.jsonl")]
    assert [tree.id for tree in trees] == ["q8", "q9"]
    guesses = {node.guess for tree in trees for node in tree.nodes[1:]}
    assert None not in guesses and len(guesses) > 1
    assert store.marker(3, "collect")["metrics"]["trees_without_right_leaf"] == 1


WORKED = replace(SUM, solution=RIGHT)


WRONG_STEPS = {
    SUM.text: ["1 + 2 = 4\n"],
    "1 + 2 = 4\n": ["The answer is 7"],
    "1 + 2 = 3\n": ["3 + 3 = 8\n"],
    "1 + 2 = 3\n3 + 3 = 8\n": ["The answer is 8"],
    "1 + 2 = 3\n3 + 3 = 6\n": ["So it is 6"],  # another step than the solution's, and as right
}


def test_the_start_learns_solutions_and_then_the_values_of_their_prefixes_and_of_its_own_ways_on(ask):
    config = Config(heldout_share=0.0)
    [rows], *_, (asked, _) = ask(collecting(config), [WORKED], {}, round=1)
    assert rows == [Example.of(WORKED, RIGHT, tag="solution", round=1)] and asked == 0
    [rows], measured, kept, _ = ask(collecting(config), [WORKED], WRONG_STEPS, round=2)
    assert [(row.steps, row.labels) for row in rows] == [
        (("1 + 2 = 3\n", "3 + 3 = 6\n", "The answer is 6"), (near(1 / 3), near(2 / 3), 1.0)),
        (("1 + 2 = 4\n", "The answer is 7"), (0.0, 0.0)),  # 0 - 1 / 4, which is no less than 0
        (("1 + 2 = 3\n", "3 + 3 = 8\n", "The answer is 8"), (None, near(1 / 9), 0.0)),  # 1/3 - (2/3) / 3
        (("1 + 2 = 3\n", "3 + 3 = 6\n", "So it is 6"), (None, None, 1.0)),
    ]
    assert measured == {"wrong_ways": 2, "right_ways": 1} and not kept
    [same], *_ = ask(collecting(replace(config, start="value")), [WORKED], WRONG_STEPS, round=1)
    assert [(row.steps, row.labels) for row in same] == [(row.steps, row.labels) for row in rows]
    [[skip]], *_ = ask(collecting(Config(start="value", heldout_share=0.999)), [WORKED], {}, round=1)
    assert skip.reason == "held_out"
    lines = Config(start="value", steps="asked", ways_on=0, heldout_share=0.0)
    [[row]], *_ = ask(collecting(lines), [WORKED], {}, round=1)
    assert row.steps[:2] == ("Step 1: 1 + 2 = 3\n", "Step 2: 3 + 3 = 6\n")
    [rows], *_, (asked, _) = ask(collecting(replace(config, ways_on=0)), [WORKED], {}, round=2, ledger="b.sqlite")
    assert len(rows) == 1 and asked == 0
    for round in (1, 2):
        [[skip]], *_ = ask(collecting(config), [SUM], {}, round=round, ledger="c.sqlite")
        assert skip.reason == "no_solution"


@pytest.mark.parametrize(
    ("score", "asked", "outcomes"),
    [
        (0.0, False, [None, None, 0.0]),
        (1.0, False, [None, None, 1.0]),
        (0.0, True, [0.0]),  # no steps of their own form: the wrong one ends there, of another nothing is known
        (1.0, True, [None]),
        (None, False, [None]),  # no end, or no grade
    ],
)
def test_a_way_on_is_judged_at_its_end(score, asked, outcomes):
    tree = Tree("t")
    way_on(tree, tree.add(tree.root, Candidate("one\n")), "two\nthree", score, asked)
    assert [node.outcome for node in tree.nodes[1:]] == outcomes


def test_what_is_held_out_trains_no_value_model_and_measures_it(ask):
    config = Config(**{**QUICK, "heldout_share": 0.999})
    [rows], measured, *_ = ask(collecting(config), [SUM], WALK)
    assert [type(row) for row in rows] == [Example]
    assert 0 <= measured["value_auc"] <= 1 and measured["value_mse"] > 0
    [[skip]], *_ = ask(collecting(config), [WORKED], WRONG_STEPS, round=2)
    assert skip.reason == "held_out"
    many, seen = [replace(SUM, id=f"q{number}") for number in range(40)], []
    for number in (3, 4):  # the same prompts in every round
        found, *_ = ask(
            collecting(Config(**{**QUICK, "iterations": 1, "heldout_share": 0.5, "unfinished": "leave"})), many,
            {"*": ["The answer is 6", "The answer is 7"]}, round=number, ledger=f"{number}.sqlite",
        )  # fmt: skip
        seen.append([place for place, rows in enumerate(found) if not any(isinstance(row, Steps) for row in rows)])
    assert 8 < len(seen[0]) < 32 and seen[0] == seen[1]


def test_figures_of_the_value_model(ask):
    tree = build("a{b{c+, x-}, y{z-}}, q{r}")
    labels = labels_of(tree, "inferred")

    def measured_with(guess):
        for node in tree.nodes[1:]:
            node.guess = guess(node)

        async def work(run, prompt):
            measure_values(run, tree, labels)
            return []

        return ask(work, [SUM], {})[1]

    perfect = measured_with(lambda node: labels.get(node.id, 0.5))
    assert perfect == {"value_mse": 0.0, "value_near": 1.0, "value_auc": near(8 / 9)}  # abx (.5) is above a (.3333)
    turned = measured_with(lambda node: 1 - labels.get(node.id, 0.5))
    assert turned["value_auc"] == near(1 / 9) and turned["value_mse"] > 0.2
    failed = measured_with(lambda node: None)
    assert failed == {}
