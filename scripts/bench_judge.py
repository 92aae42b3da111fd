"""Measure what judging costs: with and without a prefix cache, and one token against a written verdict.

    python scripts/bench_judge.py                    # one table
    python scripts/bench_judge.py --prompts 24 --answers 8 --repeats 3

cached    judgements of several answers to one question through run.judge, whose prompts begin alike (rubric and
          question), with vLLM's prefix cache and without
digits    the expected grade from the probabilities of one token against a justified verdict that is written out

Every way runs in a process of its own, in turn, forwards then backwards; a ratio is the median over the repeats, with
the smallest and the largest. Nothing is asserted: timings belong to a machine.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from selfimprove.config import Recipe
from selfimprove.engines import open_engine
from selfimprove.ledger import Ledger
from selfimprove.models import model_folder, policy_of
from selfimprove.records import Prompt, Row, Skip
from selfimprove.reporting.table import table
from selfimprove.resources import shipped_file
from selfimprove.run import EngineOnDemand, Run
from selfimprove.runtime import drive
from selfimprove.sources import load_prompts
from selfimprove.verify import Verifiers

DIGITS = {"name": "llm", "read": "digits"}
WRITTEN = {"name": "llm", "read": "text", "samples": 1, "max_tokens": 128}
WAYS = {"digits, cached": (DIGITS, True), "digits, not cached": (DIGITS, False), "written, cached": (WRITTEN, True)}
"""Way: the judge, and whether vLLM keeps what prompts have in common."""

COMPARED = (
    ("one token, prefix cache and none", "digits, cached", "digits, not cached"),
    ("prefix cache, one token and a written verdict", "digits, cached", "written, cached"),
)


async def judge_all(way: str, prompts: int, answers: int) -> float:
    """Return judgements a second of one way, the engine's start not counted."""
    judge, cached = WAYS[way]
    source = str(shipped_file("data/instructions/train.jsonl"))
    asked = [prompt for prompt, _ in zip(load_prompts(source), range(prompts), strict=False)]
    texts = [answer.solution or "" for answer, _ in zip(_answers(), range(answers), strict=False)]
    policy = policy_of(str(model_folder("embedded")))
    engine = EngineOnDemand(open_engine({"name": "vllm", "max_model_len": 1024, "enable_prefix_caching": cached}))
    recipe = Recipe({"name": "bench"}, "", judge=judge)

    async def one(prompt: Prompt) -> list[Row]:
        await asyncio.gather(*(run.judge(prompt, text) for text in texts))
        return [Skip(prompt.id, "judged")]

    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        run = Run(recipe, 1, policy, policy, policy, engine, ledger, Verifiers())
        await drive([Prompt("warm", asked[0].messages)], one, lambda outcome: None)
        begun = time.perf_counter()
        await drive(asked, one, lambda outcome: None)
        seconds = time.perf_counter() - begun
        await engine.close()
        ledger.close()
    return len(asked) * len(texts) / seconds


def _answers():
    """Yield worked answers of some length: the reference programs of small programming tasks."""
    return load_prompts(str(shipped_file("data/code/train.jsonl")))


def measure(way: str, arguments: argparse.Namespace) -> float:
    """Return what one way gave in a process of its own."""
    command = [sys.executable, __file__, "--way", way, "--prompts", str(arguments.prompts)]
    done = subprocess.run(
        [*command, "--answers", str(arguments.answers)], stdout=subprocess.PIPE, check=True, text=True
    )
    speed = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"  {way}: {speed:.1f} judgements/s", file=sys.stderr, flush=True)
    return speed


def main() -> None:
    """Run every way in turn and print the table."""
    parser = argparse.ArgumentParser(description="Measure what judging costs.")
    parser.add_argument("--prompts", type=int, default=24, help="questions (default 24)")
    parser.add_argument("--answers", type=int, default=8, help="answers a question that are judged (default 8)")
    parser.add_argument("--repeats", type=int, default=3, help="how often each comparison counts (default 3)")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(asyncio.run(judge_all(arguments.way, arguments.prompts, arguments.answers))))
        return
    speeds: list[dict[str, float]] = []
    for repeat in range(arguments.repeats):
        order = list(WAYS) if repeat % 2 == 0 else list(WAYS)[::-1]
        speeds.append({way: measure(way, arguments) for way in order})
    rows = []
    for measured, ours, bare in COMPARED:
        ratios = [one[ours] / one[bare] for one in speeds]
        medians = [f"{statistics.median(one[name] for one in speeds):.1f}/s" for name in (ours, bare)]
        rows.append([measured, *medians, f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"])
    print(f"{platform.system()} {platform.release()}, {os.cpu_count()} cores; {arguments.answers} answers a question")
    print("\n".join(table(["measured", "first", "second", "ratio"], rows)))


if __name__ == "__main__":
    main()
