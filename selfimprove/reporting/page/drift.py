"""The drift of the policy by round: the figures of the watch, their limits, breaches, and judge against truth."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from selfimprove.config import Limit
from selfimprove.evaluation.watch import FIGURES
from selfimprove.reporting.page.plots import Chart, Point, Series
from selfimprove.reporting.page.wording import percent
from selfimprove.store import Store

TITLES = {
    "tokens": "Length",
    "truncated": "Truncated",
    "distinct_1": "Distinct words",
    "distinct_2": "Distinct word pairs",
    "entropy": "Entropy",
    "refusals": "Refusals",
    "kl": "KL to the start",
    "kl_per_token": "KL per token",
}
"""The figures with a picture of their own."""
SHARES = ("truncated", "refusals", "verified", "accuracy", "distinct_1", "distinct_2")
JUDGED = {"judge": "judge", "verified": "verified", "accuracy": "held-out accuracy"}


@dataclass(frozen=True, slots=True)
class Drift:
    """What the watch saw, round by round."""

    charts: list[Chart]
    judged: list[Chart]
    judge_sentence: str
    figures: dict[str, list[tuple[int, float | None]]]
    breaches: list[tuple[int, str]]
    rounds: list[int]


def read_drift(store: Store, rounds: list[int], limits: Mapping[str, Limit]) -> Drift:
    """Return the watched figures of the given rounds; a figure that was never measured has no picture."""
    markers = {n: marker for n in rounds if (marker := store.marker(n, "watch"))}
    known = dict.fromkeys(name for marker in markers.values() for name in marker.get("figures", {}))
    figures = {name: [(n, _clean(m.get("figures", {}).get(name))) for n, m in markers.items()] for name in known}
    charts = [
        _chart(name, title, figures[name], limits.get(name)) for name, title in TITLES.items() if _any(figures, name)
    ]
    told = [(n, sentence) for n, marker in markers.items() for sentence in marker.get("breaches", [])]
    judged = []
    if _any(figures, "judge"):
        judged.append(Chart("Judge", (_series("judge", figures["judge"]),), note=FIGURES["judge"]))
    truths = [name for name in ("verified", "accuracy") if _any(figures, name)]
    if judged and truths:
        series = tuple(_series(name, figures[name]) for name in truths)
        judged.append(
            Chart("Truth", series, share=True, note="what the verifier says of the same and of held-out answers")
        )
    return Drift(charts, judged, judge_sentence(figures), figures, told, list(markers))


def judge_sentence(figures: Mapping[str, list[tuple[int, float | None]]]) -> str:
    """Return how judge and truth moved between the first and the last round that have both; empty without both."""
    name = "verified" if _any(figures, "verified") else "accuracy"
    truth = dict(figures.get(name, []))
    both = [(n, j, t) for n, j in figures.get("judge", []) if j is not None and (t := truth.get(n)) is not None]
    if len(both) < 2:
        return ""
    (first, judge_then, truth_then), (last, judge_now, truth_now) = both[0], both[-1]
    what = "the share that the verifier calls right" if name == "verified" else "held-out accuracy"
    parted = [str(n) for (_, j0, t0), (n, j1, t1) in pairwise(both) if j1 > j0 and t1 < t0]
    told = (
        f"From round {first} to round {last} the judge's mean score went from {judge_then:.4g} to {judge_now:.4g}, "
        f"and {what} from {percent(truth_then)} to {percent(truth_now)}."
    )
    rounds = f"rounds {', '.join(parted[:-1])} and {parted[-1]}" if len(parted) > 1 else f"round {''.join(parted)}"
    return f"{told} In {rounds} the judge rose while the truth fell." if parted else told


def _clean(value: float | None) -> float | None:
    """Return a figure without the rounding noise around zero: the KL of a policy to itself is 0, not 2e-16."""
    return 0.0 if value is not None and abs(value) < 1e-9 else value


def _any(figures: Mapping[str, list[tuple[int, float | None]]], name: str) -> bool:
    return any(value is not None for _, value in figures.get(name, []))


def _series(name: str, values: list[tuple[int, float | None]]) -> Series:
    def told(value: float) -> str:
        return percent(value) if name in SHARES else f"{value:.4g}"

    points = [Point(n, value, text=f"round {n}: {told(value)}") for n, value in values if value is not None]
    return Series(JUDGED.get(name, name), tuple(points))


def _chart(name: str, title: str, values: list[tuple[int, float | None]], limit: Limit | None) -> Chart:
    start = next((value for _, value in values if value is not None), None)
    return Chart(
        title, (_series(name, values),), share=name in SHARES, note=FIGURES.get(name, ""), bounds=bounds(limit, start)
    )


def bounds(limit: Limit | None, start: float | None) -> tuple[tuple[float, str], ...]:
    """Return (value, label) of a limit's bounds, ratios taken times the start's value."""
    if limit is None:
        return ()
    found: list[tuple[float, str]] = []
    for value, label in ((limit.min, "at least"), (limit.max, "at most")):
        if value is not None:
            found.append((value, f"{label} {value:g}"))
    for ratio, label in ((limit.min_ratio, "at least"), (limit.max_ratio, "at most")):
        if ratio is not None and start:
            found.append((ratio * start, f"{label} {ratio:g} × the start"))
    return tuple(found)


def value_of(name: str, value: Any) -> str:
    """Return a watched figure as the table writes it."""
    if value is None:
        return "–"
    return percent(value) if name in SHARES else f"{value:.4g}"
