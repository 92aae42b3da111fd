"""The numbers of an evaluation: pure functions over counts, votes and paired outcomes."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from math import comb, sqrt
from statistics import NormalDist

from selfimprove.errors import DataError


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Return the chance that at least one of `k` answers drawn without replacement is correct.

    The unbiased estimator 1 - C(n-c, k) / C(n, k) of Chen et al. 2021 (arXiv 2107.03374), as their product
    of ratios, which neither overflows nor cancels. Raises DataError for counts that cannot be.
    """
    if not 0 <= correct <= samples or not 1 <= k <= samples:
        raise DataError(f"pass@{k} of {correct} correct among {samples} samples is not defined; 1 <= k <= samples")
    if samples - correct < k:
        return 1.0
    missed = 1.0
    for i in range(samples - correct + 1, samples + 1):
        missed *= 1.0 - k / i
    return 1.0 - missed


def majority_at_k(answers: Sequence[Hashable | None], scores: Sequence[float | None], k: int | None = None) -> float:
    """Return the score of the most common of the first `k` answers; a tie gives the mean over the tied answers.

    `answers` are final answers as extracted, None where there is none: those have no vote. `scores` are
    their grades (1 right, 0 wrong, None not gradable, counted as 0). Without any vote the score is 0.
    """
    if len(answers) != len(scores):
        raise DataError(f"{len(answers)} answers but {len(scores)} scores")
    if k is not None and not 1 <= k <= len(answers):
        raise DataError(f"majority@{k} needs at least {k} answers, there are {len(answers)}")
    grades: dict[Hashable, list[float]] = {}
    for answer, score in list(zip(answers, scores, strict=True))[:k]:
        if answer is not None:
            grades.setdefault(answer, []).append(score or 0.0)
    if not grades:
        return 0.0
    most = max(map(len, grades.values()))
    tied = [sum(group) / len(group) for group in grades.values() if len(group) == most]
    return sum(tied) / len(tied)


def wilson(correct: float, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a share (Wilson 1927); (0, 1) where nothing was counted."""
    if not 0 <= correct <= total:
        raise DataError(f"{correct} correct of {total} is not a share")
    if not 0 < confidence < 1:
        raise DataError(f"confidence is {confidence}; it must lie between 0 and 1")
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    high = 1.0 if correct == total else min(1.0, centre + half)
    return low, high


def mcnemar(gained: int, lost: int) -> float:
    """Return the exact two-sided p of McNemar's test: are `gained` and `lost` items equally likely?

    Only the items whose outcome changed count. Under the null hypothesis `gained` is binomial(gained + lost,
    1/2); whole-number arithmetic, so it is exact for any size. 1.0 where nothing changed.
    """
    if gained < 0 or lost < 0:
        raise DataError(f"gained {gained} and lost {lost} are counts; they cannot be negative")
    changed = gained + lost
    tail = sum(comb(changed, i) for i in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / 2**changed)


def paired_bootstrap(
    before: Sequence[float], after: Sequence[float], *, draws: int = 10_000, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Return mean(after - before) with its percentile bootstrap interval, items drawn in pairs.

    The draws depend on `seed` alone. Raises DataError where the two differ in length or are empty.
    """
    import numpy as np

    if len(before) != len(after) or not before:
        raise DataError(f"a paired comparison needs the same items twice, not {len(before)} and {len(after)}")
    differences = np.asarray(after, dtype=float) - np.asarray(before, dtype=float)
    generator = np.random.default_rng(seed)
    items = len(differences)
    chunk = max(1, 4_000_000 // items)  # bounds the index table to some 32 MB
    sizes = [min(chunk, draws - start) for start in range(0, draws, chunk)]
    means = np.concatenate([differences[generator.integers(items, size=(n, items))].mean(axis=1) for n in sizes])
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(differences.mean()), float(low), float(high)


def distinct_n(texts: Iterable[str], n: int = 2) -> float:
    """Return distinct n-grams of words over all n-grams of a set of texts (Li et al. 2016); 0 where there are none.

    Counted over the set, not per text: a model that says the same to every prompt scores low.
    """
    if n < 1:
        raise DataError(f"distinct-{n} is not defined; n is at least 1")
    counts: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        words = text.split()
        counts.update(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    total = counts.total()
    return len(counts) / total if total else 0.0


def mean_length(lengths: Iterable[int]) -> float:
    """Return the mean of token counts; 0 where there are none."""
    lengths = list(lengths)
    return sum(lengths) / len(lengths) if lengths else 0.0
