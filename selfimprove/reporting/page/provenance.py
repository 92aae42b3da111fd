"""What a run cost, and everything it takes to do it again."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfimprove.config import Recipe, digest, to_plain
from selfimprove.errors import DataError
from selfimprove.files import read_json
from selfimprove.reporting.looking.policies import digest_after, start_digest
from selfimprove.reporting.methods import METHODS, Card, read_card
from selfimprove.store import STAGES, Store


@dataclass(frozen=True, slots=True)
class Spending:
    """Seconds, tokens and money: the stages there were, their figures by round and stage, and the sums."""

    stages: list[str]
    rounds: dict[int, dict[str, dict[str, Any]]]
    total: dict[str, Any]
    trainings: list[tuple[int, float]]


def read_spending(store: Store, rounds: list[int]) -> Spending:
    """Return what the run has spent; without spending.json only the seconds that the trainings took."""
    path = store.folder / "spending.json"
    total = read_json(path) if path.is_file() else {}
    by_round: dict[int, dict[str, dict[str, Any]]] = {}
    for name, figures in total.get("stages", {}).items():
        number, _, stage = name.partition("/")
        by_round.setdefault(int(number), {})[stage] = figures
    found = dict.fromkeys(stage for stages in by_round.values() for stage in stages)
    stages = [stage for stage in STAGES if stage in found] + [stage for stage in found if stage not in STAGES]
    trainings = []
    for number in rounds:
        result = store.stage_folder(number, "learn") / "result.json"
        if result.is_file():
            trainings.append((number, read_json(result)["seconds"]))
    return Spending(stages, dict(sorted(by_round.items())), total, trainings)


def policies(store: Store, rounds: list[int]) -> list[tuple[str, str]]:
    """Return (which policy, its digest): the start model's and what each round made of it."""
    start = start_digest(store)
    found = [("start model", start)] if start else []
    made = [(f"after round {n}", digest_after(store, n)) for n in rounds if n > 0 and store.marker(n, "learn")]
    return found + [(name, digest) for name, digest in made if digest]


def method_card(recipe: Recipe) -> Card | None:
    """Return what the method's file says of itself, None where the file is not here or does not say it."""
    name = str(recipe.method["name"])
    path = Path(name) if name.endswith(".py") else METHODS / f"{recipe.method_name}.py"
    try:
        return read_card(path)
    except (OSError, SyntaxError, ValueError, DataError):
        return None


def commands(store: Store, kind: str) -> list[str]:
    """Return the command lines that do the same again into another folder; `kind` is run, build or evaluate."""
    recipe = shlex.quote(str(store.folder / "recipe.yaml"))
    if kind == "evaluate":
        return [f"selfimprove evaluate {recipe} -o runs/again"]
    run = f"selfimprove run {recipe} output=runs/again"
    return [f"selfimprove build {recipe} output=runs/again -o dataset", run] if kind == "build" else [run]


def facts(store: Store, recipe: Recipe) -> list[tuple[str, str]]:
    """Return what identifies a run: versions, digest of the recipe, seed, and whatever else run.json holds."""
    head = read_json(store.folder / "run.json") if (store.folder / "run.json").is_file() else {}
    found = [("recipe digest", digest(to_plain(recipe))), ("seed", str(recipe.seed))]
    names = {"version": "selfimprove", "format": "format of the folder", "created": "begun"}
    for key, value in head.items():
        if isinstance(value, dict):
            found += [(f"{names.get(key, key)}: {inner}", str(item)) for inner, item in value.items()]
        else:
            found.append((names.get(key, key), str(value)))
    return found
