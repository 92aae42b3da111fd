"""A Run over the scripted engine: what a method's `collect` is tested with."""

import asyncio
from collections import defaultdict

import pytest

from selfimprove.config import make_recipe
from selfimprove.engines import open_engine
from selfimprove.engines.base import Policy
from selfimprove.ledger import Ledger
from selfimprove.run import EngineOnDemand, Run
from selfimprove.runtime import drive
from selfimprove.store import Rows
from selfimprove.verify import Verifiers

BASE = Policy("scripted", None, "base")


@pytest.fixture
def collect(tmp_path):
    """Return a function that runs a method's collect on prompts, with the answers of the scripted engine."""

    def collect(
        module, config, prompts, answers, *, round=1, seed=0, sandbox=None, earlier=None, previous=BASE, ledger=None,
        judge=None, **engine,
    ):  # fmt: skip
        name = module.__name__.rpartition(".")[2]
        sections = {"sandbox": sandbox or {}, "judge": judge or {}}
        recipe = make_recipe({"method": name, "prompts": "none", "seed": seed, **sections}, "test")
        measured = defaultdict(list)
        outcomes = []

        def emit(outcome):
            outcomes.append(outcome.rows)
            for name, value in outcome.measured:
                measured[name].append(value)

        async def scene():
            kept = Ledger(ledger or tmp_path / f"ledger-{len(list(tmp_path.iterdir()))}.sqlite")
            on_demand = EngineOnDemand(open_engine({"name": "scripted", "answers": answers, **engine}))
            policy = Policy("scripted", "adapter", f"round-{round - 1}") if round > 1 else BASE
            verifiers = Verifiers(recipe.sandbox)
            stored = lambda number, stage=None: (earlier or {}).get(number, Rows())  # noqa: E731
            run = Run(recipe, round, policy, previous, BASE, on_demand, kept, verifiers, stored=stored)
            try:
                await drive(prompts, lambda prompt: module.collect(config, run, prompt), emit)
            finally:
                await on_demand.close()
                run.verifiers.close()
                kept.close()

        asyncio.run(scene())
        return outcomes, {name: sum(values) / len(values) for name, values in measured.items()}

    return collect
