"""Write data/countdown: puzzles that ask for a target out of three or four numbers, with worked solutions.

    python scripts/make_countdown.py                  # writes train.jsonl and heldout.jsonl into data/countdown
    python scripts/make_countdown.py --out FOLDER --seed 8 --train 900 --heldout 300
    python scripts/make_countdown.py --out FOLDER --operators=+-*/ --four 0.15 --largest 10      # harder

Byte for byte the same for the same seed and the same reasoning-gym version. Numbers, target and expression come from
reasoning-gym's task `countdown`; puzzles whose expression passes through a fraction, zero, a negative number or one
above 99 are left out. The held-out puzzles are drawn first, and none of them occurs in the training set in any order.
"""

import argparse
import ast
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

INSTRUCTION = "Write one calculation a line, then the answer."
SYSTEM = ""  # an empty system message keeps chat templates from adding their default one: shorter prompts

FOUR = 0.0
"""Share of puzzles with four numbers in both sets; the others have three."""

LARGEST, OPERATORS = 15, "+-"
"""The largest number of a puzzle, and what its expression is made with."""

OPTIONS = {"min_value": 1, "min_target": 1, "max_target": 60}
"""Other options of reasoning-gym's task."""

HIGHEST = 99
"""Highest number that a worked solution may pass through."""

PATIENCE = 5_000
"""Puzzles drawn in a row without a new one after which there are too few of the kind."""

SIGNS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


def puzzles(count: int, rng: random.Random, operators: str, largest: int) -> Iterator[tuple[list[int], int, str]]:
    """Yield numbers, target and an expression of puzzles with so many numbers, without end."""
    import reasoning_gym

    while True:
        options = {"min_numbers": count, "max_numbers": count, "operators": tuple(operators), "max_value": largest}
        for entry in reasoning_gym.create_dataset(
            "countdown", size=500, seed=rng.randrange(2**31), **options, **OPTIONS
        ):
            known = entry["metadata"]
            yield known["numbers"], known["target"], entry["answer"]


def worked(expression: str, numbers: list[int]) -> tuple[str, str] | None:
    """Return the worked solution and its answer in full parentheses; None where it leaves the range allowed.

    '3*7 + 4' of 7, 4, 3 gives '3 * 7 = 21 (left: 4 21)', '21 + 4 = 25 (left: 25)', 'Answer: (3 * 7) + 4' as lines.
    """
    left, lines = list(numbers), []

    def walk(node: ast.expr) -> tuple[int, str] | None:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value, str(node.value)
        if not isinstance(node, ast.BinOp) or type(node.op) not in SIGNS:
            return None
        one, other = walk(node.left), walk(node.right)
        if one is None or other is None:
            return None
        sign = SIGNS[type(node.op)]
        made = result(one[0], sign, other[0])
        if made is None:
            return None
        for used in (one[0], other[0]):
            left.remove(used)
        left.append(made)
        lines.append(f"{one[0]} {sign} {other[0]} = {made} (left: {' '.join(map(str, left))})")
        return made, f"({one[1]} {sign} {other[1]})"

    found = walk(ast.parse(expression, mode="eval").body)
    if found is None or len(left) != 1:
        return None
    answer = found[1][1:-1]
    return "\n".join([*lines, f"Answer: {answer}"]), answer


def result(one: int, sign: str, other: int) -> int | None:
    """Return what an operation makes, None where it is no whole number from 1 to HIGHEST."""
    if sign == "/" and (other == 0 or one % other):
        return None
    made = {"+": one + other, "-": one - other, "*": one * other, "/": one // other if other else 0}[sign]
    return made if 1 <= made <= HIGHEST else None


def key(numbers: list[int], target: int) -> str:
    """Return what two puzzles must not share: the numbers, whatever their order, and the target."""
    return f"{sorted(numbers)} {target}"


def draw(
    sizes: dict[int, int],
    rng: random.Random,
    taken: set[str],
    split: str,
    operators: str = OPERATORS,
    largest: int = LARGEST,
) -> list[dict[str, Any]]:
    """Return the shuffled rows of one set; their puzzles are added to `taken`."""
    rows = []
    for count, size in sizes.items():
        if not size:
            continue
        found = puzzles(count, rng, operators, largest)
        left, in_vain = size, 0
        while left:
            if in_vain > PATIENCE:
                raise SystemExit(
                    f"of the {size} {split} puzzles with {count} numbers, {left} do not exist; ask for fewer"
                )
            in_vain += 1
            numbers, target, expression = next(found)
            solved = worked(expression, numbers)
            if solved is None or target in numbers or key(numbers, target) in taken:
                continue
            taken.add(key(numbers, target))
            left, in_vain = left - 1, 0
            rows.append(row_of(numbers, target, *solved))
    rng.shuffle(rows)
    return [{"id": f"{split}-{number:04d}", **row} for number, row in enumerate(rows, 1)]


def row_of(numbers: list[int], target: int, solution: str, answer: str) -> dict[str, Any]:
    """Return one row without its id."""
    listed = f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"Make {target} out of {listed}, each used once.\n{INSTRUCTION}"},
    ]
    return {
        "messages": messages,
        "gold": answer,
        "solution": solution,
        "verifier": "countdown",
        "meta": {"kind": f"numbers_{len(numbers)}", "numbers": numbers, "target": target},
    }


def sizes_of(total: int, share: float = FOUR) -> dict[int, int]:
    """Return how many puzzles of each length make up a set; those of three numbers take what rounding leaves."""
    four = round(total * share)
    return {3: total - four, 4: four}


def write(rows: list[dict[str, Any]], path: Path) -> None:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    """Draw both sets, check that they share no puzzle, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "data" / "countdown")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--train", type=int, default=800)
    parser.add_argument("--heldout", type=int, default=400)
    parser.add_argument("--operators", default=OPERATORS, help="those that expressions are drawn from")
    parser.add_argument("--four", type=float, default=FOUR, help="share of puzzles with four numbers")
    parser.add_argument("--largest", type=int, default=LARGEST, help="largest number of a puzzle")
    options = parser.parse_args()
    taken: set[str] = set()
    heldout, train = (
        draw(
            sizes_of(total, options.four),
            random.Random(f"{options.seed} {split}"),
            taken,
            split,
            options.operators,
            options.largest,
        )
        for split, total in (("heldout", options.heldout), ("train", options.train))
    )
    asked = {key(row["meta"]["numbers"], row["meta"]["target"]) for row in heldout}
    if any(key(row["meta"]["numbers"], row["meta"]["target"]) in asked for row in train):
        raise SystemExit("a held-out puzzle occurs in the training set: nothing was written")
    options.out.mkdir(parents=True, exist_ok=True)
    write(heldout, options.out / "heldout.jsonl")
    write(train, options.out / "train.jsonl")
    print(f"{len(train)} training and {len(heldout)} held-out puzzles in {options.out}")


if __name__ == "__main__":
    main()
