"""One program in one process of its own: started, watched, and ended with its whole process group.

What `landlock` and `rlimits` share; how the process locks itself in is told in the request (see `alone`).
"""

import errno
import fcntl
import json
import os
import selectors
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from selfimprove.errors import SandboxError
from selfimprove.verify.sandbox.alone import LOCKED
from selfimprove.verify.sandbox.base import FLOOD, PAGE, Limits, Outcome, Program, outcome_of

HERE = Path(__file__).resolve().parent

START = "import sys; sys.path[0] = sys.argv[1]; import alone; alone.main(*map(int, sys.argv[2:]))"

ENVIRONMENT = {
    "PYTHONHASHSEED": "0",  # one order of sets for every run
    "MALLOC_ARENA_MAX": "1",  # arenas eat up the address space of threads
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
}
"""All that a program sees of the environment."""

TICK = 0.05
"""Seconds between two looks at the folder's size."""

DEEPEST = 100
"""Levels of folders; deeper ones count as endlessly large, since looking at them takes longer than making them."""


@dataclass(frozen=True, slots=True)
class Locks:
    """How the process of a program locks itself in; the fields are those of a request to `alone`."""

    user: int | None = None
    rules: list[Any] | None = None
    filters: Sequence[bytes] = ()
    packages: Sequence[str] = ()
    preload: Sequence[str] = ()

    def request(self, program: Program) -> dict[str, Any]:
        """Return the request as plain JSON types."""
        limits = resource_limits(program.limits)
        if self.user is not None:  # else it would count all that the user runs
            limits["RLIMIT_NPROC"] = program.limits.processes
        return {
            "program": program.to_request(),
            "limits": limits,
            "user": self.user,
            "rules": self.rules,
            "filters": [instructions.hex() for instructions in self.filters],
            "packages": list(self.packages),
            "preload": list(self.preload),
        }


@dataclass(slots=True)
class _Seen:
    """What came out of a process so far, why it was ended ("timeout", a few words, "" where it ended itself), and
    whether every lock held before the program began.
    """

    parts: dict[int, bytearray] = field(default_factory=dict)
    ended: str = ""
    locked: bool = False


def resource_limits(limits: Limits) -> dict[str, int]:
    """Return the values of the RLIMIT_ constants for a program's limits."""
    return {
        "RLIMIT_AS": limits.memory,
        "RLIMIT_CPU": int(limits.seconds) + 1,
        "RLIMIT_FSIZE": limits.disk,
        "RLIMIT_NOFILE": 64,
        "RLIMIT_CORE": 1,  # too small for a file, and the one value with which the kernel starts no handler
    }


def fill(folder: Path, program: Program, user: int | None = None) -> str:
    """Write a program's files into its folder and give everything there to a user; return why not, "" where done."""
    if program.room > program.limits.disk:
        return f"its files need {program.room} bytes, and it may have {program.limits.disk}"
    made = {folder}
    for name, text in program.files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode("utf-8", "surrogateescape"))
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            return f"its file {name!r} is in the way of another: {error.strerror}"
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            return f"the name of its file {name!r:.80} is too long"
        made |= {path, *(parent for parent in path.parents if folder in parent.parents)}
    if user is not None:
        for path in made:
            os.chown(path, user, user)
    return ""


def size_of(folder: Path) -> int:
    """Return the bytes that the files of a folder take, in whole pages; what vanishes meanwhile counts nothing."""
    total, waiting = 0, [(str(folder), 0)]
    while waiting:  # not os.walk, which calls itself for every level
        path, depth = waiting.pop()
        if depth > DEEPEST:
            return sys.maxsize
        with suppress(OSError), os.scandir(path) as entries:
            for entry in entries:
                size = PAGE
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, depth + 1))
                else:
                    with suppress(OSError):
                        size = max(1, entry.stat(follow_symlinks=False).st_size)
                total += -(-size // PAGE) * PAGE
    return total


def size_of_deleted(process: int) -> int:
    """Return the bytes of the files that a process has open and that no folder holds any more."""
    total = 0
    with suppress(OSError):
        for name in os.listdir(f"/proc/{process}/fd"):
            with suppress(OSError):
                found = os.stat(f"/proc/{process}/fd/{name}")
                if name != "0" and stat.S_ISREG(found.st_mode) and found.st_nlink == 0:  # 0 is what it was given
                    total += found.st_size
    return total


def remove(folder: Path) -> None:
    """Remove a program's folder, whatever the program has put there."""
    with suppress(OSError, RecursionError):
        shutil.rmtree(folder)
    if folder.exists():  # folders nested by the thousand
        subprocess.run(["rm", "-rf", "--", str(folder)], capture_output=True, check=False)


def run_alone(python: str, program: Program, folder: Path, locks: Locks, sandbox: str) -> Outcome:
    """Run a program with an interpreter in an empty folder; raises SandboxError where a lock fails."""
    problem = fill(folder, program, locks.user)
    if problem:
        return Outcome("refused", problem, sandbox=sandbox)
    began = monotonic()
    request = _readable(json.dumps(locks.request(program)).encode())
    stdin = _readable(program.stdin.encode("utf-8", "surrogateescape"))
    (ready, ready_write), (reply, reply_write) = os.pipe(), os.pipe()
    given = (request, ready_write, reply_write)
    command = [python, "-s", "-B", "-c", START, str(HERE), str(os.getpid()), *map(str, given)]
    try:
        process = subprocess.Popen(
            command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=given,
            cwd=folder, env=ENVIRONMENT, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        os.close(reply)
        os.close(ready)
        raise SandboxError(f"the sandbox '{sandbox}' could not start {python}: {error}") from None
    finally:
        for descriptor in (stdin, *given):
            os.close(descriptor)
    try:
        seen, usage = _watch(process, reply, program, folder, began)
        os.set_blocking(ready, False)
        with suppress(BlockingIOError):
            seen.locked = os.read(ready, len(LOCKED)) == LOCKED
    finally:
        os.close(reply)
        os.close(ready)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    return _outcome(program, process.returncode, seen, usage, sandbox, monotonic() - began)


def _readable(content: bytes) -> int:
    """Return a descriptor from which the content can be read, and into which nothing can be written."""
    descriptor = os.memfd_create("input", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _watch(process: subprocess.Popen[bytes], reply: int, program: Program, folder: Path, began: float) -> Any:
    """Read what a process tells until it ends or must be ended; return what was seen and the usage of resources."""
    assert process.stdout is not None and process.stderr is not None
    seen = _Seen({reply: bytearray(), process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()})
    exit_of = os.pidfd_open(process.pid)
    look = began + TICK
    with selectors.DefaultSelector() as selector:
        for descriptor in seen.parts:
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ)
        selector.register(exit_of, selectors.EVENT_READ)
        try:
            running = True
            while running and not seen.ended:
                left = began + program.limits.seconds - monotonic()
                for key, _ in selector.select(max(0.0, min(left, TICK))):
                    if key.fd == exit_of:
                        running = False
                    elif not _take(seen, key.fd):
                        selector.unregister(key.fd)
                if running and left <= 0:
                    seen.ended = "timeout"
                elif monotonic() > look:
                    look = monotonic() + TICK
                    seen.ended = seen.ended or _look(process.pid, program, folder)
        finally:
            os.close(exit_of)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # before the wait: until then the number is taken
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
    for descriptor in seen.parts:
        while _take(seen, descriptor) and not seen.ended:
            pass
    return seen, usage


def _take(seen: _Seen, descriptor: int) -> bool:
    """Take what a pipe holds; return whether more may come."""
    try:
        chunk = os.read(descriptor, 1 << 16)
    except BlockingIOError:
        return False
    seen.parts[descriptor] += chunk
    told, *outputs = map(len, seen.parts.values())
    if max(told, sum(outputs)) > FLOOD:
        seen.ended = seen.ended or f"the program wrote more than {FLOOD >> 20} MB"
    return bool(chunk)


def _look(process: int, program: Program, folder: Path) -> str:
    """Return which limit a process has passed that the kernel does not hold by itself; "" where none."""
    limits = program.limits
    if size_of(folder) + size_of_deleted(process) > limits.disk + program.room:
        return f"the program's files took more than {limits.disk >> 20} MB"
    with suppress(OSError):
        if len(os.listdir(f"/proc/{process}/task")) > limits.processes:
            return f"the program started more than {limits.processes} threads"
    return ""


def _outcome(program: Program, code: int, seen: _Seen, usage: Any, sandbox: str, seconds: float) -> Outcome:
    told, stdout, stderr = map(bytes, seen.parts.values())
    if not seen.locked and not seen.ended:
        last = stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise SandboxError(f"the sandbox '{sandbox}' could not lock a process in: {last or 'it died at its start'}")
    answer, _, peak = told.partition(b"\n")
    ended = seen.ended
    used = usage.ru_utime + usage.ru_stime
    if not ended and code < 0:
        spent = used >= resource_limits(program.limits)["RLIMIT_CPU"]  # the kernel kills it then
        ended = "timeout" if spent else f"killed by {_name_of(-code)}"
    return outcome_of(
        program, answer or None, sandbox=sandbox, ended=ended, stdout=stdout, stderr=stderr, seconds=seconds,
        cpu_seconds=used, memory=int(peak) if peak.isdigit() and len(peak) < 16 else 0,
    )  # fmt: skip


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
