"""Heavy work beside the event loop, in threads that do not slow the others."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


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
