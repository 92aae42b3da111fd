"""Whole trainings of the tiny model in this process: what comes out, and what is refused."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from selfimprove.errors import TrainError
from selfimprove.training.job import Result

from .conftest import losses


def weights(folder: str | Path) -> dict[str, torch.Tensor]:
    return {name: value for path in Path(folder).glob("*.safetensors") for name, value in load_file(path).items()}


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def adapter(make_job, train_here):
    """Return an adapter that has moved far enough from the base to be told from it."""
    return train_here(make_job("sft", "first", learning_rate=0.1, max_steps=8)).adapter


def test_sft_learns_and_leaves_what_the_loop_needs(make_job, train_here):
    job = make_job("sft", max_steps=12)
    result = train_here(job)
    assert Result.read(job.output) == result and (result.steps, result.steps_now) == (12, 12)
    assert losses(job.output)[-1] < losses(job.output)[0] - 0.2
    assert sorted(path.name for path in Path(result.adapter).iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert result.rows == {"trained": 24, "cut": 0, "left_out": 0} and result.distributed["kind"] == "single"
    assert "[[It is " in (Path(job.output) / "batch_preview.txt").read_text()
    assert not (Path(job.output) / "checkpoints").exists() and not (Path(job.output) / "rows").exists()


def test_weights_of_rows_scale_the_sft_loss(make_job, train_here, rows):
    plain = make_job("sft", max_steps=1)
    train_here(plain)
    half = make_job("sft", "half", file=rows("sft", "half.jsonl", weight=0.5), max_steps=1)
    train_here(half)
    assert losses(half.output)[0] == pytest.approx(losses(plain.output)[0] / 2, rel=1e-5)


@pytest.mark.parametrize(("loss", "start"), [("sigmoid", math.log(2)), ("hinge", 1.0)])
def test_dpo_starts_at_its_start_value_and_prefers_the_chosen(make_job, train_here, loss, start):
    job = make_job("pairs", loss_type=loss, beta=0.5, max_steps=10)
    result = train_here(job)
    assert losses(job.output)[0] == pytest.approx(start, abs=1e-4)
    assert result.metrics["margin"] > 0.2 and result.metrics["accuracy"] == 1.0


def test_swapping_chosen_and_rejected_swaps_the_preference(make_job, train_here, rows):
    from transformers import AutoModelForCausalLM

    from selfimprove.chat import load_tokenizer
    from selfimprove.training.losses import sequence_log_probs

    job = make_job("pairs", beta=0.5, max_steps=10)
    path = Path(job.rows[0])
    turned = path.with_name("turned.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    turned.write_text(
        "".join(json.dumps({**row, "chosen": row["rejected"], "rejected": row["chosen"]}) + "\n" for row in lines)
    )
    tokenizer, gaps = load_tokenizer(job.policy_base), []
    for name, file in (("straight", path), ("turned", turned)):
        model = AutoModelForCausalLM.from_pretrained(job.policy_base)
        from peft import PeftModel

        from selfimprove.chat import completion_ids

        trained = PeftModel.from_pretrained(
            model, train_here(replace(job, output=job.output + name, rows=(str(file),))).adapter
        )
        total = 0.0
        for row in lines[:6]:
            for side, sign in (("chosen", 1), ("rejected", -1)):
                prompt, answer = completion_ids(tokenizer, row["prompt"], row[side])
                ids, labels = torch.tensor([prompt + answer]), torch.tensor([[-100] * len(prompt) + answer])
                with torch.no_grad():
                    new = sequence_log_probs(trained(ids).logits, labels)
                    with trained.disable_adapter():
                        old = sequence_log_probs(trained(ids).logits, labels)
                total += sign * float(new - old)
        gaps.append(total)
    assert gaps[0] > 1 and gaps[1] < -1  # nats by which training raised right over wrong answers, and the reverse


def test_continuing_an_adapter_trains_that_adapter_against_itself(make_job, train_here, adapter):
    job = make_job("pairs", adapter=adapter, max_steps=3, learning_rate=0.02)
    result = train_here(job)  # the start check holds: the reference is the adapter, not the base
    assert losses(job.output)[0] == pytest.approx(math.log(2), abs=1e-4)
    before, after = weights(adapter), weights(result.adapter)
    assert before.keys() == after.keys() and not same(before, after)  # one adapter comes out, without the reference


def trainer_of(job, train_here, tmp_path):
    from selfimprove.chat import load_tokenizer
    from selfimprove.training.args import trainer_config
    from selfimprove.training.data import load_rows
    from selfimprove.training.worker import make_trainer

    args = trainer_config(job.kind, job.options, tmp_path / "check", job.seed, None, cpu=True)
    tokenizer = load_tokenizer(job.policy_base)
    rows, _ = load_rows(job, tokenizer, 256, "keep_start", tmp_path / "cache")
    return make_trainer(job, args, tokenizer, rows)


def test_the_reference_of_a_continued_adapter_is_a_copy_of_it(make_job, train_here, adapter, tmp_path):
    trainer = trainer_of(make_job("pairs", adapter=adapter), train_here, tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    with torch.no_grad():
        policy = trainer._log_probs(trainer.model, batch)
        reference = trainer._reference_log_probs(batch)
        with trainer.model.disable_adapter():
            base = trainer._log_probs(trainer.model, batch)
    assert torch.allclose(policy[0], reference[0], atol=1e-4)
    assert (policy[0] - base[0]).abs().min() > 1  # so that a reference of the base could not pass for it


def test_a_reference_that_is_the_base_is_refused(make_job, train_here, adapter, tmp_path):
    trainer = trainer_of(make_job("pairs", adapter=adapter), train_here, tmp_path)
    trainer.model.delete_adapter("ref")  # what is left is 'adapter off': theta_0 instead of theta_t
    with pytest.raises(TrainError, match="the reference is not the policy at the start of this round"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_a_flipped_reference_is_refused(make_job, train_here, tmp_path, monkeypatch):
    trainer = trainer_of(make_job("pairs"), train_here, tmp_path)
    right = trainer._reference_log_probs
    monkeypatch.setattr(trainer, "_reference_log_probs", lambda inputs, model=None: right(inputs, model)[::-1])
    with pytest.raises(TrainError, match="before the first step"):
        trainer.train()


def test_precomputed_reference_gives_the_same_losses(make_job, train_here):
    plain, ahead = make_job("pairs"), make_job("pairs", "ahead", precompute_ref_log_probs=True)
    train_here(plain)
    train_here(ahead)
    assert losses(ahead.output) == pytest.approx(losses(plain.output), abs=1e-4)


def test_full_weights_start_from_the_adapter_and_refer_to_it(make_job, train_here, adapter):
    job = make_job("pairs", "full", adapter=adapter, lora=None, learning_rate=1e-3)
    result = train_here(job)
    assert losses(job.output)[0] == pytest.approx(math.log(2), abs=1e-4)
    assert result.adapter is None and (Path(result.model) / "tokenizer.json").is_file()
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(result.model)


def test_row_weights_reach_the_pair_loss_and_only_losses_that_use_them(make_job, train_here, rows):
    file = rows("pairs", "half.jsonl", weight=0.5)
    job = make_job("pairs", file=file, max_steps=1)
    train_here(job)
    assert losses(job.output)[0] == pytest.approx(math.log(2) / 2, abs=1e-4)
    with pytest.raises(TrainError, match="the rows have weights, which only the losses sigmoid, hinge use"):
        train_here(make_job("pairs", "other", file=file, loss_type="ipo"))
    train_here(make_job("pairs", "ipo", loss_type="ipo", max_steps=1))  # without weights TRL's own loss runs


def test_resume_ends_with_the_weights_of_an_uninterrupted_training(make_job, train_here, monkeypatch):
    whole = make_job("pairs", "whole", max_steps=6, save_steps=2)
    expected = train_here(whole)
    broken = make_job("pairs", "broken", max_steps=6, save_steps=2)
    from selfimprove.training import checks

    def stop(logs, step):
        if step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checks, "check_finite", stop)
        train_here(broken)
    last = Path(broken.output) / "checkpoints" / "checkpoint-4"
    assert last.is_dir() and Result.read(broken.output) is None
    half_written = last.with_name("checkpoint-5")
    shutil.copytree(last, half_written)
    (half_written / "trainer_state.json").write_text("{")  # as a crash in the middle of saving leaves it
    found = train_here(broken)
    assert (found.steps, found.steps_now) == (6, 2)
    assert same(weights(found.adapter), weights(expected.adapter))
    assert losses(broken.output) == pytest.approx(losses(whole.output))


def without_result(job, train_here, monkeypatch):
    """Train a job but crash after its last checkpoint, before the result; return that checkpoint."""
    from selfimprove.training import policy

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(policy, "save_policy", crash)
        train_here(job)
    return Path(job.output) / "checkpoints" / "checkpoint-4"


def test_a_crash_after_the_last_step_ends_with_the_same_weights(make_job, train_here, monkeypatch):
    expected = train_here(make_job("sft", "whole", save_steps=2))
    job = make_job("sft", "broken", save_steps=2)
    without_result(job, train_here, monkeypatch)
    found = train_here(job)
    assert (found.steps, found.steps_now) == (4, 2)
    assert same(weights(found.adapter), weights(expected.adapter))


def test_a_resume_that_would_train_nothing_is_refused(make_job, train_here, monkeypatch):
    job = make_job("sft", save_steps=4)
    last = without_result(job, train_here, monkeypatch)
    later = last.rename(last.with_name("checkpoint-9"))
    state = json.loads((later / "trainer_state.json").read_text())
    (later / "trainer_state.json").write_text(json.dumps({**state, "global_step": 9}))
    with pytest.raises(TrainError, match="the checkpoint is at step 9, past the 4 steps"):
        train_here(job)


def test_a_loss_that_is_not_a_number_stops_the_training(make_job, train_here):
    with pytest.raises(TrainError, match=r"is (nan|inf); lower learning_rate"):
        train_here(make_job("sft", learning_rate=1e30, max_grad_norm=0.0, max_steps=8))


def test_another_rank_than_the_adapters_is_refused(make_job, train_here, adapter):
    with pytest.raises(TrainError, match="asks for r = 8, but the adapter .* has 4"):
        train_here(make_job("pairs", adapter=adapter, lora={"r": 8}))
