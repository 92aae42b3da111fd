"""Measuring one policy on held-out sets outside a run: the same requests and files as a round's evaluation."""

from pathlib import Path
from typing import Any

from selfimprove.config import Recipe
from selfimprove.engines import open_engine
from selfimprove.engines.base import Policy
from selfimprove.engines.value import ValueModel, first_models, serving
from selfimprove.errors import DataError
from selfimprove.evaluation.heldout import measure_policy, read_items, scores
from selfimprove.evaluation.report import Comparison, compare
from selfimprove.evaluation.with_method import Answer, plain_sets
from selfimprove.ledger import Ledger
from selfimprove.models import policy_of
from selfimprove.records import Prompt
from selfimprove.run import EngineOnDemand, Run
from selfimprove.store import Store
from selfimprove.verify import Verifiers


async def evaluate_policy(
    recipe: Recipe,
    policy: Policy,
    heldout: dict[str, list[Prompt]],
    store: Store,
    answer: Answer | None = None,
) -> dict[str, Any]:
    """Return the marker of the policy's evaluation, measured now or, where the folder has it, before.

    `answer` is the method's own way to answer, measured too.

    Raises DataError where the folder holds the evaluation of another policy.
    """
    marker = store.marker(0, "evaluate")
    if marker is not None:
        if marker["policy"] != policy.digest:
            raise DataError(f"{store.folder}: holds the evaluation of another model; choose another --output")
        return marker
    ledger = Ledger(recipe.ledger or store.folder / "ledger.sqlite")
    engine = EngineOnDemand(open_engine(recipe.engine))
    values = ValueModel(serving(recipe.value))
    verifiers = Verifiers(recipe.sandbox)
    try:
        base = policy_of(policy.base) if policy.adapter else policy
        models = first_models(recipe.value)
        run = Run(recipe, 0, policy, base, base, engine, ledger, verifiers, models=models, values=values)
        return await measure_policy(run, heldout, store, answer=answer)
    finally:
        await engine.close()
        await values.close()
        verifiers.close()
        ledger.close()


def evaluated_round(path: Path) -> tuple[Store, int]:
    """Return the store and the round of an evaluation: a run folder means its last round, `run/round-1` that one.

    Raises DataError where nothing was measured there.
    """
    if path.name.startswith("round-") and path.name[6:].isdigit():
        store, rounds = Store(path.parent), [int(path.name[6:])]
    else:
        store, rounds = Store(path), measured_rounds(Store(path))
    if not rounds or store.marker(rounds[-1], "evaluate") is None:
        raise DataError(
            f"{path}: no evaluation is there; name a run folder, or one round of it such as {path}/round-0"
        )
    return store, rounds[-1]


def measured_rounds(store: Store) -> list[int]:
    """Return the numbers of the rounds that have been measured, in order."""
    return sorted(int(marker.parent.name[6:]) for marker in store.folder.glob("round-*/evaluate.json"))


def compare_rounds(before: tuple[Store, int], after: tuple[Store, int], name: str) -> Comparison:
    """Return how a held-out set changed between two measured rounds, of one run or of two."""
    old, new = (scores(read_items(store, number, name)) for store, number in (before, after))
    return compare(old, new)


def compare_with_plain(store: Store, round: int, name: str) -> Comparison | str | None:
    """Return a set as the method answers it against the policy's plain greedy answers in the same round.

    None where the set holds plain answers itself; the sentence that says why where the two cannot be compared.
    """
    plain = plain_sets(store, round).get(name)
    if plain is None:
        return None
    try:
        return compare(*(scores(read_items(store, round, each)) for each in (plain, name)))
    except DataError as error:
        return f"cannot be compared: {error}"
