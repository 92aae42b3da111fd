"""Value models: what a trained scalar head says of the beginning of an answer; many requests in one batch.

Not an engine that writes text: it stands beside one, for `run.value`. Requests that wait
at about the same time are sorted by length and read together; each value is that of the request alone (rounded to
four places, which padding and company do not change in float32). `engine: vllm` serves the same checkpoint by vLLM's
pooling runner, in a process of its own beside that of the policy.
"""

import asyncio
import gc
import hashlib
import importlib.util
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from selfimprove.chat import completion_ids
from selfimprove.config import digest, fill
from selfimprove.engines.base import Policy
from selfimprove.engines.parts.value_head import as_value, has_head, last_values, load_merged, loss_of
from selfimprove.errors import ConfigError, DataError, EngineError, SelfImproveError, did_you_mean, missing_package
from selfimprove.models import model_folder, policy_of
from selfimprove.records import Messages, Prompt
from selfimprove.threads import in_new_thread

PLACES = 4
"""Decimal places of a value."""

NOT_TRAINING = ("model", "engine")
"""Keys of the recipe's `value` section that are no train options."""

DTYPES = ("auto", "bfloat16", "float16", "float32")


@dataclass(frozen=True)
class Config:
    """How value models are served: `value: {engine: {name: transformers, ...}}`."""

    name: str = "transformers"  # transformers, or vllm: its pooling runner, for GPUs
    device: str = "auto"  # auto: the accelerator there is, else cpu; or cpu, cuda, cuda:1 (transformers)
    dtype: str = "auto"  # auto: float32 on a cpu, else as the checkpoint has it; bfloat16, float16, float32
    batch_tokens: int = 8192  # tokens, padding included, that go through the model at once (transformers)
    max_model_len: int | None = None  # tokens of prompt and text together; None: what the model takes
    gather: float = 0.002  # seconds that the first request waits for others
    models: int = 2  # value models kept in memory at once (transformers)
    gpu_memory_utilization: float = 0.3  # share of GPU memory; leave the rest to the policy's engine (vllm)


class Scorer(Protocol):
    """One loaded value model."""

    tokenizer: Any
    longest: int
    batch_tokens: int | None

    def outputs(self, rows: list[list[int]]) -> list[float]:
        """Return the head's output at the last token of every row of ids; blocks."""

    def close(self) -> None:
        """Free the model."""


def serving(section: Mapping[str, Any], where: str = "recipe") -> Config:
    """Return how a recipe's `value` section serves; raises ConfigError for what cannot work."""
    engine = section.get("engine", "transformers")
    config = fill(Config, {"name": engine} if isinstance(engine, str) else engine, f"{where}: value.engine")
    if config.name not in ("transformers", "vllm"):
        known = did_you_mean(config.name, ("transformers", "vllm"))
        raise ConfigError(f"{where}: value.engine is {config.name!r}; allowed: transformers, vllm{known}")
    if config.dtype not in DTYPES:
        raise ConfigError(f"{where}: value.engine.dtype is {config.dtype!r}; allowed: {', '.join(DTYPES)}")
    for name in ("batch_tokens", "models"):
        if getattr(config, name) < 1:
            raise ConfigError(f"{where}: value.engine.{name} is {getattr(config, name)}; it must be at least 1")
    package = "vllm" if config.name == "vllm" else "torch"
    if importlib.util.find_spec(package) is None:
        raise missing_package("value models", package, "vllm" if package == "vllm" else "core")
    if not isinstance(section.get("model"), str | None):
        raise ConfigError(f"{where}: value.model is {section['model']!r}; write a folder or a hub id")
    return config


def train_options(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return the train options of a recipe's `value` section."""
    return {name: value for name, value in section.items() if name not in NOT_TRAINING}


def first_models(section: Mapping[str, Any]) -> dict[str, Policy]:
    """Return the models beside the policy that a run begins with: a trained value model that the recipe names."""
    named = section.get("model")
    return {"value": policy_of(str(model_folder(named)))} if named and has_head(named) else {}


@dataclass(eq=False, slots=True)
class Ask:
    """One value that somebody waits for: (value, None) or (None, why not)."""

    policy: Policy
    messages: Messages
    text: str
    future: "asyncio.Future[tuple[float | None, str | None]]"


class ValueModel:
    """Serves any number of value models; used from one asyncio loop. Nothing is loaded before the first request."""

    def __init__(self, config: Config | None = None, load: Callable[[Policy, Config], Scorer] | None = None) -> None:
        """Keep the options; `load` makes a Scorer of a policy, by default as `config.name` says."""
        self.config = config or Config()
        self.identity = "" if self.config.dtype == "auto" else self.config.dtype
        self.batches = 0
        self._load = load or (open_vllm if self.config.name == "vllm" else Resident)
        self._keep = 1 if self.config.name == "vllm" else self.config.models
        self._loaded: OrderedDict[str, tuple[Scorer, str]] = OrderedDict()
        self._waiting: list[Ask] = []
        self._serving: asyncio.Task[None] | None = None
        self._closed = False

    async def value(self, policy: Policy, messages: Messages, text: str) -> tuple[float | None, str | None]:
        """Return (value in the scale of the labels, None), or (None, why this text has none).

        Raises EngineError where the model cannot be loaded or fails.
        """
        if self._closed:
            raise EngineError("the value model is closed; open it anew")
        ask = Ask(policy, messages, text, asyncio.get_running_loop().create_future())
        self._waiting.append(ask)
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())
        return await ask.future

    async def sleep(self) -> None:
        """Finish what is asked and free all weights; they are loaded again by the next request."""
        if self._serving is not None:
            await asyncio.gather(self._serving, return_exceptions=True)
        await in_new_thread(self._free)

    async def close(self) -> None:
        """Stop and free everything; safe to call twice."""
        if not self._closed:
            await self.sleep()
            self._closed = True

    async def _serve(self) -> None:
        """Answer all that waits, one value model after the other, short texts first."""
        await asyncio.sleep(self.config.gather)
        while self._waiting:
            policy = self._waiting[0].policy
            taken = [ask for ask in self._waiting if ask.policy == policy]
            self._waiting = [ask for ask in self._waiting if ask.policy != policy]
            try:
                await self._answer(policy, [ask for ask in taken if not ask.future.done()])
            except SelfImproveError as error:
                _fail(taken, error)
            except Exception as error:  # noqa: BLE001 (the engine border: the requests fail, serving goes on)
                _fail(taken, EngineError(f"the value model {policy} failed: {type(error).__name__}: {error}"))

    async def _answer(self, policy: Policy, asks: list[Ask]) -> None:
        scorer, loss = await in_new_thread(self._use, policy)
        ready: list[tuple[Ask, list[int]]] = []
        for ask, ids in zip(asks, await in_new_thread(_ids, scorer, asks), strict=True):
            if isinstance(ids, str):
                _finish(ask, (None, ids))
            else:
                ready.append((ask, ids))
        for batch in in_batches(ready, scorer.batch_tokens):
            outputs = await in_new_thread(scorer.outputs, [ids for _, ids in batch])
            self.batches += 1
            for (ask, _), output in zip(batch, outputs, strict=True):
                finite = abs(output) < float("inf")
                _finish(ask, (round(as_value(output, loss), PLACES), None) if finite else (None, "not a number"))

    def _use(self, policy: Policy) -> tuple[Scorer, str]:
        key = policy.digest or str(policy)
        if key not in self._loaded:
            while len(self._loaded) >= self._keep:
                self._loaded.popitem(last=False)[1][0].close()
                gc.collect()
            self._loaded[key] = self._load(policy, self.config), loss_of(policy)
        self._loaded.move_to_end(key)
        return self._loaded[key]

    def _free(self) -> None:
        while self._loaded:
            self._loaded.popitem()[1][0].close()
        gc.collect()


def in_batches(rows: Sequence[tuple[Any, list[int]]], limit: int | None) -> Iterator[list[tuple[Any, list[int]]]]:
    """Yield (anything, ids) in batches of similar length with at most `limit` tokens each, padding included.

    None: all in one batch. A row longer than the limit is a batch of its own.
    """
    batch: list[tuple[Any, list[int]]] = []
    for row in sorted(rows, key=lambda row: len(row[1])):
        if batch and limit is not None and len(row[1]) * (len(batch) + 1) > limit:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


class Resident:
    """A value model in this process, by transformers."""

    def __init__(self, policy: Policy, config: Config) -> None:
        """Load it; raises EngineError where it cannot be loaded."""
        import torch

        from selfimprove.engines.parts.resident import context_length, pick_device

        device = torch.device(pick_device() if config.device == "auto" else config.device)
        dtype = config.dtype if config.dtype != "auto" or device.type != "cpu" else "float32"
        try:
            model, self.tokenizer = load_merged(policy, dtype if dtype == "auto" else getattr(torch, dtype))
            self.model = model.to(device)
        except (OSError, RuntimeError, KeyError, ConfigError) as error:
            raise EngineError(f"the value model {policy} cannot be loaded: {' '.join(str(error).split())}") from error
        self.longest = context_length(self.model, config.max_model_len)
        self.batch_tokens: int | None = config.batch_tokens

    def outputs(self, rows: list[list[int]]) -> list[float]:
        """Return the head's output at the last token of every row; blocks."""
        return last_values(self.model, rows)

    def close(self) -> None:
        """Let the weights go."""
        self.model = None


def open_vllm(policy: Policy, config: Config) -> Scorer:
    """Return the value model in a vLLM engine of its own; raises EngineError where it cannot start."""
    from selfimprove.engines.parts.vllm_values import Pooling

    return Pooling(policy, config)


def _ids(scorer: Scorer, asks: Sequence[Ask]) -> list[list[int] | str]:
    """Return per request the ids of prompt and text as training has them, or why there are none."""
    found: list[list[int] | str] = []
    for ask in asks:
        try:
            prompt, text = completion_ids(scorer.tokenizer, ask.messages, ask.text, end=False)
        except DataError as error:
            found.append(str(error))
            continue
        length = len(prompt) + len(text)
        too_long = f"prompt and text are too long: {length} tokens, the value model takes {scorer.longest}"
        found.append(prompt + text if length <= scorer.longest else too_long)
    return found


def _finish(ask: Ask, answer: tuple[float | None, str | None]) -> None:
    if not ask.future.done():
        ask.future.set_result(answer)


def _fail(asks: Sequence[Ask], error: SelfImproveError) -> None:
    for ask in asks:
        if not ask.future.done():
            ask.future.set_exception(error)


def scripted_value(policy: Policy | None, prompt: Prompt, messages: Messages, text: str) -> float | None:
    """Return a value without a model, for the scripted engine: the prompt's own, or one in [0, 1] by hash.

    A prompt's own stand in its meta: {"values": {text: value}}; None there is a value that failed.
    """
    values = prompt.meta.get("values")
    if isinstance(values, Mapping) and text in values:
        return values[text]
    asked = digest([policy.digest if policy else "", [dict(message) for message in messages], text])
    return round(int.from_bytes(hashlib.blake2b(asked.encode(), digest_size=4).digest()) / 2**32, PLACES)
