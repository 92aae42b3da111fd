"""Write data/code: small programming tasks with a reference program and tests.

    python scripts/make_code_data.py                 # writes train.jsonl and heldout.jsonl into data/code
    python scripts/make_code_data.py --out FOLDER

The tasks stand in scripts/code_tasks/<level>_<kind>.py, one function each: its docstring is the task's text and
its tests, one a line, with the expected value written by hand; its body is the reference program. The script
runs every test and refuses to write where the program returns something else. Byte for byte the same each time.
"""

import argparse
import ast
import builtins
import contextlib
import hashlib
import io
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfimprove.verify.sandbox.harness import encode

ROOT = Path(__file__).resolve().parent.parent

SALT = 5
"""Another number gives another split; with this one both sets hold enough of every kind."""

HELDOUT = 4
"""How many ninths of the functions are held out, besides those in ALIKE."""

ALIKE = {
    *("add", "add_to_all", "area_of_triangle", "common_items", "count_vowels", "factorial", "fibonacci"),
    *("greatest_common_factor", "is_palindrome", "is_prime", "is_sorted", "largest", "longest_word", "median"),
    *("positives", "remove_vowels", "string_length", "sum_up_to"),
}
"""Functions that HumanEval asks for too, in other words: never trained on, so that HumanEval stays a fair test."""


def read_tasks(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the body that decides on which side a task falls, and its row without the id."""
    for path in sorted(folder.glob("*.py")):
        level, kind = path.stem.split("_")
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        imports = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import)]
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                yield plain_body(node), make_row(node, source, imports, kind, level)


def make_row(node: ast.FunctionDef, source: str, imports: list[str], kind: str, level: str) -> dict[str, Any]:
    """Return the row of one task; raises SystemExit where a test's expected value is not what the program returns."""
    text, tests = read_docstring(node)
    lines, documentation = source.splitlines(), node.body[0]
    head, body = lines[node.lineno - 1 : documentation.lineno - 1], lines[documentation.end_lineno : node.end_lineno]
    meta: dict[str, Any] = {"kind": kind, "level": level}
    if kind == "programs":
        gold = textwrap.dedent("\n".join(body))
        asked = f"Write a Python program that {text}"
        meta["tests"] = [program_test(gold, test) for test in tests]
    else:
        gold = "\n".join([*head, *body])
        used = [line for line in imports if re.search(rf"\b{line.split()[1]}\.", gold)]
        gold = "\n".join([*used, "", "", gold]) if used else gold
        asked = f"Write a Python function `{node.name}({ast.unparse(node.args)})` that {text}"
        meta |= {"entry_point": node.name, "tests": [function_test(gold, test) for test in tests]}
    solution = f"```python\n{gold}\n```"
    row = {"prompt": asked, "gold": gold, "solution": solution, "verifier": "tests", "meta": meta}
    return {"name": node.name, **row}


def read_docstring(node: ast.FunctionDef) -> tuple[str, list[ast.Compare]]:
    """Return the text of a task, on one line, and its tests as comparisons."""
    text, tests = (ast.get_docstring(node) or "").split("\n\n")
    return " ".join(text.split()), [ast.parse(line, mode="eval").body for line in tests.splitlines()]


def function_test(gold: str, test: ast.Compare) -> dict[str, Any]:
    """Return the test `call == value` as JSON types, after running it."""
    names: dict[str, Any] = {"__builtins__": builtins}
    exec(gold, names)
    arguments = [encode(value_of(argument)) for argument in test.left.args]
    expected, value = value_of(test.comparators[0]), value_of(test.left, names)
    if value != expected or isinstance(value, bool) != isinstance(expected, bool):
        raise SystemExit(f"{ast.unparse(test)}: the program returns {value!r}; nothing was written")
    return {"call": test.left.func.id, "arguments": arguments, "named": {}, "expected": encode(value)}


def program_test(gold: str, test: ast.Compare) -> dict[str, str]:
    """Return the test `input == output` of a program, after running it."""
    stdin, stdout = value_of(test.left), value_of(test.comparators[0])
    printed, kept = io.StringIO(), sys.stdin
    try:
        sys.stdin = io.StringIO(stdin)
        with contextlib.redirect_stdout(printed):
            exec(gold, {"__builtins__": builtins})
    finally:
        sys.stdin = kept
    if printed.getvalue() != stdout:
        raise SystemExit(f"{ast.unparse(test)}: the program prints {printed.getvalue()!r}; nothing was written")
    return {"stdin": stdin, "stdout": stdout}


def value_of(node: ast.expr, names: dict[str, Any] | None = None) -> Any:
    """Return the value of an expression of a task file."""
    return eval(compile(ast.Expression(node), "task", "eval"), names if names is not None else {})


def plain_body(node: ast.FunctionDef) -> str:
    """Return what a function does without its own and its parameters' names: area and product are the same."""
    names = {argument.arg: f"p{place}" for place, argument in enumerate(node.args.args)}
    body = ast.parse("\n".join(map(ast.unparse, node.body[1:])))
    for part in ast.walk(body):
        if isinstance(part, ast.Name):
            part.id = names.setdefault(part.id, f"p{len(names)}") if not hasattr(builtins, part.id) else part.id
    return ast.unparse(body)


def split_tasks(tasks: list[tuple[str, dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of both sets; functions with the same body, whatever their names, fall on the same side."""
    kept = {body for body, row in tasks if row["name"] in ALIKE}
    sets: dict[str, list[dict[str, Any]]] = {"train": [], "heldout": []}
    for body, row in sorted(tasks, key=lambda task: digest_of(task[1]["name"])):
        side = "heldout" if body in kept or digest_of(body) % 9 < HELDOUT else "train"
        sets[side].append({"id": f"{side}-{row.pop('name')}", **row})
    return sets


def digest_of(text: str) -> int:
    """Return a number that is the same for the same text, and otherwise anything."""
    return int(hashlib.sha256(f"{SALT} {text}".encode()).hexdigest()[:12], 16)


def main() -> None:
    """Read and run all tasks, split them, and write both sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "code")
    options = parser.parse_args()
    sets = split_tasks(list(read_tasks(ROOT / "scripts" / "code_tasks")))
    options.out.mkdir(parents=True, exist_ok=True)
    for name, rows in sets.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (options.out / f"{name}.jsonl").write_text(text, encoding="utf-8")
    print(f"{len(sets['train'])} training and {len(sets['heldout'])} held-out tasks in {options.out}")


if __name__ == "__main__":
    main()
