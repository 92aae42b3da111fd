"""`selfimprove sandbox`: what works here, a file in a sandbox, and the service on the command line."""

import asyncio
import os
import re
import signal
import subprocess
import sys

import pytest

from selfimprove.config import Sandbox as Options
from selfimprove.verify.sandbox import kind_of, open_sandbox
from selfimprove.verify.sandbox.base import Call, Program

LOCAL = next((name for name in ("landlock", "zygote") if kind_of(name).missing(Options()) is None), None)
needs_local = pytest.mark.skipif(LOCAL is None, reason="neither landlock nor zygote works here")


@pytest.fixture
def file(tmp_path):
    def file(source, name="program.py"):
        path = tmp_path / name
        path.write_text(source, encoding="utf-8")
        return path

    return file


@pytest.mark.slow  # the first time on a machine python.wasm is compiled
@needs_local
def test_it_says_what_works_and_tries_it(told):
    text = told("sandbox")
    for name in ("zygote", "wasi", "landlock", "remote", "rlimits"):
        assert re.search(rf"^{name} +(works|not here: .+)$", text, re.M), text
    assert re.search(r"^rlimits +not here: it isolates nothing", text, re.M)
    assert re.search(r"^auto +takes (zygote|wasi|landlock)$", text, re.M)
    assert re.search(r"^a small program ran in \d+ ms, and again in \d+ ms$", text, re.M)


@needs_local
def test_a_file_runs_and_its_end_is_the_exit_code(told, file):
    given = file("line\n", "in.txt")
    text = told("sandbox", "run", file("print(input(), 'é', end='')"), "--stdin", given, "--sandbox", LOCAL)
    assert re.fullmatch(rf"line é\npassed \(\d+\.\d{{3}} s, \d+ MB, in {LOCAL}\)\n", text)
    assert "failed: ZeroDivisionError" in told("sandbox", "run", file("1 / 0"), "--sandbox", LOCAL, code=1)
    loop = file("while True: pass")
    assert "timeout: " in told("sandbox", "run", loop, "--seconds", "0.5", "--sandbox", LOCAL, code=1)
    large = file("x = bytearray(1 << 28)")
    assert "memory: " in told("sandbox", "run", large, "--memory-mb", "64", "--sandbox", LOCAL, code=1)


def test_what_cannot_run_is_a_sentence(told, file, tmp_path):
    text = told("sandbox", "run", file("print(1)"), "--sandbox", "rlimits", code=2)
    assert "isolates nothing" in text and "1\n" not in text
    assert "passed" in told("sandbox", "run", file("print(1)"), "--sandbox", "rlimits", "--trust-the-code")
    assert "no sandbox 'landlok'; did you mean" in told("sandbox", "run", file(""), "--sandbox", "landlok", code=2)
    assert "nowhere.py" in told("sandbox", "run", tmp_path / "nowhere.py", code=2)
    assert "not served" in told("sandbox", "serve", "--sandbox", "rlimits", code=2)
    assert "no token" in told("sandbox", "serve", "--host", "0.0.0.0", "--token-env", "SURELY_NOT_SET", code=2)


def heed_interrupts():
    """Undo what a shell does to all that it starts in the background: SIGINT is ignored, by the children as well."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@needs_local
def test_the_service_runs_programs_until_it_is_interrupted(monkeypatch):
    monkeypatch.setenv("SELFIMPROVE_SANDBOX_TOKEN", "secret")
    command = [sys.executable, "-m", "selfimprove.cli.main", "sandbox", "serve", "--port", "0", "--sandbox", LOCAL]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, preexec_fn=heed_interrupts)
    try:
        line = service.stdout.readline()
        assert "with the token in SELFIMPROVE_SANDBOX_TOKEN" in line and LOCAL in line
        url = re.search(r"http://\S+", line)[0]
        sandbox = open_sandbox(Options(name="remote", url=url))
        outcome = asyncio.run(sandbox.execute(Program("def f():\n    return 6 * 7", (Call.of("f"),))))
        sandbox.close()
        assert outcome.value(0) == 42 and outcome.sandbox == f"remote:{LOCAL}"
        service.send_signal(signal.SIGINT)
        assert service.wait(20) == 130
    finally:
        service.kill()
        service.stdout.close()
        service.wait()
