"""The price tag: what a dry run counts, what the arithmetic of an estimate gives, on numbers worked out by hand."""

import asyncio
import json

import pytest

from selfimprove.config import make_recipe
from selfimprove.estimate import Measured, estimate_lines, spans, stages
from selfimprove.plan import plan
from selfimprove.price import Cost, adapter_bytes, costs, optimiser_steps, price_lines
from selfimprove.records import Example, Prompt, as_messages
from selfimprove.trial import Trial, copies_for, interval, try_scripted


@pytest.fixture
def checked(tmp_path, tiny_model):
    """Return a function that plans RAFT on ten sums with four held out."""
    for name, items in (("train", range(10)), ("held", range(10, 14))):
        rows = [{"id": f"q{i}", "prompt": f"What is {i} + 1?", "gold": str(i + 1)} for i in items]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(**changes):
        recipe = {
            "method": {"name": "raft", "samples": 6, "max_tokens": 20, "keep": 2},
            "model": str(tiny_model),
            "prompts": str(tmp_path / "train.jsonl"),
            "heldout": {"sums": str(tmp_path / "held.jsonl")},
            "prompts_per_round": 6,
            "rounds": 2,
            "evaluate": {"max_tokens": 16, "samples": 3},
            "watch": {"prompts": 3, "samples": 2},
            "train": {"per_device_train_batch_size": 4, "num_train_epochs": 2, "lora": {"r": 4}},
            **changes,
        }
        return plan(make_recipe(recipe, "test"), "test")

    return make


def test_a_dry_run_counts_what_the_method_asks_for(checked):
    found = checked()
    trial = asyncio.run(try_scripted(found))
    assert len(trial.asked) == 6  # the first round has no more prompts
    assert all(asked["samples"] == 6 and asked["generate"] == 1 for asked in trial.asked)
    assert set(trial.bound) == {120}  # 6 answers of at most 20 tokens
    listed = {(cost.round, cost.stage): cost for cost in costs(found, trial, 10, {"sums": 4})}
    assert list(listed) == [
        (0, "evaluate"), (0, "watch"),
        (1, "collect"), (1, "learn"), (1, "evaluate"), (1, "watch"),
        (2, "collect"), (2, "learn"), (2, "evaluate"), (2, "watch"),
    ]  # fmt: skip
    first, second = listed[1, "collect"], listed[2, "collect"]
    assert (first.requests, first.answers, first.tokens) == (6, 36, 720)
    assert (second.requests, second.answers, second.tokens) == (4, 24, 480)  # only four prompts are left
    evaluated = listed[1, "evaluate"]
    assert (evaluated.requests, evaluated.answers, evaluated.tokens) == (8, 16, 256)  # greedy and 3 sampled
    assert listed[0, "watch"].requests == 3 and listed[1, "watch"].requests == 3 + 6  # the start model scores answers
    assert listed[1, "learn"].rows == first.rows == 6 * max(len(rows) for rows in trial.rows)
    assert listed[1, "learn"].disk > 0


@pytest.mark.parametrize(
    ("options", "rows", "steps"),
    [
        ({"per_device_train_batch_size": 4, "num_train_epochs": 2}, 9, 6),  # ceil(9 / 4) = 3, twice
        ({"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "num_train_epochs": 1}, 9, 2),
        ({"max_steps": 7}, 9, 7),
        ({}, 9, 6),  # 8 rows a step, 3 epochs
        ({"per_device_train_batch_size": 8, "accelerate": "zero3_8gpus", "num_train_epochs": 2}, 129, 6),  # 64 a step
        ({}, 0, 0),
    ],
)
def test_optimiser_steps(options, rows, steps):
    assert optimiser_steps(options, rows) == steps


def test_adapter_bytes(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
                    "num_key_value_heads": 2})
    )  # fmt: skip
    # q 8+8, k 8+4, v 8+4, o 8+8, gate and up 8+16, down 16+8: 16+12+12+16+24+24+24 = 128; 2 layers, rank 3, 4 bytes
    assert adapter_bytes(tmp_path, 3) == 128 * 2 * 3 * 4


def test_the_table_sums_what_can_be_summed_and_says_what_is_unknown():
    lines = price_lines(
        [Cost(1, "collect", 10, 80, 1600, 20, disk=5000), Cost(1, "learn", rows=20, steps=5, disk=None)]
    )
    assert "1,600" in lines[-4] and "5" in lines[-4].split() and lines[-4].rstrip().endswith("?")
    assert "not known yet" in lines[-1]


def test_an_interval_of_few_prompts():
    assert interval([4.0, 4.0, 4.0]) == (4.0, 4.0, 4.0)
    middle, low, high = interval([1.0, 3.0])  # standard deviation 1.414, standard error 1
    assert (middle, low, high) == (2.0, pytest.approx(0.04), pytest.approx(3.96))
    assert interval([5.0]) == (5.0, 0.0, 10.0)  # one prompt says little
    assert interval([]) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(("samples", "copies"), [(1, 8), (8, 1), (3, 3), (100, 1)])
def test_few_answers_are_asked_again_until_the_engine_is_busy(samples, copies):
    assert copies_for(Trial(asked=[{"samples": samples}] * 8)) == copies


def test_copies_of_a_prompt_do_not_make_the_interval_narrower():
    trial = Trial(tokens=[1, 1, 3, 3], copies=2)
    assert trial.prompts == 2 and interval(trial.by_prompt(trial.tokens)) == interval([1.0, 3.0])


def measured(**values) -> Measured:
    row = Example.of(Prompt("p", as_messages("q")), "a")
    trial = Trial(
        asked=[{"samples": 2}] * 4, bound=[20] * 4, tokens=[10, 10, 10, 10], rows=[[row], [row], [], [row, row]],
        seconds=2.0,
    )  # fmt: skip
    return Measured(trial, [5.0, 5.0], 3.0, memory=10**9, **values)


def test_an_estimate_multiplies_and_adds(checked):
    found = measured(training_start=8.0, step=0.5)
    listed = {stage: values for stage, *values in stages(checked(rounds=1), found, 10, {"sums": 4})}
    assert found.trial.speed == 20  # 40 tokens in 2 s
    tokens, rows, seconds = listed["round 1 collect"]
    assert tokens[0] == 60 and rows[0] == 6 and seconds[0] == 3.0  # 6 prompts of 10 tokens and one row
    assert rows[1] < 6 < rows[2]
    # 6 rows: 2 epochs of 2 batches are 4 steps, the first of which is in the start
    assert listed["round 1 learn"][2][0] == 8.0 + 3 * 0.5
    assert listed["round 1 evaluate"][0][0] == 4 * 4 * 5.0  # greedy and three sampled
    assert listed["round 1 watch"][0][0] == 3 * 2 * 5.0  # 10 tokens a prompt are 5 an answer
    lines = estimate_lines(checked(rounds=1, gpu_hour_price=3.6), found, 10, {"sums": 4})
    whole = sum(values[2][0] for values in listed.values()) + 3.0
    [price] = [line for line in lines if line.startswith("price")]
    assert price.split()[1] == f"{whole / 3600 * 3.6:.2f}"


def test_what_could_not_be_tried_is_said_and_not_counted_as_nothing(checked):
    lines = estimate_lines(checked(), measured(problem="none of the tried prompts gave a row"), 10, {"sums": 4})
    assert next(line for line in lines if line.startswith("round 1 learn")).rstrip().endswith("?")
    assert any("gave a row; its time is not in the sum" in line for line in lines)
    assert any("price     unknown: set gpu_hour_price" in line for line in lines)


def test_spans():
    assert spans((200.0, 160.0, 245.0)) == "3 min 20 s [2 min 40 s, 4 min 05 s]"
