"""Functions as prompts: what is cut out of files, with which imports, and why some cannot be seeds."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.errors import ConfigError, DataError
from selfimprove.records import Prompt, as_messages
from selfimprove.sources import load_prompts, source_id
from selfimprove.sources.benchmarks import Substrings, benchmark_texts
from selfimprove.sources.functions import functions_of, returns_a_value, static_reason
from selfimprove.sources.typecheck import choose, without_errors

GOOD = '''def area(width, height):
    """Return the area of a rectangle."""
    return width * height
'''


def prompts_of(tmp_path, text, **options):
    folder = tmp_path / "seeds"
    folder.mkdir(exist_ok=True)
    (folder / "a.py").write_text(text, encoding="utf-8")
    return list(load_prompts({"functions": str(folder), "type_check": "none", **options}))


def reasons(tmp_path, text, **options):
    return {p.id.partition(":")[2] or p.id: p.meta.get("unfit") for p in prompts_of(tmp_path, text, **options)}


def test_documented_functions_at_column_0_are_cut_out():
    text = f'''import math
{GOOD}
@decorated
def decorated(a):
    """Its decorator stays behind."""
    return a
def undocumented(a):
    return a
def single(a):
    'Single quotes.'
    return a
def raw(a):
    r"""A raw docstring does not open with three quotes."""
    return a
async def later(a):
    """Not a plain def."""
    return a
if True:
    def inner(a):
        """Not at column 0."""
        return a
class Thing:
    def method(self):
        """Not at column 0 either."""
        return 1
'''
    found = list(functions_of([("a.py", text)]))
    assert [function.id for function in found] == ["a.py:area", "a.py:decorated"]
    assert found[0].code == GOOD.rstrip()
    assert found[1].code.startswith("def decorated")


def test_lines_are_python_s_own():
    text = 'A = "\x0c"\r\n' + GOOD.replace("\n", "\r\n")  # a form feed is no end of line
    assert [function.code for function in functions_of([("a.py", text)])] == [GOOD.rstrip()]


def test_a_function_brings_the_imports_that_it_needs():
    text = '''import math
from collections import Counter as C, OrderedDict
def f(a, json):
    """Doc."""
    itertools = [1]
    return C(a), math.pi, re.sub("a", "b", a), json.x, itertools.y, unknown.z
'''
    [function] = functions_of([("a.py", text)])
    assert function.code.split("\n\n\n")[0].splitlines() == [
        "from collections import Counter as C",
        "import math",
        "import re",
    ]


def test_the_same_name_twice_gives_two_ids_and_an_unreadable_file_is_told():
    found = list(functions_of([("a.py", GOOD * 2), ("b.py", "print 'old'\n"), ("c.py", "x = '\0'")]))
    assert [(function.id, function.unfit) for function in found] == [
        ("a.py:area", ""),
        ("a.py:area-2", ""),
        ("b.py", "not_python"),
        ("c.py", "not_python"),
    ]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (GOOD, ""),
        ("def f(a):\n    return a  # ToDo", "bad_word"),
        ("def f(a):\n    return debug(a)", "bad_word"),  # the word is looked for anywhere
        ("import os.path\n\n\ndef f(a):\n    return os.path.join(a)", "bad_import"),
        ("def f(a):\n    from sys import argv\n    return argv", "bad_import"),
        ("import oslo\n\n\ndef f(a):\n    return oslo", ""),
        ("def f():\n    return 1", "no_argument"),
        ("def f(a):\n    return a()", ""),
        ("def f(a):\n" + "    a += 1\n" * 148 + "    return a", ""),
        ("def f(a):\n" + "    a += 1\n" * 149 + "    return a", "too_long"),
    ],
)
def test_static_filters(code, reason):
    assert static_reason(code) == reason


def test_a_return_must_carry_a_value():
    assert returns_a_value("def f(a):\n    if a:\n        return\n    return a")
    assert not returns_a_value("def f(a):\n    if a:\n        return\n    print(a)")
    assert returns_a_value("def f(a):\n    return None")  # written out, it is a value


def test_reasons_stand_in_the_order_of_the_steps_and_can_be_dropped(tmp_path):
    silent = 'def silent(a):\n    """Say nothing of interest about a, at all."""\n    print(a)\n'
    todo = 'def todo(a):\n    """Multiply by two."""\n    return a * 2\n'
    mean = 'def mean(values):\n    """Average a list that is not empty."""\n    return sum(values) / len(values)\n'
    text = GOOD + mean + silent + todo
    assert reasons(tmp_path, text) == {"area": None, "mean": None, "silent": "no_return_value", "todo": "bad_word"}
    twice = reasons(tmp_path, text + GOOD)
    assert twice["area"] is None and twice["area-2"] == "near_repeat"
    assert reasons(tmp_path, text + GOOD, near_threshold=None)["area-2"] is None
    assert list(reasons(tmp_path, text, unfit="drop")) == ["area", "mean"]
    assert list(reasons(tmp_path, text, slice="1:3")) == ["mean", "silent"]
    [prompt] = prompts_of(tmp_path, GOOD)
    assert (prompt.text, prompt.meta) == (GOOD.rstrip(), {"type_check": "none"})


def test_functions_come_from_rows_too(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"content": GOOD}) + "\n" + json.dumps({"content": "x = 1"}) + "\n")
    [prompt] = load_prompts({"functions": str(rows), "type_check": "none"})
    assert prompt.id == "1:area"
    with pytest.raises(DataError, match=r"rows.jsonl line 1: there is no code in column 'code'; set column"):
        list(load_prompts({"functions": str(rows), "type_check": "none", "column": "code"}))
    single = tmp_path / "b.py"
    single.write_text(GOOD)
    assert [p.id for p in load_prompts({"functions": str(single), "type_check": "none"})] == ["b.py:area"]


def test_a_benchmark_s_texts_are_filtered(tmp_path):
    held = tmp_path / "held.jsonl"
    held.write_text(json.dumps({"prompt": "Return the AREA of a rectangle."}) + "\n")
    assert reasons(tmp_path, GOOD, benchmarks=[str(held)]) == {"area": "benchmark"}


def test_the_definition_is_checked_and_the_content_makes_the_id(tmp_path):
    for options, message in (
        ({"type_check": "flow"}, "type_check is 'flow'; allowed: auto, none, pyright, ty, mypy"),
        ({"unfit": "keep"}, "unfit is 'keep'; allowed: mark, drop"),
        ({"near_threshold": 1.0}, "near_threshold is 1.0; it must lie between 0 and 1"),
        ({"colum": "x"}, "a source of functions has no option 'colum'; did you mean 'column'"),
    ):
        with pytest.raises(ConfigError, match=message):
            prompts_of(tmp_path, GOOD, **options)
    source = {"functions": str(tmp_path / "seeds"), "type_check": "none"}
    prompts_of(tmp_path, GOOD)
    before = source_id(source)
    prompts_of(tmp_path, GOOD + "# more\n")
    assert source_id(source) != before
    with pytest.raises(DataError, match="there are no prompts"):
        prompts_of(tmp_path, "x = 1\n")


def test_type_checker_by_name_or_none():
    assert choose("none", "r.yaml") is None
    assert choose("auto", "r.yaml") in ("pyright", "ty", "mypy", None)


@pytest.mark.parametrize("checker", ["pyright", "ty", "mypy"])
def test_programs_without_type_errors(checker, tmp_path):
    try:
        choose(checker, "r.yaml")
    except ConfigError as error:
        assert f"type_check is {checker}, which is not installed" in str(error)
        pytest.skip(f"{checker} is not installed")
    wrong = 'def f(a: int) -> int:\n    """Doc."""\n    return a + nowhere\n'
    typed = 'def f(a: int) -> int:\n    """Doc."""\n    return str(a)\n'
    assert without_errors([GOOD, wrong, GOOD, typed], checker) == [True, False, True, False]
    assert without_errors([], checker) == []
    [first, second] = prompts_of(tmp_path, GOOD + wrong, type_check=checker)
    assert first.meta == {"type_check": checker}
    assert second.meta == {"type_check": checker, "unfit": "type_error"}


def test_substrings_know_no_case_and_leave_short_texts_out():
    held = Substrings({"bench": ["Return the sum of two numbers.", "return a + b"]})
    assert held.find("x\nRETURN THE SUM OF TWO NUMBERS. y") == ("bench", "return the sum of two numbers.")
    assert held.find("return the sum of two  numbers.") is None  # white space counts
    assert held.find("return a + b") is None
    assert Substrings({}).find("anything") is None


@given(st.text("ab ", min_size=24, max_size=40), st.text("ab ", max_size=30), st.text("ab ", max_size=30))
def test_substrings_are_those_of_python(known, before, after):
    held = Substrings({"b": [known]})
    wanted = len(known.strip()) >= 24 and known.strip() in before + known + after
    assert bool(held.find(before + known + after)) == wanted


def test_texts_of_a_benchmark_s_items():
    code = Prompt(
        "h/1",
        as_messages("Complete the function.\n\ndef f(a): ..."),
        gold='def f(a):\n    """Square a number and add one."""\n    return a * a + 1',
        verifier="tests",
        meta={"prefix": 'def f(a):\n    """The docstring of the prefix."""'},
    )
    plain = Prompt("g/1", as_messages("How many apples?"), gold="5", solution="2 + 3 = 5", meta={"question": "apples"})
    assert list(benchmark_texts([code])) == [
        code.text,
        code.gold,
        "Square a number and add one.",
        "The docstring of the prefix.",
    ]
    assert list(benchmark_texts([plain])) == ["apples", "2 + 3 = 5"]  # a number is no text
