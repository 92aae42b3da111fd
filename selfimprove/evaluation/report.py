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

    `failed` of the `total` items could not be graded. They count as not correct, so that a broken verifier
    never raises an accuracy.
    """

    correct: float
    total: int
    low: float
    high: float
    failed: int = 0

    @classmethod
    def of(cls, scores: Mapping[str, float | None]) -> "Accuracy":
        """Return the accuracy of {item id: score}; None is an item that could not be graded."""
        correct = sum(score for score in scores.values() if score is not None)
        low, high = wilson(correct, len(scores))
        return cls(correct, len(scores), low, high, sum(score is None for score in scores.values()))

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
    """Two rounds on the same items: what was gained and lost, the difference with its interval, and McNemar's p."""

    items: int
    gained: int
    lost: int
    difference: float
    low: float
    high: float
    p: float

    def __str__(self) -> str:
        """Return the comparison in one line: `+8.5 points [+4.0, +13.0], 61 gained, 27 lost, p = 0.0004`."""
        p = "p < 0.0001" if self.p < 0.0001 else f"p = {self.p:.4f}"
        return (
            f"{100 * self.difference:+.1f} points [{100 * self.low:+.1f}, {100 * self.high:+.1f}],"
            f" {self.gained} gained, {self.lost} lost, {p}"
        )

    def to_row(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return to_plain(self)


def compare(
    before: Mapping[str, float | None], after: Mapping[str, float | None], *, draws: int = 10_000, seed: int = 0
) -> Comparison:
    """Return the comparison of {item id: score} before and after; an item that was not gradable counts as wrong.

    An item counts as gained or lost where its score rose or fell. Raises DataError where the two do not hold
    the same items: rounds measured on different items cannot be compared.
    """
    missing, added = sorted(set(before) - set(after)), sorted(set(after) - set(before))
    if missing or added:
        example = (missing or added)[0]
        raise DataError(
            f"the two evaluations hold different items ({len(missing)} only in the first, {len(added)} only in the"
            f" second, for example {example!r}); evaluate both on the same held-out set and limit"
        )
    ids = sorted(before)
    old, new = [before[i] or 0.0 for i in ids], [after[i] or 0.0 for i in ids]
    gained = sum(n > o for o, n in zip(old, new, strict=True))
    lost = sum(n < o for o, n in zip(old, new, strict=True))
    difference, low, high = paired_bootstrap(old, new, draws=draws, seed=seed)
    return Comparison(len(ids), gained, lost, difference, low, high, mcnemar(gained, lost))
