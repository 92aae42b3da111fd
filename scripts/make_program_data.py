"""Write data/programs: word problems of two to four steps, each with its answer and a straight-line program.

    python scripts/make_program_data.py                 # writes train.jsonl and heldout.jsonl into data/programs
    python scripts/make_program_data.py --out FOLDER --seed 4 --train 800

Byte for byte the same for the same seed. The held-out problems are drawn first, and no question that is held out
occurs in the training set. Some stories are told in the held-out set only (`meta.seen` is false there).
"""

import argparse
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SYSTEM = ""  # an empty system message keeps chat templates from adding their default one: shorter prompts
INSTRUCTION = "Write Python lines t0 = ..., t1 = ..., then answer = ..."

NAMES = [
    "Tom", "Anna", "Ben", "Mia", "Sam", "Lily", "Max", "Ella", "Leo", "Ruth", "Jack", "Nina", "Omar", "Zoe", "Paul",
    "Emma", "Ivan", "Sara", "Hugo", "Maya",
]  # fmt: skip
THINGS = [
    "apples", "books", "coins", "marbles", "stickers", "pencils", "cards", "shells", "stamps", "buttons", "cookies",
    "plums", "eggs", "pens",
]  # fmt: skip


@dataclass(frozen=True)
class Story:
    """A question with places for {n} (a name), {m} (another), {o} (a thing) and numbers, and the program's lines."""

    kind: str
    question: str
    program: str
    numbers: Callable[[random.Random], dict[str, int]]


def ranges(**limits: tuple[int, int]) -> Callable[[random.Random], dict[str, int]]:
    """Return a function that draws every number between its limits, both included."""
    return lambda rng: {name: rng.randint(low, high) for name, (low, high) in limits.items()}


def shares(rng: random.Random) -> dict[str, int]:
    """Return a and b whose sum c can share without remainder."""
    c, each = rng.randint(2, 9), rng.randint(3, 12)
    a = rng.randint(1, c * each - 1)
    return {"a": a, "b": c * each - a, "c": c}


def gifts(rng: random.Random) -> dict[str, int]:
    """Return a, of which b go away and c share the rest without remainder."""
    c, each, b = rng.randint(2, 8), rng.randint(2, 11), rng.randint(2, 15)
    return {"a": c * each + b, "b": b, "c": c}


def halves(rng: random.Random) -> dict[str, int]:
    """Return an even a of at least 20 and a small b."""
    return {"a": 2 * rng.randint(10, 40), "b": rng.randint(2, 9)}


SEEN = (
    Story("boxes", "{n} has {a} {o} and buys {b} boxes with {c} {o} in each. How many {o} does {n} have now?",
          "t0 = {b} * {c}\nanswer = {a} + t0", ranges(a=(3, 60), b=(2, 9), c=(3, 15))),
    Story("gone", "{n} has {a} bags of {b} {o} and gives {c} {o} to {m}. How many {o} does {n} have left?",
          "t0 = {a} * {b}\nanswer = t0 - {c}", ranges(a=(4, 12), b=(5, 15), c=(2, 19))),
    Story("share", "{n} found {a} {o} and {m} found {b}. {c} friends share them all equally. How many {o} does "
          "each friend get?", "t0 = {a} + {b}\nanswer = t0 / {c}", shares),
    Story("rest", "Of {a} {o}, {n} keeps {b}. {c} children share the others equally. How many {o} does each get?",
          "t0 = {a} - {b}\nanswer = t0 / {c}", gifts),
    Story("twice", "{n} has {a} {o}. {m} has {b} times as many. How many {o} do they have together?",
          "t0 = {a} * {b}\nanswer = {a} + t0", ranges(a=(3, 30), b=(2, 9))),
    Story("half", "{n} had {a} {o}, sold half of them, and then bought {b} more. How many {o} does {n} have now?",
          "t0 = {a} / 2\nanswer = t0 + {b}", halves),
    Story("days", "{n} makes {a} {o} a day for {b} days and sells each for {c} dollars. How many dollars is that?",
          "t0 = {a} * {b}\nanswer = t0 * {c}", ranges(a=(3, 15), b=(2, 9), c=(2, 9))),
    Story("price", "One of the {o} costs {a} dollars. {n} buys {b} and pays with {c} dollars. How many dollars does "
          "{n} get back?", "t0 = {a} * {b}\nanswer = {c} - t0",
          lambda rng: (lambda a, b: {"a": a, "b": b, "c": a * b + rng.randint(1, 30)})(
              rng.randint(2, 9), rng.randint(3, 12))),
    Story("both", "{n} buys {a} {o} at {b} dollars each and {c} bags at {d} dollars each. How many dollars does {n} "
          "spend?", "t0 = {a} * {b}\nt1 = {c} * {d}\nanswer = t0 + t1",
          ranges(a=(2, 12), b=(2, 9), c=(2, 9), d=(3, 15))),
    Story("three", "{n} has {a} {o}, {m} has {b} more than {n}. Together they lose {c}. How many {o} are left?",
          "t0 = {a} + {b}\nt1 = {a} + t0\nanswer = t1 - {c}", ranges(a=(8, 40), b=(2, 15), c=(2, 12))),
    Story("rows", "{n} plants {a} rows of {b} trees and {c} rows of {d} trees, and {e} trees die. How many live?",
          "t0 = {a} * {b}\nt1 = {c} * {d}\nt2 = t0 + t1\nanswer = t2 - {e}",
          ranges(a=(2, 9), b=(4, 12), c=(2, 9), d=(4, 12), e=(2, 15))),
    Story("week", "{n} reads {a} pages on each of {b} days and {c} pages on the last day. The book has {d} pages. How "
          "many pages are left?", "t0 = {a} * {b}\nt1 = t0 + {c}\nanswer = {d} - t1",
          lambda rng: (lambda a, b, c: {"a": a, "b": b, "c": c, "d": a * b + c + rng.randint(3, 60)})(
              rng.randint(5, 20), rng.randint(2, 6), rng.randint(3, 25))),
)  # fmt: skip
"""Stories that both sets tell."""

UNSEEN = (
    Story("shelf", "A shelf has {a} rows with {b} {o} each. {n} puts {c} more {o} on it. How many {o} are on it now?",
          "t0 = {a} * {b}\nanswer = t0 + {c}", ranges(a=(2, 9), b=(4, 15), c=(3, 30))),
    Story("sold", "{n} had {a} {o}, got {b} more from {m}, and sold {c}. How many {o} does {n} have?",
          "t0 = {a} + {b}\nanswer = t0 - {c}", ranges(a=(10, 60), b=(3, 30), c=(2, 12))),
    Story("teams", "There are {a} teams of {b} and {c} teams of {d} players. How many players are there?",
          "t0 = {a} * {b}\nt1 = {c} * {d}\nanswer = t0 + t1", ranges(a=(2, 9), b=(3, 11), c=(2, 9), d=(3, 11))),
)  # fmt: skip
"""Stories that the held-out set alone tells."""

SHARE_UNSEEN = 0.3
"""Share of the held-out set whose stories the training set does not tell."""


def problem(story: Story, rng: random.Random) -> dict[str, Any]:
    """Return one problem of a story: question, answer and program."""
    name, other = rng.sample(NAMES, 2)
    numbers = story.numbers(rng)
    program = story.program.format(**numbers)
    values: dict[str, Any] = {}
    exec(program, {}, values)  # our own program, of the templates above
    answer = values["answer"]
    return {
        "question": story.question.format(n=name, m=other, o=rng.choice(THINGS), **numbers),
        "gold": str(int(answer)) if answer == int(answer) else repr(answer),
        "program": program,
    }


def key(question: str) -> str:
    """Return what two questions must not share: their words and numbers, in lower case, without punctuation."""
    return " ".join(re.findall(r"[a-z]+|\d+", question.lower()))


def draw(stories: list[Story], rng: random.Random, taken: set[str], split: str) -> list[dict[str, Any]]:
    """Return one row for every story of the list, shuffled; what they ask is added to `taken`."""
    rows = []
    for story in stories:
        found = problem(story, rng)
        while key(found["question"]) in taken:
            found = problem(story, rng)
        taken.add(key(found["question"]))
        content = f"{found['question']}\n{INSTRUCTION}"
        rows.append(
            {
                "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": content}],
                "gold": found["gold"],
                "solution": found["program"],
                "verifier": "program",
                "meta": {"kind": story.kind, "seen": story in SEEN},
            }
        )
    rng.shuffle(rows)
    return [{"id": f"{split}-{number:04d}", **row} for number, row in enumerate(rows, 1)]


def evenly(stories: tuple[Story, ...], count: int) -> list[Story]:
    """Return `count` stories, each as often as any other, give or take one."""
    return [stories[number % len(stories)] for number in range(count)]


def main() -> None:
    """Draw both sets and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "data" / "programs")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--train", type=int, default=480)
    parser.add_argument("--heldout", type=int, default=240)
    options = parser.parse_args()
    unseen = round(SHARE_UNSEEN * options.heldout)
    taken: set[str] = set()
    held = [*evenly(SEEN, options.heldout - unseen), *evenly(UNSEEN, unseen)]
    sets = {
        "heldout": draw(held, random.Random(f"{options.seed} heldout"), taken, "heldout"),
        "train": draw(evenly(SEEN, options.train), random.Random(f"{options.seed} train"), taken, "train"),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    for name, rows in sets.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (options.out / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    print(f"{len(sets['train'])} training and {len(sets['heldout'])} held-out problems in {options.out}")


if __name__ == "__main__":
    main()
