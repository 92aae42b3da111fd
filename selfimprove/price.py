"""The price tag of a run: what every stage will ask for at most, said before anything is asked."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from selfimprove.config import Recipe, parse_yaml
from selfimprove.embedded import cache_folder
from selfimprove.plan import Plan
from selfimprove.reporting.table import table, told_size
from selfimprove.training.args import lora_fields
from selfimprove.training.launch import accelerate_config
from selfimprove.trial import Trial

BYTES_A_TOKEN = 5
"""Bytes of answer text, its log-prob and its JSON that a generated token takes in the ledger, roughly."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a stage of a round takes at most: requests, answers, generated tokens, rows, steps, bytes on disk."""

    round: int
    stage: str
    requests: int = 0
    answers: int = 0
    tokens: int = 0
    rows: int = 0
    steps: int = 0
    disk: int | None = 0


def costs(
    checked: Plan, trial: Trial, prompts: int, heldout: dict[str, int], answering: Trial | None = None
) -> Iterator[Cost]:
    """Yield the cost of every stage, in order, as the largest of the tried prompts lets one expect.

    `prompts` is the number of training prompts, `heldout` {set: items}, `answering` the trial of the method's own way
    to answer, where the recipe measures it.
    """
    recipe = checked.recipe
    for number in range(recipe.rounds + 1):
        if number:
            count, tried = prompts_of_round(recipe, prompts, number), trial.of(number)
            rows = count * max((len(rows) for rows in tried.rows), default=0)
            yield collect_cost(tried, number, count, rows)
            steps = optimiser_steps(checked.train_options(number), rows)
            yield Cost(
                number, "learn", rows=rows, steps=steps, disk=trained_bytes(recipe, checked.train_options(number))
            )
        items = sum(heldout.values())
        if items:
            answers = items * (1 + recipe.evaluate.samples)
            tokens = answers * recipe.evaluate.max_tokens
            requests = items * (2 if recipe.evaluate.samples else 1)
            if answering:
                own = collect_cost(answering, number, items, 0)
                requests, answers, tokens = requests + own.requests, answers + own.answers, tokens + own.tokens
            yield Cost(number, "evaluate", requests, answers, tokens, disk=tokens * BYTES_A_TOKEN * 2)
        watched = min(recipe.watch.prompts, next(iter(heldout.values()), prompts))
        if watched:
            answers = watched * recipe.watch.samples
            tokens = answers * (recipe.watch.max_tokens or recipe.evaluate.max_tokens)
            requests = watched + (answers if number else 0)  # the start model scores the answers of later rounds
            yield Cost(number, "watch", requests, answers, tokens, disk=tokens * BYTES_A_TOKEN * 2)


def prompts_of_round(recipe: Recipe, prompts: int, number: int) -> int:
    """Return how many prompts round `number` takes."""
    if recipe.prompts_per_round is None:
        return prompts
    return max(0, min(recipe.prompts_per_round, prompts - (number - 1) * recipe.prompts_per_round))


def collect_cost(trial: Trial, number: int, count: int, rows: int) -> Cost:
    """Return the cost of collecting `count` prompts, each as dear as the dearest that was tried."""
    requests = count * max((asked.get("generate", 0) + asked.get("score", 0) for asked in trial.asked), default=0)
    answers = count * max((asked.get("samples", 0) for asked in trial.asked), default=0)
    tokens = count * max(trial.bound, default=0)
    ledger = tokens * BYTES_A_TOKEN + count * max(trial.kept, default=0)
    return Cost(
        number, "collect", requests, answers, tokens, rows, disk=ledger + count * max(trial.written, default=0)
    )


def optimiser_steps(options: Mapping[str, Any], rows: int) -> int:
    """Return the optimiser steps of a training on `rows` rows."""
    most, batch = options.get("max_steps", -1), batch_rows(options) * processes(options)
    return int(most) if most and most > 0 else ceil(ceil(rows / batch) * options.get("num_train_epochs", 3))


def batch_rows(options: Mapping[str, Any]) -> int:
    """Return the rows that one process sees in an optimiser step."""
    return options.get("per_device_train_batch_size", 8) * options.get("gradient_accumulation_steps", 1)


def processes(options: Mapping[str, Any]) -> int:
    """Return how many processes a training starts, from its accelerate config."""
    path = accelerate_config(options.get("accelerate") or "single")
    return 1 if path is None else int(parse_yaml(path.read_text(encoding="utf-8"), str(path)).get("num_processes", 1))


def trained_bytes(recipe: Recipe, options: Mapping[str, Any]) -> int | None:
    """Return the disk that a round's training takes at most, checkpoints included; None without the model at hand."""
    folder = here(recipe.model)
    if folder is None:
        return None
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    fields = lora_fields(options.get("lora"))
    trained = weights if fields is None else adapter_bytes(folder, int(fields.get("r", 8)))
    kept = int(options.get("save_total_limit", 2))
    return trained * (1 + 3 * kept)  # a checkpoint holds the weights and two moments of each


def adapter_bytes(folder: Path, rank: int) -> int:
    """Return the bytes of a float32 adapter on all linear layers of a Llama-like model."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = config.get("text_config") or config
    width, inner, layers = (config.get(key, 0) for key in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    heads = config.get("num_attention_heads") or 1
    keys = width * (config.get("num_key_value_heads") or heads) // heads
    sizes = (
        ((width, width), (width, keys), (width, keys), (width, width)),
        ((width, inner), (width, inner), (inner, width)),
    )
    return 4 * rank * layers * sum(a + b for group in sizes for a, b in group)


def here(model: str) -> Path | None:
    """Return the folder of a model that needs neither download nor conversion, None for another."""
    if model == "embedded":
        found = sorted((cache_folder() / "models").glob("smollm2-135m-instruct-*/config.json"))
        return found[-1].parent if found else None
    folder = Path(model).expanduser()
    return folder if (folder / "config.json").is_file() else None


def price_lines(found: list[Cost]) -> list[str]:
    """Return the table of the costs with their sum, and what they leave out."""
    rows = [
        [f"round {c.round} {c.stage}", number(c.requests), number(c.answers), number(c.tokens), number(c.rows),
         number(c.steps), told_size(c.disk)]
        for c in found
    ]  # fmt: skip
    whole = [sum(getattr(c, name) for c in found) for name in ("requests", "answers", "tokens")]
    disk = None if any(c.disk is None for c in found) else sum(c.disk or 0 for c in found)
    rows.append(["in all", *map(number, whole), "-", number(sum(c.steps for c in found)), told_size(disk)])
    head = ["stage", "requests", "answers", "tokens up to", "rows up to", "steps up to", "disk up to"]
    notes = [
        "What a prompt asks for was tried on the first ones with scripted answers; another answer can lead a method"
    ]
    notes.append("another way. `--estimate` measures tokens, time and price with the real engine.")
    if disk is None:
        notes.append("The model is not on this machine, so the disk for its training is not known yet.")
    return [*table(head, rows), *notes]


def number(value: int) -> str:
    """Return a count with separators, `-` for none."""
    return f"{value:,}" if value else "-"
