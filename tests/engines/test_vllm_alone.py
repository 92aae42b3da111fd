"""vLLM engines that need the process for themselves: `weights: lora`, and one that cannot start."""

import asyncio

import pytest
from adapters import make_adapter
from conformance import running

from selfimprove.engines import open_engine
from selfimprove.engines.base import Generate, Score
from selfimprove.engines.parts import vllm_build as build
from selfimprove.engines.vllm import Config
from selfimprove.errors import ConfigError
from selfimprove.models import policy_of
from selfimprove.records import as_messages

pytestmark = pytest.mark.vllm
pytest.importorskip("vllm")

STORY = as_messages("Tell me a short story about a fox and a river.")


def test_adapters_side_by_side(tmp_path):
    """Base and two adapters answer in one batch, each in its own way; on CPU scores come from transformers."""
    base = policy_of("embedded")
    first, second = (policy_of("embedded", str(make_adapter(tmp_path / str(seed), seed=seed))) for seed in (1, 2))

    async def go(engine):
        requests = [Generate(which, STORY, temperature=0.0, max_tokens=10) for which in (base, first, second) * 2]
        texts = [samples[0].text for samples in await asyncio.gather(*map(engine.generate, requests))]
        scores = [(await engine.score(Score(which, STORY, "The fox swam."))).total for which in (base, first)]
        return texts, scores, dict(engine.usage.notes)

    engine = open_engine({"name": "vllm", "max_model_len": 256, "weights": "lora", "max_lora_rank": 8})
    with running(engine, base) as subject:
        texts, scores, notes = subject.loop.run(go(engine))
    assert len(set(texts[:3])) == 3 and texts[3:] == texts[:3]
    assert notes == {"scored by transformers, since vLLM on CPU cannot score with weights: lora": 2}
    assert abs(scores[0] - scores[1]) > 2.0, "the adapter matters"


def test_unknown_extra_arguments_are_refused():
    async def start(**extra):
        await open_engine({"name": "vllm", "extra": extra}).start(policy_of("embedded"))

    with pytest.raises(ConfigError, match="extra.blok_size: vLLM has no such argument; did you mean 'block_size'"):
        asyncio.run(start(blok_size=32))
    with pytest.raises(ConfigError, match="extra.trust_remote_code: the engine sets it itself"):
        asyncio.run(start(trust_remote_code=True))
    with pytest.raises(ConfigError, match=r"extra.dtype: write engine\.dtype"):
        asyncio.run(start(dtype="float32"))


def test_common_beginnings_of_short_prompts_are_read_once_on_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "on_gpu", lambda: False)
    of = lambda **extra: build.engine_arguments(Config(extra=extra), tmp_path, lora=False, longest=256)  # noqa: E731
    assert of()["block_size"] == 32  # vLLM's own is 128
    assert of(block_size=64)["block_size"] == 64
    monkeypatch.setattr(build, "on_gpu", lambda: True)
    assert "block_size" not in of()
