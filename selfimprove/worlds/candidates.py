"""Candidates for the next step of an answer: some drawn hotter than others, short pieces joined, the gold step first.

The expansion of MCTS-DPO (arXiv 2405.00451) over the steps of `worlds.steps`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from selfimprove.judges.encoder import cosine
from selfimprove.records import Prompt, Sample
from selfimprove.search.tree import Candidate
from selfimprove.worlds.steps import (
    StepsFailed,
    Writing,
    dotted,
    going_on,
    next_steps,
    none_failed,
    rest_of_answer,
    split_steps,
)

if TYPE_CHECKING:
    from selfimprove.run import Run

PIECES = 2
"""A short piece is joined with at most so many more."""


async def varied_steps(
    run: "Run", prompt: Prompt, before: str, count: int, writing: Writing, *, path: Sequence[int], attempt: int,
    hot: float, share: float, least: int = 4,
) -> list[Candidate]:  # fmt: skip
    """Return up to `count` next steps, each at temperature `hot` with probability `share`, else at the writing's.

    Which ones are hot depends on run seed, prompt, path and attempt alone. A step of fewer than `least` characters is
    joined with what follows it. Raises StepsFailed where one could not be drawn.
    """
    random = run.rng(prompt, "temperature", dotted((*path, attempt)))
    hotter = sum(random.random() < share for _ in range(count)) if hot != writing.temperature else 0
    calls = [(count - hotter, "expand", writing), (hotter, "expand_hot", replace(writing, temperature=hot))]
    lists = await asyncio.gather(
        *(
            next_steps(run, prompt, before, number, manner, path=path, attempt=attempt, purpose=purpose)
            for number, purpose, manner in calls
            if number
        )
    )
    steps = [step for found in lists for step in found]
    return list(
        await asyncio.gather(
            *(
                joined_step(run, prompt, before, step, writing, (*path, attempt, place), least)
                for place, step in enumerate(steps)
            )
        )
    )


async def joined_step(
    run: "Run", prompt: Prompt, before: str, step: Candidate, writing: Writing, path: Sequence[int], least: int
) -> Candidate:
    """Return a step of at least `least` characters: a shorter one goes on with what the policy writes after it."""
    for number in range(PIECES):
        if step.ended or not step.text or len(step.text.strip()) >= least:
            break
        found = await next_steps(
            run, prompt, before + step.text, 1, writing, path=path, attempt=number, purpose="join"
        )
        step = joined(step, found[0])
    return step


def joined(first: Candidate, second: Candidate) -> Candidate:
    """Return two steps as one; the answer ends with it where the second ends it, or where nothing came after."""
    logprob = None if first.logprob is None or second.logprob is None else first.logprob + second.logprob
    text = first.text + second.text
    ended = bool(text.strip()) and (second.ended or not second.text)
    return Candidate(text, first.tokens + second.tokens, logprob, ended, extra={**first.extra, **second.extra})


async def ends_of_answer(
    run: "Run", prompt: Prompt, before: str, count: int, writing: Writing, *, path: Sequence[int], attempt: int
) -> list[Candidate]:
    """Return `count` candidates that write the answer to its end; one that is cut at max_tokens has not ended.

    Raises StepsFailed where one could not be drawn.
    """
    samples = await rest_of_answer(
        run, prompt, before, count, writing, max_tokens=writing.max_tokens, path=path, attempt=attempt, purpose="end"
    )
    return [as_end(sample) for sample in none_failed(prompt, samples)]


def as_end(sample: Sample) -> Candidate:
    """Return the rest of an answer as one step."""
    whole = sample.finish == "stop" and bool(sample.text.strip())
    return Candidate(sample.text, sample.tokens, sample.logprob, whole, extra={} if whole else {"cut": True})


async def gold_step(run: "Run", prompt: Prompt, before: str, stop: str, to_the_end: bool = False) -> Candidate | None:
    """Return the step (or all steps) of the worked solution behind `before`; None where that is no prefix of it.

    It has the log-prob that the policy gives to it. Raises StepsFailed where it could not be scored.
    """
    steps = split_steps((prompt.solution or "").strip(), stop)
    place = next((at for at in range(len(steps)) if "".join(steps[:at]) == before), None)
    if place is None:
        return None
    text = "".join(steps[place:]) if to_the_end else steps[place]
    last = to_the_end or place + 1 == len(steps)
    scored = await run.logprobs(prompt, text, messages=going_on(prompt, before), end=last)
    if scored.error:
        raise StepsFailed(f"the worked solution of prompt {prompt.id} could not be scored: {scored.error}")
    return Candidate(text, len(scored.token_logprobs), scored.total, last, extra={"gold": True})


async def unlike(run: "Run", prompt: Prompt, steps: Sequence[Candidate], limit: float) -> list[Candidate]:
    """Return the steps whose sentence vector has a cosine of at most `limit` with every one kept before."""
    vectors = await asyncio.gather(*(run.embed(prompt, step.text.strip()) for step in steps))
    kept: list[int] = []
    for place, vector in enumerate(vectors):
        if all(cosine(vector, vectors[other]) <= limit for other in kept):
            kept.append(place)
    return [steps[place] for place in kept]
