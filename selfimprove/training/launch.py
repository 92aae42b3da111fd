"""Runs a job as a process of its own: alone, or as many as an accelerate config says.

Training shares the machine with an engine that has claimed its threads and memory, so it never runs in the
process of the loop. The children die with the loop, even where the loop is killed: the kernel is asked to see to
it (PR_SET_PDEATHSIG) in the launcher and again in every worker.
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from selfimprove.errors import ConfigError, TrainError, did_you_mean
from selfimprove.files import read_json
from selfimprove.resources import resource_folder
from selfimprove.training.job import ERROR, EVENTS, IDENTITY, LOG, RESULT, Job, Result

SCRIPTS = {"sft": "train_sft.py", "pairs": "train_dpo.py", "steps": "train_reward.py", "reward": "train_reward.py"}
CHILD = "SELFIMPROVE_CHILD"
"""Environment variable that tells a worker to die with the process that started it."""

ROOM = 2**20
"""Bytes of free disk under which a failed training is taken to have failed for that."""

_PACKAGE = Path(__file__).resolve().parent.parent


def accelerate_config(name: str, where: str = "") -> Path | None:
    """Return the accelerate config of a name or path, None for `single`; raises ConfigError where there is none."""
    if name == "single":
        return None
    path = Path(str(name)).expanduser()
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path.absolute()
        raise ConfigError(f"{where}: train.accelerate is {name!r}: there is no such file".removeprefix(": "))
    found = {file.stem: file for file in resource_folder("accelerate_configs").glob("*.yaml")}
    if name not in found:
        known = did_you_mean(str(name), {*found, "single"})
        raise ConfigError(f"{where}: train.accelerate is {name!r}: there is no such config{known}".removeprefix(": "))
    return found[name]


def run_job(
    job: Job,
    accelerate_config_name: str | None = None,
    on_event: Callable[[dict[str, Any]], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Train a job in processes of its own and return its result; a finished job is not trained again.

    The config is the recipe's `train.accelerate` unless given. `on_event` gets every line of events.jsonl as it
    is written; where `stop` becomes true the training is ended, to go on from its checkpoint another time. Raises
    TrainError with the sentence of the worker, or the last line of its log.
    """
    import json

    output = Path(job.output)
    done, identity = Result.read(output), output / IDENTITY
    if done is not None and identity.is_file() and read_json(identity) == job.identity():
        return done
    output.mkdir(parents=True, exist_ok=True)
    for name in (RESULT, ERROR):
        (output / name).unlink(missing_ok=True)
    chosen = accelerate_config_name or job.options.get("accelerate") or "single"
    command = command_of(job, job.write(), accelerate_config(chosen, job.recipe))
    seen = _size(output / EVENTS)
    with (output / LOG).open("ab") as log:
        child = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, CHILD: "1", "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"},
            start_new_session=True,  # Ctrl-C reaches the loop alone, which then ends the training
            preexec_fn=die_with_parent,
        )
        try:
            while True:
                code = _wait(child, 0.3)
                seen = _follow(output / EVENTS, seen, on_event, json.loads)
                if code is not None:
                    break
                if stop():
                    raise TrainError("the training was stopped; it goes on from its last checkpoint")
        except BaseException:
            end(child)
            raise
    result = Result.read(output)
    if code != 0 or result is None:
        raise failure(output, code)
    return result


def command_of(job: Job, path: Path, config: Path | None) -> list[str]:
    """Return the command that trains a job file; one process needs no launcher."""
    script = str(_PACKAGE / SCRIPTS[job.kind])
    if config is None:
        return [sys.executable, script, "--job", str(path)]
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--config_file", str(config)]
    return [*launch, script, "--job", str(path)]


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the one that started it ends, however it ends (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG


def end(child: "subprocess.Popen[bytes]", patience: float = 10.0) -> None:
    """End a training and everything it started: politely first, then not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        if _wait(child, patience) is not None:
            return


def failure(output: Path, code: int) -> TrainError:
    """Return the error of a training that ended with an exit code and without a result."""
    log = output / LOG
    if shutil.disk_usage(output).free < ROOM:  # then error and log may be cut short
        return TrainError(
            f"{output}: No space left on device, so the training ended; make room, and the same command goes on "
            "from its last checkpoint"
        )
    if (output / ERROR).is_file():
        return TrainError(str(read_json(output / ERROR)["sentence"]))
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return TrainError(f"the training was killed, most likely because memory ran out; its log is {log}")
    line = last_meaningful_line(log.read_text(encoding="utf-8", errors="replace")) if log.is_file() else ""
    return TrainError(f"the training ended with exit code {code}: {line or 'it wrote nothing'}; its log is {log}")


def last_meaningful_line(text: str) -> str:
    """Return the line of a log that says why it ended: the last named error that is not the launcher's own."""
    lines = [re.sub(r"^\[?rank\d+\]?:\s*", "", line).strip() for line in text.splitlines()]
    named = [line for line in lines if re.match(r"^[\w.]*(Error|Exception|Interrupt|Killed)\b.*", line)]
    own = [line for line in named if "ChildFailedError" not in line and "CalledProcessError" not in line]
    spoken = [
        line for line in lines if re.search(r"[a-z]{3}", line) and not line.startswith(("File ", "warnings.warn"))
    ]
    return next(iter([*own[-1:], *named[-1:], *spoken[-1:]]), "")


def _wait(child: "subprocess.Popen[bytes]", seconds: float) -> int | None:
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _follow(
    path: Path, seen: int, on_event: Callable[[dict[str, Any]], None] | None, parse: Callable[[str], Any]
) -> int:
    """Pass on the whole lines of a growing file after byte `seen`; return how far it was read."""
    if on_event is None or not path.is_file():
        return seen
    if path.stat().st_size < seen:  # rewritten by a resume
        seen = 0
    with path.open("rb") as file:
        file.seek(seen)
        whole, newline, _ = file.read().rpartition(b"\n")
    for line in whole.splitlines():
        on_event(parse(line.decode()))
    return seen + len(whole) + len(newline)
