"""Countdown puzzles: an expression that makes the target out of the given numbers, each of them used once.

A prompt carries its puzzle in `meta`: {"numbers": [3, 7, 4], "target": 25}. What is graded is the expression behind
the last 'Answer:' of a text, in exact fractions; the lines before it do not count. It is read as a syntax tree of
whole numbers, + - * / and parentheses, and nothing is ever run. `next_left` checks one line of the work,
`can_reach` tells whether what is left can still make the target.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache
from itertools import combinations
from typing import Any

from selfimprove.errors import DataError
from selfimprove.records import Prompt, Verdict

MARK = "Answer:"
"""What stands before the expression that is graded."""

LONGEST = 200
"""Longest expression that is read, in characters."""

MOST = 8
"""Most numbers of an expression; more is refused, so that values stay small."""

_SIGNS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_TOKENS = re.compile(r"[\d+\-*/() ]+")
_NUMBER = r"(-?\d+(?:/\d+)?)"
_STEP = re.compile(rf"{_NUMBER} ?([-+*/]) ?{_NUMBER} ?= ?{_NUMBER}(?: ?\(left: ([^()]*)\))?")


class Countdown:
    """Right where the expression uses every number of the puzzle exactly once and equals its target."""

    name = "countdown"
    settings: Mapping[str, Any] = {}

    def extract(self, text: str) -> str | None:
        """Return the expression behind the last 'Answer:' without spaces, None where there is none."""
        return answer_in(text).replace(" ", "")[:LONGEST] or None

    async def grade(self, prompt: Prompt, text: str) -> Verdict:
        """Return the verdict; reasons of a 0: no_answer, no_expression, other_numbers, other_value."""
        numbers, target = puzzle_of(prompt)
        answer = answer_in(text)
        if not answer:
            return Verdict(0.0, reason="no_answer", source=self.name)
        read = evaluate(answer)
        if read is None:
            reason = "no_expression"
        elif sorted(read[1]) != sorted(numbers):
            reason = "other_numbers"
        else:
            reason = "" if read[0] == target else "other_value"
        return Verdict(float(not reason), label=self.extract(text) or "", reason=reason, source=self.name)

    async def grade_gold(self, prompt: Prompt) -> Verdict:
        """Return the verdict on the gold answer, which is an expression."""
        if not (prompt.gold or "").strip():
            return Verdict(None, reason="no_gold", source=self.name)
        return await self.grade(prompt, f"{MARK} {prompt.gold}")

    def close(self) -> None:
        """Do nothing: there is nothing to stop."""


def answer_in(text: str) -> str:
    """Return what stands behind the last 'Answer:' on its line, "" where nothing does."""
    _, mark, rest = text.rpartition(MARK)
    return rest.partition("\n")[0].strip() if mark else ""


def puzzle_of(prompt: Prompt) -> tuple[list[int], int]:
    """Return the numbers and the target of a prompt; raises DataError where its meta does not hold them."""
    numbers, target = prompt.meta.get("numbers"), prompt.meta.get("target")
    whole = isinstance(numbers, list) and numbers and all(type(number) is int for number in numbers)
    if not whole or type(target) is not int:
        raise DataError(
            f"prompt {prompt.id}: the verifier 'countdown' needs meta {{'numbers': whole numbers, 'target': a whole "
            "number}; the rows of data/countdown have it"
        )
    return numbers, target


def evaluate(expression: str) -> tuple[Fraction, list[int]] | None:
    """Return the exact value of an expression and its numbers from the left; None where it is none or divides by 0."""
    text = expression.strip()
    if len(text) > LONGEST or not _TOKENS.fullmatch(text):  # keeps out whatever else Python can read, ** aside
        return None
    numbers: list[int] = []
    try:
        return _value(ast.parse(text, mode="eval").body, numbers), numbers
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError):
        return None


def _value(node: ast.expr, numbers: list[int]) -> Fraction:
    if isinstance(node, ast.Constant) and type(node.value) is int and len(numbers) < MOST:
        numbers.append(node.value)
        return Fraction(node.value)
    if not isinstance(node, ast.BinOp):
        raise ValueError("no number and no operation")
    left, right = _value(node.left, numbers), _value(node.right, numbers)
    sign = _SIGNS.get(type(node.op))
    if sign is None:
        raise ValueError("an operation other than + - * /")
    return calculate(left, sign, right)


def calculate(left: Fraction, operator: str, right: Fraction) -> Fraction:
    """Return the exact result of one operation (+ - * /); raises ZeroDivisionError."""
    if operator == "/":
        return left / right
    return {"+": left + right, "-": left - right, "*": left * right}[operator]


def is_valid_step(line: str) -> bool:
    """Return whether a line is one calculation that is right, whatever it says is left: '3 * 7 = 21 (left: 4 21)'."""
    match = _STEP.fullmatch(line.strip())
    return match is not None and _holds(match)


def next_left(line: str, left: Sequence[Fraction | int]) -> list[Fraction] | None:
    """Return what is left after a step, in order; None where it is wrong or uses or names what is not there.

    The two numbers that it uses must be left, and what it says is left must be what is, in any order.
    """
    match = _STEP.fullmatch(line.strip())
    if match is None or not _holds(match):
        return None
    rest = [Fraction(number) for number in left]
    for used in (Fraction(match[1]), Fraction(match[3])):
        if used not in rest:
            return None
        rest.remove(used)
    rest.append(Fraction(match[4]))
    said = (match[5] or "").replace(",", " ").split()
    if not all(re.fullmatch(_NUMBER, number) for number in said) or any(_over_zero(number) for number in said):
        return None
    return rest if sorted(map(Fraction, said)) == sorted(rest) else None


def _holds(match: re.Match[str]) -> bool:
    if any(_over_zero(match[group]) for group in (1, 3, 4)):
        return False
    try:
        return calculate(Fraction(match[1]), match[2], Fraction(match[3])) == Fraction(match[4])
    except ZeroDivisionError:
        return False


def _over_zero(number: str) -> bool:
    return "/" in number and int(number.partition("/")[2]) == 0


def can_reach(left: Sequence[Fraction | int], target: int) -> bool:
    """Return whether the numbers, each used once, can still make the target: the value of a perfect player."""
    return _can_reach(tuple(sorted(map(Fraction, left))), Fraction(target))


@cache
def _can_reach(left: tuple[Fraction, ...], target: Fraction) -> bool:
    if len(left) < 2:
        return left == (target,)
    for first, second in combinations(range(len(left)), 2):
        rest = [number for place, number in enumerate(left) if place not in (first, second)]
        if any(_can_reach(tuple(sorted([*rest, made])), target) for made in results(left[first], left[second])):
            return True
    return False


def results(one: Fraction, other: Fraction) -> set[Fraction]:
    """Return all that one operation makes of two numbers, in either order."""
    made = {one + other, one - other, other - one, one * other}
    return made | {top / bottom for top, bottom in ((one, other), (other, one)) if bottom}


def make(*_: object) -> Countdown:
    """Return the verifier."""
    return Countdown()
