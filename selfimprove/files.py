"""Files as everybody here reads and writes them: whole or not at all, and with an error that names the line."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from selfimprove.errors import DataError


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yield one dict per line; raises DataError naming file and line."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path} line {number}: not valid JSON: {error.msg}") from None


def to_line(row: Mapping[str, Any]) -> str:
    """Return one JSON line; raises DataError where a number is not finite."""
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError:
        raise DataError(f"row {row.get('id')!r} holds a number that is not finite: {row!r:.300}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's mapping; raises DataError where it cannot be read or is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not valid JSON ({error.msg} in line {error.lineno})") from None


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file atomically and durably."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file atomically and durably: the old or the new content, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def file_digest(path: Path) -> str:
    """Return the blake2b digest (32 hex digits) of a file's content; raises DataError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
