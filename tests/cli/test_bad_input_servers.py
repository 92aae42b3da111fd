"""Servers on bad days, seen from the command line: one sentence, and every finished answer kept."""

import json
from functools import partial

import pytest
from bench import Case, entries, parametrized, refused, typed
from serving import QUICK, die, serving, sums
from stand_in import StandIn, error

AT = r"http://127.0.0.1:\d+/v1"


def body(value: object) -> tuple[int, dict[str, str], bytes]:
    """Return an answer with HTTP status 200."""
    return 200, {}, value if isinstance(value, bytes) else json.dumps(value).encode()


def says(content: object, **more) -> tuple[int, dict[str, str], bytes]:
    """Return a chat completion with odd parts."""
    return body({"choices": [{"message": {"content": content}} | more]})


def server(name: str, *told: str, options: dict | None = None, words: str = "run own.yaml", **stand_in) -> tuple:
    """Return the name of a case, what makes its server, the case itself, and options of the engine.

    The repair is the server's: it answers rightly from then on.
    """
    return name, partial(StandIn, **stand_in), words, told, options or {}


ODD = "answered 10 requests in a row, but the server's answer is no chat completion: .*; does engine.url name"
LOST = AT + r" failed \d+ requests in a row, each tried 2 times; the last answer was: "
SERVERS = [
    server("wrong key", AT + " refuses the API key .HTTP 401.; put a valid key", otherwise=error(401, "bad key")),
    server("forbidden", AT + " refuses the API key .HTTP 403.; put a valid key", otherwise=error(403, "no")),
    server("no quota", "no quota left .HTTP 429", otherwise=error(429, "pay", code="insufficient_quota")),
    server("model gone", AT + " does not know model 'm', or .* .HTTP 404", otherwise=error(404, "no such model")),
    server("429 for ever", LOST + "HTTP 429: slow down", otherwise=error(429, "slow down")),
    server("500 for ever", LOST + "HTTP 500: boom", otherwise=error(500, "boom")),
    server("closes without an answer", LOST + "the connection broke", otherwise="close"),
    server("closes in the middle", LOST + "the connection broke", otherwise="half"),
    server("broken JSON", LOST + "the answer is not JSON: '{", otherwise=body(b'{"choices": [')),
    server("HTML", LOST + "the answer is not JSON: '<html>", otherwise=body(b"<html>gateway</html>")),
    server("400 for ever", "held-out set 'sums': none .*HTTP 400: context length exceeded.*nothing was finished: mend",
           otherwise=error(400, "context length exceeded")),
    server("no choices", ODD, otherwise=body({"result": 1})),
    server("empty choices", ODD, otherwise=body({"choices": []})),
    server("choices of numbers", ODD, otherwise=body({"choices": [1]})),
    server("content is a list", ODD, otherwise=says([{"type": "text", "text": "a"}])),
    server("index is a word", ODD, otherwise=says("a", index="first")),
    server("answer is a list", ODD, otherwise=body([1])),
    server("answer is null", ODD, otherwise=body(None)),
    server("empty answer", ODD, otherwise=body(b"")),
    server("key refused for the list", AT + " refuses the API key", routes={"/v1/models": error(401)}),
    server("list of models is HTML", AT + " lists no models .*name one", routes={"/v1/models": body(b"<html>")}),
    server("list of models is empty", AT + " lists no models .*name one", routes={"/v1/models": body({"data": []})}),
    server("list of models is a word", AT + " lists no models .*name one", routes={"/v1/models": body({"data": "m"})}),
    server("model not served", AT + " has no model 'other'; it serves: m", options={"model": "other"}),
    server("never answers", "no answer within the time limit .engine.timeout", options={"timeout": 0.2}, delay=3.0),
    server("log-probs of a plain server", AT + " is no vLLM server, so it cannot tell the log-probs .*; use a vLLM",
           words="run own.yaml method.name=raft method.reward=likelihood", otherwise=sums),
]  # fmt: skip


MENDED = {"wrong key", "model gone", "429 for ever", "500 for ever", "400 for ever",
          "closes in the middle", "HTML", "empty choices",
          "list of models is empty", "never answers"}  # fmt: skip
"""After these the server answers rightly, and the same command must succeed."""


@pytest.mark.parametrize(("name", "make", "words", "told", "options"), SERVERS, ids=[case[0] for case in SERVERS])
def test_bad_server(name, make, words, told, options, bench, capsys):
    """Enough prompts, so that a server which fails them all is not taken for one that failed a few."""
    bench.rows("held.jsonl", [{"prompt": f"What is {i} + 9?", "gold": str(i + 9)} for i in range(12)])
    with serving(make()) as stand_in:

        def repair(_) -> None:
            stand_in.otherwise = sums
            stand_in.routes = {"/v1/models": body({"data": [{"id": "m"}, {"id": "other"}]})}
            stand_in.delay = 0.0

        bench.set(engine=QUICK | {"url": stand_in.url} | options)
        refused(Case(name, lambda b: None, words, told, repair if name in MENDED else None), bench, capsys)


NOWHERE = QUICK | {"url": "http://127.0.0.1:9/v1"}


def address(name: str, told: str, **options) -> Case:
    """Return the case of an engine section that cannot be."""
    return Case(name, lambda b: b.set(engine=NOWHERE | options), "run own.yaml", (told,))


CASES = [
    address("connection refused",
            r"127.0.0.1:9/v1 has not been reachable for \d+ s .*start it, or correct engine.url"),
    address("no such host", "no.such.host.invalid.*correct engine.url", url="http://no.such.host.invalid/v1"),
    address("no scheme", "own.yaml: engine 'server': url is 'localhost:8000'; write it like", url="localhost:8000"),
    address("another scheme", "own.yaml: engine 'server': url is 'ftp://a/b'; write it like", url="ftp://a/b"),
    address("no such port", "own.yaml: engine 'server': url is .*99999/v1'; write it",
            url="http://127.0.0.1:99999/v1"),
    address("no key in the environment", "api_key_env names NO_SUCH_KEY, but .*not set", api_key_env="NO_SUCH_KEY"),
    address("concurrency 0", "concurrency and timeout must be positive", concurrency=0),
    address("unknown kind", "kind is 'ollama'; allowed: auto, vllm, plain", kind="ollama"),
    Case("no URL", lambda b: b.set(engine={"name": "server"}), "run own.yaml",
         ("engine: 'url' is missing .base URL",)),
]  # fmt: skip


@parametrized(CASES)
def test_bad_address(case, bench, capsys):
    refused(case, bench, capsys)


def test_a_server_that_dies_in_the_middle_loses_no_answer_and_the_same_command_goes_on(bench, capsys):
    """The server is gone after some answers, comes back on its port, and is asked only what it had not answered."""
    before = StandIn(otherwise=sums)
    with serving(before):
        before.otherwise = lambda asked: sums(asked) if len(before.chats) <= 8 else die(before)
        bench.set(engine=QUICK | {"url": before.url, "concurrency": 2})
        code, _, errors = typed("run own.yaml", capsys)
    assert code == 2 and "has not been reachable" in errors, errors
    kept = entries(bench.folder / "run/ledger.sqlite")
    assert len(kept) > 0
    assert not (bench.folder / "run/round-1/collect.json").exists()
    asked_before = [json.dumps(asked, sort_keys=True) for _, asked in before.chats]
    after = StandIn(otherwise=sums, port=before.port)
    with serving(after):
        assert typed("run own.yaml", capsys)[0] == 0
    asked_again = [json.dumps(asked, sort_keys=True) for _, asked in after.chats]
    assert kept <= entries(bench.folder / "run/ledger.sqlite")
    assert len(set(asked_again)) == len(asked_again) <= 3 + 8 * 2 - 7  # two were in flight when the server went
    assert not set(asked_before[:7]) & set(asked_again), "what was answered before is not asked again"
    assert len(set(asked_before) | set(asked_again)) == 3 + 8 * 2  # held-out items once: the policy stays as it is
