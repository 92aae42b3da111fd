"""The parts of a card that models and data sets share: figures and provenance, each from files of the run folder."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import yaml

from selfimprove import __version__
from selfimprove.config import digest, to_plain
from selfimprove.errors import DataError
from selfimprove.evaluation.report import Accuracy, Comparison
from selfimprove.evaluation.standalone import compare_rounds, compare_with_plain, measured_rounds
from selfimprove.evaluation.watch import FIGURES
from selfimprove.evaluation.with_method import plain_sets
from selfimprove.reporting.parcels.facts import Facts, source_text
from selfimprove.reporting.redaction import LOCAL, REMOVED
from selfimprove.reporting.show import rounds_there
from selfimprove.reporting.table import markdown


def accuracy(facts: Facts, number: int, name: str) -> Accuracy | None:
    """Return a held-out accuracy of a round, None where it was not measured."""
    found = ((facts.store.marker(number, "evaluate") or {}).get("sets") or {}).get(name)
    return Accuracy(**{field.name: found[field.name] for field in fields(Accuracy)}) if found else None


def against_start(facts: Facts, number: int, name: str) -> Comparison | None:
    """Return a round compared with round 0 on the same items, None where the two cannot be compared."""
    if number == 0 or accuracy(facts, 0, name) is None or accuracy(facts, number, name) is None:
        return None
    try:
        return compare_rounds((facts.store, 0), (facts.store, number), name)
    except DataError:
        return None


def heldout_sets(facts: Facts) -> list[str]:
    """Return the names of all sets that were measured in any round by the model's plain answers."""
    by_method = method_sets(facts)
    names = [(facts.store.marker(n, "evaluate") or {"sets": {}})["sets"] for n in measured_rounds(facts.store)]
    return list(dict.fromkeys(name for sets in names for name in sets if name not in by_method))


def method_sets(facts: Facts) -> list[str]:
    """Return the names of all sets that hold what the method's own procedure answers."""
    return list(dict.fromkeys(name for n in measured_rounds(facts.store) for name in plain_sets(facts.store, n)))


def results(facts: Facts, this: int) -> list[str]:
    """Return the table of held-out accuracies, every measured round with its paired test; `this` is pushed."""
    rows = []
    by_method = method_sets(facts)
    for name in [*heldout_sets(facts), *by_method]:
        for number in measured_rounds(facts.store):
            found = accuracy(facts, number, name)
            if found is None:
                continue
            figures = (facts.store.marker(number, "evaluate") or {})["sets"][name]
            change = against_start(facts, number, name)
            sampled = [f"{key} {100 * value:.1f} %" for key, value in figures.items() if "@" in key]
            plain = compare_with_plain(facts.store, number, name)
            sampled += [f"against the plain answer {plain}"] if plain else []
            rows.append(
                [
                    f"{number} (this model)" if number == this else f"{number} (start)" if number == 0 else number,
                    name,
                    "; ".join([str(found), *sampled]),
                    change or "",
                    _number(figures.get("mean_tokens")),
                    figures.get("truncated", ""),
                ]
            )
    if not rows:
        return ["No held-out set was measured in this run, so nothing is known of its accuracy."]
    head = ["round", "held-out set", "accuracy [95 % interval]", "against round 0", "tokens", "cut off"]
    return [
        *markdown(head, rows),
        "",
        f"Greedy answers of at most {facts.recipe.evaluate.max_tokens} tokens. Intervals are Wilson's; differences "
        "are on the same items, with a paired bootstrap interval and the exact p of McNemar's test. Items that could "
        "not be graded are in no denominator. `tokens` is the mean length of an answer, `cut off` how many reached "
        "the limit.",
        *(
            [f"Answered by the method's own procedure, not by the model alone: {', '.join(by_method)}."]
            if by_method
            else []
        ),
    ]


def funnel(facts: Facts, rounds: Sequence[int]) -> list[str]:
    """Return what became of the prompts of each round: rows, skips by reason, rows taken out by reason."""
    rows, notes = [], []
    for number in rounds:
        collect = facts.store.marker(number, "collect")
        if collect is None:
            continue
        assemble = facts.store.marker(number, "assemble")
        rows.append(
            [
                number,
                collect["prompts"],
                collect["rows"],
                reasons(collect["skips"]),
                assemble["rows"] if assemble else collect["rows"],
                reasons(assemble.get("skips", {})) if assemble else "none",
            ]
        )
        asked = collect.get("asked") or {}
        if asked:
            counts = ", ".join(f"{name} {count}" for name, count in asked.items())
            notes.append(f"- round {number}, requests: {counts}")
        if collect.get("metrics"):
            spread = collect.get("spread") or {}
            means = ", ".join(
                f"{name} {_number(value)}" + (f" ({_spread(spread[name])})" if name in spread else "")
                for name, value in collect["metrics"].items()
            )
            notes.append(f"- round {number}, means while collecting: {means}")
    if not rows:
        return ["No round has collected rows."]
    head = ["round", "prompts", "rows made", "prompts without a row", "rows kept", "rows taken out"]
    return [*markdown(head, rows), *(["", *notes] if notes else [])]


def _spread(values: Mapping[str, float]) -> str:
    return f"{_number(values['min'])} to {_number(values['max'])}, standard deviation {_number(values['sd'])}"


def reasons(counts: dict[str, int]) -> str:
    """Return `reason count` pairs, most frequent first; `none` where there are none."""
    found = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{reason} {count}" for reason, count in found) or "none"


def training(facts: Facts, rounds: Sequence[int]) -> list[str]:
    """Return the trainer's figures of each round."""
    rows = []
    for number in rounds:
        found = facts.result(number)
        if found:
            metrics, counted = found.get("metrics", {}), found.get("rows", {})
            rows.append(
                [
                    number,
                    counted.get("trained", ""),
                    f"{counted.get('cut', 0)} / {counted.get('left_out', 0)}",
                    found.get("steps", ""),
                    _number(metrics.get("loss_first")),
                    _number(metrics.get("loss_last")),
                    _number(found.get("seconds")),
                ]
            )
    if not rows:
        return ["The folder holds no figures of a training."]
    head = ["round", "rows trained on", "cut / left out", "steps", "first loss", "last loss", "seconds"]
    return markdown(head, rows)


def drift(facts: Facts) -> list[str]:
    """Return the figures of the drift watch by round, and the limits that were broken; [] without a watch."""
    watched = {n: marker for n in rounds_there(facts.store) if (marker := facts.store.marker(n, "watch"))}
    if not watched:
        return []
    names = dict.fromkeys(name for marker in watched.values() for name in marker.get("figures", {}))
    rows = [
        [name, *(_number(marker.get("figures", {}).get(name)) for marker in watched.values()), FIGURES.get(name, "")]
        for name in names
    ]
    broken = [f"- round {n}: {sentence}" for n, marker in watched.items() for sentence in marker.get("breaches", [])]
    return [
        *markdown(["figure", *(f"round {number}" for number in watched), "what it is"], rows),
        "",
        *(["Limits that were broken:", "", *broken] if broken else ["No limit of the watch was broken."]),
    ]


def provenance(facts: Facts, rounds: Sequence[int], this: int) -> list[str]:
    """Return the digests of recipe, policies and rows, and the versions that the folder names."""
    policy = (facts.store.marker(this, "learn") or {}).get("policy")
    lines = [
        f"- recipe: `{digest(to_plain(facts.recipe))}`",
        *([f"- base model: {facts.origin.hub}, commit `{facts.origin.commit}`"] if facts.origin.commit else []),
        f"- base (policy of round 0): `{facts.start_policy or 'not recorded'}`",
        *([f"- policy of round {this}: `{policy}`"] if policy else []),
    ]
    for number in rounds:
        stage = "assemble" if facts.store.marker(number, "assemble") else "collect"
        files = (facts.store.marker(number, stage) or {}).get("files", {})
        sums = [f"`{name}` `{checksum}`" for name, checksum in files.items() if "rows-" in name]
        if sums:
            lines.append(f"- rows of round {number}: {', '.join(sums)}")
    lines.append(f"- selfimprove {facts.head.get('version', 'of unknown version')}{_begun(facts)}")
    versions = facts.head.get("versions") or facts.head.get("packages") or {}
    lines += [f"- {name} {number}" for name, number in versions.items()] if isinstance(versions, dict) else []
    return lines


def reproduction(facts: Facts) -> list[str]:
    """Return the whole recipe and the command that runs it."""
    shown = yaml.safe_dump(facts.shown_recipe(), sort_keys=False, allow_unicode=True, width=110).rstrip()
    version = facts.head.get("version")
    lines = [
        "Save this as `recipe.yaml`:",
        "",
        "```yaml",
        shown,
        "```",
        "",
        "```bash",
        f'pip install "selfimprove{f"=={version}" if version else ""}"',
        "selfimprove run recipe.yaml",
        "```",
    ]
    meant = {REMOVED: "a secret", LOCAL: "a folder of the machine it ran on"}
    told = [f"`{mark}` stands for {what}" for mark, what in meant.items() if mark in shown]
    return [*lines, "", f"{', '.join(told)}: put your own there."] if told else lines


def method(facts: Facts) -> list[str]:
    """Return what the method's file says of itself: papers, input, output and what differs from the paper."""
    if facts.method is None:
        return [f"`{facts.method_name}`, a method file of its own that is not part of the run folder."]
    made = facts.head.get("version")
    of = [f"As selfimprove {__version__} tells it; the run was made with {made}.", ""] if made != __version__ else []
    return [*of, "```text", facts.method.text.replace("```", "'''"), "```"]


def citation(facts: Facts) -> list[str]:
    """Return the papers of the method as BibTeX."""
    return ["```bibtex", *(paper.bibtex() for paper in facts.papers), "```"] if facts.papers else []


def sections(parts: dict[str, list[str]]) -> str:
    """Return Markdown of {heading: lines}; a part without lines is left out with its heading."""
    return "\n".join(line for head, lines in parts.items() if lines for line in (f"## {head}", "", *lines, ""))


def prompts_text(facts: Facts) -> str:
    """Return where the training prompts came from, fit to be published."""
    return source_text(facts.recipe.prompts)


def _begun(facts: Facts) -> str:
    return f", run begun {facts.head['created']}" if facts.head.get("created") else ""


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "-"
