"""The N answers of one prompt with what picking among them needs, and what a pick says of the model."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selfimprove.evaluation.coverage import coverage_bar
from selfimprove.judges.picking import REWARDS, Rules, pick, rewards_of, unusable, vote_shares
from selfimprove.records import Prompt, Sample, Scored, Skip

if TYPE_CHECKING:
    from selfimprove.run import Run


@dataclass(frozen=True, slots=True)
class Drawn:
    """N answers: `reasons` say why one may not be picked (None: it may), and then it has no log-prob and no answer.

    `logprobs` are in nats at temperature 1, `tokens` the lengths that go with them, end token included; `answers` are
    final answers as the verifier reads them.
    """

    samples: tuple[Sample, ...]
    reasons: tuple[str | None, ...]
    logprobs: tuple[float | None, ...]
    tokens: tuple[int, ...]
    answers: tuple[str | None, ...]

    def first(self, count: int) -> "Drawn":
        """Return the first so many: independent draws, so they are a smaller N without asking again."""
        return Drawn(
            self.samples[:count],
            self.reasons[:count],
            self.logprobs[:count],
            self.tokens[:count],
            self.answers[:count],
        )

    @property
    def usable(self) -> list[int]:
        """The places of the answers that may be picked."""
        return [index for index, reason in enumerate(self.reasons) if reason is None]

    def rewards(self, reward: str) -> list[float | None]:
        """Return a self-reward of every answer, None where it has none."""
        return rewards_of(reward, self.logprobs, self.tokens, self.answers)

    def pick(self, reward: str) -> int | None:
        """Return the place of the answer with the highest self-reward, None where none has one."""
        return pick(reward, self.logprobs, self.tokens, self.answers)

    def why_none(self, prompt: Prompt) -> Skip:
        """Return the Skip of a prompt with too few usable answers: the one reason, or how many there were of each."""
        counts = Counter(reason or "usable" for reason in self.reasons)
        told = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))
        error = next((sample.error for sample in self.samples if sample.error), "")
        mixed = "one_usable" if counts["usable"] else "none_usable"
        return Skip(prompt.id, next(iter(counts)) if len(counts) == 1 else mixed, error or told)


async def judged(
    run: "Run", prompt: Prompt, samples: Sequence[Sample], rules: Rules, *, rescore: bool = False
) -> Drawn:
    """Return samples with their log-probs and final answers.

    `rescore` asks the base for log-probs; without it those count that came with the samples, which are the base's
    where it drew them. The base scores samples that came without.
    """
    read = [run.answer(prompt, sample.text) if sample.ok and sample.finish != "length" else None for sample in samples]
    reasons = [unusable(sample, answer, rules) for sample, answer in zip(samples, read, strict=True)]

    async def score(sample: Sample) -> tuple[float | None, int]:
        if sample.logprob is not None and not rescore:
            return sample.logprob, sample.tokens
        scored: Scored = await run.logprobs(prompt, sample.text, policy=run.base)
        return scored.total, len(scored.token_logprobs)

    able = [index for index, reason in enumerate(reasons) if reason is None]
    scores = dict(zip(able, await asyncio.gather(*(score(samples[index]) for index in able)), strict=True))
    for index, (logprob, _) in scores.items():
        reasons[index] = "unscored" if logprob is None else None
    able = [index for index, reason in enumerate(reasons) if reason is None]
    places = range(len(samples))
    return Drawn(
        tuple(samples),
        tuple(reasons),
        tuple(scores[index][0] if index in able else None for index in places),
        tuple(scores[index][1] if index in able else samples[index].tokens for index in places),
        tuple(read[index] if index in able else None for index in places),
    )


def measure_coverage(run: "Run", drawn: Drawn) -> None:
    """Measure what N answers of a model say of its mass: share usable, 1 / share of the commonest answer, -ln max B.

    The last is the log of 1 / max B(y|x) over the answers seen, an upper bound of the true one: sequence
    probabilities of long texts are far too small for their inverse to be averaged.
    """
    run.measure("usable", len(drawn.usable) / len(drawn.samples))
    shares = vote_shares(drawn.answers)
    if shares:
        run.measure("answer_coverage", coverage_bar([list(shares.values())]))
    known = [value for value in drawn.logprobs if value is not None]
    if known:
        run.measure("log_coverage", -max(known))


async def measure_lift(run: "Run", prompt: Prompt, logprobs: Sequence[float], max_tokens: int) -> Sample | None:
    """Measure by how many nats answers are likelier under the base than its greedy answer; return that answer.

    Not measured where the greedy answer was cut, which makes it likelier than it is; None where there is none.
    """
    [greedy] = await run.sample(prompt, 1, policy=run.base, temperature=0.0, max_tokens=max_tokens)
    if greedy.error:
        return None
    known = greedy.logprob
    if known is None:
        known = (await run.logprobs(prompt, greedy.text, policy=run.base)).total
    if known is not None and logprobs and greedy.finish != "length":
        run.measure("logprob_lift", sum(logprobs) / len(logprobs) - known)
    return greedy


async def measure_right(run: "Run", prompt: Prompt, name: str, text: str) -> None:
    """Measure whether a text is right, where there is ground truth and it can tell."""
    score = (await run.check(prompt, text)).score if prompt.gold is not None else None
    if score is not None:
        run.measure(name, float(score >= 1))


async def measure_picks(run: "Run", prompt: Prompt, drawn: Drawn, sizes: Sequence[int]) -> None:
    """Measure how often the picks of all rewards are right for several N, and how often any of N answers is.

    Without ground truth nothing is measured. A prompt without a pick counts as wrong.
    """
    if prompt.gold is None:
        return
    texts = {answer: sample.text for sample, answer in zip(drawn.samples, drawn.answers, strict=True) if answer}
    graded = {answer: (await run.check(prompt, text)).score for answer, text in texts.items()}
    if any(score is None for score in graded.values()):
        return
    right = [bool(answer and (graded[answer] or 0.0) >= 1) for answer in drawn.answers]
    for size in sizes:
        part = drawn.first(size)
        run.measure(f"right_any@{size}", float(any(right[:size])))
        for reward in REWARDS:
            found = part.pick(reward)
            run.measure(f"right_{reward}@{size}", float(found is not None and right[found]))
