"""What every engine can do: turn requests into samples or log-probs, and make room for training.

A request is a value, complete in itself, so that it can be a ledger key. A request that cannot be served
(too long, refused by the server) comes back as a value with `error` set; an engine raises EngineError only
where it is dead or cannot do such a thing at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from selfimprove.records import Messages, Sample, Scored


@dataclass(frozen=True, slots=True)
class Policy:
    """A model that can be asked: base weights, at most one adapter, and the digest of both contents."""

    base: str
    adapter: str | None = None
    digest: str = ""

    def __str__(self) -> str:
        """Return base and adapter in a form for people."""
        return f"{self.base} + {self.adapter}" if self.adapter else self.base


@dataclass(frozen=True, slots=True)
class Generate:
    """Ask a policy for `n` answers to a conversation.

    A single message of role `text` is plain text that is continued as it stands, without a chat template. Where the
    last message is the assistant's, it is continued (no end of turn is rendered) and the answer
    holds only what is new. `seed` is for the first answer; answer i uses seed + i. `choices` asks for one
    of the labels and fills `Sample.choices` with their log-probs; at most one of `choices`, `json_schema`
    and `regex` may be set. `logprobs` fills `Sample.token_logprobs`. `keep_stop` leaves the stop string that ended an
    answer at its end: a step that ends in it is to be continued, one that does not ended the answer (or was cut).
    """

    policy: Policy
    messages: Messages
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    seed: int = 0
    logprobs: bool = False
    choices: tuple[str, ...] = ()
    json_schema: Mapping[str, Any] | None = None
    regex: str | None = None
    keep_stop: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """Ask a policy for the log-prob of every token of a given completion, its end of turn included.

    The conversation is rendered with the chat template and masked; temperature 1, no truncation. Where
    `end` is False the end-of-turn token is not counted (an unfinished text).
    """

    policy: Policy
    messages: Messages
    completion: str
    end: bool = True


@dataclass(slots=True)
class Usage:
    """What an engine has done since it started."""

    requests: int = 0
    prompt_tokens: int = 0
    tokens: int = 0
    failed: int = 0
    notes: dict[str, int] = field(default_factory=dict)


@runtime_checkable
class Engine(Protocol):
    """The one interface of all engines; made by `open_engine`, used from one asyncio loop.

    `identity` goes into every ledger key: empty where answers depend on the policy alone, otherwise what
    else they depend on (the URL and model of a server, the script of the scripted engine). It is the same
    before and after `start`: an engine is started only for what the ledger cannot answer.
    """

    name: str
    identity: str
    version: str
    usage: Usage

    async def start(self, policy: Policy) -> None:
        """Load the policy's base; may take minutes. Raises EngineError where it cannot."""

    async def generate(self, request: Generate) -> list[Sample]:
        """Return `request.n` samples in index order."""

    async def score(self, request: Score) -> Scored:
        """Return the log-probs of a completion."""

    async def sleep(self) -> None:
        """Give memory and cores to training; in-flight requests are finished first."""

    async def wake(self) -> None:
        """Be ready again after `sleep`."""

    async def close(self) -> None:
        """Stop and free everything; safe to call twice."""
