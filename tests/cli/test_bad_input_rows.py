"""Bad prompts and held-out items: told with file and line, before anything is sampled."""

import json
import os
import subprocess
import sys

import pytest
from bench import Bench, Case, parametrized, refused, sum_of, typed

ROWS = [sum_of(i, j) for i in range(2) for j in range(4)]
HELD = [sum_of(i, 9) for i in range(3)]
AT = "train.jsonl line 3: "


def line(name: str, third: str | bytes, *says: str) -> Case:
    """Return the case of a prompts file whose third line is bad, repaired by a good one."""

    def spoil(bench: Bench) -> None:
        good = [json.dumps(row).encode() for row in ROWS]
        good[2] = third if isinstance(third, bytes) else third.encode()
        bench.file("train.jsonl", b"\n".join(good) + b"\n")

    return Case(name, spoil, "validate own.yaml", says, lambda bench: bench.rows("train.jsonl", ROWS))


def row(name: str, *says: str, **values) -> Case:
    """Return the case of a prompts file whose third row has other fields; a field set to ... is missing."""
    changed = {key: value for key, value in (ROWS[2] | values).items() if value is not ...}
    return line(name, json.dumps(changed), *says)


def talk(name: str, *says: str, messages) -> Case:
    """Return the case of a row with messages instead of a prompt."""
    return row(name, *says, prompt=..., messages=messages)


def whole(name: str, content: str | bytes, *says: str, file: str = "train.jsonl", **keys) -> Case:
    """Return the case of a whole file that is bad."""

    def spoil(bench: Bench) -> None:
        bench.file(file, content)
        bench.set(**({"prompts": file} | keys))

    def repair(bench: Bench) -> None:
        bench.rows("train.jsonl", ROWS)
        bench.set(prompts="train.jsonl", heldout={"sums": "held.jsonl"})

    return Case(name, spoil, "validate own.yaml", says, repair)


def held(name: str, rows: list, *says: str) -> Case:
    """Return the case of held-out items that are bad, repaired by good ones."""

    def spoil(bench: Bench) -> None:
        bench.rows("held.jsonl", rows)

    return Case(name, spoil, "run own.yaml", says, lambda bench: bench.rows("held.jsonl", HELD), "round-0/evaluate")


LINES = [
    line("malformed JSON", '{"id": "a", "prompt": "What', AT + "not valid JSON: .*each line is one JSON object"),
    line("a line that is no object", '["What is 1 + 1?", "2"]', AT + "expected a JSON object .*found"),
    line("a line that is a number", "7", AT + "expected a JSON object .*'7'"),
    line("Latin-1 bytes", b'{"prompt": "caf\xe9", "gold": "1"}', AT + "not UTF-8 .*byte 16.*save the file as UTF-8"),
    line("a NUL byte", b'{"prompt": "a\x00b", "gold": "1"}', AT + "not valid JSON: Invalid control character"),
    line("NaN as gold", '{"prompt": "What?", "gold": NaN}', AT + ".*NaN is no JSON value; write a number"),
    line("Infinity as gold", '{"prompt": "What?", "gold": -Infinity}', AT + ".*-Infinity is no JSON value; write"),
    line("NaN in meta", '{"prompt": "1 + 1", "gold": "2", "meta": {"x": NaN}}', AT + ".*NaN is no JSON value; write"),
    line("half a character", '{"prompt": "1 \\ud800", "gold": "2"}', AT + r"\\ud800 is half a character.*remove it"),
    line("nested too deeply", "[" * 100_000, AT + "not valid JSON: nested too deeply"),
    row("no prompt", AT + "no field 'prompt' or 'messages'; the row has id, gold", prompt=...),
    row("prompt is a number", AT + "prompt must be text or a list of messages, not 7", prompt=7),
    row("prompt and messages", AT + "both .*keep one", messages=[{"role": "user", "content": "a"}]),
    row("unknown field", AT + "unknown field 'golld'; did you mean 'gold'", golld="4"),
    row("gold is a list", AT + r"gold must be text or a number, not \['4'\]", gold=["4"]),
    row("gold is a truth value", AT + "gold must be text or a number, not True", gold=True),
    row("solution is an object", AT + "solution must be text or a number, not {", solution={"text": "a"}),
    talk("messages without role", AT + "messages: a message must be {'role'", messages=[{"content": "a"}]),
    talk("content is a list", AT + ".*the content of a message must be", messages=[{"role": "user", "content": [1]}]),
    talk("messages is a text", AT + "messages must be a list of messages, not 'a'", messages="a"),
    talk("no user", AT + "'messages' holds no user .*only system", messages=[{"role": "system", "content": "a"}]),
    talk("unknown role", AT + "'messages' holds no user .*only human", messages=[{"role": "human", "content": "a"}]),
    talk("no messages", AT + "'messages' holds no user message", messages=[]),
    row("empty prompt", AT + "'prompt' holds no user message with text in it; write a question", prompt=""),
    row("white-space prompt", AT + "'prompt' holds no user message .*or leave the row out", prompt=" \n\t "),
    row("meta is a text", AT + "meta must be an object, not 'x'", meta="x"),
    row("unknown verifier in a row", AT + "there is no verifier 'anwser'; did you mean 'answer'", verifier="anwser"),
    row("gym verifier without its task", "prompt q0-2: the verifier 'gym' needs meta", verifier="gym"),
    row("id used twice", "prompts: train.jsonl: the id 'q0-0' of prompt 3 was already used .*must differ", id="q0-0"),
    row("id is a list", AT + "id must be text or a number, not", id=[1]),
    row("a row that lacks its gold answer", "prompt q0-2 has no gold, which .*needs; add it, or leave", gold=...),
]
ONE = '{"q": "1 + 1", "gold": "2"}'
FILES = [
    whole("empty file", "", "train.jsonl: the file is empty; it needs"),
    whole("a file of blank lines", "\n\n  \n", "own.yaml: prompts: train.jsonl: there are no prompts"),
    whole("prompts file missing", "", "own.yaml: prompts: no such file: trian.jsonl; tried .*mean 'train.jsonl'",
          file="other", prompts="trian.jsonl"),
    whole("held-out file missing", "", "own.yaml: heldout.sums: no such file: hold.jsonl; .*did you mean 'held.jsonl'",
          file="other", prompts="train.jsonl", heldout={"sums": "hold.jsonl"}),
    whole("prompts is a folder", "{}", "folder: this is a folder, .*name a file in it", file="folder/data.jsonl",
          prompts="folder"),
    whole("unknown file ending", "a b", "train.txt: cannot read .*known: .jsonl, .json, .csv", file="train.txt"),
    whole("no file ending", "a b", "train: its name has no ending; known: .jsonl", file="train"),
    whole("JSON file of one object", '{"prompt": "a"}', "train.json: a .json file .* is one list", file="train.json"),
    whole("JSONL called JSON", ONE + "\n" + ONE, "train.json: .*one object a line is called", file="train.json"),
    whole("CSV row too short", "prompt,gold\na,1\nb\n", "train.csv line 3: .*2 columns of the", file="train.csv"),
    whole("CSV quote never closed", 'prompt,gold\na,1\n"b,2\n', "train.csv line 3: .*is a quote never closed",
          file="train.csv"),
    whole("CSV with another header", "question,answer\na,1\n", "train.csv line 2: unknown field 'question'.*columns:",
          file="train.csv"),
    whole("CSV of a header only", "prompt,gold\n", "prompts: train.csv: there are no prompts", file="train.csv"),
    whole("CSV with a NUL byte", "prompt,gold\na\x00,1\n", "train.csv line 2: it holds a NUL byte", file="train.csv"),
    whole("parquet that is none", "PAR1 not really", "train.parquet: not a parquet file", file="train.parquet"),
    whole("parquet cut off", b"PAR1\x15\x04\x15", "train.parquet: not a parquet file", file="train.parquet"),
    whole("UTF-16 file", '{"prompt": "a"}\n'.encode("utf-16"), "train.jsonl line 1: not UTF-8 text .*save the file"),
    whole("slice behind the end", ONE.replace("q", "prompt"), "train.jsonl: there are no prompts in slice '5:'",
          prompts={"path": "train.jsonl", "slice": "5:"}),
    whole("column that is not there", ONE, "line 1: no field 'question' .named by columns.prompt.; .*q, gold",
          prompts={"path": "train.jsonl", "columns": {"prompt": "question"}}),
    whole("instruction without its place", ONE, "own.yaml: prompts: instruction is 'Answer:'; it must hold {prompt}",
          prompts={"path": "train.jsonl", "instruction": "Answer:"}),
]  # fmt: skip
HELD_OUT = [
    held("held-out item is trained on", [ROWS[0] | {"id": "h0"}], "held-out .*h0 = prompt q0-0.; take them out"),
    held(
        "held-out item is trained on in other words", [sum_of(0, 0, prompt="what is  0 + 0")], "held-out .*take them"
    ),
    held("no held-out items", [], "held.jsonl: the file is empty"),
    held(
        "held-out item without gold", [sum_of(i, 9, gold=None) for i in range(3)], "cannot grade 3 of 11 gold answers"
    ),
    held(
        "gold that cannot be graded",
        [sum_of(i, 9, gold="3/0") for i in range(3)],
        "prompt q0-9, gold '3/0': .*validate",
    ),
]


@parametrized([*LINES, *FILES, *HELD_OUT])
def test_bad_rows(case, bench, capsys):
    refused(case, bench, capsys)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + b"\n".join(json.dumps(row).encode() for row in ROWS),
        b"".join(json.dumps(row).encode() + b"\r\n" for row in ROWS),
        b"\n\n" + b"\n\n".join(json.dumps(row).encode() for row in ROWS),
    ],
    ids=["byte order mark", "CRLF", "blank lines"],
)
def test_what_is_odd_but_clear_is_read(content, bench, capsys):
    bench.file("train.jsonl", content)
    code, out, errors = typed("validate own.yaml", capsys)
    assert code == 0, errors
    assert "counted   8 prompts" in out


def test_a_prompt_longer_than_the_context_is_a_counted_skip(bench, capsys):
    rows = [*ROWS, sum_of(2, 2, prompt="What is 2 + 2? " + "Think well. " * 200)]
    bench.rows("train.jsonl", rows)
    bench.set(engine={"name": "scripted", "max_model_len": 100})
    code, out, errors = typed("run own.yaml", capsys)
    assert code == 0, errors
    assert "8 rows from 9 prompts; skipped: engine_error 1" in out
    code, out, errors = typed("show run --why", capsys)
    assert "q2-2" in out and "max_model_len is 100" in out


@pytest.mark.parametrize(("heldout", "told"), [({"sums": "held.jsonl"}, "held-out set 'sums'"), ({}, "round 1: all")])
def test_where_every_prompt_is_longer_than_the_context_the_run_says_so_and_finishes_nothing(
    heldout, told, bench, capsys
):
    bench.rows("train.jsonl", [row | {"prompt": row["prompt"] + " Think well." * 100} for row in ROWS])
    bench.rows("held.jsonl", [row | {"prompt": row["prompt"] + " Think well." * 100} for row in HELD])
    bench.set(engine={"name": "scripted", "max_model_len": 100}, heldout=heldout)
    says = (told, "max_model_len is 100", "nothing was finished: mend")
    refused(Case("all too long", lambda b: None, "run own.yaml", says, unfinished="round-1/collect"), bench, capsys)
    bench.set(engine={"name": "scripted"})
    assert typed("run own.yaml", capsys)[0] == 0


@pytest.mark.slow
def test_a_hub_set_without_network_is_one_sentence(bench):
    """In a process of its own: whether there is a network is looked up once, when the library is loaded."""
    bench.set(prompts="nobody/no-such-set")
    done = subprocess.run(
        [sys.executable, "-m", "selfimprove.cli.main", "validate", "own.yaml"],
        capture_output=True, text=True, check=False, timeout=120, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr
    told = done.stderr.splitlines()[-1]
    assert told.startswith("DataError: data set nobody/no-such-set [train] cannot be loaded from the hub")
    assert "is there a network? A local file is given as {path: file.jsonl}" in told
