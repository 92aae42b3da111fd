"""reasoning-gym's tasks, each graded by its own scorer in a killable worker.

A prompt carries its task in `meta`: {"gym": task name, "entry": the generated entry}. Full marks count as
right, anything less as wrong; the raw score is kept in the verdict's reason ("raw 0.05"). Because a scorer
compares with the bare answer while models wrap theirs in words, the tagged (<answer>...</answer>), boxed or
final answer is tried, and the text as a whole.
"""

import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from selfimprove.errors import DataError, missing_package
from selfimprove.records import Prompt, Verdict
from selfimprove.verify.extraction import boxed, canonical, find_answer, read_number
from selfimprove.verify.pool import WORKER, Pool, shared_pool

LONGEST = 20_000
"""Longest text that is graded; boards and lists are answers here, so it is generous."""

FULL = 1.0 - 1e-6
"""Raw score from which an answer is right."""


class Gym:
    """Right where the task's own scorer gives full marks."""

    name = "gym"
    settings: Mapping[str, Any] = {}

    def __init__(self, pool: Callable[[], Pool] = shared_pool) -> None:
        """Take where the workers come from; they start when the first answer is graded."""
        self._pool = pool
        self._used: Pool | None = None

    def extract(self, text: str) -> str | None:
        """Return the tagged or boxed answer, otherwise the final answer as in mathematics, in one spelling."""
        marked = _marked(text[-LONGEST:])
        if marked:
            return " ".join(marked.split())
        found = find_answer(text)
        return None if found is None else canonical(found) or None

    async def grade(self, prompt: Prompt, text: str) -> Verdict:
        """Return the verdict of the task's scorer; None as its score where that failed or ran out of time."""
        task, entry = prompt.meta.get("gym"), prompt.meta.get("entry")
        if not isinstance(task, str) or not isinstance(entry, dict):
            raise DataError(
                f"prompt {prompt.id}: the verifier 'gym' needs meta {{'gym': task name, 'entry': the task}}; "
                "prompts from `{gym: <task>}` have it"
            )
        if find_spec("reasoning_gym") is None:
            raise missing_package("verify/gym.py", "reasoning-gym", "gym")
        readings = _readings(prompt, text)
        if not readings:
            return Verdict(0.0, reason="no_answer", source=self.name)
        self._used = self._pool()
        reply = await self._used.call("gym", task, entry, readings)
        label = self.extract(text) or ""
        if reply.failure:
            return Verdict(None, label, reply.failure, self.name + WORKER)
        return Verdict(float(reply.value >= FULL), label, f"raw {reply.value:g}", self.name + WORKER)

    async def grade_gold(self, prompt: Prompt) -> Verdict:
        """Return the verdict on the entry's own answer; some puzzles have none (reason "no_gold")."""
        if prompt.gold is None:
            return Verdict(None, reason="no_gold", source=self.name)
        return await self.grade(prompt, prompt.gold)

    def close(self) -> None:
        """Stop the workers that were used."""
        if self._used is not None:
            self._used.close()
            self._used = None


def _marked(text: str) -> str | None:
    start = text.rfind("<answer>")
    if start >= 0:
        return text[start + len("<answer>") :].partition("</answer>")[0].strip() or None
    return boxed(text)


def _readings(prompt: Prompt, text: str) -> list[str]:
    """Return the readings of a text to score: what was marked alone, otherwise the final answer and the whole."""
    text = text[-LONGEST:].strip()
    marked = _marked(text)
    if marked:
        return [marked]
    if prompt.gold is not None and read_number(prompt.gold) is not None and re.fullmatch(r"-?[\d./]+", prompt.gold):
        found = find_answer(text)
        return [canonical(found)] if found else []
    found = find_answer(text) if len(text) > len(prompt.gold or "") else None
    return [reading for reading in dict.fromkeys((text, found or "")) if reading]


def make(*_: object) -> Gym:
    """Return the verifier."""
    return Gym()
