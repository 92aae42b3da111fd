"""What rounds learned: the policy, and other models by name; where they lie, and how their training is run."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from selfimprove.engines.base import Policy
from selfimprove.errors import TrainError
from selfimprove.models import policy_of
from selfimprove.store import RowWriter, Store
from selfimprove.training.job import Job, Result
from selfimprove.training.launch import run_job

GIVEN = "given"
"""Folder beside a training's output for rows that a method's learn chose itself."""


TAKEN = ("policy", "adapter", "model", "checkpoints", "rows", GIVEN)
"""Names in a training's output folder that no other model may have."""


def folder_of(learn: Path, name: str) -> Path:
    """Return where a round trains the model of a name; raises TrainError for a name that cannot be a folder there."""
    if name == "policy":
        return learn
    if name in TAKEN or not name.replace("_", "a").isalnum():
        raise TrainError(
            f"a model cannot be called {name!r}: its name becomes a folder; use letters, digits and '_', and none of "
            f"{', '.join(TAKEN)}"
        )
    return learn / name


def place_of(model: Policy, before: Policy, folder: Path) -> dict[str, Any]:
    """Return what a learn marker says of a model; `model` is None there where its base is that of `before`."""
    return {
        "adapter": model.adapter and _relative(model.adapter, folder),
        "model": None if model.base == before.base else _relative(model.base, folder),
        "policy": model.digest,
    }


def _relative(path: str, folder: Path) -> str:
    """Paths inside the run folder are kept relative to it, so that the folder can be moved."""
    resolved, folder = Path(path).resolve(), folder.resolve()
    return str(resolved.relative_to(folder)) if resolved.is_relative_to(folder) else str(resolved)


def policy_of_round(store: Store, marker: Mapping[str, Any], before: Policy) -> Policy:
    """Return the policy that a round's learn marker names; `before` is the one it was trained from."""
    base = str(store.folder / marker["model"]) if marker["model"] else before.base
    adapter = str(store.folder / marker["adapter"]) if marker["adapter"] else None
    return policy_of(base, adapter)


def models_of_round(store: Store, marker: Mapping[str, Any], base: Policy) -> dict[str, Policy]:
    """Return the models beside the policy that a round's learn marker names; `base` is the run's."""
    return {name: policy_of_round(store, place, base) for name, place in marker.get("models", {}).items()}


def name_of(kind: str) -> str:
    """Return the name of the model that rows of a kind train: policy, value or reward."""
    return {"steps": "value", "reward": "reward"}.get(kind, "policy")


def written(rows: Iterable[Any], folder: Path) -> list[Path]:
    """Return the files of rows that are not as they stand in a file already; the same rows, the same bytes."""
    writer = RowWriter(folder)
    for row in rows:
        writer.write(row)
    return writer.close()


async def run_in_thread(
    job: Job, on_event: Callable[[dict[str, Any]], None], stopped: Callable[[], bool] = lambda: False
) -> Result:
    """Train a job in its own process without blocking the loop; a cancelled training is ended before this returns."""
    stop = threading.Event()
    training = asyncio.create_task(asyncio.to_thread(run_job, job, None, on_event, lambda: stop.is_set() or stopped()))
    try:
        return await asyncio.shield(training)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([training])
        raise
