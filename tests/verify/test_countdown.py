"""Countdown puzzles: what counts as an answer, what is refused, which steps hold, and what can still be reached."""

import asyncio
from fractions import Fraction
from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.errors import DataError
from selfimprove.records import Prompt
from selfimprove.verify import Verifiers, validate_gold
from selfimprove.verify.countdown import (
    LONGEST,
    MOST,
    Countdown,
    can_reach,
    evaluate,
    is_valid_step,
    next_left,
    puzzle_of,
)


def task(numbers, target, gold=None) -> Prompt:
    meta = {"numbers": numbers, "target": target}
    return Prompt("p", ({"role": "user", "content": "?"},), gold=gold, verifier="countdown", meta=meta)


def grade(text: str, numbers=(3, 7, 4), target=25):
    return asyncio.run(Countdown().grade(task(list(numbers), target), text))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("3 * 7 = 21 (left: 4 21)\n21 + 4 = 25 (left: 25)\nAnswer: (3 * 7) + 4", "(3*7)+4"),
        ("Answer: 3*7+4", "3*7+4"),
        ("Answer: 4 + 7 * 3\n", "4+7*3"),
        ("Answer: ((3)*(7)) + 4\nthat was easy", "((3)*(7))+4"),
        ("Answer: 1 + 1\nNo.\nAnswer: 3 * 7 + 4", "3*7+4"),
        ("3 * 7 = 22 (left: 9)\nAnswer: 3 * 7 + 4", "3*7+4"),  # the lines before do not count
    ],
)
def test_right_answers(text, label):
    verdict = grade(text)
    assert (verdict.score, verdict.label, verdict.reason, verdict.source) == (1.0, label, "", "countdown")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no_answer"),
        ("25", "no_answer"),
        ("3 * 7 + 4", "no_answer"),
        ("Answer:", "no_answer"),
        ("Answer: 3 * 7 + 4\nAnswer:   \n", "no_answer"),
        ("Answer:\n3 * 7 + 4", "no_answer"),
        ("Answer: 25", "other_numbers"),
        ("Answer: 7 * 4 - 3 * 1", "other_numbers"),
        ("Answer: 3 + 7 + 7 + 4 + 4", "other_numbers"),
        ("Answer: 21 + 4", "other_numbers"),
        ("Answer: 7 * 3", "other_numbers"),
        ("Answer: 37 - 12", "other_numbers"),
        ("Answer: 3 * (7 + 4)", "other_value"),
        ("Answer: 7 / (3 - 4)", "other_value"),
        ("Answer: 3 * 7 + 4 = 25", "no_expression"),
        ("Answer: 3 * 7 + 4.", "no_expression"),
        ("Answer: 3 x 7 + 4", "no_expression"),
        ("Answer: 3 ** 7 + 4", "no_expression"),
        ("Answer: 7 // 3 + 4", "no_expression"),
        ("Answer: -3 + 7 * 4", "no_expression"),
        ("Answer: 3 * 7 + 4)", "no_expression"),
        ("Answer: (3, 7, 4)", "no_expression"),
        ("Answer: 7 / (3 + 4 - 7)", "no_expression"),
        ("Answer: __import__('os').getpid()", "no_expression"),
        ("Answer: 3(7) + 4", "no_expression"),
        ("Answer: 3 7 + 4", "no_expression"),
    ],
)
def test_wrong_answers(text, reason):
    verdict = grade(text)
    assert (verdict.score, verdict.reason) == (0.0, reason)


def test_fractions_on_the_way_are_exact():
    assert grade("Answer: 8 / (3 - (8 / 3))", (3, 3, 8, 8), 24).score == 1.0
    assert grade("Answer: (1 / 3) * 3", (1, 3, 3), 1).score == 1.0


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 5000 + "1" + ")" * 5000,
        "(" * 95 + "1" + ")" * 95 + "+" * 8,
        "9" * 5000,
        "+".join("1" * (MOST + 1)),
        "1" * LONGEST + "*1",
    ],
)
def test_long_and_deep_texts_are_refused(expression):
    assert evaluate(expression) is None


def test_expressions_with_and_without_values():
    assert evaluate("10 - 4 - 3") == (Fraction(3), [10, 4, 3])
    assert evaluate(" 2 / 4 ") == (Fraction(1, 2), [2, 4])
    assert (
        evaluate("1 / 0") is None and evaluate("") is None and evaluate("   ") is None and evaluate("1\n+ 1") is None
    )
    assert evaluate("01 + 1") is None and evaluate("+1") is None and evaluate("1 +") is None


def join(parts):
    (one, x, used), sign, (other, y, more) = parts
    value = None
    if x is not None and y is not None and not (sign == "/" and y == 0):
        value = {"+": x + y, "-": x - y, "*": x * y, "/": x / (y or 1)}[sign]
    return f"({one} {sign} {other})", value, used + more


trees = st.recursive(
    st.integers(0, 20).map(lambda number: (str(number), Fraction(number), [number])),
    lambda part: st.tuples(part, st.sampled_from("+-*/"), part).map(join),
    max_leaves=MOST,
)


@given(trees)
def test_every_tree_has_its_value_and_its_numbers(tree):
    text, value, numbers = tree
    if len(text) <= LONGEST:
        assert evaluate(text) == (None if value is None else (value, numbers))


@given(st.text(alphabet="0123456789+-*/() \n.e_xj,'", max_size=40))
def test_no_text_breaks_it(text):
    assert grade(f"Answer: {text}").score in (0.0, 1.0)


@pytest.mark.parametrize(
    ("line", "valid"),
    [
        ("3 * 7 = 21 (left: 4 21)", True),
        ("3*7=21", True),
        ("7 - 9 = -2 (left: -2)", True),
        ("-2 + 9 = 7", True),
        ("8 / 3 = 8/3 (left: 8/3 1)", True),
        ("  21 + 4 = 25 (left: 25)\n", True),
        ("3 * 7 = 22 (left: 4 22)", False),
        ("8 / 3 = 2 (left: 2)", False),
        ("8 / 0 = 0 (left: 0)", False),
        ("1/0 + 1 = 1", False),
        ("3 + 4 + 7 = 14", False),
        ("Answer: 3 * 7 + 4", False),
        ("3 * 7 = 21 (left: 4 21) yes", False),
        ("", False),
    ],
)
def test_a_step_is_one_right_calculation(line, valid):
    assert is_valid_step(line) is valid


def test_what_is_left_after_a_step():
    assert next_left("3 * 7 = 21 (left: 4 21)", [3, 7, 4]) == [4, 21]
    assert next_left("7 * 3 = 21 (left: 21, 4)", [3, 7, 4]) == [4, 21]
    assert next_left("21 + 4 = 25 (left: 25)", [Fraction(4), Fraction(21)]) == [25]
    assert next_left("4 / 4 = 1 (left: 1)", [4, 4]) == [1]
    assert next_left("4 / 4 = 1 (left: 1)", [4, 1]) is None  # one 4 alone is there
    assert next_left("3 * 7 = 21 (left: 21)", [3, 7, 4]) is None
    assert next_left("3 * 7 = 21 (left: 4 7 21)", [3, 7, 4]) is None
    assert next_left("3 * 7 = 21", [3, 7, 4]) is None
    assert next_left("3 * 8 = 24 (left: 4 24)", [3, 7, 4]) is None
    assert next_left("3 * 7 = 22 (left: 4 22)", [3, 7, 4]) is None
    assert next_left("3 * 7 = 21 (left: 4 many)", [3, 7, 4]) is None
    assert next_left("3 * 7 = 21 (left: 4 1/0)", [3, 7, 4]) is None


def test_what_can_still_be_reached():
    assert can_reach([3, 7, 4], 25) and can_reach([4, 21], 25) and can_reach([25], 25)
    assert not can_reach([10, 4], 25) and not can_reach([24], 25) and not can_reach([1, 1, 1], 5)
    assert can_reach([3, 3, 8, 8], 24)


@given(st.lists(st.integers(1, 9), min_size=3, max_size=3), st.integers(1, 30))
def test_reaching_is_what_trying_all_expressions_finds(numbers, target):
    found = False
    for (a, b, c), p, q in product(permutations(numbers), "+-*/", "+-*/"):
        for expression in (f"({a} {p} {b}) {q} {c}", f"{a} {p} ({b} {q} {c})"):
            read = evaluate(expression)
            found |= read is not None and read[0] == target
    assert can_reach(numbers, target) is found


def test_gold_answers_are_validated():
    right, wrong = task([3, 7, 4], 25, "3 * 7 + 4"), task([3, 7, 4], 25, "3 * 7 - 4")
    none = task([3, 7, 4], 25)
    failed = asyncio.run(validate_gold([right, wrong, none]))
    assert [(prompt.gold, verdict.reason) for prompt, verdict in failed] == [
        ("3 * 7 - 4", "other_value"),
        (None, "no_gold"),
    ]


@pytest.mark.parametrize(
    "meta", [{}, {"numbers": [3, 7]}, {"numbers": "3 7", "target": 21}, {"numbers": [3, 7.5], "target": 21},
             {"numbers": [], "target": 21}, {"numbers": [3, True], "target": 4}, {"numbers": [3, 7], "target": "21"}]
)  # fmt: skip
def test_a_prompt_without_a_puzzle_is_named(meta):
    prompt = Prompt("p-7", (), verifier="countdown", meta=meta)
    with pytest.raises(DataError, match=r"prompt p-7: .*'numbers': whole numbers, 'target': a whole number"):
        puzzle_of(prompt)


def test_recipes_find_it_by_name():
    verifier = Verifiers().of(task([1, 2], 3))
    assert isinstance(verifier, Countdown) and verifier.extract("Answer: 1 + 2") == "1+2"
    verifier.close()
