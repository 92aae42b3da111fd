"""Self-rewarding over whole rounds: prompts that it writes itself, the funnel that counts them, and resuming."""

import asyncio
import json
from pathlib import Path

import pytest

from selfimprove.config import make_recipe
from selfimprove.errors import SelfImproveError
from selfimprove.files import read_json, read_jsonl
from selfimprove.loop import run_recipe
from selfimprove.plan import plan
from selfimprove.reporting.funnel import funnel
from selfimprove.store import Store
from selfimprove.trial import PROMPTS, try_scripted

METHOD = '''
"""Self-rewarding whose policy stays, so that nothing is trained."""
from selfimprove.methods.self_rewarding import NEEDS, Config, assemble, collect as whole, judge, propose

MAKES = "pairs"


async def collect(cfg, run, prompt):
    if prompt.id == "BREAK":
        raise RuntimeError("a defect")
    return await whole(cfg, run, prompt)


async def learn(cfg, run, rows):
    return run.policy
'''

SCRIPT = """
THINGS = "bread snow lamps rivers ships wool glass trains owls salt clocks tents bells foxes".split()


def answer(request, seed):
    message = request.messages[-1]
    if message["role"] == "text":
        return "Say how " + " ".join(THINGS[seed // 14**at % 14] for at in range(4))
    if "<answer>" in message["content"]:
        return f"It is good. Score: {1 + (seed + len(message['content'])) % 5}"
    return f"Because of {THINGS[seed % 14]}" + " and so on" * (seed % 4)
"""


@pytest.fixture
def recipe(tmp_path, tiny_model):
    """Return a function that makes the recipe of a run in tmp_path."""
    (tmp_path / "own.py").write_text(METHOD)
    (tmp_path / "script.py").write_text(SCRIPT)
    asked = [{"id": f"g{n}", "prompt": f"Name number {n} of the uses of clay"} for n in range(9)]
    (tmp_path / "given.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))

    def make(name="run", **changes):
        method = {
            "name": str(tmp_path / "own.py"), "start": "none", "new_prompts": 6,
            "ranked": "data/instructions/ranked.jsonl", "ranked_heldout": 0.1, **changes.pop("method", {}),
        }  # fmt: skip
        values = {
            "method": method, "model": str(tiny_model), "prompts": str(tmp_path / "given.jsonl"), "rounds": 2,
            "engine": {"name": "scripted", "script": str(tmp_path / "script.py")}, "watch": {"prompts": 0},
            "output": str(tmp_path / name), "export": "adapter", **changes,
        }  # fmt: skip
        return make_recipe(values, "test.yaml")

    return make


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.jsonl")) if "round-" in str(p)}


def test_two_rounds_on_prompts_of_its_own(recipe):
    folder = run_recipe(recipe(), "test.yaml", say=lambda line: None)
    seen: set[str] = set()
    for number in (1, 2):
        marker = read_json(folder / f"round-{number}" / "collect.json")
        rows = list(read_jsonl(folder / f"round-{number}" / "collect" / "rows-00000.jsonl"))
        skips = list(read_jsonl(folder / f"round-{number}" / "collect" / "skips.jsonl"))
        assert rows and all(
            row["id"].startswith(f"made-{number}-") and row["meta"]["written"] == number for row in rows
        )
        assert marker["skips"]["held_out"] == 6
        assert marker["prompts"] == len(rows) + len(skips)  # every text that was written is counted once
        made = {row["prompt"][-1]["content"] for row in rows}
        assert not made & seen
        seen |= made
        kept = sum(skip["reason"] in ("tie", "held_out") for skip in skips) - 6 + len(rows)
        assert kept == 6
        assert marker["metrics"]["instructions_kept"] == pytest.approx(6 / (marker["prompts"] - 6))
        assert {"ranked_pairwise", "chosen_grade", "rejected_tokens", "answers_graded"} <= set(marker["metrics"])
        assert marker["asked"]["samples"] >= marker["prompts"] - 6 + 6 * (4 + 12)
        with Store(folder).open(recipe()) as store:
            whole, *_, with_rows, collected = (
                stage for stage in funnel(store, number) if stage.unit in ("prompts", "rows")
            )
            assert whole.count == marker["prompts"] and collected.count == with_rows.count == len(rows)
            assert whole.count - sum(with_rows.lost.values()) == with_rows.count


def test_an_interrupted_round_ends_with_the_same_bytes(recipe, tmp_path):
    whole = run_recipe(recipe("whole"), "test.yaml", say=lambda line: None)
    broken = [row["id"] for row in read_jsonl(whole / "round-2" / "collect" / "rows-00000.jsonl")][-1]
    (tmp_path / "own.py").write_text(METHOD.replace("BREAK", broken))
    with pytest.raises(RuntimeError, match="a defect"):
        run_recipe(recipe("broken"), "test.yaml", say=lambda line: None)
    assert not (tmp_path / "broken" / "round-2" / "collect.json").exists()
    (tmp_path / "own.py").write_text(METHOD)
    run_recipe(recipe("broken"), "test.yaml", say=lambda line: None)
    assert files_of(tmp_path / "broken") == files_of(whole)


def test_a_trial_tries_what_the_method_proposes(recipe):
    trial = asyncio.run(
        try_scripted(plan(recipe(engine={"name": "scripted"}, method={"new_prompts": 500}), "test.yaml"))
    )
    assert 0 < trial.prompts <= PROMPTS
    assert max(trial.bound) >= 4 * 512 and any(trial.rows)  # the answers to a prompt that was written, in pairs


def test_a_run_ends_where_no_prompts_are_left(recipe):
    said: list[str] = []
    options = {"method": {"new_prompts": 0}, "prompts_per_round": 5, "rounds": 4}
    folder = run_recipe(recipe(**options), "test.yaml", say=said.append)
    assert any("round 3: no prompts are left" in line for line in said)
    rows = list(read_jsonl(folder / "round-2" / "collect" / "rows-00000.jsonl"))
    assert {row["id"] for row in rows} <= {f"g{n}" for n in range(5, 9)}


@pytest.mark.slow
def test_the_start_is_fine_tuning_and_what_follows_is_dpo_against_the_rounds_own_policy(recipe, tmp_path):
    train = {"max_steps": 2, "beta": 0.1, "per_device_train_batch_size": 2, "max_length": 256, "lora": {"r": 4}}
    method = {"name": "self-rewarding", "start": "sft", "new_prompts": 0, "tries": 8, "ranked_heldout": 0.5}
    options = {"method": method, "train": train, "rounds": 3, "engine": {"name": "scripted"}}
    folder = run_recipe(recipe(**options), "test.yaml", say=lambda line: None)
    jobs = [read_json(folder / f"round-{number}" / "learn" / "job.json") for number in (1, 2, 3)]
    assert [job["kind"] for job in jobs] == ["sft", "pairs", "pairs"]
    assert "beta" not in jobs[0]["options"] and jobs[1]["options"]["beta"] == 0.1
    adapters = [job["policy_adapter"] and job["policy_adapter"].split("/")[-3] for job in jobs]
    assert adapters == [None, "round-1", "round-2"]  # where the training starts is the reference
    for number, job in enumerate(jobs, 1):
        rows = [row for file in job["rows"] for row in read_jsonl(Path(file))]
        assert {row["round"] for row in rows} == {number}, "each round learns from its own rows alone"
    grades = [row["meta"].get("grade") for row in read_jsonl(Path(jobs[0]["rows"][0]))]
    assert any(grades) and None in grades
    first = read_json(folder / "round-2" / "learn" / "result.json")["metrics"]["loss_first"]
    assert first == pytest.approx(0.693147, abs=1e-3)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("async def propose(cfg, run, prompts):\n    return [1]", r"propose of .*own\.py returned 1 among its rows"),
        (
            "async def propose(cfg, run, prompts):\n    return None",
            r"propose of .*own\.py returned None; it must return",
        ),
        ("def propose(cfg, run, prompts):\n    return []", "propose of method .* is no coroutine"),
    ],
)
def test_what_a_propose_of_ones_own_gives_is_checked(recipe, tmp_path, source, said):
    (tmp_path / "own.py").write_text(f"{METHOD}\n\n{source}\n")
    with pytest.raises(SelfImproveError, match=said):
        run_recipe(recipe(), "test.yaml", say=lambda line: None)
