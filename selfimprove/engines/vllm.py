"""vLLM in process, on GPU and on CPU: thousands of waiting requests meet in one continuous batch.

Policies of a run differ by an adapter or by all their weights. On GPU adapters are loaded beside the base and
several policies share a batch (`weights: lora`). On CPU, where LoRA kernels are slow, and for full weights, one
policy occupies the engine at a time: its merged weights replace the others' in place once the requests in flight
are through, and requests of one policy are gathered so that changes are few (`weights: reload`).

Answers depend on (policy, request) only as far as arithmetic allows: seeds belong to requests, but 16-bit sums
round differently in batches of different size. Log-probs are raw, at temperature 1 and before truncation; under a
JSON schema or regex they are those of the constrained distribution. On CPU `sleep` frees no memory, but the
threads stand still.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from selfimprove import models
from selfimprove.config import digest
from selfimprove.engines.base import Engine, Generate, Policy, Score, Usage
from selfimprove.engines.parts import vllm_build as build
from selfimprove.engines.parts.life import Life
from selfimprove.engines.parts.refusal import failed, refusal, unscored
from selfimprove.engines.parts.turns import Turns
from selfimprove.engines.parts.vllm_processes import Processes
from selfimprove.engines.parts.vllm_requests import (
    label_params,
    label_tokens,
    labels_of,
    samples_of,
    sampling_params,
    scored_of,
    scoring_params,
)
from selfimprove.engines.parts.vllm_thread import Refused, StepThread
from selfimprove.errors import ConfigError, DataError, EngineError
from selfimprove.records import Sample, Scored
from selfimprove.threads import all_cores


@dataclass(frozen=True)
class Config:
    """Options of the vllm engine."""

    max_model_len: int | None = None  # longest prompt and answer together; None: the model's own, at most 4096
    max_num_seqs: int | None = None  # answers in one batch; None: 256 on GPU, 64 on CPU
    dtype: str = "auto"  # auto (that of the weights), bfloat16, float16, float32
    quantization: str | None = None  # as vLLM names it, for example fp8; None: as the weights are
    gpu_memory_utilization: float = 0.9  # share of GPU memory that vLLM may take
    kv_cache_gib: float | None = None  # memory for the KV cache; None: 1 on CPU, what is left on GPU
    tensor_parallel_size: int = 1  # GPUs that one copy of the model is spread over
    data_parallel_size: int = 1  # copies of the model, each in processes of its own
    processes: bool | None = None  # run the engine in processes of its own; None: only where there are several copies
    enforce_eager: bool | None = None  # no CUDA graphs; None: true on CPU
    enable_prefix_caching: bool = True  # re-use what prompts have in common
    weights: str = "auto"  # how policies change: lora (adapters side by side), reload (merged, in place), auto
    max_lora_rank: int = 64  # largest rank of an adapter (weights: lora)
    max_loras: int = 4  # adapters in one batch (weights: lora)
    log_level: str = "error"  # of vLLM's own log: debug, info, warning, error
    extra: dict[str, Any] = field(default_factory=dict)  # further arguments of vLLM's EngineArgs


def make(config: Config) -> "VllmEngine":
    """Return the engine, not started; raises ConfigError for values that cannot work."""
    build.require_vllm()
    allowed: dict[str, tuple[Any, ...]] = {
        "weights": ("auto", "lora", "reload"),
        "max_lora_rank": build.RANKS,
        "log_level": ("debug", "info", "warning", "error"),
    }
    for name, values in allowed.items():
        if getattr(config, name) not in values:
            known = ", ".join(map(str, values))
            raise ConfigError(f"engine 'vllm': {name} is {getattr(config, name)!r}; allowed: {known}")
    if config.processes is False and config.data_parallel_size > 1:
        raise ConfigError("engine 'vllm': data_parallel_size above 1 needs processes: true; remove processes: false")
    if config.log_level == "error":
        build.hush()
    return VllmEngine(config)


class VllmEngine:
    """The engine; used from one asyncio loop."""

    name = "vllm"
    _in_process: ClassVar["VllmEngine | None"] = None  # vLLM's parallel state is one for the process

    def __init__(self, config: Config) -> None:
        """Keep the options; nothing is loaded before `start`."""
        self.config = config
        rounding = {"dtype": config.dtype, "quantization": config.quantization, "extra": config.extra}
        self.identity = "" if rounding == {"dtype": "auto", "quantization": None, "extra": {}} else digest(rounding)
        self.version = ""
        self.usage = Usage()
        self.processes = config.data_parallel_size > 1 if config.processes is None else config.processes
        self._life = Life(self.name)
        self._backend: StepThread | Processes | None = None
        self._scorer: Engine | None = None
        self._policies: dict[str, Policy] = {}  # by the key of their turn
        self._bare: dict[str, Policy] = {}  # base: its policy without an adapter
        self._adapters: dict[str, int] = {}  # digest: the number vLLM knows it by
        self._deep_sleep = False

    async def start(self, policy: Policy) -> None:
        """Build the engine with the policy's base; raises EngineError or ConfigError where it cannot."""
        if self._life.state == "running":
            return
        folder = models.model_folder(policy.base)
        self._settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self._longest = self.config.max_model_len or min(4096, _positions(self._settings))
        self._tokenizer = models.load_tokenizer(str(folder))
        self._gpu = build.on_gpu()
        self._lora = self.config.weights == "lora" or (self.config.weights == "auto" and self._gpu)
        arguments = build.engine_arguments(self.config, folder, self._lora, self._longest)

        def make_engine() -> Any:
            with build.environment(self.config, self.processes):
                return build.make_engine(arguments, self.processes)

        if not self.processes:
            if VllmEngine._in_process is not None:
                raise EngineError(
                    "engine 'vllm': another vLLM engine is running in this process, and closing one would end both; "
                    "close it first, or set processes: true"
                )
            VllmEngine._in_process = self
        turn = nullcontext if self._gpu else all_cores
        backend = Processes(make_engine) if self.processes else StepThread(make_engine, turn)
        try:
            await backend.open()
        except BaseException:
            self._let_go()
            raise
        from vllm import __version__

        self.version = str(__version__)
        self._backend = backend
        bare = models.policy_of(str(folder))
        self._turns = Turns(self._load, bare.digest)
        self._life.begin()

    async def generate(self, request: Generate) -> list[Sample]:
        """Return `request.n` samples in index order; a refused request comes back as error values."""
        async with self._life.request():
            self.usage.requests += 1
            try:
                samples = await self._generate(request)
            except (Refused, DataError) as error:
                samples = failed(request, str(error))
            self.usage.tokens += sum(sample.tokens for sample in samples)
            self.usage.failed += any(sample.error for sample in samples)
            return samples

    async def _generate(self, request: Generate) -> list[Sample]:
        problem = refusal(request)
        if problem:
            return failed(request, problem)
        ids = models.render_ids(self._tokenizer, request.messages)
        if len(ids) >= self._longest:
            raise Refused(f"prompt has {len(ids)} tokens, max_model_len is {self._longest}: it is too long")
        labels = label_tokens(self._tokenizer, request.choices)
        params = label_params(labels) if labels else sampling_params(request)
        output = await self._ask(request.policy, ids, params)
        self.usage.prompt_tokens += len(ids)
        return labels_of(request, output, labels) if labels else samples_of(request, output)

    async def score(self, request: Score) -> Scored:
        """Return the log-probs of a completion; where vLLM cannot score, the transformers engine does."""
        if self._lora and not self._gpu:
            return await self._score_elsewhere(request)
        async with self._life.request():
            self.usage.requests += 1
            try:
                scored = await self._score(request)
            except (Refused, DataError) as error:
                scored = unscored(str(error))
            self.usage.failed += scored.error is not None
            return scored

    async def _score(self, request: Score) -> Scored:
        problem = refusal(request)
        if problem:
            return unscored(problem)
        prompt, completion = models.completion_ids(self._tokenizer, request.messages, request.completion, request.end)
        count = len(prompt) + len(completion)
        if count >= self._longest:  # vLLM needs room for the one token that it writes
            raise Refused(
                f"prompt and answer have {count} tokens, max_model_len is {self._longest}: they are too long"
            )
        output = await self._ask(request.policy, [*prompt, *completion], scoring_params())
        self.usage.prompt_tokens += count
        return scored_of(request, output, completion)

    async def _score_elsewhere(self, request: Score) -> Scored:
        """Score with transformers: on CPU vLLM 0.32 dies where prompt log-probs meet LoRA."""
        self._life.check()
        if self._scorer is None:
            from selfimprove.engines import open_engine

            self._scorer = open_engine({"name": "transformers"})
            await self._scorer.start(request.policy)
        note = "scored by transformers, since vLLM on CPU cannot score with weights: lora"
        self.usage.notes[note] = self.usage.notes.get(note, 0) + 1
        async with self._life.request():
            before = self._scorer.usage.failed, self._scorer.usage.prompt_tokens
            scored = await self._scorer.score(request)
            self.usage.requests += 1
            self.usage.failed += self._scorer.usage.failed - before[0]
            self.usage.prompt_tokens += self._scorer.usage.prompt_tokens - before[1]
            return scored

    async def _ask(self, policy: Policy, ids: list[int], params: Any) -> Any:
        from vllm.inputs import tokens_input

        backend = self._running_backend()
        policy = policy if policy.digest else models.policy_of(policy.base, policy.adapter)
        lora = None
        if self._lora:
            if policy.base not in self._bare:
                self._bare[policy.base] = models.policy_of(policy.base)
            policy, lora = self._bare[policy.base], self._lora_request(policy)
        self._policies.setdefault(policy.digest, policy)
        async with self._turns.turn(policy.digest):
            return await backend.ask(tokens_input(ids), params, lora)

    def _lora_request(self, policy: Policy) -> Any:
        """Return vLLM's name for an adapter: a new number and name for every content, never one used before."""
        if policy.adapter is None:
            return None
        from vllm.lora.request import LoRARequest

        if policy.digest not in self._adapters:
            rank = models.adapter_settings(Path(policy.adapter)).get("r", 0)
            if rank > self.config.max_lora_rank:
                limit = f"max_lora_rank is {self.config.max_lora_rank}"
                raise EngineError(
                    f"{policy.adapter}: the adapter has rank {rank}, {limit}; raise engine.max_lora_rank"
                )
            self._adapters[policy.digest] = len(self._adapters) + 1
        return LoRARequest(policy.digest, self._adapters[policy.digest], policy.adapter)

    async def _load(self, key: str) -> None:
        """Put a policy's weights in the place of those that are loaded."""
        policy, backend = self._policies[key], self._running_backend()
        folder = models.model_folder(policy.base)
        self._check_same_shape(policy, json.loads((folder / "config.json").read_text(encoding="utf-8")))
        note = "weight reloads"
        self.usage.notes[note] = self.usage.notes.get(note, 0) + 1
        if not self.processes and self.config.tensor_parallel_size == 1:
            await backend.call(lambda engine: _reload(engine, {"weights_iterator": models.merged_weights(policy)}))
            return
        scratch = Path(tempfile.mkdtemp(prefix="selfimprove-weights-"))  # tensors do not travel between processes
        try:
            path = models.export_merged(policy, scratch / "model") if policy.adapter else folder
            reload = _reload_processes if self.processes else _reload
            await backend.call(lambda engine: reload(engine, {"weights_path": str(path)}))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _check_same_shape(self, policy: Policy, settings: dict[str, Any]) -> None:
        for name in ("architectures", "hidden_size", "num_hidden_layers", "vocab_size", "intermediate_size"):
            if settings.get(name) != self._settings.get(name):
                was, now = self._settings.get(name), settings.get(name)
                problem = f"its {name} is {now}, but the engine was started with {was}"
                raise EngineError(f"{policy}: {problem}; policies of one run share an architecture")

    def _running_backend(self) -> StepThread | Processes:
        self._life.check()
        if self._backend is None:
            raise EngineError("the vllm engine has no backend; start it before asking")
        return self._backend

    async def call(self, function: Callable[[Any], Any]) -> Any:
        """Return function(engine), called with vLLM's own engine between two of its steps; for measuring."""
        return await self._running_backend().call(function)

    async def sleep(self) -> None:
        """Finish what is in flight, then give GPU memory back; on CPU the threads stand still."""
        await self._life.quiet()
        if self._gpu and not self._deep_sleep and self._life.state == "running":
            level = 1 if self._lora else 2  # weights that are reloaded anyway need not be kept
            await self._running_backend().call(lambda engine: engine.sleep(level))
            self._deep_sleep = True

    async def wake(self) -> None:
        """Take GPU memory again; discarded weights come back with the next request."""
        if self._deep_sleep:
            await self._running_backend().call(lambda engine: engine.wake_up())
            self._deep_sleep = False
            if not self._lora:
                self._turns.forget()
        self._life.wake()

    async def close(self) -> None:
        """Stop the engine and free its memory; safe to call twice."""
        self._life.end()
        backend, self._backend = self._backend, None
        if backend is not None:
            await backend.close()
        self._let_go()
        if self._scorer is not None:
            scorer, self._scorer = self._scorer, None
            await scorer.close()

    def _let_go(self) -> None:
        if VllmEngine._in_process is self:
            VllmEngine._in_process = None


def _positions(settings: dict[str, Any]) -> int:
    inner = settings.get("text_config") or {}
    return int(settings.get("max_position_embeddings") or inner.get("max_position_embeddings") or 4096)


def _reload(engine: Any, weights: dict[str, Any]) -> None:
    engine.collective_rpc("reload_weights", kwargs=weights)
    engine.reset_prefix_cache()


async def _reload_processes(engine: Any, weights: dict[str, Any]) -> None:
    await engine.collective_rpc("reload_weights", kwargs=weights)
    await engine.reset_prefix_cache()
