"""The quick RAFT recipe, cut small: real model, real vLLM, real training, killed in every stage and resumed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from killing import answers, finish, kill_when, last_event, stage_begun, start

pytestmark = [pytest.mark.slow, pytest.mark.vllm]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def recipe(tmp_path) -> Path:
    """The quick recipe with one round of 24 prompts and 16 held-out items."""
    import yaml

    whole = yaml.safe_load((ROOT / "recipes/quick/raft.yaml").read_text())
    source = str(ROOT / "data/arithmetic")
    whole |= {
        "rounds": 1, "prompts_per_round": 24, "prompts": f"{source}/train.jsonl", "export": "adapter",
        "heldout": {"sums": f"{source}/heldout.jsonl"}, "evaluate": {"max_tokens": 24, "limit": 16},
        "collect": {"window": 6},
    }  # fmt: skip
    whole["method"] |= {"samples": 4, "max_tokens": 24}
    whole["train"] |= {"num_train_epochs": 1, "save_steps": 1, "per_device_train_batch_size": 4}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(whole))
    return tmp_path / "recipe.yaml"


def rows_of(folder: Path) -> dict[str, str]:
    """Return {id: line} of everything the rounds wrote."""
    files = [path for path in sorted(folder.rglob("*.jsonl")) if path.parent.name in ("collect", "sums")]
    return {f"{path.parent.name}/{json.loads(line)['id']}": line for path in files for line in path.open()}


def under_way(folder: Path, round: int, stage: str, known: int) -> Callable[[], bool]:
    """True once a stage has begun and, where it asks, a few answers more than `known` are written."""
    begun = stage_begun(folder, round, stage)
    return lambda: begun() and (stage == "learn" or len(answers(folder)) > known + 2)


def test_killed_in_every_stage_and_resumed(recipe):
    folder = recipe.parent / "killed"
    known: dict[str, float] = {}
    for round, stage in [(0, "evaluate"), (1, "collect"), (1, "learn"), (1, "evaluate")]:
        process = start(recipe, "killed")
        kill_when(process, under_way(folder, round, stage, len(known)), extra=0.0)
        assert not (folder / f"round-{round}" / f"{stage}.json").exists(), "killed too late to prove anything"
        now = answers(folder)
        assert known.items() <= now.items(), "an answer was written again"
        known = now
    finish(start(recipe, "killed"))
    after = answers(folder)
    assert known.items() <= after.items()
    assert last_event(folder)["asked"] == len(after) - len(known)  # nothing that was finished was asked again
    finish(start(recipe, "whole"))
    killed, whole = rows_of(folder), rows_of(recipe.parent / "whole")
    # What the killed runs had finished is the same; in bf16 a batch of another size may round another way.
    same = sum(killed.get(key) == line for key, line in whole.items())
    assert {key.partition("/")[0] for key in killed} == {"collect", "sums"}
    assert same >= 0.8 * len(whole), f"only {same} of {len(whole)} rows are the same"
