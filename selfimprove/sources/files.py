"""Rows of files and data sets, one at a time, each with the words that say where it stands."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfimprove.errors import DataError, did_you_mean
from selfimprove.resources import shipped_file
from selfimprove.sources.schema import FILE_ENDINGS

Rows = Iterator[tuple[str, dict[str, Any]]]


def find(path: str, folder: Path | None, where: str) -> Path:
    """Return the existing path: as given (from the working directory), beside the recipe, among the shipped files.

    Raises DataError that names every place tried.
    """
    given = Path(path).expanduser()
    places = [given] if given.is_absolute() or folder is None else [given, folder / given]
    places = list({place.absolute(): place for place in places}.values())
    for place in places:
        if place.exists():
            return place
    shipped = shipped_file(given)
    if shipped is not None:
        return shipped
    tried = " and ".join(str(place.absolute()) for place in places)
    before = f"{where}: " if where else ""
    raise DataError(f"{before}no such file: {path}; tried {tried}{_near(places)}")


def _near(places: list[Path]) -> str:
    """Return a hint at a file of nearly the same name beside one of the places."""
    for place in places:
        names = [file.name for file in place.parent.iterdir()] if place.parent.is_dir() else []
        hint = did_you_mean(place.name, names)
        if hint.startswith("; did"):
            return hint
    return ""


def read_rows(path: Path, split: str) -> Rows:
    """Yield (place, row) of a file or a folder written by `datasets`; JSON arrays alone are read at once.

    Raises DataError naming file and line for what cannot be read.
    """
    if path.is_dir():
        return _datasets_folder(path, split)
    readers = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}
    if path.suffix not in readers:
        ending = f"cannot read files that end in '{path.suffix}'" if path.suffix else "its name has no ending"
        raise DataError(f"{path}: {ending}; known: {', '.join(FILE_ENDINGS)}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty; it needs at least one row")
    return readers[path.suffix](path)


def read_hub(name: str, subset: str | None, split: str) -> Rows:
    """Yield (place, row) of a hub data set, streamed; raises DataError where it cannot be had."""
    from datasets import load_dataset

    try:
        rows = load_dataset(name, name=subset, split=split, streaming=True)
        for number, row in enumerate(rows, 1):
            yield f"{name} [{split}] row {number}", dict(row)
    except (OSError, ValueError, RuntimeError) as error:  # not found, no such split, no network
        raise DataError(
            f"data set {name} [{split}] cannot be loaded from the hub: {_first_line(error)}; is the name right, is "
            "there a network? A local file is given as {path: file.jsonl}"
        ) from None


def _jsonl(path: Path) -> Rows:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            place = f"{path} line {number}"
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{place}: not UTF-8 text (byte {error.start + 1} of the line); save the file as UTF-8"
                ) from None
            if not text:
                continue
            try:
                row = json.loads(text, parse_constant=_refuse_constant)
            except (ValueError, RecursionError) as error:
                raise DataError(
                    f"{place}: not valid JSON: {_json_problem(error)}; each line is one JSON object"
                ) from None
            yield place, _object(row, place, text)


def _json(path: Path) -> Rows:
    try:
        text = path.read_text(encoding="utf-8-sig")
        data = json.loads(text, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start + 1}); save the file as UTF-8") from None
    except (ValueError, RecursionError) as error:
        hint = "; one object a line is called .jsonl" if "Extra data" in str(error) else ""
        raise DataError(f"{path}: not valid JSON: {_json_problem(error)}{hint}") from None
    if not isinstance(data, list):
        raise DataError(f"{path}: a .json file of prompts is one list of objects; one object a line is called .jsonl")
    for number, row in enumerate(data, 1):
        place = f"{path} row {number}"
        yield place, _object(row, place, text)


def _csv(path: Path) -> Rows:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey="\0more", strict=True)
        try:
            for row in reader:
                place = f"{path} line {reader.line_num}"
                if any("\0" in value for value in row.values() if isinstance(value, str)):
                    raise DataError(f"{place}: it holds a NUL byte, so it is no text; save the file as UTF-8")
                if "\0more" in row or None in row.values():
                    raise DataError(
                        f"{place}: the row does not have the {len(reader.fieldnames or [])} columns of the header"
                    )
                yield place, dict(row)
        except csv.Error as error:
            hints = {"unexpected end": "; is a quote never closed?", "field larger": "; .jsonl takes longer texts"}
            hint = next((hint for words, hint in hints.items() if words in str(error)), "")
            raise DataError(f"{path} line {reader.reader.line_num}: not valid CSV: {error}{hint}") from None
        except UnicodeDecodeError:
            raise DataError(f"{path} after line {reader.line_num}: not UTF-8 text; save the file as UTF-8") from None


def _parquet(path: Path) -> Rows:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=512):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path} row {number}", row
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{path}: not a parquet file that can be read: {_first_line(error)}") from None


def _datasets_folder(path: Path, split: str) -> Rows:
    if not any((path / name).is_file() for name in ("dataset_info.json", "dataset_dict.json", "state.json")):
        raise DataError(f"{path}: this is a folder, but not one that datasets' save_to_disk wrote; name a file in it")
    from datasets import DatasetDict, load_from_disk

    try:
        data = load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: datasets cannot load this folder: {_first_line(error)}") from None
    if isinstance(data, DatasetDict):
        if split not in data:
            raise DataError(f"{path}: there is no split '{split}'; splits here: {', '.join(map(str, data))}")
        data = data[split]
    for number, row in enumerate(data, 1):
        yield f"{path} row {number}", dict(row)


def _object(row: Any, place: str, text: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise DataError(f"{place}: expected a JSON object with fields, found {str(row)[:60]!r}")
    if "\\ud" in text or "\\uD" in text:  # JSON can name half a character, which no file and no tokenizer takes
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            raise DataError(f"{place}: {half} is half a character (a lone surrogate); remove it") from None
    return row


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value; write a number, a text or null")


def _json_problem(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos + 1}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
