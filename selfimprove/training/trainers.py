"""Losses with a trainer of their own: their names, their options, and what the module of such a trainer must hold.

A method asks for one with `LOSS = "scir"` or, where only some rounds use it or its options are the method's own, in
its learn: `run.train("pairs", rows, loss_type="scir", loss_options={"penalty": cfg.penalty})`. A recipe may set
`train: {loss_type: scir, loss_options: {penalty: 0.5}}`. Its line in TRAINERS names the module, which holds:

    def make_trainer(*, options, **common) -> trainer

`options` is an instance of `Own.options`. `common` is what PairTrainer takes (kind "pairs": model, args,
train_dataset, tokenizer, peft_config, ref_model, weighted, smoothed) or ExampleTrainer takes (kind "sft": the first
five, objective, which is None, and grouped). The trainer is a subclass of PairTrainer or ExampleTrainer, so that the
first batch is checked and shown, and rows are left as they are. `args.loss_type` is TRL's default: the own name is
not TRL's. A PairTrainer is most easily changed in `pair_loss`, which is given the log-probs of both sides under
policy and reference; an ExampleTrainer in `compute_loss`. `weighted` and `smoothed` say that rows have a weight or a
smoothing: a loss that uses neither refuses them with a TrainError.

    def columns(row, tokenizer, options, limit) -> dict | None

is needed only where `Own.ids` or `Own.numbers` name columns of the loss's own. It returns their values for an
Example or Pair: lists of token ids (`ids`) and numbers (`numbers`); None leaves the row out as too long for `limit`
tokens. In the data set they stand beside prompt_ids, chosen_ids, rejected_ids, weight and smoothing (or input_ids,
labels and weight). The collators make a float32 tensor (B,) of every number that `Own.numbers` names, which `inputs`
of the loss then hold under its name; token ids are padded by a subclass of our collator that the module sets as
`trainer.data_collator` after construction.

With `grouped` a batch holds whole groups of Example rows (`group` of the row), as with train.objective: every
column of the data set is a list with one entry a row, and `inputs["group"]` (N,) numbers the groups of a batch.
Where the log-probs of the reference do not depend on this training (those of run.base, say), collect can ask for them
by run.logprobs and write them into the row's `meta`, from where `columns` takes them as numbers.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from selfimprove.config import fill
from selfimprove.errors import ConfigError, did_you_mean
from selfimprove.training.scir_options import ScirOptions
from selfimprove.training.views import Views


@dataclass(frozen=True)
class NoOptions:
    """For a loss without options of its own."""


@dataclass(frozen=True)
class Optimism:
    """Options of the loss xpo; reward_regression is the same with alpha 0."""

    alpha: float = 1e-3  # weight of log pi(y2|x), which takes mass from the base's samples; 0: regression alone
    scale: float = 1.0  # weight of the regression

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if not self.alpha >= 0 or not self.scale > 0:
            raise ConfigError(f"alpha is {self.alpha} and scale {self.scale}; they must be at least 0, and above 0")


@dataclass(frozen=True)
class Own:
    """One loss with a trainer of its own."""

    module: str  # its module, see above
    kind: str  # of its rows: sft or pairs
    options: Any = NoOptions  # frozen dataclass of train.loss_options
    ids: tuple[str, ...] = ()  # columns of token ids that its `columns` makes
    numbers: tuple[str, ...] = ()  # columns of one number a row that its `columns` makes
    grouped: bool = False  # a batch holds whole groups of rows (kind sft)

    def load(self) -> ModuleType:
        """Return the module; imports torch."""
        return importlib.import_module(self.module)


_BASE_GAP = ("gap", "ref_chosen_logps", "ref_rejected_logps")

TRAINERS: dict[str, Own] = {
    "two_views": Own("selfimprove.training.self_judge", "sft", Views, grouped=True),
    "scir": Own("selfimprove.training.scir", "pairs", ScirOptions, ids=("judge_12_ids", "judge_21_ids")),
    "reward_regression": Own("selfimprove.training.xpo", "pairs", numbers=_BASE_GAP),
    "xpo": Own("selfimprove.training.xpo", "pairs", Optimism, numbers=_BASE_GAP),
    "carried_reference": Own("selfimprove.training.carried", "pairs", numbers=_BASE_GAP[1:]),
}
"""Name of a loss, as LOSS and train.loss_type say it: its trainer."""


def own_loss(kind: str, options: Mapping[str, Any], loss: str | None, where: str = "train") -> Own | None:
    """Return the trainer of the loss that `train` options or a method's LOSS (`loss`) name, None for the usual ones.

    Raises ConfigError where it is for other rows, or is one of several losses.
    """
    names = options.get("loss_type", loss)
    if not isinstance(names, str):
        several = [name for name in names or () if name in TRAINERS] if isinstance(names, list | tuple) else []
        if several and len(names) > 1:
            raise ConfigError(f"{where}.loss_type is {', '.join(names)}; {several[0]} stands alone: keep one")
        names = several[0] if several else None
    own = TRAINERS.get(names or "")
    if own is not None and own.kind != kind:
        raise ConfigError(f"{where}.loss_type is {names}, which trains on '{own.kind}' rows; these are '{kind}' rows")
    return own


def own_options(own: Own | None, options: Mapping[str, Any], where: str = "train") -> Any:
    """Return the filled options of a loss with a trainer of its own, None for the usual losses.

    Raises ConfigError for options that the loss does not have, and for any where it is one of the usual ones.
    """
    given = options.get("loss_options")
    if own is not None:
        return fill(own.options, given or {}, f"{where}.loss_options")
    if given:
        known = ", ".join(sorted(TRAINERS)) or "none"
        raise ConfigError(
            f"{where}.loss_options is for losses with a trainer of their own ({known}); name one as {where}.loss_type,"
            f" or take loss_options out{did_you_mean(str(options.get('loss_type', '')), TRAINERS)}"
        )
    return None
