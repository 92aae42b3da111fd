"""Measure what search buys: held-out accuracy against generated tokens, with a finished run's policy and value model.

    python scripts/bench_search.py runs/quick-rest-mcts-star
    python scripts/bench_search.py runs/quick-rest-mcts-star --items 100 --budgets 64 128 256

Greedy, self-consistency, best of N and votes weighed by the value model, beam search, breadth-first tree of thoughts,
tree search by three sets of rules. Every way gets the same tokens an item; a search may end its last visit above the
budget, so what it used is told too. Tokens are those that the policy wrote; what it read, and what the value model
read, is not counted.
"""

import argparse
import asyncio
import os
import platform
import statistics
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from selfimprove.config import Recipe
from selfimprove.engines import open_engine
from selfimprove.engines.base import Policy
from selfimprove.engines.value import ValueModel, serving
from selfimprove.errors import DataError
from selfimprove.evaluation.metrics import mcnemar, wilson
from selfimprove.judges.voting import ballot
from selfimprove.learned import models_of_round, policy_of_round
from selfimprove.ledger import Ledger
from selfimprove.models import model_folder, policy_of
from selfimprove.records import Prompt, Sample
from selfimprove.reporting.table import table
from selfimprove.run import EngineOnDemand, Run
from selfimprove.search.backup import Backup
from selfimprove.search.extract import most_valued
from selfimprove.search.grow import Budget, Rules, grow
from selfimprove.search.levels import by_levels
from selfimprove.search.selection import Select
from selfimprove.search.tree import DEAD, Node, Tree
from selfimprove.sources import load_prompts
from selfimprove.store import Store, saved_recipe
from selfimprove.verify import Verifiers
from selfimprove.worlds.steps import Writing
from selfimprove.worlds.value_search import Moves, ValueSearch

ANSWER = 128
"""Tokens of the longest whole answer."""

GREEDY, BASELINE = "greedy", "self-consistency"
"""The way without a budget, and the way that all others are compared with."""

SEARCHES: dict[str, tuple[Rules, int | None]] = {
    "beam search, log-prob": (Rules(children=4, max_depth=8), 2),
    "tree of thoughts, breadth first": (Rules(children=3, max_depth=8), 3),
    "tree search, ReST-MCTS* rules": (
        Rules(Select("uct", 0.5, 2, "bonus", 0.9), Backup("child_weighted"), 3, max_depth=8, childless="terminal"),
        None,
    ),
    "tree search, PUCT to the end": (
        Rules(Select("puct", 1.0), Backup("q_reward"), 3, ends_at="end", max_depth=8, childless="terminal"),
        None,
    ),
    "tree search, widening": (Rules(children=3, root_children=6, widening=True, max_depth=8), None),
}
"""Way: the rules, and for level-wise ones how many nodes of a level are kept."""

Measured = list[tuple[float | None, int]]
"""Of one item, for every budget: (its grade, None where it has none; the tokens generated for it)."""

Way = Callable[[Run, Prompt, Sequence[int]], Awaitable[list[tuple[str, int]]]]
"""Returns for every budget (the answer's text, the tokens generated for it)."""


class Likely(ValueSearch):
    """The world of beam search: a step is worth the mean log-prob a token of the answer up to it."""

    async def guess(self, tree: Tree, nodes: Sequence[Node]) -> list[float | None]:
        """Return sum of log-probs / tokens of the answer up to each node, in nats."""
        return [likelihood(tree, node) for node in nodes]


def likelihood(tree: Tree, node: Node) -> float | None:
    """Return the mean log-prob a token of the answer up to a node, None where the engine told none."""
    line = tree.line(node)[1:]
    if any(item.logprob is None for item in line):
        return None
    return sum(item.logprob or 0.0 for item in line) / max(1, sum(item.tokens for item in line))


def world_of(run: Run, prompt: Prompt, way: str, temperature: float) -> ValueSearch:
    """Return the world that a way searches in; without roll-outs, so that tokens go into the tree."""
    moves = Moves(Writing(temperature=temperature, max_tokens=ANSWER // 2), forward=0, max_tokens=ANSWER)
    return (Likely if "log-prob" in way else ValueSearch)(run, prompt, moves, every_child=False)


def searching(way: str, temperature: float) -> Way:
    """Return the way that grows one tree and reads its answer at every budget."""
    rules, keep = SEARCHES[way]

    async def answers(run: Run, prompt: Prompt, budgets: Sequence[int]) -> list[tuple[str, int]]:
        found = []
        tree, world = Tree(prompt.id), world_of(run, prompt, way, temperature)
        for budget in budgets:
            if keep is None:
                await grow(tree, world, rules, Budget(tokens=budget, rounds=budget))
            else:  # levels are not taken up again, so each budget has a tree of its own; its steps are in the ledger
                tree = Tree(prompt.id)
                await by_levels(tree, world, rules, Budget(tokens=budget), max(1, keep * budget // budgets[0]))
            text, more = await best_answer(tree, world)
            found.append((text, tree.counts.get("tokens", 0) + more))
        return found

    return answers


async def best_answer(tree: Tree, world: ValueSearch) -> tuple[str, int]:
    """Return the answer of highest value and the tokens that finishing it took, where no answer is finished yet."""
    ends = [node for node in tree.ends() if node.state != DEAD and node.guess is not None]
    best = most_valued(ends, lambda node: node.guess or 0.0)
    if best is not None:
        return tree.text(best), 0
    leaves = [node for node in tree.nodes[1:] if node.state != DEAD and node.guess is not None]
    leaf = most_valued(leaves, lambda node: node.guess or 0.0) or tree.root
    before = tree.counts.get("tokens", 0)
    sample = await world.whole(tree, leaf, "write")
    more = tree.counts.get("tokens", 0) - before
    tree.counts["tokens"] = before  # this budget's finish is no part of the next one's tree
    return sample.text, more


async def plain(run: Run, prompt: Prompt, budgets: Sequence[int]) -> list[tuple[str, int]]:
    """Return the greedy answer, whatever the budget."""
    [sample] = await run.sample(prompt, temperature=0.0, max_tokens=ANSWER)
    return [(sample.text, sample.tokens)] * len(budgets)


def combining(how: str, temperature: float) -> Way:
    """Return the way that draws whole answers as long as they fit into the budget, and combines them."""

    async def answers(run: Run, prompt: Prompt, budgets: Sequence[int]) -> list[tuple[str, int]]:
        drawn: list[Sample] = []
        while sum(sample.tokens for sample in drawn) < budgets[-1]:
            options: dict[str, Any] = {"temperature": temperature, "max_tokens": ANSWER, "attempt": len(drawn) // 4}
            drawn += await run.sample(prompt, 4, purpose="bench", **options)
        values = [await run.value(prompt, sample.text) if how != "votes" else 1.0 for sample in drawn]
        found = []
        for budget in budgets:
            fit, used = 0, 0
            while fit < len(drawn) and (used + drawn[fit].tokens <= budget or not fit):
                used += drawn[fit].tokens
                fit += 1
            found.append((combined(how, run, prompt, drawn[:fit], values[:fit]), used))
        return found

    return answers


def combined(how: str, run: Run, prompt: Prompt, samples: list[Sample], values: list[float | None]) -> str:
    """Return the text that stands for some answers: of most votes or weight, or of the highest value."""
    if how == "best":
        known = [(value, -at) for at, value in enumerate(values) if value is not None]
        return samples[-max(known)[1]].text if known else ""
    read = [run.answer(prompt, sample.text) for sample in samples]
    weights = [None if value is None else max(value, 0.0) for value in values]
    answer, _ = ballot(read, weights)
    return next((sample.text for sample, found in zip(samples, read, strict=True) if found == answer), "")


def ways_of(temperature: float) -> dict[str, Way]:
    """Return every way by its name."""
    return {
        GREEDY: plain,
        BASELINE: combining("votes", temperature),
        "best of N, value model": combining("best", temperature),
        "votes weighed by the value model": combining("weighed", temperature),
        **{way: searching(way, temperature) for way in SEARCHES},
    }


@dataclass
class Bench:
    """The run that is measured with, and the items."""

    run: Run
    items: list[Prompt]
    engine: EngineOnDemand
    by_round: dict[int, Policy]  # value models


@asynccontextmanager
async def opened(
    folder: Path, items: int, ledger: Path, value_engine: str | None = None
) -> AsyncGenerator[Bench, None]:
    """Yield the run of a finished run folder: its last policy, its value model, its first held-out set."""
    store, recipe = Store(folder), saved_recipe(folder)
    policy = base = policy_of(str(model_folder(recipe.model)))
    models: dict[str, Policy] = {}
    by_round: dict[int, Policy] = {}
    number = 1
    while (marker := store.marker(number, "learn")) is not None:
        policy = policy_of_round(store, marker, policy)
        models = models_of_round(store, marker, base)
        by_round |= {number: models["value"]} if "value" in models else {}
        number += 1
    if "value" not in models:
        raise DataError(f"{folder}: it trained no value model; name a finished run of rest-mcts-star or alphallm")
    heldout = load_prompts(next(iter(recipe.heldout.values())))
    section = {**recipe.value, "engine": value_engine} if value_engine else recipe.value
    engine, values = EngineOnDemand(open_engine(recipe.engine)), ValueModel(serving(section))
    answers, verifiers = Ledger(ledger), Verifiers(recipe.sandbox)
    try:
        found = [prompt for prompt, _ in zip(heldout, range(items), strict=False)]
        run = Run(
            replace_seed(recipe), 1, policy, base, base, engine, answers, verifiers, models=models, values=values
        )
        yield Bench(run, found, engine, by_round)
    finally:
        await engine.close()
        await values.close()
        verifiers.close()
        answers.close()


def replace_seed(recipe: Recipe) -> Recipe:
    """Return the recipe with a seed of its own, so that nothing is answered as it was in training."""
    return replace(recipe, seed=recipe.seed + 1_000_003)


async def accuracy(folder: Path, arguments: argparse.Namespace) -> list[list[Any]]:
    """Return a row for every way and budget: accuracy with its interval, the paired test, tokens an item."""
    found: dict[str, list[Measured]] = {}
    with tempfile.TemporaryDirectory() as place:
        async with opened(folder, arguments.items, Path(place) / "ledger.sqlite") as bench:

            async def one(prompt: Prompt, way: Way) -> Measured:
                answers = await way(bench.run, prompt, arguments.budgets)
                verdicts = [await bench.run.check(prompt, text) for text, _ in answers]
                return [(verdict.score, tokens) for verdict, (_, tokens) in zip(verdicts, answers, strict=True)]

            for name, way in ways_of(arguments.temperature).items():
                found[name] = await asyncio.gather(*(one(prompt, way) for prompt in bench.items))
                print(f"  {name}: measured", flush=True)
    rows = []
    for name, items in found.items():
        for at, budget in enumerate(arguments.budgets[: 1 if name == GREEDY else None]):
            place = budget if name != GREEDY else "-"
            against = versus(items, found[BASELINE], at) if name not in (GREEDY, BASELINE) else ""
            rows.append([name, place, *told(items, at), against])
    return rows


def told(items: Sequence[Measured], at: int) -> tuple[str, str]:
    """Return (mean tokens an item, share of right answers with its interval) at one budget."""
    known = [score for score in (each[at][0] for each in items) if score is not None]
    right = float(sum(score >= 1 for score in known))
    low, high = wilson(right, len(known))
    mean = statistics.mean(each[at][1] for each in items)
    return f"{mean:.0f}", f"{100 * right / max(1, len(known)):.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def versus(items: Sequence[Measured], others: Sequence[Measured], at: int) -> str:
    """Return the points gained on another way's answers to the same items, and McNemar's p."""
    both = [(ours[at][0], theirs[at][0]) for ours, theirs in zip(items, others, strict=True)]
    known = [(ours >= 1, theirs >= 1) for ours, theirs in both if ours is not None and theirs is not None]
    gained, lost = known.count((True, False)), known.count((False, True))
    return f"{100 * (gained - lost) / max(1, len(known)):+.1f} (p = {mcnemar(gained, lost):.3f})"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description="Measure what search buys.")
    parser.add_argument("run", type=Path, help="a finished run that trained a value model")
    parser.add_argument("--items", type=int, default=100, help="held-out items (default 100)")
    parser.add_argument("--budgets", type=int, nargs="+", default=[64, 128, 256, 512], help="tokens an item")
    parser.add_argument("--temperature", type=float, default=0.7, help="of sampling (default 0.7)")
    arguments = parser.parse_args()
    arguments.budgets = sorted(arguments.budgets)
    print(f"{platform.system()} {platform.release()}, {os.cpu_count()} cores; {arguments.run}")
    found = asyncio.run(accuracy(arguments.run, arguments))
    head = ["way", "budget", "tokens an item", "right", f"points against {BASELINE}"]
    print("\n".join(table(head, found)))


if __name__ == "__main__":
    main()
