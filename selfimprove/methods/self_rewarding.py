"""Self-rewarding: the policy answers, grades its own answers by a rubric, and learns to prefer the best to the worst.

Paper: "Self-Rewarding Language Models", Yuan et al. 2024, arXiv 2401.10020.
Input: prompts; for the start, solutions and answers of known order (`ranked`); no gold answers. Output: pairs for DPO
whose reference is the policy at the start of the round; in the first round SFT rows.

The first round (`start: sft`) teaches the rubric: solutions (IFT) and the policy's own verdicts on ranked answers,
where their order is the known one (EFT). Every later round samples answers, lets the same policy grade each several
times, and pairs the best mean grade with the worst. The judge is the policy with the rubric of five points, unless
the recipe's `judge` section says otherwise.

What differs from the paper:
1. The verdicts of the start are the start model's (paper: of a model that has learned the solutions already). `tries`
   above 1 asks for several verdicts on every answer, and takes the first that agree with the known order.
2. A tie among these verdicts is a disagreement. The most frequent grade is cut down to the second most frequent; which
   of its rows stay is drawn.
3. Best ranked answers are learned as solutions too, `learn_best: false` leaves that out (paper: disjoint prompts).
4. Prompts are the recipe's, or `new_prompts` written in each round by the start model or the policy (paper: all by
   another, larger model). Of those of earlier rounds only the ones that gave a pair are known.
5. Answers cut off at the length limit are no candidates. `drop_truncated: false` keeps them.
6. The best of equal answers is the first one; every step is keyed, so that CREAM can share the answers.
7. A judge with `read: digits` gives the grade alone, in the start too, without a justification: for models that are
   too small to write a verdict in the form that is asked for.
8. Rounds are not chosen by an external judge: the loop has held-out sets, `evaluate.patience` and the watch.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from selfimprove.building.instruct import Instruct, write_instructions
from selfimprove.building.ranked import best_row, measure_judge, ranked_prompts, surplus_rows, verdict_rows
from selfimprove.errors import ConfigError, DataError
from selfimprove.judges import llm, open_judge
from selfimprove.judges.ranking import best_and_worst
from selfimprove.records import Example, Pair, Prompt, Sample, Skip

if TYPE_CHECKING:
    from selfimprove.engines.base import Policy
    from selfimprove.run import Run
    from selfimprove.store import Rows

NEEDS, MAKES = {"messages"}, "pairs"
TRIAL_ROUND = 2  # the first round may be the start


@dataclass(frozen=True)
class Config:
    """Options of self-rewarding."""

    samples: int = 4  # N, answers per prompt
    temperature: float = 0.7  # of the answers
    top_p: float = 0.9  # of the answers
    max_tokens: int = 512  # longest answer
    drop_truncated: bool = True  # answers that reached max_tokens are no candidates
    start: str = "sft"  # sft: the first round teaches solutions and verdicts; none: the model can do both already
    ranked: str | dict[str, Any] | None = None  # prompts with meta.answers and meta.ranks (0 the best), a source
    ranked_heldout: float = 0.25  # share of them that the judge is only measured on, in every round
    tries: int = 1  # verdicts asked for on every ranked answer in the start, until their order is the known one
    learn_best: bool = True  # the start also learns the best ranked answers as solutions
    balance: bool = True  # the start cuts the most frequent grade down to the second most frequent
    new_prompts: int = 0  # prompts written in each later round, shown the recipe's; 0: the recipe's are answered
    writer: str = "base"  # who writes them: base (the model the run began with) or policy
    instruct: Instruct = field(default_factory=Instruct)  # how they are written, and which are kept

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for name, allowed in (("start", ("sft", "none")), ("writer", ("base", "policy"))):
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"self-rewarding: {name} is '{getattr(self, name)}'; it is one of {', '.join(allowed)}"
                )
        if self.samples < 2 or self.tries < 1 or self.new_prompts < 0:
            raise ConfigError(
                f"self-rewarding: samples ({self.samples}) must be at least 2 for a pair, tries ({self.tries}) at "
                f"least 1, and new_prompts ({self.new_prompts}) cannot be negative"
            )
        if not 0 <= self.ranked_heldout <= 1:
            raise ConfigError(f"self-rewarding: ranked_heldout is {self.ranked_heldout}; it is a share of 0 to 1")


async def propose(cfg: Config, run: "Run", prompts: Iterable[Prompt]) -> list[Prompt | Skip]:
    """Return the round's prompts: the recipe's or new ones, with ranked ones to learn from and to be measured on.

    Raises DataError where the start has nothing to learn.
    """
    given = list(prompts)
    if not given:
        return []
    ranked: list[Prompt] = []
    if cfg.ranked is not None:
        ranked = ranked_prompts(cfg.ranked, cfg.ranked_heldout, run.recipe.seed, "method.ranked")
    if starting(cfg, run):
        if not ranked and not any(prompt.solution for prompt in given):
            raise DataError(
                "self-rewarding: the start has nothing to learn: no prompt has a solution, and method.ranked names no "
                "ranked answers; give one of them, or set method.start=none for a model that can answer and judge"
            )
        return [*given, *ranked]
    held = [prompt for prompt in ranked if prompt.meta["held_out"]]
    if not cfg.new_prompts:
        return [*given, *held]
    rows = (row for number in range(1, run.round) for row in run.rows(number) if row["meta"].get("written"))
    known = [row["prompt"][-1]["content"] for row in rows]
    policy = run.base if cfg.writer == "base" else run.policy
    texts = [prompt.text for prompt in given]
    wanted = min(cfg.new_prompts, run.enough or cfg.new_prompts)
    made = await write_instructions(cfg.instruct, run, texts, wanted, written=known, policy=policy)
    return [*made, *held]


async def collect(cfg: Config, run: "Run", prompt: Prompt) -> list[Example | Pair | Skip]:
    """Return what one prompt teaches: a pair of its answers, or in the start a solution or verdicts."""
    if "ranks" in prompt.meta:
        if prompt.meta.get("held_out", not starting(cfg, run)):
            return [await measure_judge(run, prompt)]
        best = [best_row(prompt, round=run.round)] if cfg.learn_best else []
        return [*best, *await verdict_rows(run, prompt, rubric_of(run), cfg.tries)]
    if not starting(cfg, run):
        return [await pair_answers(cfg, run, prompt)]
    solution = (prompt.solution or "").strip()
    if not solution:
        return [Skip(prompt.id, "no_solution", "the start learns solutions; later rounds answer this prompt")]
    return [Example.of(prompt, solution, tag="solution", round=run.round)]


async def pair_answers(cfg: Config, run: "Run", prompt: Prompt) -> Pair | Skip:
    """Sample answers, let the policy grade them, and pair the best with the worst."""
    options: dict[str, Any] = {"temperature": cfg.temperature, "top_p": cfg.top_p, "max_tokens": cfg.max_tokens}
    samples = await run.sample(prompt, cfg.samples, **options)
    error = next((sample.error for sample in samples if sample.error), None)
    if error is not None:
        return Skip(prompt.id, "engine_error", error)
    texts = [sample.text.strip() if candidate(cfg, sample) else "" for sample in samples]
    if not any(texts):
        cut = any(sample.finish == "length" for sample in samples)
        return Skip(prompt.id, "truncated" if cut else "empty", f"none of {len(samples)} answers can be used")
    grades = [await judge(cfg, run, prompt, text) if text else None for text in texts]
    known = {index: grade for index, grade in enumerate(grades) if grade is not None}
    run.measure("answers_graded", len(known) / len(grades))
    if len(known) < 2:
        return Skip(prompt.id, "unjudged", f"{len(known)} of {len(grades)} answers have a grade")
    found = best_and_worst(grades)
    if found is None:
        return Skip(prompt.id, "tie", f"all {len(known)} graded answers have {min(known.values()):g}")
    for side, index in zip(("chosen", "rejected"), found, strict=True):
        run.measure(f"{side}_grade", known[index])
        run.measure(f"{side}_tokens", samples[index].tokens)
    best, worst = found
    meta = {"grades": grades, "chosen": best, "rejected": worst}
    if "written" in prompt.meta:
        meta["written"] = prompt.meta["written"]
    values: dict[str, Any] = {"margin": known[best] - known[worst], "round": run.round, "meta": meta}
    return Pair.of(prompt, chosen=texts[best], rejected=texts[worst], **values)


async def judge(cfg: Config, run: "Run", prompt: Prompt, text: str) -> float | None:
    """Return the policy's mean grade of an answer, None where none of its verdicts could be read."""
    return (await run.judge(prompt, text)).score


def candidate(cfg: Config, sample: Sample) -> bool:
    """Return whether an answer may become a side of a pair."""
    return sample.ok and not (cfg.drop_truncated and sample.finish == "length")


def rubric_of(run: "Run") -> llm.Config:
    """Return the rubric of the recipe's judge; raises ConfigError where the judge has none."""
    found = open_judge(run.recipe.judge or {"name": "llm"})
    if not isinstance(found, llm.Llm):
        raise ConfigError(
            "self-rewarding: the start teaches the verdicts of a rubric, so judge must be {name: llm}; or set "
            "method.start=none"
        )
    return found.config


def assemble(cfg: Config, rows: "Rows") -> "Rows | Iterator[dict[str, Any] | Skip]":
    """Cut the most frequent grade of the start's verdicts down to the second most frequent."""
    surplus = surplus_rows([row["meta"].get("grade") for row in rows]) if cfg.balance else set()
    if not surplus:
        return rows
    return (Skip(row["id"], "frequent_grade") if at in surplus else row for at, row in enumerate(rows))


async def learn(cfg: Config, run: "Run", rows: "Rows") -> "Policy":
    """Train the start on its examples, every later round on its own pairs alone; the reference is run.policy."""
    return await run.train("sft" if starting(cfg, run) else MAKES, rows)


def starting(cfg: Config, run: "Run") -> bool:
    """Return whether this round is the start."""
    return cfg.start == "sft" and run.round == 1
