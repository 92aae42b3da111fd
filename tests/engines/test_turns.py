"""Turns: who is admitted when several policies share one set of weights."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from selfimprove.engines.parts.turns import Turns


def record(current: str | None, patience: float = 5.0, refuse: str = "") -> tuple[Turns, list[str]]:
    changes: list[str] = []

    async def change(key: str) -> None:
        await asyncio.sleep(0.001)
        if key == refuse:
            raise ValueError(f"no {key}")
        changes.append(key)

    return Turns(change, current, patience), changes


def work(turns: Turns, seconds: float = 0.002) -> Callable[[str], Awaitable[str]]:
    async def one(key: str) -> str:
        async with turns.turn(key):
            assert turns.current == key, "never inside while another key is loaded"
            await asyncio.sleep(seconds)
            assert turns.current == key
        return key

    return one


def test_alternating_requests_cost_one_change_per_key():
    async def go():
        turns, changes = record("a")
        one = work(turns)
        assert await asyncio.gather(*(one("ab"[i % 2]) for i in range(100))) == ["a", "b"] * 50
        return changes

    assert asyncio.run(go()) == ["b"]


def test_coroutines_that_alternate_share_their_changes():
    async def go():
        turns, changes = record("a")
        one = work(turns)

        async def method() -> None:
            for key in "abab":
                await one(key)

        await asyncio.gather(*(method() for _ in range(50)))
        return changes

    assert asyncio.run(go()) == ["b", "a", "b"]


def test_a_key_that_never_rests_does_not_starve_the_others():
    async def go():
        turns, changes = record("a", patience=0.05)
        one = work(turns)
        stop = False

        async def busy() -> None:
            while not stop:
                await one("a")

        tasks = [asyncio.create_task(busy()) for _ in range(5)]
        await asyncio.sleep(0.01)
        await asyncio.wait_for(one("b"), 2)
        stop = True
        await asyncio.gather(*tasks)
        return changes

    changes = asyncio.run(go())
    assert changes[0] == "b"


def test_the_longest_waiting_key_is_next():
    async def go():
        turns, changes = record("a")
        one = work(turns, 0.01)
        tasks = []
        for key in "acb":
            tasks.append(asyncio.create_task(one(key)))
            await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)
        return changes

    assert asyncio.run(go()) == ["c", "b"]


def test_a_key_that_cannot_be_loaded_fails_its_own_requests_only():
    async def go():
        turns, changes = record("a", refuse="bad")
        one = work(turns)
        outcomes = await asyncio.gather(one("a"), one("bad"), one("bad"), one("b"), return_exceptions=True)
        return outcomes, changes, await one("a")

    outcomes, changes, last = asyncio.run(go())
    assert [str(outcome) for outcome in outcomes] == ["a", "no bad", "no bad", "b"]
    assert changes == ["b", "a"] and last == "a"


@pytest.mark.parametrize("pause", [0.0, 0.003, 0.006, 0.008, 0.012])
def test_cancelled_waiters_leave_no_trace(pause):
    async def go():
        turns, _ = record("a")
        one = work(turns, 0.005)
        tasks = [asyncio.create_task(one("ab"[i % 2])) for i in range(6)]
        await asyncio.sleep(pause)
        for task in tasks[1::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await asyncio.wait_for(one("b"), 2) == "b"
        assert await asyncio.wait_for(one("a"), 2) == "a"

    asyncio.run(go())


def test_forgotten_weights_are_loaded_again():
    async def go():
        turns, changes = record("a")
        one = work(turns)
        await one("a")
        turns.forget()
        await one("a")
        return changes

    assert asyncio.run(go()) == ["a"]
