"""A run that is killed at any moment and resumed ends byte-identical, and asks no finished request again."""

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from killing import (
    STAGES,
    answers,
    data_of,
    finish,
    finished_requests,
    kill_within,
    last_event,
    stage_begun,
    stage_under_way,
    start,
    write_recipe,
)

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("SELFIMPROVE_KILLS", "6"))
"""Over the stages in turn, every kind of them; each more takes about ten seconds."""


@pytest.fixture
def recipe(tmp_path, tiny_model) -> Path:
    return write_recipe(tmp_path, tiny_model)


def test_killed_at_random_moments_and_resumed(recipe):
    folder, random, hit = recipe.parent / "killed", Random(1), Counter()
    finish(start(recipe, "whole", "served-whole.jsonl"))
    for number in range(KILLS):
        if stage_under_way(folder) is None:  # killed after its last stage: the next ones hit a run from the start
            folder.rename(recipe.parent / f"killed-{number}")
        known = finished_requests(folder)
        target = STAGES[number * len(STAGES) // KILLS]  # in turn, so that none is left out
        hit[kill_within(start(recipe, "killed", f"served-{number}.jsonl"), folder, target, random, 0.6)] += 1
        served = recipe.parent / f"served-{number}.jsonl"
        again = known & set(served.read_text().splitlines()) if served.exists() else set()
        assert not again, f"asked again after kill {number}: {sorted(again)[:3]}"
    finish(start(recipe, "killed", "served-last.jsonl"))
    print(f"{KILLS} kills: {dict(sorted(hit.items()))}")
    assert data_of(folder) == data_of(recipe.parent / "whole")
    assert set(answers(folder)) == set(answers(recipe.parent / "whole"))
    assert (
        last_event(folder)["policy"] == last_event(recipe.parent / "whole")["policy"]
    )  # the same weights, bit for bit
    if KILLS >= 6:
        assert {stage for _, stage in hit} >= {"evaluate", "watch", "collect", "learn"}


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
