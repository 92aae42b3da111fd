"""The server engine on bad days: a real HTTP server misbehaves by script, and nothing is lost or asked too often."""

import asyncio
import time
from email.utils import formatdate
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_in import ASK, POLICY, StandIn, conduct, error

from selfimprove.engines.parts.link import LONGEST_WAIT, retry_after
from selfimprove.engines.parts.pace import Pace
from selfimprove.engines.server import Config, Server, make
from selfimprove.errors import ConfigError, EngineError

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
        waits = [later - earlier for earlier, later in pairwise(times)]
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
