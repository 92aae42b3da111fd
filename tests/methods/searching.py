"""A scripted policy that walks a small sum, and a run that asks it: what tests of value searches share."""

import asyncio
from collections import defaultdict
from typing import Any

import pytest

from selfimprove.config import make_recipe
from selfimprove.engines import open_engine
from selfimprove.engines.base import Policy
from selfimprove.ledger import Ledger
from selfimprove.methods import rest_mcts_star
from selfimprove.records import Prompt, as_messages
from selfimprove.run import EngineOnDemand, Run
from selfimprove.runtime import drive
from selfimprove.verify import Verifiers

BASE, NOW, VALUE = (Policy("scripted", None, name) for name in ("base", "round-1", "value"))


SCRIPT = '''
"""Proposes, in turn, what TABLE has behind what was last said."""
TABLE = {table!r}
ASKED = {{}}
def answer(request, seed):
    last = request.messages[-1]["content"]
    texts = TABLE.get(last, TABLE.get("*", ["?"]))
    if {by_seed!r}:
        return texts[seed % len(texts)]
    ASKED[last] = ASKED.get(last, -1) + 1
    return texts[ASKED[last] % len(texts)]
'''


SUM = Prompt("sum", as_messages("What is 1 + 2 + 3?"), gold="6")


WALK = {
    SUM.text: ["1 + 2 = 3\n", "1 + 2 = 4\n"],
    "1 + 2 = 3\n": ["3 + 3 = 6\n", "3 + 3 = 7\n"],
    "1 + 2 = 4\n": ["4 + 3 = 7\n", "4 + 3 = 8\n"],
    "1 + 2 = 3\n3 + 3 = 6\n": ["The answer is 6"],
    "1 + 2 = 3\n3 + 3 = 7\n": ["The answer is 7"],
    "1 + 2 = 4\n4 + 3 = 7\n": ["The answer is 7"],
    "1 + 2 = 4\n4 + 3 = 8\n": ["The answer is 8"],
}


RIGHT = "1 + 2 = 3\n3 + 3 = 6\nThe answer is 6"


QUICK: dict[str, Any] = {"branch": 2, "iterations": 12, "heldout_share": 0.0, "end_gate": 2.0}


def asking(tmp_path):
    """Return a function that runs something for every prompt: (results, measured, kept rows, (asked, requests))."""

    def ask(
        work,
        prompts,
        table,
        *,
        round=3,
        models=None,
        by_seed=True,
        ledger="ledger.sqlite",
        seed=0,
        window=256,
        **engine,
    ):
        script = tmp_path / f"script-{len(list(tmp_path.glob('script-*')))}.py"
        if "answers" not in engine:
            script.write_text(SCRIPT.format(table=table, by_seed=by_seed))
            engine["script"] = str(script)
        recipe = make_recipe({"method": "rest_mcts_star", "prompts": "none", "seed": seed}, "test")
        results, measured, kept = [], defaultdict(list), []

        def emit(outcome):
            results.append(outcome.rows)
            kept.extend(outcome.kept)
            for name, value in outcome.measured:
                measured[name].append(value)

        async def scene():
            held = Ledger(tmp_path / ledger)
            on_demand = EngineOnDemand(open_engine({"name": "scripted", **engine}))
            policy = NOW if round > 1 else BASE
            models_now = {"value": VALUE} if models is None and round > 1 else models or {}
            run = Run(recipe, round, policy, BASE, BASE, on_demand, held, Verifiers(recipe.sandbox), models=models_now)
            try:
                await drive(prompts, lambda prompt: work(run, prompt), emit, window=window)
            finally:
                await on_demand.close()
                run.verifiers.close()
                held.close()
            return held.asked, on_demand.usage.requests

        counts = asyncio.run(scene())
        return results, {name: sum(values) / len(values) for name, values in measured.items()}, kept, counts

    return ask


def collecting(config):
    return lambda run, prompt: rest_mcts_star.collect(config, run, prompt)


def answering(config):
    async def work(run, prompt):
        return [await rest_mcts_star.answer(config, run, prompt)]

    return work


def near(value):
    return pytest.approx(value, abs=5e-5)
