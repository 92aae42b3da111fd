"""A round's rows as a data set others can use: JSONL, parquet in TRL's columns, and a card."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfimprove.config import digest, to_plain
from selfimprove.files import read_json, read_jsonl, write_text
from selfimprove.methods import load_method
from selfimprove.store import Rows, saved_recipe

SIDES = ("completion", "chosen", "rejected")
NUMBERS = ("reward", "margin", "weight")  # may be missing in the first rows, so their type is not left to them


def export_dataset(run_folder: Path, output: Path, round: int = 1) -> int:
    """Write rows.jsonl, rows.parquet and README.md of a round's rows into `output`; return the number of rows."""
    folder = run_folder / f"round-{round}"
    stage = "assemble" if (folder / "assemble.json").exists() else "collect"
    marker = read_json(folder / f"{stage}.json")
    files = [folder / name for name in marker["files"] if Path(name).name.startswith("rows-")]
    output.mkdir(parents=True, exist_ok=True)
    with (output / "rows.jsonl").open("wb") as target:
        for file in files:
            with file.open("rb") as source:
                shutil.copyfileobj(source, target)
    count = len(Rows(tuple(files)))
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
    recipe = saved_recipe(run_folder)
    marker = read_json(run_folder / f"round-{round}" / "collect.json")
    method = load_method(str(recipe.method["name"]))
    summary = (method.__doc__ or "").strip().splitlines()[0]
    skips = "\n".join(f"- {reason}: {n}" for reason, n in sorted(marker["skips"].items())) or "- none"
    return f"""---
tags: [selfimprove, {recipe.method_name}]
---
# {recipe.method_name}: {count} rows

{summary}

- kind: {method.MAKES}
- model that answered: {recipe.model} (policy digest {marker["policy"]})
- prompts: {recipe.prompts}, {marker["prompts"]} of them used
- recipe digest: {digest(to_plain(recipe))}
- seed: {recipe.seed}

Prompts that gave no row:
{skips}

`rows.parquet` has TRL's conversational columns, `rows.jsonl` the same rows as the toolkit reads them.
"""
