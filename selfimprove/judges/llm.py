"""The language model as judge of one answer: a rubric is rendered, its verdicts are parsed, several are combined.

`read: text` lets the judge justify itself and takes the mean of several verdicts; `read: digits` asks for the grade
alone and takes its expectation over the probabilities of all grades, which costs one token.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

from selfimprove.errors import ConfigError
from selfimprove.prompts import fill_prompt
from selfimprove.records import Messages, Prompt, Verdict, as_messages

if TYPE_CHECKING:
    from selfimprove.judges import Asker

RANGES = {"additive": (0, 5), "scale": (1, 10)}
"""Lowest and highest grade of a rubric; `criteria` goes from 0 to their number."""

SCORE = re.compile(r"score\s*:\s*\**\s*(\d+(?:\.\d+)?)", re.IGNORECASE)


@dataclass(frozen=True)
class Config:
    """Options of the judge `llm`."""

    rubric: str = "additive"  # additive (0 to 5, a point a statement), scale (1 to 10), or criteria (given below)
    criteria: list[str] = field(default_factory=list)  # statements that give one point each where they hold
    read: str = "text"  # text: the last `Score: n` of a justified verdict; digits: the expected grade, one token
    samples: int = 3  # verdicts that are averaged (text)
    temperature: float = 0.7  # of those verdicts
    top_p: float = 0.9  # of those verdicts
    max_tokens: int = 256  # longest verdict

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if self.rubric not in (*RANGES, "criteria"):
            raise ConfigError(f"llm judge: rubric is '{self.rubric}'; it is one of {', '.join(RANGES)}, criteria")
        if (self.rubric == "criteria") != bool(self.criteria):
            raise ConfigError("llm judge: criteria are given together with rubric: criteria, and only there")
        if self.read not in ("text", "digits"):
            raise ConfigError(f"llm judge: read is '{self.read}'; it is text or digits")
        if self.samples < 1:
            raise ConfigError(f"llm judge: samples is {self.samples}; it must be at least 1")

    @property
    def bounds(self) -> tuple[int, int]:
        """The lowest and the highest grade."""
        return RANGES.get(self.rubric, (0, len(self.criteria)))


class Llm:
    """Grades an answer by a rubric that a policy applies."""

    name = "llm"

    def __init__(self, config: Config) -> None:
        self.config = config
        self.bounds = config.bounds

    async def score(self, run: "Asker", prompt: Prompt, text: str) -> Verdict:
        """Return the verdict on an answer, its score None where no verdict could be read."""
        cfg, messages = self.config, render(self.config, prompt, text)
        if cfg.read == "digits":
            labels = tuple(str(grade) for grade in range(cfg.bounds[0], cfg.bounds[1] + 1))
            [sample] = await run.sample(
                prompt, 1, messages=messages, purpose="judge", temperature=0.0, max_tokens=4, choices=labels
            )
            if sample.error:
                return Verdict(None, reason=sample.error, source=self.name)
            expected = expected_grade(sample.choices or {})
            return Verdict(expected, reason="" if expected is not None else "no_digit", source=self.name)
        samples = await run.sample(
            prompt, cfg.samples, messages=messages, purpose="judge",
            temperature=cfg.temperature, top_p=cfg.top_p, max_tokens=cfg.max_tokens,
        )  # fmt: skip
        grades = [None if sample.error else parse(sample.text, *cfg.bounds) for sample in samples]
        run.measure("judge_unparsed", sum(grade is None for grade in grades) / len(grades))
        return combine(grades, self.name)


def render(cfg: Config, prompt: Prompt, text: str) -> Messages:
    """Return what the judge is asked about an answer to the prompt's last question."""
    values = {"question": prompt.text, "answer": text, "digits": cfg.read == "digits"}
    if cfg.rubric == "criteria":
        values["criteria"] = list(cfg.criteria)
    return as_messages(fill_prompt(f"judge_{cfg.rubric}", **values))


def parse(text: str, low: float, high: float) -> float | None:
    """Return the grade of the last `Score: n` in a verdict; None where there is none, or it is out of range."""
    found = SCORE.findall(text)
    return float(found[-1]) if found and low <= float(found[-1]) <= high else None


def combine(grades: Sequence[float | None], source: str = "llm") -> Verdict:
    """Return the mean of the grades that could be read; score None where none could."""
    known = [grade for grade in grades if grade is not None]
    if not known:
        return Verdict(None, reason="unparsed", source=source)
    missing = len(grades) - len(known)
    return Verdict(fmean(known), reason=f"{missing} of {len(grades)} unparsed" if missing else "", source=source)


def expected_grade(logprobs: Mapping[str, float]) -> float | None:
    """Return sum(k p_k) / sum(p_k) over the grades k with a known log-prob; None where there is none (Self-J, z1)."""
    weights = {float(grade): math.exp(value) for grade, value in logprobs.items()}
    total = sum(weights.values())
    return sum(grade * weight for grade, weight in weights.items()) / total if total else None


def make(config: Config) -> Llm:
    """Return the judge."""
    return Llm(config)
