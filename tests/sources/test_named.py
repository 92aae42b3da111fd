"""Public sets by name: in small files of their public formats, and on the real files where they lie."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from selfimprove.errors import DataError
from selfimprove.sources import load_prompts
from selfimprove.sources.named import SETS
from selfimprove.verify import validate_gold

PUBLIC = {
    "gsm8k": (
        {"question": "48 and half?", "answer": "Half is 48/2 = <<48/2=24>>24.\nIn all <<48+24=72>>72.\n#### 1,072"},
        ("48 and half?", "1,072", "Half is 48/2 = 24.\nIn all 72.\n#### 1,072", {}),
    ),
    "asdiv": (
        {"body": "Brad has 17 balloons, 8 are red", "question": "How many are not?", "answer": "9 (balloons)",
         "formula": "17-8=9", "solution_type": "Subtraction", "idx": 142},
        ("Brad has 17 balloons, 8 are red. How many are not?", "9", "17-8=9\nThe answer is 9.",
         {"unit": "balloons", "kind": "Subtraction"}),
    ),
    "svamp": (
        {"ID": "chal-864", "Body": "She bought 88 bottles.", "Question": "How many days?", "Answer": 22.0,
         "Equation": "( 88.0 / 4.0 )", "Type": "Common-Division", "idx": 878},
        ("She bought 88 bottles. How many days?", "22", "88 / 4 = 22", {"kind": "Common-Division"}),
    ),
    "mawps": (
        {"input": "4 pounds and 8.7 pounds?", "target": 12.7, "type": "singleeq", "idx": 383},
        ("4 pounds and 8.7 pounds?", "12.7", None, {"kind": "singleeq"}),
    ),
    "math": (
        {"problem": "Half?", "solution": "It is $\\boxed{\\frac{1}{2}}$.", "level": "Level 1", "type": "Algebra"},
        ("Half?", "\\frac{1}{2}", "It is $\\boxed{\\frac{1}{2}}$.", {"kind": "Algebra", "level": "Level 1"}),
    ),
}  # fmt: skip

LACKING = {
    "gsm8k": ({"question": "x", "answer": "no mark"}, "has no '#### number' at its end"),
    "asdiv": ({"body": "x", "answer": "9"}, "no field 'question', which this data set's public format has"),
    "svamp": ({"body": "x"}, "no field 'Answer'"),
    "mawps": ({"input": "x", "target": None}, "'target' is None"),
    "math": ({"problem": "x", "solution": "none"}, "neither an answer nor a \\boxed{...}"),
}

FOLDER = Path(os.environ.get("SELFIMPROVE_PUBLIC_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))

REAL = {  # file, rows at least, and the share of gold answers that must be gradable
    "gsm8k": ("gsm8k_train.jsonl", 7473, 0.995),
    "asdiv": ("asdiv_train.jsonl", 1500, 0.995),
    "svamp": ("svamp_train.jsonl", 700, 0.995),
    "mawps": ("mawps_train.jsonl", 1400, 0.995),
    "math": ("math_250.jsonl", 250, 0.97),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_format(tmp_path, name):
    row, (question, gold, solution, meta) = PUBLIC[name]
    path = tmp_path / f"{name}.jsonl"
    path.write_text(json.dumps(row) + "\n")
    (prompt,) = load_prompts({"name": name, "path": str(path)})
    assert (prompt.text, prompt.gold, prompt.solution, prompt.meta) == (question, gold, solution, meta)


@pytest.mark.parametrize("name", LACKING)
def test_other_formats_are_refused(tmp_path, name):
    row, part = LACKING[name]
    path = tmp_path / f"{name}.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError) as error:
        list(load_prompts({"name": name, "path": str(path)}))
    assert part in str(error.value) and f"{path} line 1" in str(error.value)


def test_a_split_that_the_usual_home_lacks_comes_from_where_it_lives():
    math = SETS["math"]  # MATH-500 has no split train, and its 500 problems must not be trained on
    assert (math.home("test"), math.home("train")) == ("HuggingFaceH4/MATH-500", "nlile/hendrycks-MATH-benchmark")
    assert {SETS["gsm8k"].home(split) for split in ("train", "test")} == {"openai/gsm8k"}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_gold_of_the_real_set_is_gradable(name):
    file, rows, share = REAL[name]
    if not (FOLDER / file).is_file():
        pytest.skip(f"no {file} in {FOLDER}; set SELFIMPROVE_PUBLIC_DATA to a folder of public data sets")
    prompts = list(load_prompts({"name": name, "path": str(FOLDER / file)}))
    assert len(prompts) >= rows
    failed = asyncio.run(validate_gold(prompts))
    listed = [(prompt.gold, verdict.score, verdict.reason) for prompt, verdict in failed]
    print(f"{name}: {len(prompts) - len(failed)} of {len(prompts)} gold answers gradable; not: {listed}")
    assert 1 - len(failed) / len(prompts) >= share, listed
