"""A round's rows as a data set others can use: JSONL, parquet in TRL's columns, and a card."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from selfimprove.files import read_json, read_jsonl, write_text
from selfimprove.reporting.parcels.facts import Facts, read_facts
from selfimprove.reporting.parcels.sections import citation, method, prompts_text, provenance, reproduction, sections
from selfimprove.reporting.table import markdown
from selfimprove.store import Store

SIDES = ("completion", "chosen", "rejected")
NUMBERS = ("reward", "margin", "weight", "smoothing")
"""May be missing in the first rows, so their type is not left to them."""

KINDS = {"sft": "examples", "pairs": "pairs", "steps": "step-labelled answers"}
COLUMNS = {
    "id": "prompt, and which of its answers",
    "prompt": "the conversation that was answered, as messages",
    "completion": "the answer to learn, as an assistant message",
    "chosen": "the preferred answer, as an assistant message",
    "rejected": "the other answer, as an assistant message",
    "steps": "the steps of the answer",
    "labels": "how good each step is, 0 to 1",
    "reward": "what the method's judge gave the answer",
    "margin": "by how much the chosen answer leads",
    "weight": "weight of the row in the loss",
    "smoothing": "probability that the two answers are the wrong way round; empty: that of the training",
    "round": "the round that made the row",
    "group": "rows of one group are trained together where the objective is about all of them",
    "end": "whether the answer ends there, or is only the beginning of one",
    "meta": "further facts, as JSON",
}
"""What a column of the rows holds."""


def export_dataset(run_folder: Path, output: Path, round: int = 1) -> int:
    """Write rows.jsonl, rows.parquet and README.md of a round's rows into `output`; return the number of rows.

    Raises DataError where the round has no rows, or where they are no longer what the run wrote.
    """
    rows = Store(run_folder).rows(round)
    files = list(rows.files)
    output.mkdir(parents=True, exist_ok=True)
    with (output / "rows.jsonl").open("wb") as target:
        for file in files:
            with file.open("rb") as source:
                shutil.copyfileobj(source, target)
    count = len(rows)
    if count:
        _write_parquet(files, output / "rows.parquet")
    write_text(output / "README.md", dataset_card(run_folder, round, count))
    return count


def _write_parquet(files: list[Path], path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    writer = None
    for batch in _batches(files, 5_000):
        if writer is None:
            table = pyarrow.Table.from_pylist(batch)
            kinds = [pyarrow.field(f.name, pyarrow.float64()) if f.name in NUMBERS else f for f in table.schema]
            writer = pyarrow.parquet.ParquetWriter(path, pyarrow.schema(kinds))
        writer.write_table(pyarrow.Table.from_pylist(batch, schema=writer.schema))
    if writer:
        writer.close()


def _batches(files: list[Path], size: int) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for file in files:
        for row in read_jsonl(file):
            batch.append(trl_columns(row))
            if len(batch) == size:
                yield batch
                batch = []
    if batch:
        yield batch


def trl_columns(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its answers as assistant messages, the shape of TRL's conversational data sets."""
    turned = {side: [{"role": "assistant", "content": row[side]}] for side in SIDES if side in row}
    return {**row, **turned, "meta": json.dumps(row.get("meta", {}), ensure_ascii=False)}


def dataset_card(run_folder: Path, round: int, count: int) -> str:
    """Return the card of a round's rows, written from the run folder alone."""
    facts = read_facts(run_folder)
    collect = read_json(run_folder / f"round-{round}" / "collect.json")
    row = next(iter(facts.store.rows(round)), None)
    kind = kind_of(row) if row is not None else facts.method.makes if facts.method else "rows"
    head: dict[str, Any] = {
        "license": "other",
        "license_name": "unknown",
        "task_categories": ["text-generation"],
        "size_categories": [size_category(count)],
        "tags": list(dict.fromkeys(["selfimprove", facts.method_name, kind, "trl"])),
    }
    if count:
        head["configs"] = [{"config_name": "default", "data_files": [{"split": "train", "path": "rows.parquet"}]}]
    summary = f" {facts.method.summary}" if facts.method else ""
    noun = KINDS.get(kind, "rows")
    shown = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    body = sections(
        {
            "Rows": [
                f"- kind: {kind}",
                f"- model that answered: {facts.origin.name}{_state(round)} (policy digest {collect['policy']})",
                f"- prompts: {prompts_text(facts)}, {collect['prompts']} of them used",
                f"- seed: {facts.recipe.seed}",
                "",
                "`rows.parquet` has TRL's conversational columns, `rows.jsonl` the rows as the toolkit reads them.",
                "",
                *_columns(facts, round),
            ],
            "From prompts to rows": _fates(facts, round, collect),
            "Method": method(facts),
            "What this is not": [
                "These rows are what the method above made of its prompts, no more: that training on them makes a "
                "model better is not claimed here."
            ],
            "How to make it again": reproduction(facts),
            "Provenance": provenance(facts, [round], round),
            "Licence": [_licence(facts)],
            "Citation": citation(facts),
        }
    )
    return f"---\n{shown}---\n# {facts.title}: {count} {noun}\n\n{facts.title}:{summary}\n\n{body}"


def kind_of(row: Mapping[str, Any]) -> str:
    """Return which kind of row this is: a method's first round may make others than the rest."""
    return next((kind for kind, side in (("sft", "completion"), ("pairs", "chosen")) if side in row), "steps")


def size_category(count: int) -> str:
    """Return a number of rows as the hub sorts data sets by size."""
    bounds = [(1_000, "1K"), (10_000, "10K"), (100_000, "100K"), (1_000_000, "1M"), (10_000_000, "10M")]
    for place, (bound, name) in enumerate(bounds):
        if count < bound:
            return f"{bounds[place - 1][1]}<n<{name}" if place else f"n<{name}"
    return "n>10M"


def _columns(facts: Facts, round: int) -> list[str]:
    row = next(iter(facts.store.rows(round)), None)
    if row is None:
        return ["There are no rows."]
    return markdown(["column", "what it is"], [[f"`{name}`", COLUMNS.get(name, "")] for name in trl_columns(row)])


def _state(round: int) -> str:
    return f" as round {round - 1} left it" if round > 1 else ""


def _fates(facts: Facts, round: int, collect: dict[str, Any]) -> list[str]:
    assemble = facts.store.marker(round, "assemble")
    lines = ["Prompts that gave no row:", "", *_counted(collect["skips"])]
    if assemble:
        lines += ["", "Rows taken out afterwards:", "", *_counted(assemble.get("skips", {}))]
    return lines


def _counted(counts: dict[str, int]) -> list[str]:
    return [f"- {reason}: {count}" for reason, count in sorted(counts.items())] or ["- none"]


def _licence(facts: Facts) -> str:
    model = f"{facts.origin.name}" + (f" (under {facts.origin.license})" if facts.origin.license else "")
    return (
        f"The prompts come from {prompts_text(facts)}, the answers from {model}; the terms of both apply, and this "
        "run does not know those of the prompts. Set `license` above when you have looked them up."
    )
