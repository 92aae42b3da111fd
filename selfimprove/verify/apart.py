"""Tests that are Python code, run in the sandbox: apart from the program, or together with it.

Apart: the tests run in one process and the program in another. The program's functions are stubs to the tests; the
calls they could not answer are made in the program's process, and the tests run again with the answers, until a run
has made exactly the calls that were asked, in their order. What the program returns arrives as plain values, so no
object of its own ever meets an assertion.

Together: program and tests share a process. A program counts as right only where a function of a random name, called
after the tests, tells the result of every assertion; a program written to cheat can find that function and forge it,
or return objects that equal everything.
"""

import inspect
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfimprove.verify import replay
from selfimprove.verify.asserts import APART, TOGETHER, shown
from selfimprove.verify.sandbox import Call, Outcome

ROUNDS = 20
"""Runs of the tests after which a program is given up whose tests still ask for other calls."""

ASK = "_ask_the_program"
"""What `replay.ask` is called beside the program, whose own names it must not take."""

TOOLS = Path(replay.__file__).read_text(encoding="utf-8")

Execute = Callable[[str, tuple[Call, ...]], Awaitable[Outcome]]
"""Runs a source with calls in the sandbox, under the recipe's limits."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of the tests of one form passed.

    `failure` says how the first other one failed; `fault` how the program ended before they could be counted, and
    `unclear` why nothing can be said of it.
    """

    form: str
    passed: int = 0
    total: int = 0
    failure: str = ""
    fault: str = ""
    unclear: str = ""
    sandbox: str = ""

    @classmethod
    def ended(cls, form: str, outcome: Outcome, total: int = 1) -> "Tally":
        """Return the tally of a program that did not run to its end; one that was not run tells nothing."""
        why = fault(outcome)
        refused = outcome.status == "refused"
        return cls(form, 0, total, "", "" if refused else why, why if refused else "", outcome.sandbox)

    @property
    def right(self) -> bool:
        """Whether there were tests and all passed."""
        return not (self.failure or self.fault or self.unclear)


@dataclass(frozen=True, slots=True)
class Report:
    """What one run of the tests told; `broken` says why it told nothing."""

    results: tuple[tuple[str, bool, str], ...] = ()
    error: str = ""
    calls: tuple[tuple[str, tuple[Any, ...], dict[str, Any]], ...] = ()
    lost: bool = False
    untold: str = ""
    broken: str = ""
    sandbox: str = ""

    def tally(self, form: str) -> Tally:
        """Return the count of the assertions; an error that ended the tests is one more that failed."""
        results = [*self.results, *([("the tests", False, f"raised {self.error}")] if self.error else [])]
        failed = [f"{source} {detail}".rstrip() for source, right, detail in results if not right]
        failure = failed[0] if failed else "" if results else "no assertion ran; tests in functions must be called"
        return Tally(form, len(results) - len(failed), len(results) or 1, failure, sandbox=self.sandbox)


def fault(outcome: Outcome) -> str:
    """Return how a program ended that did not run to its end, its status first."""
    return f"{outcome.status}: {outcome.error}" if outcome.error else outcome.status


async def first_run(execute: Execute, tests: str, functions: tuple[str, ...]) -> Report:
    """Return the report of tests that know no answer yet: the calls with which every program is asked first."""
    return await _run_tests(execute, tests, functions, [])


async def run_apart(execute: Execute, tests: str, functions: tuple[str, ...], program: str, first: Report) -> Tally:
    """Return the tally of tests that only see what the program's functions return."""
    if first.untold:  # the tests call it with a function, a class, ...: nothing that a stub could pass on
        return await run_together(execute, tests, program)
    if first.broken or not first.lost:
        why = first.broken or first.error or "they never call the program"
        return Tally(APART, unclear=f"tests cannot be run: {why}", sandbox=first.sandbox)
    source = f"{program}\n\n{inspect.getsource(replay.ask).replace('def ask(', f'def {ASK}(', 1)}"
    report = first
    for _ in range(ROUNDS):
        outcome = await execute(source, tuple(Call.of(ASK, *call) for call in report.calls))
        if not outcome.passed:
            return Tally.ended(APART, outcome)
        answers = [(call, _answer(outcome, place)) for place, call in enumerate(report.calls)]
        report = await _run_tests(execute, tests, functions, answers)
        if report.broken or report.untold:
            why = f"with the program's values the tests failed: {report.broken or report.untold}"
            return Tally(APART, total=1, failure=why, sandbox=report.sandbox)
        if not report.lost:
            return report.tally(APART)
    return Tally(
        APART, total=1, failure=f"the tests still asked for calls after {ROUNDS} rounds", sandbox=report.sandbox
    )


async def run_together(execute: Execute, tests: str, program: str) -> Tally:
    """Return the tally of tests that run in the program's own process, on its own names."""
    name = f"_{secrets.token_hex(8)}"
    source = (
        f"{program}\n\n{name}_tools = {{'__name__': {name!r}}}\nexec({TOOLS!r}, {name}_tools)\n"
        f"def {name}(code, notes): return {name}_tools['run_tests'](code, notes, names=globals())\n"
    )
    outcome = await execute(source, (Call.of(name, tests, f"{name}_notes"),))
    if not outcome.passed:
        return Tally.ended(TOGETHER, outcome)
    report = _read(outcome)
    if report.broken:
        failure = report.broken.replace(name, "of the tests")  # a reason is the same each time
        return Tally(TOGETHER, total=1, failure=failure, sandbox=report.sandbox)
    return report.tally(TOGETHER)


async def _run_tests(execute: Execute, tests: str, functions: tuple[str, ...], answers: list[Any]) -> Report:
    outcome = await execute(TOOLS, (Call.of("run_tests", tests, "_notes", functions, answers),))
    return _read(outcome)


def _read(outcome: Outcome) -> Report:
    """Return the report of a run; `broken` where it gave none, or something else."""
    if not outcome.passed:
        return Report(broken=fault(outcome), sandbox=outcome.sandbox)
    try:
        results, error, calls, lost, untold = outcome.value(0)
        told = tuple((str(source), right is True, str(detail)) for source, right, detail in results)
        asked = tuple((str(function), tuple(arguments), dict(named)) for function, arguments, named in calls)
        return Report(told, str(error), asked, bool(lost), str(untold), "", outcome.sandbox)
    except LookupError:
        return Report(broken=f"the tests did not run: {outcome.results[0].get('error', '')}", sandbox=outcome.sandbox)
    except (TypeError, ValueError):
        return Report(broken="the tests gave no report", sandbox=outcome.sandbox)


def _answer(outcome: Outcome, place: int) -> tuple[str, Any, tuple[Any, ...], dict[str, Any]]:
    """Return what a call gave in the form that stubs take; what is none of it becomes an error."""
    try:
        answer = outcome.value(place)
        kind, value, after, named = answer
        well_formed = isinstance(answer, tuple) and isinstance(after, tuple) and isinstance(named, dict)
        if well_formed and (kind == "value" or (kind == "iterator" and isinstance(value, list))):
            return kind, value, after, named
        if well_formed and kind == "raised" and isinstance(value, tuple) and isinstance(value[1], tuple):
            return kind, (str(value[0]), value[1]), after, named
        problem = f"not what a call gives: {shown(answer)}"
    except (LookupError, TypeError, ValueError):
        problem = str(outcome.results[place].get("error", "not what a call gives"))
        problem = "the program ended before it could be called" if ASK in problem else problem
    return "raised", ("RuntimeError", (problem,)), (), {}
