"""The service and what talks to it: a real round trip, limits, tokens, and answers that are none."""

import asyncio
import json
import threading
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from selfimprove.config import Sandbox as Options
from selfimprove.errors import SandboxError
from selfimprove.verify.sandbox import OnDemand, open_sandbox, remote
from selfimprove.verify.sandbox.base import Call, Limits, Program
from selfimprove.verify.sandbox.landlock import Landlock
from selfimprove.verify.sandbox.remote import TOKEN, Remote
from selfimprove.verify.sandbox.service import LARGEST_BODY, Service, capped
from selfimprove.verify.sandbox.zygote import Zygote

LOCAL = next((kind.name for kind in (Landlock, Zygote) if kind.missing(Options()) is None), None)
needs_local = pytest.mark.skipif(LOCAL is None, reason="neither landlock nor zygote works here")


@contextmanager
def served(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.fixture(scope="module")
def service():
    if LOCAL is None:
        pytest.skip("neither landlock nor zygote works here")
    local = OnDemand(Options(name=LOCAL, seconds=1.0, memory_mb=128))
    with served(Service(local, port=0, token="secret")) as url:
        yield url
    local.close()


@pytest.fixture
def token(monkeypatch):
    monkeypatch.setenv(TOKEN, "secret")


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(remote, "BACKOFF", 0.01)


def execute(url, program, **options):
    sandbox = Remote(Options(name="remote", url=url, **options))
    try:
        return asyncio.run(sandbox.execute(program))
    finally:
        sandbox.close()


def post(url, body, **headers):
    connection = HTTPConnection(url.removeprefix("http://"), timeout=10)
    connection.request("POST", "/execute", body, {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    told = json.loads(answer.read())
    connection.close()
    return answer.status, told


def test_a_program_goes_there_and_its_outcome_comes_back(service, token):
    source = (
        "print(input(), open('f').read())\ndef twice(x):\n    return {(x, x)}\ndef bad():\n    raise KeyError(1)\n"
    )
    program = Program(source, (Call.of("twice", 1.5), Call.of("bad")), stdin="é\n", files={"f": "kept"})
    assert Remote.missing(Options(name="remote", url=service)) is None
    sandbox = open_sandbox(Options(name="remote", url=service + "/"))
    for _ in range(2):  # from one loop after another
        outcome = asyncio.run(sandbox.execute(program))
        assert outcome.passed and outcome.sandbox == f"remote:{LOCAL}"
        assert outcome.value(0) == {(1.5, 1.5)} and outcome.results[1]["error"].startswith("KeyError")
        assert outcome.stdout == "é kept\n"
    sandbox.close()
    assert execute(service, Program("a = [1]", trace=True)).trace == ({"a": [1]},)
    assert execute(service, Program("1 / 0")).status == "failed"


def test_a_program_gets_at_most_the_limits_of_the_service(service, token):
    greedy = Limits(seconds=60.0, memory=8 << 30, processes=1000, disk=1 << 40, output=1 << 30)
    assert execute(service, Program("while True: pass", limits=greedy)).status == "timeout"
    assert execute(service, Program("x = bytearray(1 << 29)", limits=greedy)).status == "memory"
    most = Limits(seconds=1.0)
    assert capped(greedy, most) == most and capped(most, greedy) == most
    assert capped(Limits(seconds=float("nan")), most) == most


def test_many_programs_at_once(service, token):
    async def many():
        sandbox = Remote(Options(name="remote", url=service, slots=8))
        programs = [Program(f"def f():\n    return {n}", (Call.of("f"),), limits=Limits(20.0)) for n in range(24)]
        outcomes = await asyncio.gather(*map(sandbox.execute, programs))
        sandbox.close()
        return [outcome.value(0) for outcome in outcomes]

    assert asyncio.run(many()) == list(range(24))


def test_without_the_token_nothing_runs(service, monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    with pytest.raises(SandboxError, match=f"wants a token: set {TOKEN}"):
        execute(service, Program("1"))
    assert TOKEN in Remote.missing(Options(name="remote", url=service))
    monkeypatch.setenv(TOKEN, "secreT")
    with pytest.raises(SandboxError, match="wants a token"):
        execute(service, Program("1"))


@pytest.mark.parametrize(
    ("body", "headers", "status", "told"),
    [
        ("{}", {"Authorization": "Bearer no"}, 401, "token"),
        ("{", {}, 400, "no program"),
        ("[]", {}, 400, "no program"),
        ('{"source": "1", "colour": 2}', {}, 400, "colour"),
        ('{"source": "1", "limits": {"seconds": -1}}', {}, 400, "positive"),
        ('{"source": "1", "limits": {"seconds": "x"}}', {}, 400, "no program"),
        ('{"source": "1", "files": {"../x": "y"}}', {}, 400, "relative path"),
        ("[" * 100_000, {}, 400, "no program"),
        ("{}", {"Content-Type": "text/plain"}, 415, "application/json"),
        ("{}", {"Content-Length": str(LARGEST_BODY + 1)}, 413, "16 MB"),
        ("{}", {"Content-Length": "-1"}, 411, "Content-Length"),
    ],
)
def test_the_service_refuses_what_is_no_program(service, body, headers, status, told):
    answered, fields = post(service, body, **{"Authorization": "Bearer secret", **headers})
    assert answered == status and told in fields["error"]
    assert "Traceback" not in fields["error"]


def test_a_refused_program_is_an_error_at_once(service, token):
    class Odd(Program):
        def to_row(self):
            return {"source": 1, "nonsense": True}

    with pytest.raises(SandboxError, match="refuses a program: it answers 400"):
        execute(service, Odd("1"))


GOOD = {"status": "passed", "results": [{"value": 4}], "trace": [], "sandbox": "zygote"}


class StandIn(ThreadingHTTPServer):
    """A service that gives prepared answers: (status, headers, body), one after the other, the last one for ever."""

    daemon_threads = True

    def __init__(self, *answers):
        super().__init__(("127.0.0.1", 0), _Prepared)
        self.answers, self.asked = list(answers), []


class _Prepared(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.asked.append(self.headers.get("Authorization"))
        self.rfile.read(int(self.headers["Content-Length"]))
        answers = self.server.answers
        status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
        if status == 0:
            return  # hang up
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

    def log_message(self, format, *values):
        pass


CALLING = Program("def f():\n    return 4", (Call.of("f"),))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"passed", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000,
        {**GOOD, "status": "right"}, {**GOOD, "results": []}, {**GOOD, "results": [{"value": 4}] * 2},
        {**GOOD, "results": [{"value": {"no": 1}}]}, {**GOOD, "results": [{}]}, {**GOOD, "results": ["4"]},
        {**GOOD, "results": [{"error": 4}]}, {**GOOD, "results": 4}, {**GOOD, "trace": [4]}, {**GOOD, "sandbox": ""},
        {**GOOD, "stdout": 4}, {**GOOD, "colour": 4}, {"status": "passed"},
    ],
)  # fmt: skip
def test_an_answer_that_is_no_outcome_never_passes(body):
    server = StandIn((200, {}, body))
    with served(server) as url, pytest.raises(SandboxError, match="gave no outcome in 5 tries .* no outcome"):
        execute(url, CALLING)
    assert len(server.asked) == remote.TRIES


def test_it_tries_again_after_a_busy_service_and_a_lost_connection(token):
    server = StandIn(
        (503, {"Retry-After": "0"}, {"error": "busy"}), (429, {}, b"slow down"), (0, {}, b""), (200, {}, GOOD)
    )
    with served(server) as url:
        outcome = execute(url, CALLING)
    assert outcome.passed and outcome.value(0) == 4 and outcome.sandbox == "remote:zygote"
    assert server.asked == ["Bearer secret"] * 4


def test_it_gives_up_and_says_why():
    server = StandIn((500, {}, {"error": "no sandbox works here"}))
    with served(server) as url, pytest.raises(SandboxError, match="5 tries .* 500: no sandbox works here"):
        execute(url, CALLING)
    with pytest.raises(SandboxError, match="refused"):
        execute(url, CALLING)  # nobody listens any more


def test_it_does_not_take_its_token_elsewhere(token):
    elsewhere = StandIn((200, {}, GOOD))
    with served(elsewhere) as other:
        server = StandIn((307, {"Location": other + "/execute"}, b""))
        with served(server) as url, pytest.raises(SandboxError, match="307"):
            execute(url, CALLING)
    assert elsewhere.asked == []


def test_a_service_that_says_nothing_is_given_up(monkeypatch):
    import socket

    monkeypatch.setattr(remote, "MARGIN", 0.02)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        program = Program("1", limits=Limits(seconds=0.01))
        with pytest.raises(SandboxError, match="timed out"):
            execute(f"http://127.0.0.1:{silent.getsockname()[1]}", program)


def test_addresses_are_checked():
    missing = Remote.missing
    assert "sandbox.url=http" in missing(Options(name="remote"))
    for url in ("example.org:80", "file:///etc/passwd", "ftp://x", "http://"):
        assert "no http or https address" in missing(Options(name="remote", url=url))
    assert "does not answer" in missing(Options(name="remote", url="http://127.0.0.1:9"))


@pytest.mark.parametrize("name", ["rlimits", "remote"])
def test_what_does_not_isolate_here_is_not_served(name):
    with pytest.raises(SandboxError, match=f"'{name}' is not served"):
        Service(OnDemand(Options(name=name, trust_the_code=True, url="http://127.0.0.1:9")), port=0)


def test_only_a_service_with_a_token_listens_to_others():
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(SandboxError, match="there is no token"):
            Service(OnDemand(Options()), host=host, port=0)


@needs_local
def test_a_taken_port_is_a_sentence():
    with (
        served(Service(OnDemand(Options(name=LOCAL)), port=0)) as url,
        pytest.raises(SandboxError, match="cannot listen on .*choose another --port"),
    ):
        Service(OnDemand(Options(name=LOCAL)), port=int(url.rpartition(":")[2]))
