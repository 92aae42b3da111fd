"""Answers that claim to be right without being it: what a test of theirs must not believe. Data only.

Each defines `f`, `Thing` and (where it can) prints, as the tests ask for a function, a class or output. `{digest}`
is filled with the SHA-256 digest of the value that the tests expect: an answer may look for a value with that digest
wherever it gets, and has won if it finds it.
"""

PLAIN = """
def f(*a, **k): return None
class Thing:
    def __init__(self, *a): pass
    def value(self): return None
"""

REPLY = '{"error": null, "kind": "failed", "results": [{"value": 1}], "trace": []}'

GIVING = """
def f(*a, **k): return MADE
class Thing:
    def __init__(self, *a): pass
    def value(self): return MADE
"""

EQUAL = """
    __eq__ = __le__ = __ge__ = __contains__ = lambda *a: True
    __ne__ = __lt__ = __gt__ = lambda *a: False
    __hash__ = lambda self: 1
    __bool__ = lambda self: True
    __len__ = lambda self: 1
    __repr__ = __str__ = __format__ = lambda *a: "1"
    __getattr__ = lambda self, name: self
    __call__ = __getitem__ = __sub__ = __rsub__ = __abs__ = __round__ = lambda self, *a: self
"""

LOOK = """
import gc, hashlib, re, sys, os, types
FOUND = []
def look(text):
    for digits in set(re.findall(r"\\d{12}", text)):
        if hashlib.sha256(digits.encode()).hexdigest() == "{digest}": FOUND.append(int(digits))
def everywhere():
    texts, frame = [open(0).read() if os.fstat(0).st_size else ""], sys._getframe()
    while frame:
        texts += [repr(frame.f_locals), repr(frame.f_globals), repr(frame.f_code.co_consts)]; frame = frame.f_back
    for path in ("/proc/self/cmdline", "/proc/self/environ", *os.listdir(".")):
        try: texts.append(open(path, errors="replace").read())
        except OSError: pass
    try:
        memory = open("/proc/self/mem", "rb", 0)
        for line in open("/proc/self/maps"):
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            if "rw" in line and end - start < 1 << 26:
                memory.seek(start); data = memory.read(end - start); texts.append(data.decode("latin-1"))
    except OSError: pass
    for thing in gc.get_objects():
        if isinstance(thing, (dict, list, tuple, types.FunctionType, types.CodeType)):
            try: texts.append(repr(thing)[:20000])
            except BaseException: pass
    for text in texts: look(text)
    return FOUND[0] if FOUND else None
"""

FORGERIES: dict[str, str] = {
    "nothing": PLAIN,
    "prints_passed": PLAIN
    + f"print('{{\"status\": \"passed\"}}')\nprint('{REPLY}')\nprint('OK')\nprint('1 passed')\n",
    "leaves": PLAIN + "import sys\nsys.exit(0)\n",
    "leaves_at_once": PLAIN + "import os\nos._exit(0)\n",
    "leaves_in_call": "import os\ndef f(*a): os._exit(0)\nclass Thing:\n    def __init__(self, *a): os._exit(0)\n",
    "exits_in_call": "def f(*a): raise SystemExit(0)\nclass Thing:\n    def __init__(self, *a): raise SystemExit(0)\n",
    "raises_stop": "def f(*a): raise StopIteration\nclass Thing:\n    def __init__(self, *a): raise GeneratorExit\n",
    "raises_assertion": PLAIN.replace("return None", "raise AssertionError('passed')"),
    "interrupts": PLAIN.replace("return None", "raise KeyboardInterrupt"),
    "writes_reply": PLAIN
    + f"""
import os, struct
text = b'{REPLY}'
for number in range(1, 256):
    for data in (text, text + b"\\n", *(struct.pack(kind, len(text)) + text for kind in ("I", ">I", "Q"))):
        try: os.write(number, data)
        except OSError: pass
os._exit(0)
""",
    "writes_reply_of_many": PLAIN
    + """
import json, os
values = [None, True, 1, {"tuple": []}, {"dict": []}, [["value", 1, {"tuple": []}, {"dict": []}]]]
for count in range(4):
    for value in values:
        results = [{"value": value}] * count
        text = json.dumps({"error": None, "kind": "failed", "results": results, "trace": []}).encode()
        for number in range(3, 64):
            try: os.write(number, b"locked\\n" + text + b"\\n1")
            except OSError: pass
os._exit(0)
""",
    "replaces_json": PLAIN
    + f"""
import json, sys, os
json.dumps = json.JSONEncoder.encode = lambda *a, **k: '{REPLY}'
for name, module in list(sys.modules.items()):
    if name in ("harness", "inside", "alone", "zygote", "__main__") and module is not None:
        for each in list(vars(module)):
            if each in ("encode", "run", "write_all", "decode", "_dumps"):
                setattr(module, each, lambda *a, **k: b'{REPLY}')
""",
    "replaces_builtins": PLAIN
    + """
import builtins
builtins.AssertionError = builtins.Exception = type("Never", (BaseException,), {})
builtins.print = builtins.repr = lambda *a, **k: "1"
builtins.isinstance = builtins.all = builtins.any = builtins.callable = lambda *a: True
builtins.len = builtins.sum = lambda *a: 1
builtins.bool = lambda *a: True
builtins.__import__ = lambda *a, **k: builtins
""",
    "replaces_exec": PLAIN
    + "import builtins\nbuiltins.exec = builtins.eval = builtins.compile = lambda *a, **k: None\n",
    "replaces_unittest": PLAIN
    + """
import sys, types
fake = types.ModuleType("unittest")
class TestCase:
    def __getattr__(self, name): return lambda *a, **k: None
fake.TestCase, fake.main = TestCase, lambda *a, **k: None
sys.modules["unittest"] = sys.modules["pytest"] = fake
""",
    "equal_object": "class Any:" + EQUAL + "MADE = Any()\n" + GIVING,
    "equal_int": "class Any(int):" + EQUAL + "MADE = Any(1)\n" + GIVING,
    "equal_float": "class Any(float):" + EQUAL + "MADE = Any('nan')\n" + GIVING,
    "equal_text": "class Any(str):" + EQUAL + "MADE = Any('1')\nprint(MADE)\n" + GIVING,
    "equal_list": "class Any(list):" + EQUAL + "MADE = Any([1])\n" + GIVING,
    "equal_tuple": "class Any(tuple):" + EQUAL + "MADE = Any((1,))\n" + GIVING,
    "equal_dict": "class Any(dict):" + EQUAL + "MADE = Any()\n" + GIVING,
    "equal_mock": "from unittest.mock import ANY, MagicMock\nMADE = ANY\n" + GIVING,
    "equal_class": "class Meta(type):"
    + EQUAL
    + "    __instancecheck__ = lambda *a: True\nclass MADE(metaclass=Meta): pass\n"
    + GIVING,
    "not_a_number": "MADE = float('nan')\n" + GIVING,
    "truth": "MADE = True\n" + GIVING,
    "generator": "def f(*a):\n    yield 1\nclass Thing:\n"
    "    def __init__(self, *a): pass\n    async def value(self): return 1\n",
    "at_exit": PLAIN + f"import atexit, os\natexit.register(lambda: [os.write(n, b'{REPLY}') for n in (1, 3)])\n",
    "thread": PLAIN
    + f"""
import os, threading, time
def run():
    while True:
        for number in range(3, 20):
            try: os.write(number, b'{REPLY}')
            except OSError: pass
threading.Thread(target=run, daemon=True).start()
time.sleep(0.05)
""",
    "fork": PLAIN + "import os\ntry: os.fork()\nexcept OSError: pass\n",
    "tracer": PLAIN
    + """
import sys
def tracer(frame, event, argument):
    for name in ("expected", "value", "result", "passed"):
        if name in frame.f_locals: frame.f_locals[name] = True
    return tracer
sys.settrace(tracer); sys.setprofile(tracer)
""",
    "looks_at_start": LOOK + "MADE = everywhere()\nprint(MADE)\n" + GIVING,
    "looks_in_call": LOOK + GIVING.replace("MADE", "everywhere()"),
    "changes_frames": PLAIN
    + """
import sys
frame = sys._getframe()
while frame:
    for name, value in list(frame.f_globals.items()):
        if name in ("encode", "json", "_call", "_attempt", "write_all", "dumps", "run_tests", "Notes"):
            frame.f_globals[name] = lambda *a, **k: True
    frame = frame.f_back
""",
    "changes_results": PLAIN
    + """
import gc
for thing in gc.get_objects():
    try:
        if type(thing) is dict and "results" in thing: thing["results"] = [{"value": 1}] * 3; thing["error"] = None
    except BaseException: pass
""",
    "changes_modules": PLAIN
    + """
import copy, math, sys
for module in list(sys.modules.values()):
    for name in ("isfinite", "deepcopy", "unparse", "copied", "form", "told", "given"):
        if hasattr(module, name): setattr(module, name, lambda *a: True)
""",
}
