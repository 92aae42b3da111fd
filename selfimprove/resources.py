"""Where the files that ship with the project lie: beside the package in a checkout, inside it in a wheel."""

from pathlib import Path

from selfimprove.errors import ConfigError

PACKAGE = Path(__file__).resolve().parent
FOLDERS = ("recipes", "data", "accelerate_configs")


def resource_folder(name: str) -> Path:
    """Return the folder `recipes`, `data` or `accelerate_configs` as shipped.

    Raises ConfigError where the installation lacks it.
    """
    if name not in FOLDERS:
        raise ConfigError(f"no folder '{name}' is shipped; there are: {', '.join(FOLDERS)}")
    checkout = PACKAGE.parent / name
    if (PACKAGE.parent / "pyproject.toml").is_file() and checkout.is_dir():
        return checkout
    copy = PACKAGE / name
    if copy.is_dir():
        return copy
    raise ConfigError(f"{PACKAGE}: this installation has no folder {name}/; install selfimprove again")


def shipped_file(path: str | Path) -> Path | None:
    """Return the shipped file or folder a relative path like `data/arithmetic/train.jsonl` names, if any.

    It lets a recipe that was copied away from the checkout keep naming the data and configs that ship with it.
    """
    path = Path(path)
    if path.is_absolute() or not path.parts or path.parts[0] not in FOLDERS or ".." in path.parts:
        return None
    try:
        found = resource_folder(path.parts[0]).joinpath(*path.parts[1:])
    except ConfigError:
        return None
    return found if found.exists() else None
