"""`selfimprove build`: only the data set, ready for any trainer."""

from pathlib import Path
from typing import Annotated

import typer


def build(
    recipe: Annotated[str, typer.Argument(help="the recipe: a YAML file, or a name from `recipes ls`")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key.sub=value, as often as you like")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="folder of the data set")] = Path("dataset"),
    engine: Annotated[str | None, typer.Option(help="another engine with its defaults, for example scripted")] = None,
    redo: Annotated[str | None, typer.Option("--from", help="redo from this stage on: collect or assemble")] = None,
) -> None:
    """Collect the first round's rows and write them as JSONL, parquet and a card. `run` can go on from here."""
    from selfimprove.cli.recipes import find_recipe
    from selfimprove.cli.run import with_engine
    from selfimprove.config import read_recipe
    from selfimprove.errors import ConfigError
    from selfimprove.loop import run_recipe
    from selfimprove.reporting.dataset import export_dataset

    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output}: a file is in the way; name a folder")
    path = find_recipe(recipe)
    read = read_recipe(path, with_engine(overrides, engine))
    folder = run_recipe(read, str(path), redo=redo, collect_only=True)
    count = export_dataset(folder, output)
    typer.echo(f"{count} rows in {output}: rows.jsonl, rows.parquet, README.md")
