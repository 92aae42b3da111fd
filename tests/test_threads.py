"""Heavy work beside the event loop leaves no thread behind, its errors come through, and cores are had in turn."""

import asyncio
import threading
import time

import pytest

from selfimprove import threads
from selfimprove.threads import all_cores, in_new_thread


def test_it_runs_beside_the_loop_in_a_thread_that_ends() -> None:
    def work(left: int, right: int) -> tuple[int, threading.Thread]:
        return left + right, threading.current_thread()

    total, thread = asyncio.run(in_new_thread(work, 1, 2))
    assert total == 3 and thread is not threading.main_thread()
    thread.join(5)
    assert not thread.is_alive()


def test_an_error_comes_through_and_its_thread_ends_too() -> None:
    threads: list[threading.Thread] = []

    def fail() -> None:
        threads.append(threading.current_thread())
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        asyncio.run(in_new_thread(fail))
    threads[0].join(5)
    assert not threads[0].is_alive()


def test_who_waits_has_the_next_turn_before_who_just_had_one() -> None:
    order: list[str] = []

    def wait_for_a_turn() -> None:
        with all_cores():
            order.append("waited")

    waiting = threading.Thread(target=wait_for_a_turn)
    with all_cores():
        waiting.start()
        end = time.monotonic() + 5
        while not threads._next.locked() and time.monotonic() < end:
            time.sleep(0.001)
        order.append("first")
    with all_cores():
        order.append("again")
    waiting.join(5)
    assert order == ["first", "waited", "again"]


def test_a_turn_ends_with_an_error() -> None:
    with pytest.raises(ValueError, match="broken"), all_cores():
        raise ValueError("broken")
    assert not threads._cores.locked() and not threads._next.locked()
