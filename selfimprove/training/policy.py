"""The model that is trained: a base with a new adapter, an adapter that is trained further, or full weights.

The reference of a preference loss is always the policy as it is when the training starts:
- new adapter: the adapter is switched off, which leaves the base;
- adapter that is continued: TRL copies it as a second, frozen adapter named `ref` before the first step
  (needs peft >= 0.20; older ones silently use the base for some adapters);
- full weights: a frozen copy, with the adapter it may start from merged in.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfimprove.engines.parts.value_head import HEAD
from selfimprove.errors import TrainError
from selfimprove.models import adapter_settings
from selfimprove.training.args import HEADS, loading_options, lora_fields
from selfimprove.training.job import Job

HEAD_WEIGHT = f"{HEAD}.weight"
"""The scalar head of a value model stays float32: rounding it would move every value."""

REFERENCE = "ref"
"""The name that TRL gives to the frozen copy of a loaded adapter."""


def load_policy(job: Job, cpu: bool, zero3: bool = False) -> tuple[Any, Any]:
    """Return (model, peft config or None) to give to a TRL trainer.

    A continued adapter comes back as a trainable PeftModel without a config, a new one as the plain model with
    its LoraConfig. `cpu` loads it for a processor, `zero3` keeps adapter weights in the dtype of the base, which
    ZeRO-3 needs. Raises TrainError where an adapter and the recipe's `lora` do not fit.
    """
    from peft import LoraConfig, PeftModel
    from transformers import AutoModelForCausalLM

    lora = lora_fields(job.options.get("lora"))
    model = AutoModelForCausalLM.from_pretrained(job.policy_base, **loading_options(job.options, cpu))
    model.config.use_cache = False
    if job.policy_adapter is None:
        return model, None if lora is None else LoraConfig(**lora)
    if lora is None:
        merged = PeftModel.from_pretrained(model, job.policy_adapter).merge_and_unload()
        return merged.requires_grad_(True), None  # the adapter had frozen what lies under it
    refuse_other_adapter(Path(job.policy_adapter), lora)
    model = PeftModel.from_pretrained(model, job.policy_adapter, is_trainable=True, autocast_adapter_dtype=not zero3)
    return model, None


def load_reference(job: Job, cpu: bool, precompute: bool) -> Any:
    """Return the frozen reference for full-weight preference training, None where the trainer makes its own.

    TRL would load the model's own path again, which leaves out an adapter that was merged in; so it is loaded
    here, in the same way as the policy.
    """
    if lora_fields(job.options.get("lora")) is not None or precompute:
        return None
    model, _ = load_policy(job, cpu)
    return model.requires_grad_(False).eval()


def refuse_other_adapter(adapter: Path, lora: Mapping[str, Any]) -> None:
    """Raise TrainError where the recipe asks for another rank or scale than the adapter has that is continued."""
    settings = adapter_settings(adapter)
    for name in ("r", "lora_alpha", "use_rslora", "use_dora"):
        if name in lora and name in settings and lora[name] != settings[name]:
            raise TrainError(
                f"train.lora asks for {name} = {lora[name]}, but the adapter {adapter} that is trained further has "
                f"{settings[name]}; set it to {settings[name]}, or start from a merged model"
            )


def save_policy(trainer: Any, job: Job, folder: Path, tokenizer: Any) -> None:
    """Write the trained adapter, or the whole model with its tokenizer; the folder appears in one step.

    Every rank must call this: sharded weights are gathered. Full weights are written in the dtype of the base, a
    scalar head in float32.
    """
    import shutil

    import torch
    from peft import PeftModel
    from transformers import AutoConfig

    accelerator = trainer.accelerator
    model = accelerator.unwrap_model(trainer.model)
    # the wrapped engine knows how to gather ZeRO-3 or FSDP shards; plain modules are their own state
    state = accelerator.get_state_dict(trainer.model_wrapped)
    if accelerator.is_main_process:
        draft = folder.with_name(f".{folder.name}-draft")
        shutil.rmtree(draft, ignore_errors=True)
        if isinstance(model, PeftModel):
            model.save_pretrained(draft, state_dict=state, selected_adapters=["default"])
        else:
            dtype = AutoConfig.from_pretrained(job.policy_base).dtype or torch.bfloat16
            kept = {name: value.to(torch.float32 if name == HEAD_WEIGHT else dtype) for name, value in state.items()}
            model.save_pretrained(draft, state_dict=kept)
            _set_dtype(draft / "config.json", dtype)
            tokenizer.save_pretrained(draft)
        if job.kind in HEADS:
            from selfimprove.training.value import note_head

            note_head(job, draft)
        (draft / "README.md").unlink(missing_ok=True)  # peft writes a card of placeholders
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    accelerator.wait_for_everyone()


def _set_dtype(path: Path, dtype: Any) -> None:
    import json

    config = json.loads(path.read_text(encoding="utf-8"))
    config["dtype"] = str(dtype).removeprefix("torch.")
    config.pop("torch_dtype", None)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
