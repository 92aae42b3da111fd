"""A run folder told in lines: its state, its rounds, its rows, its skips, and every answer behind a row."""

import json
from collections import defaultdict, deque
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import Any

from selfimprove.errors import DataError, did_you_mean
from selfimprove.evaluation.standalone import compare_rounds, measured_rounds
from selfimprove.files import read_json, read_jsonl
from selfimprove.ledger import Ledger
from selfimprove.reporting.rounds import round_lines
from selfimprove.reporting.table import table
from selfimprove.store import STAGES, Store, saved_recipe


def open_run(folder: Path) -> Store:
    """Return the store of a run folder for reading; raises ConfigError where there is no run."""
    saved_recipe(folder)
    return Store(folder)


def rounds_there(store: Store) -> list[int]:
    """Return the numbers of the rounds that have begun."""
    return sorted(int(path.name[6:]) for path in store.folder.glob("round-*") if path.name[6:].isdigit())


def overview(store: Store) -> list[str]:
    """Return what the run is, how far it has come and what each finished stage gave."""
    recipe = saved_recipe(store.folder)
    head = read_json(store.folder / "run.json")
    lines = [
        f"{store.folder}: {recipe.method_name} on {recipe.model}, {recipe.rounds} rounds",
        f"begun {head['created']} with selfimprove {head['version']}, engine {recipe.engine['name']}; {state(store)}",
        "",
    ]
    rows = []
    for number in rounds_there(store):
        collect = store.marker(number, "collect") or {}
        done = [stage for stage in STAGES if store.marker(number, stage)]
        skipped = sum(collect.get("skips", {}).values())
        rows.append(
            [
                number,
                collect.get("prompts", "-"),
                collect.get("rows", "-"),
                skipped if collect else "-",
                ", ".join(done),
            ]
        )
    lines += table(["round", "prompts", "rows", "skipped", "finished"], rows) if rows else ["no round has begun"]
    measured = [line for number in measured_rounds(store) for line in round_lines(store, number)]
    return [*lines, "", *measured] if measured else lines


def state(store: Store) -> str:
    """Return the last thing that happened, from events.jsonl."""
    path = store.folder / "events.jsonl"
    events = deque(read_jsonl(path), maxlen=1) if path.is_file() else ()
    if not events:
        return "nothing has happened yet"
    last = events[-1]
    if last["event"] == "finished":
        return f"finished {last['time']}; model: {last['model']}"
    details = ", ".join(f"{key} {last[key]}" for key in ("round", "stage", "signal") if key in last)
    return f"last event {last['time']}: {last['event']}{f' ({details})' if details else ''}"


def rounds(store: Store) -> list[str]:
    """Return every measured round with its interval, against round 0 and against the round before."""
    lines: list[str] = []
    measured = measured_rounds(store)
    for place, number in enumerate(measured):
        lines += round_lines(store, number)
        for earlier in measured[place - 1 : place] if place > 1 else ():
            for name in (store.marker(number, "evaluate") or {"sets": ()})["sets"]:
                found = compare_rounds((store, earlier), (store, number), name)
                lines.append(f"    {name} against round {earlier}: {found}")
    return lines or ["no round has been measured"]


def rows(store: Store, number: int, limit: int) -> Iterator[str]:
    """Yield the first rows of a round as a person reads them: prompt, then each side."""
    for count, row in enumerate(store.rows(number)):
        if count == limit:
            return
        facts = [f"{key} {row[key]:g}" for key in ("reward", "margin", "weight") if row.get(key) is not None]
        yield f"{row['id']}  ({', '.join(facts)})"
        for message in row["prompt"]:
            yield f"  {message['role']}:\n{indent(message['content'], '    ')}"
        for side in ("completion", "chosen", "rejected", "steps"):
            if side in row:
                text = row[side] if isinstance(row[side], str) else json.dumps(row[side], ensure_ascii=False)
                yield f"  {side}:\n{indent(text, '    ')}"
        yield ""


def skipped(store: Store, number: int) -> list[dict[str, Any]]:
    """Return the skips of a round; raises DataError where the round has not been collected."""
    if store.marker(number, "collect") is None:
        raise DataError(
            f"{store.folder}: round {number} has not been collected; there are rounds {rounds_there(store)}"
        )
    path = store.stage_folder(number, "collect") / "skips.jsonl"
    return list(read_jsonl(path)) if path.is_file() else []


def skips(store: Store, number: int) -> list[str]:
    """Return every skip of a round on a line of its own: id, reason, detail, with tabs between."""
    return [
        "\t".join((row["id"], row["reason"], in_one_line(row["detail"]))).rstrip() for row in skipped(store, number)
    ]


def in_one_line(text: str) -> str:
    """Return a text without line breaks and tabs."""
    return " ".join(text.split())


def why(store: Store, number: int, limit: int) -> list[str]:
    """Return the reasons why prompts of a round gave no row, most frequent first, each with examples."""
    marker = store.marker(number, "collect") or {}
    by_reason: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in skipped(store, number):
        by_reason[row["reason"]].append(row)
    lines = [f"round {number}: {marker['prompts']} prompts gave {marker['rows']} rows"]
    for reason, found in sorted(by_reason.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        lines.append(
            f"{len(found):>8}  {reason} ({100 * len(found) / max(marker['prompts'], 1):.1f} % of the prompts)"
        )
        lines += [
            f"{'':>10}{row['id']}{': ' + in_one_line(row['detail']) if row['detail'] else ''}" for row in found[:limit]
        ]
    return lines


def samples(store: Store, prompt: str) -> Iterator[str]:
    """Yield every request that was made for a prompt, oldest first, with its answers.

    Raises DataError where the ledger holds nothing for that prompt.
    """
    path = saved_recipe(store.folder).ledger or store.folder / "ledger.sqlite"
    if not Path(path).is_file():
        raise DataError(f"{path}: the run has no ledger yet")
    ledger = Ledger(path)
    try:
        found = list(ledger.entries(prompt))
        if not found:
            known = {entry.prompt for entry in ledger.entries()}
            hint = did_you_mean(prompt, known) if len(known) < 10_000 else ""
            raise DataError(f"{path}: nothing was asked for prompt '{prompt}'{hint[:200]}")
    finally:
        ledger.close()
    for entry in found:
        request = entry.request or {}
        facts = ", ".join(
            f"{key} {request[key]}" for key in ("n", "temperature", "max_tokens", "seed") if key in request
        )
        yield f"{entry.kind} for {entry.purpose}{' ' + entry.path if entry.path else ''} ({facts or entry.key[:12]})"
        answers = entry.answer if isinstance(entry.answer, list) else [entry.answer]
        for answer in answers:
            text = answer.get("text") if isinstance(answer, dict) else None
            if text is None:
                yield indent(json.dumps(answer, ensure_ascii=False), "    ")
                continue
            yield f"  [{answer['index']}] {answer['tokens']} tokens, {answer['finish']}\n{indent(text, '    ')}"
        yield ""
