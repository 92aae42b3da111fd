"""Programs that take more than they may have (processes, memory, disk, time, output), and odd ones. Data only.

Every bomb has an end of its own, so that a machine survives the day on which a sandbox does not hold it.
"""

from attacks import EARLY, add

# fmt: off
# Processes and threads.
add("processes", "fork_bomb", "forks without end", """
import time
end = time.time() + 1
while time.time() < end:
    if attempt(os.fork) == 0: time.sleep(0.0005)
time.sleep(5)
""", seconds=0.6, ends=EARLY)
add("processes", "fork_sessions", "forks processes that all ignore signals and leave their session", """
import signal, time
for number in range(1, 65): attempt(signal.signal, number, signal.SIG_IGN)
made = 0
for _ in range(400):
    child = attempt(os.fork)
    if child == 0: attempt(os.setsid); time.sleep(10); os._exit(0)
    made += child is not None
if made > {processes} + 1: won(made, "processes")
""", seconds=0.6)
add("processes", "threads", "starts threads without end", """
import threading, time
def run(): time.sleep(10)
made = 0
for _ in range(2000):
    made += attempt(lambda: threading.Thread(target=run, daemon=True).start() or True) is True
if made > {processes} + 1: won(made, "threads")
time.sleep(5)
""", seconds=0.6, ends=EARLY)
add("processes", "relay", "forks and leaves, again and again, so that no process lives long enough to be killed", """
import time
end = time.time() + 3
while time.time() < end:
    if attempt(os.fork): os._exit(0)
    attempt(os.setsid)
""", seconds=0.6)
add("processes", "execs", "becomes another program", """
os.execv("/usr/bin/python3", ["python3", "-c", "while True: pass"])
""", seconds=0.6, ends=EARLY)

# Memory.
add("memory", "one_process", "takes memory until there is none", """
blocks = []
for _ in range(6000): blocks.append(bytearray(b"x" * 1_000_000))
""", seconds=4, ends=EARLY)
add("memory", "many_processes", "takes memory in many processes at once", """
import time
for _ in range(7): attempt(os.fork)
blocks = []
for _ in range(100): attempt(lambda: blocks.append(bytearray(b"x" * 1_000_000)))
time.sleep(0.3)
""", seconds=3)
add("memory", "mappings", "maps large areas, private, shared and reserved, and touches them", """
import mmap
areas = []
for flags in (mmap.MAP_SHARED | mmap.MAP_ANONYMOUS, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, 0x4000 | 0x22):
    for size in (8 << 30, 512 << 20, 64 << 20, 64 << 20, 64 << 20, 64 << 20, 64 << 20, 64 << 20):
        area = attempt(mmap.mmap, -1, size, flags)
        if not area: continue
        areas.append(area)
        for place in range(0, min(size, 1 << 30), 4096): area[place] = 1
""", seconds=3)
add("memory", "memory_files", "fills files that live in memory and belong to no process", """
import time
total, block = 0, b"x" * (1 << 20)
for worker in range(7):
    if attempt(os.fork) == 0: break
for number in range(60):
    file = attempt(os.memfd_create, str(number))
    if file is None: break
    for _ in range(64):
        wrote = attempt(os.write, file, block)
        if not wrote: break
        total += wrote
if total > {disk}: won(total >> 20, "MB in memory files")
time.sleep(0.3)
""", seconds=4)
add("memory", "pipes", "fills pipes with the largest buffers", """
import fcntl
total = 0
for _ in range(7): attempt(os.fork)
for _ in range(500):
    ends = attempt(os.pipe)
    if not ends: break
    attempt(fcntl.fcntl, ends[1], 1031, 1 << 20); os.set_blocking(ends[1], False)
    while (wrote := attempt(os.write, ends[1], b"x" * 65536)): total += wrote
if total > 64 << 20: won(total >> 20, "MB in pipes")
""", seconds=3)
add("memory", "lock", "locks memory so that it cannot be swapped", """
import mmap
if system(151, 3) == 0:
    areas = [attempt(mmap.mmap, -1, 64 << 20) for _ in range(40)]
""", seconds=3)

# Disk.
add("disk", "huge_file", "writes one file until the disk is full, and makes a sparse one", """
import signal
attempt(signal.signal, signal.SIGXFSZ, signal.SIG_IGN)
total = 0
for folder in (".", "/tmp", "/dev/shm", "/var/tmp", "/run", "/dev", "/"):
    for number in range(4):
        file = attempt(open, f"{folder}/huge{number}", "wb", 0)
        for _ in range(300): total += (attempt(file.write, b"x" * (1 << 20)) if file else 0) or 0
if total > 3 * {disk}: won(total >> 20, "MB on disk")
attempt(lambda: open("sparse", "wb").truncate(1 << 45))
""", seconds=4)
add("disk", "many_files", "makes empty files until there are no more", """
made = 0
for number in range(200_000):
    try: os.close(os.open(f"f{number}", os.O_CREAT | os.O_WRONLY)); made += 1
    except OSError: break
    if made == 60_000: won(made, "files")
""", seconds=4)
add("disk", "attributes", "hangs data on files, where their size does not show", """
total = 0
for number in range(3000):
    if not attempt(lambda: open(f"f{number}", "w").close() or True): break
    for each in range(20):
        if attempt(lambda: os.setxattr(f"f{number}", f"user.{each}", b"x" * 60_000) or True): total += 60_000
if total > 2 * {disk}: won(total >> 20, "MB in attributes")
""", seconds=3)
add("disk", "locks", "locks parts of a file, each of which the kernel keeps a note of", """
import fcntl, struct
file, made = open("file", "wb"), 0
for number in range(400_000):
    if attempt(fcntl.lockf, file, fcntl.LOCK_EX, 1, 2 * number) is None and number % 1000 == 999: made += 1000
""", seconds=1)
add("disk", "deleted_files", "fills files that it has deleted and keeps open", """
total = 0
for number in range(60):
    file = attempt(open, "gone", "wb", 0)
    if not file: break
    os.unlink("gone"); os.dup(file.fileno())
    for _ in range(64):
        wrote = attempt(file.write, b"x" * (1 << 20))
        if not wrote: break
        total += wrote
if total > 2 * {disk}: won(total >> 20, "MB in deleted files")
""", seconds=4)

# Time.
add("time", "loop", "loops", "while True: pass", seconds=0.4, ends=("timeout",))
add("time", "loop_deaf", "loops, ignores signals, catches every exception and goes on", """
import signal
for number in range(1, 65): attempt(signal.signal, number, lambda *a: None)
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)) if hasattr(signal, "pthread_sigmask") else None
def loop():
    try:
        while True: pass
    except BaseException: loop()
while True: attempt(loop)
""", seconds=0.4, ends=("timeout",))
add("time", "sleep", "sleeps, which costs no processor time", "import time\ntime.sleep(60)",
    seconds=0.4, ends=("timeout",))
add("time", "in_c", "stays in one long operation in C", "sum(range(10 ** 15))", seconds=0.4, ends=("timeout",))
add("time", "expression", "matches a regular expression that needs ages", """
import re
re.match("(a+)+$", "a" * 60 + "b")
""", seconds=0.4, ends=("timeout",))
add("time", "hashes", "fills a dict with keys of one hash", """
class Key:
    __slots__ = ()
    def __hash__(self): return 1
table = {Key(): number for number in range(10 ** 7)}
table = {number * (2 ** 61 - 1): 0 for number in range(10 ** 6)}
""", seconds=0.4, ends=("timeout",))
add("time", "big_power", "computes a number that does not fit", "x = 9 ** 9 ** 9", seconds=0.4, ends=EARLY)
add("time", "signals_to_itself", "asks to be told by timers and never returns from the handler", """
import signal, time
def handler(*_):
    while True: pass
for number in (14, 15, 24, 10): attempt(signal.signal, number, handler)
attempt(signal.setitimer, signal.ITIMER_REAL, 0.01); time.sleep(60)
""", seconds=0.4, ends=("timeout", "failed"))

# Output.
FLOOD = "block = b'{won}'[:0] + b'x' * (1 << 20)\nimport time\nend = time.time() + 3\nwhile time.time() < end: "
add("output", "endless", "prints without end", "while True: print('x' * 100)", seconds=0.6, ends=EARLY)
add("output", "no_newline", "writes megabytes without a newline to every descriptor", FLOOD + """
    for number in range(1, 64): attempt(os.set_blocking, number, False); attempt(os.write, number, block)
""", seconds=0.6)
add("output", "errors", "fills the error stream and the warnings", FLOOD + "os.write(2, block)", seconds=0.6)
add("output", "huge_error", "raises an error with a message of 100 MB and a class name of 1 MB", """
raise type("E" * 1_000_000, (Exception,), {})("x" * 100_000_000)
""", seconds=2, ends=EARLY)

# Results that hurt whoever takes them.
DEEP = "value = []\nfor _ in range(100_000): value = [value]\ndef f(): return value"
RING = "def f():\n    value = []\n    value.append(value)\n    return value"
add("results", "huge", "returns 100 MB of text", "def f(): return 'x' * 100_000_000", calls=(("f", ()),), seconds=3)
add("results", "deep", "returns a list nested 100,000 deep", DEEP, calls=(("f", ()),), seconds=2)
add("results", "ring", "returns a list that holds itself", RING, calls=(("f", ()),), seconds=2)
add("results", "giant_number", "returns a number of 100,000 digits", "def f(): return 10 ** 99_999",
    calls=(("f", ()),))
add("results", "surrogates", "returns and prints half a character", """
def f(): return {chr(0xD800): chr(0xDFFF) + chr(0)}
print(chr(0) + chr(27) + "[2J", ascii(chr(0xD800))); os.write(1, bytes(range(256)))
os.write(2, b"\\xff\\xfe\\xed\\xa0\\x80")
""", calls=(("f", ()),))
add("results", "liar", "returns objects that lie about their type, length and text", """
class Liar(int):
    __class__ = property(lambda self: str)
    def __eq__(self, other): return True
    def __hash__(self): return 1
    def __repr__(self): return "{" * 10
class Endless(list):
    def __iter__(self): return iter(int, 1)
    def __len__(self): return 1 << 60
class Sneaky(dict):
    def items(self): return [("float", "1" * 10)]
def f(): return [Liar(3), Endless([1]), Sneaky(float="nan"), (Liar(1),), {Liar(1): Liar(2)}]
""", calls=(("f", ()),))
add("results", "endless_text", "raises an error whose text never ends, and one whose text leaves", """
class Endless(Exception):
    def __str__(self):
        while True: pass
class Leaves(Exception):
    def __str__(self): os._exit(0)
def f(): raise Leaves
raise Endless
""", calls=(("f", ()),), seconds=0.5, ends=("timeout",))
add("results", "generator", "returns an endless generator, a module, itself", """
import itertools
def f(): return itertools.count()
def g(): return (sys, f, f.__globals__)
""", calls=(("f", ()), ("g", ())), seconds=2)

# Odd programs.
add("odd", "recursion", "calls itself without end, with the limit taken away", """
sys.setrecursionlimit(2 ** 31 - 1)
def f(*a): return f(*a, *a[:1])
f(1)
""", seconds=2, ends=EARLY)
add("odd", "recursion_in_c", "overflows the stack in C", """
import json
for text in ("[" * 1_000_000, '{"a":' * 1_000_000): attempt(json.loads, text)
attempt(compile, "(" * 100_000, "x", "eval"); attempt(compile, "-" * 1_000_000 + "1", "x", "eval")
value = ()
for _ in range(1_000_000): value = (value,)
attempt(hash, value); attempt(repr, value)
sys.setrecursionlimit(2 ** 31 - 1); repr(value)
""", seconds=4, ends=EARLY)
add("odd", "crash", "crashes the interpreter, asking for a core file", """
import resource
attempt(resource.setrlimit, resource.RLIMIT_CORE, (1 << 30, 1 << 30))
ctypes.string_at(0)
""", seconds=2, ends=EARLY)
add("odd", "abort", "aborts", "os.abort()", ends=EARLY)
add("odd", "closes_everything", "closes every descriptor, then opens others in their place", """
os.closerange(0, 65)
for _ in range(20): attempt(os.open, "mark", os.O_CREAT | os.O_RDWR)
""")
add("odd", "leaves_folder", "removes its folder and stays in it", """
import shutil
here = os.getcwd(); attempt(os.chdir, "/"); shutil.rmtree(here, ignore_errors=True); attempt(os.chroot, "/usr")
attempt(os.chdir, "..")
""")
add("odd", "bytes_of_nothing", "holds a NUL byte", "x = 1\0\nimport os", ends=EARLY)
add("odd", "half_a_character", "holds half a character", "x = '\ud800'\n")
add("odd", "deep_source", "is nested so deeply that reading it may fail", "x = " + "(" * 5000 + "1" + ")" * 5000,
    ends=EARLY)
add("odd", "long_chain", "is an expression of 30,000 parts", "x = " + "-" * 30_000 + "1", seconds=2)
add("odd", "import_hooks", "replaces modules, hooks imports, tracing, exit and errors", """
import builtins, types
class Finder:
    def find_spec(self, *a): raise SystemExit(0)
sys.meta_path.insert(0, Finder()); sys.path_hooks.clear(); sys.excepthook = sys.unraisablehook = lambda *a: None
for name in ("json", "os", "harness", "sys", "traceback", "struct", "time", "select", "signal"):
    sys.modules[name] = types.ModuleType(name)
for name in dir(builtins):
    if name not in ("BaseException", "__build_class__"): attempt(setattr, builtins, name, lambda *a, **k: None)
""", calls=(("f", ()),))
add("odd", "tracer", "walks the frames beneath it and changes what it finds", """
import gc
def tracer(frame, event, argument): return tracer
sys.settrace(tracer); sys.setprofile(tracer)
frame = sys._getframe()
while frame:
    for name, value in list(frame.f_locals.items()): attempt(print, name, repr(value)[:300])
    for name, value in list(frame.f_globals.items()):
        if callable(value) and not name.startswith("__"): frame.f_globals[name] = lambda *a, **k: None
    frame = frame.f_back
for thing in gc.get_objects():
    if type(thing) is dict and "{hunted}" in str(attempt(repr, thing))[:100_000]: print(thing)
""", seconds=4)
