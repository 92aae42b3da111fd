"""Public data sets by name, in the formats they are published in: from their rows to ours.

Hub ids are the usual homes of these sets; a local copy in the same format is given by `path`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite
from typing import Any

from selfimprove.errors import DataError
from selfimprove.verify.extraction import boxed
from selfimprove.verify.numbers import spell


@dataclass(frozen=True)
class Named:
    """A public set: how a row is read, and where the set usually lives."""

    read: Callable[[Mapping[str, Any], str], dict[str, Any]]
    hub: str
    subset: str | None = None
    split: str = "train"


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


SETS = {
    "gsm8k": Named(gsm8k, "openai/gsm8k", "main"),
    "asdiv": Named(asdiv, "EleutherAI/asdiv", split="validation"),
    "svamp": Named(svamp, "ChilleD/SVAMP"),
    "mawps": Named(mawps, "MU-NLPC/Calc-mawps"),
    "math": Named(math, "HuggingFaceH4/MATH-500", split="test"),
}
"""Name in a recipe: how it is read."""


def _need(row: Mapping[str, Any], place: str, name: str) -> str:
    value = row.get(name)
    if value is None or value == "" or isinstance(value, bool | list | dict):
        names = ", ".join(map(str, row)) or "no fields"
        problem = f"no field '{name}'" if name not in row else f"'{name}' is {value!r}"
        raise DataError(f"{place}: {problem}, which this data set's public format has; the row has {names}")
    return spell(Fraction(str(value))) if isinstance(value, float) and isfinite(value) else str(value)


def _joined(body: str, question: str) -> str:
    body = body.strip()
    return f"{body}{'' if body.endswith(('.', ',', '?', '!', ';', ':')) else '.'} {question.strip()}"
