"""Answering by a search that a value model leads, or by a vote over whole answers."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfimprove.judges.voting import choose
from selfimprove.records import Prompt, Sample
from selfimprove.search.extract import most_valued
from selfimprove.search.grow import Budget, Rules, descend, grow
from selfimprove.search.tree import DEAD, Tree
from selfimprove.worlds.process_values import end_leaves
from selfimprove.worlds.steps import StepsFailed
from selfimprove.worlds.value_search import ValueSearch

if TYPE_CHECKING:
    from selfimprove.run import Run

VOTES = {"sc": "majority", "orm": "best_of_n", "sc_orm": "weighted_majority"}
"""Votes over whole answers (self-consistency, the best by V, most of V), and their names in judges/voting.py."""


async def searched(
    world: ValueSearch, rules: Rules, rounds: int, leaves_vote: bool, unfinished: str
) -> tuple[Sample, float | None]:
    """Return the answer of one search and its worth, None where there is no answer.

    That is the first leaf to pass the gate, else the leaf of the highest V, finished where it is not; with
    `leaves_vote` the answer for which the tree's ends give most V in all, and its share.
    """
    tree, seed = Tree(world.prompt.id), world.run.recipe.seed
    try:
        reason = await grow(tree, world, rules, Budget(rounds=rounds, stop_at_gate=not leaves_vote), seed=seed)
        world.run.measure("tree_rounds", tree.rounds)
        if leaves_vote:
            ends = end_leaves(tree, rules.gate)
            samples = await asyncio.gather(*(world.whole(tree, end, unfinished) for end in ends))
            answers = [None if sample.error else world.run.answer(world.prompt, sample.text) for sample in samples]
            picked, share = choose("weighted_majority", answers, weights=[end.value for end in ends])
            if picked is not None:
                return samples[picked], share
        passed = descend(tree, world, rules, tree.root, seed) if reason == "gate" else None
        # an inner node is worth the mean of its children, so that the highest V is a leaf's
        leaves = [node for node in tree.nodes[1:] if not tree.children(node) and node.state != DEAD]
        best = passed or most_valued(leaves)
        if best is None:
            return Sample("", finish="error", error="the search found no step"), None
        return await world.whole(tree, best, unfinished), best.value
    except StepsFailed as error:
        return Sample("", finish="error", error=str(error)), None


async def voted(run: "Run", prompt: Prompt, samples: Sequence[Sample], vote: str) -> tuple[Sample, float | None]:
    """Return the sample that a vote (VOTES) picks and its worth; the first one where none has an answer."""
    answers = [run.answer(prompt, sample.text) if sample.ok else None for sample in samples]
    values: list[float | None] = [None] * len(samples)
    if vote != "sc":
        values = [await run.value(prompt, sample.text) if sample.ok else None for sample in samples]
    picked, worth = choose(VOTES[vote], answers, values, values)
    return samples[picked or 0], worth
