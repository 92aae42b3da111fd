"""The loop over the scripted engine with a method that needs no trainer: stages, markers, resume, refusal."""

import json
from pathlib import Path

import pytest

from selfimprove.config import make_recipe
from selfimprove.errors import ConfigError, DataError
from selfimprove.files import read_json
from selfimprove.loop import run_folder, run_recipe
from selfimprove.store import Rows

METHOD = '''
"""A method for tests: one row per right answer, and a policy that stays."""
from dataclasses import dataclass
from selfimprove.records import Example, Skip

NEEDS, MAKES = {"gold"}, "sft"

@dataclass(frozen=True)
class Config:
    samples: int = 4  # answers
    break_at: str = ""  # a prompt id at which the method has a defect

async def collect(cfg, run, prompt):
    if prompt.id == cfg.break_at:
        raise RuntimeError("a defect")
    samples = await run.sample(prompt, cfg.samples, temperature=0.7)
    run.measure("first", float((await run.check(prompt, samples[0].text)).score or 0))
    right = [s for s in samples if (await run.check(prompt, s.text)).score == 1]
    return [Example.of(prompt, s.text, tag=str(s.index), round=run.round) for s in right] or [Skip(prompt.id, "wrong")]

async def learn(cfg, run, rows):
    return run.policy
'''


@pytest.fixture
def recipe(tmp_path, tiny_model):
    """Return a function that makes the recipe of a run in tmp_path."""
    (tmp_path / "own.py").write_text(METHOD)

    def question(i, j):
        return {"id": f"q{i}-{j}", "prompt": f"What is {i} + {j}?", "gold": str(i + j)}

    for name, pairs in {
        "train": [(i, j) for i in range(6) for j in range(5)],
        "held": [(i, 9) for i in range(8)],
    }.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(question(i, j)) + "\n" for i, j in pairs))

    def make(**changes):
        method = {"name": str(tmp_path / "own.py"), **changes.pop("method", {})}
        return make_recipe(
            {
                "method": method,
                "model": str(tiny_model),
                "prompts": str(tmp_path / "train.jsonl"),
                "heldout": {"sums": str(tmp_path / "held.jsonl")},
                "engine": {"name": "scripted"},
                "rounds": 2,
                "output": str(tmp_path / "run"),
                **changes,
            },
            "test.yaml",
        )

    return make


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.jsonl")) if "round-" in str(p)}


def requests_of(folder: Path) -> list[str]:
    import sqlite3

    connection = sqlite3.connect(folder / "ledger.sqlite")
    keys = [key for (key,) in connection.execute("SELECT key FROM answers ORDER BY rowid")]
    connection.close()
    return keys


def test_two_rounds_leave_every_stage_and_a_readable_folder(recipe, tmp_path):
    said: list[str] = []
    folder = run_recipe(recipe(), "test.yaml", say=said.append)
    for stage in ("round-0/evaluate", "round-1/collect", "round-1/learn", "round-2/collect", "round-2/evaluate"):
        assert (folder / f"{stage}.json").exists(), stage
    marker = read_json(folder / "round-1" / "collect.json")
    assert marker["prompts"] == 30 and marker["rows"] + sum(marker["skips"].values()) >= 30
    assert 0 < marker["metrics"]["first"] < 1
    rows = Rows(tuple(sorted((folder / "round-1" / "collect").glob("rows-*.jsonl"))))
    assert len(rows) == marker["rows"] and {row["round"] for row in rows} == {1}
    assert any("against round 0: +0.0 points" in line for line in said)  # the policy stayed, so nothing may change
    events = [json.loads(line)["event"] for line in (folder / "events.jsonl").read_text().splitlines()]
    assert events[0] == "started" and events[-1] == "finished"


def test_a_finished_run_is_not_done_again(recipe):
    folder = run_recipe(recipe(), "test.yaml", say=lambda line: None)
    before, asked = files_of(folder), requests_of(folder)
    run_recipe(recipe(), "test.yaml", say=lambda line: None)
    assert files_of(folder) == before and requests_of(folder) == asked


def test_a_defect_stops_the_run_and_the_resumed_run_ends_byte_identical(recipe, tmp_path):
    whole = run_recipe(recipe(output=str(tmp_path / "whole")), "test.yaml", say=lambda line: None)
    broken = recipe(output=str(tmp_path / "broken"))
    (tmp_path / "own.py").write_text(METHOD.replace("cfg.break_at", '"q3-2"'))
    with pytest.raises(RuntimeError, match="a defect"):
        run_recipe(broken, "test.yaml", say=lambda line: None)
    asked = requests_of(tmp_path / "broken")
    assert asked and not (tmp_path / "broken" / "round-1" / "collect.json").exists()
    (tmp_path / "own.py").write_text(METHOD)
    run_recipe(broken, "test.yaml", say=lambda line: None)
    assert files_of(tmp_path / "broken") == files_of(whole)
    after = requests_of(tmp_path / "broken")
    assert after[: len(asked)] == asked and len(set(after)) == len(after)  # nothing was asked twice


def test_the_window_changes_no_byte(recipe, tmp_path):
    one = run_recipe(recipe(output=str(tmp_path / "a"), collect={"window": 1}), "test.yaml", say=lambda line: None)
    many = run_recipe(recipe(output=str(tmp_path / "b"), collect={"window": 64}), "test.yaml", say=lambda line: None)
    assert files_of(one) == files_of(many)


def test_a_clock_that_jumps_changes_no_row(recipe, tmp_path, monkeypatch):
    import itertools
    import time

    plain = run_recipe(recipe(output=str(tmp_path / "a")), "test.yaml", say=lambda line: None)
    jumps = itertools.cycle([0.0, -86_400.0, 3_600.0, -1.0, 10 * 86_400.0])
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    jumped = run_recipe(recipe(output=str(tmp_path / "b")), "test.yaml", say=lambda line: None)
    assert files_of(jumped) == files_of(plain)
    assert 0 <= read_json(jumped / "spending.json")["seconds"] < 60


def test_a_torn_last_line_of_what_was_not_finished_is_written_anew(recipe, tmp_path):
    whole = run_recipe(recipe(output=str(tmp_path / "a")), "test.yaml", say=lambda line: None)
    torn = run_recipe(recipe(output=str(tmp_path / "b"), rounds=1), "test.yaml", say=lambda line: None)
    (torn / "round-2" / "collect").mkdir(parents=True)
    (torn / "round-2" / "collect" / "rows-00000.jsonl").write_text('{"id": "q0-0", "pro')
    with (torn / "events.jsonl").open("a") as file:
        file.write('{"time": "2026-01-01T00:00:00+00:00", "ev')  # as a power cut leaves it
    run_recipe(recipe(output=str(tmp_path / "b")), "test.yaml", say=lambda line: None)
    assert files_of(torn) == files_of(whole)
    lines = (torn / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines][-1] == "finished"  # the torn line spoils no other


def test_hygiene_takes_rows_out_and_lists_each_with_its_reason(recipe, tmp_path):
    plain = run_recipe(recipe(output=str(tmp_path / "plain"), rounds=1), "test.yaml", say=lambda line: None)
    said: list[str] = []
    clean = recipe(output=str(tmp_path / "clean"), rounds=1, hygiene={"dedup": "exact", "decontaminate": True})
    folder = run_recipe(clean, "test.yaml", say=said.append)
    before = [json.loads(line) for line in (plain / "round-1/collect/rows-00000.jsonl").open()]
    after = [json.loads(line) for line in (folder / "round-1/assemble/rows-00000.jsonl").open()]
    skips = [json.loads(line) for line in (folder / "round-1/assemble/skips.jsonl").open()]
    texts = {(row["prompt"][0]["content"], " ".join(row["completion"].split())) for row in before}
    assert len(after) == len(texts) < len(before)  # the scripted engine repeats itself
    assert {row["id"] for row in after} | {row["id"] for row in skips} == {row["id"] for row in before}
    assert {row["reason"] for row in skips} == {"duplicate"}
    marker = read_json(folder / "round-1" / "assemble.json")
    assert marker["rows"] == len(after) and marker["skips"] == {"duplicate": len(skips)}
    assert f"round 1: {len(after)} rows are left; skipped: duplicate {len(skips)}" in said
    assert [row for row in before if row in after] == after  # in the old order, unchanged
    run_recipe(clean, "test.yaml", say=said.append)  # a finished stage stays


def test_a_crashing_prompt_can_be_skipped_and_is_counted(recipe):
    changed = recipe(method={"break_at": "q3-2"}, collect={"on_failure": "skip"})
    folder = run_recipe(changed, "test.yaml", say=lambda line: None)
    assert read_json(folder / "round-1" / "collect.json")["skips"]["crashed"] == 1


def test_rounds_take_the_next_prompts_and_end_when_none_are_left(recipe):
    said: list[str] = []
    folder = run_recipe(recipe(prompts_per_round=20, rounds=4), "test.yaml", say=said.append)
    counts = [read_json(folder / f"round-{n}" / "collect.json")["prompts"] for n in (1, 2, 3)]
    assert counts == [20, 10, 0]
    assert any("no prompts are left" in line for line in said)


def test_rounds_can_be_added_and_a_changed_recipe_is_refused(recipe):
    folder = run_recipe(recipe(rounds=1), "test.yaml", say=lambda line: None)
    run_recipe(recipe(rounds=2), "test.yaml", say=lambda line: None)
    assert (folder / "round-2" / "evaluate.json").exists()
    with pytest.raises(ConfigError, match=r"another recipe \(method.samples: None -> 2\)"):
        run_recipe(recipe(rounds=2, method={"samples": 2}), "test.yaml", say=lambda line: None)
    run_recipe(recipe(rounds=2, method={"samples": 2}), "test.yaml", redo="collect", say=lambda line: None)
    assert list((folder / "replaced").glob("*/round-1/collect.json"))


def test_a_finished_run_exports_its_newest_policy_and_none_twice(recipe, tmp_path, tiny_model):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    for number in (1, 2):
        model = AutoModelForCausalLM.from_pretrained(tiny_model)
        options = LoraConfig(r=number, target_modules=["q_proj"], init_lora_weights=False)
        get_peft_model(model, options).save_pretrained(tmp_path / f"adapter-{number}")
    learned = f'policy_of({str(tiny_model)!r}, f"{tmp_path}/adapter-{{run.round}}")'
    method = METHOD.replace("return run.policy", f"return {learned}")
    (tmp_path / "own.py").write_text(
        method.replace("import dataclass", "import dataclass\nfrom selfimprove.models import policy_of")
    )
    weights = tmp_path / "run" / "model" / "model.safetensors"
    found = []
    for rounds in (1, 1, 2):
        run_recipe(recipe(rounds=rounds), "test.yaml", say=lambda line: None)
        found.append((weights.read_bytes(), weights.stat().st_mtime_ns))
    assert found[0] == found[1], "the same policy was exported again"
    assert found[1][0] != found[2][0], "the model is not that of the round that was added"
    assert [path.name for path in weights.parents[1].iterdir() if "model" in path.name] == ["model"]


def test_runs_that_share_a_ledger_share_their_answers(recipe, tmp_path):
    shared = str(tmp_path / "shared.sqlite")
    run_recipe(recipe(output=str(tmp_path / "a"), ledger=shared), "test.yaml", say=lambda line: None)
    size = Path(shared).stat().st_size
    run_recipe(recipe(output=str(tmp_path / "b"), ledger=shared), "test.yaml", say=lambda line: None)
    assert Path(shared).stat().st_size == size
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_heldout_items_among_the_prompts_are_refused(recipe, tmp_path):
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write(json.dumps({"id": "leak", "prompt": "what is  3 + 9?", "gold": "12"}) + "\n")
    with pytest.raises(DataError, match="1 held-out items are also training prompts .sums item q3-9 = prompt leak"):
        run_recipe(recipe(), "test.yaml", say=lambda line: None)


def test_what_a_method_needs_is_checked_before_anything_is_asked(recipe, tmp_path):
    (tmp_path / "train.jsonl").write_text(json.dumps({"id": "a", "prompt": "What is 1 + 1?"}) + "\n")
    with pytest.raises(DataError, match="prompt a has no gold, which method"):
        run_recipe(recipe(), "test.yaml", say=lambda line: None)


def test_gold_that_cannot_be_graded_fails_before_sampling(recipe, tmp_path):
    rows = [{"id": f"g{i}", "prompt": f"What is {i}?", "gold": "\\frac{"} for i in range(5)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="the verifier cannot grade 5 of 13 gold answers"):
        run_recipe(recipe(), "test.yaml", say=lambda line: None)
    assert not requests_of(tmp_path / "run")


def test_the_run_folder_is_named_after_the_recipe():
    plain = make_recipe({"method": "raft", "prompts": "x"}, "r")
    assert run_folder(plain, "recipes/quick/raft.yaml") == Path("runs/quick-raft")
    assert run_folder(plain, "mine.yaml") == Path("runs/mine")
    assert run_folder(make_recipe({"method": "raft", "prompts": "x", "output": "o"}, "r"), "mine.yaml") == Path("o")
