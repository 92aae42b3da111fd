"""DPO against a reference that comes with the rows: worked numbers, its columns, and the trainer on the tiny model."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.chat import completion_ids, load_tokenizer
from selfimprove.errors import ConfigError, DataError
from selfimprove.records import Pair, as_messages
from selfimprove.training.args import check_options
from selfimprove.training.losses import logistic, pair_margin, sequence_log_probs


def doubted(chosen, ref_chosen, rejected, ref_rejected, alpha, beta=0.1):
    """The loss of one pair of steps."""
    sides = (torch.tensor([value], dtype=torch.float64) for value in (chosen, rejected, ref_chosen, ref_rejected))
    return logistic(pair_margin(*sides, beta), torch.tensor([alpha], dtype=torch.float64)).item()


def test_loss_of_step_pairs_on_worked_numbers():
    # h = (-12 + 12.5) - (-11 + 10.6) = .9; -(5/6) log sig(.09) - (1/6) log sig(-.09)
    assert doubted(-12, -12.5, -11, -10.6, 1 / 6) == pytest.approx(0.6642, abs=5e-5)
    assert doubted(-11, -10.6, -12, -12.5, 1 / 6) > 0.69  # turned round it is dearer
    assert doubted(-5, -5, -7, -7, 0.5) == pytest.approx(math.log(2))
    assert doubted(-4, -6, -5, -5, 0.5) == pytest.approx(0.6981, abs=5e-5)  # h = 2, alpha capped


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**20), st.integers(0, 5), st.integers(0, 3))
def test_tokens_that_both_sides_begin_with_cancel_in_the_margin(seed, shared, prompt):
    generator = torch.Generator().manual_seed(seed)
    length, words = prompt + 1 + shared + 4, 7
    tokens = torch.randint(words, (2, length), generator=generator)
    tokens[1, : prompt + 1 + shared] = tokens[0, : prompt + 1 + shared]
    tokens[1, prompt + 1 + shared] = (tokens[0, prompt + 1 + shared] + 1) % words  # t0, where they first differ
    logits = torch.randn(2, 2, length, words, generator=generator)  # policy and reference, chosen and rejected
    logits[:, 1, : prompt + shared + 1] = logits[:, 0, : prompt + shared + 1]  # a model sees only what came before

    def margin(first: int):
        labels = tokens.clone()
        labels[:, :first] = -100
        (chosen, rejected), (ref_chosen, ref_rejected) = (sequence_log_probs(each, labels) for each in logits)
        return pair_margin(chosen, rejected, ref_chosen, ref_rejected, 0.1).item()

    assert margin(prompt + 1) == pytest.approx(margin(prompt + 1 + shared), abs=1e-5)


def test_options_are_checked_before_the_run():
    check_options("pairs", {"loss_type": "carried_reference"}, "test")
    with pytest.raises(ConfigError, match="trains on 'pairs' rows"):
        check_options("sft", {"loss_type": "carried_reference"}, "test")


def test_columns_come_from_the_row_and_a_row_without_them_is_refused(tiny_model):
    from selfimprove.training import carried

    tokenizer = load_tokenizer(str(tiny_model))
    meta = {"ref_chosen": -9, "ref_rejected": -7.5}
    row = Pair("a", as_messages("2 + 2?"), "4", "five", meta=meta)
    expected = {"ref_chosen_logps": -9.0, "ref_rejected_logps": -7.5}
    assert carried.columns(row, tokenizer, None, 256) == expected == carried.columns(row, tokenizer, None, None)
    prompt, answer = completion_ids(tokenizer, row.prompt, row.rejected)
    assert carried.columns(row, tokenizer, None, len(prompt + answer)) == expected
    assert carried.columns(row, tokenizer, None, len(prompt + answer) - 1) is None  # cut, its log-prob is another
    unended = Pair.from_row({**row.to_row(), "chosen_end": False, "rejected_end": False})
    assert carried.columns(unended, tokenizer, None, len(prompt + answer) - 1) == expected
    for lacking in ({}, {"ref_chosen": -9.0}, {**meta, "ref_rejected": math.nan}):
        with pytest.raises(DataError, match="row a: this loss needs meta.ref_chosen and meta.ref_rejected"):
            carried.columns(Pair.from_row({**row.to_row(), "meta": lacking}), tokenizer, None, 256)


@pytest.fixture
def carried_rows(tiny_model, tmp_path):
    """Return a function that writes step pairs with the tiny model's log-probs, those of the chosen side moved."""
    from transformers import AutoModelForCausalLM

    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model).eval(), load_tokenizer(str(tiny_model))

    def log_prob(messages, text, end):
        prompt, answer = completion_ids(tokenizer, messages, text, end)
        with torch.no_grad():
            logits = model(torch.tensor([prompt + answer])).logits
        return sequence_log_probs(logits, torch.tensor([[-100] * len(prompt) + answer])).item()

    def write(off: float, smoothing: float):
        path = tmp_path / "pairs.jsonl"
        with path.open("w") as file:
            for i in range(8):
                begun = {"role": "assistant", "content": "So we add.\n"}
                messages = (*as_messages(f"{i} + {i}?"), begun)
                row = Pair(
                    f"p{i}", messages, f"It is {i + i}.", f"no {i}\n", smoothing=smoothing, rejected_end=False,
                    meta={
                        "ref_chosen": log_prob(messages, f"It is {i + i}.", True) + off,
                        "ref_rejected": log_prob(messages, f"no {i}\n", False),
                    },
                )  # fmt: skip
                file.write(json.dumps(row.to_row()) + "\n")
        return path

    return write


@pytest.mark.slow
def test_training_starts_where_the_carried_reference_says(make_job, train_here, carried_rows):
    from .conftest import losses

    job = make_job("pairs", file=carried_rows(-2.0, 1 / 6), loss_type="carried_reference", beta=0.5, max_steps=2)
    first = train_here(job)
    start = doubted(0, -2, 0, 0, 1 / 6, beta=0.5)  # the chosen side is 2 nats above the reference: the margin is 1
    assert losses(job.output)[0] == pytest.approx(start, abs=1e-2) and start < 0.5
    again = make_job(
        "pairs", "more", first.adapter, carried_rows(-2.0, 1 / 6), loss_type="carried_reference", beta=0.5, max_steps=1
    )
    train_here(again)
    assert (
        losses(again.output)[0] < start - 1e-3
    )  # what was learned counts: the reference did not move with the policy
