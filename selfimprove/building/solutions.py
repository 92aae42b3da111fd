"""The right and partly right programs known for one task: what is new enough to keep, to go on from and to learn.

Source: "Learning Math Reasoning from Self-Sampled Correct and Partially-Correct Solutions", arXiv 2205.14318, and its
code, microsoft/TraceCodegen; the statuses carry that code's names.
"""

import ast
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from selfimprove.verify.code import canonical, parse
from selfimprove.verify.sandbox.harness import encode
from selfimprove.verify.straight_line import ANSWER, Unit, same_answer

STATUSES = {
    "S0": "does not run",
    "S1": "right, but longer than the shortest right program by more than the tolerance",
    "S2": "reaches no known state, or only in too many statements",
    "S4": "right, and known",
    "S5": "partly right, and the beginning of a known program",
    "S6": "saved",
    "constant": "right, but its answer is not computed",
}
"""What can become of an offered program (the original code has an S3 that is never reached)."""

NULL: tuple[str, ...] = ()
"""The state before the first statement."""


@dataclass(frozen=True)
class Solution:
    """A program, statement by statement; two are the same where layout, brackets and comments aside they are.

    `found` is the round that found it, 0 for one that was given.
    """

    units: tuple[Unit, ...] = ()
    found: int = 0

    @property
    def code(self) -> str:
        """The text to learn and to go on from."""
        return "\n".join(unit.code for unit in self.units)

    @cached_property
    def statements(self) -> tuple[str, ...]:
        """The statements without comments and in one layout."""
        return tuple(canonical(unit.code) for unit in self.units)

    @property
    def canonical(self) -> str:
        """The statements as one text."""
        return "\n".join(self.statements)

    def begins(self, other: "Solution", by: str) -> bool:
        """Return whether another program begins with this one, by `statements` or (the original code) `strings`."""
        if by == "strings":
            return other.canonical.startswith(self.canonical)
        return other.statements[: len(self.statements)] == self.statements


EMPTY = Solution()


def state_key(state: Mapping[str, Any], names: bool = False, merge_numbers: bool = False) -> tuple[str, ...]:
    """Return what two equal states share: their values as text, sorted.

    As in the original code the names are dropped, and 12 is another value than 12.0; `names` keeps the names,
    `merge_numbers` writes whole floats as integers.
    """
    spelled = ((f"{name} = " if names else "") + _spelled(value, merge_numbers) for name, value in state.items())
    return tuple(sorted(spelled))


def _spelled(value: Any, merge_numbers: bool) -> str:
    if merge_numbers and isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, set | frozenset | dict):  # their own spelling depends on the order of their hashes
        return repr(encode(value))
    return str(value)


def is_constant(statements: Sequence[str]) -> bool:
    """Return whether `answer` is not computed: no operation and no call stands in what it is made of."""
    values: dict[str, ast.expr] = {}
    for statement in (node for text in statements for node in parse(text).body):
        if not isinstance(statement, ast.Assign):
            return False  # a loop, a function, +=: it computes
        for target in statement.targets:
            if not isinstance(target, ast.Name):
                return False
            values[target.id] = _resolved(statement.value, values)
    return _is_plain(values.get(ANSWER))


def _resolved(value: ast.expr, values: Mapping[str, ast.expr]) -> ast.expr:
    return values.get(value.id, value) if isinstance(value, ast.Name) else value


def _is_plain(value: ast.expr | None) -> bool:
    """Return whether a value is a number as written, with or without a sign."""
    if isinstance(value, ast.UnaryOp):
        return _is_plain(value.operand)
    return isinstance(value, ast.Constant)


@dataclass
class Buffer:
    """What is known of one task; `right` begins with the given program where there is one, `partly` with nothing.

    `tolerance` is by how many statements a new program may be longer than the shortest known one to the same state.
    `states` finds the shortest programs: state key -> the different programs that lead there.
    """

    gold: float
    tolerance: int = 0
    partial: bool = True
    prefix_test: str = "statements"
    names: bool = False
    merge_numbers: bool = False
    refuse_constants: bool = True
    right: list[Solution] = field(default_factory=list)
    partly: list[Solution] = field(default_factory=lambda: [EMPTY])
    states: dict[tuple[str, ...], list[Solution]] = field(default_factory=lambda: {NULL: [EMPTY]})

    def offer(self, trace: Sequence[Unit] | None, found: int = 0) -> str:
        """Save the longest right or partly right beginning of a program, and return its status.

        None stands for a program that does not run: not even its beginning is saved.
        """
        if trace is None:
            return "S0"
        best = -1
        for index, unit in enumerate(trace):
            count = index + 1
            if ANSWER in unit.state:
                if not same_answer(unit.state[ANSWER], self.gold):
                    break  # a beginning found before survives
                if self.right and count - min(len(known.units) for known in self.right) > self.tolerance:
                    return "S1"
                solution = Solution(tuple(trace[:count]), found)
                if self.refuse_constants and is_constant(solution.statements):
                    return "constant"
                return self.save(solution, right=True)
            known = self.states.get(self._key(unit)) if self.partial and unit.state else None
            if known and count - min(len(program.units) for program in known) <= self.tolerance:
                best = index
        return self.save(Solution(tuple(trace[: best + 1]), found), right=False) if best >= 0 else "S2"

    def save(self, solution: Solution, right: bool) -> str:
        """Put in a program that is right or partly right, and index the states that it goes through."""
        if right:
            if any(solution.statements == known.statements for known in self.right):
                return "S4"
        elif any(solution.begins(known, self.prefix_test) for known in (*self.partly, *self.right)):
            return "S5"
        self.partly = [each for each in self.partly if not each.units or not each.begins(solution, self.prefix_test)]
        (self.right if right else self.partly).append(solution)
        for key, beginning in self._beginnings(solution, right):
            known = self.states.setdefault(key, [])
            if all(beginning.statements != program.statements for program in known):
                known.append(beginning)
        return "S6"

    def choose_prefix(self, how: str, rng: random.Random) -> Solution:
        """Return the program to go on from: one of the partly right `programs`, one by `states`, or always `empty`."""
        if how == "empty":
            return EMPTY
        return rng.choice(self.partly if how == "programs" else self.states[rng.choice(list(self.states))])

    def training_set(self, limit: int, prioritize_right: bool, rng: random.Random) -> list[Solution]:
        """Return at most `limit` programs to learn: the right ones first, then the partly right, or drawn evenly."""
        programs = [*self.right, *(each for each in self.partly if each.units)]
        if len(programs) <= limit:
            return programs
        if self.partial and prioritize_right:
            return programs[:limit]
        return [programs[index] for index in sorted(rng.sample(range(len(programs)), limit))]

    def _beginnings(self, solution: Solution, right: bool) -> Iterator[tuple[tuple[str, ...], Solution]]:
        """Yield the state after every statement with the program so far; a right program's last state is left out."""
        for count in range(1, len(solution.units) + (not right)) if self.partial else ():
            unit = solution.units[count - 1]
            if unit.state:
                yield self._key(unit), Solution(solution.units[:count], solution.found)

    def _key(self, unit: Unit) -> tuple[str, ...]:
        return state_key(unit.state, self.names, self.merge_numbers)
