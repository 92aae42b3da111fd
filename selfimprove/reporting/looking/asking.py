"""Asking again what a run has asked before: are the answers still the same?"""

import asyncio
from collections.abc import Mapping
from typing import Any

from selfimprove.engines import open_engine
from selfimprove.engines.base import Generate, Policy
from selfimprove.errors import SelfImproveError
from selfimprove.records import Sample
from selfimprove.reporting.looking.policies import load_policy
from selfimprove.store import Store, saved_recipe


def ask_again(store: Store, told: Mapping[str, Any], engine: Mapping[str, Any] | None = None) -> None:
    """Ask the round's own generate requests of a history once more, and put `again` beside every answer.

    `again` is {"text", "logprob", "same"}, or {"problem"} where it could not be asked. Nothing is written.
    `engine` is an engine section; None: the run's. Raises EngineError where the engine cannot start.
    """
    asyncio.run(_ask_again(store, told, engine or saved_recipe(store.folder).engine))


async def _ask_again(store: Store, told: Mapping[str, Any], section: Mapping[str, Any]) -> None:
    engine = open_engine(section)
    policies: dict[str, Policy] = {}
    started = False
    try:
        for request in told["requests"]:
            if request["kind"] != "generate" or not request["in_round"]:
                continue
            digest = request["policy"]
            try:
                policies[digest] = policy = policies.get(digest) or load_policy(store, digest)
            except SelfImproveError as error:
                for answer in request["answers"]:
                    answer["again"] = {"problem": str(error)}
                continue
            if not started:
                await engine.start(policy)
                started = True
            samples = await engine.generate(request_of(request["request"], policy))
            for answer, sample in zip(request["answers"], samples, strict=True):
                answer["again"] = _again(answer, sample)
    finally:
        await engine.close()


def _again(answer: Mapping[str, Any], sample: Sample) -> dict[str, Any]:
    if sample.error:
        return {"problem": sample.error}
    return {"text": sample.text, "logprob": sample.logprob, "same": sample.text == answer["text"]}


def request_of(row: Mapping[str, Any], policy: Policy) -> Generate:
    """Return the request that a ledger row spells, to a policy."""
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return Generate(policy, **plain)
