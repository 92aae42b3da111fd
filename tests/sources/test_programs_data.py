"""data/programs: written again byte for byte, its programs right, and held-out problems apart from training."""

import json
import subprocess
import sys
from pathlib import Path

from selfimprove.sources import load_prompts, normalized_text
from selfimprove.verify.straight_line import gold_number, same_answer, statements_of

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "data" / "programs"


def test_the_script_writes_the_same_bytes(tmp_path):
    subprocess.run([sys.executable, ROOT / "scripts" / "make_program_data.py", "--out", tmp_path], check=True,
                   capture_output=True)  # fmt: skip
    for name in ("train.jsonl", "heldout.jsonl"):
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()


def test_every_program_gives_its_gold_answer_and_no_held_out_problem_is_trained_on():
    sets = {name: list(load_prompts(str(FOLDER / f"{name}.jsonl"))) for name in ("train", "heldout")}
    assert len(sets["train"]) >= 300 and len(sets["heldout"]) >= 200
    for prompt in (*sets["train"], *sets["heldout"]):
        names = {}
        exec(prompt.solution, {}, names)  # ours, written by the script above
        assert same_answer(names["answer"], gold_number(prompt)) and names["answer"] >= 0
        assert 2 <= len(statements_of(prompt.solution)) <= 4 and prompt.verifier == "program"
    trained = set(map(normalized_text, sets["train"]))
    assert not trained & set(map(normalized_text, sets["heldout"]))
    kinds = {prompt.meta["kind"] for prompt in sets["train"]}
    for prompt in sets["heldout"]:
        assert prompt.meta["seen"] is (prompt.meta["kind"] in kinds)
    assert sum(not prompt.meta["seen"] for prompt in sets["heldout"]) >= 60


def test_the_card_shows_a_row_that_is_there():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    first = json.loads((FOLDER / "train.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert all(line in card for line in first["solution"].splitlines())
