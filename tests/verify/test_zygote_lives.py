import asyncio
import os
import platform
import resource
import signal
import subprocess
import sys
import sysconfig
import time
from contextlib import suppress
from pathlib import Path

import pytest

from selfimprove import config
from selfimprove.errors import SandboxError
from selfimprove.verify.sandbox import bubble
from selfimprove.verify.sandbox.base import Call, Limits, Outcome, Program
from selfimprove.verify.sandbox.zygote import Zygote

ROOT = Path(__file__).resolve().parents[2]

problem = Zygote.missing()
pytestmark = pytest.mark.skipif(problem is not None, reason=str(problem))


def run(sandbox: Zygote, source: str, *calls: Call, **fields) -> Outcome:
    fields["limits"] = Limits(**({"seconds": 5.0} | fields.pop("limits", {})))
    return asyncio.run(sandbox.execute(Program(source, calls, **fields)))


def processes() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def children() -> set[int]:
    """Processes that this one started, directly or not, by what the system tells of parents."""
    parents = {}
    for pid in processes():
        try:
            parents[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def test_slots_run_side_by_side_and_any_loop_may_ask():
    sandbox = Zygote(config.Sandbox(slots=3))
    program = Program("import time; time.sleep(0.3)")

    async def several(count):
        return await asyncio.gather(*(sandbox.execute(program) for _ in range(count)))

    asyncio.run(several(3))
    begun = time.monotonic()
    outcomes = asyncio.run(several(3))
    assert time.monotonic() - begun < 0.85
    assert all(outcome.passed for outcome in outcomes) and len(sandbox.pids()) == 3
    assert {Path(f"/proc/{pid}/oom_score_adj").read_text() for pid in sandbox.pids()} == {"500\n"}
    sandbox.close()


def test_a_zygote_that_dies_is_started_again():
    sandbox = Zygote(config.Sandbox(slots=1))
    assert run(sandbox, "").passed
    [first] = sandbox.pids()

    async def killed():
        running = asyncio.create_task(sandbox.execute(Program("import time; time.sleep(0.4); print(1)")))
        await asyncio.sleep(0.2)
        os.kill(first, signal.SIGKILL)
        return await running

    outcome = asyncio.run(killed())  # it was run again
    assert outcome.stdout == "1\n" and sandbox.pids() != [first]
    [second] = sandbox.pids()
    os.kill(second, signal.SIGKILL)
    assert run(sandbox, "print(2)").stdout == "2\n"
    sandbox.close()


def test_a_zygote_that_dies_twice_is_an_error():
    sandbox = Zygote(config.Sandbox(slots=1))

    async def killed():
        running = asyncio.create_task(sandbox.execute(Program("import time; time.sleep(3)")))
        dead: set[int] = set()
        while not running.done():
            await asyncio.sleep(0.1)
            for pid in set(sandbox.pids()) - dead:
                os.kill(pid, signal.SIGKILL)
                dead.add(pid)
        assert len(dead) == 2
        return await running

    with pytest.raises(SandboxError, match="died twice"):
        asyncio.run(killed())
    assert run(sandbox, "print(3)").stdout == "3\n"
    sandbox.close()


def test_where_no_file_can_be_opened_the_program_does_not_go_on_unwatched():
    sandbox = Zygote(config.Sandbox(slots=1))
    assert run(sandbox, "").passed
    living, limits = children(), resource.getrlimit(resource.RLIMIT_NOFILE)
    program = Program("while True: pass", limits=Limits(seconds=20))

    async def short_of_files():
        taken = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[0], 200), limits[1]))
        try:
            with suppress(OSError):
                while True:
                    taken.append(os.dup(0))
            for _ in range(3):
                os.close(taken.pop())
            return await sandbox.execute(program)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for descriptor in taken:
                os.close(descriptor)

    with pytest.raises(SandboxError, match="ulimit -n"):
        asyncio.run(short_of_files())
    assert children() < living and not sandbox.pids()
    assert run(sandbox, "print(1)").passed
    sandbox.close()


def test_close_leaves_no_process_and_it_can_be_used_again():
    before = children()
    sandbox = Zygote(config.Sandbox(slots=2))

    async def both():
        await asyncio.gather(*(sandbox.execute(Program("import time; time.sleep(0.1)")) for _ in range(2)))

    asyncio.run(both())
    assert len(children() - before) >= 4  # bubblewrap and the zygote of each slot
    sandbox.close()
    sandbox.close()
    assert not children() - before
    assert run(sandbox, "print(1)").passed

    async def closed_meanwhile():
        running = asyncio.create_task(sandbox.execute(Program("import time; time.sleep(60)")))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(sandbox.close)
        await running

    with pytest.raises(SandboxError, match="closed"):
        asyncio.run(closed_meanwhile())
    assert not children() - before


def test_zygotes_die_with_the_process_that_started_them():
    source = """
import asyncio, os, sys
from selfimprove import config
from selfimprove.verify.sandbox.base import Program
from selfimprove.verify.sandbox.zygote import Zygote
sandbox = Zygote(config.Sandbox(slots=1))
asyncio.run(sandbox.execute(Program("")))
print(*sandbox.pids(), flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True)
    pid, deadline = int(done.stdout), time.monotonic() + 5
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, "the zygote lives on"
        time.sleep(0.01)


@pytest.mark.slow
def test_nothing_grows_over_500_programs():
    sandbox = Zygote(config.Sandbox(slots=2))
    litter = "import os\nopen('x', 'w').write('x' * 9999)\nif os.fork() == 0:\n    while True: pass\nprint(1)"

    async def many(count):
        numbers = iter(range(count))

        async def worker():
            for _ in numbers:
                assert (await sandbox.execute(Program(litter))).stdout == "1\n"

        await asyncio.gather(worker(), worker())

    def figures():
        opened = [len(os.listdir(f"/proc/{pid}/fd")) for pid in (os.getpid(), *sandbox.pids())]
        mounts = [Path(f"/proc/{pid}/mountinfo").read_text().count("\n") for pid in (os.getpid(), *sandbox.pids())]
        return sandbox.pids(), opened, mounts

    asyncio.run(many(20))
    time.sleep(0.2)
    before, living = figures(), len(children())
    asyncio.run(many(500))
    time.sleep(0.2)
    assert figures() == before and len(children()) == living
    sandbox.close()


def test_a_preloaded_package_is_there():
    pytest.importorskip("numpy")
    if not str(bubble.interpreter()).endswith(f"python{sys.version_info[0]}.{sys.version_info[1]}"):
        pytest.skip("the sandbox's interpreter is of another version than the packages")
    sandbox = Zygote(config.Sandbox(slots=1, preload=["numpy"]))
    source = "import sys\nwas_there = 'numpy' in sys.modules\nimport numpy\ndef f(n): return numpy.arange(n)"
    outcome = run(sandbox, source + "\nprint(was_there)", Call.of("f", 3), limits={"memory": 64 << 20})
    assert outcome.stdout == "True\n" and outcome.value(0) == [0, 1, 2]
    sandbox.close()


@pytest.mark.skipif(os.getuid() != 0, reason="the other tests ran as an ordinary user already")
@pytest.mark.skipif(platform.python_version_tuple()[:2] != ("3", "11"), reason="needs a system Python of this version")
def test_an_ordinary_user_may_use_it():
    packages = Path(sysconfig.get_path("purelib"))
    if not os.access("/usr/bin/python3.11", os.X_OK) or not packages.stat().st_mode & 1:
        pytest.skip("no interpreter with these packages that other users can read")
    source = """
import asyncio
from selfimprove import config
from selfimprove.verify.sandbox.base import Call, Program
from selfimprove.verify.sandbox.zygote import Zygote
assert Zygote.missing() is None, Zygote.missing()
sandbox = Zygote(config.Sandbox(slots=1))
print(asyncio.run(sandbox.execute(Program("def f(): return 7", (Call.of("f"),)))).value(0))
sandbox.close()
"""
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3.11", "-B", "-c", source],
        env={"PYTHONPATH": f"{ROOT}:{packages}", "PATH": os.environ["PATH"]}, cwd="/", capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "7\n", done.stderr
