"""One thread that builds a vLLM engine and steps it, with a queue in and futures out.

On CPU, OpenMP binds to the thread that makes the engine, so that the same thread must step it; and one thread
that hands over a whole step's answers at once keeps up with vLLM's own offline loop.
"""

import asyncio
import gc
import itertools
import queue
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from selfimprove.errors import EngineError


class Refused(Exception):
    """vLLM refused one request; the engine is well."""


class StepThread:
    """A vLLM `LLMEngine` in a thread of its own; every method is called from one asyncio loop."""

    def __init__(
        self, build: Callable[[], Any], turn: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        """`build` returns the LLMEngine; it runs in the thread. A step is taken within `turn()`."""
        self._build, self._turn = build, turn
        self._loop = asyncio.get_running_loop()
        self._inbox: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._pending: dict[str, asyncio.Future[Any]] = {}  # touched in the loop only
        self._dead: str | None = None
        self._thread = threading.Thread(target=self._run, name="vllm-engine", daemon=True)

    async def open(self) -> Any:
        """Build the engine; return what `build` made, for reading its settings."""
        built = self._loop.create_future()
        self._pending["open"] = built
        self._thread.start()
        return await built

    async def ask(self, prompt: Any, params: Any, lora: Any = None) -> Any:
        """Return the finished RequestOutput; raises Refused where vLLM does not take it, EngineError where dead."""
        number = str(next(self._numbers))
        try:
            return await self._send(number, ("add", number, prompt, params, lora))
        except asyncio.CancelledError:
            self._inbox.put(("abort", number))
            raise

    async def call(self, function: Callable[[Any], Any]) -> Any:
        """Return function(engine), run in the thread between two steps."""
        number = f"call-{next(self._numbers)}"
        return await self._send(number, ("call", number, function))

    async def close(self) -> None:
        """Stop the thread and free the engine."""
        if self._thread.is_alive():
            self._inbox.put(("close",))
            await asyncio.to_thread(self._thread.join)
        self._fail_all("the vllm engine is closed")

    async def _send(self, number: str, message: tuple[Any, ...]) -> Any:
        if self._dead is not None:
            raise EngineError(self._dead)
        future = self._loop.create_future()
        self._pending[number] = future
        self._inbox.put(message)
        try:
            return await future
        finally:
            self._pending.pop(number, None)

    def _deliver(self, answers: list[tuple[str, Any, BaseException | None]]) -> None:
        for number, answer, error in answers:
            future = self._pending.pop(number, None)
            if future is None or future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(answer)

    def _fail_all(self, reason: str) -> None:
        self._dead = reason
        for future in self._pending.values():
            if not future.done():
                future.set_exception(EngineError(reason))
        self._pending.clear()

    # In the thread

    def _hand_over(self, *answers: tuple[str, Any, BaseException | None]) -> None:
        if answers and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, list(answers))

    def _run(self) -> None:
        try:
            engine = self._build()
        except Exception as error:  # noqa: BLE001 (the engine's border: start fails with a sentence)
            self._hand_over(("open", None, error))
            return
        self._hand_over(("open", engine, None))
        try:
            while self._read_inbox(engine):
                with self._turn():
                    done = [(out.request_id, out, None) for out in engine.step() if out.finished]
                self._hand_over(*done)
        except Exception as error:  # noqa: BLE001 (the engine's border: everybody who waits gets an EngineError)
            reason = f"vLLM died: {type(error).__name__}: {error}"
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._fail_all, reason)
        finally:
            engine.engine_core.shutdown()
            del engine
            gc.collect()

    def _read_inbox(self, engine: Any) -> bool:
        """Do what the queue asks for; wait for it where there is nothing to step. Returns False at the end."""
        answers: list[tuple[str, Any, BaseException | None]] = []
        while True:
            wait = not engine.has_unfinished_requests()
            if wait:
                self._hand_over(*answers)
                answers = []
            try:
                kind, *rest = self._inbox.get(block=wait)
            except queue.Empty:
                self._hand_over(*answers)
                return True
            if kind == "close":
                return False
            if kind == "abort":
                engine.abort_request(rest)
            elif kind == "add":
                number, prompt, params, lora = rest
                try:
                    engine.add_request(number, prompt, params, lora_request=lora)
                except Exception as error:  # noqa: BLE001 (the engine's border: this request alone is refused)
                    answers.append((number, None, Refused(str(error) or type(error).__name__)))
            else:
                number, function = rest
                try:
                    answers.append((number, function(engine), None))
                except Exception as error:  # noqa: BLE001 (the engine's border: the caller gets it)
                    answers.append((number, None, error))
