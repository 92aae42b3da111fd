"""Combining the answers of N samples: most votes, most weight, or the best score."""

import math
from collections.abc import Sequence

from selfimprove.judges.picking import best_of

SELECT = ("majority", "weighted_majority", "best_of_n")
"""The ways to combine, by name; see `choose`."""


def ballot(answers: Sequence[str | None], weights: Sequence[float | None] | None = None) -> tuple[str | None, float]:
    """Return (the answer with the largest sum of weights, its share of all weight); (None, 0.0) without a vote.

    `answers` are in one spelling; without `weights` every sample counts one. A sample without an answer or without a
    weight does not vote. Of equals the answer seen first wins. The share is 0 where all weight is not above 0.
    """
    totals: dict[str, float] = {}
    for answer, weight in zip(answers, weights or [1.0] * len(answers), strict=True):
        if answer is not None and weight is not None:
            totals[answer] = totals.get(answer, 0.0) + weight
    if not totals:
        return None, 0.0
    best = max(totals, key=totals.__getitem__)
    whole = math.fsum(totals.values())
    return best, totals[best] / whole if whole > 0 else 0.0


def likelihood_weights(logprobs: Sequence[float | None]) -> list[float | None]:
    """Return e^(l - max l) of log-probs l in nats: likelihoods up to a common factor, which no vote depends on."""
    known = [value for value in logprobs if value is not None]
    most = max(known, default=0.0)
    return [None if value is None else math.exp(value - most) for value in logprobs]


def choose(
    how: str,
    answers: Sequence[str | None],
    scores: Sequence[float | None] = (),
    weights: Sequence[float | None] = (),
) -> tuple[int | None, float | None]:
    """Return (the first sample that gives the chosen answer, what the choice is worth), (None, None) without one.

    `how` is one of SELECT: best_of_n takes the highest of `scores`, the first of equals, and is worth that score; the
    others take the answer of most votes, or of most of `weights`, and are worth its share.
    """
    if how == "best_of_n":
        found = best_of(scores)
        return found, None if found is None else scores[found]
    answer, share = ballot(answers, weights if how == "weighted_majority" else None)
    if answer is None:
        return None, None
    voting = weights if how == "weighted_majority" else answers
    places = zip(answers, voting, strict=True)
    return next(i for i, (given, vote) in enumerate(places) if given == answer and vote is not None), share
