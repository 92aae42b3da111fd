"""`selfimprove train`: only the training of a recipe, on rows that are there."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[str, typer.Argument(help="the recipe: a YAML file, or a name from `recipes ls`")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key.sub=value, as often as you like")] = None,
    rows: Annotated[list[Path] | None, typer.Option(help="JSONL file of rows; may be repeated")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="folder of what is trained")] = Path("out"),
    adapter: Annotated[Path | None, typer.Option(help="an adapter to train on")] = None,
) -> None:
    """Train the recipe's model on rows; the loss and the options are the recipe's."""
    from selfimprove.cli.recipes import find_recipe
    from selfimprove.config import read_recipe
    from selfimprove.errors import ConfigError
    from selfimprove.models import adapter_settings, model_folder
    from selfimprove.plan import plan
    from selfimprove.training.data import read_rows
    from selfimprove.training.job import Job, refuse_another_result
    from selfimprove.training.launch import run_job

    if not rows:
        raise ConfigError("--rows is missing: name the JSONL file that `selfimprove build` wrote")
    absent = next((path for path in rows if not path.is_file()), None)
    if absent:
        raise ConfigError(f"--rows {absent}: no such file; `selfimprove build` writes rows.jsonl")
    path = find_recipe(recipe)
    read = read_recipe(path, overrides or [])
    checked = plan(read, str(path), path.parent)
    job = Job(
        kind=checked.kind,
        rows=tuple(str(path) for path in rows),
        policy_base=str(model_folder((checked.kind == "steps" and read.value.get("model")) or read.model)),
        policy_adapter=str(adapter) if adapter else None,
        output=str(output),
        options=checked.options_for(checked.kind, 1),
        seed=read.seed + 1,
        loss=checked.loss,
        recipe=str(path),
    )
    if adapter is not None:
        adapter_settings(adapter)
    if not sum(1 for _ in read_rows(job.kind, job.rows)):  # each is checked before a process starts
        raise ConfigError(f"--rows {', '.join(job.rows)}: there are no rows to train on")
    refuse_another_result(job)
    result = run_job(job)
    typer.echo(f"trained: {result.adapter or result.model}")
