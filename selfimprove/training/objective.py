"""What is learned from several right answers to one prompt: the `objective` of a recipe's train section; no torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selfimprove.config import fill
from selfimprove.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Objective:
    """Weights of the two losses over all answers of a group, see `losses.multi_target_loss`."""

    mle_lambda: float = 1.0  # weight of MLE-Aug, the sum of all answers' likelihood losses
    mml_lambda: float = 0.0  # weight of the marginal likelihood of all answers
    beta: float = 1.0  # of the marginal likelihood: 1 lets the likeliest answer take all, near 0 all count the same
    mle_aug_norm: bool = False  # divide MLE-Aug by the number of answers
    length_norm: bool = False  # weigh every answer by the longest of its group over its own length, prompt included
    exclude_context_loss: bool = True  # learn the answers only; false: the prompt's tokens too, as the original code

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if not 0 < self.beta <= 1:
            raise ConfigError(f"beta is {self.beta}; it must be above 0 and at most 1")
        for name in ("mle_lambda", "mml_lambda"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be a number of 0 or more")
        if self.mle_lambda == self.mml_lambda == 0:
            raise ConfigError("mle_lambda and mml_lambda are both 0, so nothing would be learned; raise one")


OBJECTIVES = {
    "mle_aug": Objective(),
    "mml": Objective(mle_lambda=0.0, mml_lambda=1.0),
    "beta_mml": Objective(mle_lambda=0.0, mml_lambda=1.0, beta=0.25),
}
"""Objectives by name; a mapping of the fields of Objective says anything else."""


def read_objective(value: str | Mapping[str, Any] | None, where: str) -> Objective | None:
    """Return the objective that a name or a mapping says, None for None; raises ConfigError for any other."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return fill(Objective, value, where)
    if value not in OBJECTIVES:
        raise ConfigError(f"{where} is {value!r}{did_you_mean(str(value), OBJECTIVES)}; or a mapping such as "
                          "{mml_lambda: 1, beta: 0.25}")  # fmt: skip
    return OBJECTIVES[value]
