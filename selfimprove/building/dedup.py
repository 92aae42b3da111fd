"""Duplicates: rows with the same prompt and answers, and rows nearly so; the first of every group stays.

Exact duplicates agree in every character of prompt, system message and answers, but for white space and the
spelling of accents in Unicode. They are found by 8-byte digests in a sorted array: among a million rows the chance
that two different ones share a digest is 3 in 100 million. Near-duplicates are told in `near`.
"""

import hashlib
import unicodedata
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selfimprove.building.near import Signatures, band_width, exact_twins, near_twins
from selfimprove.building.texts import Texts, batches, texts_of

_NOTHING = Texts((), ())


@dataclass(frozen=True)
class Duplicates:
    """Which rows are duplicates: for each row the number of the kept row it repeats, or -1."""

    twin: np.ndarray  # int32, rows counted from 0
    near: np.ndarray  # bool: not the same, only near


class Fingerprints:
    """What is kept of rows to tell duplicates: 8 bytes each, and 256 more where near-duplicates are looked for."""

    def __init__(self, near: float | None = None) -> None:
        """Start empty; `near` is the similarity from which rows are near-duplicates, None for exact ones only.

        Raises ConfigError for a similarity outside 0.5 to 1, or where datasketch is needed and absent.
        """
        self.near = near
        if near is not None:
            band_width(near)  # refuses what cannot be before any row is read
        self._digests, self._taking_part = array("Q"), bytearray()
        self._signatures = None if near is None else Signatures()

    def add(self, batch: Sequence[Texts | None]) -> None:
        """Append rows; None stands for a row that takes no part but keeps its number."""
        self._digests.extend(0 if texts is None else digest_of(texts) for texts in batch)
        self._taking_part.extend(texts is not None for texts in batch)
        if self._signatures and batch:
            self._signatures.add([texts or _NOTHING for texts in batch])

    def duplicates(self) -> Duplicates:
        """Return the duplicates among all rows so far."""
        taking_part = np.frombuffer(self._taking_part, bool)
        twin = exact_twins(np.frombuffer(self._digests, np.uint64), taking_part)
        near = np.zeros(len(twin), bool)
        if self._signatures is not None and self.near is not None:
            twins = near_twins(self._signatures.matrix(), taking_part & (twin < 0), self.near)
            taken = twins >= 0
            again = (twin >= 0) & taken[twin]  # the same as a row that is itself only near to a kept one
            twin[again] = twins[twin[again]]
            twin[taken] = twins[taken]
            near = taken | again
        return Duplicates(twin, near)


def find_duplicates(rows: Iterable[Mapping[str, Any]], near: float | None = None) -> Duplicates:
    """Return the duplicates among rows, which are read once; raises DataError where a row holds no text."""
    prints = Fingerprints(near)
    for batch in batches(rows):
        prints.add([texts_of(row) for row in batch])
    return prints.duplicates()


def digest_of(texts: Texts) -> int:
    """Return the 8-byte digest of a row's texts without regard to white space and Unicode spelling."""
    parts = [texts.system, str(len(texts.prompt)), *texts.prompt, *texts.answers]
    text = "\0".join([" ".join(part.split()) for part in parts])
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
