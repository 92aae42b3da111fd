"""Bad recipes and bad command lines: each is told in one sentence before anything starts, and nothing is lost."""

from bench import Bench, Case, parametrized, refused, typed


def wrong(name: str, *says: str, verb: str = "validate own.yaml", **values) -> Case:
    """Return the case of recipe keys with wrong values, repaired by putting the old ones back."""
    before: dict = {}

    def spoil(bench: Bench) -> None:
        before.update({key: bench.recipe.get(key, ...) for key in values})
        bench.set(**values)

    return Case(name, spoil, verb, ("own.yaml", *says), lambda bench: bench.set(**before))


def text(name: str, content: str | bytes, *says: str) -> Case:
    """Return the case of a recipe file with other content."""

    def spoil(bench: Bench) -> None:
        bench.file("own.yaml", content)

    return Case(name, spoil, "validate own.yaml", says, lambda bench: bench.set())


def typed_wrong(name: str, words: str, *says: str) -> Case:
    """Return the case of a good recipe and a bad command line."""
    return Case(name, lambda bench: None, words, says)


GOOD = "method: own.py\nprompts: train.jsonl\n"
FILES = [
    text("YAML syntax error", "method: own.py\nprompts: [train.jsonl\nrounds: 1\n", "own.yaml line 3: not valid YAML"),
    text("key twice", GOOD + "rounds: 1\nrounds: 2\n", "own.yaml line 4: .*key 'rounds' stands twice"),
    text("tab indentation", "method:\n\tname: own.py\n", "own.yaml line 2: .*indent with spaces, not with tabs"),
    text("recipe is a list", "- method: own.py\n", "own.yaml: .* mapping .* holds a list"),
    text("recipe is a text", "method\n", "own.yaml: .* mapping .* holds a text"),
    text("empty recipe", "", "own.yaml: .* mapping .* holds nothing"),
    text("only comments", "# nothing\n", "own.yaml: .* mapping .* holds nothing"),
    text("two documents", GOOD + "---\n" + GOOD, "own.yaml line 3: .*another document"),
    text("python object", GOOD + "seed: !!python/object/apply:os.getpid []\n", "own.yaml line 3: .*os.getpid"),
    text("not UTF-8", "prompts: caf\u00e9.jsonl\n".encode("latin-1"), "own.yaml: not UTF-8 text"),
    text("NUL byte", GOOD + "seed: \x00\n", r"own.yaml line 3: .*'\\x00' may not stand there; remove it"),
    text("recursive alias", "method: &m {name: own.py, samples: *m}\nprompts: a\n", "own.yaml: method: samples is"),
    text("unknown anchor", "method: *m\nprompts: train.jsonl\n", "own.yaml line 1: .*undefined alias 'm'"),
]
METHOD = [
    wrong("unknown key", "no option 'promts'; did you mean 'prompts'", promts="train.jsonl"),
    wrong("no method", "'method' is missing", method=...),
    wrong("no prompts", "'prompts' is missing .*where the training prompts come from", prompts=...),
    wrong("unknown method", "no method 'rafft'; did you mean 'raft'", method={"name": "rafft"}),
    wrong("method without name", "method needs a name, for example", method={"samples": 3}),
    wrong("method is a number", "method is 7: .*mapping", method=7),
    wrong("method name is a list", "no method .*did you mean 'raft'", method={"name": ["raft"]}),
    wrong("unknown method option", "no option 'sampels'; did you mean", method={"name": "own.py", "sampels": 3}),
    wrong("method option mistyped", "samples is 'many': .*integer", method={"name": "own.py", "samples": "many"}),
    wrong("method value out of range", "samples .0. .*must be at least 1", method={"name": "raft", "samples": 0}),
    wrong("unknown engine", "no engine 'vlm'; did you mean 'vllm'", engine={"name": "vlm"}),
    wrong("unknown engine option", "'scripted' has no option 'skil'; did", engine={"name": "scripted", "skil": 1}),
    wrong("engine is nothing", "engine is empty: .*mapping", engine=None),
    wrong("engine file missing", "there is no file 'mine.py'; name one of", engine={"name": "mine.py"}),
]
NUMBERS = [
    wrong("rounds: two", "rounds is 'two': .*integer", rounds="two"),
    wrong("rounds negative", "rounds is -1; it cannot be negative", rounds=-1),
    wrong("rounds nothing", "rounds is empty: .*integer", rounds=None),
    wrong("seed with a fraction", "seed is 1.5: .*integer", seed=1.5),
    wrong("window 0", "collect.window is 0; it must be at least 1", collect={"window": 0}),
    wrong("shard_rows 0", "collect.shard_rows is 0; it must be at least 1", collect={"shard_rows": 0}),
    wrong("prompts_per_round 0", "prompts_per_round is 0; it must be at least 1", prompts_per_round=0),
    wrong("evaluate.max_tokens 0", "evaluate.max_tokens is 0; it must", evaluate={"max_tokens": 0}),
    wrong("evaluate.samples negative", "evaluate.samples is -1; it cannot be", evaluate={"samples": -1}),
    wrong("evaluate.limit negative", "evaluate.limit is -1; it must be at least 1", evaluate={"limit": -1}),
    wrong("evaluate.limit 0", "evaluate.limit is 0; it must be at least 1", evaluate={"limit": 0}),
    wrong("temperature negative", "evaluate.temperature is -1", evaluate={"temperature": -1, "samples": 2}),
    wrong("budget of no tokens", "budget.max_tokens is 0; it must be at least 1", budget={"max_tokens": 0}),
]
CHOICES = [
    wrong("section is a number", "collect: expected a mapping of options, found 3", collect=3),
    wrong("on_failure unknown", "on_failure is 'go'; allowed: stop, skip", collect={"on_failure": "go"}),
    wrong("export unknown", "export is 'gguf'; allowed: merged, adapter", export="gguf"),
    wrong("dedup unknown", "hygiene.dedup is 'all'; allowed: null, exact, near", hygiene={"dedup": "all"}),
    wrong("watch limit unknown", "limits.tokens: .*no option 'most'", watch={"limits": {"tokens": {"most": 3}}}),
    wrong("on_breach unknown", "on_breach is 'panic'; allowed: stop", watch={"on_breach": "panic"}),
    wrong("heldout is a list", "heldout is .*mapping", heldout=["held.jsonl"]),
    wrong("heldout nothing", "heldout is empty: .*mapping", heldout=None),
    wrong(
        "held-out set named like a path", "heldout.../outside: .*write one without '/'", heldout={"../outside": "a"}
    ),
    wrong("unknown verifier", "prompts: .*'anwser'; did", prompts={"path": "train.jsonl", "verifier": "anwser"}),
    wrong("unknown source key", "prompts: .*'colums'; did you", prompts={"path": "train.jsonl", "colums": {}}),
    wrong("unknown held-out source key", "heldout.sums: .*'pth'; did", heldout={"sums": {"pth": "held.jsonl"}}),
    wrong("unknown named set", "heldout.sums: .*'gsm9k'; did you mean", heldout={"sums": {"name": "gsm9k"}}),
    wrong("prompts is a number", "prompts is 7", prompts=7),
    wrong("slice of no rows", "prompts: slice '5:2' holds no rows", prompts={"path": "train.jsonl", "slice": "5:2"}),
    Case("ledger is a folder", lambda b: b.set(ledger="."), "run own.yaml", ("ledger: unable.*name a file",)),
]
TRAIN = [
    wrong("unknown trainer option", "train has no option 'learning_rte'; did you mean", train={"learning_rte": 1e-3}),
    wrong("trainer option mistyped", "learning_rate is 'fast'; expected float", train={"learning_rate": "fast"}),
    wrong("trainer option not finite", "is nan; expected a finite number", train={"learning_rate": float("nan")}),
    wrong("trainer option decided elsewhere", "train.output_dir cannot be set: the run", train={"output_dir": "x"}),
    wrong("unknown lora option", "train.lora has no option 'rnk'; known: .* and .* more", train={"lora": {"rnk": 3}}),
    wrong("lora is a number", "train.lora is 8; write a mapping", train={"lora": 8}),
    wrong("unknown accelerate config", "'zero4': .*did you mean 'zero3'", train={"accelerate": "zero4"}),
    wrong("accelerate file missing", "accelerate is 'mine.yaml': there is no", train={"accelerate": "mine.yaml"}),
    wrong("train_by_round 0", "names round 0; rounds count from 1", train_by_round={0: {}}),
    wrong("train_by_round of a word", "train_by_round is .*'first'.*integer", train_by_round={"first": {}}),
    wrong("unknown option in train_by_round", "no option 'learning_rte'", train_by_round={2: {"learning_rte": 1}}),
]
WORDS = [
    typed_wrong("no such recipe", "run owm.yaml", "owm.yaml: no such recipe; did you mean 'own.yaml'"),
    typed_wrong("shipped recipe mistyped", "run quick/rafft", "no such recipe; did you mean 'quick/raft'"),
    typed_wrong(
        "recipe is a directory", "run .", "this is a folder, not a recipe; name a file in it, for example own"
    ),
    typed_wrong("override without =", "validate own.yaml rounds", "'rounds' is not an override; write key=value"),
    typed_wrong("override without key", "validate own.yaml =3", "'=3' is not an override; write key=value"),
    typed_wrong("override into a number", "validate own.yaml rounds.more=3", "'rounds' holds 1, so it has no option"),
    typed_wrong("override into a path", "validate own.yaml prompts.slice=0:2", "'prompts' holds a text, so it has"),
    typed_wrong("override of no option", "validate own.yaml method.sampels=4", "'sampels'; did you mean 'samples'"),
    typed_wrong("override that is not YAML", "validate own.yaml 'method.samples=[4'", "method.samples=.4' line 1"),
    typed_wrong("unknown stage", "run own.yaml --from train", "--from train: a stage is one of collect, assemble"),
    typed_wrong("unknown engine of a flag", "run own.yaml --engine scriptd", "'scriptd'; did you mean 'scripted'"),
    typed_wrong("unknown method asked for", "methods rafft", "no method 'rafft'; did you mean 'raft'"),
    typed_wrong("unknown recipe to show", "recipes show quick/rafft", "did you mean 'quick/raft'"),
    typed_wrong(
        "copy over a file", "recipes cp quick/raft own.yaml", "own.yaml is there already; choose another name"
    ),
    typed_wrong("copy below a file", "recipes cp quick/raft own.py/a.yaml", "own.py: file exists; .*choose another"),
    typed_wrong("output below a file", "run own.yaml output=own.py/run", "own.py/run: .*cannot be written.*choose"),
    typed_wrong(
        "output where nobody may write", "run own.yaml output=/proc/run", "/proc/run: .*cannot.*choose another"
    ),
    typed_wrong(
        "build into a file", "build own.yaml -o own.py", "--output own.py: a file is in the way; name a folder"
    ),
    typed_wrong("evaluate into a file", "evaluate own.yaml -o own.py", "--output own.py: a file is in the way; name"),
    typed_wrong("nothing to evaluate", "evaluate --model model", "nothing to evaluate: give a recipe, or"),
    typed_wrong("evaluate by no recipe", "evaluate owm.yaml", "no such recipe; did you mean 'own.yaml'"),
    typed_wrong("evaluate by a folder", "evaluate .", "this is a folder, not a recipe"),
    typed_wrong("evaluate on what is not YAML", "evaluate own.yaml --data '{gym: a'", "--data line 1: not valid YAML"),
]


@parametrized([*FILES, *METHOD, *NUMBERS, *CHOICES, *TRAIN, *WORDS])
def test_bad_recipe(case, bench, capsys):
    refused(case, bench, capsys)


def test_a_recipe_can_be_corrected_where_the_run_has_finished_nothing_yet(bench, capsys):
    """A first mistake (a missing file, an engine that dies) must not tie the run folder to the wrong recipe."""
    good = dict(bench.recipe)
    for values in (
        {"prompts": "trian.jsonl"},
        {"model": "./modle"},
        {"engine": {"name": "scripted", "dies_after": 0}},
    ):
        bench.set(**values)
        assert typed("run own.yaml", capsys)[0] == 2
        bench.recipe = dict(good)
    bench.set()
    assert typed("run own.yaml", capsys)[0] == 0
