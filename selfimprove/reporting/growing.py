"""JSON lines of a file that a running process may be writing to: whole lines only."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfimprove.errors import DataError


def read_growing(path: Path, holding: bytes = b"", whole: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file's whole lines, nothing where there is no file; an unfinished last line waits.

    `holding` passes over lines without these bytes, which is much faster than parsing them. `whole` is for a file that
    nobody writes to any more, where an unfinished line is damage. Raises DataError, naming file and line, for damage.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n") and not whole:
                return
            if holding not in line:
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path} line {number}: not valid JSON: {error}") from None
            if not isinstance(row, dict):
                raise DataError(f"{path} line {number}: expected an object, found {line[:40]!r}")
            yield row
