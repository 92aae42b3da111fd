"""A judge that sees nothing but length: there to try audits and drift watches on."""

from dataclasses import dataclass

from selfimprove.judges import Asker
from selfimprove.records import Prompt, Verdict


@dataclass(frozen=True)
class Config:
    """Options of the judge `length`: none."""


class Length:
    """Scores an answer by the number of its words."""

    name = "length"
    bounds = None

    async def score(self, run: Asker, prompt: Prompt, text: str) -> Verdict:
        """Return the verdict on an answer."""
        return Verdict(float(len(text.split())), source=self.name)


def make(config: Config) -> Length:
    """Return the judge."""
    return Length()
