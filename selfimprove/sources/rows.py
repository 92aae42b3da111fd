"""From a row of plain values to a Prompt: every field checked, every complaint with its place."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from selfimprove.config import digest
from selfimprove.errors import DataError, did_you_mean
from selfimprove.records import Messages, Prompt, as_messages
from selfimprove.verify import FILES as VERIFIERS
from selfimprove.verify.numbers import spell

FIELDS = ("id", "prompt", "messages", "gold", "solution", "verifier", "meta")
"""The fields of our own row format; `prompt` or `messages` must be there, all others may."""


def make_prompt(
    row: Mapping[str, Any],
    place: str,
    columns: Mapping[str, str],
    verifier: str = "answer",
    solution_turn: str | None = None,
) -> Prompt:
    """Return the prompt of a row; `columns` maps fields to the row's own names.

    Without a mapping, unknown fields are refused; with one, other columns are ignored. `solution_turn` cuts a
    whole dialogue at its first or last answer, which becomes the solution. A row without id gets the digest of
    its conversation. Raises DataError with `place` for anything missing, mistyped or empty.
    """
    for name, column in columns.items():
        if column not in row:
            raise DataError(f"{place}: no field '{column}' (named by columns.{name}); the row has {_names(row)}")
    unknown = [] if columns else [name for name in row if name not in FIELDS]
    if unknown:
        raise DataError(
            f"{place}: unknown field '{unknown[0]}'{did_you_mean(str(unknown[0]), FIELDS)}; other names are mapped by "
            "columns, for example columns: {prompt: question, gold: answer}"
        )
    values = {name: row.get(name) for name in FIELDS} | {name: row[column] for name, column in columns.items()}
    if "prompt" in columns:
        values["messages"] = None
    if "messages" in columns:
        values["prompt"] = None
    messages = _conversation(values, row, place)
    if solution_turn is not None:
        messages, values["solution"] = split_dialogue(messages, solution_turn, place)
    gold, solution = _text(values["gold"], "gold", place), _text(values["solution"], "solution", place)
    checks = _text(values["verifier"], "verifier", place) or verifier
    if checks not in VERIFIERS:
        raise DataError(f"{place}: there is no verifier '{checks}'{did_you_mean(checks, VERIFIERS)}")
    meta = values["meta"] if values["meta"] is not None else {}
    if not isinstance(meta, Mapping):
        raise DataError(f"{place}: meta must be an object, not {_shown(meta)}")
    name = _text(values["id"], "id", place) or digest([messages, gold], 8)
    return Prompt(name, messages, gold, solution, checks, dict(meta))


def split_dialogue(messages: Messages, turn: str, place: str) -> tuple[Messages, str]:
    """Return what stands before the first or last assistant turn of a dialogue, and that turn's text.

    Raises DataError where no user message stands before an assistant turn.
    """
    turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    cut = (turns[0] if turn == "first" else turns[-1]) if turns else 0
    if not any(message["role"] == "user" for message in messages[:cut]):
        roles = ", ".join(message["role"] for message in messages)
        raise DataError(
            f"{place}: no user message with an assistant turn after it (roles: {roles}); remove solution_turn"
        )
    return messages[:cut], messages[cut]["content"]


def dress(prompt: Prompt, instruction: str | None, system: str | None) -> Prompt:
    """Return a prompt with its last question set into an instruction and a system message put first.

    The bare question is kept in `meta["question"]`. A system message in the row is replaced.
    """
    messages, meta = prompt.messages, prompt.meta
    if instruction is not None:
        last = max(place for place, message in enumerate(messages) if message["role"] == "user")
        text = instruction.replace("{prompt}", messages[last]["content"])
        meta = {**meta, "question": messages[last]["content"]}
        messages = (*messages[:last], {"role": "user", "content": text}, *messages[last + 1 :])
    if system is not None:
        messages = ({"role": "system", "content": system}, *(m for m in messages if m["role"] != "system"))
    return Prompt(prompt.id, messages, prompt.gold, prompt.solution, prompt.verifier, meta)


def _conversation(values: Mapping[str, Any], row: Mapping[str, Any], place: str) -> Messages:
    given = [name for name in ("prompt", "messages") if values[name] is not None]
    if len(given) == 2:
        raise DataError(f"{place}: both 'prompt' and 'messages' are given; keep one")
    if not given:
        raise DataError(f"{place}: no field 'prompt' or 'messages'; the row has {_names(row)}")
    value = values[given[0]]
    if not isinstance(value, str | list) or (given[0] == "messages" and isinstance(value, str)):
        kinds = "a list of messages" if given[0] == "messages" else "text or a list of messages"
        raise DataError(f"{place}: {given[0]} must be {kinds}, not {_shown(value)}")
    try:
        messages = as_messages(value)
    except DataError as error:
        raise DataError(f"{place}: {given[0]}: {error}") from None
    if not any(message["role"] == "user" and message["content"].strip() for message in messages):
        roles = ", ".join(dict.fromkeys(message["role"] for message in messages if message["role"] != "user"))
        raise DataError(
            f"{place}: '{given[0]}' holds no user message with text in it{f' (only {roles})' if roles else ''}; "
            "write a question or leave the row out"
        )
    return messages


def _text(value: Any, name: str, place: str) -> str | None:
    """Return a field as text: numbers become their plain spelling (22.0 is '22'), nothing and '' become None."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return spell(Fraction(str(value)))
        except ValueError:  # nan, inf
            raise DataError(f"{place}: {name} is {value}, which is no answer") from None
    raise DataError(f"{place}: {name} must be text or a number, not {_shown(value)}")


def _names(row: Mapping[str, Any]) -> str:
    return ", ".join(map(str, row)) or "no fields"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
