"""What a recipe may set of the loss `scir` (train.loss_options); no torch."""

import math
from dataclasses import dataclass
from typing import ClassVar

from selfimprove.errors import ConfigError

START = "start"
"""The reference that is the policy as it is when the training starts."""

NORMALISERS = ("batch", "gated")


@dataclass(frozen=True)
class ScirOptions:
    """Options of the loss `scir`; beta of the implicit reward and of DPO is train.beta."""

    TITLE: ClassVar[str] = "the loss scir"

    tau: float = 0.6  # the penalty acts on pairs of which one prediction is at least so sure (0.5: on all)
    gamma: float = 1.0  # weight of the entropy in the penalty; lower it to 0.1 where predictions saturate
    penalty: float = 1.0  # weight of the penalty beside DPO, lambda
    alpha_len: float = 0.0  # taken off the implicit reward for every token; 0.001 to 0.01 where answers grow
    normalise: str = "batch"  # the penalty is a mean over all pairs (batch), or over those it acts on (gated)
    judge_gradient: bool = True  # the penalty also trains the judge; false: its prediction is a target only
    judge_length: int | None = None  # tokens of a judge prompt, whose answers are cut to fit; null: max_length
    reference: str = START  # of the implicit reward: the policy as training starts, or a model's or adapter's folder

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if not 0.5 <= self.tau < 1:
            raise ConfigError(f"tau is {self.tau}; it must be at least 0.5 and below 1")
        for name in ("gamma", "penalty", "alpha_len"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be a number of 0 or more")
        if self.normalise not in NORMALISERS:
            raise ConfigError(f"normalise is '{self.normalise}'; it is one of {', '.join(NORMALISERS)}")
        if self.judge_length is not None and self.judge_length < 1:
            raise ConfigError(f"judge_length is {self.judge_length}; it must be at least 1, or null")
