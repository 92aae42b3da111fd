"""WASI: what a program gets in python.wasm, what it is kept from, and how it is stopped. One compilation for all."""

import asyncio
import os
import subprocess
import sys
import time

import pytest

from selfimprove.config import Sandbox as Options
from selfimprove.errors import SandboxError
from selfimprove.verify.sandbox.base import Call, Limits, Program
from selfimprove.verify.sandbox.wasi import Wasi, compiled, find_wasm

INSTALLED = find_wasm() is not None
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not INSTALLED, reason='wasi: not installed; pip install "selfimprove[wasi]"'),
]


@pytest.fixture(scope="module")
def sandbox():
    assert Wasi.missing(Options()) is None
    sandbox = Wasi(Options(slots=2))
    yield sandbox
    sandbox.close()


@pytest.fixture(scope="module")
def run(sandbox):
    def run(source, *calls, seconds=1.0, **given):
        limits = Limits(seconds=seconds, memory=64 << 20)
        return asyncio.run(sandbox.execute(Program(source, tuple(calls), limits=limits, **given)))

    return run


def test_a_program_runs_with_calls_input_files_and_a_trace(run):
    outcome = run(
        "import sys, random, part\nprint(input(), open('folder/data.txt').read())\nprint('seen', file=sys.stderr)\n"
        "def twice(x):\n    return (x, x)\ndef bad():\n    raise ValueError('no')\n",
        Call.of("twice", {1: 2.5}), Call.of("bad"),
        stdin="line\n", files={"folder/data.txt": "kept", "part.py": "A = 1"},
    )  # fmt: skip
    assert outcome.passed and outcome.sandbox == "wasi"
    assert outcome.value(0) == ({1: 2.5}, {1: 2.5}) and "ValueError: no" in outcome.results[1]["error"]
    assert (outcome.stdout, outcome.stderr) == ("line kept\n", "seen\n")
    assert outcome.cpu_seconds > 0 and outcome.memory > 1 << 20
    assert run("a = 1\nb = [a]\n", trace=True).trace == ({"a": 1}, {"a": 1, "b": [1]})


@pytest.mark.parametrize(
    ("source", "status", "told"),
    [
        ("x = bytearray(1 << 29)", "memory", "MemoryError"),
        ("import os\nos._exit(0)", "crashed", "without a reply"),
        ("import os\nos.abort()", "crashed", "unreachable"),
        ("raise KeyError('k')", "failed", "KeyError"),
        ("def f(n):\n    return f(n)\nf(0)", "failed", "RecursionError"),
        ("print('x' * (30 << 20))", "crashed", "wrote more"),
        ("for n in range(40): open(str(n), 'w').write('x' * (1 << 20))", "crashed", "files took more"),
    ],
)
def test_every_end_has_its_status(run, source, status, told):
    outcome = run(source)
    assert (outcome.status, outcome.results) == (status, ()) and told in outcome.error
    assert len(outcome.stdout) <= Limits().output


def test_a_computation_stops_at_the_same_place_every_time(run):
    source = "n = 0\nwhile True:\n    n += 1\n    if n % 10000 == 0:\n        print(n, flush=True)\n"
    first, second = run(source, seconds=0.2), run(source, seconds=0.2)
    assert first.status == second.status == "timeout"
    assert first.stdout == second.stdout != ""


def test_the_clock_stops_a_program_that_sleeps_and_the_next_one_runs(run):
    began = time.monotonic()
    assert run("import time\ntime.sleep(60)", seconds=0.1).status == "timeout"
    assert time.monotonic() - began < 6
    assert run("print(1)").stdout == "1\n"


@pytest.mark.parametrize(
    "attempt",
    [
        "open('/etc/passwd')",
        "open('../../etc/passwd')",
        "open('/proc/self/environ')",
        "open('/code/harness.pyc', 'wb')",
        "os.symlink('/etc/passwd', 'link') or open('link')",
        "os.symlink('../../../../etc/passwd', 'link') or open('link')",
        "os.listdir('/')",
        "os.fork()",
        "subprocess.run(['/bin/true'])",
        "socket.create_connection(('127.0.0.1', 1))",
        "threading.Thread(target=print).start()",
    ],
)
def test_what_a_program_must_not_do_cannot_be_done(run, attempt):
    source = f"import os, socket, subprocess, threading\ntry:\n    {attempt}\n    print('did it')\n"
    outcome = run(source + "except (OSError, AttributeError, RuntimeError) as e:\n    print('refused')\n", seconds=2.0)
    assert (outcome.status, outcome.stdout) == ("passed", "refused\n"), outcome


def test_a_reply_that_is_a_link_is_no_reply(run):
    up = "../" * 12
    outcome = run(f"import os\nos.symlink('{up}etc/hostname', '/io/reply')\nos._exit(0)")
    assert (outcome.status, outcome.error) == ("crashed", "the program ended without a reply")


def test_the_order_of_sets_is_the_same_every_time(run):
    source = "print({'a', 'b', 'c', 'd', 'e'})"
    assert len({run(source).stdout for _ in range(3)}) == 1


def test_nothing_is_left_behind(run, sandbox, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run("open('left', 'w').write('x')").passed and not list(tmp_path.iterdir())
    assert run("import os\nprint(os.listdir('.'), os.listdir('/io'))").stdout == "[] []\n"
    workers = [worker.process for worker in sandbox._workers.values()]
    assert workers
    sandbox.close()
    assert all(worker.poll() is not None for worker in workers)
    assert run("print(1)").passed  # it starts again


def test_a_killed_worker_is_a_crashed_program(sandbox, run):
    async def killed():
        program = Program("while True: pass", limits=Limits(seconds=20.0))
        task = asyncio.ensure_future(sandbox.execute(program))
        while not sandbox._workers or task.done():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        for worker in sandbox._workers.values():
            worker.process.kill()
        return await task

    sandbox.close()
    assert asyncio.run(killed()).status == "crashed"
    assert run("print(1)").passed


def test_the_compiled_interpreter_is_made_once(monkeypatch, tmp_path):
    first = compiled(find_wasm())
    times = [path.stat().st_mtime_ns for path in first]
    assert compiled(find_wasm()) == first and [path.stat().st_mtime_ns for path in first] == times
    monkeypatch.setenv("SELFIMPROVE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").write_text("a file is in the way")
    with pytest.raises(SandboxError, match="cannot keep its compiled interpreter"):
        compiled(find_wasm())


def test_a_broken_interpreter_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("SELFIMPROVE_CACHE", str(tmp_path))
    (tmp_path / "python.wasm").write_bytes(b"no wasm")
    with pytest.raises(SandboxError, match="could not compile its interpreter"):
        compiled(tmp_path / "python.wasm")
    assert not list((tmp_path / "wasi").glob("*.cwasm"))


def test_preloaded_packages_are_refused_in_a_sentence():
    assert "standard library only" in Wasi.missing(Options(preload=["numpy"]))


def test_the_process_dies_with_its_parent():
    source = (
        "import os, sys\nfrom selfimprove.verify.sandbox import wasi\n"
        "worker = wasi._Worker(*wasi.compiled(wasi.find_wasm()))\nprint(worker.process.pid, flush=True)\nos._exit(0)"
    )
    told = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=True)
    pid = int(told.stdout)
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}"):
            break
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{pid}")


def test_fuel_is_about_seconds_of_this_interpreter(run):
    source = "def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\nwhile True: fib(15)"
    outcome = run(source, seconds=0.5)
    assert outcome.status == "timeout" and outcome.cpu_seconds > 0.1
