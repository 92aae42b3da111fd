"""What every engine must do, as plain async checks; each engine's test file runs all of them over one engine.

    @pytest.fixture(scope="session")
    def subject():
        with running(open_engine({"name": "vllm", ...}), policy, other=trained_policy, lacks={"regex"}) as subject:
            yield subject

    @pytest.mark.parametrize("check", CHECKS, ids=name_of)
    def test_conformance(check, subject):
        subject.conduct(check)

A check takes `(engine, policy)`; those that need a second policy of the same base take `(engine, policy, other)`.
`lacks` names the abilities the engine does not offer. A check that needs one of them is skipped, except for
`json_schema`, `regex`, `score` and `choices`: there the engine must refuse with an EngineError.
`running` starts the engine on its own loop, and closes it twice at the end.

Abilities: score, logprobs, choices, json_schema, regex, policies (a second policy), long_prompt (one can be too long),
truncation (top_k, top_p, min_p), language (a real model), tokens (counts are a tokenizer's, max_tokens is exact).
"""

import asyncio
import json
import math
import re
from collections import Counter
from dataclasses import replace
from typing import Any

import conformance_steps  # noqa: F401  its checks are run too
from subject import CAPITAL, CHECKS, RATING, EngineLoop, Subject, check, name_of, running

from selfimprove.engines.base import Engine, Generate, Policy, Score
from selfimprove.records import Messages, Sample, as_messages

__all__ = ["CHECKS", "EngineLoop", "Subject", "name_of", "running"]

ALPHABET = as_messages("Recite the English alphabet in capital letters, separated by spaces.")
STORY = as_messages("Tell me a short story about a fox and a river.")
CLEAR = (*map(as_messages, ("Name three primary colors.", "Who wrote Hamlet?", "What is 2+2?")), CAPITAL)
"""Prompts whose first greedy tokens lead by so much that rounding in a large batch does not change them."""


def greedy(policy: Policy, messages: Messages, max_tokens: int = 16, **options: Any) -> Generate:
    """Return a request at temperature 0."""
    return Generate(policy, messages, temperature=0.0, max_tokens=max_tokens, **options)


async def one(engine: Engine, request: Generate) -> Sample:
    """Return the only sample of a request, which must not have failed."""
    samples = await engine.generate(request)
    assert len(samples) == request.n == 1
    assert samples[0].error is None, samples[0].error
    return samples[0]


def near(first: float, second: float, tokens: int) -> bool:
    """Whether two sequence log-probs agree within what bf16 does to `tokens` tokens."""
    return math.isclose(first, second, abs_tol=0.25 + 0.02 * tokens)


# Sampling


@check()
async def check_samples_come_in_index_order(engine: Engine, policy: Policy) -> None:
    samples = await engine.generate(Generate(policy, STORY, n=5, max_tokens=12, seed=3))
    assert [s.index for s in samples] == [0, 1, 2, 3, 4]
    assert all(s.error is None and s.text and 0 < s.tokens <= 12 for s in samples)
    assert len({s.text for s in samples}) > 1, "answers of one request differ by their seeds"


@check()
async def check_same_seed_same_answer(engine: Engine, policy: Policy) -> None:
    request = Generate(policy, STORY, max_tokens=8, seed=11)
    first, second = await one(engine, request), await one(engine, request)
    assert first.text == second.text
    others = [await one(engine, replace(request, seed=seed)) for seed in (12, 13, 14)]
    assert {s.text for s in others} != {first.text}, "another seed gives another answer"


@check()
async def check_answer_i_uses_seed_plus_i(engine: Engine, policy: Policy) -> None:
    request = Generate(policy, STORY, n=3, max_tokens=6, seed=21)
    together = await engine.generate(request)
    alone = [await one(engine, replace(request, n=1, seed=21 + i)) for i in range(3)]
    assert [s.text for s in together] == [s.text for s in alone]


@check()
async def check_temperature_zero_is_stable(engine: Engine, policy: Policy) -> None:
    texts = {(await one(engine, greedy(policy, ALPHABET, seed=seed))).text for seed in range(4)}
    assert len(texts) == 1, "without randomness the seed does not matter"
    assert texts != {(await one(engine, greedy(policy, STORY))).text}, "and the prompt does"


@check("truncation")
async def check_truncation_leaves_the_likeliest_token(engine: Engine, policy: Policy) -> None:
    best = (await one(engine, greedy(policy, CLEAR[2], max_tokens=6))).text
    for options in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}):
        request = Generate(policy, CLEAR[2], temperature=1.0, max_tokens=6, seed=5, **options)
        assert (await one(engine, request)).text == best, options


@check()
async def check_stop_strings_cut_the_text(engine: Engine, policy: Policy) -> None:
    whole = (await one(engine, greedy(policy, STORY, max_tokens=24))).text
    stop = whole[len(whole) // 2 :][:3]
    cut = await one(engine, greedy(policy, STORY, max_tokens=24, stop=(stop, "\x00never")))
    assert cut.text == whole[: whole.index(stop)]
    assert cut.finish == "stop"


@check()
async def check_max_tokens_finishes_by_length(engine: Engine, policy: Policy) -> None:
    sample = await one(engine, greedy(policy, STORY, max_tokens=3))
    assert sample.finish == "length"
    assert 0 < sample.tokens <= 3
    assert len(sample.text) < len((await one(engine, greedy(policy, STORY, max_tokens=12))).text)


@check("tokens")
async def check_max_tokens_is_met_exactly(engine: Engine, policy: Policy) -> None:
    for budget in (1, 7):
        sample = await one(engine, greedy(policy, STORY, max_tokens=budget))
        assert (sample.tokens, sample.finish) == (budget, "length")


@check()
async def check_end_of_turn_finishes_by_stop(engine: Engine, policy: Policy) -> None:
    sample = await one(engine, greedy(policy, CAPITAL, max_tokens=96))
    assert sample.finish == "stop"
    assert "<|im_end|>" not in sample.text, "special tokens are not part of the text"


@check("language")
async def check_final_assistant_message_is_continued(engine: Engine, policy: Policy) -> None:
    whole = (await one(engine, greedy(policy, ALPHABET, max_tokens=24))).text
    cut = whole.index(" ", len(whole) // 2)
    begun = (*ALPHABET, {"role": "assistant", "content": whole[:cut]})
    rest = await one(engine, greedy(policy, begun, max_tokens=8))
    assert rest.text, "there was more to say"
    assert whole[cut:].startswith(rest.text[:2]), "the answer goes on where the text ended"


@check()
async def check_continuing_differs_from_answering(engine: Engine, policy: Policy) -> None:
    begun = (*STORY, {"role": "assistant", "content": "Once upon a time, there was a"})
    rest = await one(engine, greedy(policy, begun, max_tokens=8))
    assert not rest.text.startswith("Once upon a time, there was a")
    assert rest.text != (await one(engine, greedy(policy, STORY, max_tokens=8))).text


@check("language")
async def check_plain_text_is_continued_without_a_chat_template(engine: Engine, policy: Policy) -> None:
    text = "Monday, Tuesday, Wednesday, Thursday,"
    sample = await one(engine, greedy(policy, as_messages(text, role="text"), max_tokens=3))
    assert "Friday" in sample.text, sample.text
    scored = await engine.score(Score(policy, as_messages(text, role="text"), sample.text, end=False))
    assert near(scored.total, sample.logprob, sample.tokens), (scored.total, sample)
    turn = await engine.score(Score(policy, as_messages(text), sample.text, end=False))
    assert scored.total > turn.total + 1, "as an answer to a question it is less likely"


@check()
async def check_unicode_goes_in_and_out(engine: Engine, policy: Policy) -> None:
    messages = as_messages("Répète : 数学 は 楽しい 🦊 e\u0301 \u202eabc\u202c  ﷽")
    sample = await one(engine, Generate(policy, messages, temperature=1.0, max_tokens=16, seed=2))
    assert sample.text.encode("utf-8").decode("utf-8") == sample.text


# Requests that cannot be served are values


@check()
async def check_empty_text_is_answered(engine: Engine, policy: Policy) -> None:
    sample = (await engine.generate(greedy(policy, as_messages(""), max_tokens=4)))[0]
    assert sample.error is None


@check()
async def check_empty_conversation_is_an_error_value(engine: Engine, policy: Policy) -> None:
    samples = await engine.generate(Generate(policy, (), n=2))
    assert [(s.finish, s.text, s.index) for s in samples] == [("error", "", 0), ("error", "", 1)]
    assert all(s.error for s in samples)


@check("long_prompt")
async def check_too_long_prompt_is_an_error_value(engine: Engine, policy: Policy) -> None:
    before = engine.usage.failed
    long = Generate(policy, as_messages("word " * 20_000), n=2, max_tokens=4)
    first, bad, last = await asyncio.gather(
        engine.generate(greedy(policy, CAPITAL, max_tokens=4)),
        engine.generate(long),
        engine.generate(greedy(policy, STORY, max_tokens=4)),
    )
    assert [(s.finish, s.text, s.index) for s in bad] == [("error", "", 0), ("error", "", 1)]
    assert all("long" in s.error or "length" in s.error for s in bad), bad[0].error
    assert first[0].error is None and last[0].error is None, "the batch goes on"
    assert engine.usage.failed > before


@check("long_prompt", "score")
async def check_too_long_completion_is_an_error_value(engine: Engine, policy: Policy) -> None:
    scored = await engine.score(Score(policy, CAPITAL, "word " * 20_000))
    assert scored.error and scored.total is None and scored.token_logprobs == ()


# Log-probs


@check("logprobs")
async def check_token_logprobs_sum_to_logprob(engine: Engine, policy: Policy) -> None:
    for request in (greedy(policy, STORY, logprobs=True), Generate(policy, STORY, max_tokens=16, logprobs=True)):
        sample = await one(engine, request)
        assert sample.token_logprobs is not None and sample.logprob is not None
        assert len(sample.token_logprobs) == sample.tokens
        assert all(value <= 1e-4 for value in sample.token_logprobs)
        assert math.isclose(sum(sample.token_logprobs), sample.logprob, abs_tol=1e-3)
        plain = await one(engine, replace(request, logprobs=False))
        assert plain.token_logprobs is None, "token log-probs come on request only"


@check("logprobs", "truncation")
async def check_logprobs_are_at_temperature_one_without_truncation(engine: Engine, policy: Policy) -> None:
    plain = await one(engine, greedy(policy, STORY, max_tokens=6, logprobs=True))
    hot = await one(engine, Generate(policy, STORY, temperature=1.7, top_k=1, max_tokens=6, logprobs=True))
    assert plain.text == hot.text
    assert near(plain.logprob, hot.logprob, 2)
    assert hot.logprob < -0.05, "the only token left still has its own probability"


@check("logprobs", "score")
async def check_score_agrees_with_generation(engine: Engine, policy: Policy) -> None:
    for request in (greedy(policy, CAPITAL, 96), greedy(policy, STORY, 12), greedy(policy, ALPHABET, 12)):
        sample = await one(engine, request)
        scored = await engine.score(Score(policy, request.messages, sample.text, end=sample.finish == "stop"))
        assert scored.error is None, scored.error
        assert len(scored.token_logprobs) == sample.tokens
        assert near(scored.total, sample.logprob, sample.tokens), (scored.total, sample)


@check("score")
async def check_score_counts_only_the_completion(engine: Engine, policy: Policy) -> None:
    short = await engine.score(Score(policy, CAPITAL, "The river is cold."))
    longer = await engine.score(Score(policy, (*STORY, *CAPITAL), "The river is cold."))
    assert len(short.token_logprobs) == len(longer.token_logprobs) > 0, "the prompt is masked"
    assert short.token_logprobs != longer.token_logprobs, "and it matters"
    assert all(value <= 1e-4 and math.isfinite(value) for value in short.token_logprobs)


@check("score")
async def check_score_depends_on_the_completion(engine: Engine, policy: Policy) -> None:
    first = await engine.score(Score(policy, CAPITAL, "Paris"))
    second = await engine.score(Score(policy, CAPITAL, "xylophone"))
    again = await engine.score(Score(policy, CAPITAL, "Paris"))
    assert not math.isclose(first.total, second.total, abs_tol=0.1)
    assert near(first.total, again.total, 2)


@check("score", "language")
async def check_likely_text_scores_higher(engine: Engine, policy: Policy) -> None:
    likely = await engine.score(Score(policy, ALPHABET, "A B C D E F G"))
    unlikely = await engine.score(Score(policy, ALPHABET, "G A F C B E D"))
    assert likely.total > unlikely.total + 1.0


@check("score")
async def check_end_of_turn_is_counted_on_request(engine: Engine, policy: Policy) -> None:
    ended = await engine.score(Score(policy, CAPITAL, "The capital is Paris."))
    unfinished = await engine.score(Score(policy, CAPITAL, "The capital is Paris.", end=False))
    count = len(unfinished.token_logprobs)
    assert len(ended.token_logprobs) > count > 0
    assert near(sum(ended.token_logprobs[:count]), unfinished.total, count)


@check("score")
async def check_unicode_is_scored(engine: Engine, policy: Policy) -> None:
    scored = await engine.score(Score(policy, CAPITAL, "数学 🦊 e\u0301"))
    assert scored.error is None and scored.token_logprobs and math.isfinite(scored.total)


# Constrained answers


@check("choices")
async def check_choices_are_a_distribution(engine: Engine, policy: Policy) -> None:
    question = as_messages("Which is larger, 2 or 9? Answer A for 2 or B for 9.")
    sample = await one(engine, greedy(policy, question, choices=("A", "B")))
    assert sample.text in ("A", "B")
    assert sample.choices is not None and set(sample.choices) == {"A", "B"}
    assert math.isclose(sum(math.exp(value) for value in sample.choices.values()), 1.0, abs_tol=1e-2)
    assert sample.text == max(sample.choices, key=sample.choices.__getitem__)


@check("choices")
async def check_choices_are_sampled(engine: Engine, policy: Policy) -> None:
    request = Generate(policy, as_messages("Toss a coin. Answer A or B."), n=24, choices=("A", "B"), temperature=2.0)
    samples = await engine.generate(request)
    assert [s.index for s in samples] == list(range(24))
    assert all(s.error is None for s in samples), samples[0].error
    assert Counter(s.text for s in samples).keys() == {"A", "B"}, "temperature 2 picks either side now and then"


@check("json_schema")
async def check_json_schema_holds(engine: Engine, policy: Policy) -> None:
    rate = as_messages("Rate the answer '2+2=4' from 1 to 5 as JSON.")
    sample = await one(engine, greedy(policy, rate, max_tokens=64, json_schema=RATING))
    assert json.loads(sample.text)["score"] in range(1, 6)


@check("regex")
async def check_regex_holds(engine: Engine, policy: Policy) -> None:
    rate = as_messages("Rate the answer '2+2=4' from 1 to 5.")
    sample = await one(engine, greedy(policy, rate, regex=r"Score: [1-5]"))
    assert re.fullmatch(r"Score: [1-5]", sample.text)


# Policies


@check("policies", "language")
async def check_answers_depend_on_the_policy(engine: Engine, policy: Policy, other: Policy) -> None:
    request = greedy(policy, STORY, max_tokens=12)
    before = await one(engine, request)
    changed = await one(engine, replace(request, policy=other))
    assert changed.text != before.text
    assert (await one(engine, request)).text == before.text, "going back to the first policy restores it"


@check("policies")
async def check_policies_can_be_mixed_in_one_batch(engine: Engine, policy: Policy, other: Policy) -> None:
    requests = [greedy((policy, other)[i % 2], STORY, max_tokens=8) for i in range(6)]
    samples = [samples[0] for samples in await asyncio.gather(*map(engine.generate, requests))]
    assert all(s.error is None for s in samples)
    assert len({s.text for s in samples[0::2]}) == len({s.text for s in samples[1::2]}) == 1
    assert samples[0].text != samples[1].text


@check("policies", "score")
async def check_score_depends_on_the_policy(engine: Engine, policy: Policy, other: Policy) -> None:
    first = await engine.score(Score(policy, CAPITAL, "The capital of France is Paris."))
    second = await engine.score(Score(other, CAPITAL, "The capital of France is Paris."))
    again = await engine.score(Score(policy, CAPITAL, "The capital of France is Paris."))
    assert not near(first.total, second.total, 8)
    assert near(first.total, again.total, 8)


# Many at once, and the life of an engine


@check()
async def check_two_hundred_requests_at_once(engine: Engine, policy: Policy) -> None:
    alone = [(await one(engine, greedy(policy, prompt, max_tokens=2))).text for prompt in CLEAR]
    requests = [greedy(policy, CLEAR[i % 4], max_tokens=2, n=1 + i % 3) for i in range(200)]
    answers = await asyncio.gather(*map(engine.generate, requests))
    assert [len(samples) for samples in answers] == [request.n for request in requests]
    assert {s.error for samples in answers for s in samples} == {None}
    majorities = []
    for place in range(4):
        texts = Counter(samples[0].text for samples in answers[place::4])
        majorities.append(texts.most_common(1)[0][0])
        assert texts[majorities[-1]] >= 40, f"one prompt, one answer but for rounding in large batches: {texts}"
    assert sum(most == text for most, text in zip(majorities, alone, strict=True)) >= 3, (majorities, alone)


@check()
async def check_cancellation_leaves_the_engine_usable(engine: Engine, policy: Policy) -> None:
    before = (await one(engine, greedy(policy, CAPITAL, max_tokens=4))).text
    tasks = [asyncio.create_task(engine.generate(Generate(policy, STORY, max_tokens=64, seed=i))) for i in range(4)]
    await asyncio.sleep(0.05)
    for task in tasks[:3]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, list | asyncio.CancelledError) for outcome in outcomes)
    assert outcomes[3][0].error is None, "the one that was not cancelled is answered"
    assert (await one(engine, greedy(policy, CAPITAL, max_tokens=4))).text == before


@check()
async def check_sleep_and_wake(engine: Engine, policy: Policy) -> None:
    before = (await one(engine, greedy(policy, STORY, max_tokens=8))).text
    running_task = asyncio.create_task(engine.generate(greedy(policy, STORY, max_tokens=8)))
    await asyncio.sleep(0)
    await engine.sleep()
    finished = await asyncio.wait_for(running_task, 10)
    assert finished[0].error is None, "requests in flight are finished first"
    await engine.sleep()
    await engine.wake()
    await engine.wake()
    assert (await one(engine, greedy(policy, STORY, max_tokens=8))).text == before


@check()
async def check_usage_grows(engine: Engine, policy: Policy) -> None:
    usage = engine.usage
    before = (usage.requests, usage.prompt_tokens, usage.tokens)
    samples = await engine.generate(Generate(policy, STORY, n=3, max_tokens=5))
    assert usage.requests == before[0] + 1
    assert usage.tokens == before[2] + sum(s.tokens for s in samples)
    assert usage.prompt_tokens > before[1]
