"""Measure the trees of a finished run: what growing many at once is worth, and how good each round's value model is.

    python scripts/bench_trees.py runs/quick-rest-mcts-star speed --trees 64
    python scripts/bench_trees.py runs/quick-rest-mcts-star values

speed   the same trees all at once and one after the other (in turn, forwards then backwards), the tokens a second of
        searching and of plain sampling with the same engine, and where the time of searching goes.
values  for the value model of every round, on steps of answers that the last policy samples to held-out items: the
        AUC of V against what the answer came to, with an interval over items. The same steps for all models.

Nothing is asserted of times: they belong to a machine.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench_search import ANSWER, SEARCHES, Bench, opened, world_of

from selfimprove.evaluation.values import auc, brier
from selfimprove.records import Prompt
from selfimprove.reporting.table import table
from selfimprove.search.grow import Budget, grow
from selfimprove.search.tree import Tree
from selfimprove.worlds.steps import split_steps
from selfimprove.worlds.value_search import ValueSearch

DRAWS = 1000
"""Bootstrap draws of an interval."""


@dataclass
class Timed:
    """One pass over all prompts: seconds, tokens generated, and what came of it."""

    seconds: float
    tokens: int
    trees: Sequence[Tree] = ()


class Free(ValueSearch):
    """The world of a search whose values cost nothing: chance, by the text alone."""

    async def value(self, text: str) -> float:
        """Return a number in [0, 1)."""
        return random.Random(text).random()


async def speed(folder: Path, arguments: argparse.Namespace) -> tuple[list[list[Any]], list[list[Any]]]:
    """Return rows about time: (many trees, one by one and plain sampling; where the time of searching goes)."""
    order = ["together", "one by one", "values free", "plain"]
    found: dict[str, list[Timed]] = {what: [] for what in (*order, "values")}
    with tempfile.TemporaryDirectory() as place:
        for repeat in range(arguments.repeats):
            for what in (order if repeat % 2 == 0 else order[::-1]) + ["values"]:
                ledger = Path(place) / f"{what}-{repeat}.sqlite"
                async with opened(folder, arguments.trees, ledger, arguments.values) as bench:
                    bench.items = [replace(bench.items[at % len(bench.items)], id=f"tree-{at}")
                                   for at in range(arguments.trees)]  # fmt: skip
                    await bench.run.sample(bench.items[0], purpose="warm", max_tokens=8)
                    await bench.run.value(bench.items[0], "1")
                    if what == "values":
                        found[what].append(await again(bench, found["together"][-1].trees))
                    else:
                        found[what].append(await timed(bench, what, arguments))
                print(f"  {what}: {found[what][-1].seconds:.1f} s, {found[what][-1].tokens} tokens", flush=True)
    seconds = {what: [each.seconds for each in passes] for what, passes in found.items()}
    rates = {what: [each.tokens / each.seconds for each in found[what]] for what in order}
    passes = [each.trees for each in found["together"] + found["one by one"]]
    same = sum(len({json.dumps(tree.to_row()) for tree in trees}) == 1 for trees in zip(*passes, strict=True))
    write = [each.tokens / rate for each, rate in zip(found["together"], rates["plain"], strict=True)]
    rest = [all_ - one - two for all_, one, two in zip(seconds["together"], write, seconds["values"], strict=True)]
    return [
        [f"{arguments.trees} trees one after the other against at once, seconds", middle(seconds["one by one"]),
         middle(seconds["together"]), ratio(seconds["one by one"], seconds["together"])],
        ["trees that are the same in all passes", f"{same} of {arguments.trees}", "", ""],
        ["tokens/s of searching against plain sampling", middle(rates["together"]), middle(rates["plain"]),
         ratio(rates["together"], rates["plain"])],
        ["the same, were values free", middle(rates["values free"]), middle(rates["plain"]),
         ratio(rates["values free"], rates["plain"])],
    ], [
        ["writing as many tokens by plain sampling", middle(write), ratio(write, seconds["together"])],
        ["the values of the trees' nodes, all asked at once", middle(seconds["values"]),
         ratio(seconds["values"], seconds["together"])],
        ["the rest: beginnings read again, short requests, steps that wait for values", middle(rest),
         ratio(rest, seconds["together"])],
    ]  # fmt: skip


async def timed(bench: Bench, what: str, arguments: argparse.Namespace) -> Timed:
    """Return one pass of searching or plain sampling over all prompts."""
    run, budget, way = bench.run, Budget(rounds=arguments.rounds), "tree search, ReST-MCTS* rules"
    trees = [Tree(prompt.id) for prompt in bench.items]
    worlds = [world_of(run, prompt, way, arguments.temperature) for prompt in bench.items]
    if what == "values free":
        worlds = [Free(run, world.prompt, world.moves, every_child=False) for world in worlds]
    growing = [(tree, world, SEARCHES[way][0], budget) for tree, world in zip(trees, worlds, strict=True)]
    before, begun = bench.engine.usage.tokens, time.perf_counter()
    if what == "plain":
        options: dict[str, Any] = {"temperature": arguments.temperature, "max_tokens": ANSWER}
        await asyncio.gather(*(run.sample(prompt, 3 * arguments.rounds, **options) for prompt in bench.items))
    elif what != "one by one":
        await asyncio.gather(*(grow(*each) for each in growing))
    else:
        for each in growing:
            await grow(*each)
    seconds = time.perf_counter() - begun
    return Timed(seconds, bench.engine.usage.tokens - before, [] if what == "plain" else trees)


async def again(bench: Bench, trees: Sequence[Tree]) -> Timed:
    """Return how long the values of all nodes of grown trees take, asked at once."""
    begun = time.perf_counter()
    asked = [(prompt, tree.text(node)) for prompt, tree in zip(bench.items, trees, strict=True) for node in tree.nodes]
    await asyncio.gather(*(bench.run.value(prompt, text) for prompt, text in asked))
    return Timed(time.perf_counter() - begun, 0)


def middle(values: Sequence[float]) -> str:
    """Return the median as text."""
    return f"{statistics.median(values):.1f}"


def ratio(first: Sequence[float], second: Sequence[float]) -> str:
    """Return the median of the passes' ratios with the smallest and the largest."""
    values = [one / two for one, two in zip(first, second, strict=True)]
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


@dataclass
class Judged:
    """The steps of one item's answers: (place from the end, was the answer right, V)."""

    steps: list[tuple[int, float, float | None]]


async def values(folder: Path, arguments: argparse.Namespace) -> list[list[Any]]:
    """Return a row for every round's value model: AUC of all steps and of last ones, Brier score of last ones."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        async with opened(folder, arguments.items, Path(place) / "ledger.sqlite", arguments.values) as bench:
            answers = await asyncio.gather(*(sampled(bench, prompt, arguments) for prompt in bench.items))
            for number, model in bench.by_round.items():
                bench.run.models["value"] = model
                items = await asyncio.gather(
                    *(judged(bench, *each) for each in zip(bench.items, answers, strict=True))
                )
                rows.append([number, interval(items, last=False), interval(items, last=True), scored(items)])
    right = [right for each in answers for right in each.values()]
    print(f"{len(right)} different answers to {len(answers)} items, {100 * statistics.mean(right):.1f} % right")
    return rows


async def sampled(bench: Bench, prompt: Prompt, arguments: argparse.Namespace) -> dict[str, float]:
    """Return {answer: 1 where it is right, else 0} of different answers that ended and could be graded."""
    options: dict[str, Any] = {"temperature": arguments.temperature, "max_tokens": ANSWER}
    samples = await bench.run.sample(prompt, arguments.samples, **options)
    texts = list(dict.fromkeys(sample.text for sample in samples if sample.ok and sample.finish == "stop"))
    scores = [(await bench.run.check(prompt, text)).score for text in texts]
    return {text: float(score >= 1) for text, score in zip(texts, scores, strict=True) if score is not None}


async def judged(bench: Bench, prompt: Prompt, answers: dict[str, float]) -> Judged:
    """Return the values of all beginnings of answers, each beginning once: 1 where any right answer begins so."""
    found: dict[str, tuple[int, float]] = {}
    for text, right in answers.items():
        steps = split_steps(text)
        for count in range(1, len(steps) + 1):
            begun = "".join(steps[:count])
            found[begun] = (len(steps) - count, max(right, found.get(begun, (0, 0.0))[1]))
    known = await asyncio.gather(*(bench.run.value(prompt, text) for text in found))
    return Judged([(place, right, value) for (place, right), value in zip(found.values(), known, strict=True)])


def area(items: Sequence[Judged], last: bool) -> float | None:
    """Return the AUC over the steps of items, or over their last ones alone."""
    steps = [step for item in items for step in item.steps if not last or not step[0]]
    return auc([right for _, right, _ in steps], [value for *_, value in steps])


def interval(items: Sequence[Judged], last: bool) -> str:
    """Return the AUC with its 95 % interval from draws of whole items."""
    found, rng = area(items, last), random.Random(0)
    draws = sorted(each for _ in range(DRAWS) if (each := area(rng.choices(items, k=len(items)), last)) is not None)
    if found is None or not draws:
        return "-"
    return f"{found:.3f} [{draws[int(0.025 * len(draws))]:.3f}, {draws[int(0.975 * len(draws))]:.3f}]"


def scored(items: Sequence[Judged]) -> str:
    """Return the Brier score of V at the end of answers."""
    ends = [(right, value) for item in items for place, right, value in item.steps if not place]
    found = brier([right for right, _ in ends], [value for _, value in ends])
    return "-" if found is None else f"{found:.3f}"


def main() -> None:
    """Run a part and print its tables."""
    parser = argparse.ArgumentParser(description="Measure the trees and the value models of a run.")
    parser.add_argument("run", type=Path, help="a finished run that trained a value model")
    parser.add_argument("part", choices=("speed", "values"))
    parser.add_argument("--temperature", type=float, default=1.0, help="of sampling (default 1.0)")
    parser.add_argument("--trees", type=int, default=64, help="speed: trees (default 64)")
    parser.add_argument("--rounds", type=int, default=6, help="speed: visits of a tree (default 6)")
    parser.add_argument("--repeats", type=int, default=2, help="speed: repeats (default 2)")
    parser.add_argument("--values", choices=("transformers", "vllm"), help="what serves V (default: as the run)")
    parser.add_argument("--items", type=int, default=200, help="values: held-out items (default 200)")
    parser.add_argument("--samples", type=int, default=6, help="values: answers to an item (default 6)")
    arguments = parser.parse_args()
    print(f"{platform.system()} {platform.release()}, {os.cpu_count()} cores; {arguments.run}")
    if arguments.part == "values":
        found = asyncio.run(values(arguments.run, arguments))
        print("\n".join(table(["round", "AUC, all steps", "AUC, ends", "Brier score, ends"], found)))
        return
    times, parts = asyncio.run(speed(arguments.run, arguments))
    print("\n".join(table(["measured", "first", "second", "ratio"], times)))
    print("\n".join(table(["where the time of searching goes", "seconds", "share"], parts)))


if __name__ == "__main__":
    main()
