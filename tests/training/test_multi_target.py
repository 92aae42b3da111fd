"""Losses over all right answers of a prompt: the worked numbers, the rows that travel as groups, and a training."""

import json
import math
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.chat import completion_ids, load_tokenizer, render_ids
from selfimprove.errors import ConfigError, DataError, TrainError
from selfimprove.training.args import check_options
from selfimprove.training.data import load_rows
from selfimprove.training.job import Job
from selfimprove.training.losses import beta_mml, longest_in_group, mle, mle_aug, mml, multi_target_loss
from selfimprove.training.objective import OBJECTIVES, Objective, read_objective

from .conftest import losses

ROOT = Path(__file__).resolve().parents[2]
LOG_PROBS = torch.tensor([-1.0, -3.0, -0.5], dtype=torch.float64)
GROUPS = torch.tensor([0, 0, 1])  # two answers to the first prompt, one to the second


def test_the_worked_numbers():
    assert mle(LOG_PROBS, GROUPS).tolist() == [1.0, 0.5]
    assert mle_aug(LOG_PROBS, GROUPS).mean().item() == pytest.approx(2.25)  # ((1 + 3) + 0.5) / 2
    assert mle_aug(LOG_PROBS, GROUPS, norm=True).mean().item() == pytest.approx(1.25)  # (4 / 2 + 0.5) / 2
    assert mml(LOG_PROBS, GROUPS).mean().item() == pytest.approx(0.686536, abs=1e-6)  # log(e^-1 + e^-3) = -0.873072
    assert beta_mml(LOG_PROBS, GROUPS, 0.5).mean().item() == pytest.approx(0.436738, abs=1e-6)
    assert beta_mml(LOG_PROBS, GROUPS, 0.25).mean().item() == pytest.approx(-0.198154, abs=1e-6)


def test_the_mixture_and_the_original_codes_scaled_term():
    both = multi_target_loss(LOG_PROBS, GROUPS, beta=0.5, lambdas=(0.5, 2.0)).mean().item()
    assert both == pytest.approx(0.5 * 2.25 + 2 * 0.436738, abs=1e-5)
    assert multi_target_loss(LOG_PROBS, GROUPS, beta=0.25).mean().item() == pytest.approx(
        2.25
    )  # beta leaves MLE alone
    original = multi_target_loss(LOG_PROBS, GROUPS, beta=0.25, lambdas=(0.25, 0.0)).mean().item()
    assert original == pytest.approx(0.5625)  # 0.25 * 2.25, what the original code computes


@pytest.mark.parametrize(("beta", "shares"), [(1.0, (0.880797, 0.119203)), (0.25, (0.622459, 0.377541))])
def test_every_answers_share_of_the_gradient(beta, shares):
    log_probs = LOG_PROBS.clone().requires_grad_()
    beta_mml(log_probs, GROUPS, beta)[0].backward()
    assert (-log_probs.grad).tolist() == pytest.approx([*shares, 0.0], abs=1e-6)  # softmax(beta * l), none elsewhere


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(-400, 0), min_size=1, max_size=5), min_size=1, max_size=4), st.floats(0.01, 1))
def test_marginal_losses_lie_between_the_best_answers_and_all(drawn, beta):
    log_probs = torch.tensor([value for group in drawn for value in group], dtype=torch.float64, requires_grad=True)
    groups = torch.tensor([number for number, group in enumerate(drawn) for _ in group])
    found = beta_mml(log_probs, groups, beta)
    for group, loss in zip(drawn, found.tolist(), strict=True):
        assert -max(group) - math.log(len(group)) / beta - 1e-6 <= loss <= -max(group) + 1e-6
    found.sum().backward()
    assert torch.isfinite(log_probs.grad).all()
    assert -log_probs.grad.sum().item() == pytest.approx(len(drawn))  # the shares of every group add up to 1


def test_length_normalisation_weighs_by_the_longest_of_the_group():
    assert longest_in_group(torch.tensor([10, 4, 7]), GROUPS).tolist() == [10, 10, 7]


def test_objectives_have_names_or_are_spelled_out():
    assert read_objective("mml", "here") == Objective(mle_lambda=0.0, mml_lambda=1.0)
    assert read_objective({"mml_lambda": 1, "beta": 0.25}, "here") == Objective(mml_lambda=1.0, beta=0.25)
    assert read_objective(None, "here") is None
    for name in OBJECTIVES:
        check_options("sft", {"objective": name}, "r.yaml")


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("sft", {"objective": "mnl"}, "r.yaml: train.objective is 'mnl'; did you mean 'mml'"),
        ("sft", {"objective": {"betta": 1}}, "has no option 'betta'; did you mean 'beta'"),
        ("sft", {"objective": {"beta": 0}}, "beta is 0.0; it must be above 0 and at most 1"),
        ("sft", {"objective": {"mle_lambda": 0}}, "both 0, so nothing would be learned"),
        ("sft", {"objective": {"mle_lambda": -1}}, "mle_lambda is -1.0; it must be a number of 0 or more"),
        ("sft", {"objective": "mml", "loss_type": "dft"}, "train.objective and train.loss_type are both set"),
        ("pairs", {"objective": "mml"}, "train.objective is about examples, but the method makes 'pairs'"),
    ],
)
def test_other_objectives_are_refused(kind, options, message):
    with pytest.raises(ConfigError) as error:
        check_options(kind, options, "r.yaml")
    assert message in str(error.value)


def write(path, rows):
    question = [{"role": "user", "content": "2 + 2?"}]
    with path.open("w", encoding="utf-8") as file:
        for number, row in enumerate(rows):
            file.write(json.dumps({"id": f"r{number}", "prompt": question, **row}) + "\n")
    return path


GROUPED = [
    {"completion": "4", "group": "a"},
    {"completion": "it is 4", "group": "a", "end": False},
    {"completion": "four", "group": "b"},
    {"completion": "2 and 2"},
    {"completion": "x"},
]


def load(tiny_model, tmp_path, rows, objective, limit=None):
    path = write(tmp_path / "rows.jsonl", rows)
    job = Job("sft", (str(path),), str(tiny_model), None, str(tmp_path / "out"))
    tokenizer = load_tokenizer(str(tiny_model))
    data, counts = load_rows(job, tokenizer, limit, "keep_start", tmp_path / "cache", objective)
    return data, counts, tokenizer


def test_rows_of_a_group_become_one_item_and_a_beginning_has_no_end_of_turn(tiny_model, tmp_path):
    data, counts, tokenizer = load(tiny_model, tmp_path, GROUPED, Objective())
    assert [len(item["input_ids"]) for item in data] == [2, 1, 1, 1]  # rows without a group are groups of their own
    assert counts == {"trained": 5, "cut": 0, "left_out": 0}
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    whole, beginning = data[0]["labels"]
    assert [i for i in whole if i != -100] == [*tokenizer.encode("4"), end]
    assert [i for i in beginning if i != -100] == tokenizer.encode("it is 4")


def test_the_prompt_is_learned_too_where_it_is_asked_for(tiny_model, tmp_path):
    data, _, _ = load(tiny_model, tmp_path, GROUPED, Objective(exclude_context_loss=False))
    assert data[0]["labels"] == data[0]["input_ids"]


def test_a_beginning_has_no_end_of_turn_without_an_objective_either(tiny_model, tmp_path):
    data, _, tokenizer = load(tiny_model, tmp_path, GROUPED, None)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert [item["input_ids"][-1] == end for item in data] == [True, False, True, True, True]


def test_rows_that_are_too_long_leave_their_group(tiny_model, tmp_path):
    room = len(render_ids(load_tokenizer(str(tiny_model)), [{"role": "user", "content": "2 + 2?"}]))
    longer = [{"role": "user", "content": "2 + 2? " * 3}]
    rows = [*GROUPED[:2], {"completion": "4", "group": "a", "prompt": longer},
            {"completion": "4", "group": "c", "prompt": longer}]  # fmt: skip
    data, counts, _ = load(tiny_model, tmp_path, rows, Objective(), limit=room + 3)
    assert counts == {"trained": 2, "cut": 1, "left_out": 2}  # "it is 4" is cut, the long prompts leave no room
    assert [len(item["input_ids"]) for item in data] == [2]  # group c has no row left


def test_what_an_objective_cannot_use_is_refused(tiny_model, tmp_path):
    scattered = [GROUPED[0], GROUPED[2], GROUPED[1]]
    with pytest.raises(DataError, match="line 3: the rows of group 'a' do not stand together"):
        load(tiny_model, tmp_path, scattered, Objective())
    with pytest.raises(TrainError, match="line 1: its weight is 0.5, but train.objective"):
        load(tiny_model, tmp_path, [{**GROUPED[0], "weight": 0.5}], Objective())
    with pytest.raises(DataError, match="end is 'no' and group ''"):
        load(tiny_model, tmp_path, [{**GROUPED[3], "end": "no"}], None)


def test_the_collator_puts_whole_groups_into_a_batch():
    from selfimprove.training.collate import GroupCollator

    batch = GroupCollator(pad_token_id=0)(
        [
            {"input_ids": [[5, 6, 7], [8, 9]], "labels": [[-100, 6, 7], [-100, 9]], "weight": [1.0, 1.0]},
            {"input_ids": [[3, 4]], "labels": [[-100, 4]], "weight": [1.0]},
        ]
    )
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 0], [3, 4, 0]]
    assert batch["labels"].tolist() == [[-100, 6, 7], [-100, 9, -100], [-100, 4, -100]]
    assert batch["group"].tolist() == [0, 0, 1] and batch["weight"].tolist() == [1.0, 1.0, 1.0]


def job_of(make_job, tmp_path, name, rows=GROUPED[:4], **options):
    return make_job("sft", name, file=write(tmp_path / f"{name}.jsonl", rows), max_steps=2, **options)


@pytest.mark.slow
def test_a_step_does_not_depend_on_how_its_groups_are_split(make_job, train_here, tmp_path):
    whole = train_here(job_of(make_job, tmp_path, "whole", objective="mml", per_device_train_batch_size=3))
    parts = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 3}
    split = train_here(job_of(make_job, tmp_path, "split", objective="mml", **parts))
    assert whole.rows == {"trained": 4, "cut": 0, "left_out": 0} and whole.steps == 2
    assert losses(tmp_path / "split") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)
    assert losses(tmp_path / "whole")[1] < losses(tmp_path / "whole")[0]
    assert split.metrics["loss_first"] == pytest.approx(whole.metrics["loss_first"], rel=1e-4)


@pytest.mark.slow
def test_the_first_loss_is_the_objective_of_the_start_model(make_job, train_here, tmp_path, tiny_model):
    from transformers import AutoModelForCausalLM

    from selfimprove.training.losses import sequence_log_probs

    tokenizer, model = load_tokenizer(str(tiny_model)), AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    found = []
    for row in GROUPED[:4]:
        prompt, answer = completion_ids(tokenizer, [{"role": "user", "content": "2 + 2?"}], row["completion"],
                                        row.get("end", True))  # fmt: skip
        ids = torch.tensor([prompt + answer])
        labels = torch.tensor([[-100] * len(prompt) + answer])
        found.append((sequence_log_probs(model(ids).logits, labels), len(prompt) + len(answer)))
    values = torch.tensor([value.item() for value, _ in found])
    groups, lengths = torch.tensor([0, 0, 1, 2]), torch.tensor([length for _, length in found])
    first = {}
    for name, objective in (("aug", "mle_aug"), ("mml", {"mle_lambda": 0, "mml_lambda": 1, "length_norm": True})):
        train_here(job_of(make_job, tmp_path, name, objective=objective, per_device_train_batch_size=3))
        first[name] = losses(tmp_path / name)[0]
    assert first["aug"] == pytest.approx(mle_aug(values, groups).mean().item(), rel=1e-3)
    weighed = values * longest_in_group(lengths, groups) / lengths
    assert first["mml"] == pytest.approx(mml(weighed, groups).mean().item(), rel=1e-3)
    preview = (tmp_path / "aug" / "batch_preview.txt").read_text(encoding="utf-8")
    assert preview.count("ends its turn") == 3  # the fourth is the beginning of an answer
    assert all(later < earlier for earlier, later in pairwise(losses(tmp_path / "aug")))


def test_the_template_that_the_gpt_neo_recipe_writes_is_problem_then_program_then_end_of_text(tiny_model):
    recipe = ROOT / "recipes" / "self-sampled-solutions" / "gpt-neo-2.7b.yaml"
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = re.search(r'echo "({%.*%})"', recipe.read_text(encoding="utf-8"))[1]
    problem = {"role": "user", "content": "Half of 12?"}
    prompt, program = completion_ids(tokenizer, [problem], "answer = 12 / 2")
    assert tokenizer.decode(prompt) == "Half of 12?\n"
    assert tokenizer.decode(program) == f"answer = 12 / 2{tokenizer.eos_token}"
    begun = [problem, {"role": "assistant", "content": "t0 = 12\n"}]
    assert tokenizer.decode(render_ids(tokenizer, begun)) == "Half of 12?\nt0 = 12\n"  # goes on, without an end
