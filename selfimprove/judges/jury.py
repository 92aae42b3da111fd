"""Several judges as one: the mean of their grades, the share that finds the answer good, or the strictest grade."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any

from selfimprove.errors import ConfigError
from selfimprove.records import Prompt, Verdict

if TYPE_CHECKING:
    from selfimprove.judges import Asker, Judge

COMBINATIONS = ("mean", "majority", "minimum")


@dataclass(frozen=True)
class Config:
    """Options of the judge `jury`."""

    members: list[dict[str, Any]] = field(default_factory=list)  # the judges: each a name with its options
    combine: str = "mean"  # mean of the grades, majority (share of members that grade at least half), or minimum

    def __post_init__(self) -> None:
        """Refuse a jury that cannot work."""
        if len(self.members) < 2:
            raise ConfigError(f"jury: it has {len(self.members)} members; name at least two judges in members")
        if self.combine not in COMBINATIONS:
            raise ConfigError(f"jury: combine is '{self.combine}'; it is one of {', '.join(COMBINATIONS)}")


class Jury:
    """Asks all members about an answer; every grade counts on a scale from 0 to 1."""

    name = "jury"
    bounds = (0, 1)

    def __init__(self, config: Config) -> None:
        from selfimprove.judges import open_judge

        self.config = config
        self.members: list[Judge] = [open_judge(member, "jury") for member in config.members]
        for member in self.members:
            if member.bounds is None:
                raise ConfigError(f"jury: judge '{member.name}' has no lowest and highest grade; take another one")

    async def score(self, run: "Asker", prompt: Prompt, text: str) -> Verdict:
        """Return the combined verdict, its score None where a member failed: a jury judges whole or not at all."""
        verdicts = [await member.score(run, prompt, text) for member in self.members]
        return combine(verdicts, [member.bounds or (0, 1) for member in self.members], self.config.combine)


def combine(verdicts: Sequence[Verdict], bounds: Sequence[tuple[float, float]], how: str) -> Verdict:
    """Return one verdict in [0, 1] of several; score None, with the reason, where one of them has none."""
    grades = []
    for verdict, (low, high) in zip(verdicts, bounds, strict=True):
        if verdict.score is None:
            return Verdict(None, reason=f"{verdict.source}: {verdict.reason}", source="jury")
        grades.append((verdict.score - low) / (high - low))
    if how == "majority":
        return Verdict(fmean(float(grade >= 0.5) for grade in grades), source="jury")
    return Verdict(min(grades) if how == "minimum" else fmean(grades), source="jury")


def make(config: Config) -> Jury:
    """Return the judge."""
    return Jury(config)
