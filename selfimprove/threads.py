"""Heavy work beside the event loop: in threads that do not slow the others, in turn where that is faster."""

import asyncio
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

_next, _cores = threading.Lock(), threading.Lock()


@contextmanager
def all_cores() -> Generator[None, None, None]:
    """Wait for one's turn to compute on all cores of the CPU, and hold it until the block ends.

    Two vLLM engines that share the cores slow each other: an operation ends with the slowest of its threads, and those
    that wait for it keep their cores busy. In turns they are a third faster. Who waits has the next turn, before
    whoever just had one.
    """
    with _next:
        _cores.acquire()
    try:
        yield
    finally:
        _cores.release()


async def in_new_thread(function: Callable[..., Any], *values: Any) -> Any:
    """Return what a function returns that is run in a thread of its own, which ends with it.

    OpenMP keeps a team of threads for every thread that ever computed with torch, and as long as a process has more of
    them than cores they all go to sleep between operations: vLLM in the same process then samples at half its speed.
    A thread that ends takes its team along.
    """
    thread = ThreadPoolExecutor(1)
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, function, *values)
    finally:
        thread.shutdown(wait=False)
