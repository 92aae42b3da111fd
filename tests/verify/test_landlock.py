"""Landlock: what a program gets, what it is kept from, and the system-call filter beside it."""

import asyncio
import os
import struct
import time
from errno import EPERM
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.config import Sandbox as Options
from selfimprove.errors import SandboxError
from selfimprove.verify.sandbox import narrow, seccomp
from selfimprove.verify.sandbox.base import Call, Limits, Program
from selfimprove.verify.sandbox.landlock import ACCESS_BY_VERSION, FIRST_USER, Landlock, rules
from selfimprove.verify.sandbox.processes import Locks, run_alone, size_of
from selfimprove.verify.sandbox.slots import Slots

REASON = Landlock.missing(Options())
works_here = pytest.mark.skipif(REASON is not None, reason=f"landlock: {REASON}")


@pytest.fixture(scope="module")
def run():
    sandbox = Landlock(Options())

    def run(source, *calls, seconds=5.0, **given):
        limits = Limits(seconds=seconds, memory=128 << 20)
        return asyncio.run(sandbox.execute(Program(source, tuple(calls), limits=limits, **given)))

    yield run
    sandbox.close()


@works_here
def test_a_program_runs_with_calls_input_files_and_packages_of_its_own(run):
    outcome = run(
        "import sys, random, part\nprint(input(), open('folder/data.txt').read())\nprint('seen', file=sys.stderr)\n"
        "def twice(x):\n    return (x, x)\ndef bad():\n    raise ValueError('no')\n",
        Call.of("twice", {1}), Call.of("bad"), Call.of("absent"),
        stdin="line\n", files={"folder/data.txt": "kept", "part.py": "A = 1"},
    )  # fmt: skip
    assert outcome.passed and outcome.sandbox == "landlock"
    assert outcome.value(0) == ({1}, {1})
    assert outcome.results[1]["error"].startswith("ValueError: no") and "error" in outcome.results[2]
    assert (outcome.stdout, outcome.stderr) == ("line kept\n", "seen\n")
    assert 0 < outcome.seconds < 5 and outcome.cpu_seconds > 0 and 4 << 20 < outcome.memory < 100 << 20


@works_here
def test_the_trace_of_a_program_comes_back(run):
    assert run("a = 1\nb = [a]\n", trace=True).trace == ({"a": 1}, {"a": 1, "b": [1]})


@works_here
@pytest.mark.parametrize(
    ("source", "status", "told"),
    [
        ("while True:\n    pass", "timeout", "longer"),
        ("import signal, time\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n"
         "    except (OSError, ValueError): pass\ntime.sleep(60)", "timeout", "longer"),
        ("x = bytearray(1 << 29)", "memory", "MemoryError"),
        ("import os\nos._exit(0)", "crashed", "without a reply"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "crashed", "SIGSEGV"),
        ("import os\nos.kill(os.getpid(), 40)", "crashed", "signal 40"),
        ("raise KeyError('k')", "failed", "KeyError"),
        ("def f(:", "failed", "SyntaxError"),
        ("print('x' * (30 << 20))", "crashed", "wrote more"),
        ("n = 0\nwhile True:\n    open(str(n), 'w').write('x' * (1 << 20))\n    n += 1", "crashed", "files took more"),
        ("open('one', 'w').write('x' * (20 << 20))", "failed", "OSError"),
        ("import os\nwhile True:\n    os.mkdir('d')\n    os.chdir('d')", "crashed", "files took more"),
        ("import os, time\nheld = []\nfor n in range(9):\n    held.append(open('f', 'wb', 0))\n    os.remove('f')\n"
         "    held[-1].write(b'x' * (8 << 20))\ntime.sleep(60)", "crashed", "files took more"),
        ("import os\nfor n in range(256):\n    try:\n        os.read(os.open(f'/proc/self/fd/{n}', os.O_RDONLY | "
         "os.O_NONBLOCK), 99)\n    except OSError: pass", "passed", ""),  # what it reads of its pipes changes nothing
    ],
)  # fmt: skip
def test_every_end_has_its_status(run, source, status, told):
    outcome = run(source, seconds=0.6 if status == "timeout" else 10.0)
    assert (outcome.status, outcome.results) == (status, ())
    assert told in outcome.error
    assert len(outcome.stdout) <= Limits().output


@works_here
@pytest.mark.parametrize(
    "attempt",
    [
        "open('/etc/passwd')",
        "open('/proc/self/environ')",
        "open('/dev/shm/x', 'w')",
        "open('/tmp/x', 'w')",
        "os.listdir('/')",
        "os.listdir('/tmp')",
        "os.symlink('/etc/passwd', 'link') or open('link')",
        "os.link('/etc/hostname', 'link')",
        "os.mkdir('shut', 0o300)",
        "os.fork()",
        "subprocess.run(['/bin/true'])",
        "os.execv('/bin/true', ['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.setsid()",
        "os.setpgid(0, 0)",
        "os.kill(os.getppid(), 0)",
        "os.kill(1, 0)",
        "os.setpriority(os.PRIO_PROCESS, os.getppid(), 5)",
        "os.sched_setaffinity(os.getppid(), {0})",
        "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (1, 1))",
        "socket.socket()",
        "socket.socket(socket.AF_UNIX)",
        "os.memfd_create('x')",
        "os.unshare(0x10000000) if hasattr(os, 'unshare') else ctypes_call('unshare', 0x10000000)",
        "os.setuid(0)" if os.getuid() == 0 else "os.mknod('/null', 0o20666)",
    ],
)
def test_what_a_program_must_not_do_is_refused(run, attempt):
    source = f"""
import ctypes, os, resource, socket, subprocess
def ctypes_call(name, *values):
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*values) < 0:
        raise OSError(ctypes.get_errno(), name)
try:
    {attempt}
    print("did it")
except PermissionError:
    print("refused")
"""
    outcome = run(source)
    assert (outcome.status, outcome.stdout) == ("passed", "refused\n"), outcome


@works_here
def test_marks_of_files_are_not_changed_and_nothing_breaks_over_it(run, tmp_path):
    tmp_path.chmod(0o755)
    mine = tmp_path / "mine"
    mine.write_text("mine")
    mine.chmod(0o644)
    before = mine.stat()
    source = f"""
import os, shutil
os.chmod({str(mine)!r}, 0o777)
os.utime({str(mine)!r}, (1, 1))
try: os.truncate({str(mine)!r}, 0)
except OSError: pass
open("a", "w").write("kept")
shutil.copy2("a", "b")
print(open("b").read())
"""
    assert run(source).stdout == "kept\n"
    after = mine.stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_size) == (before.st_mode, before.st_mtime_ns, before.st_size)


@works_here
def test_threads_work_and_end_with_the_program(run):
    began = time.monotonic()
    source = "import threading, time\nt = threading.Thread(target=print, args=('in',))\nt.start()\nt.join()\n"
    assert run(source).stdout == "in\n"
    endless = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    assert run(endless).passed
    assert time.monotonic() - began < 4


@works_here
def test_only_so_many_threads_run(run):
    outcome = run(
        "import threading, time\nfor n in range(99):\n"
        "    threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\ntime.sleep(9)"
    )
    told = ("failed", "can't start new thread") if os.getuid() == 0 else ("crashed", "more than 8 threads")
    assert outcome.status == told[0] and told[1] in outcome.error


@works_here
def test_nothing_is_left_behind(run, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if os.getuid() == 0 and not parent.stat().st_mode & 1:
            parent.chmod(parent.stat().st_mode | 1)
    outcome = run("import os\nos.makedirs('a/b')\nopen('a/b/c', 'w').write('x')\nprint(os.getcwd(), os.getuid())")
    folder, user = outcome.stdout.split()
    assert Path(folder).parent == tmp_path and not list(tmp_path.iterdir())
    assert int(user) == os.getuid() if os.getuid() else int(user) >= FIRST_USER
    assert run("while True: open('x', 'a').write('x')", seconds=0.2).status in ("timeout", "failed")
    assert not list(tmp_path.iterdir())


@works_here
def test_a_preloaded_package_is_there():
    sandbox = Landlock(Options(preload=["numpy"]))
    reason = Landlock.missing(sandbox.options)
    if reason:
        pytest.skip(f"landlock with numpy: {reason}")
    outcome = asyncio.run(
        sandbox.execute(Program("import numpy\ndef f():\n    return numpy.ones(2)", (Call.of("f"),)))
    )
    sandbox.close()
    assert outcome.value(0) == [1.0, 1.0]


def test_a_package_that_is_not_installed_is_named():
    assert "surely_no_package" in (Landlock.missing(Options(preload=["surely_no_package"])) or "")


@works_here
def test_programs_run_at_once_and_from_one_loop_after_another():
    sandbox = Landlock(Options(slots=4))
    program = Program("import time\nprint(time.time())\ntime.sleep(0.5)\nprint(time.time())")

    async def four():
        return await asyncio.gather(*[sandbox.execute(program) for _ in range(4)])

    for _ in range(2):
        times = [outcome.stdout.split() for outcome in asyncio.run(four())]
        assert max(float(start) for start, _ in times) < min(float(end) for _, end in times)
        sandbox.close()


@works_here
def test_files_that_cannot_be_laid_out_are_refused(run):
    for files in ({"a": "x", "a/b": "y"}, {"n" * 300: "x"}, {"big": "x" * (17 << 20)}):
        outcome = run("print(1)", files=files)
        assert (outcome.status, outcome.stdout) == ("refused", ""), files.keys()


def test_a_lock_that_does_not_hold_stops_everything(tmp_path):
    tmp_path.chmod(0o755)
    nonsense = Locks(filters=(b"\xff" * 8,))
    with pytest.raises(SandboxError, match="could not lock a process in"):
        run_alone("/usr/bin/env", Program("print('ran')"), tmp_path, nonsense, "landlock")
    import sys

    with pytest.raises(SandboxError, match="could not lock a process in: OSError"):
        run_alone(sys.executable, Program("open('ran', 'w')"), tmp_path, nonsense, "landlock")
    assert not (tmp_path / "ran").exists()


def test_size_counts_whole_pages_and_does_not_follow_links(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "some").write_text("x" * 5000)
    (tmp_path / "folder").mkdir()
    os.symlink("/", tmp_path / "root")
    assert size_of(tmp_path) in (4096 * (1 + 2 + 1 + 1), 4096 * (1 + 2 + 1))


def test_rules_ask_for_nothing_that_the_kernel_does_not_know(tmp_path):
    for known, most in ((1, 1 << 13), (2, 1 << 14), (3, 1 << 15), (4, 1 << 15), (5, 1 << 16), (7, 1 << 16)):
        every, network, scopes, paths = rules(tmp_path, [], known)
        assert every == most - 1 and bool(network) == (known >= 4) and bool(scopes) == (known >= 6)
        assert all(access & ~every == 0 for _, access in paths)
        assert [path for path, access in paths if access & (1 << 8)] == [str(tmp_path)]  # new files only there
    assert max(ACCESS_BY_VERSION) == 5


def judge(instructions: bytes, number: int, *arguments: int) -> int:
    """Run a filter on a call as the kernel does; return what it decides."""
    steps = [struct.unpack_from("HBBI", instructions, at) for at in range(0, len(instructions), 8)]
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("IIQ6Q", number, 0, 0, *padded)
    at, held = 0, 0
    while True:
        code, if_true, if_false, value = steps[at]
        at += 1
        if code == seccomp.LOAD:
            held = struct.unpack_from("I", data, value)[0]
        elif code == narrow.MASK:
            held &= value
        elif code == seccomp.RETURN:
            return value
        else:
            holds = held == value if code == seccomp.EQUAL else bool(held & value)
            assert code in (seccomp.EQUAL, seccomp.ANY_BIT)
            at += if_true if holds else if_false


REFUSED, SILENT = seccomp.REFUSE | EPERM, seccomp.REFUSE


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
def test_the_filter_decides_every_call(machine):
    column = list(seccomp.ARCHITECTURES).index(machine)
    instructions = narrow.filter_of(7, machine)
    for numbers, decision in ((narrow.WITHOUT_EFFECT, SILENT), (narrow.REFUSED, REFUSED)):
        for name, pair in numbers.items():
            assert pair[column] is None or judge(instructions, pair[column]) == decision, name
    clone, limit, folder = narrow.CLONE[column], narrow.PRLIMIT[column], narrow.MAKE_FOLDER_AT[column]
    assert judge(instructions, clone, 0x11) == REFUSED
    assert judge(instructions, clone, narrow.CLONE_THREAD | 0xF00) == seccomp.ALLOW
    assert judge(instructions, limit, 0, 7) == seccomp.ALLOW and judge(instructions, limit, 4321) == REFUSED
    assert judge(instructions, folder, 0, 0, 0o777) == seccomp.ALLOW
    assert judge(instructions, folder, 0, 0, 0o300) == REFUSED
    truncate = narrow.TRUNCATE[column]
    assert judge(instructions, truncate) == seccomp.ALLOW
    assert judge(narrow.filter_of(2, machine), truncate) == REFUSED


@given(st.integers(0, 600), st.lists(st.integers(0, 2**64 - 1), max_size=6))
def test_the_filter_lets_all_else_pass(number, arguments):
    decided = judge(narrow.filter_of(7, "x86_64"), number, *arguments)
    named = {pair[0] for pair in (*narrow.WITHOUT_EFFECT.values(), *narrow.REFUSED.values())}
    special = {narrow.CLONE[0], narrow.PRLIMIT[0], narrow.MAKE_FOLDER[0], narrow.MAKE_FOLDER_AT[0]}
    if number not in named | special:
        assert decided == seccomp.ALLOW


def test_slots_are_given_to_one_at_a_time():
    slots, seen, most = Slots(3), [], []

    def work(slot):
        seen.append(slot)
        most.append(len(seen))
        assert seen.count(slot) == 1
        time.sleep(0.005)
        seen.remove(slot)
        return slot

    async def many():
        return await asyncio.gather(*[slots.run(work) for _ in range(30)])

    assert set(asyncio.run(many())) <= {0, 1, 2} and max(most) == 3
    slots.close()
    slots.close()
    assert asyncio.run(slots.run(lambda slot: slot)) in (0, 1, 2)
    slots.close()
