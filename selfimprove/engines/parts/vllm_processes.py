"""vLLM with its engine core in other processes (AsyncLLM): for data parallelism, and where one process is too slow."""

import itertools
from collections.abc import Callable
from typing import Any

from selfimprove.engines.parts.vllm_thread import Refused
from selfimprove.errors import EngineError


class Processes:
    """The same four methods as `StepThread`, over vLLM's AsyncLLM."""

    def __init__(self, build: Callable[[], Any]) -> None:
        """`build` returns the AsyncLLM; its processes are spawned, so a script needs the `__main__` guard."""
        self._build = build
        self._numbers = itertools.count()
        self._engine: Any = None

    async def open(self) -> Any:
        """Build the engine; return it, for reading its settings."""
        self._engine = self._build()
        return self._engine

    async def ask(self, prompt: Any, params: Any, lora: Any = None) -> Any:
        """Return the finished RequestOutput; raises Refused where vLLM does not take it, EngineError where dead."""
        from vllm.exceptions import VLLMError
        from vllm.v1.engine.exceptions import EngineDeadError

        number = str(next(self._numbers))
        try:  # FINAL_ONLY: the stream holds one output
            return [output async for output in self._engine.generate(prompt, params, number, lora_request=lora)][-1]
        except EngineDeadError as error:
            raise EngineError(f"vLLM died: {error}") from None
        except (VLLMError, ValueError, TypeError) as error:
            raise Refused(str(error)) from None

    async def call(self, function: Callable[[Any], Any]) -> Any:
        """Return function(engine), awaited."""
        return await function(self._engine)

    async def close(self) -> None:
        """Stop the processes."""
        if self._engine is not None:
            self._engine.shutdown()
            self._engine = None
