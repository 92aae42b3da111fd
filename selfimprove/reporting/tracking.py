"""A run's own figures in experiment trackers: rows, skips, accuracy, watch, time and tokens of every round.

The trainer reports its steps by itself while it trains. What the loop measures is mirrored here from events.jsonl and
the stage markers, as often as one likes: the run folder is the truth, and a tracker is made to say the same.
"""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from selfimprove.errors import ConfigError, did_you_mean
from selfimprove.files import read_json
from selfimprove.reporting.growing import read_growing
from selfimprove.reporting.trackers import TRACKERS, Point, Series
from selfimprove.store import Store, saved_recipe
from selfimprove.training.trackers import OURS, missing_tracker, project_of, tracker_names, training_name

LIMIT = 120
"""Seconds after which a tracker that does not answer is left alone."""

__all__ = ["mirror", "mirror_safely", "round_figures", "step_figures", "trackers_of"]


@dataclass(slots=True)
class Told:
    """What the events say, later ones over earlier ones: by round and stage, and the training steps of each round."""

    stages: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)
    times: dict[int, float] = field(default_factory=dict)
    trained: dict[int, dict[str, Any]] = field(default_factory=dict)
    steps: dict[int, list[Point]] = field(default_factory=dict)


def read_told(store: Store) -> Told:
    """Return what a run's events say of the stages that stand; what --from has moved aside counts no more."""
    told = Told()
    for event in read_growing(store.folder / "events.jsonl"):
        if "round" not in event:
            continue
        number, at = event["round"], datetime.fromisoformat(event["time"]).timestamp()
        if event["event"] == "stage_finished" and store.marker(number, event["stage"]) is not None:
            told.stages[number, event["stage"]] = event
            told.times[number] = at
        elif event["event"] == "trained":
            told.trained[number] = event
        elif event["event"] == "train":
            earlier = told.steps.get(number, [])  # a training begun anew tells its first steps again
            values = numbers({key: event[key] for key in event if key not in ("time", "event", "round", "step", "of")})
            kept = [point for point in earlier if point.step < event["step"]]
            told.steps[number] = [*kept, Point(event["step"], at, {f"train/{key}": x for key, x in values.items()})]
    return told


def round_figures(store: Store) -> list[Point]:
    """Return the figures of every round that has finished a stage, the round as the step, oldest first."""
    told = read_told(store)
    spending = store.folder / "spending.json"
    spent = read_json(spending).get("stages", {}) if spending.is_file() else {}
    found = []
    for number in sorted({number for number, _ in told.stages}):
        values: dict[str, float] = {}
        for (at, stage), event in told.stages.items():
            if at == number:
                values |= numbers(dict(_stage_figures(stage, event, told.trained.get(number, {}))))
        accounts = [account for stage, account in spent.items() if stage.startswith(f"{number}/")]
        for name in ("seconds", "tokens", "prompt_tokens") if accounts else ():
            values[f"spent/{name}"] = float(sum(account.get(name, 0) for account in accounts))
        found.append(Point(number, told.times[number], values))
    return found


def _stage_figures(stage: str, event: Mapping[str, Any], trained: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if stage in ("collect", "assemble"):
        yield from ((f"{stage}/{name}", event[name]) for name in ("prompts", "rows") if name in event)
        yield f"{stage}/skipped", sum(event.get("skips", {}).values())
        yield from ((f"skips/{reason}", count) for reason, count in event.get("skips", {}).items())
        yield from ((f"{stage}/{name}", value) for name, value in event.get("metrics", {}).items())
    elif stage == "learn":
        yield from ((f"learn/{name}", value) for name, value in trained.items() if name not in ("round",))
    elif stage == "evaluate":
        for name, figures in event.get("sets", {}).items():
            for key, value in figures.items():
                yield f"{name}/{'accuracy' if key == 'share' else key}", value
    elif stage == "watch":
        yield from ((f"watch/{name}", value) for name, value in event.get("figures", {}).items())
        yield "watch/breaches", len(event.get("breaches", ()))


def step_figures(store: Store) -> dict[int, list[Point]]:
    """Return the trainer's steps of every round, from the events."""
    return read_told(store).steps


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the values that are numbers, as floats."""
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def trackers_of(run_folder: str | Path) -> list[str]:
    """Return those trackers of a run's `train.report_to` that the loop's own figures can go to."""
    named = tracker_names(saved_recipe(run_folder).train.get("report_to"))
    return [name for name in OURS if name in named]


def mirror(run_folder: str | Path, trackers: Sequence[str]) -> list[str]:
    """Make trackers say what the run folder says, and return where it can be looked at, a sentence each.

    The training steps of a round go along where the trainer has not reported them to that tracker itself. A second
    call changes nothing. Raises ConfigError for a tracker that is unknown, not installed, or that refuses.
    """
    store, recipe = Store(run_folder), saved_recipe(run_folder)
    for name in trackers:
        if name not in TRACKERS:
            raise ConfigError(f"there is no tracker '{name}' for a run's figures{did_you_mean(name, TRACKERS)}")
    project = project_of(recipe.train, recipe.method_name)
    name = store.folder.resolve().name
    head = {"run_folder": str(store.folder.resolve()), "created": read_json(store.folder / "run.json").get("created")}
    config = {**head, "method": recipe.method_name, "model": recipe.model, "seed": recipe.seed}
    loop = Series(name, store.folder, config, round_figures(store))
    steps = step_figures(store)
    said = []
    for tracker in trackers:
        series = [loop]
        for number, points in sorted(steps.items()):
            options = {**recipe.train, **recipe.train_by_round.get(number, {})}
            if tracker not in tracker_names(options.get("report_to")):
                place = store.stage_folder(number, "learn")
                series.append(Series(training_name(store.folder, number), place, {**config, "round": number}, points))
        said.append(_send(tracker, project, series))
    return said


def _send(tracker: str, project: str, series: list[Series]) -> str:
    module, send = TRACKERS[tracker]
    try:
        __import__(module)
    except ImportError:
        raise missing_tracker(tracker, "tracking") from None
    try:
        return send(project, series)
    except (OSError, ValueError, RuntimeError, sqlite3.Error) as error:
        raise ConfigError(f"{tracker} does not take the figures of this run: {error}") from None


def mirror_safely(run_folder: str | Path, trackers: Sequence[str], say: Callable[[str], None] = print) -> bool:
    """Mirror in a process of its own and return whether it went well; where it did not, say so in one line.

    Whatever a tracker does there (raise, hang, print, leave threads behind), the run that calls this goes on.
    """
    words = [word for name in trackers for word in ("--to", name)]
    command = [sys.executable, "-m", "selfimprove.cli.main", "track", str(run_folder), *words]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = f"no answer within {LIMIT} seconds" if isinstance(error, subprocess.TimeoutExpired) else str(error)
    else:
        if done.returncode == 0:
            return True
        told = [line for line in done.stderr.splitlines() if line.strip()]
        problem = told[-1] if told else f"exit code {done.returncode}"
    say(f"warning: the figures did not reach {', '.join(trackers)} ({problem}); the run goes on")
    return False
