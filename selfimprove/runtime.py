"""Drives one coroutine per prompt: thousands in flight, results in prompt order, memory bounded.

Prompts are taken from an iterator one by one; at most `window` coroutines run at once and at most
`4 * window` finished results wait for an earlier, slower one. What comes out is in the order in which the
prompts came in, whatever the order of completion.
"""

import asyncio
import contextvars
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from selfimprove.errors import SelfImproveError
from selfimprove.records import Prompt, Row, Skip

_measured: contextvars.ContextVar[list[tuple[str, float]]] = contextvars.ContextVar("measured")
_kept: contextvars.ContextVar[list[tuple[str, dict[str, Any]]]] = contextvars.ContextVar("kept")
_counted: contextvars.ContextVar[dict[str, int] | None] = contextvars.ContextVar("counted", default=None)


def measure(name: str, value: float) -> None:
    """Add a value to the running mean `name` of the stage; call it from within a driven coroutine."""
    _measured.get().append((name, value))


def keep(name: str, row: dict[str, Any]) -> None:
    """Write a row of plain JSON types to the stage's file `name`, beside its rows; from within a driven coroutine."""
    _kept.get().append((name, row))


def count(name: str, number: int = 1) -> None:
    """Add to what the driven coroutine has asked for; outside of one nothing is counted."""
    counted = _counted.get()
    if counted is not None:
        counted[name] = counted.get(name, 0) + number


@dataclass(slots=True)
class Outcome:
    """What one prompt gave: rows and skips, the values it measured, what it asked for by kind, and what it kept."""

    prompt: Prompt
    rows: list[Row]
    measured: list[tuple[str, float]] = field(default_factory=list)
    asked: dict[str, int] = field(default_factory=dict)
    kept: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


async def drive(
    prompts: Iterable[Prompt],
    collect: Callable[[Prompt], Awaitable[list[Row]]],
    emit: Callable[[Outcome], None],
    *,
    window: int = 256,
    on_failure: str = "stop",
) -> None:
    """Run `collect` on every prompt and hand each outcome to `emit`, in prompt order.

    An exception from `collect` ends the drive (all others are cancelled first), naming the prompt; with
    `on_failure="skip"` it becomes Skip("crashed"), except errors about the engine or the recipe, which
    would meet every prompt. Raises what `collect` raised.
    """
    source = iter(prompts)
    ordered: deque[asyncio.Task[Outcome]] = deque()
    changed = asyncio.Event()
    running, exhausted = 0, False
    failed: list[asyncio.Task[Outcome]] = []

    def finished(task: asyncio.Task[Outcome]) -> None:
        nonlocal running
        running -= 1
        if not task.cancelled() and task.exception():
            failed.append(task)
        changed.set()

    try:
        while True:
            while not exhausted and running < window and len(ordered) < 4 * window:
                prompt = next(source, None)
                if prompt is None:
                    exhausted = True
                    break
                task = asyncio.create_task(_collect_one(prompt, collect, on_failure))
                running += 1
                task.add_done_callback(finished)
                ordered.append(task)
            while ordered and ordered[0].done():
                emit(ordered.popleft().result())
            if not ordered and exhausted:
                return
            if failed:
                failed[0].result()
            if not exhausted and running < window and len(ordered) < 4 * window:
                continue
            await changed.wait()
            changed.clear()
    finally:
        for task in ordered:
            task.cancel()
        await asyncio.gather(*ordered, return_exceptions=True)


async def proposed(method: Any, config: Any, run: Any, prompts: Iterable[Prompt]) -> tuple[list[Prompt], Outcome]:
    """Return the prompts that a method's `propose` makes of a round's, and an Outcome with those it turned down."""
    found: list[Outcome] = []
    whole = Prompt(f"round-{run.round}", ())
    await drive([whole], lambda _: method.propose(config, run, prompts), found.append)
    rows = found[0].rows
    refused: list[Row] = [row for row in rows if isinstance(row, Skip) and row.id != whole.id]  # it: nothing came
    return [row for row in rows if isinstance(row, Prompt)], replace(found[0], rows=refused)


async def _collect_one(prompt: Prompt, collect: Callable[[Prompt], Awaitable[list[Row]]], on_failure: str) -> Outcome:
    measured: list[tuple[str, float]] = []
    asked: dict[str, int] = {}
    kept: list[tuple[str, dict[str, Any]]] = []
    _kept.set(kept)
    _measured.set(measured)  # a task has its own context, so this reaches only what this prompt calls
    _counted.set(asked)
    try:
        rows = await collect(prompt)
    except SelfImproveError as error:
        raise type(error)(f"{error} (at prompt {prompt.id})") from error
    except Exception as error:  # the border to method code: typed as a Skip, or raised again with the prompt's id
        if on_failure == "skip":
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{place.filename.rpartition('/')[2]}:{place.lineno}"
            crashed = Skip(prompt.id, "crashed", f"{type(error).__name__}: {error} ({where})")
            return Outcome(prompt, [crashed], measured, asked, kept)
        error.add_note(f"while collecting prompt {prompt.id!r}")
        raise
    if not rows:
        rows = [Skip(prompt.id, "no_rows", "the method returned neither a row nor a reason")]
    return Outcome(prompt, rows, measured, asked, kept)
