"""The recipe's `train` section: checked at plan time without torch, turned into TRL's own config at training time.

Every option of TRL's SFTConfig or DPOConfig may stand in a recipe. What the toolkit decides itself is refused
with the place where it is decided, and what is unknown with the nearest known name. Field names are read from
the installed sources, so that a newer TRL brings its new options without a change here.
"""

import ast
import math
import os
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selfimprove.engines.parts.value_head import LOSSES
from selfimprove.errors import ConfigError, TrainError, did_you_mean, missing_package
from selfimprove.training.objective import read_objective
from selfimprove.training.trackers import check_trackers, names_of, tracker_names, tracking_environment
from selfimprove.training.trainers import own_loss, own_options

OWN = {
    "lora": "adapter: a mapping of r, alpha, dropout, any field of peft's LoraConfig; null: full weights",
    "accelerate": "single, ddp, zero2, zero3, zero3_offload, another file of accelerate_configs, or a path to one",
    "dtype": "of the weights: bfloat16, float32, or auto: bfloat16 under an adapter, float32 for full weights",
    "resume": "go on from the last complete checkpoint of an interrupted training; true by default",
    "objective": "over all rows of a group: mle_aug, mml, beta_mml, or a mapping; null: each row alone",
    "loss_options": "options of a loss that has a trainer of its own, see training/trainers.py",
    "value_loss": "of a value model: mse, or bce (the value is then the logistic function of the head's output)",
}
"""Options of ours beside TRL's."""

HEADS = ("steps", "reward")
"""Kinds of training whose model has a scalar head: value models and reward models."""

HEAD_ONLY, NOT_OF_HEADS = ("value_loss",), ("objective", "loss_options")
"""Options of ours that only models with a head have, and those that they do not have."""

DECIDED = {
    "output_dir": "the run folder holds the output",
    "seed": "the recipe's own seed rules everything random",
    "data_seed": "the recipe's own seed rules everything random",
    "deepspeed": "write accelerate: zero2 (or zero3, zero3_offload, a path)",
    "fsdp": "write accelerate: fsdp2 (or a path)",
    "fsdp_config": "write accelerate: fsdp2 (or a path)",
    "accelerator_config": "write accelerate: and a config file",
    "parallelism_config": "write accelerate: and a config file",
    "resume_from_checkpoint": "write resume: true or false",
    "do_train": "a job always trains",
    "do_eval": "held-out sets are measured by the loop, see evaluate",
    "do_predict": "held-out sets are measured by the loop, see evaluate",
    "eval_strategy": "held-out sets are measured by the loop, see evaluate",
    "load_best_model_at_end": "the loop compares rounds on held-out sets",
    "push_to_hub": "the model is pushed by its own command, with its card",
    "remove_unused_columns": "rows are tokenised by the toolkit",
    "dataset_kwargs": "rows are tokenised by the toolkit",
    "dataset_text_field": "rows are tokenised by the toolkit",
    "chat_template_path": "the model's own chat template is used for sampling and training alike",
    "eos_token": "the chat template says which token ends a turn",
    "completion_only_loss": "the loss covers the completion only",
    "assistant_only_loss": "the loss covers the completion only",
    "trust_remote_code": "code that comes with a model is never run",
    "packing": "rows carry weights, which packing would drop",
    "padding_free": "rows carry weights, which padding_free would drop",
    "disable_tqdm": "progress goes to events.jsonl",
}
"""TRL options that a recipe cannot set, with what to do instead."""

DEFAULTS: dict[str, Any] = {
    "report_to": "none",  # transformers would log to every tracker that happens to be installed
    "max_length": 1024,  # tokens of prompt + completion; longer rows are cut at the end, counted, never silently
    "logging_steps": 5,  # an event every so many optimiser steps
    "logging_first_step": True,  # the first loss tells most
    "save_strategy": "steps",  # a checkpoint every save_steps, so that long trainings can be resumed
    "save_steps": 500,
    "save_total_limit": 2,  # the last one may be half written when the power fails, so keep the one before
}
"""Our defaults where TRL's would hurt; all of them may be set in the recipe."""

CPU_DEFAULTS: dict[str, Any] = {
    "gradient_checkpointing": False,  # saves memory that is not short here and costs a third of the speed
    "dataloader_pin_memory": False,  # pins for a GPU that is not there
}
"""What differs on a machine without a GPU; bf16 is on only where the processor has it, see `cpu_has_bfloat16`."""

EAGER_UP_TO = 512
"""Longest max_length at which CPUs use plain attention: short rows train 1.4 times faster than with torch's fused
kernel, whose backward is slow on CPUs; on long rows plain attention would keep T x T scores per head and layer."""

SOURCES = {
    "sft": (("trl", "trainer/sft_config.py", "SFTConfig"),),
    "pairs": (("trl", "trainer/dpo_config.py", "DPOConfig"),),
    "steps": (("trl", "trainer/reward_config.py", "RewardConfig"),),
    "reward": (("trl", "trainer/reward_config.py", "RewardConfig"),),
}
COMMON_SOURCES = (
    ("trl", "trainer/base_config.py", "_BaseConfig"),
    ("transformers", "training_args.py", "TrainingArguments"),
)
LORA_SOURCES = (
    ("peft", "config.py", "PeftConfig"),
    ("peft", "tuners/lora/config.py", "LoraConfig"),
)
LORA_SHORT = {"alpha": "lora_alpha", "dropout": "lora_dropout"}
PLAIN = {"int": int, "float": float, "bool": bool, "str": str, "None": type(None), "dict": dict, "list": list}


def check_options(
    kind: str, options: Mapping[str, Any], where: str, loss: str | None = None, section: str = "train"
) -> None:
    """Refuse, without importing torch, a `train` section that training would refuse; `loss` is the method's LOSS.

    `section` is the recipe's section that holds the options. Raises ConfigError naming the recipe for an unknown
    option, one that is decided elsewhere, or a value of the wrong type.
    """
    known = known_options(kind)
    own = {*OWN} - {*(NOT_OF_HEADS if kind in HEADS else HEAD_ONLY)}
    allowed = {*known, *own} - {*DECIDED}
    for name, value in options.items():
        if name in DECIDED:
            raise ConfigError(f"{where}: {section}.{name} cannot be set: {DECIDED[name]}")
        if name not in known and name not in own:
            hint = did_you_mean(name, allowed)
            if name in HEAD_ONLY:
                hint = "; it is for value models (rows of kind steps): write it into the value section"
            raise ConfigError(f"{where}: {section} has no option '{name}'{hint}")
        if name not in OWN:
            _check_type(f"{where}: {section}.{name}", value, known[name])
    if kind == "steps" and options.get("center_rewards_coefficient") is not None:
        raise ConfigError(f"{where}: {section}.center_rewards_coefficient is for pairs of a reward model; take it out")
    if options.get("value_loss", "mse") not in LOSSES:
        raise ConfigError(f"{where}: {section}.value_loss is {options['value_loss']!r}; allowed: {', '.join(LOSSES)}")
    _check_objective(kind, options, where)
    own_options(own_loss(kind, options, loss, f"{where}: train"), options, f"{where}: train")
    _check_lora(options.get("lora"), f"{where}: {section}.lora")
    check_trackers(options.get("report_to"), f"{where}: {section}.report_to")
    if options.get("dtype", "auto") not in ("auto", "bfloat16", "float32"):
        raise ConfigError(f"{where}: {section}.dtype is {options['dtype']!r}; allowed: auto, bfloat16, float32")
    if not isinstance(options.get("resume", True), bool):
        raise ConfigError(f"{where}: {section}.resume is {options['resume']!r}; write true or false")
    if options.get("accelerate"):
        from selfimprove.training.launch import accelerate_config

        accelerate_config(options["accelerate"], where)


def options_of_kind(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `train` options that training on another kind of rows than the method's own can take.

    For a method that trains on two kinds: what only the other kind knows (beta), and what it means by a loss, is
    left out, so that `run.train` of that kind need only name what it wants otherwise.
    """
    known = {*known_options(kind), *OWN} - {"loss_type", "loss_weights", "loss_options", "objective"}
    known -= set() if kind in HEADS else {*HEAD_ONLY}
    return {name: value for name, value in options.items() if name in known}


def _check_objective(kind: str, options: Mapping[str, Any], where: str) -> None:
    if read_objective(options.get("objective"), f"{where}: train.objective") is None:
        return
    if kind != "sft":
        raise ConfigError(f"{where}: train.objective is about examples, but the method makes '{kind}'; take it out")
    if options.get("loss_type", "nll") != "nll":
        raise ConfigError(f"{where}: train.objective and train.loss_type are both set; keep one")


def _check_lora(lora: Any, where: str) -> None:
    if lora in (None, False):
        return
    if not isinstance(lora, Mapping):
        raise ConfigError(f"{where} is {lora!r}; write a mapping such as {{r: 32, alpha: 64}}, or null")
    known = _fields(LORA_SOURCES)
    for name, value in lora.items():
        full = LORA_SHORT.get(name, name)
        if full not in known:
            raise ConfigError(f"{where} has no option '{name}'{did_you_mean(name, {*known, *LORA_SHORT})}")
        if name in LORA_SHORT and full in lora:
            raise ConfigError(f"{where} sets {name} and {full}, which are the same; keep one")
        _check_type(f"{where}.{name}", value, known[full])


def known_options(kind: str) -> dict[str, str]:
    """Return {option: type as its source spells it} of TRL's config for a kind of training."""
    if kind not in SOURCES:
        raise ConfigError(f"'{kind}' is not a kind of training; known: {', '.join(sorted(SOURCES))}")
    return _fields((*COMMON_SOURCES, *SOURCES[kind]))


@cache
def _fields(sources: tuple[tuple[str, str, str], ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for package, path, name in sources:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise missing_package("training", package, "core")
        tree = ast.parse((Path(spec.submodule_search_locations[0]) / path).read_text(encoding="utf-8"))
        body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
        for node in body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found[node.target.id] = ast.unparse(node.annotation)
    return found


def _check_type(where: str, value: Any, annotation: str) -> None:
    """Raise ConfigError where a value cannot be of a type written as `int | str | list[str]`; others pass."""
    names = [part.strip().partition("[")[0] for part in annotation.split("|")]
    if not set(names) <= set(PLAIN):
        return
    kinds = {PLAIN[name] for name in names}
    if isinstance(value, bool):
        fits = bool in kinds
    elif isinstance(value, int):
        fits = bool(kinds & {int, float})
    elif isinstance(value, str):
        fits = bool(kinds & {str, list})  # TRL makes a list of one loss name
    else:
        fits = type(value) in kinds and (not isinstance(value, float) or math.isfinite(value))
    if not fits:
        finite = not isinstance(value, float) or math.isfinite(value)
        wanted = annotation.replace("None", "null") if finite else "a finite number"
        raise ConfigError(f"{where} is {value!r}; expected {wanted}")


def lora_fields(lora: Any) -> dict[str, Any] | None:
    """Return the LoraConfig fields of a recipe's `lora` mapping, None for full weights."""
    if lora in (None, False):
        return None
    given = {LORA_SHORT.get(name, name): value for name, value in lora.items()}
    return {"target_modules": "all-linear", **given, "task_type": "CAUSAL_LM"}


def cpu_has_bfloat16() -> bool:
    """Return whether this processor multiplies bfloat16 natively; without that float32 is the faster choice."""
    import torch

    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def half_precision(options: Mapping[str, Any]) -> bool:
    """Return whether a CPU trains with bfloat16 products: under an adapter, where the processor has them.

    The adapter's own weights stay float32 under autocast, as on GPUs.
    """
    name = options.get("dtype", "auto")
    return cpu_has_bfloat16() and (
        lora_fields(options.get("lora")) is not None if name == "auto" else name == "bfloat16"
    )


def loading_options(options: Mapping[str, Any], cpu: bool) -> dict[str, Any]:
    """Return what `from_pretrained` gets: dtype, attention, and the recipe's `model_init_kwargs`.

    dtype auto is bfloat16 under an adapter (float32 on a CPU that has no bfloat16) and float32 for full weights.
    """
    import torch

    name = options.get("dtype", "auto")
    if name == "auto":
        adapter = lora_fields(options.get("lora")) is not None
        name = "bfloat16" if adapter and (not cpu or cpu_has_bfloat16()) else "float32"
    values: dict[str, Any] = {"dtype": getattr(torch, name), "trust_remote_code": False}
    longest = options.get("max_length", DEFAULTS["max_length"])
    if cpu and longest is not None and longest <= EAGER_UP_TO:
        values["attn_implementation"] = "eager"
    return {**values, **(options.get("model_init_kwargs") or {})}


def trainer_config(kind: str, options: Mapping[str, Any], output: Path, seed: int, loss: str | None, cpu: bool) -> Any:
    """Return TRL's SFTConfig, DPOConfig or RewardConfig of a checked `train` section (imports torch).

    Raises TrainError with TRL's own words where values do not go together.
    """
    from trl import DPOConfig, RewardConfig, SFTConfig

    configs = {"sft": SFTConfig, "pairs": DPOConfig, "steps": RewardConfig, "reward": RewardConfig}
    given = {key: value for key, value in options.items() if key not in OWN}
    values: dict[str, Any] = {**DEFAULTS, **({**CPU_DEFAULTS, "bf16": half_precision(options)} if cpu else {})}
    if loss is not None and kind not in HEADS:
        values["loss_type"] = loss
    values.update(given)
    if own_loss(kind, options, loss) is not None:
        del values["loss_type"]  # the name is not TRL's
    values.pop("model_init_kwargs", None)  # the model is loaded by policy.py, which reads them
    if kind == "pairs":
        names = values.get("loss_type", "sigmoid")
        values["loss_type"] = [names] if isinstance(names, str) else list(names)
    values.update(output_dir=str(output), seed=seed, data_seed=seed, disable_tqdm=True, remove_unused_columns=False)
    values["use_cpu"] = cpu
    if tracker_names(values["report_to"]):
        values["project"], values["run_name"] = names_of(output.parent, values)
        for name, value in tracking_environment(output.parent, values["project"]).items():
            os.environ.setdefault(name, value)
    try:
        return configs[kind](**values)
    except (ValueError, TypeError) as error:
        raise TrainError(f"the train options do not go together: {error}") from None
