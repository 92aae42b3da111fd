"""MinHash and locality-sensitive hashing over texts: who is nearly the same as whom, in the usual banded form.

Texts whose signatures agree in all rows of at least one band are taken to be near-duplicates without a further
comparison, and groups are joined (union-find), as the pipelines around The Stack do it. `building.near` is the
stricter way for training rows: it looks at both sides of a row and compares what the bands bring together.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice
from typing import Any

import numpy as np

from selfimprove.errors import ConfigError
from selfimprove.sources.runs import WordNumbers, hash_runs

SHINGLE, PERMUTATIONS, BATCH = 5, 250, 512
TOO_SHORT = -1
"""In the place of a root: the text has fewer than 5 tokens, so nothing can be said of it."""
_SPLIT = re.compile(r"\W")


def tokens(text: str) -> list[str]:
    r"""Return a text split at every character that is no letter, digit or underscore (`\W`).

    Between two such characters stands an empty token, which counts.
    """
    return _SPLIT.split(text)


def minhash(hashes: np.ndarray, counts: np.ndarray, permutations: Any) -> np.ndarray:
    """Return datasketch's MinHash values (scheme affine32) of many sets at once, uint32 of shape (sets, permutations).

    `hashes` holds the sets' members (uint32) set after set, `counts` how many each set has, at least 1. One pass
    of numpy per permutation over all sets is twenty times as fast as a MinHash object per set.
    """
    shifts, factors = (16, 13, 16), (0x85EBCA6B, 0xC2B2AE35)  # MurmurHash3's finalizer, as datasketch applies it
    mixed = hashes ^ (hashes >> np.uint32(shifts[0]))
    for shift, factor in zip(shifts[1:], factors, strict=True):
        mixed = mixed * np.uint32(factor)
        mixed ^= mixed >> np.uint32(shift)
    starts = np.cumsum(counts) - counts
    columns = [np.minimum.reduceat(mixed * a + b, starts) for a, b in zip(*permutations, strict=True)]
    return np.stack(columns, axis=1)


@cache
def bands_of(threshold: float, permutations: int = PERMUTATIONS) -> tuple[int, int]:
    """Return (bands, rows a band) that make the fewest mistakes at a threshold of similarity, both kinds alike.

    A pair of similarity s meets with probability 1 - (1 - s^rows)^bands; wrong meetings are its integral below the
    threshold, missed ones that of the rest above it. Raises ConfigError for a threshold outside 0 to 1.
    """
    if not 0 < threshold < 1:
        raise ConfigError(f"the threshold of near-duplicates is {threshold}; it must lie between 0 and 1")
    below = np.linspace(0, threshold, 500, endpoint=False) + threshold / 1000  # middles of equal steps
    above = np.linspace(threshold, 1, 500, endpoint=False) + (1 - threshold) / 1000

    def mistakes(bands: int, rows: int) -> float:
        wrong = (1 - (1 - below**rows) ** bands).mean() * threshold
        missed = ((1 - above**rows) ** bands).mean() * (1 - threshold)
        return float(wrong + missed)

    pairs = [(bands, rows) for bands in range(1, permutations + 1) for rows in range(1, permutations // bands + 1)]
    return min(pairs, key=lambda pair: mistakes(*pair))


def roots(texts: Iterable[str], threshold: float, permutations: int = PERMUTATIONS) -> np.ndarray:
    """Return for each text the number of the first text of its group of near-duplicates, its own where it stays.

    int64 of shape (texts,); TOO_SHORT for a text of fewer than 5 tokens. Keeps 4 bytes a text and row of a band.
    """
    bands, rows = bands_of(threshold, permutations)
    parts, short = [np.empty((0, bands), np.uint64)], [np.empty(0, bool)]
    for batch, lacking in _signatures(texts, bands, rows):
        parts.append(batch)
        short.append(lacking)
    keys, lacking = np.concatenate(parts), np.concatenate(short)
    parent = list(range(len(keys)))

    def find(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    taking_part = np.flatnonzero(~lacking)
    for band in range(bands):
        first: dict[int, int] = {}
        for number, key in zip(taking_part.tolist(), keys[taking_part, band].tolist(), strict=True):
            one, other = find(first.setdefault(key, number)), find(number)
            parent[max(one, other)] = min(one, other)
    found = np.array([find(number) for number in range(len(keys))], np.int64)
    found[lacking] = TOO_SHORT
    return found


class Earlier:
    """Says of the texts of a stream which of them repeat an earlier one; keeps a set's entry a band of every text."""

    def __init__(self, threshold: float, permutations: int = PERMUTATIONS) -> None:
        """Start empty; raises ConfigError for a threshold outside 0 to 1."""
        self._bands, self._rows = bands_of(threshold, permutations)
        self._seen: list[set[int]] = [set() for _ in range(self._bands)]

    def repeats(self, texts: Iterable[str]) -> list[bool]:
        """Return for each text whether one before it was nearly the same; a text of fewer than 5 tokens is none."""
        found = []
        for keys, lacking in _signatures(texts, self._bands, self._rows):
            for row, short in zip(keys.tolist(), lacking.tolist(), strict=True):
                found.append(not short and any(key in seen for key, seen in zip(row, self._seen, strict=True)))
                for key, seen in zip(row, self._seen, strict=True):
                    if not short:
                        seen.add(key)
        return found


def _signatures(texts: Iterable[str], bands: int, rows: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (band keys, uint64 of shape (texts, bands); which texts are too short) of one batch after the other."""
    numbers, random = WordNumbers(), np.random.RandomState(1)  # a stream that numpy never changes
    a, b = (random.randint(0, 1 << 32, bands * rows, dtype=np.uint64).astype(np.uint32) for _ in range(2))
    source = iter(texts)
    while batch := list(islice(source, BATCH)):
        said = [tokens(text) for text in batch]
        hashes, counts = hash_runs(said, SHINGLE, numbers)
        values = minhash((hashes >> np.uint64(32)).astype(np.uint32), counts, (a | np.uint32(1), b))
        keys = np.zeros((len(batch), bands), np.uint64)
        for column in values.reshape(len(batch), bands, rows).transpose(2, 0, 1):
            keys = (keys ^ column) * np.uint64(0x9E3779B97F4A7C15)
            keys ^= keys >> np.uint64(29)
        yield keys, np.array([len(each) < SHINGLE for each in said])
