"""Supervised fine-tuning: TRL's SFTTrainer with a weight per row and the loss on the completion only."""

from pathlib import Path
from typing import Any

from trl import SFTTrainer
from trl.trainer.base_trainer import _BaseTrainer

from selfimprove.training.collate import ExampleCollator
from selfimprove.training.forward import token_log_probs
from selfimprove.training.losses import weighted_nll
from selfimprove.training.preview import write_preview


class FirstBatch(_BaseTrainer):
    """A TRL trainer that checks the first batch on every rank, and shows it on the first, before any step is taken."""

    preview_path: Path | None = None
    _previewed = False

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Check the first batch, then train as the trainer does."""
        if not self._previewed:
            self._previewed = True
            shown = self.is_world_process_zero() and self.state.global_step == 0
            write_preview(inputs, self.processing_class, self.preview_path if shown else None)
        return super().training_step(model, inputs, *args, **kwargs)

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset  # rows come tokenised, see data.py


class ExampleTrainer(FirstBatch, SFTTrainer):
    """SFTTrainer whose loss is `losses.weighted_nll`; `loss_type: dft` is TRL's own, without weights."""

    def __init__(self, *, tokenizer: Any, args: Any, **kwargs: Any):
        """Make the trainer; the dataset holds input_ids, labels and weight."""
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        collator = ExampleCollator(pad_token_id=tokenizer.pad_token_id, pad_to_multiple_of=args.pad_to_multiple_of)
        self.loss_name = args.loss_type
        super().__init__(processing_class=tokenizer, args=args, data_collator=collator, **kwargs)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the weighted negative log-likelihood per trained token of the whole optimiser step."""
        weights = inputs.pop("weight")
        if self.loss_name != "nll" or self.aux_loss_enabled or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        fused = self.accelerator.device.type != "cpu"
        batch = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        log_probs, trained, first = token_log_probs(model, batch, inputs["labels"], fused)
        loss = weighted_nll(log_probs, weights, trained.sum() if num_items_in_batch is None else num_items_in_batch)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over ranks, T counts all of them
        counts = self.accelerator.gather_for_metrics(
            loss.new_tensor([first.sum() if first is not None else 0, trained.sum()]).unsqueeze(0)
        )
        right, total = counts.sum(0).tolist()
        self._metrics["train" if model.training else "eval"]["mean_token_accuracy"].append(right / max(total, 1))
        return loss
