"""Runs of n words as 8-byte numbers, many texts at a time.

Two runs get the same number where they are the same words; different runs share one by chance with a probability
of about 2^-64. The numbers depend on nothing but the words: no process-wide seed of Python's `hash` is in them.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

VOCABULARY = 100_000
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53), np.uint64(33))


class WordNumbers:
    """Turns words into 8-byte numbers; remembers at most 100,000 of them, so that memory stays bounded."""

    def __init__(self) -> None:
        """Start without any word."""
        self._known: dict[str, int] = {}

    def of(self, found: Sequence[str]) -> np.ndarray:
        """Return one uint64 per word."""
        known = self._known
        for word in set(found).difference(known):
            known[word] = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        numbers = np.array([known[word] for word in found], dtype=np.uint64)
        if len(known) > VOCABULARY:
            known.clear()
        return numbers


def hash_runs(texts: Sequence[Sequence[str]], n: int, numbers: WordNumbers) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of all runs of n words (uint64, text after text) and how many each text has (int64).

    A text of fewer than n words has one run: itself. No run reaches from one text into the next.
    """
    flat: list[str] = []
    for text in texts:
        flat.extend(text)
        flat.extend([""] * (n - len(text)))  # no word is empty, so a short text equals none but itself
    if not flat:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    lengths = np.array([max(len(text), n) for text in texts], dtype=np.int64)
    values = numbers.of(flat)
    size = len(values) - n + 1
    hashes = np.zeros(size, np.uint64)
    for place in range(n):
        hashes *= _FACTOR
        hashes += values[place : place + size]
    return _mixed(hashes)[inside(lengths, n)], lengths - n + 1


def inside(lengths: np.ndarray, n: int) -> np.ndarray:
    """Return which runs of n over texts laid end to end lie within one text; every length is at least n."""
    ends = np.repeat(np.cumsum(lengths), lengths)
    places = np.arange(len(ends))
    return (places + n <= ends)[: len(ends) - n + 1]


def _mixed(values: np.ndarray) -> Any:
    """Spread every bit over the whole number (the finalizer of MurmurHash3), in place."""
    first, second, shift = _MIX
    for factor in (first, second):
        values ^= values >> shift
        values *= factor
    values ^= values >> shift
    return values
