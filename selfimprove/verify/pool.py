"""Worker processes that can be killed: what a hostile answer may hang or crash without harm.

`call` sends one comparison to a worker and waits; past its time limit the worker is killed (SIGKILL) and the
next call starts a fresh one. Each worker has a memory limit, may write no files and start no programs (see
`worker`), and dies with its parent. Workers start when first needed. One thread per worker talks to it, so
that any asyncio loop may await, several one after another too.
"""

import asyncio
import atexit
import json
import os
import selectors
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from selfimprove.errors import JudgeError

START = 180.0
"""Seconds a worker may take to start and import its libraries (not counted in the time limit of a call)."""

WORKER = "/worker"
"""End of the source of a verdict that a worker gave, and that its time limit may therefore have decided."""

LARGEST_REPLY = 1 << 20
"""Bytes; a worker that sends more is killed."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: a value, or why there is none ("timeout", "crashed", "failed: ...")."""

    value: Any = None
    failure: str = ""


class _Died(Exception):
    """The worker ended, or sent what is no reply."""


class _Worker:
    """One child process with its pipes; used by one thread."""

    def __init__(self, memory: int) -> None:
        self.ready: set[str] = set()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("worker.py")), str(os.getpid()), str(memory)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
            start_new_session=True,  # a Ctrl-C in the terminal is for the parent
        )  # fmt: skip
        self.buffer = b""

    def ask(self, message: list[Any], seconds: float) -> dict[str, Any]:
        """Return the worker's reply; raises TimeoutError or _Died."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        end = monotonic() + seconds
        try:
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()
        except OSError:
            raise _Died from None
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self.buffer:
                if not selector.select(max(0.0, end - monotonic())):
                    raise TimeoutError
                chunk = os.read(stdout.fileno(), 65536)
                if not chunk or len(self.buffer) > LARGEST_REPLY:
                    raise _Died
                self.buffer += chunk
        line, _, self.buffer = self.buffer.partition(b"\n")
        try:
            reply = json.loads(line)
        except ValueError:
            raise _Died from None
        return reply

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # unflushed bytes for a dead process
                    continue


class Pool:
    """Up to `workers` processes, started one by one as calls come in."""

    def __init__(self, workers: int | None = None, timeout: float = 5.0, memory: int = 4 << 30) -> None:
        """Take the number of processes (None: up to 4, by cores), seconds per call, and bytes of address space."""
        self.workers = workers or max(1, min(4, len(os.sched_getaffinity(0))))
        self.timeout = timeout
        self.memory = memory
        self.restarts = 0  # workers killed or found dead since the start
        self._lock = threading.Lock()
        self._own = threading.local()
        self._living: set[_Worker] = set()
        self._threads: ThreadPoolExecutor | None = None

    async def call(self, kind: str, *values: Any) -> Reply:
        """Return the reply of a worker's function `kind` on plain JSON values; raises JudgeError if none can start."""
        return await asyncio.wrap_future(self.submit(kind, *values))

    def submit(self, kind: str, *values: Any) -> "Future[Reply]":
        """Return the future reply, for callers outside asyncio."""
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="verify")
                self._own = threading.local()
            return self._threads.submit(self._run, kind, list(values))

    def close(self) -> None:
        """Kill all workers; safe to call twice, and the next call starts afresh."""
        with self._lock:
            threads, self._threads = self._threads, None
            living, self._living = self._living, set()
        for worker in living:
            worker.kill()
        if threads is not None:
            threads.shutdown(wait=True, cancel_futures=True)

    def pids(self) -> list[int]:
        """Return the process ids of the living workers."""
        return sorted(worker.process.pid for worker in self._living)

    def _run(self, kind: str, values: list[Any]) -> Reply:
        worker = self._prepared(kind)
        try:
            reply = worker.ask([kind, *values], self.timeout)
        except TimeoutError:
            self._drop(worker)
            return Reply(failure="timeout")
        except (_Died, ValueError, OSError):  # a closed pipe: the pool was closed under us
            self._drop(worker)
            return Reply(failure="crashed")
        if reply.get("failure") == "crashed":  # out of memory: what is left in there cannot be trusted
            self._drop(worker)
        return Reply(reply.get("value"), str(reply.get("failure", "")))

    def _prepared(self, kind: str) -> _Worker:
        """Return this thread's worker with the libraries of `kind` imported; a second try where the first died."""
        problem = ""
        for _ in range(2):
            worker = getattr(self._own, "worker", None)
            if worker is None:
                worker = self._own.worker = _Worker(self.memory)
                with self._lock:
                    self._living.add(worker)
            if kind in worker.ready:
                return worker
            try:
                problem = str(worker.ask(["prepare", kind], START).get("failure", ""))
            except TimeoutError:
                problem = f"it was not ready after {START:.0f} s"
            except (_Died, ValueError, OSError):
                problem = "it ended while it started"
            if not problem:
                worker.ready.add(kind)
                return worker
            self._drop(worker)
        raise JudgeError(
            f"a worker process for '{kind}' could not start: {problem}; its memory limit is "
            f"{self.memory >> 20} MiB; `selfimprove doctor` checks the installation"
        )

    def _drop(self, worker: _Worker) -> None:
        worker.kill()
        self.restarts += 1
        with self._lock:
            self._living.discard(worker)
        if getattr(self._own, "worker", None) is worker:
            self._own.worker = None


_shared: Pool | None = None


def shared_pool() -> Pool:
    """Return the one pool of this process, which all verifiers share."""
    global _shared
    if _shared is None:
        _shared = Pool()
        atexit.register(_shared.close)
    return _shared
