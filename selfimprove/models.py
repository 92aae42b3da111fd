"""Models on disk: where they lie, what tells two of them apart, and how base and adapter become one.

Weights are safetensors only and code that comes with a model is never run. A policy's digest is made of
contents alone, so that a copied or moved model keeps its identity.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfimprove.chat import completion_ids, load_tokenizer, render_ids
from selfimprove.config import digest
from selfimprove.embedded import cache_folder, embedded_folder, file_digest, quiet
from selfimprove.engines.base import Policy
from selfimprove.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "cache_folder",
    "completion_ids",
    "export_merged",
    "load_tokenizer",
    "merged_weights",
    "model_folder",
    "policy_of",
    "render_ids",
]

WEIGHTS = "*.safetensors"
TEXT_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "value.json",
)
"""What a model folder holds beside its weights that decides what it answers."""

VALUE_HEAD = "value.json"
"""Beside the weights of a value or reward model: {"loss": ...}, the loss that gave its head its meaning."""

LARGEST_HEAD = 100 * 2**20
"""Bytes; the safetensors format itself allows no longer header."""

ADAPTER_WEIGHTS, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
_NOT_CONTENT = ("base_model_name_or_path", "revision", "peft_version")
_BEYOND_LORA = (
    *("use_dora", "modules_to_save", "target_parameters", "fan_in_fan_out", "rank_pattern", "alpha_pattern"),
    *("lora_bias", "alora_invocation_tokens", "layer_replication", "megatron_config", "trainable_token_indices"),
)


def model_folder(name: str) -> Path:
    """Return the local folder of `embedded`, of a folder, or of a hub id (downloaded where it is not there yet).

    Raises ConfigError where there is no such model, the hub cannot be reached, or it has no safetensors.
    """
    if name == "embedded":
        return embedded_folder()
    if not name.strip():
        raise ConfigError("model is empty; write embedded, a model folder or a hub id")
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(folder.absolute())
    if folder.exists():
        raise ConfigError(f"model '{name}': this is a file; name the folder with its config.json and safetensors")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.startswith("."):
        raise ConfigError(f"model '{name}': there is no such folder; write embedded, a model folder or a hub id")
    return _checked(_download(name))


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.errors import OfflineModeIsEnabled as Offline

    patterns = [WEIGHTS, "*.safetensors.index.json", *TEXT_FILES]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, ignore_patterns=["*/*"]))
    except HFValidationError:
        raise ConfigError(f"model '{name}': neither a folder nor a valid hub id") from None
    except (LocalEntryNotFoundError, Offline, ConnectionError):
        problem = "there is no such folder, and the hub cannot be reached to look for it"
        raise ConfigError(f"model '{name}': {problem}; check the name and the network") from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        problem = "asks for a log-in or does not know it" if status in (401, 403, 404) else f"answers {status}"
        advice = "check the name, or log in with `hf auth login` where it is private or gated"
        raise ConfigError(f"model '{name}': there is no such folder, and the hub {problem}; {advice}") from None
    except OSError as error:
        raise ConfigError(f"model '{name}': it cannot be downloaded: {str(error).splitlines()[0]}") from None


def _checked(folder: Path) -> Path:
    if (folder / ADAPTER_CONFIG).is_file() and not (folder / "config.json").is_file():
        raise ConfigError(f"model '{folder}': this is an adapter, not a model; name its base model")
    if not (folder / "config.json").is_file():
        raise ConfigError(f"model '{folder}': it holds no config.json, so it is not a model folder")
    if not any(folder.glob(WEIGHTS)):
        pickled = next((path.name for path in (*folder.glob("*.bin"), *folder.glob("*.pt*"))), None)
        found = f" ({pickled} is a pickle, which can run code when loaded)" if pickled else ""
        raise ConfigError(f"model '{folder}': it holds no safetensors weights{found}; convert it to safetensors first")
    problem = _config_problem(folder / "config.json") or _weights_problem(folder)
    if problem:
        raise ConfigError(f"model '{folder}': {problem}; copy or download the model again")
    return folder


def _config_problem(path: Path) -> str:
    """Return what is wrong with a model's config.json, empty where nothing is."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return f"its config.json is not JSON: {error}"
    if not isinstance(config, dict) or not (config.get("model_type") or config.get("architectures")):
        return "its config.json says neither model_type nor architectures"
    return ""


def _weights_problem(folder: Path) -> str:
    """Return what is missing or cut off of a folder's weights, by their headers alone; empty where nothing is."""
    for index in folder.glob("*.safetensors.index.json"):
        try:
            needed = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError):
            return f"{index.name} is damaged"
        missing = sorted(name for name in needed if not (folder / str(name)).is_file())
        if missing:
            return f"{missing[0]} is missing, which {index.name} names"
    for path in sorted(folder.glob(WEIGHTS)):
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            head = file.read(length) if 2 <= length <= min(size - 8, LARGEST_HEAD) else b""
        try:
            ends = [entry["data_offsets"][1] for name, entry in json.loads(head).items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            pointer = path.open("rb").read(20).startswith(b"version https://git")
            found = "a git-lfs pointer, not the weights" if pointer else "no safetensors file, or cut off"
            return f"{path.name} ({size} bytes) is {found}"
        if 8 + length + max(ends, default=0) != size:
            return (
                f"{path.name} has {size} bytes, but its head says {8 + length + max(ends, default=0)}: it is cut off"
            )
    return ""


def policy_of(base: str, adapter: str | None = None) -> Policy:
    """Return the policy of a base model and at most one adapter folder, with the digest of their contents.

    Raises ConfigError where either is missing or not usable.
    """
    folder = model_folder(base)
    contents: dict[str, Any] = {"base": base_digest(folder)}
    if adapter is not None:
        contents["adapter"] = adapter_digest(Path(adapter))
        adapter = str(Path(adapter).expanduser().absolute())
    local = base == "embedded" or Path(base).expanduser().is_dir()
    return Policy(str(folder) if local else base, adapter, digest(contents))


def base_digest(folder: Path) -> str:
    """Return the digest of a model folder's weights, configuration, tokenizer and chat template."""
    files = [*sorted(folder.glob(WEIGHTS)), *(folder / name for name in TEXT_FILES)]
    return digest({path.name: file_digest(path) for path in files if path.is_file()})


def adapter_digest(folder: Path) -> str:
    """Return the digest of an adapter's weights and settings, whatever path its base had when it was trained."""
    settings = {key: value for key, value in adapter_settings(folder).items() if key not in _NOT_CONTENT}
    for key in ("target_modules", "modules_to_save"):  # sets, which peft writes in any order
        if isinstance(settings.get(key), list):
            settings[key] = sorted(settings[key])
    contents = {"weights": file_digest(folder.expanduser() / ADAPTER_WEIGHTS), "settings": settings}
    head = folder.expanduser() / VALUE_HEAD
    return digest({**contents, "head": file_digest(head)} if head.is_file() else contents)


def adapter_settings(folder: Path) -> dict[str, Any]:
    """Return what an adapter's configuration says; raises ConfigError where the folder holds no usable adapter."""
    folder = folder.expanduser()
    if not (folder / ADAPTER_CONFIG).is_file():
        raise ConfigError(f"adapter '{folder}': there is no {ADAPTER_CONFIG}, so it is not an adapter folder")
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise ConfigError(f"adapter '{folder}': there is no {ADAPTER_WEIGHTS}; only safetensors are loaded")
    try:
        settings = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"adapter '{folder}': its {ADAPTER_CONFIG} is not JSON: {error}") from None
    if not isinstance(settings, dict):
        raise ConfigError(f"adapter '{folder}': its {ADAPTER_CONFIG} is no JSON object; train or copy it again")
    return settings


def merged_weights(policy: Policy) -> Iterator[tuple[str, "Tensor"]]:
    """Yield (Hugging Face name, tensor) of a policy with its adapter merged in, one tensor at a time.

    Plain LoRA is added in float32 and rounded once, which gives the tensors that `export_merged` writes; any
    other adapter (DoRA, trained embeddings, biases) is merged by peft in a folder that is removed afterwards.
    """
    folder = model_folder(policy.base)
    if policy.adapter is None:
        yield from _tensors(folder)
        return
    deltas = _lora_deltas(Path(policy.adapter))
    names = {name for path in folder.glob(WEIGHTS) for name in _names(path)}
    if deltas is not None and set(deltas) <= names:
        for name, tensor in _tensors(folder):
            yield name, _add(tensor, *deltas[name]) if name in deltas else tensor
        return
    with tempfile.TemporaryDirectory(prefix="selfimprove-merge-") as merged:
        export_merged(policy, Path(merged) / "model")
        yield from _tensors(Path(merged) / "model")


def _names(path: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def _tensors(folder: Path) -> Iterator[tuple[str, "Tensor"]]:
    from safetensors import safe_open

    for path in sorted(folder.glob(WEIGHTS)):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                yield name, file.get_tensor(name)


def _add(weight: "Tensor", low: "Tensor", high: "Tensor", scale: float) -> "Tensor":
    """Return W + scale * B A with A `low` of shape (r, in) and B `high` of shape (out, r), in W's dtype."""
    return (weight.float() + (high.float() @ low.float()) * scale).to(weight.dtype)


def _lora_deltas(folder: Path) -> dict[str, tuple["Tensor", "Tensor", float]] | None:
    """Return {weight name: (A, B, scale)} of a plain LoRA adapter, None where it is more than that."""
    from safetensors.torch import load_file

    settings = adapter_settings(folder)
    plain = settings.get("peft_type") == "LORA" and settings.get("init_lora_weights", True) in (
        True,
        False,
        "gaussian",
    )
    more = any(settings.get(name) for name in _BEYOND_LORA) or settings.get("bias", "none") != "none"
    if more or not plain:
        return None
    rank, alpha = settings["r"], settings["lora_alpha"]
    scale = alpha / (rank**0.5 if settings.get("use_rslora") else rank)
    weights, deltas = load_file(folder / ADAPTER_WEIGHTS), {}
    for key in [key for key in weights if key.endswith(".lora_A.weight")]:
        stem = key.removesuffix(".lora_A.weight")
        low, high = weights.pop(key), weights.pop(f"{stem}.lora_B.weight", None)
        if high is None:
            return None
        deltas[f"{stem.removeprefix('base_model.model.')}.weight"] = (low, high, scale)
    return None if weights else deltas


def export_merged(policy: Policy, folder: Path | str, *, replace: bool = False) -> Path:
    """Write a policy as one plain model folder with tokenizer and chat template; return the folder.

    The folder appears in one step and keeps the dtype of the base. Raises DataError where it exists already; with
    `replace` the model in it goes once the new one is written.
    """
    folder = Path(folder).expanduser().absolute()
    if folder.exists() and (not folder.is_dir() or (not replace and any(folder.iterdir()))):
        raise DataError(f"{folder}: it exists already; name another folder for the model")
    base = model_folder(policy.base)
    if policy.adapter is not None:
        adapter_settings(Path(policy.adapter))  # refuses what is no adapter, in a sentence
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        if policy.adapter is None:
            for path in (*base.glob(WEIGHTS), *base.glob("*.safetensors.index.json")):
                shutil.copyfile(path, draft / path.name)
        else:
            _merge_with_peft(base, policy.adapter, draft)
        for name in TEXT_FILES:
            if (base / name).is_file() and not (draft / name).is_file():
                shutil.copyfile(base / name, draft / name)
        for path in draft.iterdir():
            path.chmod(0o644)
        draft.chmod(0o755)
        if folder.is_dir():
            shutil.rmtree(folder) if replace else folder.rmdir()
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _merge_with_peft(base: Path, adapter: str, folder: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with quiet():
        model = AutoModelForCausalLM.from_pretrained(base, dtype="auto", trust_remote_code=False)
        merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    for name in ("temperature", "top_p", "top_k"):  # a base may ship sampling values that its own check refuses
        if not merged.generation_config.do_sample:
            setattr(merged.generation_config, name, None)
    with quiet():
        merged.save_pretrained(folder)
    if (base / "generation_config.json").is_file():
        shutil.copyfile(base / "generation_config.json", folder / "generation_config.json")
