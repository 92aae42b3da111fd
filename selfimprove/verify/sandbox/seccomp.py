"""The system calls that a program in a sandbox is refused, as a seccomp filter of the kernel.

A deny list: what Python programs need stays open; what reaches other processes, other namespaces, mounts, the
network, kernel settings or rarely used, often broken corners of the kernel is refused (EPERM), and so is every call
that is newer than this list (ENOSYS). Sockets are refused but for pairs, which asyncio and multiprocessing use inside
one program. Standard library only, and no import of this package: the file is copied into places that hold nothing
else.
"""

import ctypes
import errno
import os
import struct

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""The kernel's numbers of the machines whose call numbers are known here."""

LAST = 452
"""The highest number of a call that is known here (the numbers of both machines agree from 424 on)."""

REFUSED = {
    # name: number on x86_64, on aarch64 (None: the machine has no such call)
    "socket": (41, 198), "connect": (42, 203), "accept": (43, 202), "bind": (49, 200), "listen": (50, 201),
    "accept4": (288, 242),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268),
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "shmdt": (67, 197), "semget": (64, 190),
    "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192), "msgget": (68, 186), "msgsnd": (69, 189),
    "msgrcv": (70, 188), "msgctl": (71, 187), "mq_open": (240, 180), "mq_unlink": (241, 181),
    "mq_timedsend": (242, 182), "mq_timedreceive": (243, 183), "mq_notify": (244, 184), "mq_getsetattr": (245, 185),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "lookup_dcookie": (212, 18), "nfsservctl": (180, 42), "vmsplice": (278, 75),
    "splice": (275, 76), "tee": (276, 77), "io_setup": (206, 0), "io_submit": (209, 2),
    "remap_file_pages": (216, 234), "ustat": (136, None), "sysfs": (139, None), "memfd_secret": (447, 447),
    "memfd_create": (319, 279),  # files in memory that belong to no process, and that no limit counts
    "mbind": (237, 235), "set_mempolicy": (238, 237), "set_mempolicy_home_node": (450, 450),
    "migrate_pages": (256, 238), "move_pages": (279, 239),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "create_module": (174, None),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "sethostname": (170, 161), "setdomainname": (171, 162), "vhangup": (153, 58), "personality": (135, 92),
    "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None), "_sysctl": (156, None),
    "uselib": (134, None),
}  # fmt: skip
"""What every program is refused."""

OTHERS = {
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "socketpair": (53, 199), "setsid": (112, 157),
    "setpgid": (109, 154), "prlimit64": (302, 261), "setrlimit": (160, 164), "execve": (59, 221),
    "execveat": (322, 281),
}  # fmt: skip
"""What a sandbox without namespaces may refuse besides, by the names in `more`."""

SETTING_UP = ("mount", "unshare", "setns", "pidfd_open", "memfd_create")
"""What a process that sets sandboxes up for its children still needs, so that its own filter leaves it out."""

CLONE, CLONE3, IOCTL, PAIR = (56, 220), 435, (16, 29), OTHERS["socketpair"]
UNIX = 1  # AF_UNIX
NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
TERMINAL = (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX put characters into a terminal's input

LOAD, EQUAL, GREATER, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
NUMBER_AT, MACHINE_AT, FIRST_AT, SECOND_AT = 0, 4, 16, 24  # in struct seccomp_data; the low half of an argument
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000

NO_NEW_PRIVILEGES, SET_SECCOMP = 38, 22  # for prctl


def missing(machine=None):
    """Return why there is no filter for this machine; None where there is one."""
    machine = machine or os.uname().machine
    if machine in ARCHITECTURES and struct.calcsize("P") == 8:
        return None
    return f"the system-call filter knows {' and '.join(ARCHITECTURES)}, and this machine is {machine}"


def filter_of(machine=None, more=(), less=(), only=None):
    """Return the filter's instructions as bytes.

    `more` names calls of OTHERS to refuse besides, `less` calls of REFUSED to leave open, `only` the calls of REFUSED
    that are all it refuses: filters add up, so that one with `less` and one `only` that are as much as a whole one.
    Raises ValueError for a machine whose calls are not known, and KeyError for a name that is in no list.
    """
    problem = missing(machine)
    if problem:
        raise ValueError(problem)
    machine = machine or os.uname().machine
    column = list(ARCHITECTURES).index(machine)
    known = {**REFUSED, **OTHERS}
    named = [known[name][column] for name in (*(REFUSED if only is None else only), *more) if name not in less]
    numbers = sorted(number for number in named if number is not None)
    tests = [
        _step(LOAD, MACHINE_AT),
        _step(EQUAL, ARCHITECTURES[machine], 1, 0), _step(RETURN, KILL),
        _step(LOAD, NUMBER_AT),
    ]  # fmt: skip
    tests += [] if only else [
        _step(GREATER, LAST, 0, 1), _step(RETURN, REFUSE | errno.ENOSYS),  # x32 numbers are here too
        _step(EQUAL, CLONE3, 0, 1), _step(RETURN, REFUSE | errno.ENOSYS),  # libraries fall back to clone
        _step(EQUAL, CLONE[column], 0, 4),
        _step(LOAD, FIRST_AT), _step(ANY_BIT, NAMESPACES, 0, 1), _step(RETURN, REFUSE | errno.EPERM),
        _step(RETURN, ALLOW),
        _step(EQUAL, IOCTL[column], 0, 5),
        _step(LOAD, SECOND_AT), _step(EQUAL, TERMINAL[0], 1, 0), _step(EQUAL, TERMINAL[1], 0, 1),
        _step(RETURN, REFUSE | errno.EPERM), _step(RETURN, ALLOW),
        _step(EQUAL, PAIR[column], 0, 3),  # any other family would load its module into the kernel
        _step(LOAD, FIRST_AT), _step(EQUAL, UNIX, 1, 0), _step(RETURN, REFUSE | errno.EPERM),
        _step(LOAD, NUMBER_AT),
    ]  # fmt: skip
    for first, last in _ranges(numbers):  # ascending: a number below a range is in none that follows
        tests += [_step(AT_LEAST, first, 1, 0), _step(RETURN, ALLOW)]
        tests += [_step(GREATER, last, 1, 0), _step(RETURN, REFUSE | errno.EPERM)]
    return b"".join([*tests, _step(RETURN, ALLOW)])


def install(instructions, libc=None):
    """Put a filter over this process for good, and over all it starts; raises OSError where the kernel refuses."""
    libc = libc or ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    header = struct.pack("HxxxxxxP", len(instructions) // 8, ctypes.addressof(buffer))
    for arguments in ((NO_NEW_PRIVILEGES, 1, 0, 0, 0), (SET_SECCOMP, 2, header, 0, 0)):
        if libc.prctl(*arguments) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"the system-call filter was refused: {os.strerror(code)}")


def _ranges(numbers):
    """Return (first, last) of every run of numbers that follow each other."""
    ranges = []
    for number in numbers:
        if ranges and number <= ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges


def _step(code, value, if_true=0, if_false=0):
    return struct.pack("HBBI", code, if_true, if_false, value)
