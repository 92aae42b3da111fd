"""Self-Judge: a model learns to grade its own answers without a reference, and answers only where the grade is high.

Paper: "Self-Judge: Selective Instruction Following with Alignment Self-Evaluation", Ye and Ng 2024, arXiv 2409.00935.
Input: instructions with a `solution` as reference. Output: SFT rows, two a judgement: the judge's prompt with the
reference (the teacher's view) and without it (the student's), both with one digit to say.

The model answers, and grades its answer with the reference in view: z1, its expected digit. z2 is the cosine between
answer and reference; the label is floor(9 (w z1/9 + (1-w) z2) + 0.5). A judge is trained on both views at once, the
student's learning from the teacher's (loss `two_views`). It then grades without any reference: the best of N answers
is given, and none at all where its grade is below `threshold`.

What differs from the paper:
1. What a round trains is the judge. Answers, in training and afterwards, come from the model that the run began with,
   which also makes the labels. The plain held-out figures of a trained round are those of the judge as an answerer;
   `evaluate.with_method` measures what the method is for, and belongs beside the plain figures of round 0.
2. w, the scales of z1 and z2 and the encoder are ours (the paper's are not public): z in [0, 1], a negative cosine
   is 0, encoder all-MiniLM-L6-v2.
3. The digit's distribution is over all ten digits, not over those among the 20 likeliest tokens; an answer that gets
   no grade is skipped, and never the best (in the original code it is NaN).
4. The judge is asked as it was trained, and by default in the model's own chat template; `wrapper: plain` is the
   published "### Response:" text, which the original code leaves out when it judges.
5. Long questions, references and answers are cut inside the prompt, never the prompt (there the label would be lost).
6. The two views are trained from one file, side by side; the original code aligns two files by id.
7. Prompts, sampling settings and metrics are ours.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from selfimprove.errors import ConfigError
from selfimprove.evaluation.with_method import SCORE
from selfimprove.judges.encoder import MINILM
from selfimprove.judges.picking import best_of
from selfimprove.judges.reference import Config as Judging
from selfimprove.judges.reference import Grade, Reference, reference_of, render
from selfimprove.records import ABSTAINED, Example, Prompt, Sample, Skip
from selfimprove.training.views import Views

if TYPE_CHECKING:
    from selfimprove.engines.base import Policy
    from selfimprove.run import Run
    from selfimprove.store import Rows

NEEDS, MAKES, LOSS = {"messages", "solution"}, "sft", "two_views"


@dataclass(frozen=True)
class Config:
    """Options of Self-Judge."""

    samples: int = 1  # answers per instruction that are graded and become rows
    temperature: float = 0.7  # of sampling
    top_p: float = 1.0  # of sampling
    max_tokens: int = 256  # longest answer
    weight: float = 0.5  # w, of the model's own grade z1; 1 - w is that of the likeness z2 to the reference
    encoder: str = MINILM  # sentence encoder of z2: minilm (a package of its own), or a folder
    wrapper: str = "chat"  # of the judge's prompt: chat (the model's template), plain (ends with "### Response:")
    characters: int = 2000  # of the question, the reference and the answer each that the judge is shown
    least_mass: float = 0.0  # probability that the ten digits must have together, or there is no grade
    alpha: float = 0.3  # weight of the student's cross-entropy; the teacher's has weight 1
    kappa: float = 2.0  # weight of the divergence from the teacher's digit to the student's
    best_of: int = 1  # N, answers of which the highest graded is given; 1: the greedy answer
    threshold: float | None = None  # smallest grade (0 to 9) with which an answer is given; None: every answer is

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for name in ("samples", "best_of"):
            if getattr(self, name) < 1:
                raise ConfigError(f"self-judge: {name} is {getattr(self, name)}; it must be at least 1")
        for name in ("samples", "best_of"):
            if getattr(self, name) > 1 and self.temperature <= 0:
                raise ConfigError(f"self-judge: {name} is {getattr(self, name)}, but at temperature 0 all answers are "
                                  "the same; raise the temperature")  # fmt: skip
        if self.threshold is not None and not 0 <= self.threshold <= 9:
            raise ConfigError(f"self-judge: threshold is {self.threshold}; grades go from 0 to 9")
        Views(self.alpha, self.kappa)
        self._judging(True, "base")

    @property
    def labeller(self) -> Reference:
        """Who makes the labels: the model that the run began with, with the reference in view."""
        return Reference(self._judging(True, "base"))

    @property
    def judge(self) -> Reference:
        """Who grades without a reference: the policy that was trained for it."""
        return Reference(self._judging(False, "policy"))

    def _judging(self, gold: bool, policy: str) -> Judging:
        shared = {name: getattr(self, name) for name in ("weight", "encoder", "wrapper", "characters", "least_mass")}
        return Judging(gold=gold, policy=policy, **shared)


async def collect(cfg: Config, run: "Run", prompt: Prompt) -> list[Example | Skip]:
    """Sample answers, grade them with the reference in view, and return both views of every judgement."""
    reference = reference_of(prompt)
    if reference is None:
        return [Skip(prompt.id, "no_reference", "the label needs the prompt's worked solution")]
    if cfg.weight < 1:
        await run.embed(
            prompt, reference, cfg.encoder
        )  # an encoder that is missing is told before anything is sampled
    samples = await run.sample(
        prompt, cfg.samples, policy=run.base, attempt=run.round,
        temperature=cfg.temperature, top_p=cfg.top_p, max_tokens=cfg.max_tokens,
    )  # fmt: skip
    rows: list[Example | Skip] = []
    for sample in samples:
        if not sample.ok:
            rows.append(Skip(f"{prompt.id}#{sample.index}", "engine_error" if sample.error else "empty",
                             sample.error or ""))  # fmt: skip
            continue
        grade = await cfg.labeller.grade(run, prompt, sample.text)
        if grade.digit is None:
            rows.append(Skip(f"{prompt.id}#{sample.index}", "no_grade", grade.reason))
            continue
        run.measure("label", grade.digit)
        rows += views(cfg, prompt, sample.text, grade, run.round, f"round-{run.round}/{sample.index}")
    return rows


def views(cfg: Config, prompt: Prompt, text: str, grade: Grade, round: int, tag: str) -> list[Example]:
    """Return the rows of one judgement, the teacher's view first: the loss `two_views` takes them in this order."""
    rows = []
    for name, reference in (("teacher", reference_of(prompt)), ("student", None)):
        asked = Prompt(prompt.id, render(cfg.labeller.config, prompt, text, reference))
        meta = {"view": name, "self_eval": grade.z1, "cosine": grade.z2}
        values = {"reward": grade.z, "round": round, "group": f"{prompt.id}/{tag}", "meta": meta}
        rows.append(Example.of(asked, str(grade.digit), tag=f"{tag}/{name}", **values))
    return rows


async def learn(cfg: Config, run: "Run", rows: "Rows") -> "Policy":
    """Train the judge on both views of every judgement."""
    return await run.train(MAKES, rows, loss_options={"alpha": cfg.alpha, "kappa": cfg.kappa})


async def answer(cfg: Config, run: "Run", prompt: Prompt) -> Sample:
    """Return the answer that the judge grades highest; `abstained` where its grade is below the threshold."""
    temperature = cfg.temperature if cfg.best_of > 1 else 0.0
    samples = await run.sample(
        prompt, cfg.best_of, policy=run.base, temperature=temperature, top_p=cfg.top_p, max_tokens=cfg.max_tokens
    )
    able = [sample for sample in samples if sample.ok] or samples
    scores = await asyncio.gather(*(judge(cfg, run, prompt, sample.text) for sample in able))
    place = best_of(scores)
    run.measure("ungraded_answers", sum(score is None for score in scores) / len(scores))
    if place is None:  # nothing says which is best
        return able[0] if cfg.threshold is None or able[0].error else replace(able[0], finish=ABSTAINED)
    score, best = scores[place], able[place]
    run.measure(SCORE, score or 0.0)
    return best if gives(score, cfg.threshold) else replace(best, finish=ABSTAINED)


async def judge(cfg: Config, run: "Run", prompt: Prompt, text: str) -> float | None:
    """Return the grade of one answer in [0, 9] without a reference, None where there is none."""
    return (await cfg.judge.grade(run, prompt, text)).z1 if text.strip() else None


def gives(score: float | None, threshold: float | None) -> bool:
    """Return whether an answer is given: without a threshold always, else where it has a grade that is high enough."""
    return threshold is None or (score is not None and score >= threshold)
