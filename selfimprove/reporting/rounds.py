"""What the rounds gave, in lines a person reads: accuracy with interval, and the paired test against round 0."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from selfimprove.errors import DataError
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
            line += f"; against round 0: {_compared(old, new)}"
        against = compare_with_plain(store, round, name)
        if against is not None:
            told = (marker or {})["with_method"][name]
            line += f"; against the plain answer: {against} (McNemar)"
            line += f"; {told['answers']:.1f} answers, {told['tokens']:.0f} tokens an item"
        sampled = [f"{key} {100 * value:.1f} %" for key, value in found.items() if "@" in key]
        lines.append("; ".join([line, *told_of_scores(found), *sampled]))
    return lines


def told_of_scores(found: Mapping[str, Any]) -> list[str]:
    """Return what a method's own scores and abstentions are worth, in words; nothing where it has none."""
    told = []
    if "abstained" in found:
        right = f", {100 * found['right_withheld']:.1f} % of them right" if "right_withheld" in found else ""
        told.append(f"answered {100 * found['answered']:.1f} %, kept {found['abstained']} to itself{right}")
    if "aurc" in found:
        auroc = f", AUROC {found['auroc']:.3f}" if "auroc" in found else ""
        told.append(f"its own score: AURC {found['aurc']:.3f}, E-AURC {found['e_aurc']:.3f}{auroc}")
    return told


def _compared(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> str:
    try:
        return f"{compare(before, after)} (McNemar)"
    except DataError as error:
        return f"cannot be compared: {error}"
