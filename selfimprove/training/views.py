"""Options of the loss `two_views`, without torch; see training/self_judge.py."""

import math
from dataclasses import dataclass

from selfimprove.errors import ConfigError


@dataclass(frozen=True)
class Views:
    """Weights of L = CE_T + alpha CE_S + kappa KL(P_T || P_S)."""

    alpha: float = 0.3  # of the student's cross-entropy; the teacher's has weight 1
    kappa: float = 2.0  # of the divergence from the teacher to the student, at the digit

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for name in ("alpha", "kappa"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} is {value}; it must be a number of 0 or more")
