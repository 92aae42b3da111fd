"""From a judged tree to rows: which leaves are ends, the labels of their steps, and what is measured of both."""

import asyncio
from collections.abc import Mapping
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


async def worked_tree(world: ValueSearch, solution: str, wrong: int) -> Tree:
    """Return the tree of a worked solution: one right line, and behind each prefix the wrong ones of `wrong` steps.

    A drawn step is wrong where the policy's greedy rest of the answer is, and unlike the solution's own step.
    """
    prompt = world.prompt
    tree = Tree(prompt.id)
    node = tree.root
    steps = split_steps(solution)
    if world.moves.asked:  # in the form that its value model will be asked about
        lines = [line.strip() for line in solution.splitlines() if line.strip()]
        steps = [f"Step {number}: {line}\n" for number, line in enumerate(lines, 1)]
    for step in steps:
        node = tree.add(node, Candidate(step))
    node.ended, node.outcome = True, 1.0
    for before, good in zip(tree.line(node), tree.line(node)[1:], strict=False):
        known = {good.text.strip()}
        if not wrong:
            break
        for step in await world.draw(tree, tree.text(before), wrong, dotted(tree.path(before)), "wrong", 0):
            if step.text.strip() in known:
                continue
            known.add(step.text.strip())
            child = tree.add(before, step)
            whole = await world.whole(tree, child, "write")
            score = None if whole.error else (await world.run.check(prompt, whole.text)).score
            child.outcome = 0.0 if score is not None and score < 1 else None  # one that leads on is left without label
    return tree


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
