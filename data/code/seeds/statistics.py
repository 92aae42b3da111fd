"""Seeds: describing samples of numbers."""

import math
import random
from collections import Counter


def mean(values: list[float]) -> float:
    """Return the arithmetic mean of a non-empty list.

    >>> mean([1, 2, 6])
    3.0
    """
    return sum(values) / len(values)


def weighted_mean(values: list[float], weights: list[float]) -> float:
    """Return the mean of values that count with different weights.

    Raises:
        ValueError: If the weights add up to zero.

    >>> weighted_mean([1, 4], [2, 1])
    2.0
    """
    total = sum(weights)
    if total == 0:
        raise ValueError("the weights add up to zero")
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / total


def geometric_mean(values: list[float]) -> float:
    """Return the n-th root of the product of n positive numbers.

    >>> round(geometric_mean([2, 8]), 6)
    4.0
    """
    return math.exp(sum(math.log(value) for value in values) / len(values))


def sample_variance(values: list[float]) -> float:
    """Return the variance of a sample, with n - 1 in the denominator.

    >>> sample_variance([2, 4, 6])
    4.0
    """
    center = sum(values) / len(values)
    return sum((value - center) ** 2 for value in values) / (len(values) - 1)


def percentile(values: list[float], percent: float) -> float:
    """Return a percentile with linear interpolation between neighbours.

    Args:
        values: At least one number, in any order.
        percent: From 0 (the smallest value) to 100 (the largest).

    >>> percentile([10, 20, 30, 40], 50)
    25.0
    """
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def modes(values: list[str]) -> list[str]:
    """Return all values that occur most often, in the order of their first appearance.

    >>> modes(["b", "a", "b", "a", "c"])
    ['b', 'a']
    """
    counts = Counter(values)
    most = max(counts.values(), default=0)
    return [value for value, count in counts.items() if count == most]


def z_scores(values: list[float]) -> list[float]:
    """Express each value as its distance from the mean in standard deviations.

    The standard deviation is that of the population; where it is zero, all scores are zero.

    >>> z_scores([1, 3])
    [-1.0, 1.0]
    """
    center = sum(values) / len(values)
    deviation = math.sqrt(sum((value - center) ** 2 for value in values) / len(values))
    return [(value - center) / deviation if deviation else 0.0 for value in values]


def correlation(xs: list[float], ys: list[float]) -> float:
    """Return Pearson's correlation of two samples of the same length.

    >>> correlation([1, 2, 3], [2, 4, 6])
    1.0
    """
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    products = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    squares_x = sum((x - mean_x) ** 2 for x in xs)
    squares_y = sum((y - mean_y) ** 2 for y in ys)
    return products / math.sqrt(squares_x * squares_y)


def linear_fit(xs: list[float], ys: list[float]) -> tuple[float, float]:
    """Fit a line by least squares and return its slope and intercept.

    >>> linear_fit([0, 1, 2], [1, 3, 5])
    (2.0, 1.0)
    """
    n = len(xs)
    mean_x, mean_y = sum(xs) / n, sum(ys) / n
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    slope /= sum((x - mean_x) ** 2 for x in xs)
    return slope, mean_y - slope * mean_x


def moving_average(values: list[float], size: int) -> list[float]:
    """Return the mean of every window of `size` neighbouring values.

    >>> moving_average([1, 2, 3, 4], 2)
    [1.5, 2.5, 3.5]
    """
    return [sum(values[start : start + size]) / size for start in range(len(values) - size + 1)]


def exponential_smoothing(values: list[float], alpha: float) -> list[float]:
    """Smooth a series: each value moves the level by the share `alpha` of the way.

    >>> exponential_smoothing([10, 20, 20], 0.5)
    [10, 15.0, 17.5]
    """
    smoothed = values[:1]
    for value in values[1:]:
        smoothed.append(alpha * value + (1 - alpha) * smoothed[-1])
    return smoothed


def histogram(values: list[float], edges: list[float]) -> list[int]:
    """Count the values between each pair of neighbouring edges.

    A value on an edge belongs to the bin above it, and values outside are ignored.

    >>> histogram([1, 2, 2.5, 9], [0, 2, 4])
    [1, 2]
    """
    counts = [0] * (len(edges) - 1)
    for value in values:
        for place in range(len(counts)):
            if edges[place] <= value < edges[place + 1]:
                counts[place] += 1
    return counts


def bootstrap_mean(values: list[float], rounds: int, seed: int = 0) -> tuple[float, float]:
    """Estimate a 95 % interval of a mean by drawing new samples with replacement."""
    draw = random.Random(seed)
    means = sorted(sum(draw.choices(values, k=len(values))) / len(values) for _ in range(rounds))
    return means[int(0.025 * rounds)], means[int(0.975 * rounds)]


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of a success rate.

    >>> low, high = wilson_interval(8, 10)
    >>> round(low, 3), round(high, 3)
    (0.49, 0.943)
    """
    rate = successes / trials
    center = rate + z * z / (2 * trials)
    margin = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return (center - margin) / scale, (center + margin) / scale


def entropy(counts: list[int]) -> float:
    """Return the Shannon entropy in bits of a distribution given by counts.

    >>> entropy([1, 1, 2])
    1.5
    """
    total = sum(counts)
    return -sum(count / total * math.log2(count / total) for count in counts if count)


def gini(values: list[float]) -> float:
    """Return the Gini coefficient of non-negative values: 0 if all are equal, near 1 if one has it all.

    >>> gini([1, 1, 1])
    0.0
    """
    ordered = sorted(values)
    n = len(ordered)
    weighted = sum(rank * value for rank, value in enumerate(ordered, 1))
    return 2 * weighted / (n * sum(ordered)) - (n + 1) / n
