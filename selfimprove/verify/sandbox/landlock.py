"""Landlock: a program locked in by the kernel's own file rules and system-call filter, without any namespace.

It needs neither root nor a package, only Linux 5.13 or later with landlock on. Each program gets a process of its
own, and in it: no file but the interpreter's library and a private folder, removed afterwards; no sockets; no other
process (it can start none, so none survives it, and its memory limit is the limit of all it does), threads excepted;
limits of memory, CPU time and file sizes. Where this runs as root, every program has a user id of its own.

Not covered: it sees the machine's names and clocks, and whether a path exists (landlock hides contents, not names);
its files are counted every 50 ms, so that they can pass the limit for a moment; a defect of the kernel. What changes
only the marks of a file (mode, owner, times) is done without effect: landlock does not know such calls.
"""

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

from selfimprove.config import Sandbox as Options
from selfimprove.errors import SandboxError
from selfimprove.verify.sandbox import narrow, seccomp
from selfimprove.verify.sandbox.base import Limits, Outcome, Program
from selfimprove.verify.sandbox.bubble import package_folders
from selfimprove.verify.sandbox.processes import Locks, remove, run_alone
from selfimprove.verify.sandbox.slots import Slots

FIRST_USER = 61000
"""Where this runs as root, each slot has a user and group of its own from this one on, which own nothing else."""

USERS = 4000
"""So many users share the slots of all processes of this machine: a user's threads are counted together."""

WRITE_FILE, READ_FILE, READ_FOLDER, TRUNCATE, CONTROL_DEVICE = 1 << 1, 1 << 2, 1 << 3, 1 << 14, 1 << 15
SPECIAL_FILES = 1 << 6 | 1 << 9 | 1 << 11  # character devices, sockets, block devices
ACCESS_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""Kinds of file access that a version of landlock, and those after it, know."""

READABLE = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/etc/localtime")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")

TRIAL = """
import fractions
tried = []
for attempt in ('open("/etc/passwd")', 'os.listdir("/")', 'socket.socket()', 'os.fork()', 'open("/dev/shm/x", "w")'):
    import os, socket
    try:
        eval(attempt)
        tried.append(attempt)
    except PermissionError:
        pass
open("here", "w").write("x")
if tried:
    raise SystemExit("it was not held back from " + ", ".join(tried))
"""


def version() -> int:
    """Return the version of landlock that this kernel has, 0 where it has none."""
    if sys.platform != "linux":
        return 0
    create_ruleset, ask_version = 444, 1
    return max(0, ctypes.CDLL(None, use_errno=True).syscall(create_ruleset, None, ctypes.c_size_t(0), ask_version))


def rules(folder: Path, library: list[str], known: int) -> list[object]:
    """Return landlock's rules for `alone`: the folder may be changed, the library and harmless devices be read."""
    every = ACCESS_BY_VERSION[max(number for number in ACCESS_BY_VERSION if number <= known)]
    paths: list[list[object]] = [[str(folder), every & ~SPECIAL_FILES & ~CONTROL_DEVICE & ~1]]
    for path in dict.fromkeys([*READABLE, *library]):
        if os.path.exists(path):
            paths.append([path, READ_FILE | READ_FOLDER if os.path.isdir(path) else READ_FILE])
    paths += [[path, READ_FILE | WRITE_FILE | TRUNCATE & every] for path in DEVICES if os.path.exists(path)]
    network, scopes = (3 if known >= 4 else 0), (3 if known >= 6 else 0)  # TCP bind, connect; sockets, signals
    return [every, network, scopes, paths]


@lru_cache
def interpreter(preload: tuple[str, ...] = ()) -> tuple[str, list[str]] | None:
    """Return a Python that the programs' user may run, and its library's folders; None where there is none.

    Never the one of this environment: its path may lead to a checkout. With `preload` it is of the same version as
    this one, so that this environment's packages fit it.
    """
    ask = "import json, sys; print(json.dumps([list(sys.version_info[:2]), sys.path]))"
    for python in dict.fromkeys([os.path.realpath(sys.executable), "/usr/local/bin/python3", "/usr/bin/python3"]):
        if not _others_may_run(python):
            continue
        try:
            told = subprocess.run([python, "-I", "-c", ask], capture_output=True, timeout=30, check=True).stdout
            found, path = json.loads(told)
        except (OSError, ValueError, subprocess.SubprocessError):
            continue
        if found >= [3, 9] and (not preload or found == list(sys.version_info[:2])):
            return python, [folder for folder in path if os.path.exists(folder)]
    return None


def _others_may_run(python: str) -> bool:
    path = Path(python)
    if not os.access(path, os.X_OK):
        return False
    return os.getuid() != 0 or all(each.stat().st_mode & 1 for each in (path, *path.parents))


@lru_cache
def _missing(preload: tuple[str, ...]) -> str | None:
    known = version()
    if not known:
        return "this kernel has no landlock (Linux 5.13 or later has, where it is switched on: lsm=landlock,...)"
    problem = seccomp.missing()
    if problem:
        return problem
    if interpreter(preload) is None:
        which = f"of version {sys.version_info[0]}.{sys.version_info[1]} " if preload else ""
        return f"there is no Python {which}that other users may run: apt-get install python3"
    try:
        outcome = Landlock(Options(preload=list(preload))).run(Program(TRIAL, limits=Limits(seconds=20.0)), 0)
    except (SandboxError, OSError) as error:
        return f"a trial failed: {error}"
    return None if outcome.passed else f"a trial failed: {outcome.error}"


class Landlock:
    """Programs under landlock, each in a process of its own."""

    name = "landlock"

    def __init__(self, options: Options) -> None:
        self.options = options
        self._slots = Slots(options.slots)

    @staticmethod
    def missing(options: Options) -> str | None:
        """Return in one sentence why it cannot run here and what to do; None where it can. Tried once a process."""
        return _missing(tuple(options.preload))

    async def execute(self, program: Program) -> Outcome:
        """Run a program; raises SandboxError where its process cannot be locked in."""
        return await self._slots.run(lambda slot: self.run(program, slot))

    def run(self, program: Program, slot: int) -> Outcome:
        """Run a program in this thread."""
        found = interpreter(tuple(self.options.preload))
        if found is None:
            raise SandboxError(f"the sandbox 'landlock' cannot run here: {self.missing(self.options)}")
        python, library = found
        preload = self.options.preload
        packages = package_folders(preload)
        user = FIRST_USER + (61 * os.getpid() + slot) % USERS if os.getuid() == 0 else None
        known = version()
        kills = () if known >= 6 else ("kill", "tkill", "tgkill")  # later versions keep signals inside by themselves
        folder = Path(tempfile.mkdtemp(prefix="selfimprove-program-"))
        try:
            locks = Locks(
                user=user,
                rules=rules(folder, [*library, *packages], known),
                filters=(seccomp.filter_of(more=("setsid", "setpgid", *kills)), narrow.filter_of(known)),
                packages=packages,
                preload=preload,
            )
            return run_alone(python, program, folder, locks, self.name)
        finally:
            remove(folder)

    def close(self) -> None:
        """Wait for the programs that run; safe to call twice."""
        self._slots.close()
