"""The run folder: what a run has done, in files a person can read.

    recipe.yaml           the resolved recipe
    run.json              format, version, what made it
    events.jsonl          one line per thing that happened
    ledger.sqlite         every request with its answer
    spending.json         seconds, tokens and money by stage
    round-0/evaluate/     held-out answers of the start model
    round-1/collect/      rows-00000.jsonl, skips.jsonl
    round-1/assemble/     rows-00000.jsonl, where the method looks at the whole data set
    round-1/learn/        the trainer's output: adapter or model, logs, token preview
    round-1/evaluate/     <set>/rows-00000.jsonl
    round-1/watch/        rows-00000.jsonl: a few answers drawn at temperature 1, for the drift watch
    round-1/collect.json  a stage marker: written last and atomically, with the checksums of its files
    model/                the last policy as a plain model

A stage without a marker never happened: it is redone, and the ledger answers what it had already asked.
"""

import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import yaml
from filelock import FileLock, Timeout

from selfimprove import __version__
from selfimprove.config import Recipe, differing_keys, fill, may_change, read_mapping, to_plain
from selfimprove.errors import ConfigError, DataError, did_you_mean
from selfimprove.files import file_digest, read_json, read_jsonl, to_line, write_json, write_text
from selfimprove.records import KINDS, Row, Skip, kind_of

FORMAT = 1
STAGES = ("collect", "assemble", "learn", "evaluate", "watch")


@dataclass(frozen=True)
class Rows:
    """A data set on disk: JSONL shards in order. Iterates over plain rows; `+` puts two behind each other.

    With a `kind` (see `of`) it holds only the rows of that kind.
    """

    files: tuple[Path, ...] = ()
    kind: str | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield one dict per line; raises DataError naming file and line where a line is torn."""
        for file in self.files:
            for row in read_jsonl(file):
                if self.kind is None or kind_of(row) == self.kind:
                    yield row

    def __len__(self) -> int:
        """Return the number of rows."""
        if self.kind is not None:
            return sum(1 for _ in self)
        return sum(1 for file in self.files for line in file.open("rb") if line.strip())

    def __add__(self, other: "Rows") -> "Rows":
        """Return both data sets, this one first; raises DataError where only one of them is of one kind."""
        if self.kind != other.kind:
            raise DataError(f"rows of kind {self.kind} and {other.kind} cannot be put together; choose a kind last")
        return Rows(self.files + other.files, self.kind)

    def of(self, kind: str) -> "Rows":
        """Return the rows of one kind (sft, pairs, steps) of a data set that holds several."""
        if kind not in KINDS:
            raise DataError(f"there are no rows of kind '{kind}'{did_you_mean(kind, KINDS)}")
        return Rows(self.files, kind)


class Lookup:
    """Finds the rows of a data set by the value of one column; only their places are held in memory."""

    def __init__(self, rows: Rows, column: str) -> None:
        """Read the data set once."""
        self._places: dict[Any, list[tuple[Path, int]]] = {}
        for file in rows.files:
            place = 0
            with file.open("rb") as lines:
                for row, line in zip(read_jsonl(file), lines, strict=True):
                    self._places.setdefault(row.get(column), []).append((file, place))
                    place += len(line)

    def find(self, value: Any) -> list[dict[str, Any]]:
        """Return the rows that have a value in the column, in their order."""
        found = []
        for path, place in self._places.get(value, ()):
            with path.open("rb") as file:
                file.seek(place)
                found.append(json.loads(file.readline()))
        return found


class RowWriter:
    """Writes rows into numbered shards of a folder; nothing counts until the stage marker stands."""

    def __init__(self, folder: Path, shard_rows: int = 10_000) -> None:
        """Start an empty data set in `folder`, removing what an unfinished stage had left there."""
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.jsonl"):
            old.unlink()
        self.folder, self.shard_rows = folder, shard_rows
        self.rows = 0
        self.skips: dict[str, int] = {}
        self._files: list[Path] = []
        self._shard: Any = None
        self._beside: dict[str, Any] = {}

    def write(self, row: Row | Mapping[str, Any]) -> None:
        """Append one row, or one Skip to skips.jsonl."""
        if isinstance(row, Skip):
            self.skips[row.reason] = self.skips.get(row.reason, 0) + 1
            self.keep("skips", row.to_row())
            return
        if self._shard is None or self.rows % self.shard_rows == 0:
            self._finish(self._shard)
            path = self.folder / f"rows-{self.rows // self.shard_rows:05d}.jsonl"
            self._shard = path.open("w", encoding="utf-8")
            self._files.append(path)
        self._shard.write(to_line(row.to_row() if isinstance(row, Row) else row))
        self.rows += 1

    def keep(self, name: str, row: Mapping[str, Any]) -> None:
        """Append one row to the file `name`.jsonl, which is no part of the data set."""
        if name not in self._beside:
            path = self.folder / f"{name}.jsonl"
            self._beside[name] = path.open("w", encoding="utf-8")
            self._files.append(path)
        self._beside[name].write(to_line(row))

    def close(self) -> list[Path]:
        """Make all files durable and return them, row shards first."""
        for file in (self._shard, *self._beside.values()):
            self._finish(file)
        self._shard, self._beside = None, {}
        return sorted(self._files, key=lambda file: (not file.name.startswith("rows-"), file))

    @staticmethod
    def _finish(file: Any) -> None:
        if file is not None:
            file.flush()
            os.fsync(file.fileno())
            file.close()


class Store:
    """One run folder, held by one process; use as a context manager.

    Raises ConfigError where another process holds the folder, where it was written by a newer version, or
    where the recipe differs from the one the run was started with (unless `redo` names a stage).
    """

    def __init__(self, folder: str | Path) -> None:
        """Name the folder; nothing is touched before `open`."""
        self.folder = Path(folder)
        self._lock = FileLock(self.folder / ".lock")

    def open(self, recipe: Recipe, redo: str | None = None) -> Self:
        """Take the folder for this process and check that it belongs to this recipe."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            owner = self.folder / ".owner"
            who = owner.read_text() if owner.exists() else "another process"
            raise ConfigError(
                f"{self.folder}: {who} is working on this run; wait for it or choose output=..."
            ) from None
        except OSError as error:
            problem = f"the run folder cannot be written: {error.strerror}; choose another output=..."
            raise ConfigError(f"{self.folder}: {problem}") from None
        (self.folder / ".owner").write_text(f"process {os.getpid()} on {socket.gethostname()}")
        try:
            self._check_or_begin(recipe, redo)
        except BaseException:
            self.close()
            raise
        return self

    def _check_or_begin(self, recipe: Recipe, redo: str | None) -> None:
        plain = to_plain(recipe)
        head = self.folder / "run.json"
        if not head.exists():
            write_json(head, {"format": FORMAT, "version": __version__, "created": _now()})
        self.head()
        saved = self.folder / "recipe.yaml"
        if saved.exists():
            before = to_plain(saved_recipe(self.folder))
            different = {key: values for key, values in differing_keys(before, plain).items() if not may_change(key)}
            if different and redo is None and any(self.folder.glob("round-*/*.json")):  # else there is nothing to mix
                what = "; ".join(f"{key}: {old!r} -> {new!r}" for key, (old, new) in list(different.items())[:8])
                raise ConfigError(
                    f"{self.folder}: this run was started with another recipe ({what}). Undo the change, choose "
                    "another output=..., or redo from a stage on with --from collect (learn, evaluate, 2/learn, ...)"
                )
        self._mend_events()
        if redo is not None:
            self.discard_from(redo)
        write_text(saved, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))

    def head(self) -> dict[str, Any]:
        """Return run.json; raises ConfigError where a newer version wrote the run, DataError where it is damaged."""
        found = read_json(self.folder / "run.json")
        if not isinstance(found.get("format"), int):
            raise DataError(
                f"{self.folder / 'run.json'}: format is {found.get('format')!r}, so the file is damaged; remove "
                "it, and the next run writes it anew"
            )
        if found["format"] > FORMAT:
            raise ConfigError(
                f"{self.folder}: written by version {found.get('version')} (format {found['format']}), which is newer "
                f"than this one ({__version__}); upgrade selfimprove or choose another output"
            )
        return found

    def close(self) -> None:
        """Let the folder go; safe to call twice."""
        if self._lock.is_locked:
            (self.folder / ".owner").unlink(missing_ok=True)
            self._lock.release()

    def __enter__(self) -> Self:
        """Return the open store."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Let the folder go."""
        self.close()

    def event(self, name: str, **values: Any) -> None:
        """Append one line to events.jsonl."""
        with (self.folder / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(to_line({"time": _now(), "event": name, **values}))

    def last_event(self, name: str) -> dict[str, Any]:
        """Return the newest event of a name, {} where there was none; a line that a killed process tore is none."""
        path, last = self.folder / "events.jsonl", dict[str, Any]()
        if path.is_file():
            with path.open(encoding="utf-8", errors="replace") as file:
                for line in file:
                    try:
                        event = json.loads(line)
                    except json.JSONDecodeError:
                        continue
                    if isinstance(event, dict) and event.get("event") == name:
                        last = event
        return last

    def _mend_events(self) -> None:
        """Take away a last line that a power cut tore, so that it spoils no other."""
        path = self.folder / "events.jsonl"
        if path.is_file() and path.stat().st_size:
            with path.open("rb+") as file:
                whole = file.read().rpartition(b"\n")
                if whole[2]:
                    file.truncate(len(whole[0]) + len(whole[1]))

    def round_folder(self, number: int) -> Path:
        """Return the folder of a round."""
        return self.folder / f"round-{number}"

    def stage_folder(self, number: int, stage: str) -> Path:
        """Return the folder of a stage's files."""
        return self.round_folder(number) / stage

    def finish(self, number: int, stage: str, files: Iterable[Path] = (), **values: Any) -> dict[str, Any]:
        """Write the marker of a stage with the checksums of its files, and return it."""
        folder = self.round_folder(number)
        sums = {str(file.relative_to(folder)): file_digest(file) for file in files}
        marker = {"finished": _now(), "files": sums, **values}
        write_json(folder / f"{stage}.json", marker)
        self.event("stage_finished", round=number, stage=stage, **values)
        return marker

    def rewrite(self, number: int, stage: str, marker: dict[str, Any]) -> None:
        """Replace the marker of a finished stage, where what is concluded from its files has changed."""
        write_json(self.round_folder(number) / f"{stage}.json", marker)

    def marker(self, number: int, stage: str) -> dict[str, Any] | None:
        """Return the marker of a finished stage, None where the stage has not finished.

        Raises DataError where the marker is damaged.
        """
        path = self.round_folder(number) / f"{stage}.json"
        if not path.exists():
            return None
        try:
            found = read_json(path)
            problem = "" if isinstance(found.get("files"), dict) else f"{path}: it names no files"
        except DataError as error:
            found, problem = {}, str(error)
        if problem:
            again = f"redo the stage with --from {number}/{stage}, the ledger still holds its answers"
            raise DataError(f"{problem}: the marker of a finished stage is damaged; {again}")
        return found

    def rows(self, number: int, stage: str | None = None) -> Rows:
        """Return what a round trained on (assembled rows where there are any, else collected ones), or a stage's rows.

        Raises DataError where a file no longer has the checksum in its stage's marker.
        """
        stage = stage or ("assemble" if self.marker(number, "assemble") else "collect")
        marker = self.marker(number, stage)
        if marker is None:
            raise DataError(f"{self.round_folder(number)}: round {number} has no rows yet")
        return Rows(tuple(file for file in self.files(number, stage) if file.name.startswith("rows-")))

    def files(self, number: int, stage: str) -> list[Path]:
        """Return the files of a stage, none where it has not finished.

        Raises DataError where a file no longer has the checksum in the stage's marker.
        """
        folder = self.round_folder(number)
        sums = (self.marker(number, stage) or {"files": {}})["files"]
        for name, expected in sums.items():
            if not (folder / name).exists() or file_digest(folder / name) != expected:
                raise DataError(
                    f"{folder / name}: changed or damaged since it was written (checksum); "
                    f"redo it with --from {number}/{stage}, the ledger still holds its answers"
                )
        return [folder / name for name in sums]

    def discard_from(self, stage: str) -> None:
        """Move a stage and all later ones to replaced/<time>/; `collect` means 1/collect, `2/learn` round 2's.

        Raises ConfigError where there is no such stage.
        """
        number, _, name = stage.rpartition("/")
        if name not in STAGES or (number and not number.isdigit()):
            raise ConfigError(f"--from {stage}: a stage is one of {', '.join(STAGES)}, or 2/{STAGES[0]} for round 2's")
        first = int(number or (0 if name == "evaluate" else 1))
        begun = [int(path.name[6:]) for path in self.folder.glob("round-*") if path.name[6:].isdigit()]
        if begun and first > max(begun):
            raise ConfigError(
                f"--from {stage}: {self.folder} has come to round {max(begun)} only; leave --from away to go on there"
            )
        attic = self.folder / "replaced" / datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
        for at in begun:
            folder = self.round_folder(at)
            kept = STAGES[: STAGES.index(name)] if at == first else STAGES if at < first else ()
            for later in STAGES:
                if later in kept:
                    continue
                for item in (folder / f"{later}.json", folder / later):
                    if item.exists():
                        target = attic / folder.name / item.name
                        target.parent.mkdir(parents=True, exist_ok=True)
                        item.rename(target)
        self.event("discarded", stage=stage, moved_to=str(attic.relative_to(self.folder)))


def saved_recipe(folder: str | Path) -> Recipe:
    """Return the recipe of a run folder; raises ConfigError where the folder holds no run."""
    path = Path(folder) / "recipe.yaml"
    if not path.is_file():
        raise ConfigError(f"{folder}: not a run folder (it has no recipe.yaml)")
    try:
        return fill(Recipe, read_mapping(path), str(path))
    except ConfigError as error:
        raise ConfigError(
            f"{error} (the run's own copy of its recipe is damaged: restore it, or remove it if yours is the same)"
        ) from None


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")
