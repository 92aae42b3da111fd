"""Steps of an answer as a policy writes them: what a tree of steps is grown from.

A step is what the policy writes up to a stop string, which stays in it, so that the steps of a line joined are the
answer as it stands. The answer goes on in the assistant's open turn: the prompt and its earlier steps are a common
prefix that an engine reads once.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selfimprove.errors import ConfigError, EngineError
from selfimprove.records import Messages, Prompt, Sample
from selfimprove.search.tree import Candidate

if TYPE_CHECKING:
    from selfimprove.engines.base import Policy
    from selfimprove.run import Run


class StepsFailed(EngineError):
    """A step could not be drawn or scored, since it is too long, say; the engine itself is alive.

    The tree ends with it: without this step it would be another tree.
    """


@dataclass(frozen=True)
class Writing:
    """How steps are written."""

    stop: str = "\n"  # what ends a step
    temperature: float = 0.7  # of sampling
    top_p: float = 1.0  # of sampling
    max_tokens: int = 256  # longest step
    answer: str = ""  # a regular expression; a step that holds it ends the answer, beside the end of turn

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if not self.stop or self.max_tokens < 1:
            raise ConfigError(
                f"steps: stop is {self.stop!r} and max_tokens {self.max_tokens}; a step ends in a stop string, or "
                "after at least one token"
            )
        try:
            re.compile(self.answer)
        except re.error as error:
            raise ConfigError(f"steps: answer is {self.answer!r}, which is no regular expression: {error}") from None


async def next_steps(
    run: "Run",
    prompt: Prompt,
    before: str,
    count: int,
    writing: Writing,
    *,
    path: Sequence[int | str] = (),
    attempt: int = 0,
    purpose: str = "expand",
    policy: "Policy | None" = None,
    temperature: float | None = None,
) -> list[Candidate]:
    """Return `count` next steps after the text `before`, as the policy writes them; some may be empty or equal.

    `path` names the node for the seed. Raises StepsFailed where one could not be drawn.
    """
    samples = await run.sample(
        prompt, count, messages=going_on(prompt, before), policy=policy, purpose=purpose, path=dotted(path),
        attempt=attempt, temperature=writing.temperature if temperature is None else temperature,
        top_p=writing.top_p, max_tokens=writing.max_tokens, stop=(writing.stop,), keep_stop=True,
    )  # fmt: skip
    return [as_step(sample, writing) for sample in none_failed(prompt, samples)]


def none_failed(prompt: Prompt, samples: Sequence[Sample]) -> Sequence[Sample]:
    """Return samples of a step as they are; raises StepsFailed where one failed."""
    failed = next((sample.error for sample in samples if sample.error), None)
    if failed:
        raise StepsFailed(f"a step of prompt {prompt.id} could not be drawn: {failed}")
    return samples


async def rest_of_answer(
    run: "Run",
    prompt: Prompt,
    before: str,
    count: int,
    writing: Writing,
    *,
    max_tokens: int,
    path: Sequence[int | str] = (),
    attempt: int = 0,
    purpose: str = "rollout",
    policy: "Policy | None" = None,
    temperature: float | None = None,
) -> list[Sample]:
    """Return `count` whole ends of an answer that has begun with `before`."""
    return await run.sample(
        prompt, count, messages=going_on(prompt, before), policy=policy, purpose=purpose, path=dotted(path),
        attempt=attempt, temperature=writing.temperature if temperature is None else temperature,
        top_p=writing.top_p, max_tokens=max_tokens,
    )  # fmt: skip


def as_step(sample: Sample, writing: Writing) -> Candidate:
    """Return a sampled step; the answer ends with it at the end of turn, or where it holds the answer."""
    of_itself = sample.finish == "stop" and not sample.text.endswith(writing.stop)
    ended = of_itself or bool(writing.answer and re.search(writing.answer, sample.text))
    extra = {"cut": True} if sample.finish == "length" else {}
    return Candidate(sample.text, sample.tokens, sample.logprob, ended and bool(sample.text.strip()), extra=extra)


def going_on(prompt: Prompt, before: str) -> Messages:
    """Return the conversation in which the assistant has begun its answer with `before`."""
    return (*prompt.messages, {"role": "assistant", "content": before}) if before else prompt.messages


def dotted(path: Sequence[int | str]) -> str:
    """Return a path as one word, `0.2.1`."""
    return ".".join(map(str, path))


def split_steps(text: str, stop: str = "\n") -> list[str]:
    """Return the steps of a written answer, each with its stop string; blank ones join the one before them."""
    steps: list[str] = []
    for piece in re.split(f"(?<={re.escape(stop)})", text):
        if steps and not piece.strip():
            steps[-1] += piece
        elif piece:
            steps.append(piece)
    return steps
