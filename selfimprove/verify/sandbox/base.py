"""What a sandbox takes and gives: a program with its limits goes in, an outcome comes out.

Everything is plain JSON, so that a program can be a ledger key and can travel to another machine. Values that
go into a call or come out of it are in the form of `harness.encode`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from selfimprove.records import Row
from selfimprove.verify.sandbox.harness import decode, encode

STATUSES = ("passed", "failed", "timeout", "memory", "crashed", "refused")
"""How a program can end: it ran to its end; it raised, or left with a code other than 0; it hit the wall-clock or
CPU limit; the memory limit; it vanished without a reply (killed, `os._exit`); it was not run at all."""


@dataclass(frozen=True, slots=True)
class Limits(Row):
    """What a program may use."""

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
    """Python code to run, alone in an empty folder that holds `files`, with `stdin` to read.

    After the code has run, `calls` are made one after the other; each gives a result. With `trace` the top-level
    statements run one by one, and the variables are noted after each.
    """

    source: str
    calls: tuple[Call, ...] = ()
    stdin: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    trace: bool = False
    limits: Limits = Limits()

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
