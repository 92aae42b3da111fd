"""How far a run has come and how it ended, from its events and stage markers."""

from collections import deque
from dataclasses import dataclass
from typing import Any

from selfimprove.reporting.growing import read_growing
from selfimprove.reporting.page.wording import clock
from selfimprove.store import STAGES, Store

ENDS = {"finished", "interrupted", "budget", "stopped"}
"""Events after which a process has nothing more to do."""


@dataclass(frozen=True, slots=True)
class History:
    """What events.jsonl says: the last start, how the run ended since then (None: it did not), the last event."""

    started: dict[str, Any] | None
    ended: dict[str, Any] | None
    last: dict[str, Any] | None
    finished: dict[str, Any] | None
    rolled_back: dict[str, Any] | None

    @property
    def state(self) -> str:
        """finished, stopped (somebody or a limit ended it), or open (no end is recorded)."""
        if self.ended is None:
            return "open"
        return "finished" if self.ended["event"] == "finished" else "stopped"


def read_history(store: Store) -> History:
    """Return the history of a run, reading its events one by one."""
    started = ended = last = finished = rolled_back = None
    for event in read_growing(store.folder / "events.jsonl"):
        last = event
        if event["event"] == "started":
            started, ended, rolled_back = event, None, None
        elif event["event"] in ENDS:
            ended = event
            finished = event if event["event"] == "finished" else finished
        elif event["event"] == "rolled_back":
            rolled_back = event
    return History(started, ended, last, finished, rolled_back)


def where(store: Store, rounds: list[int]) -> str:
    """Return the stage that has begun and not finished, or the last one that has: `in round 2, learn`."""
    for number in reversed(rounds):
        done = [stage for stage in STAGES if store.marker(number, stage)]
        for stage in STAGES:
            if stage not in done and store.stage_folder(number, stage).is_dir():
                steps = training_progress(store, number) if stage == "learn" else ""
                return f"in round {number}, {stage}{steps}"
        if done:
            return f"after round {number}, {done[-1]}"
    return "before the first stage"


def training_progress(store: Store, round: int) -> str:
    """Return how far a training has come by its last event: ` (step 40 of 102)`."""
    last = deque(read_growing(store.stage_folder(round, "learn") / "events.jsonl"), maxlen=1)
    return f" (step {last[0]['step']} of {last[0]['of']})" if last and "of" in last[0] else ""


def kind_of(store: Store, history: History, rounds: list[int]) -> str:
    """Return what made the folder: `run`, `build` (a data set and nothing else yet) or `evaluate` (one policy)."""
    if history.started is None:
        return "evaluate" if rounds == [0] else "run"
    only_rows = rounds == [1] and not store.stage_folder(1, "learn").exists() and history.ended is None
    return "build" if only_rows and store.marker(1, "collect") else "run"


def state_sentence(store: Store, history: History, rounds: list[int]) -> str:
    """Return in one sentence whether the run is finished, and otherwise where it stopped and why."""
    end = history.ended
    place = where(store, rounds)
    kind = kind_of(store, history, rounds)
    if kind == "evaluate" and store.marker(0, "evaluate"):
        return "One evaluation; nothing was collected or trained in this folder."
    if kind == "build":
        return f"The data set of round 1 stands ({place}); nothing has been trained."
    if end is None:
        last = f"{history.last['event']} at {clock(history.last['time'])}" if history.last else "none"
        return f"No end is recorded: the run is still at work or was cut off, {place} (last event: {last})."
    at = clock(end["time"])
    if end["event"] == "finished":
        back = history.rolled_back
        why = f": round {back['round']} broke the watch's limits, so round {back['to']} is the result" if back else ""
        return f"Finished at {at}{why}."
    if end["event"] == "interrupted":
        return f"Stopped by {end.get('signal', 'a signal')} at {at}, {place}; the same command goes on from there."
    why = "its budget" if end["event"] == "budget" else "its watch"
    return f"Stopped by {why} at {at}, {place}: {end.get('reason', 'no reason was recorded')}"
