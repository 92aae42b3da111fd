"""A method tried on its first prompts, to learn what a whole run of it asks for and gives."""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from math import ceil, sqrt
from pathlib import Path
from statistics import fmean, stdev

from selfimprove.engines import open_engine
from selfimprove.engines.base import Policy
from selfimprove.evaluation.heldout import measure_answer
from selfimprove.evaluation.with_method import Answer, heldout_run
from selfimprove.ledger import Ledger
from selfimprove.plan import Plan
from selfimprove.records import Prompt, Row, Skip
from selfimprove.run import EngineOnDemand, Run
from selfimprove.runtime import Outcome, drive, proposed
from selfimprove.verify import Verifiers

PROMPTS = 8
IN_FLIGHT = 64
"""Answers that a trial has under way at once where the engine is real: fewer would not show its speed."""


@dataclass(slots=True)
class Trial:
    """What prompts asked for and gave, each of them `copies` times; the lists have one entry a prompt and copy.

    `bound` is n x max_tokens over a prompt's generate requests, `tokens` what was generated of it, `kept` the bytes
    that the ledger holds of a prompt, `written` those of its rows and skips; `seconds` is the time of all.
    """

    asked: list[dict[str, int]] = field(default_factory=list)
    bound: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    rows: list[list[Row]] = field(default_factory=list)
    written: list[int] = field(default_factory=list)
    copies: int = 1
    seconds: float = 0.0
    first: "Trial | None" = None  # that of round 1, where this one is of a later round

    def of(self, round: int) -> "Trial":
        """Return the trial that says what a round costs."""
        return self.first if round == 1 and self.first is not None else self

    @property
    def prompts(self) -> int:
        """How many different prompts were tried."""
        return len(self.tokens) // self.copies

    @property
    def answers(self) -> int:
        """How many answers were asked for."""
        return sum(asked.get("samples", 0) for asked in self.asked)

    @property
    def speed(self) -> float:
        """Generated tokens per second."""
        return sum(self.tokens) / self.seconds if self.seconds else 0.0

    def by_prompt(self, values: Sequence[float]) -> list[float]:
        """Return the mean over its copies of every prompt's value: copies of a prompt say nothing of other prompts."""
        return [fmean(values[at : at + self.copies]) for at in range(0, len(values), self.copies)]


async def try_method(
    checked: Plan, engine: EngineOnDemand, policy: Policy, copies: int = 1, answer: Answer | None = None
) -> Trial:
    """Run `collect` on the first prompts and return what came of it; nothing of it is kept.

    It is tried as in round 1; where the method's first round is another than the rest (it names a later one as
    TRIAL_ROUND), as in that round too. `copies` > 1 asks the same prompts again under other seeds, all at once.
    `answer`, where given, is run instead: the method's own way to answer held-out items.
    """
    first = await _try_round(checked, engine, policy, copies, answer, 1)
    later = min(getattr(checked.method, "TRIAL_ROUND", 1), checked.recipe.rounds)
    if later == 1 or answer is not None:
        return first
    trial = await _try_round(checked, engine, policy, copies, None, later)
    trial.first = first
    return trial


async def _try_round(
    checked: Plan, engine: EngineOnDemand, policy: Policy, copies: int, answer: Answer | None, round: int
) -> Trial:
    trial = Trial(copies=copies)
    prompts = list(islice(checked.prompts(1), PROMPTS))
    with tempfile.TemporaryDirectory(prefix="selfimprove-trial-") as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        verifiers = Verifiers(checked.recipe.sandbox)
        began = time.monotonic()
        try:
            now = before = start = policy
            if round > 1 and engine.engine.name == "scripted":  # names are enough for three models, which cost most
                now, before, start = (replace(policy, digest=f"trial-{age}") for age in ("now", "before", "start"))
            run = Run(checked.recipe, round, now, before, start, engine, ledger, verifiers, enough=PROMPTS)
            if round > 1 and engine.engine.name == "scripted":
                run = replace(run, models={"value": replace(policy, digest="trial-value")})
            seeds = [replace(checked.recipe, seed=checked.recipe.seed + i) for i in range(copies)]
            runs = [replace(run, recipe=recipe) for recipe in seeds]
            outcomes = await asyncio.gather(*(_collect(checked, run, prompts, answer) for run in runs))
            trial.seconds = time.monotonic() - began
            for outcome in chain.from_iterable(zip(*outcomes, strict=False)):  # the copies of a prompt side by side
                trial.asked.append(outcome.asked)
                trial.rows.append([row for row in outcome.rows if not isinstance(row, Skip)])
                trial.written.append(sum(len(str(row.to_row())) for row in outcome.rows))
            if hasattr(checked.method, "propose") and answer is None:
                prompts = [outcome.prompt for outcome in outcomes[0]]
            _count(trial, ledger, prompts, copies)
        finally:
            verifiers.close()
            ledger.close()
    return trial


async def _collect(checked: Plan, run: Run, prompts: list[Prompt], answer: Answer | None) -> list[Outcome]:
    outcomes: list[Outcome] = []
    if answer is not None:
        answering = heldout_run(run)
        await drive(prompts, lambda prompt: measure_answer(answer, answering, prompt), outcomes.append)
        return outcomes
    if hasattr(checked.method, "collect_all"):
        rows = await checked.method.collect_all(checked.config, run, iter(prompts))
        return [Outcome(Prompt(row.id, ()), [row]) for row in rows]
    if hasattr(checked.method, "propose"):
        made, _ = await proposed(checked.method, checked.config, run, iter(prompts))
        prompts = made[:: max(len(made) // PROMPTS, 1)][:PROMPTS]  # of every kind that there is
    await drive(prompts, lambda prompt: checked.method.collect(checked.config, run, prompt), outcomes.append)
    return outcomes


def _count(trial: Trial, ledger: Ledger, prompts: list[Prompt], copies: int) -> None:
    """Read from the ledger what every prompt cost; several copies of a prompt share evenly."""
    for prompt in prompts:
        entries = list(ledger.entries(prompt.id))
        made = [entry for entry in entries if entry.kind == "generate"]
        bound = sum(entry.request["n"] * entry.request["max_tokens"] for entry in made)
        tokens = sum(sample["tokens"] for entry in made for sample in entry.answer)
        kept = sum(len(str(entry.request)) + len(str(entry.answer)) + 100 for entry in entries)
        for values, value in ((trial.bound, bound), (trial.tokens, tokens), (trial.kept, kept)):
            values += [value // copies] * copies


async def try_scripted(checked: Plan, answer: Answer | None = None) -> Trial:
    """Return the trial under the scripted engine: how much a method asks for, in a blink and without a model."""
    policy = Policy(checked.recipe.model, None, "trial")
    engine = EngineOnDemand(open_engine({"name": "scripted"}))
    try:
        return await try_method(checked, engine, policy, answer=answer)
    finally:
        await engine.close()


def copies_for(trial: Trial) -> int:
    """Return how often the prompts are asked at once so that about IN_FLIGHT answers are under way."""
    return max(1, min(IN_FLIGHT, ceil(IN_FLIGHT / max(trial.answers, 1))))


def interval(values: list[float], z: float = 1.96) -> tuple[float, float, float]:
    """Return (mean, low, high) of a mean over prompts, from its standard error; not below 0."""
    if not values:
        return 0.0, 0.0, 0.0
    middle = fmean(values)
    half = z * stdev(values) / sqrt(len(values)) if len(values) > 1 else middle
    return middle, max(middle - half, 0.0), middle + half
