"""Serving of value models: one request or many give the same, the loss decides the scale, failures are values."""

import asyncio
import json

import pytest
import torch

from selfimprove.chat import load_tokenizer
from selfimprove.engines import engine_names
from selfimprove.engines.base import Policy
from selfimprove.engines.parts.value_head import load_with_head, note_loss
from selfimprove.engines.value import Config, ValueModel, first_models, in_batches
from selfimprove.errors import ConfigError, EngineError
from selfimprove.models import policy_of
from selfimprove.records import as_messages

QUESTION = as_messages("What is 3 + 4?")
TEXTS = ["", "3", "3 + 4 is", "3 + 4 is seven, as one can count. " * 4, "3 + 4 = 8\n"]


@pytest.fixture(scope="module")
def folders(tiny_model, tmp_path_factory):
    """Two value models whose heads are drawn at random: one trained on mse, as it says, the other on bce."""
    found = {}
    for loss in ("mse", "bce"):
        folder = tmp_path_factory.mktemp("value") / loss
        model, new = load_with_head(str(tiny_model), dtype=torch.float32)
        assert new and not model.score.weight.any() and model.score.bias is None
        torch.manual_seed(7)
        model.score.weight.data.normal_()
        model.save_pretrained(folder)
        load_tokenizer(str(tiny_model)).save_pretrained(folder)
        note_loss(folder, loss)
        found[loss] = folder
    return found


def asked(scene, **config):
    """Return what scene(ValueModel) returns."""

    async def play():
        model = ValueModel(Config(device="cpu", **config))
        try:
            return await scene(model)
        finally:
            await model.close()
            await model.close()

    return asyncio.run(play())


def test_a_batch_gives_what_each_request_gives_alone_under_each_model(folders):
    policies = [policy_of(str(folder)) for folder in folders.values()]

    async def together(model):
        found = await asyncio.gather(*(model.value(p, QUESTION, text) for text in TEXTS for p in policies))
        return [value for value, _ in found], model.batches

    async def alone(model):
        return [(await model.value(p, QUESTION, text))[0] for text in TEXTS for p in policies]

    values, batches = asked(together, batch_tokens=300)
    singles = asked(alone)
    assert singles == pytest.approx(values, abs=2e-4) and 2 < batches < len(values)
    assert len(set(values)) == len(values)
    for raw, probability in zip(values[::2], values[1::2], strict=True):  # the same head, read as bce reads it
        assert probability == pytest.approx(1 / (1 + 2.718281828**-raw), abs=2e-4)


def test_it_is_loaded_again_after_sleep(folders):
    policy = policy_of(str(folders["mse"]))

    async def scene(model):
        before = await model.value(policy, QUESTION, "3")
        await model.sleep()
        assert not model._loaded
        return before, await model.value(policy, QUESTION, "3")

    before, after = asked(scene)
    assert before == after


def test_what_cannot_be_read_has_no_value_and_says_why(folders):
    policy = policy_of(str(folders["mse"]))

    async def scene(model):
        return await asyncio.gather(
            model.value(policy, QUESTION, "3 + " * 200),
            model.value(policy, (), "3"),
            model.value(policy, QUESTION, "3"),
        )

    (long, why_long), (none, why_none), (fine, nothing) = asked(scene, max_model_len=100)
    assert long is None and "too long" in why_long and "takes 100" in why_long
    assert none is None and "at least one message" in why_none
    assert fine is not None and nothing is None


def test_a_model_that_cannot_be_loaded_fails_its_own_requests_only(folders, tmp_path):
    good, bad = policy_of(str(folders["mse"])), Policy(str(tmp_path / "nowhere"), None, "bad")

    async def scene(model):
        return await asyncio.gather(
            model.value(bad, QUESTION, "3"), model.value(good, QUESTION, "3"), return_exceptions=True
        )

    failure, (value, _) = asked(scene)
    assert isinstance(failure, EngineError) and "nowhere" in str(failure) and value is not None


def test_after_close_it_refuses(folders):
    async def scene(model):
        await model.close()
        with pytest.raises(EngineError, match="closed"):
            await model.value(policy_of(str(folders["mse"])), QUESTION, "3")

    asked(scene)


def test_batches_keep_to_their_tokens_with_padding():
    rows = [(n, [0] * n) for n in (5, 1, 9, 2, 2)]
    # sorted 1 2 2 | 5 | 9: 3 * 2 = 6 fits into 8, 4 * 5 does not; 9 alone is more than 8, and a batch all the same
    assert [[n for n, _ in batch] for batch in in_batches(rows, 8)] == [[1, 2, 2], [5], [9]]
    assert [len(batch) for batch in in_batches(rows, None)] == [5]


def test_a_recipe_may_begin_with_a_trained_value_model(folders, tiny_model):
    assert first_models({}) == {} == first_models({"model": str(tiny_model)})  # the latter has no head yet
    assert first_models({"model": str(folders["mse"])})["value"].base == str(folders["mse"])
    assert "value" not in engine_names()


def test_a_whole_model_says_the_form_that_vllm_serves(folders):
    config = json.loads((folders["mse"] / "config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"] and len(config["id2label"]) == 1


def test_an_architecture_without_such_a_head_is_refused(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=8, n_layer=1, n_head=1)).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="no value model can be made of a gpt2"):
        load_with_head(str(tmp_path))
