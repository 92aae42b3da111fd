"""Held-out accuracy by round: the picture, the table with its paired tests, and the one sentence of the result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from selfimprove.errors import DataError
from selfimprove.evaluation.heldout import read_items, scores, scores_and_losses
from selfimprove.evaluation.report import Accuracy, Comparison, compare
from selfimprove.evaluation.standalone import compare_with_plain, measured_rounds
from selfimprove.reporting.page.plots import Chart, Point, Series
from selfimprove.reporting.page.wording import percent, points, probability
from selfimprove.reporting.selective import risk_coverage
from selfimprove.store import Store


@dataclass(frozen=True, slots=True)
class Measured:
    """One held-out set in one round; a comparison that cannot be made is the sentence that says why.

    `plain` compares what the method answers, where the set holds that, with the policy's greedy answers.
    """

    round: int
    accuracy: Accuracy
    start: Comparison | str | None
    before: Comparison | str | None
    mean_tokens: float | None
    truncated: int | None
    plain: Comparison | str | None = None
    sampled: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measurements:
    """All measured rounds of all held-out sets; `risk` is the picture of what a method's own scores are worth."""

    sets: dict[str, list[Measured]]
    risk: Chart | None = None

    @property
    def tests(self) -> int:
        """How many paired tests were made."""
        made = [c for rounds in self.sets.values() for m in rounds for c in (m.start, m.before, m.plain)]
        return sum(isinstance(comparison, Comparison) for comparison in made)

    @property
    def with_method(self) -> bool:
        """Whether a set holds answers of the method's own procedure."""
        return any(m.plain is not None for rounds in self.sets.values() for m in rounds)

    @property
    def chart(self) -> Chart:
        """Accuracy by round with its 95 % intervals."""
        series = []
        for place, (name, rounds) in enumerate(self.sets.items()):
            aside = 0.09 * (place - (len(self.sets) - 1) / 2)  # several sets stand side by side in a round
            points = [
                Point(
                    m.round + aside,
                    m.accuracy.share,
                    m.accuracy.low,
                    m.accuracy.high,
                    f"round {m.round}: {m.accuracy}",
                )
                for m in rounds
                if m.accuracy.total
            ]
            series.append(Series(name, tuple(points)))
        return Chart("Held-out accuracy", tuple(series), share=True, note="bars: 95 % Wilson intervals")


def read_measurements(store: Store) -> Measurements:
    """Return every measured round of every held-out set, compared with the first and with the one before."""
    numbers = measured_rounds(store)
    markers = {number: (store.marker(number, "evaluate") or {})["sets"] for number in numbers}
    names = dict.fromkeys(name for sets in markers.values() for name in sets)
    return Measurements(
        {name: _rounds_of(store, name, {n: s[name] for n, s in markers.items() if name in s}) for name in names},
        _risk(store, {n: list(sets) for n, sets in markers.items() if n in (numbers[0], numbers[-1])}),
    )


def _risk(store: Store, sets: Mapping[int, Sequence[str]]) -> Chart | None:
    """Return the risk by coverage in the first and the last round, None where no method scores its answers."""
    judged = {
        f"{name}, round {number}": scores_and_losses(read_items(store, number, name))
        for number, names in sets.items()
        for name in names
    }
    judged = {name: found for name, found in judged.items() if found[0]}
    return risk_coverage(judged) if judged else None


def _rounds_of(store: Store, name: str, found: dict[int, dict[str, Any]]) -> list[Measured]:
    graded = {number: scores(read_items(store, number, name)) for number in found}
    first, *_ = found
    rounds = []
    for place, (number, figures) in enumerate(found.items()):
        before = list(found)[place - 1] if place > 1 else None
        rounds.append(
            Measured(
                number,
                Accuracy(**{f.name: figures[f.name] for f in fields(Accuracy)}),
                _compared(graded[first], graded[number]) if place else None,
                _compared(graded[before], graded[number]) if before is not None else None,
                figures.get("mean_tokens"),
                figures.get("truncated"),
                compare_with_plain(store, number, name),
                {key: value for key, value in figures.items() if "@" in key},
            )
        )
    return rounds


def _compared(before: dict[str, float | None], after: dict[str, float | None]) -> Comparison | str:
    try:
        return compare(before, after)
    except DataError as error:
        return f"cannot be compared: {error}"


def result_round(store: Store, rounds: list[int], finished: dict[str, Any] | None) -> int | None:
    """Return the measured round whose policy the run ended with, else the last one that was measured."""
    policy, number = (finished or {}).get("policy"), (finished or {}).get("round")
    same = [n for n in rounds if (store.marker(n, "evaluate") or {}).get("policy") == policy]
    return number if number in rounds else (same or rounds or [None])[-1]


def result_sentence(measurements: Measurements, result: int | None) -> str:
    """Return what became of the first held-out set, in one sentence with its interval."""
    if not measurements.sets:
        return "No held-out set was measured, so nothing here says whether the model became better."
    name, rounds = next(iter(measurements.sets.items()))
    now = next((m for m in rounds if m.round == result), rounds[-1])
    a = now.accuracy
    if not a.total:
        return f"None of the {a.failed:,} items of {name} could be graded in round {now.round}."
    if now.start is None:
        stands = (
            f"Accuracy on {name} stands at {percent(a.share)} (95 % interval {100 * a.low:.1f} to {100 * a.high:.1f})"
        )
        return f"{stands} of {a.total:,} items{' before any round' if len(rounds) == 1 else ', the start model'}."
    if isinstance(now.start, str):
        return f"Accuracy on {name} stands at {percent(a.share)} in round {now.round}; with the start it {now.start}."
    c, then = now.start, rounds[0].accuracy
    gap = f"{points(c.difference)} points, 95 % interval {points(c.low)} to {points(c.high)}, {probability(c.p)}"
    moved = f"from {percent(then.share)} to {percent(a.share)} in round {now.round} ({gap}, {c.items:,} items)"
    if c.p >= 0.05:
        return f"Accuracy on {name} did not change measurably: {moved}."
    return f"Accuracy on {name} {'rose' if c.difference > 0 else 'fell'} {moved}."
