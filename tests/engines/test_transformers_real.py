"""The transformers engine on the embedded model: the shared conformance checks, and the same scores as vLLM."""

import asyncio

import pytest
from adapters import make_adapter
from conformance import CHECKS, name_of, running

from selfimprove.engines import open_engine
from selfimprove.engines.base import Policy, Score
from selfimprove.models import policy_of
from selfimprove.records import as_messages

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Policy:
    return policy_of("embedded", str(make_adapter(tmp_path_factory.mktemp("adapter") / "a", seed=1)))


@pytest.fixture(scope="module")
def subject(other):
    engine = open_engine({"name": "transformers", "max_model_len": 1024})
    with running(engine, policy_of("embedded"), other=other, lacks={"json_schema", "regex"}) as subject:
        yield subject


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_conformance(check, subject):
    subject.conduct(check)


PROMPTS_AND_ANSWERS = [
    ("What is 2 + 2?", "2 + 2 = 4."),
    ("What is 17 + 25?", "17 + 25 = 42, so the answer is 42."),
    ("Name three colours.", "Red, green and blue."),
    ("What is the capital of France?", "The capital of France is Paris."),
    ("Write a sentence about rain.", "The rain fell softly on the roof all night."),
    ("Tom has 7 apples and eats 2. How many are left?", "Tom has 7 - 2 = 5 apples left.\nAnswer: 5"),
    ("Translate to French: good morning", "Bonjour 🌞"),
    ("Say something unlikely.", "Quartz umbrella, seventeen violins; never."),
]


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("dtype", "each", "share"),
    [
        ("float32", 0.01, 0.0),  # the same arithmetic, so the same numbers
        ("bfloat16", 0.3, 0.15),  # logits near 20 are rounded to 1/8: up to 0.7 nats at a token of -4 were seen
    ],
)
def test_scores_agree_with_vllm(dtype, each, share):
    """Eight answers, token by token: exactly in float32, within rounding in bfloat16."""
    pytest.importorskip("vllm")
    policy = policy_of("embedded")
    asked = [Score(policy, as_messages(prompt), answer) for prompt, answer in PROMPTS_AND_ANSWERS]

    async def scores(engine):
        return await asyncio.gather(*map(engine.score, asked))

    found = []
    for name in ("transformers", "vllm"):
        with running(open_engine({"name": name, "max_model_len": 512, "dtype": dtype}), policy) as subject:
            found.append(subject.loop.run(scores(subject.engine)))
    for request, mine, other in zip(asked, *found, strict=True):
        assert mine.error is None and other.error is None
        assert len(mine.token_logprobs) == len(other.token_logprobs) > 3
        for first, second in zip(mine.token_logprobs, other.token_logprobs, strict=True):
            assert first == pytest.approx(second, abs=each + share * abs(second)), request.completion
