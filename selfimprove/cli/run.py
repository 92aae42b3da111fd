"""`selfimprove run`: the whole loop of a recipe, from wherever it stopped."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from selfimprove.config import Recipe


def run(
    recipe: Annotated[Path, typer.Argument(help="the recipe, a YAML file")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key.sub=value, as often as you like")] = None,
    redo: Annotated[
        str | None, typer.Option("--from", help="redo from this stage on: collect, learn, evaluate, 2/learn, ...")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="another engine with its defaults, for example scripted")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check everything, print the plan, and stop")] = False,
) -> None:
    """Run every round of a recipe: collect, learn, evaluate. A stopped run goes on where it stopped."""
    from selfimprove.config import read_recipe
    from selfimprove.loop import run_folder, run_recipe

    settings = [*(overrides or []), *([f"engine={{name: {engine}}}"] if engine else [])]
    read = read_recipe(recipe, settings)
    if dry_run:
        typer.echo("\n".join([*plan_lines(recipe, read), f"output    {run_folder(read, str(recipe))}"]))
        return
    run_recipe(read, str(recipe), redo=redo)


def plan_lines(recipe: Path, read: "Recipe") -> list[str]:
    """Return the checked plan in words, with the number of prompts and held-out items."""
    import asyncio

    from selfimprove.plan import inspect_data, plan

    checked = plan(read, str(recipe), recipe.parent)
    heldout = checked.heldout()
    found = asyncio.run(inspect_data(checked, heldout))
    sets = ", ".join(f"{name} {len(items)}" for name, items in heldout.items()) or "none"
    return [*checked.lines(), f"counted   {found.prompts} prompts; held-out items: {sets}"]
