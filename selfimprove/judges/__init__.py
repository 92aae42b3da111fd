"""The judges: one file each, found by its name. A judge says what an answer is worth where no ground truth does.

Each is three pure thirds, `render` (what is asked), `parse` (what was said) and `combine` (several become one), over
requests that go through `Run` and so through the ledger. A verdict that failed has score None, never 0.
"""

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

from selfimprove.config import Limit, fill, options_of
from selfimprove.engines.base import Policy
from selfimprove.errors import ConfigError, did_you_mean
from selfimprove.records import Messages, Prompt, Sample, Scored, Verdict

FIGURES = (
    "accuracy", "ties", "swap_rate", "length_preference", "self_preference", "largest_grade_share", "parse_failures",
    "repeatability", "calibration_error",
)  # fmt: skip
"""What an audit measures of a judge; `judge: {max_swap_rate: 0.15, min_accuracy: 0.6}` are limits."""


class Asker(Protocol):
    """What a judge needs of `Run`: its policies, and a way to ask them."""

    @property
    def policy(self) -> Policy:
        """The policy at the start of this round."""

    @property
    def previous(self) -> Policy:
        """The policy a round earlier."""

    @property
    def base(self) -> Policy:
        """The policy the run began with."""

    async def sample(
        self, prompt: Prompt, n: int = 1, *, messages: Messages | None = None, purpose: str = "sample", **options: Any
    ) -> list[Sample]:
        """Return n answers."""

    async def logprobs(self, prompt: Prompt, completion: str, *, policy: Policy | None = None) -> Scored:
        """Return the log-probs of a given answer."""

    async def embed(self, prompt: Prompt, text: str, encoder: str = "minilm") -> tuple[float, ...]:
        """Return the vector of a text."""

    def measure(self, name: str, value: float) -> None:
        """Add a value to a mean that the round reports."""


class Judge(Protocol):
    """A judge of one answer; `bounds` are its lowest and highest grade, None where it has none."""

    name: str
    bounds: tuple[float, float] | None

    async def score(self, run: Asker, prompt: Prompt, text: str) -> Verdict:
        """Return the verdict on an answer, its score None where it failed."""


def judge_names() -> list[str]:
    """Return the names of all judges."""
    modules = [module.name for module in pkgutil.iter_modules(__path__)]
    return sorted(name for name in modules if hasattr(import_module(f"{__name__}.{name}"), "make"))


def open_judge(section: str | Mapping[str, Any], where: str = "recipe") -> Any:
    """Return the judge of a `{name: ..., option: ...}` section or of a bare name; limits in it are left aside.

    Raises ConfigError for an unknown name, option or value.
    """
    section = {"name": section} if isinstance(section, str) else section
    name = str(section.get("name", "")).replace("-", "_")
    if name not in judge_names():
        raise ConfigError(f"{where}: there is no judge '{name}'{did_you_mean(name, judge_names())}")
    module = import_module(f"{__name__}.{name}")
    options = {key: value for key, value in options_of(section).items() if limit_of(key) is None}
    return module.make(fill(module.Config, options, f"{where}: judge"))


def limit_of(key: str) -> tuple[str, str] | None:
    """Return (min or max, figure) of a limit's key such as `max_swap_rate`, None where the key is no limit."""
    side, _, figure = key.partition("_")
    return (side, figure) if side in ("min", "max") and figure in FIGURES else None


def limits_of(section: Mapping[str, Any], where: str = "recipe") -> dict[str, Limit]:
    """Return {figure: bounds} of the limits in a recipe's `judge` section; raises ConfigError for no numbers."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in section.items():
        limit = limit_of(key)
        if limit is not None:
            found.setdefault(limit[1], {})[limit[0]] = value
    return {figure: fill(Limit, bounds, f"{where}: judge: limit of {figure}") for figure, bounds in found.items()}
