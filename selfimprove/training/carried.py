"""Preference training against a reference that is not where the training starts: its log-probs come with the rows.

For methods over rounds whose reference stays the model of one round (the SFT model, say) while training goes on from
the newest policy. No second model is held in memory. Rows are Pairs whose `meta` has `ref_chosen` and `ref_rejected`,
the reference's log-probs of both sides in nats, end of turn included where the side has its end.
"""

from typing import Any

import torch

from selfimprove.chat import completion_ids
from selfimprove.errors import DataError
from selfimprove.records import Pair
from selfimprove.training.data import is_number
from selfimprove.training.dpo import PairTrainer, Sides
from selfimprove.training.trainers import NoOptions

CARRIED = ("ref_chosen", "ref_rejected")
"""Keys of a row's `meta`."""


def columns(row: Pair, tokenizer: Any, options: NoOptions, limit: int | None) -> dict[str, float] | None:
    """Return ref_chosen_logps and ref_rejected_logps of a row, None where it would be cut to `limit` tokens.

    The log-probs are those of whole sides, so a row is trained whole or not at all. Raises DataError where the row
    lacks them.
    """
    known = [float(value) for value in map(row.meta.get, CARRIED) if value is not None and is_number(value)]
    if len(known) < len(CARRIED):
        raise DataError(
            f"row {row.id}: this loss needs meta.{' and meta.'.join(CARRIED)}, the reference's log-probs of both "
            "sides; take rows that were made for it, or another train.loss_type"
        )
    prompt, chosen = completion_ids(tokenizer, row.prompt, row.chosen, row.chosen_end)
    _, rejected = completion_ids(tokenizer, row.prompt, row.rejected, row.rejected_end)
    if limit is not None and len(prompt) + max(len(chosen), len(rejected)) > limit:
        return None
    return {"ref_chosen_logps": known[0], "ref_rejected_logps": known[1]}


def make_trainer(*, options: NoOptions, args: Any, ref_model: Any, **common: Any) -> "CarriedTrainer":
    """Return the trainer."""
    args.precompute_ref_log_probs = True  # TRL's name for references that come with the rows: no second model
    return CarriedTrainer(args=args, **common)


class CarriedTrainer(PairTrainer):
    """PairTrainer whose reference is what the rows say."""

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        return dataset  # its rows bring the log-probs along

    def pair_loss(self, model: Any, inputs: dict[str, Any], sides: Sides) -> tuple[torch.Tensor, float | None]:
        """Return the loss of a batch; nothing is known of its start, since policy and reference differ by then."""
        return super().pair_loss(model, inputs, sides)[0], None
