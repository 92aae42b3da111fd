"""Answering only where a score says it is worth it: what is risked at which coverage (selective prediction).

Scores say how good an answer is taken to be, losses in [0, 1] how bad it is (1 - correct). An answer without a score
(None) stands behind all others: it is given last, and never where there is a threshold. Definitions are ours; those
of the paper (Self-J, arXiv 2409.00935) are not public.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import inf, isnan
from statistics import fmean
from typing import Any

from selfimprove.errors import DataError

Scores = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Threshold:
    """Answer where the score is at least `score`: the share that is answered, and the mean loss of what is."""

    score: float
    coverage: float
    risk: float


def risks(scores: Scores, losses: Sequence[float], *, shuffled: bool = False) -> list[float]:
    """Return risk_k for k = 1..n: the mean loss of the k best scored answers, equal scores in the order given.

    With `shuffled` equal scores count as in the mean over all their orders. Raises DataError where there is not one
    loss a score.
    """
    order = _ranked(scores, losses)
    values = [loss for _, loss in order]
    if shuffled:
        values = []
        for _, tied in groupby(order, key=lambda each: each[0]):
            each = [loss for _, loss in tied]
            values += [fmean(each)] * len(each)
    found, total = [], 0.0
    for count, value in enumerate(values, start=1):
        total += value
        found.append(total / count)
    return found


def aurc(scores: Scores, losses: Sequence[float], *, shuffled: bool = False) -> float | None:
    """Return the area under the risk-coverage curve, mean of risk_k over k = 1..n; None of no answers."""
    values = risks(scores, losses, shuffled=shuffled)
    return fmean(values) if values else None


def excess_aurc(scores: Scores, losses: Sequence[float], *, shuffled: bool = False) -> float | None:
    """Return E-AURC: AURC less that of the best possible order, by loss; 0 for a perfect order."""
    own, best = aurc(scores, losses, shuffled=shuffled), aurc([-loss for loss in losses], losses)
    return None if own is None or best is None else own - best


def auroc(scores: Scores, good: Sequence[bool | int]) -> float | None:
    """Return the chance that a good answer has a higher score than a bad one, ties one half.

    None where all answers are good, or all are bad.
    """
    order = sorted(_ranked(scores, [float(value) for value in good]), key=lambda each: each[0])
    goods = sum(value for _, value in order)
    bads = len(order) - goods
    if not goods or not bads:
        return None
    won = below = 0.0
    for _, tied in groupby(order, key=lambda each: each[0]):
        each = [value for _, value in tied]
        better, worse = sum(each), len(each) - sum(each)
        won += better * (below + worse / 2)
        below += worse
    return won / (goods * bads)


def thresholds(scores: Scores, losses: Sequence[float]) -> list[Threshold]:
    """Return every threshold that differs in what it answers, the strictest first: one a different score.

    Equal scores are answered together or not at all.
    """
    order = _ranked(scores, losses)
    found, total = [], 0.0
    for place, (score, loss) in enumerate(order, start=1):
        total += loss
        last = place == len(order) or order[place][0] != score
        if last and score != -inf:
            found.append(Threshold(score, place / len(order), total / place))
    return found


def choose_threshold(scores: Scores, losses: Sequence[float], risk: float) -> Threshold | None:
    """Return the threshold of largest coverage whose risk is at most `risk`; None where no threshold has it.

    Choose it on other items than those it is reported on.
    """
    able = [each for each in thresholds(scores, losses) if each.risk <= risk]
    return able[-1] if able else None


def selective_figures(scores: Scores, losses: Sequence[float]) -> dict[str, Any]:
    """Return the figures of a score: AURC, E-AURC (as given, and over all orders of equal scores), AUROC, counts.

    AUROC needs losses of 0 and 1 and is None otherwise, or where it is undefined.
    """
    whole = all(loss in (0, 1) for loss in losses)
    return {
        "answers": len(losses),
        "unscored": sum(score is None or isnan(score) for score in scores),
        "aurc": aurc(scores, losses),
        "e_aurc": excess_aurc(scores, losses),
        "e_aurc_shuffled": excess_aurc(scores, losses, shuffled=True),
        "auroc": auroc(scores, [loss == 0 for loss in losses]) if whole else None,
    }


def _ranked(scores: Scores, losses: Sequence[float]) -> list[tuple[float, float]]:
    """Return (score, loss) with the best score first, equal ones in the order given, those without a score last."""
    if len(scores) != len(losses):
        raise DataError(f"{len(scores)} scores but {len(losses)} losses; there must be one of each an answer")
    values = [-inf if score is None or isnan(score) else float(score) for score in scores]
    pairs = list(zip(values, losses, strict=True))
    return sorted(pairs, key=lambda each: -each[0])
