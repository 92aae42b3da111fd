"""The loop: measure the start model, then round by round collect, assemble, learn, evaluate.

Each stage ends with a marker in the run folder. A stage that has one is not done again; everything else is
redone, and the ledger answers whatever had been asked before.
"""

import asyncio
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfimprove.config import Recipe
from selfimprove.engines import open_engine
from selfimprove.engines.base import Policy
from selfimprove.evaluation.heldout import measure_policy, no_longer_rises
from selfimprove.ledger import Ledger
from selfimprove.models import export_merged, model_folder, policy_of
from selfimprove.plan import Plan, inspect_data, plan
from selfimprove.progress import Progress
from selfimprove.records import Prompt, Skip
from selfimprove.reporting.rounds import round_lines
from selfimprove.run import EngineOnDemand, Run, means
from selfimprove.runtime import Outcome, drive
from selfimprove.store import Rows, RowWriter, Store
from selfimprove.training.job import Job, Result
from selfimprove.training.launch import run_job

__all__ = ["Interrupted", "Loop", "plan", "run_recipe"]


class Interrupted(SystemExit):
    """The run was told to stop and has saved everything; `code` is 130 for Ctrl-C, 143 for SIGTERM."""


def run_recipe(
    recipe: Recipe,
    where: str = "recipe",
    *,
    redo: str | None = None,
    collect_only: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Run a recipe from wherever it stopped to its end, and return the run folder.

    Raises SelfImproveError for what the user can fix and Interrupted after a signal; either way everything
    finished is saved and the same call goes on from there.
    """
    checked = plan(recipe, where, Path(where).parent if Path(where).is_file() else None)
    folder = run_folder(recipe, where)
    with Store(folder).open(recipe, redo) as store:
        asyncio.run(_stoppable(Loop(checked, store, say), collect_only))
    return folder


def run_folder(recipe: Recipe, where: str) -> Path:
    """Return the run folder: `output`, or runs/<method>-<name of the recipe file>."""
    if recipe.output:
        return Path(recipe.output)
    parent, stem = Path(where).parent.name, Path(where).stem
    return Path("runs") / (stem if parent in ("", "recipes") else f"{parent}-{stem}")


async def _stoppable(loop: "Loop", collect_only: bool) -> None:
    task = asyncio.ensure_future(loop.rounds(collect_only))
    events = asyncio.get_running_loop()
    received: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        if received:  # asked twice: do not wait for anything; finished answers are on disk already
            os._exit(128 + number)
        received.append(number)
        loop.say("stopping: saving what is finished (once more to stop at once)")
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        events.add_signal_handler(number, stop, number)
    try:
        await task
    except asyncio.CancelledError:
        if not received:
            raise
        loop.store.event("interrupted", signal=received[0].name)
        loop.say(f"stopped; everything finished is in {loop.store.folder}. The same command goes on from here.")
        raise Interrupted(128 + received[0]) from None
    finally:
        await loop.close()
        for number in (signal.SIGINT, signal.SIGTERM):
            events.remove_signal_handler(number)


async def run_in_thread(job: Job, on_event: Callable[[dict[str, Any]], None]) -> Result:
    """Train a job in its own process without blocking the loop; a cancelled training is ended before this returns."""
    stop = threading.Event()
    training = asyncio.create_task(asyncio.to_thread(run_job, job, None, on_event, stop.is_set))
    try:
        return await asyncio.shield(training)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([training])
        raise


class Loop:
    """One run of a plan in a store; `rounds()` does everything that is not done yet."""

    def __init__(self, checked: Plan, store: Store, say: Callable[[str], None] = print) -> None:
        """Prepare; nothing heavy happens before `rounds`."""
        self.plan, self.recipe, self.store, self.say = checked, checked.recipe, store, say
        self.ledger = Ledger(self.recipe.ledger or store.folder / "ledger.sqlite")
        self.engine = EngineOnDemand(open_engine(self.recipe.engine))
        self.verifiers: dict[str, Any] = {}

    async def close(self) -> None:
        """Stop the engine and the verifiers, and close the ledger."""
        await self.engine.close()
        for verifier in self.verifiers.values():
            verifier.close()
        self.ledger.close()

    async def rounds(self, collect_only: bool = False) -> None:
        """Run all rounds; `collect_only` ends after the first round's data set."""
        heldout = {} if collect_only else self.plan.heldout()
        found = await inspect_data(self.plan, heldout)
        base = policy_of(str(model_folder(self.recipe.model)))
        self.store.event("started", model=base.base, policy=base.digest, prompts=found.prompts)
        for prompt, reason in found.ungradable[:5]:
            self.say(f"note: the gold answer of prompt {prompt.id} cannot be graded ({reason})")
        run = Run(self.recipe, 0, base, base, base, self.engine, self.ledger, self.verifiers, stored=self.store.rows)
        if heldout:
            await self.evaluate(run, heldout)
        for number in range(1, self.recipe.rounds + 1):
            run = run.at(number, run.policy, run.previous)
            if not await self.collect(run, found.prompts) and not collect_only:
                self.say(f"round {number}: no prompts are left; the run ends here")
                break
            await self.assemble(run)
            if collect_only:
                return
            policy = await self.learn(run)
            run = run.at(number, policy, run.policy)
            if heldout:
                await self.evaluate(run, heldout)
                if no_longer_rises(self.store, number, self.recipe.evaluate.patience):
                    self.say(f"round {number}: the accuracy has not risen for {self.recipe.evaluate.patience} rounds")
                    break
        await self.export(run.policy)

    async def collect(self, run: Run, total: int) -> int:
        """Run the method on every prompt of the round; return how many prompts there were."""
        marker = self.store.marker(run.round, "collect")
        if marker is not None:
            return marker["prompts"]
        writer = RowWriter(self.store.stage_folder(run.round, "collect"), self.recipe.collect.shard_rows)
        measured: dict[str, list[float]] = defaultdict(list)
        count = min(total, self.recipe.prompts_per_round or total)
        with Progress(f"round {run.round} collect", count, lambda: self.engine.usage.tokens) as progress:

            def emit(outcome: Outcome) -> None:
                for row in outcome.rows:
                    writer.write(row)
                for name, value in outcome.measured:
                    measured[name].append(value)
                skips = sum(isinstance(row, Skip) for row in outcome.rows)
                progress.advance(len(outcome.rows) - skips, skips)

            if hasattr(self.plan.method, "collect_all"):
                for row in await self.plan.method.collect_all(self.plan.config, run, self.plan.prompts(run.round)):
                    emit(Outcome(Prompt(row.id, ()), [row]))
            else:
                await drive(
                    self.plan.prompts(run.round),
                    lambda prompt: self.plan.method.collect(self.plan.config, run, prompt),
                    emit,
                    window=self.recipe.collect.window,
                    on_failure=self.recipe.collect.on_failure,
                )
        files = writer.close()
        self.store.finish(
            run.round, "collect", files, prompts=progress.items, rows=writer.rows, skips=writer.skips,
            metrics=means(measured), policy=run.policy.digest,
        )  # fmt: skip
        reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(writer.skips.items())) or "none"
        self.say(f"round {run.round}: {writer.rows} rows from {progress.items} prompts; skipped: {reasons}")
        return progress.items

    async def assemble(self, run: Run) -> None:
        """Let the method look at the whole data set, where it wants to."""
        if not hasattr(self.plan.method, "assemble") or self.store.marker(run.round, "assemble"):
            return
        collected = self.store.rows(run.round)
        result = self.plan.method.assemble(self.plan.config, collected)
        if result is collected:  # nothing to do for this configuration: the collected rows stand
            return
        writer = RowWriter(self.store.stage_folder(run.round, "assemble"), self.recipe.collect.shard_rows)
        for row in result:
            writer.write(row)
        self.store.finish(run.round, "assemble", writer.close(), rows=writer.rows, skips=writer.skips)

    async def learn(self, run: Run) -> Policy:
        """Train on the round's rows and return the new policy; without rows the policy stays."""
        marker = self.store.marker(run.round, "learn")
        if marker is None:
            rows = self.store.rows(run.round)
            if not len(rows):
                self.say(f"round {run.round}: no rows to train on; the policy stays as it is")
                marker = self.store.finish(run.round, "learn", adapter=run.policy.adapter, model=None, metrics={})
            else:
                run = run.training_with(lambda kind, data, **options: self.train(run, kind, data, **options))
                learn = getattr(self.plan.method, "learn", None)
                await self.engine.sleep()
                try:
                    policy = await (learn(self.plan.config, run, rows) if learn else run.train(self.plan.kind, rows))
                finally:
                    await self.engine.wake()
                marker = self.store.marker(run.round, "learn") or self._learned(run, policy)
        return self._policy_of(marker, run.policy)

    async def train(self, run: Run, kind: str, rows: Rows, **options: Any) -> Policy:
        """Train the policy on rows of a kind in a subprocess, and return what came out."""
        job = Job(
            kind=kind,
            rows=tuple(str(file) for file in rows.files),
            policy_base=run.policy.base,
            policy_adapter=run.policy.adapter,
            output=str(self.store.stage_folder(run.round, "learn")),
            options={**self.plan.train_options(run.round), **options},
            seed=self.recipe.seed + run.round,
            loss=getattr(self.plan.method, "LOSS", None),
            recipe=self.plan.where,
        )
        self.say(f"round {run.round}: training on {len(rows)} rows")
        result = await run_in_thread(job, lambda event: self.store.event("train", round=run.round, **event))
        self.store.event("trained", round=run.round, steps=result.steps, seconds=result.seconds, **result.metrics)
        return policy_of(result.model or run.policy.base, result.adapter)

    def _learned(self, run: Run, policy: Policy) -> dict[str, Any]:
        adapter = policy.adapter and self._relative(policy.adapter)
        model = None if policy.base == run.policy.base else self._relative(policy.base)
        return self.store.finish(run.round, "learn", adapter=adapter, model=model, policy=policy.digest)

    def _relative(self, path: str) -> str:
        """Paths inside the run folder are kept relative to it, so that the folder can be moved."""
        folder = self.store.folder.resolve()
        resolved = Path(path).resolve()
        return str(resolved.relative_to(folder)) if resolved.is_relative_to(folder) else str(resolved)

    def _policy_of(self, marker: dict[str, Any], before: Policy) -> Policy:
        base = str(self.store.folder / marker["model"]) if marker["model"] else before.base
        adapter = str(self.store.folder / marker["adapter"]) if marker["adapter"] else None
        return policy_of(base, adapter)

    async def evaluate(self, run: Run, heldout: dict[str, list[Prompt]]) -> None:
        """Measure the policy on every held-out set and say how it compares with the start model."""
        if self.store.marker(run.round, "evaluate") is None:
            await measure_policy(run, heldout, self.store)
        for line in round_lines(self.store, run.round):
            self.say(line)

    async def export(self, policy: Policy) -> None:
        """Write the last policy as a plain model folder, and say where everything is."""
        if self.recipe.export == "merged" and policy.adapter:
            folder = self.store.folder / "model"
            await asyncio.to_thread(export_merged, policy, folder)
        else:
            folder = Path(policy.adapter or policy.base)
        counts = {"asked": self.ledger.asked, "answered_from_ledger": self.ledger.hits}
        self.store.event("finished", model=str(folder), policy=policy.digest, **counts)
        self.say(f"model: {folder}")
