"""Run: seeds and keys depend on what they should and on nothing else; slow verdicts are kept."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.config import digest, make_recipe
from selfimprove.engines import open_engine
from selfimprove.engines.base import Generate, Policy
from selfimprove.errors import EngineError
from selfimprove.ledger import Ledger
from selfimprove.records import Prompt, as_messages
from selfimprove.run import EngineOnDemand, Run, derive_seed, means, request_row, spreads
from selfimprove.verify import Verifiers

BASE = Policy("scripted", None, "base")
PROMPT = Prompt("p", as_messages("What is 2 + 2?"), gold="4")
words = st.text(max_size=6)


def with_run(tmp_path, scene, **engine):
    """Return what scene(run) returns, over the scripted engine and the ledger of tmp_path."""

    async def play():
        ledger = Ledger(tmp_path / "ledger.sqlite")
        on_demand = EngineOnDemand(open_engine({"name": "scripted", **engine}))
        recipe = make_recipe({"method": "raft", "prompts": "none"}, "test")
        run = Run(recipe, 1, BASE, BASE, BASE, on_demand, ledger, Verifiers())
        try:
            return await scene(run)
        finally:
            await on_demand.close()
            run.verifiers.close()
            ledger.close()

    return asyncio.run(play())


@given(st.tuples(st.integers(0, 9), words, words, words, st.integers(0, 3)), st.integers(0, 4))
def test_a_seed_depends_on_each_of_its_five_parts(parts, changed):
    other = list(parts)
    other[changed] = other[changed] + (1 if isinstance(other[changed], int) else "x")
    assert 0 <= derive_seed(*parts) < 2**31
    assert derive_seed(*parts) == derive_seed(*parts) != derive_seed(*other)


def test_a_key_names_the_policy_by_content_not_by_place():
    here = Generate(Policy("/a/base", "/a/adapter", "d1"), PROMPT.messages, seed=3)
    there = Generate(Policy("/b/base", "/b/adapter", "d1"), PROMPT.messages, seed=3)
    other = Generate(Policy("/a/base", "/a/adapter", "d2"), PROMPT.messages, seed=3)
    assert digest(request_row(here)) == digest(request_row(there)) != digest(request_row(other))


def test_the_same_call_is_asked_once_and_another_attempt_is_another_draw(tmp_path):
    async def scene(run):
        first = await run.sample(PROMPT, 4, temperature=1.0)
        again = await run.sample(PROMPT, 4, temperature=1.0)
        other = await run.sample(PROMPT, 4, temperature=1.0, attempt=1)
        frozen = await run.sample(PROMPT, 4, temperature=1.0, policy=Policy("scripted", "a", "round-1"))
        return first, again, other, frozen, run.engine.usage.requests

    first, again, other, frozen, asked = with_run(tmp_path, scene, answers={"*": [f"answer {i}" for i in range(90)]})
    assert first == again and asked == 3
    assert [s.text for s in first] != [s.text for s in other] and len(frozen) == 4


def test_an_answered_run_never_starts_its_engine(tmp_path):
    async def scene(run):
        samples = await run.sample(PROMPT, 2)
        scored = await run.logprobs(PROMPT, "It is 4.")
        return samples, scored, run.engine.started

    first = with_run(tmp_path, scene)
    second = with_run(tmp_path, scene, dies_after=0)
    assert first[2] and not second[2] and first[:2] == second[:2]


def test_a_dead_engine_is_an_error_not_an_answer(tmp_path):
    async def scene(run):
        return await run.sample(PROMPT, 2)

    with pytest.raises(EngineError):
        with_run(tmp_path, scene, dies_after=0)


def test_a_failed_answer_is_a_value_and_is_not_kept(tmp_path):
    async def scene(run):
        samples = await run.sample(PROMPT, 2)
        return [s.error for s in samples], len(run.ledger)

    errors, kept = with_run(tmp_path, scene, failure_rate=1.0)
    assert all(errors) and kept == 0
    assert with_run(tmp_path, scene) == ([None, None], 1)


def test_quick_verdicts_are_not_written_and_slow_ones_are(tmp_path):
    formula = Prompt("f", as_messages("Expand (x+1)^2."), gold="x^2 + 2x + 1")

    async def scene(run):
        quick = await run.check(PROMPT, "The answer is 4.")
        before = len(run.ledger)
        slow = await run.check(formula, "\\boxed{(x+1)^2}")
        return quick.score, before, slow, len(run.ledger)

    score, before, slow, after = with_run(tmp_path, scene)
    assert (score, before, slow.score, after) == (1.0, 0, 1.0, 1)
    assert with_run(tmp_path, scene)[2] == slow


def test_random_generators_are_keyed(tmp_path):
    async def scene(run):
        return [run.rng(PROMPT, purpose).random() for purpose in ("a", "a", "b")]

    first, again, other = with_run(tmp_path, scene)
    assert first == again != other


def test_what_is_measured_is_told_by_its_mean_and_its_spread():
    values = {"consistency": [0.2, 0.6, 1.0], "once": [3.0], "never": []}
    assert means(values) == pytest.approx({"consistency": 0.6, "once": 3.0})
    [(name, found)] = spreads(values).items()  # one value has no spread
    assert name == "consistency" and found == pytest.approx({"min": 0.2, "max": 1.0, "sd": 0.4})  # sqrt(0.32 / 2)
