"""How far two rankings of the same answers agree, and how well scores order answers whose true order is known."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any


def ordinal_ranks(scores: Sequence[float]) -> list[int]:
    """Return the ranks 1..N in ascending order of score; equal scores are ranked in the order in which they stand."""
    order = sorted(range(len(scores)), key=lambda index: scores[index])
    ranks = [0] * len(scores)
    for rank, index in enumerate(order, start=1):
        ranks[index] = rank
    return ranks


def kendall(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Kendall's tau-b in [-1, 1] of two score lists of equal length; None where one of them is all ties."""
    return _correlation("kendalltau", first, second)


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Spearman's rho in [-1, 1] of two score lists of equal length; None where one of them is all ties."""
    return _correlation("spearmanr", first, second)


def pearson(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Pearson's r in [-1, 1] of two lists of equal length; None where one of them does not vary."""
    return _correlation("pearsonr", first, second)


def _correlation(name: str, first: Sequence[float], second: Sequence[float]) -> float | None:
    if min(len(set(first)), len(set(second))) < 2:
        return None
    from scipy import stats

    return float(getattr(stats, name)(first, second).statistic)


def kendall_agreement(first: Sequence[float], second: Sequence[float]) -> float:
    """Return c = (tau + 1) / 2 in [0, 1] of the ordinal ranks (CREAM): ties in both lists agree."""
    tau = kendall(ordinal_ranks(first), ordinal_ranks(second))
    return 1.0 if tau is None else (tau + 1) / 2  # None: a single answer, on which every ranking agrees


def spearman_agreement(first: Sequence[float], second: Sequence[float]) -> float:
    """Return c = (rho + 1) / 2 in [0, 1] of the ordinal ranks (CREAM)."""
    rho = spearman(ordinal_ranks(first), ordinal_ranks(second))
    return 1.0 if rho is None else (rho + 1) / 2


def top_order_agreement(first: Sequence[float], second: Sequence[float]) -> float:
    """Return 1.0 where both lists have the same best and the same worst answer, else 0.0 (CREAM)."""
    same = best_index(first) == best_index(second) and worst_index(first) == worst_index(second)
    return float(same)


AGREEMENTS: dict[str, Callable[[Sequence[float], Sequence[float]], float]] = {
    "kendall": kendall_agreement,
    "spearman": spearman_agreement,
    "top_order": top_order_agreement,
}
"""Name of a consistency measure: from two score lists of the same answers to [0, 1]."""


def best_index(scores: Sequence[float]) -> int:
    """Return the index of the largest score, the first one winning ties."""
    return max(range(len(scores)), key=lambda index: scores[index])


def worst_index(scores: Sequence[float]) -> int:
    """Return the index of the smallest score, the first one winning ties."""
    return min(range(len(scores)), key=lambda index: scores[index])


def best_and_worst(scores: Sequence[float | None]) -> tuple[int, int] | None:
    """Return the indices of the best and the worst scored answer; None where fewer than two differ in score."""
    known = {index: score for index, score in enumerate(scores) if score is not None and not math.isnan(score)}
    if not known or min(known.values()) == max(known.values()):
        return None
    return max(known, key=lambda index: known[index]), min(known, key=lambda index: known[index])


def ranking_metrics(prompts: Sequence[tuple[Sequence[int], Sequence[float]]], top: float = 5) -> dict[str, Any]:
    """Return how well scores order answers, over prompts of (true ranks with 0 the best, scores).

    `pairwise` counts every pair of answers of different rank as right where the scores differ in the right direction,
    `exact` the prompts whose whole order is right; `spearman` and `kendall` (tau-b) are means over the prompts where
    they are defined; `top_is_best` is the share of answers given `top` that are the best one. None: undefined
    (Self-Rewarding, reward-model metrics).
    """
    right = total = exact = 0
    rhos: list[float] = []
    taus: list[float] = []
    given: list[bool] = []
    for ranks, scores in prompts:
        pairs = [(i, j) for i, j in combinations(range(len(ranks)), 2) if ranks[i] != ranks[j]]
        ordered = [(scores[i] - scores[j]) * (ranks[j] - ranks[i]) > 0 for i, j in pairs]
        right, total, exact = right + sum(ordered), total + len(ordered), exact + all(ordered)
        truth = [-rank for rank in ranks]
        rho, tau = spearman(truth, scores), kendall(truth, scores)
        rhos += [] if rho is None else [rho]
        taus += [] if tau is None else [tau]
        given += [rank == 0 for rank, score in zip(ranks, scores, strict=True) if score == top]
    means: Mapping[str, Sequence[float]] = {"spearman": rhos, "kendall": taus, "top_is_best": given}
    shares = {"pairwise": right / total if total else None, "exact": exact / len(prompts) if prompts else None}
    return shares | {name: fmean(values) if values else None for name, values in means.items()}
