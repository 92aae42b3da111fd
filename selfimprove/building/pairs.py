"""Preference pairs from scored answers: per prompt the best against the worst."""

import hashlib
import json
import math
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from selfimprove.building.split import prompt_id
from selfimprove.errors import DataError
from selfimprove.files import read_jsonl
from selfimprove.records import Pair, Skip, as_messages

BUCKETS = 128


def best_against_worst(
    candidates: Iterable[Mapping[str, Any]], min_margin: float = 0.0, score: str = "score"
) -> Iterator[Pair | Skip]:
    """Yield one Pair per prompt from its scored answers, the highest score chosen and the lowest rejected.

    A candidate is a row with `prompt`, `completion`, a score (a number, or null where scoring failed) and an
    `id`; the candidates of a prompt stand one after the other (else: `gathered`). Of equal scores the first
    counts, except that chosen and rejected never have the same text. Skips: `unscored`, one per candidate
    whose score is null or not finite, which is never used; and per prompt without a pair `single` (one scored
    candidate), `same_text` (all the same), `tie` (all scores equal), `small_margin` (below `min_margin`).

    Memory: one prompt's candidates, and 8 bytes a prompt. A prompt that comes again under another id is another
    prompt. Raises DataError for a row that is no candidate, and at the end where the candidates of a prompt (the
    same text and the same id before the `/tag`) did not stand together.
    """
    seen = array("Q")
    for _, group in groupby(candidates, key=group_key):
        scored = []
        for number, row in enumerate(group):
            if number == 0:
                seen.append(_digest(f"{group_key(row)} {prompt_id(str(row.get('id')))}"))
            value = score_of(row, score)
            if value is None:
                yield Skip(str(row.get("id", "")), "unscored", f"{score} is {row[score]}")
            else:
                scored.append((value, row))
        if scored:
            yield _pair(scored, min_margin)
    apart = len(seen) - len(np.unique(np.frombuffer(seen, np.uint64)))
    if apart:
        raise DataError(
            f"the candidates of {apart} {'prompt does' if apart == 1 else 'prompts do'} not stand one after the "
            "other; sort the file by prompt, or pass --unsorted"
        )


def gathered(
    candidates: Iterable[Mapping[str, Any]], folder: Path | None = None, buckets: int = BUCKETS
) -> Iterator[dict[str, Any]]:
    """Yield the same candidates with those of a prompt one after the other, whatever their order was.

    They are spread over 128 files in a temporary folder (in `folder`, which must have room for all rows), and
    one file's are in memory at a time. The order is the same every time, but not that of the input.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".gathered-") as place:
        paths = [Path(place) / f"{number}.jsonl" for number in range(buckets)]
        files = [path.open("w", encoding="utf-8") for path in paths]
        try:
            for row in candidates:
                files[group_key(row) % buckets].write(json.dumps(row, ensure_ascii=False) + "\n")
        finally:
            for file in files:
                file.close()
        for path in paths:
            groups: dict[int, list[dict[str, Any]]] = {}
            for row in read_jsonl(path):
                groups.setdefault(group_key(row), []).append(row)
            for rows in groups.values():
                yield from rows


def group_key(row: Mapping[str, Any]) -> int:
    """Return the 8-byte digest of a candidate's prompt; raises DataError where the row is no candidate."""
    prompt, completion = row.get("prompt"), row.get("completion")
    if not isinstance(prompt, str | list) or not isinstance(completion, str):
        names = ", ".join(map(str, row)) or "no fields"
        raise DataError(f"a candidate has prompt (text or messages) and completion (text); the row has {names}")
    text = prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True)
    return _digest(text)


def score_of(row: Mapping[str, Any], field: str = "score") -> float | None:
    """Return a candidate's score, None where scoring failed; raises DataError where there is no such number."""
    if field not in row:
        raise DataError(f"the row has no '{field}'; it has {', '.join(map(str, row))}")
    value = row[field]
    if value is None:
        return None
    if not isinstance(value, int | float):
        raise DataError(f"{field} must be a number or null, not {value!r:.60}")
    return float(value) if math.isfinite(value) else None


def check_candidate(row: Mapping[str, Any], field: str = "score") -> None:
    """Raise DataError where a row is no candidate."""
    group_key(row)
    score_of(row, field)
    as_messages(row["prompt"])


def _pair(scored: list[tuple[float, Mapping[str, Any]]], min_margin: float) -> Pair | Skip:
    high, best = max(scored, key=lambda item: item[0])  # the first of equal ones
    rivals = [item for item in scored if item[1]["completion"] != best["completion"]]
    name = _name([row for _, row in scored])
    if len(scored) == 1:
        return Skip(name, "single", "one scored candidate")
    if not rivals:
        return Skip(name, "same_text", f"{len(scored)} candidates say the same")
    low, worst = min(rivals, key=lambda item: item[0])
    margin = high - low
    if margin == 0:
        return Skip(name, "tie", f"all scores are {high:g}")
    if margin < min_margin:
        return Skip(name, "small_margin", f"{high:g} - {low:g} = {margin:g} < {min_margin:g}")
    meta = {"chosen_score": high, "rejected_score": low, "candidates": len(scored)}
    rounds = best.get("round")
    number = rounds if isinstance(rounds, int) else 0
    return Pair(
        name, as_messages(best["prompt"]), best["completion"], worst["completion"], margin, round=number, meta=meta
    )


def _name(rows: list[Mapping[str, Any]]) -> str:
    """Return the id of the pair: the candidates' common id, else that without their tags, else the first one's."""
    ids = [str(row["id"]) if row.get("id") is not None else f"{group_key(row):016x}" for row in rows]
    for names in (ids, [prompt_id(name) for name in ids]):
        if len(set(names)) == 1:
            return names[0]
    return ids[0]


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
