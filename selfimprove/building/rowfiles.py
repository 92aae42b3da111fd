"""Row files of the data tools: read again and again, and written whole or not at all.

JSONL is written line by line; parquet and Arrow by batches of 10,000 rows, with the schema of the file the rows came
from, or else one that fits all of them (two passes over a spool beside the target).
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from selfimprove.building.texts import batches
from selfimprove.errors import ConfigError, DataError
from selfimprove.files import read_jsonl, to_line
from selfimprove.sources.files import read_rows

BATCH = 10_000
ENDINGS = (".jsonl", ".parquet", ".arrow")


class RowFile:
    """The rows of a .jsonl, .parquet, .arrow, .json or .csv file or a `datasets` folder, streamed anew each time."""

    def __init__(self, path: Path, check: Callable[[dict[str, Any]], object] | None = None) -> None:
        """Name the file; `check` raises DataError for a row that is not usable, and gets the place put before it.

        Raises DataError where there is no such file.
        """
        if not path.exists():
            raise DataError(f"{path}: no such file")
        self.path, self._check = path, check

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the rows; raises DataError naming file and line."""
        rows = _read_arrow(self.path) if self.path.suffix == ".arrow" else read_rows(self.path, "train")
        for place, row in rows:
            if self._check is not None:
                try:
                    self._check(row)
                except DataError as error:
                    raise DataError(f"{place}: {error}") from None
            yield row
        self._check = None  # once is enough

    def schema(self) -> Any:
        """Return the Arrow schema of a parquet or Arrow file, None for others."""
        if self.path.suffix == ".parquet":
            from pyarrow import parquet

            return parquet.read_schema(self.path)
        return _open_arrow(self.path).schema if self.path.suffix == ".arrow" else None


class RowSink:
    """Writes rows to a file that appears, complete, when the `with` block ends well; else nothing appears."""

    def __init__(self, path: Path, schema: Any = None, force: bool = False) -> None:
        """Name the file; raises ConfigError where it is there already (unless `force`) or its ending is unknown."""
        if path.suffix not in ENDINGS:
            raise ConfigError(f"{path}: cannot write files that end in '{path.suffix}'; known: {', '.join(ENDINGS)}")
        if path.exists() and not force:
            raise ConfigError(f"{path} is there already; choose another name, or --force")
        self.path, self.rows = path, 0
        self._schema = schema if path.suffix != ".jsonl" else None
        self._part = path.with_name(f".{path.name}.{os.getpid()}")
        self._spool = self._part.with_name(self._part.name + ".spool")
        self._file: Any = None
        self._table: Any = None
        self._batch: list[Mapping[str, Any]] = []

    def __enter__(self) -> Self:
        """Open the temporary file beside the target."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._schema is not None:
                self._table = _TableFile(self._part, self.path.suffix, self._schema, self.path)
            else:
                place = self._part if self.path.suffix == ".jsonl" else self._spool
                self._file = place.open("w", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be written: {error.strerror or error}") from None
        return self

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one row; raises DataError where the format cannot hold it."""
        self.rows += 1
        if self._table is None:
            try:
                self._file.write(to_line(row))
            except TypeError as error:
                raise DataError(f"{self.path}: row {self.rows} cannot be written: {error}; write .parquet") from None
            return
        self._batch.append(row)
        if len(self._batch) == BATCH:
            self._table.write(self._batch)
            self._batch = []

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Put the file in its place, or remove what there is of it."""
        try:
            if kind is None:
                self._complete()
                self._part.replace(self.path)
        finally:
            for closing in (self._file, self._table):
                if closing is not None:
                    with suppress(OSError, ValueError):
                        closing.close()
            self._part.unlink(missing_ok=True)
            self._spool.unlink(missing_ok=True)

    def _complete(self) -> None:
        if self._table is not None:
            self._table.write(self._batch)
            self._table.close()
        else:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            if self.path.suffix != ".jsonl":
                table = _TableFile(self._part, self.path.suffix, _common_schema(self._spool, self.path), self.path)
                for batch in batches(read_jsonl(self._spool), BATCH):
                    table.write(batch)
                table.close()
        with self._part.open("rb") as file:
            os.fsync(file.fileno())


class _TableFile:
    """A parquet or Arrow file that is written batch by batch."""

    def __init__(self, part: Path, suffix: str, schema: Any, named: Path) -> None:
        import pyarrow
        from pyarrow import parquet

        self._schema, self._named = schema, named
        kind = parquet.ParquetWriter if suffix == ".parquet" else pyarrow.RecordBatchFileWriter
        self._writer = kind(str(part), schema)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        import pyarrow

        if not rows:
            return
        try:
            self._writer.write_table(pyarrow.Table.from_pylist(rows, schema=self._schema))
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
            raise _unfit(self._named, error) from None

    def close(self) -> None:
        self._writer.close()


def _common_schema(spool: Path, named: Path) -> Any:
    """Return a schema that fits all rows: fields that some rows lack may be null, whole numbers become decimals."""
    import pyarrow

    schema = pyarrow.schema([])
    for batch in batches(read_jsonl(spool), BATCH):
        try:
            found = pyarrow.Table.from_pylist([{name: None for row in batch for name in row}, *batch]).schema
            schema = pyarrow.unify_schemas([schema, found], promote_options="permissive")
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
            raise _unfit(named, error) from None
    kept = [(field, _without_hollow(field.type)) for field in schema]
    return pyarrow.schema([field.with_type(kind) for field, kind in kept if kind is not None])


def _without_hollow(kind: Any) -> Any:
    """Return a type without structs that have no field, which parquet cannot hold; None for such a struct itself."""
    import pyarrow

    if not pyarrow.types.is_struct(kind):
        return kind
    inner = [(field, _without_hollow(field.type)) for field in kind]
    kept = [field.with_type(found) for field, found in inner if found is not None]
    return pyarrow.struct(kept) if kept else None


def _unfit(path: Path, error: Exception) -> DataError:
    problem = str(error).splitlines()[0][:200]
    return DataError(f"{path}: the rows do not fit one table ({problem}); write .jsonl, where each row is its own")


def _open_arrow(path: Path) -> Any:
    import pyarrow
    from pyarrow import ipc

    try:
        return ipc.open_file(pyarrow.memory_map(str(path)))
    except pyarrow.ArrowInvalid:
        pass
    try:
        return ipc.open_stream(pyarrow.memory_map(str(path)))  # as `datasets` writes it
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{path}: not an Arrow file: {str(error).splitlines()[0]}") from None


def _read_arrow(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = _open_arrow(path)
    count = getattr(reader, "num_record_batches", None)
    found = reader if count is None else (reader.get_batch(number) for number in range(count))
    number = 0
    for batch in found:
        for start in range(0, batch.num_rows, 512):
            for row in batch.slice(start, 512).to_pylist():
                number += 1
                yield f"{path} row {number}", row
