"""What a grown tree teaches: pairs of sibling steps, values of prefixes, whole answers, and the answer itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from selfimprove.search.tree import Node, Tree


@dataclass(frozen=True, slots=True)
class StepPair:
    """Two continuations of one prefix; `parent` is the node they follow, `smoothing` the doubt about their order."""

    parent: Node
    chosen: Node
    rejected: Node
    gap: float
    smoothing: float


def visit_smoothing(chosen_visits: int, rejected_visits: int) -> float:
    """Return alpha = min(1 - 1 / (1 + n_l / max(1, n_w)), 0.5), the doubt about the order of two steps (MCTS-DPO)."""
    return min(1 - 1 / (1 + rejected_visits / max(1, chosen_visits)), 0.5)


def step_pairs(
    tree: Tree,
    margin: float = 0.1,
    least_visits: int = 1,
    along: Sequence[Node] | None = None,
    every: bool = False,
    most: int | None = None,
) -> list[StepPair]:
    """Return pairs of siblings whose Q differ by at least `margin`, in the order of their parents' making.

    Best against worst: of equal ones the best has more visits, the worst fewer, then the earlier wins; equal Q make no
    pair. `along` looks at the children of these nodes only, `every` takes all pairs of siblings, `most` only so many,
    those of the widest gaps.
    """
    found: list[StepPair] = []
    for parent in along if along is not None else tree.nodes:
        known = [child for child in tree.children(parent) if child.visits >= least_visits and child.state != "dead"]
        if len(known) < 2:
            continue
        best_first = sorted(known, key=lambda child: (-child.quality, -child.visits, child.place))
        worst = min(known, key=lambda child: (child.quality, child.visits, child.place))
        sides = combinations(best_first, 2) if every else [(best_first[0], worst)]
        for chosen, rejected in sides:
            gap = chosen.quality - rejected.quality
            if gap > 0 and gap >= margin:
                found.append(StepPair(parent, chosen, rejected, gap, visit_smoothing(chosen.visits, rejected.visits)))
    if most is not None and len(found) > most:
        kept = sorted(range(len(found)), key=lambda at: (-found[at].gap, at))[:most]
        found = [found[at] for at in sorted(kept)]
    return found


def cached_pairs(tree: Tree, margin: float = 0.001) -> list[StepPair]:
    """Return pairs of siblings by what each brought when it was made (AlphaLLM's code), none twice.

    Every node but the root on the way to a finished answer, and not that answer itself, is held against the sibling
    that differs most from it; a pair needs more than `margin`.
    """
    found: dict[tuple[int, int], StepPair] = {}
    for end in tree.ends():
        for node in tree.line(end)[1:-1]:
            others = [child for child in tree.children(tree.nodes[node.parent]) if child is not node]
            gaps = {other.id: cached_gap(node, other) for other in others}
            partner = max(others, key=lambda other: abs(gaps[other.id]), default=None)
            if partner is None or abs(gap := gaps[partner.id]) <= margin:
                continue
            chosen, rejected = (node, partner) if gap > 0 else (partner, node)
            pair = StepPair(tree.nodes[node.parent], chosen, rejected, abs(gap), 0.0)
            found.setdefault((chosen.id, rejected.id), pair)
    return list(found.values())


def cached_gap(first: Node, second: Node) -> float:
    """Return by how much one node's cached reward is above another's; 0 where one of them has none."""
    return 0.0 if first.result is None or second.result is None else first.result - second.result


def single_chain(tree: Tree, node: Node) -> list[Node]:
    """Return a node and, while each has exactly one child, the nodes below it."""
    chain = [node]
    while len(tree.children(chain[-1])) == 1:
        chain.append(tree.children(chain[-1])[0])
    return chain


def reasoning_distances(tree: Tree) -> dict[int, tuple[int, bool]]:
    """Return {node id: (distance d, good)} of every node on the way to a judged end (ReST-MCTS*, section 3.2).

    A right end has d = 1, its ancestors one more than their nearest child, and all these are good. The nodes of a
    wrong end up to its nearest good ancestor are bad, and have that ancestor's distance. Empty without a right end.
    """
    found: dict[int, tuple[int, bool]] = {}
    for end in judged(tree, right=True):
        found[end.id] = (1, True)
    for node in reversed(tree.nodes):  # children were made after their parents
        below = [found[child.id][0] for child in tree.children(node) if child.id in found]
        if below:
            found[node.id] = (1 + min(below), True)
    if not found:
        return {}
    for end in judged(tree, right=False):
        line = tree.line(end)
        at = max((at for at, node in enumerate(line) if node.id in found and found[node.id][1]), default=0)
        for node in line[at + 1 :]:
            found[node.id] = (found[line[at].id][0], False)
    return found


def next_value(before: float, distance: float, wrong: float) -> float:
    """Return v = max(0, v' + (1 - v') / d * (1 - 2 r)) after a step that is wrong with probability r (ReST-MCTS*)."""
    return max(0.0, before + (1 - before) / distance * (1 - 2 * wrong))


def inferred_values(tree: Tree) -> dict[int, float]:
    """Return {node id: value in [0, 1]} of every node but the root that lies on the way to a judged end.

    Source: ReST-MCTS* (arXiv 2406.03816), section 3.2 and the released code. Empty where no end is right.
    """
    distances = reasoning_distances(tree)
    values = {0: 0.0}
    for node in tree.nodes[1:]:
        if node.id in distances:
            distance, good = distances[node.id]
            values[node.id] = next_value(values[node.parent], distance, 0.0 if good else 1.0)
    return {number: value for number, value in values.items() if number}


def hard_labels(tree: Tree) -> dict[int, float]:
    """Return {node id: 1 where a right end lies at or below it, else 0} of every node on the way to a judged end."""
    found: dict[int, float] = {}
    for end in judged(tree):
        for node in tree.line(end):
            found[node.id] = max(found.get(node.id, 0.0), float(bool(end.outcome)))
    return found


def soft_labels(tree: Tree) -> dict[int, float]:
    """Return {node id: share of right ones among the judged ends at or below it} (Math-Shepherd)."""
    right: dict[int, list[float]] = {}
    for end in judged(tree):
        for node in tree.line(end):
            right.setdefault(node.id, []).append(float(bool(end.outcome)))
    return {number: sum(outcomes) / len(outcomes) for number, outcomes in right.items()}


def judged(tree: Tree, right: bool | None = None) -> list[Node]:
    """Return the childless nodes whose outcome is known: all of them, the right ones, or the wrong ones."""
    ends = [node for node in tree.nodes if node.outcome is not None and not tree.children(node)]
    return ends if right is None else [node for node in ends if bool(node.outcome) == right]


def trajectories(tree: Tree) -> list[Node]:
    """Return the right ends, no text twice, in the order of their making."""
    first: dict[str, Node] = {}
    for end in judged(tree, right=True):
        first.setdefault(tree.text(end).strip(), end)
    return list(first.values())


def most_valued(nodes: Sequence[Node], value: Callable[[Node], float] = lambda node: node.value) -> Node | None:
    """Return the node of the highest value, the first of equal ones; None of none."""
    return max(nodes, key=lambda node: (value(node), -node.id), default=None)


def greedy_line(tree: Tree) -> list[Node]:
    """Return the way down that always takes the visited child of the highest Q, without the root."""
    line: list[Node] = []
    node: Node | None = tree.root
    while node is not None:
        node = most_valued([child for child in tree.children(node) if child.visits], lambda child: child.quality)
        line += [node] if node else []
    return line


def weighted_vote(answers: Sequence[str | None], weights: Sequence[float]) -> str | None:
    """Return the answer with the largest sum of weights, the one seen first among equals; None without any."""
    totals: dict[str, float] = {}
    for answer, weight in zip(answers, weights, strict=True):
        if answer is not None:
            totals[answer] = totals.get(answer, 0.0) + weight
    return max(totals, key=lambda answer: totals[answer], default=None)


def figures(tree: Tree) -> Mapping[str, float]:
    """Return what is reported of a tree: nodes, ends, the share of right ones, deepest level, tokens, repeats."""
    known = judged(tree)
    found = {
        "nodes": float(len(tree.nodes) - 1),
        "ends": float(len(tree.ends())),
        "depth": float(max(node.depth for node in tree.nodes)),
        "tokens": float(tree.counts.get("tokens", 0)),
        "repeats": float(tree.counts.get("repeats", 0)),
    }
    return {**found, "right_ends": sum(map(bool, (node.outcome for node in known))) / len(known)} if known else found
