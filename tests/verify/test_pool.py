"""Workers can be killed, come back, keep to their limits and die with their parent."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selfimprove.errors import JudgeError
from selfimprove.verify import worker
from selfimprove.verify.pool import Pool

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait_until_gone(pids: list[int], seconds: float = 10.0) -> list[int]:
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(map(alive, pids)):
        time.sleep(0.05)
    return [pid for pid in pids if alive(pid)]


def test_timeout_crash_memory_and_several_loops():
    pool = Pool(workers=1, timeout=2.0, memory=3 << 30)
    assert pool.pids() == []  # nothing starts before the first call

    async def first():
        assert (await pool.call("math", "x+1", "1+x")).value == "right"
        before = pool.pids()
        started = time.monotonic()
        assert (await pool.call("math", "7", "9^{9^{9^{9}}}")).failure == "timeout"
        assert time.monotonic() - started < 4.0
        assert not wait_until_gone(before)  # killed for good
        assert (await pool.call("math", "x+1", "1+x")).value == "right"
        assert pool.restarts == 1

    async def second():
        (pid,) = pool.pids()
        os.kill(pid, signal.SIGKILL)
        assert (await pool.call("math", "x+1", "1+x")).failure == "crashed"
        assert (await pool.call("math", "x+1", "x")).value == "wrong"

    try:
        asyncio.run(first())
        asyncio.run(second())  # another loop, the same pool
        left = pool.pids()
    finally:
        pool.close()
    assert not wait_until_gone(left)
    pool.close()  # twice is fine


def test_a_worker_that_cannot_start_is_one_error():
    pool = Pool(workers=1, memory=48 << 20)  # too little to import anything
    try:
        with pytest.raises(JudgeError, match="a worker process for 'math' could not start.*48 MiB"):
            asyncio.run(pool.call("math", "x+1", "1+x"))
    finally:
        pool.close()


def test_workers_die_with_their_parent():
    program = (
        "import asyncio, sys, time\n"
        "from selfimprove.verify.pool import Pool\n"
        "pool = Pool(workers=1)\n"
        "asyncio.run(pool.call('math', 'x+1', '1+x'))\n"
        "print(pool.pids()[0], flush=True)\n"
        "time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert alive(pid)
    parent.kill()
    parent.wait()
    assert not wait_until_gone([pid])


def test_an_answer_cannot_reach_out_of_a_worker(tmp_path):
    """The fence, in a process of its own: an audit hook cannot be taken off again."""
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from selfimprove.verify.worker import Fence\n"
        "hook = Fence(); sys.addaudithook(hook); import os, socket, subprocess; hook.closed = True\n"
        "for attempt in (\n"
        f"    lambda: open({str(tmp_path / 'x')!r}, 'w'),\n"
        "    lambda: os.system('true'),\n"
        "    lambda: subprocess.run(['true']),\n"
        "    lambda: socket.create_connection(('127.0.0.1', 9)),\n"
        "    lambda: os.kill(os.getppid(), 9),\n"
        "    os.fork,\n"
        "):\n"
        "    try:\n"
        "        attempt()\n"
        "    except PermissionError as error:\n"
        "        assert 'may not do this' in str(error)\n"
        "    else:\n"
        "        raise SystemExit(f'{attempt} went through')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "x").exists()


def test_failures_of_a_library_are_values():
    assert worker.answer(["math"])["failure"].startswith("failed: TypeError")
    assert worker.answer(["no such call"])["failure"].startswith("failed: KeyError")
