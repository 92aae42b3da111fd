"""Programs graded by tests: what they return, what they print, or assertions about them. All of it in the sandbox.

A prompt carries its tests in `meta["tests"]`: `{"call": "f", "arguments": [...], "named": {}, "expected": ...}`
(values as `sandbox.harness.encode` writes them, an optional "tolerance"), `{"stdin": ..., "stdout": ...}`, or Python
code with assertions. `meta["entry_point"]` names the function, `meta["prefix"]` is code that answers may go on from,
and a true `meta["together"]` makes test code share the program's process. Calls and outputs are compared here, so
that a program never meets what is expected of it. The reason of a verdict says how many tests passed, how they were
run (called, fed, apart, together), and how the first other one failed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from selfimprove.config import Sandbox as SandboxOptions
from selfimprove.errors import ConfigError
from selfimprove.records import Prompt, Verdict
from selfimprove.verify.apart import Report, Tally, fault, first_run, run_apart, run_together
from selfimprove.verify.asserts import CALLED, TOGETHER, Expectation, Form, Known, form_of, shown, told_call
from selfimprove.verify.code import LONGEST
from selfimprove.verify.programs import canonical_answer, program_of, whole_program, without_main
from selfimprove.verify.sandbox import Call, Outcome, Program, Sandbox, limits_of
from selfimprove.verify.sandbox.harness import decode

FED = "fed"
AGGREGATES = ("all", "fraction")
REMEMBERED = 4096
"""First runs of test code that are kept: they are the same for every program."""


@dataclass(frozen=True, slots=True)
class Suite:
    """The tests of a prompt by how they are run: calls, (stdin, stdout) pairs, and test code with its form."""

    expectations: tuple[Expectation, ...]
    inputs: tuple[tuple[str, str], ...]
    codes: tuple[tuple[str, Form], ...]


class Tests:
    """Right where every test passes, or (aggregate: fraction) as right as the share of the tests that do."""

    name = "tests"

    def __init__(self, sandbox: Sandbox, options: SandboxOptions) -> None:
        """Take where programs run; raises ConfigError for an aggregate or a number of runs that cannot be."""
        if options.aggregate not in AGGREGATES:
            raise ConfigError(f"sandbox.aggregate is {options.aggregate!r}; allowed: {', '.join(AGGREGATES)}")
        if options.runs < 1:
            raise ConfigError(f"sandbox.runs is {options.runs}; it must be at least 1")
        self.sandbox, self.options, self.limits = sandbox, options, limits_of(options)
        names = ("seconds", "memory_mb", "aggregate", "runs")
        self.settings: Mapping[str, Any] = {name: getattr(options, name) for name in names}
        self._first: dict[tuple[str, Form], Report] = {}

    def extract(self, text: str) -> str | None:
        """Return the program of a text in its one spelling (no comments, one layout), None without one."""
        return canonical_answer(text)

    async def grade(self, prompt: Prompt, text: str) -> Verdict:
        """Return the verdict on the program in a text; raises SandboxError where none can be run here.

        Its score is None for the reasons no_tests, unreadable tests, tests cannot be run, flaky and refused.
        """
        if len(text) > LONGEST:
            return Verdict(0.0, reason=f"too_long: {len(text)} characters, {LONGEST} are read", source=self.name)
        return await self._grade(prompt, program_of(text, _text(prompt, "entry_point"), _text(prompt, "prefix")))

    async def grade_gold(self, prompt: Prompt) -> Verdict:
        """Return the verdict on the reference program, which may go on from the prefix as answers may."""
        if prompt.gold is None:
            return Verdict(None, reason="no_gold", source=self.name)
        return await self._grade(
            prompt, whole_program(prompt.gold, _text(prompt, "entry_point"), _text(prompt, "prefix"))
        )

    def close(self) -> None:
        """Forget what was kept; whoever opened the sandbox closes it."""
        self._first.clear()

    async def _grade(self, prompt: Prompt, program: str | None) -> Verdict:
        if not prompt.meta.get("tests"):
            return Verdict(None, reason="no_tests", source=self.name)
        try:
            suite = read_suite(prompt)
        except (ValueError, SyntaxError) as error:
            return Verdict(None, reason=f"unreadable tests: {error}", source=self.name)
        if program is None:
            return Verdict(0.0, reason="no_code", source=self.name)
        verdict = await self._judge(suite, program)
        for run in range(2, self.options.runs + 1):
            if verdict.score != 1.0:
                break
            again = await self._judge(suite, program)
            if again.score != 1.0:
                reason = f"flaky: run {run} of a program that had passed gave: {again.reason}"
                return Verdict(None, reason=reason, source=again.source)
        return verdict

    async def _judge(self, suite: Suite, program: str) -> Verdict:
        """Return the verdict of one run; where all tests must pass, what comes behind a failure is left out."""
        quiet = without_main(program)
        parts = [self._call(suite.expectations, quiet)] if suite.expectations else []
        parts += [self._feed(suite.inputs, program)] if suite.inputs else []
        parts += [self._run(code, form, quiet) for code, form in suite.codes]
        tallies: list[Tally] = []
        for part in parts:
            if tallies and not tallies[-1].right and (self.options.aggregate == "all" or tallies[-1].unclear):
                part.close()
            else:
                tallies.append(await part)
        return self._verdict(tallies)

    def _verdict(self, tallies: Sequence[Tally]) -> Verdict:
        source = f"{self.name}/{tallies[-1].sandbox}"
        if tallies[-1].unclear:
            return Verdict(None, reason=tallies[-1].unclear, source=source)
        forms = ", ".join(dict.fromkeys(tally.form for tally in tallies))
        ended = next((tally.fault for tally in tallies if tally.fault), "")
        failure = next((f"; first failure: {tally.failure}" for tally in tallies if tally.failure), "")
        passed, total = sum(tally.passed for tally in tallies), sum(tally.total for tally in tallies)
        right = all(tally.right for tally in tallies)
        score = float(right) if self.options.aggregate == "all" else passed / total
        reason = f"{ended} ({forms})" if ended else f"{passed} of {total} tests passed ({forms}){failure}"
        return Verdict(score, reason=reason, source=source)

    async def _call(self, expectations: tuple[Expectation, ...], program: str) -> Tally:
        """Return the tally of calls, all made in one process and compared here."""
        outcome = await self._execute(program, tuple(each.call for each in expectations))
        if not outcome.passed:
            return Tally.ended(CALLED, outcome, len(expectations))
        failures = [_failure(each, outcome, place) for place, each in enumerate(expectations)]
        failed = [failure for failure in failures if failure]
        passed = len(failures) - len(failed)
        return Tally(CALLED, passed, len(failures), failed[0] if failed else "", sandbox=outcome.sandbox)

    async def _feed(self, inputs: tuple[tuple[str, str], ...], program: str) -> Tally:
        """Return the tally of what the program prints, one process a test; a limit that was hit ends it."""
        passed, failure, sandbox = 0, "", ""
        for number, (stdin, expected) in enumerate(inputs, 1):
            limits = replace(self.limits, output=max(self.limits.output, 2 * len(expected.encode())))
            outcome = await self.sandbox.execute(Program(program, stdin=stdin, limits=limits))
            sandbox = outcome.sandbox
            if outcome.status in ("timeout", "memory", "refused"):
                return Tally.ended(FED, outcome, len(inputs))
            if outcome.passed and _lines(outcome.stdout) == _lines(expected):
                passed += 1
                continue
            said = f"it printed {shown(outcome.stdout)}" if outcome.passed else fault(outcome)
            failure = failure or f"on {shown(stdin)} {said}, expected {shown(expected)}"
            if self.options.aggregate == "all":
                why = f"test {number} of {len(inputs)} failed: {failure}"
                return Tally(FED, passed, len(inputs), fault=why, sandbox=sandbox)
        return Tally(FED, passed, len(inputs), failure, sandbox=sandbox)

    async def _run(self, code: str, form: Form, program: str) -> Tally:
        """Return the tally of test code, apart from the program or together with it."""
        if form.name == TOGETHER:
            return await run_together(self._execute, code, program)
        first = self._first.get((code, form))
        if first is None:
            first = await first_run(self._execute, code, form.functions)
            if not first.broken and len(self._first) < REMEMBERED:
                self._first[code, form] = first
        return await run_apart(self._execute, code, form.functions, program, first)

    async def _execute(self, source: str, calls: tuple[Call, ...] = ()) -> Outcome:
        return await self.sandbox.execute(Program(source, calls, limits=self.limits))


def read_suite(prompt: Prompt) -> Suite:
    """Return the tests of a prompt; raises ValueError or SyntaxError where one is none, with its number."""
    known = Known.of(_text(prompt, "entry_point"), _text(prompt, "prefix"), prompt.gold or "")
    expectations: list[Expectation] = []
    inputs: list[tuple[str, str]] = []
    codes: list[tuple[str, Form]] = []
    for number, test in enumerate(prompt.meta["tests"], 1):
        try:
            if isinstance(test, str):
                form = Form(TOGETHER) if prompt.meta.get("together") else form_of(test, known)
                if form.expectations:
                    expectations += form.expectations
                else:
                    codes.append((test, form))
            elif "stdout" in test:
                inputs.append(_input(**test))
            else:
                expectations.append(_expectation(**test))
        except (TypeError, ValueError, SyntaxError) as error:
            raise ValueError(
                f"test {number}: {str(error).replace('_expectation()', 'it').replace('_input()', 'it')}"
            ) from None
    return Suite(tuple(expectations), tuple(inputs), tuple(codes))


def _expectation(
    call: str,
    expected: Any,
    arguments: Sequence[Any] = (),
    named: Mapping[str, Any] | None = None,
    tolerance: float | None = None,
) -> Expectation:
    asked = Call(call, tuple(arguments), dict(named or {}))
    told_call(asked)  # raises ValueError where an argument is no encoded value
    return Expectation(asked, "equal", decode(expected), tolerance)


def _input(stdout: str, stdin: str = "") -> tuple[str, str]:
    if not isinstance(stdout, str) or not isinstance(stdin, str):
        raise ValueError("stdin and stdout must be text")
    return stdin, stdout


def _failure(expectation: Expectation, outcome: Outcome, place: int) -> str:
    """Return how a call failed, "" where its value was as expected."""
    told = f"{told_call(expectation.call)} "
    try:
        value = outcome.value(place)
    except LookupError:
        error = str(outcome.results[place].get("error"))
        how = "gave a value that is not plain" if error.endswith("cannot be told outside") else f"raised {error}"
        return f"{told}{how}, expected {expectation.wanted()}"
    except ValueError as error:
        return f"{told}gave what is no value: {error}"
    return "" if expectation.met(value) else f"{told}gave {shown(value)}, expected {expectation.wanted()}"


def _lines(text: str) -> list[str]:
    """Return the lines of an output without white space at their ends and empty lines at its end."""
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _text(prompt: Prompt, name: str) -> str:
    value = prompt.meta.get(name)
    return value if isinstance(value, str) else ""


def make(sandbox: Sandbox, options: SandboxOptions) -> Tests:
    """Return the verifier."""
    return Tests(sandbox, options)
