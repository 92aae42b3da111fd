"""From a judged tree to rows: which leaves are ends, the labels of their steps, and what is measured of both."""

import asyncio
from collections.abc import Mapping
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING

from selfimprove.evaluation.values import auc, brier
from selfimprove.records import Prompt, Sample, Steps
from selfimprove.search.extract import figures, hard_labels, inferred_values, judged, most_valued
from selfimprove.search.tree import DEAD, TERMINAL, Candidate, Node, Tree
from selfimprove.worlds.steps import dotted, split_steps
from selfimprove.worlds.value_search import ValueSearch

if TYPE_CHECKING:
    from selfimprove.run import Run

NEAR = 0.1
"""A value this near to its label counts as right, as in the released code."""


def end_leaves(tree: Tree, gate: float | None) -> list[Node]:
    """Return the childless nodes that are ends or worth the gate, in the order of their making."""
    leaves = (node for node in tree.nodes[1:] if not tree.children(node) and node.state != DEAD)
    return [node for node in leaves if node.state == TERMINAL or (gate is not None and node.value >= gate)]


async def verify(world: ValueSearch, tree: Tree, gate: float | None, unfinished: str) -> dict[int, Sample]:
    """Give every end leaf its outcome and return {node id: its whole answer}; the outcome stays None where unknown."""

    async def judge(end: Node) -> Sample:
        whole = await world.whole(tree, end, unfinished)
        score = None if whole.error else (await world.run.check(world.prompt, whole.text)).score
        end.outcome = None if score is None else float(score >= 1)
        return whole

    ends = end_leaves(tree, gate)
    wholes = await asyncio.gather(*map(judge, ends))
    return {end.id: whole for end, whole in zip(ends, wholes, strict=True)}


def labels_of(tree: Tree, labels: str) -> dict[int, float]:
    """Return {node id: label} of every node but the root on the way to a judged end: inferred values, or hard ones."""
    found = inferred_values(tree) if labels == "inferred" else hard_labels(tree)
    return {number: label for number, label in found.items() if number}


def value_rows(prompt: Prompt, tree: Tree, labels: Mapping[int, float], round: int) -> list[Steps]:
    """Return one row a judged end: the steps up to it with their labels, None where an earlier row has the prefix."""
    rows, given = [], set[int]()
    for end in judged(tree):
        line = tree.line(end)[1:]
        new = [None if node.id in given else labels.get(node.id) for node in line]
        given |= {node.id for node in line}
        if any(label is not None for label in new):
            tag = f"value-{round}-{dotted(tree.path(end))}"
            rows.append(Steps.of(prompt, tree.steps(end), new, tag=tag, round=round, meta={"right": end.outcome}))
    return rows


async def worked_tree(world: ValueSearch, solution: str, others: int) -> Tree:
    """Return the judged tree of a worked solution: one right line, and behind each prefix the policy's own ways on.

    That are up to `others` steps unlike the solution's own, each with the policy's greedy rest of the answer, which
    says whether it was wrong. Steps that are asked for one by one have no such rest: wrong ones end there, others have
    no label.
    """
    tree = Tree(world.prompt.id)
    node = tree.root
    steps = split_steps(solution)
    if world.moves.asked:  # in the form that its value model will be asked about
        lines = [line.strip() for line in solution.splitlines() if line.strip()]
        steps = [f"Step {number}: {line}\n" for number, line in enumerate(lines, 1)]
    for step in steps:
        node = tree.add(node, Candidate(step))
    node.ended, node.outcome = True, 1.0
    for before, good in pairwise(tree.line(node)):
        if not others:
            break
        drawn = await world.draw(tree, tree.text(before), others, dotted(tree.path(before)), "wrong", 0)
        fresh = {step.text.strip(): step for step in drawn if step.text.strip() != good.text.strip()}
        children = [tree.add(before, step) for step in fresh.values()]
        found = await asyncio.gather(*(judged_rest(world, tree, child) for child in children))
        for child, (text, score) in zip(children, found, strict=True):
            way_on(tree, child, text, score, world.moves.asked)
    return tree


async def judged_rest(world: ValueSearch, tree: Tree, node: Node) -> tuple[str, float | None]:
    """Return the policy's greedy rest of the answer behind a node, and the grade of the whole; None without one."""
    whole = await world.whole(tree, node, "write")
    ended = whole.error is None and whole.finish != "length"
    score = (await world.run.check(world.prompt, whole.text)).score if ended else None
    return whole.text[len(tree.text(node)) :], score


def way_on(tree: Tree, node: Node, rest: str, score: float | None, asked: bool) -> None:
    """Add the rest of an answer behind a node and note at its end whether it is right; nothing without a grade."""
    if score is None:
        return
    if asked:
        node.outcome = 0.0 if score < 1 else None
        return
    for step in split_steps(rest):
        node = tree.add(node, Candidate(step))
    node.ended, node.outcome = True, float(score >= 1)


def measure_tree(run: "Run", tree: Tree) -> None:
    """Measure a searched tree: its size, its right leaves, and whether its most valued end is right."""
    for name, value in figures(tree).items():
        run.measure(f"tree_{name}", value)
    known = judged(tree)
    right = judged(tree, right=True)
    run.measure("tree_rounds", tree.rounds)
    run.measure("right_leaves", len(right))
    run.measure("trees_without_right_leaf", float(not right))
    for name in ("unscored", "refused"):
        run.measure(f"tree_{name}", tree.counts.get(name, 0))
    best = most_valued(known)
    run.measure("tree_answer_right", float(best is not None and bool(best.outcome)))


def measure_values(run: "Run", tree: Tree, labels: Mapping[int, float]) -> None:
    """Measure the value model that led a search on labels that it has not been trained on.

    value_mse, value_near (share within 0.1) over the labelled nodes, value_auc over the tree's right and wrong ways:
    how often a node above a right end is worth more than one that is not, where the tree has both.
    """
    known = [node for node in tree.nodes if node.guess is not None and node.id in labels]
    if not known:
        return
    guesses, wanted, right = (
        [node.guess or 0.0 for node in known],
        [labels[node.id] for node in known],
        hard_labels(tree),
    )
    near = fmean(float(abs(guess - label) <= NEAR) for guess, label in zip(guesses, wanted, strict=True))
    found = {"mse": brier(wanted, guesses), "near": near, "auc": auc([right[node.id] for node in known], guesses)}
    for name, figure in found.items():
        if figure is not None:
            run.measure(f"value_{name}", figure)
