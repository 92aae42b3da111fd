"""The stages of a round, each done once: collect, assemble, learn, evaluate, watch, and the end of the run.

A stage that has its marker in the run folder is not done again; everything else is redone, and the ledger answers
whatever had been asked before.
"""

import asyncio
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from selfimprove.building.hygiene import clean
from selfimprove.config import Hygiene
from selfimprove.engines import open_engine
from selfimprove.engines.base import Policy
from selfimprove.engines.value import ValueModel, first_models, serving
from selfimprove.errors import EngineError, JudgeError, TrainError
from selfimprove.evaluation.audit import CALIBRATION, audit, broken, read_pairs
from selfimprove.evaluation.heldout import measure_policy
from selfimprove.evaluation.watch import broken_limits, watch_policy
from selfimprove.evaluation.with_method import answer_of
from selfimprove.files import read_jsonl
from selfimprove.judges import FIGURES, limits_of, open_judge
from selfimprove.learned import (
    GIVEN,
    folder_of,
    models_of_round,
    name_of,
    place_of,
    policy_of_round,
    run_in_thread,
    written,
)
from selfimprove.ledger import Ledger
from selfimprove.models import export_merged, model_folder, policy_of
from selfimprove.plan import Plan
from selfimprove.progress import Progress
from selfimprove.records import Prompt, Skip
from selfimprove.reporting.push import push_run
from selfimprove.reporting.report import write_report
from selfimprove.reporting.rounds import round_lines
from selfimprove.reporting.tracking import mirror_safely, trackers_of
from selfimprove.run import EngineOnDemand, Run, measures
from selfimprove.runtime import Outcome, drive, proposed
from selfimprove.spending import Meter, devices
from selfimprove.store import Rows, RowWriter, Store
from selfimprove.training.job import Job
from selfimprove.verify import Verifiers


class DriftStop(Exception):
    """The watch ends the run; says why, and how to go on."""


class Gathered:
    """What a collection has so far: rows on their way to disk, what was measured and asked, a skip of each reason."""

    def __init__(self, writer: RowWriter) -> None:
        """Start with nothing but a place to write to."""
        self.writer = writer
        self.measured: dict[str, list[float]] = defaultdict(list)
        self.asked: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def take(self, outcome: Outcome) -> None:
        """Add what one prompt gave."""
        for row in outcome.rows:
            self.writer.write(row)
            if isinstance(row, Skip):
                self.examples.setdefault(row.reason, f"{row.id}: {row.detail}")
        for name, value in outcome.measured:
            self.measured[name].append(value)
        for name, row in outcome.kept:
            self.writer.keep(name, row)
        self.asked.update(outcome.asked)


class Stages:
    """What one run of a plan in a store is made of, with the engine and the ledger that its stages share."""

    def __init__(self, checked: Plan, store: Store, say: Callable[[str], None] = print) -> None:
        """Prepare; nothing heavy happens before the first stage."""
        self.plan, self.recipe, self.store, self.say = checked, checked.recipe, store, say
        self.ledger = Ledger(self.recipe.ledger or store.folder / "ledger.sqlite")
        self.engine = EngineOnDemand(open_engine(self.recipe.engine))
        self.values = ValueModel(serving(self.recipe.value, checked.where))
        self.verifiers = Verifiers(self.recipe.sandbox)
        price = self.recipe.gpu_hour_price
        self.meter = Meter(
            store.folder / "spending.json",
            self.recipe.budget,
            price,
            devices() if price is not None else 1,
            lambda: (self.engine.usage.tokens, self.engine.usage.prompt_tokens),
        )

    def run(self, base: Policy) -> Run:
        """Return the run as the start model's evaluation sees it."""
        return Run(
            self.recipe, 0, base, base, base, self.engine, self.ledger, self.verifiers, stored=self.store.rows,
            models=first_models(self.recipe.value), values=self.values,
        )  # fmt: skip

    async def trust_judge(self, run: Run) -> None:
        """Audit the recipe's judge where the recipe limits what it may get wrong; raises JudgeError where it does."""
        limits = limits_of(self.recipe.judge, self.plan.where)
        if not limits:
            return
        with self.meter.stage(0, "audit"):
            _, found = await audit(run, open_judge(self.recipe.judge, self.plan.where), read_pairs(CALIBRATION))
        sentences = broken(found, limits)
        self.store.event("audited", figures={name: found[name] for name in FIGURES}, broken=sentences)
        if sentences:
            raise JudgeError(
                f"the judge is not good enough for this recipe: {'; '.join(sentences)}. Nothing was sampled: "
                "`selfimprove audit` shows what it gets wrong; take another judge, or widen the limits in the recipe"
            )
        self.say(
            f"judge: right on {found['accuracy']:.1%} of {found['pairs']} pairs of known order; within its limits"
        )

    async def close(self) -> None:
        """Stop the engine and the verifiers, and close the ledger."""
        await self.engine.close()
        await self.values.close()
        self.verifiers.close()
        self.ledger.close()

    async def collect(self, run: Run, total: int) -> int:
        """Run the method on every prompt of the round; return how many prompts there were."""
        marker = self.store.marker(run.round, "collect")
        if marker is not None:
            return marker["prompts"]
        found = Gathered(RowWriter(self.store.stage_folder(run.round, "collect"), self.recipe.collect.shard_rows))
        count = min(total, self.recipe.prompts_per_round or total)
        with (
            self.meter.stage(run.round, "collect"),
            Progress(f"round {run.round} collect", count, lambda: self.engine.usage.tokens) as progress,
        ):

            def emit(outcome: Outcome) -> None:
                found.take(outcome)
                skips = sum(isinstance(row, Skip) for row in outcome.rows)
                progress.advance(len(outcome.rows) - skips, skips)
                self.meter.check()

            if hasattr(self.plan.method, "collect_all"):
                for row in await self.plan.method.collect_all(self.plan.config, run, self.plan.prompts(run.round)):
                    emit(Outcome(Prompt(row.id, ()), [row]))
            else:
                prompts: Iterable[Prompt] = self.plan.prompts(run.round)
                if hasattr(self.plan.method, "propose"):
                    prompts, refused = await proposed(self.plan.method, self.plan.config, run, prompts)
                    found.take(refused)
                    progress.total = len(prompts) + len(refused.rows)
                    for _ in refused.rows:
                        progress.advance(0, 1)
                await drive(
                    prompts,
                    lambda prompt: self.plan.method.collect(self.plan.config, run, prompt),
                    emit,
                    window=self.recipe.collect.window,
                    on_failure=self.recipe.collect.on_failure,
                )
        files = found.writer.close()
        asked, why = found.asked, "; ".join(found.examples.values())
        if asked["samples"] and asked["failed"] == asked["samples"]:  # a finished stage would not be asked again
            raise EngineError(
                f"round {run.round}: all {asked['samples']} answers failed ({why}); nothing was finished: mend the "
                "engine or the prompts, and run the same command"
            )
        self.store.finish(
            run.round, "collect", files, prompts=progress.items, rows=found.writer.rows, skips=found.writer.skips,
            asked=dict(sorted(found.asked.items())), **measures(found.measured), policy=run.policy.digest,
        )  # fmt: skip
        self.say(
            f"round {run.round}: {found.writer.rows} rows from {progress.items} prompts; {skipped(found.writer.skips)}"
        )
        return progress.items

    async def assemble(self, run: Run, heldout: dict[str, list[Prompt]]) -> None:
        """Let the method look at the whole data set, and clean it, where the method or the recipe wants to."""
        wanted = hasattr(self.plan.method, "assemble") or self.recipe.hygiene != Hygiene()
        if not wanted or self.store.marker(run.round, "assemble"):
            return
        with self.meter.stage(run.round, "assemble"):
            await asyncio.to_thread(self._assemble, run, heldout)

    def _assemble(self, run: Run, heldout: dict[str, list[Prompt]]) -> None:
        collected = self.store.rows(run.round)
        folder = self.store.stage_folder(run.round, "assemble")
        rows: Iterable[Any] = collected
        if hasattr(self.plan.method, "assemble"):
            rows = self.plan.method.assemble(self.plan.config, collected)
        if self.recipe.hygiene != Hygiene():
            rows = self._cleaned(rows, folder / "unclean", heldout)
        elif rows is collected:  # nothing to do for this configuration
            return
        writer = RowWriter(folder, self.recipe.collect.shard_rows)
        for row in rows:
            writer.write(row)
        self.store.finish(run.round, "assemble", writer.close(), rows=writer.rows, skips=writer.skips)
        shutil.rmtree(folder / "unclean", ignore_errors=True)
        self.say(f"round {run.round}: {writer.rows} rows are left; {skipped(writer.skips)}")

    def _cleaned(self, rows: Iterable[Any], folder: Path, heldout: dict[str, list[Prompt]]) -> Iterable[Any]:
        """Return the rows as the recipe's hygiene leaves them, and a Skip for every one that it takes out."""
        taken: Iterable[Skip] = ()
        if not isinstance(rows, Rows):  # cleaning passes over the rows more than once, so they go to disk first
            first = RowWriter(folder, self.recipe.collect.shard_rows)
            for row in rows:
                first.write(row)
            files = first.close()
            rows = Rows(tuple(file for file in files if file.name.startswith("rows-")))
            taken = (Skip.from_row(row) for file in files if file.name == "skips.jsonl" for row in read_jsonl(file))
        return chain(taken, clean(rows, self.recipe.hygiene, self.plan.against(heldout)))

    async def learn(self, run: Run) -> tuple[Policy, dict[str, Policy]]:
        """Train on the round's rows; return the new policy and the other models by name, as the next round sees them.

        Without rows, and where a method's learn does not name them, they stay as they are.
        """
        marker = self.store.marker(run.round, "learn")
        if marker is None:
            rows = self.store.rows(run.round)
            if not len(rows):
                self.say(f"round {run.round}: no rows to train on; the policy stays as it is")
                marker = self._learned(run, {})
            else:
                run = run.training_with(lambda kind, data, **options: self.train(run, kind, data, **options))
                with self.meter.stage(run.round, "learn"):
                    await self.engine.sleep()
                    await self.values.sleep()
                    try:
                        learned = await self._learn(run, rows)
                    finally:
                        await self.engine.wake()
                marker = self.store.marker(run.round, "learn") or self._learned(run, learned)
        return policy_of_round(self.store, marker, run.policy), models_of_round(self.store, marker, run.base)

    async def _learn(self, run: Run, rows: Rows) -> Mapping[str, Policy]:
        """Return {name: model} of what the method's learn trains, or what its kind of rows stands for."""
        learn = getattr(self.plan.method, "learn", None)
        if learn is None:
            return {name_of(self.plan.kind): await run.train(self.plan.kind, rows)}
        learned = await learn(self.plan.config, run, rows)
        return learned if isinstance(learned, Mapping) else {"policy": learned}

    async def train(
        self,
        run: Run,
        kind: str,
        rows: Rows | Iterable[Any],
        *,
        name: str | None = None,
        start: Policy | None = None,
        **options: Any,
    ) -> Policy:
        """Train the policy, or the model of another name, on rows of a kind in a subprocess; return what came out.

        Where the kind is not the method's own, options and loss that are for the method's own rows are left out.
        """
        name = name or name_of(kind)
        output = folder_of(self.store.stage_folder(run.round, "learn"), name)
        start = start or (run.policy if name == "policy" else run.models.get(name)) or self._first_of(run)
        files = rows.files if isinstance(rows, Rows) and rows.kind is None else written(rows, output / GIVEN)
        loss = self.plan.loss if kind == self.plan.kind else None
        job = Job(
            kind=kind,
            rows=tuple(str(file) for file in files),
            policy_base=start.base,
            policy_adapter=start.adapter,
            output=str(output),
            options={**self.plan.options_for(kind, run.round), **options},
            seed=self.recipe.seed + run.round,
            loss=loss,
            recipe=self.plan.where,
        )
        what = "" if name == "policy" else f" the {name} model"
        self.say(f"round {run.round}: training{what} on {len(Rows(tuple(files)))} rows")
        told = {"round": run.round} if name == "policy" else {"round": run.round, "model": name}
        begun, ended = ("train", "trained") if name == "policy" else ("train_model", "trained_model")
        try:
            result = await run_in_thread(job, lambda event: self.store.event(begun, **told, **event), self.meter.spent)
        except TrainError:
            self.meter.check()  # a training that was ended at the budget's end is no failure
            raise
        self.store.event(ended, **told, steps=result.steps, seconds=result.seconds, **result.metrics)
        return policy_of(result.model or start.base, result.adapter)

    def _first_of(self, run: Run) -> Policy:
        """Return what the first model beside the policy is trained from: the recipe's value.model, or the base."""
        named = self.recipe.value.get("model")
        return policy_of(str(model_folder(named))) if named else run.base

    def _learned(self, run: Run, learned: Mapping[str, Policy], **values: Any) -> dict[str, Any]:
        """Write the learn marker: where the round's policy lies, and every other model that the run has now."""
        folder = self.store.folder
        models = {**run.models, **{name: model for name, model in learned.items() if name != "policy"}}
        if models:
            values["models"] = {name: place_of(model, run.base, folder) for name, model in sorted(models.items())}
        if learned:
            values |= place_of(learned.get("policy", run.policy), run.policy, folder)
        else:  # nothing was trained
            values |= {"adapter": place_of(run.policy, run.policy, folder)["adapter"], "model": None, "metrics": {}}
        return self.store.finish(run.round, "learn", **values)

    async def measure(self, run: Run, heldout: dict[str, list[Prompt]]) -> bool:
        """Evaluate and watch the policy, and say what came out; return whether the watch wants to roll back.

        Raises DriftStop where a limit is broken and the recipe says to stop.
        """
        if heldout:
            if self.store.marker(run.round, "evaluate") is None:
                with self.meter.stage(run.round, "evaluate"):
                    answer = answer_of(self.recipe, self.plan.method, self.plan.config, self.plan.where)
                    await measure_policy(run, heldout, self.store, self.meter.check, answer)
            for line in round_lines(self.store, run.round):
                self.say(line)
        cfg = self.recipe.watch
        if not cfg.prompts:
            return False
        if self.store.marker(run.round, "watch") is None:
            prompts = next(iter(heldout.values()), None) or self.plan.prompts(1)
            judge = getattr(self.plan.method, "judge", None)
            with self.meter.stage(run.round, "watch"):
                await watch_policy(run, prompts, judge and partial(judge, self.plan.config), self.store)
        broken = broken_limits(self.store, run.round, cfg)
        for sentence in broken:
            self.say(f"round {run.round}: drift: {sentence}")
        if not broken or cfg.on_breach == "note":
            return False
        if cfg.on_breach == "stop":
            raise DriftStop(
                f"the watch's limits are broken in round {run.round} ({'; '.join(broken)}). Nothing was exported: "
                "widen watch.limits, or set watch.on_breach=note to go on all the same, or =roll_back to take the "
                "best round, and run the same command"
            )
        return True

    async def tell(self) -> None:
        """Send the rounds' figures to the trackers that the recipe's training reports to; a failure ends nothing."""
        trackers = trackers_of(self.store.folder)
        if trackers:
            await asyncio.to_thread(mirror_safely, self.store.folder, trackers, self.say)

    def report(self) -> None:
        """Write the report of the run as it stands."""
        self.say(f"report: {write_report(self.store.folder)}")

    async def finish(self, run: Run) -> None:
        """Write the last policy as a plain model folder and the report, push where asked, say where everything is."""
        policy = run.policy
        if self.recipe.export == "merged" and policy.adapter:
            folder, last = self.store.folder / "model", self.store.last_event("finished")
            if not folder.is_dir() or (last.get("model"), last.get("policy")) != (str(folder), policy.digest):
                await asyncio.to_thread(export_merged, policy, folder, replace=True)
        else:
            folder = Path(policy.adapter or policy.base)
        counts = {"asked": self.ledger.asked, "answered_from_ledger": self.ledger.hits}
        self.store.event("finished", model=str(folder), round=run.round, policy=policy.digest, **counts)
        self.say(f"model: {folder}")
        self.report()
        if self.recipe.push:
            await asyncio.to_thread(push_run, self.store.folder, self.recipe.push, self.say)


def skipped(reasons: Mapping[str, int]) -> str:
    """Return `skipped: a 3, b 1`, or `none skipped`."""
    listed = ", ".join(f"{reason} {n}" for reason, n in sorted(reasons.items()))
    return f"skipped: {listed}" if listed else "skipped: none"
