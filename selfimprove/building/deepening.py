"""Responses written under budgets that grow, with a trigger sentence wherever a budget is used up.

The formulas and the loop of iterative deepening sampling (arXiv 2502.05449): B_i = B_0 * gamma^i tokens, kept real and
rounded down for each segment. A response is its segments with the trigger between them. Lengths are in tokens without
end tokens.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from selfimprove.records import Sample

MODES = ("segment", "cumulative")
"""What a budget is spent on: the new segment alone, or the whole response so far, its triggers included."""

Ask = Callable[[str, int, int], Awaitable[Sample]]
"""ask(response so far, most new tokens, number of the budget) -> what the model writes next."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """B_0, gamma, the most tokens of a response (B_max), the trigger's tokens |s|, and one of MODES."""

    start: int
    growth: float
    cap: int
    trigger: int
    mode: str = "segment"

    def budget(self, i: int) -> int:
        """Return floor(B_0 * gamma^i) in tokens; in decimals, where 100 * 1.4^2 is 196 and not 195.99."""
        return int(Decimal(str(self.growth)) ** i * self.start)

    def limit(self, i: int, used: int) -> tuple[int, int]:
        """Return (new tokens allowed, at least 1; number of the budget that allows them), from budget i on.

        `used`, below the cap, is the length so far. A cumulative budget that is used up already gives way to the next.
        """
        spent = used if self.mode == "cumulative" else 0
        while self.budget(i) <= spent:
            i += 1
        return min(self.budget(i) - spent, self.cap - used), i

    def full(self, used: int) -> bool:
        """Return whether neither a trigger nor a token after it would fit any more."""
        return used + self.trigger >= self.cap


def cost_bound(start: float, growth: float, triggers: int, trigger: int) -> float:
    """Return B_0 (gamma^(n+1) - 1) / (gamma - 1) + n |s|, the most tokens of a response with n triggers.

    For budgets of single segments: at most gamma / (gamma - 1) times the last one, and the triggers.
    """
    return start * (growth ** (triggers + 1) - 1) / (growth - 1) + triggers * trigger


def equal_cost_samples(samples: int, tokens: float, plain_tokens: float) -> int:
    """Return N' = round(N * tokens / plain tokens), the plain samples of equal cost, from mean tokens of a sample."""
    return round(samples * tokens / plain_tokens)


@dataclass(frozen=True, slots=True)
class Segment:
    """What was written under one budget: the tokens allowed, those used, whether it ended by itself, its log-prob.

    `logprob` is in nats and covers the end token where there was one; None where the engine cannot tell.
    """

    text: str
    budget: int
    tokens: int
    ended: bool
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """One response; `finish` is "eos", "length" or, with the reason in `error`, "error".

    `redrawn` counts tokens that were written and thrown away, `trigger_tokens` is |s|.
    """

    segments: tuple[Segment, ...]
    finish: str
    trigger: str
    trigger_tokens: int
    redrawn: int = 0
    error: str | None = None

    @property
    def text(self) -> str:
        """The whole response, triggers included."""
        return self.trigger.join(segment.text for segment in self.segments)

    @property
    def triggers(self) -> int:
        """How many triggers stand in the response."""
        return max(len(self.segments) - 1, 0)

    @property
    def tokens(self) -> int:
        """The length of the response, triggers included, end tokens left aside."""
        return sum(segment.tokens for segment in self.segments) + self.triggers * self.trigger_tokens

    @property
    def drawn(self) -> int:
        """The tokens that the model wrote for it: end tokens and what was redrawn included, triggers left aside."""
        return sum(segment.tokens + segment.ended for segment in self.segments) + self.redrawn

    @property
    def logprob(self) -> float | None:
        """The log-prob in nats of what the model wrote, given the triggers; None where a segment has none."""
        known = [segment.logprob for segment in self.segments if segment.logprob is not None]
        return sum(known) if known and len(known) == len(self.segments) else None

    def before(self, place: int) -> str:
        """Return the response up to segment `place`, the trigger before it included."""
        return "".join(segment.text + self.trigger for segment in self.segments[:place])

    def record(self) -> dict[str, Any]:
        """Return the trace as plain JSON types, without its text."""
        segments = [{"budget": segment.budget, "n_tokens": segment.tokens} for segment in self.segments]
        return {
            "segments": segments,
            "n_triggers": self.triggers,
            "total_tokens": self.tokens,
            "finish_reason": self.finish,
        }


async def deepen(
    budgets: Budgets,
    trigger: str,
    ask: Ask,
    *,
    on_eos: str = "stop",
    max_rounds: int | None = None,
    closing: str = "",
) -> Trace:
    """Write one response: under every budget as far as it goes, then the trigger, and on under the next one.

    `on_eos` "continue" puts a trigger behind a finished answer too; `max_rounds` is the most segments. Once `closing`
    (the end of a thinking block) stands in the response no trigger follows, and a segment that ends behind it by its
    budget is asked for again with all that the cap leaves.
    """
    segments: list[Segment] = []
    text, used, number, redrawn = "", 0, 0, 0

    def finished(finish: str, error: str | None = None) -> Trace:
        return Trace(tuple(segments), finish, trigger, budgets.trigger, redrawn, error)

    while True:
        limit, number = budgets.limit(number, used)
        sample = await ask(text, limit, number)
        closed = bool(closing) and closing in sample.text
        if closed and sample.finish == "length" and limit < budgets.cap - used:
            redrawn += segment_of(sample, limit).tokens
            limit = budgets.cap - used
            sample = await ask(text, limit, number)
        if sample.error is not None:
            return finished("error", sample.error)
        segment = segment_of(sample, limit)
        segments.append(segment)
        used += segment.tokens
        last = closed or (segment.ended and on_eos == "stop") or len(segments) == max_rounds
        no_room = not segment.ended and segment.tokens < limit  # the model's context is full
        if last or no_room or budgets.full(used):
            return finished("eos" if segment.ended else "length")
        text += segment.text + trigger
        used += budgets.trigger
        number += 1


def segment_of(sample: Sample, limit: int) -> Segment:
    """Return a sample as a segment: without its end token, and without the half of a character that a cut can leave.

    A server that does not count tokens is taken to have used all that it was allowed.
    """
    ended = sample.finish == "stop"
    if ended:
        return Segment(sample.text, limit, max(sample.tokens - 1, 0), True, sample.logprob)
    return Segment(sample.text.rstrip("\ufffd"), limit, sample.tokens or limit, False, sample.logprob)
