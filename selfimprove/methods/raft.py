"""RAFT: sample K answers per prompt, keep the best by reward, fine-tune on them, repeat.

Paper: "RAFT: Reward rAnked FineTuning for Generative Foundation Model Alignment", Dong et al. 2023, arXiv 2304.06767.
Input: prompts and a reward; no gold answers unless the reward is the verifier. Output: SFT rows.

What differs from the paper:
1. The reward is the prompt's verifier (1 right, 0 wrong), the policy's own mean token log-prob, or the recipe's
   `judge` (paper: a learned reward model). `length` pays for words: a reward that is easy to cheat, there to try the
   drift watch on. With a verifier, `threshold` keeps only right answers: without it a prompt whose answers are all
   wrong would still yield a row, an arbitrary one.
2. `keep` may be above 1: several different good answers per prompt, best first (paper: one).
3. The loss covers the answer only (the original code trains on the prompt too, in packed blocks).
4. Every round starts a fresh optimiser (as RLHFlow does); the original code keeps its state.
5. The number of new tokens is drawn per prompt, not per batch, so that it does not depend on batching.
6. Answers cut off at the length limit are discarded: trained on, they would teach never to end.
   `drop_truncated: false` keeps them, as both codes do.
7. The KL-shaped reward ranks; `threshold` and the row's reward are the plain reward.
8. Prompts are taken in the order of their source, neither shuffled nor cut at 256 tokens: `prompts_per_round` takes
   the next so many each round, so shuffle a sorted source first.
9. Global ranking counts its share over the answers that can be used, over all processes at once.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selfimprove.errors import ConfigError
from selfimprove.records import Example, Prompt, Sample, Skip

if TYPE_CHECKING:
    from selfimprove.run import Run
    from selfimprove.store import Rows

NEEDS, MAKES = {"messages"}, "sft"


@dataclass(frozen=True)
class Config:
    """Options of RAFT."""

    samples: int = 8  # K, answers per prompt
    temperature: float = 0.85  # of sampling
    top_p: float = 1.0  # of sampling
    min_tokens: int | None = None  # lower end of the drawn answer length; None: no drawing, always max_tokens
    max_tokens: int = 128  # longest answer
    reward: str = "verifier"  # verifier (1 right, 0 wrong), likelihood (mean log-prob a token), judge, length (words)
    threshold: float | None = None  # smallest reward kept; None: 1.0 for the verifier (local ranking), else no bound
    keep: int = 1  # different answers kept per prompt, best first (local ranking)
    ranking: str = "local"  # local: the best of each prompt; global: one sample a prompt, the best share of all
    fraction: float = 0.2  # share of all prompts kept by global ranking
    kl: float = 0.0  # beta of the shaped reward r - beta * (log pi_t - log pi_0), used for ranking only
    human_turn: str = "###Human"  # an answer is cut where this next turn begins
    discard: str = ""  # answers that hold one of these characters are discarded (original code: '#')
    min_characters: int = 1  # shorter answers are discarded (original code: 2)
    drop_truncated: bool = True  # discard answers that reached the length limit

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for name, allowed in (
            ("ranking", ("local", "global")),
            ("reward", ("verifier", "likelihood", "judge", "length")),
        ):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"raft: {name} is '{getattr(self, name)}'; it is one of {', '.join(allowed)}")
        if self.samples < 1 or self.keep < 1:
            raise ConfigError(f"raft: samples ({self.samples}) and keep ({self.keep}) must be at least 1")
        if not 0 < self.fraction <= 1:
            raise ConfigError(f"raft: fraction is {self.fraction}; it must be above 0 and at most 1")


async def collect(cfg: Config, run: "Run", prompt: Prompt) -> list[Example | Skip]:
    """Sample K answers, score them, and return the best as rows (global ranking: one candidate row)."""
    n = 1 if cfg.ranking == "global" else cfg.samples
    max_tokens = cfg.max_tokens
    if cfg.min_tokens is not None:
        max_tokens = run.rng(prompt, "length").randrange(cfg.min_tokens, cfg.max_tokens)
    samples = await run.sample(prompt, n, temperature=cfg.temperature, top_p=cfg.top_p, max_tokens=max_tokens)
    if any(sample.error for sample in samples):
        return [Skip(prompt.id, "engine_error", next(s.error for s in samples if s.error))]
    texts = [clean(sample.text, cfg.human_turn) for sample in samples]
    rewards = [await judge(cfg, run, prompt, text) for text in texts]
    if rewards[0] is not None:
        run.measure("policy_reward", rewards[0])
    usable = [
        None if discarded(text, cfg) or (cfg.drop_truncated and sample.finish == "length") else value
        for sample, text, value in zip(samples, texts, rewards, strict=True)
    ]
    if all(value is None for value in usable):
        return [Skip(prompt.id, why_none(samples, rewards, cfg))]
    able = [None if value is None or value < threshold(cfg) else value for value in usable]
    if all(value is None for value in able):
        return [Skip(prompt.id, "below_threshold", f"best reward {max(v for v in usable if v is not None):g}")]
    if cfg.kl:
        able = [await shape(cfg, run, prompt, text, value) for text, value in zip(texts, able, strict=True)]
    picked = best(texts, able, cfg.keep)
    rows = [Example.of(prompt, texts[i], tag=str(i), reward=rewards[i], round=run.round) for i in picked]
    for row in rows:
        run.measure("selected_reward", row.reward or 0.0)
    return [*rows]


def assemble(cfg: Config, rows: "Rows") -> "Rows | Iterator[dict | Skip]":
    """Keep the best share of all candidates where ranking is global; local ranking is done already."""
    if cfg.ranking == "local":
        return rows
    chosen = set(top_share([row["reward"] for row in rows], cfg.fraction))
    return (
        row if index in chosen else Skip(row["id"], "below_best_share", f"reward {row['reward']:g}")
        for index, row in enumerate(rows)
    )


async def judge(cfg: Config, run: "Run", prompt: Prompt, text: str) -> float | None:
    """Return the reward r(x, y) of one answer, None where it could not be had."""
    if cfg.reward == "length":
        return float(len(text.split()))
    if cfg.reward == "verifier":
        return (await run.check(prompt, text)).score
    if cfg.reward == "judge":
        return (await run.judge(prompt, text)).score
    return (await run.logprobs(prompt, text)).mean


async def shape(cfg: Config, run: "Run", prompt: Prompt, text: str, value: float | None) -> float | None:
    """Return the KL-shaped reward of one answer, None where it has no reward or no log-probs."""
    if value is None:
        return None
    now, start = await run.logprobs(prompt, text), await run.logprobs(prompt, text, policy=run.base)
    return None if now.total is None or start.total is None else shaped_reward(value, now.total, start.total, cfg.kl)


def threshold(cfg: Config) -> float:
    """Return the smallest reward that is kept."""
    if cfg.threshold is not None:
        return cfg.threshold
    return 1.0 if cfg.reward == "verifier" and cfg.ranking == "local" else -math.inf


def clean(text: str, human_turn: str) -> str:
    """Return the answer cut at the next human turn, without white space and '#' at its ends (LMFlow)."""
    return (text.split(human_turn)[0] if human_turn else text).strip().strip("#").strip()


def discarded(text: str, cfg: Config) -> bool:
    """Return whether an answer cannot be trained on: too short, or with a discarded character."""
    return len(text) < max(cfg.min_characters, 1) or any(character in text for character in cfg.discard)


def best(texts: Sequence[str], rewards: Sequence[float | None], keep: int = 1) -> list[int]:
    """Return the indices of the `keep` best different texts, best first, the first one winning ties.

    A reward of None (discarded, failed, below the threshold) never wins.
    """
    able = [(index, value) for index, value in enumerate(rewards) if value is not None]
    picked: dict[str, int] = {}
    for index, _ in sorted(able, key=lambda each: -each[1]):
        picked.setdefault(texts[index], index)
    return list(picked.values())[:keep]


def top_share(rewards: Sequence[float], fraction: float) -> list[int]:
    """Return the indices of the int(n * fraction), at least one, highest rewards, best first; [] of []."""
    if not rewards:
        return []
    count = max(int(len(rewards) * fraction), 1)
    return sorted(range(len(rewards)), key=lambda i: -rewards[i])[:count]


def shaped_reward(value: float, logprob: float, start_logprob: float, beta: float) -> float:
    """Return r~(x, y) = r(x, y) - beta * (log pi_t(y|x) - log pi_0(y|x)), sequence sums in nats (paper, eq. 4)."""
    return value - beta * (logprob - start_logprob)


def original_sizes(batch: int, processes: int, fraction: float) -> tuple[int, int, int]:
    """Return (K, prompts a process under local ranking, under global ranking) of the original code's arguments.

    K = int(1 / fraction); local ranking takes int(batch / processes) prompts a process, global ranking
    int(batch * K / processes), one answer each. For translating the original scripts into a recipe, where
    `samples` is K and `prompts_per_round` the prompts of all processes.
    """
    samples = int(1 / fraction)
    return samples, batch // processes, batch * samples // processes


def why_none(samples: Sequence[Sample], rewards: Sequence[float | None], cfg: Config) -> str:
    """Return the reason why no answer of a prompt can be used."""
    if cfg.drop_truncated and all(sample.finish == "length" for sample in samples):
        return "truncated"
    return "ungraded" if all(value is None for value in rewards) else "discarded"
