"""SCIR's trainer: rows and batches, what it refuses, and trainings of the tiny model against the formulas (slow)."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from selfimprove.chat import completion_ids, load_tokenizer, render_ids
from selfimprove.errors import TrainError
from selfimprove.judges.pairwise import render
from selfimprove.records import Pair, Prompt
from selfimprove.training.args import trainer_config
from selfimprove.training.job import Job
from selfimprove.training.scir_options import ScirOptions

from .test_scir_loss import figures

PAIR = Pair("p", ({"role": "user", "content": "What is 2 + 2?"},), "It is 4.", "Perhaps it is five, or even six?")


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(str(tiny_model))


def columns_of(tokenizer, limit: int | None = None, **options) -> dict[str, Any]:
    from selfimprove.training.scir_rows import columns

    return columns(PAIR, tokenizer, ScirOptions(**options), limit) or {}


def test_a_pair_becomes_the_judge_prompt_in_both_orders(tokenizer):
    found = columns_of(tokenizer)
    for name, order in (("judge_12_ids", ("It is 4.", PAIR.rejected)), ("judge_21_ids", (PAIR.rejected, "It is 4."))):
        assert found[name] == render_ids(tokenizer, render(Prompt("p", PAIR.prompt), *order))
    assert "cut" not in found


def test_long_answers_are_cut_inside_the_prompt_so_that_the_verdict_stays(tokenizer):
    whole = columns_of(tokenizer)
    limit = len(whole["judge_12_ids"]) - 10  # a byte a token: 10 characters have to go
    for found in (columns_of(tokenizer, limit), columns_of(tokenizer, judge_length=limit)):
        assert found["cut"] and [len(found[name]) for name in ("judge_12_ids", "judge_21_ids")] == [limit, limit]
        text = tokenizer.decode(found["judge_12_ids"])
        assert text.endswith("and nothing else.<|im_end|>\n<|im_start|>assistant\n")
        assert "<answer A>\nIt is 4.\n</answer A>" in text  # the short one is whole
        assert "<answer B>\nPerhaps it is five, or\n</answer B>" in text
    assert columns_of(tokenizer, 60) == {}  # no room for any answer


@pytest.mark.parametrize(
    ("room", "lengths", "expected"),
    [(10, (3, 4), (3, 4)), (10, (3, 40), (3, 7)), (10, (40, 3), (7, 3)), (11, (40, 40), (6, 5)), (2, (9, 9), (1, 1))],
)
def test_room_is_shared_evenly_and_a_short_answer_leaves_the_rest(room, lengths, expected):
    from selfimprove.training.scir_rows import shares

    assert shares(room, *lengths) == expected


def test_letters_are_the_first_tokens_of_a_verdict_in_every_spelling(tiny_model, tokenizer):
    from selfimprove.training.scir_rows import letter_tokens

    alone = [[tokenizer.encode(letter)[0]] for letter in "AB"]
    assert letter_tokens(tokenizer) == alone
    spaced = load_tokenizer(str(tiny_model))  # a template that writes a space before an answer
    spaced.chat_template = (
        "{% for m in messages %}{{ m['role'] + ':' + (' ' if m['role'] == 'assistant' else '') + m['content'] }}"
        "{% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
    )
    # byte by byte the space is a token of its own, the same before both letters: it cannot tell them apart
    assert letter_tokens(spaced) == alone
    spaced.add_tokens([" A", " B"])
    with_space = [spaced.convert_tokens_to_ids(f" {letter}") for letter in "AB"]
    assert letter_tokens(spaced) == [[with_space[0], *alone[0]], [with_space[1], *alone[1]]]


def test_the_batch_holds_both_orders_and_the_rows_numbers():
    from selfimprove.training.scir_rows import ScirCollator

    pair = {"prompt_ids": [1], "chosen_ids": [3], "rejected_ids": [4], "weight": 1.0, "smoothing": math.nan}
    batch = ScirCollator(pad_token_id=0)(
        [
            {**pair, "judge_12_ids": [1, 2, 3], "judge_21_ids": [1, 3, 2], "row": 7},
            {**pair, "judge_12_ids": [5], "judge_21_ids": [6], "row": 2},
        ]
    )
    assert batch["judge_input_ids"].tolist() == [[1, 2, 3], [5, 0, 0], [1, 3, 2], [6, 0, 0]]
    assert batch["judge_attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 1], [1, 0, 0]]
    assert batch["row"].tolist() == [7, 2] and batch["input_ids"].tolist() == [[1, 3], [1, 3], [1, 4], [1, 4]]


SCIR = {"loss_type": "scir", "beta": 1.0, "max_length": 512}
LENGTH_TERM = 0.01
QUESTIONS = ("What is 2 + 2?", "And 3 + 4?", "Name a colour.", "Is it late?")
ANSWERS = (("4", "It is 5."), ("It is 7!", "8"), ("Red", "Blue, or green"), ("No.", "yes"))


@pytest.fixture
def pairs(tmp_path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [
        Pair(f"r{i}", ({"role": "user", "content": question},), *ANSWERS[i]) for i, question in enumerate(QUESTIONS)
    ]
    path.write_text("".join(json.dumps(row.to_row()) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def moved(tiny_model, tmp_path_factory) -> Path:
    """Return an adapter with dropout that has moved from the tiny model, as an earlier round would leave it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(5)
    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.5, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=1.0)
    folder = tmp_path_factory.mktemp("moved") / "adapter"
    model.save_pretrained(folder)
    return folder


def predictions(folder: Path, adapter: Path, alpha_len: float = LENGTH_TERM) -> list[dict[str, float]]:
    """What the formulas say of the rows, one sequence at a time, without trainer, padding or collator."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from selfimprove.training.losses import sequence_log_probs

    tokenizer = load_tokenizer(str(folder))
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), adapter).eval()
    letters = [tokenizer.encode(letter)[0] for letter in "AB"]
    found = []
    for question, texts in zip(QUESTIONS, ANSWERS, strict=True):
        prompt = Prompt("r", ({"role": "user", "content": question},))
        gains, lengths, orders = [], [], []
        with torch.no_grad():
            for text in texts:
                before, answer = completion_ids(tokenizer, prompt.messages, text)
                ids, marked = torch.tensor([before + answer]), torch.tensor([[-100] * len(before) + answer])
                own = sequence_log_probs(model(ids).logits, marked)
                with model.disable_adapter():
                    gains.append(float(own - sequence_log_probs(model(ids).logits, marked)))
                lengths.append(len(answer))
            for order in (texts, texts[::-1]):
                logits = model(torch.tensor([render_ids(tokenizer, render(prompt, *order))])).logits[0, -1]
                orders.append(tuple(logits[letters].tolist()))
        found.append(figures(*orders, gains, lengths, alpha_len, SCIR["beta"]))
    return found


def events(output: str | Path) -> list[dict]:
    return [json.loads(line) for line in (Path(output) / "events.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_the_first_step_is_what_the_formulas_say(make_job, train_here, pairs, moved, tiny_model):
    options = {"penalty": 0.7, "alpha_len": LENGTH_TERM, "reference": str(tiny_model)}
    job = make_job("pairs", file=pairs, adapter=str(moved), max_steps=2, loss_options=options, **SCIR)
    train_here(job)
    rows = predictions(tiny_model, moved)
    labels = [row["label"] for row in rows]
    assert 0 in labels and any(labels)  # some pairs are consistent, some are not
    assert 0 < sum(row["gate"] for row in rows) < 4 and max(abs(row["p_gen"] - 0.5) for row in rows) > 0.005
    first, second = events(job.output)
    mean = lambda name: sum(row[name] for row in rows) / len(rows)  # noqa: E731
    dpo = sum(row["dpo"] for row in rows) / sum(map(abs, labels))
    assert first["loss"] == pytest.approx(dpo + 0.7 * mean("penalty"), rel=1e-3)
    for name in ("p_gen", "p_imp", "penalty"):
        assert first[name] == pytest.approx(mean(name), abs=2e-5), name
    assert first["dpo_loss"] == pytest.approx(dpo, rel=1e-3)
    assert first["consistent"] == pytest.approx(sum(map(abs, labels)) / 4)
    assert 0 < first["letter_mass"] < 0.5  # a random model
    assert "labels_changed" not in first and 0 <= second["labels_changed"] <= 1
    preview = (Path(job.output) / "batch_preview.txt").read_text(encoding="utf-8")
    assert "judge prompt of row 1, order 12" in preview and "<answer A>" in preview


@pytest.mark.slow
def test_a_policy_that_is_its_reference_starts_on_the_penalty_alone(make_job, train_here, pairs, capfd):
    job = make_job("pairs", file=pairs, max_steps=3, loss_options={"tau": 0.5}, **SCIR)
    train_here(job)
    first, *later = events(job.output)
    assert (first["p_imp"], first["consistent"]) == (0.5, 0.0) and "dpo_loss" not in first
    assert first["loss"] == pytest.approx(first["penalty"], rel=1e-4)
    assert any(event["consistent"] > 0 for event in later)  # the penalty has moved the implicit reward
    said = capfd.readouterr().out
    assert "no pair is consistent and the first step trains by the penalty alone" in said
    assert said.count("warning: the judge gives A and B together") == 1


@pytest.mark.slow
def test_a_training_that_learns_nothing_is_no_success(make_job, train_here, pairs):
    # the judge of a random model is unsure, and the policy is its reference: no penalty, no DPO, in any step
    with pytest.raises(TrainError, match="nothing was learned: in no step was a pair consistent, nor .* 60% sure"):
        train_here(make_job("pairs", file=pairs, max_steps=2, **SCIR))


@pytest.mark.slow
def test_full_weights_refer_to_the_model_that_stays(make_job, train_here, pairs, moved, tiny_model):
    options = {"alpha_len": LENGTH_TERM, "reference": str(tiny_model), "judge_gradient": False}
    job = make_job("pairs", file=pairs, adapter=str(moved), lora=None, max_steps=1, loss_options=options, **SCIR)
    train_here(job)
    rows = predictions(tiny_model, moved)
    assert events(job.output)[0]["p_imp"] == pytest.approx(sum(row["p_imp"] for row in rows) / 4, rel=1e-3)


@pytest.mark.slow
def test_an_adapter_may_be_the_reference(make_job, train_here, pairs, moved, tiny_model, capfd):
    # the adapter that the policy starts from: the same log-probs, to the last bit
    same = make_job("pairs", "same", file=pairs, adapter=str(moved), max_steps=1,
                    loss_options={"tau": 0.5, "reference": str(moved)}, **SCIR)  # fmt: skip
    train_here(same)
    assert events(same.output)[0]["p_imp"] == 0.5
    assert "policy and reference are the same model" in capfd.readouterr().out
    # a policy without adapter against the one that has moved: every reward of that one's turned round
    fresh = make_job("pairs", "fresh", file=pairs, max_steps=1, loss_options={"tau": 0.5, "reference": str(moved)},
                     **SCIR)  # fmt: skip
    train_here(fresh)
    odds = [math.log(row["p_imp"] / (1 - row["p_imp"])) for row in predictions(tiny_model, moved, alpha_len=0.0)]
    expected = sum(1 / (1 + math.exp(z)) for z in odds) / 4
    assert abs(expected - 0.5) > 1e-3 and events(fresh.output)[0]["p_imp"] == pytest.approx(expected, abs=2e-5)
    assert "were consistent and learned by DPO, 100% had a penalty" in capfd.readouterr().out


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(make_job, pairs, moved, tiny_model):
    from selfimprove.training.launch import run_job

    options = {"alpha_len": LENGTH_TERM, "reference": str(tiny_model)}
    found = {}
    for name, each in (("single", 2), ("ddp", 1)):
        job = make_job("pairs", name, file=pairs, adapter=str(moved), max_steps=4, accelerate=name,
                       per_device_train_batch_size=each, loss_options=options, **SCIR)  # fmt: skip
        run_job(job)
        found[name] = events(job.output)
    assert 0.5 in [event["consistent"] for event in found["single"]]  # one process had no pair for DPO
    for name in ("loss", "consistent", "p_imp", "penalty"):
        assert [event[name] for event in found["ddp"]] == pytest.approx(
            [event[name] for event in found["single"]], abs=2e-3
        )


def trainer_of(job: Job, folder: Path):
    from selfimprove.training.data import load_rows
    from selfimprove.training.worker import make_trainer

    args = trainer_config(job.kind, job.options, folder / "check", job.seed, job.loss, cpu=True)
    tokenizer = load_tokenizer(job.policy_base)
    rows, _ = load_rows(job, tokenizer, 512, "keep_start", folder / "cache")
    return make_trainer(job, args, tokenizer, rows)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"precompute_ref_log_probs": True}, "precompute_ref_log_probs does not go with the loss scir"),
        ({"disable_dropout": False}, "with dropout the predictions disagree by noise"),
    ],
)
def test_what_takes_the_predictions_apart_is_refused(make_job, train_here, pairs, tmp_path, options, sentence):
    with pytest.raises(TrainError, match=sentence):
        trainer_of(make_job("pairs", file=pairs, **SCIR, **options), tmp_path)


def test_rows_with_weights_are_refused(make_job, train_here, rows, tmp_path):
    with pytest.raises(TrainError, match="weights or a smoothing, which the loss scir does not use"):
        trainer_of(make_job("pairs", file=rows("pairs", "half.jsonl", weight=0.5), **SCIR), tmp_path)


def test_dropout_is_off_wherever_it_sits(make_job, train_here, pairs, moved, tmp_path):
    trainer = trainer_of(make_job("pairs", file=pairs, adapter=str(moved), **SCIR), tmp_path)
    rates = [module.p for module in trainer.model.modules() if isinstance(module, torch.nn.Dropout)]
    assert rates and not any(rates)
    assert not any(getattr(module, "attention_dropout", 0.0) for module in trainer.model.modules())


def test_the_judge_is_trained_or_is_the_target_only(make_job, train_here, pairs, moved, tmp_path):
    for trained in (True, False):
        options = {"judge_gradient": trained}
        job = make_job("pairs", f"{trained}", file=pairs, adapter=str(moved), loss_options=options, **SCIR)
        trainer = trainer_of(job, tmp_path / f"{trained}")
        lead, mass = trainer.verdicts(trainer.model, next(iter(trainer.get_train_dataloader())))
        assert lead.shape == mass.shape == (8,) and lead.requires_grad is trained


def test_the_penalty_is_a_mean_over_all_pairs_or_over_those_it_acts_on(make_job, train_here, pairs, moved, tmp_path,
                                                                       tiny_model):  # fmt: skip
    found = {}
    for name in ("batch", "gated"):
        options = {"normalise": name, "reference": str(tiny_model)}
        job = make_job("pairs", name, file=pairs, adapter=str(moved), loss_options=options, **SCIR)
        trainer = trainer_of(job, tmp_path / name)
        with torch.no_grad():
            loss = trainer._compute_loss(trainer.model, next(iter(trainer.get_train_dataloader())), False)
        found[name] = loss.item(), {key: value[0] for key, value in trainer._metrics["train"].items()}
    (batch, seen), (gated, same) = found["batch"], found["gated"]
    assert seen == pytest.approx(same) and 0 < seen["gated"] < 1
    dpo = seen.get("dpo_loss", 0.0)
    assert batch == pytest.approx(dpo + seen["penalty"], rel=1e-4)
    assert gated == pytest.approx(dpo + seen["penalty"] / seen["gated"], rel=1e-4)
