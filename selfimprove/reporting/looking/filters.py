"""Which records of a view are shown: by id, text, reason, grade, or a condition such as `reward>0.5`."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from selfimprove.errors import ConfigError, DataError, did_you_mean

Record = Mapping[str, Any]

SIGNS = {">=": ge, "<=": le, "!=": ne, "==": eq, ">": gt, "<": lt, "=": eq}


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of one field with a value; a dot leads into a mapping (`meta.votes>=3`)."""

    field: str
    sign: str
    value: Any
    text: str = ""

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Return the condition a text spells; raises ConfigError where it is none."""
        match = re.fullmatch(r"\s*([\w.]+?)\s*(>=|<=|!=|==|>|<|=)\s*(.+?)\s*", text, re.DOTALL)
        if not match:
            raise ConfigError(f"--where {text!r}: write a field, one of > >= < <= = !=, and a value: 'reward>0.5'")
        name, sign, value = match.groups()
        return cls(name, sign, _value(value), value)

    def value_in(self, record: Record) -> Any:
        """Return the field's value in a record, None where it has none."""
        found: Any = record
        for name in self.field.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    def holds(self, record: Record) -> bool:
        """Whether a record has the field and the comparison is true; a text is compared as it is spelled."""
        found = self.value_in(record)
        if self.value is None:
            return found is None if self.sign in ("=", "==") else self.sign == "!=" and found is not None
        if found is None:
            return False
        if isinstance(found, str):
            equal = self.sign in ("=", "==", "!=")
            return bool(SIGNS[self.sign](found, self.text)) if equal or isinstance(self.value, str) else False
        if isinstance(found, int | float) and isinstance(self.value, int | float):
            return bool(SIGNS[self.sign](found, self.value))
        return self.sign == "!="


@dataclass(frozen=True, slots=True)
class Filters:
    """What a record must be to be shown; all that is given must hold.

    `id` is a pattern for the record's id, with or without what stands behind its last slash; `contains` is looked
    for in every text, in any case; `correct` wants a score of 1 (True) or a lower one (False).
    """

    id: str | None = None
    contains: str | None = None
    reason: str | None = None
    correct: bool | None = None
    where: tuple[Condition, ...] = ()

    def given(self) -> set[str]:
        """Return the names of the filters in use."""
        return {name for name in self.__slots__ if getattr(self, name) not in (None, ())}

    def keeps(self, record: Record) -> bool:
        """Whether a record is to be shown."""
        if self.id is not None and not matches(self.id, str(record.get("id", ""))):
            return False
        if self.reason is not None and record.get("reason") != self.reason:
            return False
        if self.correct is not None and not self._graded(record.get("score")):
            return False
        if not all(condition.holds(record) for condition in self.where):
            return False
        return self.contains is None or any(self.contains.casefold() in text.casefold() for text in texts(record))

    def _graded(self, score: float | None) -> bool:
        return score is not None and (score >= 1) == self.correct


def matches(pattern: str, name: str) -> bool:
    """Whether an id fits a pattern (`train-00*`), as a whole or without what stands behind its last slash."""
    return fnmatchcase(name, pattern) or ("/" in name and fnmatchcase(name.rpartition("/")[0], pattern))


def select(records: Iterable[Record], filters: Filters) -> Iterator[Record]:
    """Yield the records that the filters keep.

    Raises DataError, once all were read, where no record has a field that a condition names.
    """
    missing = {condition.field: condition for condition in filters.where}
    fields: set[str] = set()
    for record in records:
        if missing:
            fields |= set(record)
            missing = {name: each for name, each in missing.items() if each.value_in(record) is None}
        if filters.keeps(record):
            yield record
    wrong = next((name for name in missing if name.partition(".")[0] not in fields), None)
    if fields and wrong:
        raise DataError(f"--where: nothing here has a field '{wrong}'{did_you_mean(wrong, fields)}")


def texts(value: Any) -> Iterator[str]:
    """Yield every text in a record, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts(inner)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
