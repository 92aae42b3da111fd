"""Three critics of an answer that is being written: its value, its outcome, and the step that was just taken.

The value critic says how an answer that began so will end, the outcome critic whether a whole one is right, the
process critic whether the last step is. A language model is asked for one token, and its probabilities are the score;
what could not be asked is None.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING

from selfimprove.errors import ConfigError
from selfimprove.prompts import fill_prompt
from selfimprove.records import Messages, Prompt, Sample, as_messages

if TYPE_CHECKING:
    from selfimprove.run import Run

TRUTH, VERDICT, SAME = ("True", "False"), (" correct", " wrong"), ("yes", "no")
"""The labels of verdicts, the good one first. Those of an outcome go on from OPENING, so they begin with a space."""

OPENING = "The solution to the problem is"

AGGREGATES = ("latest", "avg", "max", "min")


@dataclass(frozen=True)
class Critics:
    """Which critics there are, and what they weigh: R = lambda_v v + lambda_f f + lambda_p p."""

    value_weight: float = 1.0  # lambda_v, of what an answer that began so is worth, from -1 to 1
    outcome_weight: float = 1.0  # lambda_f, of the outcome: that of a whole answer, else the mean of its roll-outs
    process_weight: float = 0.0  # lambda_p, of the steps
    value: str = "model"  # model: the run's value model; verdict: the policy's True or False, 2 (p - 0.5)
    outcome: str = "verdict"  # verdict: the policy's correct or wrong; verifier: the truth (gold); value: v at the end
    calibrated: bool = False  # the outcome's verdict among all tokens, not only among the two
    simulations: int = 4  # roll-outs of an answer that is not finished
    fast: str = "policy"  # who rolls out: policy, or base (the start model)
    rollout_temperature: float = 1.0  # of roll-outs
    process: str = "latest"  # how the scores of a line's steps become one: latest, avg, max or min

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        allowed = {
            "value": ("model", "verdict"), "outcome": ("verdict", "verifier", "value"), "fast": ("policy", "base"),
            "process": AGGREGATES,
        }  # fmt: skip
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ConfigError(f"critics: {name} is '{getattr(self, name)}'; it is one of {', '.join(values)}")
        weights = (self.value_weight, self.outcome_weight, self.process_weight)
        if min(weights) < 0 or not any(weights):
            raise ConfigError(f"critics: the weights are {weights}; none may be negative, and one must be above 0")
        if self.outcome_weight and self.simulations < 1:
            raise ConfigError(
                f"critics: simulations is {self.simulations}; unfinished answers need roll-outs, or outcome_weight: 0"
            )

    @property
    def ask_model(self) -> bool:
        """Whether a value model is needed."""
        return self.value == "model" and (self.value_weight > 0 or self.outcome == "value")


def without_truth(critics: Critics, run: "Run") -> Critics:
    """Return the critics as they are where gold must not be seen, and where a value model may not be there yet.

    The truth gives way to the value at the end, or to a verdict; a value model to a verdict of the policy.
    """
    if critics.outcome == "verifier":
        critics = replace(critics, outcome="value" if critics.value_weight else "verdict")
    missing = critics.ask_model and "value" not in run.models
    return replace(critics, value="verdict") if missing else critics


def verdict_score(good: float | None, bad: float | None) -> float:
    """Return p_T / (p_T + p_F) of a verdict's two probabilities; 0 without p_T, 1 where only p_F is missing."""
    if not good:
        return 0.0
    return good / (good + bad) if bad else 1.0


def read_verdict(sample: Sample, labels: tuple[str, str], calibrated: bool = False) -> float | None:
    """Return the score in [0, 1] of a one-token verdict, None where it failed.

    `calibrated`: p_T where the good label was given, 1 - p_F where the other was, both among all tokens.
    """
    if sample.error or sample.choices is None:
        return None
    if calibrated:
        if sample.logprob is None:
            return None
        said = math.exp(sample.logprob)
        return said if sample.text == labels[0] else 1 - said
    good, bad = (probability(sample.choices, label) for label in labels)
    return verdict_score(good, bad)


def probability(choices: Mapping[str, float], label: str) -> float | None:
    """Return a label's probability, None where it has none."""
    logprob = choices.get(label, -math.inf)
    return math.exp(logprob) if logprob > -math.inf else None


def aggregate(scores: Sequence[float], how: str) -> float:
    """Return the score of a line of steps from those of its steps, the last of which is the newest."""
    return {"latest": scores[-1], "avg": fmean(scores), "max": max(scores), "min": min(scores)}[how]


async def ask_verdict(
    run: "Run", prompt: Prompt, messages: Messages, labels: tuple[str, str], purpose: str, calibrated: bool = False
) -> float | None:
    """Return the score of a one-token verdict of the policy, or of the critic that was trained for the purpose."""
    [sample] = await run.sample(
        prompt, 1, messages=messages, policy=run.models.get(purpose), purpose=purpose, temperature=0.0, max_tokens=2,
        choices=labels,
    )  # fmt: skip
    score = read_verdict(sample, labels, calibrated)
    run.measure(f"{purpose}_failed", float(score is None))
    return score


async def value_of(cfg: Critics, run: "Run", prompt: Prompt, text: str) -> float | None:
    """Return v in about [-1, 1] of an answer that began with `text`, None where it failed."""
    if cfg.value == "model":
        return await run.value(prompt, text)
    asked = fill_prompt("alphallm_value", question=prompt.text, before=text or "(nothing yet)")
    score = await ask_verdict(run, prompt, as_messages(asked), TRUTH, "value_verdict")
    return None if score is None else 2 * (score - 0.5)


async def outcome_of(cfg: Critics, run: "Run", prompt: Prompt, text: str) -> float | None:
    """Return f in [0, 1] of a whole answer, None where it failed."""
    if cfg.outcome == "verifier":
        return (await run.check(prompt, text)).score
    if cfg.outcome == "value":
        value = await value_of(cfg, run, prompt, text)
        return None if value is None else min(max((1 + value) / 2, 0.0), 1.0)
    return await ask_verdict(run, prompt, outcome_messages(prompt, text), VERDICT, "outcome", cfg.calibrated)


def outcome_messages(prompt: Prompt, text: str) -> Messages:
    """Return what the outcome critic goes on from: its answer has begun with OPENING, without a space behind it."""
    asked = fill_prompt("alphallm_outcome", question=prompt.text, solution=text.strip(), opening=OPENING)
    return (*as_messages(asked), {"role": "assistant", "content": OPENING})


async def step_of(run: "Run", prompt: Prompt, before: str, step: str) -> float | None:
    """Return the process critic's score in [0, 1] of the last step, None where it failed."""
    asked = fill_prompt("alphallm_process", question=prompt.text, before=before.strip() or "(none)", step=step.strip())
    return await ask_verdict(run, prompt, as_messages(asked), TRUTH, "process")


async def same_meaning(run: "Run", prompt: Prompt, before: str, step: str, siblings: Sequence[str]) -> float:
    """Return the mean probability that a step does the same as a sibling; verdicts that failed do not count."""
    asked = [
        as_messages(fill_prompt("alphallm_merge", question=prompt.text, first=before + step, second=before + sibling))
        for sibling in siblings
    ]
    rates = await asyncio.gather(*(ask_verdict(run, prompt, messages, SAME, "merge") for messages in asked))
    known = [rate for rate in rates if rate is not None]
    return fmean(known) if known else 0.0
