"""The default sandbox: programs in forks of an interpreter that waits inside bubblewrap with its imports done.

A slot holds one zygote (see `inside`). For every program it forks a child with its own pid and mount namespaces; the
next child is made ready while the present program runs. A program costs a few milliseconds, packages named in
`preload` cost nothing, and nothing is left of a program when the next one starts.

Covered: no network, not even the loopback one (network namespace; sockets refused); no file of the machine but a
read-only /usr, the interpreter and the preloaded packages (bubblewrap; the root of the file system is read-only); no
process but its own can be seen, stopped or traced (pid namespace, no /proc; the program is process 1 there, so that
all it started ends with it); no environment; a user without rights in a user namespace (as root: a user id of its own
per slot); no capability, no new privileges, no further namespaces or mounts, rarely used system calls refused (see
`seccomp`). Limited: wall clock; CPU seconds and address space of each process (all of them together may use the
memory limit times `processes`); processes and threads; bytes and number of files, which live in memory and are gone
afterwards; open files; what is read of its output. Where the machine runs out of memory, the kernel is told to end
programs first. It fails closed: where a step fails, the program is not run.

Not covered: bugs of the kernel; what the processor gives away (caches, timing); that programs which run at once slow
each other; that a program forges what its own process tells of it, which is why expected values never come in. Nobody
is process 1 without a price: signals that end others are lost on it, so `os.kill(os.getpid(), 9)` goes on. On kernels
before 5.14 the limit of processes counts all those of the user, so that there an ordinary user's program cannot fork.
"""

import threading
from functools import cache, partial

from selfimprove.config import Sandbox as Options
from selfimprove.errors import SandboxError
from selfimprove.verify.sandbox import bubble
from selfimprove.verify.sandbox.base import Outcome, Program
from selfimprove.verify.sandbox.fork_server import Died, ForkServer
from selfimprove.verify.sandbox.slots import Slots


class Zygote:
    """Programs in forks of pre-started interpreters inside bubblewrap."""

    name = "zygote"

    def __init__(self, options: Options) -> None:
        """Take the recipe's options; zygotes start with the first programs."""
        self.options = options
        self._slots = Slots(options.slots)
        self._zygotes: dict[int, ForkServer] = {}
        self._lock = threading.Lock()
        self._closing = False

    @staticmethod
    def missing(options: Options | None = None) -> str | None:
        """Return in one sentence why this sandbox cannot run here; None where it can (one start is tried)."""
        return _missing()

    async def execute(self, program: Program) -> Outcome:
        """Run a program; raises SandboxError where it cannot be isolated."""
        if program.room > program.limits.disk:
            error = f"its files need {program.room} bytes, and it may have {program.limits.disk}"
            return Outcome("refused", error, sandbox=self.name)
        return await self._slots.run(partial(self._execute, program))

    def close(self) -> None:
        """End all zygotes, and with them what still runs; safe to call twice, and the next program starts afresh."""
        self._closing = True
        self._end_all()
        self._slots.close()
        self._end_all()  # those that were being started
        self._closing = False

    def _end_all(self) -> None:
        with self._lock:
            zygotes, self._zygotes = list(self._zygotes.values()), {}
        for zygote in zygotes:
            zygote.end()

    def pids(self) -> list[int]:
        """Return the process ids of the living zygotes."""
        with self._lock:
            return sorted(zygote.pid for zygote in self._zygotes.values())

    def _execute(self, program: Program, slot: int) -> Outcome:
        problem = ""
        for _ in range(2):
            try:
                return self._prepared(slot).run(program)
            except Died as death:
                problem = self._drop(slot) or str(death)
            except BaseException:  # whatever it is, the program may still be running in there
                self._drop(slot)
                raise
            if self._closing:
                raise SandboxError("the sandbox was closed while a program ran")
        raise SandboxError(f"the sandbox '{self.name}' died twice while it ran one program: {problem}")

    def _drop(self, slot: int) -> str:
        """End the zygote of a slot, and return the last line that it told."""
        with self._lock:
            zygote = self._zygotes.pop(slot, None)
        if zygote is None:
            return ""
        zygote.end()
        return zygote.told.rpartition("\n")[2]

    def _prepared(self, slot: int) -> ForkServer:
        zygote = self._zygotes.get(slot)
        if zygote is None:
            zygote = ForkServer(slot, self.options.preload)
            with self._lock:
                self._zygotes[slot] = zygote
        return zygote


@cache
def _missing() -> str | None:
    problem = bubble.lacking()
    if problem:
        return problem
    try:
        slot = ForkServer(0, [])
    except SandboxError as error:
        return str(error)
    try:
        outcome = slot.run(Program("print(1)"))
        return None if outcome.stdout == "1\n" else f"the zygote sandbox does not work here: {outcome.error}"
    except (SandboxError, Died) as error:
        return f"the zygote sandbox does not work here: {error}"
    finally:
        slot.end()
