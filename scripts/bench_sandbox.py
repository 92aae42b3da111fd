"""Measure how fast the default sandbox runs programs, against starting an interpreter for each, and what it leaves.

    python scripts/bench_sandbox.py                              # every part, one table
    python scripts/bench_sandbox.py trivial --programs 200 --repeats 5
    python scripts/bench_sandbox.py soak --soak 100000

trivial   programs/s and median latency, at 1 and 2 workers and with the default slots, of a program that does next to
          nothing: the zygote sandbox, `python -I` in a bare subprocess, and one bubblewrap a program
packages  the same for a program that uses numpy and sympy: preloaded in the sandbox, imported anew by the others
soak      very many programs in a row: processes, files in /tmp, mounts, open files and memory before and after

What is compared runs in turn, forwards then backwards, on this machine at the same time, with one interpreter; a ratio
is the median over the repeats, with the smallest and the largest. Nothing is asserted: timings belong to a machine.
"""

import argparse
import asyncio
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from bench_collect import Line, say

from selfimprove.config import Sandbox as Options
from selfimprove.reporting.table import table
from selfimprove.verify.sandbox.base import Program
from selfimprove.verify.sandbox.bubble import command, interpreter, package_folders
from selfimprove.verify.sandbox.zygote import Zygote

LITTER = """
import os
open("left", "w").write("x" * 5000)
if os.fork() == 0:
    while True:
        pass
print(49)
"""
"""A program that leaves a file and a busy process behind."""

TRIVIAL = "def square(x):\n    return x * x\nprint(square(7))\n"

PACKAGES = """
import numpy, sympy
x = sympy.Symbol("x")
print(int(numpy.arange(4).sum()) + sympy.diff(43 * x, x))
"""

PRELOAD = ["numpy", "sympy"]

BARE, BUBBLE, OURS = "python -I", "bwrap", "zygote"


def check(printed: str) -> None:
    """Stop where a program did not do its work: a way that fails is fast."""
    if printed != "49\n":
        raise SystemExit(f"a program printed {printed!r} instead of 49")


def starts(kind: str, source: str, preload: Sequence[str]) -> list[str]:
    """Return the command line that runs a program in an interpreter of its own."""
    python, folders = str(interpreter()), package_folders(preload)
    if folders:
        source = f"import sys\nsys.path += {folders!r}\n{source}"
    line = [python, "-I", "-c", source]
    if kind == BARE:
        return line
    bubble = command(python, folders, 900, 0, 0)
    limits = ["prlimit", "--nproc=32:32", "--as=1073741824", "--cpu=5", "--fsize=16777216", "--nofile=64", "--core=0"]
    return [*bubble[: bubble.index(python)], *limits, *line]


async def by_starting(line: list[str], count: int, workers: int, latencies: list[float]) -> int:
    """Run a command line `count` times, `workers` at once."""

    def one(_: int) -> None:
        begun = time.perf_counter()
        done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        latencies.append(time.perf_counter() - begun)
        check(done.stdout)

    with ThreadPoolExecutor(workers) as threads:
        list(threads.map(one, range(count)))
    return count


async def in_sandbox(sandbox: Zygote, program: Program, count: int, workers: int, latencies: list[float]) -> int:
    """Run a program in the sandbox `count` times, `workers` at once."""
    numbers = iter(range(count))

    async def worker() -> None:
        for _ in numbers:
            begun = time.perf_counter()
            outcome = await sandbox.execute(program)
            latencies.append(time.perf_counter() - begun)
            check(outcome.stdout)

    await asyncio.gather(*(worker() for _ in range(workers)))
    return count


async def measure(
    name: str, source: str, preload: list[str], goals: Mapping[str, str], sizes: argparse.Namespace
) -> list[Line]:
    """Compare the three ways with one program, for several numbers of workers."""
    lines = []
    for workers in dict.fromkeys((1, 2, 2 * len(os.sched_getaffinity(0)))):
        sandbox = Zygote(Options(slots=workers, preload=preload))
        count = max(workers, sizes.programs // (20 if preload else 4))
        ways: dict[str, Callable[[list[float]], Awaitable[int]]] = {
            way: partial(by_starting, starts(way, source, preload), count, workers) for way in (BARE, BUBBLE)
        }
        ways[OURS] = partial(in_sandbox, sandbox, Program(source), sizes.programs, workers)
        await in_sandbox(sandbox, Program(source), 4 * workers, workers, [])  # the zygotes start
        say(f"{name}, {workers} workers ...")
        speeds, latencies = await compare(ways, sizes.repeats)
        sandbox.close()
        shown = {
            way: f"{statistics.median(speeds[way]):,.0f}/s, {1000 * statistics.median(latencies[way]):.1f} ms"
            for way in ways
        }
        for way, goal in goals.items():
            ratios = [ours / theirs for ours, theirs in zip(speeds[OURS], speeds[way], strict=True)]
            ratio = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
            lines.append(Line(f"{name}, {workers} at once, {OURS} and {way}", shown[OURS], shown[way], ratio, goal))
    return lines


async def compare(
    ways: Mapping[str, Callable[[list[float]], Awaitable[int]]], repeats: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return programs per second of every way in every repeat, and the seconds that every single program took."""
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    latencies: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(repeats):
        for way in list(ways) if repeat % 2 == 0 else list(ways)[::-1]:
            begun = time.perf_counter()
            count = await ways[way](latencies[way])
            speeds[way].append(count / (time.perf_counter() - begun))
        say("  " + ", ".join(f"{way} {speeds[way][-1]:,.0f}/s" for way in ways))
    return speeds, latencies


async def measure_trivial(sizes: argparse.Namespace) -> list[Line]:
    """Compare with a program that does next to nothing."""
    return await measure("trivial", TRIVIAL, [], {BARE: ">= 1.5", BUBBLE: ">= 2.5"}, sizes)


async def measure_packages(sizes: argparse.Namespace) -> list[Line]:
    """Compare with a program that uses large packages."""
    return await measure("numpy and sympy", PACKAGES, PRELOAD, {BARE: ">= 5", BUBBLE: ">= 5"}, sizes)


def figures(sandbox: Zygote) -> dict[str, int]:
    """Return what must not grow: counts, and resident memory in kB."""
    return {
        "processes started from here": descendants(),
        "files in /tmp": sum(len(names) for _, _, names in os.walk("/tmp")),
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "open files of the host": len(os.listdir("/proc/self/fd")),
        "open files of the zygotes": sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in sandbox.pids()),
        "kB of the host": resident(os.getpid()),
        "kB of the zygotes": sum(map(resident, sandbox.pids())),
    }


def descendants() -> int:
    """Return how many processes this one has started, directly or not, zombies included."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            parents[int(entry)] = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return len(found) - 1


def resident(pid: int) -> int:
    """Return the resident memory of a process in kB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 10


async def measure_soak(sizes: argparse.Namespace) -> list[Line]:
    """Run very many programs in a row that leave files and processes behind, and count what is left."""
    sandbox = Zygote(Options())
    workers = 2 * len(os.sched_getaffinity(0))
    await in_sandbox(sandbox, Program(LITTER), 200, workers, [])
    before, pids, begun = figures(sandbox), sandbox.pids(), time.perf_counter()
    await in_sandbox(sandbox, Program(LITTER), sizes.soak, workers, [])
    seconds, after = time.perf_counter() - begun, figures(sandbox)
    same = "the same zygotes" if sandbox.pids() == pids else "zygotes were started anew"
    sandbox.close()
    lines = [Line(f"soak, {sizes.soak:,} programs, {same}", f"{sizes.soak / seconds:,.0f} /s")]
    lines += [Line(f"soak, {name}: after, before", f"{after[name]:,}", f"{before[name]:,}") for name in before]
    return lines


PARTS = {"trivial": measure_trivial, "packages": measure_packages, "soak": measure_soak}

SIZES = {
    "repeats": (3, "how often each comparison counts"),
    "programs": (400, "programs of a comparison (the slower ways run a part of them)"),
    "soak": (10_000, "programs of the soak part"),
}


def main() -> None:
    """Measure the parts that were asked for and print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all where none is named")
    for name, (size, told) in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=size, help=f"{told} (default {size})")
    sizes = parser.parse_args()
    unknown = sorted(set(sizes.parts) - set(PARTS))
    if unknown:
        parser.error(f"no part '{unknown[0]}'; there are {', '.join(PARTS)}")
    problem = Zygote.missing()
    if problem:
        raise SystemExit(problem)
    lines = [line for name in sizes.parts or PARTS for line in asyncio.run(PARTS[name](sizes))]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    who = "root" if os.getuid() == 0 else "an ordinary user"
    print(f"{interpreter()} as {who}, Linux {platform.release()}, {os.cpu_count()} cores; load average {load}")
    rows = [list(vars(line).values()) for line in lines]
    print("\n".join(table(("measured", "ours", "bare", "ratio", "goal"), rows)))


if __name__ == "__main__":
    main()
