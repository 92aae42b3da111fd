"""How figures reach each tracker so that sending them again changes nothing."""

import contextlib
import importlib
import io
import os
import warnings
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfimprove.config import digest
from selfimprove.errors import ConfigError
from selfimprove.files import read_json, write_json
from selfimprove.training.trackers import FOLDER

SENT = "tracking.json"
"""In the folder of a series: how far trackers have got it that cannot be told anew."""


@dataclass(frozen=True, slots=True)
class Point:
    """Figures at one step (a round, or a step of the trainer), with the time they were measured (Unix seconds)."""

    step: int
    time: float
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Series:
    """What a tracker calls a run: the rounds of a run folder, or the steps of one of its trainings."""

    name: str
    folder: Path
    config: Mapping[str, Any]
    points: list[Point]

    @property
    def identity(self) -> str:
        """A digest that this series keeps, and that no other series has."""
        return digest([self.config["run_folder"], self.config["created"], self.name], 8)


def send_to_trackio(project: str, series: list[Series]) -> str:
    """Write series to trackio's local files, in place of what they held of the same series.

    A Space or server named by TRACKIO_SPACE_ID or TRACKIO_SERVER_URL cannot be told anew: it gets what it lacks.
    """
    import trackio

    remote = os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL")
    with contextlib.redirect_stdout(io.StringIO()), _warnings_as_errors():  # it greets
        for each in series:
            if not remote:
                _forget_in_trackio(project, each)
            points = _unsent(each, f"trackio {remote}") if remote else each.points
            if not points:
                continue
            run = trackio.init(
                project=project, name=each.name, config={**each.config, "series": each.identity}, embed=False,
                resume="allow" if remote else "never", auto_log_gpu=False, auto_log_cpu=False,
            )  # fmt: skip
            for point in points:
                run.log(dict(point.values), step=point.step)
            trackio.finish()
            if remote:
                _remember(each, f"trackio {remote}", points)
    return f"trackio: project {project}, run {series[0].name} (trackio show --project {project})"


@contextlib.contextmanager
def _warnings_as_errors() -> Generator[None]:
    """Raise ConfigError, once the block is done, for what trackio has only warned of: figures that it lost."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        yield
    lost = next((str(each.message) for each in told if str(each.message).startswith("trackio")), None)
    if lost:
        raise ConfigError(lost)


def _forget_in_trackio(project: str, series: Series) -> None:
    """Delete what was written of a series before; a run of the same name that is not ours stays."""
    import trackio

    try:
        runs = list(trackio.Api().runs(project))
    except ValueError:  # no such project yet
        return
    for run in runs:
        if run.name == series.name and (run.config or {}).get("series") == series.identity:
            run.delete()


def send_to_tensorboard(project: str, series: list[Series]) -> str:
    """Write series as event files into a folder of each, in place of those written before.

    What the trainer has written there itself stays. The times are those of the measurements.
    """
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    events: Any = importlib.import_module("tensorboard.compat.proto.event_pb2")
    summaries: Any = importlib.import_module("tensorboard.compat.proto.summary_pb2")
    for each in series:
        folder = each.folder / FOLDER
        before = list(folder.glob("events.out.tfevents.*.selfimprove"))
        writer = EventFileWriter(str(folder), filename_suffix=".selfimprove")
        for point in each.points:
            values = [summaries.Summary.Value(tag=name, simple_value=value) for name, value in point.values.items()]
            summary = summaries.Summary(value=values)
            writer.add_event(events.Event(wall_time=point.time, step=point.step, summary=summary))
        writer.close()
        for old in before:
            old.unlink(missing_ok=True)
    return f"tensorboard: {series[0].folder / FOLDER} (tensorboard --logdir {series[0].folder})"


def send_to_wandb(project: str, series: list[Series]) -> str:
    """Send to Weights & Biases what it lacks of series; raises ConfigError with its own words where it refuses.

    Its steps only ever rise, so rounds that --from has redone keep the figures that were sent first. WANDB_MODE,
    WANDB_PROJECT and the login are the user's.
    """
    wandb: Any = importlib.import_module("wandb")
    project = os.environ.get("WANDB_PROJECT") or project
    try:
        for each in series:
            points = _unsent(each, f"wandb {project}")
            if not points:
                continue
            run = wandb.init(
                project=project, name=each.name, id=each.identity, resume="allow", config=dict(each.config)
            )
            for point in points:
                run.log(dict(point.values), step=point.step)
            run.finish()
            _remember(each, f"wandb {project}", points)
    except wandb.errors.Error as error:
        raise ConfigError(f"wandb does not take the figures of this run: {error}") from None
    return f"wandb: project {project}, run {series[0].name}"


def _unsent(series: Series, tracker: str) -> list[Point]:
    path = series.folder / SENT
    last = (read_json(path) if path.is_file() else {}).get(f"{tracker} {series.name}", -1)
    return [point for point in series.points if point.step > last]


def _remember(series: Series, tracker: str, points: list[Point]) -> None:
    path = series.folder / SENT
    known = read_json(path) if path.is_file() else {}
    write_json(path, {**known, f"{tracker} {series.name}": points[-1].step})


TRACKERS: dict[str, tuple[str, Callable[[str, list[Series]], str]]] = {
    "trackio": ("trackio", send_to_trackio),
    "tensorboard": ("tensorboard", send_to_tensorboard),
    "wandb": ("wandb", send_to_wandb),
}
"""Tracker: (package, what sends series to it and says where they can be looked at)."""
