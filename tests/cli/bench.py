"""A bench with a small good run on it, and what must hold when one thing on it is spoiled.

`refused` runs a command line in this process and holds it to the promise of `errors.py`: one sentence with the
exit code 2, and nothing lost.
"""

import json
import re
import shlex
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from selfimprove.cli.main import main
from selfimprove.files import file_digest

METHOD = '''"""Own: keep the right answers. Paper: none."""
from dataclasses import dataclass
from selfimprove.records import Example, Skip

NEEDS, MAKES = {"gold"}, "sft"

@dataclass(frozen=True)
class Config:
    """Options."""

    samples: int = 2  # answers

async def collect(cfg, run, prompt):
    samples = await run.sample(prompt, cfg.samples, temperature=0.7)
    failed = [s.error for s in samples if s.error]
    if failed:
        return [Skip(prompt.id, "engine_error", failed[0])]
    right = [s for s in samples if (await run.check(prompt, s.text)).score == 1]
    return [Example.of(prompt, (right or samples)[0].text, reward=float(bool(right)), round=run.round)]

async def learn(cfg, run, rows):
    return run.policy
'''
KINDS = ("ConfigError", "DataError", "EngineError", "JudgeError", "MethodError", "OSError", "SandboxError",
         "TrainError")  # fmt: skip
LONGEST = 700
"""Characters of a sentence that a person still reads."""

PASSING = {".lock", ".owner", "ledger.sqlite-wal", "ledger.sqlite-shm", "spending.json"}
"""Files that come and go while a run works, and the account of what it spends."""


@dataclass
class Bench:
    """A folder with a method, prompts, held-out items, a model and the recipe `own.yaml` that uses them."""

    folder: Path
    model: Path
    finished: Path
    recipe: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def lay(self) -> "Bench":
        """Write all files of the bench, all of them good."""
        self.file("own.py", METHOD)
        self.rows("train.jsonl", [sum_of(i, j) for i in range(2) for j in range(4)])
        self.rows("held.jsonl", [sum_of(i, 9) for i in range(3)])
        self.set(
            method={"name": "own.py"}, model=str(self.model), prompts="train.jsonl", heldout={"sums": "held.jsonl"},
            engine={"name": "scripted"}, rounds=1, output="run", watch={"prompts": 0},
        )  # fmt: skip
        return self

    def set(self, **values: Any) -> None:
        """Change keys of the recipe; a key set to ... is removed."""
        self.recipe = {key: value for key, value in (self.recipe | values).items() if value is not ...}
        self.file("own.yaml", yaml.safe_dump(self.recipe, sort_keys=False))

    def file(self, name: str, content: str | bytes) -> Path:
        """Write a file, byte for byte."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def rows(self, name: str, rows: list[Any]) -> Path:
        """Write a JSONL file."""
        return self.file(name, "".join(json.dumps(row) + "\n" for row in rows))

    def run(self) -> Path:
        """Put a finished run of this very recipe on the bench."""
        return Path(shutil.copytree(self.finished, self.folder / "run", ignore=shutil.ignore_patterns(".lock")))


def sum_of(i: int, j: int, **values: Any) -> dict[str, Any]:
    """Return the row of one addition."""
    return {"id": f"q{i}-{j}", "prompt": f"What is {i} + {j}?", "gold": str(i + j), **values}


Act = Callable[[Bench], Any]


@dataclass(frozen=True)
class Case:
    """One bad input: how it is made, the command line as a user types it, what its sentence must say.

    `says` are regular expressions: what is wrong with its value, where it stands, what to do. After `repair` the
    same command must succeed; `instead` is another command line that the sentence itself advises, and that must
    succeed. No marker may stand for the stage `unfinished`.
    """

    name: str
    spoil: Act
    words: str
    says: tuple[str, ...]
    repair: Act | None = None
    unfinished: str = ""
    instead: str = ""

    def __str__(self) -> str:
        return self.name


def parametrized(cases: list[Case]) -> pytest.MarkDecorator:
    """Return the mark that makes a test of every case."""
    names = [case.name for case in cases]
    assert len(names) == len(set(names)), "two cases have one name"
    return pytest.mark.parametrize("case", cases, ids=names)


def refused(case: Case, bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Spoil the bench, run the command, and hold it to everything that is promised."""
    case.spoil(bench)
    before = snapshot(bench.folder)
    code, out, errors = typed(case.words, capsys)
    told = (errors.strip().splitlines() or [""])[-1]
    assert "Traceback" not in out + errors, errors
    assert code == 2, (code, out, errors)
    assert told.startswith(tuple(f"{kind}: " for kind in KINDS)), errors
    said = [line for line in errors.splitlines() if line.startswith(KINDS)]
    assert len(said) == 1, f"more than one sentence: {said}"
    assert len(told) <= LONGEST, f"{len(told)} characters: {told}"
    for pattern in case.says:
        assert re.search(pattern, told), f"{pattern!r} is not in: {told}"
    nothing_lost(before, snapshot(bench.folder), bench.folder)
    if case.unfinished:
        assert not (bench.folder / "run" / f"{case.unfinished}.json").exists()
    if case.repair is not None:
        case.repair(bench)
    if case.repair is not None or case.instead:
        code, out, errors = typed(case.instead or case.words, capsys)
        assert code == 0, f"after the repair: {errors}"


def typed(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run a command line; return exit code, standard output and standard error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(shlex.split(words))
    captured = capsys.readouterr()
    return int(stopped.value.code or 0), captured.out, captured.err


def snapshot(folder: Path) -> dict[str, Any]:
    """Return the content of every file of a folder: bytes, or for files that may grow what is in them."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "ledger.sqlite":
            found[name] = entries(path)
        elif path.is_file() and path.name not in PASSING and "__pycache__" not in name:
            found[name] = path.read_bytes()
    return found


def entries(path: Path) -> frozenset[tuple[str, str]] | bytes:
    """Return (key, answer) of all that a ledger holds; its bytes where it is none."""
    with TemporaryDirectory() as copy:  # looking must not change it
        for part in path.parent.glob(f"{path.name}*"):
            shutil.copyfile(part, Path(copy) / part.name)
        try:
            with closing(sqlite3.connect(Path(copy) / path.name)) as connection:
                return frozenset(connection.execute("SELECT key, answer FROM answers").fetchall())
        except sqlite3.Error:
            return path.read_bytes()


def nothing_lost(before: dict[str, Any], after: dict[str, Any], folder: Path) -> None:
    """Assert that all files of before are still there, whole, and that nothing half-written came beside them."""
    for name, content in before.items():
        assert name in after, f"{name} is gone"
        now = after[name]
        if isinstance(content, frozenset):
            assert isinstance(now, frozenset) and content <= now, f"{name} lost answers"
        elif Path(name).name == "events.jsonl":
            assert now.startswith(content), f"{name} was changed"
        else:
            assert now == content, f"{name} was changed"
    for name in sorted(set(after) - set(before)):
        path = Path(name)
        assert not re.match(r"\..+\.\d+$", path.name), f"{name} is half a file"
        if path.parent.name.startswith("round-") and path.suffix == ".json":
            marker = json.loads(after[name])
            for file, expected in marker["files"].items():
                assert file_digest(folder / path.parent / file) == expected, f"{name} vouches for another {file}"
