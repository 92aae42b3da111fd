"""The formulas, moves and pairs of MCTS-DPO against worked numbers, and its searches worked out by hand."""

import asyncio
import math
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.judges.prefix import expected_worth
from selfimprove.methods import mcts_dpo
from selfimprove.methods.mcts_dpo import Config, rules_of
from selfimprove.search.extract import visit_smoothing
from selfimprove.search.grow import Budget, World, grow
from selfimprove.search.selection import length_prior
from selfimprove.search.tree import DEAD, TERMINAL, Candidate, Node, Tree
from selfimprove.worlds.step_world import choice_grade, held_back, outcome_reward, state_value
from selfimprove.worlds.tree_moves import look_further, move_weights, next_root, pairs_along, side, visit_gap


def near(value):
    return pytest.approx(value, abs=5e-5)


@pytest.mark.parametrize(
    ("logprobs", "penalty", "prior"),
    [([-0.5, -0.7, -0.3], 1.25, 0.6839), ([-0.5] * 10, 1.25, 0.7549), ([-0.5] * 10, 1.0, 0.6065)],
)
def test_prior(logprobs, penalty, prior):
    assert length_prior(sum(logprobs), len(logprobs), penalty) == near(prior)


@pytest.mark.parametrize(
    ("visits", "alpha"),
    [((10, 2), 1 / 6), ((3, 3), 0.5), ((0, 0), 0.0), ((0, 4), 0.5), ((5, 0), 0.0), ((1, 6), 0.5)],
)
def test_smoothing_by_visits(visits, alpha):
    assert visit_smoothing(*visits) == pytest.approx(alpha)


def test_value_of_a_state():
    assert state_value(0.9, 6, 0.2, outcome_reward(True, own_way=True)) == near(1.55)  # .9 / 3 + 1.25
    assert state_value(0.4, 5, 0.2, outcome_reward(False, own_way=True)) == near(-0.8)  # .4 / 2 - 1
    assert state_value(0.9, 6, 0.2, outcome_reward(True, own_way=False)) == near(1.3)
    assert [state_value(0.6, depth, 9.0) for depth in (0, 3, 4, 5)] == near([0.6, 0.6, 0.6, 0.3])
    assert state_value(0.0, 0, 0.7) == 0.7 and state_value(0.0, 0, 0.7, -1.0) == near(-0.3)


def test_letters_have_a_fixed_order_of_which_the_last_is_best():
    assert expected_worth({"A": math.log(0.2), "B": math.log(0.8)}) == near(0.8)
    assert expected_worth({"A": math.log(0.1), "B": math.log(0.1)}) == near(0.5)  # made to sum to 1
    grades = dict(zip("ABCD", map(math.log, (0.1, 0.2, 0.3, 0.4)), strict=True))
    assert expected_worth(grades, "scale") == near(0.0)  # .4 - .2 - 2 * .1
    assert expected_worth({}) is None


def test_multiple_choice_grades_and_holds_back():
    assert choice_grade("So we see. The answer is (B).", "(B)", "blue") == 1.0
    assert choice_grade("The answer is B", "B") == 1.0
    assert choice_grade("The answer is (A) or (B).", "B") == near(0.45)
    assert choice_grade("It must be (B)", "B") == near(0.9)
    assert choice_grade("The answer is blue.", "B", "blue") == 0.0
    assert choice_grade("The answer is (C) green.", "B", "blue") == choice_grade("", "B", "blue") == -1.0
    assert [held_back(1.0, depth, 2) for depth in (0, 1, 2)] == [0.0, 0.5, 1.0]
    assert held_back(1.0, 0, 1) == 1.0 and [held_back(-1.0, depth, 2) for depth in (0, 1)] == [-1.0, -1.0]


@given(st.floats(-9, 9), st.floats(-9, 9), st.floats(0.05, 5))
def test_moves_are_drawn_by_exp_q_to_the_power_of_one_over_t(first, second, temperature):
    weights = move_weights([first, second], temperature)
    assert weights[0] / sum(weights) == pytest.approx(1 / (1 + math.exp((second - first) / temperature)))


# ---- searches worked out by hand ----


@dataclass
class Written(World):
    """Steps and values as they are written down; '#' ends an answer."""

    steps: dict
    values: dict
    priors: dict

    async def propose(self, tree, node, count, attempt):
        text = tree.text(node)
        return [
            Candidate(step, ended=step.endswith("#"), prior=self.priors.get(text + step, 1.0))
            for step in self.steps.get(text, [])
        ]

    async def guess(self, tree, nodes):
        return [self.values.get(tree.text(node), 0.0) for node in nodes]

    async def evaluate(self, tree, node):
        return node.guess


def priors(**steps):
    return {text: length_prior(sum(values), len(values)) for text, values in steps.items()}


@pytest.fixture
def worked():
    """Return the worked example after the iterations of its first root, and its world."""
    world = Written(
        {"": ["A", "B"], "A": ["a1#", "a2#"], "B": ["b1#", "b2#"]},
        {"A": 0.6, "B": 0.4, "Aa1#": -0.2, "Aa2#": 1.5},
        {**priors(A=[-0.2, -0.3], B=[-1.0, -1.0]), "Aa1#": near_prior(-0.4), "Aa2#": near_prior(-0.9)},
    )
    tree = Tree("t")
    cfg = Config(iterations=1, double_root=True, only_right=False)
    asyncio.run(grow(tree, world, rules_of(cfg), Budget(rounds=mcts_dpo.FIRST * cfg.iterations)))
    return tree


def near_prior(logprob):
    return length_prior(logprob, 1)


def node_of(tree: Tree, text: str) -> Node:
    return next(node for node in tree.nodes if tree.text(node) == text)


def test_four_visits_of_the_worked_example(worked):
    a, b, a1, a2 = (node_of(worked, text) for text in ("A", "B", "Aa1#", "Aa2#"))
    assert (a.prior, b.prior) == (near(0.8104), near(0.4313))
    assert (worked.root.visits, worked.root.value) == (8, near(1.008))
    assert (a.visits, a.quality, a.value, a.reward) == (4, near(1.16), near(0.56), near(0.6))
    assert (a1.visits, a1.quality) == (0, near(-0.8)) and (a2.visits, a2.quality) == (4, near(0.9))
    assert (b.visits, b.quality) == (0, near(0.4)) and not worked.children(b)
    assert next_root(worked, worked.root, False, 0.0, Random(0)) is a
    assert next_root(worked, a, False, 0.0, Random(0)) is a2


def test_both_pairs_of_the_worked_example(worked):
    a, b, a1, a2 = (node_of(worked, text) for text in ("A", "B", "Aa1#", "Aa2#"))
    first, second = pairs_along(worked, [a, a2], "worst", 0.0, Random(0))
    assert (first.parent, first.chosen, first.rejected, first.smoothing) == (worked.root, a, b, 0.0)
    assert (second.parent, second.chosen, second.rejected, second.smoothing) == (a, a2, a1, 0.0)
    assert (first.gap, second.gap) == (near(0.76), near(1.7))
    assert (side(worked, a), side(worked, b)) == (("A", False), ("B", False))  # A has two children: nothing is merged
    assert (side(worked, a2), side(worked, a1)) == (("a2#", True), ("a1#", True))
    assert [pair.parent for pair in pairs_along(worked, [a, a2], "worst", 1.0, Random(0))] == [a]


def written(*rows) -> Tree:
    """Return a tree of (parent, text, quality, visits)."""
    tree = Tree("t")
    for parent, text, quality, visits in rows:
        node = tree.add(tree.nodes[parent], Candidate(text, ended=text.endswith("#")))
        node.quality, node.visits = quality, visits
    return tree


def test_what_follows_without_a_choice_belongs_to_a_side_and_single_levels_to_the_prompt():
    tree = written((0, "A", 0.5, 3), (1, "b", 0.9, 2), (1, "c", 0.1, 1), (2, "d", 0.9, 2), (4, "e#", 0.9, 2))
    [pair] = pairs_along(tree, [tree.nodes[at] for at in (1, 2, 4, 5)], "worst", 0.0, Random(0))
    assert tree.text(pair.parent) == "A"  # the level of one child is merged into the prompt
    assert (side(tree, pair.chosen), side(tree, pair.rejected)) == (("bde#", True), ("c", False))


def test_rejected_is_the_worst_or_any_worse_one_and_equals_make_no_pair():
    tree = written((0, "A", 0.9, 1), (0, "B", 0.2, 1), (0, "C", 0.5, 1), (0, "D", 0.9, 5))
    path = [tree.nodes[4]]
    [worst] = pairs_along(tree, path, "worst", 0.0, Random(0))
    assert (worst.chosen.text, worst.rejected.text) == ("D", "B")  # of equal Q the one of more visits
    drawn = {pairs_along(tree, path, "random", 0.0, Random(seed))[0].rejected.text for seed in range(30)}
    assert drawn == {"B", "C"}
    tree.nodes[2].state = tree.nodes[3].state = DEAD
    assert pairs_along(tree, path, "worst", 0.0, Random(0)) == []


def test_moves_by_visits_by_visits_and_their_spread_or_drawn():
    tree = written((0, "A", 0.1, 4), (0, "B", 0.9, 4), (0, "C", 0.0, 3), (3, "c", 0, 3), (3, "d", 0, 0))
    _, b, c = tree.children(tree.root)
    assert next_root(tree, tree.root, False, 0.0, Random(0)) is b  # as many visits as A, higher Q
    assert visit_gap(tree.children(c)) == 3 and visit_gap([]) == 0
    assert next_root(tree, tree.root, True, 0.0, Random(0)) is c  # 3 * (1 + 3) > 4
    drawn = [next_root(tree, tree.root, False, 1.0, Random(seed)) for seed in range(400)]
    share = math.exp(0.9) / (math.exp(0.1) + math.exp(0.9) + 1)
    assert drawn.count(b) / 400 == pytest.approx(share, abs=0.08)
    assert next_root(tree, tree.nodes[4], False, 0.0, Random(0)) is None


def test_without_a_forced_end_a_search_looks_so_many_levels_below_its_root():
    world = Written({"": ["a"], "a": ["b"], "ab": ["c"], "abc": ["d#"]}, {}, {})
    cfg, tree = Config(force_end=False, depth=2), Tree("t")
    asyncio.run(grow(tree, world, rules_of(cfg), Budget(rounds=2)))
    assert len(tree.nodes) == 3 and node_of(tree, "ab").state == TERMINAL
    root = node_of(tree, "a")
    look_further(tree, root, rules_of(cfg, root.depth).max_depth)
    asyncio.run(grow(tree, world, rules_of(cfg, root.depth), Budget(rounds=2), root=root))
    assert len(tree.nodes) == 4 and node_of(tree, "abc").state == TERMINAL and tree.root.visits == 2
