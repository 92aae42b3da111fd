"""`selfimprove recipes`: list, show, copy and check the shipped recipes."""

from pathlib import Path
from typing import Annotated, Any

import typer

recipes = typer.Typer(no_args_is_help=True, help="List, show, copy and check the shipped recipes.")


@recipes.command("ls")
def list_recipes() -> None:
    """List the shipped recipes with their first line."""
    from selfimprove.reporting.table import table
    from selfimprove.resources import resource_folder

    folder = resource_folder("recipes")
    rows = [[path.relative_to(folder), first_line(path)] for path in sorted(folder.rglob("*.yaml"))]
    typer.echo("\n".join(table(["recipe", "what it is"], rows)))


@recipes.command("show")
def show_recipe(recipe: Annotated[str, typer.Argument(help="a name from `recipes ls`, or a file")]) -> None:
    """Print a recipe."""
    typer.echo(find_recipe(recipe).read_text(encoding="utf-8"), nl=False)


@recipes.command("cp")
def copy_recipe(
    recipe: Annotated[str, typer.Argument(help="a name from `recipes ls`, or a file")],
    to: Annotated[Path, typer.Argument(help="file or folder to copy to")] = Path("."),
    force: Annotated[bool, typer.Option("--force", help="overwrite")] = False,
) -> None:
    """Copy a recipe to make it yours."""
    from selfimprove.errors import ConfigError

    source = find_recipe(recipe)
    target = to / source.name if to.is_dir() or not to.suffix else to
    if target.exists() and not force:
        raise ConfigError(f"{target} is there already; choose another name, or --force")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())
    typer.echo(f"{target}: edit it, then `selfimprove run {target}`")


@recipes.command("validate")
def validate_recipes(
    recipe: Annotated[list[str] | None, typer.Argument(help="names or files; none: all shipped recipes")] = None,
) -> None:
    """Check recipes without reading data or loading a model: every option of method, engine and trainer."""
    from selfimprove.config import read_recipe
    from selfimprove.errors import SelfImproveError
    from selfimprove.plan import plan
    from selfimprove.resources import resource_folder

    paths = [find_recipe(name) for name in recipe or ()] or sorted(resource_folder("recipes").rglob("*.yaml"))
    bad = 0
    for path in paths:
        try:
            plan(read_recipe(path), str(path), path.parent)
        except SelfImproveError as error:
            bad += 1
            typer.echo(f"bad   {error}")
        else:
            typer.echo(f"good  {path}")
    if bad:
        typer.echo(f"{bad} of {len(paths)} recipes are not usable", err=True)
        raise typer.Exit(2)


def find_recipe(name: str) -> Path:
    """Return the file of a recipe: a file as named, else a shipped one by its name with or without .yaml.

    Raises ConfigError where there is neither.
    """
    from selfimprove.errors import ConfigError, did_you_mean
    from selfimprove.resources import resource_folder

    if Path(name).is_file():
        return Path(name)
    if Path(name).is_dir():
        inside = sorted(path.name for path in Path(name).glob("*.yaml"))
        hint = f"name a file in it, for example {inside[0]}" if inside else "it holds no .yaml file"
        raise ConfigError(f"{name}: this is a folder, not a recipe; {hint}")
    folder = resource_folder("recipes")
    short = name.removeprefix("recipes/").removesuffix(".yaml")
    shipped = {str(path.relative_to(folder).with_suffix("")): path for path in folder.rglob("*.yaml")}
    if short not in shipped:
        here = {str(path): path for path in Path(name).parent.glob("*.yaml")} if name.endswith(".yaml") else {}
        raise ConfigError(f"{name}: no such recipe{did_you_mean(name if here else short, {**here, **shipped})}")
    return shipped[short]


def first_line(path: Path) -> str:
    """Return the first words of a recipe's opening comment, empty where it has none."""
    with path.open(encoding="utf-8") as file:
        line = file.readline()
    return line.lstrip("# ").strip() if line.startswith("#") else ""


def recipe_of_words(words: list[str], otherwise: dict[Any, Any] | None) -> tuple[dict[Any, Any], str]:
    """Return what `[RECIPE] [KEY=VALUE]...` says as a mapping, and where it comes from.

    Without a recipe it is `otherwise`; raises ConfigError for two recipes, and where there is neither.
    """
    from selfimprove.config import apply_override, read_mapping
    from selfimprove.errors import ConfigError

    named = [word for word in words if "=" not in word]
    if len(named) > 1:
        raise ConfigError(f"one recipe can be given, not {len(named)}: {', '.join(named)}; overrides are key=value")
    path = find_recipe(named[0]) if named else None
    plain = read_mapping(path) if path else otherwise
    if plain is None:
        raise ConfigError("nothing to evaluate: give a recipe, or --model and --data")
    for word in words:
        if "=" in word:
            apply_override(plain, word)
    return plain, str(path) if path else "command line"
