"""data/code: tasks whose reference programs pass their own tests, honestly split, and seeds that do what they say."""

import ast
import asyncio
import doctest
import json
import math
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from selfimprove.building.decontaminate import Index
from selfimprove.building.texts import Texts
from selfimprove.errors import SandboxError
from selfimprove.sources import load_prompts, normalized_text
from selfimprove.sources.functions import functions_of
from selfimprove.sources.overlap import words
from selfimprove.verify import Verifiers, validate_gold
from selfimprove.verify.code import canonical, code_blocks, rename_function
from selfimprove.verify.sandbox.harness import decode

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "data" / "code"
HUMANEVAL = ROOT.parent / "shared" / "data" / "humaneval_first.jsonl"

RUNNER = """
import contextlib, io, json, resource, signal, sys
names = {"__name__": "harness"}
exec(open(sys.argv[1]).read(), names)
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
def stop(*_): raise TimeoutError
signal.signal(signal.SIGALRM, stop)
def fed(source, text):
    printed, sys.stdin = io.StringIO(), io.StringIO(text)
    try:
        with contextlib.redirect_stdout(printed):
            exec(source, {"__name__": "__main__"})
    except Exception as error:
        return repr(error)
    return printed.getvalue()
for line in list(sys.stdin):
    request = json.loads(line)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.05)
    try:
        if request["calls"]:
            reply = json.loads(names["run"](request))
        else:
            reply = {"results": [{"value": fed(request["source"], text)} for text in request["inputs"]]}
    except TimeoutError:
        reply = {"results": []}
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(json.dumps(reply))
"""
"""Runs our own programs one after the other in one process: fast, and no sandbox for anybody else's."""


@cache
def prompts_of(name: str):
    return list(load_prompts(str(FOLDER / f"{name}.jsonl")))


def all_prompts():
    return prompts_of("train") + prompts_of("heldout")


def pass_all(programs: list[tuple[Any, str]]) -> list[bool]:
    """Whether each (prompt, program) passes the prompt's tests; all run in one process, values are compared here."""
    requests = []
    for prompt, source in programs:
        tests = prompt.meta["tests"]
        calls = [(test["call"], test["arguments"], test["named"]) for test in tests if "call" in test]
        inputs = [test["stdin"] for test in tests if "stdin" in test]
        requests.append(json.dumps({"source": source, "calls": calls, "inputs": inputs}))
    harness = ROOT / "selfimprove" / "verify" / "sandbox" / "harness.py"
    command = [sys.executable, "-I", "-c", RUNNER, str(harness)]
    done = subprocess.run(command, input="\n".join(requests), capture_output=True, text=True, timeout=100, check=True)
    replies = [json.loads(line)["results"] for line in done.stdout.splitlines()]
    return [right(prompt, results) for (prompt, _), results in zip(programs, replies, strict=True)]


def right(prompt: Any, results: list[dict[str, Any]]) -> bool:
    expected = [decode(test["expected"]) if "call" in test else test["stdout"] for test in prompt.meta["tests"]]
    given = [decode(result["value"]) if "value" in result else result for result in results]
    return given == expected and [type(value) is bool for value in given] == [type(e) is bool for e in expected]


def mutants_of(program: str) -> list[str]:
    """All programs in which one operator, comparison or number is another."""
    swaps = {
        **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Div},
        **{ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.And: ast.Or, ast.Or: ast.And, ast.USub: ast.UAdd},
        **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
        **{ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is},
    }
    places = sum(1 for _ in ast.walk(ast.parse(program)))
    mutants = []
    for place in range(places):
        tree = ast.parse(program)
        node = list(ast.walk(tree))[place]
        if isinstance(node, ast.BinOp | ast.BoolOp | ast.UnaryOp | ast.AugAssign) and type(node.op) in swaps:
            node.op = swaps[type(node.op)]()
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in swaps:
            node.ops[0] = swaps[type(node.ops[0])]()
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            node.value += 1
        else:
            continue
        mutants.append(ast.unparse(tree))
    return mutants


def test_the_script_makes_the_shipped_files_byte_for_byte(tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "make_code_data.py"), "--out", str(tmp_path)]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    for name in ("train.jsonl", "heldout.jsonl"):
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes(), name


def test_sizes_kinds_and_levels():
    train, heldout = prompts_of("train"), prompts_of("heldout")
    assert len(train) >= 100 and len(heldout) >= 100
    assert {(p.meta["kind"], p.meta["level"]) for p in train} == {(p.meta["kind"], p.meta["level"]) for p in heldout}
    for prompts in (train, heldout):
        harder = sum(prompt.meta["level"] == "harder" for prompt in prompts)
        assert 0.25 < harder / len(prompts) < 0.45
    for prompt in train + heldout:
        assert prompt.verifier == "tests" and 4 <= len(prompt.meta["tests"]) <= 8
        assert ("entry_point" in prompt.meta) == (prompt.meta["kind"] != "programs")
        assert [block.code for block in code_blocks(prompt.solution or "")] == [prompt.gold]
    assert sum(path.stat().st_size for path in FOLDER.rglob("*.*")) < 400_000


def test_every_task_shows_the_signature_that_its_tests_call():
    for prompt in all_prompts():
        name = prompt.meta.get("entry_point")
        if name:
            [definition] = [node for node in ast.parse(prompt.gold).body if isinstance(node, ast.FunctionDef)]
            assert f"`{name}({ast.unparse(definition.args)})`" in prompt.text and definition.name == name
            assert {test["call"] for test in prompt.meta["tests"]} == {name}


def test_nothing_held_out_is_trained_on():
    train, heldout = prompts_of("train"), prompts_of("heldout")
    for part in (
        lambda prompt: prompt.id.partition("-")[2],
        normalized_text,
        lambda prompt: canonical(rename_function(prompt.gold, prompt.meta.get("entry_point", ""), "f")),
    ):
        assert not {part(prompt) for prompt in train} & {part(prompt) for prompt in heldout}
    assert len({prompt.id for prompt in train + heldout}) == len(train) + len(heldout)
    held = Index({"questions": [p.text for p in heldout], "programs": [p.gold or "" for p in heldout]})
    assert [held.find(Texts((prompt.text,), (prompt.gold or "",))) for prompt in train] == [None] * len(train)


def test_functions_with_the_same_body_stand_in_the_same_set():
    """Parameters are renamed by place: width * height and price * quantity are one program."""

    def body(prompt):
        [function] = [node for node in ast.parse(prompt.gold).body if isinstance(node, ast.FunctionDef)]
        text = "\n".join(map(ast.unparse, function.body))
        for place, argument in enumerate(function.args.args):
            text = re.sub(rf"\b{argument.arg}\b", f"_{place}", text)
        return text

    train, heldout = ([p for p in prompts_of(name) if "entry_point" in p.meta] for name in ("train", "heldout"))
    assert not {body(prompt) for prompt in train} & {body(prompt) for prompt in heldout}
    assert len({body(prompt) for prompt in train + heldout}) < len(train) + len(heldout) - 10


def test_every_reference_program_passes_its_tests():
    prompts = all_prompts()
    assert [p.id for p, good in zip(prompts, pass_all([(p, p.gold) for p in prompts]), strict=True) if not good] == []


def test_the_tests_catch_wrong_operators_and_numbers():
    mutants = [(prompt, mutant) for prompt in all_prompts() for mutant in mutants_of(prompt.gold or "")]
    survived = [mutant for mutant, passed in zip(mutants, pass_all(mutants), strict=True) if passed]
    rate = 1 - len(survived) / len(mutants)
    print(f"{len(mutants)} mutants, {rate:.1%} caught; not: {[(prompt.id, code) for prompt, code in survived]}")
    assert len(mutants) > 400 and rate > 0.98


@pytest.mark.slow
def test_the_verifier_grades_every_reference_program_right():
    async def grade():
        try:
            return await validate_gold(all_prompts())
        except SandboxError as error:
            pytest.skip(f"no sandbox works here: {error}")

    assert asyncio.run(grade()) == []


def test_the_verifier_refuses_another_tasks_program():
    prompts = [prompt for prompt in prompts_of("heldout") if prompt.meta["kind"] != "programs"][:12]

    async def grade():
        verifiers = Verifiers()
        try:
            return [
                await verifiers.of(prompt).grade(
                    prompt, f"```python\ndef {prompt.meta['entry_point']}(*a): return 41\n```"
                )
                for prompt in prompts
            ]
        except SandboxError as error:
            pytest.skip(f"no sandbox works here: {error}")
        finally:
            verifiers.close()

    assert {verdict.score for verdict in asyncio.run(grade())} == {0.0}


def test_nothing_shares_thirteen_words_with_humaneval():
    if not HUMANEVAL.is_file():
        pytest.skip("the first items of HumanEval are not beside this checkout")
    items = [json.loads(line) for line in HUMANEVAL.read_text(encoding="utf-8").splitlines()]
    runs = {run for item in items for run in runs_of(f"{item['prompt']}{item['canonical_solution']}\n{item['test']}")}
    assert len(runs) > 5000
    for prompt in all_prompts():
        assert not runs & (runs_of(prompt.text) | runs_of(prompt.gold or "")), prompt.id
    for function in seeds():
        assert not runs & runs_of(function.code), function.id


def runs_of(text: str) -> set[tuple[str, ...]]:
    said = words(text)
    return {tuple(said[place : place + 13]) for place in range(len(said) - 12)}


@cache
def seeds():
    files = sorted((FOLDER / "seeds").glob("*.py"))
    return tuple(functions_of([(path.name, path.read_text(encoding="utf-8")) for path in files]))


CHECKED = """
quarter(date(2024, 9, 30)) == 3
overlaps((1, 3), (2, 4)) and not overlaps((1, 2), (2, 3))
index_by([{"k": 1}, {"k": 2}], "k") == {1: {"k": 1}, 2: {"k": 2}}
pick({"a": 1, "b": 2}, ["b", "c"]) == {"b": 2}
missing_fields({"a": 1, "b": None}, ["a", "b", "c"]) == ["b", "c"]
short_digest("abc") == "ba7816bf"
parity_bit("1011") == "1" and parity_bit("") == "0"
len(roll_dice("3d6", 1)) == 3 and set(roll_dice("99d6", 2)) == {1, 2, 3, 4, 5, 6}
queens_attack((0, 0), (5, 5)) and not queens_attack((0, 0), (1, 2))
manhattan_distance((1, 1), (-2, 3)) == 5
[round(x, 9) for x in rotate_point((1, 0), 90)] == [0, 1]
point_in_rectangle((2, 1), (0, 0), 2, 1) and not point_in_rectangle((3, 1), (0, 0), 2, 1)
rectangles_overlap((0, 0, 2, 2), (1, 1, 3, 3)) and not rectangles_overlap((0, 0, 1, 1), (1, 0, 2, 1))
circle_on_diameter((0, 0), (6, 8)) == ((3.0, 4.0), 5.0)
is_bipartite({"a": ["b"], "b": ["a"]}) and not is_bipartite({"a": ["b", "c"], "b": ["a", "c"], "c": ["a", "b"]})
memoize(lambda n: object())(1) is not None and (lambda f: f(1) is f(1))(memoize(lambda n: object()))
(lambda pair: (pair[0](2), pair[0](3), pair[1]()))(count_calls(abs)) == (2, 3, 2)
bubble_sort([3, 1, 2, 1]) == [1, 1, 2, 3]
remove_at(["a", "b", "c"], {0, 2}) == ["b"]
majority_item([1, 2, 1, 1]) == 1 and majority_item([1, 2]) is None and majority_item([]) is None
trace([[1, 9], [9, 4]]) == 5
render_grid([[True, False], [False, True]]) == "#.\\n.#"
[n for n in range(500) if is_perfect(n)] == [6, 28, 496]
[n for n in range(10, 1000) if is_armstrong(n)] == [153, 370, 371, 407]
[triangular_number(n) for n in range(5)] == [0, 1, 3, 6, 10]
markdown_table(["a"], [["1"], ["2"]]) == "| a |\\n| --- |\\n| 1 |\\n| 2 |"
read_fixed_width("ab 12 ", [3, 3]) == ["ab", "12"]
(lambda low, high: low < 2.5 < high)(*bootstrap_mean([1, 2, 3, 4], 200))
[pluralize(1, "file"), pluralize(2, "file"), pluralize(0, "box", "boxes")] == ["1 file", "2 files", "0 boxes"]
collapse_whitespace("  a \\n b\\t") == "a b"
kelvin_to_celsius(273.15) == 0
parallel_resistance([2, 2]) == 1
is_hex_color("#fff") and is_hex_color("#12ab9F") and not is_hex_color("#12ab")
is_identifier("_a1") and not is_identifier("1a")
check_range(3, 1, 5) == 3
"""
"""What seeds without an example in their docstring must do."""


def test_seeds_are_many_small_functions_of_different_names():
    names = [function.id.partition(":")[2] for function in seeds()]
    good = [function for function in seeds() if not function.id.startswith("unfit.py")]
    assert len(good) >= 220 and len(seeds()) - len(good) >= 25 and len(set(names)) == len(names)
    assert all(3 <= len(function.code.splitlines()) <= 35 for function in seeds())
    written = sum(path.read_text().count("\ndef ") for path in (FOLDER / "seeds").glob("*.py"))
    assert written == len(seeds()), "a function of the seeds has no docstring in triple double quotes"


def test_seeds_do_what_their_examples_and_ours_say():
    """Each function runs with its own imports and nothing else of its file."""
    space: dict[str, Any] = {}
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False)
    shown = set()
    for function in seeds():
        name = function.id.partition(":")[2]
        own: dict[str, Any] = {"__name__": "seed"}
        exec(function.code, own)
        space |= {name: own[name], **({"date": own["date"]} if "date" in own else {})}
        test = parser.get_doctest(own[name].__doc__, own, function.id, None, 0)
        if test.examples:
            runner.run(test, out=lambda text, name=name: pytest.fail(f"{name}: {text}"))
            shown.add(name)
    wrong = [line for line in CHECKED.strip().splitlines() if not eval(line, {**space, "math": math})]
    assert wrong == []
    named = set(re.findall(r"\w+", CHECKED))
    fit = {function.id.partition(":")[2] for function in seeds() if not function.id.startswith("unfit.py")}
    assert fit - shown - named == set() and len(shown) > 180


def test_exactly_the_unfit_seeds_are_dropped_each_for_its_reason():
    source = {"functions": str(FOLDER / "seeds"), "type_check": "ty", "benchmarks": [str(FOLDER / "heldout.jsonl")]}
    found = {prompt.id: prompt.meta.get("unfit") for prompt in load_prompts(source)}
    assert {name for name, reason in found.items() if reason} == {n for n in found if n.startswith("unfit.py")}
    assert Counter(reason for reason in found.values() if reason) == {
        "bad_word": 5,
        "bad_import": 5,
        "no_return_value": 5,
        "type_error": 4,
        "no_argument": 3,
        "near_repeat": 3,
        "benchmark": 2,
    }
