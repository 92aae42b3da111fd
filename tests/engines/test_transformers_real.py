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
def test_scores_agree_with_vllm(subject):
    """Eight answers: within bf16 rounding of each other, summed and token by token."""
    pytest.importorskip("vllm")
    asked = [Score(subject.policy, as_messages(prompt), answer) for prompt, answer in PROMPTS_AND_ANSWERS]

    async def scores(engine):
        return await asyncio.gather(*map(engine.score, asked))

    ours = subject.loop.run(scores(subject.engine))
    engine = open_engine({"name": "vllm", "max_model_len": 512})
    with running(engine, subject.policy) as vllm:
        theirs = vllm.loop.run(scores(vllm.engine))
    for request, mine, other in zip(asked, ours, theirs, strict=True):
        assert mine.error is None and other.error is None
        assert len(mine.token_logprobs) == len(other.token_logprobs)
        allowed = 0.15 + 0.02 * len(mine.token_logprobs)
        assert mine.total == pytest.approx(other.total, abs=allowed), request.completion
        for first, second in zip(mine.token_logprobs, other.token_logprobs, strict=True):
            assert first == pytest.approx(second, abs=0.3 + 0.03 * abs(second))
