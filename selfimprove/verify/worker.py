"""The program of a worker process: reads calls as JSON lines, writes one reply a line. Started by `pool`.

What protects the parent: a memory limit, no core files, no writing to files (file size limit 0), death with
the parent, and an audit hook that refuses programs, sockets and file changes once the libraries are loaded,
since some scorers evaluate the answer as an expression. Not covered: a determined attack on the interpreter
itself; the hook is a fence, not a wall. Generated programs belong in the sandbox, never here.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

REFUSED = (
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.spawn", "os.kill", "os.remove", "os.rename",
    "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown", "os.putenv", "shutil.",
    "subprocess.", "socket.", "ctypes.", "pty.", "urllib.", "ftplib.", "smtplib.", "http.", "signal.pthread_kill",
)  # fmt: skip


def prepare(kind: str) -> None:
    """Import what the calls of one kind need."""
    if kind == "math":
        import math_verify  # noqa: F401
    elif kind == "gym":
        import reasoning_gym  # noqa: F401


def math(gold: str, answer: str) -> str:
    """Return "right", "wrong" or "gold_unparsable": math-verify's comparison of two answers."""
    from math_verify import parse, verify

    parsed = _parse(gold)
    if not parsed:
        return "gold_unparsable"
    target = parse(f"\\boxed{{{answer}}}", parsing_timeout=0, raise_on_error=False)
    target = target or _parse(answer)
    if not target:
        return "wrong"
    return "right" if verify(parsed, target, timeout_seconds=None, raise_on_error=True) else "wrong"


@lru_cache(maxsize=512)
def _parse(text: str) -> list[Any]:
    from math_verify import parse

    for form in (f"\\boxed{{{text}}}", f"${text}$"):
        parsed = parse(form, parsing_timeout=0, raise_on_error=True)
        if any(not isinstance(item, str) for item in parsed):  # text alone: it could not be read
            return parsed
    return []


def gym(task: str, entry: dict[str, Any], answers: list[str]) -> float:
    """Return the highest of the task's own scores of several readings of one answer."""
    import reasoning_gym

    if task in ("arc_agi", "rearc"):  # their scorers compare with tuples, which JSON has turned into lists
        entry = {**entry, "metadata": _tuples(entry["metadata"])}
    score: Any = reasoning_gym.get_score_answer_fn(task)
    return max(float(score(answer, entry)) for answer in answers)


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


CALLS: dict[str, Callable[..., Any]] = {"prepare": prepare, "math": math, "gym": gym}


def answer(message: list[Any]) -> dict[str, Any]:
    """Return the reply to one call; any failure of a library is a value."""
    try:
        return {"value": CALLS[message[0]](*message[1:])}
    except MemoryError:
        return {"failure": "crashed"}
    except RecursionError:
        return {"failure": "failed: nested too deeply"}
    except Exception as error:  # noqa: BLE001 (the border to libraries that raise anything on odd answers)
        return {"failure": f"failed: {type(error).__name__}: {str(error)[:200]}"}


def fence(parent: int, memory: int) -> None:
    """Bind this process's life to its parent's, and limit what it can take."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)
    for limit, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        hard = resource.getrlimit(limit)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (most, most))


class Fence:
    """The audit hook: refuses what an answer has no business with, as soon as it is closed."""

    closed = False

    def __call__(self, event: str, values: tuple[Any, ...]) -> None:
        """Raise PermissionError for a refused event."""
        if not self.closed:
            return
        writes = event == "open" and isinstance(values[1], str) and any(c in values[1] for c in "wax+")
        if writes or event.startswith(REFUSED):
            raise PermissionError(f"an answer may not do this: {event}")


def main() -> None:
    """Serve until standard input ends."""
    fence(int(sys.argv[1]), int(sys.argv[2]))
    here = Path(__file__).resolve().parent
    sys.path[:] = [path for path in sys.path if path and Path(path).resolve() != here]
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print must not look like a reply
    requests = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    hook = Fence()
    sys.addaudithook(hook)
    for line in requests:
        message = json.loads(line)
        hook.closed = message[0] != "prepare"
        replies.write(json.dumps(answer(message)).encode() + b"\n")


if __name__ == "__main__":
    main()
