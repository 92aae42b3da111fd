"""Code as text: blocks of an answer, its one spelling, its names, and which program an answer holds."""

import ast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from selfimprove.verify.code import (
    Block,
    canonical,
    class_names,
    code_blocks,
    defines,
    first_block,
    function_names,
    imports_of,
    parses,
    rename_function,
    strip_docstrings,
)
from selfimprove.verify.programs import canonical_answer, program_of, whole_program, without_main

F = "```"

MODULE = '''"""A module."""
import os, sys as system
from a.b import c

# a comment
class Box:
    """A box."""
    x: int = 0

async def go():
    """Only this."""

def add(a, b):
    "doc"
    "and another"
    return (a + b)  # sum
'''


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        (f"a\n{F}python\nx = 1\n{F}\nb\n{F}\ny\n{F}", [Block("python", "x = 1"), Block("", "y")]),
        (f"{F}py title=x\n\nx\n\n{F}", [Block("py", "\nx\n")]),
        (f"- item\n  {F}\n  if x:\n      y\n  {F}\n", [Block("", "if x:\n    y")]),
        (f"~~~\n{F}\n~~~", [Block("", F)]),
        (f"{F}`python\n{F}\nx\n{F}`", [Block("python", f"{F}\nx")]),
        (f"inline {F}x{F} only", []),
        (f"{F}x = 1{F}\n", []),
        (f"cut {F}\n{F}python\nx = (", [Block("python", "x = (")]),
        (f"{F}\n{F}", [Block("", "")]),
        ("", []),
    ],
)
def test_blocks(text, blocks):
    assert code_blocks(text) == blocks
    assert first_block(text) == (blocks[0].code if blocks else None)


LINES = st.lists(st.sampled_from(["x = 1", "", "    y", "# `z`", "~~~", "a ``` b"]), max_size=5)


@given(st.lists(st.tuples(st.sampled_from(["", "python", "py"]), LINES), max_size=4))
def test_what_is_fenced_is_found(made):
    texts = [("\n".join(lines), tag) for tag, lines in made]
    text = "\n".join(f"Prose.\n{F}{tag}\n{code}\n{F}\nMore." for code, tag in texts)
    assert code_blocks(text) == [Block(tag, code) for code, tag in texts]


def test_names_and_imports():
    assert function_names(MODULE) == ["go", "add"]
    assert class_names(MODULE) == ["Box"]
    assert imports_of(MODULE) == "import os, sys as system\nfrom a.b import c"
    assert defines(MODULE, "system") and defines(MODULE, "Box") and not defines(MODULE, "x")
    assert defines("try:\n    f = 1\nexcept E as e: pass", "f") and defines("f = lambda x: x", "f")


def test_what_is_left_without_docstrings_and_comments():
    plain = strip_docstrings(MODULE)
    for word in ("A module", "A box", "Only this", "doc", "another", "comment", "sum"):
        assert word not in plain
    assert "async def go():\n    pass" in plain
    assert "return a + b" in plain
    assert canonical('"""Nothing else."""') == ""
    assert canonical("try:\n    'a'\nfinally:\n    'b'\n") == canonical("try: pass\nfinally: pass")


def test_layout_does_not_count_and_meaning_does():
    assert canonical("x = (1+2)  # c") == canonical("x=1 + 2") == "x = 1 + 2"
    assert canonical("def f(): return 1") != canonical("def f(): return 2")
    assert canonical("x = 'a'") != canonical("x = 'b'")


@pytest.mark.parametrize("bad", ["def f(:", "(" * 500, "1+" * 50_000 + "1", "\0", "\ud800", "0" + "9" * 9])
def test_what_is_no_python(bad):
    assert not parses(bad)
    with pytest.raises(SyntaxError):
        canonical(bad)


NAMES = st.sampled_from(["a", "b", "f", "value"])
EXPRESSIONS = st.recursive(
    st.one_of(
        NAMES, st.integers(0, 99).map(str), st.text("a'\"\\\n{é", max_size=4).map(repr), st.just('f"{a!r:>{b}}"')
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "<", "and", "if a else", ","]), inner).map(
            lambda parts: "(" + " ".join(parts) + ")"
        ),
        inner.map(lambda text: f"f({text})"),
        inner.map(lambda text: f"[{text} for a in b if not {text}]"),
        inner.map(lambda text: f"(lambda a=({text}): a)"),
    ),
    max_leaves=6,
)
STATEMENTS = st.recursive(
    st.one_of(
        EXPRESSIONS,
        st.tuples(NAMES, EXPRESSIONS).map(lambda pair: f"{pair[0]} = {pair[1]}"),
        st.sampled_from(["pass", "'''doc'''", "# comment\npass", "import a as b", "global_ = 1"]),
    ),
    lambda inner: st.tuples(
        st.sampled_from(["def f(a, b=1):", "class A:", "if a:", "for a in b:", "try:", "with a as b:", "while b:"]),
        st.lists(inner, min_size=1, max_size=3),
    ).map(
        lambda made: (
            f"{made[0]}\n    '''doc'''\n"
            + "\n".join("    " + line for line in "\n".join(made[1]).split("\n"))
            + ("\nfinally:\n    pass" if made[0] == "try:" else "")
        )
    ),
    max_leaves=6,
)


@given(st.lists(STATEMENTS, max_size=4).map("\n".join))
@example("def f():\n    'a'\n    'b'\n")
def test_one_spelling_stays_as_it_is(code):
    if not parses(code):  # a text with a line break in it, indented
        return
    once = canonical(code)
    assert canonical(once) == once
    assert parses(once)
    strings = [node for node in ast.walk(ast.parse(once)) if isinstance(node, ast.Expr)]
    assert not [node for node in strings if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)]


def run(code: str) -> dict:
    names: dict = {}
    exec(code, names)
    return names


def test_a_renamed_function_does_what_it_did():
    code = """
def walk(n, walk_more=None):
    if n == 0:
        return 0
    return 1 + walk(n - 1)
def other(walk):
    return walk + 1
def local():
    walk = 5
    return walk
class Dog:
    walk = 7
    def run(self):
        return walk(3)
def shadow(x, f=walk):
    return [walk for walk in f(2) * [x]]
result = (walk(4), other(1), local(), Dog().run(), Dog.walk, shadow(9), (lambda walk: walk)(3))
"""
    new = rename_function(code, "walk", "stroll")
    assert run(new)["result"] == run(code)["result"] == (4, 2, 5, 3, 7, [9, 9], 3)
    assert "stroll" in run(new) and "walk" not in run(new)
    assert rename_function("x = 1", "walk", "stroll") == "x = 1"


PREFIX = '''import math
from typing import List

def double(x):
    return 2 * x

def area(r: float) -> float:
    """ The area.
    >>> area(1)
    """
'''


@pytest.mark.parametrize(
    "answer",
    [
        "    return math.pi * r ** 2\n",
        "    return math.pi * r ** 2\n\n\ndef other():\n    broken(\n",
        "return math.pi * r ** 2\n\nprint(area(1))",
        "r2 = r ** 2\nreturn math.pi * r2",
        "r2 = r ** 2\n    return math.pi * r2",
        f"It is:\n{F}python\n    return math.pi * r ** 2\n{F}\nDone.",
        f"{F}python\ndef area(r):\n    return math.pi * r ** 2\n{F}",
        f"Broken first\n{F}\nx = (\n{F}\n{F}python\ndef area(r):\n    return math.pi * r ** 2\n{F}\n{F}\narea(1)\n{F}",
        "def area(r: List):\n    return math.pi * r ** 2",
        "def area(r):\n    '''\n    ```\n    area(1)\n    ```\n    '''\n    return math.pi * r ** 2",
        "    if r:\n        return math.pi * r ** 2\n#### end\n",
    ],
)
def test_program_of_an_answer_to_a_function_begun(answer):
    program = program_of(answer, "area", PREFIX)
    assert program is not None
    names = run(program)
    assert names["area"](2) == pytest.approx(12.566, abs=0.001)
    assert names["double"](2) == 4


def test_program_of_other_answers():
    two = f"{F}\ndef g(): return 1\n{F}\nand\n{F}\nx = g()\n{F}"
    assert program_of(two) == program_of(two, "missing") == "def g(): return 1\n\nx = g()"
    assert program_of(two, "g") == "def g(): return 1"
    assert program_of("print(input())") == "print(input())"
    broken = f"{F}\ndef f(:\n{F}"
    assert program_of(broken, "f") == "def f(:"
    for nothing in ("", " \n", "I cannot do that.", f"{F}\n{F}"):
        assert program_of(nothing, "f") is None
        assert program_of(nothing, "area", PREFIX) is None
    assert canonical_answer(f"So\n{F}\nx=1 # c\n{F}") == canonical_answer("x = 1") == "x = 1"
    assert canonical_answer("I cannot do that.") is None
    assert canonical_answer(f"{F}\nnot ( python\n{F}\n{F}\ny=2\n{F}") == "y = 2"


def test_reference_program():
    body = "    return 1\n"
    assert run(whole_program(body, "area", PREFIX))["area"](5) == 1
    assert whole_program(PREFIX + body, "area", PREFIX) == PREFIX + body
    assert whole_program("def f(): pass", "f") == "def f(): pass"


def test_main_blocks_are_emptied_and_lines_stay():
    code = "x = 1\nif __name__ == '__main__':\n    x = input()\n    y = 2\nz = 3\nif x:\n    w = '__main__'"
    quiet = without_main(code)
    assert quiet == "x = 1\n\n\n\nz = 3\nif x:\n    w = '__main__'"
    assert without_main("def broken(:\n__main__") == "def broken(:\n__main__"
