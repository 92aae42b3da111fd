"""The plan of a run: everything a recipe says, checked before anything expensive starts."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from selfimprove.building.decontaminate import texts_against
from selfimprove.config import Recipe
from selfimprove.engines import open_engine
from selfimprove.engines.value import serving, train_options
from selfimprove.errors import ConfigError, DataError
from selfimprove.evaluation.watch import check_watch
from selfimprove.evaluation.with_method import answer_of
from selfimprove.judges import limits_of, open_judge
from selfimprove.methods import configure, made_by
from selfimprove.records import Prompt
from selfimprove.reporting.push import check_push
from selfimprove.sources import load_prompts, normalized_text
from selfimprove.training.args import check_options, options_of_kind
from selfimprove.verify import validate_gold
from selfimprove.verify.asserts import shown

GOLD_SAMPLE, GOLD_SHARE = 500, 0.02  # prompts graded before a run, and the share that may fail


@dataclass(frozen=True)
class Plan:
    """A checked recipe: its method with options, the kind of rows it makes, and where it was read from."""

    recipe: Recipe
    method: ModuleType
    config: Any
    where: str
    folder: Path | None

    @property
    def kind(self) -> str:
        """What the method makes: sft, pairs or steps."""
        return made_by(self.method, self.config)[0]

    @property
    def loss(self) -> str | None:
        """The loss that the method trains, where it names one."""
        return made_by(self.method, self.config)[1]

    def prompts(self, round: int) -> Iterator[Prompt]:
        """Yield the prompts of a round: all of them, or the next `prompts_per_round`."""
        source = load_prompts(self.recipe.prompts, f"{self.where}: prompts", self.folder)
        count = self.recipe.prompts_per_round
        return source if count is None else islice(source, (round - 1) * count, round * count)

    def heldout(self) -> dict[str, list[Prompt]]:
        """Return the held-out sets, cut to `evaluate.limit`."""
        sets = {
            name: list(islice(self._heldout(name, source), self.recipe.evaluate.limit))
            for name, source in self.recipe.heldout.items()
        }
        empty = next((name for name, prompts in sets.items() if not prompts), None)
        if empty:
            raise DataError(f"{self.where}: the held-out set '{empty}' has no items")
        return sets

    def _heldout(self, name: str, source: str | dict[str, Any]) -> Iterator[Prompt]:
        return load_prompts(source, f"{self.where}: heldout.{name}", self.folder)

    def against(self, heldout: dict[str, list[Prompt]]) -> dict[str, Iterator[str]]:
        """Return {name: texts} that rows must stay clear of: the held-out sets and the recipe's benchmarks."""
        hygiene = self.recipe.hygiene
        return texts_against(
            heldout, hygiene.benchmarks, hygiene.ngram, f"{self.where}: hygiene.benchmarks", self.folder
        )

    def train_options(self, round: int) -> dict[str, Any]:
        """Return the trainer's options of a round: `train`, with `train_by_round` on top."""
        return {**self.recipe.train, **self.recipe.train_by_round.get(round, {})}

    def options_for(self, kind: str, round: int) -> dict[str, Any]:
        """Return the trainer's options of a round for rows of a kind.

        Where it is not the method's own kind, what is for the method's rows alone is left out; for value and reward
        models the recipe's `value` section goes on top.
        """
        options = self.train_options(round)
        if kind != self.kind:
            options = options_of_kind(kind, options)
        return {**options, **train_options(self.recipe.value)} if kind in ("steps", "reward") else options

    def lines(self) -> list[str]:
        """Return the plan in words, one stage a line."""
        recipe = self.recipe
        count = f"the next {recipe.prompts_per_round}" if recipe.prompts_per_round else "all"
        lines = [
            f"method    {recipe.method_name}: makes {self.kind}; {self.config}",
            f"model     {recipe.model}",
            f"engine    {recipe.engine}",
            f"prompts   {recipe.prompts}, {count} each round",
            f"held out  {recipe.heldout or 'nothing: no accuracy will be measured'}",
        ]
        if recipe.value:
            lines.append(f"value     {recipe.value}")
        lines += [f"round {r}   collect, learn {self.train_options(r)}, evaluate" for r in range(1, recipe.rounds + 1)]
        return lines


def plan(recipe: Recipe, where: str = "recipe", folder: Path | None = None) -> Plan:
    """Return the checked plan of a recipe without reading its data or loading a model.

    Raises ConfigError for options that the method, the engine or the trainer does not have.
    """
    module, config = configure(recipe.method, where)
    open_engine(recipe.engine, where)  # only checks: nothing starts before its first request
    checked = Plan(recipe, module, config, where, folder)
    if recipe.judge:
        open_judge(recipe.judge, where)
        limits_of(recipe.judge, where)
    check_watch(recipe.watch, where)
    answer_of(recipe, module, config, where)
    check_push(recipe.push, where)
    unknown = [number for number in recipe.train_by_round if not number >= 1]
    if unknown:
        raise ConfigError(f"{where}: train_by_round names round {unknown[0]}; rounds count from 1")
    for number in {1, *recipe.train_by_round}:
        check_options(checked.kind, checked.train_options(number), where, checked.loss)
    serving(recipe.value, where)
    if recipe.value:
        check_options("steps", train_options(recipe.value), where, section="value")
    return checked


@dataclass(frozen=True)
class Inspection:
    """What one pass over the data found."""

    prompts: int
    ungradable: list[tuple[Prompt, str]]


async def inspect_data(checked: Plan, heldout: dict[str, list[Prompt]], grade_all: bool = False) -> Inspection:
    """Pass once over the training prompts: count them, check the method's needs, overlap and gold answers.

    Raises DataError where a prompt lacks what the method needs, where a held-out item is also a training
    prompt, or where more than 2 % of the gold answers cannot be graded (`grade_all`: grades all, raises not).
    """
    held = {normalized_text(prompt): (name, prompt.id) for name, prompts in heldout.items() for prompt in prompts}
    count, shared, graded = 0, [], [prompt for prompts in heldout.values() for prompt in prompts]
    for prompt in load_prompts(checked.recipe.prompts, f"{checked.where}: prompts", checked.folder):
        count += 1
        lacking = sorted(need for need in checked.method.NEEDS if not getattr(prompt, need))
        if lacking:
            raise DataError(
                f"{checked.where}: prompt {prompt.id} has no {lacking[0]}, which method "
                f"'{checked.recipe.method_name}' needs; add it, or leave the prompt out"
            )
        twin = held.get(normalized_text(prompt))
        if twin:
            shared.append((*twin, prompt.id))
        if prompt.gold is not None and (grade_all or count <= GOLD_SAMPLE):
            graded.append(prompt)
    if not count:
        raise DataError(f"{checked.where}: there are no prompts in {checked.recipe.prompts}")
    if shared:
        examples = "; ".join(f"{name} item {item} = prompt {prompt}" for name, item, prompt in shared[:3])
        raise DataError(
            f"{checked.where}: {len(shared)} held-out items are also training prompts ({examples}); "
            "take them out of one side, or the accuracy measures memory"
        )
    bad = [(prompt, verdict.reason) for prompt, verdict in await validate_gold(graded, checked.recipe.sandbox)]
    if not grade_all and len(bad) > GOLD_SHARE * len(graded):
        prompt, reason = bad[0]
        raise DataError(
            f"{checked.where}: the verifier cannot grade {len(bad)} of {len(graded)} gold answers (first: prompt "
            f"{prompt.id}, gold {shown(prompt.gold)}: {reason}); `selfimprove validate` lists them all"
        )
    return Inspection(count, bad)
