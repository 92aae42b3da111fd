"""Programs that run at once: a thread each waits for one program, so that any asyncio loop may await it."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from selfimprove.verify.sandbox.base import Outcome


class Slots:
    """Up to `count` pieces of blocking work at once, each with the number of a slot that nothing else has then."""

    def __init__(self, count: int | None) -> None:
        """Take how many (None: two a core); threads start with the first work."""
        self.count = count or 2 * len(os.sched_getaffinity(0))
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._free = list(reversed(range(self.count)))

    async def run(self, work: Callable[[int], Outcome]) -> Outcome:
        """Return what the work gives when a slot is free."""
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="sandbox")
            future = self._threads.submit(self._do, work)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Give up work that has not begun and wait for the rest; safe to call twice, and new work starts afresh."""
        with self._lock:
            threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=True, cancel_futures=True)

    def _do(self, work: Callable[[int], Outcome]) -> Outcome:
        with self._lock:
            slot = self._free.pop()
        try:
            return work(slot)
        finally:
            with self._lock:
                self._free.append(slot)
