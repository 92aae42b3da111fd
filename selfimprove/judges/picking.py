"""Picking the best of N answers by what the model itself gives them: likelihood, likelihood a token, or votes.

The self-rewards of sharpening (arXiv 2412.01951) as plain functions of log-probs in nats, lengths in tokens
(end token included) and final answers. An answer that cannot be judged has the reward None, never 0: a likelihood of 0
nats would be the highest there is, which is how empty and cut answers win where nobody looks.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from selfimprove.records import Sample

REWARDS = ("logp", "norm", "majority")
"""The self-rewards by name: `r_logp`, `r_norm`, `r_majority`."""


def r_logp(token_logprobs: Sequence[float]) -> float:
    """Return sum_t log B(y_t | x, y_<t) in nats; 0.0 for no tokens, which is no answer: see `unusable`."""
    return math.fsum(token_logprobs)


def r_norm(logprob: float, tokens: int) -> float | None:
    """Return r_logp / T, the log-prob a token in nats; None where there is no token."""
    return logprob / tokens if tokens > 0 else None


def vote_shares(answers: Sequence[str | None]) -> dict[str, float]:
    """Return {final answer: share of all N samples}; samples without an answer (None) count in N alone."""
    counts = Counter(answer for answer in answers if answer is not None)
    return {answer: count / len(answers) for answer, count in counts.items()}


def r_majority(answers: Sequence[str | None]) -> list[float]:
    """Return for every sample the share of the N samples that have its final answer, 0 where it has none.

    An estimate of the mass that the model gives to the answer, over all texts that state it.
    """
    shares = vote_shares(answers)
    return [0.0 if answer is None else shares[answer] for answer in answers]


@dataclass(frozen=True, slots=True)
class Rules:
    """What an answer must be to be picked; `min_tokens` counts the end token, so that 2 means one token of text."""

    min_tokens: int = 2
    need_answer: bool = True  # a final answer can be read in it
    must_match: str = ""  # a regular expression that it holds somewhere, such as a marker of the final answer


def unusable(sample: Sample, answer: str | None, rules: Rules) -> str | None:
    """Return why a sample may not be picked, in one word, None where it may.

    Truncated samples lack their end token and so part of their cost; empty and very short ones have next to none.
    """
    if sample.error is not None:
        return "engine_error"
    if sample.finish == "length":
        return "truncated"
    if not sample.text.strip():
        return "empty"
    if sample.tokens < rules.min_tokens:
        return "too_short"
    if rules.need_answer and answer is None:
        return "no_answer"
    return "no_match" if rules.must_match and not re.search(rules.must_match, sample.text) else None


def rewards_of(
    reward: str, logprobs: Sequence[float | None], tokens: Sequence[int], answers: Sequence[str | None]
) -> list[float | None]:
    """Return a self-reward of N samples of one prompt, None where a sample has none.

    `reward` is one of REWARDS, `logprobs` are sequence log-probs under the base model in nats (None: not to be had),
    `tokens` their lengths, `answers` their final answers.
    """
    if reward == "majority":
        shares = r_majority(answers)
        return [share if answer is not None else None for share, answer in zip(shares, answers, strict=True)]
    if reward == "norm":
        pairs = zip(logprobs, tokens, strict=True)
        return [None if value is None else r_norm(value, count) for value, count in pairs]
    return list(logprobs)


def best_of(values: Sequence[float | None], ties: Sequence[float | None] | None = None) -> int | None:
    """Return the index of the largest value, None where there is none.

    Equal values are told apart by `ties` (larger is better, None worst), and then the lowest index wins.
    """
    able = [index for index, value in enumerate(values) if value is not None]
    if not able:
        return None
    second = [-math.inf if value is None else value for value in ties] if ties else [0.0] * len(values)
    return max(able, key=lambda index: (values[index], second[index], -index))


def pick(
    reward: str, logprobs: Sequence[float | None], tokens: Sequence[int], answers: Sequence[str | None]
) -> int | None:
    """Return the index of the sample with the highest self-reward, the lowest one of equals; None where none has one.

    Votes are shared by all samples of an answer, and by answers that are equally common: among those the sample with
    the highest sequence log-prob is taken.
    """
    values = rewards_of(reward, logprobs, tokens, answers)
    return best_of(values, logprobs if reward == "majority" else None)


def stopping_mu(delta: float) -> float:
    """Return mu = ln(2 / delta) of adaptive best-of-N, for a chance of failure delta (arXiv 2412.01951)."""
    return math.log(2 / delta)


def adaptive_stop(logprobs: Sequence[float | None], mu: float) -> int | None:
    """Return N_mu, the first k with 1 / max_{j <= k} B(y_j|x) <= k / mu; None where no k of these draws has it.

    `logprobs` are sequence log-probs in nats in the order of drawing; None (cut, empty) counts as a draw without
    probability. In logs, because sequence probabilities of long texts are too small for a float.
    """
    best = -math.inf
    for count, value in enumerate(logprobs, start=1):
        best = best if value is None else max(best, value)
        if -best <= math.log(count / mu):
            return count
    return None
