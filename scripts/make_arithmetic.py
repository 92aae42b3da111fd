"""Write data/arithmetic: small sums, products and one-step word problems, with gold answers and worked solutions.

    python scripts/make_arithmetic.py                 # writes train.jsonl and heldout.jsonl into data/arithmetic
    python scripts/make_arithmetic.py --out FOLDER --seed 8 --train 3000 --heldout 500

Byte for byte the same for the same seed and the same reasoning-gym version. Sums and products are the tasks
`chain_sum` and `products` of reasoning-gym; the word problems come from the templates below. The held-out
items are drawn first, and no question that is held out occurs in the training set: the script checks it.
"""

import argparse
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

INSTRUCTION = "Write the calculation in one line."
SYSTEM = ""  # an empty system message keeps chat templates from adding their default one: shorter prompts

SHARES = {
    "sum_2x2": 0.10,  # chain_sum, two terms of two digits
    "sum_3x1": 0.10,  # chain_sum, three terms of one digit
    "product": 0.05,  # products, two terms of one digit (100 questions in all)
    "word_add": 0.19,
    "word_subtract": 0.22,
    "word_multiply": 0.15,
    "word_divide": 0.19,
}
"""Kind of question: its share in both sets."""

GYM = {
    "sum_2x2": ("chain_sum", {"min_terms": 2, "max_terms": 2, "min_digits": 2, "max_digits": 2}),
    "sum_3x1": ("chain_sum", {"min_terms": 3, "max_terms": 3, "min_digits": 1, "max_digits": 1}),
    "product": ("products", {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}),
}

NAMES = [
    "Tom",
    "Anna",
    "Ben",
    "Mia",
    "Sam",
    "Lily",
    "Max",
    "Ella",
    "Leo",
    "Ruth",
    "Jack",
    "Nina",
    "Omar",
    "Zoe",
    "Paul",
    "Emma",
    "Ivan",
    "Sara",
    "Hugo",
    "Maya",
    "Carl",
    "Rosa",
    "Alex",
    "Lucy",
    "Noah",
    "Tara",
    "Eric",
    "Jane",
    "Adam",
    "Kate",
]
THINGS = [
    "apples",
    "books",
    "coins",
    "marbles",
    "stickers",
    "pencils",
    "cards",
    "shells",
    "stamps",
    "balloons",
    "buttons",
    "cookies",
    "oranges",
    "flowers",
    "toys",
    "candies",
    "eggs",
    "pens",
    "stones",
    "peaches",
    "cups",
    "tickets",
    "beads",
    "plums",
]

TEMPLATES = {
    "word_add": (
        "{n} has {a} {o}. {n} buys {b} more. How many {o} does {n} have now?",
        "{n} has {a} {o} and {m} has {b} {o}. How many {o} do they have together?",
        "There are {a} {o} on a table. {n} puts {b} more on it. How many {o} are on the table now?",
        "{n} found {a} {o} in the morning and {b} {o} in the afternoon. How many {o} did {n} find in all?",
        "{n} had {a} {o}. {m} gave {n} {b} more. How many {o} does {n} have now?",
        "A box holds {a} {o} and a bag holds {b} {o}. How many {o} are there in total?",
        "{n} has {a} {o}. {m} has {b} more than {n}. How many {o} does {m} have?",
        "{n} sold {a} {o} on Monday and {b} on Tuesday. How many {o} did {n} sell altogether?",
    ),
    "word_subtract": (
        "{n} has {a} {o}. {n} gives away {b} of them. How many {o} are left?",
        "{n} had {a} {o} and lost {b}. How many {o} does {n} have now?",
        "There are {a} {o} in a basket. {n} takes out {b}. How many {o} are still in the basket?",
        "{n} has {a} {o} and {m} has {b}. How many more {o} does {n} have than {m}?",
        "{n} needs {a} {o} and already has {b}. How many more {o} does {n} need?",
        "A shop had {a} {o} and sold {b}. How many {o} remain?",
        "{n} and {m} have {a} {o} together. {m} has {b} of them. How many {o} does {n} have?",
        "{n} has {a} {o}. {m} has {b} fewer than {n}. How many {o} does {m} have?",
    ),
    "word_multiply": (
        "{n} has {a} boxes with {b} {o} in each box. How many {o} are there in total?",
        "There are {a} bags. Each bag holds {b} {o}. How many {o} are there in all?",
        "{n} buys {b} {o} every day for {a} days. How many {o} does {n} buy?",
        "{a} friends have {b} {o} each. How many {o} do they have together?",
        "{n} puts {o} in {a} rows of {b}. How many {o} are there?",
        "{n} has {b} {o}. {m} has {a} times as many. How many {o} does {m} have?",
    ),
    "word_divide": (
        "{n} shares {c} {o} equally among {a} friends. How many {o} does each friend get?",
        "{n} puts {c} {o} into {a} equal groups. How many {o} are in each group?",
        "{n} packs {c} {o} into bags of {a}. How many bags does {n} need?",
        "{c} {o} are split evenly between {a} boxes. How many {o} go into each box?",
        "{n} has {c} {o} and gives {a} to each child. How many children get {o}?",
        "{n} collected {c} {o} in {a} days, the same number every day. How many {o} was that each day?",
    ),
}


def word_problems(kind: str, rng: random.Random) -> Iterator[tuple[str, str, str]]:
    """Yield question, gold answer and worked line of word problems, without end."""
    while True:
        name, other = rng.sample(NAMES, 2)
        words = {"n": name, "m": other, "o": rng.choice(THINGS)}
        if kind == "word_add":
            a, b = rng.randint(3, 20), rng.randint(2, 12)
            line, gold = f"{a} + {b}", a + b
        elif kind == "word_subtract":
            a = rng.randint(6, 20)
            b = rng.randint(2, a - 2)
            line, gold = f"{a} - {b}", a - b
        elif kind == "word_multiply":
            a, b = rng.randint(2, 9), rng.randint(2, 12)
            line, gold = f"{a} * {b}", a * b
        else:
            a, gold = rng.randint(2, 9), rng.randint(2, 10)
            b, line = gold, f"{a * gold} / {a}"
        question = rng.choice(TEMPLATES[kind]).format(a=a, b=b, c=a * b, **words)
        yield question, str(gold), f"{line} = {gold}"


def gym_problems(kind: str, rng: random.Random) -> Iterator[tuple[str, str, str]]:
    """Yield question, gold answer and worked line of reasoning-gym's questions, without end."""
    import reasoning_gym

    task, options = GYM[kind]
    while True:
        for entry in reasoning_gym.create_dataset(task, size=500, seed=rng.randrange(2**31), **options):
            expression = entry["metadata"]["expression"]  # asked in few words: the task's own text is twice as long
            yield f"What is {expression}?", entry["answer"], worked(expression)


def worked(expression: str) -> str:
    """Return a sum or product with its steps, from the left: '4 + 9 - 6 = 13 - 6 = 7'."""
    first, *rest = expression.split()
    value, lines = int(first), [expression]
    while rest:
        operator, term, *rest = rest
        value = {"+": value + int(term), "-": value - int(term), "*": value * int(term)}[operator]
        lines.append(" ".join([str(value), *rest]))
    return " = ".join(lines)


def key(question: str) -> str:
    """Return what two questions must not share: their words and numbers, lower case, without punctuation."""
    return " ".join(re.findall(r"[a-z]+|\d+|[-+*/]", question.split("\n")[0].lower()))


def draw(sizes: dict[str, int], rng: random.Random, taken: set[str], split: str) -> list[dict[str, Any]]:
    """Return the shuffled rows of one set; what they ask is added to `taken`."""
    rows = []
    for kind, size in sizes.items():
        found = (gym_problems if kind in GYM else word_problems)(kind, rng)
        left = size
        while left:
            question, gold, solution = next(found)
            if key(question) in taken:
                continue
            taken.add(key(question))
            left -= 1
            messages = [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": f"{question}\n{INSTRUCTION}"},
            ]
            rows.append(
                {
                    "messages": messages,
                    "gold": gold,
                    "solution": solution,
                    "verifier": "answer",
                    "meta": {"kind": kind},
                }
            )
    rng.shuffle(rows)
    return [{"id": f"{split}-{number:04d}", **row} for number, row in enumerate(rows, 1)]


def sizes_of(total: int) -> dict[str, int]:
    """Return how many questions of each kind make up a set; the last kind takes what rounding leaves."""
    sizes = {kind: round(total * share) for kind, share in SHARES.items()}
    sizes["product"] = min(sizes["product"], 25 if total <= 500 else 65)  # only 100 exist
    sizes["word_divide"] += total - sum(sizes.values())
    return sizes


def write(rows: list[dict[str, Any]], path: Path) -> None:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    """Draw both sets, check that they share no question, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "data" / "arithmetic")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--train", type=int, default=1600)
    parser.add_argument("--heldout", type=int, default=500)
    options = parser.parse_args()
    taken: set[str] = set()
    heldout = draw(sizes_of(options.heldout), random.Random(f"{options.seed} heldout"), taken, "heldout")
    train = draw(sizes_of(options.train), random.Random(f"{options.seed} train"), taken, "train")
    asked = {key(row["messages"][-1]["content"]) for row in heldout}
    if any(key(row["messages"][-1]["content"]) in asked for row in train):
        raise SystemExit("a held-out question occurs in the training set: nothing was written")
    options.out.mkdir(parents=True, exist_ok=True)
    write(train, options.out / "train.jsonl")
    write(heldout, options.out / "heldout.jsonl")
    print(f"{len(train)} training and {len(heldout)} held-out questions in {options.out}")


if __name__ == "__main__":
    main()
