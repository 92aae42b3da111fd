"""Resource limits only: they hold what they say, and run nothing unless the code is trusted."""

import asyncio
import os
import time

import pytest

from selfimprove.config import Sandbox as Options
from selfimprove.verify.sandbox.base import Call, Limits, Program
from selfimprove.verify.sandbox.rlimits import ResourceLimits


@pytest.fixture(scope="module")
def run():
    sandbox = ResourceLimits(Options(name="rlimits", trust_the_code=True))

    def run(source, *calls, seconds=5.0, **given):
        limits = Limits(seconds=seconds, memory=128 << 20)
        return asyncio.run(sandbox.execute(Program(source, tuple(calls), limits=limits, **given)))

    yield run
    sandbox.close()


def test_it_runs_only_where_the_code_is_trusted():
    reason = ResourceLimits.missing(Options(name="rlimits"))
    assert "isolates nothing" in reason and "sandbox.trust_the_code=true" in reason
    assert ResourceLimits.missing(Options(name="rlimits", trust_the_code=True)) is None


def test_a_program_runs_with_calls_input_and_files(run):
    source = "print(input(), open('data.txt').read())\ndef twice(x):\n    return (x, x)\n"
    outcome = run(source, Call.of("twice", "a"), stdin="line\n", files={"data.txt": "kept"})
    assert outcome.passed and outcome.sandbox == "rlimits"
    assert outcome.value(0) == ("a", "a") and outcome.stdout == "line kept\n"


@pytest.mark.parametrize(
    ("source", "status", "told"),
    [
        ("while True:\n    pass", "timeout", "longer"),
        ("x = bytearray(1 << 29)", "memory", "MemoryError"),
        ("import os\nos._exit(0)", "crashed", "without a reply"),
        ("open('one', 'w').write('x' * (20 << 20))", "failed", "OSError"),
        ("print('x' * (30 << 20))", "crashed", "wrote more"),
        ("raise KeyError('k')", "failed", "KeyError"),
    ],
)
def test_every_end_has_its_status(run, source, status, told):
    outcome = run(source, seconds=0.6 if status == "timeout" else 10.0)
    assert outcome.status == status and told in outcome.error


def test_what_it_has_started_ends_with_it(run, tmp_path):
    source = f"""
import os, time
if os.fork() == 0:
    open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
    time.sleep(60)
while not os.path.exists({str(tmp_path / "pid")!r}) or not open({str(tmp_path / "pid")!r}).read():
    time.sleep(0.01)
"""
    began = time.monotonic()
    assert run(source).passed
    assert time.monotonic() - began < 4
    child = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not _runs(child):
            break
        time.sleep(0.02)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_it_sees_no_environment_but_its_own(run, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    outcome = run("import os\nprint(sorted(os.environ))")
    assert "PYTHONHASHSEED" in outcome.stdout and "OPENAI_API_KEY" not in outcome.stdout


def test_it_isolates_nothing_as_its_description_says(run, tmp_path):
    target = tmp_path / "mine"
    target.write_text("mine")
    assert run(f"open({str(target)!r}, 'w').write('theirs')").passed
    assert target.read_text() == "theirs"
    assert os.path.exists("/etc/passwd") and run("open('/etc/passwd')").passed
