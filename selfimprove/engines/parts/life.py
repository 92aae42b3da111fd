"""The life of an engine: not started, awake, asleep, dead, closed; and who may ask it something when."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from selfimprove.errors import EngineError


class Life:
    """Lets requests in while the engine is awake, and tells when the last of them is through."""

    def __init__(self, name: str) -> None:
        """Name the engine for its messages."""
        self.name = name
        self.state = "not started"
        self._running = 0
        self._awake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def begin(self) -> None:
        """Let requests in."""
        self.state = "running"
        self._awake.set()

    def end(self, state: str = "closed") -> None:
        """Let nobody in any more; those who wait for `wake` get the refusal too."""
        self.state = state
        self._awake.set()

    def check(self) -> None:
        """Raise EngineError where the engine does not run."""
        if self.state != "running":
            raise EngineError(f"the {self.name} engine is {self.state}; start it before asking")

    @asynccontextmanager
    async def request(self) -> AsyncGenerator[None, None]:
        """Be a request: waits while the engine sleeps, and keeps it from falling asleep."""
        self.check()
        while not self._awake.is_set():
            await self._awake.wait()
            self.check()
        self._running += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def quiet(self) -> None:
        """Hold later requests back, and return when those in flight are through."""
        self._awake.clear()
        await self._idle.wait()

    def wake(self) -> None:
        """Let the requests go on that were held back."""
        self._awake.set()

    @property
    def asleep(self) -> bool:
        """Whether requests are held back."""
        return self.state == "running" and not self._awake.is_set()
