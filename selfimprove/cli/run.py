"""`selfimprove run`: the whole loop of a recipe, from wherever it stopped."""

from typing import Annotated

import typer


def run(
    recipe: Annotated[str, typer.Argument(help="the recipe: a YAML file, or a name from `recipes ls`")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key.sub=value, as often as you like")] = None,
    redo: Annotated[
        str | None, typer.Option("--from", help="redo from this stage on: collect, learn, evaluate, 2/learn, ...")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="another engine with its defaults, for example scripted")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check everything, print the plan, and stop")] = False,
) -> None:
    """Run every round of a recipe: collect, learn, evaluate. A stopped run goes on where it stopped."""
    from selfimprove.cli.recipes import find_recipe
    from selfimprove.cli.validate import print_plan
    from selfimprove.config import read_recipe
    from selfimprove.loop import run_recipe

    settings = with_engine(overrides, engine)
    if dry_run:
        print_plan(recipe, settings, grade_all=False)
        return
    path = find_recipe(recipe)
    run_recipe(read_recipe(path, settings), str(path), redo=redo)


def with_engine(overrides: list[str] | None, engine: str | None) -> list[str]:
    """Return the overrides with another engine, whose options are its own defaults."""
    return [*([f"engine={{name: {engine}}}"] if engine else []), *(overrides or [])]
