"""The nouns of the toolkit: frozen records that travel between sampling, judging, building and training.

Every record has `to_row()` (plain JSON types, stable key order) and `from_row()`; what is written is read
back equal. Conversations are tuples of `{"role", "content"}` mappings, and are never changed in place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Any, Self

from selfimprove.errors import DataError, did_you_mean

Message = Mapping[str, str]
Messages = tuple[Message, ...]

ABSTAINED = "abstained"
"""How a sample ends that a method drew but does not give as its answer; the text is what it would have said."""


def as_messages(value: str | Sequence[Message], role: str = "user") -> Messages:
    """Return a conversation from a plain string (one message of `role`) or a list of messages.

    Raises DataError where a message lacks a role or a text.
    """
    if isinstance(value, str):
        return ({"role": role, "content": value},)
    for message in value:
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise DataError(f"a message must be {{'role': ..., 'content': ...}}, not {message!r}")
        if not isinstance(message.get("content"), str):
            raise DataError(f"the content of a message must be text, not {message.get('content')!r}")
    return tuple({"role": m["role"], "content": m["content"]} for m in value)


@dataclass(frozen=True, slots=True)
class Row:
    """What all records share: to a row of plain JSON types and back."""

    def to_row(self) -> dict[str, Any]:
        """Return the record as a dict of plain JSON types, in field order."""
        return {name: _plain(getattr(self, name)) for name in _names(type(self))}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return the record of a row; fields that the row lacks take their defaults.

        Raises DataError where the row has fields that the record does not know, or lacks required ones.
        """
        if not isinstance(row, (dict, Mapping)):
            raise DataError(f"expected an object with the fields of {cls.__name__}, found {row!r:.60}")
        unknown = sorted(row.keys() - _names(cls))
        if unknown:
            known = did_you_mean(unknown[0], _names(cls))
            raise DataError(f"{cls.__name__} has no field {', '.join(map(repr, unknown))}{known}")
        try:
            return cls(**{name: _frozen(value) for name, value in row.items()})
        except TypeError:
            lacking = [f.name for f in fields(cls) if f.name not in row and f.default is f.default_factory is MISSING]
            article = "an" if cls.__name__[0] in "AEIOU" else "a"
            problem = f"it lacks {', '.join(lacking)}"
            raise DataError(f"{article} {cls.__name__} cannot be made of this row: {problem}") from None


@cache
def _names(kind: type[Row]) -> dict[str, None]:
    """Return the fields' names in order; a dict, because a dict's keys are also a set."""
    return {f.name: None for f in fields(kind)}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class Prompt(Row):
    """One task: a conversation that ends where the model answers, with what is known of the right answer.

    `gold` is what the verifier compares with, `solution` a worked answer as a person would write it (SFT
    data, SPIN's chosen side), `verifier` the name of what checks a sample, `meta` anything a verifier or a
    method wants to carry along.
    """

    id: str
    messages: Messages
    gold: str | None = None
    solution: str | None = None
    verifier: str = "answer"
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The last user message."""
        return next((m["content"] for m in reversed(self.messages) if m["role"] == "user"), "")


@dataclass(frozen=True, slots=True)
class Sample(Row):
    """One answer of a policy to a prompt.

    `logprob` is the sum over its tokens (end token included) in nats at temperature 1 without truncation,
    None where the engine cannot tell. `finish` is "stop", "length" or "error"; an error names its reason in
    `error` and has empty text. A method's own way to answer may also end in "abstained". `token_logprobs` is filled on
    request only; `choices` holds the log-probs of the allowed labels where a one-token verdict was asked for.
    """

    text: str
    tokens: int = 0
    logprob: float | None = None
    finish: str = "stop"
    error: str | None = None
    index: int = 0
    token_logprobs: tuple[float, ...] | None = None
    choices: Mapping[str, float] | None = None

    @property
    def ok(self) -> bool:
        """Whether there is a text: no error, and not empty."""
        return self.error is None and bool(self.text.strip())


@dataclass(frozen=True, slots=True)
class Scored(Row):
    """Log-probs of a given completion: one per token in nats, at temperature 1; `error` where it failed."""

    token_logprobs: tuple[float, ...] = ()
    error: str | None = None

    @property
    def total(self) -> float | None:
        """The sequence log-prob in nats, None where scoring failed."""
        return None if self.error else sum(self.token_logprobs)

    @property
    def mean(self) -> float | None:
        """The log-prob per token in nats, None where scoring failed or nothing was scored."""
        return None if self.error or not self.token_logprobs else sum(self.token_logprobs) / len(self.token_logprobs)


@dataclass(frozen=True, slots=True)
class Verdict(Row):
    """What a judge or verifier says of a sample: `score` is None where it failed, never 0 for that."""

    score: float | None
    label: str = ""
    reason: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Example(Row):
    """An SFT row: a conversation and the completion to learn, with its weight and the reward that picked it.

    Rows of one `group` are trained together where the objective is about all of them (train.objective). Without
    `end` the completion is only the beginning of an answer, so that the model does not learn to stop after it.
    """

    id: str
    prompt: Messages
    completion: str
    weight: float = 1.0
    reward: float | None = None
    round: int = 0
    group: str = ""
    end: bool = True
    meta: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, prompt: Prompt, completion: str, *, tag: str = "", **values: Any) -> "Example":
        """Return the row for one completion of a prompt; `tag` tells several rows of one prompt apart."""
        return cls(id=_row_id(prompt, tag), prompt=prompt.messages, completion=completion, **values)


@dataclass(frozen=True, slots=True)
class Pair(Row):
    """A preference row: the same conversation with a chosen and a rejected completion.

    `smoothing` is the probability that the two are the wrong way round; where it is given it replaces
    train.label_smoothing for the row. A side without its end (`chosen_end`, `rejected_end`) is only the beginning of
    an answer, such as one step of it: its end of turn is not trained.
    """

    id: str
    prompt: Messages
    chosen: str
    rejected: str
    margin: float | None = None
    weight: float = 1.0
    smoothing: float | None = None
    chosen_end: bool = True
    rejected_end: bool = True
    round: int = 0
    meta: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, prompt: Prompt, chosen: str, rejected: str, *, tag: str = "", **values: Any) -> "Pair":
        """Return the row for one preference on a prompt; raises DataError where both sides are the same text."""
        if chosen == rejected:
            raise DataError(f"prompt {prompt.id}: chosen and rejected are the same text {chosen[:60]!r}")
        return cls(id=_row_id(prompt, tag), prompt=prompt.messages, chosen=chosen, rejected=rejected, **values)


@dataclass(frozen=True, slots=True)
class Steps(Row):
    """A process-reward row: the steps of one answer, each with its label (1 good, 0 bad, or a value from -1 to 1).

    The steps joined are the answer, so a step carries its own line break. A label of None is not trained on.
    """

    id: str
    prompt: Messages
    steps: tuple[str, ...]
    labels: tuple[float | None, ...]
    round: int = 0
    meta: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, prompt: Prompt, steps: Sequence[str], labels: Sequence[float | None], *, tag: str = "", **values: Any
    ) -> "Steps":
        """Return the row for one labelled answer; raises DataError where steps and labels differ in number."""
        if len(steps) != len(labels):
            raise DataError(f"prompt {prompt.id}: {len(steps)} steps but {len(labels)} labels")
        return cls(id=_row_id(prompt, tag), prompt=prompt.messages, steps=tuple(steps), labels=tuple(labels), **values)


@dataclass(frozen=True, slots=True)
class Skip(Row):
    """A prompt that gave no row, with the reason in one word (`close_vote`) and, where useful, a detail."""

    id: str
    reason: str
    detail: str = ""


KINDS: dict[str, type[Row]] = {"sft": Example, "pairs": Pair, "steps": Steps}
"""What a method can make (its `MAKES`), and the record that stands for it."""


_OWN_COLUMN = {"sft": "completion", "pairs": "chosen", "steps": "steps"}


def kind_of(row: Mapping[str, Any]) -> str | None:
    """Return the kind (sft, pairs, steps) of a plain row by the column that only it has, None where it is none."""
    return next((kind for kind, column in _OWN_COLUMN.items() if column in row), None)


def _row_id(prompt: Prompt, tag: str) -> str:
    return f"{prompt.id}/{tag}" if tag else prompt.id
