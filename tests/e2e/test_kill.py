"""A run that is killed in every stage and resumed ends byte-identical, and asks no finished request again."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from killing import STAGES, answers, data_of, finish, finished_requests, kill_when, last_event, stage_begun, start

pytestmark = pytest.mark.slow

SCRIPT = '''
"""Answers sums, better once the policy was trained, and notes every request it serves."""
import hashlib, json, os, re, time

def answer(request, seed):
    question = request.messages[-1]["content"]
    chance = hashlib.blake2b(f"{request.policy.digest} {question} {seed}".encode(), digest_size=2).digest()[0] / 255
    with open(os.environ["SERVED"], "a") as file:
        file.write(json.dumps([question, request.policy.digest, request.temperature, seed]) + "\\n")
    time.sleep(0.02)
    a, b = map(int, re.findall(r"\\d+", question))
    return f"{a} + {b} = {a + b + (chance > 0.6)}"
'''

RECIPE = """
# A small RAFT for tests.
method: {{name: raft, samples: 4, temperature: 0.7, keep: 2}}
model: {model}
rounds: 2
prompts: train.jsonl
heldout: {{sums: held.jsonl}}
engine: {{name: scripted, script: script.py}}
collect: {{window: 8}}
train: {{learning_rate: 1.0e-3, num_train_epochs: 2, per_device_train_batch_size: 4, max_length: 128, save_steps: 5,
        logging_steps: 1, lora: {{r: 4, alpha: 8, target_modules: all-linear}}, dtype: float32}}
"""


@pytest.fixture
def recipe(tmp_path, tiny_model) -> Path:
    def lines(pairs):
        return "".join(
            json.dumps({"id": f"q{i}-{j}", "prompt": f"What is {i} + {j}?", "gold": str(i + j)}) + "\n"
            for i, j in pairs
        )

    (tmp_path / "train.jsonl").write_text(lines((i, j) for i in range(8) for j in range(5)))
    (tmp_path / "held.jsonl").write_text(lines((i, 9) for i in range(30)))
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(model=tiny_model))
    return tmp_path / "recipe.yaml"


def test_killed_in_every_stage_and_resumed(recipe):
    folder = recipe.parent / "killed"
    finish(start(recipe, "whole", "served-whole.jsonl"))
    for number, (round, stage) in enumerate(STAGES):
        known = finished_requests(folder)
        process = start(recipe, "killed", f"served-{number}.jsonl")
        kill_when(process, stage_begun(folder, round, stage), extra=0.0 if stage == "learn" else 0.3)
        assert not (folder / f"round-{round}" / f"{stage}.json").exists(), "killed too late to prove anything"
        served = recipe.parent / f"served-{number}.jsonl"
        again = known & set(served.read_text().splitlines()) if served.exists() else set()
        assert not again, f"asked again after a kill in {stage}: {sorted(again)[:3]}"
    finish(start(recipe, "killed", "served-last.jsonl"))
    assert data_of(folder) == data_of(recipe.parent / "whole")
    assert set(answers(folder)) == set(answers(recipe.parent / "whole"))
    assert (
        last_event(folder)["policy"] == last_event(recipe.parent / "whole")["policy"]
    )  # the same weights, bit for bit


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_says_so_and_leaves_no_process(recipe, number, code):
    folder = recipe.parent / "stopped"
    process = start(recipe, "stopped", "served.jsonl")
    reached = stage_begun(folder, 1, "learn" if number == signal.SIGTERM else "collect")
    deadline = time.monotonic() + 120
    while not reached():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == code, text
    assert "The same command goes on from here" in text
    assert len(answers(folder)) >= 30
    workers = subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True).stdout.split()
    assert not workers, "a training worker outlived the run"
