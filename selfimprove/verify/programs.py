"""Which program an answer holds: the block that defines what was asked for, or the code that goes on from a prefix."""

import ast
import re

from selfimprove.verify.code import canonical, code_blocks, defines, own_nodes, parse, parses, top_level_names

END = re.compile(r"\n(?=class |def |async def |@|#|if |print|```)")
"""Where a continuation of a function ends: the first line behind it that begins something else."""


def program_of(text: str, entry_point: str = "", prefix: str = "") -> str | None:
    """Return the program in an answer, None where there is none.

    The first fenced block that defines the entry point; else all blocks joined; else the text itself where it is
    Python. With a `prefix` (the beginning of the program, which the prompt showed) an answer that does not define
    the entry point goes on from there; one that does gets the imports and functions of the prefix that it lacks.
    """
    blocks = [block.code for block in code_blocks(text) if block.code.strip()]
    whole = [code for code in (text, *blocks) if entry_point and _defines(code, entry_point)]
    broken = [code for code in blocks if entry_point and _begins(code, entry_point)]  # to be graded as what it is
    if whole or broken:
        return completed((whole or broken)[0], entry_point, prefix)
    if not prefix:
        joined = "\n\n".join(blocks)
        return joined or (text if text.strip() and parses(text) else None)
    return _continued(prefix, "\n\n".join(blocks) or _cut(text))


def whole_program(gold: str, entry_point: str = "", prefix: str = "") -> str:
    """Return the reference program as it is run: whole, or going on from the prefix."""
    if prefix and not _defines(gold, entry_point):
        return _continued(prefix, gold) or prefix + gold
    return completed(gold, entry_point, prefix)


def completed(code: str, entry_point: str, prefix: str) -> str:
    """Return a program with what the prefix imports and defines before it, where the program does not itself."""
    lacking = _context(code, entry_point, prefix) if prefix and "__future__" not in code else []
    return "\n".join([*lacking, code])


def canonical_answer(text: str) -> str | None:
    """Return the program of an answer in its one spelling, None where there is none."""
    blocks = [block.code for block in code_blocks(text) if block.code.strip()]
    for code in dict.fromkeys(("\n\n".join(blocks), *blocks, *([] if blocks else [text]))):
        try:
            found = canonical(code)
        except SyntaxError:
            continue
        if found:
            return found
    return None


def without_main(code: str) -> str:
    """Return a program whose `if __name__ == "__main__":` blocks are emptied: they are for people who run it."""
    if "__main__" not in code:
        return code
    try:
        body = parse(code).body
    except SyntaxError:
        return code
    lines = code.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for node in body:
        if isinstance(node, ast.If) and not node.orelse and _is_main(node.test):
            end = node.end_lineno or node.lineno
            lines[node.lineno - 1 : end] = [""] * (end - node.lineno + 1)
    return "\n".join(lines)


def _is_main(test: ast.expr) -> bool:
    names = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    return "__name__" in names and any(isinstance(n, ast.Constant) and n.value == "__main__" for n in ast.walk(test))


def _continued(prefix: str, rest: str) -> str | None:
    """Return prefix and continuation as one program; a continuation that lost its indentation gets it back."""
    start = prefix if prefix.endswith("\n") else f"{prefix}\n"
    body = rest.lstrip("\n")
    deeper = "".join(f"    {line}" if line.strip() else line for line in body.splitlines(keepends=True))
    ways = [prefix + rest, start + body]
    if not body[:1].isspace():  # chat models and their templates cut the first line's white space, or all of it
        ways = [f"{start}    {body}", start + deeper, *ways]
    return next((code for code in ways if _is_whole(code)), None) if body.strip() else None


def _is_whole(code: str) -> bool:
    """Whether a program is Python, with every `return` inside a function."""
    try:
        return not any(isinstance(node, ast.Return) for node in own_nodes(parse(code)))
    except SyntaxError:
        return False


def _cut(text: str) -> str:
    """Return the part of a completion that belongs to the function it continues."""
    return END.split(text, maxsplit=1)[0] + "\n"


def _defines(code: str, name: str) -> bool:
    return parses(code) and defines(code, name)


def _begins(code: str, name: str) -> bool:
    return re.search(rf"^(?:async )?(?:def|class) {re.escape(name)}\b", code, re.MULTILINE) is not None


def _context(code: str, entry_point: str, prefix: str) -> list[str]:
    """Return the top-level statements of a prefix that bind what the code does not, its function itself left out."""
    try:
        tree = parse(prefix)
    except SyntaxError:
        try:
            tree = parse(f"{prefix.rstrip()}\n    pass\n")
        except SyntaxError:
            return []
    try:
        own = top_level_names(parse(code))
    except SyntaxError:
        own = set()
    lacking = []
    for node in tree.body:
        bound = top_level_names(ast.Module([node], []))
        if bound - own and entry_point not in bound:
            lacking.append(ast.unparse(node))
    return lacking
