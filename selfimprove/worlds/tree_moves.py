"""How a search goes on from move to move in one tree, and the pairs of steps that it leaves along its path.

The moves and pairs of MCTS-DPO (arXiv 2405.00451).
"""

import math
from collections.abc import Sequence
from itertools import takewhile
from random import Random

from selfimprove.search.extract import StepPair, single_chain, visit_smoothing
from selfimprove.search.tree import DEAD, OPEN, TERMINAL, Node, Tree


def look_further(tree: Tree, root: Node, limit: int) -> None:
    """Open the nodes again at which earlier visits ended only because they had looked far enough."""
    for node in tree.below(root):
        if node.state == TERMINAL and not node.ended and not node.draws and node.depth < limit:
            node.state, node.result = OPEN, None


def next_root(tree: Tree, node: Node, diversity: bool, temperature: float, random: Random) -> Node | None:
    """Return the child to move to, None where there is none.

    At temperature 0 that of most visits (with `diversity` times 1 + the visit gap of its children), then of the
    highest Q, then V, then the first; above, one drawn by exp(Q)^(1/T).
    """
    children = [child for child in tree.children(node) if child.state != DEAD]
    if not children:
        return None
    if temperature > 0:
        return random.choices(children, move_weights([child.quality for child in children], temperature))[0]

    def rank(child: Node) -> tuple[float, float, float]:
        return child.visits * (1 + visit_gap(tree.children(child)) if diversity else 1), child.quality, child.value

    return max(children, key=rank)


def move_weights(qualities: Sequence[float], temperature: float) -> list[float]:
    """Return exp(Q)^(1/T) up to a common factor, which keeps it from overflowing."""
    return [math.exp((quality - max(qualities)) / temperature) for quality in qualities]


def visit_gap(nodes: Sequence[Node]) -> int:
    """Return max N - min N over siblings, 0 of none."""
    visits = [node.visits for node in nodes]
    return max(visits) - min(visits) if visits else 0


def pairs_along(tree: Tree, path: Sequence[Node], rejected: str, min_gap: float, random: Random) -> list[StepPair]:
    """Return a pair of siblings of every level of a path that has several, the earliest levels first.

    Chosen is the highest by Q, prior, reward, V and visits; rejected, among those of a lower Q (by more than
    `min_gap`), the lowest (`worst`) or any (`random`). Children without visits have the Q that they were made with.
    """
    found = []
    for parent in (tree.root, *path[:-1]):
        known = [child for child in tree.children(parent) if child.state != DEAD]
        order = sorted(known, key=lambda node: (node.quality, node.prior, node.reward, node.value, node.visits))
        below = [node for node in order[:-1] if order[-1].quality - node.quality > max(min_gap, 0.0)]
        if below:
            best, other = order[-1], random.choice(below) if rejected == "random" else below[0]
            gap, alpha = best.quality - other.quality, visit_smoothing(best.visits, other.visits)
            found.append(StepPair(parent, best, other, gap, alpha))
    return found


def side(tree: Tree, node: Node) -> tuple[str, bool]:
    """Return the text of a step with all that follows without a choice, and whether the answer ends with it."""
    chain = list(takewhile(lambda item: item.state != DEAD, single_chain(tree, node)))
    return "".join(item.text for item in chain), chain[-1].ended
