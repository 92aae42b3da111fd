"""Ground truth: what checks an answer, and the check of the gold answers themselves.

A verifier compares one text with what is known of the right answer. It never guesses: where it cannot
tell (a gold answer it cannot read, a timeout), the verdict's score is None and its reason says why.
"""

import asyncio
from collections.abc import Iterable
from importlib import import_module
from typing import Protocol

from selfimprove.errors import ConfigError, did_you_mean
from selfimprove.records import Prompt, Verdict

FILES = {"answer": "answers", "gym": "gym", "exact": "exact"}
"""Name in a recipe: file in this folder; each file has `make() -> Verifier`."""

IN_FLIGHT = 64
"""Gold answers that `validate_gold` grades at once."""


class Verifier(Protocol):
    """What every verifier can do."""

    name: str

    def extract(self, text: str) -> str | None:
        """Return the final answer of a text in a form that can be voted on, None where there is none."""

    async def grade(self, prompt: Prompt, text: str) -> Verdict:
        """Return score 1.0 or 0.0, or None with a reason where it could not tell."""

    async def grade_gold(self, prompt: Prompt) -> Verdict:
        """Return the verdict on the prompt's own gold answer, written the way a right answer is."""

    def close(self) -> None:
        """Stop worker processes; safe to call twice, and the verifier starts them again when asked again."""


def verifier(name: str) -> Verifier:
    """Return the verifier of that name; raises ConfigError where there is none."""
    if name not in FILES:
        raise ConfigError(f"there is no verifier '{name}'{did_you_mean(name, FILES)}")
    return import_module(f"selfimprove.verify.{FILES[name]}").make()


async def validate_gold(prompts: Iterable[Prompt]) -> list[tuple[Prompt, Verdict]]:
    """Return the prompts whose gold answer their verifier does not grade 1.0, with its verdict, in order.

    Streams: only the rows that fail are kept. A prompt without a gold answer fails with reason "no_gold".
    """
    made: dict[str, Verifier] = {}
    failed: list[tuple[Prompt, Verdict]] = []

    async def check(prompt: Prompt) -> tuple[Prompt, Verdict]:
        if prompt.verifier not in made:
            made[prompt.verifier] = verifier(prompt.verifier)
        return prompt, await made[prompt.verifier].grade_gold(prompt)

    try:
        waiting: list[Prompt] = []
        for prompt in prompts:
            waiting.append(prompt)
            if len(waiting) == IN_FLIGHT:
                failed += _not_right(await asyncio.gather(*map(check, waiting)))
                waiting.clear()
        failed += _not_right(await asyncio.gather(*map(check, waiting)))
    finally:
        for each in made.values():
            each.close()
    return failed


def _not_right(checked: Iterable[tuple[Prompt, Verdict]]) -> list[tuple[Prompt, Verdict]]:
    return [(prompt, verdict) for prompt, verdict in checked if verdict.score != 1.0]
