"""What trees teach: pairs, values of prefixes, labels, answers; and that a tree survives being written."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.errors import DataError
from selfimprove.search.extract import (
    figures,
    greedy_line,
    hard_labels,
    inferred_values,
    most_valued,
    next_value,
    single_chain,
    soft_labels,
    step_pairs,
    trajectories,
    visit_smoothing,
    weighted_vote,
)
from selfimprove.search.tree import Candidate, Tree


def near(value: float) -> object:
    return pytest.approx(value, abs=5e-5)


def grown(text: str) -> Tree:
    """A tree as it is written: `a{b{c+}},q` has node a over b over c, which is a right end; `-` marks a wrong one."""
    tree, at, name = Tree("t"), [], ""
    here = tree.root

    def close() -> None:
        nonlocal name
        if name.strip():
            node = tree.add(here, Candidate(name.strip("+- "), ended=name.strip()[-1] in "+-"))
            node.outcome = {"+": 1.0, "-": 0.0}.get(name.strip()[-1])
            at.append(node)
        name = ""

    for sign in text:
        if sign == "{":
            close()
            here = at[-1]
        elif sign == "}":
            close()
            here = tree.nodes[here.parent]
        elif sign == ",":
            close()
        else:
            name += sign
    close()
    return tree


def by_text(tree: Tree, values: dict[int, float]) -> dict[str, float]:
    return {tree.text(tree.nodes[number]): value for number, value in values.items()}


BRANCHES = "a{b{c+,x-},y{z-}},q{r}"


def test_values_of_a_straight_line_are_the_share_of_the_way():
    tree = grown("a{b{c+}}")
    assert by_text(tree, inferred_values(tree)) == {"a": near(1 / 3), "ab": near(2 / 3), "abc": near(1)}


def test_values_of_branches():
    tree = grown(BRANCHES)
    expected = {"a": 0.3333, "ab": 0.6667, "abc": 1, "abx": 0.5, "ay": 0.1111, "ayz": 0}
    assert by_text(tree, inferred_values(tree)) == {text: near(value) for text, value in expected.items()}


def test_values_with_two_right_ends():
    tree = grown("a{b+,w{w2{w3-}}},c+")
    expected = {"a": 0.5, "ab": 1, "aw": 0.25, "aww2": 0, "aww2w3": 0, "c": 1}
    assert by_text(tree, inferred_values(tree)) == {text: near(value) for text, value in expected.items()}


def test_without_a_right_end_there_are_no_values():
    assert inferred_values(grown("a-,b-")) == {}
    assert inferred_values(Tree("t")) == {}


@pytest.mark.parametrize(
    ("still", "wrong", "expected", "changes"),
    [
        ([2, 2, 1, 0], [0, 1, 0, 0], [0.3333, 0.1111, 0.5556, 1.0], [0.3333, -0.2222, 0.4444, 0.4444]),
        ([2, 1, 0], [0.2, 0.3, 0.1], [0.2, 0.36, 0.872], [0.2, 0.16, 0.512]),
    ],
)
def test_the_recursion_of_values(still, wrong, expected, changes):
    value, found = 0.0, []
    for steps, share in zip(still, wrong, strict=True):
        value = next_value(value, steps + 1, share)
        found.append(value)
    assert found == [near(number) for number in expected]
    assert [after - before for before, after in pairwise([0.0, *found])] == [near(number) for number in changes]


@given(st.lists(st.tuples(st.integers(1, 9), st.floats(0, 1)), max_size=12))
def test_values_stay_between_0_and_1(steps):
    value = 0.0
    for distance, wrong in steps:
        value = next_value(value, distance, wrong)
        assert 0 <= value <= 1


def test_hard_and_soft_labels():
    tree = grown(BRANCHES)
    assert by_text(tree, hard_labels(tree)) == {"": 1, "a": 1, "ab": 1, "abc": 1, "abx": 0, "ay": 0, "ayz": 0}
    soft = by_text(tree, soft_labels(tree))
    assert soft == {"": near(1 / 3), "a": near(1 / 3), "ab": 0.5, "abc": 1, "abx": 0, "ay": 0, "ayz": 0}


def pairs_tree() -> Tree:
    tree = Tree("t")
    children = [tree.add(tree.root, Candidate(text)) for text in "abc"]
    below = [tree.add(children[0], Candidate(text)) for text in "def"]
    lone = tree.add(children[1], Candidate("g"))
    for node, quality, visits in zip(
        [*children, *below, lone], [0.9, 0.1, 0.9, 0.8, 0.2, 0.95, 0.1], [6, 2, 5, 3, 2, 0, 1], strict=True
    ):
        node.quality, node.visits = quality, visits
    return tree


def test_pairs_of_steps():
    found = step_pairs(pairs_tree(), margin=0.3)
    assert [(pair.chosen.text, pair.rejected.text) for pair in found] == [("a", "b"), ("d", "e")]
    assert [(pair.gap, pair.smoothing) for pair in found] == [(near(0.8), near(0.25)), (near(0.6), near(0.4))]
    assert step_pairs(pairs_tree(), margin=0.9) == []
    unvisited = step_pairs(pairs_tree(), margin=0.7, least_visits=0)
    assert [(pair.chosen.text, pair.rejected.text) for pair in unvisited] == [("a", "b"), ("f", "e")]


def test_all_pairs_or_the_widest_or_those_along_a_way():
    tree = pairs_tree()
    every = step_pairs(tree, margin=0.1, every=True)
    assert [(pair.chosen.text, pair.rejected.text) for pair in every] == [("a", "b"), ("c", "b"), ("d", "e")]
    assert [pair.chosen.text for pair in step_pairs(tree, margin=0.1, every=True, most=2)] == ["a", "c"]
    assert [pair.chosen.text for pair in step_pairs(tree, along=[tree.nodes[1]])] == ["d"]


def test_equal_steps_make_no_pair():
    tree = Tree("t")
    for text in "ab":
        node = tree.add(tree.root, Candidate(text))
        node.quality, node.visits = 0.5, 2
    assert step_pairs(tree, margin=0.0) == []


@pytest.mark.parametrize(
    ("chosen", "rejected", "alpha"), [(10, 2, 1 / 6), (3, 3, 0.5), (0, 0, 0), (0, 4, 0.5), (5, 0, 0), (1, 6, 0.5)]
)
def test_the_doubt_about_a_pair(chosen, rejected, alpha):
    assert visit_smoothing(chosen, rejected) == pytest.approx(alpha)


def test_whole_answers_and_the_ways_to_pick_one():
    tree = grown("a{b+},ab+,c{d-}")
    assert [tree.text(end) for end in trajectories(tree)] == ["ab"]
    for node, value, visits in zip(tree.nodes[1:], [0.2, 0.9, 0.3, 0.8, 0.1], [3, 1, 1, 2, 2], strict=True):
        node.value = node.quality = value
        node.visits = visits
    assert most_valued(tree.ends()) is tree.nodes[2]
    assert [node.text for node in greedy_line(tree)] == ["c", "d"]
    assert most_valued([]) is None
    assert greedy_line(Tree("t")) == []
    assert figures(tree)["right_ends"] == near(2 / 3)


def test_weighted_votes():
    assert weighted_vote(["7", "8", "8", "9"], [0.9, 0.4, 0.6, 0.2]) == "8"
    assert weighted_vote(["7", "8"], [0.5, 0.5]) == "7"
    assert weighted_vote([None, None], [1, 1]) is None


def test_chains_of_single_children():
    tree = grown("a{b{c{d,e}}}")
    assert [node.text for node in single_chain(tree, tree.nodes[1])] == ["a", "b", "c"]


def test_a_tree_survives_being_written():
    tree = grown(BRANCHES)
    tree.nodes[2].extra["cut"] = True
    tree.count("tokens", 12)
    back = Tree.from_row(json.loads(json.dumps(tree.to_row())))
    assert back.to_row() == tree.to_row()
    assert [(back.path(node), back.text(node), node.depth) for node in back.nodes] == [
        (tree.path(node), tree.text(node), node.depth) for node in tree.nodes
    ]


@pytest.mark.parametrize(
    "damage",
    [
        lambda row: row.update(version=0),
        lambda row: row["nodes"]["parent"].__setitem__(1, 5),
        lambda row: row["nodes"]["text"].pop(),
        lambda row: row["nodes"]["parent"].__setitem__(0, 0),
    ],
)
def test_a_damaged_tree_is_refused(damage):
    row = json.loads(json.dumps(grown("a{b}").to_row()))
    damage(row)
    with pytest.raises(DataError):
        Tree.from_row(row)
