"""Public sets of programs by name, in small files of their public formats, graded by their own tests."""

import asyncio
import json
from typing import Any

import pytest

from selfimprove.config import Sandbox
from selfimprove.errors import DataError
from selfimprove.sources import load_prompts, normalized_text
from selfimprove.verify import Verifiers, validate_gold

TRUSTED = Sandbox(name="rlimits", trust_the_code=True, seconds=10)

HUMANEVAL = {
    "task_id": "HumanEval/900",
    "prompt": 'from typing import List\n\n\ndef twice(x: int) -> int:\n    """ Twice a number. """\n',
    "entry_point": "twice",
    "canonical_solution": "    return 2 * x\n",
    "test": "\n\nM = {}\n\n\ndef check(candidate):\n    assert candidate(3) == 6\n    assert candidate(0) == 0\n",
}
MBPP: dict[str, Any] = {
    "task_id": 11,
    "text": "Write a function to double a number.",
    "code": "def helper(x):\r\n  return x\r\ndef double(x):\r\n  return 2 * helper(x) ",
    "test_list": ["assert double(3) == 6", "assert double(0) == 0"],
    "test_setup_code": "",
    "challenge_test_list": ["assert double(-1) == -2"],
}
SANITIZED = {
    "source_file": "x.ipynb",
    "task_id": 12,
    "prompt": "Write a function to double a number.",
    "code": "def double(x):\n  return 2 * x",
    "test_imports": ["import math"],
    "test_list": ["assert math.isclose(double(2.5), 5)"],
}


def load(tmp_path, name, row):
    path = tmp_path / f"{name}.jsonl"
    path.write_text(json.dumps(row) + "\n")
    return list(load_prompts({"name": name, "path": str(path)}))


@pytest.mark.parametrize(
    ("name", "row", "right", "wrong"),
    [
        ("humaneval", HUMANEVAL, "    return x + x\n", "    return x * x\n"),
        ("mbpp", MBPP, "```python\ndef double(x): return x + x\n```", "```python\ndef double(x): return x * x\n```"),
        ("mbpp_sanitized", SANITIZED, "def double(x): return x + x", "def double(x): return x * x"),
    ],
)
def test_rows_are_graded_by_their_tests(tmp_path, name, row, right, wrong):
    (prompt,) = load(tmp_path, name, row)
    assert prompt.verifier == "tests"
    assert asyncio.run(validate_gold([prompt], TRUSTED)) == []
    verifiers = Verifiers(TRUSTED)
    found = [asyncio.run(verifiers.of(prompt).grade(prompt, text)) for text in (right, prompt.solution, wrong)]
    assert [verdict.score for verdict in found] == [1.0, 1.0, 0.0]
    verifiers.close()


def test_humaneval_row(tmp_path):
    (prompt,) = load(tmp_path, "humaneval", HUMANEVAL)
    assert prompt.id == "HumanEval/900"
    assert prompt.gold == HUMANEVAL["prompt"] + HUMANEVAL["canonical_solution"]
    assert HUMANEVAL["prompt"].strip() in prompt.text and "2 * x" not in prompt.text
    assert prompt.meta["tests"][0].endswith("\ncheck(twice)\n")
    assert (prompt.meta["entry_point"], prompt.meta["prefix"]) == ("twice", HUMANEVAL["prompt"])
    assert "complete" not in normalized_text(prompt)


def test_mbpp_rows_of_both_forms(tmp_path):
    (prompt,) = load(tmp_path, "mbpp", MBPP)
    assert prompt.id == "mbpp/11" and prompt.text.startswith(MBPP["text"]) and MBPP["test_list"][1] in prompt.text
    assert prompt.meta["tests"] == ["assert double(3) == 6\nassert double(0) == 0"]
    assert prompt.meta["entry_point"] == "double" and "\r" not in (prompt.gold or "")
    assert prompt.meta["challenge_tests"] == MBPP["challenge_test_list"]
    (other,) = load(tmp_path, "mbpp_sanitized", SANITIZED)
    assert other.meta["tests"] == ["import math\nassert math.isclose(double(2.5), 5)"]
    assert "challenge_tests" not in other.meta


@pytest.mark.parametrize(
    ("name", "row", "part"),
    [
        ("humaneval", {**HUMANEVAL, "entry_point": "other"}, "the prompt does not define the entry point 'other'"),
        ("humaneval", {"prompt": "def f():\n"}, "no field 'entry_point'"),
        ("humaneval", {**HUMANEVAL, "test": "def check(:"}, "test is no Python code"),
        ("mbpp", {**MBPP, "test_list": "assert double(3) == 6"}, "no list of texts"),
        ("mbpp", {**MBPP, "test_list": ["assert other(2) == 4"]}, "no function of the code is called by test_list"),
        ("mbpp", {"code": "x = 1", "task_id": 1}, "no field 'text'"),
        ("mbpp", {**MBPP, "code": "def f(:"}, "code is no Python code"),
    ],
)
def test_other_formats_are_refused(tmp_path, name, row, part):
    with pytest.raises(DataError) as error:
        load(tmp_path, name, row)
    assert part in str(error.value) and f"{name}.jsonl line 1" in str(error.value)
