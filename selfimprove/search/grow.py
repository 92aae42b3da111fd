"""Grow a tree: select, expand, evaluate, back up, until a budget is spent. One coroutine is one tree.

A visit is sequential, as in a textbook; hundreds of trees fill an engine's batch because each waits on its own.
`in_flight` above 1 lets several leaves of one tree be worked on together, with virtual visits between them: that is
another algorithm, for few and large trees. What comes back is applied in the order of selection, never of arrival, so
that a tree is the same whatever was quick and whatever was slow.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from selfimprove.errors import ConfigError
from selfimprove.search.backup import Backup, back_up
from selfimprove.search.selection import Select, best_child
from selfimprove.search.tree import DEAD, EXPANDED, OPEN, TERMINAL, Candidate, Node, Tree, decision_seed, finite


class World(Protocol):
    """What a search asks of the outside; a method's own class says what steps are and what they are worth."""

    async def propose(self, tree: Tree, node: Node, count: int, attempt: int) -> Sequence[Candidate]:
        """Return up to `count` next steps; another attempt must draw anew."""
        ...

    async def guess(self, tree: Tree, nodes: Sequence[Node]) -> Sequence[float | None]:
        """Return what a critic says of new siblings before any of them is selected; None where it failed."""
        return [0.0] * len(nodes)

    async def evaluate(self, tree: Tree, node: Node) -> float | None:
        """Return what a visit that ends at a node brings, asked once per node; None where nobody can tell."""
        return node.guess

    def width(self, tree: Tree, node: Node) -> int | None:
        """Return how many children a node may have now, in a widening search; None: the rules' number."""
        return None


@dataclass(frozen=True, slots=True)
class Rules:
    """How a tree grows; a method is a setting of these and a world."""

    select: Select = field(default_factory=Select)
    backup: Backup = field(default_factory=Backup)
    children: int = 3  # steps drawn where a node is expanded
    root_children: int | None = None  # the same at the root; None: as elsewhere
    widening: bool = False  # one child a visit until the node is as wide as it may be; else all children at once
    ends_at: str = "child"  # a visit ends at the expanded leaf, at its best new child, or goes on to the end
    max_depth: int = 16  # steps of the longest answer
    attempts: int = 3  # draws of a node that gave no new step, before it is given up
    childless: str = "dead"  # what a node without any step is: dead, or terminal
    repeat: bool = True  # another visit to an end brings its value again; else it only counts
    gate: float | None = None  # a leaf worth this much is an end
    in_flight: int = 1  # leaves of one tree that are worked on together
    double_root: bool = False  # count the root's visits twice, as the released code of MCTS-DPO does

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for name, values in (("ends_at", ("leaf", "child", "end")), ("childless", (DEAD, TERMINAL))):
            if getattr(self, name) not in values:
                raise ConfigError(f"search: {name} is '{getattr(self, name)}'; it is one of {', '.join(values)}")
        for name in ("children", "max_depth", "attempts", "in_flight"):
            if getattr(self, name) < 1:
                raise ConfigError(f"search: {name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True, slots=True)
class Budget:
    """When a tree stops growing, whatever comes first; None: never for that."""

    rounds: int | None = None  # visits
    nodes: int | None = None  # nodes, the root not counted
    tokens: int | None = None  # tokens of its nodes and of all else that was counted as tree.counts["tokens"]
    ends: int | None = None  # finished answers
    least_ends: int = 0  # finished answers before `rounds` counts; ten times the rounds at most
    stop_at_gate: bool = False  # a leaf that passes the gate ends the search

    def spent(self, tree: Tree, rounds: int) -> str | None:
        """Return which limit is reached after so many rounds, None where none is."""
        if self.nodes is not None and len(tree.nodes) - 1 >= self.nodes:
            return "nodes"
        if self.tokens is not None and tree.counts.get("tokens", 0) >= self.tokens:
            return "tokens"
        ends = len(tree.ends()) if self.ends is not None or self.least_ends else 0
        if self.ends is not None and ends >= self.ends:
            return "ends"
        if self.rounds is not None and rounds >= self.rounds * (1 if ends >= self.least_ends else 10):
            return "rounds"
        return None


async def grow(
    tree: Tree, world: World, rules: Rules, budget: Budget, root: Node | None = None, seed: int | str = 0
) -> str:
    """Grow a tree from `root` on until its budget is spent, and return why it stopped.

    That is the limit's name, `gate` where a leaf passed it, or `exhausted` where nothing is left to go down to.
    `seed` is of the draws among equals. Rounds are counted from this call on; all other limits are the tree's.
    """
    top = root or tree.root
    started = tree.rounds
    while True:
        reason = budget.spent(tree, tree.rounds - started)
        if reason is None:
            leaves = choose(tree, world, rules, top, seed)
            if not leaves:
                reason = "exhausted"
            elif budget.stop_at_gate and passes_gate(leaves[0], rules):
                withdraw(tree, leaves, top)
                reason = "gate"
        if reason is not None:
            tree.status = reason
            return reason
        await visit(tree, world, rules, top, leaves, seed)
        tree.rounds += 1


def passes_gate(leaf: Node, rules: Rules) -> bool:
    """Return whether a leaf is worth as much as ends the way down."""
    return rules.gate is not None and leaf.parent >= 0 and leaf.value >= rules.gate


def choose(tree: Tree, world: World, rules: Rules, top: Node, seed: int | str = 0) -> list[Node]:
    """Return the leaves of the next round, each with a visit pending along its way; none where nothing is left."""
    leaves: list[Node] = []
    for _ in range(rules.in_flight):
        if rules.double_root:
            top.visits += 1
        leaf = descend(tree, world, rules, top, seed)
        if leaf is None or leaf in leaves:  # a leaf is worked on once; the rest of the round stays empty
            break
        leaves.append(leaf)
        for node in way(tree, leaf, top):
            node.pending += 1
    return leaves


def withdraw(tree: Tree, leaves: Sequence[Node], top: Node) -> None:
    """Take back the pending visits of leaves."""
    for leaf in leaves:
        for node in way(tree, leaf, top):
            node.pending -= 1


def way(tree: Tree, node: Node, top: Node) -> list[Node]:
    """Return the nodes from the search's root to a node."""
    return tree.line(node)[top.depth :]


def descend(tree: Tree, world: World, rules: Rules, top: Node, seed: int | str = 0) -> Node | None:
    """Return the node that the next visit works on: a leaf, an end, or one that may get another child."""
    node = top
    while node.state == EXPANDED:
        children = tree.children(node)
        if rules.widening and len(children) < wide(tree, world, rules, node):
            return node
        found = best_child(node, children, rules.select, drawing(tree, node, seed))
        if found is None:
            return None
        node = found
    return None if node.state == DEAD else node


def wide(tree: Tree, world: World, rules: Rules, node: Node) -> int:
    """Return how many children a node may have."""
    if rules.widening:
        if node.extra.get("closed"):
            return len(tree.children(node))
        own = world.width(tree, node)
        if own is not None:
            return own
    return rules.root_children or rules.children if node is tree.root else rules.children


def drawing(tree: Tree, node: Node, seed: int | str) -> Callable[[], Random]:
    """Return what makes the random generator of one decision."""
    return lambda: Random(decision_seed(seed, tree.id, tree.path(node), "tie", node.visits))


async def visit(
    tree: Tree, world: World, rules: Rules, top: Node, leaves: Sequence[Node], seed: int | str = 0
) -> None:
    """Expand the leaves, evaluate where each visit ends, and back up in the order of the leaves."""
    last: list[Node | None] = list(leaves)
    active = [at for at, leaf in enumerate(leaves) if not ended(leaf, rules)]
    while active:
        nodes = [node for at in active if (node := last[at])]
        going = []
        for at, node, children in zip(active, nodes, await expand(tree, world, rules, nodes), strict=True):
            if not children:
                last[at] = None if node.state == EXPANDED else node  # a node that was to widen, and could not
                continue
            found = best_child(node, children, rules.select, drawing(tree, node, seed))
            if rules.ends_at == "leaf" or found is None:
                continue
            found.pending += 1
            last[at] = found
            if rules.ends_at == "end" and not ended(found, rules):
                going.append(at)
        active = going
    await evaluate(tree, world, [node for node in last if node and node.state != DEAD])
    for node, leaf in zip(last, leaves, strict=True):
        line = way(tree, node or leaf, top)
        for item in line:
            item.pending -= 1
        if node is None:
            continue
        if node.state == DEAD or node.result is None:
            bury(tree, node, lambda above: full(tree, world, rules, above))
        elif rules.repeat or not node.visits:
            back_up(tree, line, brought(node, rules), rules.backup)
        else:
            for item in line:
                item.visits += 1


def ended(node: Node, rules: Rules) -> bool:
    """Return whether a visit stops at a node, and mark it as an end where depth or gate make it one."""
    if node.state == OPEN and (node.depth >= rules.max_depth or passes_gate(node, rules)):
        node.state = TERMINAL
    return node.state in (TERMINAL, DEAD)


def brought(node: Node, rules: Rules) -> float:
    """Return what a visit that ends at a node brings: its reward where edges are rewarded, else its result."""
    rewarded = rules.backup.rule == "q_reward" or rules.backup.rule.startswith("cumulative")
    return node.reward if rewarded or node.result is None else node.result


async def expand(tree: Tree, world: World, rules: Rules, nodes: Sequence[Node]) -> list[list[Node]]:
    """Return the new children of nodes, guessed; a node that gives none is marked as the rules say."""
    drawn = await asyncio.gather(*(draw(tree, world, rules, node) for node in nodes))
    made = [[tree.add(node, step) for step in steps] for node, steps in zip(nodes, drawn, strict=True)]
    for children in made:
        tree.count("tokens", sum(child.tokens for child in children))
    guesses = await asyncio.gather(*(world.guess(tree, children) for children in made if children))
    for children, found in zip(filter(None, made), guesses, strict=True):
        for child, guess in zip(children, found, strict=True):
            settle_guess(tree, child, guess, rules)
    for node, children in zip(nodes, made, strict=True):
        if any(child.state != DEAD for child in tree.children(node)):
            node.state = EXPANDED
            if not children:  # a widening node that nothing new came of gets no more children
                node.extra["closed"] = True
        else:
            node.state = TERMINAL if rules.childless == TERMINAL and not children else DEAD
    return [[child for child in children if child.state != DEAD] for children in made]


async def draw(tree: Tree, world: World, rules: Rules, node: Node) -> list[Candidate]:
    """Return new steps of a node, none twice and none that it has already; asks again where nothing new came."""
    siblings = {child.text.strip() for child in tree.children(node)}
    count = 1 if rules.widening else wide(tree, world, rules, node)
    for _ in range(rules.attempts):
        steps = await world.propose(tree, node, count, node.draws)
        node.draws += 1
        fresh: dict[str, Candidate] = {}
        for step in steps:
            text = step.text.strip()
            if text and text not in siblings:
                fresh.setdefault(text, step)
        tree.count("repeats", len(steps) - len(fresh))
        if fresh:
            return list(fresh.values())
    return []


def settle_guess(tree: Tree, child: Node, guess: float | None, rules: Rules) -> None:
    """Give a new node its first V and Q from its critic's guess; without a guess nothing can be made of it."""
    if guess is None:
        child.state = DEAD
        tree.count("unscored")
        return
    child.guess = finite(guess, f"tree {tree.id}: the guess of {tree.path(child)}")
    parent = tree.nodes[child.parent]
    if rules.backup.rule == "q_reward":
        child.reward = guess - (parent.guess or 0.0)
        child.quality = parent.value + child.reward
    else:
        child.reward = guess
        child.value = child.quality = guess


async def evaluate(tree: Tree, world: World, nodes: Sequence[Node]) -> None:
    """Ask what visits to nodes bring, once for every node."""
    new = list({node.id: node for node in nodes if node.result is None}.values())
    for node, found in zip(new, await asyncio.gather(*(world.evaluate(tree, node) for node in new)), strict=True):
        node.result = found
        if found is None:
            tree.count("unscored")


def full(tree: Tree, world: World, rules: Rules, node: Node) -> bool:
    """Return whether a node with children gets no further ones."""
    return not rules.widening or len(tree.children(node)) >= wide(tree, world, rules, node)


def bury(tree: Tree, node: Node, is_full: Callable[[Node], bool] = lambda _: True) -> None:
    """Mark a node as dead, and every ancestor that has no other way left and gets none."""
    node.state = DEAD
    parent = tree.parent(node)
    while parent is not None and all(child.state == DEAD for child in tree.children(parent)) and is_full(parent):
        parent.state = DEAD
        parent = tree.parent(parent)
