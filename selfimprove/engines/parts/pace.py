"""How many requests a server gets at once: half as many after "too many requests", slowly more while it copes."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Pace:
    """Additive increase, multiplicative decrease of the requests in flight, as TCP does it.

    `limit` is what may run now, `most` what it may grow to. One burst of refusals counts once: only a request
    that started after the last cut may cut again.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(most)
        self.running = 0
        self.cuts = 0
        self._resume_at = 0.0
        self._last_cut = float("-inf")
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[float, None]:
        """Wait for a free place, and for the end of a pause the server asked for; yield the time of the start."""
        loop = asyncio.get_running_loop()
        await self._enter(loop)
        try:
            while (wait := self._resume_at - loop.time()) > 0:
                await asyncio.sleep(wait)
            yield loop.time()
        finally:
            self._leave()

    def slow_down(self, started: float, pause: float = 0.0) -> None:
        """Halve the limit after a refusal of a request begun at `started`; start nothing for `pause` seconds."""
        now = asyncio.get_running_loop().time()
        self._resume_at = max(self._resume_at, now + pause)
        if started > self._last_cut:
            self._last_cut = now
            self.limit = max(1.0, self.limit / 2)
            self.cuts += 1

    def speed_up(self) -> None:
        """Let one more request run after about `limit` successes."""
        self.limit = min(float(self.most), self.limit + 1.0 / self.limit)
        self._admit()

    async def _enter(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.running < int(self.limit) and not self._waiting:
            self.running += 1
            return
        place = loop.create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # the place was given just before the cancellation came
                self._leave()
            raise

    def _leave(self) -> None:
        self.running -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.running < int(self.limit):
            place = self._waiting.popleft()
            if not place.done():
                self.running += 1
                place.set_result(None)
