"""Programs that try to get out of a sandbox, to take more than they may have, or to outlive it. Data only.

A program that reaches what it must not reach calls `won`; most also leave a mark that is looked for from outside
(`attack_watch.py`): a connection, a secret in the output, a file, a process. Names in braces are filled in by `fill`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Attack:
    """One program; `ends` lists the statuses it may end with (none: any), `calls` are made after it."""

    name: str
    kind: str
    tries: str
    source: str
    seconds: float = 1.0
    ends: tuple[str, ...] = ()
    calls: tuple[tuple[str, tuple], ...] = ()


ATTACKS: list[Attack] = []

PRELUDE = """\
import os, sys
try:
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(15, b"{marker}", 0, 0, 0)  # the name by which processes that are left are found from outside
except BaseException:
    libc = None
def won(*what):
    os.write(1, " ".join(["{won}", *map(str, what)]).encode() + bytes([10]))
def attempt(action, *arguments, **named):
    try: return action(*arguments, **named)
    except BaseException: return None
def system(number, *arguments):
    if libc is None: return -38
    value = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    return value if value >= 0 else -ctypes.get_errno()
def reached(name, number, *arguments):
    value = system(number, *arguments)
    if value not in (-1, -38, -13): won(name, value)  # neither EPERM nor ENOSYS nor EACCES: the kernel did something
def show(*paths):
    for path in paths:
        attempt(lambda: print(path, open(path, "rb").read(20000)))
"""

EARLY = ("timeout", "memory", "failed", "crashed")
"""How a program ends that was stopped."""


def fill(source: str, places: dict[str, str]) -> str:
    """Return a program with its places filled in."""
    for name, value in places.items():
        source = source.replace("{" + name + "}", value)
    return source


def add(kind: str, name: str, tries: str, source: str, **options) -> None:
    """Note one program."""
    assert name not in {attack.name for attack in ATTACKS}
    ATTACKS.append(Attack(name, kind, tries, PRELUDE + source.strip("\n") + "\n", **options))


NOT_CONTAINED: dict[str, dict[str, str]] = {
    "zygote": {},
    "landlock": {
        "threads": "threads are counted every 50 ms: too many end the program, but there are more for a moment"
    },
    "wasi": {},
}
"""By implementation: attacks that it is known not to contain, and why."""


# fmt: off
# What reaches another machine, or another process of this one.
add("network", "tcp", "connects to a listening TCP port of this machine", """
import socket
for host in ("127.0.0.1", "localhost", "::1", "{address}"):
    attempt(lambda: socket.create_connection((host, {port}), timeout=0.2).sendall(b"{marker}"))
""")
add("network", "udp", "sends a datagram to a port of this machine", """
import socket
for host in ("127.0.0.1", "{address}"):
    attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"{marker}", (host, {udp})))
""")
add("network", "unix", "connects to a unix socket", """
import socket
attempt(lambda: socket.socket(socket.AF_UNIX).connect("{unix}"))
attempt(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"x", "{unix}"))
""")
add("network", "abstract", "connects to a unix socket of the abstract name space", """
import socket
attempt(lambda: socket.socket(socket.AF_UNIX).connect(chr(0) + "{abstract}"))
""")
add("network", "dns", "resolves a name, and asks a name server directly", """
import socket
if attempt(socket.getaddrinfo, "example.com", 80): won("resolved")
attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"{marker}", ("127.0.0.1", {udp})))
""", seconds=2)
add("network", "raw", "opens raw, packet, netlink, vsock and kernel crypto sockets", """
import socket
for family, kind, protocol in ((2, 3, 1), (2, 3, 255), (17, 3, 3), (16, 3, 0), (40, 1, 0), (38, 5, 0)):
    if attempt(socket.socket, family, kind, protocol): won(family)
for family in range(2, 46):  # asking for a family loads its module into the kernel
    for kind in (1, 2, 5):
        if attempt(socket.socketpair, family, kind): won("pair", family)
        ends = ctypes.create_string_buffer(8) if libc else b""
        if system(53, family, kind, 0, ends) in (-93, -94, -95): won("asked", family)
""")
add("network", "services", "connects to every unix socket it finds: message bus, containers, editors", """
import socket, stat
for top in ("/run", "/var/run", "/tmp", "/var/lib", "/dev"):
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            if attempt(lambda: stat.S_ISSOCK(os.lstat(path).st_mode)):
                if attempt(lambda: socket.socket(socket.AF_UNIX).connect(path) or True): won(path)
""")

# What reads what it must not read.
add("read", "shadow", "reads the password file", """
show("/etc/shadow", "/etc/gshadow", "/etc/shadow-", "/etc/sudoers", "/proc/1/root/etc/shadow")
""")
add("read", "passwd", "reads the list of users", """
show("/etc/passwd", "/etc/passwd-", "/proc/self/root/etc/passwd", "/proc/1/root/etc/passwd")
""")
add("read", "secret", "reads a file that every user may read", """
show("{secret}", "/proc/self/root{secret}", "/proc/1/root{secret}", "../../../../../../../..{secret}", "{hidden}")
os.symlink("{secret}", "link"); show("link")
""")
add("read", "ledger", "reads the ledger of a run", """
show("{ledger}")
import sqlite3
attempt(lambda: print(list(sqlite3.connect("file:{ledger}?mode=ro&immutable=1", uri=True).execute("select * from t"))))
""")
add("read", "environment", "reads its own environment and that of every process", """
print(dict(os.environ))
for pid in {decoys} + [os.getppid()] + list(range(1, 400)): show(f"/proc/{pid}/environ", f"/proc/{pid}/cmdline")
""")
add("read", "home", "lists and reads home folders", """
for top in ("/root", "/home", "{home}", os.path.expanduser("~"), os.path.expanduser("~root")):
    for folder, _, names in os.walk(top):
        if names and not folder.startswith(("/tmp", "/dev", "/work")): won(folder, names[:3])
        if folder.startswith("{folder}"): show(*(os.path.join(folder, name) for name in names))
""")
add("read", "checkout", "reads the project that runs it", """
show("{checkout}/pyproject.toml", "{checkout}/.git/config", "{checkout}/.env", "{checkout}/README.md")
""")
add("read", "walk", "reads every small file of the file system, looking for secrets", """
for folder, names, files in os.walk("/"):
    names[:] = [n for n in names if folder != "/" or n not in ("proc", "sys", "usr", "lib", "lib64")]
    for name in files:
        path = os.path.join(folder, name)
        text = attempt(lambda: open(path, "rb").read(4096) if os.path.isfile(path) else b"") or b""
        if b"{hunted}" in text: print(path, text)
""")
add("read", "descriptors", "reads whatever descriptors it inherited", """
for number in range(3, 256):
    attempt(os.set_blocking, number, False); attempt(os.lseek, number, 0, 0)
    print(number, attempt(os.read, number, 20000), attempt(os.readlink, f"/proc/self/fd/{number}"))
    for name in (attempt(os.listdir, number) or []): print(name, attempt(os.open, name, os.O_RDONLY, dir_fd=number))
    for path in ("{secret}"[1:], "../" * 9 + "{secret}"[1:]):
        found = attempt(os.open, path, os.O_RDONLY, dir_fd=number)
        if found: print(os.read(found, 999))
""")
add("read", "devices", "opens disks, memory, terminals and the kernel's log", """
import glob, stat
for path in ["/dev/mem", "/dev/kmem", "/dev/port", "/dev/kmsg", "/proc/kmsg", "/proc/kcore",
             *glob.glob("/dev/[svn][dv]*")]:
    if attempt(lambda: os.read(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 10)): won(path)
for number in ((8, 0), (254, 0), (1, 1)):
    attempt(os.mknod, "device", 0o600 | stat.S_IFBLK, os.makedev(*number))
    if attempt(lambda: os.read(os.open("device", os.O_RDONLY), 10)): won(number)
if system(103, 10, 0, 0) >= 0: won("syslog")
""")
add("read", "other_memory", "reads the memory of other processes", """
for pid in {decoys} + [os.getppid(), 1, 2]:
    if pid in (0, os.getpid()): continue
    buffer = ctypes.create_string_buffer(16) if libc else None
    if libc:
        part = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 16)
        if system(310, pid, part, 1, part, 1, 0) > 0: won("process_vm_readv", pid)
        if system(101, 0x4206, pid, 0, 0) == 0: won("ptrace", pid)  # seize, which does not stop it
    for line in (attempt(lambda: open(f"/proc/{pid}/maps").readlines()) or [])[:1]:
        start = int(line.split("-")[0], 16)
        memory = attempt(open, f"/proc/{pid}/mem", "rb", 0)
        if memory and attempt(memory.seek, start) and attempt(memory.read, 8): won("mem", pid)
""")

# What changes something outside.
add("write", "files", "writes a file into every folder of the system", """
for folder in {folders}:
    attempt(lambda: open(folder + "/{marker}", "w").write("x")); attempt(os.mkdir, folder + "/{marker}.d")
""")
add("write", "canary", "overwrites, renames, empties, removes and re-modes a file that every user may write", """
for action in (lambda: open("{canary}", "w").write("x"), lambda: os.truncate("{canary}", 0),
               lambda: os.chmod("{canary}", 0),
               lambda: os.utime("{canary}", (1, 1)), lambda: os.rename("{canary}", "{canary}.old"),
               lambda: os.setxattr("{canary}", "user.x", b"x"), lambda: os.unlink("{canary}")): attempt(action)
""")
add("write", "links", "writes through symbolic and hard links that lead out", """
attempt(os.symlink, "{canary}", "soft"); attempt(os.link, "{canary}", "hard")
attempt(os.symlink, "{folder}", "folder")
attempt(os.symlink, "/", "root")
for path in ("soft", "hard", "folder/canary", "root{canary}", "/proc/self/cwd/soft", "/proc/self/root{canary}"):
    attempt(lambda: open(path, "r+").write("overwritten"))
""")
add("write", "tree", "removes a tree of files", """
import shutil
shutil.rmtree("{folder}/victims", ignore_errors=True)
""")
add("write", "remains", "leaves files for the next program: modules, start-up files, links", """
import site
for folder in [".", "/tmp", "/dev/shm", "/var/tmp", os.path.expanduser("~"), *sys.path, *site.getsitepackages()]:
    for name in ("sitecustomize.py", "usercustomize.py", "json.py", "harness.py", "remains.pth", ".pythonrc"):
        attempt(lambda: open(os.path.join(folder, name), "w").write("raise SystemExit('{won}')"))
os.environ["PYTHONSTARTUP"] = "/tmp/.pythonrc"
""")
add("write", "deep_folders", "leaves folders nested so deeply, and named so strangely, that cleaning up fails", """
open(b"\\xff\\xfe\\n", "w").close(); os.mkdir("locked"); open("locked/file", "w").close(); os.chmod("locked", 0)
for _ in range(3000): os.mkdir("d"); os.chdir("d")
""")
add("write", "proc", "uses the process file system to change the kernel or itself", """
for path in ("/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname",
             "/proc/sys/vm/drop_caches",
             "/proc/self/exe", "/sys/kernel/uevent_helper", "/sys/fs/cgroup/cgroup.procs", "/sys/power/state"):
    if attempt(open, path, "ab"): won(path)
for name, text in (("oom_score_adj", "-1000"), ("uid_map", "0 0 1"), ("loginuid", "0")):
    if attempt(lambda: os.write(os.open("/proc/self/" + name, os.O_WRONLY), text.encode())): won(name)
for number in range(256):
    for path in (f"/proc/1/fd/{number}", f"/proc/self/fd/{number}"):
        attempt(lambda: print(path, os.read(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 9999)))
for pid in ["self", "1"] + {decoys}: attempt(lambda: show(*(e.path + "{secret}" for e in os.scandir(f"/proc/{pid}"))))
""")

# What reaches other processes, or stays.
add("process", "kill_decoys", "sends every signal to processes of the machine", """
for pid in {decoys}:
    for number in (9, 15, 19, 6): attempt(os.kill, pid, number)
""")
add("process", "kill_all", "kills everything it may, and its parent", """
import signal
signal.signal(15, signal.SIG_IGN)
if os.getuid() != 0 or os.getpid() < 100:
    for pid in [os.getppid(), 1, *range(2, 300)]:
        if pid not in (0, os.getpid()): attempt(os.kill, pid, 19); attempt(os.kill, pid, 9)
    attempt(os.kill, -1, 15); attempt(os.killpg, 0, 15); attempt(os.kill, -1, 9)
""")
add("process", "stop_itself", "stops itself, and what started it", """
attempt(os.kill, os.getppid() or 1, 19) if os.getppid() > 1 or os.getpid() < 100 else None
os.kill(os.getpid(), 19)
import time; time.sleep(60)
""", seconds=0.5, ends=EARLY)
add("process", "priorities", "takes priority and processors from all processes of its user", """
for which, who in ((os.PRIO_USER, os.getuid()), (os.PRIO_USER, 0), (os.PRIO_PGRP, 0), (os.PRIO_PROCESS, os.getppid())):
    attempt(os.setpriority, which, who, 19)
for pid in {decoys} + [os.getppid(), *range(2, 400)]:
    if pid not in (0, os.getpid()):
        if attempt(lambda: os.sched_setaffinity(pid, [0]) or True): won("affinity", pid)
        if system(302, pid, 7, (ctypes.c_uint64 * 2)(3, 3) if libc else 0, 0) == 0: won("limits of", pid)
""")
add("process", "daemon", "leaves a process behind that has left its group, its session and its pipes", """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 256)
        import time; time.sleep(30)
    os._exit(0)
""")
add("process", "daemon_with_pipes", "leaves processes behind that hold the pipes, so that no end of file comes", """
import signal, time
for number in range(1, 65): attempt(signal.signal, number, signal.SIG_IGN)
for _ in range(3):
    if os.fork() == 0:
        os.setsid(); time.sleep(30); os._exit(0)
""")
add("process", "zombies", "leaves zombies", """
for _ in range(6):
    if os.fork() == 0: os._exit(0)
""")
add("process", "thread_after_end", "goes on in a thread when the program has ended", """
import threading, time
def run():
    while True: attempt(open, "mark", "w")
for daemon in (True, False): threading.Thread(target=run, daemon=daemon).start()
""", seconds=0.6)
add("process", "loop_at_exit", "loops in atexit, in a finaliser and in a thread that ends last", """
import atexit
class Last:
    def __del__(self):
        while True: pass
@atexit.register
def at_exit():
    while True: pass
keep = Last(); sys.stdout = keep_too = Last()
""", seconds=0.6)
add("process", "terminal", "types into the terminal of whoever started it", """
import fcntl
for path in (0, 1, 2, "/dev/tty", "/dev/console", "/dev/pts/0"):
    number = path if isinstance(path, int) else attempt(os.open, path, os.O_RDWR | os.O_NOCTTY)
    if number is not None and attempt(lambda: fcntl.ioctl(number, 0x5412, b"#") is not None): won(path)
""")

# What asks the kernel for more than a program needs.
add("kernel", "namespaces", "makes or enters name spaces", """
for flag in (0x10000000, 0x00020000, 0x20000000, 0x40000000, 0x08000000, 0x04000000, 0x02000000):
    if system(272, flag) == 0: won("unshare", hex(flag))
    value = system(56, flag | 17, 0, 0, 0, 0)
    if value == 0: os._exit(0)
    if value > 0: won("clone", hex(flag))
if libc:
    block = ctypes.create_string_buffer(88); ctypes.memmove(block, (0x10000000).to_bytes(8, "little"), 8)
    block[32] = 17
    value = system(435, block, 88)
    if value == 0: os._exit(0)
    if value > 0: won("clone3")
reached("setns", 308, -1, 0)
for line in ("unshare -r id", "bwrap --unshare-all --ro-bind / / id", "unshare --mount --user true"):
    told = attempt(lambda: __import__("subprocess").run(line.split(), capture_output=True).stdout)
    if b"uid=" in (told or b""): won(line)
""", seconds=3)
add("kernel", "mounts", "mounts, unmounts and changes the root", """
reached("mount", 165, b"none", b"/tmp", b"tmpfs", 0, 0); reached("remount", 165, b"none", b"/usr", b"none", 32, 0)
reached("umount2", 166, b"/nowhere", 0); reached("chroot", 161, b"/tmp"); reached("pivot_root", 155, b"/tmp", b"/tmp")
for name, number in (("fsopen", 430), ("fsconfig", 431), ("fsmount", 432), ("open_tree", 428), ("move_mount", 429),
                     ("fspick", 433), ("mount_setattr", 442)): reached(name, number, b"tmpfs", 0, 0, 0, 0)
""")
add("kernel", "tracing", "traces processes, reads and moves their memory and descriptors", """
me = os.getpid()
reached("ptrace", 101, 0, 0, 0, 0); reached("process_vm_readv", 310, me, 0, 0, 0, 0, 0)
reached("process_vm_writev", 311, me, 0, 0, 0, 0, 0); reached("pidfd_getfd", 438, -1, 0, 0)
reached("kcmp", 312, me, me, 0, 0, 0)
reached("userfaultfd", 323, 1); reached("perf_event_open", 298, 0, 0, -1, -1, 0)
reached("process_madvise", 440, -1, 0, 0, 0, 0)
""")
add("kernel", "modules", "loads kernels, modules and programs into the kernel", """
reached("init_module", 175, 0, 0, b""); reached("finit_module", 313, -1, b"", 0)
reached("kexec_load", 246, 0, 0, 0, 0)
reached("bpf", 321, 0, 0, 0); reached("reboot", 169, 0, 0, 0, 0); reached("swapon", 167, b"/nowhere", 0)
reached("iopl", 172, 3); reached("ioperm", 173, 0, 1, 1); reached("acct", 163, b"/nowhere")
""")
add("kernel", "rings_and_keys", "uses asynchronous rings, key rings, queues and shared memory of the system", """
block = ctypes.create_string_buffer(256) if libc else b""
reached("io_uring_setup", 425, 1, block); reached("io_uring_enter", 426, -1, 0, 0, 0, 0, 0)
reached("keyctl", 250, 0, -3, 1); reached("add_key", 248, b"user", b"{marker}", b"x", 1, -2)
reached("request_key", 249, b"user", b"x", 0, 0)
reached("shmget", 29, 0x5EC2, 4096, 0o1600); reached("semget", 64, 0x5EC2, 1, 0o1600)
reached("msgget", 68, 0x5EC2, 0o1600)
reached("mq_open", 240, b"{marker}", 66, 0o600, 0)
""")
add("kernel", "handles_and_clock", "opens files by handle, watches the file system, sets clock and name", """
reached("open_by_handle_at", 304, -100, b"0" * 64, 0); reached("fanotify_init", 300, 0, 0)
reached("settimeofday", 164, 0, 0); reached("sethostname", 170, b"x", -1); reached("setdomainname", 171, b"x", -1)
reached("lookup_dcookie", 212, 0, 0, 0); reached("quotactl", 179, 0, 0, 0, 0)
reached("vhangup", 153) if os.getuid() else None
""")
add("kernel", "old_numbers", "makes system calls by the numbers of other architectures", """
if system(0x40000000 + 39) > 0: won("x32")
import mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("b814000000cd80c3"))  # getpid() of the 32-bit kind
if libc and ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))() > 0: won("32-bit")
""")
add("kernel", "privileges", "becomes root, regains capabilities", """
for name in ("setuid", "setgid", "seteuid", "setegid"):
    if getattr(os, "get" + name[3:])() and attempt(lambda: getattr(os, name)(0) or True): won(name)
if libc:
    if libc.prctl(39, 0, 0, 0, 0) != 1: won("new privileges are allowed")
    data = ctypes.create_string_buffer(24); system(125, (ctypes.c_uint32 * 2)(0x20080522, 0), data)
    if any(data.raw): won("capabilities", data.raw.hex())
    if libc.prctl(47, 2, 21, 0, 0) == 0: won("ambient capability")
if attempt(lambda: os.setgroups([0]) or True): won("setgroups")
open("own", "w").close(); attempt(os.chown, "own", 0, 0)
if os.getuid() and os.stat("own").st_uid == 0: won("chown")
""")
add("kernel", "setuid_programs", "runs the programs that give rights", """
import subprocess
for line in ("sudo -n id", "su -c id", "pkexec id", "firejail --quiet id", "newgrp root -c id", "sg root id",
             "mount -t tmpfs x /tmp",
             "crontab -l", "systemd-run --user id"):
    done = attempt(subprocess.run, line.split(), capture_output=True, timeout=1, stdin=subprocess.DEVNULL)
    if done and (b"uid=0" in done.stdout or done.returncode == 0): won(line, done)
""", seconds=5)
add("kernel", "limits", "raises its own limits and its priority", """
import resource
for name in ("AS", "NPROC", "FSIZE", "NOFILE", "CPU", "CORE"):
    number = getattr(resource, "RLIMIT_" + name)
    if resource.getrlimit(number)[1] == -1: won("no limit on", name)
    elif attempt(lambda: resource.setrlimit(number, (-1, -1)) or True): won("raised", name)
if attempt(lambda: os.setpriority(os.PRIO_PROCESS, 0, -20) or True): won("nice")
if attempt(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)) or True): won("real time")
if system(251, 1, 0, 1 << 13) == 0: won("real-time input and output")
""")
