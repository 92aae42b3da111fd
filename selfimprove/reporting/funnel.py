"""The funnel of a round: from prompts to optimiser steps, with everything that was lost on the way and why.

Only what the run folder holds is told. Stages of one unit (prompts, answers, rows, steps) add up: a stage has what
the stage before it of the same unit had, plus what was added, minus what was lost.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfimprove.files import read_json, read_jsonl
from selfimprove.reporting.table import table
from selfimprove.store import Store

ID = '{"id": '
"""How a line of a row file begins: the id is the first field of every record."""
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Stage:
    """How many there are at a point of the funnel; `lost` and `added` against the stage before of the same unit."""

    label: str
    unit: str
    count: int
    lost: dict[str, int] = field(default_factory=dict)
    added: dict[str, int] = field(default_factory=dict)
    note: str = ""


def funnel(store: Store, round: int) -> list[Stage]:
    """Return the stages of a round as far as it has come; [] where its collection has not finished."""
    marker = store.marker(round, "collect")
    if marker is None:
        return []
    stages = [Stage("prompts", "prompts", marker["prompts"]), *_answers(marker.get("asked") or {})]
    stages += _prompts_with_rows(store, round, marker)
    stages.append(Stage("rows collected", "rows", marker["rows"]))
    stages += _assembled(store, round, marker["rows"])
    stages += _trained(store, round, stages[-1].count)
    return stages


def funnel_lines(store: Store, round: int) -> list[str]:
    """Return the funnel as the lines of a table, each stage followed by what was lost and added on the way to it."""
    rows: list[list[object]] = []
    for stage in funnel(store, round):
        rows += [["", f"-{n:,}", reason] for reason, n in stage.lost.items()]
        rows += [["", f"+{n:,}", reason] for reason, n in stage.added.items()]
        rows.append([f"{stage.count:,}", "", f"{stage.label}{f' ({stage.note})' if stage.note else ''}"])
    return table([f"round {round}", "", ""], rows) if rows else [f"round {round} has not been collected"]


def by_size(counts: dict[str, int]) -> dict[str, int]:
    """Return counts with the largest first, without zeros."""
    return {name: n for name, n in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])) if n}


def skip_examples(path: Path, most: int, reasons: int = 12) -> dict[str, list[dict[str, Any]]]:
    """Return {reason: its first `most` skips} of a skips.jsonl, of the first so many reasons; {} without a file."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in read_jsonl(path) if path.is_file() else ():
        if row["reason"] in found or len(found) < reasons:
            examples = found.setdefault(row["reason"], [])
            if len(examples) < most:
                examples.append(row)
    return found


def _answers(asked: dict[str, int]) -> list[Stage]:
    """Return the answers that were sampled; nothing where the collection did not count them (older runs)."""
    sampled, failed = asked.get("samples"), asked.get("failed", 0)
    if sampled is None:
        return []
    verdicts = [
        f"{asked[kind]:,} {what}" for kind, what in (("check", "checked"), ("score", "scored")) if asked.get(kind)
    ]
    requests = f"{asked['generate']:,} requests" if asked.get("generate") else ""
    stages = [Stage("answers sampled", "answers", sampled, note=", ".join(filter(None, [requests, *verdicts])))]
    if failed:
        stages.append(Stage("answers that came", "answers", sampled - failed, {"error of the engine": failed}))
    return stages


def _prompts_with_rows(store: Store, round: int, marker: dict[str, Any]) -> list[Stage]:
    """Return how many prompts gave rows, and why the others did not.

    A prompt may have several skips, or rows as well as a skip; each prompt counts once, with its first reason, and
    only where it has no row. Nothing is returned where the skips do not belong to prompts one by one.
    """
    skipped: dict[str, str] = {}
    folder = store.stage_folder(round, "collect")
    path = folder / "skips.jsonl"
    for row in read_jsonl(path) if marker["skips"] and path.is_file() else ():
        skipped.setdefault(row["id"], row["reason"])
    if marker["skips"] and not skipped:
        return []
    for name in (name for name in marker["files"] if Path(name).name.startswith("rows-")) if skipped else ():
        for id in _ids(store.round_folder(round) / name):
            for end in (
                at for at, letter in enumerate(f"{id}/") if letter == "/"
            ):  # prompt/tag; both may hold a slash
                skipped.pop(id[:end], None)
    lost: dict[str, int] = {}
    for reason in skipped.values():
        lost[reason] = lost.get(reason, 0) + 1
    left = marker["prompts"] - len(skipped)
    if left < 0 or (left == 0) != (marker["rows"] == 0):
        return []
    more = sum(marker["skips"].values()) - len(skipped)
    note = f"{more:,} further skips concern prompts counted already" if more else ""
    return [Stage("prompts with rows", "prompts", left, by_size(lost), note=note)]


def _ids(path: Path) -> Iterator[str]:
    """Yield the id of every row of a file, without reading the rest of the row where that can be helped."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield str(_DECODER.raw_decode(line, len(ID))[0] if line.startswith(ID) else json.loads(line).get("id"))


def _assembled(store: Store, round: int, before: int) -> list[Stage]:
    """Return what was left once the whole data set had been looked at, where method or hygiene did that."""
    marker = store.marker(round, "assemble")
    if marker is None:
        return []
    lost = by_size(marker.get("skips", {}))
    gap = before - marker["rows"] - sum(lost.values())
    if gap > 0:
        lost["no reason given"] = gap
    return [Stage("rows assembled", "rows", marker["rows"], lost, {"by the method": -gap} if gap < 0 else {})]


def _trained(store: Store, round: int, before: int) -> list[Stage]:
    """Return the rows that were trained on and the optimiser's steps, of the policy and of every other model."""
    folder = store.stage_folder(round, "learn")
    if store.marker(round, "learn") is None:
        return []
    models = {path.parent.name: read_json(path) for path in sorted(folder.glob("*/result.json"))}
    stages = _policy_trained(folder, round, before, models) if (folder / "result.json").is_file() else []
    for name, result in models.items():
        counts, unit = result.get("rows") or {}, f"of the {name} model"
        if "trained" in counts:
            left_out = counts.get("left_out", 0)
            note = f"{left_out:,} more are longer than max_length" if left_out else ""
            stages.append(Stage(f"rows the {name} model trained on", f"rows {unit}", counts["trained"], note=note))
        stages.append(Stage(f"optimiser steps {unit}", f"steps {unit}", result["steps"]))
    return stages


def _policy_trained(folder: Path, round: int, before: int, models: dict[str, Any]) -> list[Stage]:
    """Return the stages of the policy's training; rows that it was not given may be those of other models."""
    result = read_json(folder / "result.json")
    counts = result.get("rows") or {}
    stages = []
    if "trained" in counts:
        left_out = counts.get("left_out", 0)
        given = counts["trained"] + left_out
        if given != before:
            others = _other_rounds(folder / "job.json", round)
            added = {others: given - before} if given > before else {}
            lost = _given_elsewhere(before - given, models) if given < before else {}
            stages.append(Stage("rows given to the training", "rows", given, lost, added))
        note = f"{counts['cut']:,} of them cut to max_length" if counts.get("cut") else ""
        lost = {"longer than max_length": left_out} if left_out else {}
        stages.append(Stage("rows trained on", "rows", counts["trained"], lost, note=note))
    if result.get("steps") is not None:
        stages.append(Stage("optimiser steps", "steps", result["steps"], note=_epochs(folder / "events.jsonl")))
    return stages


def _given_elsewhere(count: int, models: dict[str, Any]) -> dict[str, int]:
    """Return where rows went that the policy's training was not given: to other models, and the rest nowhere."""
    lost: dict[str, int] = {}
    for name, result in models.items():
        rows = result.get("rows") or {}
        lost[f"for the {name} model"] = min(count, rows.get("trained", 0) + rows.get("left_out", 0))
        count -= lost[f"for the {name} model"]
    lost["not given to the training by the method"] = count
    return {reason: n for reason, n in lost.items() if n}


def _epochs(path: Path) -> str:
    """Return how often the rows were gone through: the epoch of the last event, carried on to the last step."""
    last: dict[str, Any] = {}
    for event in read_jsonl(path) if path.is_file() else ():
        last = event if event.get("epoch") and event.get("step") and event.get("of") else last
    if not last:
        return ""
    epochs = f"{last['epoch'] / last['step'] * last['of']:.3g}"
    return f"{epochs} epoch{'' if epochs == '1' else 's'}"


def _other_rounds(job: Path, round: int) -> str:
    """Return what to call rows of a training that are not the round's own."""
    files = read_json(job)["rows"] if job.is_file() else []
    numbers = {part[6:] for name in files for part in Path(name).parts if part.startswith("round-")} - {str(round)}
    ordered = sorted(int(number) for number in numbers if number.isdigit())
    return f"rows of round {', '.join(map(str, ordered))}" if ordered else "given by the method"
