"""`selfimprove new`: a new method, its recipe, and a test that fails until the method's formula is written."""

import importlib.util
import keyword
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"
FORMULAS = {"sft": "agreement", "pairs": "margin", "steps": "value"}
"""What a method can make, and the function of its template that is to be written."""


def new(
    name: Annotated[str, typer.Argument(help="of the method, in lower case: my_idea")],
    makes: Annotated[str, typer.Option(help="sft (examples), pairs (chosen and rejected) or steps (labelled steps)")],
    to: Annotated[
        Path | None, typer.Option(help="folder; default: this one, or in a checkout the places where they belong")
    ] = None,
) -> None:
    """Write a method, its recipe and a failing test; the test passes when the formula is written."""
    from selfimprove.errors import ConfigError, did_you_mean

    if makes not in FORMULAS:
        raise ConfigError(f"--makes {makes}: a method makes examples, pairs or steps{did_you_mean(makes, FORMULAS)}")
    name = checked_name(name)
    root = checkout(Path.cwd() if to is None else to, inside=to is None)
    folder = root or to or Path()
    here = Path.cwd()
    written = write_method(name, makes, folder, project=root is not None)
    method, recipe, test = (path.relative_to(here) if path.is_relative_to(here) else path for path in written)
    more = "; then a row in docs/results.md, and `make docs`" if root else ""
    typer.echo(f"written: {method}, {recipe}, {test}")
    typer.echo(f"1. write the formula: {FORMULAS[makes]}() in {method}")
    typer.echo(f"2. run the test: pytest {test}")
    typer.echo(f"3. look at the plan, then run it: selfimprove run {recipe} --dry-run{more}")


def checked_name(name: str) -> str:
    """Return a method's name as its file will spell it.

    Raises ConfigError where it is no name for a Python file, or where a method or a Python module has it.
    """
    from selfimprove.errors import ConfigError
    from selfimprove.methods import method_names

    plain = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", plain) or keyword.iskeyword(plain):
        raise ConfigError(
            f"'{name}' cannot name a method; write lower case letters, digits and _, a letter first, at most 40"
        )
    if plain in method_names():
        raise ConfigError(f"there is a method '{plain}' already; `selfimprove methods {plain}` describes it")
    if plain in sys.stdlib_module_names or importlib.util.find_spec(plain) is not None:
        raise ConfigError(f"'{plain}' is a Python module, which a file {plain}.py would hide; choose another name")
    return plain


def checkout(folder: Path, inside: bool) -> Path | None:
    """Return the project's checkout where `folder` is it (or, with `inside`, lies in it), else None."""
    root = TEMPLATES.parent.parent
    if not (root / "pyproject.toml").is_file():
        return None
    folder = folder.resolve()
    return root if folder == root or (inside and folder.is_relative_to(root)) else None


def write_method(name: str, makes: str, folder: Path, project: bool) -> tuple[Path, Path, Path]:
    """Write method, recipe and test, in the project's places or side by side, and return their paths.

    Raises ConfigError, before anything is written, where one of them is there already.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from selfimprove.errors import ConfigError

    places = {
        "method": folder / ("selfimprove/methods" if project else "") / f"{name}.py",
        "recipe": folder / ("recipes/quick" if project else "") / f"{name}.yaml",
        "test": folder / ("tests/methods" if project else "") / f"test_{name}.py",
    }
    there = next((path for path in places.values() if path.exists()), None)
    if there is not None:
        raise ConfigError(f"{there} is there already and is not overwritten; choose another name")
    words = name.replace("_", " ")
    values = {
        "name": name, "makes": makes, "project": project, "words": words, "title": words[0].upper() + words[1:],
        "method": name if project else str(places["method"]),
        "recipe": f"recipes/quick/{name}.yaml" if project else str(places["recipe"]),
    }  # fmt: skip
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    files = {"method": f"method_{makes}.py.jinja", "recipe": "recipe.yaml.jinja", "test": "test_method.py.jinja"}
    for part, path in places.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(templates.get_template(files[part]).render(values), encoding="utf-8")
    return places["method"], places["recipe"], places["test"]
