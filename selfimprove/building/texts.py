"""What of a row is text: the prompt, and the answers that stand under it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from selfimprove.errors import DataError

T = TypeVar("T")

KNOWN = ("prompt", "messages", "text", "completion", "chosen", "rejected", "steps")


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of one row; `answers` is (completion,), (chosen, rejected), (all steps,), or empty."""

    prompt: tuple[str, ...]  # one per message, without system messages
    answers: tuple[str, ...]
    system: str = ""


def texts_of(row: Mapping[str, Any]) -> Texts:
    """Return the texts of an example, a pair, labelled steps, a prompt, or a plain `text` row.

    Conversations may be strings or lists of messages, as in TRL's data sets. Raises DataError where the row
    holds no text or a field is neither.
    """
    prompt, system = (), ""
    field = "prompt" if row.get("prompt") is not None else "messages"
    if row.get(field) is not None:
        messages = _messages(row, field)
        prompt = tuple(text for role, text in messages if role != "system")
        system = "\n".join(text for role, text in messages if role == "system")
    if row.get("chosen") is not None and row.get("rejected") is not None:
        answers = (_joined(row, "chosen"), _joined(row, "rejected"))
    elif row.get("completion") is not None:
        answers = (_joined(row, "completion"),)
    elif row.get("steps") is not None:
        answers = (_steps(row),)
    elif row.get("text") is not None:
        answers = (_joined(row, "text"),)
    else:
        answers = ()
    if not prompt and not answers:
        names = ", ".join(map(str, row)) or "no fields"
        raise DataError(f"the row has no text: one of {', '.join(KNOWN)} is needed, it has {names}")
    return Texts(prompt, answers, system)


def is_pair(texts: Texts) -> bool:
    """Whether the row is a preference: a chosen and a rejected answer."""
    return len(texts.answers) == 2


def row_name(row: Mapping[str, Any], number: int) -> str:
    """Return the id of a row, or its place in the data set counted from 1 where it has none."""
    name = row.get("id")
    return f"row {number}" if name is None else str(name)


def batches(items: Iterable[T], size: int = 512) -> Iterator[list[T]]:
    """Yield the items in lists of `size`; numpy works on many rows at once."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _messages(row: Mapping[str, Any], field: str) -> list[tuple[str, str]]:
    value = row[field]
    if isinstance(value, str):
        return [("user", value)]
    if not isinstance(value, list | tuple):
        raise DataError(f"{field} must be text or a list of messages, not {value!r:.60}")
    found = []
    for message in value:
        text = message.get("content") if isinstance(message, Mapping) else None
        if not isinstance(text, str):
            raise DataError(f"a message of {field} must be {{'role': ..., 'content': text}}, not {message!r:.60}")
        found.append((message.get("role"), text))
    return found


def _joined(row: Mapping[str, Any], field: str) -> str:
    value = row[field]
    return value if isinstance(value, str) else "\n".join(text for _, text in _messages(row, field))


def _steps(row: Mapping[str, Any]) -> str:
    steps = row["steps"]
    if not isinstance(steps, list | tuple) or not all(isinstance(step, str) for step in steps):
        raise DataError(f"steps must be a list of texts, not {steps!r:.60}")
    return "\n".join(steps)
