"""The system calls that a program is refused where no namespace holds it: a second seccomp filter, beside `seccomp`.

Landlock guards the contents of files. This filter closes what it leaves open to a program that may run as the same
user as everything else here: the marks of files, other processes, and new ones.
"""

import os
import struct
from errno import EPERM

from selfimprove.verify.sandbox import seccomp

WITHOUT_EFFECT = {
    "chmod": (90, None), "fchmod": (91, 52), "chown": (92, None), "fchown": (93, 55), "lchown": (94, None),
    "utime": (132, None), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "utimes": (235, None),
    "fchownat": (260, 54), "futimesat": (261, None), "fchmodat": (268, 53), "utimensat": (280, 88),
    "fchmodat2": (452, 452), "umask": (95, 166),
}  # fmt: skip
"""Calls that landlock does not know and that could reach the user's other files: numbers on x86_64 and aarch64."""

REFUSED = {
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "memfd_create": (319, 279),  # memory that the limit does not count
    "setpriority": (141, 140), "sched_setparam": (142, 118), "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122), "sched_setattr": (314, 274), "ioprio_set": (251, 30),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
}  # fmt: skip
"""New processes and programs, and what could reach the user's other processes."""

TRUNCATE = (76, 45)
"""Refused before version 3 of landlock, which knows it."""

CLONE, CLONE_THREAD = (56, 220), 0x10000
"""Threads are made, processes are not."""

PRLIMIT = (302, 261)
"""A process sets limits of its own (0), of no other."""

MAKE_FOLDER, MAKE_FOLDER_AT, OWNER_ALL, MASK = (83, None), (258, 34), 0o700, 0x54
"""A folder that its owner cannot read could be neither measured nor removed."""

THIRD_AT = 32
"""Of the third argument in struct seccomp_data."""


def filter_of(known: int, machine: str | None = None) -> bytes:
    """Return the instructions, for a kernel that knows this version of landlock; None is this machine."""
    machine = machine or os.uname().machine
    column = list(seccomp.ARCHITECTURES).index(machine)
    code = _step(seccomp.LOAD, seccomp.NUMBER_AT)
    silent = [numbers[column] for numbers in WITHOUT_EFFECT.values()]
    refused = [numbers[column] for numbers in REFUSED.values()]
    if known < 3:
        refused.append(TRUNCATE[column])
    for numbers, errno in ((silent, 0), (refused, EPERM)):
        for number in filter(None, numbers):
            code += _step(seccomp.EQUAL, number, 0, 1) + _step(seccomp.RETURN, seccomp.REFUSE | errno)
    # jumps count the instructions that are passed over
    code += _step(seccomp.EQUAL, CLONE[column], 0, 4) + _step(seccomp.LOAD, seccomp.FIRST_AT)
    code += _step(seccomp.ANY_BIT, CLONE_THREAD, 1, 0) + _step(seccomp.RETURN, seccomp.REFUSE | EPERM)
    code += _step(seccomp.RETURN, seccomp.ALLOW)
    for number, mode_at in ((MAKE_FOLDER[column], seccomp.SECOND_AT), (MAKE_FOLDER_AT[column], THIRD_AT)):
        if number is not None:
            code += _step(seccomp.EQUAL, number, 0, 5) + _step(seccomp.LOAD, mode_at) + _step(MASK, OWNER_ALL)
            code += _step(seccomp.EQUAL, OWNER_ALL, 1, 0) + _step(seccomp.RETURN, seccomp.REFUSE | EPERM)
            code += _step(seccomp.RETURN, seccomp.ALLOW)
    code += _step(seccomp.EQUAL, PRLIMIT[column], 0, 2) + _step(seccomp.LOAD, seccomp.FIRST_AT)
    code += _step(seccomp.EQUAL, 0, 0, 1)
    return code + _step(seccomp.RETURN, seccomp.ALLOW) + _step(seccomp.RETURN, seccomp.REFUSE | EPERM)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
