"""A few rows of a round as a person reads them, and where all of them lie."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from selfimprove.files import read_jsonl
from selfimprove.reporting.page.wording import clip
from selfimprove.reporting.worddiff import Piece, word_diff
from selfimprove.store import Store

SIDES = ("chosen", "rejected", "completion", "steps")


@dataclass(frozen=True, slots=True)
class Example:
    """One row: its facts, its conversation as (role, text), and its sides as (name, pieces)."""

    id: str
    facts: str
    messages: list[tuple[str, str]]
    sides: list[tuple[str, list[Piece]]]


@dataclass(frozen=True, slots=True)
class RoundRows:
    """What a round trained on: how many rows, in which files, and the first few."""

    round: int
    stage: str
    count: int
    files: list[Path]
    examples: list[Example]


def read_rows(store: Store, round: int, most: int, characters: int) -> RoundRows | None:
    """Return the first rows of a round's last data set and all files of it; None where it has none yet."""
    stage = next((name for name in ("assemble", "collect") if store.marker(round, name)), None)
    if stage is None:
        return None
    marker = store.marker(round, stage) or {}
    names = [*marker["files"]]
    if stage == "assemble":  # what was collected before is worth a look as well
        names += (store.marker(round, "collect") or {"files": {}})["files"]
    files = [path for name in names if (path := store.round_folder(round) / name).is_file()]
    shards = [path for path in files if path.parent.name == stage and path.name.startswith("rows-")]
    examples = [read_example(row, characters) for row in islice(_lines(shards), most)]
    return RoundRows(round, stage, marker["rows"], files, examples)


def _lines(files: list[Path]) -> Iterator[dict[str, Any]]:
    for file in files:
        yield from read_jsonl(file)


def read_example(row: dict[str, Any], characters: int) -> Example:
    """Return a row for the page; chosen and rejected are marked where they differ, texts cut to `characters`."""
    facts = [
        f"{key} {row[key]:g}"
        for key in ("reward", "margin", "weight", "smoothing")
        if isinstance(row.get(key), int | float)
    ]
    messages = [(m["role"], clip(m["content"], characters)) for m in row.get("prompt", ()) if m["content"]]
    sides = [(name, _text(row, name, characters)) for name in SIDES if name in row]
    if "chosen" in row and "rejected" in row:
        rejected, chosen = word_diff(_text(row, "rejected", characters), _text(row, "chosen", characters))
        return Example(str(row["id"]), ", ".join(facts), messages, [("chosen", chosen), ("rejected", rejected)])
    return Example(str(row["id"]), ", ".join(facts), messages, [(name, [Piece(text, False)]) for name, text in sides])


def _text(row: dict[str, Any], name: str, characters: int) -> str:
    value = row[name]
    if name == "steps":
        labels = row.get("labels") or [None] * len(value)
        value = "\n".join(
            f"[{label if label is not None else '?'}] {step}" for step, label in zip(value, labels, strict=False)
        )
    return clip(str(value), characters)
