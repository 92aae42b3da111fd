"""What the rounds gave, in lines a person reads: accuracy with interval, and the paired test against round 0."""

from dataclasses import fields

from selfimprove.evaluation.heldout import read_items, scores
from selfimprove.evaluation.report import Accuracy, compare
from selfimprove.evaluation.standalone import compare_with_plain
from selfimprove.store import Store


def round_lines(store: Store, round: int) -> list[str]:
    """Return one line per held-out set of a measured round, compared with round 0 on the same items."""
    marker = store.marker(round, "evaluate")
    lines = []
    for name, found in (marker or {"sets": {}})["sets"].items():
        line = f"round {round}: {name} {Accuracy(**{f.name: found[f.name] for f in fields(Accuracy)})}"
        if round > 0 and store.marker(0, "evaluate"):
            old, new = (scores(read_items(store, at, name)) for at in (0, round))
            line += f"; against round 0: {compare(old, new)} (McNemar)"
        against = compare_with_plain(store, round, name)
        if against is not None:
            told = (marker or {})["with_method"][name]
            line += f"; against the plain answer: {against} (McNemar)"
            line += f"; {told['answers']:.1f} answers, {told['tokens']:.0f} tokens an item"
        sampled = [f"{key} {100 * value:.1f} %" for key, value in found.items() if "@" in key]
        lines.append("; ".join([line, *sampled]))
    return lines
