"""Value models: labels at the right tokens, a loss with known numbers, and a training that serving agrees with."""

import asyncio
import json
import math
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
import torch

from selfimprove.chat import completion_ids, load_tokenizer
from selfimprove.embedded import embedded_folder
from selfimprove.engines.parts.value_head import as_value, last_values, load_merged
from selfimprove.engines.value import Config, ValueModel
from selfimprove.errors import ConfigError, DataError, TrainError
from selfimprove.evaluation.values import auc, brier
from selfimprove.models import policy_of
from selfimprove.records import Pair, Steps, as_messages
from selfimprove.training.args import check_options
from selfimprove.training.job import Job
from selfimprove.training.steps import check_steps, compared, sequences
from selfimprove.training.value import value_loss

NAN = math.nan
QUESTION = as_messages("What is 3 + 4 + 5?")
STEPS = ("3 + 4 = 7.\n", "7 + 5 = 12.\n", "\nSo the answer is 12.")
LABELS = (1 / 3, None, 1.0)


def row_of(steps=STEPS, labels=LABELS):
    return Steps("r", QUESTION, tuple(steps), tuple(labels))


@pytest.fixture(scope="module")
def tokenizer():
    """The tokenizer of the embedded model, whose tokens span line breaks."""
    return load_tokenizer(str(embedded_folder()))


# (0.5 - 1)^2 + (0 - 0.5)^2 = 0.5 over two labelled steps; nan is no step
VALUES = torch.tensor([[9.0, 0.5, 9.0], [0.0, 9.0, 9.0]])
TARGETS = torch.tensor([[NAN, 1.0, NAN], [0.5, NAN, NAN]])


def test_the_loss_is_the_mean_square_over_labelled_steps_only():
    assert float(value_loss(VALUES, TARGETS, "mse")) == pytest.approx(0.25)
    assert float(value_loss(VALUES, TARGETS, "mse", count=4)) == pytest.approx(0.125)  # half of an optimiser step


def test_bce_is_on_the_logistic_function_of_the_output():
    # -ln sigmoid(0.5) = 0.474077; at output 0 and label 0.5 ln 2 = 0.693147
    assert float(value_loss(VALUES, TARGETS, "bce")) == pytest.approx((0.474077 + 0.693147) / 2, abs=1e-6)
    assert as_value(0.5, "bce") == pytest.approx(0.622459, abs=1e-6) and as_value(-900.0, "bce") == 0.0
    assert as_value(0.5, "mse") == 0.5


def test_labels_stand_where_serving_reads_the_same_prefix(tokenizer):
    """Whatever the borders: the ids up to a target are those of the prefix text as it is served."""
    for steps in (STEPS, ("1\n", "\n2", "The ans", "wer"), ("a", " b", "\n\n", "\nc", "d")):
        labels = [place / len(steps) for place in range(1, len(steps) + 1)]
        found = {}
        for item in sequences(tokenizer, row_of(steps, labels), "here", None):
            for place, target in enumerate(item["targets"]):
                if target == target:
                    found[tuple(item["input_ids"][: place + 1])] = target
        served = {}
        for text, label in zip(accumulate(steps), labels, strict=True):
            prompt, ids = completion_ids(tokenizer, QUESTION, text, end=False)
            served[(*prompt, *ids)] = label
        assert found == served


def test_one_sequence_carries_the_row_where_no_token_spans_a_border(tokenizer):
    plain = sequences(tokenizer, row_of(("3 + 4 = 7.\n", "So 7."), (0.5, 1.0)), "here", None)
    assert len(plain) == 1 and [target for target in plain[0]["targets"] if target == target] == [0.5, 1.0]
    assert math.isnan(plain[0]["targets"][0]) and plain[0]["targets"][-1] == 1.0
    spanning = sequences(tokenizer, row_of(("The ans", "wer is 3"), (0.5, 1.0)), "here", None)
    assert [[t for t in item["targets"] if t == t] for item in spanning] == [[1.0], [0.5]]  # " answer" is one token


def test_null_labels_and_steps_beyond_the_limit_carry_no_loss(tokenizer):
    (whole,) = sequences(tokenizer, row_of(("a b\n", "c d\n", "e"), (0.1, None, 0.3)), "here", None)
    assert [t for t in whole["targets"] if t == t] == [0.1, 0.3]
    limit = whole["targets"].index(0.1) + 1
    (short,) = sequences(tokenizer, row_of(("a b\n", "c d\n", "e"), (0.1, None, 0.3)), "here", limit)
    assert len(short["input_ids"]) == limit and short["targets"][-1] == 0.1
    assert sequences(tokenizer, row_of(("a b\n", "c"), (0.1, 0.2)), "here", limit - 1) == []


@pytest.mark.parametrize(
    ("labels", "loss", "problem"),
    [
        ((1.5, 0, 0), "mse", "from -1 to 1"),
        ((-0.5, 0, 0), "bce", "probabilities"),
        ((None, None, None), "mse", "nothing to learn"),
        ((True, 0, 0), "mse", "number"),
        ((1.0, 0.0), "mse", "3 steps but 2 labels"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(labels, loss, problem):
    with pytest.raises(DataError, match=f"file line 3.*{problem}"):
        check_steps(row_of(labels=labels), "file line 3", loss)


def test_a_pair_is_read_without_its_end_of_turn(tokenizer):
    sides = compared(tokenizer, Pair("p", QUESTION, "It is 12.", "It is 13."), "here", None)
    assert sides is not None
    prompt, ids = completion_ids(tokenizer, QUESTION, "It is 12.", end=False)
    assert sides["chosen_ids"] == prompt + ids
    assert compared(tokenizer, Pair("p", QUESTION, "It is 12.", "It is 13."), "here", 5) is None


def test_options_are_checked_like_those_of_other_kinds():
    check_options("steps", {"learning_rate": 1e-3, "lora": {"r": 4}, "value_loss": "bce"}, "r.yaml", section="value")
    for section, kind, options, problem in (
        ("value", "steps", {"learning_rat": 1}, "value has no option 'learning_rat'; did you mean 'learning_rate'"),
        ("value", "steps", {"value_loss": "mae"}, "value.value_loss is 'mae'; allowed: mse, bce"),
        ("value", "steps", {"beta": 0.1}, "value has no option 'beta'"),
        ("value", "steps", {"objective": "mml"}, "value has no option 'objective'"),
        ("value", "steps", {"lora": {"rank": 4}}, "value.lora has no option 'rank'"),
        ("train", "sft", {"value_loss": "mse"}, "it is for value models"),
    ):
        with pytest.raises(ConfigError, match=problem):
            check_options(kind, options, "r.yaml", section=section)


# ---- trainings of the tiny model ----

GOOD, BAD = ("up+", "down-")


def toy(number: int) -> Steps:
    """A row of the toy rule: a step that ends in + is worth 1, one that ends in - is worth 0."""
    words = [GOOD if (number >> bit) & 1 else BAD for bit in range(4)]
    labels = [float(word == GOOD) for word in words]
    return Steps(f"t{number}", as_messages(f"Case {number % 7}?"), tuple(words), tuple(labels))


def value_job(folder: Path, model: Path, rows, **options) -> Job:
    path = folder / f"rows-{len(list(folder.iterdir()))}.jsonl"
    path.write_text("".join(json.dumps(row.to_row()) + "\n" for row in rows), encoding="utf-8")
    kind = options.pop("kind", "steps")
    output = str(folder / options.pop("name", "out"))
    adapter = options.pop("adapter", None)
    plain = {
        "learning_rate": 1e-2, "max_steps": 4, "per_device_train_batch_size": 8, "logging_steps": 1,
        "dtype": "float32", "max_length": 256, "lora": {"r": 8, "alpha": 16},
    }  # fmt: skip
    return Job(kind, (str(path),), str(model), adapter, output, {**plain, **options}, seed=3)


def served(policy, asked, **config):
    """Return what a ValueModel gives for (messages, text) pairs asked at once, and how many batches it took."""

    async def scene():
        model = ValueModel(Config(device="cpu", **config))
        try:
            found = await asyncio.gather(*(model.value(policy, messages, text) for messages, text in asked))
            return found, model.batches
        finally:
            await model.close()

    return asyncio.run(scene())


def events(output: str) -> list[dict]:
    return [json.loads(line) for line in (Path(output) / "events.jsonl").read_text().splitlines()]


def test_a_new_head_starts_at_zero_and_the_preview_shows_what_is_read(tiny_model, tmp_path, train_here):
    job = value_job(tmp_path, tiny_model, [toy(n) for n in range(16)], max_steps=2, per_device_train_batch_size=16)
    result = train_here(job)
    # at value 0 the loss is the mean of label^2: half of all labels are 1
    assert events(job.output)[0]["loss"] == pytest.approx(0.5) and events(job.output)[0]["value_mse"] == 0.5
    assert result.rows == {"trained": 16, "cut": 0, "left_out": 0}
    assert "down-[[0]]" in (Path(job.output) / "batch_preview.txt").read_text().replace(" ", "")
    assert json.loads((Path(result.adapter) / "value.json").read_text()) == {"loss": "mse"}
    settings = json.loads((Path(result.adapter) / "adapter_config.json").read_text())
    assert settings["modules_to_save"][:1] == ["score"] and "score" not in settings["target_modules"]


def test_accumulated_small_batches_are_one_large_batch(tiny_model, tmp_path, train_here):
    rows = [replace(toy(n), labels=(1.0, None, 0.5, None) if n < 4 else toy(n).labels) for n in range(8)]
    at_once = value_job(tmp_path, tiny_model, rows, name="one", max_steps=1)
    in_parts = value_job(
        tmp_path, tiny_model, rows, name="four", max_steps=1, per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
    )  # fmt: skip
    for job in (at_once, in_parts):
        train_here(job)
    first, second = (events(job.output)[0] for job in (at_once, in_parts))
    assert first["loss"] == pytest.approx(second["loss"], rel=1e-5)
    assert first["grad_norm"] == pytest.approx(second["grad_norm"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("full", [False, True])
def test_it_learns_the_toy_rule_and_serving_gives_the_values_of_training(tiny_model, tmp_path, train_here, full):
    train, unseen = [toy(n) for n in range(16) if n % 4], [toy(n) for n in range(16) if not n % 4]
    options = {"lora": None} if full else {}
    job = value_job(tmp_path, tiny_model, train, max_steps=12, **options)
    result = train_here(job)
    assert events(job.output)[-1]["loss"] < 0.05 < events(job.output)[0]["loss"]
    policy = policy_of(result.model or str(tiny_model), result.adapter)
    asked = [(row.prompt, text) for row in unseen for text in accumulate(row.steps)]
    found, batches = served(policy, asked, batch_tokens=600)
    values = [value for value, _ in found]
    labels = [label for row in unseen for label in row.labels]
    assert auc(labels, values) > 0.9 and brier(labels, values) < 0.1 and batches > 1
    alone = [served(policy, [one])[0][0][0] for one in asked[:3]]
    assert alone == pytest.approx(values[:3], abs=2e-4)  # a batch gives what the request alone gives
    # one forward pass over the whole answer, as in training, gives at each target what serving gave for its prefix
    model, tokenizer = load_merged(policy, torch.float32)
    (item,) = sequences(tokenizer, unseen[1], "here", None)
    with torch.no_grad():
        outputs = model(torch.tensor([item["input_ids"]])).logits[0, :, 0]
    at_targets = [float(v) for v, target in zip(outputs, item["targets"], strict=True) if target == target]
    assert at_targets == pytest.approx(values[4:8], abs=2e-4)


@pytest.mark.slow
def test_training_goes_on_from_the_value_model_before(tiny_model, tmp_path, train_here):
    rows = [toy(n) for n in range(16)]
    first = train_here(value_job(tmp_path, tiny_model, rows, name="first", max_steps=12))
    again = value_job(tmp_path, tiny_model, rows, name="again", adapter=first.adapter, max_steps=1)
    train_here(again)
    assert events(again.output)[0]["loss"] < 0.3  # not the 0.5 of a new head
    policy_job = value_job(tmp_path, tiny_model, rows, name="policy", max_steps=1)
    with pytest.raises(TrainError, match="asks for r = 4"):
        train_here(replace(policy_job, policy_adapter=first.adapter, options={**policy_job.options, "lora": {"r": 4}}))


@pytest.mark.slow
def test_a_reward_model_prefers_the_chosen_and_swapped_pairs_the_other(tiny_model, tmp_path, train_here):
    pairs = [Pair(f"p{n}", as_messages(f"Case {n}?"), f"{n} up+", f"{n} down-") for n in range(16)]
    turned = [replace(pair, chosen=pair.rejected, rejected=pair.chosen) for pair in pairs]
    for rows, sign, name in ((pairs, 1, "straight"), (turned, -1, "turned")):
        job = value_job(tmp_path, tiny_model, rows, kind="reward", name=name, max_steps=12)
        result = train_here(job)
        assert events(job.output)[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
        policy = policy_of(str(tiny_model), result.adapter)
        found, _ = served(policy, [(as_messages("Case 99?"), text) for text in ("99 up+", "99 down-")])
        assert sign * (found[0][0] - found[1][0]) > 0.5


def test_the_last_real_token_is_read_whatever_the_padding(tiny_model, tmp_path):
    model, _ = load_merged(policy_of(str(tiny_model)), torch.float32)
    torch.manual_seed(1)
    model.score.weight.data.normal_()
    long, short = list(range(5, 60)), list(range(7, 12))
    both = last_values(model, [long, short])
    assert both == pytest.approx([last_values(model, [long])[0], last_values(model, [short])[0]], abs=1e-5)
    assert abs(both[0] - both[1]) > 1e-3


@pytest.mark.slow
def test_the_head_is_trained_and_kept_in_float32_on_a_bfloat16_body(tiny_model, tmp_path, train_here):
    from safetensors.torch import load_file

    for full in (False, True):
        options = {"lora": None} if full else {"dtype": "bfloat16"}
        result = train_here(value_job(tmp_path, tiny_model, [toy(n) for n in range(8)], name=f"{full}", **options))
        folder = Path(result.model or result.adapter or "")
        (weights,) = [load_file(path) for path in folder.glob("*.safetensors")]
        (head,) = [value for name, value in weights.items() if name.endswith("score.weight")]
        assert head.dtype == torch.float32 and head.abs().max() > 0
