"""Hugging Face transformers in this process: where vLLM is absent, and for scoring where vLLM cannot.

One thread owns the models. Requests join and leave a running batch, so that short answers do not wait for long
ones; each answer draws from its own seeded sequence, so that it does not depend on its batch mates (up to the
rounding of bf16 in batches of different size). Grammars (json_schema, regex) are not offered.
"""

import asyncio
import importlib.util
from dataclasses import dataclass
from typing import Any

from selfimprove.engines.base import Generate, Policy, Score, Usage
from selfimprove.engines.parts.life import Life
from selfimprove.engines.parts.refusal import failed, refusal, unscored
from selfimprove.errors import ConfigError, EngineError, missing_package
from selfimprove.records import Sample, Scored

DTYPES = ("auto", "bfloat16", "float16", "float32")


@dataclass(frozen=True)
class Config:
    """Where and how the model runs."""

    device: str = "auto"  # auto: the accelerator there is, else cpu; or cpu, cuda, cuda:1, mps
    dtype: str = "auto"  # auto: as the checkpoint has it; bfloat16, float16 or float32
    max_batch: int = 64  # answers being written at once
    max_model_len: int | None = None  # tokens of prompt and answer together; None: what the model takes
    attention: str = "auto"  # auto, sdpa, eager, flash_attention_2 ...: as transformers calls it
    gather: float = 0.005  # seconds that the first request of an idle engine waits for others
    models: int = 2  # base models kept in memory at once; methods that compare full-weight policies need two


def make(config: Config) -> "Transformers":
    """Return the engine of a configuration; raises ConfigError where an option is not usable."""
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise missing_package("engine 'transformers'", package, "core")
    if config.dtype not in DTYPES:
        raise ConfigError(f"engine 'transformers': dtype is '{config.dtype}'; allowed: {', '.join(DTYPES)}")
    for name in ("max_batch", "models"):
        if getattr(config, name) < 1:
            raise ConfigError(f"engine 'transformers': {name} is {getattr(config, name)}; it must be at least 1")
    if config.max_model_len is not None and config.max_model_len < 2:
        raise ConfigError(f"engine 'transformers': max_model_len is {config.max_model_len}; it must be at least 2")
    return Transformers(config)


class Transformers:
    """The engine behind `engine: transformers`."""

    name = "transformers"
    identity = ""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.version = ""
        self.usage = Usage()
        self._worker: Any = None
        self._life = Life(self.name)

    async def start(self, policy: Policy) -> None:
        """Load the policy; raises EngineError where it cannot be loaded."""
        if self._life.state == "closed":
            raise EngineError("the transformers engine is closed; open it anew")
        if self._worker is None:
            self._worker = await asyncio.to_thread(self._open)
        self._life.begin()
        import torch
        import transformers

        self.version = f"transformers {transformers.__version__}, torch {torch.__version__}"
        await self._submit(policy)

    async def generate(self, request: Generate) -> list[Sample]:
        """Return `request.n` samples in index order; raises EngineError for a grammar, which is not offered."""
        for ability in ("json_schema", "regex"):
            if getattr(request, ability) is not None:
                raise EngineError(f"engine 'transformers' does not offer {ability}; use engine vllm for this method")
        reason = refusal(request)
        if reason:
            samples, prompt_tokens = failed(request, reason), 0
        else:
            samples, prompt_tokens = await self._submit(request)
        self.usage.requests += 1
        self.usage.prompt_tokens += prompt_tokens
        self.usage.tokens += sum(sample.tokens for sample in samples)
        self.usage.failed += any(sample.error for sample in samples)
        return samples

    async def score(self, request: Score) -> Scored:
        """Return the log-probs of a completion, end of turn included where asked for."""
        reason = refusal(request)
        scored, tokens = (unscored(reason), 0) if reason else await self._submit(request)
        self.usage.requests += 1
        self.usage.prompt_tokens += tokens
        self.usage.failed += scored.error is not None
        return scored

    async def sleep(self) -> None:
        """Finish what is in flight and free all weights; they are loaded again by the first request after `wake`."""
        await self._life.quiet()
        if self._worker is not None:
            freed = asyncio.get_running_loop().create_future()
            self._worker.free(freed)
            await freed

    async def wake(self) -> None:
        """Take requests again."""
        self._life.wake()

    async def close(self) -> None:
        """Stop the thread and free everything; requests in flight fail."""
        self._life.end()
        worker, self._worker = self._worker, None
        if worker is not None:
            await asyncio.to_thread(worker.stop)

    def _open(self) -> Any:
        from selfimprove.engines.parts.resident import Resident
        from selfimprove.engines.parts.worker import Worker

        config = self.config
        resident = Resident(config.device, config.dtype, config.attention, config.models)
        return Worker(resident, config.max_batch, config.max_model_len, config.gather)

    async def _submit(self, request: Generate | Score | Policy) -> Any:
        from selfimprove.engines.parts.worker import Job

        async with self._life.request():
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            self._worker.submit(Job(request, future, loop))
            return await future
