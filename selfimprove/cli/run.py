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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="check everything, print the plan and what it asks for at most, and stop")
    ] = False,
    estimate: Annotated[
        bool,
        typer.Option("--estimate", help="try 8 prompts and 4 training steps for real, print time and price, stop"),
    ] = False,
) -> None:
    """Run every round of a recipe: collect, learn, evaluate. A stopped run goes on where it stopped."""
    from selfimprove.cli.recipes import find_recipe
    from selfimprove.config import read_recipe
    from selfimprove.loop import run_recipe

    settings = with_engine(overrides, engine)
    if dry_run or estimate:
        print_price(recipe, settings, estimate)
        return
    path = find_recipe(recipe)
    run_recipe(read_recipe(path, settings), str(path), redo=redo)


def print_price(recipe: str, settings: list[str], real: bool) -> None:
    """Print the plan and its price: what scripted answers say it asks for, or what a real trial measured."""
    import asyncio

    from selfimprove.cli.validate import inspect_plan

    checked, found, heldout = inspect_plan(recipe, settings, grade_all=False)
    items = {name: len(prompts) for name, prompts in heldout.items()}
    if real:
        from selfimprove.estimate import estimate_lines, measure

        lines = estimate_lines(checked, asyncio.run(measure(checked, heldout, typer.echo)), found.prompts, items)
    else:
        from selfimprove.evaluation.with_method import answer_of
        from selfimprove.price import costs, price_lines
        from selfimprove.trial import try_scripted

        trial = asyncio.run(try_scripted(checked))
        answer = answer_of(checked.recipe, checked.method, checked.config, checked.where)
        answering = asyncio.run(try_scripted(checked, answer)) if answer else None
        lines = price_lines(list(costs(checked, trial, found.prompts, items, answering)))
    typer.echo("\n".join(["", *lines]))


def with_engine(overrides: list[str] | None, engine: str | None) -> list[str]:
    """Return the overrides with another engine, whose options are its own defaults."""
    return [*([f"engine={{name: {engine}}}"] if engine else []), *(overrides or [])]
