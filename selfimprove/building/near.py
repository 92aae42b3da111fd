"""Near-duplicates with MinHash: a signature of 256 bytes a row, bands over compact arrays, verified candidates.

Two rows are near-duplicates where the Jaccard similarity of their word 5-grams is at least the threshold, both of
what is asked and of what is answered: other answers to a long prompt are no duplicates, nor are equal short answers
to other prompts, nor a pair with its sides swapped. System messages do not count.

Each side of a row has a signature of 128 MinHash values of `datasketch`, of which one byte each is kept. Bands of
r values of either side decide which rows are compared at all. For a similarity s of both sides they let a pair
through with probability 1 - (1 - s^2r)^(128 // r): at the default threshold 0.8 (r = 4, 32 bands) that is 99.7 % at
s = 0.8, over 99.99 % from s = 0.85, 12 % at s = 0.5. What gets through is compared by its signatures; the
estimate of a side's similarity has a standard error of at most 0.045, 0.036 at 0.8, so that it may go either way
within a few hundredths of the threshold. Rows with the same set of 5-grams
are always found.

In order of the rows, a row is taken out where an earlier row that was kept is near enough; that row is its twin.
So the first of a group stays, every row taken out has a twin that stays, and nothing depends on hash seeds.
"""

from array import array
from collections.abc import Sequence

import numpy as np

from selfimprove.building.texts import Texts
from selfimprove.errors import ConfigError, missing_package
from selfimprove.sources.minhash import minhash
from selfimprove.sources.overlap import words
from selfimprove.sources.runs import WordNumbers, hash_runs

SHINGLE = 5
SIDE = 128
CROWD = 64
"""Kept rows of one bucket that a later row is compared with; bounds the work where very many rows look alike."""
_SALTS = np.array([0, 0xD6E8FEB86659FD93], dtype=np.uint64)  # chosen and rejected are different places for a text


class Signatures:
    """The signatures of a data set's rows, 256 bytes each, in order."""

    def __init__(self) -> None:
        """Start empty; raises ConfigError where datasketch is not installed."""
        try:
            from datasketch import MinHash
        except ImportError:
            raise missing_package("near-duplicate removal", "datasketch", "dedup") from None
        self._permutations = MinHash(num_perm=SIDE, scheme="affine32").permutations
        self._numbers = WordNumbers()
        self._bytes = np.empty((0, 2 * SIDE), np.uint8)
        self.rows = 0

    def add(self, batch: Sequence[Texts]) -> None:
        """Append the signatures of rows."""
        self._grow(self.rows + len(batch))
        room = self._bytes[self.rows : self.rows + len(batch)]
        asked = [words("\n".join(texts.prompt)) for texts in batch]
        hashes, counts = hash_runs(asked, SHINGLE, self._numbers)
        room[:, :SIDE] = minhash(_narrow(hashes), counts, self._permutations)
        answers = [texts.answers or ("",) for texts in batch]
        hashes, counts = hash_runs([words(text) for side in answers for text in side], SHINGLE, self._numbers)
        places = np.array([place for side in answers for place in range(len(side))])
        hashes ^= np.repeat(_SALTS[places], counts)
        counts = np.add.reduceat(counts, np.flatnonzero(places == 0))
        room[:, SIDE:] = minhash(_narrow(hashes), counts, self._permutations)
        self.rows += len(batch)

    def matrix(self) -> np.ndarray:
        """Return all signatures, uint8 of shape (rows, 256): 128 of what is asked, then 128 of the answers."""
        return self._bytes[: self.rows]

    def _grow(self, rows: int) -> None:
        if rows > len(self._bytes):  # in place: a copy would need the memory twice
            self._bytes.resize((max(rows, len(self._bytes) * 5 // 4, 4096), 2 * SIDE), refcheck=False)


def near_twins(signatures: np.ndarray, taking_part: np.ndarray, threshold: float) -> np.ndarray:
    """Return for each row the number of the earlier kept row it is a near-duplicate of, -1 where there is none.

    `signatures` is uint8 of shape (rows, 256), `taking_part` bool of shape (rows,); the result is int32.
    """
    width = band_width(threshold)
    twins = exact_twins(_whole(signatures), taking_part)  # the same 5-grams: no matter how crowded their buckets are
    same = np.flatnonzero(twins >= 0)
    rows = np.flatnonzero(taking_part & (twins < 0)).astype(np.int32)
    crowded = np.zeros(len(rows), bool)
    for band in range(SIDE // width):  # most rows share no band with any other: they are done here
        order, buckets = _buckets(signatures, rows, band, width)
        crowded[order] |= (np.bincount(buckets) > 1)[buckets]
    rows = rows[crowded]
    if len(rows):
        _compare(signatures, rows, *_grouped(signatures, rows, width), threshold, twins)
    firsts = twins[same]
    twins[same] = np.where(twins[firsts] < 0, firsts, twins[firsts])
    return twins


def exact_twins(digests: np.ndarray, taking_part: np.ndarray) -> np.ndarray:
    """Return for each row the number of the first row with its digest (uint64), -1 for that row itself; int32."""
    twins = np.full(len(digests), -1, np.int32)
    rows = np.flatnonzero(taking_part)
    rows = rows[np.argsort(digests[rows], kind="stable")]
    found = digests[rows]
    new = np.ones(len(rows), bool)
    new[1:] = found[1:] != found[:-1]
    firsts = rows[np.flatnonzero(new)[np.cumsum(new) - 1]] if len(rows) else rows
    twins[rows[~new]] = firsts[~new]
    return twins


def band_width(threshold: float) -> int:
    """Return the most values a side per band with which two rows at the threshold meet with probability 0.99.

    Raises ConfigError for a threshold outside 0.5 to 1.
    """
    if not 0.5 <= threshold <= 1:
        raise ConfigError(f"the threshold of near-duplicates is {threshold}; it must lie between 0.5 and 1")
    return max(r for r in (1, 2, 3, 4) if r == 1 or meeting_probability(threshold, r) >= 0.99)


def meeting_probability(similarity: float, width: int) -> float:
    """Return the probability 1 - (1 - s^2r)^(128 // r) that two rows share a band; s of both sides, r the width."""
    return 1 - (1 - similarity ** (2 * width)) ** (SIDE // width)


def _narrow(hashes: np.ndarray) -> np.ndarray:
    return (hashes >> np.uint64(32)).astype(np.uint32)


def _whole(signatures: np.ndarray) -> np.ndarray:
    """Return one uint64 per row that stands for all of its signature."""
    keys = np.zeros(len(signatures), np.uint64)
    for column in signatures.view(np.uint64).T:
        keys *= np.uint64(0x9E3779B97F4A7C15)
        keys += column
        keys ^= keys >> np.uint64(29)
    return keys


def _buckets(signatures: np.ndarray, rows: np.ndarray, band: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return places in `rows` sorted by their value in a band, and the number of the bucket each is in."""
    keys = np.zeros(len(rows), np.uint64)
    for side in (0, SIDE):
        for column in range(side + band * width, side + (band + 1) * width):
            keys <<= np.uint64(8)  # at most 8 values of a byte: the key is the band itself
            keys |= signatures[rows, column]
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    new = np.ones(len(keys), bool)
    new[1:] = keys[1:] != keys[:-1]
    return order, np.cumsum(new, dtype=np.int64) - 1


def _grouped(signatures: np.ndarray, rows: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's bucket in every band (int32, -1 where it is alone) and where each bucket's members begin."""
    bands = SIDE // width
    groups = np.full((len(rows), bands), -1, np.int32)
    sizes: list[np.ndarray] = []
    count = 0
    for band in range(bands):
        order, buckets = _buckets(signatures, rows, band, width)
        shared = np.bincount(buckets) > 1
        numbers = (np.cumsum(shared) - 1 + count).astype(np.int32)
        numbers[~shared] = -1
        groups[order, band] = numbers[buckets]
        sizes.append(np.minimum(np.bincount(buckets)[shared], CROWD))
        count += int(shared.sum())
    starts = np.zeros(count + 1, np.int64)
    np.cumsum(np.concatenate(sizes), out=starts[1:])
    return groups, starts


def _compare(
    signatures: np.ndarray,
    rows: np.ndarray,
    groups: np.ndarray,
    starts: np.ndarray,
    threshold: float,
    twins: np.ndarray,
) -> None:
    """Go through the rows in order and write the twin of each one that has an earlier kept row near enough."""
    begins, kept = starts.data, array("i", bytes(4 * (len(starts) - 1)))  # how many each bucket has kept
    members = array("i", bytes(4 * int(starts[-1])))
    needed = threshold * SIDE - 1e-9
    for number, row in enumerate(rows.tolist()):
        buckets = [bucket for bucket in groups[number].tolist() if bucket >= 0]
        met = {
            member
            for bucket in buckets
            if kept[bucket]
            for member in members[begins[bucket] : begins[bucket] + kept[bucket]]
        }
        if met:
            candidates = np.array(sorted(met))
            same = signatures[candidates] == signatures[row]
            close = (same[:, :SIDE].sum(axis=1) >= needed) & (same[:, SIDE:].sum(axis=1) >= needed)
            if close.any():
                twins[row] = candidates[close.argmax()]
                continue
        for bucket in buckets:
            place = begins[bucket] + kept[bucket]
            if place < begins[bucket + 1]:
                members[place] = row
                kept[bucket] += 1
