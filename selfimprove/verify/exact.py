"""The plainest verifier: the whole answer is the gold text, white space around it aside."""

import unicodedata
from collections.abc import Mapping
from typing import Any

from selfimprove.records import Prompt, Verdict


class Exact:
    """Right where the answer is the gold text: upper and lower case count, outer white space does not."""

    name = "exact"
    settings: Mapping[str, Any] = {}

    def extract(self, text: str) -> str | None:
        """Return the text without outer white space, None where nothing is left."""
        return unicodedata.normalize("NFC", text).strip() or None

    async def grade(self, prompt: Prompt, text: str) -> Verdict:
        """Return 1.0 where the text is the gold answer; None where the prompt has no gold answer."""
        if prompt.gold is None:
            return Verdict(None, reason="no_gold", source=self.name)
        answer = self.extract(text)
        if answer is None:
            return Verdict(0.0, reason="no_answer", source=self.name)
        return Verdict(float(answer == self.extract(prompt.gold)), label=answer, source=self.name)

    async def grade_gold(self, prompt: Prompt) -> Verdict:
        """Return the verdict on the gold answer itself."""
        return await self.grade(prompt, prompt.gold or "")

    def close(self) -> None:
        """Do nothing: there is nothing to stop."""


def make(*_: object) -> Exact:
    """Return the verifier."""
    return Exact()
