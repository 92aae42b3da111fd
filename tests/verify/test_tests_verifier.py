"""Programs graded by tests: what each form of running them sees, and what a program cannot get past it."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfimprove.config import Sandbox as Options
from selfimprove.errors import ConfigError, SandboxError
from selfimprove.records import Prompt, Verdict
from selfimprove.sources import load_prompts
from selfimprove.verify import Verifiers, apart
from selfimprove.verify.asserts import Known, equal, form_of, shown
from selfimprove.verify.replay import run_tests
from selfimprove.verify.sandbox import choose
from selfimprove.verify.sandbox.harness import encode

TRUSTED = Options(name="rlimits", trust_the_code=True, seconds=10)
DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "humaneval_first.jsonl"


def prompt_of(*tests, gold=None, entry="f", **meta) -> Prompt:
    about = {"tests": list(tests), "entry_point": entry, **meta}
    return Prompt("p", ({"role": "user", "content": "?"},), gold, verifier="tests", meta=about)


def call(*arguments, expected, function="f", **rest):
    return {"call": function, "arguments": [*map(encode, arguments)], "expected": encode(expected), **rest}


@pytest.fixture(scope="module")
def verifiers() -> Iterator[Verifiers]:
    found = Verifiers(TRUSTED)
    yield found
    found.close()


def graded(verifiers: Verifiers, prompt: Prompt, code: str, **options) -> Verdict:
    """The verdict on a fenced program, with the reason's form checked: source and reason always tell."""
    if options:
        verifiers = Verifiers(replace(TRUSTED, **options))
    verdict = asyncio.run(verifiers.of(prompt).grade(prompt, f"Here:\n```python\n{code}\n```\n"))
    assert verdict.source == "tests/rlimits" and verdict.reason
    return verdict


def test_calls_are_compared_outside(verifiers):
    prompt = prompt_of(call(2, 3, expected=5), call(2, 4, expected=6), call(0, 0, expected=0))
    assert graded(verifiers, prompt, "def f(a, b): return a + b") == Verdict(
        1.0, "", "3 of 3 tests passed (called)", "tests/rlimits"
    )
    wrong = graded(verifiers, prompt, "def f(a, b): return a * b")
    assert wrong.score == 0.0
    assert wrong.reason == "1 of 3 tests passed (called); first failure: f(2, 3) gave 6, expected 5"
    share = graded(verifiers, prompt, "def f(a, b): return a * b", aggregate="fraction")
    assert share.score == pytest.approx(1 / 3)
    raised = graded(verifiers, prompt, "def f(a, b): return [][a]")
    assert "f(2, 3) raised IndexError: list index out of range" in raised.reason


def test_swapped_expected_values_fail(verifiers):
    code = "def f(x): return x * x"
    assert graded(verifiers, prompt_of(call(2, expected=4), call(3, expected=9)), code).score == 1.0
    assert graded(verifiers, prompt_of(call(2, expected=9), call(3, expected=4)), code).score == 0.0
    for template in ("assert f(2) == {}\nassert f(3) == {}", "assert f(2) == int({})\nassert f(3) == int({})"):
        for together in (False, True):
            right = prompt_of(template.format(4, 9), together=together)
            swapped = prompt_of(template.format(9, 4), together=together)
            assert graded(verifiers, right, code).score == 1.0
            assert graded(verifiers, swapped, code).score == 0.0


@pytest.mark.parametrize(
    ("tests", "form"),
    [
        ("assert f(1) == 2", "called"),
        ("assert 2 == f(1), 'message'\nassert not f(a=[1], b={2: (3,)})\nassert f(1) is None", "called"),
        ("M = {'a': 1}\ndef check(c):\n    'doc'\n    assert c(1) == 2\n    assert True\ncheck(f)", "called"),
        ("assert abs(f(1) - 2.5) < 1e-6", "called"),
        ("x = [1]\nassert f(x) == 2", "apart"),
        ("assert f(1) == 1 + 1", "apart"),
        ("import random, math\nfor i in range(3):\n    assert f(i) == helper(i)", "apart"),
        ("assert len([1]) == 1\nassert f(1) == 1", "apart"),
        ("p = Point(1)\nassert f(p) == 2", "together"),
        ("assert TABLE[1] == f(1)", "together"),
        ("import numpy as np\nassert np.allclose(f(1), 2)", "together"),
        ("x = [1]\nassert f(x) is x", "together"),
        ("assert f(1)(2) == 3", "together"),
        ("assert f.__doc__", "together"),
    ],
)  # fmt: skip
def test_the_tests_alone_decide_the_form(tests, form):
    known = Known.of("f", "class Point: pass\nTABLE = {}\ndef helper(x): return x")
    assert form_of(tests, known).name == form


def test_a_function_may_have_the_name_of_a_builtin(verifiers):
    prompt = prompt_of("x = [1, 2]\nassert sum(x) == 4", entry="sum")
    assert graded(verifiers, prompt, "def sum(x): return 4").score == 1.0
    assert graded(verifiers, prompt, "def sum(x): return 3").score == 0.0


EQUAL_TO_ALL = (
    "class A:\n    def __eq__(self, other): return True\n    def __bool__(self): return True\ndef f(x): return A()"
)
FORGED = """
import sys, builtins
def f(x): return 0
class Fine:
    def __getattr__(self, name): return lambda *values: True
sys.exit(0)
"""


@pytest.mark.parametrize("cheat", [EQUAL_TO_ALL, FORGED, "def f(x): import os; os._exit(0)", "import os; os._exit(0)"])
@pytest.mark.parametrize(
    "tests", ["assert f(1) == 2", "x = 1\nassert f(x) == 2", "x = 1\nassert f(x)\nassert f(x) == x + 1"]
)
def test_cheats_against_plain_values_fail(verifiers, tests, cheat):
    assert graded(verifiers, prompt_of(tests), "def f(x): return x + 1").score == 1.0
    assert graded(verifiers, prompt_of(tests), cheat).score == 0.0


@pytest.mark.parametrize(
    "cheat", [FORGED, "import os; os._exit(0)", "import builtins\nbuiltins.exec = print", "raise SystemExit"]
)
def test_together_a_report_must_come(verifiers, cheat):
    prompt = prompt_of("assert f(1) == 2\nassert Box(1).x == 1")
    right = "class Box:\n    def __init__(self, x): self.x = x\ndef f(x): return x + 1"
    verdict = graded(verifiers, prompt, right)
    assert verdict.score == 1.0 and verdict.reason == "2 of 2 tests passed (together)"
    assert graded(verifiers, prompt, f"{cheat}\n{right}").score == 0.0
    half = graded(verifiers, prompt, right.replace("x + 1", "x"), aggregate="fraction")
    assert half.score == 0.5 and "f(1) == 2 has 1 on its left side" in half.reason
    assert graded(verifiers, prompt, cheat) == graded(verifiers, prompt, cheat)


@pytest.mark.slow
def test_apart_keeps_what_python_does(verifiers):
    for tests, code in {
        "x = [3, 1]\nf(x)\nassert x == [1, 3]": "def f(x): x.sort()",
        "x = {'a': [2, 1]}\nf(x)\nassert x == {'a': [1, 2], 'b': 0}": "def f(x): x['a'].sort(); x['b'] = 0",
        "try:\n    f(-1)\n    assert False\nexcept ValueError as e:\n    assert 'low' in str(e)":
            "class Low(ValueError): pass\ndef f(x): raise Low('too low')",
        "assert [f(1), f(1), f(1)] == [1, 2, 3]": "n = 0\ndef f(x):\n    global n\n    n += 1\n    return n",
        "assert list(f(3)) == [0, 1, 2]": "def f(n): yield from range(n)",
        "x = 0\nwhile x < 5:\n    x = f(x)\nassert x == 5": "def f(x): return x + 1",
        "for i in range(30):\n    x = f(i)\n    y = f(x)\n    assert (x, y) == (i + 1, i + 2)":
            "def f(x): return x + 1",
        "def same(a, b):\n    value = f(a)\n    return value == b\nassert same(1, 2)\nassert f(f(1)) == 3":
            "def f(x): return x + 1",
        "assert all(map(f, [1, 2])) and not f(0)": "def f(x): return x",
    }.items():  # fmt: skip
        assert form_of(tests, Known("f")).name == "apart", tests
        verdict = graded(verifiers, prompt_of(tests), code)
        assert verdict.score == 1.0 and "(apart)" in verdict.reason, (tests, verdict)
        assert graded(verifiers, prompt_of(tests), "def f(x): return 17").score == 0.0, tests


def test_what_a_stub_cannot_pass_on_runs_together(verifiers):
    prompt = prompt_of("assert f(lambda x: x + 1, 2) == 3")
    assert "(together)" in graded(verifiers, prompt, "def f(g, x): return g(x)").reason
    assert graded(verifiers, prompt, "def f(g, x): return x").score == 0.0


def test_tests_that_never_end_asking_are_given_up(verifiers, monkeypatch):
    monkeypatch.setattr(apart, "ROUNDS", 3)
    prompt = prompt_of("x = 0\nwhile x >= 0:\n    x = f(x)\nassert True")
    verdict = graded(verifiers, prompt, "def f(x): return x + 1")
    assert verdict.score == 0.0 and "still asked for calls after 3 rounds" in verdict.reason


def test_program_tests(verifiers):
    prompt = prompt_of(
        {"stdin": "3\n", "stdout": "6"}, {"stdin": "4", "stdout": "8\n\n"}, {"stdin": "x", "stdout": "?"}
    )
    code = "def main():\n    print(2 * int(input()), ' ')\nif __name__ == '__main__':\n    main()"
    verdict = graded(verifiers, prompt, code)
    assert verdict.score == 0.0 and verdict.reason.startswith("test 3 of 3 failed: on 'x' failed: ValueError")
    assert graded(verifiers, prompt, code, aggregate="fraction").score == pytest.approx(2 / 3)
    two = prompt_of(*prompt.meta["tests"][:2])
    assert graded(verifiers, two, code).score == 1.0
    assert "it printed '3\\n', expected '6'" in graded(verifiers, two, "print(input())").reason


def test_limits_are_the_programs_fault(verifiers):
    prompt = prompt_of(call(1, expected=1), call(2, expected=2))
    late = graded(verifiers, prompt, "def f(x):\n    while True: pass", seconds=0.5)
    assert late.score == 0.0 and late.reason == "timeout: the program ran longer than 0.5 s (called)"
    big = graded(verifiers, prompt, "def f(x): return len(bytearray(1 << 30))", memory_mb=64)
    assert big.score == 0.0 and big.reason.startswith("memory")
    apart = graded(verifiers, prompt_of("x = 1\nassert f(x) == 1"), "def f(x):\n    while True: pass", seconds=0.5)
    assert apart.score == 0.0 and apart.reason == "timeout: the program ran longer than 0.5 s (apart)"


def test_flaky_programs_give_no_verdict(verifiers, tmp_path):
    mark = tmp_path / "ran"
    code = f"import pathlib\np = pathlib.Path({str(mark)!r})\nn = p.exists()\np.write_text('')\ndef f(x): return x + n"
    prompt = prompt_of(call(1, expected=1))
    verdict = graded(verifiers, prompt, code, runs=2)
    assert verdict.score is None
    assert verdict.reason.startswith("flaky: run 2 of a program that had passed gave: 0 of 1 tests passed")
    assert graded(verifiers, prompt, "def f(x): return x", runs=3).score == 1.0


@pytest.mark.parametrize(
    ("tests", "reason"),
    [
        ([], "no_tests"),
        ([call(1, expected=1), {"cal": "f"}], "unreadable tests: test 2: it got an unexpected keyword argument 'cal'"),
        ([{"call": "f", "expected": {"a": 1}}], "unreadable tests: test 1: not an encoded value: {'a': 1}"),
        (["assert f(1) =="], "unreadable tests: test 1: invalid syntax"),
        (["def test():\n    assert f(1) == 1"], "tests cannot be run: they never call the program"),
        (["import random\nrandom.nothing()\nassert f(1) == 1"], "tests cannot be run: AttributeError"),
    ],
)
def test_tests_that_are_none_give_no_verdict(verifiers, tests, reason):
    prompt = prompt_of(*tests)
    verdict = asyncio.run(verifiers.of(prompt).grade(prompt, "```\ndef f(x): return x\n```"))
    assert verdict.score is None and verdict.reason.startswith(reason)


def test_no_code_no_gold_and_no_sandbox(verifiers):
    prompt = prompt_of(call(1, expected=1))
    tests = verifiers.of(prompt)
    assert asyncio.run(tests.grade(prompt, "I do not know.")) == Verdict(0.0, reason="no_code", source="tests")
    assert asyncio.run(tests.grade_gold(prompt)).reason == "no_gold"
    assert asyncio.run(tests.grade_gold(replace(prompt, gold="def f(x): return x"))).score == 1.0
    nowhere = Verifiers(Options(name="rlimits"))
    with pytest.raises(SandboxError):
        asyncio.run(nowhere.of(prompt).grade(prompt, "def f(x): return x"))
    for wrong in (replace(TRUSTED, aggregate="some"), replace(TRUSTED, runs=0)):
        with pytest.raises(ConfigError):
            Verifiers(wrong).of(prompt)
    assert tests.settings == {"seconds": 10, "memory_mb": 512, "aggregate": "all", "runs": 1}
    assert tests.extract("So\n```python\nx=1 # c\n```") == "x = 1"
    assert asyncio.run(tests.grade(prompt, "x = 1\n" * 100_000)).reason.startswith("too_long")


def test_equality():
    nan = float("nan")
    assert equal([nan, {"a": nan}], [nan, {"a": nan}]) and equal(1, True) and equal(1, 1.0) and equal({1}, {1.0})
    assert not equal((1,), [1]) and not equal("1", 1) and not equal([1], [1, 2]) and not equal({"a": 1}, {"b": 1})
    assert equal([0.1], [0.1001], 0.01) and not equal([0.1], [0.2], 0.01) and not equal(0.1 + 0.2, 0.3)
    assert equal(float("inf"), float("inf"), 0.1) and not equal(float("inf"), 1.0, 0.1)
    assert shown(10**5000) == "a very large int" and len(shown("x" * 1000)) == 80


SIMPLE = st.one_of(
    st.integers(-3, 3), st.booleans(), st.none(), st.sampled_from(["", "a", "b'"]), st.floats(-2, 2, width=16)
)
VALUES = st.recursive(
    SIMPLE, lambda inner: st.lists(inner, max_size=3).map(tuple) | st.lists(inner, max_size=3), max_leaves=4
)
BODIES = [
    "x",
    "[x]",
    "(x, 1)",
    "str(x)",
    "x or 0",
    "x == x",
    "[x, x][1:]",
    "x + x",
    "len(x)",
    "-x",
    "sorted(x)",
    "{1: x}",
]


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(BODIES),
    st.lists(st.tuples(VALUES, VALUES, st.sampled_from(["==", "!="])), min_size=6, max_size=12),
)
def test_the_three_forms_agree(verifiers, body, made):
    code = f"def f(x): return {body}"
    names: dict = {}
    exec(code, names)
    cases = []
    for value, other, operator in made:
        with suppress(TypeError):
            cases.append((value, names["f"](value), operator))
        cases.append((value, other, operator))
    plain = "\n".join(f"assert f({value!r}) {operator} {other!r}" for value, other, operator in cases)
    apart = f"VALUE = 1\n{plain}\nassert VALUE == 1"
    forms = (prompt_of(plain), prompt_of(apart), prompt_of(plain, together=True))
    assert [form_of(form.meta["tests"][0], Known("f")).name for form in forms[:2]] == ["called", "apart"]
    options = replace(TRUSTED, aggregate="fraction")
    found = [asyncio.run(Verifiers(options).of(form).grade(form, code)) for form in forms]
    counts = [int(verdict.reason.split()[0]) for verdict in found]
    right = 0
    for value, other, operator in cases:
        with suppress(TypeError):
            right += (names["f"](value) == other) == (operator == "==")
    assert counts == [right, right + 1, right], [verdict.reason for verdict in found]


def replayed(tests: str, function, rounds: int = 20):
    """The loop of `apart.run_apart` in one process: (rounds, results, error) of tests on a function."""
    answers: list = []
    for number in range(rounds):
        results, error, calls, lost, untold = run_tests(tests, "_notes", ("f",), answers)
        assert not untold
        if not lost:
            return number, results, error
        answers = [(call, ("value", function(*call[1]), call[1], call[2])) for call in calls]
    raise AssertionError("it did not end")


STEP = st.sampled_from(
    ["x = f(x)", "assert f(x) >= x", "y = f(f(x))", "assert f(2) == f(1) + 1", "x = y + 1", "assert x != f(y)",
     "if f(x) > 3:\n    y = f(9)", "for i in range(3):\n    x = f(x + i)\n    assert x",
     "y = [f(i) for i in range(3)][-1]"]
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(STEP, min_size=1, max_size=4), st.integers(0, 3))
def test_replay_ends_with_what_one_process_gives(steps, add):
    tests = "x = 0\ny = 1\n" + "\n".join(steps)

    def function(x):
        return x + add

    names = {"f": function}
    results, error, calls, lost, _ = run_tests(tests, "_notes", names=names)
    assert not lost and not calls
    assert replayed(tests, function)[1:] == (results, error)


def test_independent_assertions_take_one_round():
    tests = "for i in range(50):\n    assert f(i) == i\n"
    rounds, results, error = replayed(tests, lambda x: x)
    assert (rounds, len(results), error) == (1, 50, "")
    rounds, results, _ = replayed("for i in range(50):\n    x = f(i)\n    assert f(x) == i\n", lambda x: x)
    assert (rounds, len(results)) == (2, 50)


@pytest.mark.slow
def test_humaneval_reference_programs_pass():
    if not DATA.is_file():
        pytest.skip(f"no {DATA.name} in {DATA.parent}")
    try:
        choose(Options()).close()
    except SandboxError as error:
        pytest.skip(str(error))
    verifiers = Verifiers(Options())

    async def run():
        prompts = list(load_prompts({"name": "humaneval", "path": str(DATA)}))
        gold = await asyncio.gather(*[verifiers.of(prompt).grade_gold(prompt) for prompt in prompts])
        empty = [f"{prompt.meta['prefix']}    return None\n" for prompt in prompts]
        wrong = await asyncio.gather(*[verifiers.of(p).grade(p, text) for p, text in zip(prompts, empty, strict=True)])
        return [v.reason for v in gold if v.score != 1.0], [v for v in wrong if v.score != 0.0], len(prompts)

    failed, passed, count = asyncio.run(run())
    verifiers.close()
    assert (failed, passed) == ([], []) and count >= 82
