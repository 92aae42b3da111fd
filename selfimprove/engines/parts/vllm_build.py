"""How a vLLM engine is made: environment, arguments, quiet logs."""

import logging
import os
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selfimprove.errors import ConfigError, EngineError, did_you_mean, missing_package

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Adapter ranks that vLLM can reserve room for."""

BLOCK = 32
"""Tokens of a KV block on CPU. Only whole blocks of a common beginning are read once; vLLM's 128 there are longer than
many a prompt."""

OURS = ("model", "tokenizer", "trust_remote_code", "enable_lora", "seed", "logprobs_mode", "enable_sleep_mode")


def require_vllm() -> None:
    """Raise ConfigError where vLLM is not installed."""
    if find_spec("vllm") is None:
        raise missing_package("engine 'vllm'", "vLLM", "vllm")


def on_gpu() -> bool:
    """Whether vLLM will run on an accelerator here (its CPU build never does)."""
    import torch

    return torch.cuda.is_available()


@contextmanager
def environment(config: Any, processes: bool) -> Generator[None, None, None]:
    """Set what vLLM reads from the environment while it is imported and built; what the user set stays.

    Without the binding vLLM's CPU backend leaves a core idle; `|` separates the cores of several ranks.
    """
    cores = sorted(os.sched_getaffinity(0))
    ranks = config.tensor_parallel_size * config.data_parallel_size
    share = max(1, len(cores) // ranks)
    groups = [cores[rank * share : (rank + 1) * share] or cores[-1:] for rank in range(ranks)]
    wanted = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "1" if processes else "0",
        "VLLM_LOGGING_LEVEL": config.log_level.upper(),
        "VLLM_CPU_OMP_THREADS_BIND": "|".join(",".join(map(str, group)) for group in groups),
        "VLLM_NO_USAGE_STATS": "1",
    }
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    if config.log_level == "error":
        hush()
    try:
        from vllm.platforms import current_platform

        logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"])
        if current_platform.is_cpu():  # its samplers would each wait seconds for a C++ compiler and gain nothing
            type(current_platform).simple_compile_backend = "eager"
        leave_out_the_unread(current_platform.is_cpu())
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def leave_out_the_unread(cpu: bool) -> None:
    """Keep vLLM from making what comes with every log-prob and nobody here reads.

    That is the token as text, and on CPU, where nothing fuses it with the softmax, how many tokens are likelier: about
    4 % of a step.
    """
    import torch
    from vllm.v1.engine.logprobs import LogprobsProcessor
    from vllm.v1.sample import sampler

    made = LogprobsProcessor.from_new_request

    def unspelled(tokenizer: Any, request: Any) -> Any:
        return made(tokenizer=None, request=request)

    if made.__name__ != unspelled.__name__:
        LogprobsProcessor.from_new_request = staticmethod(unspelled)  # ty: ignore[invalid-assignment]
    if cpu:
        sampler.batched_count_greater_than = lambda x, values: torch.zeros(len(x), dtype=torch.int64)


def hush() -> None:
    """Silence what vLLM and torch say about themselves at every start, which no user can change."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # heard only where torch is not imported yet
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)
    for module in (r"vllm\.", r"torch\.jit", r"xgrammar\."):
        for category in (FutureWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", category=category, module=module)


def engine_arguments(config: Any, folder: Path, lora: bool, longest: int) -> dict[str, Any]:
    """Return the keyword arguments of vLLM's EngineArgs; raises ConfigError where `extra` holds an unknown one."""
    gpu = on_gpu()
    arguments: dict[str, Any] = {
        "model": str(folder),
        "dtype": config.dtype,
        "max_model_len": longest,
        "max_num_seqs": config.max_num_seqs or (256 if gpu else 64),
        "gpu_memory_utilization": config.gpu_memory_utilization,
        "tensor_parallel_size": config.tensor_parallel_size,
        "data_parallel_size": config.data_parallel_size,
        "enforce_eager": config.enforce_eager if config.enforce_eager is not None else not gpu,
        "enable_prefix_caching": config.enable_prefix_caching,
        "quantization": config.quantization,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "enable_sleep_mode": gpu,
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},  # else JSON is padded
    }
    if not gpu:
        arguments["kv_cache_memory_bytes"] = int((config.kv_cache_gib or 1.0) * 2**30)
        # A prompt prefilled in parts makes vLLM take back a draw of its seed, which CPU generators cannot do.
        arguments |= {"enable_chunked_prefill": False, "max_num_batched_tokens": max(longest, 4096)}
        arguments["block_size"] = BLOCK
    elif config.kv_cache_gib is not None:
        arguments["kv_cache_memory_bytes"] = int(config.kv_cache_gib * 2**30)
    if lora:
        arguments |= {"enable_lora": True, "max_lora_rank": config.max_lora_rank, "max_loras": config.max_loras}
    for key, value in config.extra.items():
        if key in OURS or (key in arguments and key != "block_size"):
            advice = f"write engine.{key}" if hasattr(config, key) else "the engine sets it itself"
            raise ConfigError(f"engine 'vllm': extra.{key}: {advice}")
        arguments[key] = value
    return arguments


def make_engine(arguments: dict[str, Any], processes: bool) -> Any:
    """Return a vLLM LLMEngine, or an AsyncLLM with its own processes; raises a sentence where it cannot start."""
    from vllm.config import StructuredOutputsConfig
    from vllm.engine.arg_utils import AsyncEngineArgs, EngineArgs

    known = {f.name for f in fields(AsyncEngineArgs if processes else EngineArgs)}
    for key in arguments:
        if key not in known:
            raise ConfigError(f"engine 'vllm': extra.{key}: vLLM has no such argument{did_you_mean(key, known)}")
    arguments = {
        **arguments,
        "structured_outputs_config": StructuredOutputsConfig(**arguments["structured_outputs_config"]),
    }
    try:
        if processes:
            from vllm.v1.engine.async_llm import AsyncLLM

            return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
        from vllm.v1.engine.llm_engine import LLMEngine

        return LLMEngine.from_engine_args(EngineArgs(**arguments))
    except Exception as error:  # the engine's border: whatever stops vLLM becomes a sentence
        reason = " ".join(str(error).split())[:400] or type(error).__name__
        raise EngineError(f"vLLM cannot start with {arguments['model']}: {reason}") from error
