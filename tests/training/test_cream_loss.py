"""A smoothing of its own for every pair: the loss of CREAM by its numbers, and the way of the number to the loss."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.chat import load_tokenizer
from selfimprove.errors import DataError, TrainError
from selfimprove.records import Pair
from selfimprove.training.data import load_rows, read_rows, tokenised
from selfimprove.training.losses import (
    hinge,
    logistic,
    pair_margin,
    row_smoothing,
    sequence_log_probs,
    weighted_mean,
)

from .conftest import losses

QUESTION = ({"role": "user", "content": "2+2?"},)


def margins() -> torch.Tensor:
    """The worked example's h = 0.1 * [(chosen - ref chosen) - (rejected - ref rejected)] of two rows."""
    chosen, rejected = torch.tensor([-30.0, -12.0]).double(), torch.tensor([-34.0, -11.0]).double()
    ref_chosen, ref_rejected = torch.tensor([-31.0, -12.5]).double(), torch.tensor([-33.0, -10.0]).double()
    return pair_margin(chosen, rejected, ref_chosen, ref_rejected, 0.1)


def test_the_loss_of_the_worked_example():
    h = margins()
    assert h.tolist() == pytest.approx([0.2, 0.15])  # 0.1 * (1 + 1), 0.1 * (0.5 + 1)
    # 0.8 * log(1 + e^-0.2) + 0.2 * log(1 + e^0.2) = 0.8 * 0.598139 + 0.2 * 0.798139
    found = logistic(h, torch.tensor([0.2, 0.2]).double())
    assert found.tolist() == pytest.approx([0.638139, 0.650957], abs=1e-6)
    assert weighted_mean(found, torch.ones(2).double()).item() == pytest.approx(0.644548, abs=1e-6)


def test_every_row_has_the_smoothing_that_is_its_own():
    rows = logistic(margins(), torch.tensor([0.2, 1.0]).double())
    assert rows.tolist() == pytest.approx([logistic(margins(), 0.2)[0].item(), logistic(-margins(), 0.0)[1].item()])
    assert hinge(margins(), torch.tensor([0.0, 1.0])).tolist() == pytest.approx([0.8, 1.15])  # 1 - 0.2, 1 + 0.15


def test_masked_log_prob_of_the_worked_example():
    logits = torch.tensor([[[1.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 3.0, 0], [1.0, 1, 1, 1]]])
    # 2 - log(3 + e^2) and 3 - log(3 + e^3); the labels 0 of the example are its padding, here -100
    total = sequence_log_probs(logits, torch.tensor([[-100, -100, 1, 2]])).item()
    assert total == pytest.approx(-0.479959, abs=1e-6) and total / 2 == pytest.approx(-0.239980, abs=1e-6)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.floats(-20, 20), st.floats(0, 1))
def test_loss_and_gradient_are_those_of_the_identity(h, c):
    margin = torch.tensor([h], dtype=torch.float64, requires_grad=True)
    loss = logistic(margin, torch.tensor([1 - c], dtype=torch.float64))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-h)) + (1 - c) * h, abs=1e-9)  # softplus(-h) + (1 - C) h
    loss.backward()
    assert margin.grad is not None
    assert margin.grad.item() == pytest.approx(1 / (1 + math.exp(-h)) - c, abs=1e-9)  # sigmoid(h) - C


@pytest.mark.parametrize("consistency", [0.9, 0.8, 0.5, 0.3])
def test_training_a_toy_pair_ends_at_the_margin_logit_c(consistency):
    # two answers with log-probs log_softmax(w): the reference is w = 0, so h = beta * (w_0 - w_1)
    weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=0.1)
    smoothing = torch.tensor([1 - consistency], dtype=torch.float64)
    start, margin = torch.full((2,), -math.log(2)).double(), torch.zeros(1)
    for _ in range(2000):
        log_probs = weights.log_softmax(-1)
        margin = pair_margin(log_probs[:1], log_probs[1:], start[:1], start[1:], 0.5)
        optimizer.zero_grad()
        logistic(margin, smoothing).mean().backward()
        optimizer.step()
    assert margin.item() == pytest.approx(math.log(consistency / (1 - consistency)), abs=1e-3)


def test_a_row_without_a_smoothing_takes_that_of_the_training():
    given_rows = torch.tensor([math.nan, 0.25, 0.0])
    found = row_smoothing(given_rows, 0.1)
    assert isinstance(found, torch.Tensor) and found.tolist() == pytest.approx([0.1, 0.25, 0.0])
    assert row_smoothing(None, 0.1) == 0.1


def test_collator_carries_the_smoothing_of_every_row():
    from selfimprove.training.collate import PairCollator

    row = {"prompt_ids": [1, 2], "chosen_ids": [3], "rejected_ids": [4, 5], "weight": 1.0}
    batch = PairCollator(pad_token_id=0)([{**row, "smoothing": 0.25}, {**row, "smoothing": math.nan}])
    assert batch["smoothing"].dtype == torch.float32 and batch["smoothing"].shape == (2,)
    assert batch["smoothing"][0] == 0.25 and batch["smoothing"][1].isnan()
    assert "smoothing" not in PairCollator(pad_token_id=0)([row])


def test_rows_of_older_runs_have_no_smoothing(tiny_model):
    older = {"id": "a", "prompt": list(QUESTION), "chosen": "4", "rejected": "5", "weight": 1.0}
    assert Pair.from_row(older).smoothing is None
    assert Pair.from_row(Pair("a", QUESTION, "4", "5", smoothing=0.25).to_row()).smoothing == 0.25
    tokenizer = load_tokenizer(str(tiny_model))
    columns = [tokenised(tokenizer, Pair("a", QUESTION, "4", "5", smoothing=s), "x", None, "keep_start")
               for s in (None, 0, 0.25)]  # fmt: skip
    assert math.isnan(columns[0]["smoothing"]) and [row["smoothing"] for row in columns[1:]] == [0.0, 0.25]


@pytest.mark.parametrize("value", [-0.1, 1.5, "0.2", True, float("nan")])
def test_a_smoothing_that_is_no_probability_is_refused_with_its_line(tmp_path, value):
    row = Pair("a", QUESTION, "4", "5").to_row() | {"smoothing": value}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"rows.jsonl line 1: its smoothing is .*; it must be a number from 0 to 1"):
        list(read_rows("pairs", [str(tmp_path / "rows.jsonl")]))


def mixed(path: Path) -> Path:
    """Write rows of which every second has a smoothing."""
    with path.open("w", encoding="utf-8") as file:
        for i in range(8):
            prompt = ({"role": "user", "content": f"What is {i} + {i}?"},)
            row = Pair(f"r{i}", prompt, f"It is {2 * i}.", "Perhaps?", smoothing=0.25 if i % 2 else None)
            file.write(json.dumps(row.to_row()) + "\n")
    return path


def test_the_column_reaches_the_data_set(make_job, tiny_model, tmp_path):
    job = make_job("pairs", file=mixed(tmp_path / "mixed.jsonl"))
    data, _ = load_rows(job, load_tokenizer(str(tiny_model)), None, "keep_start", tmp_path / "cache")
    assert [None if math.isnan(value) else value for value in data["smoothing"]] == [None, 0.25] * 4
    data, _ = load_rows(make_job("sft"), load_tokenizer(str(tiny_model)), None, "keep_start", tmp_path / "cache")
    assert "smoothing" not in data.column_names


def test_losses_of_trl_refuse_rows_with_a_smoothing(make_job, train_here, tmp_path):
    job = make_job("pairs", file=mixed(tmp_path / "mixed.jsonl"), loss_type="ipo")
    with pytest.raises(TrainError, match="the rows have smoothing, which only the losses sigmoid, hinge use, not"):
        train_here(job)


@pytest.mark.slow
def test_the_smoothing_decides_which_side_is_learned(make_job, train_here, rows):
    found = {}
    for smoothing in (0.0, 0.5, 1.0):
        name = f"s{smoothing}"
        # train.label_smoothing says the opposite, and does not count
        job = make_job("pairs", name, file=rows("pairs", f"{name}.jsonl", smoothing=smoothing), beta=0.5,
                       label_smoothing=1 - smoothing)  # fmt: skip
        found[smoothing] = train_here(job).metrics["margin"]
        assert losses(job.output)[0] == pytest.approx(math.log(2), abs=1e-4)
    assert found[0.0] > 0.05 and found[1.0] < -0.05 and abs(found[0.5]) < 0.01
