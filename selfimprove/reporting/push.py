"""Pushing a run to a hub: a model, an adapter or a data set, with a card written from the run folder.

A repository is made private, and nothing is put where everybody can see it, unless that was asked for. Everything
goes up in one commit; a push that fails leaves the repository as it was, and the run in any case.
"""

import re
import shlex
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfimprove.config import fill
from selfimprove.errors import ConfigError, SelfImproveError, did_you_mean
from selfimprove.reporting.parcels.hub import Hub, Pushed
from selfimprove.reporting.parcels.parcel import WHATS, Parcel, pack
from selfimprove.reporting.table import table, told_size
from selfimprove.store import Store


@dataclass(frozen=True)
class Push:
    """What is pushed where."""

    to: str  # repository: owner/name
    what: str | None = None  # adapter, merged or dataset; None: merged where the run has a merged model, else adapter
    private: bool = True  # a new repository is private; true also refuses one that everybody can see
    round: int | None = None  # which round's adapter or rows; None: the one the run ended with, or the last rows
    revision: str | None = None  # branch, made where it is not there; None: main
    message: str | None = None  # of the commit


def check_push(section: Mapping[str, Any] | None, where: str) -> Push | None:
    """Return the checked `push` section of a recipe, None of an empty one; raises ConfigError naming the key."""
    if not section:
        return None
    place = f"{where}: push"
    push = fill(Push, section, place)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", push.to) or "--" in push.to or ".." in push.to:
        raise ConfigError(f"{place}: to is {push.to!r}; write owner/name, for example me/my-model")
    if push.what is not None and push.what not in WHATS:
        raise ConfigError(f"{place}: what is {push.what!r}{did_you_mean(push.what, WHATS)}")
    if push.round is not None and push.round < 1:
        raise ConfigError(f"{place}: round is {push.round}; rounds that learn count from 1")
    if push.revision is not None and not re.fullmatch(r"[\w][\w./-]*", push.revision):
        raise ConfigError(f"{place}: revision is {push.revision!r}; name a branch, for example main")
    return push


def push_folder(run_folder: Path, push: Push, say: Callable[[str], None]) -> Pushed:
    """Push what a run made, note it in the run's events, and return where it arrived.

    Raises SelfImproveError with the command to try again; nothing in the run has changed then.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="selfimprove-push-") as workspace:
            parcel = _pack(run_folder, push, workspace)
            hub = Hub(say)
            size = sum(file.size for file in parcel.files)
            say(f"pushing {len(parcel.files)} files ({told_size(size)}) to {push.to} on {hub.name}")
            message = push.message or f"{parcel.what} of round {parcel.round}, by selfimprove"
            found = hub.deliver(parcel, push.to, push.private, push.revision, message)
    except SelfImproveError as error:
        raise type(error)(
            f"{str(error).rstrip('.')}. The run is as it was; again: {command(run_folder, push)}"
        ) from None
    with suppress(OSError):  # a run folder that can only be read is pushed all the same
        Store(run_folder).event(
            "pushed", to=push.to, what=parcel.what, round=parcel.round, url=found.url, commit=found.commit
        )
    return found


def push_run(run_folder: Path | str, section: Mapping[str, Any], say: Callable[[str], None]) -> bool:
    """Push at the end of a run as its recipe says, and return whether that worked; a failure ends nothing.

    Either way one event is written (`pushed` or `push_failed`) and one line said at the end.
    """
    folder = Path(run_folder)
    try:
        push = check_push(section, str(folder / "recipe.yaml"))
        if push is None:
            return False
        found = push_folder(folder, push, say)
    except SelfImproveError as error:
        Store(folder).event("push_failed", to=section.get("to"), reason=str(error))
        say(f"not pushed: {error}")
        return False
    say(told(found))
    return True


def preview(run_folder: Path, push: Push) -> list[str]:
    """Return what a push would send, file by file, and the whole card; contacts nobody."""
    with tempfile.TemporaryDirectory(prefix="selfimprove-push-") as workspace:
        parcel = _pack(run_folder, push, workspace)
        rows = [[file.name, told_size(file.size), file.source] for file in parcel.files]
        seen = "private" if push.private else "public"
        branch = push.revision or "main"
        return [
            f"would push to {push.to} ({seen} {parcel.repo_type} repository, branch {branch}):",
            "",
            *table(["file", "size", "source"], rows),
            "",
            *parcel.card.splitlines(),
        ]


def _pack(run_folder: Path, push: Push, workspace: str) -> Parcel:
    return pack(run_folder, push.to, push.what, push.round, Path(workspace), push.revision)


def command(run_folder: Path, push: Push) -> str:
    """Return the command line that does this push."""
    words = ["selfimprove", "push", str(run_folder), "--to", push.to]
    for name in ("what", "round", "revision", "message"):
        value = getattr(push, name)
        words += [f"--{name}", str(value)] if value is not None else []
    return shlex.join(words if push.private else [*words, "--public"])


def told(pushed: Pushed) -> str:
    """Return where a push arrived, in a line."""
    return f"pushed: {pushed.url} (commit {pushed.commit[:12]}, {'private' if pushed.private else 'public'})"
