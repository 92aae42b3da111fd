"""Experiment trackers: which a recipe names in `train.report_to`, and what project and run are called there."""

import ast
import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selfimprove.errors import ConfigError, did_you_mean, missing_package
from selfimprove.store import saved_recipe

OURS = ("trackio", "tensorboard", "wandb")
"""Trackers that get the loop's own figures too; the others of transformers get what the trainer logs."""

FOLDER = "tensorboard"
"""TensorBoard's files of a training, beside its result; those of the loop lie in a folder of this name in the run."""


def tracker_names(report_to: Any) -> list[str]:
    """Return the trackers that a value of `report_to` means; "all" means those of ours that are installed."""
    names = [report_to] if isinstance(report_to, str) else list(report_to or ())
    if names == ["all"]:
        return [name for name in OURS if find_spec(name) is not None]
    return [name for name in names if name != "none"]


def check_trackers(report_to: Any, where: str) -> None:
    """Raise ConfigError for a tracker that there is not, or one of ours that is not installed."""
    known = known_trackers()
    for name in tracker_names(report_to):
        if name not in known:
            raise ConfigError(f"{where} is {report_to!r}: there is no tracker '{name}'{did_you_mean(name, known)}")
        if name in OURS and find_spec(name) is None:
            raise missing_tracker(name, where)


def missing_tracker(name: str, feature: str) -> ConfigError:
    """Return the error for a tracker that is not installed."""
    if name == "wandb":  # brings an account and a service of its own, so no extra of ours asks for it
        return ConfigError(f"{feature} needs wandb: pip install wandb")
    return missing_package(feature, name, "track")


@cache
def known_trackers() -> frozenset[str]:
    """Return the trackers that the installed transformers knows, read from its source."""
    spec = find_spec("transformers")
    if spec is None or not spec.submodule_search_locations:
        raise missing_package("training", "transformers", "core")
    path = Path(spec.submodule_search_locations[0]) / "integrations" / "integration_utils.py"
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Dict):
            continue
        if any(isinstance(target, ast.Name) and target.id == "INTEGRATION_TO_CALLBACK" for target in node.targets):
            found = {str(key.value) for key in node.value.keys if isinstance(key, ast.Constant)}
    return frozenset(found or OURS)


def project_of(options: Mapping[str, Any], method: str) -> str:
    """Return what a run's project is called: `train.project`, else the method's name."""
    return str(options.get("project") or Path(method).stem)


def training_name(folder: Path, number: int) -> str:
    """Return what the training of a round is called, of the run in `folder`."""
    return f"{folder.resolve().name}-round-{number}"


def names_of(learn: Path, options: Mapping[str, Any]) -> tuple[str, str]:
    """Return project and name of the training whose output folder is `learn`: of a run's round, or by hand."""
    folder, found = learn.parent.parent, re.fullmatch(r"round-(\d+)", learn.parent.name)
    if found is None or not (folder / "recipe.yaml").is_file():
        return str(options.get("project") or "selfimprove"), str(options.get("run_name") or learn.resolve().name)
    name = training_name(folder, int(found[1]))
    return project_of(options, saved_recipe(folder).method_name), str(options.get("run_name") or name)


def tracking_environment(learn: Path, project: str) -> dict[str, str]:
    """Return the environment variables by which trackers hear what transformers' options cannot say.

    Without the first one TensorBoard's files would lie among the checkpoints, which go when the training is done.
    """
    return {"TENSORBOARD_LOGGING_DIR": str(learn / FOLDER), "WANDB_PROJECT": project}
