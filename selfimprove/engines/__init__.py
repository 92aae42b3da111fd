"""Engines: a file in this folder is an engine, found by its name; a recipe may also name a path to the user's own.

An engine file holds a frozen dataclass `Config` (each field with the comment that is its help text) and
`make(config) -> Engine`.
"""

import importlib
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from selfimprove.config import fill, options_of
from selfimprove.engines.base import Engine
from selfimprove.errors import ConfigError, did_you_mean
from selfimprove.files import load_python


def engine_names() -> list[str]:
    """Return the names of the engines that ship with the package."""
    files = Path(__file__).parent.glob("*.py")
    return sorted(file.stem for file in files if not file.stem.startswith("_") and file.stem not in ("base", "value"))


def open_engine(section: Mapping[str, Any], where: str = "engine") -> Engine:
    """Return the engine of a recipe's `engine` section, not started yet.

    Raises ConfigError for an unknown engine or option.
    """
    if "name" not in section:
        raise ConfigError(f"{where}: it needs a name, one of {', '.join(engine_names())}")
    module = engine_module(str(section["name"]), where)
    config = fill(module.Config, options_of(section), f"{where}: engine")
    try:
        return module.make(config)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def engine_module(name: str, where: str = "engine") -> ModuleType:
    """Return the module of an engine by its name, or by the path of a .py file; raises ConfigError where unknown."""
    if name.endswith(".py"):
        module = _load_file(Path(name).expanduser(), where)
    elif name in engine_names():
        module = importlib.import_module(f"{__name__}.{name}")
    else:
        raise ConfigError(f"{where}: there is no engine '{name}'{did_you_mean(name, engine_names())}")
    for part in ("Config", "make"):
        if not hasattr(module, part):
            raise ConfigError(f"{where}: {name} has no '{part}'; an engine file needs Config and make(config)")
    if not is_dataclass(module.Config):
        raise ConfigError(f"{where}: Config in {name} is no dataclass; write @dataclass(frozen=True) above it")
    return module


def _load_file(path: Path, where: str) -> ModuleType:
    if not path.is_file():
        known = ", ".join(engine_names())
        raise ConfigError(f"{where}: there is no file '{path}'; name one of {known}, or a .py file")
    return load_python(path, where)
