"""The picture of selective answering: how wrong the answers are that are given, by how many are given."""

from collections.abc import Mapping, Sequence

from selfimprove.evaluation.metrics import wilson
from selfimprove.evaluation.selective import thresholds
from selfimprove.reporting.page.plots import Chart, Point, Series

MOST = 100
"""Points of a curve that are drawn."""

Judged = tuple[Sequence[float | None], Sequence[float]]
"""Scores and losses of the same answers."""


def risk_coverage(judged: Mapping[str, Judged]) -> Chart:
    """Return the risk at every coverage that a threshold can reach, by name, with 95 % intervals."""
    series = []
    for name, (scores, losses) in judged.items():
        found = thresholds(scores, losses)
        step = -(-len(found) // MOST) or 1
        points = []
        for each in reversed(found[::-1][::step]):  # from the end, so that full coverage is always drawn
            given = round(each.coverage * len(losses))
            low, high = wilson(min(each.risk * given, given), given)
            points.append(Point(each.coverage, each.risk, low, high, f"threshold {each.score:.4g}: {given} answers"))
        series.append(Series(name, tuple(points)))
    return Chart(
        "How often a given answer is wrong, by the share of answers that are given", tuple(series),
        x_name="coverage", note="a good score keeps the left side low", whole=False, share=True,
    )  # fmt: skip
