"""A method tried on its first prompts, to learn what a whole run of it asks for and gives."""

import asyncio
import tempfile
import time
from dataclasses import dataclass, field, replace
from itertools import islice
from math import ceil, sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from selfimprove.engines import open_engine
from selfimprove.engines.base import Policy
from selfimprove.ledger import Ledger
from selfimprove.plan import Plan
from selfimprove.records import Prompt, Row, Skip
from selfimprove.run import EngineOnDemand, Run
from selfimprove.runtime import Outcome, drive

PROMPTS = 8
IN_FLIGHT = 64
"""Answers that a trial has under way at once where the engine is real: fewer would not show its speed."""


@dataclass(slots=True)
class Trial:
    """What prompts asked for and gave; the lists have one entry a prompt.

    `bound` is n x max_tokens over a prompt's generate requests, `tokens` what was generated of it, `kept` the bytes
    that the ledger holds of a prompt, `written` those of its rows and skips; `seconds` is the time of all.
    """

    asked: list[dict[str, int]] = field(default_factory=list)
    bound: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    rows: list[list[Row]] = field(default_factory=list)
    written: list[int] = field(default_factory=list)
    skips: dict[str, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    seconds: float = 0.0

    @property
    def speed(self) -> float:
        """Generated tokens per second."""
        return sum(self.tokens) / self.seconds if self.seconds else 0.0


async def try_method(checked: Plan, engine: EngineOnDemand, policy: Policy, copies: int = 1) -> Trial:
    """Run `collect` on the first prompts of round 1 and return what came of it; nothing of it is kept.

    `copies` > 1 asks the same prompts again under other seeds, all at once.
    """
    trial = Trial()
    prompts = list(islice(checked.prompts(1), PROMPTS))
    with tempfile.TemporaryDirectory(prefix="selfimprove-trial-") as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        verifiers: dict[str, Any] = {}
        before, began = engine.usage.prompt_tokens, time.monotonic()
        try:
            run = Run(checked.recipe, 1, policy, policy, policy, engine, ledger, verifiers)
            seeds = [replace(checked.recipe, seed=checked.recipe.seed + i) for i in range(copies)]
            runs = [replace(run, recipe=recipe) for recipe in seeds]
            await asyncio.gather(*(_collect(checked, run, prompts, trial) for run in runs))
            trial.seconds = time.monotonic() - began
            trial.prompt_tokens = engine.usage.prompt_tokens - before
            _count(trial, ledger, prompts, copies)
        finally:
            for verifier in verifiers.values():
                verifier.close()
            ledger.close()
    return trial


async def _collect(checked: Plan, run: Run, prompts: list[Prompt], trial: Trial) -> None:
    def emit(outcome: Outcome) -> None:
        trial.asked.append(outcome.asked)
        trial.rows.append([row for row in outcome.rows if not isinstance(row, Skip)])
        trial.written.append(sum(len(str(row.to_row())) for row in outcome.rows))
        for row in outcome.rows:
            if isinstance(row, Skip):
                trial.skips[row.reason] = trial.skips.get(row.reason, 0) + 1

    if hasattr(checked.method, "collect_all"):
        for row in await checked.method.collect_all(checked.config, run, iter(prompts)):
            emit(Outcome(Prompt(row.id, ()), [row]))
    else:
        await drive(prompts, lambda prompt: checked.method.collect(checked.config, run, prompt), emit)


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


async def try_scripted(checked: Plan) -> Trial:
    """Return the trial under the scripted engine: how much a method asks for, in a blink and without a model."""
    policy = Policy(checked.recipe.model, None, "trial")
    engine = EngineOnDemand(open_engine({"name": "scripted"}))
    try:
        return await try_method(checked, engine, policy)
    finally:
        await engine.close()


def copies_for(trial: Trial) -> int:
    """Return how often the prompts are asked at once so that about IN_FLIGHT answers are under way."""
    answers = sum(asked.get("samples", 0) for asked in trial.asked)
    return max(1, min(IN_FLIGHT, ceil(IN_FLIGHT / max(answers, 1))))


def interval(values: list[float], z: float = 1.96) -> tuple[float, float, float]:
    """Return (mean, low, high) of a mean over prompts, from its standard error; not below 0."""
    if not values:
        return 0.0, 0.0, 0.0
    middle = fmean(values)
    half = z * stdev(values) / sqrt(len(values)) if len(values) > 1 else middle
    return middle, max(middle - half, 0.0), middle + half
