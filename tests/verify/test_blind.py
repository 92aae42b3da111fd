"""What is shown to somebody who must not know the task: neutral programs, tasks without examples."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.verify.blind import neutral, prose, without_blocks

PROGRAM = '''
"""Even sums."""
import math

class EvenSum:
    """Sums even numbers."""
    total = 0

def is_even(number):  # whether it is even
    """Return whether a number is even."""
    return number % 2 == 0

def even_sum(numbers):
    """Return the sum of the even numbers."""
    "even"
    return sum(n for n in numbers if is_even(n)) + EvenSum.total + even_sum([])
'''


def test_a_neutral_program_says_nothing_of_its_task():
    found = neutral(PROGRAM, "even_sum")
    assert found == (
        "import math\n\nclass Class_1:\n    total = 0\n\ndef helper_1(number):\n    return number % 2 == 0\n\n"
        "def function(numbers):\n    return sum((n for n in numbers if helper_1(n))) + Class_1.total + function([])"
    )
    assert "even" not in found.lower()


def test_the_last_function_is_the_main_one_where_the_task_names_none():
    assert neutral(PROGRAM) == neutral(PROGRAM, "even_sum") == neutral(PROGRAM, "is_not_there")
    assert neutral(PROGRAM, "is_even").count("def helper_1(numbers)") == 1


def test_a_neutral_program_does_the_same():
    def result(program: str, name: str) -> int:
        names: dict = {}
        exec(program.replace("+ function([])", "").replace("+ even_sum([])", ""), names)
        return names[name]([1, 2, 4])

    assert result(PROGRAM, "even_sum") == result(neutral(PROGRAM, "even_sum"), "function") == 6


@pytest.mark.parametrize("program", ["def f(:", "x = '\0'", "", "# nothing", '"""Only words."""'])
def test_what_is_no_program_gives_none(program):
    assert neutral(program) is None


@given(st.lists(st.sampled_from(["f", "g", "function", "helper_1", "helper_2", "Class_1"]), min_size=1, unique=True))
def test_no_two_functions_get_one_name_whatever_they_were_called(names):
    program = "\n".join(f"def {name}():\n    return {at}" for at, name in enumerate(names))
    calls = f"\nvalues = [{', '.join(f'{name}()' for name in names)}]"
    found: dict = {}
    exec(neutral(program + calls), found)
    assert found["values"] == list(range(len(names))) and found["function"]() == len(names) - 1


FOLDER = Path(os.environ.get("SELFIMPROVE_PUBLIC_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
HUMANEVAL = FOLDER / "humaneval_first.jsonl"


@pytest.mark.skipif(not HUMANEVAL.is_file(), reason=f"{HUMANEVAL} is not there")
def test_no_program_of_a_public_set_gives_its_name_away():
    rows = [json.loads(line) for line in HUMANEVAL.read_text(encoding="utf-8").splitlines()]
    shown = [neutral(row["prompt"] + row["canonical_solution"], row["entry_point"]) for row in rows]
    assert len(rows) > 80 and all(shown)
    assert not [row["task_id"] for row, text in zip(rows, shown, strict=True) if row["entry_point"] in text]
    tasks = [prose(row["prompt"]) for row in rows]
    assert not [task for task in tasks if ">>>" in task or '"""' in task or not task.strip()]


DOCTEST = '''from typing import List

def even_sum(numbers: List[int]) -> int:
    """ Return the sum of the even numbers
    of the list.
    >>> even_sum([1, 2, 4])
    6
    >>> even_sum([])
    0

    An empty list gives 0.
    Examples:
    even_sum([3]) == 0
    even_sum([2, 2]) ➞ 4
    assert even_sum([8]) == 8
    """
'''


def test_the_prose_of_a_task():
    assert prose(DOCTEST) == "Return the sum of the even numbers\nof the list.\nAn empty list gives 0."
    chat = "Write a Python function `even_sum(numbers)` that returns the even sum.\nAnswer with a Python code block."
    assert prose(chat) == chat
    assert prose("```python\ndef f():\n```") == "```python\ndef f():\n```"  # all of it where nothing else is left
    assert prose("f(x) returns the sum of x") == "f(x) returns the sum of x"


@given(st.text())
def test_prose_is_never_empty_where_the_task_is_not(task):
    assert prose(task) or not task


def test_a_text_without_its_code():
    text = (
        "It doubles:\n\n```python\ndef f(x):\n    return 2 * x\n```\nNothing else, `f` says.\n~~~\nnever closed\n```"
    )
    assert without_blocks(text) == "It doubles:\n\n\nNothing else, `f` says."
    assert without_blocks("```\ncode only\n```") == ""
