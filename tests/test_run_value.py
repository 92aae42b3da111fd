"""run.value, and several models in a run: keys, pseudo-values, what learn returns, and what a resumed run finds."""

import asyncio
import json
import shutil

import pytest

from selfimprove.config import make_recipe
from selfimprove.engines import open_engine
from selfimprove.engines.base import Policy
from selfimprove.errors import ConfigError, DataError, MethodError
from selfimprove.files import read_json
from selfimprove.ledger import Ledger
from selfimprove.loop import run_recipe
from selfimprove.plan import plan
from selfimprove.records import Example, Prompt, Steps, as_messages
from selfimprove.run import EngineOnDemand, Run
from selfimprove.runtime import drive
from selfimprove.store import Rows, RowWriter
from selfimprove.verify import Verifiers

BASE, VALUE = Policy("scripted", None, "base"), Policy("scripted", "value", "value-1")
PROMPT = Prompt("p", as_messages("What is 2 + 2?"), gold="4", meta={"values": {"a": 0.25, "broken": None}})


def with_run(tmp_path, scene, models=None, engine="scripted"):
    """Return what scene(run) returns, and what it asked for, over an engine and the ledger of tmp_path."""

    async def play():
        ledger = Ledger(tmp_path / "ledger.sqlite")
        recipe = make_recipe({"method": "raft", "prompts": "none"}, "test")
        on_demand = EngineOnDemand(open_engine({"name": engine}))
        run = Run(recipe, 1, BASE, BASE, BASE, on_demand, ledger, Verifiers(), models=models or {})
        outcomes, found = [], []

        async def collect(prompt):
            found.append(await scene(run))
            return [Example.of(prompt, "x")]

        try:
            await drive([PROMPT], collect, outcomes.append)
            return found[0], outcomes[0].asked, (ledger.asked, ledger.hits)
        finally:
            run.verifiers.close()
            ledger.close()

    return asyncio.run(play())


def test_the_scripted_engine_gives_the_prompts_own_values_and_else_spreads_them(tmp_path):
    async def scene(run):
        return [await run.value(PROMPT, text) for text in ["a", "", *(f"step {i}" for i in range(200))]]

    values, asked, _ = with_run(tmp_path, scene)
    assert values[0] == 0.25 and len(set(values)) > 150
    assert all(0 <= value <= 1 for value in values) and 0.4 < sum(values) / len(values) < 0.6
    assert asked == {"value": 202}


def test_a_value_that_failed_is_none_and_counted_and_asked_again(tmp_path):
    async def scene(run):
        return [await run.value(PROMPT, "broken"), await run.value(PROMPT, "broken")]

    values, asked, ledger = with_run(tmp_path, scene)
    assert values == [None, None] and asked == {"value": 2, "value_failed": 2} and ledger == (0, 0)


def test_a_value_is_asked_once_for_a_model_a_conversation_and_a_text(tmp_path):
    async def scene(run):
        other = as_messages("What is 3 + 3?")
        return [
            await run.value(PROMPT, "x"),
            await run.value(PROMPT, "x", model=VALUE),  # the default, by name
            await run.value(PROMPT, "x", model=BASE),
            await run.value(PROMPT, "x", messages=other),
            await run.value(PROMPT, "y"),
        ]

    first, _, ledger = with_run(tmp_path, scene, {"value": VALUE})
    assert first[0] == first[1] and len(set(first[1:])) == 4 and ledger == (4, 1)
    again, _, ledger = with_run(tmp_path, scene, {"value": VALUE})
    assert again == first and ledger == (0, 5)


def test_without_a_value_model_it_says_what_to_do(tmp_path):
    async def scene(run):
        return await run.value(PROMPT, "x")

    with pytest.raises(ConfigError, match=r"no value model yet: train one in learn .* value\.model"):
        with_run(tmp_path, scene, engine="transformers")


def test_rows_of_one_kind(tmp_path):
    writer = RowWriter(tmp_path / "rows", shard_rows=2)
    for number in range(3):
        writer.write(Example.of(PROMPT, f"four {number}"))
        writer.write(Steps.of(PROMPT, ["2 + 2\n", f"{number}"], [0.5, None]))
    rows = Rows(tuple(writer.close()))
    assert len(rows) == 6 and len(rows.of("steps")) == 3 and len(rows.of("pairs")) == 0
    assert [row["completion"] for row in rows.of("sft")] == ["four 0", "four 1", "four 2"]
    assert [Steps.from_row(row).labels for row in rows.of("steps")] == [(0.5, None)] * 3
    with pytest.raises(DataError, match="no rows of kind 'step'; did you mean 'steps'"):
        rows.of("step")


def test_the_value_section_is_checked(tmp_path, tiny_model):
    def planned(**value):
        recipe = {"method": "raft", "prompts": "none", "engine": "scripted", "value": value}
        return plan(make_recipe(recipe, "r.yaml"), "r.yaml")

    checked = planned(learning_rate=1e-3, engine="vllm", lora={"r": 4})
    assert checked.options_for("steps", 1) == {"learning_rate": 1e-3, "lora": {"r": 4}}
    assert checked.options_for("sft", 1) == {}
    for value, problem in (
        ({"learning_rat": 1}, "value has no option 'learning_rat'"),
        ({"engine": "vlm"}, "value.engine is 'vlm'; allowed: transformers, vllm"),
        ({"engine": {"name": "transformers", "batch": 3}}, "has no option 'batch'"),
        ({"engine": {"name": "transformers", "batch_tokens": 0}}, "batch_tokens is 0; it must be at least 1"),
        ({"model": 3}, "value.model is 3"),
    ):
        with pytest.raises(ConfigError, match=problem):
            planned(**value)


METHOD = '''
"""A method for tests: rows of two kinds, two models, and a value model that collect of round 2 finds."""
from dataclasses import dataclass
from selfimprove.models import policy_of
from selfimprove.records import Example, Steps

NEEDS, MAKES = {"gold"}, ("sft", "steps")

@dataclass(frozen=True)
class Config:
    value: str = ""  # folder of a model
    gives: str = "both"  # what learn returns

def makes(cfg):
    return "sft", None

async def collect(cfg, run, prompt):
    run.measure("has_value", float("value" in run.models))
    run.measure("kept_value", float(run.models.get("value", run.policy).base == cfg.value))
    value = await run.value(prompt, "step")
    return [Example.of(prompt, "x"), Steps.of(prompt, ["step", "end"], [value, 1.0])]

async def learn(cfg, run, rows):
    assert len(rows.of("sft")) == len(rows.of("steps")) == len(rows) / 2
    if cfg.gives == "wrong":
        return {"policy": None}
    both = {"policy": run.policy, "value": policy_of(cfg.value)}
    return both if run.round == 1 else run.policy
'''


@pytest.fixture
def recipe(tmp_path, tiny_model):
    """Return a function that makes the recipe of a run with a value model in tmp_path."""
    (tmp_path / "own.py").write_text(METHOD)
    rows = [{"id": f"q{i}", "prompt": f"What is {i} + 1?", "gold": str(i + 1)} for i in range(4)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    value = shutil.copytree(tiny_model, tmp_path / "value-model")

    def make(**method):
        return make_recipe(
            {
                "method": {"name": str(tmp_path / "own.py"), "value": str(value), **method},
                "model": str(tiny_model), "prompts": str(tmp_path / "train.jsonl"), "rounds": 3,
                "engine": "scripted", "watch": {"prompts": 0}, "output": str(tmp_path / "run"),
            },
            "test.yaml",
        )  # fmt: skip

    return make


def test_a_round_finds_the_models_of_the_rounds_before_also_after_a_resume(recipe):
    folder = run_recipe(recipe(), "test.yaml", say=lambda line: None)

    def means(number):
        return read_json(folder / f"round-{number}" / "collect.json")["metrics"]

    assert [means(number)["has_value"] for number in (1, 2, 3)] == [0.0, 1.0, 1.0]
    assert means(3)["kept_value"] == 1.0  # round 2 returned only a policy: the value model stays
    marker = read_json(folder / "round-1" / "learn.json")
    assert marker["model"] is None and marker["models"]["value"]["model"].endswith("value-model")
    rows = (folder / "round-3" / "collect" / "rows-00000.jsonl").read_bytes()
    run_recipe(recipe(), "test.yaml", redo="3/collect", say=lambda line: None)
    assert (folder / "round-3" / "collect" / "rows-00000.jsonl").read_bytes() == rows
    assert means(3)["kept_value"] == 1.0


def test_what_learn_returns_must_be_policies_by_name(recipe):
    with pytest.raises(MethodError, match="must return the policy that run.train gave.*several of them by name"):
        run_recipe(recipe(gives="wrong"), "test.yaml", say=lambda line: None)
