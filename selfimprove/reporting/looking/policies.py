"""Which policy of a run a digest names: the start model, or what a round trained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfimprove.engines.base import Policy
from selfimprove.errors import DataError
from selfimprove.files import read_json
from selfimprove.ledger import Entry
from selfimprove.models import model_folder, policy_of
from selfimprove.reporting.growing import read_growing
from selfimprove.store import Store, saved_recipe

AFTER = ("evaluate", "watch")
"""Purposes of what a round asks the policy that it has trained; everything else is asked before."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a policy came from: the round that trained it (0: the start model) and the folder that holds it."""

    round: int
    folder: Path
    replaced: bool = False

    def __str__(self) -> str:
        """Return the origin as people say it."""
        if not self.round:
            return "the start model"
        return f"the policy of round {self.round}{', since replaced' if self.replaced else ''}"


def origins(store: Store) -> dict[str, Origin]:
    """Return {policy digest: where it came from} of a run, rounds that --from has moved aside included."""
    found: dict[str, Origin] = {}
    start = start_digest(store)
    if start:
        found[start] = Origin(0, store.folder)
    attics = sorted((store.folder / "replaced").glob("*"), reverse=True)
    for folder in (store.folder, *attics):
        for path in sorted(folder.glob("round-*/learn.json"), key=lambda path: int(path.parent.name[6:])):
            digest = read_json(path).get("policy")
            if digest:
                found.setdefault(digest, Origin(int(path.parent.name[6:]), folder, folder != store.folder))
    return found


def start_digest(store: Store) -> str | None:
    """Return the digest of the model that the run began with, None where nothing has been asked of it yet."""
    for marker in (store.marker(0, "evaluate"), store.marker(1, "collect")):
        if marker and marker.get("policy"):
            return marker["policy"]
    path = store.folder / "events.jsonl"
    started = (event for event in read_growing(path) if event.get("event") == "started")
    return next((event["policy"] for event in started), None)


def digest_before(store: Store, number: int) -> str | None:
    """Return the digest of the policy that a round samples from."""
    marker = store.marker(number, "collect")
    return marker["policy"] if marker else digest_after(store, number - 1)


def digest_after(store: Store, number: int) -> str | None:
    """Return the digest of the policy that a round leaves behind."""
    if number < 1:
        return start_digest(store)
    marker = store.marker(number, "learn")
    return marker.get("policy") or digest_before(store, number) if marker else None


def asked_in(store: Store, number: int) -> Callable[[Entry], bool]:
    """Return the test whether a request belongs to a round, as far as its policy tells; what names none passes."""
    before, after = digest_before(store, number) if number else None, digest_after(store, number)

    def belongs(entry: Entry) -> bool:
        policy = entry.request.get("policy") if isinstance(entry.request, Mapping) else None
        return policy is None or policy == (after if entry.purpose in AFTER else before)

    return belongs


def load_policy(store: Store, digest: str) -> Policy:
    """Return the policy of a digest, ready to be asked.

    Raises DataError where the run knows no such policy, where its files are gone, or where they have changed.
    """
    origin = origins(store).get(digest)
    if origin is None:
        raise DataError(f"{store.folder}: policy {digest[:12]} is none of this run's, so it cannot be asked")
    base, adapter = str(model_folder(saved_recipe(store.folder).model)), None
    for number in range(1, origin.round + 1):
        marker = _learned(store, origin.folder, number)
        base = str(origin.folder / marker["model"]) if marker.get("model") else base
        adapter = str(origin.folder / marker["adapter"]) if marker.get("adapter") else None
    policy = policy_of(base, adapter)
    if policy.digest != digest:
        raise DataError(f"{policy}: {origin} has changed since the run ({digest[:12]} then, {policy.digest[:12]} now)")
    return policy


def _learned(store: Store, folder: Path, number: int) -> Mapping[str, Any]:
    path = folder / f"round-{number}" / "learn.json"
    return read_json(path) if path.is_file() else store.marker(number, "learn") or {}
