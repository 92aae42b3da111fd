"""Run: all that a method sees. Every request it makes is keyed, seeded and kept in the ledger."""

import asyncio
import hashlib
import json
import random
import statistics
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from selfimprove import runtime
from selfimprove.config import Recipe, digest
from selfimprove.engines.base import Engine, Generate, Policy, Score, Usage
from selfimprove.engines.value import ValueModel, scripted_value
from selfimprove.errors import ConfigError, TrainError
from selfimprove.judges import open_judge
from selfimprove.judges.encoder import MINILM, Vector, open_encoder, packed, scripted_vector, unpacked
from selfimprove.ledger import Ledger
from selfimprove.records import Messages, Prompt, Row, Sample, Scored, Verdict
from selfimprove.store import Lookup, Rows
from selfimprove.verify import Verifiers
from selfimprove.verify.sandbox import Limits, Outcome, Program, limits_of

Train = Callable[..., Awaitable[Policy]]


class EngineOnDemand:
    """An engine that starts with the first request that the ledger cannot answer."""

    def __init__(self, engine: Engine) -> None:
        """Wrap an engine that is not started."""
        self.engine = engine
        self.started = False
        self._starting = asyncio.Lock()

    @property
    def usage(self) -> Usage:
        """What the engine has done so far."""
        return self.engine.usage

    async def get(self, policy: Policy) -> Engine:
        """Return the engine, started."""
        if not self.started:
            async with self._starting:
                if not self.started:
                    await self.engine.start(policy)
                    self.started = True
        return self.engine

    async def sleep(self) -> None:
        """Make room for training, where the engine runs."""
        if self.started:
            await self.engine.sleep()

    async def wake(self) -> None:
        """Be ready again, where the engine runs."""
        if self.started:
            await self.engine.wake()

    async def close(self) -> None:
        """Stop the engine, where it runs."""
        if self.started:
            self.started = False
            await self.engine.close()


@dataclass(frozen=True)
class Run:
    """What a method may use in one round.

    `policy` is the model at the start of this round, `previous` the one a round earlier (the base in round
    1) and `base` the model the run began with; any of them can be given to any request. `policies` holds
    {round: the policy at its end} of the rounds so far, 0 being the base; `models` what else was trained before this
    round, by name ("value": the value model), empty before the first. In a trial, `enough` is the number of
    prompts that are looked at: a method that writes prompts of its own need not write more.
    """

    recipe: Recipe
    round: int
    policy: Policy
    previous: Policy
    base: Policy
    engine: EngineOnDemand
    ledger: Ledger
    verifiers: Verifiers
    stored: Callable[..., Rows] = lambda round, stage=None: Rows()
    trainer: Train | None = None
    lookups: dict[int, Lookup] = field(default_factory=dict)
    policies: Mapping[int, Policy] = field(default_factory=dict)
    models: Mapping[str, Policy] = field(default_factory=dict)
    values: ValueModel | None = None
    enough: int | None = None

    async def sample(
        self,
        prompt: Prompt,
        n: int = 1,
        *,
        messages: Messages | None = None,
        policy: Policy | None = None,
        purpose: str = "sample",
        path: str = "",
        attempt: int = 0,
        **options: Any,
    ) -> list[Sample]:
        """Return n answers of a policy to a prompt, or to `messages` on the prompt's behalf.

        The seed comes from (run seed, prompt id, path, purpose, attempt): the same call gives the same
        answers, so a second draw for the same prompt needs its own path, purpose or attempt. `options` are
        the fields of `engines.base.Generate`. A failed answer is a Sample with `error`.
        """
        seed = derive_seed(self.recipe.seed, prompt.id, path, purpose, attempt)
        request = Generate(policy or self.policy, messages or prompt.messages, n=n, seed=seed, **options)

        async def ask() -> tuple[Any, bool]:
            engine = await self.engine.get(self.policy)
            samples = await engine.generate(request)
            return [sample.to_row() for sample in samples], not any(sample.error for sample in samples)

        rows = await self._answer("generate", request, ask, prompt.id, purpose, path)
        samples = [Sample.from_row(row) for row in rows]
        runtime.count("generate")
        runtime.count("samples", len(samples))
        failed = sum(sample.error is not None for sample in samples)
        if failed:
            runtime.count("failed", failed)
        return samples

    async def logprobs(
        self,
        prompt: Prompt,
        completion: str,
        *,
        messages: Messages | None = None,
        policy: Policy | None = None,
        end: bool = True,
    ) -> Scored:
        """Return the log-prob in nats of every token of a completion under a policy, end of turn included.

        Temperature 1, no truncation, prompt masked. A failure is a Scored with `error`.
        """
        request = Score(policy or self.policy, messages or prompt.messages, completion, end)

        async def ask() -> tuple[Any, bool]:
            engine = await self.engine.get(self.policy)
            scored = await engine.score(request)
            return scored.to_row(), scored.error is None

        runtime.count("score")
        return Scored.from_row(await self._answer("score", request, ask, prompt.id, "score", ""))

    def answer(self, prompt: Prompt, text: str) -> str | None:
        """Return the final answer in a text as the prompt's verifier reads it, None where there is none."""
        return self.verifiers.of(prompt).extract(text)

    async def check(self, prompt: Prompt, text: str) -> Verdict:
        """Return the verifier's verdict on a text; its score is None where the verifier could not tell.

        What another process said (its source names it behind a slash) is kept in the ledger, because its time limit
        may fall otherwise next time.
        """
        grader = self.verifiers.of(prompt)
        runtime.count("check")

        async def ask() -> tuple[Any, bool]:
            verdict = await grader.grade(prompt, text)
            return verdict.to_row(), "/" in verdict.source

        asked = self.verifiers.request(prompt, text)
        row = await self.ledger.answer(
            digest(["check", asked]), ask, kind="check", prompt=prompt.id, purpose="check", request=asked
        )
        return Verdict.from_row(row)

    async def execute(self, prompt: Prompt, program: Program, *, purpose: str = "execute", path: str = "") -> Outcome:
        """Run a program in the recipe's sandbox on a prompt's behalf and return how it ended.

        Kept in the ledger: a program whose time limit fell once is not run again. Raises SandboxError where this
        machine has no sandbox that may run it.
        """
        runtime.count("execute")

        async def ask() -> tuple[Any, bool]:
            return (await self.verifiers.sandbox.execute(program)).to_row(), True

        asked = program.to_row()
        row = await self.ledger.answer(
            digest(["execute", asked]),
            ask,
            kind="execute",
            prompt=prompt.id,
            purpose=purpose,
            path=path,
            request=asked,
        )
        return Outcome.from_row(row)

    async def embed(self, prompt: Prompt, text: str, encoder: str = MINILM) -> Vector:
        """Return what a sentence encoder makes of a text: a vector of length 1, kept in the ledger.

        `encoder` is `minilm` (a package of its own) or a folder. The scripted engine stands in for any encoder.
        Raises ConfigError where the encoder cannot be loaded.
        """
        runtime.count("embed")
        if self.engine.engine.name == "scripted":
            return scripted_vector(text)
        asked = {"encoder": open_encoder(encoder).identity, "text": text}

        async def ask() -> tuple[Any, bool]:
            return packed(await open_encoder(encoder).embed(text)), True

        key = digest(["embed", asked])
        return unpacked(
            await self.ledger.answer(key, ask, kind="embed", prompt=prompt.id, purpose="embed", request=asked)
        )

    async def value(
        self, prompt: Prompt, text: str, *, model: Policy | None = None, messages: Messages | None = None
    ) -> float | None:
        """Return what a value model says of the beginning of an answer ("" before the first step).

        `model` is by default the newest value model, `models["value"]`. The value is in the scale of the labels that
        it was trained on, not clipped; None where it failed, which is counted. The scripted engine stands in for any
        value model: it gives the value that the prompt's meta names ({"values": {text: value}}), else one in [0, 1]
        by hash; so does a trial, before any value model is trained. Raises ConfigError where there is none elsewhere.
        """
        runtime.count("value")
        model, messages = model or self.models.get("value"), messages or prompt.messages
        identity = ""
        if scripted := self.engine.engine.name == "scripted" or (model is None and self.enough is not None):
            identity = digest([self.engine.engine.identity, scripted_value(model, prompt, messages, text)])
        elif model is None or self.values is None:
            raise ConfigError(
                f"round {self.round} has no value model yet: train one in learn (run.train('steps', ...)), or name a "
                "trained one as value.model in the recipe"
            )
        else:
            identity = self.values.identity

        async def ask() -> tuple[Any, bool]:
            if scripted:
                found = scripted_value(model, prompt, messages, text)
                value, error = found, "a scripted failure" if found is None else None
            else:
                assert model is not None and self.values is not None
                value, error = await self.values.value(model, messages, text)
            return {"value": value, "error": error}, error is None

        asked = {"policy": model.digest if model else "", "messages": [dict(m) for m in messages], "text": text}
        answer = await self.ledger.answer(
            digest(["value", identity, asked]), ask, kind="value", prompt=prompt.id, purpose="value", request=asked
        )
        if answer["value"] is None:
            runtime.count("value_failed")
        return answer["value"]

    async def judge(self, prompt: Prompt, text: str) -> Verdict:
        """Return what the recipe's judge says of an answer; its score is None where it failed.

        Without a `judge` section it is the policy itself, by a rubric of five points.
        """
        runtime.count("judge")
        return await _judge(json.dumps(self.recipe.judge or {"name": "llm"}, sort_keys=True)).score(self, prompt, text)

    @property
    def limits(self) -> Limits:
        """What the recipe lets a program use."""
        return limits_of(self.recipe.sandbox)

    def measure(self, name: str, value: float) -> None:
        """Add a value to the mean `name` that the round reports."""
        runtime.measure(name, value)

    def keep(self, name: str, row: dict[str, Any]) -> None:
        """Write what a method wants to show of a prompt (a search tree) to `name`.jsonl beside the round's rows."""
        runtime.keep(name, row)

    def rng(self, prompt: Prompt, purpose: str = "", path: str = "") -> random.Random:
        """Return a random generator that depends on run seed, prompt, purpose and path only."""
        return random.Random(derive_seed(self.recipe.seed, prompt.id, path, f"rng:{purpose}", 0))

    def at(self, round: int, policy: Policy, previous: Policy, models: Mapping[str, Policy] | None = None) -> "Run":
        """Return the run as a later round sees it; `models` are those that it has then, None: the same."""
        models = self.models if models is None else models
        return replace(self, round=round, policy=policy, previous=previous, models=models)

    def rows(self, round: int) -> Rows:
        """Return what a round made; raises DataError where it has made nothing yet."""
        return self.stored(round)

    def earlier(self, prompt: Prompt) -> list[dict[str, Any]]:
        """Return what collect made of a prompt in the latest earlier round that gave it rows; [] where none did.

        For methods that remember: their rows name the prompt's id as their `group`.
        """
        for number in reversed(range(1, self.round)):
            if number not in self.lookups:
                self.lookups[number] = Lookup(self.stored(number, "collect"), "group")
            found = self.lookups[number].find(prompt.id)
            if found:
                return found
        return []

    async def train(
        self,
        kind: str,
        rows: Rows | Iterable[Row | Mapping[str, Any]],
        *,
        name: str | None = None,
        start: Policy | None = None,
        **options: Any,
    ) -> Policy:
        """Train a model on rows of a kind and return the new one.

        Kinds: sft and pairs (the policy), steps (a value model, MSE or BCE at the end of every labelled step), reward
        (a reward model by Bradley-Terry on pairs). `name` tells the models of a run apart: "policy", "value" and
        "reward" by kind; training goes on from the newest model of that name, or from `start`. What learn returns by
        name ({"policy": ..., "value": ...}) is `models` of the next round. `rows` may be any rows, `rows.of(kind)`
        those of one kind. `options` go over the recipe's `train` section, and `value` for steps and reward. For
        `learn` only: raises TrainError elsewhere.
        """
        if self.trainer is None:
            raise TrainError("only a method's learn may train; collect and assemble cannot")
        told = {key: value for key, value in (("name", name), ("start", start)) if value is not None}
        return await self.trainer(kind, rows, **told, **options)

    def training_with(self, trainer: Train) -> "Run":
        """Return the run as `learn` sees it."""
        return replace(self, trainer=trainer)

    async def _answer(
        self,
        kind: str,
        request: Generate | Score,
        ask: Callable[[], Awaitable[tuple[Any, bool]]],
        prompt: str,
        purpose: str,
        path: str,
    ) -> Any:
        asked = request_row(request)
        key = digest([kind, self.engine.engine.identity, asked])
        return await self.ledger.answer(key, ask, kind=kind, prompt=prompt, purpose=purpose, path=path, request=asked)


@cache
def _judge(section: str) -> Any:
    return open_judge(json.loads(section))


def request_row(request: Generate | Score) -> dict[str, Any]:
    """Return a request as plain JSON types; its policy is named by digest alone, wherever its files lie.

    `keep_stop` is left out where it is not set, so that ledgers written before it was there answer still.
    """
    row: dict[str, Any] = {name: getattr(request, name) for name in request.__slots__ if name != "policy"}
    if not row.get("keep_stop"):
        row.pop("keep_stop", None)
    row["policy"] = request.policy.digest
    return {name: list(value) if isinstance(value, tuple) else value for name, value in row.items()}


def derive_seed(run_seed: int, prompt: str, path: str, purpose: str, attempt: int) -> int:
    """Return a seed in [0, 2**31) that depends on these five values and on nothing else."""
    text = "\x1f".join((str(run_seed), prompt, path, purpose, str(attempt)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) >> 1


def measures(values: Mapping[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Return what a stage says of measured values: `metrics`, their means, and `spread`."""
    return {"metrics": means(values), "spread": spreads(values)}


def means(values: Mapping[str, list[float]]) -> dict[str, float]:
    """Return {name: mean} of measured values, each summed in the order given."""
    return {name: sum(items) / len(items) for name, items in sorted(values.items()) if items}


def spreads(values: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return {name: smallest, largest and standard deviation} of the values measured at least twice."""
    return {
        name: {"min": min(items), "max": max(items), "sd": statistics.stdev(items)}
        for name, items in sorted(values.items())
        if len(items) > 1
    }
