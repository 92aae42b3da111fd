"""The vllm engine on the embedded model: the shared conformance checks, policies, cancellation, errors."""

import asyncio
from dataclasses import replace

import pytest
from adapters import make_adapter
from conformance import CHECKS, name_of, running

from selfimprove.engines import open_engine
from selfimprove.engines.base import Generate, Policy, Score
from selfimprove.errors import ConfigError, EngineError
from selfimprove.models import policy_of
from selfimprove.records import as_messages

pytestmark = pytest.mark.vllm
pytest.importorskip("vllm")

STORY = as_messages("Tell me a short story about a fox and a river.")


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Policy:
    return policy_of("embedded", str(make_adapter(tmp_path_factory.mktemp("adapter") / "a", seed=1)))


@pytest.fixture(scope="module")
def subject(other):
    engine = open_engine({"name": "vllm", "max_model_len": 512, "max_num_seqs": 64})
    with running(engine, policy_of("embedded"), other=other) as subject:
        yield subject


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_conformance(check, subject):
    subject.conduct(check)


def test_policies_are_exchanged_exactly_and_seldom(subject, other):
    """Sixty requests that alternate between two policies cost a few reloads, and each policy gives its own scores."""
    engine, policy = subject.engine, subject.policy

    async def go():
        async def ask(which):
            return (await engine.score(Score(which, STORY, "The fox swam across the river."))).total

        alone = [await ask(which) for which in (policy, other, policy)]
        before = engine.usage.notes["weight reloads"]
        totals = await asyncio.gather(*(ask((policy, other)[i % 2]) for i in range(60)))
        return alone, totals, engine.usage.notes["weight reloads"] - before

    (first, second, again), totals, reloads = subject.loop.run(go())
    assert first == again, "restored exactly"
    gap = abs(first - second)
    assert gap > 2.0
    assert all(abs(total - (first, second)[i % 2]) < gap / 4 for i, total in enumerate(totals))
    assert reloads <= 3


def test_methods_that_ask_two_policies_in_turn_share_the_reloads(subject, other):
    """Twenty coroutines, each: sample from one policy, score under the other, score under the first."""
    engine, policy = subject.engine, subject.policy

    async def method(i):
        messages = as_messages(f"Name the number that follows {i}.")
        sample = (await engine.generate(Generate(policy, messages, max_tokens=8, seed=i)))[0]
        scores = [await engine.score(Score(which, messages, sample.text)) for which in (other, policy)]
        return [score.total for score in scores]

    async def go():
        before = engine.usage.notes["weight reloads"]
        totals = await asyncio.gather(*map(method, range(20)))
        return totals, engine.usage.notes["weight reloads"] - before

    totals, reloads = subject.loop.run(go())
    assert all(first != second for first, second in totals)
    assert reloads <= 6


def test_long_seeded_prompts_that_exceed_one_step(subject):
    """Twelve thousand prompt tokens at once: more than one step takes in, and every answer draws from its own seed."""
    engine, policy = subject.engine, subject.policy
    requests = [Generate(policy, as_messages(f"{i} " + "word " * 290), n=2, max_tokens=2, seed=i) for i in range(40)]

    async def go():
        return await asyncio.gather(*map(engine.generate, requests))

    assert all(sample.error is None for samples in subject.loop.run(go()) for sample in samples)


def test_what_nobody_reads_of_logprobs_is_not_made(subject):
    """A newer vLLM that has moved what is left out here makes this fail, and not only slow."""
    import torch
    from vllm.v1.sample import sampler

    async def flat():
        from vllm.inputs import tokens_input

        from selfimprove.engines.parts.vllm_requests import sampling_params

        params = sampling_params(Generate(subject.policy, STORY, max_tokens=4, temperature=0.0))
        return (await subject.engine._backend.ask(tokens_input([1, 2, 3]), params)).outputs[0]

    answer = subject.loop.run(flat())
    assert answer.logprobs.decoded_tokens == [None] * len(answer.token_ids), "the text of each token"
    assert answer.text, "the text of the answer is made all the same"
    if not torch.cuda.is_available():
        ranks = sampler.batched_count_greater_than(torch.ones(2, 3), torch.zeros(2, 1))
        assert ranks.tolist() == [0, 0], "how many tokens are likelier"


def test_a_request_that_vllm_refuses_is_a_value(subject):
    engine, policy = subject.engine, subject.policy
    good = Generate(policy, STORY, temperature=0.0, max_tokens=4)
    bad = [
        replace(good, regex="(unclosed"),
        replace(good, json_schema={"type": "no such type"}),
        replace(good, choices=("Alpha one", "Alpha two")),
        replace(good, top_p=7.0),
    ]

    async def go():
        return await asyncio.gather(*map(engine.generate, [*bad, good]))

    *refused, answered = subject.loop.run(go())
    assert all(samples[0].finish == "error" and samples[0].error for samples in refused)
    assert answered[0].error is None


def test_a_policy_of_another_shape_is_refused(subject, tmp_path):
    engine, folder = subject.engine, tmp_path / "tiny"
    from transformers import LlamaConfig, LlamaForCausalLM

    tiny = LlamaConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=64)
    LlamaForCausalLM(tiny).save_pretrained(folder)
    with pytest.raises(EngineError, match="hidden_size is 16, but the engine was started with 576"):
        subject.loop.run(engine.generate(Generate(policy_of(str(folder)), STORY)))
    samples = subject.loop.run(engine.generate(Generate(subject.policy, STORY, max_tokens=4)))
    assert samples[0].error is None, "the engine goes on with its own policies"


def test_a_second_engine_in_the_process_is_refused(subject):
    second = open_engine({"name": "vllm", "max_model_len": 256})
    with pytest.raises(EngineError, match="another vLLM engine is running in this process"):
        subject.loop.run(second.start(subject.policy))
    samples = subject.loop.run(subject.engine.generate(Generate(subject.policy, STORY, max_tokens=4)))
    assert samples[0].error is None, "the first one goes on"


def test_options_are_checked_before_anything_is_loaded():
    with pytest.raises(ConfigError, match="weights is 'merge'; allowed: auto, lora, reload"):
        open_engine({"name": "vllm", "weights": "merge"})
    with pytest.raises(ConfigError, match="max_lora_rank is 48"):
        open_engine({"name": "vllm", "max_lora_rank": 48})
    with pytest.raises(ConfigError, match="no option 'max_model_length'; did you mean 'max_model_len'"):
        open_engine({"name": "vllm", "max_model_length": 12})
