"""Search without coming back: beam search and breadth-first tree of thoughts, level by level.

The same world proposes and values steps as for `grow`, so that both can be compared at equal cost.
"""

from selfimprove.search.grow import Budget, Rules, World, ended, evaluate, expand
from selfimprove.search.tree import OPEN, Tree


async def by_levels(tree: Tree, world: World, rules: Rules, budget: Budget, keep: int) -> str:
    """Expand the best `keep` nodes of each level until a budget is spent; return its name, or `exhausted`.

    What is best is the world's guess: cumulated likelihood makes it beam search, an evaluator's word the
    breadth-first tree of thoughts (arXiv 2305.10601, algorithm 1). Of equal ones the earlier wins.
    """
    level = [tree.root]
    while level:
        reason = budget.spent(tree, tree.rounds)
        if reason is not None:
            break
        grown = await expand(tree, world, rules, level)
        tree.rounds += 1
        made = [child for children in grown for child in children if not ended(child, rules) and child.state == OPEN]
        level = sorted(made, key=lambda node: (-node.value, node.id))[:keep]
    else:
        reason = "exhausted"
    await evaluate(tree, world, tree.ends())
    tree.status = reason
    return reason
