"""What a recipe may say of where prompts come from: one dataclass a kind of source."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from selfimprove.config import fill
from selfimprove.errors import ConfigError, did_you_mean
from selfimprove.verify import FILES as VERIFIERS


@dataclass(frozen=True)
class Columns:
    """Which column of a file holds which field of a prompt; a field that is not named keeps its own name."""

    TITLE: ClassVar = "columns"
    prompt: str | None = None  # column of the question: text, or a list of messages
    messages: str | None = None  # column of a whole conversation, instead of prompt
    gold: str | None = None  # column of the right answer
    solution: str | None = None  # column of a worked answer
    id: str | None = None  # column of a name that no other row has

    def named(self) -> dict[str, str]:
        """Return {field: column} of what was named."""
        return {name: column for name, column in vars(self).items() if column is not None}


@dataclass(frozen=True)
class PromptFile:
    """Prompts in a file, a folder written by `datasets`, or a hub data set."""

    TITLE: ClassVar = "a source of prompts"
    path: str | None = None  # .jsonl, .json, .csv, .parquet, or a folder written by datasets' save_to_disk
    hub: str | None = None  # hub id of a data set, instead of path
    subset: str | None = None  # configuration of the hub data set
    columns: Columns = field(default_factory=Columns)  # which column is what
    split: str = "train"  # split of a hub data set or a datasets folder
    slice: str | None = None  # rows "from:to", counted from 0
    solution_turn: str | None = None  # first or last: the assistant turn of messages that is the worked answer
    verifier: str = "answer"  # what checks answers, for rows that do not say
    instruction: str | None = None  # text around each question, with {prompt} where the question goes
    system: str | None = None  # system message before each question


@dataclass(frozen=True)
class NamedSet:
    """A public data set in its public format."""

    TITLE: ClassVar = "a named data set"
    name: str  # gsm8k, gsm8k_programs, asdiv, svamp, mawps, math, humaneval, mbpp, mbpp_sanitized, ...
    path: str | None = None  # a local copy: .jsonl, .json, .csv, .parquet or a datasets folder
    hub: str | None = None  # hub id, where it is not the usual one
    split: str | None = None  # split; None: the usual one
    slice: str | None = None  # rows "from:to", counted from 0
    verifier: str = "answer"  # what checks answers
    instruction: str | None = None  # text around each question, with {prompt} where the question goes
    system: str | None = None  # system message before each question


@dataclass(frozen=True)
class GymTask:
    """Any task of reasoning-gym, generated with its own verifier."""

    TITLE: ClassVar = "a gym task"
    gym: str  # name of the task, for example chain_sum
    size: int = 500  # how many prompts
    seed: int = 0  # of the generator
    config: dict[str, Any] = field(default_factory=dict)  # options of the task, for example {max_terms: 3}
    slice: str | None = None  # rows "from:to", counted from 0
    verifier: str = "gym"  # gym: the task's own scorer; answer, exact: compare with the gold answer
    instruction: str | None = None  # text around each question, with {prompt} where the question goes
    system: str | None = None  # system message before each question


@dataclass(frozen=True)
class FunctionSeeds:
    """The documented functions of Python code, each a prompt of its own."""

    TITLE: ClassVar = "a source of functions"
    functions: str  # a folder of .py files, one .py file, a file of rows (.jsonl, .parquet, ...), or a hub id
    column: str = "content"  # of rows: where the code stands
    split: str = "train"  # split of a hub data set or a datasets folder
    slice: str | None = None  # functions "from:to", counted from 0, unfit ones too
    near_threshold: float | None = 0.5  # similarity of word 5-grams from which one repeats an earlier one; null: never
    type_check: str = "auto"  # pyright, ty, mypy, none, or auto: the first of them that is installed
    benchmarks: list[str | dict[str, Any]] = field(default_factory=list)  # sources whose texts no function may hold
    unfit: str = "mark"  # mark: functions that cannot be seeds stay, with the reason in meta.unfit; drop: they go
    instruction: str | None = None  # text around each function, with {prompt} where the function goes
    system: str | None = None  # system message before each function


Definition = PromptFile | NamedSet | GymTask | FunctionSeeds

FILE_ENDINGS = (".jsonl", ".json", ".csv", ".parquet")


def read_definition(source: str | Mapping[str, Any], where: str, folder: Path | None = None) -> Definition:
    """Return the checked definition of a source.

    Raises ConfigError for unknown keys and for values that cannot be.
    """
    if isinstance(source, str):
        return PromptFile(hub=source) if is_hub_id(source, folder) else PromptFile(path=source)
    if not isinstance(source, Mapping):
        raise ConfigError(f"{where}: a source of prompts is a path, a hub id or a mapping, not {source!r}")
    kinds = {"gym": GymTask, "functions": FunctionSeeds, "name": NamedSet}
    kind: type = next((kind for key, kind in kinds.items() if key in source), PromptFile)
    definition = fill(kind, source, where)
    _check(definition, where)
    return definition


def is_hub_id(name: str, folder: Path | None = None) -> bool:
    """Return whether a name looks like a hub's (`owner/data`) and is nothing that lies here or beside the recipe."""
    here = Path(name).exists() or (folder is not None and (folder / name).exists())
    return not here and bool(re.fullmatch(r"\w[\w.-]*/[\w.-]+", name)) and not name.endswith(FILE_ENDINGS)


def bounds(text: str | None, where: str) -> tuple[int, int | None]:
    """Return first row and end row of a slice such as '0:500'; raises ConfigError for anything else."""
    if text is None:
        return 0, None
    match = re.fullmatch(r"\s*(\d*)\s*:\s*(\d*)\s*", text)
    if not match:
        raise ConfigError(f'{where}: slice is {text!r}; write "from:to" with rows counted from 0, for example "0:500"')
    start, end = int(match[1] or 0), int(match[2]) if match[2] else None
    if end is not None and end <= start:
        raise ConfigError(f"{where}: slice {text!r} holds no rows")
    return start, end


def _check(definition: Definition, where: str) -> None:
    bounds(definition.slice, where)
    if isinstance(definition, FunctionSeeds):
        _check_functions(definition, where)
    elif definition.verifier not in VERIFIERS:
        raise ConfigError(
            f"{where}: there is no verifier '{definition.verifier}'{did_you_mean(definition.verifier, VERIFIERS)}"
        )
    if definition.instruction is not None and definition.instruction.count("{prompt}") != 1:
        raise ConfigError(
            f"{where}: instruction is {definition.instruction!r}; it must hold {{prompt}} once, where the question is"
        )
    if isinstance(definition, PromptFile):
        if (definition.path is None) == (definition.hub is None):
            raise ConfigError(f"{where}: a source needs either a path or a hub id (or name: gsm8k, or gym: chain_sum)")
        if definition.columns.prompt and definition.columns.messages:
            raise ConfigError(f"{where}: columns names both prompt and messages; keep the one that the model is shown")
        if definition.solution_turn not in (None, "first", "last"):
            raise ConfigError(f"{where}: solution_turn is {definition.solution_turn!r}; allowed: first, last")
    if isinstance(definition, NamedSet) and definition.path and definition.hub:
        raise ConfigError(f"{where}: both path and hub are given; keep one")
    if isinstance(definition, GymTask) and definition.size < 1:
        raise ConfigError(f"{where}: size is {definition.size}; it must be at least 1")


def _check_functions(definition: FunctionSeeds, where: str) -> None:
    if definition.unfit not in ("mark", "drop"):
        raise ConfigError(f"{where}: unfit is {definition.unfit!r}; allowed: mark, drop")
    near = definition.near_threshold
    if near is not None and not 0 < near < 1:
        raise ConfigError(f"{where}: near_threshold is {near}; it must lie between 0 and 1, or be null")
    known = ("auto", "none", "pyright", "ty", "mypy")
    if definition.type_check not in known:
        raise ConfigError(f"{where}: type_check is {definition.type_check!r}; allowed: {', '.join(known)}")
