"""data/countdown: made by its script byte for byte, every solution checked line by line, and honestly split."""

import asyncio
import runpy
import sys
from pathlib import Path

import pytest

from selfimprove.sources import load_prompts
from selfimprove.verify import validate_gold
from selfimprove.verify.countdown import Countdown, can_reach, is_valid_step, next_left, puzzle_of

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "data" / "countdown"
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "make_countdown.py"))
FILES = {"train": 800, "heldout": 400}


def prompts_of(name: str):
    return list(load_prompts(str(FOLDER / f"{name}.jsonl")))


@pytest.mark.slow
def test_the_script_makes_the_shipped_files_byte_for_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["make_countdown.py", "--out", str(tmp_path)])
    SCRIPT["main"]()
    for name in FILES:
        assert (tmp_path / f"{name}.jsonl").read_bytes() == (FOLDER / f"{name}.jsonl").read_bytes(), name


@pytest.mark.slow
def test_operators_and_lengths_can_be_chosen_and_too_many_puzzles_are_refused(tmp_path, monkeypatch):
    command = ["make_countdown.py", "--out", str(tmp_path), "--heldout", "10"]
    harder = ["--operators=+-*/", "--four", "0.5", "--largest", "9"]
    monkeypatch.setattr(sys, "argv", [*command, *harder, "--train", "30"])
    SCRIPT["main"]()
    prompts = list(load_prompts(str(tmp_path / "train.jsonl")))
    assert len(prompts) == 30 and {prompt.meta["kind"] for prompt in prompts} == {"numbers_3", "numbers_4"}
    assert any("*" in (prompt.gold or "") for prompt in prompts)
    assert max(number for prompt in prompts for number in prompt.meta["numbers"]) <= 9
    before = (tmp_path / "train.jsonl").read_bytes()
    monkeypatch.setattr(sys, "argv", [*command, "--largest", "5", "--train", "5000"])
    monkeypatch.setitem(SCRIPT["draw"].__globals__, "PATIENCE", 50)  # enough to see it end, in seconds
    with pytest.raises(SystemExit, match=r"of the 5000 train puzzles with 3 numbers, \d+ do not exist; ask for fewer"):
        SCRIPT["main"]()
    assert (tmp_path / "train.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("expression", "numbers", "solution"),
    [
        ("3*7 + 4", [7, 4, 3], "3 * 7 = 21 (left: 4 21)\n21 + 4 = 25 (left: 25)\nAnswer: (3 * 7) + 4"),
        ("4*(9 - 3)", [4, 9, 3], "9 - 3 = 6 (left: 4 6)\n4 * 6 = 24 (left: 24)\nAnswer: 4 * (9 - 3)"),
        ("4/4 + 4", [4, 4, 4], "4 / 4 = 1 (left: 4 1)\n1 + 4 = 5 (left: 5)\nAnswer: (4 / 4) + 4"),
        (
            "2*5 - 3*1",
            [1, 2, 3, 5],
            "2 * 5 = 10 (left: 1 3 10)\n3 * 1 = 3 (left: 10 3)\n10 - 3 = 7 (left: 7)\nAnswer: (2 * 5) - (3 * 1)",
        ),
        ("2 - 7 + 9", [2, 7, 9], None),  # below zero
        ("7 - 7 + 9", [7, 7, 9], None),  # zero
        ("7/2*4", [7, 2, 4], None),  # a fraction
        ("10*10 + 1", [10, 10, 1], None),  # above 99
        ("-3 + 9", [3, 9], None),
        ("3 + 9", [3, 9, 1], None),  # leaves a number over
    ],
)
def test_worked_solutions(expression, numbers, solution):
    made = SCRIPT["worked"](expression, numbers)
    assert (made[0] if made else None) == solution


def test_sizes_kinds_and_form():
    for name, size in FILES.items():
        prompts = prompts_of(name)
        kinds = [prompt.meta["kind"] for prompt in prompts]
        assert len(prompts) == size and kinds.count("numbers_4") == SCRIPT["sizes_of"](size)[4] == 0
        for prompt in prompts:
            numbers, target = puzzle_of(prompt)
            *most, last = numbers
            question, instruction = prompt.text.split("\n")
            assert question == f"Make {target} out of {', '.join(map(str, most))} and {last}, each used once."
            assert instruction == SCRIPT["INSTRUCTION"] and prompt.verifier == "countdown"
            assert prompt.meta["kind"] == f"numbers_{len(numbers)}" and target not in numbers


def test_every_gold_answer_and_every_solution_is_right():
    prompts = prompts_of("train") + prompts_of("heldout")
    assert asyncio.run(validate_gold(prompts)) == []

    async def grade_solutions():
        return [await Countdown().grade(prompt, prompt.solution or "") for prompt in prompts]

    assert all(verdict.score == 1.0 for verdict in asyncio.run(grade_solutions()))


def test_every_step_of_every_solution_holds_and_leads_on():
    for prompt in prompts_of("train") + prompts_of("heldout"):
        left, target = puzzle_of(prompt)
        *steps, answer = (prompt.solution or "").split("\n")
        assert len(steps) == len(left) - 1 and answer == f"Answer: {prompt.gold}"
        for step in steps:
            assert is_valid_step(step)
            left = next_left(step, left)
            assert left is not None and can_reach(left, target), (prompt.id, step)
            assert all(1 <= number <= SCRIPT["HIGHEST"] for number in left)
        assert left == [target]


def test_nothing_held_out_is_trained_on():
    train, heldout = (
        {SCRIPT["key"](*puzzle_of(prompt)) for prompt in prompts_of(name)} for name in ("train", "heldout")
    )
    assert len(train) == FILES["train"] and len(heldout) == FILES["heldout"] and not train & heldout
