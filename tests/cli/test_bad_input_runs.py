"""Run folders that are damaged, held, foreign or full: told with the file, left as they are, and mended as told."""

import json
import resource
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from bench import Bench, Case, entries, parametrized, refused, sum_of, typed

from selfimprove.config import read_recipe
from selfimprove.store import Store

Act = Callable[[Path], object]
RUN, SHARD, ITEMS = "run own.yaml", "round-1/collect/rows-00000.jsonl", "round-1/evaluate/sums/rows-00000.jsonl"


def spoiled(name: str, words: str, spoil: Act, *says: str, instead: str = "", repair: Act | None = None) -> Case:
    """Return the case of a finished run folder that was spoiled; `instead` is what its sentence advises."""

    def act(bench: Bench) -> None:
        spoil(bench.run())

    mend = repair and (lambda bench: repair(bench.folder / "run"))
    return Case(name, act, words, says, mend, instead=instead)


def write(name: str, content: str | bytes) -> Act:
    return lambda run: (run / name).write_bytes(content.encode() if isinstance(content, str) else content)


def remove(*names: str) -> Act:
    return lambda run: [(run / name).unlink() for name in names]


def cut(name: str, last: int = 20) -> Act:
    return lambda run: (run / name).write_bytes((run / name).read_bytes()[:-last])


def flip(name: str, at: int = 40) -> Act:
    def act(run: Path) -> None:
        data = bytearray((run / name).read_bytes())
        data[at] ^= 1
        (run / name).write_bytes(data)

    return act


def both(*acts: Act) -> Act:
    return lambda run: [act(run) for act in acts]


def head(**values) -> Act:
    return lambda run: (run / "run.json").write_text(json.dumps(json.loads((run / "run.json").read_text()) | values))


def query(*statements: str) -> Act:
    """Return what changes a ledger by SQL."""

    def act(run: Path) -> None:
        with closing(sqlite3.connect(run / "ledger.sqlite")) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    return act


def overwrite(run: Path) -> None:
    data = bytearray((run / "ledger.sqlite").read_bytes())
    data[4096:12288] = b"\xff" * 8192
    (run / "ledger.sqlite").write_bytes(data)


def halve(run: Path) -> None:
    data = (run / "ledger.sqlite").read_bytes()
    (run / "ledger.sqlite").write_bytes(data[: len(data) // 2])


AHEAD = remove("round-1/learn.json", "round-1/evaluate.json")
UNCOLLECTED = both(query("PRAGMA wal_checkpoint(TRUNCATE)"), lambda run: shutil.rmtree(run / "round-1"))
DAMAGED = "the marker of a finished stage is damaged; redo the stage with --from 1/{0}, the ledger still holds"
CHECKSUM = r"run/round-1/\S+: changed or damaged since it was written .checksum.; redo it with --from 1/{0}"
AWAY = "move it away, with the -wal and -shm files beside it"


def aside(run: Path) -> None:
    for path in run.glob("ledger.sqlite*"):
        path.rename(run.parent / f"{path.name}.aside")


HEADS = [
    spoiled("run.json not JSON", RUN, cut("run.json"), "run/run.json: not valid JSON .*line",
            repair=remove("run.json")),
    spoiled("run.json a list", RUN, write("run.json", "[]"), r"run/run.json: expected a JSON object, found \[\]"),
    spoiled("format a word", RUN, head(format="x"), "format is 'x', so .* remove it", repair=remove("run.json")),
    spoiled("a newer version", RUN, head(format=99, version="9.9"), "written by version 9.9 .format 99.*upgrade"),
    spoiled("show a newer version", "show run", head(format=99, version="9.9"), "written by version 9.9 .*upgrade"),
    spoiled("saved recipe damaged", RUN, write("recipe.yaml", "method: {name"), "run/recipe.yaml line 1: .*restore it",
            repair=remove("recipe.yaml")),
    spoiled("saved recipe with a newer key", RUN, write("recipe.yaml", "newer: 1"),
            "recipe.yaml: .*no option 'newer'"),
    spoiled("saved recipe not UTF-8", RUN, write("recipe.yaml", b"a: \xff"),
            "run/recipe.yaml: not UTF-8 .*restore it"),
    spoiled("saved recipe empty", "show run", write("recipe.yaml", ""),
            "run/recipe.yaml: .*holds nothing.*restore it"),
    spoiled("changed key on resume", f"{RUN} seed=5", lambda r: None, "another recipe .seed: 0 -> 5.*Undo.*--from",
            instead=f"{RUN} seed=5 --from collect"),
    spoiled("changed option on resume", f"{RUN} method.samples=3", lambda r: None, "method.samples: None -> 3",
            instead=f"{RUN} method.samples=3 output=other"),
]  # fmt: skip
MARKERS = [
    spoiled("marker not JSON", RUN, cut("round-1/collect.json"),
            "collect.json: not valid.*" + DAMAGED.format("collect"),
            instead=f"{RUN} --from 1/collect"),
    spoiled("marker empty", RUN, write("round-1/learn.json", ""), "learn.json: not valid.*" + DAMAGED.format("learn"),
            instead=f"{RUN} --from 1/learn"),
    spoiled("marker of zeros", RUN, write("round-1/evaluate.json", b"\0" * 300), DAMAGED.format("evaluate"),
            instead=f"{RUN} --from 1/evaluate"),
    spoiled("marker not UTF-8", RUN, write("round-1/collect.json", b"\xff"),
            "not UTF-8.*" + DAMAGED.format("collect")),
    spoiled("marker a list", RUN, write("round-1/collect.json", "[]"),
            "expected a JSON.*" + DAMAGED.format("collect")),
    spoiled("marker without its keys", RUN, write("round-1/learn.json", "{}"), "names no.*" + DAMAGED.format("learn")),
    spoiled("show a damaged marker", "show run", cut("round-1/collect.json"), DAMAGED.format("collect")),
    spoiled("flipped byte in a shard", RUN, both(AHEAD, flip(SHARD)), CHECKSUM.format("collect"),
            instead=f"{RUN} --from 1/collect"),
    spoiled("torn line in a shard", RUN, both(AHEAD, cut(SHARD)), CHECKSUM.format("collect"),
            instead=f"{RUN} --from 1/collect"),
    spoiled("shard gone", RUN, both(AHEAD, lambda r: (r / SHARD).rename(r / "aside")), CHECKSUM.format("collect")),
    spoiled("show rows of a flipped shard", "show run --rows", flip(SHARD), CHECKSUM.format("collect")),
    spoiled("build from a flipped shard", "build own.yaml -o out", flip(SHARD), CHECKSUM.format("collect"),
            instead="build own.yaml -o out --from collect"),
]  # fmt: skip
ITEMS_OF = "round-1/evaluate/sums/rows-00000.jsonl"
LEDGERS = [
    spoiled("held-out items torn", "show run --rounds", cut(ITEMS_OF), CHECKSUM.format("evaluate")),
    spoiled("held-out items flipped", "show run --rounds", flip(ITEMS_OF, 3), CHECKSUM.format("evaluate"),
            instead=f"{RUN} --from 1/evaluate"),
    spoiled("ledger is no SQLite", RUN, write("ledger.sqlite", "hello " * 2000), "run/ledger.sqlite: .*not a database",
            AWAY, repair=aside),
    spoiled("ledger of a newer format", RUN, query("PRAGMA user_version = 99"), "newer version .format 99.*; upgrade"),
    spoiled("ledger of something else", RUN, query("DROP TABLE answers", "CREATE TABLE songs (a)"),
            "run/ledger.sqlite: a database of something else, not a ledger; name another file"),
    spoiled("ledger cut off", RUN, both(UNCOLLECTED, halve), "run/ledger.sqlite: .*malformed", AWAY, repair=aside),
    spoiled("ledger overwritten", RUN, both(UNCOLLECTED, overwrite), "run/ledger.sqlite: ", AWAY, repair=aside),
    spoiled("answer overwritten", RUN, both(UNCOLLECTED, query("UPDATE answers SET answer = '{'")),
            "run/ledger.sqlite: ",
            AWAY, repair=aside),
]  # fmt: skip
QUESTIONS = [
    spoiled("stage unknown", f"{RUN} --from lern", lambda r: None, "--from lern: a stage is one of collect"),
    spoiled("stage of a later round", f"{RUN} --from 7/learn", lambda r: None,
            "--from 7/learn: .*round 1 only; leave"),
    spoiled("unknown prompt id", "show run --samples q9-9", lambda r: None, "'q9-9'"),
    spoiled("rows of a later round", "show run --rows --round 7", lambda r: None, "round 7"),
    spoiled("why of a later round", "show run --why --round 7", lambda r: None, "round 7"),
    Case("show a folder that is no run", lambda b: None, "show .", (".: not a run folder",)),
    Case("show a file", lambda b: None, "show own.py", ("own.py: not a run folder",)),
    Case("show nothing", lambda b: None, "show nowhere", ("nowhere: not a run folder",)),
    Case("against no run", lambda b: None, "evaluate own.yaml --against .", ("no evaluation is there; name a run",)),
    spoiled("against a later round", "evaluate own.yaml --against run/round-8", lambda r: None,
            "run/round-8: no evalu"),
    spoiled("against other items", "evaluate own.yaml heldout.sums=train.jsonl prompts=held.jsonl --against run",
            lambda r: None, "the two evaluations hold different items .*evaluate both on the same"),
    spoiled("a file for a stage's folder", RUN, both(lambda r: shutil.rmtree(r / "round-1"), write("round-1", "x")),
            "run/round-1/collect: not a directory; a file is in the way", repair=remove("round-1")),
    Case("a file for the run folder", lambda b: b.file("run", "x"), RUN,
         ("run: .*cannot be written.*choose another",)),
]  # fmt: skip


@parametrized([*HEADS, *MARKERS, *LEDGERS, *QUESTIONS])
def test_bad_run_folder(case, bench, capsys):
    refused(case, bench, capsys)


def test_a_run_that_is_held_is_refused(bench, capsys):
    with Store("run").open(read_recipe("own.yaml")):
        case = Case("held", lambda b: None, RUN, (r"run: process \d+ on .* is working on this run; wait for it",))
        refused(case, bench, capsys)
    assert typed(RUN, capsys)[0] == 0


def test_what_a_crash_left_of_an_event_spoils_nothing(bench, capsys):
    run = bench.run()
    cut("events.jsonl")(run)
    assert typed("show run", capsys)[0] == 0
    assert typed(RUN, capsys)[0] == 0
    assert json.loads((run / "events.jsonl").read_text().splitlines()[-1])["event"] == "finished"
    assert "finished" in typed("show run", capsys)[1]


@pytest.mark.parametrize(("answered", "limit"), [(True, 36_000), (False, 60_000)], ids=["rows", "ledger"])
def test_a_full_disk_loses_nothing_and_the_same_command_goes_on(answered, limit, bench, capsys):
    """The limit of file sizes stands for the disk: the system refuses to write beyond it in the same way."""
    rows = [sum_of(i, j, prompt=f"What is {i} + {j}? {'Think. ' * 200}") for i in range(4) for j in range(8)]
    bench.rows("train.jsonl", rows)
    ledger = bench.folder / "run/ledger.sqlite"
    if answered:  # then only the rows grow
        assert typed(RUN, capsys)[0] == 0
        shutil.rmtree(bench.folder / "run/round-1")
    else:
        assert typed(f"{RUN} rounds=0", capsys)[0] == 0
    before = entries(ledger)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        code, _, errors = typed(RUN, capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert code == 2, errors
    assert "free some space" in errors and "Traceback" not in errors
    assert not (bench.folder / "run/round-1/collect.json").exists()
    kept = entries(ledger)
    assert before <= kept
    assert typed(RUN, capsys)[0] == 0
    assert kept <= entries(ledger)


def test_output_on_a_full_device_is_told(bench, capsys):
    (bench.folder / "out").mkdir()
    (bench.folder / "out/rows.jsonl").symlink_to("/dev/full")
    refused(
        Case("full", lambda b: b.run(), "build own.yaml -o out", ("no space left on device; free some space",)),
        bench,
        capsys,
    )
