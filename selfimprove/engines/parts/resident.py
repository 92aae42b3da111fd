"""Which weights lie in memory: base models by their folder, adapters by their digest, the least used leave first."""

import gc
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from selfimprove.embedded import quiet
from selfimprove.engines.base import Policy
from selfimprove.errors import ConfigError, EngineError, missing_package
from selfimprove.models import load_tokenizer, model_folder

ADAPTERS_KEPT = 4
"""Adapters of one base that stay loaded."""


@dataclass(slots=True)
class Loaded:
    """A base model with its tokenizer, and with the adapters put into it so far."""

    model: Any
    tokenizer: Any
    wrapped: Any = None  # the PeftModel around `model`, once there was an adapter
    adapters: OrderedDict[str, str] = field(default_factory=OrderedDict)


class Resident:
    """Loads policies on demand; `dtype` and `attention` are names as transformers knows them, or auto."""

    def __init__(self, device: str, dtype: str, attention: str, keep: int) -> None:
        self.device = torch.device(pick_device() if device == "auto" else device)
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise EngineError(f"engine 'transformers': device is '{device}', but torch sees no CUDA device")
        self.dtype = dtype if dtype == "auto" else getattr(torch, dtype)
        self.attention = None if attention == "auto" else attention
        self.keep = keep
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()

    def use(self, policy: Policy) -> tuple[Any, Any]:
        """Return (model, tokenizer) with the policy's adapter switched on; raises EngineError where it cannot."""
        try:
            loaded = self._base(policy.base)
            if policy.adapter is not None:
                return self._adapted(loaded, policy), loaded.tokenizer
        except ImportError as error:
            raise missing_package("an adapter", error.name or "peft", "core") from None
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            if "ignore_mismatched_sizes" in reason:
                reason = "its weights do not have the shapes that its config.json says; copy or download it again"
            raise EngineError(f"engine 'transformers' cannot load {policy}: {reason}") from error
        if loaded.wrapped is not None:
            loaded.wrapped.base_model.disable_adapter_layers()
        return loaded.model, loaded.tokenizer

    def clear(self) -> None:
        """Free all weights."""
        self._loaded.clear()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _base(self, name: str) -> Loaded:
        if name in self._loaded:
            self._loaded.move_to_end(name)
            return self._loaded[name]
        while len(self._loaded) >= self.keep:
            self._loaded.popitem(last=False)
            gc.collect()
        folder = str(model_folder(name))
        options = {"attn_implementation": self.attention} if self.attention else {}
        try:
            with quiet():
                model = AutoModelForCausalLM.from_pretrained(
                    folder, dtype=self.dtype, trust_remote_code=False, use_safetensors=True, **options
                )
            tokenizer = load_tokenizer(folder)
        except ConfigError as error:
            raise EngineError(str(error)) from None
        self._loaded[name] = Loaded(model.to(self.device).eval(), tokenizer)
        return self._loaded[name]

    def _adapted(self, loaded: Loaded, policy: Policy) -> Any:
        from peft import PeftModel

        key = policy.digest or str(policy.adapter)
        name = loaded.adapters.get(key) or f"adapter_{key[:16].replace('/', '_').replace('.', '_')}"
        adapter = str(policy.adapter)
        if loaded.wrapped is None:
            loaded.wrapped = PeftModel.from_pretrained(
                loaded.model, adapter, adapter_name=name, autocast_adapter_dtype=False
            ).eval()
        elif key not in loaded.adapters:
            loaded.wrapped.load_adapter(adapter, adapter_name=name, autocast_adapter_dtype=False)
        loaded.adapters[key] = name
        loaded.adapters.move_to_end(key)
        loaded.wrapped.base_model.enable_adapter_layers()
        loaded.wrapped.set_adapter(name)
        while len(loaded.adapters) > ADAPTERS_KEPT:
            loaded.wrapped.delete_adapter(loaded.adapters.popitem(last=False)[1])
        return loaded.wrapped


def pick_device() -> str:
    """Return the accelerator that torch sees, or cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def context_length(model: Any, limit: int | None) -> int:
    """Return how many tokens prompt and answer may have together: the model's own length, or a shorter limit."""
    own = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 4096
    return min(own, limit) if limit else own


def end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Return the tokens that end an answer: those of the generation config, the tokenizer and the chat template."""
    from selfimprove.chat import end_of_turn

    listed = getattr(model.generation_config, "eos_token_id", None)
    ends = {*listed} if isinstance(listed, list | tuple) else {listed}
    return {int(token) for token in (*ends, tokenizer.eos_token_id, end_of_turn(tokenizer)) if token is not None}
