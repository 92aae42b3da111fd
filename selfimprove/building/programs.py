"""Data sets of programs: a greedy choice in which no two rows share a name, and what is left of code to compare."""

import ast
from collections.abc import Hashable, Iterable, Sequence

from selfimprove.verify.code import FUNCTIONS, code_blocks, parse, strip_docstrings

Mark = tuple[str, Hashable]
"""What no two chosen rows may share: its kind, and the thing itself."""


def choose_rows(candidates: Sequence[tuple[str, Sequence[Mark]]], order: Iterable[int]) -> dict[int, str]:
    """Return {row: reason} of those that a greedy pass in the given order leaves out.

    A candidate is (why it cannot be chosen or "", its marks); the reason is that, or `same_` and the kind of the
    first mark that a chosen row has already."""
    lost: dict[int, str] = {}
    seen: set[Mark] = set()
    for number in order:
        reason, marks = candidates[number]
        known = next((kind for kind, mark in marks if (kind, mark) in seen), None)
        if reason or known:
            lost[number] = reason or f"same_{known}"
        else:
            seen.update(marks)
    return lost


def names_of(code: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of all functions and of all classes of a program, lower-case and without underscores.

    Methods and inner functions count. Raises SyntaxError.
    """
    nodes = list(ast.walk(parse(code)))
    functions = {node.name for node in nodes if isinstance(node, FUNCTIONS)}
    classes = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    plain = [frozenset(name.replace("_", "").lower() for name in names) for names in (functions, classes)]
    return plain[0], plain[1]


def code_representation(text: str) -> str:
    """Return the top-level functions and classes of all fenced blocks, without docstrings and comments."""
    found = []
    for block in code_blocks(text):
        try:
            body = parse(block.code).body
        except SyntaxError:
            continue
        kept = [node for node in body if isinstance(node, (*FUNCTIONS, ast.ClassDef))]
        found += [strip_docstrings(ast.unparse(node)) for node in kept]
    return "\n\n".join(found)
