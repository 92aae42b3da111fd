"""Methods, scripts and engines of one's own that do not work: told with file and line, and nothing is collected."""

from dataclasses import replace

from bench import METHOD, Bench, Case, parametrized, refused

HEAD = METHOD.partition("async def collect")[0]
COLLECT, LEARN = "round-1/collect", "round-1/learn"


def method(name: str, source: str | bytes, *says: str, unfinished: str = "") -> Case:
    """Return the case of a method file with other content, repaired by the good one."""

    def spoil(bench: Bench) -> None:
        bench.file("own.py", source)

    words = "run own.yaml" if unfinished else "validate own.yaml"  # what can be told without a run is told by both
    return Case(name, spoil, words, says, lambda bench: bench.file("own.py", METHOD), unfinished)


def swap(name: str, old: str, new: str, *says: str, unfinished: str = "") -> Case:
    """Return the case of the good method with one part changed."""
    assert old in METHOD
    return method(name, METHOD.replace(old, new), *says, unfinished=unfinished)


def body(name: str, lines: str, *says: str, mended: bool = True) -> Case:
    """Return the case of a method whose collect has another body."""
    source = f"{HEAD}\nasync def collect(cfg, run, prompt):\n" + "".join(f"    {line}\n" for line in lines.split("; "))
    case = method(name, source, *says, unfinished=COLLECT)
    return case if mended else replace(case, repair=None)


def gives(name: str, value: str, *says: str) -> Case:
    """Return the case of a method whose collect returns something odd."""
    return body(name, f"from selfimprove.records import Pair; return {value}", *says, mended=False)


def engine(name: str, file: str, source: str | bytes, options: dict, *says: str) -> Case:
    """Return the case of an engine with a file that is bad, repaired by the good engine."""

    def spoil(bench: Bench) -> None:
        bench.file(file, source)
        bench.set(engine=options)

    words = "run own.yaml" if name.startswith("answer ") else "validate own.yaml"
    return Case(name, spoil, words, says, lambda bench: bench.set(engine={"name": "scripted"}))


def script(name: str, source: str, *says: str, **options) -> Case:
    return engine(name, "answers.py", source, {"name": "scripted", "script": "answers.py"} | options, *says)


def answers(name: str, source: str | bytes, *says: str) -> Case:
    return engine(name, "answers.jsonl", source, {"name": "scripted", "answers": "answers.jsonl"}, *says)


def mine(name: str, source: str, *says: str) -> Case:
    return engine(name, "mine.py", source, {"name": "mine.py"}, *says)


AT, MEND = "own.yaml: method: own.py ", ".*mend"
FILES = [
    Case("method file missing", lambda b: b.set(method="mine.py"), "run own.yaml",
         ("own.yaml: there is no method file mine.py in /.*; correct method.name",)),
    method("syntax error", METHOD + "\ndef broken(:\n", AT + "line 24: SyntaxError" + MEND),
    method("text never closed", '"""Own', AT + "line 1: SyntaxError: unterminated" + MEND),
    method("source with a NUL byte", METHOD.encode() + b"\0", "own.py.*SyntaxError: .*null bytes" + MEND),
    method("source not UTF-8", b'"""caf\xe9"""\n' + METHOD.encode(), AT + "line 1: SyntaxError: .*utf-8" + MEND),
    method("imports what is not there", "import nonesuch\n" + METHOD, AT + "line 1: ModuleNotFoundError: .*nonesuch"),
    method("raises when loaded", METHOD + "\nraise RuntimeError('not today')\n", AT + "line 24: RuntimeError"),
    method("exits when loaded", METHOD + "\nimport sys\nsys.exit(0)\n", AT + "line 25: SystemExit" + MEND),
    method("empty file", "", "own.yaml: method 'own.py' has no NEEDS; see docs/adding-a-method.md"),
    method("without collect", HEAD, "method 'own.py' has neither collect nor collect_all; see docs"),
    swap("without NEEDS", "NEEDS, MAKES = {\"gold\"}, ", "MAKES = ", "method 'own.py' has no NEEDS; see docs"),
    swap("makes what is unknown", '"sft"', '"stf"', "method 'own.py' makes 'stf'; did you mean 'sft'"),
    swap("makes a list", '"sft"', '["sft"]', r"method 'own.py' makes \['sft'\]"),
    swap("needs what no prompt has", '{"gold"}', '{"glod"}', "method 'own.py' needs {'glod'}; .*mean 'gold'"),
    swap("needs a text", '{"gold"}', '"gold"', "method 'own.py' needs 'gold'; write a set of fields"),
    swap("Config is no dataclass", "@dataclass(frozen=True)\n", "", "Config of method 'own.py' is no dataclass; wri"),
    swap("Config without a default", "samples: int = 2", "samples: int", "own.yaml: method: 'samples' is missing"),
    swap("Config that refuses", "  # answers", "\n    def __post_init__(self): raise ValueError('samples is odd')",
         "own.yaml: method: samples is odd"),
    method("collect is no coroutine", HEAD + "def collect(cfg, run, prompt):\n    return []\n",
           "collect of method 'own.py' is no coroutine; write `async def collect`"),
    swap("collect takes other arguments", "(cfg, run, prompt)", "(cfg, run)", r"takes \(cfg, run\), but is given 3"),
]  # fmt: skip
BODIES = [
    body("collect raises", "raise KeyError('votes')", "own.py line 15: KeyError: 'votes' .*prompt 'q0-0'.*mend it"),
    body("collect divides by zero", "return [1 / 0]", "own.py line 15: ZeroDivisionError" + MEND),
    body("collect recurses", "async def f(): return await f(); return await f()", "own.py line 15: RecursionError"),
    body("unknown option of sample", "return await run.sample(prompt, temprature=1)", "line 15: .*'temprature'"),
    body("collect trains", "return await run.train('sft', None)", "only a method's learn may train"),
    gives("collect returns None", "None", "collect of own.py returned None; it must return a list of Example"),
    gives("collect returns a text", "'a row'", "returned 'a row'; it must return a list"),
    gives("collect returns a number", "3", "returned 3; it must return a list"),
    gives("collect returns one row", "Example.of(prompt, 'a')", "returned Example.*; it must return a list"),
    gives("collect returns mappings", "[{'completion': 'a'}]", "returned {.* among its rows; a row is Example"),
    gives("collect returns a list of None", "[None]", "returned None among its rows; a row is Example or Skip"),
    gives("rows of another kind", "[Pair.of(prompt, 'a', 'b')]", "returned Pair.* among its rows; a row is Example"),
    gives("samples for rows", "await run.sample(prompt, 1)", "returned Sample.* among its rows; a row is Example"),
    gives("pair of equals", "[Pair.of(prompt, 'a', 'a')]", "prompt q0-0: chosen and rejected are the same text 'a'"),
    gives("empty completion", "[Example.of(prompt, ' ')]", "a row whose completion is ' '; .*return Skip.prompt.id"),
    gives("completion of bytes", "[Example.of(prompt, b'a')]", "a row whose completion is b'a'; .*return Skip"),
    gives("reward NaN", "[Example.of(prompt, 'a', reward=float('nan'))]", "row 'q0-0' holds a number .*not finite"),
    gives("reward infinite", "[Example.of(prompt, 'a', reward=1e999)]", "row 'q0-0' holds a number .*not finite"),
    gives("what JSON cannot hold", "[Example.of(prompt, 'a', meta={'x': {1}})]", "row 'q0-0' cannot be written"),
    gives("half a character", "[Example.of(prompt, chr(0xD800))]", "row 'q0-0' holds half a character"),
    swap("learn returns nothing", "return run.policy", "return None", "learn of own.py returned None; it must",
         unfinished=LEARN),
    swap("learn raises", "return run.policy", "raise OSError('no luck')", "own.py line 22: OSError: no luck" + MEND,
         unfinished=LEARN),
    method("assemble raises", METHOD + "\ndef assemble(cfg, rows):\n    raise ValueError('odd')\n",
           "own.py line 25: ValueError: odd" + MEND, unfinished=LEARN),
    method("assemble returns nothing", METHOD + "\ndef assemble(cfg, rows):\n    return None\n",
           "assemble of own.py returned None; it must return rows", unfinished=LEARN),
    method("assemble yields numbers", METHOD + "\ndef assemble(cfg, rows):\n    return iter([1])\n",
           "assemble of own.py gave 1; a row is a mapping or a record", unfinished=LEARN),
    method("collect_all returns nothing", HEAD + "\nasync def collect_all(cfg, run, prompts):\n    return None\n",
           "collect_all of own.py returned None; it must return a list", unfinished=COLLECT),
]  # fmt: skip
MAKE = "from dataclasses import dataclass\n@dataclass\nclass Config:\n    pass\ndef make(config):\n"
ENGINES = [
    engine("script missing", "other.py", "", {"name": "scripted", "script": "answers.py"},
           "own.yaml: engine 'scripted': script is 'answers.py': there is no such file"),
    script("script with a syntax error", "def answer(request, seed:\n", "answers.py line 1: SyntaxError" + MEND),
    script("script without answer", "x = 1\n", r"answers.py has no function answer\(request, seed\)"),
    script("script that cannot be loaded", "import nonesuch\n", "answers.py line 1: ModuleNotFoundError" + MEND),
    script("answer raises", "def answer(request, seed):\n    return 1 / 0\n", "answers.py line 2: ZeroDivisionError"),
    script("answer is no text", "def answer(request, seed):\n    return 7\n", "returned 7; it must return a text"),
    script("script and answers", "", "'answers' and 'script' exclude each other; remove one", answers={"*": ["a"]}),
    Case("engine dies", lambda b: b.set(engine={"name": "scripted", "dies_after": 5}), "run own.yaml",
         ("engine died after 5 requests", "prompt q0-"), unfinished=COLLECT),
    engine("answers missing", "other", "", {"name": "scripted", "answers": "answers.jsonl"},
           "engine 'scripted': answers is 'answers.jsonl': No such file"),
    answers("answers not JSON", '{"prompt": "a", "answers": ["1"]}\n{"prompt":', "answers.jsonl line 2: each line"),
    answers("answers without their fields", '{"question": "a"}\n', "answers.jsonl line 1: each line must be"),
    answers("answers not UTF-8", b"\xff\xfe", "answers.jsonl: not UTF-8 text; save the file as UTF-8"),
    answers("no answers", "\n", "answers.jsonl: it holds no answers"),
    mine("engine with a syntax error", "def make(:\n", "own.yaml: mine.py line 1: SyntaxError" + MEND),
    mine("engine without make", "x = 1\n", "mine.py has no 'Config'; an engine file needs Config and make"),
    mine("engine whose Config is odd", "class Config:\n    pass\nmake = Config\n", "Config in mine.py is no datacl"),
    mine("engine whose make raises", MAKE + "    raise RuntimeError('no')\n", "mine.py line 6: RuntimeError" + MEND),
]  # fmt: skip


@parametrized([*FILES, *BODIES, *ENGINES])
def test_bad_method(case, bench, capsys):
    refused(case, bench, capsys)
