"""How much do tests notice? Grade every reference program, then the same with one operator changed.

    python scripts/mutate_solutions.py humaneval_first.jsonl              # rows in HumanEval's public format
    python scripts/mutate_solutions.py FILE --set mbpp --sandbox landlock --aggregate fraction

Every reference program must pass its own tests. A changed program (a mutant) that passes too is a survivor: either
the change makes no difference, or the tests do not see it. Which place of a program is changed depends on the
prompt's id alone. Exit code 1 where a reference program does not pass.
"""

import argparse
import ast
import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter

from selfimprove.config import Sandbox as Options
from selfimprove.records import Prompt, Verdict
from selfimprove.sources import load_prompts
from selfimprove.verify import Verifiers
from selfimprove.verify.code import parse

OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.UAdd: ast.USub, ast.USub: ast.UAdd,
}  # fmt: skip
"""What stands for what in a mutant; `not x` becomes `x`, True False, 0 and 1 each other, another integer one more."""

Place = tuple[ast.AST, str, int | None, ast.AST]
"""A node, the name of its field, the place in it where that is a list, and what to put there."""


def places(tree: ast.AST) -> Iterator[Place]:
    """Yield every change that may be made, always in the same order; texts, and so docstrings, hold none."""
    for node in ast.walk(tree):
        for name, value in ast.iter_fields(node):
            for place, item in enumerate(value) if isinstance(value, list) else [(None, value)]:
                changed = changed_node(item) if isinstance(item, ast.AST) else None
                if changed is not None:
                    yield node, name, place, changed


def changed_node(node: ast.AST) -> ast.AST | None:
    """Return what a node becomes in a mutant, None where it stays."""
    if type(node) in OPERATORS:
        return OPERATORS[type(node)]()
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return node.operand
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        value = not node.value if isinstance(node.value, bool) else {0: 1, 1: 0}.get(node.value, node.value + 1)
        return ast.Constant(value)
    return None


def mutant(code: str, name: str) -> tuple[str, str] | None:
    """Return a program with one place changed, and the change in words; None where nothing can be changed.

    `name` (the prompt's id) decides the place.
    """
    tree = parse(code)
    found = list(places(tree))
    if not found:
        return None
    number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) % len(found)
    node, field, place, changed = found[number]
    whole = isinstance(node, ast.expr | ast.AugAssign)  # else a constant alone, such as the default of a parameter
    old = getattr(node, field) if place is None else getattr(node, field)[place]
    before = ast.unparse(node if whole else old)
    if place is None:
        setattr(node, field, changed)
    else:
        getattr(node, field)[place] = changed
    return ast.unparse(ast.fix_missing_locations(tree)), f"{before}  ->  {ast.unparse(node if whole else changed)}"


async def grade(verifiers: Verifiers, prompts: list[Prompt]) -> list[Verdict]:
    """Return the verdicts on the prompts' reference programs."""
    waiting = asyncio.Semaphore(64)

    async def one(prompt: Prompt) -> Verdict:
        async with waiting:
            return await verifiers.of(prompt).grade_gold(prompt)

    return list(await asyncio.gather(*map(one, prompts)))


async def run(prompts: list[Prompt], options: Options) -> bool:
    """Print the counts and the survivors; return whether every reference program passed."""
    verifiers = Verifiers(options)
    mutants = {prompt.id: made for prompt in prompts if (made := mutant(prompt.gold or "", prompt.id))}
    changed = [replace(prompt, gold=mutants[prompt.id][0]) for prompt in prompts if prompt.id in mutants]
    try:
        start = perf_counter()
        gold = await grade(verifiers, prompts)
        middle = perf_counter()
        found = await grade(verifiers, changed)
        end = perf_counter()
    finally:
        verifiers.close()
    for prompt, verdict in zip(prompts, gold, strict=True):
        if verdict.score != 1.0:
            print(f"not right  {prompt.id}: {verdict.reason}")
    survivors = [(prompt, verdict) for prompt, verdict in zip(changed, found, strict=True) if verdict.score == 1.0]
    unclear = sum(verdict.score is None for verdict in found)
    right = sum(verdict.score == 1.0 for verdict in gold)
    print(f"reference  {right} of {len(prompts)} programs pass, {len(prompts) / (middle - start):.1f} a second")
    print(f"mutants    {len(changed)} made, {len(changed) - len(survivors) - unclear} noticed, {unclear} not graded, "
          f"{len(survivors)} survive, {len(changed) / (end - middle):.1f} a second")  # fmt: skip
    print(f"sandbox    {gold[0].source if gold else 'none'}")
    for prompt, verdict in survivors:
        print(f"survivor   {prompt.id}: {mutants[prompt.id][1]}    ({verdict.reason})")
    return right == len(prompts)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, grade, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("path", help="a file of rows in the set's public format")
    parser.add_argument("--set", default="humaneval", help="name of the set whose format it is")
    parser.add_argument(
        "--sandbox", default="auto", help="auto, zygote, wasi, landlock, or rlimits (runs it unguarded)"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="longest run of one program")
    parser.add_argument("--aggregate", default="all", help="all, or fraction")
    parser.add_argument("--limit", type=int, help="grade only so many rows")
    given = parser.parse_args(arguments)
    trust = given.sandbox == "rlimits"
    options = Options(name=given.sandbox, trust_the_code=trust, seconds=given.seconds, aggregate=given.aggregate)
    prompts = list(load_prompts({"name": given.set, "path": given.path}))[: given.limit]
    return 0 if asyncio.run(run(prompts, options)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
