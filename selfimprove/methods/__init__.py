"""The methods: one file each, found by its name.

A method file has `NEEDS` (fields of Prompt it cannot do without), `MAKES` ("sft", "pairs", "steps"), a
frozen dataclass `Config`, and `collect(cfg, run, prompt)`; optionally `assemble(cfg, rows)`,
`learn(cfg, run, rows)`, `LOSS`, `judge(cfg, run, prompt, text)`, `answer(cfg, run, prompt)`,
`propose(cfg, run, prompts)`, `TRIAL_ROUND` (the round whose price is told where the first is another than the
rest), and `collect_all(cfg, run, prompts)` instead of `collect`. Where an option
decides what is made, MAKES is a tuple of kinds, and `makes(cfg)` returns the kind and its loss (None: the
kind's own).
"""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from selfimprove.config import fill, options_of
from selfimprove.contract import check_calls, check_results, kinds_of
from selfimprove.errors import ConfigError, did_you_mean
from selfimprove.files import load_python
from selfimprove.records import KINDS, Prompt


def method_names() -> list[str]:
    """Return the names of all shipped methods."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_method(name: str, where: str = "recipe") -> ModuleType:
    """Return the module of a method by its name (cream, self-rewarding) or by a path to the user's own file.

    Raises ConfigError where there is no such method, or where the file lacks what a method must have.
    """
    if name.endswith(".py"):
        path = Path(name).expanduser()
        if not path.is_file():
            raise ConfigError(f"{where}: there is no method file {path} in {Path.cwd()}; correct method.name")
        module = load_python(path, f"{where}: method")
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
    if not isinstance(module.MAKES, str | tuple) or not set(kinds_of(module)) <= {*KINDS} or not module.MAKES:
        raise ConfigError(f"{where}: method '{name}' makes {module.MAKES!r}{did_you_mean(str(module.MAKES), KINDS)}")
    if isinstance(module.MAKES, tuple) and not hasattr(module, "makes"):
        raise ConfigError(f"{where}: method '{name}' makes {' or '.join(module.MAKES)}; write makes(cfg) to say which")
    known = [f.name for f in fields(Prompt)]
    needs = module.NEEDS if isinstance(module.NEEDS, set | frozenset | tuple | list) else (module.NEEDS,)
    unknown = next((need for need in needs if need not in known), None)
    if unknown is not None or needs is not module.NEEDS:
        hint = did_you_mean(str(unknown), known) if unknown else ""
        raise ConfigError(f"{where}: method '{name}' needs {module.NEEDS!r}; write a set of fields of Prompt{hint}")
    if not is_dataclass(module.Config):
        raise ConfigError(
            f"{where}: Config of method '{name}' is no dataclass; write @dataclass(frozen=True) above it"
        )
    check_calls(module, name, where)
    if name.endswith(".py"):
        check_results(module, name)
    return module


def made_by(module: ModuleType, config: Any) -> tuple[str, str | None]:
    """Return the kind of rows that a method makes with a config, and the loss that it names for them.

    Raises ConfigError for a kind that its MAKES does not name.
    """
    if isinstance(module.MAKES, str):
        return module.MAKES, getattr(module, "LOSS", None)
    kind, loss = module.makes(config)
    if kind not in module.MAKES:
        raise ConfigError(f"{module.__name__}: makes(cfg) gives {kind!r}, which its MAKES does not name")
    return kind, loss


def configure(section: Mapping[str, Any], where: str = "recipe") -> tuple[ModuleType, Any]:
    """Return a method's module and its Config made of the recipe's `method` section."""
    module = load_method(str(section["name"]), where)
    return module, fill(module.Config, options_of(section), f"{where}: method")
