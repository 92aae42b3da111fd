"""CREAM: self-rewarding by likelihood, trusting a pair as far as this round's and the last round's model agree.

Paper: "CREAM: Consistency Regularized Self-Rewarding Language Models", Wang et al. 2024, arXiv 2410.12735.
Input: prompts; in the first round, where it starts from SFT, prompts with a worked `solution`. Output: pairs.

Every answer of a prompt is scored twice, by the policy (M_t) and by the one a round earlier (M_t-1): the
log-likelihood it gives the answer, less that of the start model. The pair is the best and the worst answer by M_t.
How far the two rankings agree (c between 0 and 1) is how far the pair is trusted: the loss is c times the DPO loss
plus 1 - c times the DPO loss of the turned pair, whose best margin is logit(c).

What differs from the paper:
1. The SFT start (M_0 to M_1) is round 1 of the run, on the prompts' worked solutions; `start: none` leaves it out for
   a model that is M_1 already. There is no M_0 then, so in the first round no consistency is known, and the loss is
   the plain one.
2. The reference of the scores is the model the run began with, in all rounds (so we read the paper; the code takes
   any model). `reference: before` takes the model that each was trained from. A model that is its own reference is
   scored by its mean log-prob a token, as in the original code; a score with a reference is a sum.
3. Equal scores are ranked by their place, as in the original code, so that ties in both lists count as agreement.
   `top_order` compares the best and the worst answers, as the paper says (the original code compares the first and
   the last ones).
4. Consistency is kept with its pair (the original code shifts it after a prompt that gave none). Where an answer could
   not be scored by M_t-1 it is unknown, and the mean of the others stands for it.
5. Truncated answers are left out of the ranking (`drop_truncated: false` keeps them); a prompt needs two answers.
6. Log-probs cover the answer and its end of turn (the original code counts the assistant's header too).
7. With `weight: set` the mean is over all pairs of the round, before rows are left out as too long for training.
8. There is no SFT term on the seed data in later rounds, as in the released code.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from selfimprove.building.worked import worked_example
from selfimprove.errors import ConfigError, TrainError
from selfimprove.judges.implicit import likelihood_gain
from selfimprove.judges.ranking import AGREEMENTS, best_and_worst
from selfimprove.records import Example, Pair, Prompt, Sample, Skip

if TYPE_CHECKING:
    from selfimprove.engines.base import Policy
    from selfimprove.run import Run
    from selfimprove.store import Rows

NEEDS, MAKES = {"messages"}, "pairs"
TRIAL_ROUND = 2  # the first round may be SFT, which asks for nothing


@dataclass(frozen=True)
class Config:
    """Options of CREAM."""

    start: str = "sft"  # sft: round 1 trains on the prompts' solutions and makes M_1; none: the model is M_1
    samples: int = 5  # N, answers a prompt
    temperature: float = 0.8  # of sampling
    top_p: float = 0.95  # of sampling
    max_tokens: int = 768  # longest answer
    reference: str = "base"  # of the scores; base: the start model; before: the model that the scoring one came from
    measure: str = "kendall"  # how far two rankings agree: kendall, spearman or top_order
    weight: str = "set"  # set: the mean of all pairs weighs every pair; sample: every pair is weighed by its own
    drop_truncated: bool = True  # leave out answers that reached max_tokens
    stop_near_half: float = 0.0  # stop where the mean consistency is this near to 0.5, which is no signal; 0: never

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        allowed = {
            "start": ("sft", "none"),
            "reference": ("base", "before"),
            "measure": tuple(AGREEMENTS),
            "weight": ("set", "sample"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ConfigError(f"cream: {name} is '{getattr(self, name)}'; it is one of {', '.join(values)}")
        if self.samples < 2:
            raise ConfigError(f"cream: samples is {self.samples}; a ranking needs at least 2")
        if not 0 <= self.stop_near_half < 0.5:
            raise ConfigError(f"cream: stop_near_half is {self.stop_near_half}; it must be from 0 to below 0.5")


async def collect(cfg: Config, run: "Run", prompt: Prompt) -> list[Pair | Example | Skip]:
    """Sample N answers, rank them by M_t and by M_t-1, and pair the best with the worst; round 1 may be SFT."""
    if cfg.start == "sft" and run.round == 1:
        return [worked_example(prompt)]
    samples = await run.sample(
        prompt, cfg.samples, temperature=cfg.temperature, top_p=cfg.top_p, max_tokens=cfg.max_tokens
    )
    failed = next((sample.error for sample in samples if sample.error), None)
    if failed:
        return [Skip(prompt.id, "engine_error", failed)]
    texts = [sample.text.strip() for sample in samples if usable(sample, cfg)]
    if len(texts) < 2:
        return [Skip(prompt.id, "too_few_answers", f"{len(texts)} of {len(samples)} answers ended and are not empty")]
    references = (run.base, run.base)
    if cfg.reference == "before":  # M_t-1, and for M_t-1 the model at the end of round t - 3
        references = (run.previous, run.policies.get(run.round - 3, run.base))
    current, previous = await asyncio.gather(
        rewards(run, prompt, texts, run.policy, references[0]),
        rewards(run, prompt, texts, run.previous, references[1]),
    )
    picked = best_and_worst(current)
    if picked is None:
        return [Skip(prompt.id, "unscored" if None in current else "equal_scores")]
    best, worst = picked
    known = run.policy.digest != run.previous.digest  # else M_t-1 is M_t, which says nothing
    agreement = consistency(cfg.measure, current, previous) if known else None
    if agreement is not None:
        run.measure("consistency", agreement)
    scored = {index: reward for index, reward in enumerate(current) if reward is not None}
    margin = scored[best] - scored[worst]
    run.measure("margin", margin)
    meta = {"consistency": agreement, "answers": len(texts)}
    tag = f"round-{run.round}"
    return [Pair.of(prompt, texts[best], texts[worst], tag=tag, margin=margin, round=run.round, meta=meta)]


def assemble(cfg: Config, rows: "Rows") -> "Rows | Iterator[dict[str, Any]]":
    """Give every pair its smoothing 1 - C: of the mean consistency of all pairs, or of its own."""
    known = [value for value in map(consistency_of, rows) if value is not None]
    return smoothed(rows, fmean(known), cfg.weight == "sample") if known else rows


async def learn(cfg: Config, run: "Run", rows: "Rows") -> "Policy":
    """Train on the solutions in the first round where it starts from SFT, else on the pairs from M_t on."""
    if cfg.start == "sft" and run.round == 1:
        return await run.train("sft", rows)
    trusted = [1 - row["smoothing"] for row in rows if row.get("smoothing") is not None]
    mean = fmean(trusted) if trusted else 1.0
    if abs(mean - 0.5) < cfg.stop_near_half:
        raise TrainError(
            f"round {run.round}: the mean consistency of its pairs is {mean:.3f}, within method.stop_near_half = "
            f"{cfg.stop_near_half:g} of 0.5, so that training would only shrink margins; the model of round "
            f"{run.round - 1} is the result. To train all the same: method.stop_near_half=0 --from {run.round}/learn"
        )
    return await run.train(MAKES, rows)


def usable(sample: Sample, cfg: Config) -> bool:
    """Return whether an answer is ranked: not empty, and not cut at the length limit."""
    return sample.ok and not (cfg.drop_truncated and sample.finish == "length")


async def rewards(
    run: "Run", prompt: Prompt, texts: Sequence[str], policy: "Policy", reference: "Policy"
) -> list[float | None]:
    """Return r_j = log pi(y_j|x) - log ref(y_j|x) in nats of every answer, None where it could not be scored.

    A model that is its own reference (the start model) is scored by its mean log-prob a token.
    """
    own = asyncio.gather(*(run.logprobs(prompt, text, policy=policy) for text in texts))
    if policy.digest == reference.digest:
        return [likelihood_gain(scored, normalise=True) for scored in await own]
    other = asyncio.gather(*(run.logprobs(prompt, text, policy=reference) for text in texts))
    return [likelihood_gain(mine, theirs) for mine, theirs in zip(await own, await other, strict=True)]


def consistency(measure: str, current: Sequence[float | None], previous: Sequence[float | None]) -> float | None:
    """Return c in [0, 1], how far two score lists rank the answers alike; None where a score is missing."""
    now = [value for value in current if value is not None]
    before = [value for value in previous if value is not None]
    if not len(now) == len(before) == len(current):
        return None
    return AGREEMENTS[measure](now, before)


def consistency_of(row: dict[str, Any]) -> float | None:
    """Return the consistency of a collected row, None where it is unknown or the row is no pair."""
    return row.get("meta", {}).get("consistency")


def smoothed(rows: "Rows", mean: float, own: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows with smoothing 1 - C, C the mean consistency, or the row's own where it has one (`own`)."""
    for row in rows:
        given = consistency_of(row) if own else None
        yield {**row, "smoothing": 1 - (mean if given is None else given)}
