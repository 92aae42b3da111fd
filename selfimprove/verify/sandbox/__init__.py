"""Where generated code runs. Untrusted code runs in a sandbox or not at all: what cannot be isolated is refused.

`open_sandbox` gives the one the recipe names, or, with `auto`, the strongest that works on this machine. Every
outcome says which one ran it.

| sandbox | what holds a program | needs | not covered |
| --- | --- | --- | --- |
| zygote | namespaces (bubblewrap), seccomp, limits | bubblewrap, user namespaces | defects of the kernel |
| wasi | CPython on WebAssembly in wasmtime, fuel | the extra `wasi` | defects of wasmtime; has no threads, no numpy |
| landlock | landlock, seccomp, limits | Linux 5.13 | defects of the kernel; whether a path exists; starts no process |
| remote | what the service has: one of the above | a service and its token | who listens on the way |
| rlimits | limits of memory, time and sizes | `trust_the_code: true` | files, network, other processes, daemons |

The first four reach no file but their own, no network and no other process.
"""

import asyncio
import threading
from importlib import import_module
from typing import Any

from selfimprove.config import Sandbox as Options
from selfimprove.errors import SandboxError, did_you_mean
from selfimprove.verify.sandbox.base import Call, Limits, Outcome, Program, Sandbox

__all__ = ["KINDS", "Call", "Limits", "Outcome", "Program", "Sandbox", "kind_of", "limits_of", "open_sandbox"]

KINDS = {
    "zygote": "Zygote",
    "wasi": "Wasi",
    "landlock": "Landlock",
    "remote": "Remote",
    "rlimits": "ResourceLimits",
}
"""Name in a recipe and of the file in this folder: class, which has `missing(options) -> str | None`."""

AUTOMATIC = ("zygote", "wasi", "landlock")
"""What `auto` tries, the strongest first."""


def limits_of(options: Options) -> Limits:
    """Return the limits that a recipe's `sandbox` section sets."""
    return Limits(seconds=options.seconds, memory=options.memory_mb << 20)


def open_sandbox(options: Options) -> Sandbox:
    """Return the sandbox that a recipe's `sandbox` section asks for; it is chosen and started by its first program."""
    return OnDemand(options)


def kind_of(name: str) -> Any:
    """Return the class of a sandbox; raises SandboxError where there is none of that name."""
    if name not in KINDS:
        raise SandboxError(f"there is no sandbox '{name}'{did_you_mean(name, ['auto', *KINDS])}")
    return getattr(import_module(f"selfimprove.verify.sandbox.{name}"), KINDS[name])


def choose(options: Options) -> Sandbox:
    """Return the sandbox named, with `auto` the strongest that works here; raises SandboxError where none may run."""
    names = AUTOMATIC if options.name == "auto" else (options.name,)
    lacking = {}
    for name in names:
        kind = kind_of(name)
        reason = kind.missing(options)
        if reason is None:
            return kind(options)
        lacking[name] = reason
    if options.name != "auto":
        raise SandboxError(f"the sandbox '{options.name}' cannot run here: {lacking[options.name]}")
    told = "; ".join(f"{name}: {reason}" for name, reason in lacking.items())
    raise SandboxError(
        f"generated code cannot be run safely here, so it is not run. {told}. Any one of them is enough; a service "
        "on another machine is one more way (sandbox.name=remote sandbox.url=...)"
    )


class OnDemand:
    """The sandbox that is chosen when the first program comes, or `chosen` is asked for."""

    def __init__(self, options: Options) -> None:
        self.name = options.name  # until one is chosen
        self.options = options
        self._chosen: Sandbox | None = None
        self._lock = threading.Lock()

    def chosen(self) -> Sandbox:
        """Return the sandbox that runs the programs; raises SandboxError where this machine has none that may."""
        with self._lock:
            if self._chosen is None:
                self._chosen = choose(self.options)
                self.name = self._chosen.name
            return self._chosen

    async def execute(self, program: Program) -> Outcome:
        """Run a program; raises SandboxError where this machine has no sandbox that may run it."""
        if self._chosen is None:
            await asyncio.to_thread(self.chosen)  # trying a sandbox can take seconds
        return await self.chosen().execute(program)

    def close(self) -> None:
        """End what was started; safe to call twice, and the next program starts it again."""
        if self._chosen is not None:
            self._chosen.close()
