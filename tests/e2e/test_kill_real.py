"""The quick RAFT recipe, cut small: real model, real vLLM, real training, killed in every stage and resumed."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from killing import DATA, STAGES, answers, finish, kill_when, last_event, stage_begun, stage_under_way, start

pytestmark = [pytest.mark.slow, pytest.mark.vllm]
ROOT = Path(__file__).resolve().parents[2]
ONE_ROUND = STAGES[:6]
KILLS = int(os.environ.get("SELFIMPROVE_REAL_KILLS", "2"))
"""More of them take about 20 seconds each."""


@pytest.fixture
def recipe(tmp_path) -> Path:
    """The quick recipe with one round of 24 prompts and 16 held-out items."""
    import yaml

    whole = yaml.safe_load((ROOT / "recipes/quick/raft.yaml").read_text())
    source = str(ROOT / "data/arithmetic")
    whole |= {
        "rounds": 1, "prompts_per_round": 24, "prompts": f"{source}/train.jsonl", "export": "adapter",
        "heldout": {"sums": f"{source}/heldout.jsonl"}, "evaluate": {"max_tokens": 24, "limit": 16},
        "collect": {"window": 6}, "watch": {"prompts": 6},
    }  # fmt: skip
    whole["method"] |= {"samples": 4, "max_tokens": 24}
    whole["train"] |= {"num_train_epochs": 1, "save_steps": 1, "per_device_train_batch_size": 4}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(whole))
    return tmp_path / "recipe.yaml"


def rows_of(folder: Path) -> dict[str, str]:
    """Return {id: line} of everything the rounds wrote."""
    files = [path for path in sorted(folder.glob("round-*/**/*.jsonl")) if path.parent.name in DATA]
    return {
        f"{path.parent.parent.name}/{path.parent.name}/{json.loads(line)['id']}": line
        for path in files
        for line in path.open()
    }


def under_way(folder: Path, round: int, stage: str, known: int) -> Callable[[], bool]:
    """True once a stage has begun and, where it asks, a few answers more than `known` are written or none is left."""
    begun, marker = stage_begun(folder, round, stage), folder / f"round-{round}" / f"{stage}.json"
    return lambda: marker.exists() or (begun() and (stage == "learn" or len(answers(folder)) > known + 2))


def test_killed_again_and_again_and_resumed(recipe):
    folder, random, hit = recipe.parent / "killed", Random(2), Counter()
    known: dict[str, float] = {}
    while hit.total() < KILLS:
        number = hit.total()
        current = stage_under_way(folder, ONE_ROUND)
        if current is None:  # killed after its last stage: the next ones hit a run from the start
            folder.rename(recipe.parent / f"killed-{number}")
            known, current = {}, ONE_ROUND[0]
        target = max(ONE_ROUND[number * len(ONE_ROUND) // KILLS], current, key=ONE_ROUND.index)
        extra = random.uniform(0, 1.5) if len(ONE_ROUND) < KILLS else 0.0
        kill_when(start(recipe, "killed"), under_way(folder, *target, len(known)), extra)
        hit[stage_under_way(folder, ONE_ROUND) or (1, "export")] += 1
        now = answers(folder)
        assert known.items() <= now.items(), f"an answer was written again after kill {number}"
        known = now
    finish(start(recipe, "killed"))
    after = answers(folder)
    assert known.items() <= after.items()
    assert last_event(folder)["asked"] == len(after) - len(known)  # nothing that was finished was asked again
    finish(start(recipe, "whole"))
    killed, whole = rows_of(folder), rows_of(recipe.parent / "whole")
    # What the killed runs had finished is the same; in bf16 a batch of another size may round another way.
    same = sum(killed.get(key) == line for key, line in whole.items())
    print(f"{KILLS} kills: {dict(sorted(hit.items()))}; {same} of {len(whole)} rows are the same")
    assert {key.split("/")[1] for key in killed} == {"collect", "watch", "sums"}
    assert same >= 0.8 * len(whole), f"only {same} of {len(whole)} rows are the same"
