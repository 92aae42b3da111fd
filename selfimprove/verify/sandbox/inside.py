"""The zygote: the process inside bubblewrap that has the imports done, and forks once for every program.

Each child becomes process 1 of a pid namespace of its own, so that killing it kills all that it started. It has its
own mounts (a fresh, sized /tmp and /dev/shm), waits ready-made for its program, then gives up every right, limits
itself, installs the system-call filter and runs the program. Where a step before that fails, it tells, and nothing
is run.

Standard library only, and no import of this package: the text is sent into a place that holds nothing else.

The control socket (descriptor 3 here, messages of JSON) takes `{"prepare": number, "disk": bytes}` with four
descriptors (the pipes for the child's request, output, errors and reply) and `{"kill": number}`; it gives
`{"ended": number, "status", "cpu", "memory"}` after a child has ended. A child's reply is `R` (ready), `S` (the
program starts), then the reply of `harness`; or `N` and why its files cannot be placed; or `F` and what failed.
"""

import ctypes
import fcntl
import gc
import json
import os
import resource
import select
import signal
import socket
import struct
import sys

CONTROL = REPLY = 3
NEW_MOUNTS, NEW_PROCESSES = 0x00020000, 0x20000000  # CLONE_NEWNS, CLONE_NEWPID
QUIET = 0x6  # MS_NOSUID | MS_NODEV
REMOUNT = 0x20  # MS_REMOUNT
DROP_BOUND = 24  # PR_CAPBSET_DROP
CAPABILITIES_VERSION, LAST_CAPABILITY = 0x20080522, 63
PAGE = 4096
OUT_OF_MEMORY = 72  # exit code

FILES = 4096
"""Files and folders that a program may make."""

SHARED = 1 << 20
"""Bytes of /dev/shm."""

DESCRIPTORS = 256
"""Open files of the zygote, at most."""

libc = ctypes.CDLL(None, use_errno=True)


def check(result, step):
    """Raise OSError where a call of the C library failed."""
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{step}: {os.strerror(ctypes.get_errno())}")


def serve(harness, seccomp, preload, packages):
    """Import what is to be preloaded, say so, and prepare children until the host goes away."""
    control = socket.socket(fileno=CONTROL)
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    sys.path += packages
    for name in preload:
        __import__(name)
    for number in range(LAST_CAPABILITY + 1):
        libc.prctl(DROP_BOUND, number, 0, 0, 0)  # those that this kernel does not know are refused
    first = seccomp.filter_of(less=seccomp.SETTING_UP)
    second = seccomp.filter_of(only=seccomp.SETTING_UP)
    seccomp.install(first, libc)
    gc.collect()
    gc.freeze()  # or the collector of every child would copy all pages
    control.send(json.dumps({"ready": list(sys.version_info[:2])}).encode())
    itself = os.pidfd_open(os.getpid())
    children = {}  # descriptor that tells a child's end: (number, pid)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor != CONTROL:
                poll.unregister(descriptor)
                os.close(descriptor)
                number, pid = children.pop(descriptor)
                control.send(json.dumps({"ended": number, **reap(pid)}).encode())
                continue
            data, pipes, _, _ = socket.recv_fds(control, 1 << 12, 4)
            if not data:
                os._exit(0)
            message = json.loads(data)
            if "prepare" in message:
                pid = fork(itself, lambda: child(pipes, control, harness, seccomp, second, message["disk"]))  # noqa: B023
                for pipe in pipes:
                    os.close(pipe)
                watched = os.pidfd_open(pid)
                children[watched] = message["prepare"], pid
                poll.register(watched, select.POLLIN)
            for number, pid in children.values():
                if number == message.get("kill"):
                    os.kill(pid, signal.SIGKILL)


def reap(pid):
    """Return how a child ended, and the CPU seconds and bytes that it and what it waited for have used."""
    _, status, used = os.wait4(pid, 0)
    return {"status": status, "cpu": used.ru_utime + used.ru_stime, "memory": used.ru_maxrss << 10}


def fork(itself, action):
    """Return the pid of a child that is process 1 of its own namespace, and that does the action and ends."""
    check(libc.unshare(NEW_PROCESSES), "unshare")
    pid = os.fork()
    if pid == 0:
        try:
            action()
        finally:
            os._exit(71)
    check(libc.setns(itself, NEW_PROCESSES), "setns")  # or the next child would be in the namespace of this one
    return pid


def child(descriptors, control, harness, seccomp, instructions, disk):
    """Set everything up, wait for the program, run it, and tell what came of it; never returns."""
    started = False
    try:
        control.detach()  # its number is the reply's from here on
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        os.closerange(REPLY + 1, DESCRIPTORS)
        if os.getpid() != 1:
            raise OSError("it is not process 1 of a namespace of its own")
        check(libc.unshare(NEW_MOUNTS), "unshare")
        mount(b"/tmp", disk)
        mount(b"/dev/shm", SHARED)
        os.chdir("/tmp")
        os.write(REPLY, b"R")
        request = read_request()
        limits = request["limits"]
        if limits["disk"] != disk:
            mount(b"/tmp", limits["disk"], REMOUNT)
        try:
            place(request["files"], request["stdin"])
        except OSError as error:
            os.write(REPLY, b"N" + str(error).encode("utf-8", "replace"))
            os._exit(0)
        check(libc.capset(struct.pack("II", CAPABILITIES_VERSION, 0), bytes(24)), "capset")
        for name, value in limits["resources"].items():
            limit = getattr(resource, name)
            highest = resource.getrlimit(limit)[1]
            value = value if highest == resource.RLIM_INFINITY else min(value, highest)
            resource.setrlimit(limit, (value, value))
        seccomp.install(instructions, libc)
        sys.argv = ["program.py"]
        os.write(REPLY, b"S")
        started = True
        harness.write_all(REPLY, harness.run(request["program"]))
        os._exit(0)
    except MemoryError:
        if not started:
            os.write(REPLY, b"Fno memory")
        os._exit(OUT_OF_MEMORY)
    except BaseException as error:  # noqa: BLE001  whatever it is, the program must not run, or has run
        if not started:
            os.write(REPLY, b"F" + f"{type(error).__name__}: {error}".encode("utf-8", "replace"))
        os._exit(71)


def mount(place, size, more=0):
    """Put an empty file system of so many bytes over a folder."""
    options = b"size=%d,nr_inodes=%d,mode=1777" % (max(size, PAGE), FILES)
    check(libc.mount(b"tmpfs", place, b"tmpfs", QUIET | more, options), f"mount {place.decode()}")


def read_request():
    """Return the request that stands on descriptor 0; the process ends here where none comes."""
    data = read(4)
    if not data:
        os._exit(0)
    return json.loads(read(struct.unpack("I", data)[0]))


def read(size):
    """Return so many bytes of descriptor 0, or nothing at its end."""
    parts = []
    while size:
        part = os.read(0, min(size, 1 << 20))
        if not part:
            return b""
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def place(files, stdin):
    """Write the program's files, and put what it is to read on descriptor 0."""
    for name, text in files.items():
        if os.path.dirname(name):
            os.makedirs(os.path.dirname(name), exist_ok=True)
        with open(name, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
    data = memoryview(stdin.encode("utf-8", "surrogateescape"))
    source = os.memfd_create("stdin", os.MFD_ALLOW_SEALING)
    while data:
        data = data[os.write(source, data) :]
    os.lseek(source, 0, os.SEEK_SET)
    fcntl.fcntl(source, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    os.dup2(source, 0)
    os.close(source)
