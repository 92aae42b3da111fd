import json
import math
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.verify.sandbox import harness
from selfimprove.verify.sandbox.base import FLOOD, Call, Limits, Outcome, Program, outcome_of
from selfimprove.verify.sandbox.harness import decode, encode

HARNESS = Path(harness.__file__)

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec=None))
    | st.binary(max_size=20) | st.complex_numbers(allow_nan=False)
)  # fmt: skip
keys = st.recursive(scalars, lambda inner: st.tuples(inner) | st.frozensets(inner, max_size=3), max_leaves=5)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.sets(keys, max_size=3)
        | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=15,
)


def same(left, right) -> bool:
    """Equal, of the same types at every level, 0.0 and -0.0 told apart."""
    if type(left) is not type(right):
        return False
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(map(same, left.values(), right.values()))
    if isinstance(left, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    return left == right


@given(values)
def test_values_come_back_the_same(value):
    assert same(decode(json.loads(json.dumps(encode(value), allow_nan=False))), value)


def test_what_json_does_not_hold_comes_back_too():
    assert math.isnan(decode(encode(float("nan"))))
    huge = -(7**9999)
    told = json.dumps(encode(huge))
    assert decode(json.loads(told)) == huge
    assert decode(json.loads(json.dumps(encode("\ud800a")))) == "\ud800a"
    json.dumps(encode("\ud800"), ensure_ascii=False).encode()


class Liar(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__

    def __repr__(self):
        return "42"


class Shadow(list):
    def __iter__(self):
        return iter(["forged"])


class Claims:
    __class__ = int


def test_subclasses_become_plain_values():
    assert type(encode(Liar(7))) is int
    assert encode(Liar(7)) == 7 and json.dumps(encode(Liar(7))) == "7"
    assert encode(Shadow([1, 2])) == [1, 2]
    with pytest.raises(ValueError, match="Claims"):
        encode(Claims())


def test_what_is_too_large_or_too_deep_is_not_told():
    ring: list = []
    ring.append(ring)
    doubled: list = [0]
    for _ in range(60):
        doubled = [doubled, doubled]  # 2 ** 60 leaves
    for value in (ring, doubled, "x" * (harness.ROOM), object(), [object()]):
        with pytest.raises(ValueError, match="told"):
            encode(value)


junk = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["set", "dict", "tuple", "float", "int", "str", "bytes", "complex"]), inner)
    ),
    max_leaves=8,
)


@given(junk)
def test_decode_gives_a_value_or_a_value_error(value):
    with suppress(ValueError):
        decode(value)


# Replies, which a program may have written itself

PROGRAM = Program("def f(): ...", calls=(Call.of("f"),))
GOOD = {"error": None, "kind": "failed", "results": [{"value": 1}], "trace": []}


def read(reply, **seen) -> Outcome:
    data = reply if isinstance(reply, bytes) or reply is None else json.dumps(reply).encode()
    return outcome_of(PROGRAM, data, sandbox="test", **seen)


def test_a_well_formed_reply_is_taken():
    outcome = read(GOOD)
    assert outcome.status == "passed" and outcome.value(0) == 1
    assert read(GOOD | {"results": [{"error": "ValueError: no"}]}).passed
    failed = read(GOOD | {"error": "ValueError: no", "results": []})
    assert (failed.status, failed.error) == ("failed", "ValueError: no")
    assert read(GOOD | {"error": "MemoryError", "kind": "memory", "results": []}).status == "memory"


@pytest.mark.parametrize(
    "reply",
    [
        None, b"", b"{", b"\xff", b"null", b'"passed"', b'{"status": "passed"}', b'{"error": null}', b"NaN",
        json.dumps(GOOD).encode() * 2, b"[" * 100_000, b" " * (FLOOD + 1),
        GOOD | {"results": []}, GOOD | {"results": [{"value": 1}] * 2}, GOOD | {"results": [1]},
        GOOD | {"results": [{"value": 1, "error": "x"}]}, GOOD | {"results": [{"value": {"no": "kind"}}]},
        GOOD | {"results": [{"error": None}]}, GOOD | {"results": {"value": 1}}, GOOD | {"kind": "passed"},
        GOOD | {"error": 0}, GOOD | {"error": False}, GOOD | {"trace": [{}]}, GOOD | {"trace": [1]},
        GOOD | {"more": 1}, GOOD | {"results": [{"value": "\ud800"}]}, GOOD | {"results": [{"value": float("inf")}]},
    ],
)  # fmt: skip
def test_a_malformed_reply_never_counts_as_passed(reply):
    outcome = read(reply)
    assert outcome.status == "crashed" and outcome.error and not outcome.results


@given(st.binary(max_size=200) | junk)
def test_no_reply_makes_it_crash(reply):
    assert not read(reply).passed


def test_a_limit_counts_more_than_a_reply():
    assert read(GOOD, ended="timeout").status == "timeout"
    assert read(GOOD, ended="memory").status == "memory"
    killed = read(GOOD, ended="killed by SIGSEGV")
    assert (killed.status, killed.error, killed.results) == ("crashed", "killed by SIGSEGV", ())


def test_output_is_cut_and_is_text():
    program = Program("", limits=Limits(output=5))
    outcome = outcome_of(program, None, sandbox="test", stdout="aäöü".encode(), stderr=b"\xffab")
    assert (outcome.stdout, outcome.stderr) == ("aäö", "\ufffdab")
    assert outcome_of(program, None, sandbox="test", stdout="aaöü".encode()).stdout == "aaö"


def test_programs_and_outcomes_are_rows():
    program = Program("x", (Call.of("f", (1, {2}), k=b"x"),), "in", {"a/b.txt": "text"}, True, Limits(seconds=1))
    assert Program.from_row(json.loads(json.dumps(program.to_row()))).to_row() == program.to_row()
    outcome = read(GOOD)
    assert Outcome.from_row(json.loads(json.dumps(outcome.to_row()))) == outcome


@pytest.mark.parametrize("name", ["", "/etc/x", "../x", "a/../../x", "a/", "a\0b"])
def test_files_lie_inside_the_folder(name):
    with pytest.raises(ValueError, match="relative path"):
        Program("", files={name: ""})


# The harness itself, in a bare process: what is told here holds in every sandbox

START = f"""
import sys, types
harness = types.ModuleType("harness")
exec(compile(open({str(HARNESS)!r}).read(), "harness.py", "exec"), harness.__dict__)
import json, os
request = json.load(sys.stdin)
keep = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
reply = harness.run(request)
harness.write_all(keep, reply)
os._exit(0)
"""


def run(source, *calls, trace=False) -> Outcome:
    program = Program(source, tuple(Call.of(*call) for call in calls), trace=trace)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", START], input=json.dumps(program.to_request()).encode(), capture_output=True
    )
    return outcome_of(program, done.stdout, sandbox="none")


def test_calls_are_answered_one_by_one():
    outcome = run("def half(x):\n    return x / 2", ("half", 3), ("half", "a"), ("none",), ("len", [1, 2]))
    assert outcome.passed
    assert outcome.value(0) == 1.5 and outcome.value(3) == 2
    assert "TypeError" in outcome.results[1]["error"] and "(line 2)" in outcome.results[1]["error"]
    assert outcome.results[2]["error"] == "NameError: the program defines no function 'none'"


def test_leaving_with_code_0_is_a_good_end_of_the_program_but_no_answer_of_a_call():
    assert run("import sys\nsys.exit(0)").passed
    assert run("raise SystemExit").passed
    assert run("import sys\nsys.exit(3)").error == "SystemExit: 3 (line 2)"
    assert run("import sys\nsys.exit('0')").status == "failed"
    outcome = run("import sys\ndef f(): sys.exit(0)", ("f",))
    assert outcome.passed and outcome.results[0]["error"].startswith("SystemExit: 0")


def test_a_call_without_memory_ends_the_calls():
    outcome = run("def f(x):\n    if x: raise MemoryError\n    return x", ("f", 0), ("f", 1), ("f", 0))
    assert outcome.status == "memory" and len(outcome.results) == 1


def test_a_program_that_breaks_its_surroundings_still_tells_its_outputs():
    source = """
import builtins, json, os, sys, ast, atexit, types
def f(x):
    return {x: (x, [x])}
for name in ("isinstance", "issubclass", "len", "type", "sorted", "str", "int", "getattr", "list", "ValueError"):
    setattr(builtins, name, None)
json.dumps = json.encoder.c_make_encoder = json.JSONEncoder = os.write = os.getpid = os._exit = None
ast.Module = types.ModuleType = atexit._run_exitfuncs = None
sys.modules.clear()
sys.stdout = sys.stderr = None
"""
    outcome = run(source, ("f", 7))
    assert outcome.passed, outcome
    assert outcome.value(0) == {7: (7, [7])}


def test_errors_that_defend_themselves_are_told():
    hostile = "class E(Exception):\n    def __str__(self): raise KeyboardInterrupt\nraise E"
    assert run(hostile).error == "an error that cannot be told"
    assert run("class C:\n    def __eq__(s, o): raise ValueError\nraise SystemExit(C())").status == "failed"
    assert run("raise ValueError('x' * 10**6 + chr(0xd800))").error.startswith("ValueError: xxx")
    assert run("def f(").error.endswith("(line 1)")


def test_values_too_large_for_the_reply_are_told_as_errors_and_the_others_stay():
    outcome = run("def f(n): return 'x' * n", ("f", 5_000_000), *[("f", 1_500_000)] * 3, ("f", 1))
    assert ["value" in result for result in outcome.results] == [False, True, True, False, True]


def test_threads_are_waited_for_and_exit_functions_called():
    source = """
import atexit, threading, time
done = []
def late():
    time.sleep(0.1)
    open(1, "w", closefd=False).write("x")
    done.append(1)
threading.Thread(target=late).start()
atexit.register(lambda: done.append(2) or open(2, "w", closefd=False).write("end"))
"""
    program = Program(source)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", START], input=json.dumps(program.to_request()).encode(), capture_output=True
    )
    assert outcome_of(program, done.stdout, sandbox="none").passed
    assert done.stderr == b"end"


def test_a_forked_process_that_comes_back_is_not_the_program():
    outcome = run("import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\ndef f(): return 1", ("f",))
    assert outcome.passed and outcome.value(0) == 1


def test_the_trace_holds_the_variables_after_every_statement():
    outcome = run("import math\nx = [1]\nx.append((2,))\ndef f(): ...\nglobals()[1] = 2\ny = object()", trace=True)
    assert [sorted(state) for state in outcome.trace][:4] == [
        ["math"],
        ["math", "x"],
        ["math", "x"],
        ["f", "math", "x"],
    ]
    assert [decode(outcome.trace[i]["x"]) for i in (1, 2)] == [[1], [1, (2,)]]
    assert decode(outcome.trace[0]["math"]) == "math"
    assert decode(outcome.trace[5]["y"]).startswith("<object object")
    failed = run("x = 1\nx / 0\ny = 2", trace=True)
    assert failed.status == "failed" and len(failed.trace) == 1 and "(line 2)" in failed.error


def test_a_long_trace_stops_where_there_is_no_more_room():
    outcome = run("x = 'a' * 1900\n" * 4000, trace=True)
    assert outcome.passed and 1000 < len(outcome.trace) < 4000


def test_the_program_is_the_main_module():
    source = """
import dataclasses, sys, typing
@dataclasses.dataclass
class Point:
    x: "int"
def f():
    here = sys.modules["__main__"]
    return here.Point is Point and typing.get_type_hints(Point) == {"x": int} and __name__ == "__main__"
"""
    assert run(source, ("f",)).value(0) is True
