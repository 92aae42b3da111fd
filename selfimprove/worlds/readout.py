"""What a tree of options answers: its greedy line, its best leaf, the best by the outcome critic, or a vote."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selfimprove.errors import ConfigError
from selfimprove.search.extract import greedy_line, most_valued, weighted_vote
from selfimprove.search.tree import DEAD, Node, Tree
from selfimprove.worlds.critics import outcome_of
from selfimprove.worlds.steps import rest_of_answer

if TYPE_CHECKING:
    from selfimprove.worlds.options import OptionWorld

WAYS = ("greedy", "global", "rerank", "vote")


@dataclass(frozen=True)
class Reading:
    """One whole answer of a tree; `ended` is False where it was given up, and is then no answer."""

    text: str
    ended: bool
    score: float | None
    node: Node


def check_way(name: str, way: str, ways: tuple[str, ...] = WAYS) -> None:
    """Raise ConfigError for a way to read a tree that there is not."""
    if way not in ways:
        raise ConfigError(f"alphallm: {name} is '{way}'; it is one of {', '.join(ways)}")


def best_leaf(tree: Tree) -> Node | None:
    """Return the node of the highest mean among those that were visited and have no children that live."""
    leaves = [
        node
        for node in tree.nodes[1:]
        if node.visits and node.state != DEAD and all(child.state == DEAD for child in tree.children(node))
    ]
    return most_valued(leaves)


def greedy_end(tree: Tree) -> Node | None:
    """Return the last node of the line that always goes down to the highest mean."""
    line = [node for node in greedy_line(tree) if node.state != DEAD]
    return line[-1] if line else None


async def read(world: "OptionWorld", tree: Tree, way: str) -> Reading | None:
    """Return the answer of a tree by one way to read it, None where the tree has none.

    greedy and global: the end of the greedy line, the leaf of the best mean, each written to its end. rerank: of all
    finished answers and these two the one with the best outcome; vote: the final answer with the largest sum of
    outcomes, in its best text. Where none of them ended, rerank and vote give the second.
    """
    greedy, best = greedy_end(tree), best_leaf(tree)
    if greedy is None or best is None:
        return None
    if way in ("greedy", "global"):
        return await whole(world, tree, greedy if way == "greedy" else best)
    nodes = {node.id: node for node in (*tree.ends(), greedy, best) if node.visits and node.state != DEAD}
    readings = await asyncio.gather(*(whole(world, tree, node) for node in nodes.values()))
    real = [reading for reading in readings if reading.ended and reading.score is not None]
    if way == "vote":
        answers = [world.run.answer(world.prompt, reading.text) for reading in real]
        voted = weighted_vote(answers, [reading.score or 0.0 for reading in real])
        if voted is not None:
            real = [reading for reading, answer in zip(real, answers, strict=True) if answer == voted]
    fallback = next(reading for reading in readings if reading.node is best)
    return max(real, key=lambda reading: reading.score or 0.0, default=fallback)


async def whole(world: "OptionWorld", tree: Tree, node: Node) -> Reading:
    """Return the answer that a node leads to, written greedily to its end where it has none, and its outcome."""
    text, ended = tree.text(node), node.ended
    if not ended:
        [sample] = await rest_of_answer(
            world.run, world.prompt, text, 1, world.writing, max_tokens=world.search.answer_tokens,
            path=tree.path(node), purpose="complete", temperature=0.0,
        )  # fmt: skip
        tree.count("tokens", sample.tokens)
        text, ended = text + sample.text, sample.error is None and sample.finish == "stop"
    score = node.extra.get("outcome") if node.ended else None
    if score is None and ended:
        score = await outcome_of(world.critics, world.run, world.prompt, text)
    return Reading(text, ended, score, node)
