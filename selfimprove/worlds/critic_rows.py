"""What critics learn from: answers of the policy with the truth about them, for their beginnings or as a whole."""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

from selfimprove.records import Example, Pair, Prompt, Skip, Steps
from selfimprove.worlds.critics import VERDICT, outcome_messages
from selfimprove.worlds.steps import split_steps

if TYPE_CHECKING:
    from selfimprove.run import Run
    from selfimprove.search.tree import Tree

RIGHT, WRONG = 1.0, -1.0
"""The labels of a value model."""


def prefix_labels(count: int, right: bool, chosen: int, rng: Random) -> list[float | None]:
    """Return a label for every step of an answer: RIGHT or WRONG on `chosen` of them (0: all), None on the others."""
    label = RIGHT if right else WRONG
    labelled = range(count) if not 0 < chosen < count else rng.sample(range(count), chosen)
    return [label if at in labelled else None for at in range(count)]


def value_row(run: "Run", prompt: Prompt, steps: Sequence[str], right: bool, prefixes: int, tag: str) -> Steps:
    """Return the row that teaches a value model what the beginnings of an answer lead to."""
    labels = prefix_labels(len(steps), right, prefixes, run.rng(prompt, "prefixes", tag))
    return Steps.of(prompt, steps, labels, tag=tag, round=run.round)


def outcome_row(run: "Run", prompt: Prompt, text: str, right: bool, tag: str) -> Example:
    """Return the row that teaches an outcome critic its verdict on an answer."""
    messages = outcome_messages(prompt, text)
    return Example(
        f"{prompt.id}/{tag}", messages, VERDICT[0 if right else 1], round=run.round, meta={"critic": "outcome"}
    )


async def labelled_answers(
    run: "Run", prompt: Prompt, count: int, stop: str, *, temperature: float, max_tokens: int, prefixes: int,
    value: bool, outcome: bool,
) -> list[Example | Pair | Steps | Skip]:  # fmt: skip
    """Return rows of the policy's answers to a prompt and of its solution, for a value model and an outcome critic.

    Answers that are cut, empty, or that the verifier cannot grade are left out; none twice.
    """
    samples = await run.sample(prompt, count, purpose="critics", temperature=temperature, max_tokens=max_tokens)
    texts = list(dict.fromkeys(sample.text for sample in samples if sample.ok and sample.finish == "stop"))
    verdicts = await asyncio.gather(*(run.check(prompt, text) for text in texts))
    scores = [verdict.score for verdict in verdicts]
    graded = [(text, score == 1) for text, score in zip(texts, scores, strict=True) if score is not None]
    if graded:
        run.measure("right_answers", sum(right for _, right in graded) / len(graded))
    solution = (prompt.solution or "").strip()
    if solution and solution not in texts:
        graded.insert(0, (solution, True))
    if not graded:
        return [Skip(prompt.id, "no_labels", f"none of {count} answers ended and could be graded, and no solution")]
    rows: list[Example | Pair | Steps | Skip] = []
    for number, (text, right) in enumerate(graded):
        if value:
            rows.append(value_row(run, prompt, split_steps(text, stop), right, prefixes, f"value-{number}"))
        if outcome:
            rows.append(outcome_row(run, prompt, text, right, f"outcome-{number}"))
    return rows


async def grade_ends(run: "Run", prompt: Prompt, tree: "Tree") -> None:
    """Note on every finished answer of a tree what the verifier says of it; nothing without a gold answer."""
    if prompt.gold is None:
        return
    ends = tree.ends()
    verdicts = await asyncio.gather(*(run.check(prompt, tree.text(end)) for end in ends))
    for end, verdict in zip(ends, verdicts, strict=True):
        end.outcome = verdict.score


def labelled_ends(run: "Run", prompt: Prompt, tree: "Tree", prefixes: int) -> list[Steps]:
    """Return rows for a value model of a tree's finished answers of which the truth is noted."""
    rows = []
    for number, end in enumerate(tree.ends()):
        if end.outcome is not None:
            tag = f"end-{run.round}-{number}"
            rows.append(value_row(run, prompt, tree.steps(end), end.outcome == 1, prefixes, tag))
    return rows
