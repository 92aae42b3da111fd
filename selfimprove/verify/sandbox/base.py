"""What a sandbox takes and gives: a program with its limits goes in, an outcome comes out.

Everything is plain JSON, so that a program can be a ledger key and can travel to another machine. Values that
go into a call or come out of it are in the form of `harness.encode`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Protocol, Self

from selfimprove.records import Row
from selfimprove.verify.sandbox.harness import decode, encode

STATUSES = ("passed", "failed", "timeout", "memory", "crashed", "refused")
"""How a program can end: it ran to its end; it raised, or left with a code other than 0; it hit the wall-clock or
CPU limit; the memory limit; it vanished without a reply (killed, `os._exit`); it was not run at all."""

FLOOD = 8 << 20
"""Bytes that a program may write to its standard output and error, and that a reply may have; beyond it is killed."""

PAGE = 4096
"""Bytes that a file takes at least."""


@dataclass(frozen=True, slots=True)
class Limits(Row):
    """What a program may use: seconds of wall clock, and of CPU for each of its processes; bytes of memory for each
    process, on top of what the interpreter and its preloaded packages take; processes (threads count too); bytes of
    files; bytes that are kept of each output stream.
    """

    seconds: float = 5.0
    memory: int = 512 << 20
    processes: int = 8
    disk: int = 16 << 20
    output: int = 1 << 16

    def __post_init__(self) -> None:
        """Refuse limits that nothing can run under."""
        if self.seconds <= 0 or min(self.memory, self.processes, self.output) < 1 or self.disk < 0:
            raise ValueError(f"limits must be positive, not {self}")


@dataclass(frozen=True, slots=True)
class Call(Row):
    """One call of a function of the program; arguments are encoded values."""

    function: str
    arguments: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, function: str, *arguments: Any, **named: Any) -> Self:
        """Return the call of a function with plain Python values; raises ValueError for what cannot be told."""
        return cls(function, tuple(map(encode, arguments)), {name: encode(value) for name, value in named.items()})


@dataclass(frozen=True, slots=True)
class Program(Row):
    """Python code to run, alone in a folder that holds nothing but `files`, with `stdin` to read.

    After the code has run, `calls` are made one after the other; each gives a result. With `trace` the top-level
    statements run one by one, and the variables are noted after each.
    """

    source: str
    calls: tuple[Call, ...] = ()
    stdin: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    trace: bool = False
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        """Refuse files that would not lie inside the folder."""
        for name in self.files:
            parts = PurePosixPath(name).parts
            if not parts or name.startswith("/") or ".." in parts or "\0" in name or name.endswith("/"):
                raise ValueError(f"a program's file needs a relative path inside its folder, not {name!r}")

    @property
    def room(self) -> int:
        """Bytes that its files take, in whole pages."""
        return sum(-(-len(text.encode("utf-8", "replace")) // PAGE) * PAGE for text in self.files.values())

    def to_request(self) -> dict[str, Any]:
        """Return what `harness.run` takes."""
        calls = [[call.function, list(call.arguments), dict(call.named)] for call in self.calls]
        return {"source": self.source, "calls": calls, "trace": self.trace}

    def to_row(self) -> dict[str, Any]:
        """Return the program as plain JSON types."""
        plain = {"source": self.source, "stdin": self.stdin, "files": dict(self.files), "trace": self.trace}
        return plain | {"calls": [call.to_row() for call in self.calls], "limits": self.limits.to_row()}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return the program of a row; raises DataError or ValueError where it is none."""
        nested = {"calls": tuple(Call.from_row(call) for call in row.get("calls", ()))}
        return super(Program, cls).from_row({**row, **nested, "limits": Limits.from_row(row.get("limits", {}))})


@dataclass(frozen=True, slots=True)
class Outcome(Row):
    """How a program ended, and what it gave.

    `results` has one entry a call that was answered: `{"value": encoded}` or `{"error": "Type: text"}`; `trace` one
    a statement that ran: `{name: encoded}`. Seconds are wall and CPU time, `memory` the peak in bytes (0: not known),
    `sandbox` the implementation that ran it.
    """

    status: str
    error: str = ""
    stdout: str = ""
    stderr: str = ""
    results: tuple[Mapping[str, Any], ...] = ()
    trace: tuple[Mapping[str, Any], ...] = ()
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory: int = 0
    sandbox: str = ""

    @property
    def passed(self) -> bool:
        """Whether the program ran to its end; says nothing of whether what it gave is right."""
        return self.status == "passed"

    def value(self, call: int) -> Any:
        """Return what a call returned, as plain Python values; raises LookupError where it gave no value."""
        if call >= len(self.results) or "value" not in self.results[call]:
            raise LookupError(f"call {call} gave no value")
        return decode(self.results[call]["value"])


class Sandbox(Protocol):
    """Where generated code runs; used from any asyncio loop, one after another too."""

    name: str

    async def execute(self, program: Program) -> Outcome:
        """Run a program; raises SandboxError where nothing can be run safely here (it never runs unsafely)."""

    def close(self) -> None:
        """End what was started; safe to call twice, and the next `execute` starts it again."""


def outcome_of(
    program: Program,
    reply: bytes | None,
    *,
    sandbox: str,
    ended: str = "",
    stdout: bytes = b"",
    stderr: bytes = b"",
    seconds: float = 0.0,
    cpu_seconds: float = 0.0,
    memory: int = 0,
) -> Outcome:
    """Return the outcome of a program from what its sandbox saw.

    `reply` is what came through the result channel, which the program may have written itself: what is no whole,
    well-formed reply counts as none, and never as passed. `ended` says why the process did not end by itself:
    "timeout" or "memory" for a limit, or a few words ("killed by SIGSEGV"); "" where it did.
    """
    status, error, results, trace = "crashed", ended or "the program ended without a reply", [], []
    if ended == "timeout":
        status, error = "timeout", f"the program ran longer than {program.limits.seconds:g} s"
    elif ended == "memory":
        status, error = "memory", f"the program needed more than {program.limits.memory >> 20} MB of memory"
    elif not ended and reply:
        try:
            status, error, results, trace = _read(reply, program)
        except (ValueError, RecursionError) as problem:
            error = f"the program sent what is no reply: {problem!s:.80}"
    return Outcome(
        status,
        error,
        _cut(stdout, program.limits.output),
        _cut(stderr, program.limits.output),
        tuple(results),
        tuple(trace),
        round(seconds, 6),
        round(cpu_seconds, 6),
        memory,
        sandbox,
    )


def _read(reply: bytes, program: Program) -> tuple[str, str, list[Any], list[Any]]:
    """Return status, error, results and trace of a reply; raises ValueError or RecursionError where it is none."""
    if len(reply) > FLOOD:
        raise ValueError("it is too long")
    fields = json.loads(reply, parse_constant=_refuse)
    if b"\\ud" in reply.lower():
        json.dumps(fields, ensure_ascii=False).encode()  # UnicodeEncodeError for half characters, which nothing keeps
    if not isinstance(fields, dict) or fields.keys() != {"error", "kind", "results", "trace"}:
        raise ValueError("its fields are others")
    error, kind, results, trace = (fields[name] for name in ("error", "kind", "results", "trace"))
    if not (error is None or isinstance(error, str)) or kind not in ("failed", "memory"):
        raise ValueError("its error is none")
    if not isinstance(results, list) or not isinstance(trace, list):
        raise ValueError("its results are none")
    for result in results:
        if not isinstance(result, dict) or len(result) != 1 or result.keys() - {"value", "error"}:
            raise ValueError("a result is none")
        if "value" in result:
            decode(result["value"])
        elif not isinstance(result["error"], str):
            raise ValueError("a result's error is none")
    for state in trace:
        if not isinstance(state, dict):
            raise ValueError("its trace is none")
        for value in state.values():
            decode(value)
    if len(results) > len(program.calls) or (trace and not program.trace):
        raise ValueError("it tells more than was asked")
    if error is None and len(results) != len(program.calls):
        raise ValueError("it does not answer every call")
    error = None if error is None else error.encode("utf-8", "replace").decode()[:1000]
    return ("passed", "", results, trace) if error is None else (kind, error, results, trace)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _cut(output: bytes, limit: int) -> str:
    """Return the first `limit` bytes as text, without a half character at the end."""
    if len(output) > limit:
        return output[:limit].decode("utf-8", "replace").rstrip("\ufffd")
    return output.decode("utf-8", "replace")
