"""Ground truth: what checks an answer, and the check of the gold answers themselves.

A verifier compares one text with what is known of the right answer. It never guesses: where it cannot
tell (a gold answer it cannot read, a timeout), the verdict's score is None and its reason says why.
"""

import asyncio
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, Protocol

from selfimprove.config import Sandbox as SandboxOptions
from selfimprove.config import digest
from selfimprove.errors import ConfigError, did_you_mean
from selfimprove.records import Prompt, Verdict
from selfimprove.verify.sandbox import open_sandbox

FILES = {
    "answer": "answers",
    "gym": "gym",
    "exact": "exact",
    "tests": "tests",
    "formats": "formats",
    "program": "straight_line",
    "countdown": "countdown",
}
"""Name in a recipe: file in this folder; each file has `make(sandbox, options) -> Verifier`."""

IN_FLIGHT = 64
"""Gold answers that `validate_gold` grades at once."""


class Verifier(Protocol):
    """What every verifier can do; `settings` are the options that its verdicts depend on."""

    name: str
    settings: Mapping[str, Any]

    def extract(self, text: str) -> str | None:
        """Return the final answer of a text in a form that can be voted on, None where there is none."""

    async def grade(self, prompt: Prompt, text: str) -> Verdict:
        """Return score 1.0 or 0.0, or None with a reason where it could not tell."""

    async def grade_gold(self, prompt: Prompt) -> Verdict:
        """Return the verdict on the prompt's own gold answer, written the way a right answer is."""

    def close(self) -> None:
        """Stop worker processes; safe to call twice, and the verifier starts them again when asked again."""


class Verifiers:
    """The verifiers of a run, each made when first asked for, and the one sandbox in which they run code."""

    def __init__(self, options: SandboxOptions | None = None) -> None:
        """Prepare; nothing is started. `options` are the recipe's `sandbox` section."""
        self.options = options or SandboxOptions()
        self.sandbox = open_sandbox(self.options)
        self._made: dict[str, Verifier] = {}

    def of(self, prompt: Prompt) -> Verifier:
        """Return the verifier that a prompt names; raises ConfigError where there is none of that name."""
        name = prompt.verifier
        if name not in FILES:
            raise ConfigError(f"there is no verifier '{name}'{did_you_mean(name, FILES)}")
        if name not in self._made:
            self._made[name] = import_module(f"selfimprove.verify.{FILES[name]}").make(self.sandbox, self.options)
        return self._made[name]

    def request(self, prompt: Prompt, text: str) -> dict[str, Any]:
        """Return all that a verdict depends on as plain JSON types: what the ledger knows it by."""
        asked = {"verifier": prompt.verifier, "gold": prompt.gold, "text": text, "meta": digest(prompt.meta)}
        return {**asked, **self.of(prompt).settings}

    def close(self) -> None:
        """Stop every worker process; safe to call twice, and whatever is asked again starts again."""
        for each in self._made.values():
            each.close()
        self.sandbox.close()


async def validate_gold(
    prompts: Iterable[Prompt], options: SandboxOptions | None = None
) -> list[tuple[Prompt, Verdict]]:
    """Return the prompts whose gold answer their verifier does not grade 1.0, with its verdict, in order.

    Streams: only the rows that fail are kept. A prompt without a gold answer fails with reason "no_gold".
    """
    verifiers = Verifiers(options)
    failed: list[tuple[Prompt, Verdict]] = []

    async def check(prompt: Prompt) -> tuple[Prompt, Verdict]:
        return prompt, await verifiers.of(prompt).grade_gold(prompt)

    try:
        waiting: list[Prompt] = []
        for prompt in prompts:
            waiting.append(prompt)
            if len(waiting) == IN_FLIGHT:
                failed += _not_right(await asyncio.gather(*map(check, waiting)))
                waiting.clear()
        failed += _not_right(await asyncio.gather(*map(check, waiting)))
    finally:
        verifiers.close()
    return failed


def _not_right(checked: Iterable[tuple[Prompt, Verdict]]) -> list[tuple[Prompt, Verdict]]:
    return [(prompt, verdict) for prompt, verdict in checked if verdict.score != 1.0]
