"""Type checkers over many small programs at once: which of them have no error. Nothing is run."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from selfimprove.errors import ConfigError, DataError

SECONDS = 120
CHECKERS = {
    "pyright": ("--outputjson",),
    "ty": ("check", "--output-format", "concise", "--exit-zero", "--no-progress"),
    "mypy": ("--no-error-summary", "--no-incremental", "--hide-error-context"),
}
"""Checkers in the order in which `auto` takes the first that is installed, with their options."""


def choose(name: str, where: str) -> str | None:
    """Return the checker that a recipe's word stands for: auto, none, or one by name; None where there is none.

    Raises ConfigError for a checker that is not installed.
    """
    if name == "none":
        return None
    if name == "auto":
        return next((known for known in CHECKERS if _command(known)), None)
    if not _command(name):
        raise ConfigError(
            f"{where}: type_check is {name}, which is not installed; pip install {name}, or write type_check: none"
        )
    return name


def without_errors(programs: Sequence[str], checker: str) -> list[bool]:
    """Return for each program whether the checker finds no error in it; all are False where it takes over 120 s."""
    if not programs:
        return []  # a checker without files looks at the whole folder, or complains
    with tempfile.TemporaryDirectory(prefix="typecheck-") as folder:
        files = [Path(folder, f"program_{number:04d}.py") for number in range(len(programs))]
        for file, program in zip(files, programs, strict=True):
            file.write_text(program, encoding="utf-8", errors="replace")
        command = [_command(checker) or checker, *CHECKERS[checker], *(file.name for file in files)]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return [False] * len(files)
        except OSError as error:
            raise DataError(f"{checker} cannot be started: {error.strerror}; mend it, or set type_check") from None
        wrong = _wrong_files(checker, done.stdout)
        if not wrong and done.returncode and not done.stdout.strip():
            problem = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise DataError(f"{checker} failed: {problem[:300]}; mend it, or set type_check to another checker")
        return [file.name not in wrong for file in files]


def _command(name: str) -> str | None:
    """Return where a checker is: beside this Python (a virtual environment that is not activated), or on the path."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


def _wrong_files(checker: str, output: str) -> set[str]:
    if checker == "pyright":
        found = json.loads(output)["generalDiagnostics"] if output.strip() else []
        return {Path(each["file"]).name for each in found if each["severity"] == "error"}
    return set(re.findall(r"^(?:.*/)?(program_\d{4}\.py):\d+:(?:\d+:)? error\b", output, flags=re.MULTILINE))
