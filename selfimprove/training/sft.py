"""Supervised fine-tuning: TRL's SFTTrainer with a weight per row and the loss on the completion only.

With an objective the loss is about all right answers to a prompt at once: a batch then holds whole groups of rows, and
its size counts groups.
"""

from pathlib import Path
from typing import Any

from trl import SFTTrainer
from trl.trainer.base_trainer import _BaseTrainer

from selfimprove.errors import TrainError
from selfimprove.training.collate import ExampleCollator, GroupCollator
from selfimprove.training.forward import token_log_probs
from selfimprove.training.losses import longest_in_group, multi_target_loss, weighted_nll
from selfimprove.training.objective import Objective
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
            self.show_batch(inputs, self.preview_path if shown else None)
        return super().training_step(model, inputs, *args, **kwargs)

    def show_batch(self, inputs: dict[str, Any], path: Path | None) -> None:
        """Check a batch and, where a path is given, write its preview."""
        write_preview(inputs, self.processing_class, path)

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset  # rows come tokenised, see data.py


class ExampleTrainer(FirstBatch, SFTTrainer):
    """SFTTrainer whose loss is `losses.weighted_nll`; `loss_type: dft` is TRL's own, without weights.

    With an objective it is `losses.multi_target_loss`, a mean over the groups of the whole optimiser step.
    """

    def __init__(
        self, *, tokenizer: Any, args: Any, objective: Objective | None = None, grouped: bool = False, **kwargs: Any
    ):
        """Make the trainer; the dataset holds input_ids, labels and weight; lists of them with an objective.

        `grouped`: they are lists all the same, for a subclass whose loss is about whole groups.
        """
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        kind = ExampleCollator if objective is None and not grouped else GroupCollator
        collator = kind(pad_token_id=tokenizer.pad_token_id, pad_to_multiple_of=args.pad_to_multiple_of)
        self.loss_name, self.multi_target = args.loss_type, objective
        super().__init__(processing_class=tokenizer, args=args, data_collator=collator, **kwargs)
        if objective is not None and self.aux_loss_enabled:
            raise TrainError("train.objective takes no router loss; set model_init_kwargs.output_router_logits: false")

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the weighted negative log-likelihood per trained token of the whole step, or the objective."""
        weights, groups = inputs.pop("weight"), inputs.pop("group", None)
        if self.loss_name != "nll" or self.aux_loss_enabled or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        fused = self.accelerator.device.type != "cpu"
        batch = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        log_probs, trained, first = token_log_probs(model, batch, inputs["labels"], fused)
        if self.multi_target is None:
            loss = weighted_nll(
                log_probs, weights, trained.sum() if num_items_in_batch is None else num_items_in_batch
            )
        else:
            losses = objective_losses(self.multi_target, log_probs.sum(-1), inputs["attention_mask"].sum(-1), groups)
            loss = losses.sum() / (len(losses) if num_items_in_batch is None else num_items_in_batch)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over ranks, T counts all of them
        counts = self.accelerator.gather_for_metrics(
            loss.new_tensor([first.sum() if first is not None else 0, trained.sum()]).unsqueeze(0)
        )
        right, total = counts.sum(0).tolist()
        self._metrics["train" if model.training else "eval"]["mean_token_accuracy"].append(right / max(total, 1))
        return loss

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
        """Count groups where there is an objective, else the trained tokens, of a whole optimiser step."""
        if self.multi_target is None or not batch_samples:
            return super()._get_num_items_in_batch(batch_samples, device)
        count = sum(batch["group"].max() + 1 for batch in batch_samples).to(device)
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            count = self.accelerator.gather(count).sum()
        return count


def objective_losses(objective: Objective, log_probs: Any, lengths: Any, groups: Any) -> Any:
    """Return the loss of every group (G,) from its rows' log-probs (N,) in nats and their lengths (N,) in tokens."""
    if objective.length_norm:
        log_probs = log_probs * longest_in_group(lengths, groups) / lengths
    lambdas = (objective.mle_lambda, objective.mml_lambda)
    return multi_target_loss(log_probs, groups, objective.beta, lambdas, objective.mle_aug_norm)
