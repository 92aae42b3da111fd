"""Runs in processes of their own that are killed at a chosen point, and what is left of them."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

STAGES = [
    (0, "evaluate"), (0, "watch"),
    (1, "collect"), (1, "learn"), (1, "evaluate"), (1, "watch"),
    (2, "collect"), (2, "learn"), (2, "evaluate"), (2, "watch"),
]  # fmt: skip
"""Every stage of a run of two rounds."""

SCRIPT = '''
"""Answers sums, better once the policy was trained, and notes every request it serves."""
import hashlib, json, os, re, time

def answer(request, seed):
    question = request.messages[-1]["content"]
    chance = hashlib.blake2b(f"{request.policy.digest} {question} {seed}".encode(), digest_size=2).digest()[0] / 255
    with open(os.environ["SERVED"], "a") as file:
        file.write(json.dumps([question, request.policy.digest, request.temperature, seed]) + "\\n")
    time.sleep(0.01)
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
watch: {{judge_against_truth: false}}
"""


def write_recipe(folder: Path, model: Path) -> Path:
    """Write a recipe with data and script whose every stage takes a noticeable while; return its file."""

    def lines(pairs):
        return "".join(
            json.dumps({"id": f"q{i}-{j}", "prompt": f"What is {i} + {j}?", "gold": str(i + j)}) + "\n"
            for i, j in pairs
        )

    (folder / "train.jsonl").write_text(lines((i, j) for i in range(8) for j in range(5)))
    (folder / "held.jsonl").write_text(lines((i, 9) for i in range(30)))
    (folder / "script.py").write_text(SCRIPT)
    (folder / "recipe.yaml").write_text(RECIPE.format(model=model))
    return folder / "recipe.yaml"


def start(recipe: Path, output: str, served: str = "served") -> subprocess.Popen:
    """Start a run in a process of its own; the recipe's script may note what it serves in the file `served`."""
    return subprocess.Popen(
        [sys.executable, "-m", "selfimprove.cli.main", "run", recipe.name, f"output={output}"],
        cwd=recipe.parent,
        env={**os.environ, "SERVED": str(recipe.parent / served), "PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    """Wait for a run that must succeed; return what it said."""
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    return text


def answers(folder: Path) -> dict[str, float]:
    """Return {key: when it was written} of the ledger; empty where there is none."""
    if not (folder / "ledger.sqlite").exists():
        return {}
    connection = sqlite3.connect(folder / "ledger.sqlite")
    found = dict(connection.execute("SELECT key, time FROM answers").fetchall())
    connection.close()
    return found


def finished_requests(folder: Path) -> set[str]:
    """Return the answers in the ledger as the script of the tests notes them when it serves one."""
    if not (folder / "ledger.sqlite").exists():
        return set()
    connection = sqlite3.connect(folder / "ledger.sqlite")
    rows = connection.execute("SELECT request FROM answers WHERE kind = 'generate'").fetchall()
    connection.close()
    requests = [json.loads(text) for (text,) in rows]
    return {
        json.dumps([r["messages"][-1]["content"], r["policy"], r["temperature"], r["seed"] + i])
        for r in requests
        for i in range(r["n"])
    }


DATA = ("collect", "watch", "sums")
"""Folders whose files must not depend on when a run was killed."""


def data_of(folder: Path) -> dict[str, bytes]:
    """Return the rows, skips and held-out items of a run as bytes."""
    rounds = [path for path in sorted(folder.glob("round-*/**/*.jsonl")) if path.parent.name in DATA]
    assert len(rounds) >= 8
    return {str(path.relative_to(folder)): path.read_bytes() for path in rounds}


def stage_begun(folder: Path, round: int, stage: str) -> Callable[[], bool]:
    """True once this call's process has begun a stage and written something of its own, and has not finished it."""
    place, since = folder / f"round-{round}", time.time()
    trace = {"learn": "learn/events.jsonl", "evaluate": "evaluate/sums/rows-*"}.get(stage, f"{stage}/*")
    return lambda: (
        any(path.stat().st_mtime >= since for path in place.glob(trace)) and not (place / f"{stage}.json").exists()
    )


def stage_under_way(folder: Path, stages: list[tuple[int, str]] = STAGES) -> tuple[int, str] | None:
    """Return the first stage that has not finished, None where all have."""
    return next((s for s in stages if not (folder / f"round-{s[0]}" / f"{s[1]}.json").exists()), None)


def kill_within(
    process: subprocess.Popen, folder: Path, target: tuple[int, str], random: Random, longest: float
) -> tuple[int, str]:
    """SIGKILL a run at a random moment after it began a stage, or the first unfinished one if that is later."""
    target = max(target, stage_under_way(folder) or STAGES[0], key=STAGES.index)
    reached = stage_begun(folder, *target)
    if target[1] == "learn":  # its start takes longest, and is as good a moment as any
        reached = (folder / f"round-{target[0]}" / "learn").exists
        longest *= 10
    kill_when(process, reached, random.uniform(0, longest))
    return stage_under_way(folder) or (2, "export")


def kill_when(process: subprocess.Popen, reached: Callable[[], bool], extra: float) -> None:
    """SIGKILL a run `extra` seconds after it reached a point."""
    deadline = time.monotonic() + 180
    while not reached():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline, "the stage never began"
        time.sleep(0.01)
    time.sleep(extra)
    process.send_signal(signal.SIGKILL)
    process.wait()


def last_event(folder: Path) -> dict:
    """Return the last line of a run's events."""
    return json.loads((folder / "events.jsonl").read_text().splitlines()[-1])
