"""The price of a run measured on its first prompts: the real engine answers them, the real trainer takes some steps.

What is measured on a few prompts is multiplied by the number of all. The range comes from how much the prompts
differ among themselves (a 95 % interval of the mean); it does not know of later rounds whose answers are longer.
"""

import asyncio
import json
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from selfimprove.config import Recipe
from selfimprove.engines import open_engine
from selfimprove.engines.base import Generate, Policy
from selfimprove.errors import EngineError, TrainError
from selfimprove.evaluation.heldout import Item, measure_answer, measure_item
from selfimprove.evaluation.with_method import answer_of, heldout_run
from selfimprove.files import to_line
from selfimprove.ledger import Ledger
from selfimprove.models import model_folder, policy_of
from selfimprove.plan import Plan
from selfimprove.price import batch_rows, number, optimiser_steps, processes, prompts_of_round
from selfimprove.progress import clock
from selfimprove.records import KINDS, Prompt, Row
from selfimprove.reporting.table import table, told_size
from selfimprove.run import EngineOnDemand, Run
from selfimprove.runtime import drive
from selfimprove.spending import devices
from selfimprove.training.job import EVENTS, Job
from selfimprove.training.launch import run_job
from selfimprove.trial import PROMPTS, Trial, copies_for, interval, try_method
from selfimprove.verify import Verifiers

STEPS = 4
"""Optimiser steps of the tried training; the first one warms up and is not counted."""

Range = tuple[float, float, float]
"""A middle with its lower and upper end."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the trial gave: the method's part, tokens of a held-out answer, seconds of a start and of a step.

    `method_tokens` are what the method's own way to answer generates on top, where the recipe measures it.
    """

    trial: Trial
    heldout_tokens: list[float]
    start: float
    training_start: float | None = None
    step: float | None = None
    problem: str = ""
    memory: int = 0
    training_memory: int = 0
    method_tokens: tuple[float, ...] = ()


async def measure(checked: Plan, heldout: dict[str, list[Prompt]], say: Callable[[str], None]) -> Measured:
    """Ask the first prompts with the recipe's engine, then train a few steps on what came out."""
    policy = policy_of(str(model_folder(checked.recipe.model)))
    engine = EngineOnDemand(open_engine(checked.recipe.engine))
    try:
        say(f"asking the first {PROMPTS} prompts with the {checked.recipe.engine['name']} engine ...")
        began = time.monotonic()
        await warm_up(checked, engine, policy)
        start = time.monotonic() - began
        trial = await try_method(checked, engine, policy)
        copies = copies_for(trial)
        if copies > 1:  # so few answers do not show the engine's speed
            trial = await try_method(checked, engine, policy, copies)
        tokens, own = await heldout_tokens(checked, engine, policy, heldout)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        await engine.sleep()
        rows = [row for rows in trial.rows for row in rows]  # of the later round, whose kind is the method's own
        if not rows:
            problem = "none of the tried prompts gave a row, so the training could not be tried"
            return Measured(trial, tokens, start, problem=problem, memory=memory, method_tokens=own)
        say(f"training {STEPS} steps on {len(rows)} rows ...")
        try:
            training_start, step = await asyncio.to_thread(try_training, checked, policy, rows)
        except TrainError as error:
            problem = f"the training could not be tried: {error}"
            return Measured(trial, tokens, start, problem=problem, memory=memory, method_tokens=own)
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        return Measured(trial, tokens, start, training_start, step, "", memory, children, own)
    finally:
        await engine.close()


async def warm_up(checked: Plan, engine: EngineOnDemand, policy: Policy) -> None:
    """Start the engine and let it answer once; raises EngineError where it cannot answer."""
    prompt = next(checked.prompts(1))
    [sample] = await (await engine.get(policy)).generate(Generate(policy, prompt.messages, max_tokens=4))
    if sample.error:
        raise EngineError(f"the first prompt ({prompt.id}) is not answered: {sample.error}")


async def heldout_tokens(
    checked: Plan, engine: EngineOnDemand, policy: Policy, heldout: dict[str, list[Prompt]]
) -> tuple[list[float], tuple[float, ...]]:
    """Return the generated tokens of the first items of the first held-out set, and those of the method's answers.

    The method's are what it asks for beyond the plain answer; none where the recipe does not measure it.
    """
    items = list(islice(next(iter(heldout.values()), []), PROMPTS))
    answer = answer_of(checked.recipe, checked.method, checked.config, checked.where)
    with tempfile.TemporaryDirectory(prefix="selfimprove-trial-") as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        run = Run(checked.recipe, 0, policy, policy, policy, engine, ledger, Verifiers(checked.recipe.sandbox))
        try:
            found = await asyncio.gather(*(measure_item(run, prompt) for prompt in items))
            plain = [float(item.tokens) for rows in found for item in rows if isinstance(item, Item)]
            if answer is None:
                return plain, ()
            before = [generated(ledger, prompt) for prompt in items]
            answering = heldout_run(run)
            await drive(items, lambda prompt: measure_answer(answer, answering, prompt), lambda outcome: None)
            after = [generated(ledger, prompt) for prompt in items]
            return plain, tuple(now - then for now, then in zip(after, before, strict=True))
        finally:
            run.verifiers.close()
            ledger.close()


def generated(ledger: Ledger, prompt: Prompt) -> float:
    """Return the tokens that were generated on a prompt's behalf."""
    entries = (entry for entry in ledger.entries(prompt.id) if entry.kind == "generate")
    return float(sum(sample["tokens"] for entry in entries for sample in entry.answer))


def try_training(checked: Plan, policy: Policy, rows: list[Row]) -> tuple[float, float]:
    """Return (seconds until the first step ended, seconds of a later step) of a training on rows, repeated if few."""
    kind = next(
        (checked.kind for row in rows if isinstance(row, KINDS[checked.kind])),
        next(name for name, record in KINDS.items() if isinstance(rows[0], record)),  # a first round on other rows
    )
    rows = [row for row in rows if isinstance(row, KINDS[kind])]
    options, loss = checked.options_for(kind, 1), checked.loss if kind == checked.kind else None
    with tempfile.TemporaryDirectory(prefix="selfimprove-trial-") as folder:
        path = Path(folder) / "rows.jsonl"
        wanted = max(STEPS * batch_rows(options) * processes(options), len(rows))
        path.write_text("".join(to_line(rows[i % len(rows)].to_row()) for i in range(wanted)), encoding="utf-8")
        tried = {**options, "max_steps": STEPS, "logging_steps": 1, "save_strategy": "no", "report_to": "none"}
        job = Job(
            kind,
            (str(path),),
            policy.base,
            policy.adapter,
            f"{folder}/out",
            tried,
            checked.recipe.seed,
            loss,
            checked.where,
        )
        began = time.monotonic()
        run_job(job)
        whole = time.monotonic() - began
        at = [json.loads(line)["seconds"] for line in (Path(folder) / "out" / EVENTS).read_text().splitlines()]
    step = (at[-1] - at[0]) / max(len(at) - 1, 1)
    return whole - step * (len(at) - 1), step


def times(value: Range, factor: float) -> Range:
    """Return a range times a number."""
    return value[0] * factor, value[1] * factor, value[2] * factor


def plus(values: list[Range]) -> Range:
    """Return the sum of ranges, end by end."""
    return sum(v[0] for v in values), sum(v[1] for v in values), sum(v[2] for v in values)


def stages(
    checked: Plan, found: Measured, prompts: int, heldout: dict[str, int]
) -> list[tuple[str, Range, Range | None, Range | None]]:
    """Return (stage, tokens, rows, seconds) of the whole run, each with its range; None where it is not known."""
    recipe, trial, speed = checked.recipe, found.trial, found.trial.speed or 1.0
    tokens, _ = made_of(trial)
    sampled = times(tokens, len(trial.tokens) / max(trial.answers, 1))
    greedy, own = interval(found.heldout_tokens), interval([*found.method_tokens])
    listed: list[tuple[str, Range, Range | None, Range | None]] = []
    for at in range(recipe.rounds + 1):
        if at:
            count = prompts_of_round(recipe, prompts, at)
            tokens, rows = made_of(trial.of(at))
            made = times(rows, count)
            listed.append((f"round {at} collect", times(tokens, count), made, times(times(tokens, count), 1 / speed)))
            listed.append((f"round {at} learn", (0, 0, 0), None, learning(checked, found, at, made)))
        items = sum(heldout.values()) * (1 + recipe.evaluate.samples)
        if items:
            tokens_asked = plus([times(greedy, items), times(own, sum(heldout.values()))])
            listed.append((f"round {at} evaluate", tokens_asked, None, times(tokens_asked, 1 / speed)))
        watched = min(recipe.watch.prompts, next(iter(heldout.values()), prompts)) * recipe.watch.samples
        if watched:
            listed.append((f"round {at} watch", times(sampled, watched), None, times(sampled, watched / speed)))
    return listed


def made_of(trial: Trial) -> tuple[Range, Range]:
    """Return what a prompt generates and how many rows it gives."""
    return interval(trial.by_prompt(trial.tokens)), interval(trial.by_prompt([len(rows) for rows in trial.rows]))


def learning(checked: Plan, found: Measured, at: int, rows: Range) -> Range | None:
    """Return the seconds of a round's training, None where it could not be tried."""
    if found.step is None or found.training_start is None:
        return None
    options = checked.train_options(at)
    start, step = found.training_start, found.step

    def seconds(count: float) -> float:
        steps = optimiser_steps(options, round(count))
        return start + step * (steps - 1) if steps else 0.0

    return seconds(rows[0]), seconds(rows[1]), seconds(rows[2])


def estimate_lines(checked: Plan, found: Measured, prompts: int, heldout: dict[str, int]) -> list[str]:
    """Return the estimate as a table with its sums, the price, and what it does not know."""
    listed = stages(checked, found, prompts, heldout)
    rows = [
        [name, counts(tokens), counts(made) if made else "-", spans(seconds) if seconds else "?"]
        for name, tokens, made, seconds in listed
    ]
    seconds = plus([s for _, _, _, s in listed if s] + [(found.start, found.start, found.start)])
    rows.append(["in all", counts(plus([tokens for _, tokens, _, _ in listed])), "-", spans(seconds)])
    trial = found.trial
    notes = [
        f"tried     {trial.prompts} prompts, {trial.answers} answers at once: {trial.speed:.0f} tokens/s; "
        f"engine ready after {clock(found.start)}",
        f"memory    sampling {told_size(found.memory)}"
        + (f", training {told_size(found.training_memory)}" if found.training_memory else "")
        + " at the peak (main memory of the largest process)",
    ]
    if found.step is not None:
        notes.append(
            f"training  {found.step:.2f} s a step, {clock(found.training_start or 0)} until the first one ends"
        )
    if found.problem:
        notes.append(f"note      {found.problem}; its time is not in the sum")
    return [*table(["stage", "tokens", "rows", "time"], rows), *notes, *money(checked.recipe, seconds)]


def money(recipe: Recipe, seconds: Range) -> list[str]:
    """Return device-hours and money with their ranges."""
    count = devices()
    middle, low, high = times(seconds, count / 3600)
    lines = [f"devices   {count}: {middle:.3g} device-hours [{low:.3g}, {high:.3g}]"]
    if recipe.gpu_hour_price is None:
        return [*lines, "price     unknown: set gpu_hour_price in the recipe"]
    price = recipe.gpu_hour_price
    return [
        *lines,
        f"price     {middle * price:.2f} [{low * price:.2f}, {high * price:.2f}] at {price:g} a device-hour",
    ]


def counts(value: Range) -> str:
    """Return a range of counts as `1,200 [900, 1,500]`."""
    middle, low, high = (round(end) for end in value)
    return f"{middle:,} [{low:,}, {high:,}]" if middle else number(middle)


def spans(value: Range) -> str:
    """Return a range of seconds as `3 min 20 s [2 min 40 s, 4 min 05 s]`."""
    return f"{clock(value[0])} [{clock(value[1])}, {clock(value[2])}]"
