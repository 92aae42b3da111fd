"""Answers of known order: rows that teach a model to judge as they are ordered, and measures of how well it does.

A ranked prompt has `meta.answers`, a list of texts, and `meta.ranks`, a number for each, 0 the best (Self-Rewarding,
arXiv 2401.10020, evaluation fine-tuning and reward-model metrics).
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from selfimprove.errors import DataError
from selfimprove.judges import llm
from selfimprove.judges.ranking import ranking_metrics
from selfimprove.records import Example, Prompt, Sample, Skip
from selfimprove.sources import load_prompts

if TYPE_CHECKING:
    from selfimprove.run import Run


def ranked_prompts(source: str | Mapping[str, Any], heldout: float, seed: int, where: str) -> list[Prompt]:
    """Return the ranked prompts of a source in its order, a drawn share of them with `meta.held_out`.

    Raises DataError where answers and ranks do not fit.
    """
    found = list(load_prompts(source, where))
    for prompt in found:
        answers, ranks = prompt.meta.get("answers"), prompt.meta.get("ranks")
        fits = isinstance(answers, list) and isinstance(ranks, list) and len(answers) == len(ranks)
        if not fits or len(set(ranks or ())) < 2:
            raise DataError(
                f"{where}: prompt {prompt.id} needs meta.answers, a list of texts, and meta.ranks, a number for each "
                "(0 the best), not all the same"
            )
    order = random.Random(seed).sample(range(len(found)), len(found))
    held = set(order[: round(len(found) * heldout)])
    return [replace(prompt, meta={**prompt.meta, "held_out": at in held}) for at, prompt in enumerate(found)]


def best_row(prompt: Prompt, **values: Any) -> Example:
    """Return the row that teaches the best answer of a ranked prompt, the first of equals."""
    answers, ranks = prompt.meta["answers"], prompt.meta["ranks"]
    best = min(range(len(ranks)), key=ranks.__getitem__)
    return Example.of(prompt, answers[best], tag="solution", **values)


async def verdict_rows(run: "Run", prompt: Prompt, rubric: llm.Config, tries: int = 1) -> list[Example | Skip]:
    """Return the policy's own verdicts on ranked answers as rows, where their grades have the known order.

    Every answer gets `tries` verdicts; the first of each are taken together, then the second, until all agree. Where
    the rubric reads digits, a verdict is a grade alone, drawn by the probabilities that the policy gives to each.
    """
    ranks = prompt.meta["ranks"]
    asked = [llm.render(rubric, prompt, answer) for answer in prompt.meta["answers"]]
    options: dict[str, Any] = {"temperature": rubric.temperature}
    if rubric.read == "digits":
        low, high = rubric.bounds
        options |= {"max_tokens": 4, "choices": tuple(str(grade) for grade in range(low, high + 1))}
    else:
        options |= {"top_p": rubric.top_p, "max_tokens": rubric.max_tokens}
    verdicts = [await run.sample(prompt, tries, messages=each, purpose="verdict", **options) for each in asked]
    error = next((sample.error for each in verdicts for sample in each if sample.error), None)
    if error is not None:
        return [Skip(prompt.id, "engine_error", error)]
    grades = [[grade_of(rubric, sample) for sample in each] for each in verdicts]
    unread = sum(grade is None for each in grades for grade in each)
    run.measure("verdicts_unread", unread / (len(grades) * tries))
    agreeing = next((at for at in range(tries) if same_order(ranks, [each[at] for each in grades])), None)
    run.measure("verdicts_agree", float(agreeing is not None))
    if agreeing is None:
        readable = any(all(each[at] is not None for each in grades) for at in range(tries))
        shown = "; ".join(
            " ".join("-" if each[at] is None else f"{each[at]:g}" for each in grades) for at in range(tries)
        )
        return [Skip(prompt.id, "verdicts_disagree" if readable else "verdicts_unread", f"ranks {ranks}: {shown}")]
    rows: list[Example | Skip] = []
    for index, messages in enumerate(asked):
        text, meta = verdicts[index][agreeing].text.strip(), {"grade": grades[index][agreeing]}
        task = replace(prompt, messages=messages)
        rows.append(Example.of(task, text, tag=f"verdict-{index}", round=run.round, meta=meta))
    return rows


def grade_of(rubric: llm.Config, sample: Sample) -> float | None:
    """Return the grade of a verdict that can be learned, None where it was cut or cannot be read."""
    if rubric.read == "digits":
        return float(sample.text)  # one of the grades that were offered
    return None if sample.finish == "length" else llm.parse(sample.text, *rubric.bounds)


def same_order(ranks: Sequence[float], grades: Sequence[float | None]) -> bool:
    """Return whether grades order all answers as their ranks do (0 the best); a tie or a missing grade does not.

    Answers of equal rank may have any grades.
    """
    known = [grade for grade in grades if grade is not None]
    if len(known) < len(grades):
        return False
    pairs = combinations(range(len(ranks)), 2)
    return all((known[i] - known[j]) * (ranks[j] - ranks[i]) > 0 for i, j in pairs if ranks[i] != ranks[j])


async def measure_judge(run: "Run", prompt: Prompt) -> Skip:
    """Measure how well the recipe's judge orders held-out ranked answers; nothing is learned from them."""
    ranks = prompt.meta["ranks"]
    grades = [(await run.judge(prompt, answer)).score for answer in prompt.meta["answers"]]
    known = [(rank, grade) for rank, grade in zip(ranks, grades, strict=True) if grade is not None]
    run.measure("ranked_graded", len(known) / len(ranks))
    for name, value in ranking_figures([rank for rank, _ in known], [grade for _, grade in known]):
        run.measure(f"ranked_{name}", value)
    return Skip(prompt.id, "held_out", "the judge is measured on it, nothing is learned from it")


def ranking_figures(ranks: Sequence[int], grades: Sequence[float], top: float = 5) -> Iterator[tuple[str, float]]:
    """Yield (figure, value) of one prompt, so that means over all prompts' values are those of `ranking_metrics`.

    Pairwise accuracy is a share of pairs of answers and `top_is_best` one of answers, so these come once for each. A
    prompt with fewer than two grades has none.
    """
    if len(grades) < 2:
        return
    pairs = sum(one != two for one, two in combinations(ranks, 2))
    times = {"pairwise": pairs, "top_is_best": sum(grade == top for grade in grades)}
    for name, value in ranking_metrics([(ranks, grades)], top).items():
        if value is not None:
            yield from [(name, value)] * times.get(name, 1)


def surplus_rows(grades: Sequence[float | None], seed: int = 0) -> set[int]:
    """Return which rows go so that the most frequent grade is no more frequent than the next one.

    They are drawn by `seed`; rows whose grade is None stay.
    """
    counts = Counter(grade for grade in grades if grade is not None).most_common(2)
    if len(counts) < 2:
        return set()
    places = [at for at, grade in enumerate(grades) if grade == counts[0][0]]
    return set(random.Random(seed).sample(places, counts[0][1] - counts[1][1]))
