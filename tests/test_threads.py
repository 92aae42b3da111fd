"""Heavy work beside the event loop leaves no thread behind, and its errors come through."""

import asyncio
import threading

import pytest

from selfimprove.threads import in_new_thread


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
