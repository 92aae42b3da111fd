"""The host's side of one zygote: starts it in bubblewrap, and runs programs in its children.

The zygote (see `inside`) forks and reaps; this side holds the pipes of every child, feeds it its program, reads what
comes back, watches the clock, and has the child killed. What a child sends before `S` comes from our own code, and
what it sends after that from the program's process, which is trusted in nothing.
"""

import json
import os
import select
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from selfimprove.errors import SandboxError
from selfimprove.verify.sandbox import bubble
from selfimprove.verify.sandbox.base import FLOOD, Outcome, Program, outcome_of
from selfimprove.verify.sandbox.inside import OUT_OF_MEMORY

HERE = Path(__file__).resolve().parent

NAME = "zygote"

START = 180.0
"""Seconds that a zygote may take to start and to import its packages."""

SETUP = 30.0
"""Seconds that a child may take until its program starts, and to vanish when it is killed."""

OPEN_FILES = 64
"""Files that a program may have open."""

OWN = 3
"""Processes of the namespace's user that are not the program's: the zygote, the next child, the one before."""

CHUNK = 1 << 16


class Died(Exception):
    """The zygote is gone, or of no use any more."""


@dataclass(slots=True)
class Child:
    """A child of a zygote as seen from outside: its pipes, what came through them, and how it ended."""

    number: int
    request: int
    stdout: int
    stderr: int
    reply: int
    told: dict[int, bytearray] = field(default_factory=dict)  # by pipe
    pending: bytes | memoryview = b""  # of the request
    written: int = 0  # bytes of output
    began: float = 0.0
    started: float = 0.0  # when the program's own time began; 0 before
    ended: str = ""  # why it was killed
    end: dict[str, Any] | None = None  # what the zygote tells of its end

    def close(self) -> None:
        """Close its pipes."""
        for pipe in (self.request, self.stdout, self.stderr, self.reply):
            if pipe >= 0:
                os.close(pipe)
        self.request = self.stdout = self.stderr = self.reply = -1

    def feed(self) -> None:
        """Send as much of the request as fits, and close its pipe after the last byte."""
        try:
            while self.pending:
                self.pending = self.pending[os.write(self.request, self.pending) :]
        except BlockingIOError:
            return
        except OSError:  # the child is gone, which its zygote tells
            self.pending = b""
        os.close(self.request)
        self.request = -1

    def take(self, pipe: int, room: int) -> bool | None:
        """Read from a pipe and keep `room` bytes of it in all; return whether there was any, None where not yet."""
        try:
            data = os.read(pipe, CHUNK)
        except BlockingIOError:
            return None
        kept = self.told.setdefault(pipe, bytearray())
        kept += data[: max(0, room - len(kept))]
        if pipe != self.reply:
            self.written += len(data)
        elif not self.started and kept.startswith(b"RS"):
            self.started = monotonic()
        return bool(data)

    @property
    def flood(self) -> str:
        """In words what it sent too much of; empty where nothing."""
        if self.written > FLOOD:
            return f"killed, because it wrote more than {FLOOD >> 20} MB"
        if len(self.told.get(self.reply, b"")) > FLOOD:
            return f"killed, because it sent a reply of more than {FLOOD >> 20} MB"
        return ""


class ForkServer:
    """One zygote, used by one thread at a time."""

    def __init__(self, slot: int, preload: Sequence[str]) -> None:
        """Start it for a slot with packages to import; raises SandboxError where it does not start."""
        python = bubble.interpreter()
        if python is None:
            raise SandboxError(str(bubble.lacking()))
        packages = bubble.package_folders(preload)
        sources = {name: (HERE / f"{name}.py").read_text("utf-8") for name in ("harness", "seccomp", "inside")}
        first = json.dumps([sources, [list(preload), packages]]).encode()
        self.pid, self.count, self.told = 0, 0, ""
        self.busy = threading.Lock()
        self.next: Child | None = None
        self.control, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        try:
            line = bubble.command(python, packages, slot, inner.fileno(), len(first))
            self.process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                pass_fds=[inner.fileno()], cwd="/", env={"PATH": os.environ.get("PATH", os.defpath)},
                start_new_session=True,  # a Ctrl-C in the terminal is for the parent
            )  # fmt: skip
        except OSError as error:
            self.control.close()
            raise SandboxError(f"bubblewrap cannot be started: {error}") from None
        finally:
            inner.close()
        self._greet(first, preload, python)
        self.mapped = _mapped(self.pid)
        with suppress(OSError):  # a machine short of memory ends programs first, not the training beside them
            Path(f"/proc/{self.pid}/oom_score_adj").write_text("500")

    def run(self, program: Program) -> Outcome:
        """Return a program's outcome; raises SandboxError where it was not isolated, Died where nothing is known."""
        with self.busy:
            child, self.next = self.next or self._prepare(program.limits.disk), None
            try:
                self._watch(child, program)
                return self._outcome(child, program)
            finally:
                child.close()

    def end(self) -> None:
        """End the zygote, and all its children with it; safe to call twice, and from another thread."""
        with suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)  # where its socket ends the zygote leaves, and takes all along
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            with suppress(OSError):
                os.kill(self.pid or self.process.pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()
        with self.busy:  # whoever waits for a program has been told of the end by now
            child, self.next = self.next, None
            if child is not None:
                child.close()
            self.control.close()
            if self.process.stderr is not None and not self.process.stderr.closed:
                self.told = self.process.stderr.read().decode("utf-8", "replace").strip()
                self.process.stderr.close()

    def _greet(self, first: bytes, preload: Sequence[str], python: str) -> None:
        """Send what the zygote starts with and wait until it is ready; raises SandboxError where it is not."""
        self.control.settimeout(START)
        told = b""
        try:
            for start in range(0, len(first), CHUNK):
                self.control.send(first[start : start + CHUNK])
            told, extra, _, _ = self.control.recvmsg(1 << 12, socket.CMSG_SPACE(12))
            for level, kind, data in extra:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                    self.pid = struct.unpack("3i", data)[0]
            self.control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
        except OSError:  # it has ended, or is too slow; its standard error tells why
            told = b""
        if told:
            return
        self.end()
        if "bwrap" in self.told or "setpriv" in self.told or not self.told:
            raise SandboxError(bubble.explain(self.told))
        packages = f" with {', '.join(preload)}" if preload else ""
        raise SandboxError(f"the sandbox's {python} cannot start{packages}: {self.told.splitlines()[-1]}")

    def _prepare(self, disk: int) -> Child:
        """Ask the zygote for a child; raises Died where it is gone."""
        self.count += 1
        pipes: list[tuple[int, int]] = []
        try:
            while len(pipes) < 4:
                pipes.append(os.pipe())
        except OSError as error:
            for pipe in (end for pair in pipes for end in pair):
                os.close(pipe)
            problem = f"no pipe can be made ({error.strerror}): raise the limit of open files (ulimit -n)"
            raise SandboxError(f"the sandbox '{NAME}' cannot run a program: {problem}") from None
        child = Child(self.count, pipes[0][1], pipes[1][0], pipes[2][0], pipes[3][0])
        inner = [pipes[0][0], pipes[1][1], pipes[2][1], pipes[3][1]]
        try:
            message = json.dumps({"prepare": child.number, "disk": disk}).encode()
            socket.send_fds(self.control, [message], inner)
        except OSError:
            child.close()
            raise Died("it has ended") from None
        finally:
            for pipe in inner:
                os.close(pipe)
        for pipe in (child.request, child.stdout, child.stderr, child.reply):
            os.set_blocking(pipe, False)
        return child

    def _watch(self, child: Child, program: Program) -> None:
        """Have a program run to its end or to its limit; raises Died where the zygote does not tell of its end."""
        room = {
            child.stdout: program.limits.output + 1,
            child.stderr: program.limits.output + 1,
            child.reply: FLOOD + 1,
        }
        poll = select.poll()
        for pipe in (self.control.fileno(), *room):
            poll.register(pipe, select.POLLIN)
        child.pending = memoryview(self._request(program))
        child.began = monotonic()
        child.feed()
        if child.request >= 0:
            poll.register(child.request, select.POLLOUT)
        self.next = self._prepare(program.limits.disk)
        end = child.began + SETUP
        while child.end is None:
            for pipe, _ in poll.poll(1 + 1000 * max(0.0, end - monotonic())):
                if pipe == self.control.fileno():
                    self._hear(child)
                elif pipe == child.request:
                    poll.unregister(pipe)
                    child.feed()
                    if child.request >= 0:
                        poll.register(pipe, select.POLLOUT)
                elif child.take(pipe, room[pipe]) is False:
                    poll.unregister(pipe)
            if child.started and not child.ended:
                end = child.started + program.limits.seconds
                child.ended = child.flood or ("timeout" if monotonic() >= end and child.end is None else "")
                if child.ended:
                    self._send({"kill": child.number})
                    end = monotonic() + SETUP
            elif monotonic() >= end:
                raise Died("it did not answer in time")
        for pipe in room:  # nobody writes any more
            while not child.flood and child.take(pipe, room[pipe]):
                continue

    def _request(self, program: Program) -> bytes:
        """Return what a child reads: the length, then the program with its limits."""
        limits = program.limits
        resources = {
            "RLIMIT_AS": self.mapped + limits.memory,
            "RLIMIT_CPU": _cpu_seconds(program),
            "RLIMIT_FSIZE": limits.disk,
            "RLIMIT_NOFILE": OPEN_FILES,
            "RLIMIT_CORE": 1,  # too small for a file, and the one value with which the kernel starts no handler
            "RLIMIT_NPROC": limits.processes + OWN,
        }
        fields = {"program": program.to_request(), "files": dict(program.files), "stdin": program.stdin}
        data = json.dumps({**fields, "limits": {"disk": limits.disk, "resources": resources}}).encode()
        return struct.pack("I", len(data)) + data

    def _hear(self, child: Child) -> None:
        """Take one message of the zygote; raises Died where it has ended."""
        try:
            data = self.control.recv(1 << 12)
        except OSError:
            data = b""
        if not data:
            raise Died("it has ended")
        message = json.loads(data)
        if message["ended"] == child.number:
            child.end = message

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self.control.send(json.dumps(message).encode())
        except OSError:
            raise Died("it has ended") from None

    def _outcome(self, child: Child, program: Program) -> Outcome:
        reply = bytes(child.told.get(child.reply, b""))
        if not child.started:
            told = reply.removeprefix(b"R").decode("utf-8", "replace")
            problem = told[1:]
            if told.startswith("N"):
                return Outcome("refused", f"its files cannot be placed: {problem}", sandbox=NAME)
            if told.startswith("F"):
                raise SandboxError(f"the sandbox '{NAME}' could not isolate a program and did not run it: {problem}")
            raise Died("a child ended before its program began")
        assert child.end is not None
        return outcome_of(
            program,
            reply[2:],
            sandbox=NAME,
            ended=child.ended or child.flood or _ended(child.end, program),
            stdout=bytes(child.told.get(child.stdout, b"")),
            stderr=bytes(child.told.get(child.stderr, b"")),
            seconds=monotonic() - child.began,
            cpu_seconds=child.end["cpu"],
            memory=child.end["memory"],
        )


def _ended(end: dict[str, Any], program: Program) -> str:
    """Return why a process did not end by itself; empty where it did."""
    if os.WIFEXITED(end["status"]):
        return "memory" if os.WEXITSTATUS(end["status"]) == OUT_OF_MEMORY else ""
    number = os.WTERMSIG(end["status"])
    if number == signal.SIGKILL:  # nothing inside can send it
        if end["cpu"] > _cpu_seconds(program) - 0.1:
            return "timeout"
        if end["memory"] > program.limits.memory // 2:
            return "memory"
    names = {known.value: known.name for known in signal.Signals}
    return f"killed by {names.get(number, f'signal {number}')}"


def _cpu_seconds(program: Program) -> int:
    return int(program.limits.seconds) + 1


def _mapped(pid: int) -> int:
    """Return the bytes of address space that a process has mapped."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 256 << 20
