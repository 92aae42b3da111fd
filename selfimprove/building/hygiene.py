"""What a recipe's `hygiene` section asks for, in one go: contamination, then duplicates, then length balance.

The order matters: a contaminated row goes first, so that the twin of a duplicate is always a row that stays, and
the balance is measured over what is left. Rows are read twice: once for what decides (about 20 bytes a row for exact
duplicates, 280 for near ones, 16 for lengths), once to be passed on.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from selfimprove.building.balance import Balance, balance_lengths, check_share
from selfimprove.building.decontaminate import Index
from selfimprove.building.dedup import Fingerprints
from selfimprove.building.texts import Texts, batches, is_pair, row_name, texts_of
from selfimprove.config import Hygiene
from selfimprove.errors import ConfigError, DataError
from selfimprove.records import Skip

REASONS = ("", "contaminated", "duplicate", "near_duplicate", "length_balance")


@dataclass(frozen=True)
class Survey:
    """What a first pass over the rows decided."""

    verdicts: np.ndarray  # uint8: the number of the reason in REASONS, 0 for a row that stays
    twins: np.ndarray  # int32: the kept row that a duplicate repeats, -1 elsewhere
    index: Index | None
    balance: Balance | None


def clean(
    rows: Iterable[dict[str, Any]], hygiene: Hygiene, against: Mapping[str, Iterable[str]]
) -> Iterator[dict[str, Any] | Skip]:
    """Yield the rows that stay, as they are and in order, and a Skip in the place of each row taken out.

    `rows` can be read more than once (`store.Rows`), `against` is {name of a held-out set or benchmark: its
    texts}. The Skip has the row's id, one of the REASONS, and names the twin, or the set and the shared words,
    or both lengths. Raises ConfigError for options that cannot be, and for balance_length where rows are no
    pairs; DataError for a row without text.
    """
    if not (hygiene.dedup or hygiene.decontaminate or hygiene.balance_length is not None):
        yield from rows
        return
    yield from sift(rows, survey(rows, hygiene, against))


def survey(rows: Iterable[dict[str, Any]], hygiene: Hygiene, against: Mapping[str, Iterable[str]]) -> Survey:
    """Read all rows once and return what goes, and why."""
    if iter(rows) is rows:
        raise TypeError("the rows are read twice: give a list or store.Rows, not an iterator")
    if hygiene.balance_length is not None:
        check_share(hygiene.balance_length)
    prints = Fingerprints(hygiene.near_threshold if hygiene.dedup == "near" else None) if hygiene.dedup else None
    index = Index(against, hygiene.ngram) if hygiene.decontaminate else None
    verdicts = bytearray()
    lengths = (array("q"), array("q"))
    for batch in batches(rows):
        texts = [_texts(row, number) for number, row in enumerate(batch, len(verdicts) + 1)]
        if hygiene.balance_length is not None:
            _measure(texts, batch, len(verdicts), lengths)
        dirty = [found is not None for found in index.find_all(texts)] if index else [False] * len(texts)
        if prints:
            prints.add([None if found else text for found, text in zip(dirty, texts, strict=True)])
        verdicts.extend(dirty)
    found = np.frombuffer(verdicts, np.uint8)
    twins = np.full(len(found), -1, np.int32)
    if prints:
        duplicates = prints.duplicates()
        twins = duplicates.twin
        found[twins >= 0] = REASONS.index("duplicate")
        found[duplicates.near] = REASONS.index("near_duplicate")
    balance = None
    if hygiene.balance_length is not None:
        left = np.flatnonzero(found == 0)
        chosen, rejected = (np.frombuffer(side, np.int64)[left] for side in lengths)
        balance = balance_lengths(chosen, rejected, hygiene.balance_length)
        found[left[balance.taken]] = REASONS.index("length_balance")
    return Survey(found, twins, index, balance)


def sift(rows: Iterable[dict[str, Any]], survey: Survey) -> Iterator[dict[str, Any] | Skip]:
    """Yield each row that stays, and a Skip for each that goes; raises DataError where the rows have changed."""
    named = {int(number): "" for number in np.unique(survey.twins) if number >= 0}
    total = len(survey.verdicts)
    number = -1
    for number, row in enumerate(rows):
        verdict = int(survey.verdicts[number]) if number < total else 0
        if number in named:
            named[number] = row_name(row, number + 1)
        yield (
            Skip(row_name(row, number + 1), REASONS[verdict], _detail(row, number, survey, named)) if verdict else row
        )
    if number + 1 != total:
        raise DataError(f"there were {total} rows when they were checked and {number + 1} when they were written")


def _texts(row: dict[str, Any], number: int) -> Texts:
    try:
        return texts_of(row)
    except DataError as error:
        raise DataError(f"{row_name(row, number)}: {error}") from None


def _detail(row: dict[str, Any], number: int, survey: Survey, named: Mapping[int, str]) -> str:
    reason = REASONS[survey.verdicts[number]]
    if reason == "contaminated" and survey.index:
        return str(survey.index.find(texts_of(row)))
    if reason == "length_balance":
        chosen, rejected = texts_of(row).answers
        return f"chosen {len(chosen)} characters, rejected {len(rejected)}"
    twin = named[int(survey.twins[number])]
    return f"same as {twin}" if reason == "duplicate" else f"near {twin}"


def _measure(texts: list[Texts], rows: list[dict[str, Any]], before: int, lengths: tuple[array, array]) -> None:
    for number, (text, row) in enumerate(zip(texts, rows, strict=True), before + 1):
        if not is_pair(text):
            raise ConfigError(
                f"balance_length needs pairs of chosen and rejected answers, and {row_name(row, number)} is none; "
                "remove hygiene.balance_length"
            )
        lengths[0].append(len(text.answers[0]))
        lengths[1].append(len(text.answers[1]))
