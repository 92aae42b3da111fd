"""The formulas of selection and back-up against numbers, the degenerate ones included."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.errors import ConfigError
from selfimprove.search.backup import (
    RULES,
    Backup,
    at_least_once,
    back_up,
    child_max,
    child_mix,
    child_weighted,
    cumulated,
)
from selfimprove.search.selection import (
    Select,
    best_child,
    importance,
    importance_width,
    length_prior,
    puct,
    score,
    uct,
)
from selfimprove.search.throughput import Engine, round_seconds, round_tokens_per_second
from selfimprove.search.tree import Candidate, Node, Tree, decision_seed


def near(value: float) -> object:
    return pytest.approx(value, abs=5e-5)


def node(place: int, quality: float, visits: int, pending: int = 0, prior: float = 1.0) -> Node:
    return Node(place + 1, 0, place, 1, prior=prior, guess=quality, visits=visits, pending=pending,
                total=quality * visits, value=quality, quality=quality)  # fmt: skip


def parent(visits: int, pending: int = 0) -> Node:
    return Node(0, -1, 0, 0, visits=visits, pending=pending)


def test_uct():
    # .6 + .5 sqrt(ln 10 / 2) and .6 + .5 sqrt(2 ln 10 / 2)
    assert uct(0.6, 2, 10, 0.5) == near(1.1365)
    assert uct(0.6, 2, 10, 0.5, factor=2) == near(1.3587)
    # (.5, 3) and (.2, 1) under a parent of 4 visits: .5 + sqrt(ln 4 / 3), .2 + sqrt(ln 4)
    assert (uct(0.5, 3, 4, 1), uct(0.2, 1, 4, 1)) == (near(1.1798), near(1.3774))
    assert uct(0.4, 1, 1, 3) == uct(0.4, 1, 0, 3) == 0.4  # ln 1 is 0, and N = 0 explores nothing


def test_puct():
    assert puct(0.3, 0.4, 3, 16, 1.25) == near(0.8)  # .3 + 1.25 * .4 * 4 / 4
    assert puct(0.3, 0.4, 0, 16, 1.25) == near(2.3)
    assert puct(0.3, 0.4, 0, 0, 1.25) == 0.3


def test_the_prior_of_a_step_is_its_likelihood_by_length():
    assert length_prior(-1.5, 3) == near(0.6839)  # exp(-1.5 / 3^1.25)
    assert length_prior(-5.0, 10) == near(0.7549)
    assert length_prior(-5.0, 10, penalty=1.0) == near(0.6065)
    assert length_prior(0.0, 0) == 1.0


@pytest.mark.parametrize(
    ("select", "children", "visits", "expected"),
    [
        # ReST-MCTS*: c .5, f 2, bonus .9
        (Select("uct", 0.5, 2, "bonus", 0.9), [(0.6, 2), (0.4, 1), (0.2, 0)], 3, [1.1241, 1.1412, 1.1]),
        # a very good child goes before an unvisited sibling: the bonus is finite
        (Select("uct", 0.1, 2, "bonus", 0.8), [(0.95, 4), (0.05, 0)], 4, [1.0333, 0.85]),
        # LLM Reasoners: an unvisited child counts as visited once
        (Select("uct", 1.0, 1, "one"), [(0.6, 2), (0.4, 1), (0.2, 0)], 3, [1.3412, 1.4481, 1.2481]),
        (Select("uct", 1.0, 1, "first"), [(0.6, 2), (0.2, 0)], 2, [0.6 + math.sqrt(math.log(2) / 2), math.inf]),
    ],
)
def test_scores_of_siblings(select, children, visits, expected):
    nodes = [node(place, quality, n) for place, (quality, n) in enumerate(children)]
    assert [score(parent(visits), child, select) for child in nodes] == [near(value) for value in expected]
    assert best_child(parent(visits), nodes, select) is nodes[expected.index(max(expected))]


def test_visits_under_way():
    def scores(pending: int, select: Select) -> list[float | None]:
        above = parent(3, pending)
        return [score(above, child, select) for child in (node(0, 0.6, 2, pending), node(1, 0.4, 1))]

    assert scores(0, Select()) == [near(1.3412), near(1.4481)]
    assert scores(1, Select()) == [near(1.2798), near(1.5774)]
    assert scores(1, Select(virtual="loss")) == [near(0.7464), near(1.5774)]


def test_a_child_of_which_nothing_is_known_yet_is_passed_over():
    unknown = node(0, 0.9, 0, pending=1)
    unknown.guess = None
    assert score(parent(3, 1), unknown, Select()) is None
    known = node(1, 0.1, 1)
    assert best_child(parent(3, 1), [unknown, known], Select()) is known
    assert best_child(parent(3, 1), [unknown], Select()) is None


def test_the_first_of_equal_children_wins_unless_they_are_drawn():
    from random import Random

    children = [node(place, 0.5, 1) for place in range(3)]
    assert best_child(parent(3), children, Select()) is children[0]
    drawn = {
        best_child(parent(3), children, Select(random_ties=True), lambda seed=seed: Random(seed)).place
        for seed in range(20)
    }
    assert drawn == {0, 1, 2}


def test_backups_of_children():
    children = [(0.6, 2), (0.4, 1), (0.9, 0)]
    assert child_weighted(children) == near(0.5333)
    assert at_least_once(children) == near(0.625)  # (1.2 + .4 + .9) / 4
    assert child_max(children) == 0.6
    assert child_mix(children) == near(0.5667)
    unvisited = [(0.6, 0), (0.4, 0)]
    assert child_weighted(unvisited) is child_max(unvisited) is child_mix(unvisited) is None
    assert at_least_once(unvisited) == 0.5
    assert at_least_once([]) is None


def test_a_reward_on_the_edge_is_added_to_what_follows():
    tree = Tree("t")
    tree.root.state = "expanded"
    middle = tree.add(tree.root, Candidate("m"))
    middle.reward = 0.2
    first, second = (tree.add(middle, Candidate(text)) for text in "ab")
    first.quality, first.visits, second.quality = 1.16, 3, 0.4
    first.reward = 1.16
    back_up(tree, [tree.root, middle, first], 1.16, Backup("q_reward"))
    assert (middle.value, middle.quality) == (near(1.008), near(1.208))  # (4 * 1.16 + .4) / 5, and .2 more


def test_cumulated_rewards():
    assert cumulated([0, 0.5, 0.3, 1]) == [near(1.8), near(1.8), near(1.3), near(1.0)]
    assert cumulated([0, 0.5, 0.3, 1], "mean") == [near(0.45), near(0.6), near(0.65), near(1.0)]


@pytest.mark.parametrize("rule", ["max", "mix", "child_weighted"])
def test_a_node_keeps_its_value_while_its_children_say_nothing(rule):
    tree = Tree("t")
    child = tree.add(tree.root, Candidate("a"))
    below = tree.add(child, Candidate("b"))
    child.value, below.value = 0.7, 0.2
    back_up(tree, [tree.root, child], 0.7, Backup(rule))
    assert (child.value, tree.root.value, below.visits) == (0.7, 0.7, 0)


@pytest.mark.parametrize("rule", RULES)
@given(values=st.lists(st.floats(-1, 1), min_size=1, max_size=8))
def test_every_rule_counts_a_visit_once_and_stays_within_what_was_brought(rule, values):
    tree = Tree("t")
    leaves = [tree.add(tree.root, Candidate(str(at))) for at in range(len(values))]
    for leaf, value in zip(leaves, values, strict=True):
        leaf.reward, leaf.guess = value, value
        back_up(tree, [tree.root, leaf], value, Backup(rule))
    assert tree.root.visits == len(values)
    assert sum(leaf.visits for leaf in leaves) == len(values)
    assert min(values) - 1e-9 <= tree.root.quality <= max(values) + 1e-9


def test_a_value_that_is_no_number_is_refused():
    from selfimprove.errors import DataError

    tree = Tree("q17")
    with pytest.raises(DataError, match=r"tree q17: the value of the visit to \(\) is nan"):
        back_up(tree, [tree.root], math.nan, Backup())


def test_unknown_rules_are_refused():
    with pytest.raises(ConfigError, match="rule is 'ucb'"):
        Select("ucb")
    with pytest.raises(ConfigError, match="rule is 'median'"):
        Backup("median")


def test_importance_decides_how_wide_a_node_may_be():
    assert importance([0.2, 0.9, 0.4]) == near(0.4)
    assert importance_width(0.4, 6, 2) == 2
    assert importance_width(importance([0, 1, 0.5]), 8, 2) == 4
    assert importance_width(importance([-1, 1]), 20, 2) == 10
    assert importance_width(importance([0.5, 0.5]), 10, 2) == 2
    assert importance([]) == 0


def test_seeds_depend_on_run_tree_path_purpose_and_attempt():
    assert decision_seed(0, "q17", (), "expand") == 1650444193
    assert decision_seed(0, "q17", (0, 2, 1), "expand") == 451700545
    assert decision_seed(0, "q17", (0, 2, 1), "expand", 1) == 1675621747


def test_the_model_of_a_round():
    alone = Engine(0.008, 2e-5, 5e-4, 0.002)
    assert round_seconds(alone, 1, 3, 60) == near(0.4871)
    assert round_tokens_per_second(alone, 1, 3, 60, 60) == pytest.approx(369.5, abs=0.05)
    many = Engine(0.008, 2e-5, 5e-4, 0.05)
    assert round_seconds(many, 256, 3, 180) == near(4.6388)
    assert round_tokens_per_second(many, 256, 3, 60, 180) == pytest.approx(9933.6, abs=0.05)
