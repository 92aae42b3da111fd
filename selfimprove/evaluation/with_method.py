"""Held-out answers that a method arrives at by its own procedure: voting, picking, refining, searching.

A method that has `answer(cfg, run, prompt) -> Sample` is measured beside the plain greedy answer of the same policy
on the same items: as a set of its own named `<set>+<method>`, with the answers and tokens that an item took.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

from selfimprove import runtime
from selfimprove.config import Recipe
from selfimprove.errors import ConfigError
from selfimprove.records import Prompt, Sample
from selfimprove.run import Run, means
from selfimprove.runtime import Outcome
from selfimprove.store import Store

Answer = Callable[[Run, Prompt], Awaitable[Sample]]

PURPOSE = "evaluate"

SCORE = "answer_score"
"""What a method's `answer` measures under this name is the score that it gives its own answer, kept with the item."""


@dataclass(frozen=True)
class HeldoutRun(Run):
    """The run as `answer` sees it: what it samples counts as held-out evaluation, and its tokens are counted."""

    async def sample(
        self, prompt: Prompt, n: int = 1, *, purpose: str = "sample", path: str = "", **options: Any
    ) -> list[Sample]:
        """Return n answers; a method's first plain sample has the seed that the plain evaluation asks with."""
        place = path if purpose == "sample" else f"{purpose}/{path}"
        samples = await super().sample(prompt, n, purpose=PURPOSE, path=place, **options)
        runtime.count("tokens", sum(sample.tokens for sample in samples))
        return samples


def heldout_run(run: Run) -> HeldoutRun:
    """Return a run for `answer`."""
    return HeldoutRun(**{field.name: getattr(run, field.name) for field in fields(run)})


def answer_of(recipe: Recipe, method: ModuleType, config: Any, where: str = "recipe") -> Answer | None:
    """Return the method's own way to answer, None where the recipe does not want it measured.

    Raises ConfigError where it does, and the method has none.
    """
    if not recipe.evaluate.with_method:
        return None
    found = getattr(method, "answer", None)
    if found is None:
        raise ConfigError(
            f"{where}: evaluate.with_method is true, but method '{recipe.method['name']}' has no way of its own to "
            "answer (a coroutine `answer(cfg, run, prompt)`); set it to false, or take another method"
        )
    return lambda run, prompt: found(config, run, prompt)


def set_name(name: str, recipe: Recipe) -> str:
    """Return the name of a held-out set as the recipe's method answers it."""
    return f"{name}+{Path(recipe.method_name).stem}"


def spent(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Return what an item took on average (answers drawn, tokens generated), and the means the method measured."""
    count = max(len(outcomes), 1)
    measured: dict[str, list[float]] = defaultdict(list)
    for outcome in outcomes:
        for name, value in outcome.measured:
            measured[name].append(value)
    asked = {name: sum(outcome.asked.get(name, 0) for outcome in outcomes) / count for name in ("samples", "tokens")}
    return {"answers": asked["samples"], "tokens": asked["tokens"], **means(measured)}


def plain_sets(store: Store, round: int) -> dict[str, str]:
    """Return {set as the method answers it: the set as the policy answers it} of a measured round."""
    marker = store.marker(round, "evaluate") or {}
    return {name: told["plain"] for name, told in marker.get("with_method", {}).items()}
