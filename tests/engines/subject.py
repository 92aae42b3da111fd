"""An engine under test: its own loop, its life from start to close, and how one check is conducted on it."""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from selfimprove.engines.base import Engine, Generate, Policy, Score
from selfimprove.errors import EngineError
from selfimprove.records import as_messages

Check = Callable[..., Awaitable[None]]
CHECKS: list[Check] = []
NEEDS: dict[Check, frozenset[str]] = {}

CAPITAL = as_messages("What is the capital of France? Answer in one word.")
RATING = {
    "type": "object",
    "properties": {"score": {"type": "integer", "minimum": 1, "maximum": 5}},
    "required": ["score"],
    "additionalProperties": False,
}


class EngineLoop:
    """One event loop in a thread of its own: an engine is used from one loop, tests are plain functions."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="engine-loop", daemon=True)
        self.thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any], timeout: float = 180.0) -> Any:
        """Return what the coroutine returns; TimeoutError after `timeout` seconds, and it is cancelled."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise

    def close(self) -> None:
        """Stop the loop and its thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@dataclass
class Subject:
    """An engine under test, started, with what it can be asked for."""

    engine: Engine
    policy: Policy
    other: Policy | None
    lacks: frozenset[str]
    loop: EngineLoop

    def conduct(self, check: Check) -> None:
        """Run one check, skip it where the engine lacks an ability, or demand that the engine refuses."""
        missing = NEEDS[check] & self.lacks
        for ability in sorted(missing & REFUSALS.keys()):
            with pytest.raises(EngineError) as refusal:
                self.loop.run(REFUSALS[ability](self.engine, self.policy))
            assert len(str(refusal.value)) > 20, "a refusal is a sentence"
        if missing:
            pytest.skip(f"{self.engine.name} does not offer {', '.join(sorted(missing))}")
        arguments = [self.engine, self.policy]
        if "policies" in NEEDS[check]:
            assert self.other is not None, "give a second policy, or say that the engine lacks 'policies'"
            arguments.append(self.other)
        self.loop.run(check(*arguments))


@contextmanager
def running(
    engine: Engine, policy: Policy, other: Policy | None = None, lacks: Iterable[str] = (), start_timeout: float = 300
) -> Iterator[Subject]:
    """Start the engine on its own loop, and close it twice when the tests are through."""
    loop = EngineLoop()
    try:
        assert isinstance(engine, Engine)
        assert engine.name and isinstance(engine.identity, str)
        loop.run(engine.start(policy), start_timeout)
        assert engine.version, "the version is known once the engine is started"
        yield Subject(engine, policy, other, frozenset(lacks), loop)
    finally:
        loop.run(engine.close())
        loop.run(engine.close())
        with pytest.raises(EngineError):
            loop.run(engine.generate(Generate(policy, CAPITAL, max_tokens=2)), 30)
        loop.close()


def name_of(check: Check) -> str:
    """Return the name of a check without its prefix."""
    return check.__name__.removeprefix("check_")


def check(*needs: str) -> Callable[[Check], Check]:
    """Put an async function on the list of checks, with the abilities it needs."""

    def register(function: Check) -> Check:
        assert inspect.iscoroutinefunction(function)
        CHECKS.append(function)
        NEEDS[function] = frozenset(needs)
        return function

    return register


REFUSALS: dict[str, Callable[[Engine, Policy], Coroutine[Any, Any, Any]]] = {
    "json_schema": lambda engine, policy: engine.generate(Generate(policy, CAPITAL, json_schema=RATING)),
    "regex": lambda engine, policy: engine.generate(Generate(policy, CAPITAL, regex="[0-9]")),
    "choices": lambda engine, policy: engine.generate(Generate(policy, CAPITAL, choices=("A", "B"))),
    "score": lambda engine, policy: engine.score(Score(policy, CAPITAL, "Paris")),
}
