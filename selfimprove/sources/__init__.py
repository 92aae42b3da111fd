"""Prompts from anywhere: files, `datasets` folders, hub ids, public sets by name, generated tasks.

Everything streams; what is kept of a row is 8 bytes of its id.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from selfimprove.config import digest, to_plain
from selfimprove.errors import ConfigError, DataError, did_you_mean
from selfimprove.records import Prompt
from selfimprove.sources.benchmarks import benchmark_texts
from selfimprove.sources.files import Rows, find, read_hub, read_rows
from selfimprove.sources.functions import function_prompts, local_path
from selfimprove.sources.gym import gym_prompts, version
from selfimprove.sources.named import SETS, Named
from selfimprove.sources.overlap import normalized_text
from selfimprove.sources.rows import dress, make_prompt
from selfimprove.sources.schema import (
    Definition,
    FunctionSeeds,
    GymTask,
    NamedSet,
    PromptFile,
    bounds,
    read_definition,
)

__all__ = ["load_prompts", "normalized_text", "source_id"]


def load_prompts(source: str | Mapping[str, Any], where: str = "", folder: Path | None = None) -> Iterator[Prompt]:
    """Yield the prompts of a source: a path, a hub id, or a mapping with path, hub, name, gym or functions.

    Relative paths are tried from the working directory, then from `folder` (where the recipe lies). `where`
    opens the messages about the definition. Raises ConfigError for the definition and DataError, with file
    and line, for the data; the definition is checked at once, rows as they are read.
    """
    definition = read_definition(source, where or "source", folder)
    if isinstance(definition, GymTask):
        prompts = gym_prompts(definition, where or "source")
    elif isinstance(definition, FunctionSeeds):
        prompts = _function_prompts(definition, where or "source", folder)
    else:
        prompts = _file_prompts(definition, where or "source", folder)
    return _checked(prompts, definition, where)


def source_id(source: str | Mapping[str, Any], where: str = "", folder: Path | None = None) -> str:
    """Return a digest of what a source holds: of content and definition for local files, else of the definition.

    Where a file lies does not count.
    """
    definition = read_definition(source, where or "source", folder)
    plain = to_plain(definition)
    if isinstance(definition, GymTask):
        return digest([plain, version()])
    key = "functions" if isinstance(definition, FunctionSeeds) else "path"
    path = _local(definition, where, folder)
    if path is None:
        return digest(plain)
    content = hashlib.blake2b(digest_size=16)
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        content.update(str(file.relative_to(path)).encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                content.update(block)
    return digest([{**plain, key: None}, path.suffix, content.hexdigest()])


def _local(definition: PromptFile | NamedSet | FunctionSeeds, where: str, folder: Path | None) -> Path | None:
    if isinstance(definition, FunctionSeeds):
        return local_path(definition, where, folder)
    return None if definition.path is None else find(definition.path, folder, where)


def _function_prompts(definition: FunctionSeeds, where: str, folder: Path | None) -> Iterator[Prompt]:
    start, end = bounds(definition.slice, where)
    texts = {str(source): benchmark_texts(load_prompts(source, where, folder)) for source in definition.benchmarks}
    yield from islice(function_prompts(definition, where, folder, texts), start, end)


def _file_prompts(definition: PromptFile | NamedSet, where: str, folder: Path | None) -> Iterator[Prompt]:
    start, end = bounds(definition.slice, where)
    verifier = definition.verifier
    if isinstance(definition, PromptFile):
        rows = islice(_rows(definition, None, where, folder), start, end)
        columns, turn = definition.columns.named(), definition.solution_turn
        return (make_prompt(row, place, columns, verifier, turn) for place, row in rows)
    named = SETS.get(definition.name)
    if named is None:
        known = did_you_mean(definition.name, SETS)
        raise ConfigError(f"{where}: there is no data set by the name '{definition.name}'{known}")
    rows = islice(_rows(definition, named, where, folder), start, end)
    return (make_prompt(named.read(row, place), place, {}, verifier) for place, row in rows)


def _rows(definition: PromptFile | NamedSet, named: Named | None, where: str, folder: Path | None) -> Rows:
    """Return the rows of a file, or of the hub data set that was named or is the usual home of a named set."""
    split = definition.split or (named.split if named else "train")
    if definition.path is not None:
        return read_rows(find(definition.path, folder, where), split)
    if isinstance(definition, PromptFile):
        return read_hub(definition.hub or "", definition.subset, split)
    usual = named if named is not None and definition.hub in (None, named.hub) else None
    return read_hub(definition.hub or (usual.home(split) if usual else ""), usual.subset if usual else None, split)


def _checked(prompts: Iterable[Prompt], definition: Definition, where: str) -> Iterator[Prompt]:
    """Yield prompts dressed and with ids that no other has; raises DataError for a given id that stands twice."""
    seen: set[bytes] = set()
    twins: dict[str, int] = {}
    count = 0
    for prompt in prompts:
        count += 1
        mark = hashlib.blake2b(prompt.id.encode(), digest_size=8).digest()
        if mark in seen:
            prompt = _renamed(prompt, twins, count, definition, where)
            mark = hashlib.blake2b(prompt.id.encode(), digest_size=8).digest()
        seen.add(mark)
        yield dress(prompt, definition.instruction, definition.system)
    if not count:
        name = _name(definition)
        raise DataError(f"{where + ': ' if where else ''}{name}: there are no prompts{_because(definition)}")


def _renamed(prompt: Prompt, twins: dict[str, int], count: int, definition: Definition, where: str) -> Prompt:
    """Return a twin of an earlier row without id under a name of its own; raises DataError where the id was given."""
    if prompt.id != digest([prompt.messages, prompt.gold], 8):
        name = _name(definition)
        raise DataError(
            f"{where + ': ' if where else ''}{name}: the id '{prompt.id}' of prompt {count} was already used by an "
            "earlier one; ids must differ (rows without id get one)"
        )
    twins[prompt.id] = twins.get(prompt.id, 1) + 1
    return Prompt(
        f"{prompt.id}-{twins[prompt.id]}", prompt.messages, prompt.gold, prompt.solution, prompt.verifier, prompt.meta
    )


def _name(definition: Definition) -> str:
    return next(filter(None, (getattr(definition, key, None) for key in ("path", "hub", "functions"))), "the source")


def _because(definition: Definition) -> str:
    return f" in slice {definition.slice!r}" if definition.slice else ""
