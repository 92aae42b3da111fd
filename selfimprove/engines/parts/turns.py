"""Taking turns: several policies share one set of weights that only one of them can occupy at a time."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

SETTLE = 0.005
"""Seconds to wait before a change, in which the coroutines that were just answered may ask again."""


class Turns:
    """Admits requests of one key at a time; a change waits until those in flight are through.

    A key keeps its turn while it has work, so that hundreds of coroutines that each ask two policies cost two
    changes and not hundreds. Once another key has waited for `patience` seconds, or twenty times as long as a
    change takes, no more are admitted, so none starves and changes cost at most about a twentieth of the time.
    Among those waiting, the one who waits longest is next.
    """

    def __init__(self, change: Callable[[str], Awaitable[None]], current: str | None, patience: float = 5.0) -> None:
        """`change` loads a key's weights; `current` is the key that is loaded already."""
        self.current = current
        self.changes = 0
        self._change = change
        self._patience = patience
        self._cost = 0.0
        self._inside = 0
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}  # in order of first arrival
        self._since: dict[str, float] = {}
        self._changer: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncGenerator[None, None]:
        """Be inside while `key` is loaded; raises what `change` raises where it cannot be loaded."""
        if self.current != key or self._changer is not None or self._others_are_due():
            await self._wait(key)
        else:
            self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._look()

    def forget(self) -> None:
        """Say that the loaded weights are gone, so that the next request loads its own."""
        self.current = None

    def _others_are_due(self) -> bool:
        if not self._since:
            return False
        return time.monotonic() - min(self._since.values()) > max(self._patience, 20 * self._cost)

    async def _wait(self, key: str) -> None:
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(admitted)
        self._since.setdefault(key, time.monotonic())
        self._look()
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.done() and not admitted.cancelled() and admitted.exception() is None:
                self._inside -= 1  # it was admitted in the same breath as it was cancelled
                self._look()
            else:
                self._withdraw(key, admitted)
            raise

    def _withdraw(self, key: str, admitted: asyncio.Future[None]) -> None:
        queue = self._waiting.get(key, [])
        if admitted in queue:
            queue.remove(admitted)
        if not queue:
            self._waiting.pop(key, None)
            self._since.pop(key, None)

    def _look(self) -> None:
        """Start a change where nobody is inside and somebody waits."""
        if not self._inside and self._waiting and self._changer is None:
            self._changer = asyncio.get_running_loop().create_task(self._pass_on())

    async def _pass_on(self) -> None:
        try:
            if not self._others_are_due():
                await asyncio.sleep(SETTLE)
            if not self._waiting:
                return
            key = min(self._since, key=self._since.__getitem__)
            problem: BaseException | None = None
            if key != self.current:
                begun = time.monotonic()
                try:
                    self.current = None
                    await self._change(key)
                    self.current = key
                    self.changes += 1
                    self._cost = time.monotonic() - begun
                except Exception as error:  # noqa: BLE001 (the engine's border: it goes to those who wait)
                    problem = error
            self._since.pop(key, None)
            for admitted in self._waiting.pop(key, []):
                if admitted.done():
                    continue
                if problem is not None:
                    admitted.set_exception(problem)
                else:
                    self._inside += 1
                    admitted.set_result(None)
        finally:
            self._changer = None
            self._look()
