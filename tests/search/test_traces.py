"""Searches worked out by hand, the equality of one tree after another and all at once, and optima that are known."""

import asyncio
import json
import math
from dataclasses import dataclass, field, replace
from random import Random

import pytest

from selfimprove.search.backup import RULES, Backup
from selfimprove.search.grow import Budget, Rules, World, grow
from selfimprove.search.levels import by_levels
from selfimprove.search.selection import Select, length_prior
from selfimprove.search.tree import Candidate, Node, Tree, decision_seed


def near(value: float) -> object:
    return pytest.approx(value, abs=5e-5)


@dataclass
class Written(World):
    """Steps and values as they are written down: {text so far: [steps]}, {text so far: value}; '#' ends an answer."""

    steps: dict[str, list[str]]
    values: dict[str, float]
    rollouts: dict[str, float] = field(default_factory=dict)
    priors: dict[str, float] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def propose(self, tree: Tree, node: Node, count: int, attempt: int) -> list[Candidate]:
        text = tree.text(node)
        self.asked.append(text)
        left = self.steps.get(text, [])[attempt * count :][:count] if count == 1 else self.steps.get(text, [])[:count]
        return [Candidate(step, ended=step.endswith("#"), prior=self.priors.get(text + step, 1.0)) for step in left]

    async def guess(self, tree: Tree, nodes: list[Node]) -> list[float]:
        return [self.values.get(tree.text(node), 0.0) for node in nodes]

    async def evaluate(self, tree: Tree, node: Node) -> float | None:
        value = self.values.get(tree.text(node))
        rolled = self.rollouts.get(tree.text(node))
        return value if rolled is None else 0.5 * value + 0.5 * rolled


def run(tree: Tree, world: World, rules: Rules, budget: Budget, **options) -> str:
    reason = asyncio.run(grow(tree, world, rules, budget, **options))
    assert all(node.pending == 0 for node in tree.nodes)
    return reason


def node_of(tree: Tree, text: str) -> Node:
    return next(node for node in tree.nodes if tree.text(node) == text)


REST = Rules(Select("uct", 0.5, 2, "bonus", 0.9), Backup("child_weighted"), children=2)


def test_process_reward_guided_search_round_by_round():
    world = Written(
        {"": ["a", "b"], "a": ["c", "d"], "b": ["e#", "f"]},
        {"a": 0.4, "b": 0.6, "ac": 0.5, "ad": 0.3, "be#": 0.85, "bf": 0.4},
        rollouts={"b": 0.85, "ac": 0.9},
    )
    tree = Tree("t")
    run(tree, world, REST, Budget(rounds=1))
    assert (tree.root.value, tree.root.visits, node_of(tree, "b").value, node_of(tree, "b").visits) == (
        near(0.725), 1, near(0.725), 1,
    )  # fmt: skip
    run(tree, world, REST, Budget(rounds=1))  # a: .4 + .9 > .725 + 0
    assert (node_of(tree, "ac").value, node_of(tree, "a").value, node_of(tree, "a").visits) == (
        near(0.7),
        near(0.7),
        1,
    )
    assert (tree.root.value, tree.root.visits) == (near(0.7125), 2)
    run(tree, world, REST, Budget(rounds=1))
    assert (node_of(tree, "be#").value, node_of(tree, "be#").visits) == (near(0.85), 1)
    assert (node_of(tree, "b").value, node_of(tree, "b").visits) == (near(0.85), 2)
    assert (tree.root.value, tree.root.visits) == (near(0.8), 3)
    assert world.asked == ["", "a", "b"]


def test_a_leaf_that_passes_the_gate_ends_the_search_or_is_an_end():
    world = Written({"": ["a", "b"], "a": ["c#"], "b": ["d#"]}, {"a": 0.95, "b": 0.1, "ac#": 0.9, "bd#": 0.1})
    rules = replace(REST, gate=0.9, select=replace(REST.select, bonus=0.5))
    first = Tree("t")
    assert run(first, world, rules, Budget(rounds=9, stop_at_gate=True)) == "gate"
    assert first.rounds == 1
    other = Tree("t")
    assert run(other, world, rules, Budget(rounds=9)) == "rounds"
    assert node_of(other, "a").state == "terminal"


def test_step_preference_search_with_its_statistics():
    # p(A) = exp(-.5 / 2^1.25) = .8104, p(B) = exp(-2 / 2^1.25) = .4313
    priors = {"A": length_prior(-0.5, 2), "B": length_prior(-2.0, 2), "Aa1#": length_prior(-0.4, 1),
              "Aa2#": length_prior(-0.9, 1)}  # fmt: skip
    assert (priors["A"], priors["B"]) == (near(0.8104), near(0.4313))
    world = Written(
        {"": ["A", "B"], "A": ["a1#", "a2#"], "B": ["b1#", "b2#"]},
        {"A": 0.6, "B": 0.4, "Aa1#": -0.2, "Aa2#": 1.5},
        priors=priors,
    )
    rules = Rules(Select("puct", 1.0), Backup("q_reward"), children=2, ends_at="end", double_root=True)
    tree = Tree("t")
    run(tree, world, rules, Budget(rounds=4))
    a, b, a1, a2 = (node_of(tree, text) for text in ("A", "B", "Aa1#", "Aa2#"))
    assert (tree.root.visits, tree.root.value) == (8, near(1.008))
    assert (a.visits, a.quality, a.value, a.reward) == (4, near(1.16), near(0.56), near(0.6))
    assert (a1.visits, a1.quality, a2.visits, a2.quality) == (0, near(-0.8), 4, near(0.9))
    assert (b.visits, b.quality) == (0, near(0.4))
    single = Tree("t")
    run(single, world, replace(rules, double_root=False), Budget(rounds=4))
    assert single.root.visits == 4


@dataclass
class Widening(Written):
    """A world that tells nothing of a step before it is visited."""

    async def guess(self, tree: Tree, nodes: list[Node]) -> list[float]:
        return [0.0] * len(nodes)


def test_a_widening_search_round_by_round():
    world = Widening(
        {"": ["A", "B", "C"], "A": ["a#", "b#"], "B": ["c#", "d#"], "C": ["e#", "f#"]},
        {"A": 0.5, "B": -0.2, "C": 0.1, "Aa#": 0.9, "Ab#": -0.5, "Ce#": 0.2},
    )
    rules = Rules(children=2, root_children=3, widening=True)
    tree = Tree("t")
    run(tree, world, rules, Budget(rounds=3))
    assert (tree.root.visits, tree.root.value) == (3, near(0.1333))
    run(tree, world, rules, Budget(rounds=1))
    assert (node_of(tree, "A").visits, node_of(tree, "A").value, tree.root.value) == (2, near(0.7), near(0.325))
    run(tree, world, rules, Budget(rounds=1))
    assert node_of(tree, "A").value == near(0.3)
    run(tree, world, rules, Budget(rounds=1))
    assert (node_of(tree, "C").visits, node_of(tree, "C").value) == (2, near(0.15))
    assert (tree.root.visits, tree.root.value) == (6, near(0.1667))


def test_a_widening_node_that_gives_nothing_new_is_closed_and_the_search_goes_on():
    world = Widening({"": ["A"], "A": ["a#"]}, {"A": 0.5, "Aa#": 0.9})
    tree = Tree("t")
    assert run(tree, world, Rules(children=2, widening=True, attempts=2), Budget(rounds=8)) == "rounds"
    assert [tree.text(node) for node in tree.nodes] == ["", "A", "Aa#"]
    assert tree.root.extra["closed"]
    assert node_of(tree, "A").extra["closed"]
    assert tree.root.visits == node_of(tree, "A").visits == 6  # of 8 rounds two found nothing to add


def test_a_tree_in_which_nothing_can_be_made_of_any_step_is_exhausted():
    class Blind(Written):
        async def guess(self, tree: Tree, nodes: list[Node]) -> list[float | None]:
            return [None] * len(nodes)

    tree = Tree("t")
    assert run(tree, Blind({"": ["a", "b"]}, {}), Rules(), Budget(rounds=5)) == "exhausted"
    assert (tree.counts["unscored"], tree.root.visits) == (2, 0)
    empty = Tree("t")
    assert run(empty, Written({}, {}), Rules(), Budget(rounds=5)) == "exhausted"
    assert empty.root.state == "dead"
    ended = Tree("t")
    run(ended, Written({"": ["a"]}, {"a": 0.5}), Rules(childless="terminal"), Budget(rounds=3))
    assert node_of(ended, "a").state == "terminal"


def test_a_failed_evaluation_takes_the_branch_out():
    world = Written({"": ["a", "b"], "a": ["c#"], "b": ["d#"]}, {"a": 0.9, "b": 0.1, "bd#": 0.3})

    class Failing(Written):
        async def evaluate(self, tree: Tree, node: Node) -> float | None:
            return None if tree.text(node).startswith("a") else await super().evaluate(tree, node)

    tree = Tree("t")
    run(tree, Failing(world.steps, world.values), Rules(), Budget(rounds=4))
    assert node_of(tree, "a").state == "dead"
    assert (node_of(tree, "bd#").visits, tree.counts["unscored"]) == (3, 1)  # the first of four rounds brought nothing


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        (Budget(nodes=5), "nodes"),
        (Budget(tokens=20), "tokens"),
        (Budget(ends=2), "ends"),
        (Budget(rounds=3), "rounds"),
        (Budget(rounds=2, least_ends=50), "rounds"),
    ],
)
def test_budgets(budget, reason):
    tree = Tree("t")
    assert run(tree, Random3(), Rules(max_depth=3), budget) == reason == tree.status
    if budget.least_ends:
        assert tree.rounds == 20  # ten times the rounds at most


@dataclass
class Random3(World):
    """Three random steps of a few tokens everywhere, in a time of their own; the seed says all of it."""

    pause: bool = False
    calls: int = 0

    async def propose(self, tree: Tree, node: Node, count: int, attempt: int) -> list[Candidate]:
        random = Random(decision_seed(0, tree.id, tree.path(node), "expand", attempt))
        self.calls += 1
        if self.pause:
            await asyncio.sleep(Random(f"{tree.id}{tree.path(node)}pause").random() / 500)
        return [
            Candidate(f"{random.randrange(6)}", 4, ended=random.random() < 0.1 * node.depth, prior=random.random())
            for _ in range(count)
        ]

    async def guess(self, tree: Tree, nodes: list[Node]) -> list[float]:
        if self.pause:
            await asyncio.sleep(0.0005)
        return [Random(decision_seed(0, tree.id, tree.path(node), "guess")).random() for node in nodes]


PRESETS = {
    "rest": replace(REST, children=3),
    "mcts-dpo": Rules(Select("puct"), Backup("q_reward"), children=2, ends_at="end", max_depth=4),
    "alphallm": Rules(children=2, root_children=4, widening=True),
    "rap": Rules(Select(unvisited="one"), Backup("cumulative_mean"), children=3, ends_at="end", max_depth=4),
    "flights": Rules(Select(random_ties=True), children=3, in_flight=3, max_depth=5),
}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("backwards", [False, True])
def test_trees_grown_together_equal_trees_grown_one_after_the_other(preset, backwards):
    rules, budget, names = PRESETS[preset], Budget(rounds=8), [f"t{at}" for at in range(4)]
    alone = {}
    for name in names:
        tree = Tree(name)
        run(tree, Random3(), rules, budget)
        alone[name] = json.dumps(tree.to_row())

    async def together() -> list[Tree]:
        trees = [Tree(name) for name in (reversed(names) if backwards else names)]
        await asyncio.gather(*(grow(tree, Random3(pause=True), rules, budget) for tree in trees))
        return trees

    assert {tree.id: json.dumps(tree.to_row()) for tree in asyncio.run(together())} == alone


@pytest.mark.parametrize("preset", PRESETS)
def test_a_tree_comes_back_from_json_and_grows_on_as_if_never_written(preset):
    rules, whole = PRESETS[preset], Tree("t")
    run(whole, Random3(), rules, Budget(rounds=9))
    half = Tree("t")
    run(half, Random3(), rules, Budget(rounds=4))
    back = Tree.from_row(json.loads(json.dumps(half.to_row())))
    assert [back.path(node) for node in back.nodes] == [half.path(node) for node in half.nodes]
    run(back, Random3(), rules, Budget(rounds=5))
    assert back.to_row() == whole.to_row()


@dataclass
class Planning(World):
    """A tree of three choices, four steps deep. One way brings 1, others the share of steps that agree with it.

    The critic is wrong about the first step: it likes another one better than the best.
    """

    best: tuple[int, ...] = (2, 0, 1, 2)

    async def propose(self, tree: Tree, node: Node, count: int, attempt: int) -> list[Candidate]:
        at = attempt if count == 1 else 0
        return [Candidate(str(at + step), 1, ended=node.depth == 3, prior=1 / 3) for step in range(3)][:count]

    def worth(self, tree: Tree, node: Node) -> float:
        line = [int(step) for step in tree.steps(node)]
        if len(line) == 1:
            return 0.5 if line == [0] else 0.25
        return sum(a == b for a, b in zip(line, self.best, strict=False)) / 4

    async def guess(self, tree: Tree, nodes: list[Node]) -> list[float]:
        return [self.worth(tree, node) for node in nodes]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("select", ["uct", "puct"])
@pytest.mark.parametrize("ends_at", ["child", "end"])
@pytest.mark.parametrize("widening", [False, True])
def test_every_combination_finds_the_best_way_through_a_known_tree(rule, select, ends_at, widening):
    """81 ways over 120 nodes: a search that explores sees them all in the end, and one that learns needs fewer.

    Sums of rewards over four steps are four times as large as values, so is what is added for exploring.
    """
    explore = Select(select, 4.0, unvisited="one") if rule.startswith("cumulative") else Select(select, 1.0)
    rules = Rules(explore, Backup(rule), children=3, widening=widening, ends_at=ends_at, max_depth=4, repeat=False)
    tree = Tree("t")
    run(tree, Planning(), rules, Budget(nodes=80, rounds=400))
    best = max(tree.ends(), key=lambda node: node.guess, default=None)
    assert best is not None, f"{len(tree.nodes)} nodes, no end"
    assert [int(step) for step in tree.steps(best)] == [2, 0, 1, 2]


def test_visit_counts_of_uct_by_hand():
    # Two ends that bring .8 and .2, c = 1, unvisited first. N and the choices that follow:
    # 1 -> a, 2 -> b, then a: .8 + sqrt(ln N / n_a) against b: .2 + sqrt(ln N / n_b)
    # N=2: 1.633 1.033 a | N=3: 1.541 1.248 a | N=4: 1.480 1.377 a | N=5: 1.434 1.469 b | N=6: 1.469 1.147 a
    # N=7: 1.424 1.186 a | N=8: 1.389 1.220 a | N=9: 1.360 1.248 a | N=10: 1.336 1.273 a | N=11: 1.316 1.295 a
    # N=12: 1.298 1.315 b
    world = Written({"": ["a#", "b#"]}, {"a#": 0.8, "b#": 0.2})
    choices = []

    class Watched(Written):
        async def evaluate(self, tree: Tree, node: Node) -> float | None:
            return world.values[tree.text(node)]

    tree = Tree("t")
    rules = Rules(Select("uct", 1.0, unvisited="first"), children=2)
    for _ in range(13):
        before = [child.visits for child in tree.children(tree.root)] or [0, 0]
        run(tree, Watched(world.steps, world.values), rules, Budget(rounds=1))
        after = [child.visits for child in tree.children(tree.root)]
        choices.append("ab"[[b - a for a, b in zip(before, after, strict=True)].index(1)])
    assert "".join(choices) == "abaaabaaaaaab"
    assert [child.visits for child in tree.children(tree.root)] == [10, 3]
    assert tree.root.value == near((10 * 0.8 + 3 * 0.2) / 13)
    assert math.isclose(tree.root.total, 8.6)


def test_level_by_level_search_keeps_the_best_and_never_comes_back():
    tree = Tree("t")
    reason = asyncio.run(by_levels(tree, Planning(), Rules(children=3, max_depth=4), Budget(), keep=1))
    assert reason == tree.status == "exhausted"
    assert tree.rounds == 4  # a level each: 3 new nodes, of which one is kept
    assert len(tree.nodes) == 1 + 4 * 3
    best = max(tree.ends(), key=lambda node: node.result)
    assert [int(step) for step in tree.steps(best)] == [0, 0, 1, 2]  # the critic is wrong about the first step
    wide = Tree("t")
    asyncio.run(by_levels(wide, Planning(), Rules(children=3, max_depth=4), Budget(), keep=3))
    best = max(wide.ends(), key=lambda node: node.result)
    assert [int(step) for step in wide.steps(best)] == [2, 0, 1, 2]
    short = Tree("t")
    assert asyncio.run(by_levels(short, Planning(), Rules(children=3, max_depth=4), Budget(nodes=4), 2)) == "nodes"
    assert len(short.nodes) - 1 == 9  # a level is finished once begun
