"""Where generated code runs. Untrusted code runs in a sandbox or not at all: what cannot be isolated is refused.

`open_sandbox` gives the one the recipe names, or, with `auto`, the strongest that works on this machine. Every
outcome says which one ran it.
"""

from selfimprove.config import Sandbox as Options
from selfimprove.errors import SandboxError
from selfimprove.verify.sandbox.base import Call, Limits, Outcome, Program, Sandbox

__all__ = ["Call", "Limits", "Outcome", "Program", "Sandbox", "limits_of", "open_sandbox"]


def limits_of(options: Options) -> Limits:
    """Return the limits that a recipe's `sandbox` section sets."""
    return Limits(seconds=options.seconds, memory=options.memory_mb << 20)


def open_sandbox(options: Options) -> Sandbox:
    """Return the sandbox that a recipe's `sandbox` section asks for; it is chosen and started by its first program."""
    return OnDemand(options)


class OnDemand:
    """The sandbox that is chosen when the first program comes."""

    name = "auto"

    def __init__(self, options: Options) -> None:
        self.options = options
        self._chosen: Sandbox | None = None

    async def execute(self, program: Program) -> Outcome:
        """Run a program; raises SandboxError where this machine has no sandbox that may run it."""
        raise SandboxError("no sandbox yet")

    def close(self) -> None:
        """End what was started."""
        if self._chosen is not None:
            self._chosen.close()
