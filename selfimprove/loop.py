"""The loop: measure the start model, then round by round collect, assemble, learn, evaluate, watch.

Each stage ends with a marker in the run folder. A stage that has one is not done again; everything else is
redone, and the ledger answers whatever had been asked before.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from selfimprove.config import Recipe
from selfimprove.evaluation.heldout import no_longer_rises
from selfimprove.evaluation.watch import best_round
from selfimprove.models import model_folder, policy_of
from selfimprove.plan import inspect_data, plan
from selfimprove.spending import BudgetSpent
from selfimprove.stages import DriftStop, Stages
from selfimprove.store import Store


class Interrupted(SystemExit):
    """The run has stopped early and saved everything; `code` is 130 for Ctrl-C, 143 for SIGTERM, 3 for a limit."""


LIMIT = 3
"""Exit code of a run that stopped at its budget or at a limit of its watch."""


def run_recipe(
    recipe: Recipe,
    where: str = "recipe",
    *,
    redo: str | None = None,
    collect_only: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Run a recipe from wherever it stopped to its end, and return the run folder.

    Raises SelfImproveError for what the user can fix and Interrupted after a signal or at a limit; either way
    everything finished is saved and the same call goes on from there.
    """
    checked = plan(recipe, where, Path(where).parent if Path(where).is_file() else None)
    folder = run_folder(recipe, where)
    with Store(folder).open(recipe, redo) as store:
        asyncio.run(_stoppable(Stages(checked, store, say), collect_only))
    return folder


def run_folder(recipe: Recipe, where: str) -> Path:
    """Return the run folder: `output`, or runs/<method>-<name of the recipe file>."""
    if recipe.output:
        return Path(recipe.output)
    parent, stem = Path(where).parent.name, Path(where).stem
    return Path("runs") / (stem if parent in ("", "recipes") else f"{parent}-{stem}")


async def _stoppable(stages: Stages, collect_only: bool) -> None:
    task = asyncio.ensure_future(rounds(stages, collect_only))
    events = asyncio.get_running_loop()
    received: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        if received:  # asked twice: do not wait for anything; finished answers are on disk already
            os._exit(128 + number)
        received.append(number)
        stages.say("stopping: saving what is finished (once more to stop at once)")
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        events.add_signal_handler(number, stop, number)
    try:
        await task
    except asyncio.CancelledError:
        if not received:
            raise
        stages.store.event("interrupted", signal=received[0].name)
        stages.say(f"stopped; everything finished is in {stages.store.folder}. The same command goes on from here.")
        raise Interrupted(128 + received[0]) from None
    except (BudgetSpent, DriftStop) as limit:
        stages.store.event("budget" if isinstance(limit, BudgetSpent) else "stopped", reason=str(limit))
        stages.report()
        stages.say(f"stopped: {limit}")
        raise Interrupted(LIMIT) from None
    finally:
        await stages.close()
        for number in (signal.SIGINT, signal.SIGTERM):
            events.remove_signal_handler(number)


async def rounds(stages: Stages, collect_only: bool = False) -> None:
    """Run all rounds; `collect_only` ends after the first round's data set."""
    recipe, store = stages.recipe, stages.store
    heldout = {} if collect_only else stages.plan.heldout()
    found = await inspect_data(stages.plan, heldout)
    base = policy_of(str(model_folder(recipe.model)))
    store.event("started", model=base.base, policy=base.digest, prompts=found.prompts)
    for prompt, reason in found.ungradable[:5]:
        stages.say(f"note: the gold answer of prompt {prompt.id} cannot be graded ({reason})")
    policies = {0: base}
    run = replace(stages.run(base), policies=policies)
    await stages.trust_judge(run)
    if not collect_only:
        await stages.measure(run, heldout)
    for number in range(1, recipe.rounds + 1):
        run = run.at(number, run.policy, run.previous)
        if not await stages.collect(run, found.prompts) and not collect_only:
            stages.say(f"round {number}: no prompts are left; the run ends here")
            break
        await stages.assemble(run, heldout)
        if collect_only:
            return
        policies[number], models = await stages.learn(run)
        run = run.at(number, policies[number], run.policy, models)
        drifted = await stages.measure(run, heldout)
        await stages.tell()
        if drifted:
            back = best_round(store, range(number))
            stages.say(f"round {number}: rolled back to round {back}")
            store.event("rolled_back", round=number, to=back)
            run = run.at(back, policies[back], base)
            break
        if heldout and no_longer_rises(store, number, recipe.evaluate.patience):
            stages.say(f"round {number}: the accuracy has not risen for {recipe.evaluate.patience} rounds")
            break
    await stages.finish(run)
