"""Tasks of reasoning-gym as prompts: generated on the fly, the same for the same seed and version."""

import json
import warnings
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from selfimprove.config import digest
from selfimprove.errors import ConfigError, did_you_mean, missing_package
from selfimprove.records import Prompt, as_messages
from selfimprove.sources.schema import GymTask, bounds


def gym_prompts(task: GymTask, where: str) -> Iterator[Prompt]:
    """Yield the prompts of a task with gold answer and what its scorer needs; raises ConfigError for bad options.

    Importing reasoning-gym takes some seconds the first time.
    """
    data = _generator(task, where)
    start, end = bounds(task.slice, where)
    options = f"-{digest(task.config, 3)}" if task.config else ""
    for index in range(start, min(task.size, end if end is not None else task.size)):
        entry = data[index]
        plain = json.loads(json.dumps(entry, default=str))  # tuples become lists, exact numbers their spelling
        gold = entry["answer"]
        yield Prompt(
            id=f"{task.gym}-{task.seed}-{index}{options}",
            messages=as_messages(entry["question"]),
            gold=None if gold is None else str(gold),
            verifier=task.verifier,
            meta={"gym": task.gym, "entry": plain} if task.verifier == "gym" else {"gym": task.gym},
        )


def version() -> str:
    """Return reasoning-gym's version: a part of what the prompts depend on."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("reasoning-gym")
    except PackageNotFoundError:
        raise missing_package("a source of the form {gym: task}", "reasoning-gym", "gym") from None


def _generator(task: GymTask, where: str) -> Any:
    version()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old syntax in one of its dependencies
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    if task.gym not in DATASETS:
        raise ConfigError(f"{where}: reasoning-gym has no task '{task.gym}'{did_you_mean(task.gym, DATASETS)}")
    options: Any = DATASETS[task.gym][1]
    known = {f.name for f in fields(options)} - {"size", "seed"}
    unknown = [name for name in task.config if name not in known]
    if unknown:
        raise ConfigError(
            f"{where}: gym task '{task.gym}' has no option '{unknown[0]}'{did_you_mean(unknown[0], known)}"
        )
    try:
        return reasoning_gym.create_dataset(task.gym, size=task.size, seed=task.seed, **task.config)
    except (AssertionError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: gym task '{task.gym}' refuses {task.config}: {error}") from None
