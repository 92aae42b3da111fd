"""Files as everybody here reads and writes them: whole or not at all, and with an error that names the line."""

import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from selfimprove.errors import ConfigError, DataError

USERS_OWN = "selfimprove_users_own_"
"""Beginning of the module name of every Python file of the user's own."""


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yield one dict per line; raises DataError naming file and line."""
    number = 0
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise DataError(f"{path} line {number}: not valid JSON: {error.msg}") from None
                if not isinstance(row, dict):
                    raise DataError(f"{path} line {number}: expected a JSON object, found {row!r:.60}")
                yield row
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} after line {number}: not UTF-8 text, so the file is damaged") from None


def to_line(row: Mapping[str, Any]) -> str:
    """Return one JSON line; raises DataError where a value cannot be written as JSON, or a number is not finite."""
    try:
        line = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
        line.encode()
    except UnicodeEncodeError:
        raise DataError(f"row {row.get('id')!r} holds half a character (a lone surrogate): {row!r:.300}") from None
    except ValueError:
        raise DataError(f"row {row.get('id')!r} holds a number that is not finite: {row!r:.300}") from None
    except TypeError as error:
        raise DataError(f"row {row.get('id')!r} cannot be written as JSON: {error}: {row!r:.300}") from None
    return line


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's mapping; raises DataError where it cannot be read or is damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not valid JSON ({error.msg} in line {error.lineno})") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text, so the file is damaged") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a JSON object, found {value!r:.60}")
    return value


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


def load_python(path: Path, where: str) -> ModuleType:
    """Return the module of a Python file of the user's own, loaded anew; raises ConfigError with file and line."""
    name = f"{USERS_OWN}{path.stem}_{hashlib.blake2b(str(path.absolute()).encode(), digest_size=4).hexdigest()}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{where}: {path} cannot be loaded as Python; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the border to code of the user's own
        place = users_place(error) or str(path)
        raise ConfigError(f"{where}: {place}: {told(error)}; mend the file, --traceback shows more") from error
    return module


def users_place(error: BaseException) -> str | None:
    """Return `file line N` where an error passed through code of the user's own, None where it did not."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{_short(error.filename)} line {error.lineno}"
    place, trace = None, error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if str(frame.f_globals.get("__name__", "")).startswith(USERS_OWN):
            place = f"{_short(frame.f_code.co_filename)} line {trace.tb_lineno}"
        trace = trace.tb_next
    return place


def told(error: BaseException) -> str:
    """Return kind and message of an error in one line, with the notes that were added to it."""
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    return " ".join(f"{type(error).__name__}{': ' if message else ''}{message}{notes}".split())[:400]


def _short(name: str) -> str:
    """Return a path as seen from the working directory, where it lies below it."""
    path, here = Path(name), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else name
