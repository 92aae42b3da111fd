"""Sharpening: the base model's own likelihood picks the best of its answers, which search returns or training learns.

Paper: "Self-Improvement in Language Models: The Sharpening Mechanism", Huang et al., ICLR 2025, arXiv 2412.01951.
Input: prompts; gold answers only measure. Output: as `objective` has it. sft: one row a prompt, the best of N answers;
dpo, regression: one pair a prompt, two answers of the base with its log-probs; xpo: a pair of an answer of this
round's policy and one of the base, over rounds that train on the pairs of all rounds so far. Held-out items may be
answered by best-of-N without any training (`evaluate.with_method`).

Every reward comes from the frozen base model at temperature 1, in every round: log-prob (logp), log-prob a token
(norm), or the share of votes for the final answer (majority). What can be gained is bounded by what the base already
gives to its favourites: `answer_coverage` (mean of 1 / share of the commonest answer) and `log_coverage` (mean of
-ln B of the likeliest answer seen) of a round say how much that is.

What differs from the paper:
1. Answers that are cut, empty, shorter than `min_tokens`, without a final answer or without what `must_match` asks for
   are neither picked nor paired (the paper does not say): by plain log-prob the shortest would win. So B is the base
   given that it answers. A short sentence counts as a final answer, so `must_match` is the surer guard.
2. Ties go to the likelier answer where votes are equal, then to the first (paper: any maximiser).
3. Prompts carry no worked example of their own (paper: one); write it into the data's messages.
4. Identical answers make no pair; under xpo the paper's exploration term would still see them.
5. `regression` and `dpo` put the answer of higher reward first; the regression does not depend on the order. `dpo` is
   the logistic loss, which sees only the order: equal rewards are skipped. Its reference is the policy at the start of
   the round, so give it one round.
6. xpo: a round draws one pair of every prompt, and training goes on from the policy of the round instead of starting
   anew (paper: one prompt a step, the argmin over all policies). The last round only draws: the mean of
   r(y) - beta * (log pi_t(y|x) - log B(y|x)) over the answers y of round t estimates J_beta of the policy pi_t that
   drew them, and the best of these policies is the run's result. A run that ends earlier keeps its last policy.
7. `max_gap` clips r(y) - r(y2), since log-probs of long answers differ by tens of nats, and the log-ratio that is
   asked for is that gap over train.beta (paper: no clipping, no experiments of this kind).
8. `adaptive` is for short answers: the cap is `samples`, and a prompt that reaches it is picked from all the same.
Answering again and scoring with the tuned model is another method: export it and name it as `model` of a new run.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from selfimprove.building.best_of_n import Drawn, judged, measure_coverage, measure_lift, measure_picks, measure_right
from selfimprove.errors import ConfigError
from selfimprove.evaluation.with_method import SCORE
from selfimprove.judges.picking import REWARDS, Rules, adaptive_stop, r_logp, stopping_mu, vote_shares
from selfimprove.records import Example, Pair, Prompt, Sample, Scored, Skip

if TYPE_CHECKING:
    from selfimprove.engines.base import Policy
    from selfimprove.run import Run
    from selfimprove.store import Rows

NEEDS, MAKES = {"messages"}, ("sft", "pairs")

LOSSES = {"sft": None, "dpo": "sigmoid", "regression": "reward_regression", "xpo": "xpo"}
"""Objective: the loss that trains it."""

CHUNK = 8
"""Answers that an adaptive draw asks for at once; what it draws too many is not looked at."""


@dataclass(frozen=True)
class Config:
    """Options of sharpening."""

    objective: str = "sft"  # sft (best of N), dpo or regression (pairs of the base), xpo (pairs over rounds)
    reward: str = "logp"  # logp (sequence log-prob, as published), norm (a token), majority (votes for the answer)
    samples: int = 50  # N, answers of best-of-N at temperature 1; of these votes are counted, for pairs too
    max_tokens: int = 512  # longest answer
    tries: int = 1  # answers drawn for each side of a pair, of which the first usable one is taken
    adaptive: bool = False  # sft by logp: draw until the best answer seen is likely enough, at most `samples`
    delta: float = 0.1  # chance of failure that adaptive drawing allows
    max_gap: float | None = None  # clip r(y) - r(y2) of a pair to so much; null: as it is
    min_tokens: int = 2  # shortest answer that may be picked, end token included
    require_answer: bool = True  # answers in which the verifier reads no final answer are not picked
    must_match: str = ""  # regular expression that an answer must hold to be picked, such as a final-answer marker
    diagnose: bool = True  # ask the base's greedy answer too, and measure lifts and how often picks are right

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for name, allowed in (("objective", tuple(LOSSES)), ("reward", REWARDS)):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"sharpening: {name} is '{getattr(self, name)}'; it is one of {', '.join(allowed)}")
        for name in ("samples", "tries", "min_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"sharpening: {name} is {getattr(self, name)}; it must be at least 1")
        if not 0 < self.delta < 2 or (self.max_gap is not None and self.max_gap <= 0):
            raise ConfigError(
                f"sharpening: delta is {self.delta} and max_gap {self.max_gap}; both must be above 0, delta below 2"
            )
        try:
            re.compile(self.must_match)
        except re.error as error:
            raise ConfigError(
                f"sharpening: must_match {self.must_match!r} is no regular expression: {error}"
            ) from None
        if self.adaptive and (self.objective, self.reward) != ("sft", "logp"):
            raise ConfigError("sharpening: adaptive is for objective sft with reward logp; turn it off")
        if self.reward == "majority" and not self.require_answer:
            raise ConfigError("sharpening: reward majority counts final answers; set require_answer: true")


def makes(cfg: Config) -> tuple[str, str | None]:
    """Return the kind of rows of an objective, and its loss."""
    return "sft" if cfg.objective == "sft" else "pairs", LOSSES[cfg.objective]


async def collect(cfg: Config, run: "Run", prompt: Prompt) -> list[Example | Pair | Skip]:
    """Return the best of the base's N answers, or a pair, as the objective has it."""
    if cfg.objective != "sft":
        return [*await make_pair(cfg, run, prompt)]
    samples, stopped = await draw(cfg, run, prompt)
    drawn = await look_at(cfg, run, prompt, samples)
    measure_coverage(run, drawn)
    if cfg.adaptive:
        run.measure("draws", len(samples))
        run.measure("stopped_before_cap", float(stopped))
    found = drawn.pick(cfg.reward)
    if found is None:
        return [drawn.why_none(prompt)]
    text, value, logprob = drawn.samples[found].text, drawn.rewards(cfg.reward)[found], drawn.logprobs[found]
    run.measure("pick_tokens", drawn.tokens[found])
    if cfg.diagnose and logprob is not None:
        greedy = await measure_lift(run, prompt, [logprob], cfg.max_tokens)
        await measure_right(run, prompt, "right_pick", text)
        if greedy is not None:
            await measure_right(run, prompt, "right_greedy", greedy.text)
    meta = {"samples": len(samples), "pick_index": found, "base_logp": logprob}
    return [Example.of(prompt, text, reward=value, round=run.round, meta=meta)]


async def draw(cfg: Config, run: "Run", prompt: Prompt) -> tuple[list[Sample], bool]:
    """Return the base's answers, and whether adaptive drawing stopped before its cap of `samples`."""
    samples: list[Sample] = []
    while len(samples) < cfg.samples:
        count = min(CHUNK, cfg.samples - len(samples)) if cfg.adaptive else cfg.samples
        place = f"from {len(samples)}" if samples else ""
        samples += await ask(cfg, run, prompt, count, policy=run.base, path=place)
        if cfg.adaptive:
            known = (await look_at(cfg, run, prompt, samples)).logprobs
            stop = adaptive_stop(known, stopping_mu(cfg.delta))
            if stop is not None:
                return samples[:stop], True
    return samples, False


async def ask(cfg: Config, run: "Run", prompt: Prompt, count: int, *, policy: "Policy", path: str) -> list[Sample]:
    """Return answers at temperature 1, new ones every round."""
    return await run.sample(
        prompt, count, policy=policy, path=path, attempt=run.round - 1, temperature=1.0, max_tokens=cfg.max_tokens
    )


async def look_at(cfg: Config, run: "Run", prompt: Prompt, samples: list[Sample], *, rescore: bool = False) -> Drawn:
    """Return samples with log-probs and final answers; those that may not be picked have neither."""
    rules = Rules(cfg.min_tokens, cfg.require_answer, cfg.must_match)
    return await judged(run, prompt, samples, rules, rescore=rescore)


async def make_pair(cfg: Config, run: "Run", prompt: Prompt) -> list[Pair | Skip]:
    """Return the pair (y, y2): two answers of the base, or one of this round's policy and one of the base (xpo)."""
    online = cfg.objective == "xpo"
    if online and run.recipe.rounds < 2:
        raise ConfigError("sharpening: objective xpo needs rounds: 2 or more, since the last round only draws")
    count = max(cfg.tries if online else 2 * cfg.tries, cfg.samples if cfg.reward == "majority" else 0)
    drawn = await ask(cfg, run, prompt, count, policy=run.base, path="second" if online else "")
    theirs = mine = await look_at(cfg, run, prompt, drawn)
    measure_coverage(run, theirs)
    if online:
        mine = await look_at(cfg, run, prompt, await ask(cfg, run, prompt, cfg.tries, policy=run.policy, path=""))
    if not mine.usable or len(theirs.usable) < (1 if online else 2):
        return [(theirs if mine.usable else mine).why_none(prompt)]
    first, second = mine.usable[0], theirs.usable[0 if online else 1]
    texts = (mine.samples[first].text, theirs.samples[second].text)
    if texts[0] == texts[1]:
        return [Skip(prompt.id, "identical")]
    # the trainer must be told of the tokens that it will see, so both texts are scored as they stand
    base = [await run.logprobs(prompt, text, policy=run.base) for text in texts]
    drawer = await run.logprobs(prompt, texts[0], policy=run.policy if online else run.base)
    failed = next((scored for scored in (*base, drawer) if scored.mean is None), None)
    if failed is not None:
        return [Skip(prompt.id, "unscored", failed.error or "no tokens")]
    shares = vote_shares(theirs.answers)
    votes = [shares.get(answer or "", 0.0) for answer in (mine.answers[first], theirs.answers[second])]
    rewards = [side_reward(cfg.reward, *each) for each in zip(base, votes, strict=True)]
    logprobs = [r_logp(scored.token_logprobs) for scored in base]
    meta = {"r_y": rewards[0], "r_y2": rewards[1], "base_logp_y": logprobs[0], "base_logp_y2": logprobs[1]}
    if online:
        meta["value"] = regularised_value(rewards[0], r_logp(drawer.token_logprobs), logprobs[0], beta_of(run))
        run.measure("value", meta["value"])
    return pair_rows(cfg, run, prompt, texts, meta)


def pair_rows(
    cfg: Config, run: "Run", prompt: Prompt, texts: tuple[str, str], meta: Mapping[str, Any]
) -> list[Pair | Skip]:
    """Return the pair of y and y2 with its figures: the better one first, but for xpo, whose y2 is the base's."""
    gap = meta["r_y"] - meta["r_y2"]
    run.measure("gap", abs(gap))
    if cfg.objective == "dpo" and gap == 0:
        return [Skip(prompt.id, "equal_reward")]
    if cfg.max_gap is not None:
        run.measure("clipped", float(abs(gap) > cfg.max_gap))
        gap = min(max(gap, -cfg.max_gap), cfg.max_gap)
    if gap < 0 and cfg.objective != "xpo":
        gap, texts = -gap, (texts[1], texts[0])
        other = {"r_y": "r_y2", "r_y2": "r_y", "base_logp_y": "base_logp_y2", "base_logp_y2": "base_logp_y"}
        meta = {name: meta[other.get(name, name)] for name in meta}
    tag = f"round-{run.round}" if cfg.objective == "xpo" else ""
    return [Pair.of(prompt, *texts, tag=tag, margin=gap, round=run.round, meta=meta)]


def side_reward(reward: str, scored: Scored, votes: float) -> float:
    """Return r of one side of a pair that was scored: log-prob, log-prob a token (in nats), or share of the votes."""
    total = r_logp(scored.token_logprobs)
    return {"logp": total, "norm": total / len(scored.token_logprobs), "majority": votes}[reward]


def regularised_value(reward: float, logprob: float, base_logprob: float, beta: float) -> float:
    """Return r(y) - beta * (log pi(y|x) - log B(y|x)) of an answer y of pi, in nats; its mean estimates J_beta(pi)."""
    return reward - beta * (logprob - base_logprob)


def beta_of(run: "Run") -> float:
    """Return the beta that the recipe trains with in this round."""
    return {**run.recipe.train, **run.recipe.train_by_round.get(run.round, {})}.get("beta", 0.1)


def best_iterate(values: Mapping[int, Sequence[float]]) -> int:
    """Return the round of the highest mean value, the earliest of equals; rounds without values are left aside."""
    means = {number: fmean(each) for number, each in values.items() if each}
    return max(means, key=lambda number: (means[number], -number))


async def learn(cfg: Config, run: "Run", rows: "Rows") -> "Policy":
    """Train on the rows; xpo trains on those of all rounds so far, and its last round returns the best policy."""
    kind, _ = makes(cfg)
    if cfg.objective != "xpo":
        return await run.train(kind, rows)
    if run.round >= run.recipe.rounds:
        values = {number: [row["meta"]["value"] for row in run.rows(number)] for number in range(1, run.round + 1)}
        return run.policies[best_iterate(values) - 1]  # round t was drawn by the policy at the end of round t - 1
    for number in range(run.round - 1, 0, -1):
        rows = run.rows(number) + rows
    return await run.train(kind, rows)


async def answer(cfg: Config, run: "Run", prompt: Prompt) -> Sample:
    """Return the best of N answers of the round's policy by the base's reward (inference-time best-of-N).

    Where none may be picked the first one is returned as it is. With `diagnose` the picks of all rewards are measured
    for N and its halves, and how much likelier the answers are under the base than its greedy answer.
    """
    samples = await run.sample(prompt, cfg.samples, temperature=1.0, max_tokens=cfg.max_tokens)
    drawn = await look_at(cfg, run, prompt, samples, rescore=run.policy.digest != run.base.digest)
    if cfg.diagnose and drawn.usable:
        await measure_picks(run, prompt, drawn, halves(cfg.samples))
        known = [value for value in drawn.logprobs if value is not None]
        await measure_lift(run, prompt, known, run.recipe.evaluate.max_tokens)
    found = drawn.pick(cfg.reward)
    if found is None:
        return next((sample for sample in samples if sample.ok), samples[0])
    value = drawn.rewards(cfg.reward)[found]
    if value is not None:
        run.measure(SCORE, value)
    return samples[found]


def halves(count: int) -> list[int]:
    """Return N, N/2, N/4 and N/8, the smallest first; those of at least 2, and N itself."""
    return sorted({count, *(count // part for part in (2, 4, 8) if count // part >= 2)})


async def judge(cfg: Config, run: "Run", prompt: Prompt, text: str) -> float | None:
    """Return the base's log-prob of one answer, or that a token, as `reward` is; None for votes, which need many."""
    if cfg.reward == "majority":
        return None
    scored = await run.logprobs(prompt, text, policy=run.base)
    return scored.total if cfg.reward == "logp" else scored.mean
