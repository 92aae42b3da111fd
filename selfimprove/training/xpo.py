"""Sharpening by pairs: the implicit reward's gap is regressed onto the self-reward's, alone or with exploration (XPO).

The reference is the frozen base model, whose log-probs every row brings along: training may start from any policy, in
any round, without a second model in memory. Rows are Pairs: `chosen` is y and `rejected` y2 (either may be the better
one), `margin` is r(y) - r(y2), and `meta` holds `base_logp_y` and `base_logp_y2` in nats.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from trl.trainer.utils import use_adapter

from selfimprove.chat import completion_ids
from selfimprove.errors import DataError, TrainError
from selfimprove.records import Pair
from selfimprove.training.dpo import PairTrainer, Sides
from selfimprove.training.losses import pair_margin, weighted_mean, xpo
from selfimprove.training.trainers import NoOptions, Optimism

BASE = ("base_logp_y", "base_logp_y2")
"""Keys of a row's `meta`: log B(y|x) and log B(y2|x), sums over completion tokens, end token included, in nats."""

ROUNDING, LEAST = 0.05, 1.0
"""Nats by which two programs' log-probs of one text may differ: a token, and at least."""


def columns(row: Pair, tokenizer: Any, options: Any, limit: int | None) -> dict[str, float] | None:
    """Return gap, ref_chosen_logps and ref_rejected_logps of a row, None where it would be cut to `limit` tokens.

    The base's log-probs are those of whole answers, so a row is trained whole or not at all. Raises DataError where
    the row lacks them.
    """
    known = map(row.meta.get, BASE)
    base = [float(value) for value in known if isinstance(value, int | float) and math.isfinite(value)]
    if row.margin is None or len(base) < len(BASE):
        raise DataError(
            f"row {row.id}: this loss needs margin and meta.{', meta.'.join(BASE)}; take rows of method 'sharpening' "
            "with objective regression or xpo, or another train.loss_type"
        )
    prompt, chosen = completion_ids(tokenizer, row.prompt, row.chosen)
    _, rejected = completion_ids(tokenizer, row.prompt, row.rejected)
    if limit is not None and len(prompt) + max(len(chosen), len(rejected)) > limit:
        return None
    return {"gap": float(row.margin), "ref_chosen_logps": base[0], "ref_rejected_logps": base[1]}


def make_trainer(
    *, options: Optimism | NoOptions, args: Any, smoothed: bool, ref_model: Any, **common: Any
) -> "BaseGapTrainer":
    """Return the trainer; raises TrainError for rows with a smoothing, since their labels are numbers, not orders."""
    if smoothed:
        raise TrainError("the rows have a smoothing, which these losses do not use: they regress; leave it out")
    args.precompute_ref_log_probs = True  # TRL's name for references that come with the rows: no second model
    optimism = options if isinstance(options, Optimism) else Optimism(alpha=0.0)
    return BaseGapTrainer(optimism=optimism, args=args, **common)


class BaseGapTrainer(PairTrainer):
    """PairTrainer whose loss is `losses.xpo`; with alpha 0 that is `losses.reward_regression`."""

    def __init__(self, *, optimism: Optimism, **kwargs: Any) -> None:
        """Make the trainer; the dataset holds gap and the base's log-probs as well."""
        self.optimism = optimism
        self._base_checked = False
        super().__init__(**kwargs)

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        return dataset  # its rows bring the base's log-probs along

    def pair_loss(self, model: Any, inputs: dict[str, Any], sides: Sides) -> tuple[torch.Tensor, float | None]:
        """Return the loss of a batch; nothing is known of its start, since policy and base may differ by then."""
        if model.training and not self._base_checked:
            self._base_checked = True
            self._check_base(model, inputs, sides)
        margin = pair_margin(*sides, self.beta)
        losses = xpo(margin, inputs["gap"], sides.rejected, self.optimism.alpha, self.optimism.scale)
        return weighted_mean(losses, inputs["weight"]), None

    def _check_base(self, model: Any, inputs: dict[str, Any], sides: Sides) -> None:
        """Hold, on the first batch, that the rows' log-probs are those of the model under the adapter.

        Trained without an adapter, the base is gone after the first round, so nothing can be compared.
        """
        policy = self.accelerator.unwrap_model(self.model)
        if not hasattr(policy, "peft_config") or self.state.global_step:
            return
        with torch.no_grad(), use_adapter(policy, adapter_name=None):
            found = torch.cat(self._log_probs(model, inputs))
        refuse_other_base(
            found.tolist(),
            torch.cat([sides.ref_chosen, sides.ref_rejected]).tolist(),
            inputs["completion_mask"].sum(-1).tolist(),
        )


def refuse_other_base(found: Sequence[float], given: Sequence[float], tokens: Sequence[int]) -> None:
    """Raise TrainError where log-probs (nats) of sequences differ by more than rounding explains for their length."""
    for own, carried, count in zip(found, given, tokens, strict=True):
        if not abs(own - carried) <= max(LEAST, ROUNDING * count):
            raise TrainError(
                f"the rows say that the base gives an answer of {count} tokens a log-prob of {carried:.2f}, but the "
                f"model without its adapter gives {own:.2f}: the rows were made with another model or chat template; "
                "make them with this one"
            )
