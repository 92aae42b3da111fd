"""SCIR over whole rounds of the tiny model: a start, a warm-up, and the loss against what the start has made."""

import json

import pytest

from selfimprove.config import make_recipe
from selfimprove.files import read_json, read_jsonl
from selfimprove.loop import run_recipe

SCRIPT = """
def answer(request, seed):
    return ["It is four.", "Five, I think.", "4", "Perhaps six?"][seed % 4]
"""
TRAIN = {
    "learning_rate": 1e-2, "max_steps": 1, "per_device_train_batch_size": 4, "logging_steps": 1, "max_length": 512,
    "lora": {"r": 4, "alpha": 8}, "dtype": "float32", "loss_options": {"tau": 0.5},
}  # fmt: skip


@pytest.mark.slow
def test_the_start_makes_the_judge_and_the_reference(tmp_path, tiny_model):
    (tmp_path / "script.py").write_text(SCRIPT)
    asked = [{"id": f"q{n}", "prompt": f"What is {n} + {n}?", "solution": f"{n} + {n} = {2 * n}"} for n in range(4)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    recipe = make_recipe(
        {
            "method": {"name": "scir", "start": "sft", "warm_up": 1, "warm_up_label": "mean"},
            "model": str(tiny_model), "prompts": str(tmp_path / "prompts.jsonl"), "rounds": 3, "train": TRAIN,
            "engine": {"name": "scripted", "script": str(tmp_path / "script.py")}, "watch": {"prompts": 0},
            "output": str(tmp_path / "run"), "export": "adapter",
        },
        "test.yaml",
    )  # fmt: skip
    folder = run_recipe(recipe, "test.yaml", say=lambda line: None)
    rows = [row for file in (folder / "round-1" / "collect").glob("rows-*.jsonl") for row in read_jsonl(file)]
    assert {row["completion"] for row in rows if "/verdict" in row["id"]} == {"A", "B"}
    jobs = [read_json(folder / f"round-{number}" / "learn" / "job.json") for number in (1, 2, 3)]
    assert [job["kind"] for job in jobs] == ["sft", "pairs", "pairs"]
    assert [job["options"].get("loss_type") for job in jobs] == [None, "sigmoid", "scir"]
    first = str(folder / "round-1" / "learn" / "adapter")
    assert (jobs[2]["options"]["loss_options"], jobs[1]["policy_adapter"]) == ({"tau": 0.5, "reference": first}, first)
    trained = read_json(folder / "round-3" / "learn" / "result.json")["metrics"]
    assert trained["gated"] == 1.0 and 0 <= trained["consistent"] <= 1
    [step, *_] = read_jsonl(folder / "round-3" / "learn" / "events.jsonl")
    assert step["p_imp"] != 0.5  # the warm-up has moved the policy from what the start has made
