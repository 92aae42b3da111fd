"""Training of models with a scalar head: a value at the end of every labelled step, or a reward by Bradley-Terry.

The value model is V(prompt, text so far) = w . h, a linear head without bias and without activation on the last hidden
state of the text's last token. Under `value_loss: mse` V itself is held to the label, mean (V - y)^2 over the
labelled steps of the optimiser step (ReST-MCTS*, arXiv 2406.03816, which reads the head of the logits instead); under
`bce` the logistic function of V is.
"""

import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from trl import RewardTrainer
from trl.trainer.utils import pad

from selfimprove.engines.parts.value_head import HEAD, load_with_head, note_loss
from selfimprove.errors import TrainError
from selfimprove.models import adapter_settings
from selfimprove.training.args import loading_options, lora_fields
from selfimprove.training.data import refuse_doubled
from selfimprove.training.job import Job
from selfimprove.training.policy import refuse_other_adapter
from selfimprove.training.sft import FirstBatch

NEAR = 0.1
"""A value this near to its label counts as right in the training's log (the rate of the ReST-MCTS* code)."""

SHOWN = 8


def value_loss(values: torch.Tensor, targets: torch.Tensor, loss: str, count: Any = None) -> torch.Tensor:
    """Return the loss of head outputs (B, T) against targets (B, T), nan where there is none, as a scalar.

    Summed over labelled steps and divided by `count`, by default their number. mse: (V - y)^2; bce:
    -y ln sigmoid(V) - (1 - y) ln(1 - sigmoid(V)), in nats.
    """
    labelled = ~targets.isnan()
    outputs, labels = values[labelled].float(), targets[labelled].float()
    if loss == "bce":
        total = F.binary_cross_entropy_with_logits(outputs, labels, reduction="sum")
    else:
        total = F.mse_loss(outputs, labels, reduction="sum")
    return total / (labelled.sum() if count is None else count)


class ValueCollator:
    """Rows {input_ids, targets} -> input_ids, attention_mask and targets (B, T), padded on the right."""

    def __init__(self, pad_token_id: int, multiple: int | None) -> None:
        """`multiple`: T is one of its multiples."""
        self.pad_token_id, self.multiple = pad_token_id, multiple

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return the padded batch."""
        ids = [torch.tensor(example["input_ids"]) for example in examples]
        targets = [torch.tensor(example["targets"], dtype=torch.float32) for example in examples]
        sides: dict[str, Any] = {"padding_side": "right", "pad_to_multiple_of": self.multiple}
        return {
            "input_ids": pad(ids, padding_value=self.pad_token_id, **sides),
            "attention_mask": pad([torch.ones_like(row) for row in ids], padding_value=0, **sides),
            "targets": pad(targets, padding_value=math.nan, **sides),  # ty: ignore[invalid-argument-type]
        }


class ComparisonTrainer(FirstBatch, RewardTrainer):
    """TRL's RewardTrainer on our rows: -ln sigmoid(r(chosen) - r(rejected)), read at the last token of each."""

    def __init__(self, *, tokenizer: Any, args: Any, loss: str = "mse", fresh: bool = False, **kwargs: Any) -> None:
        """Make the trainer; the dataset holds chosen_ids and rejected_ids. `fresh`: the head is new, so zero."""
        self.loss_name, self.fresh = loss, fresh
        super().__init__(processing_class=tokenizer, args=args, **kwargs)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return TRL's loss, given the output at the last real token of every sequence."""
        return super().compute_loss(_AtLast(model), inputs, return_outputs, num_items_in_batch)

    def show_batch(self, inputs: dict[str, Any], path: Path | None) -> None:
        """Check the first batch and show it."""
        half = len(inputs["input_ids"]) // 2
        targets = torch.full(inputs["input_ids"].shape, float("nan"))
        last = inputs["attention_mask"].sum(-1).cpu() - 1
        targets[torch.arange(2 * half), last] = torch.tensor([1.0] * half + [-1.0] * half)
        write_value_preview({**inputs, "targets": targets}, self.processing_class, path)


class _AtLast:
    """A model whose logits are those of the last real token, (B, 1), as TRL's loss wants them."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, **inputs: Any) -> Any:
        outputs = self.model(**inputs)
        last = inputs["attention_mask"].sum(-1) - 1
        outputs.logits = outputs.logits[torch.arange(len(last), device=last.device), last]
        return outputs


class ValueTrainer(ComparisonTrainer):
    """RewardTrainer whose loss is `value_loss` over the labelled steps of the whole optimiser step."""

    loss_is_scaled_for_ga = True

    def __init__(self, *, tokenizer: Any, args: Any, **kwargs: Any) -> None:
        """Make the trainer; the dataset holds input_ids and targets."""
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        collator = ValueCollator(tokenizer.pad_token_id, args.pad_to_multiple_of)
        super().__init__(tokenizer=tokenizer, args=args, data_collator=collator, **kwargs)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss; on the first batch of a new head its values must be 0."""
        batch = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        outputs = model(**batch, use_cache=False)
        values, targets = outputs.logits.squeeze(-1), inputs["targets"]
        found, labels = values.detach()[~targets.isnan()].float(), targets[~targets.isnan()]
        if self.fresh and model.training:
            self.fresh = False
            if self.state.global_step == 0 and found.numel() and float(found.abs().max()) > 0:
                raise TrainError(
                    f"a new value head must give 0 before the first step, but gives {float(found.abs().max()):.3g}: "
                    "the head did not come into the model as it was made; report this with the model's name"
                )
        loss = value_loss(values, targets, self.loss_name, num_items_in_batch)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over ranks, the count is of all
        read = found.sigmoid() if self.loss_name == "bce" else found
        near = ((read - labels).abs() <= NEAR).sum()
        sums = torch.stack([((read - labels) ** 2).sum(), near, torch.tensor(len(labels), device=near.device)])
        square, close, count = self.accelerator.gather(sums.float().unsqueeze(0)).sum(0).tolist()
        figures = self._metrics["train" if model.training else "eval"]
        figures["value_mse"].append(square / max(count, 1))
        figures["value_near"].append(close / max(count, 1))
        return (loss, outputs) if return_outputs else loss

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
        """Count the labelled steps of a whole optimiser step."""
        if not batch_samples:
            return None
        count = sum((~batch["targets"].isnan()).sum() for batch in batch_samples).to(device)
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            count = self.accelerator.gather(count).sum()
        return count

    def show_batch(self, inputs: dict[str, Any], path: Path | None) -> None:
        """Check the first batch and show it."""
        write_value_preview(inputs, self.processing_class, path)


def make_head_trainer(job: Job, args: Any, tokenizer: Any, rows: Any) -> Any:
    """Return the trainer of a job of kind steps or reward, with its model in place."""
    model, adapter, fresh = load_head(job, args.device.type == "cpu", args)
    kind = ValueTrainer if job.kind == "steps" else ComparisonTrainer
    return kind(
        tokenizer=tokenizer, args=args, model=model, train_dataset=rows, peft_config=adapter,
        loss=job.options.get("value_loss", "mse"), fresh=fresh,
    )  # fmt: skip


def load_head(job: Job, cpu: bool, args: Any) -> tuple[Any, Any, bool]:
    """Return (model, peft config or None, whether the head is new), as `policy.load_policy` does for policies.

    An adapter holds the head beside its matrices. Raises TrainError where one that is trained further has none.
    """
    from peft import LoraConfig, PeftModel

    lora = lora_fields(job.options.get("lora"))
    model, fresh = load_with_head(job.policy_base, **loading_options(job.options, cpu))
    if job.policy_adapter is None:
        if lora is None:
            return model, None, fresh
        saved = [HEAD, *(lora.get("modules_to_save") or [])]
        settings: dict[str, Any] = {**lora, "task_type": "SEQ_CLS", "modules_to_save": saved}
        return model, LoraConfig(**settings), fresh
    adapter = Path(job.policy_adapter)
    if HEAD not in (adapter_settings(adapter).get("modules_to_save") or []):
        raise TrainError(
            f"{adapter}: this adapter has no value head; start a value model from a base or a value model"
        )
    if lora is None:
        merged = PeftModel.from_pretrained(model, job.policy_adapter).merge_and_unload()
        return merged.requires_grad_(True), None, False
    refuse_other_adapter(adapter, lora)
    zero3 = args.deepspeed_plugin is not None and args.deepspeed_plugin.zero_stage == 3
    model = PeftModel.from_pretrained(model, job.policy_adapter, is_trainable=True, autocast_adapter_dtype=not zero3)
    return model, None, False


def note_head(job: Job, folder: Path) -> None:
    """Write what the head was trained on beside a saved adapter or model."""
    note_loss(folder, job.options.get("value_loss", "mse") if job.kind == "steps" else "bradley_terry")


def write_value_preview(batch: dict[str, Any], tokenizer: Any, path: Path | None) -> None:
    """Check a batch and, where a path is given, write its tokens with the target behind each token that is read.

    Raises TrainError where a sequence has no target, or a special token is doubled.
    """
    shown = []
    ids, attention, targets = (batch[name].tolist() for name in ("input_ids", "attention_mask", "targets"))
    for number, (row, there, labels) in enumerate(zip(ids, attention, targets, strict=True), start=1):
        seen = [(token, label) for token, real, label in zip(row, there, labels, strict=True) if real]
        places = [place for place, (_, label) in enumerate(seen) if label == label]
        if not places:
            raise TrainError(f"the first batch, row {number}: no step of it has a label; raise max_length")
        refuse_doubled(tokenizer, [token for token, _ in seen], f"the first batch, row {number}")
        text, start = "", 0
        for place in places:
            text += tokenizer.decode([token for token, _ in seen[start : place + 1]]) + f"[[{seen[place][1]:g}]]"
            start = place + 1
        text += tokenizer.decode([token for token, _ in seen[start:]])
        pieces = " ".join(f"{token}[{label:g}]" if label == label else str(token) for token, label in seen)
        shown.append(f"--- row {number}: {len(seen)} tokens, {len(places)} labelled\n{text}\nids: {pieces}\n")
    if path is not None:
        head = (
            f"the first batch: {len(ids)} sequences of at most {len(ids[0])} tokens; a label stands in [[ ]] behind "
        )
        text = head + "the token\nat which the value is read.\n\n" + "\n".join(shown[:SHOWN])
        path.write_text(text, encoding="utf-8")
