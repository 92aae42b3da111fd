"""Sharpening over rounds with a real, tiny model: sampled, scored, trained, and the best policy taken."""

import json

import pytest

from selfimprove.config import make_recipe
from selfimprove.loop import run_recipe


@pytest.mark.slow
def test_three_rounds_of_xpo_end_with_the_best_policy(tiny_model, tmp_path):
    rows = [{"id": f"q{i}", "prompt": f"{i}?"} for i in range(8)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    method = {"name": "sharpening", "objective": "xpo", "reward": "norm", "max_tokens": 100, "tries": 3}
    recipe = make_recipe(
        {
            "method": {**method, "require_answer": False, "diagnose": False},
            "model": str(tiny_model), "rounds": 3, "prompts": str(tmp_path / "train.jsonl"),
            "engine": {"name": "transformers", "device": "cpu", "dtype": "float32"},
            "train": {"max_steps": 2, "per_device_train_batch_size": 4, "dtype": "float32", "lora": {"r": 4},
                      "loss_options": {"alpha": 0.001}},
            "watch": {"prompts": 0}, "export": "adapter", "output": str(tmp_path / "run"),
        },
        "test",
    )  # fmt: skip
    folder = run_recipe(recipe, "test", say=lambda line: None)
    learned = [json.loads((folder / f"round-{n}" / "learn.json").read_text())["policy"] for n in (1, 2, 3)]
    values = [json.loads((folder / f"round-{n}" / "collect.json").read_text())["metrics"]["value"] for n in (1, 2, 3)]
    drawn_by = [json.loads((folder / f"round-{n}" / "collect.json").read_text())["policy"] for n in (1, 2, 3)]
    assert learned[2] == drawn_by[values.index(max(values))] and len({*drawn_by}) == 3
