"""The policy's own likelihood as judge: log pi(y|x), or its gain over a reference policy (DPO's implicit reward)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from selfimprove.errors import ConfigError
from selfimprove.records import Prompt, Scored, Verdict

if TYPE_CHECKING:
    from selfimprove.judges import Asker

POLICIES = ("policy", "previous", "base")
"""The policies of a round that can be asked, by their names in `Run`."""


@dataclass(frozen=True)
class Config:
    """Options of the judge `implicit`."""

    policy: str = "policy"  # whose likelihood counts: policy, previous or base
    reference: str | None = "base"  # what it is compared with; null: nothing, the plain likelihood
    normalise: bool = False  # divide by the number of tokens; only sensible without reference

    def __post_init__(self) -> None:
        """Refuse policies that do not exist."""
        for name, allowed in (("policy", POLICIES), ("reference", (*POLICIES, None))):
            if getattr(self, name) not in allowed:
                known = ", ".join(str(value) for value in allowed)
                raise ConfigError(f"implicit judge: {name} is '{getattr(self, name)}'; it is one of {known}")


class Implicit:
    """Scores an answer by its log-prob in nats under one policy, less that under another."""

    name = "implicit"
    bounds = None

    def __init__(self, config: Config) -> None:
        self.config = config

    async def score(self, run: "Asker", prompt: Prompt, text: str) -> Verdict:
        """Return the verdict on an answer, its score None where an engine could not score it."""
        cfg = self.config
        own = await run.logprobs(prompt, text, policy=getattr(run, cfg.policy))
        other = await run.logprobs(prompt, text, policy=getattr(run, cfg.reference)) if cfg.reference else None
        return verdict(own, other, cfg.normalise)


def likelihood_gain(own: Scored, reference: Scored | None = None, normalise: bool = False) -> float | None:
    """Return log pi(y|x) - log ref(y|x), sums over the answer's tokens in nats, or means with `normalise`.

    Without reference it is log pi(y|x). None where a model could not score the answer; DPO's implicit reward over
    beta (arXiv 2305.18290).
    """
    values = [(scored.mean if normalise else scored.total) for scored in (own, reference) if scored is not None]
    known = [value for value in values if value is not None]
    return known[0] - sum(known[1:]) if len(known) == len(values) else None


def verdict(own: Scored, reference: Scored | None, normalise: bool = False) -> Verdict:
    """Return the likelihood gain as a verdict, with the reason where there is none."""
    gain = likelihood_gain(own, reference, normalise)
    error = own.error or (reference.error if reference else None)
    return Verdict(gain, reason="" if gain is not None else error or "no_tokens", source="implicit")


def make(config: Config) -> Implicit:
    """Return the judge."""
    return Implicit(config)
