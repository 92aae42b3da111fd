"""What lies in a run folder as records, one view after another: prompts, rows, skips, samples, verdicts, events.

Every view streams: neither a ledger nor a data set is ever held whole. Nothing is locked or written, so a run
that is under way can be looked at.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from selfimprove.errors import DataError, did_you_mean
from selfimprove.ledger import Entry, LedgerReader
from selfimprove.records import Prompt
from selfimprove.reporting.growing import read_growing
from selfimprove.reporting.looking.filters import Filters, Record, matches, select
from selfimprove.reporting.looking.grades import Grades
from selfimprove.reporting.looking.policies import AFTER, asked_in, origins
from selfimprove.sources import load_prompts
from selfimprove.store import Store, saved_recipe


def open_ledger(store: Store) -> LedgerReader:
    """Return the ledger of a run, its own or the one it shares, for reading; raises DataError where there is none."""
    return LedgerReader(saved_recipe(store.folder).ledger or store.folder / "ledger.sqlite")


def rounds_there(store: Store) -> list[int]:
    """Return the numbers of the rounds that have begun."""
    return sorted(int(path.name[6:]) for path in store.folder.glob("round-*") if path.name[6:].isdigit())


def stored_rows(store: Store, number: int) -> Iterable[dict[str, Any]]:
    """Return what a round trains on, or what it has collected so far.

    Raises DataError where the round has not begun, or where a finished file is damaged.
    """
    if store.marker(number, "collect") is not None:
        return store.rows(number)
    folder = store.stage_folder(number, "collect")
    if not folder.is_dir():
        raise _not_collected(store, number)
    return (row for file in sorted(folder.glob("rows-*.jsonl")) for row in read_growing(file))


def stored_skips(store: Store, number: int) -> Iterator[Record]:
    """Yield what a round left out: prompts without a row, then rows that assembling or hygiene took out."""
    folder = store.stage_folder(number, "collect")
    if not folder.is_dir():
        raise _not_collected(store, number)
    for stage in ("collect", "assemble"):
        finished = store.marker(number, stage) is not None
        for row in read_growing(store.stage_folder(number, stage) / "skips.jsonl", whole=finished):
            yield {"round": number, "stage": stage, **row}


def _not_collected(store: Store, number: int) -> DataError:
    return DataError(f"{store.folder}: round {number} has not been collected; there are rounds {rounds_there(store)}")


def rows(store: Store, number: int, filters: Filters) -> Iterator[Record]:
    """Yield the rows of a round; with the filter `correct`, graded by what they teach (chosen or completion)."""
    if filters.correct is None:
        yield from select(stored_rows(store, number), filters)
        return
    with Grades(saved_recipe(store.folder), _ledger_if_any(store)) as grades:

        def graded() -> Iterator[Record]:
            for row in stored_rows(store, number):
                taught = row.get("completion", row.get("chosen", "\n".join(row.get("steps", ()))))
                yield {**row, "score": grades.verdict(grades.prompt(row["id"]), taught).score}

        yield from select(graded(), filters)


def skips(store: Store, number: int, filters: Filters) -> Iterator[Record]:
    """Yield the skips of a round, in order; raises DataError for a reason that none of them has."""
    refuse_unknown_reason(store, number, filters.reason)
    yield from select(stored_skips(store, number), filters)


def refuse_unknown_reason(store: Store, number: int, reason: str | None) -> None:
    """Raise DataError where nothing of a finished round was left out for this reason."""
    markers = [marker for marker in (store.marker(number, stage) for stage in ("collect", "assemble")) if marker]
    known = {name for marker in markers for name in marker["skips"]}
    if reason is not None and markers and reason not in known:
        raise DataError(
            f"{store.folder}: nothing of round {number} was left out for '{reason}'{did_you_mean(reason, known)}"
        )


def reasons(store: Store, number: int, filters: Filters, limit: int) -> list[Record]:
    """Return the reasons of a round with count, share of what came into the stage, and the first examples.

    Most frequent first, and what came in at `collect` before what was taken out at `assemble`.
    """
    counts: dict[tuple[str, str], int] = defaultdict(int)
    examples: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for skip in skips(store, number, filters):
        key = (skip["stage"], skip["reason"])
        counts[key] += 1
        if len(examples[key]) < limit:
            examples[key].append(skip)
    collect = store.marker(number, "collect") or {}
    whole = {"collect": collect.get("prompts", 0), "assemble": collect.get("rows", 0)}
    found = sorted(counts.items(), key=lambda each: (each[0][0] == "assemble", -each[1], each[0]))
    return [
        {
            "round": number, "stage": stage, "reason": reason, "count": count,
            "share": count / whole[stage] if whole[stage] else None, "examples": examples[stage, reason],
        }
        for (stage, reason), count in found
    ]  # fmt: skip


def samples(store: Store, prompt: str, number: int | None, filters: Filters) -> Iterator[Record]:
    """Yield every answer to the requests made for a prompt id (or a pattern of ids), oldest first, with its verdict.

    A request that gave no text (log-probs, a verdict) is one record. Raises DataError where there is none.
    """
    reader = open_ledger(store)
    first = next(reader.entries(prompt), None)
    if first is None:
        known = reader.prompts(10_000)
        hint = did_you_mean(prompt, known) if len(known) < 10_000 else ""
        raise DataError(f"{reader.path}: nothing was asked for prompt '{prompt}'{hint[:200]}")
    belongs = asked_in(store, number) if number is not None else lambda entry: True
    with Grades(saved_recipe(store.folder), reader) as grades:
        yield from select(_answers(store, reader.entries(prompt), grades, filters, belongs), filters)


def _answers(
    store: Store,
    entries: Iterable[Entry],
    grades: Grades,
    filters: Filters,
    belongs: Callable[[Entry], bool] = lambda entry: True,
) -> Iterator[Record]:
    """Yield the answers of ledger entries with their verdicts; what `contains` rules out is not even graded."""
    quick = Filters(contains=filters.contains)
    known = origins(store)
    for entry in entries:
        if not belongs(entry):
            continue
        request = entry.request if isinstance(entry.request, Mapping) else {}
        asked = {
            name: request[name] for name in ("policy", "n", "temperature", "max_tokens", "seed") if name in request
        }
        origin = known.get(request.get("policy", ""))
        head = {
            "id": entry.prompt, "kind": entry.kind, "purpose": entry.purpose, "path": entry.path, "key": entry.key,
            "made_by": str(origin) if origin else None, "request": asked,
        }  # fmt: skip
        for answer in entry.answer if isinstance(entry.answer, list) else [entry.answer]:
            record = {**head, **answer} if isinstance(answer, Mapping) else {**head, "answer": answer}
            if not quick.keeps(record):
                continue
            if entry.kind == "generate":
                verdict = grades.quietly(entry.prompt, answer.get("text", ""), held=entry.purpose in AFTER)
                record |= {"score": verdict.score, "label": verdict.label, "reason": verdict.reason}
            yield record


def verdicts(store: Store, number: int, filters: Filters) -> Iterator[Record]:
    """Yield one record per graded answer of a round: its held-out items first, then what it sampled for rows."""
    yield from select(_verdicts(store, number, filters), filters)


def _verdicts(store: Store, number: int, filters: Filters) -> Iterator[Record]:
    finished = store.marker(number, "evaluate") is not None
    for folder in sorted(path for path in store.stage_folder(number, "evaluate").glob("*") if path.is_dir()):
        for file in sorted(folder.glob("rows-*.jsonl")):
            for item in read_growing(file, whole=finished):
                score = None if item["correct"] is None else float(item["correct"])
                facts = {name: item.get(name) for name in ("reason", "text", "finish", "tokens")}
                yield {"id": item["id"], "of": folder.name, "score": score, "label": item["answer"], **facts}
    reader = _ledger_if_any(store)
    if reader is None or not number:
        return
    belongs = asked_in(store, number)
    with Grades(saved_recipe(store.folder), reader) as grades:
        entries = (
            entry
            for entry in reader.entries(kind="generate")
            if entry.purpose not in AFTER
            and belongs(entry)
            and (filters.id is None or matches(filters.id, entry.prompt))
        )
        for answer in _answers(store, entries, grades, filters):
            facts = {name: answer[name] for name in ("score", "label", "reason", "text", "finish", "tokens", "index")}
            yield {"id": answer["id"], "of": answer["purpose"], **facts}


def prompts(store: Store, number: int, filters: Filters) -> Iterator[Record]:
    """Yield the prompts of a round with what became of each: rows, or the reason of its skip, and its graded answers.

    `right` counts right answers among `graded` ones; the filter `correct` asks for at least one, or for none.
    """
    recipe = saved_recipe(store.folder)
    count = recipe.prompts_per_round
    source: Iterator[Prompt] = load_prompts(recipe.prompts, str(store.folder / "recipe.yaml"))
    if count is not None:
        source = islice(source, (number - 1) * count, number * count)
    reader, belongs = _ledger_if_any(store), asked_in(store, number)
    with Grades(recipe, reader) as grades, closing(_fates(store, number)) as fates:

        def told() -> Iterator[Record]:
            for prompt in source:
                if filters.id is not None and not matches(filters.id, prompt.id):
                    continue
                scores = _scores(reader, grades, prompt, belongs) if reader else []
                right = sum(score >= 1 for score in scores)
                yield {
                    "id": prompt.id, "round": number, **_fate(fates, prompt.id), "right": right,
                    "graded": len(scores), "score": float(right > 0) if scores else None,
                    "question": prompt.text, "gold": prompt.gold, "messages": list(prompt.messages),
                }  # fmt: skip

        yield from select(told(), filters)


def _scores(reader: LedgerReader, grades: Grades, prompt: Prompt, belongs: Callable[[Entry], bool]) -> list[float]:
    """Return the scores of a prompt's sampled answers, those that could be graded."""
    entries = [e for e in reader.entries(prompt.id, kind="generate") if e.prompt == prompt.id]
    texts = [
        answer["text"] for entry in entries if entry.purpose not in AFTER and belongs(entry) for answer in entry.answer
    ]
    scores = (grades.verdict(prompt, text).score for text in texts)
    return [score for score in scores if score is not None]


def _fates(store: Store, number: int) -> sqlite3.Connection:
    """Return a table on disk of what became of the prompts of a round: (id of row or skip, whether a row, reason)."""
    table = sqlite3.connect("")  # SQLite's own temporary file, gone when it is closed
    table.execute("CREATE TABLE fate (id TEXT, row INTEGER, reason TEXT, detail TEXT)")
    ids = ((row["id"],) for row in stored_rows(store, number))
    table.executemany("INSERT INTO fate VALUES (?, 1, NULL, NULL)", ids)
    table.executemany(
        "INSERT INTO fate VALUES (?, 0, ?, ?)",
        ((skip["id"], skip["reason"], skip["detail"]) for skip in stored_skips(store, number)),
    )
    table.execute("CREATE INDEX fate_of_id ON fate (id)")
    return table


def _fate(fates: sqlite3.Connection, id: str) -> dict[str, Any]:
    """Return how many rows a prompt gave and, where it was skipped or a row taken out, why."""
    found = fates.execute(
        "SELECT row, reason, detail FROM fate WHERE id = ? OR (id >= ? AND id < ?)", (id, f"{id}/", f"{id}0")
    ).fetchall()
    reason, detail = next(((reason, detail) for row, reason, detail in found if not row), (None, None))
    return {"rows": sum(row for row, _, _ in found), "reason": reason, "detail": detail}


def events(store: Store, number: int | None, filters: Filters) -> Iterator[Record]:
    """Yield what events.jsonl says, of one round or of all."""
    found = read_growing(store.folder / "events.jsonl")
    yield from select((event for event in found if number is None or event.get("round") == number), filters)


def _ledger_if_any(store: Store) -> LedgerReader | None:
    path = Path(saved_recipe(store.folder).ledger or store.folder / "ledger.sqlite")
    return LedgerReader(path) if path.is_file() else None
