"""What somebody sees who is to guess a task from a program, or to compare two tasks: nothing that gives it away.

Whoever describes a program must not read the task out of its names, docstrings and comments; and a description of a
program does not repeat the examples of its task.
"""

import re

from selfimprove.verify.code import canonical, class_names, function_names, parses, rename_function

MAIN = "function"
"""What the function that a task asks for is called in a neutral program."""

CODE_LINE = re.compile(
    r"(async def \w+\(|def \w+\(|class \w+.*:$|@\w|assert\b|import [\w.]+( as \w+)?$|from [\w.]+ import\b|```|~~~)"
    r"|(for )?(example|instance)s?:?$"
    r"|[\w.]+\(.*\)\s*(==|=>|->|➞|→|#|=)",
    flags=re.IGNORECASE,
)
"""A line of a task that is code or an example: a signature, an import, an assertion, `f(2) == 4`, `Examples:`."""


def neutral(program: str, entry: str | None = None) -> str | None:
    """Return a program without docstrings, comments and telling names of its own, None where it is no Python.

    `entry`, or else the last function, becomes `function`; others helper_1, helper_2, and classes Class_1. Parameters,
    variables and methods keep their names.
    """
    if not parses(program):
        return None
    program = canonical(program)
    functions, classes = function_names(program), class_names(program)
    main = entry if entry in functions else functions[-1] if functions else None
    helpers = [name for name in dict.fromkeys(functions) if name != main]
    names = {name: f"helper_{at}" for at, name in enumerate(helpers, 1)}
    names |= {name: f"Class_{at}" for at, name in enumerate(dict.fromkeys(classes), 1)}
    names |= {main: MAIN} if main else {}
    aside = {old: f"_{at}_renamed" for at, old in enumerate(names)}  # one may bear the name that another is to have
    for old, between in aside.items():
        program = rename_function(program, old, between)
    for old, between in aside.items():
        program = rename_function(program, between, names[old])
    return program or None


def prose(task: str) -> str:
    """Return a task without signatures, imports, assertions, doctests and example calls; all of it if none is left."""
    kept: list[str] = []
    result = False  # of a doctest: goes to the next empty line
    for line in task.splitlines():
        bare = line.strip()
        if bare.startswith((">>>", "...")):
            result = True
            continue
        result = result and bool(bare) and not bare.startswith(('"""', "'''"))
        if not result and not CODE_LINE.match(bare):
            kept.append(bare.replace('"""', "").replace("'''", "").strip())
    return "\n".join(line for line in kept if line) or task


def without_blocks(text: str) -> str:
    """Return a text without its fenced code blocks; one that is never closed goes to the end."""
    return re.sub(r"^[ \t]*(```|~~~).*?(^[ \t]*\1[ \t]*$|\Z)", "", text, flags=re.DOTALL | re.MULTILINE).strip()
