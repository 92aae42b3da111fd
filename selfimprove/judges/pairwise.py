"""The language model as judge of two answers: both orders are always asked, and a disagreement is a tie."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selfimprove.prompts import fill_prompt
from selfimprove.records import Messages, Prompt, Row, as_messages

if TYPE_CHECKING:
    from selfimprove.judges import Asker

LETTERS = ("A", "B")


@dataclass(frozen=True)
class Config:
    """Options of the judge `pairwise`."""


@dataclass(frozen=True, slots=True)
class Preference(Row):
    """Which of two answers is better: the probability that it is the first, None where the judge failed.

    `agreed` says whether both orders named the same answer; where they did not, nobody wins.
    """

    probability: float | None
    agreed: bool = False
    reason: str = ""

    @property
    def winner(self) -> int | None:
        """0 or 1; None for a tie or a failure."""
        if self.probability is None or not self.agreed:
            return None
        return 0 if self.probability > 0.5 else 1


class Pairwise:
    """Says which of two answers is better, by the probabilities of one letter in both orders."""

    name = "pairwise"

    def __init__(self, config: Config) -> None:
        self.config = config

    async def prefer(self, run: "Asker", prompt: Prompt, first: str, second: str) -> Preference:
        """Return the preference between two answers."""
        asked = [render(prompt, first, second), render(prompt, second, first)]
        shares: list[float | None] = []
        for messages in asked:
            [sample] = await run.sample(
                prompt, 1, messages=messages, purpose="judge", temperature=0.0, max_tokens=2, choices=LETTERS
            )
            if sample.error or not sample.choices:
                return Preference(None, reason=sample.error or "no_letter")
            shares.append(math.exp(sample.choices["A"]))
        preference = combine(shares[0], shares[1])
        run.measure("judge_swapped", float(not preference.agreed))
        return preference


def render(prompt: Prompt, first: str, second: str) -> Messages:
    """Return what the judge is asked about two answers to the prompt's last question."""
    return as_messages(fill_prompt("judge_pairwise", question=prompt.text, first=first, second=second))


def combine(in_order: float | None, swapped: float | None) -> Preference:
    """Return the preference out of P(letter A) in both orders.

    `in_order` shows the first answer as A, `swapped` as B: p = (q1 + q2) / 2 with q1 = in_order, q2 = 1 - swapped, so
    that a judge who always says A prefers nobody (SCIR, p_gen).
    """
    if in_order is None or swapped is None:
        return Preference(None, reason="failed")
    first, second = in_order, 1 - swapped
    return Preference((first + second) / 2, agreed=(first - 0.5) * (second - 0.5) > 0)


def make(config: Config) -> Pairwise:
    """Return the judge."""
    return Pairwise(config)
