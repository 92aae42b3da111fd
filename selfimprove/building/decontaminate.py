"""Contamination: training rows that hold a held-out item or a benchmark's item, whole or in part.

A row is contaminated where one of its messages, answers or lines is, word for word, a whole held-out text, or where
a run of n words (13 by default) stands both in the row and in a held-out text. Texts shorter than n words are only
compared whole. Case, punctuation and white space do not count; signs of calculation do. System messages are not
looked at.

Two kinds of runs say nothing about which item it is, and do not count:
- runs without any number, in a held-out text of which a quarter of the runs or more have one: questions from one
  template differ in nothing else, and "how many are left write the calculation in one line" would condemn them all;
- runs that stand in more than 10 items of the same set: instructions and boilerplate.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selfimprove.building.texts import Texts, batches
from selfimprove.errors import ConfigError
from selfimprove.records import Prompt
from selfimprove.sources import load_prompts
from selfimprove.sources.overlap import words
from selfimprove.sources.runs import WordNumbers, hash_runs, inside

COMMON = 10  # items of a set that may share a run before it counts as boilerplate
NUMERIC = 0.25  # share of a text's runs with a number from which those without one do not count


@dataclass(frozen=True, slots=True)
class Contamination:
    """Which held-out set a row touches, and with which words."""

    set: str
    words: str

    def __str__(self) -> str:
        """Say both in a few words."""
        shown = self.words if len(self.words) <= 200 else self.words[:197] + "..."
        return f"{self.set}: '{shown}'"


class Index:
    """The runs of n words of all held-out texts: 10 bytes a run, and a small entry for every whole text."""

    def __init__(self, sets: Mapping[str, Iterable[str]], n: int = 13) -> None:
        """Read all sets ({name: texts}) once; raises ConfigError where n is below 2."""
        if n < 2:
            raise ConfigError(f"ngram is {n}; it must be at least 2 words (13 is usual)")
        self.n = n
        self.names = list(sets)
        self._numbers = WordNumbers()
        self._whole: dict[int, int] = {}  # digest of a text: number of its set
        found = [self._runs_of(number, sets[name]) for number, name in enumerate(self.names)]
        runs = np.concatenate([*found, np.empty(0, np.uint64)])
        owners = np.repeat(np.arange(len(found), dtype=np.uint16), [len(part) for part in found])
        self._runs, first = np.unique(runs, return_index=True)  # of equal runs the first: the set named first
        self._owners = owners[first]

    @property
    def runs(self) -> int:
        """How many different runs of n words there are."""
        return len(self._runs)

    def find(self, texts: Texts) -> Contamination | None:
        """Return what makes a row contaminated, None where nothing does."""
        return self.find_all([texts])[0]

    def find_all(self, rows: Sequence[Texts]) -> list[Contamination | None]:
        """Return for each row what makes it contaminated; many rows at once are faster."""
        found: list[Contamination | None] = [None] * len(rows)
        long: list[list[str]] = []
        owners: list[int] = []
        for number, row in enumerate(rows):
            for text in (*row.prompt, *row.answers):
                said = words(text)
                found[number] = found[number] or self._whole_match(text, said)
                if len(said) >= self.n:
                    long.append(said)
                    owners.append(number)
        for number, said in self._shared_runs(long):
            found[owners[number]] = found[owners[number]] or said
        return found

    def _whole_match(self, text: str, said: list[str]) -> Contamination | None:
        lines = text.splitlines()
        for part in (said, *map(words, lines if len(lines) > 1 else ())):
            name = self._whole.get(_digest(part)) if part else None
            if name is not None:
                return Contamination(self.names[name], " ".join(part))
        return None

    def _shared_runs(self, texts: list[list[str]]) -> Iterator[tuple[int, Contamination]]:
        """Yield the number of a text and its first run that is held out, for each text that has one."""
        if not texts or not len(self._runs):
            return
        hashes, counts = hash_runs(texts, self.n, self._numbers)
        places = np.minimum(np.searchsorted(self._runs, hashes), len(self._runs) - 1)
        hits = np.flatnonzero(self._runs[places] == hashes)
        ends = np.cumsum(counts)
        numbers, firsts = np.unique(np.searchsorted(ends, hits, side="right"), return_index=True)
        for number, hit in zip(numbers.tolist(), hits[firsts].tolist(), strict=True):
            start = hit - int(ends[number] - counts[number])
            run = " ".join(texts[number][start : start + self.n])
            yield number, Contamination(self.names[self._owners[places[hit]]], run)

    def _runs_of(self, number: int, texts: Iterable[str]) -> np.ndarray:
        """Return the runs of one set that count (sorted uint64), and note its whole texts."""
        parts = [np.empty(0, np.uint64)]
        for batch in batches(self._new_texts(number, texts)):
            long = [said for said in batch if len(said) >= self.n]
            hashes, counts = hash_runs(long, self.n, self._numbers)
            if not len(hashes):
                continue
            owners = np.repeat(np.arange(len(long)), counts)
            digits = np.array([word[0].isdigit() for said in long for word in said])
            upto = np.concatenate([[0], np.cumsum(digits)])
            numeric = (upto[self.n :] - upto[: -self.n])[inside(counts + self.n - 1, self.n)] > 0
            shares = np.bincount(owners, numeric) / counts
            counting = numeric | (shares < NUMERIC)[owners]
            once = np.unique(np.stack([owners[counting].astype(np.uint64), hashes[counting]], axis=1), axis=0)
            parts.append(once[:, 1])
        runs, items = np.unique(np.concatenate(parts), return_counts=True)
        return runs[items <= COMMON]

    def _new_texts(self, number: int, texts: Iterable[str]) -> Iterator[list[str]]:
        for text in texts:
            said = words(text)
            mark = _digest(said)
            if said and self._whole.get(mark) != number:
                self._whole.setdefault(mark, number)
                yield said


def heldout_texts(prompts: Iterable[Prompt], n: int = 13) -> Iterator[str]:
    """Yield the texts of held-out items that no training row may hold: questions, and worked answers of n words.

    A question that the source put into an instruction counts as it was before; shorter worked answers
    (`5 + 7 = 12`) are the same for many questions, and gold answers are never texts.
    """
    for prompt in prompts:
        asked = "\n".join(m["content"] for m in prompt.messages if m["role"] == "user")
        bare = prompt.meta.get("question")
        if isinstance(bare, str):
            yield bare
        if not isinstance(bare, str) or len(words(asked)) < n:
            yield asked
        if prompt.solution and len(words(prompt.solution)) >= n:
            yield prompt.solution


def texts_against(
    heldout: Mapping[str, Iterable[Prompt]],
    benchmarks: Iterable[str | Mapping[str, Any]] = (),
    n: int = 13,
    where: str = "",
    folder: Path | None = None,
) -> dict[str, Iterator[str]]:
    """Return {name: texts} of held-out sets and of further sources, as `Index` and `clean` take them.

    Raises ConfigError and DataError where a source is not usable.
    """
    found = {name: heldout_texts(prompts, n) for name, prompts in heldout.items()}
    for source in benchmarks:
        name = source_name(source)
        while name in found:
            name += "'"
        found[name] = heldout_texts(load_prompts(source, where, folder), n)
    return found


def source_name(source: str | Mapping[str, Any]) -> str:
    """Return what a source is called in messages: its name, hub id, task or path."""
    if isinstance(source, str):
        return source
    return str(next((source[key] for key in ("name", "hub", "gym", "path") if key in source), source))


def _digest(said: list[str]) -> int:
    return int.from_bytes(hashlib.blake2b(" ".join(said).encode(), digest_size=8).digest(), "little")
