"""SCIR: train on unlabelled pairs until the model's two internal reward models say the same, by DPO where they do.

Paper: "Self-Consistency of the Internal Reward Models Improves Self-Rewarding Language Models", Zhou et al. 2025,
arXiv 2502.08922.
Input: prompts; no gold answers, and a start model that can judge, or prompts with a worked `solution` to make it of.
Output: unlabelled pairs of the policy's own answers (`chosen` and `rejected` are answer 1 and 2) for the loss `scir`,
which labels them anew at every step; in a start round SFT rows.

Two predictions of which answer is better come from the policy that is being trained: as judge, by the letters A and B
at the first token of its verdict in both orders (p_gen), and as implicit reward, by how much more likely than under
the reference an answer has become (p_imp). A penalty on all pairs, g (D + gamma Hbar), draws both together (D, the
symmetric KL) and makes them sure (Hbar, their entropy) where one of them is at least tau sure (g); DPO learns those
pairs on which they agree at that step. Options of the loss are the recipe's `train.loss_options`, beta is train.beta.

What differs from the paper: its text could not be read beyond the abstract and a figure's caption, and there is no
official code. Chosen here, each an option where there is another sensible reading:
1. The forms of penalty and gate, with tau 0.6, gamma 1, lambda (`penalty`) 1, and sampling at T 0.7, top-p 0.9.
2. The penalty is a mean over all pairs of the batch; `normalise: gated`: over those it acts on.
3. It trains the judge and the implicit reward alike; `judge_gradient: false`: the judge is the target.
4. Position bias is taken out by the mean of both orders' probabilities; length bias by `alpha_len` (0: not at all).
5. The reference is the start model M_0 for all rounds (`loss_options.reference: start`: the policy at the start of the
   round). In M_0's own round that is the policy itself: p_imp is exactly 0.5, nothing is consistent, and DPO is silent
   until the penalty has moved the policy, which it does not where the judge is not tau sure either: then the training
   ends with a sentence. The round reports `policy_is_reference` 1, the training `consistent` 0 at its first step.
   `warm_up: 1` makes the first round an ordinary DPO on pairs that the judge alone labels: those on which both orders
   agree, or with `warm_up_label: mean` by p_gen, also of a judge that names one letter in both orders.
   `start: sft` makes M_0 in round 1, for a model that cannot judge: it learns the solutions and, as a letter behind
   the judge prompt, that a solution is better than the answer it gave itself; warm-up follows.
6. `pairing`: two samples are one pair; of more, random pairs, or the best and the worst by the recipe's judge.
7. With gradient accumulation every part's mean over its consistent pairs counts the same.
8. Answers that are too long for the judge prompt (`judge_length`, else max_length) are cut in it, never its end.
`static: true` is the ablation, not SCIR: both predictions are made once, before training, and the pairs on which they
agree are learned by ordinary DPO. Agreement is not correctness: watch lengths and the held-out accuracy.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from selfimprove.errors import ConfigError
from selfimprove.judges.pairwise import LETTERS, Pairwise, Preference, render
from selfimprove.judges.pairwise import Config as PairwiseConfig
from selfimprove.records import Example, Pair, Prompt, Sample, Scored, Skip
from selfimprove.training.scir_options import START

if TYPE_CHECKING:
    from selfimprove.engines.base import Policy
    from selfimprove.run import Run
    from selfimprove.store import Rows

NEEDS, MAKES, LOSS = {"messages"}, "pairs", "scir"

TRIAL_ROUND = 2  # the first round may be the start

UNDECIDED = 1e-6
"""A probability that is no farther than this from 0.5 names no winner."""


@dataclass(frozen=True)
class Config:
    """Options of SCIR."""

    samples: int = 2  # answers per prompt
    pairing: str = "random"  # random: disjoint pairs; judge: the best against the worst by the recipe's judge
    temperature: float = 0.7  # of sampling
    top_p: float = 0.9  # of sampling
    max_tokens: int = 256  # longest answer
    drop_truncated: bool = True  # leave out answers that reached max_tokens
    start: str = "none"  # none: the model can judge; sft: round 1 teaches the prompts' solutions, and to prefer them
    warm_up: int = 0  # first rounds, after the start, of ordinary DPO on what the judge alone labels
    warm_up_label: str = "agreed"  # agreed: both orders name the same answer; mean: p_gen over both orders
    static: bool = False  # the ablation: label once before training and learn the pairs that agree by ordinary DPO

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if self.samples < 2 or self.temperature <= 0:
            raise ConfigError(
                f"scir: samples is {self.samples} and temperature {self.temperature}; a pair needs two samples, drawn "
                "at a temperature above 0"
            )
        allowed = {"pairing": ("random", "judge"), "start": ("none", "sft"), "warm_up_label": ("agreed", "mean")}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ConfigError(f"scir: {name} is '{getattr(self, name)}'; it is one of {', '.join(values)}")
        if self.warm_up < 0:
            raise ConfigError(f"scir: warm_up is {self.warm_up}; it must be 0 or more")
        if self.static and not self.warm_up:
            raise ConfigError(
                "scir: static labels need a policy that has moved from the start model, or no pair is consistent; set "
                "warm_up: 1"
            )


async def collect(cfg: Config, run: "Run", prompt: Prompt) -> list[Pair | Example | Skip]:
    """Sample answers and pair them, without labels; with labels in rounds of ordinary DPO; the start has examples."""
    if starting(cfg, run):
        return await first_examples(cfg, run, prompt)
    samples = await run.sample(
        prompt, cfg.samples, temperature=cfg.temperature, top_p=cfg.top_p, max_tokens=cfg.max_tokens
    )
    _, options = train_options(run)
    same = run.policy == start_model(cfg, run) or options.get("reference") == START
    run.measure("policy_is_reference", float(same))
    texts = answers(samples, cfg.drop_truncated)
    if len(texts) < 2:
        return [why_none(prompt, samples, cfg.drop_truncated)]
    run.measure("answer_words", sum(len(text.split()) for text in texts) / len(texts))
    pairs = await paired(cfg, run, prompt, texts)
    if not pairs:
        return [Skip(prompt.id, "ungraded", "the judge found no best and worst answer to pair")]
    rows: list[Pair | Example | Skip] = []
    for number, (first, second) in enumerate(pairs):
        label, probabilities, reason = 1, {}, ""
        if warming(cfg, run):
            label, probabilities, reason = await judged(cfg, run, prompt, first, second)
        elif cfg.static:
            label, probabilities, reason = await agreed(cfg, run, prompt, first, second)
        chosen, rejected = (first, second) if label >= 0 else (second, first)
        meta: dict[str, Any] = probabilities or {"unlabelled": True}
        tag = f"round-{run.round}-{number}"
        rows.append(
            Pair.of(prompt, chosen=chosen, rejected=rejected, tag=tag, round=run.round, meta=meta)
            if label
            else Skip(prompt.id, reason, ", ".join(f"{name} {value:.4f}" for name, value in probabilities.items()))
        )
    return rows


def starting(cfg: Config, run: "Run") -> bool:
    """Return whether this round makes the start model."""
    return cfg.start == "sft" and run.round == 1


def warming(cfg: Config, run: "Run") -> bool:
    """Return whether this is a round of ordinary DPO on what the judge alone labels."""
    return not starting(cfg, run) and run.round - (cfg.start == "sft") <= cfg.warm_up


def start_model(cfg: Config, run: "Run") -> "Policy":
    """Return M_0: the model that the run began with, or the one that the start has made of it."""
    return run.policies.get(1, run.base) if cfg.start == "sft" else run.base


async def first_examples(cfg: Config, run: "Run", prompt: Prompt) -> list[Pair | Example | Skip]:
    """Return what the start learns of a prompt: its solution, and that it is better than the model's own answer.

    The solution is answer A or B by a drawn order, so that no letter is the better one's.
    """
    solution = (prompt.solution or "").strip()
    if not solution:
        return [Skip(prompt.id, "no_solution", "the start learns worked solutions; start: none leaves it out")]
    rows: list[Pair | Example | Skip] = [Example.of(prompt, solution, tag="solution", round=run.round)]
    options: dict[str, Any] = {"temperature": cfg.temperature, "top_p": cfg.top_p, "max_tokens": cfg.max_tokens}
    samples = await run.sample(prompt, 1, purpose="start", **options)
    texts = [text for text in answers(samples, cfg.drop_truncated) if text != solution]
    run.measure("judge_taught", float(bool(texts)))
    for text in texts:
        place = run.rng(prompt, "order").randrange(2)
        task = replace(prompt, messages=render(prompt, *((solution, text) if place == 0 else (text, solution))))
        rows.append(Example.of(task, LETTERS[place], tag="verdict", round=run.round))
    return rows


def train_options(run: "Run") -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the recipe's train options of this round, and those of the loss among them."""
    train = {**run.recipe.train, **run.recipe.train_by_round.get(run.round, {})}
    return train, train.get("loss_options") or {}


def answers(samples: list[Sample], drop_truncated: bool) -> list[str]:
    """Return the different texts that can be learned from, in the order they came."""
    fit = [each.text.strip() for each in samples if each.ok and not (drop_truncated and each.finish == "length")]
    return list(dict.fromkeys(fit))


def why_none(prompt: Prompt, samples: list[Sample], drop_truncated: bool) -> Skip:
    """Return why fewer than two different answers are left of the samples."""
    failed = next((each.error for each in samples if each.error), None)
    if failed:
        return Skip(prompt.id, "engine_error", failed)
    if drop_truncated and sum(each.finish == "length" for each in samples) > len(samples) - 2:
        return Skip(prompt.id, "truncated", "fewer than two answers ended before max_tokens")
    if sum(each.ok for each in samples) < 2:
        return Skip(prompt.id, "empty")
    return Skip(prompt.id, "identical", "no two answers differ")


async def paired(cfg: Config, run: "Run", prompt: Prompt, texts: list[str]) -> list[tuple[str, str]]:
    """Return the pairs of different answers that are learned, none where the judge cannot tell best from worst."""
    if cfg.pairing == "judge" and len(texts) > 2:
        scores = [(await run.judge(prompt, text)).score for text in texts]
        known = [(score, text) for score, text in zip(scores, texts, strict=True) if score is not None]
        ranked = sorted(known, key=lambda each: -each[0])
        if len(ranked) < 2 or ranked[0][0] == ranked[-1][0]:
            return []
        texts = [ranked[0][1], ranked[-1][1]]
    run.rng(prompt, "pairs", str(run.round)).shuffle(texts)  # neither place of a pair is the better one's
    return list(zip(texts[::2], texts[1::2], strict=False))  # an odd one is left out


async def prefer(run: "Run", prompt: Prompt, first: str, second: str) -> Preference:
    """Return which of two answers the policy prefers as judge, asked in both orders."""
    return await Pairwise(PairwiseConfig()).prefer(run, prompt, first, second)


async def judged(
    cfg: Config, run: "Run", prompt: Prompt, first: str, second: str
) -> tuple[int, dict[str, float], str]:
    """Return (label, {p_gen}, reason of no label) by the judge alone, as `warm_up_label` says."""
    preference = await prefer(run, prompt, first, second)
    if preference.probability is None:
        return 0, {}, "unjudged"
    known = {"p_gen": preference.probability}
    sure = preference.agreed or cfg.warm_up_label == "mean"
    return (side(preference.probability) if sure else 0), known, "judge_tie"


async def agreed(
    cfg: Config, run: "Run", prompt: Prompt, first: str, second: str
) -> tuple[int, dict[str, float], str]:
    """Return (label, {p_gen, p_imp}, reason of no label) by both predictions, as they are before the training."""
    p_gen = (await prefer(run, prompt, first, second)).probability
    scored = [
        [await run.logprobs(prompt, text, policy=policy) for text in (first, second)]
        for policy in (run.policy, start_model(cfg, run))
    ]
    train, options = train_options(run)
    p_imp = implicit_probability(*scored, train.get("beta", 0.1), options.get("alpha_len", 0.0))
    if p_gen is None or p_imp is None:
        return 0, {}, "unjudged" if p_gen is None else "unscored"
    label = consistent(p_gen, p_imp)
    run.measure("consistent", float(label != 0))
    return label, {"p_gen": p_gen, "p_imp": p_imp}, "inconsistent"


def implicit_probability(policy: list[Scored], reference: list[Scored], beta: float, alpha_len: float) -> float | None:
    """Return p_imp = sigmoid(R_1 - R_2), R = beta (log pi - log ref) - alpha_len |y|; None where a score failed."""
    rewards = []
    for own, other in zip(policy, reference, strict=True):
        if own.total is None or other.total is None:
            return None
        rewards.append(beta * (own.total - other.total) - alpha_len * len(own.token_logprobs))
    return 0.5 * (1 + math.tanh((rewards[0] - rewards[1]) / 2))  # the sigmoid, which cannot overflow so


def side(probability: float) -> int:
    """Return 1 where the first answer is preferred, -1 where it is the second, 0 within UNDECIDED of 0.5."""
    return 0 if abs(probability - 0.5) <= UNDECIDED else (1 if probability > 0.5 else -1)


def consistent(p_gen: float, p_imp: float) -> int:
    """Return the side that both predictions are on, 0 where they are on different ones, or one on none."""
    return side(p_gen) if side(p_gen) == side(p_imp) else 0


async def learn(cfg: Config, run: "Run", rows: "Rows") -> "Policy":
    """Train with the loss `scir` against M_0, by ordinary DPO where pairs have labels, or by SFT in the start."""
    if starting(cfg, run):
        return await run.train("sft", rows)
    train, given = train_options(run)
    if warming(cfg, run) or cfg.static:
        usual = train.get("loss_type", LOSS)
        return await run.train(MAKES, rows, loss_type="sigmoid" if usual == LOSS else usual, loss_options=None)
    start = start_model(cfg, run)
    options = {"reference": start.adapter or start.base, **given}
    return await run.train(MAKES, rows, loss_type=LOSS, loss_options=options)
