"""The transformers engine on a tiny random model, against straightforward one-by-one references in float32."""

import asyncio
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from subject import EngineLoop

from selfimprove.engines.base import Generate, Policy, Score
from selfimprove.engines.transformers import Config, make
from selfimprove.errors import ConfigError, EngineError
from selfimprove.records import as_messages

WORDS = "the fox ran to a cold river and saw nine red stones under water today again".split()  # noqa: SIM905
QUESTIONS = [as_messages(" ".join(WORDS[:count])) for count in (1, 3, 12, 7, 2, 9)]
END = 2


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder with a two-layer Llama of random weights and a word-level tokenizer with a chat template."""
    return build_tiny(tmp_path_factory.mktemp("tiny"), seed=0)


def build_tiny(folder, seed):
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    marks = ["<unk>", "<|begin|>", "<|end|>", "user", "assistant"]
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(marks + WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", eos_token="<|end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|begin|>"]})
    tokenizer.chat_template = (
        "{% for m in messages %}<|begin|> {{ m.role }} {{ m.content }} <|end|> {% endfor %}"
        "{% if add_generation_prompt %}<|begin|> assistant {% endif %}"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, eos_token_id=END, bos_token_id=None, pad_token_id=None,
        initializer_range=0.6, tie_word_embeddings=False,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bare(tiny):
    """The tiny model and its tokenizer as plain transformers objects."""
    from transformers import AutoModelForCausalLM

    from selfimprove.models import load_tokenizer

    return AutoModelForCausalLM.from_pretrained(tiny, dtype="float32").eval(), load_tokenizer(str(tiny))


@pytest.fixture(scope="module")
def loop():
    owner = EngineLoop()
    yield owner
    owner.close()


@pytest.fixture(scope="module")
def engine(tiny, loop):
    engine = make(Config(device="cpu", dtype="float32", max_batch=5))
    loop.run(engine.start(Policy(str(tiny))))
    yield engine
    loop.run(engine.close())


def reference(bare, request, index=0):
    """Return (text, tokens, log-prob) of one answer: no batch, no cache, the whole text read anew for each token."""
    import torch

    from selfimprove.models import render_ids

    model, tokenizer = bare
    ids, total, draws = render_ids(tokenizer, request.messages), 0.0, Random(request.seed + index)
    new = []
    with torch.inference_mode():
        while len(new) < request.max_tokens:
            logprobs = model(torch.tensor([ids + new])).logits[0, -1].float().log_softmax(-1)
            token = int(logprobs.argmax())
            if request.temperature > 0:
                chances = (logprobs / request.temperature).softmax(-1).double()
                drawn, passed = draws.random() * float(chances.sum()), 0.0
                for token, chance in enumerate(chances.tolist()):  # noqa: B007 (the token where it stops is meant)
                    passed += chance
                    if passed > drawn:
                        break
            new.append(token)
            total += float(logprobs[token])
            if token == END:
                break
    return tokenizer.decode(new, skip_special_tokens=True), len(new), total


def ask_all(loop, engine, requests):
    async def gather():
        return await asyncio.gather(*map(engine.generate, requests))

    return loop.run(gather())


def test_batched_left_padded_generation_equals_one_by_one(tiny, bare, loop, engine):
    requests = [
        Generate(Policy(str(tiny)), question, temperature=0.0, max_tokens=4 + 5 * place)
        for place, question in enumerate(QUESTIONS)
    ]
    answers = ask_all(loop, engine, requests)  # six rows in a batch of five: one joins while others are under way
    for request, (sample,) in zip(requests, answers, strict=True):
        text, tokens, total = reference(bare, request)
        assert (sample.text, sample.tokens) == (text, tokens)
        assert sample.logprob == pytest.approx(total, abs=1e-3)


def test_sampled_answers_equal_one_by_one_whatever_the_batch(tiny, bare, loop, engine):
    requests = [
        Generate(Policy(str(tiny)), question, n=1 + place % 3, temperature=0.7, max_tokens=14, seed=100 * place)
        for place, question in enumerate(QUESTIONS)
    ]
    together = ask_all(loop, engine, requests)
    for request, samples in zip(requests, together, strict=True):
        for sample in samples:
            text, tokens, total = reference(bare, request, sample.index)
            assert (sample.text, sample.tokens) == (text, tokens)
            assert sample.logprob == pytest.approx(total, abs=1e-3)
    backwards = ask_all(loop, engine, requests[::-1])[::-1]
    assert [[s.text for s in samples] for samples in backwards] == [[s.text for s in samples] for samples in together]


def test_one_long_answer_does_not_hold_up_short_ones(tiny, loop, engine):
    long = Generate(Policy(str(tiny)), QUESTIONS[0], temperature=1.0, max_tokens=110, n=4, seed=5, stop=("nothing",))
    short = [Generate(Policy(str(tiny)), question, temperature=0.0, max_tokens=2) for question in QUESTIONS]
    order = []

    async def scenario():
        async def note(name, request):
            await engine.generate(request)
            order.append(name)

        await asyncio.gather(note("long", long), *(note("short", request) for request in short))

    loop.run(scenario())
    assert order[-1] == "long"


def test_score_equals_log_softmax_gather(tiny, bare, loop, engine):
    import torch

    from selfimprove.models import completion_ids

    model, tokenizer = bare
    asked = [
        Score(Policy(str(tiny)), question, " ".join(WORDS[place : 2 * place + 3]), end=place % 2 == 0)
        for place, question in enumerate(QUESTIONS)
    ]

    async def gather():
        return await asyncio.gather(*map(engine.score, asked))

    for request, scored in zip(asked, loop.run(gather()), strict=True):
        prompt, completion = completion_ids(tokenizer, request.messages, request.completion, request.end)
        assert (completion[-1] == END) == request.end
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + completion])).logits[0].float()
        expected = [float(logits[len(prompt) + i - 1].log_softmax(-1)[token]) for i, token in enumerate(completion)]
        assert scored.token_logprobs == pytest.approx(expected, abs=1e-4)
        assert scored.total == pytest.approx(sum(expected), abs=1e-3)


def test_labels_are_weighed_by_all_their_tokens(tiny, loop, engine):
    import math

    labels = ("fox", "cold river", "red")
    ask = Generate(Policy(str(tiny)), QUESTIONS[2], choices=labels, temperature=0.0)
    (sample,) = loop.run(engine.generate(ask))
    totals = [
        loop.run(engine.score(Score(Policy(str(tiny)), QUESTIONS[2], label, end=False))).total for label in labels
    ]
    norm = math.log(sum(map(math.exp, totals)))
    assert [sample.choices[label] for label in labels] == pytest.approx([total - norm for total in totals], abs=1e-3)
    assert sample.text == labels[totals.index(max(totals))]
    drawn = loop.run(engine.generate(replace(ask, temperature=1.0, n=400)))
    share = sum(s.text == labels[0] for s in drawn) / 400
    assert share == pytest.approx(math.exp(sample.choices[labels[0]]), abs=0.09)


def test_window_ends_answers_and_refuses_prompts(tiny, loop):
    engine = make(Config(device="cpu", dtype="float32", max_model_len=20))
    loop.run(engine.start(Policy(str(tiny))))
    never = Generate(Policy(str(tiny)), QUESTIONS[0], temperature=1.0, max_tokens=99, n=8)
    samples = loop.run(engine.generate(never))
    assert max(s.tokens for s in samples) == 20 - 6, "<|begin|> user the <|end|> <|begin|> assistant are six tokens"
    (bad,) = loop.run(engine.generate(replace(never, messages=as_messages("fox " * 30), n=1)))
    assert bad.finish == "error" and "too long" in bad.error
    assert loop.run(engine.score(Score(Policy(str(tiny)), QUESTIONS[0], "fox " * 30))).error
    loop.run(engine.close())


def test_adapters_and_full_weights_are_told_apart(tiny, tmp_path_factory, loop, engine):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from selfimprove.models import policy_of

    other = build_tiny(tmp_path_factory.mktemp("other"), seed=1)
    adapters = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = get_peft_model(
            AutoModelForCausalLM.from_pretrained(tiny, dtype="float32"),
            LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM", init_lora_weights=False),
        )
        adapters.append(tmp_path_factory.mktemp("adapter"))
        model.save_pretrained(adapters[-1])
    policies = [policy_of(str(tiny)), *(policy_of(str(tiny), str(path)) for path in adapters), policy_of(str(other))]
    ask = Generate(policies[0], QUESTIONS[2], temperature=0.0, max_tokens=10, logprobs=True)
    rounds = [
        [samples[0] for samples in ask_all(loop, engine, [replace(ask, policy=policies[place]) for place in order])]
        for order in ([0, 1, 2, 3], [0, 2, 1, 3], [1, 0, 2, 3], [0, 1, 2, 3])
    ]
    firsts = rounds[0]
    assert len({s.token_logprobs for s in firsts}) == 4, "four policies, four answers"
    for again, places in zip(rounds[1:], ([0, 2, 1, 3], [1, 0, 2, 3], [0, 1, 2, 3]), strict=True):
        for sample, place in zip(again, places, strict=True):
            assert sample.token_logprobs == pytest.approx(firsts[place].token_logprobs, abs=1e-4)
    from peft import PeftModel

    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny, dtype="float32"), adapters[1])
    from selfimprove.models import load_tokenizer

    text, tokens, total = reference((merged.eval(), load_tokenizer(str(tiny))), ask)
    assert (firsts[2].text, firsts[2].tokens) == (text, tokens)
    assert firsts[2].logprob == pytest.approx(total, abs=1e-3)


def test_a_policy_that_cannot_be_loaded_fails_its_own_requests_only(tiny, loop, engine, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    good = Generate(Policy(str(tiny)), QUESTIONS[0], temperature=0.0, max_tokens=3)
    bad = replace(good, policy=Policy(str(tiny), str(tmp_path / "missing")))

    async def gather():
        return await asyncio.gather(*map(engine.generate, (good, bad, good)), return_exceptions=True)

    first, second, third = loop.run(gather())
    assert isinstance(second, EngineError) and "missing" in str(second)
    assert first[0].error is None and third[0].error is None


def test_closing_fails_what_is_in_flight(tiny, loop):
    engine = make(Config(device="cpu", dtype="float32"))
    loop.run(engine.start(Policy(str(tiny))))

    async def scenario():
        task = asyncio.create_task(
            engine.generate(Generate(Policy(str(tiny)), QUESTIONS[0], max_tokens=100, n=50, stop=("no such word",)))
        )
        await asyncio.sleep(0.02)
        await engine.close()
        return await asyncio.gather(task, return_exceptions=True)

    (outcome,) = loop.run(scenario())
    assert isinstance(outcome, list) or "closed" in str(outcome)


def test_options_are_checked():
    for options, words in (
        ({"dtype": "int3"}, "bfloat16"),
        ({"max_batch": 0}, "max_batch"),
        ({"models": 0}, "models"),
    ):
        with pytest.raises(ConfigError, match=words):
            make(Config(**options))


# From logits to tokens


def test_truncation_keeps_what_the_definitions_say():
    import torch

    from selfimprove.engines.parts.picking import truncate

    chances = torch.tensor([[0.1, 0.4, 0.3, 0.15, 0.05]])

    def kept(**options):
        request = Generate(Policy("m"), QUESTIONS[0], **options)
        return (truncate(chances.log(), [request])[0] > -torch.inf).nonzero()[:, 0].tolist()

    assert kept() == [0, 1, 2, 3, 4]
    assert kept(top_k=2) == [1, 2]
    assert kept(top_k=99) == [0, 1, 2, 3, 4]
    assert kept(top_p=0.5) == [1, 2], "0.4 is not enough, the token that passes 0.5 stays"
    assert kept(top_p=0.39) == [1]
    assert kept(min_p=0.5) == [1, 2], "at least half as likely as the likeliest"
    assert kept(top_k=3, top_p=0.8) == [1, 2], "top_p counts what top_k left: 0.4 and 0.3 of 0.85"
    assert kept(top_k=1, min_p=1.0, top_p=0.01) == [1]


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.data())
def test_a_row_is_picked_as_if_it_were_alone(data):
    import torch

    from selfimprove.engines.parts.picking import pick

    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 10**6)))
    count = data.draw(st.integers(1, 6))
    logits = torch.randn(count, 17, generator=generator) * 3
    fractions = st.floats(0, 1, exclude_max=True)
    draws = [data.draw(fractions) for _ in range(count)]
    requests = [
        Generate(
            Policy("m"), QUESTIONS[0],
            temperature=data.draw(st.sampled_from([0.0, 0.3, 1.0, 2.0])),
            top_k=data.draw(st.integers(0, 17)),
            top_p=data.draw(st.sampled_from([1.0, 0.9, 0.1])),
            min_p=data.draw(st.sampled_from([0.0, 0.05, 1.0])),
        )
        for _ in range(count)
    ]  # fmt: skip
    tokens, _ = pick(logits, requests, draws)
    for row in range(count):
        alone, logprob = pick(logits[row : row + 1], requests[row : row + 1], draws[row : row + 1])
        assert int(alone[0]) == int(tokens[row])
        assert float(logprob[0]) == pytest.approx(float(logits[row].log_softmax(-1)[tokens[row]]), abs=1e-5)
        if requests[row].temperature == 0 or requests[row].top_k == 1 or requests[row].min_p == 1.0:
            assert int(tokens[row]) == int(logits[row].argmax())


def test_draws_follow_the_distribution():
    import torch

    from selfimprove.engines.parts.picking import pick

    chances = torch.tensor([0.5, 0.0, 0.3, 0.2])
    count = 4000
    request = Generate(Policy("m"), QUESTIONS[0], temperature=1.0)
    random = Random(0)
    tokens, _ = pick(chances.log().expand(count, 4), [request] * count, [random.random() for _ in range(count)])
    shares = torch.bincount(tokens, minlength=4) / count
    assert shares.tolist() == pytest.approx(chances.tolist(), abs=0.03)
    assert shares[1] == 0
    edge, _ = pick(chances.log().expand(2, 4), [request] * 2, [0.0, 1 - 2**-53])
    assert edge.tolist() == [0, 3]
