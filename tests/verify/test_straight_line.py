"""Straight-line programs: their statements, their traces in a sandbox, and the verdict on their `answer`."""

import asyncio
from dataclasses import replace

import pytest

from selfimprove.config import Sandbox
from selfimprove.records import Prompt, as_messages
from selfimprove.verify import Verifiers, validate_gold
from selfimprove.verify.sandbox import Outcome, limits_of
from selfimprove.verify.straight_line import Unit, code_in, same_answer, statements_of, trace, units

OPTIONS = Sandbox(name="rlimits", trust_the_code=True, seconds=20)
LIMITS = limits_of(OPTIONS)


@pytest.fixture
def verifiers():
    made = Verifiers(OPTIONS)
    yield made
    made.close()


def prompt(gold="36", solution=None):
    return Prompt("p", as_messages("How many?"), gold, solution, "program")


@pytest.mark.parametrize(
    ("value", "gold", "same"),
    [
        (1.00005, 1, True),
        (1.0002, 1, False),
        (1e9 + 0.5, 1e9, True),  # the relative tolerance of 1e-9 is wider there
        ([1], 1, False),
        ("1", 1, False),
        (True, 1, False),
        (float("nan"), 1, False),
        (10**400, 1, False),
        (-0.0, 0, True),
    ],
)
def test_answers_are_compared_as_numbers(value, gold, same):
    assert same_answer(value, gold) is same


@pytest.mark.parametrize(
    ("code", "statements"),
    [
        ("a = 1; b = (a +\n  2)\n\n# a comment\nanswer=b # c", ["a = 1", "b = (a +\n  2)", "answer=b"]),
        ("'''What it does.'''\nfor i in range(2):\n    a = i", ["for i in range(2):\n    a = i"]),
        ("ü = 'ä'; answer = 1", ["ü = 'ä'", "answer = 1"]),
        ("@staticmethod\ndef f(): pass", ["@staticmethod\ndef f():\n    pass"]),
        ("# nothing", None),
        ("", None),
        ("It was 36.", None),
        ("a = '\0'", None),
        ("x = " + "(" * 5000, None),
    ],
)
def test_a_program_is_its_top_level_statements(code, statements):
    assert statements_of(code) == statements


def test_the_program_is_the_first_block_or_the_whole_answer():
    assert code_in("So:\n```python\na = 1\nanswer = a\n```\nor\n```\nb\n```") == "a = 1\nanswer = a"
    assert code_in("\na = 1\nanswer = a\n\n") == "a = 1\nanswer = a"


def test_a_trace_has_the_variables_after_every_statement(verifiers):
    code = "import math\nn0 = 12; t0 = n0 / 2\nanswer = [t0, {1}]"
    found = asyncio.run(trace(code, verifiers.sandbox.execute, LIMITS))
    assert found == [
        Unit("import math", {"math": "math"}),  # a module is told by its name
        Unit("n0 = 12", {"math": "math", "n0": 12}),
        Unit("t0 = n0 / 2", {"math": "math", "n0": 12, "t0": 6.0}),
        Unit("answer = [t0, {1}]", {"math": "math", "n0": 12, "t0": 6.0, "answer": [6.0, {1}]}),
    ]


@pytest.mark.parametrize("code", ["a = 1\nb = a / 0", "a = 1\nraise SystemExit", "while True: pass", "not Python"])
def test_what_does_not_run_to_its_end_has_no_trace(verifiers, code):
    limits = replace(LIMITS, seconds=0.3) if code.startswith("while") else LIMITS
    assert asyncio.run(trace(code, verifiers.sandbox.execute, limits)) is None


def test_a_trace_of_other_length_is_none():
    assert units(["a = 1", "b = 2"], Outcome("passed", trace=({"a": 1},))) is None
    assert units(["a = 1"], Outcome("failed", trace=({"a": 1},))) is None
    assert units(["a = 1"], Outcome("passed", trace=({"a": 1},))) == [Unit("a = 1", {"a": 1})]


@pytest.mark.parametrize(
    ("text", "gold", "score", "reason"),
    [
        ("t0 = 12 / 2\nanswer = (t0 + 3) * 4", "36", 1.0, ""),
        ("```python\nanswer = 1000.00001\n```", "1,000", 1.0, ""),
        ("answer = 35", "36", 0.0, ""),
        ("answer = 36\nanswer = 35", "36", 0.0, ""),  # the last value counts
        ("answer = '36'", "36", 0.0, ""),
        ("x = 36", "36", 0.0, "no_answer"),
        ("The answer is 36.", "36", 0.0, "no_program"),
        ("answer = 36\n1 / 0", "36", 0.0, "ZeroDivisionError: division by zero (line 2)"),
        ("answer = 36\nraise SystemExit", "36", 0.0, "left_early"),
        ("answer = 36", "many", None, "gold_is_no_number"),
        ("answer = 36", None, None, "no_gold"),
    ],
)
def test_verdicts(verifiers, text, gold, score, reason):
    asked = prompt(gold)
    verdict = asyncio.run(verifiers.of(asked).grade(asked, text))
    assert (verdict.score, verdict.reason) == (score, reason)


def test_programs_are_voted_on_in_one_layout(verifiers):
    grader = verifiers.of(prompt())
    assert grader.extract("x = (1+2)") == grader.extract("x=1+2 # c") == "x = 1 + 2"
    assert grader.extract("It was 3.") is None and grader.extract("") is None


def test_gold_programs_are_run_and_gold_numbers_alone_are_read():
    prompts = [
        prompt(solution="answer = 6 * 6"),
        prompt(solution="answer = 6 * 5"),
        prompt(gold="36 apples"),
        prompt(gold="x + 1"),
        prompt(gold=None),
    ]
    failed = asyncio.run(validate_gold(prompts, OPTIONS))
    assert [(each.gold, verdict.score) for each, verdict in failed] == [("36", 0.0), ("x + 1", None), (None, None)]


@pytest.mark.parametrize("value", ["10**5000", "'\\ud800'", "[" * 90 + "]" * 90])
def test_an_answer_that_is_hard_to_write_down_is_wrong_and_nothing_more(verifiers, value):
    verdict = asyncio.run(verifiers.of(prompt()).grade(prompt(), f"answer = {value}"))
    assert verdict.score == 0.0 and verdict.source == "program/rlimits"
    verdict.label.encode()


def test_an_endless_answer_is_not_read(verifiers):
    verdict = asyncio.run(verifiers.of(prompt()).grade(prompt(), "a = 1\n" * 100_000 + "answer = 36"))
    assert (verdict.score, verdict.reason) == (0.0, "no_program")
