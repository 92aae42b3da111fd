"""What best-of-N can gain: how much mass a model already gives to what it likes most (arXiv 2412.01951).

Y*(x) is the set of all responses that attain the highest self-reward. Everything here is a pure function of
probabilities; with sampled answers the masses are estimates, and say so where they are reported.
"""

import math
from collections.abc import Sequence
from statistics import fmean

from selfimprove.errors import DataError

EQUAL = 1e-9
"""Relative difference below which two rewards are the same."""


def best_set(probabilities: Sequence[float], rewards: Sequence[float] | None = None, gamma: float = 0.0) -> list[int]:
    """Return the indices of Y*_gamma(x): all responses whose reward is the highest, up to the share gamma.

    Without `rewards` these are the likeliest responses, those with B(y|x) >= (1 - gamma) max B(.|x). Rewards are on a
    scale of their own (log-probs are below 0), so `gamma` goes with probabilities alone. Raises DataError otherwise.
    """
    if not probabilities or (rewards is not None and len(rewards) != len(probabilities)):
        raise DataError(f"{len(probabilities)} probabilities and {len(rewards or [])} rewards: one reward a response")
    if not 0 <= gamma < 1 or (gamma and rewards is not None):
        raise DataError(f"gamma is {gamma}; it is a share of the highest probability, from 0 to below 1")
    values = probabilities if rewards is None else rewards
    top = max(values)
    least = top - EQUAL * abs(top) if not gamma else (1 - gamma) * top * (1 - EQUAL)
    return [index for index, value in enumerate(values) if value >= least]


def best_mass(probabilities: Sequence[float], rewards: Sequence[float] | None = None, gamma: float = 0.0) -> float:
    """Return B(Y*_gamma(x)|x), the mass of all maximisers together: with ties it is more than the largest mass."""
    return math.fsum(probabilities[index] for index in best_set(probabilities, rewards, gamma))


def coverage(distributions: Sequence[Sequence[float]], rewards: Sequence[Sequence[float]] | None = None) -> float:
    """Return C_cov = E_x[1 / B(Y*(x)|x)] over prompts, each a distribution over its responses; at least 1."""
    given = rewards if rewards is not None else [None] * len(distributions)
    return fmean(1 / best_mass(each, reward) for each, reward in zip(distributions, given, strict=True))


def coverage_bar(distributions: Sequence[Sequence[float]]) -> float:
    """Return the stronger C_cov_bar = E_x[1 / max_y B(y|x)], which governs adaptive best-of-N; at least C_cov."""
    return fmean(1 / max(each) for each in distributions)


def sharpened_share(
    policy: Sequence[Sequence[float]],
    base: Sequence[Sequence[float]],
    delta: float,
    rewards: Sequence[Sequence[float]] | None = None,
) -> float:
    """Return the share of prompts on which a policy puts a mass of at least 1 - delta on Y*(x).

    Y*(x) is that of the base (its likeliest responses, or those of highest `rewards`); rows are prompts, columns
    responses in the same order.
    """
    given = rewards if rewards is not None else [None] * len(base)
    met = [
        math.fsum(mine[index] for index in best_set(theirs, reward)) >= 1 - delta - EQUAL
        for mine, theirs, reward in zip(policy, base, given, strict=True)
    ]
    return fmean(met)


def is_sharpened(
    policy: Sequence[Sequence[float]],
    base: Sequence[Sequence[float]],
    epsilon: float,
    delta: float,
    rewards: Sequence[Sequence[float]] | None = None,
) -> bool:
    """Return whether a policy is (epsilon, delta)-sharpened: 1 - delta on Y*(x) for all but an epsilon of prompts."""
    return sharpened_share(policy, base, delta, rewards) >= 1 - epsilon - EQUAL


def hit_probability(mass: float, samples: int) -> float:
    """Return 1 - (1 - B(Y*))^N, the chance that one of N samples is a maximiser."""
    return -math.expm1(samples * math.log1p(-mass)) if mass < 1 else 1.0


def samples_needed(mass: float, rho: float) -> int:
    """Return the least N with N >= ln(1/rho) / B(Y*_gamma): best-of-N then fails with a chance of at most rho."""
    if not 0 < mass <= 1 or not 0 < rho < 1:
        raise DataError(f"mass {mass} and rho {rho} are shares: above 0, and rho below 1")
    return math.ceil(math.log(1 / rho) / mass)


def training_sizes(
    log_policies: float, cover: float, epsilon: float, delta: float, rho: float, constant: float = 1.0
) -> tuple[int, int]:
    """Return (n, N) of SFT-sharpening: prompts and answers a prompt (arXiv 2412.01951).

    n = c log(|Pi| / rho) / (delta epsilon) and N = c C_cov log(2 / delta) / epsilon, with `log_policies` = ln |Pi| and
    `cover` = C_cov. The constant c is not published; the sizes say how things scale, not how much to buy.
    """
    prompts = constant * (log_policies - math.log(rho)) / (delta * epsilon)
    answers = constant * cover * math.log(2 / delta) / epsilon
    return math.ceil(prompts), math.ceil(answers)


def regularised_beta(margin: float, responses: float, delta: float) -> float:
    """Return beta = gamma_margin / (2 ln(2 |Y| / delta)) of the theory of RLHF-sharpening; far too small in practice.

    `responses` is |Y|; `margin` the gap in log-probability between the best response and the next.
    """
    return margin / (2 * math.log(2 * responses / delta))
