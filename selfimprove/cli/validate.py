"""`selfimprove validate`: can this recipe run, and can its verifier grade its own gold answers?"""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from selfimprove.plan import Inspection, Plan
    from selfimprove.records import Prompt


def validate(
    recipe: Annotated[str, typer.Argument(help="the recipe: a YAML file, or a name from `recipes ls`")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key.sub=value, as often as you like")] = None,
    limit: Annotated[int, typer.Option(help="print at most so many rows that cannot be graded")] = 20,
) -> None:
    """Check a recipe, its data and its verifier before anything is sampled; exit 2 where a row cannot be graded.

    Every gold answer is given to the verifier as if a model had said it. A row that is not graded as right would
    never be right for any model.
    """
    from selfimprove.verify.asserts import shown

    found = print_plan(recipe, overrides or [], grade_all=True)
    for prompt, reason in found.ungradable[:limit]:
        typer.echo(f"bad       {prompt.id}: gold {shown(prompt.gold)} is not graded as right ({reason})")
    if found.ungradable:
        hidden = len(found.ungradable) - limit
        more = f" ({hidden} more; --limit {len(found.ungradable)} shows all)" if hidden > 0 else ""
        typer.echo(f"{len(found.ungradable)} rows cannot be graded by their own gold answer{more}", err=True)
        raise typer.Exit(2)
    typer.echo("good      every gold answer is graded as right")


def print_plan(recipe: str, overrides: list[str], grade_all: bool) -> "Inspection":
    """Check a recipe and its data, print the plan with what was counted, and return what was found."""
    return inspect_plan(recipe, overrides, grade_all)[1]


def inspect_plan(
    recipe: str, overrides: list[str], grade_all: bool
) -> tuple["Plan", "Inspection", dict[str, list["Prompt"]]]:
    """Check a recipe and its data, print the plan with what was counted; return plan, findings and held-out sets."""
    import asyncio

    from selfimprove.cli.recipes import find_recipe
    from selfimprove.config import read_recipe
    from selfimprove.loop import run_folder
    from selfimprove.plan import inspect_data, plan

    path = find_recipe(recipe)
    checked = plan(read_recipe(path, overrides), str(path), path.parent)
    typer.echo("\n".join(checked.lines()))
    heldout = checked.heldout()
    found = asyncio.run(inspect_data(checked, heldout, grade_all))
    sets = ", ".join(f"{name} {len(items)}" for name, items in heldout.items()) or "none"
    typer.echo(f"counted   {found.prompts} prompts; held-out items: {sets}")
    typer.echo(f"output    {run_folder(checked.recipe, str(path))}")
    return checked, found, heldout
