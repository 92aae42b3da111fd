"""What runs in a fresh process that is there for one program: it locks itself in, then lets `harness` run the program.

Standard library only, and no import of this package: any Python 3.9 or later may run it, as `landlock` and
`rlimits` start it. What locks it in was decided outside and stands in the request:

    program   what `harness.run` takes
    limits    {name of a RLIMIT_ constant: value}; RLIMIT_AS counts on top of what is mapped already
    packages  folders to import preloaded packages from; `preload` their names
    user      id of the user and group to become, None to stay
    rules     landlock: [file access, network access, scopes handled, [[path, access], ...]], None for none
    filters   seccomp: [programs of a filter, in hexadecimal]

Before the program's first statement LOCKED goes into a pipe of its own, which is closed then, so that the parent knows
that every lock holds, whatever the program does. Behind the reply, on a line of its own, stands the peak of this
process's memory in bytes.
"""

import ctypes
import json
import os
import resource
import signal
import struct
import sys
from importlib import import_module

LOCKED = b"locked"

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every architecture
NO_NEW_PRIVILEGES, SECCOMP, DIE_WITH_PARENT, FILTER = 38, 22, 1, 2


def main(parent, request_descriptor, ready_descriptor, reply_descriptor):
    """Read the request, lock this process in, run the program, write the reply, and leave."""
    with os.fdopen(request_descriptor, "rb") as file:
        request = json.load(file)
    harness = import_module("harness")
    sys.path[0] = ""  # the program's folder, no longer the one of this file
    sys.path += request["packages"]
    for name in request["preload"]:
        import_module(name)
    if len(os.listdir("/proc/self/task")) > 1 and request["filters"]:
        raise RuntimeError("a preloaded package has started threads, which no lock would hold")
    status = os.open("/proc/self/status", os.O_RDONLY)  # later no file of /proc can be opened
    lock(request, parent)
    sys.argv = ["program.py"]
    os.write(ready_descriptor, LOCKED)
    os.close(ready_descriptor)
    reply = harness.run(request["program"])
    harness.write_all(reply_descriptor, reply + b"\n" + str(peak(status)).encode())
    os._exit(0)  # what the program left running or registered does not run on


def lock(request, parent):
    """Apply every lock of the request; raises OSError where one does not hold."""
    if request["user"] is not None:
        os.setgroups([])
        os.setresgid(*[request["user"]] * 3)
        os.setresuid(*[request["user"]] * 3)
    os.umask(0o022)
    control(DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    for name, value in request["limits"].items():
        number = getattr(resource, name)
        if name == "RLIMIT_AS":
            value += mapped()
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (value, value))
    control(NO_NEW_PRIVILEGES, 1)
    if request["rules"] is not None:
        restrict(*request["rules"])
    for instructions in request["filters"]:
        install(bytes.fromhex(instructions))


def peak(status):
    """Return the largest memory this process had, in bytes, from its open status file; 0 where it is not told."""
    for line in os.pread(status, 4096, 0).splitlines():
        if line.startswith(b"VmHWM:"):
            return int(line.split()[1]) << 10
    return 0


def mapped():
    """Return the bytes of address space that this process has mapped."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


LIBC = ctypes.CDLL(None, use_errno=True)


def checked(result):
    """Return the result of a system call; raises OSError where it failed."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def control(option, value, pointer=None):
    """Call prctl."""
    checked(LIBC.prctl(option, ctypes.c_ulong(value), pointer, ctypes.c_ulong(0), ctypes.c_ulong(0)))


def restrict(files, network, scopes, paths):
    """Let landlock deny every handled access that no path's rule allows."""
    attributes = struct.pack("QQQ", files, network, scopes)
    size = 24 if scopes else 16 if network else 8
    ruleset = checked(LIBC.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(size), 0))
    for path, access in paths:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        checked(LIBC.syscall(ADD_RULE, ruleset, 1, struct.pack("=Qi", access, opened), 0))
        os.close(opened)
    checked(LIBC.syscall(RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def install(instructions):
    """Install a seccomp filter."""

    class Filter(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]

    asked = Filter(len(instructions) // 8, instructions)
    control(SECCOMP, FILTER, ctypes.byref(asked))
