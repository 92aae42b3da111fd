"""A causal language model with one linear head of one output: what a value model and a reward model are on disk.

The head reads the last hidden state at any token and has no bias, so that the same checkpoint is a
`...ForTokenClassification` (a value at every token), a `...ForSequenceClassification` (the last token's) and a pooling
model of vLLM. A new head is zero: before training the value is 0 everywhere, whatever the seed.
"""

import importlib
import json
import math
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfimprove.embedded import quiet
from selfimprove.engines.base import Policy
from selfimprove.errors import ConfigError
from selfimprove.files import write_json
from selfimprove.models import VALUE_HEAD, load_tokenizer, model_folder

if TYPE_CHECKING:
    import torch

HEAD = "score"
"""Name of the head's module, and of what an adapter trains whole beside its low-rank matrices."""

LOSSES = ("mse", "bce")
"""Losses of a value model: on the head's output as it is, or on its logistic function."""


def load_with_head(name: str, **options: Any) -> tuple[Any, bool]:
    """Return (the model of a folder or hub id with its scalar head, whether the head is new and zero).

    `options` go to `from_pretrained`. Raises ConfigError where the architecture has no such form.
    """
    from transformers import AutoConfig, AutoModelForTokenClassification

    folder = model_folder(name)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    config.num_labels = 1
    config.token_classification_bias = False
    config.classifier_dropout = 0.0
    try:
        with quiet(), _saying_nothing():
            model = AutoModelForTokenClassification.from_pretrained(
                folder, config=config, use_safetensors=True, **options
            )
    except ValueError as error:
        raise ConfigError(f"{folder}: no value model can be made of it: {str(error).splitlines()[0]}") from None
    head = getattr(model, HEAD, None)
    if head is None or head.bias is not None:
        raise ConfigError(
            f"{folder}: no value model can be made of a {config.model_type}: transformers gives it no scalar head "
            f"named '{HEAD}' without bias; take a Llama, Qwen, Mistral or Gemma model"
        )
    stored = stored_head(folder)
    _set_head(head, stored)
    model.config.use_cache = False
    return model, stored is None


def _set_head(head: Any, stored: "torch.Tensor | None") -> None:
    """Make a head float32, whatever the rest is: rounding it would move every value, and lose small steps of training.

    Under ZeRO-3, where a weight lies in parts and all have one dtype, a new head is only made zero.
    """
    import torch

    if hasattr(head.weight, "ds_id"):
        zero = importlib.import_module("deepspeed.zero")
        with zero.GatheredParameters(head.weight, modifier_rank=0):
            if stored is None:
                head.weight.data.zero_()
    else:
        head.weight.data = torch.zeros(head.weight.shape) if stored is None else stored.float()
    head.register_forward_pre_hook(_in_dtype_of_head)


def _in_dtype_of_head(head: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (inputs[0].to(head.weight.dtype), *inputs[1:])


@contextmanager
def _saying_nothing() -> Generator[None, None, None]:
    """Keep transformers from warning of a head that is new, which it is meant to be."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def stored_head(folder: Path) -> "torch.Tensor | None":
    """Return the head (1, d) that a model folder's weights hold, None where they hold none."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            if f"{HEAD}.weight" in file.keys():  # noqa: SIM118 (not a mapping)
                return file.get_tensor(f"{HEAD}.weight")
    return None


def has_head(name: str) -> bool:
    """Return whether a model's weights hold a scalar head already."""
    return stored_head(model_folder(name)) is not None


def load_merged(policy: Policy, dtype: Any) -> tuple[Any, Any]:
    """Return (value model with its adapter merged in, tokenizer); `dtype` is a torch dtype or "auto"."""
    model, _ = load_with_head(policy.base, dtype=dtype, trust_remote_code=False)
    if policy.adapter is not None:
        from peft import PeftModel

        with quiet():
            model = PeftModel.from_pretrained(model, policy.adapter).merge_and_unload()
    return model.eval(), load_tokenizer(str(model_folder(policy.base)))


def last_values(model: Any, rows: "list[list[int]]") -> list[float]:
    """Return the head's output at the last token of every row of token ids; one forward pass, head in float32.

    Rows are padded on the right and read at their own last token, so that padding changes nothing.
    """
    import torch

    longest, device = max(map(len, rows)), model.device
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
    with torch.inference_mode():
        body = getattr(model, model.base_model_prefix)
        hidden = body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        last = hidden[torch.arange(len(rows), device=device), mask.sum(-1) - 1]
        return head_output(last, model).tolist()


def head_output(hidden: "torch.Tensor", model: Any) -> "torch.Tensor":
    """Return w . h in float32 of last hidden states (N, d): (N,)."""
    return hidden.float() @ getattr(model, HEAD).weight.float()[0]


def loss_of(policy: Policy) -> str:
    """Return the loss that a value model was trained with; mse where its folder does not say."""
    path = Path(policy.adapter or policy.base) / VALUE_HEAD
    return json.loads(path.read_text(encoding="utf-8"))["loss"] if path.is_file() else "mse"


def as_value(output: float, loss: str) -> float:
    """Return the value that a head's output stands for, in the scale of the labels: sigmoid under bce, else itself."""
    if loss != "bce":
        return output
    return 1 / (1 + math.exp(-output)) if output >= 0 else math.exp(output) / (1 + math.exp(output))


def note_loss(folder: Path, loss: str, dtype: str | None = None) -> None:
    """Write beside the weights what the head was trained on, and name the form in which vLLM serves a whole model.

    `dtype` is what a whole model's configuration says of its weights, where it is not what it says already.
    """
    write_json(folder / VALUE_HEAD, {"loss": loss})
    path = folder / "config.json"
    if path.is_file():
        config = json.loads(path.read_text(encoding="utf-8"))
        names = config.get("architectures") or []
        form = [name.replace("ForTokenClassification", "ForSequenceClassification") for name in names]
        write_json(path, {**config, "architectures": form, **({"dtype": dtype} if dtype else {})})


def export_value(policy: Policy, folder: Path) -> Path:
    """Write a value model as one plain folder, its adapter merged in, as vLLM's pooling runner takes it."""
    import torch
    from transformers import AutoConfig

    dtype = AutoConfig.from_pretrained(model_folder(policy.base), trust_remote_code=False).dtype or torch.bfloat16
    model, tokenizer = load_merged(policy, torch.float32)
    state = {
        name: value if name == f"{HEAD}.weight" else value.to(dtype) for name, value in model.state_dict().items()
    }
    with quiet():
        model.save_pretrained(folder, state_dict=state)
    tokenizer.save_pretrained(folder)
    note_loss(folder, loss_of(policy), str(dtype).removeprefix("torch."))
    return folder
