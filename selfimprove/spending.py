"""What a run has spent: seconds, tokens and money by stage, over all its processes, and the budget that ends it.

The account is kept in spending.json beside the events. It is written every few seconds, so a killed process
loses at most these; time is taken from a clock that never jumps.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selfimprove.config import Budget
from selfimprove.files import read_json, write_json

INTERVAL = 5.0
"""Seconds between two writes of the account."""


class BudgetSpent(Exception):
    """A bound of the budget is reached; says which, and how to go on."""


class Meter:
    """The account of one run; `stage` says what is being worked on, `check` stops the work at the budget's end.

    `tokens` returns (generated, read) tokens of this process so far; `price` is money per device and hour.
    """

    def __init__(
        self,
        path: Path,
        budget: Budget,
        price: float | None = None,
        devices: int = 1,
        tokens: Callable[[], tuple[int, int]] = lambda: (0, 0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Go on with the account at `path`, where there is one."""
        self.path, self.budget, self.price, self.devices = path, budget, price, devices
        self._tokens, self._clock = tokens, clock
        found: dict[str, Any] = read_json(path) if path.is_file() else {}
        self.stages: dict[str, dict[str, float]] = found.get("stages", {})
        self._stage: str | None = None
        self._since = self._written = clock()
        self._seen = tokens()

    @property
    def seconds(self) -> float:
        """Seconds of work in all stages."""
        return sum(stage["seconds"] for stage in self.stages.values())

    @property
    def tokens(self) -> int:
        """Tokens generated in all stages."""
        return int(sum(stage["tokens"] for stage in self.stages.values()))

    @property
    def cost(self) -> float | None:
        """Money for all devices of this machine over all seconds, None without a price."""
        return None if self.price is None else self.seconds / 3600 * self.devices * self.price

    @contextmanager
    def stage(self, round: int, name: str) -> Generator[None, None, None]:
        """Charge what is spent inside to a stage; raises BudgetSpent where there is nothing left to spend."""
        self._settle()
        self._stage = f"{round}/{name}"
        try:
            self.check()
            yield
        finally:
            self._settle()
            self._stage = None
            self._write()

    def check(self) -> None:
        """Charge what was spent since the last time; raises BudgetSpent where a bound is reached."""
        self._settle()
        if self._clock() - self._written > INTERVAL:
            self._write()
        reached = self.reached()
        if reached:
            raise BudgetSpent(reached)

    def spent(self) -> bool:
        """Charge what was spent since the last time, and return whether a bound is reached."""
        self._settle()
        return self.reached() is not None

    def reached(self) -> str | None:
        """Return which bound is reached, as a sentence with the way to go on; None where there is room."""
        bounds = (
            ("max_tokens", self.budget.max_tokens, self.tokens, "tokens"),
            ("max_hours", self.budget.max_hours, self.seconds / 3600, "hours"),
            ("max_cost", self.budget.max_cost, self.cost, "of cost"),
        )
        for key, bound, value, unit in bounds:
            if bound is not None and value is not None and value >= bound:
                return (
                    f"budget.{key} is reached ({value:.6g} of {bound:g} {unit}); everything finished is saved: "
                    f"raise it, for example budget.{key}={2 * bound:g}, and the same command goes on from here"
                )
        return None

    def _settle(self) -> None:
        now, seen = self._clock(), self._tokens()
        if self._stage is not None:
            account = self.stages.setdefault(self._stage, {"seconds": 0.0, "tokens": 0, "prompt_tokens": 0})
            account["seconds"] += max(now - self._since, 0.0)
            account["tokens"] += seen[0] - self._seen[0]
            account["prompt_tokens"] += seen[1] - self._seen[1]
        self._since, self._seen = now, seen

    def _write(self) -> None:
        self._written = self._clock()
        read = int(sum(stage["prompt_tokens"] for stage in self.stages.values()))
        total = {"seconds": self.seconds, "tokens": self.tokens, "prompt_tokens": read, "cost": self.cost}
        write_json(self.path, {**total, "devices": self.devices, "stages": self.stages})


def devices() -> int:
    """Return the number of GPUs that are paid for here: all that this process may see, 1 on a machine without."""
    import torch

    return torch.cuda.device_count() or 1
