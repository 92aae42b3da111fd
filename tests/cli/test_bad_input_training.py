"""Bad rows for `train --rows`: told before a trainer starts, with file and line."""

import json

from bench import METHOD, Bench, Case, parametrized, refused

from selfimprove.training.job import IDENTITY, RESULT

ASKED = [{"role": "user", "content": "What is 1 + 1?"}]
EXAMPLE = {"id": "a", "prompt": ASKED, "completion": "2"}
PAIR = {"id": "a", "prompt": ASKED, "chosen": "2", "rejected": "3"}
TRAIN, AT = "train own.yaml --rows rows.jsonl", "rows.jsonl line 2: "


def line(name: str, second: str, *says: str, kind: str = "sft") -> Case:
    """Return the case of two good rows with a bad line between them, for a method that makes rows of a kind."""
    good = PAIR if kind == "pairs" else EXAMPLE

    def spoil(bench: Bench) -> None:
        bench.file("rows.jsonl", f"{json.dumps(good)}\n{second}\n{json.dumps(good | {'id': 'c'})}\n")
        bench.file("own.py", METHOD.replace('"sft"', f'"{kind}"'))

    return Case(name, spoil, TRAIN, says)


def row(name: str, *says: str, kind: str = "sft", **values) -> Case:
    """Return the case of a row with other fields; a field set to ... is missing."""
    changed = {
        key: value for key, value in ((PAIR if kind == "pairs" else EXAMPLE) | values).items() if value is not ...
    }
    return line(name, json.dumps(changed), *says, kind=kind)


def file(name: str, content: str | bytes, *says: str, words: str = TRAIN, **more: str) -> Case:
    """Return the case of a whole file of rows, with other files beside it."""

    def spoil(bench: Bench) -> None:
        bench.file("rows.jsonl", content)
        for path, text in more.items():
            bench.file(path, text)

    return Case(name, spoil, words, says)


def finished_before(bench: Bench) -> None:
    """Lay the result of another training where the new one is to go."""
    bench.rows("rows.jsonl", [EXAMPLE])
    bench.file(f"out/{RESULT}", "{}")
    bench.file(f"out/{IDENTITY}", json.dumps({"kind": "sft", "rows": ["other"]}))
    bench.file("out/model/model.safetensors", "weights of hours")


NAN, INF = float("nan"), float("inf")
GOOD = json.dumps(EXAMPLE) + "\n"
CASES = [
    Case("rows file missing", lambda b: None, TRAIN, ("--rows rows.jsonl: no such file; `selfimprove build` writes",)),
    Case("rows is a folder", lambda b: None, "train own.yaml --rows .",
         ("--rows .: no such file; `selfimprove build",)),
    Case("no rows option", lambda b: None, "train own.yaml", ("--rows is missing: name the JSONL file",)),
    file("rows file empty", "", "--rows rows.jsonl: there are no rows to train on"),
    file("rows file of blank lines", "\n\n", "--rows rows.jsonl: there are no rows to train on"),
    file("rows not text", b"PAR1\xff\xfe", "rows.jsonl: not UTF-8 text, so no JSONL rows"),
    line("row is not JSON", '{"id": "b", "prompt"', AT + "not JSON"),
    line("row is a list", "[1]", AT + r"expected an object .*found \[1\]"),
    line("row is a number", "1", AT + "expected an object .*found 1"),
    line("half a character", GOOD.strip().replace('"2"', '"\\ud800"'), AT + "it holds half a character"),
    row("reward NaN", AT + "its reward is nan; it must be a number or null", reward=NAN),
    row("reward infinite", AT + "its reward is inf; it must be a number or null", reward=INF),
    row("reward a text", AT + "its reward is 'high'; it must be a number", reward="high"),
    row("weight NaN", AT + "its weight is nan; it must be a number of 0 or more", weight=NAN),
    row("weight negative", AT + "its weight is -1; it must be a number of 0 or more", weight=-1),
    row("weight a truth value", AT + "its weight is True; it must be a number", weight=True),
    row("weight nothing", AT + "its weight is None; it must be a number", weight=None),
    row("completion empty", AT + "its completion is empty, .*leave the row out", completion=" "),
    row("completion a list", AT + "its completion is empty", completion=[]),
    row("completion missing", AT + "an Example cannot be made of this row: it lacks completion", completion=...),
    row("prompt a text", AT + "its prompt is 'What.*it must be a list of messages", prompt="What is 1 + 1?"),
    row("prompt empty", AT + r"its prompt is \[\]; it must be a list of messages", prompt=[]),
    row("prompt without role", AT + "a message must be {'role'", prompt=[{"content": "a"}]),
    row("content a number", AT + "the content of a message must be text, not 3", prompt=[{"role": "user",
        "content": 3}]),
    row("unknown field", AT + "Example has no field 'complection'; did you mean 'completion'", complection="2"),
    line("a pair for an SFT recipe", json.dumps(PAIR), AT + "this is a pair, but .* trains on 'sft'; name other rows"),
    line("an example for a pairs recipe", json.dumps(EXAMPLE),
         AT + "this is an example, but .* trains on 'pairs'; name",
         kind="pairs"),
    row("chosen is rejected", AT + "chosen and rejected are the same text.*leave it out", kind="pairs", rejected="2"),
    row("rejected empty", AT + "its rejected is empty, .*leave the row out", kind="pairs", rejected=""),
    row("margin NaN", AT + "its margin is nan; it must be a number or null", kind="pairs", margin=NAN),
    file("output is a file", GOOD, "out: file exists; a file is in the way; choose another path",
         words=f"{TRAIN} -o out",
         out="x"),
    file("output where nobody may write", GOOD, "/proc/out: ", words=f"{TRAIN} -o /proc/out"),
    Case("output of another training", finished_before, f"{TRAIN} -o out",
         ("out: it holds the result of another train",)),
    file("method of steps", GOOD, "line 1: this is an example, but .* trains on 'steps'; name other rows", **{
        "own.py": METHOD.replace('"sft"', '"steps"')
    }),
]  # fmt: skip


@parametrized(CASES)
def test_bad_rows_to_train(case, bench, capsys):
    refused(case, bench, capsys)
