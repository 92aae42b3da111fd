"""Resource limits: a process of its own for every program, with limits, and no isolation whatever.

Held: memory of each process, CPU time, wall clock, the size of a file, the size of its folder, and its output; its
process group is killed when it ends. Not held: the program reads and changes every file that you can, opens
connections, sees and signals your processes, starts any number of them, and leaves running what has left its
group. It is for code that you would run in your own shell, and runs only where `sandbox.trust_the_code` is true.
"""

import sys
import tempfile
from pathlib import Path

from selfimprove.config import Sandbox as Options
from selfimprove.verify.sandbox.base import Outcome, Program
from selfimprove.verify.sandbox.processes import Locks, remove, run_alone
from selfimprove.verify.sandbox.slots import Slots


class ResourceLimits:
    """Programs under resource limits only."""

    name = "rlimits"

    def __init__(self, options: Options) -> None:
        self._locks = Locks(preload=options.preload)
        self._slots = Slots(options.slots)

    @staticmethod
    def missing(options: Options) -> str | None:
        """Return in one sentence why it may not run; None where the code is trusted."""
        if options.trust_the_code:
            return None
        return (
            "it isolates nothing: a program could read and change your files, use the network and signal your "
            "processes; where you trust the code as your own, say sandbox.trust_the_code=true"
        )

    async def execute(self, program: Program) -> Outcome:
        """Run a program with this environment's interpreter."""
        return await self._slots.run(lambda slot: self.run(program))

    def run(self, program: Program) -> Outcome:
        """Run a program in this thread."""
        folder = Path(tempfile.mkdtemp(prefix="selfimprove-program-"))
        try:
            return run_alone(sys.executable, program, folder, self._locks, self.name)
        finally:
            remove(folder)

    def close(self) -> None:
        """Wait for the programs that run; safe to call twice."""
        self._slots.close()
