"""data/arithmetic: made by its script byte for byte, gradable, and honestly split."""

import asyncio
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from selfimprove.records import Prompt
from selfimprove.sources import load_prompts, normalized_text
from selfimprove.verify import Verifiers, validate_gold

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "data" / "arithmetic"


def prompts_of(name: str):
    return list(load_prompts(str(FOLDER / f"{name}.jsonl")))


@pytest.mark.slow
def test_the_script_makes_the_shipped_files_byte_for_byte(tmp_path):
    command = [sys.executable, "-W", "ignore", str(ROOT / "scripts" / "make_arithmetic.py"), "--out", str(tmp_path)]
    subprocess.run(command, check=True, timeout=120)
    for name in ("train.jsonl", "heldout.jsonl"):
        made, shipped = ((folder / name).read_bytes() for folder in (tmp_path, FOLDER))
        assert hashlib.sha256(made).hexdigest() == hashlib.sha256(shipped).hexdigest(), name


def test_sizes_and_kinds():
    train, heldout = prompts_of("train"), prompts_of("heldout")
    assert len(heldout) == 500 and 1500 <= len(train) <= 2000
    assert {p.meta["kind"] for p in train} == {p.meta["kind"] for p in heldout}
    words = sum(p.meta["kind"].startswith("word_") for p in heldout)
    assert words >= len(heldout) / 2
    assert all(p.messages[-1]["content"].endswith("in one line.") and p.verifier == "answer" for p in train + heldout)


def test_every_gold_and_every_solution_is_right():
    prompts = prompts_of("train") + prompts_of("heldout")
    assert asyncio.run(validate_gold(prompts)) == []
    answers = Verifiers().of(Prompt("p", (), verifier="answer"))

    async def grade_solutions():
        return [await answers.grade(prompt, prompt.solution or "") for prompt in prompts]

    assert all(verdict.score == 1.0 for verdict in asyncio.run(grade_solutions()))


def test_nothing_held_out_is_trained_on():
    train, heldout = ({normalized_text(prompt) for prompt in prompts_of(name)} for name in ("train", "heldout"))
    assert len(heldout) == 500 and not train & heldout


def test_the_worked_lines_are_true():
    """Each part between equals signs has the same value, computed here from the left without the script."""
    for prompt in prompts_of("heldout"):
        values = {evaluate(part) for part in (prompt.solution or "").split(" = ")}
        assert values == {float(prompt.gold or "nan")}, prompt


def evaluate(expression: str) -> float:
    first, *rest = expression.split()
    value = float(first)
    for operator, term in zip(rest[::2], rest[1::2], strict=True):
        number = float(term)
        value = {"+": value + number, "-": value - number, "*": value * number, "/": value / (number or 1)}[operator]
    return value
