"""What responses with triggers in them say, whether it is right, and what the triggers did."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selfimprove.building.deepening import Trace
from selfimprove.records import Prompt

if TYPE_CHECKING:
    from selfimprove.run import Run


@dataclass(frozen=True, slots=True)
class Reading:
    """What a response says: its final answer, None without one, the segment that says it, and the answer at first."""

    answer: str | None
    stated: str
    first: str | None


def read(extract: Callable[[str], str | None], trace: Trace, must_match: str = "") -> Reading:
    """Return what a response says: the last segment in which an answer can be read counts.

    `extract` finds the final answer in a text; where `must_match`, a regular expression, is not in a segment, it is
    not asked.
    """
    texts = [segment.text for segment in trace.segments]
    answers = [extract(text) if re.search(must_match, text) else None for text in texts]
    place = max((place for place, answer in enumerate(answers) if answer is not None), default=len(texts) - 1)
    return Reading(answers[place], texts[place], answers[0])


def measure_traces(run: "Run", traces: Sequence[Trace]) -> None:
    """Measure lengths and triggers of responses, and how many failed."""
    for trace in traces:
        run.measure("failed", float(trace.error is not None))
        if trace.error is None:
            run.measure("response_tokens", trace.tokens)
            run.measure("drawn_tokens", trace.drawn)
            run.measure("triggers", trace.triggers)
            run.measure("untriggered", float(trace.triggers == 0))
            run.measure("cut", float(trace.finish == "length"))


async def grade(run: "Run", prompt: Prompt, traces: Sequence[Trace], readings: Sequence[Reading]) -> list[bool | None]:
    """Return whether each response is right, None where that cannot be told, and measure what its triggers did."""

    async def right(text: str, answer: str | None) -> bool | None:
        score = (await run.check(prompt, text)).score
        return None if score is None else score >= 1 and answer is not None

    verdicts = []
    for trace, reading in zip(traces, readings, strict=True):
        last = await right(reading.stated, reading.answer)
        first = last
        if reading.first not in (None, reading.answer):
            first = await right(trace.segments[0].text, reading.first)
        if last is not None and first is not None:
            run.measure("right_one", float(last))
            run.measure("repaired", float(last and not first))
            run.measure("broken", float(first and not last))
        verdicts.append(last)
    return verdicts
