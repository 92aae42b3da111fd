"""A value model under vLLM's pooling runner, in a process of its own: the policy's engine may hold this one."""

import shutil
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfimprove.engines.base import Policy
from selfimprove.engines.parts.value_head import export_value
from selfimprove.engines.parts.vllm_build import BLOCK, environment, on_gpu, require_vllm
from selfimprove.errors import EngineError
from selfimprove.threads import all_cores


@dataclass(frozen=True)
class _Alone:
    """What `environment` reads of an engine's configuration."""

    tensor_parallel_size: int = 1
    data_parallel_size: int = 1
    log_level: str = "error"


class Pooling:
    """One value model; vLLM batches what it is given, so all rows of a call go in at once."""

    batch_tokens: int | None = None

    def __init__(self, policy: Policy, config: Any) -> None:
        """Write the model as one plain folder and start vLLM on it; raises EngineError where it cannot start."""
        require_vllm()
        self._folder = Path(tempfile.mkdtemp(prefix="selfimprove-value-"))
        self._engine: Any = None
        try:
            folder = export_value(policy, self._folder / "model")
            with environment(_Alone(), processes=True):
                from vllm import LLM

                arguments: dict[str, Any] = {
                    "model": str(folder),
                    "runner": "pooling",
                    "dtype": config.dtype,
                    "max_model_len": config.max_model_len,
                    "gpu_memory_utilization": config.gpu_memory_utilization,
                    "enforce_eager": not on_gpu(),
                    "trust_remote_code": False,
                    **({} if on_gpu() else {"kv_cache_memory_bytes": 2**30, "block_size": BLOCK}),
                }
                self._engine = LLM(**arguments)
        except Exception as error:  # the engine's border: whatever stops vLLM becomes a sentence
            self.close()
            reason = " ".join(str(error).split())[:400] or type(error).__name__
            raise EngineError(f"vLLM cannot serve the value model {policy}: {reason}") from error
        self.tokenizer = self._engine.get_tokenizer()
        self.longest: int = self._engine.llm_engine.model_config.max_model_len

    def outputs(self, rows: list[list[int]]) -> list[float]:
        """Return the head's output at the last token of every row, without an activation; blocks."""
        from vllm import PoolingParams

        prompts = [{"prompt_token_ids": row} for row in rows]
        with nullcontext() if on_gpu() else all_cores():
            found = self._engine.classify(prompts, pooling_params=PoolingParams(use_activation=False), use_tqdm=False)
        return [float(output.outputs.probs[0]) for output in found]

    def close(self) -> None:
        """Stop vLLM and remove the folder."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.llm_engine.engine_core.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)
