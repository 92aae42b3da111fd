"""What is said of an evaluation: an accuracy with its interval, and two rounds compared on the same items."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selfimprove.config import to_plain
from selfimprove.errors import DataError
from selfimprove.evaluation.metrics import mcnemar, paired_bootstrap, wilson


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A share of items answered correctly, with its 95 % Wilson interval.

    `total` are the items that could be graded; `failed` items could not, and are in no denominator: a verdict
    that is missing is not a wrong answer, but it is told.
    """

    correct: float
    total: int
    low: float
    high: float
    failed: int = 0

    @classmethod
    def of(cls, scores: Mapping[str, float | None]) -> "Accuracy":
        """Return the accuracy of {item id: score from 0 to 1}; None is an item that could not be graded."""
        graded = [score for score in scores.values() if score is not None]
        low, high = wilson(sum(graded), len(graded))
        return cls(sum(graded), len(graded), low, high, len(scores) - len(graded))

    @property
    def share(self) -> float:
        """Correct over total; 0 where there are no items."""
        return self.correct / self.total if self.total else 0.0

    def __str__(self) -> str:
        """Return the accuracy in one line: `31.5 % [27.1, 36.2] (126 of 400)`."""
        failed = f", {self.failed} not gradable" if self.failed else ""
        return (
            f"{100 * self.share:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"
            f" ({self.correct:g} of {self.total}{failed})"
        )

    def to_row(self) -> dict[str, Any]:
        """Return plain JSON types, the share included."""
        return {**to_plain(self), "share": self.share}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two rounds on the same items: what was gained and lost, the difference with its interval, and McNemar's p.

    `items` counts those that both rounds could grade; `left_out` those that one of them could not.
    """

    items: int
    gained: int
    lost: int
    difference: float
    low: float
    high: float
    p: float
    left_out: int = 0

    def __str__(self) -> str:
        """Return the comparison in one line: `+8.5 points [+4.0, +13.0], 61 gained, 27 lost, p = 0.0004`."""
        p = "p < 0.0001" if self.p < 0.0001 else f"p = {self.p:.4f}"
        left_out = f", {self.left_out} items not gradable in both" if self.left_out else ""
        return (
            f"{100 * self.difference:+.1f} points [{100 * self.low:+.1f}, {100 * self.high:+.1f}],"
            f" {self.gained} gained, {self.lost} lost, {p}{left_out}"
        )

    def to_row(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return to_plain(self)


def compare(
    before: Mapping[str, float | None], after: Mapping[str, float | None], *, draws: int = 10_000, seed: int = 0
) -> Comparison:
    """Return the comparison of {item id: score} before and after, on the items graded both times.

    An item whose score rose is gained, one whose score fell is lost. Raises DataError where the two do not hold
    the same items (rounds measured on different items cannot be compared), or where no item could be graded
    both times.
    """
    missing, added = sorted(set(before) - set(after)), sorted(set(after) - set(before))
    if missing or added:
        example = (missing or added)[0]
        raise DataError(
            f"the two evaluations hold different items ({len(missing)} only in the first, {len(added)} only in the"
            f" second, for example {example!r}); evaluate both on the same held-out set and limit"
        )
    pairs = [(before[i], after[i]) for i in sorted(before)]
    graded = [(old, new) for old, new in pairs if old is not None and new is not None]
    if not graded:
        raise DataError(f"none of the {len(pairs)} items could be graded both times, so there is nothing to compare")
    difference, low, high = paired_bootstrap(
        [old for old, _ in graded], [new for _, new in graded], draws=draws, seed=seed
    )
    gained, lost = sum(new > old for old, new in graded), sum(new < old for old, new in graded)
    p = mcnemar(gained, lost)
    return Comparison(len(graded), gained, lost, difference, low, high, p, len(pairs) - len(graded))
