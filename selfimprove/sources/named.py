"""Public data sets by name, in the formats they are published in: from their rows to ours.

Hub ids are the usual homes of these sets; a local copy in the same format is given by `path`.
"""

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import isfinite
from typing import Any

from selfimprove.errors import DataError
from selfimprove.sources.calculations import program_of_marks
from selfimprove.verify.code import defines, function_names, parse
from selfimprove.verify.extraction import boxed, read_number
from selfimprove.verify.numbers import spell


@dataclass(frozen=True)
class Named:
    """A public set: how a row is read, and where the set usually lives; `elsewhere` says which splits live apart."""

    read: Callable[[Mapping[str, Any], str], dict[str, Any]]
    hub: str
    subset: str | None = None
    split: str = "train"
    elsewhere: Mapping[str, str] = field(default_factory=dict)

    def home(self, split: str) -> str:
        """Return the hub id of a split."""
        return self.elsewhere.get(split, self.hub)


def gsm8k(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return a GSM8K row: gold behind '####', the solution without <<calculator marks>> and that last line."""
    answer = _need(row, place, "answer")
    solution, hashes, gold = answer.rpartition("####")
    if not hashes or not gold.strip():
        raise DataError(f"{place}: the answer has no '#### number' at its end, so this is not GSM8K's format")
    return {
        "prompt": _need(row, place, "question"),
        "gold": gold.strip(),
        "solution": f"{re.sub(r'<<[^<>]*>>', '', solution).strip()}\n#### {gold.strip()}",
    }


def gsm8k_programs(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return a GSM8K row whose solution is the program that its calculator marks spell; none where they spell none."""
    plain = gsm8k(row, place)
    number = read_number(plain["gold"])
    program = program_of_marks(_need(row, place, "answer"), float(number.value)) if number else None
    return {**plain, "solution": program, "verifier": "program"}


def asdiv(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return an ASDiv row: body and question joined, the unit in brackets taken off the answer."""
    answer = _need(row, place, "answer")
    match = re.fullmatch(r"(.*?\S)\s+\(([^()]*)\)", answer.strip())
    gold, unit = (match[1], match[2]) if match else (answer.strip(), "")
    formula = str(row.get("formula") or "")
    kind = {"unit": unit, "kind": str(row.get("solution_type") or "")}
    return {
        "prompt": _joined(_need(row, place, "body"), _need(row, place, "question")),
        "gold": gold,
        "solution": f"{formula}\nThe answer is {gold}." if formula else None,
        "meta": {name: value for name, value in kind.items() if value},
    }


def svamp(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return a SVAMP row: body and question joined, the equation as its solution."""
    gold = _need(row, place, "Answer")
    equation = re.sub(r"(\d)\.0\b", r"\1", str(row.get("Equation") or "")).strip()
    equation = equation[1:-1].strip() if equation.startswith("(") and equation.endswith(")") else equation
    name = {"id": f"{row['ID']}"} if row.get("ID") else {}
    return {
        **name,
        "prompt": _joined(_need(row, place, "Body"), _need(row, place, "Question")),
        "gold": gold,
        "solution": f"{equation} = {gold}" if equation else None,
        "meta": {"kind": str(row["Type"])} if row.get("Type") else {},
    }


def mawps(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return a MAWPS row: `input` and `target`."""
    return {
        "prompt": _need(row, place, "input"),
        "gold": _need(row, place, "target"),
        "meta": {"kind": str(row["type"])} if row.get("type") else {},
    }


def math(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return a MATH row: `problem` (or `content`), the answer as given or out of the solution's last box."""
    question = _need(row, place, "problem" if "problem" in row else "content")
    solution = row.get("solution")
    gold = row.get("answer") or boxed(solution or "")
    if not gold:
        raise DataError(f"{place}: neither an answer nor a \\boxed{{...}} in the solution")
    kind = {"kind": row.get("subject") or row.get("type"), "level": row.get("level")}
    return {
        "prompt": question,
        "gold": str(gold),
        "solution": solution,
        "meta": {name: str(value) for name, value in kind.items() if value},
    }


def humaneval(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return a HumanEval row: a function to complete, graded by its `check`; answers may go on from the prompt."""
    start, name = _need(row, place, "prompt"), _need(row, place, "entry_point")
    gold = start + _need(row, place, "canonical_solution")
    if not defines(_python(gold, place, "prompt and canonical_solution"), name):
        raise DataError(f"{place}: the prompt does not define the entry point '{name}'")
    tests = _python(_need(row, place, "test"), place, "test").rstrip()
    return {
        "id": row.get("task_id"),
        "prompt": f"Complete this Python function; reply with all of it in one code block.\n\n{_fenced(start)}",
        "gold": gold,
        "solution": _fenced(gold),
        "verifier": "tests",
        "meta": {
            "tests": [f"{tests}\n\ncheck({name})\n"],
            "entry_point": name,
            "prefix": start,
            "question": start,
        },
    }


def mbpp(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return an MBPP row, as first published or sanitized: a task in words with its assertions, and what is tested.

    The challenge tests of the first form stand in `meta["challenge_tests"]`: they are not part of its usual score.
    """
    task = _need(row, place, "prompt" if "prompt" in row else "text").strip()
    gold = _python(_need(row, place, "code").replace("\r\n", "\n"), place, "code")
    asserts = _python("\n".join(_lines(row, place, "test_list")), place, "test_list")
    before = [*_lines(row, place, "test_imports", False), str(row.get("test_setup_code") or "")]
    called = {node.id for node in ast.walk(ast.parse(asserts)) if isinstance(node, ast.Name)}
    name = next((name for name in function_names(gold) if name in called), None)
    if name is None:
        raise DataError(f"{place}: no function of the code is called by test_list, so this is not MBPP's format")
    challenge = _lines(row, place, "challenge_test_list", False)
    return {
        "id": f"mbpp/{row['task_id']}" if row.get("task_id") is not None else None,
        "prompt": f"{task}\nWrite it in Python, in one code block. It must pass these tests:\n\n{_fenced(asserts)}",
        "gold": gold,
        "solution": _fenced(gold),
        "verifier": "tests",
        "meta": {
            "tests": ["\n".join(filter(None, (*before, asserts)))],
            "entry_point": name,
            "question": task,
            **({"challenge_tests": challenge} if challenge else {}),
        },
    }


SETS = {
    "gsm8k": Named(gsm8k, "openai/gsm8k", "main"),
    "gsm8k_programs": Named(gsm8k_programs, "openai/gsm8k", "main"),
    "asdiv": Named(asdiv, "EleutherAI/asdiv", split="validation"),
    "svamp": Named(svamp, "ChilleD/SVAMP"),
    "mawps": Named(mawps, "MU-NLPC/Calc-mawps"),
    # MATH-500 holds test problems alone; the other 12,000 problems of MATH have a home of their own
    "math": Named(math, "HuggingFaceH4/MATH-500", split="test", elsewhere={"train": "nlile/hendrycks-MATH-benchmark"}),
    "humaneval": Named(humaneval, "openai/openai_humaneval", split="test"),
    "mbpp": Named(mbpp, "google-research-datasets/mbpp", "full", "test"),
    "mbpp_sanitized": Named(mbpp, "google-research-datasets/mbpp", "sanitized", "test"),
}
"""Name in a recipe: how it is read."""


def _need(row: Mapping[str, Any], place: str, name: str) -> str:
    value = row.get(name)
    if value is None or value == "" or isinstance(value, bool | list | dict):
        names = ", ".join(map(str, row)) or "no fields"
        problem = f"no field '{name}'" if name not in row else f"'{name}' is {value!r}"
        raise DataError(f"{place}: {problem}, which this data set's public format has; the row has {names}")
    return spell(Fraction(str(value))) if isinstance(value, float) and isfinite(value) else str(value)


def _lines(row: Mapping[str, Any], place: str, name: str, needed: bool = True) -> list[str]:
    """Return a list of texts."""
    value = row.get(name)
    lines = list(value) if isinstance(value, list | tuple) else []
    if (needed and not lines) or any(not isinstance(line, str) for line in lines) or isinstance(value, str):
        problem = f"no field '{name}'" if name not in row else f"'{name}' is {value!r:.60}, and no list of texts"
        raise DataError(f"{place}: {problem}, which this data set's public format has; the row has {', '.join(row)}")
    return lines


def _python(code: str, place: str, name: str) -> str:
    try:
        parse(code)
    except SyntaxError as error:
        raise DataError(f"{place}: {name} is no Python code ({error})") from None
    return code


def _fenced(code: str) -> str:
    return f"```python\n{code.strip(chr(10))}\n```"


def _joined(body: str, question: str) -> str:
    body = body.strip()
    return f"{body}{'' if body.endswith(('.', ',', '?', '!', ';', ':')) else '.'} {question.strip()}"
