"""A run that trains a policy and a value model for real: side by side, resumable, and found by the next round."""

import json

import pytest

from selfimprove.config import make_recipe
from selfimprove.files import read_json
from selfimprove.loop import run_recipe

METHOD = '''
"""A method for tests: a step that ends in + is worth 1, one that ends in - is worth 0."""
from dataclasses import dataclass
from selfimprove.records import Example, Steps

NEEDS, MAKES = {"messages"}, ("sft", "steps")

@dataclass(frozen=True)
class Config:
    """No options."""

def makes(cfg):
    return "sft", None

async def collect(cfg, run, prompt):
    for name, text in (("good", "up+"), ("bad", "down-")) if "value" in run.models else ():
        run.measure(name, await run.value(prompt, text))
    return [Example.of(prompt, "up+down-"), Steps.of(prompt, ["up+", "down-", "up+"], [1.0, 0.0, 1.0])]

async def learn(cfg, run, rows):
    if run.round > 1:
        return run.policy
    policy = await run.train("sft", rows.of("sft"), max_steps=1)
    BREAK
    return {"policy": policy, "value": await run.train("steps", rows.of("steps"))}
'''


@pytest.mark.slow
def test_two_trainings_of_a_round_stand_side_by_side_and_a_broken_round_goes_on(tiny_model, tmp_path):
    own, prompts = tmp_path / "own.py", tmp_path / "train.jsonl"
    prompts.write_text("".join(json.dumps({"id": f"q{i}", "prompt": f"Case {i}?"}) + "\n" for i in range(6)))
    lora = {"lora": {"r": 8, "alpha": 16}, "dtype": "float32", "logging_steps": 1}
    recipe = make_recipe(
        {
            "method": {"name": str(own)}, "model": str(tiny_model), "prompts": str(prompts), "rounds": 2,
            "engine": {"name": "transformers", "device": "cpu"}, "train": {"learning_rate": 1e-3, **lora},
            "value": {"learning_rate": 1e-2, "max_steps": 20, "engine": {"name": "transformers", "device": "cpu"}},
            "watch": {"prompts": 0}, "export": "adapter", "output": str(tmp_path / "run"),
        },
        "test.yaml",
    )  # fmt: skip
    own.write_text(METHOD.replace("BREAK", "raise RuntimeError('a defect')"))
    with pytest.raises(Exception, match="a defect"):
        run_recipe(recipe, "test.yaml", say=lambda line: None)
    learn = tmp_path / "run" / "round-1" / "learn"
    trained = (learn / "result.json").stat().st_mtime_ns
    own.write_text(METHOD.replace("BREAK", ""))
    said: list[str] = []
    run_recipe(recipe, "test.yaml", say=said.append)
    assert (learn / "result.json").stat().st_mtime_ns == trained  # the policy was not trained a second time
    assert (learn / "adapter").is_dir() and (learn / "value" / "adapter" / "value.json").is_file()
    job = read_json(learn / "value" / "job.json")
    assert job["kind"] == "steps" and job["options"]["max_steps"] == 20 and job["options"]["lora"]["r"] == 8
    marker = read_json(learn.with_suffix(".json"))
    assert marker["adapter"] == "round-1/learn/adapter"
    assert marker["models"]["value"]["adapter"] == "round-1/learn/value/adapter"
    assert any("training the value model on 6 rows" in line for line in said)
    found = read_json(tmp_path / "run" / "round-2" / "collect.json")
    assert found["metrics"]["good"] > found["metrics"]["bad"] + 0.5 and found["asked"]["value"] == 12
    assert read_json(tmp_path / "run" / "round-2" / "learn.json")["models"] == marker["models"]
