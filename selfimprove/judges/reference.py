"""The policy grades an answer from 0 to 9 with a reference in view, corrected by how alike the two are in meaning.

The grade is not what the policy writes but what it expects to write: z1, the mean of the ten digits over the
probabilities of its first token. z2 is the cosine of the sentence embeddings of answer and reference. Together they
are z = w z1 / 9 + (1 - w) z2 (Self-J, arXiv 2409.00935; w and the scale are ours). With `gold: false` the judge sees
no reference and says z1: so grades a judge that was trained by the method self-judge.

The distribution is `Sample.choices`, renormalised over the ten digits. What that loses is how much probability the
policy gave to anything else: `digit_mass` measures what the digits had of the whole, and `least_mass` refuses grades
of a policy that hardly thought of a digit.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selfimprove.errors import ConfigError
from selfimprove.judges.encoder import MINILM, cosine
from selfimprove.judges.implicit import POLICIES
from selfimprove.judges.llm import expected_grade
from selfimprove.prompts import fill_prompt
from selfimprove.records import Messages, Prompt, Sample, Verdict, as_messages

if TYPE_CHECKING:
    from selfimprove.judges import Asker

DIGITS = tuple("0123456789")
TOP = 9
RESPONSE = "\n\n### Response:"
"""What stands between prompt and digit where there is no chat template."""

WRAPPERS = ("chat", "plain")


@dataclass(frozen=True)
class Config:
    """Options of the judge `reference`."""

    gold: bool = True  # show the reference and compare the answer with it; false: neither, and the grade is z1 alone
    weight: float = 0.5  # w, of the policy's grade z1; 1 - w is that of the likeness in meaning z2
    policy: str = "policy"  # who grades: policy, previous or base
    encoder: str = MINILM  # sentence encoder of z2: minilm (a package of its own), or a folder
    wrapper: str = "chat"  # chat: the model's own chat template; plain: text that ends with "### Response:"
    characters: int = 2000  # of the question, the reference and the answer each that are shown; the rest is cut
    least_mass: float = 0.0  # probability that the ten digits must have together in the first token, or no grade

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for name, allowed in (("policy", POLICIES), ("wrapper", WRAPPERS)):
            if getattr(self, name) not in allowed:
                known = ", ".join(allowed)
                raise ConfigError(f"reference judge: {name} is '{getattr(self, name)}'; it is one of {known}")
        for name in ("weight", "least_mass"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"reference judge: {name} is {getattr(self, name)}; it must lie between 0 and 1")
        if self.characters < 1:
            raise ConfigError(f"reference judge: characters is {self.characters}; it must be at least 1")


@dataclass(frozen=True, slots=True)
class Grade:
    """One grade: z1 in [0, 9], z2 in [0, 1], z in [0, 1] and the digit; None where it failed, for the reason given."""

    z1: float | None = None
    z2: float | None = None
    z: float | None = None
    digit: int | None = None
    reason: str = ""


class Reference:
    """Grades an answer from 0 to 9 against the prompt's worked solution or gold answer."""

    name = "reference"
    bounds = (0, TOP)

    def __init__(self, config: Config) -> None:
        self.config = config

    async def score(self, run: "Asker", prompt: Prompt, text: str) -> Verdict:
        """Return the verdict on an answer, 9 z with its digit as label; score None where there is no grade."""
        grade = await self.grade(run, prompt, text)
        if grade.z is None:
            return Verdict(None, reason=grade.reason, source=self.name)
        return Verdict(TOP * grade.z, label=str(grade.digit), source=self.name)

    async def grade(self, run: "Asker", prompt: Prompt, text: str) -> Grade:
        """Return the grade of an answer with its parts."""
        cfg = self.config
        reference = reference_of(prompt) if cfg.gold else None
        if cfg.gold and reference is None:
            return Grade(reason="no_reference")
        [sample] = await run.sample(
            prompt, 1, messages=render(cfg, prompt, text, reference), policy=getattr(run, cfg.policy),
            purpose="judge", temperature=0.0, max_tokens=4, choices=DIGITS,
        )  # fmt: skip
        if sample.error:
            return Grade(reason=sample.error)
        mass, z1 = digit_mass(sample), expected_grade(sample.choices or {})
        if mass is not None:
            run.measure("digit_mass", mass)
        if z1 is None or (mass is not None and mass < cfg.least_mass):
            return Grade(reason="no_digit")
        if reference is None:
            return Grade(z1, None, z1 / TOP, digit_of(z1 / TOP))
        z2 = await likeness(run, prompt, text, reference, cfg.encoder) if cfg.weight < 1 else None
        z = combined(z1, z2, cfg.weight)
        return Grade(z1, z2, z, digit_of(z))


async def likeness(run: "Asker", prompt: Prompt, text: str, reference: str, encoder: str = MINILM) -> float:
    """Return z2, the cosine in [-1, 1] of the sentence embeddings of two texts."""
    return cosine(await run.embed(prompt, text, encoder), await run.embed(prompt, reference, encoder))


def reference_of(prompt: Prompt) -> str | None:
    """Return what an answer is compared with: the prompt's worked solution, else its gold answer, else None."""
    return (prompt.solution or "").strip() or (prompt.gold or "").strip() or None


def render(cfg: Config, prompt: Prompt, text: str, reference: str | None) -> Messages:
    """Return what the judge is asked of an answer; the same in training and afterwards, digit first in the reply."""
    shown = {name: cut(value, cfg.characters) for name, value in (("question", prompt.text), ("answer", text))}
    asked = fill_prompt("judge_reference", **shown, reference=cut(reference, cfg.characters) if reference else None)
    return as_messages(asked) if cfg.wrapper == "chat" else as_messages(asked + RESPONSE, "text")


def cut(text: str, characters: int) -> str:
    """Return a text cut to so many characters, so that the prompt never has to be: that would cut off the digit."""
    text = text.strip()
    return text if len(text) <= characters else f"{text[:characters].rstrip()} [...]"


def combined(z1: float, z2: float | None, weight: float = 0.5) -> float:
    """Return z = w z1 / 9 + (1 - w) z2 in [0, 1], z2 clipped to [0, 1]; z2 None: z1 / 9."""
    return z1 / TOP if z2 is None else weight * z1 / TOP + (1 - weight) * min(max(z2, 0.0), 1.0)


def digit_of(z: float) -> int:
    """Return the label d = floor(9 z + 0.5) in 0..9: halves go up, unlike Python's round."""
    return min(max(math.floor(TOP * z + 0.5), 0), TOP)


def digit_mass(sample: Sample) -> float | None:
    """Return the probability of all ten digits in the first token, None where the engine does not tell.

    A sample's log-prob is that of its label as it is, its choices are renormalised over the labels; the difference is
    the log of what all labels have together.
    """
    choices: Mapping[str, float] = sample.choices or {}
    if sample.logprob is None or sample.tokens != 1 or sample.text not in choices:
        return None
    return min(math.exp(sample.logprob - choices[sample.text]), 1.0)


def make(config: Config) -> Reference:
    """Return the judge."""
    return Reference(config)
