"""Length balance: chosen answers that are on average longer than rejected ones teach a model to ramble.

Both ways: with a share s, the mean length of chosen answers is at most (1 + s) times that of rejected ones, and the
other way round. Lengths are counted in characters.
"""

from dataclasses import dataclass

import numpy as np

from selfimprove.errors import ConfigError

SCALE = 10_000  # a share is taken to four decimals, so that all sums are whole numbers and the guarantee is exact


@dataclass(frozen=True)
class Balance:
    """Which pairs go, and the mean lengths (chosen, rejected) in characters; None where no pair is left."""

    taken: np.ndarray  # bool, one per pair
    before: tuple[float, float] | None
    after: tuple[float, float] | None


def check_share(share: float) -> float:
    """Return the share; raises ConfigError where it is not above 0 (0 would ask for exactly equal means)."""
    if not 0 < share < 1000 or round(share * SCALE) < 1:
        raise ConfigError(f"balance_length is {share}; it must be a share from 0.0001 on, such as 0.1 for 10 %")
    return share


def balance_lengths(chosen: np.ndarray, rejected: np.ndarray, share: float) -> Balance:
    """Return which pairs to take out so that neither side is on average longer than the other by more than `share`.

    `chosen` and `rejected` hold lengths in characters (int64). Guaranteed: afterwards the sum over kept pairs
    of one side's lengths is at most (1 + share) times the other's, both ways, exactly; with no pair left that
    holds too. As long as one side is too long, the pairs that add most to it go, as few as can be; of equal pairs
    the later ones. The last one to go is the smallest that suffices, so that the balance does not tip over; where
    it does all the same (few pairs, a small share), the other side is treated in the same way.
    """
    check_share(share)
    ratio = SCALE + round(share * SCALE)
    excess = (SCALE * chosen - ratio * rejected, SCALE * rejected - ratio * chosen)
    kept = np.ones(len(chosen), bool)
    while any(side[kept].sum() > 0 for side in excess):
        for side in excess:
            rows = np.flatnonzero(kept)
            kept[rows[_largest(side[rows])]] = False
    return Balance(~kept, _means(chosen, rejected), _means(chosen[kept], rejected[kept]))


def _largest(excess: np.ndarray) -> np.ndarray:
    """Return the places of the fewest numbers without which the sum is at most 0, as int64."""
    over = int(excess.sum())
    if over <= 0:
        return np.empty(0, np.int64)
    order = np.lexsort((-np.arange(len(excess)), -excess))  # largest first, of equal ones the later
    sums = np.cumsum(excess[order])
    count = int(np.argmax(sums >= over)) + 1
    left = over - (int(sums[count - 2]) if count > 1 else 0)
    rest = order[count - 1 :]
    enough = rest[excess[rest] >= left]
    smallest = enough[excess[enough] == excess[enough].min()]
    return np.append(order[: count - 1], smallest.max())


def _means(chosen: np.ndarray, rejected: np.ndarray) -> tuple[float, float] | None:
    return (float(chosen.mean()), float(rejected.mean())) if len(chosen) else None
