"""The methods: one file each, found by its name.

A method file has `NEEDS` (fields of Prompt it cannot do without), `MAKES` ("sft", "pairs", "steps"), a
frozen dataclass `Config`, and `collect(cfg, run, prompt)`; optionally `assemble(cfg, rows)`,
`learn(cfg, run, rows)`, `LOSS`, and `collect_all(cfg, run, prompts)` instead of `collect`.
"""

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from selfimprove.config import fill, options_of
from selfimprove.errors import ConfigError, did_you_mean
from selfimprove.records import KINDS


def method_names() -> list[str]:
    """Return the names of all shipped methods."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_method(name: str, where: str = "recipe") -> ModuleType:
    """Return the module of a method by its name (cream, self-rewarding) or by a path to the user's own file.

    Raises ConfigError where there is no such method, or where the file lacks what a method must have.
    """
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"{where}: no method file {path}")
        spec = importlib.util.spec_from_file_location(f"selfimprove_user_method_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise ConfigError(f"{where}: {path} cannot be loaded as Python")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module.__name__] = module  # dataclasses look their module up there
        spec.loader.exec_module(module)
    else:
        plain = name.replace("-", "_")
        if plain not in method_names():
            raise ConfigError(f"{where}: no method '{name}'{did_you_mean(name, method_names())}")
        module = importlib.import_module(f"{__name__}.{plain}")
    for needed in ("NEEDS", "MAKES", "Config"):
        if not hasattr(module, needed):
            raise ConfigError(f"{where}: method '{name}' has no {needed}; see docs/adding-a-method.md")
    if not (hasattr(module, "collect") or hasattr(module, "collect_all")):
        raise ConfigError(f"{where}: method '{name}' has neither collect nor collect_all; see docs/adding-a-method.md")
    if module.MAKES not in KINDS:
        raise ConfigError(f"{where}: method '{name}' makes '{module.MAKES}'{did_you_mean(module.MAKES, KINDS)}")
    return module


def configure(section: Mapping[str, Any], where: str = "recipe") -> tuple[ModuleType, Any]:
    """Return a method's module and its Config made of the recipe's `method` section."""
    module = load_method(str(section["name"]), where)
    return module, fill(module.Config, options_of(section), f"{where}: method")
