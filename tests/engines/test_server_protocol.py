"""The server engine's words: what it asks each kind of server, how it reads the answers, how policies get in."""

import asyncio
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_in import ASK, POLICY, VLLM_MODELS, StandIn, conduct, said

from selfimprove.engines.base import Generate, Policy, Score
from selfimprove.engines.parts.chat_api import (
    TOP_LOGPROBS,
    as_chat,
    chat_body,
    first_token_choices,
    renormalised,
    samples_of,
    text_body,
)
from selfimprove.engines.server import Server
from selfimprove.errors import EngineError
from selfimprove.records import as_messages

# What other servers can and cannot do


def test_n_answers_of_a_plain_server_are_n_requests_with_their_own_seeds():
    server = StandIn(otherwise=lambda body: said(f"seed {body['seed']}"))

    async def scenario(engine: Server) -> None:
        samples = await engine.generate(Generate(POLICY, as_messages("hello"), n=3, seed=40))
        assert [(s.index, s.text) for s in samples] == [(0, "seed 40"), (1, "seed 41"), (2, "seed 42")]
        assert all("n" not in body for _, body in server.chats)
        assert engine.usage.requests == 1 and engine.usage.tokens == 6 and engine.usage.prompt_tokens == 21

    conduct(scenario, server)


def test_n_greedy_answers_are_one_request():
    """A vLLM server refuses n > 1 at temperature 0, and n equal answers need no n requests anywhere."""
    server = StandIn(routes={"/v1/models": VLLM_MODELS})

    async def scenario(engine: Server) -> None:
        samples = await engine.generate(Generate(POLICY, as_messages("hello"), n=3, temperature=0.0))
        assert [(s.index, s.text) for s in samples] == [(0, "fine"), (1, "fine"), (2, "fine")]
        assert len(server.chats) == 1 and "n" not in server.chats[0][1]

    conduct(scenario, server)


def test_what_a_plain_server_cannot_do_is_said():
    async def scenario(engine: Server) -> None:
        with pytest.raises(EngineError, match="log-probs of a given text"):
            await engine.score(Score(POLICY, as_messages("hello"), "x"))
        with pytest.raises(EngineError, match="regex"):
            await engine.generate(Generate(POLICY, as_messages("hello"), regex="[0-9]"))
        with pytest.raises(EngineError, match="vLLM server"):
            await engine.generate(Generate(Policy("org/model", "adapter", "d1"), as_messages("hello")))

    conduct(scenario, StandIn())


def test_verdicts_of_a_plain_server_are_read_from_text_and_candidates():
    def candidates(**logprobs: float) -> dict:
        top = [{"token": token.replace("_", " "), "logprob": value} for token, value in logprobs.items()]
        return {"content": [{"token": "B", "logprob": -0.5, "top_logprobs": top}]}

    server = StandIn(
        script=[
            said(" B.", logprobs=candidates(B=math.log(0.3), _B=math.log(0.3), A=math.log(0.2), x=-2.0)),
            said("B"),
            said("I would rather not say."),
        ]
    )
    ask = Generate(POLICY, as_messages("A or B?"), choices=("A", "B"), temperature=0.0)

    async def scenario(engine: Server) -> None:
        (first,) = await engine.generate(ask)
        assert first.text == "B"
        assert first.choices["B"] == pytest.approx(math.log(0.75)), "0.6 of 0.8"
        assert first.choices["A"] == pytest.approx(math.log(0.25))
        (second,) = await engine.generate(ask)
        assert (second.text, second.choices) == ("B", None)
        (third,) = await engine.generate(ask)
        assert third.finish == "error" and "rather not say" in third.error

    conduct(scenario, server)


def test_the_body_is_what_each_kind_of_server_understands():
    begun = (*as_messages("hi"), {"role": "assistant", "content": "I am"})
    ask = Generate(POLICY, begun, n=4, top_k=5, stop=("x",), seed=-1)
    vllm = chat_body(ask, "m", vllm=True, extra={})
    assert vllm["n"] == 4 and vllm["continue_final_message"] and not vllm["add_generation_prompt"]
    assert vllm["repetition_penalty"] == 1.0 and vllm["logprobs"] and vllm["seed"] == 2**63 - 1
    plain = chat_body(ask, "m", vllm=False, extra={"max_tokens": None, "max_completion_tokens": 9})
    assert "continue_final_message" not in plain and "logprobs" not in plain
    assert "max_tokens" not in plain and plain["max_completion_tokens"] == 9
    schema = Generate(POLICY, as_messages("hi"), json_schema={"type": "object"})
    assert chat_body(schema, "m", vllm=True, extra={})["structured_outputs"] == {"json": {"type": "object"}}
    assert chat_body(schema, "m", vllm=False, extra={})["response_format"]["json_schema"]["schema"]["type"] == "object"


def test_plain_text_goes_to_text_completions_and_comes_back_in_chat_form():
    ask = Generate(POLICY, as_messages("one, two,", role="text"), n=2, stop=("\n",), max_tokens=4)
    body = text_body(chat_body(ask, "m", vllm=True, extra={}))
    assert body["prompt"] == "one, two," and body["logprobs"] == 1 and body["stop"] == ["\n"] and body["n"] == 2
    assert "messages" not in body and "top_logprobs" not in body
    labels = Generate(POLICY, ask.messages, choices=("yes", "no"))
    assert text_body(chat_body(labels, "m", vllm=False, extra={}))["logprobs"] == TOP_LOGPROBS
    told = {
        "tokens": [" three", ","],
        "token_logprobs": [-0.5, -0.25],
        "top_logprobs": [{" three": -0.5}, {",": -0.25}],
    }
    choices = [
        {"index": 1, "text": " three,", "finish_reason": "length", "logprobs": told},
        {"index": 0, "text": " 3", "finish_reason": "stop", "logprobs": None},
    ]
    first, second = samples_of(as_chat({"choices": choices}), ask)
    assert (first.text, first.logprob, second.text, second.logprob, second.finish) == (
        " 3",
        None,
        " three,",
        -0.75,
        "length",
    )
    verdict = {"text": "yes", "logprobs": {"token_logprobs": [-0.1], "top_logprobs": [{"yes": -0.1, "no": -2.4}]}}
    [said] = samples_of(as_chat({"choices": [verdict]}), labels)
    assert said.text == "yes" and said.choices["yes"] > said.choices["no"]
    for broken in (None, [], {"choices": "x"}, {"choices": [{"text": 1}]}):
        assert samples_of(as_chat(broken), ask) is None


def test_answers_are_put_in_order_and_missing_ones_are_errors():
    ask = Generate(POLICY, as_messages("hi"), n=3, logprobs=True)
    tokens = {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.5}]}
    choices = [
        {"index": 2, "message": {"content": "two"}, "finish_reason": "length", "logprobs": tokens},
        {"index": 0, "message": {"content": None}, "finish_reason": "stop", "logprobs": None},
    ]
    first, second, third = samples_of({"choices": choices, "usage": None}, ask)
    assert (first.index, first.text, first.logprob) == (0, "", None)
    assert (second.index, second.finish) == (1, "error")
    assert (third.text, third.finish, third.tokens, third.logprob) == ("two", "length", 2, -2.0)
    assert third.token_logprobs == (-0.5, -1.5)
    for broken in (None, [], {}, {"choices": "x"}, {"choices": [{}]}, {"choices": [{"message": 1}]}):
        assert samples_of(broken, ask) is None


def test_half_a_character_is_replaced_before_it_can_reach_a_file():
    body = json.loads('{"choices": [{"message": {"content": "a\\ud800b"}}]}')
    [sample] = samples_of(body, Generate(POLICY, as_messages("hi")))
    assert sample.text == "a?b"


def test_labels_that_begin_alike_are_not_told_apart_by_one_token():
    top = [{"token": "t", "logprob": -0.1}, {"token": "A", "logprob": -3.0}]
    assert first_token_choices([{"top_logprobs": top}], ("tie", "true", "A")) is None
    assert first_token_choices([{"top_logprobs": top}], ("tie", "A"))["tie"] > -0.1
    assert first_token_choices([], ("A", "B")) is None


@settings(derandomize=True)
@given(st.dictionaries(st.text(min_size=1), st.floats(-50, 0) | st.just(-math.inf), min_size=1, max_size=6))
def test_renormalised_log_probs_sum_to_one(logprobs):
    found = renormalised(logprobs)
    if found is None:
        assert set(logprobs.values()) == {-math.inf}
    else:
        assert sum(map(math.exp, found.values())) == pytest.approx(1.0)
        best = max(logprobs, key=logprobs.get)
        for label, value in logprobs.items():  # ratios stay as they were
            assert found[best] - found[label] == pytest.approx(min(logprobs[best] - value, found[best] + 100.0))


# Policies on a vLLM server


def test_an_adapter_is_loaded_once_under_its_own_name():
    loads = []
    server = StandIn(otherwise=lambda body: said(body["model"]))
    server.routes |= {
        "/v1/models": VLLM_MODELS,
        "/v1/load_lora_adapter": lambda body: loads.append(body) or (200, {}, b"Success: added"),
        "/v1/unload_lora_adapter": (200, {}, b"Success: removed"),
    }
    trained = [Policy("org/model", f"/run/round-{i}", f"{i}" * 32) for i in (1, 2)]

    async def scenario(engine: Server) -> None:
        asks = [Generate(policy, as_messages("hi")) for policy in (POLICY, *trained, *trained, POLICY)]
        answers = await asyncio.gather(*map(engine.generate, asks))
        names = [samples[0].text for samples in answers]
        assert names[0] == names[5] == "m"
        assert names[1] == names[3] == "selfimprove-" + "1" * 16 and names[2] == names[4] != names[1]
        assert sorted(body["lora_path"] for body in loads) == ["/run/round-1", "/run/round-2"]

    conduct(scenario, server)
    assert [path for _, path, _ in server.requests].count("/v1/unload_lora_adapter") == 2


def test_a_server_without_adapters_says_what_to_start_it_with():
    server = StandIn(routes={"/v1/models": VLLM_MODELS})
    trained = Generate(Policy("org/model", "/run/round-1", "1" * 32), as_messages("hi"))
    full = Generate(Policy("/run/round-2", digest="2" * 32), as_messages("hi"))

    async def scenario(engine: Server) -> None:
        with pytest.raises(EngineError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
            await engine.generate(trained)
        with pytest.raises(EngineError, match="VLLM_SERVER_DEV_MODE=1"):
            await engine.generate(full)
        assert (await engine.generate(ASK))[0].text == "fine"

    conduct(scenario, server, adapters="lora")


def test_weights_change_only_between_requests_and_the_prefix_cache_is_reset():
    now = {"weights": "org/model", "fresh": True}
    resets = [b'{"success": false}', b'{"success": true}'] * 5

    def reload(body: dict):
        assert server.busy == 1, "nobody is answered while the weights change"
        now.update(weights=body["kwargs"]["weights_path"], fresh=False)
        return 200, {}, b'{"results": []}'

    def reset(body: dict):
        answer = resets.pop(0)
        now["fresh"] = b"true" in answer
        return 200, {}, answer

    def chat(body: dict):
        assert now["fresh"], "no request meets prefixes of the old weights"
        return said(now["weights"])

    server = StandIn(otherwise=chat, delay=0.01)
    server.routes |= {"/v1/models": VLLM_MODELS, "/collective_rpc": reload, "/reset_prefix_cache": reset}
    other = Policy("/run/round-1", digest="1" * 32)

    async def scenario(engine: Server) -> None:
        asks = [Generate((POLICY, other)[i % 2], as_messages("hi")) for i in range(20)]
        answers = await asyncio.gather(*map(engine.generate, asks))
        assert [samples[0].text for samples in answers] == ["org/model", "/run/round-1"] * 10
        paths = [path for _, path, _ in server.requests]
        assert paths.count("/collective_rpc") <= 2, "ten requests share one change of weights"

    conduct(scenario, server)


def test_scoring_sends_token_ids_and_reads_the_completion_only():
    def tokenize(body: dict):
        if "prompt" in body:
            ids = [50, 51]
        elif body["add_generation_prompt"]:
            ids = [1, 2, 3]
        else:
            ids = [1, 2, 9] + ([] if body["continue_final_message"] else [77, 78])
        return 200, {}, json.dumps({"tokens": ids}).encode()

    def complete(body: dict):
        assert body["prompt_logprobs"] == 0 and body["temperature"] == 0.0
        positions = [None, *({str(t): {"logprob": -t / 100}} for t in body["prompt"][1:])]
        return 200, {}, json.dumps({"choices": [{"prompt_logprobs": positions}]}).encode()

    server = StandIn(routes={"/v1/models": VLLM_MODELS, "/tokenize": tokenize, "/v1/completions": complete})

    async def scenario(engine: Server) -> None:
        scored = await engine.score(Score(POLICY, as_messages("hi"), "text"))
        assert scored.token_logprobs == (-0.5, -0.51, -0.77)
        assert [body["prompt"] for _, path, body in server.requests if path == "/v1/completions"] == [
            [1, 2, 3, 50, 51, 77]
        ]
        cut = await engine.score(Score(POLICY, as_messages("hi"), "text", end=False))
        assert cut.token_logprobs == (-0.5, -0.51)

    conduct(scenario, server)
