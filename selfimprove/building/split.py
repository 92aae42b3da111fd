"""Splitting rows by group: all rows of one prompt go to the same side, today and when more rows have come.

The side is decided by a keyed hash of the group's name alone, so adding or removing rows never moves another one.
Shares are therefore met only approximately: of G groups, a share p gets p G but for about sqrt(p (1 - p) G).
"""

import hashlib
import itertools
import math
from collections.abc import Mapping
from typing import Any

from selfimprove.building.dedup import digest_of
from selfimprove.building.texts import Texts, texts_of
from selfimprove.errors import ConfigError, DataError


def check_shares(shares: Mapping[str, float]) -> dict[str, float]:
    """Return the shares; raises ConfigError where one is not positive or they do not sum to 1."""
    wrong = [name for name, share in shares.items() if not 0 < share <= 1]
    if not shares or wrong:
        raise ConfigError(f"shares {dict(shares)}: every split needs a name and a share above 0 and up to 1")
    if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        raise ConfigError(f"shares {dict(shares)} sum to {sum(shares.values()):.6g}; they must sum to 1")
    return dict(shares)


def split_of(group: str, shares: Mapping[str, float], seed: int = 0) -> str:
    """Return the name of the split a group belongs to; it depends on group, shares and seed alone."""
    place = group_digest(group, seed) / 2**64
    for name, end in zip(shares, itertools.accumulate(shares.values()), strict=True):
        if place < end:
            return name
    return list(shares)[-1]  # the shares sum to a hair less than 1


def group_digest(group: str, seed: int = 0) -> int:
    """Return the 8-byte digest of a group's name, keyed with the seed."""
    digest = hashlib.blake2b(group.encode("utf-8", "surrogatepass"), digest_size=8, key=str(seed).encode())
    return int.from_bytes(digest.digest(), "little")


def group_of(row: Mapping[str, Any], by: str = "id") -> str:
    """Return the group of a row: by `id` the prompt's id (without the `/tag` that tells its rows apart), by
    `prompt` the words of its prompt, else the value of the field of that name.

    Raises DataError where the row has no such field.
    """
    if by == "prompt":
        return str(digest_of(Texts(texts_of(row).prompt, ())))
    value = row.get(by)
    if not isinstance(value, str | int) or isinstance(value, bool):
        found = "the row has none" if value is None else f"not {value!r:.60}"
        raise DataError(f"rows are grouped by '{by}', which must be text or a whole number; {found}")
    return prompt_id(value) if by == "id" and isinstance(value, str) else str(value)


def prompt_id(row_id: str) -> str:
    """Return the id of the prompt that a row was made from: `p7/3` is a row of `p7`."""
    return row_id.rpartition("/")[0] or row_id
