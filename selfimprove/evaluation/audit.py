"""Measuring a judge on pairs of answers whose order is known, before its verdicts decide what a model learns."""

import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from selfimprove.config import Limit, Recipe
from selfimprove.engines import open_engine
from selfimprove.engines.base import Policy
from selfimprove.errors import DataError
from selfimprove.evaluation.metrics import wilson
from selfimprove.files import read_jsonl
from selfimprove.ledger import Ledger
from selfimprove.records import Pair, Prompt, Row
from selfimprove.resources import shipped_file
from selfimprove.run import EngineOnDemand, Run
from selfimprove.runtime import Outcome, drive
from selfimprove.verify import Verifiers

LONGER = 1.2
"""An answer counts as the longer one where it has so many times the words of the other."""


CALIBRATION = "data/judge_calibration/pairs.jsonl"
"""The pairs that ship with the project."""


@dataclass(frozen=True, slots=True)
class Judged(Row):
    """One pair as a judge saw it.

    `right` is 1 where the better answer won, 0 where the worse one did, 0.5 for a tie and None where the judge failed;
    `confidence` the probability it gave to its own choice; `longer` whether the better answer is the longer one, None
    where both are about as long; `swapped` whether the two orders disagreed, None for a judge of single answers.
    """

    id: str
    kind: str
    right: float | None
    confidence: float | None = None
    longer: bool | None = None
    swapped: bool | None = None
    grades: tuple[float | None, ...] = ()


def read_pairs(source: str, limit: int | None = None) -> list[Pair]:
    """Return the pairs of a JSONL file, also of one that ships with the package; with `limit`, so many of them.

    Raises DataError where the file cannot be read or a row is no pair.
    """
    path = Path(source) if Path(source).is_file() else shipped_file(source)
    if path is None:
        raise DataError(f"{source}: there is no such file of pairs")
    pairs = [Pair.from_row(row) for row in read_jsonl(path)]
    if limit is None or limit >= len(pairs):
        return pairs
    return random.Random(0).sample(pairs, limit)


async def audit_judges(
    recipe: Recipe, policy: Policy, judges: Mapping[str, Any], pairs: Sequence[Pair], folder: Path
) -> dict[str, tuple[list[Judged], dict[str, Any]]]:
    """Return {judge: (how it saw every pair, figures)}; all judges share one engine and a ledger in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(recipe.ledger or folder / "ledger.sqlite")
    engine = EngineOnDemand(open_engine(recipe.engine))
    verifiers = Verifiers(recipe.sandbox)
    try:
        run = Run(recipe, 0, policy, policy, policy, engine, ledger, verifiers)
        return {name: await audit(run, judge, pairs) for name, judge in judges.items()}
    finally:
        await engine.close()
        verifiers.close()
        ledger.close()


async def audit(
    run: Run, judge: Any, pairs: Sequence[Pair], *, repeats: int = 50, own: int = 50
) -> tuple[list[Judged], dict[str, Any]]:
    """Return how a judge saw every pair, and the figures.

    The first `repeats` pairs are judged a second time under another seed, and the policy's own answers to the first
    `own` questions are held against the better answers of the pairs.
    """
    again = replace(run, recipe=replace(run.recipe, seed=run.recipe.seed + 1))
    first = {pair.prompt[-1]["content"]: pair for pair in reversed(pairs)}
    asked = [pair for pair in pairs if first[pair.prompt[-1]["content"]] is pair][:own]
    judged = await _each(pairs, lambda pair: judge_pair(run, judge, pair), run.recipe.collect.window)
    repeated = await _each(pairs[:repeats], lambda pair: judge_pair(again, judge, pair), run.recipe.collect.window)
    answered = await _each(asked, lambda pair: judge_own(run, judge, pair), run.recipe.collect.window)
    return judged, figures(judged, repeated, [each.right for each in answered], getattr(judge, "bounds", None))


async def _each(pairs: Sequence[Pair], look: Callable[[Pair], Awaitable[Judged]], window: int) -> list[Judged]:
    """Return how every pair was seen, in order; the pairs are looked at side by side."""
    named = {pair.id: pair for pair in pairs}
    seen: list[Judged] = []

    async def collect(prompt: Prompt) -> list[Row]:
        return [await look(named[prompt.id])]

    def emit(outcome: Outcome) -> None:
        seen.extend(row for row in outcome.rows if isinstance(row, Judged))

    await drive((Prompt(pair.id, pair.prompt) for pair in pairs), collect, emit, window=window)
    return seen


async def judge_pair(run: Run, judge: Any, pair: Pair) -> Judged:
    """Return how a judge sees a pair."""
    prompt = Prompt(pair.id, pair.prompt)
    kind, longer = str(pair.meta.get("kind", "")), better_is_longer(pair.chosen, pair.rejected)
    if hasattr(judge, "prefer"):
        found = await judge.prefer(run, prompt, pair.chosen, pair.rejected)
        if found.probability is None:
            return Judged(pair.id, kind, None, longer=longer)
        right = 0.5 if found.winner is None else float(found.winner == 0)
        confidence = max(found.probability, 1 - found.probability)
        return Judged(pair.id, kind, right, confidence, longer, swapped=not found.agreed)
    grades = tuple([(await judge.score(run, prompt, text)).score for text in (pair.chosen, pair.rejected)])
    return Judged(pair.id, kind, *compared(grades, judge.bounds), longer, grades=grades)


async def judge_own(run: Run, judge: Any, pair: Pair) -> Judged:
    """Return how the judge sees the policy's own answer (as `chosen`) against the better one of a pair."""
    prompt = Prompt(pair.id, pair.prompt)
    [sample] = await run.sample(prompt, 1, temperature=0.0, max_tokens=96, purpose="audit")
    text = sample.text.strip()
    if not sample.ok or text == pair.chosen:
        return Judged(pair.id, "own", None)
    return await judge_pair(run, judge, Pair.of(prompt, text, pair.chosen))


def compared(grades: Sequence[float | None], bounds: tuple[float, float] | None) -> tuple[float | None, float | None]:
    """Return (right, confidence) of the grades of the better and the worse answer; (None, None) where one failed.

    Confidence is 1/2 + |difference| / 2 on a scale of 0 to 1 for a judge with bounds, sigmoid(|difference|) otherwise.
    """
    better, worse = grades
    if better is None or worse is None:
        return None, None
    gap = abs(better - worse)
    confidence = 0.5 + 0.5 * gap / (bounds[1] - bounds[0]) if bounds else 1 / (1 + math.exp(-gap))
    return (better > worse) + 0.5 * (better == worse), confidence


def better_is_longer(better: str, worse: str) -> bool | None:
    """Return whether the better answer is the longer one by words, None where both are about as long."""
    long, short = (max(len(text.split()), 1) for text in (better, worse))
    if max(long, short) < LONGER * min(long, short):
        return None
    return long > short


def figures(
    judged: Sequence[Judged],
    repeated: Sequence[Judged] = (),
    preferred: Sequence[float | None] = (),
    bounds: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Return the figures of an audit; None where one is undefined for this judge.

    `accuracy` counts a tie one half, with its 95 % Wilson interval; `kinds` gives it by kind. `length_preference` is
    the accuracy where the better answer is the longer one minus that where it is the shorter one: 0 for a judge whom
    length does not move, 1 for one who sees nothing else. `calibration_error` is the expected one over ten bins.
    """
    known = [(each, each.right) for each in judged if each.right is not None]
    rights = [right for _, right in known]
    swaps = [each.swapped for each in judged if each.swapped is not None]
    sides = [[right for each, right in known if each.longer is side] for side in (True, False)]
    own = [value for value in preferred if value is not None]
    grades = [round(grade, 1) for each in judged for grade in each.grades if grade is not None]
    pairs = [(one.right, two.right) for one, two in zip(judged, repeated, strict=False)]
    same = [one == two for one, two in pairs if one is not None and two is not None]
    bins = bins_of([(each.confidence, right) for each, right in known if each.confidence is not None])
    low, high = wilson(sum(rights), len(rights)) if rights else (None, None)
    return {
        "pairs": len(judged),
        "accuracy": _mean(rights),
        "low": low,
        "high": high,
        "kinds": {
            kind: _mean([right for each, right in known if each.kind == kind])
            for kind in dict.fromkeys(each.kind for each in judged)
        },
        "length_matched": _mean([right for each, right in known if each.longer is None]),
        "ties": _mean([right == 0.5 for right in rights]),
        "swap_rate": _mean(swaps),
        "length_preference": fmean(sides[0]) - fmean(sides[1]) if all(sides) else None,
        "self_preference": _mean(own),
        "grades": dict(sorted(Counter(grades).items())) if bounds else None,
        "largest_grade_share": max(Counter(grades).values()) / len(grades) if grades and bounds else None,
        "parse_failures": _mean([each.right is None for each in judged]),
        "repeatability": _mean(same),
        "calibration_error": calibration_error(bins),
        "bins": bins,
    }


def bins_of(seen: Sequence[tuple[float, float]], count: int = 10) -> list[tuple[float, float, int]]:
    """Return (mean confidence, accuracy, pairs) of each bin of confidence in [1/2, 1] that is not empty.

    `seen` holds (confidence, right in [0, 1]) pairs.
    """
    filled: dict[int, list[tuple[float, float]]] = {}
    for confidence, right in seen:
        filled.setdefault(min(int((confidence - 0.5) * 2 * count), count - 1), []).append((confidence, right))
    return [(fmean(c for c, _ in each), fmean(r for _, r in each), len(each)) for _, each in sorted(filled.items())]


def calibration_error(bins: Sequence[tuple[float, float, int]]) -> float | None:
    """Return the expected calibration error: sum over bins of (share of pairs) |accuracy - confidence|."""
    total = sum(pairs for _, _, pairs in bins)
    return sum(pairs * abs(right - confidence) for confidence, right, pairs in bins) / total if total else None


def broken(found: Mapping[str, Any], limits: Mapping[str, Limit]) -> list[str]:
    """Return one sentence for every limit that the figures break; a figure that is undefined breaks none."""
    sentences = []
    for name, limit in limits.items():
        value = found.get(name)
        if value is None:
            continue
        if limit.min is not None and value < limit.min:
            sentences.append(f"{name} is {value:.3f}, below {limit.min:g}")
        if limit.max is not None and value > limit.max:
            sentences.append(f"{name} is {value:.3f}, above {limit.max:g}")
    return sentences


def _mean(values: Iterable[float | bool]) -> float | None:
    values = list(values)
    return fmean(values) if values else None
