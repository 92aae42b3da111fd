"""What changed for the better and for the worse: held-out items gained and lost, both answers side by side."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfimprove.config import Recipe
from selfimprove.errors import SelfImproveError
from selfimprove.evaluation.heldout import Item
from selfimprove.files import read_jsonl
from selfimprove.ledger import LedgerReader
from selfimprove.records import Prompt
from selfimprove.reporting.page.wording import clip
from selfimprove.reporting.worddiff import Piece, word_diff
from selfimprove.sources import load_prompts
from selfimprove.sources.schema import read_definition
from selfimprove.store import Store


@dataclass(frozen=True, slots=True)
class Side:
    """One answer to an item: its words, marked where the other answer differs, and what was read from it."""

    round: int
    pieces: list[Piece]
    answer: str | None
    right: bool
    note: str


@dataclass(frozen=True, slots=True)
class Change:
    """An item whose greedy answer became right or wrong; question and gold are None where they are not known."""

    id: str
    question: str | None
    gold: str | None
    before: Side
    after: Side


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed in one held-out set between two rounds: counts, and a few examples of each kind."""

    name: str
    first: int
    last: int
    items: int
    counts: dict[str, int]
    gained: list[Change]
    lost: list[Change]


def read_changes(
    store: Store, recipe: Recipe, name: str, rounds: tuple[int, int], examples: int, characters: int
) -> Changes:
    """Return the items of a set that became right or wrong between two rounds; texts are cut to `characters`.

    Where answers were sampled, the items whose share of right ones moved furthest come first, else the set's order.
    """
    first, last = rounds
    before = {item.id: item for item in _items(store, first, name)}
    counts = {"gained": 0, "lost": 0, "right both times": 0, "wrong both times": 0, "not gradable in both": 0}
    kinds: dict[str, list[tuple[float, Item, Item]]] = {"gained": [], "lost": []}
    for new in _items(store, last, name):
        old = before.get(new.id)
        kind = _kind(old.correct, new.correct) if old else "not gradable in both"
        counts[kind] += 1
        if old and kind in kinds:
            kept = kinds[kind]
            kept.append((-abs(_share(new) - _share(old)), old, new))
            kept.sort(key=lambda change: change[0])  # stable: the set's order among equals
            del kept[examples:]
    chosen = [new for kind in kinds.values() for _, _, new in kind] + [old for k in kinds.values() for _, old, _ in k]
    known = questions(store, recipe, name, chosen)
    gained, lost = (
        [_change(old, new, rounds, known, characters) for _, old, new in kinds[k]] for k in ("gained", "lost")
    )
    return Changes(name, first, last, sum(counts.values()), counts, gained, lost)


def _items(store: Store, round: int, name: str) -> Iterator[Item]:
    for file in sorted((store.stage_folder(round, "evaluate") / name).glob("rows-*.jsonl")):
        yield from (Item.from_row(row) for row in read_jsonl(file))


def _kind(before: bool | None, after: bool | None) -> str:
    if before is None or after is None:
        return "not gradable in both"
    if before == after:
        return "right both times" if after else "wrong both times"
    return "gained" if after else "lost"


def _share(item: Item) -> float:
    """Return the share of right answers among those sampled; without any, whether the greedy one is right."""
    return sum(item.sampled) / len(item.sampled) if item.sampled else float(item.correct or 0)


def _change(
    old: Item, new: Item, rounds: tuple[int, int], known: Mapping[str, tuple[str | None, str | None]], characters: int
) -> Change:
    left, right = word_diff(clip(old.text, characters), clip(new.text, characters))
    question, gold = known.get(new.id, (None, None))
    return Change(
        new.id,
        question and clip(question, characters),
        gold and clip(gold, characters),
        _side(old, rounds[0], left),
        _side(new, rounds[1], right),
    )


def _side(item: Item, round: int, pieces: list[Piece]) -> Side:
    notes = ["cut at the length limit"] if item.finish == "length" else []
    if item.sampled:
        notes.append(f"{sum(item.sampled)} of {len(item.sampled)} sampled answers right")
    return Side(round, pieces, item.answer, bool(item.correct), ", ".join(notes))


def questions(store: Store, recipe: Recipe, name: str, items: list[Item]) -> dict[str, tuple[str | None, str | None]]:
    """Return {item id: (question, gold answer)}, each None where neither the ledger nor the set's file tells it.

    The ledger is asked first, for it holds what the model was really shown. Sets on a hub are not fetched.
    """
    asked = _from_ledger(Path(recipe.ledger or store.folder / "ledger.sqlite"), items)
    missing = {item.id for item in items if None in asked.get(item.id, (None, None))}
    written = _from_source(recipe.heldout.get(name), missing)
    both = {id: (asked.get(id, (None, None)), written.get(id, (None, None))) for id in {*asked, *written}}
    return {id: (a[0] or b[0], a[1] or b[1]) for id, (a, b) in both.items()}


def _from_ledger(path: Path, items: list[Item]) -> dict[str, tuple[str | None, str | None]]:
    """Return question and gold of items by what was asked for them; their answers tell sets with equal ids apart."""
    found: dict[str, tuple[str | None, str | None]] = {}
    if not items or not path.is_file():
        return found
    try:
        ledger = LedgerReader(path)
        for item in items:
            question, gold = found.get(item.id, (None, None))
            for entry in ledger.entries(item.id):
                if entry.kind == "check" and entry.request.get("text") == item.text:
                    gold = entry.request.get("gold") or gold
                elif entry.kind == "generate" and any(answer.get("text") == item.text for answer in entry.answer):
                    question = _last_user(entry.request["messages"]) or question
            found[item.id] = (question, gold)
    except SelfImproveError:  # damaged, or of a newer version: the page says what it does not know
        return found
    return found


def _last_user(messages: list[dict[str, str]]) -> str:
    return next((message["content"] for message in reversed(messages) if message["role"] == "user"), "")


def _from_source(source: Any, wanted: set[str]) -> dict[str, tuple[str | None, str | None]]:
    """Return question and gold of the wanted ids from a set's own file, where it can be read here."""
    found: dict[str, tuple[str | None, str | None]] = {}
    if source is None or not wanted:
        return found
    try:
        definition = read_definition(source, "heldout")
        if getattr(definition, "path", None) is None:
            return found
        for prompt in load_prompts(source, "heldout"):
            if prompt.id in wanted:
                found[prompt.id] = _told(prompt)
                if len(found) == len(wanted):
                    break
    except SelfImproveError:  # moved, changed or not readable: the page says that it does not know
        pass
    return found


def _told(prompt: Prompt) -> tuple[str | None, str | None]:
    return prompt.text or None, prompt.gold
