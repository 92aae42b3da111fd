import asyncio
import itertools
import json
import math
import time
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_in import StandIn, error, said

from selfimprove.engines.base import Generate, Policy, Score
from selfimprove.engines.parts.chat_api import chat_body, first_token_choices, renormalised, samples_of
from selfimprove.engines.parts.link import LONGEST_WAIT, retry_after
from selfimprove.engines.parts.pace import Pace
from selfimprove.engines.server import Config, Server, make
from selfimprove.errors import ConfigError, EngineError
from selfimprove.records import as_messages

POLICY = Policy("org/model", digest="d0")
MODELS = (200, {}, json.dumps({"data": [{"id": "m", "owned_by": "somebody"}]}).encode())
VLLM_MODELS = (200, {}, json.dumps({"data": [{"id": "m", "owned_by": "vllm"}]}).encode())
ASK = Generate(POLICY, as_messages("hello"), max_tokens=8, seed=3)


def conduct(scenario, stand_in: StandIn, **options) -> None:
    """Run a scenario with a started stand-in and engine; every wait is bounded."""

    async def run() -> None:
        stand_in.routes.setdefault("/v1/models", MODELS)
        await stand_in.start()
        engine = make(Config(url=stand_in.url, **({"backoff": 0.02, "patience": 0.6} | options)))
        try:
            await engine.start(POLICY)
            await scenario(engine)
        finally:
            await engine.close()
            await stand_in.stop()

    asyncio.run(asyncio.wait_for(run(), 30))


# Requests that fail now and then


@pytest.mark.parametrize(
    "bad",
    [error(500), error(502), "close", "half", (200, {}, b'{"choices": [{"ind'), (200, {}, b"<html>gateway</html>")],
    ids=["500", "502", "closes", "closes mid-body", "broken JSON", "HTML"],
)
def test_a_passing_failure_is_tried_again_and_nothing_is_lost(bad):
    server = StandIn(script=[bad, bad])

    async def scenario(engine: Server) -> None:
        samples = await engine.generate(ASK)
        assert [(s.text, s.error) for s in samples] == [("fine", None)]
        assert len(server.chats) == 3
        bodies = [body for _, body in server.chats]
        assert bodies[0] == bodies[1] == bodies[2]
        assert engine.usage.failed == 0

    conduct(scenario, server)


@pytest.mark.parametrize("bad", [error(500, "boom"), "close", (200, {}, b"{")], ids=["500", "closes", "broken JSON"])
def test_a_lasting_failure_becomes_an_error_value_after_the_last_attempt(bad):
    server = StandIn(otherwise=bad)

    async def scenario(engine: Server) -> None:
        (sample,) = await engine.generate(ASK)
        assert sample.finish == "error" and sample.text == "" and "4 attempts" in sample.error
        assert len(server.chats) == 4
        assert engine.usage.failed == 1

    conduct(scenario, server, retries=3)


def test_waits_double_between_attempts():
    server = StandIn(otherwise=error(500))

    async def scenario(engine: Server) -> None:
        await engine.generate(ASK)
        times = [when for when, _ in server.chats]
        waits = [later - earlier for earlier, later in itertools.pairwise(times)]
        for attempt, wait in enumerate(waits):  # jitter: between half of the full wait and the full one
            assert 0.05 * 2**attempt * 0.5 <= wait + 0.005
            assert wait <= 0.05 * 2**attempt + 0.15
        assert waits[3] > waits[0]

    conduct(scenario, server, retries=4, backoff=0.05)


def test_a_bad_request_is_an_error_value_at_once():
    server = StandIn(script=[error(400, "This model's maximum context length is 512 tokens.")])

    async def scenario(engine: Server) -> None:
        (sample,) = await engine.generate(ASK)
        assert sample.finish == "error" and "maximum context length" in sample.error
        assert len(server.chats) == 1
        assert (await engine.generate(ASK))[0].text == "fine", "the next one is served"

    conduct(scenario, server)


def test_a_slow_answer_runs_into_the_time_limit():
    server = StandIn(delay=0.5)

    async def scenario(engine: Server) -> None:
        server.delay = 5.0
        begun = time.monotonic()
        (sample,) = await engine.generate(ASK)
        assert "time limit" in sample.error and len(server.chats) == 2
        assert time.monotonic() - begun < 3.0

    conduct(scenario, server, timeout=0.8, retries=1)


def test_request_after_request_lost_stops_the_run():
    server = StandIn(otherwise=error(500, "boom"))

    async def scenario(engine: Server) -> None:
        for _ in range(9):
            assert (await engine.generate(ASK))[0].error
        with pytest.raises(EngineError, match=r"10 requests in a row.*boom"):
            await engine.generate(ASK)

    conduct(scenario, server, retries=0)


# Too many requests


def test_retry_after_is_honoured_for_all_requests():
    server = StandIn(script=[error(429, "slow down", retry_after="0.4")])

    async def scenario(engine: Server) -> None:
        first = asyncio.create_task(engine.generate(ASK))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(engine.generate(ASK))
        answers = await asyncio.gather(first, second)
        assert all(samples[0].text == "fine" for samples in answers)
        refused, *later = [when for when, _ in server.chats]
        assert len(later) == 2 and min(later) - refused >= 0.39, "nobody asks before the time is up"

    conduct(scenario, server)


def test_concurrency_halves_on_429_once_a_burst_and_grows_back():
    server = StandIn(script=[error(429, retry_after="0")] * 8, delay=0.02)

    async def scenario(engine: Server) -> None:
        pace = engine.link.pace
        answers = await asyncio.gather(*(engine.generate(ASK) for _ in range(60)))
        assert all(samples[0].text == "fine" for samples in answers), "nothing is lost"
        assert len(server.chats) == 60 + 8
        assert pace.cuts == 1, "eight refusals of one burst are one sign"
        assert server.most_busy == 8
        after = server.busy_when_asked[1 + 8 + 4 : 1 + 8 + 12]
        assert max(after) <= 5, "half as many at once afterwards"
        assert 4.0 < pace.limit <= 8.0, "and slowly more again"
        assert pace.running == 0

    conduct(scenario, server, concurrency=8)


def test_lasting_429_ends_as_an_error_value():
    server = StandIn(otherwise=error(429, "slow down"))

    async def scenario(engine: Server) -> None:
        assert "429" in (await engine.generate(ASK))[0].error
        assert len(server.chats) == 3
        assert engine.link.pace.limit == 16.0, "128 halved three times"

    conduct(scenario, server, retries=2)


def test_growth_is_one_more_after_as_many_successes_as_run_at_once():
    async def scenario() -> None:
        pace = Pace(64)
        async with pace.slot() as started:
            pace.slow_down(started)
        assert pace.limit == 32.0
        for _ in range(33):
            pace.speed_up()
        assert 32.9 < pace.limit < 33.1
        for _ in range(5_000):
            pace.speed_up()
        assert pace.limit == 64.0

    asyncio.run(scenario())


def test_a_cancelled_waiter_gives_its_place_back():
    async def scenario() -> None:
        pace = Pace(1)

        async def hold(seconds: float) -> None:
            async with pace.slot():
                await asyncio.sleep(seconds)

        tasks = [asyncio.create_task(hold(0.05)) for _ in range(4)]
        await asyncio.sleep(0.01)
        tasks[1].cancel()
        await asyncio.sleep(0.05)  # the second waiter was given the place in this very moment or waits for it
        tasks[2].cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 2)
        assert pace.running == 0
        await asyncio.wait_for(hold(0), 1)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e99"}, LONGEST_WAIT),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": formatdate(1_000_030, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(900_000, usegmt=True)}, 0.0),
    ],
)
def test_retry_after_in_seconds_and_as_a_date(headers, seconds):
    assert retry_after(headers, now=1_000_000) == seconds


@settings(derandomize=True)
@given(st.text(max_size=40))
def test_no_retry_after_breaks_the_reader(value):
    wait = retry_after({"retry-after": value}, now=0.0)
    assert wait is None or 0.0 <= wait <= LONGEST_WAIT


# Dead servers, wrong keys, wrong models


def test_a_server_that_never_answers_is_dead_after_its_patience():
    async def run() -> None:
        engine = make(Config(url="http://127.0.0.1:9/v1", backoff=0.02, patience=0.3))
        begun = time.monotonic()
        with pytest.raises(
            EngineError, match=r"127.0.0.1:9/v1 has not been reachable.*start it, or correct engine.url"
        ):
            await engine.start(POLICY)
        assert 0.3 <= time.monotonic() - begun < 3.0
        assert engine.link.attempts > 2
        await engine.close()

    asyncio.run(run())


def test_a_server_that_restarts_in_time_loses_nothing():
    server = StandIn()

    async def scenario(engine: Server) -> None:
        assert (await engine.generate(ASK))[0].text == "fine"
        await server.stop()
        server.script = ["close"]  # the open connection dies with the old process
        task = asyncio.create_task(engine.generate(ASK))
        await asyncio.sleep(0.4)
        assert not task.done()
        await server.start()
        assert (await task)[0].text == "fine"

    conduct(scenario, server, patience=10.0, retries=1)


def test_a_server_that_dies_stops_the_run():
    server = StandIn()

    async def scenario(engine: Server) -> None:
        await server.stop()
        server.otherwise = "close"
        with pytest.raises(EngineError, match="not been reachable"):
            await engine.generate(ASK)

    conduct(scenario, server)


def test_a_wrong_key_is_an_engine_error_that_does_not_show_it(monkeypatch, caplog):
    caplog.set_level(0)
    monkeypatch.setenv("TEST_KEY", "sk-very-secret")
    server = StandIn(script=[error(500, "your key sk-very-secret broke me"), error(401, "bad key sk-very-secret")])

    async def scenario(engine: Server) -> None:
        assert "sk-very-secret" not in (await engine.generate(ASK))[0].error
        with pytest.raises(EngineError, match="api_key_env") as refusal:
            await engine.generate(ASK)
        assert "sk-very-secret" not in str(refusal.value)
        assert server.headers[-1]["authorization"] == "Bearer sk-very-secret"
        assert "sk-very-secret" not in caplog.text and "sk-very-secret" not in engine.identity

    conduct(scenario, server, api_key_env="TEST_KEY", retries=0)


def test_options_are_checked(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    for options, words in (
        ({"url": "127.0.0.1:8000"}, "http://"),
        ({"url": "http://x", "api_key_env": "NO_SUCH_KEY"}, "NO_SUCH_KEY"),
        ({"url": "http://x", "kind": "openai"}, "auto, vllm, plain"),
        ({"url": "http://x", "concurrency": 0}, "concurrency"),
    ):
        with pytest.raises(ConfigError, match=words):
            make(Config(**options))
    assert make(Config(url="http://x:1/")).url == "http://x:1/v1"


def test_an_unknown_model_is_named_with_what_there_is():
    server = StandIn()
    with pytest.raises(EngineError, match="no model 'other'; it serves: m"):
        conduct(None, server, model="other")


# What other servers can and cannot do


def test_n_answers_of_a_plain_server_are_n_requests_with_their_own_seeds():
    server = StandIn(otherwise=lambda body: said(f"seed {body['seed']}"))

    async def scenario(engine: Server) -> None:
        samples = await engine.generate(Generate(POLICY, as_messages("hello"), n=3, seed=40))
        assert [(s.index, s.text) for s in samples] == [(0, "seed 40"), (1, "seed 41"), (2, "seed 42")]
        assert all("n" not in body for _, body in server.chats)
        assert engine.usage.requests == 1 and engine.usage.tokens == 6 and engine.usage.prompt_tokens == 21

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
