"""GSM8K's calculator marks as programs, in small solutions and on the real file where it lies."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.sources import load_prompts
from selfimprove.sources.calculations import program_of_marks

FOLDER = Path(os.environ.get("SELFIMPROVE_PUBLIC_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


@pytest.mark.parametrize(
    ("solution", "gold", "program"),
    [
        ("<<48/2=24>>24 and <<48+24=72>>72", 72, "n0 = 48\nn1 = 2\nt0 = n0 / n1\nanswer = n0 + t0"),
        ("<<12/60=$0.2>> <<0.2*50=10>>", 10, "n0 = 12\nn1 = 60\nn2 = 50\nt0 = n0 / n1\nanswer = t0 * n2"),
        ("<<2*3=6>> <<6+1=7>> <<5*5=25>>", 7, "n0 = 2\nn1 = 3\nn2 = 1\nt0 = n0 * n1\nanswer = t0 + n2"),
        ("<<$1,000*20%=200>>", 200, "n0 = 1000\nn1 = 20\nn2 = 100\nanswer = n0 * n1 / n2"),
        ("<<05-(.5+1)=3.5>>", 3.5, "n0 = 5\nn1 = 0.5\nn2 = 1\nanswer = n0 - (n1 + n2)"),
        ("<<10/3=3.33>> <<3.33*3=10>>", 10, "n0 = 10\nn1 = 3\nt0 = n0 / n1\nanswer = t0 * n1"),
        ("<<4=4>> <<-2+6=4>>", 4, "n0 = 2\nn1 = 6\nanswer = -n0 + n1"),
        ("<<2*3=6>>", 7, None),  # another answer
        ("<<2*3=7>>", 7, None),  # a wrong calculation
        ("<<x*3=6>>", 6, None),
        ("<<2**3=8>>", 8, None),
        ("<<'a'*3=6>>", 6, None),
        ("<<6/0=6>>", 6, None),
        ("<<2*=6>>", 6, None),
        ("<<2*3=six>>", 6, None),
        ("2 * 3 = 6", 6, None),
    ],
)
def test_marks_spell_programs(solution, gold, program):
    assert program_of_marks(solution, gold) == program


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.sampled_from("+-*/"), st.integers(1, 60)), min_size=1, max_size=5))
def test_every_spelled_program_gives_the_gold_answer(steps):
    value, marks = steps[0][0], []
    for _, sign, number in steps:
        result = {"+": value + number, "-": value - number, "*": value * number, "/": value / number}[sign]
        marks.append(f"<<{value}{sign}{number}={result}>>".replace("<<-", "<<0-"))
        value = result
    program = program_of_marks(" ".join(marks), value)
    if program is not None:
        names = {}
        exec(program, {}, names)
        assert names["answer"] == pytest.approx(value, abs=1e-4)
        assert program.count("answer") == 1 and program.splitlines()[-1].startswith("answer = ")


@pytest.mark.slow
def test_nine_of_ten_real_solutions_have_a_program_that_is_right():
    path = FOLDER / "gsm8k_train.jsonl"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {FOLDER}; set SELFIMPROVE_PUBLIC_DATA to a folder of public data sets")
    from selfimprove.verify.straight_line import gold_number, same_answer

    prompts = list(load_prompts({"name": "gsm8k_programs", "path": str(path)}))
    solved = [prompt for prompt in prompts if prompt.solution]
    print(f"{len(solved)} of {len(prompts)} GSM8K solutions have a program")
    assert len(solved) / len(prompts) > 0.89 and all(prompt.verifier == "program" for prompt in prompts)
    for prompt in solved:
        names = {}
        exec(prompt.solution, {}, names)  # arithmetic alone: the reader lets nothing else through
        assert same_answer(names["answer"], gold_number(prompt)), prompt.id


def test_the_reader_gives_programs_and_keeps_what_has_none(tmp_path):
    import json

    rows = [
        {"question": "48 and half?", "answer": "Half is <<48/2=24>>24.\nIn all <<48+24=72>>72.\n#### 72"},
        {"question": "A week?", "answer": "There are 7.\n#### 7"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = load_prompts({"name": "gsm8k_programs", "path": str(path)})
    assert first.solution.endswith("answer = n0 + t0") and (first.gold, first.verifier) == ("72", "program")
    assert (second.solution, second.gold) == (None, "7")
