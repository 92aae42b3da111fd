"""The runtime: prompt order whatever finishes first, a bounded window, and a failure policy that counts."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.errors import DataError, EngineError
from selfimprove.records import Example, Prompt, Skip, as_messages
from selfimprove.runtime import Outcome, drive, measure


def prompts(count: int) -> list[Prompt]:
    return [Prompt(f"p{i}", as_messages(f"question {i}")) for i in range(count)]


def run_all(items, collect, **options) -> list[Outcome]:
    outcomes: list[Outcome] = []
    asyncio.run(drive(items, collect, outcomes.append, **options))
    return outcomes


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 4), max_size=40), st.integers(1, 7))
def test_rows_are_the_same_for_any_interleaving(delays, window):
    async def collect(prompt):
        for _ in range(delays[int(prompt.id[1:])]):
            await asyncio.sleep(0)
        measure("value", float(prompt.id[1:]))
        return [Example.of(prompt, f"answer {prompt.id}")]

    outcomes = run_all(prompts(len(delays)), collect, window=window)
    assert [outcome.prompt.id for outcome in outcomes] == [f"p{i}" for i in range(len(delays))]
    assert [outcome.rows[0].completion for outcome in outcomes] == [f"answer p{i}" for i in range(len(delays))]
    assert [outcome.measured for outcome in outcomes] == [[("value", float(i))] for i in range(len(delays))]


def test_the_window_bounds_what_runs_and_what_is_read():
    running = most = 0
    read: list[int] = []

    def source():
        for i, prompt in enumerate(prompts(400)):
            read.append(i)
            yield prompt

    async def collect(prompt):
        nonlocal running, most
        running += 1
        most = max(most, running)
        if prompt.id == "p0":  # the slow first one: later results must wait, and reading must stop
            while len(read) < 40 and running > 0:
                await asyncio.sleep(0)
            for _ in range(200):
                await asyncio.sleep(0)
            assert len(read) <= 40
        await asyncio.sleep(0)
        running -= 1
        return [Skip(prompt.id, "nothing")]

    assert len(run_all(source(), collect, window=10)) == 400
    assert most == 10


def test_an_exception_stops_everything_and_names_the_prompt():
    finished: list[str] = []

    async def collect(prompt):
        if prompt.id == "p3":
            raise ZeroDivisionError("oops")
        await asyncio.sleep(0.001 if prompt.id < "p3" else 30)
        finished.append(prompt.id)
        return [Skip(prompt.id, "nothing")]

    with pytest.raises(ZeroDivisionError) as caught:
        run_all(prompts(8), collect, window=8)
    assert any("p3" in note for note in caught.value.__notes__)
    assert "p7" not in finished


def test_a_crash_can_become_a_skip_but_a_user_error_never_does():
    async def crash(prompt):
        if prompt.id == "p1":
            raise ZeroDivisionError("oops")
        return [Example.of(prompt, "fine")]

    outcomes = run_all(prompts(3), crash, on_failure="skip")
    assert [type(outcome.rows[0]) for outcome in outcomes] == [Example, Skip, Example]
    assert outcomes[1].rows[0].reason == "crashed"
    assert "ZeroDivisionError: oops (test_runtime.py:" in outcomes[1].rows[0].detail

    async def dead(prompt):
        raise EngineError("the engine has died")

    with pytest.raises(EngineError, match="the engine has died .at prompt p0."):
        run_all(prompts(3), dead, on_failure="skip")


def test_a_prompt_never_vanishes():
    async def nothing(prompt):
        return []

    [outcome] = run_all(prompts(1), nothing)
    assert outcome.rows == [Skip("p0", "no_rows", "the method returned neither a row nor a reason")]


def test_a_broken_source_ends_the_drive_and_leaves_no_task():
    async def collect(prompt):
        await asyncio.sleep(0.01)
        return [Skip(prompt.id, "nothing")]

    def source():
        yield from prompts(2)
        raise DataError("data.jsonl line 3: not valid JSON")

    async def scene() -> int:
        with pytest.raises(DataError, match="line 3"):
            await drive(source(), collect, lambda outcome: None)
        return len(asyncio.all_tasks())

    assert asyncio.run(scene()) == 1


def test_random_delays_keep_order_with_many_prompts():
    chance = random.Random(5)

    async def collect(prompt):
        await asyncio.sleep(chance.random() / 200)
        return [Skip(prompt.id, "nothing")]

    outcomes = run_all(prompts(300), collect, window=32)
    assert [o.prompt.id for o in outcomes] == [f"p{i}" for i in range(300)]
