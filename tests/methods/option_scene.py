"""A run over the scripted engine in which AlphaLLM's parts are at work, and a world whose options are given."""

import asyncio
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from selfimprove.config import make_recipe
from selfimprove.engines import open_engine
from selfimprove.engines.base import Policy
from selfimprove.ledger import Ledger
from selfimprove.records import Prompt, as_messages
from selfimprove.run import EngineOnDemand, Run
from selfimprove.runtime import drive
from selfimprove.search.tree import Candidate, Node, Tree
from selfimprove.store import Rows
from selfimprove.verify import Verifiers
from selfimprove.worlds.critics import Critics
from selfimprove.worlds.options import Merge, OptionWorld, Search, grown
from selfimprove.worlds.steps import Writing

BASE, NOW = Policy("scripted", None, "base"), Policy("scripted", "adapter", "now")
VALUE = {"value": Policy("value", None, "value")}
PLAIN = Critics(outcome_weight=0, outcome="value")
"""The value critic alone."""

OPTIONS = {"": "ABC", "A": ("a#", "b#"), "B": ("c#", "d#"), "C": ("e#", "f#")}
VALUES = {"A": 0.5, "B": -0.2, "C": 0.1, "Aa#": 0.9, "Ab#": -0.5, "Ce#": 0.2}
SMALL = Search(rounds=6, least_ends=0, root_children=3, children=2, factor=2, merge=Merge("none"))


def prompt(name: str = "sum", **meta) -> Prompt:
    puzzle = {"numbers": [2, 2], "target": 4, **meta}
    asked = as_messages("Make 4 out of 2 and 2.")
    return Prompt(name, asked, gold="2 + 2", solution="2 + 2 = 4\nAnswer: 2 + 2", verifier="countdown", meta=puzzle)


def at_work(function, *, prompts=None, ledger=None, round=3, models=VALUE, recipe=None, earlier=None, **engine):
    """What `function(run, prompt)` gives, in order, with what was measured, kept, and asked of the engine."""
    measured, kept, given = defaultdict(list), [], []
    made = open_engine({"name": "scripted", **engine})

    def emit(outcome):
        given.append(outcome.rows)
        kept.extend(row for name, row in outcome.kept if name == "trees")
        for name, value in outcome.measured:
            measured[name].append(value)

    async def scene(folder):
        store = Ledger(ledger or Path(folder) / "ledger.sqlite")
        checked = make_recipe({"method": "alphallm", "prompts": "none", **(recipe or {})}, "test")
        run = Run(
            checked, round, NOW, NOW, BASE, EngineOnDemand(made), store, Verifiers(), models=models,
            stored=lambda number, stage=None: (earlier or {}).get(number, Rows()),
        )  # fmt: skip
        try:
            await drive(prompts or [prompt()], lambda each: function(run, each), emit)
        finally:
            await run.engine.close()
            run.verifiers.close()
            store.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scene(folder))
    return given, measured, kept, made.usage


class Written(OptionWorld):
    """A world whose options are given; all else is asked of the run."""

    async def option(self, tree, node, before, attempt, greedy):
        texts = [*OPTIONS[before], *[""] * 20]  # nothing new comes after them
        text = texts[len(tree.children(node))]
        return Candidate(text, 1, ended="#" in text)


def traced(rounds: int, critics: Critics = PLAIN, search: Search = SMALL, values=VALUES) -> Tree:
    trees = []

    async def collect(run, each):
        world = Written(run, each, Writing(), replace(search, rounds=rounds), critics)
        trees.append(await grown(world, each.id))
        return []

    at_work(collect, prompts=[prompt(values=values)])
    return trees[0]


def named(tree: Tree) -> dict[str, Node]:
    return {tree.text(node): node for node in tree.nodes}
