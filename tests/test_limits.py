"""A run that ends by itself: at its budget, or where the watch finds that the policy drifts; and how it goes on."""

import json
from pathlib import Path

import pytest

from selfimprove.config import make_recipe
from selfimprove.files import read_json, read_jsonl
from selfimprove.loop import Interrupted, run_recipe

METHOD = '''
"""A method for tests that pays for length, and whose training makes the policy talk."""
from dataclasses import dataclass
from pathlib import Path
from selfimprove.engines.base import Policy
from selfimprove.models import policy_of
from selfimprove.records import Example

NEEDS, MAKES = {"gold"}, "sft"

@dataclass(frozen=True)
class Config:
    folder: str = ""  # where adapters go

async def judge(cfg, run, prompt, text):
    return float(len(text.split()))

async def collect(cfg, run, prompt):
    samples = await run.sample(prompt, 2, temperature=0.7)
    longest = max(samples, key=lambda sample: len(sample.text))
    return [Example.of(prompt, longest.text, reward=float(len(longest.text.split())), round=run.round)]

async def learn(cfg, run, rows):
    folder = Path(cfg.folder) / f"adapter-{run.round}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text('{"r": %d}' % run.round)
    (folder / "adapter_model.safetensors").write_bytes(b"%d" % run.round)
    return policy_of(run.policy.base, str(folder))
'''

SCRIPT = '''
"""Right and short before training; longer and, from the second round on, wrong after it."""
import json
from pathlib import Path

def answer(request, seed):
    question = request.messages[-1]["content"]
    a, b = (int(word) for word in question.removeprefix("What is ").removesuffix("?").split(" + "))
    level = 0
    if request.policy.adapter:
        level = json.loads((Path(request.policy.adapter) / "adapter_config.json").read_text())["r"]
    return "Well, let me think. " * level + f"It is {a + b + (1 if level > 1 else 0)}."
'''


@pytest.fixture
def run(tmp_path, tiny_model):
    """Return a function that runs the recipe with changes; it returns what was said and the exit code."""
    (tmp_path / "own.py").write_text(METHOD)
    (tmp_path / "script.py").write_text(SCRIPT)
    for name, j in (("train", 1), ("held", 2)):
        rows = [{"id": f"q{i}", "prompt": f"What is {i} + {j}?", "gold": str(i + j)} for i in range(3, 33)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(**changes):
        said: list[str] = []
        recipe = make_recipe(
            {
                "method": {"name": str(tmp_path / "own.py"), "folder": str(tmp_path / "adapters")},
                "model": str(tiny_model),
                "prompts": str(tmp_path / "train.jsonl"),
                "heldout": {"sums": str(tmp_path / "held.jsonl")},
                "engine": {"name": "scripted", "script": str(tmp_path / "script.py")},
                "collect": {"window": 4},
                "rounds": 3,
                "export": "adapter",
                "output": str(tmp_path / "run"),
                **changes,
            },
            "test.yaml",
        )
        try:
            run_recipe(recipe, "test.yaml", say=said.append)
        except Interrupted as stopped:
            return said, stopped.code
        return said, 0

    return run


def events(tmp_path) -> list[dict]:
    return list(read_jsonl(tmp_path / "run" / "events.jsonl"))


def figures(tmp_path, round) -> dict:
    return read_json(tmp_path / "run" / f"round-{round}" / "watch.json")["figures"]


def test_the_watch_follows_every_round(run, tmp_path):
    _said, code = run(watch={"judge_against_truth": False})
    assert code == 0
    start, first, last = (figures(tmp_path, number) for number in (0, 1, 3))
    assert start["kl"] == 0 and first["kl"] is not None and first["kl"] != 0
    assert start["judge"] == 3 and first["judge"] == 7 and last["judge"] == 15  # words: 3 and 4 more a level
    assert (start["accuracy"], first["accuracy"], last["accuracy"]) == (1, 1, 0)
    assert (start["verified"], last["verified"]) == (1, 0)
    assert start["tokens"] < first["tokens"] < last["tokens"]
    assert len(list(read_jsonl(tmp_path / "run" / "round-1" / "watch" / "rows-00000.jsonl"))) == 30 * 2


def test_a_judge_that_pays_for_length_is_caught_and_the_run_stops(run, tmp_path):
    said, code = run()
    assert code == 3
    assert any(
        "judge's mean score rose by 8" in line and "while the truth fell: sums -100.0 points" in line for line in said
    )
    assert said[-1].startswith("stopped: the watch's limits are broken in round 2")
    assert not (tmp_path / "run" / "round-3").exists()
    assert [event["event"] for event in events(tmp_path)][-2:] == ["breach", "stopped"]
    again, code = run()  # nothing has changed, so it stops at the same place
    assert code == 3 and again[-1] == said[-1]
    said, code = run(watch={"on_breach": "note"})
    assert code == 0 and (tmp_path / "run" / "round-3" / "watch.json").exists()
    assert any(line.startswith("round 2: drift: the judge's mean score") for line in said)


def test_roll_back_takes_the_best_sound_round(run, tmp_path):
    said, code = run(watch={"on_breach": "roll_back", "limits": {"tokens": {"max_ratio": 3.5}}})
    assert code == 0
    finished = events(tmp_path)[-1]
    assert finished["event"] == "finished" and finished["round"] == 0  # round 1 is as accurate, but not better
    assert "round 2: rolled back to round 0" in said
    assert not (tmp_path / "run" / "round-3").exists()


def test_a_limit_stops_where_it_is_broken_and_a_wider_one_goes_on(run, tmp_path):
    said, code = run(watch={"limits": {"tokens": {"max_ratio": 1.5}}})
    assert code == 3 and "round 1" in said[-1] and "tokens" in said[-1]
    said, code = run(watch={"limits": {"tokens": {"max_ratio": 99}}, "judge_against_truth": False})
    assert code == 0


def test_without_prompts_nothing_is_watched(run, tmp_path):
    _, code = run(watch={"prompts": 0})
    assert code == 0 and not (tmp_path / "run" / "round-1" / "watch.json").exists()


def test_a_spent_budget_stops_at_the_next_row_and_a_larger_one_goes_on(run, tmp_path):
    plain = {"watch": {"judge_against_truth": False}, "rounds": 1}
    run(**plain, output=str(tmp_path / "whole"))
    said, code = run(**plain, budget={"max_tokens": 400})
    assert code == 3
    assert "budget.max_tokens is reached" in said[-1] and "budget.max_tokens=800" in said[-1]
    assert events(tmp_path)[-1]["event"] == "budget"
    spent = read_json(tmp_path / "run" / "spending.json")["tokens"]
    assert 400 <= spent < 400 + 2 * 4 * 12  # at most the answers of one window more
    assert run(**plain, budget={"max_tokens": 400})[1] == 3  # it is still spent
    assert read_json(tmp_path / "run" / "spending.json")["tokens"] == spent
    assert run(**plain, budget={"max_tokens": 100_000})[1] == 0
    for stage in ("round-1/collect/rows-00000.jsonl", "round-1/watch/rows-00000.jsonl"):
        assert (tmp_path / "run" / stage).read_bytes() == (tmp_path / "whole" / stage).read_bytes()
    assert read_json(tmp_path / "run" / "spending.json")["stages"].keys() == {
        "0/evaluate", "0/watch", "1/collect", "1/learn", "1/evaluate", "1/watch",
    }  # fmt: skip


def test_what_was_asked_is_counted_by_kind(run, tmp_path):
    run(rounds=1)
    assert read_json(Path(tmp_path / "run" / "round-1" / "collect.json"))["asked"] == {"generate": 30, "samples": 60}
