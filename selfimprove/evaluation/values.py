"""How good a value model is: how well its values order right and wrong steps, and how near they come to the labels."""

from collections.abc import Sequence
from itertools import groupby

from selfimprove.errors import DataError


def auc(labels: Sequence[float | None], values: Sequence[float | None], above: float = 0.5) -> float | None:
    """Return the chance that a good step has a higher value than a bad one, ties counting half; None without both.

    A step is good where its label is greater than `above`. Steps without a label or value are left out. It is the area
    under the ROC curve by ranks: (R - n(n+1)/2) / (n m), R the rank sum of the n good among all n + m steps, ties
    sharing their mean rank (Mann and Whitney 1947).
    """
    known = _known(labels, values)
    good = sum(label > above for label, _ in known)
    bad = len(known) - good
    if not good or not bad:
        return None
    ranks, place = 0.0, 0
    for _, tied in groupby(sorted(known, key=lambda each: each[1]), key=lambda each: each[1]):
        group = [label > above for label, _ in tied]
        ranks += sum(group) * (place + (len(group) + 1) / 2)
        place += len(group)
    return (ranks - good * (good + 1) / 2) / (good * bad)


def brier(labels: Sequence[float | None], values: Sequence[float | None]) -> float | None:
    """Return the mean of (value - label)^2 over steps that have both, None where there are none.

    With labels 0 and 1 that is the Brier score; with others the mean squared error.
    """
    known = _known(labels, values)
    return sum((value - label) ** 2 for label, value in known) / len(known) if known else None


def _known(labels: Sequence[float | None], values: Sequence[float | None]) -> list[tuple[float, float]]:
    if len(labels) != len(values):
        raise DataError(f"{len(labels)} labels but {len(values)} values")
    both = zip(labels, values, strict=True)
    return [(label, value) for label, value in both if label is not None and value is not None]
