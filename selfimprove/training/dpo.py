"""Preference training: TRL's DPOTrainer with row weights, smoothing by row, and a reference that is checked."""

from typing import Any, NamedTuple

import torch
from trl import DPOTrainer
from trl.trainer.utils import use_adapter

from selfimprove.errors import TrainError
from selfimprove.training.checks import check_start
from selfimprove.training.collate import ROW_COLUMNS, PairCollator
from selfimprove.training.forward import token_log_probs
from selfimprove.training.losses import PAIR_LOSSES, START_VALUE, pair_margin, row_smoothing, weighted_mean
from selfimprove.training.policy import REFERENCE
from selfimprove.training.sft import FirstBatch

EXACT, ROUNDED = 1e-2, 1.0
"""Nats by which log-probs of one sequence may differ between two passes of the same model: the same batch gives the
same numbers, in bfloat16 a batch that was padded otherwise gives others (0.1 to 0.2 nats were seen per reply)."""


class Sides(NamedTuple):
    """Log-probs (B,) of both answers under policy and reference, sums over completion tokens in nats."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    ref_chosen: torch.Tensor
    ref_rejected: torch.Tensor


class PairTrainer(FirstBatch, DPOTrainer):
    """DPOTrainer whose logistic and hinge losses are those of `losses.py`; the others are TRL's, without weights."""

    def __init__(
        self, *, tokenizer: Any, args: Any, weighted: bool = False, smoothed: bool = False, **kwargs: Any
    ) -> None:
        """Make the trainer; the dataset holds prompt_ids, chosen_ids, rejected_ids, weight and smoothing.

        Raises TrainError where rows have weights (`weighted`) or a smoothing (`smoothed`) and the loss is one of
        TRL's own.
        """
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        self.ours = (
            len(args.loss_type) == 1
            and args.loss_type[0] in PAIR_LOSSES
            and args.f_divergence_type == "reverse_kl"
            and args.ld_alpha is None
            and not args.use_weighting
        )
        needs = [column for column, given in (("weights", weighted), ("smoothing", smoothed)) if given]
        if needs and not self.ours:
            raise TrainError(
                f"the rows have {needs[0]}, which only the losses {', '.join(PAIR_LOSSES)} use, not loss_type = "
                f"{', '.join(args.loss_type)} with these options; drop the {needs[0]} or take one of those"
            )
        collator = PairCollator(pad_token_id=tokenizer.pad_token_id, pad_to_multiple_of=args.pad_to_multiple_of)
        super().__init__(processing_class=tokenizer, args=args, data_collator=collator, **kwargs)
        own = type(self).pair_loss is not PairTrainer.pair_loss
        if (needs or own) and not (self.ours and not self.aux_loss_enabled):  # TRL's loss would be taken instead
            raise TrainError(
                "weights, smoothing and losses with a trainer of their own take no other divergence, no ld_alpha, no "
                "use_weighting and no router loss (set router_aux_loss_coef: 0); take these out of the train section"
            )
        self.ours = self.ours and not self.aux_loss_enabled
        self._start_checked = False

    def _log_probs(self, model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (log p of chosen, log p of rejected), each (B,), sums over completion tokens in nats."""
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
        batch = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        fused = self.accelerator.device.type != "cpu"
        chosen, rejected = token_log_probs(model, batch, labels, fused)[0].sum(-1).chunk(2)
        return chosen, rejected

    def _reference_log_probs(self, inputs: dict[str, Any], model: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what `_log_probs` gives under the policy as it was when this training started."""
        with torch.no_grad():
            if self.ref_model is not None:
                return self._log_probs(self.ref_model, inputs)
            policy = self.accelerator.unwrap_model(self.model)
            if not hasattr(policy, "peft_config"):  # full weights, asked before the first step: the policy itself
                return self._log_probs(model or self.model, inputs)
            name = REFERENCE if REFERENCE in policy.peft_config else None  # None: adapter off, which is the base
            with use_adapter(policy, adapter_name=name):
                return self._log_probs(model or self.model, inputs)

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the reference's log-probs for `precompute_ref_log_probs`."""
        with self.accelerator.autocast():
            return self._reference_log_probs(inputs, model)

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        if not self.ours or return_outputs:
            given = {name: value for name, value in inputs.items() if name not in ROW_COLUMNS}
            return super()._compute_loss(model, given, return_outputs)
        chosen, rejected = self._log_probs(model, inputs)
        if self.precompute_ref_logps:
            ref_chosen, ref_rejected = inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]
        else:
            ref_chosen, ref_rejected = self._reference_log_probs(inputs)
        loss, start = self.pair_loss(model, inputs, Sides(chosen, rejected, ref_chosen, ref_rejected))
        gaps = torch.stack([chosen - ref_chosen, rejected - ref_rejected]).detach()
        if model.training and not self._start_checked and start is not None:
            self._check_start(float(loss.detach()), start, float(gaps.abs().max()))
        self._note("train" if model.training else "eval", gaps, chosen.detach(), rejected.detach())
        return loss * self.loss_weights[0]

    def pair_loss(self, model: Any, inputs: dict[str, Any], sides: Sides) -> tuple[torch.Tensor, float | None]:
        """Return the loss of a batch, and its value where policy and reference are the same model.

        What another loss overrides; None as second value: nothing is known of the start, and it is not checked.
        """
        loss, weights = PAIR_LOSSES[self.loss_types[0]], inputs["weight"]
        smoothing = row_smoothing(inputs.get("smoothing"), self.label_smoothing)
        losses = loss(pair_margin(*sides, self.beta), smoothing)
        return weighted_mean(losses, weights), START_VALUE[self.loss_types[0]] * float(weights.mean())

    def _check_start(self, loss: float, start: float, gap: float) -> None:
        """Hold, on the first batch of a fresh training, that policy and reference are the same model."""
        self._start_checked = True
        if self.state.global_step == 0:
            low = self.accelerator.unwrap_model(self.model).dtype != torch.float32 or self.args.bf16 or self.args.fp16
            check_start(loss, start, gap, ROUNDED if low and self.precompute_ref_logps else EXACT)

    def _note(self, mode: str, gaps: torch.Tensor, chosen: torch.Tensor, rejected: torch.Tensor) -> None:
        """Log rewards, margin, accuracy and log-probs under TRL's names, averaged over all ranks."""
        rewards = self.beta * gaps
        figures = {
            "rewards/chosen": rewards[0],
            "rewards/rejected": rewards[1],
            "rewards/margins": rewards[0] - rewards[1],
            "rewards/accuracies": (rewards[0] > rewards[1]).float(),
            "logps/chosen": chosen,
            "logps/rejected": rejected,
        }
        means = self.accelerator.gather(torch.stack(list(figures.values()), 1)).mean(0).tolist()
        for name, value in zip(figures, means, strict=True):
            self._metrics[mode][name].append(value)
