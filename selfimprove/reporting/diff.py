"""What differs between two runs: recipe, digests, rows, results, spending; and where the two first part."""

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from selfimprove.config import differing_keys, to_plain
from selfimprove.errors import DataError, SelfImproveError
from selfimprove.evaluation.standalone import compare_rounds
from selfimprove.files import read_json, to_line
from selfimprove.reporting.looking.browse import rounds_there, stored_rows
from selfimprove.reporting.looking.policies import digest_after
from selfimprove.sources import source_id
from selfimprove.store import STAGES, Store, saved_recipe

EXAMPLES = 3
"""Ids that are named of rows that differ."""

Both = tuple[Store, Store]


def compare_runs(first: Store, second: Store) -> dict[str, Any]:
    """Return what differs between two runs in plain JSON types; a pair always holds the first run's value first.

    `part` is one sentence: where the two first part.
    """
    both = (first, second)
    recipes = [to_plain(saved_recipe(store.folder)) for store in both]
    recipe = {key: list(pair) for key, pair in differing_keys(recipes[0], recipes[1]).items() if key != "output"}
    heads = [read_json(store.folder / "run.json") for store in both]
    numbers = sorted({*rounds_there(first), *rounds_there(second)})
    rows = [found for number in numbers if number and (found := _rows(both, number))]
    told = {
        "runs": [str(store.folder) for store in both],
        "recipe": recipe,
        "versions": {key: list(pair) for key, pair in differing_keys(heads[0], heads[1]).items() if key != "created"},
        "prompts": [_prompts(store) for store in both],
        "policies": [{"round": number, "digests": [digest_after(s, number) for s in both]} for number in numbers],
        "files": [file for number in numbers for file in _files(both, number)],
        "rows": rows,
        "accuracy": [each for number in numbers for each in _accuracies(both, number)],
        "measured": [each for number in numbers for each in _measured(both, number)],
        "watch": [each for number in numbers for each in _watch(both, number)],
        "spending": _spending(both),
    }
    return {**told, "part": where_they_part(both, told)}


def _prompts(store: Store) -> dict[str, Any]:
    """Return the digest of a run's training prompts as they lie now, and how many its first round took."""
    marker = store.marker(1, "collect") or {}
    try:
        return {"digest": source_id(saved_recipe(store.folder).prompts), "taken": marker.get("prompts")}
    except SelfImproveError as error:
        return {"digest": None, "taken": marker.get("prompts"), "problem": str(error)}


def _files(both: Both, number: int) -> list[dict[str, Any]]:
    """Return the files of a round's finished stages whose checksums differ; None: that run has no such file."""
    found = []
    for stage in STAGES:
        sums = [(store.marker(number, stage) or {"files": {}})["files"] for store in both]
        for name in sorted({*sums[0], *sums[1]}):
            pair = [each.get(name) for each in sums]
            if pair[0] != pair[1]:
                found.append({"round": number, "stage": stage, "file": name, "checksums": pair})
    return found


def _rows(both: Both, number: int) -> dict[str, Any] | None:
    """Return how the rows of a round compare, None where one of the runs has not collected it."""
    if any(store.marker(number, "collect") is None for store in both):
        return None
    markers = [store.marker(number, "collect") or {} for store in both]
    skips = differing_keys(markers[0].get("skips", {}), markers[1].get("skips", {}))
    found = compare_rows(stored_rows(both[0], number), stored_rows(both[1], number))
    return {"round": number, **found, "skips": {reason: list(pair) for reason, pair in skips.items()}}


def compare_rows(first: Iterable[Mapping[str, Any]], second: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how many rows two data sets share by id, how many of these differ, and how many only one has.

    Both are read once; what is kept of a row, on disk, is its id and a digest. Rows of the same id count as one.
    """
    with closing(sqlite3.connect("")) as table:  # SQLite's own temporary file, gone when it is closed
        table.execute("CREATE TABLE rows (id TEXT PRIMARY KEY, first TEXT, second TEXT)")
        for side, rows in (("first", first), ("second", second)):
            table.executemany(
                f"INSERT INTO rows (id, {side}) VALUES (?, ?) "
                f"ON CONFLICT (id) DO UPDATE SET {side} = coalesce({side}, '') || excluded.{side}",
                ((row["id"], hashlib.blake2b(to_line(row).encode(), digest_size=8).hexdigest()) for row in rows),
            )
        tests = {
            "common": "first = second",
            "changed": "first != second",
            "only_first": "second IS NULL",
            "only_second": "first IS NULL",
        }
        counts = {name: _one(table, f"SELECT count(*) FROM rows WHERE {test}")[0] for name, test in tests.items()}
        first_ids = "SELECT id FROM rows WHERE {} ORDER BY rowid LIMIT " + str(EXAMPLES)
        examples = {name: _one(table, first_ids.format(test)) for name, test in tests.items() if name != "common"}
    return {**counts, "examples": examples}


def _one(table: sqlite3.Connection, query: str) -> list[Any]:
    """Return the values of a query's only column."""
    return [row[0] for row in table.execute(query)]


def _accuracies(both: Both, number: int) -> list[dict[str, Any]]:
    """Return both accuracies of every set that both measured, with the paired test on the same items."""
    markers = [store.marker(number, "evaluate") for store in both]
    if not all(markers):
        return []
    sets = [marker["sets"] for marker in markers if marker]
    found = []
    for name in (name for name in sets[0] if name in sets[1]):
        told: dict[str, Any] = {
            "round": number,
            "set": name,
            "shares": [each[name]["share"] for each in sets],
            "intervals": [[each[name]["low"], each[name]["high"]] for each in sets],
        }
        try:
            comparison = compare_rounds((both[0], number), (both[1], number), name)
            told |= {"comparison": comparison.to_row(), "sentence": str(comparison)}
        except DataError as error:
            told["problem"] = str(error)
        found.append(told)
    return found


def _measured(both: Both, number: int) -> list[dict[str, Any]]:
    """Return what the methods measured while collecting, such as consistency; None: that run has no such figure."""
    metrics = [(store.marker(number, "collect") or {}).get("metrics") or {} for store in both]
    names = sorted({name for each in metrics for name in each})
    return [{"round": number, "figure": name, "values": [each.get(name) for each in metrics]} for name in names]


def _watch(both: Both, number: int) -> list[dict[str, Any]]:
    """Return the figures of a round's watch that differ, where both runs have one."""
    markers = [store.marker(number, "watch") for store in both]
    figures = [marker["figures"] for marker in markers if marker]
    if len(figures) < 2:
        return []
    pairs = differing_keys(figures[0], figures[1])
    return [{"round": number, "figure": name, "values": list(pair)} for name, pair in pairs.items()]


def _spending(both: Both) -> dict[str, list[float | None]]:
    """Return {seconds, tokens, cost: what each run spent}, None where a run kept no account."""
    accounts = [_account(store.folder / "spending.json") for store in both]
    if not any(accounts):
        return {}
    return {name: [account.get(name) for account in accounts] for name in ("seconds", "tokens", "cost")}


def _account(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def where_they_part(both: Both, told: Mapping[str, Any]) -> str:
    """Return one sentence: the first thing that came out differently, and what differs in the recipes."""
    keys = ", ".join(list(told["recipe"])[:4]) + (" and more" if len(told["recipe"]) > 4 else "")
    recipes = f"The recipes differ in {keys}" if keys else "The recipes are the same"
    digests = next((each["digests"] for each in told["policies"] if each["round"] == 0), [None, None])
    if None not in digests and digests[0] != digests[1]:
        return f"{recipes}; the two runs part before the first round: they start from different models."
    place = _first_difference(both, told)
    if place is None:
        return f"{recipes}{', but' if keys else ', and'} as far as both runs have come, everything is the same."
    return f"{recipes}; the two runs first part in {place}."


def _first_difference(both: Both, told: Mapping[str, Any]) -> str | None:
    rows = {each["round"]: each for each in told["rows"]}
    touched = {(each["round"], each["stage"]) for each in told["files"]}
    for number in sorted({*rounds_there(both[0]), *rounds_there(both[1])}):
        for stage in STAGES:
            markers = [store.marker(number, stage) for store in both]
            if not any(markers):
                continue
            place = f"round-{number}/{stage}"
            if not all(markers):
                return f"{place}, which only {both[0 if markers[0] else 1].folder} has"
            policies = [marker.get("policy") for marker in markers if marker]
            if stage == "learn" and policies[0] != policies[1]:
                return f"{place}: the trained policies differ{_why_learned(number, rows)}"
            if stage == "collect" and _differ(rows[number]):
                counts = [marker["rows"] for marker in markers if marker]
                return f"{place}: {counts[0]} rows against {counts[1]}, {rows[number]['common']} of them the same"
            if stage not in ("collect", "learn") and (number, stage) in touched:
                return f"{place}: its files differ"
    return None


def _why_learned(number: int, rows: Mapping[int, Mapping[str, Any]]) -> str:
    """Return what to make of weights that differ after the same rows."""
    return " though the rows are the same" if number in rows and not _differ(rows[number]) else ""


def _differ(rows: Mapping[str, Any]) -> bool:
    return bool(rows["changed"] or rows["only_first"] or rows["only_second"] or rows["skips"])
