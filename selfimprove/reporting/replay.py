"""The history of one row: its prompt, every request made on the prompt's behalf, and what became of each answer."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfimprove.errors import DataError, SelfImproveError, did_you_mean
from selfimprove.ledger import Entry, LedgerReader
from selfimprove.records import Prompt
from selfimprove.reporting.growing import read_growing
from selfimprove.reporting.looking.browse import open_ledger, rounds_there
from selfimprove.reporting.looking.grades import Grades
from selfimprove.reporting.looking.policies import AFTER, asked_in, origins
from selfimprove.run import derive_seed
from selfimprove.store import Store, saved_recipe

SIDES = ("completion", "chosen", "rejected", "steps")
ATTEMPTS = 32
"""Attempts whose seeds are tried when a shared ledger's request is to be told from another run's."""


@dataclass(slots=True)
class Found:
    """What a round holds of one row or prompt: rows, skips, held-out items, and what gave them."""

    round: int
    prompt: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    skips: list[dict[str, Any]] = field(default_factory=list)
    items: list[dict[str, Any]] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.rows or self.skips or self.items)


def find_row(store: Store, name: str, number: int | None = None) -> Found:
    """Return what the last round that knows it (or round `number`) holds of a row, a prompt or a held-out item.

    Raises DataError where no round does.
    """
    rounds = [number] if number is not None else rounds_there(store)[::-1]
    for at in rounds:
        found = _in_round(store, name, at)
        if found:
            return found
    try:
        known = open_ledger(store).prompts(10_000)
    except DataError:
        known = []
    where = f"round {number}" if number is not None else "any round"
    hint = did_you_mean(name, known) if len(known) < 10_000 else ""
    raise DataError(f"{store.folder}: no row, skip or held-out item of {where} is '{name}'{hint[:200]}")


def _in_round(store: Store, name: str, number: int) -> Found:
    found = Found(number)
    rows: dict[str, dict[str, Any]] = {}
    for stage in ("collect", "assemble"):
        folder, finished = store.stage_folder(number, stage), store.marker(number, stage) is not None
        for file in sorted(folder.glob("rows-*.jsonl")):
            rows |= {row["id"]: row for row in _named(file, name, finished)}
        found.skips += [{"stage": stage, **row} for row in _named(folder / "skips.jsonl", name, finished)]
    found.rows = list(rows.values())
    finished = store.marker(number, "evaluate") is not None
    for folder in sorted(path for path in store.stage_folder(number, "evaluate").glob("*") if path.is_dir()):
        items = (item for file in sorted(folder.glob("rows-*.jsonl")) for item in _named(file, name, finished))
        found.items += [{"set": folder.name, **item} for item in items if item["id"] == name]
    return found


def _named(file: Path, name: str, finished: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file that have this id, or that belong to the prompt of this id."""
    spelled = json.dumps(name, ensure_ascii=False)[1:-1]
    found = read_growing(file, holding=spelled.encode(), whole=finished)
    yield from (row for row in found if row["id"] == name or row["id"].startswith(f"{name}/"))


def history(store: Store, name: str, number: int | None = None) -> dict[str, Any]:
    """Return the history of a row, a prompt or a held-out item in plain JSON types.

    `requests` are in the order in which they were answered; each answer says in `became` what was made of it.
    """
    found = find_row(store, name, number)
    reader = open_ledger(store)
    entries, left_out = _entries(store, reader, name)
    held = not (found.rows or found.skips)
    known = origins(store)
    with Grades(saved_recipe(store.folder), reader) as grades:
        prompt = _prompt(grades, name, held)
        found.prompt = prompt.id if prompt else entries[0].prompt if entries else name
        requests = [_request(entry, known, grades, prompt) for entry in entries]
    belongs = asked_in(store, found.round)
    for entry, request in zip(entries, requests, strict=True):
        request["in_round"] = belongs(entry) and (entry.purpose in AFTER) == held
    told = _tell_what_became(found.rows, requests, prompt)
    messages = (
        prompt.messages if prompt else next((e.request["messages"] for e in entries if e.kind == "generate"), [])
    )
    return {
        "run": str(store.folder), "round": found.round,
        "prompt": {
            "id": found.prompt, "messages": [dict(message) for message in messages],
            "gold": prompt.gold if prompt else None, "solution": prompt.solution if prompt else None,
        },
        "rows": found.rows, "skips": found.skips, "items": found.items, "sides": told,
        "requests": requests, "requests_of_other_runs": left_out,
    }  # fmt: skip


def _prompt(grades: Grades, name: str, held: bool) -> Prompt | None:
    try:
        return grades.prompt(name, held)
    except SelfImproveError:  # the source has gone; the ledger still knows what was asked
        return None


def _entries(store: Store, reader: LedgerReader, name: str) -> tuple[list[Entry], int]:
    """Return this run's requests for the prompt of a row, and how many others a shared ledger holds for it."""
    names = [name, *(name[:at] for at in range(len(name) - 1, 0, -1) if name[at] == "/")]
    found: list[Entry] = []
    for each in names:
        found = [entry for entry in reader.entries(each) if entry.prompt == each]
        if found:
            break
    recipe = saved_recipe(store.folder)
    if recipe.ledger is None:
        return found, 0
    known = origins(store)

    def ours(entry: Entry) -> bool:
        request = entry.request if isinstance(entry.request, Mapping) else {}
        if "policy" in request and request["policy"] not in known:
            return False
        seeds = (derive_seed(recipe.seed, entry.prompt, entry.path, entry.purpose, n) for n in range(ATTEMPTS))
        return "seed" not in request or request["seed"] in seeds

    kept = [entry for entry in found if ours(entry)]
    return kept, len(found) - len(kept)


def _request(entry: Entry, known: Mapping[str, Any], grades: Grades, prompt: Prompt | None) -> dict[str, Any]:
    request = entry.request if isinstance(entry.request, Mapping) else {}
    digest = request.get("policy")
    origin = known.get(digest) if digest else None
    answers = entry.answer if isinstance(entry.answer, list) else [entry.answer]
    if entry.kind == "generate":
        answers = [_graded(answer, grades, prompt) for answer in answers]
    return {
        "kind": entry.kind, "purpose": entry.purpose, "path": entry.path, "key": entry.key, "policy": digest,
        "made_by": str(origin) if origin else None, "round_of_policy": origin.round if origin else None,
        "request": {name: value for name, value in request.items() if name != "policy"}, "answers": answers,
    }  # fmt: skip


def _graded(answer: Mapping[str, Any], grades: Grades, prompt: Prompt | None) -> dict[str, Any]:
    verdict = grades.verdict(prompt, answer["text"])
    return {**answer, "score": verdict.score, "label": verdict.label, "reason": verdict.reason, "became": []}


def _tell_what_became(
    rows: Iterable[Mapping[str, Any]], requests: list[dict[str, Any]], prompt: Prompt | None
) -> list[dict[str, Any]]:
    """Mark each answer with the sides that it became, and return where the text of every side comes from."""
    asked = [request for request in requests if request["kind"] == "generate"]
    asked.sort(key=lambda request: not request["in_round"])  # the round's own answers come first
    places = [(request, answer) for request in asked for answer in request["answers"]]
    told = []
    for row in rows:
        for side in (side for side in SIDES if side in row):
            text = row[side] if isinstance(row[side], str) else "".join(row[side])
            at = source_of(text, [answer["text"] for _, answer in places])
            origin = "not among the answers"
            if at is not None:
                request, answer = places[at]
                whole = answer["text"] == text
                origin = f"answer [{answer['index']}] of request {requests.index(request) + 1}"
                origin += "" if whole else ", cut or cleaned"
                answer["became"].append(f"the {side} of {row['id']}")
            elif prompt and prompt.solution and text.strip() == prompt.solution.strip():
                origin = "the worked solution of the data"
            told.append({"row": row["id"], "side": side, "from": origin})
    return told


def source_of(text: str, answers: list[str]) -> int | None:
    """Return the place of the answer that a row's text was made of: the same, else the same but for its ends,
    else one that holds it whatever the white space; None where there is none, and for a text without words.
    """
    squeezed = "".join(text.split())
    if not squeezed:
        return None
    tests: tuple[Callable[[str], bool], ...] = (
        lambda answer: answer == text,
        lambda answer: answer.strip() == text.strip(),
        lambda answer: squeezed in "".join(answer.split()),
    )
    return next((at for test in tests for at, answer in enumerate(answers) if test(answer)), None)
