"""Straight-line programs as answers: the program is run in the sandbox, and its variable `answer` compared with gold.

The program is the answer's first fenced block, or the whole answer where it has none. `trace` runs it statement by
statement and tells the variables after each, which is also what finds partly right programs.
"""

import ast
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from selfimprove.config import Sandbox as Options
from selfimprove.records import Prompt, Verdict
from selfimprove.verify.code import LONGEST, canonical, first_block, parse
from selfimprove.verify.extraction import read_number
from selfimprove.verify.sandbox import Limits, Outcome, Program, Sandbox, limits_of
from selfimprove.verify.sandbox.harness import decode

ANSWER = "answer"
"""The variable that a program leaves its result in."""

TOLERANCE = 1e-4
"""Absolute difference up to which two answers are the same; above 100,000 the relative one of 1e-9 is wider."""

Execute = Callable[[Program], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Unit:
    """One top-level statement of a program that ran: its text, and the variables after it by name."""

    code: str
    state: Mapping[str, Any]


def code_in(text: str) -> str:
    """Return the program in an answer: its first fenced block, or the whole text."""
    block = first_block(text)
    return (text if block is None else block).strip("\r\n").rstrip()


def statements_of(code: str) -> list[str] | None:
    """Return the texts of a program's top-level statements, None where it is no Python or says nothing.

    Comments between statements, and texts that stand alone, are no statements.
    """
    try:
        tree = parse(code)
        found = [statement for statement in tree.body if not _is_text(statement)]
        return [_source(code, statement) for statement in found] or None
    except (SyntaxError, ValueError, RecursionError):
        return None


async def trace(code: str, execute: Execute, limits: Limits) -> list[Unit] | None:
    """Return a program statement by statement, None where it cannot be read, raises, or runs out of a limit.

    `execute` runs it: a sandbox's `execute`, or one that keeps outcomes in a ledger.
    """
    statements = statements_of(code)
    if statements is None:
        return None
    return units(statements, await execute(Program("\n".join(statements), trace=True, limits=limits)))


def units(statements: list[str], outcome: Outcome) -> list[Unit] | None:
    """Return the statements with their states; None where the program did not run to its end, or left early."""
    if not outcome.passed or len(outcome.trace) != len(statements):
        return None
    states = ({name: decode(value) for name, value in state.items()} for state in outcome.trace)
    return [Unit(code, state) for code, state in zip(statements, states, strict=True)]


def gold_number(prompt: Prompt) -> float | None:
    """Return the prompt's gold answer as a number, None where it is none."""
    number = None if prompt.gold is None else read_number(prompt.gold)
    return None if number is None else float(number.value)


def same_answer(value: Any, gold: float) -> bool:
    """Return whether a program's answer is the gold number: a number (no bool, no list) within TOLERANCE of it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isclose(value, gold, abs_tol=TOLERANCE)
    except OverflowError:  # an int beyond every float
        return False


class StraightLine:
    """Right where the program runs to its end and its `answer` is the gold number."""

    name = "program"

    def __init__(self, sandbox: Sandbox, limits: Limits) -> None:
        """Take where programs run, and what they may use."""
        self._sandbox, self._limits = sandbox, limits
        self.settings: Mapping[str, Any] = {"limits": limits.to_row()}

    def extract(self, text: str) -> str | None:
        """Return the program without comments, in one layout; None where there is no Python."""
        try:
            return canonical(code_in(text)) or None
        except SyntaxError:
            return None

    async def grade(self, prompt: Prompt, text: str) -> Verdict:
        """Return 1.0 where the answer is right, 0.0 for any other program; None without a gold number."""
        gold = gold_number(prompt)
        if gold is None:
            reason = "no_gold" if prompt.gold is None else "gold_is_no_number"
            return Verdict(None, reason=reason, source=self.name)
        statements = statements_of(code_in(text)) if len(text) <= LONGEST else None
        if statements is None:
            return Verdict(0.0, reason="no_program", source=self.name)
        outcome = await self._sandbox.execute(Program("\n".join(statements), trace=True, limits=self._limits))
        if outcome.status == "refused":
            return Verdict(None, reason=f"refused: {outcome.error}", source=self.name)
        source, ran = f"{self.name}/{outcome.sandbox}", units(statements, outcome)
        if ran is None:
            return Verdict(0.0, reason=outcome.error or "left_early", source=source)
        if ANSWER not in ran[-1].state:
            return Verdict(0.0, reason="no_answer", source=source)
        value = ran[-1].state[ANSWER]
        return Verdict(float(same_answer(value, gold)), label=_label(value), source=source)

    async def grade_gold(self, prompt: Prompt) -> Verdict:
        """Return the verdict on the gold program; where there is none, on a program that states the gold answer."""
        return await self.grade(prompt, prompt.solution or f"{ANSWER} = {gold_number(prompt)!r}")

    def close(self) -> None:
        """Do nothing: the sandbox belongs to the run."""


def _label(value: Any) -> str:
    """Return a value in at most 80 characters that can be written down, whatever a program has made of it."""
    try:
        return f"{value!s:.80}".encode("utf-8", "replace").decode()
    except (ValueError, RecursionError):  # an integer too long to be spelled, lists too deep
        return f"a very large {type(value).__name__}"


def _is_text(statement: ast.stmt) -> bool:
    """Return whether a statement is a text that stands alone, as comments and docstrings do."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _source(code: str, statement: ast.stmt) -> str:
    """Return a statement as it was written; with decorators, which its own lines do not hold, written anew."""
    written = None if getattr(statement, "decorator_list", None) else ast.get_source_segment(code, statement)
    return written or ast.unparse(statement)


def make(sandbox: Sandbox, options: Options) -> StraightLine:
    """Return the verifier."""
    return StraightLine(sandbox, limits_of(options))
