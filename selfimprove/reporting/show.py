"""A run folder told in lines: its state, its rounds and its watch; and how a record of a view reads as text."""

import json
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import indent
from typing import Any

from selfimprove.evaluation.standalone import compare_rounds, measured_rounds
from selfimprove.files import read_json
from selfimprove.reporting.growing import read_growing
from selfimprove.reporting.looking.browse import rounds_there
from selfimprove.reporting.looking.filters import Record
from selfimprove.reporting.rounds import round_lines
from selfimprove.reporting.table import table
from selfimprove.store import STAGES, Store, saved_recipe


def open_run(folder: Path) -> Store:
    """Return the store of a run folder for reading; raises ConfigError where there is no run."""
    saved_recipe(folder)
    store = Store(folder)
    store.head()  # refuses what a newer version wrote
    return store


def overview_records(store: Store) -> list[Record]:
    """Return one record per round that has begun: prompts, rows, skips and what is finished."""
    found = []
    for number in rounds_there(store):
        collect = store.marker(number, "collect") or {}
        done = [stage for stage in STAGES if store.marker(number, stage)]
        skipped = sum(collect.get("skips", {}).values()) if collect else None
        counts = {"prompts": collect.get("prompts"), "rows": collect.get("rows"), "skipped": skipped}
        found.append({"round": number, **counts, "finished": done})
    return found


def overview(store: Store) -> list[str]:
    """Return what the run is, how far it has come and what each finished stage gave."""
    recipe = saved_recipe(store.folder)
    head = read_json(store.folder / "run.json")
    lines = [
        f"{store.folder}: {recipe.method_name} on {recipe.model}, {recipe.rounds} rounds",
        f"begun {head['created']} with selfimprove {head['version']}, engine {recipe.engine['name']}; {state(store)}",
        "",
    ]
    names = ("round", "prompts", "rows", "skipped")
    rows = [
        [*("-" if found[name] is None else found[name] for name in names), ", ".join(found["finished"])]
        for found in overview_records(store)
    ]
    lines += table([*names, "finished"], rows) if rows else ["no round has begun"]
    measured = [line for number in measured_rounds(store) for line in round_lines(store, number)]
    return [*lines, "", *measured] if measured else lines


def state(store: Store) -> str:
    """Return the last thing that happened, from events.jsonl."""
    events = deque(read_growing(store.folder / "events.jsonl"), maxlen=1)
    if not events:
        return "nothing has happened yet"
    last = events[-1]
    if last["event"] == "finished":
        return f"finished {last['time']}; model: {last['model']}"
    details = ", ".join(f"{key} {last[key]}" for key in ("round", "stage", "signal") if key in last)
    return f"last event {last['time']}: {last['event']}{f' ({details})' if details else ''}"


def rounds(store: Store) -> list[str]:
    """Return every measured round with its interval, against round 0 and against the round before."""
    lines: list[str] = []
    measured = measured_rounds(store)
    for place, number in enumerate(measured):
        lines += round_lines(store, number)
        for earlier in measured[place - 1 : place] if place > 1 else ():
            for name in (store.marker(number, "evaluate") or {"sets": ()})["sets"]:
                found = compare_rounds((store, earlier), (store, number), name)
                lines.append(f"    {name} against round {earlier}: {found}")
    return lines or ["no round has been measured"]


def round_records(store: Store) -> list[Record]:
    """Return one record per measured round and held-out set, with the paired comparison against the round before."""
    found = []
    measured = measured_rounds(store)
    for place, number in enumerate(measured):
        for name, figures in (store.marker(number, "evaluate") or {"sets": {}})["sets"].items():
            before = measured[place - 1] if place else None
            against = compare_rounds((store, before), (store, number), name).to_row() if before is not None else {}
            found.append({"round": number, "set": name, **figures, "before": before, "against": against})
    return found


def watch_records(store: Store) -> list[Record]:
    """Return one record per watched round: its figures, and the sentences of what went out of bounds."""
    markers = ((number, store.marker(number, "watch")) for number in rounds_there(store))
    return [
        {"round": number, **marker.get("figures", {}), "breaches": marker.get("breaches", [])}
        for number, marker in markers
        if marker
    ]


def watch(store: Store) -> list[str]:
    """Return the figures of the watch, a column a round, and its breaches."""
    found = watch_records(store)
    if not found:
        return ["nothing was watched (watch.prompts is 0, or no round has come so far)"]
    names = [name for name in dict.fromkeys(name for record in found for name in record)]
    names = [name for name in names if name not in ("round", "breaches")]
    rows = [[name, *(_figure(record.get(name)) for record in found)] for name in names]
    lines = table(["figure", *(f"round {record['round']}" for record in found)], rows)
    breaches = [f"round {record['round']}: {sentence}" for record in found for sentence in record["breaches"]]
    return [*lines, "", *breaches] if breaches else lines


def row_lines(row: Record) -> Iterator[str]:
    """Yield a row as a person reads it: prompt, then each side."""
    facts = [
        f"{key} {row[key]:g}"
        for key in ("reward", "margin", "weight", "smoothing", "score")
        if row.get(key) is not None
    ]
    yield f"{row['id']}  ({', '.join(facts)})"
    for message in row["prompt"]:
        yield f"  {message['role']}:\n{indent(message['content'], '    ')}"
    for side in ("completion", "chosen", "rejected", "steps"):
        if side in row:
            text = row[side] if isinstance(row[side], str) else json.dumps(row[side], ensure_ascii=False)
            yield f"  {side}:\n{indent(text, '    ')}"
    yield ""


def skip_lines(skip: Record) -> Iterator[str]:
    """Yield a skip on a line of its own: id, reason, detail, with tabs between."""
    yield "\t".join((skip["id"], skip["reason"], in_one_line(skip["detail"]))).rstrip()


def why(store: Store, number: int, found: list[Record]) -> Iterator[str]:
    """Yield the reasons why prompts of a round gave no row, and why rows were taken out, each with examples."""
    marker = store.marker(number, "collect")
    if marker:
        yield f"round {number}: {marker['prompts']} prompts gave {marker['rows']} rows"
    else:
        yield f"round {number} is still being collected; so far:"
    assembled = store.marker(number, "assemble")
    stage = "collect"
    for each in found:
        if each["stage"] != stage:
            stage = each["stage"]
            yield f"{assembled['rows'] if assembled else '?'} rows are left after these were taken out:"
        of = "prompts" if stage == "collect" else "rows"
        share = "" if each["share"] is None else f" ({100 * each['share']:.1f} % of the {of})"
        yield f"{each['count']:>8}  {each['reason']}{share}"
        for example in each["examples"]:
            yield f"{'':>10}{example['id']}{': ' + in_one_line(example['detail']) if example['detail'] else ''}"


def sample_lines() -> Callable[[Record], Iterator[str]]:
    """Return what tells answers in lines: a head for each request, then its answers."""
    before = ""

    def lines(answer: Record) -> Iterator[str]:
        nonlocal before
        if answer["key"] != before:
            if before:
                yield ""
            before = answer["key"]
            facts = ", ".join(f"{name} {value}" for name, value in answer["request"].items() if name != "policy")
            made_by = f" by {answer['made_by']}" if answer["made_by"] else ""
            path = f" {answer['path']}" if answer["path"] else ""
            yield f"{answer['id']}: {answer['kind']} for {answer['purpose']}{path}{made_by} ({facts or before[:12]})"
        yield from answer_lines(answer)

    return lines


def answer_lines(answer: Record) -> Iterator[str]:
    """Yield one answer: a line of facts, then its text."""
    if "text" not in answer or answer["kind"] != "generate":
        plain = {name: value for name, value in answer.items() if name not in _HEAD}
        yield indent(json.dumps(plain.get("answer", plain), ensure_ascii=False), "    ")
        return
    logprob = f", log-prob {answer['logprob']:.3f}" if answer.get("logprob") is not None else ""
    yield f"  [{answer['index']}] {answer['tokens']} tokens, {answer['finish']}{logprob}, {grade(answer)}"
    yield indent(answer["text"], "    ")


_HEAD = ("id", "kind", "purpose", "path", "key", "made_by", "request")


def grade(record: Record) -> str:
    """Return a verdict in words: `right`, `wrong (said 5)`, `not graded (no_gold)`."""
    score = record.get("score")
    if score is None:
        return f"not graded ({in_one_line(record['reason'])})" if record.get("reason") else "not graded"
    word = "right" if score >= 1 else "wrong" if score == 0 else f"score {score:g}"
    details = [f"read as {in_one_line(str(record['label']))}"] if record.get("label") else []
    details += [record["reason"]] if record.get("reason") else []
    return f"{word} ({', '.join(details)})" if details else word


def verdict_lines(verdict: Record) -> Iterator[str]:
    """Yield a verdict: where it stands and what it says, then the answer's text."""
    place = f" [{verdict['index']}]" if "index" in verdict else ""
    yield f"{verdict['id']}  {verdict['of']}{place}: {grade(verdict)}"
    yield indent(verdict["text"], "    ")


def prompt_lines(prompt: Record) -> Iterator[str]:
    """Yield a prompt: what became of it, then its question."""
    reason = f", {prompt['reason']}" if prompt["reason"] else ""
    gold = f", gold {in_one_line(prompt['gold'])}" if prompt["gold"] is not None else ""
    right = f", {prompt['right']} of {prompt['graded']} answers right" if prompt["graded"] else ""
    yield f"{prompt['id']}  ({prompt['rows']} rows{reason}{right}{gold})"
    yield indent(prompt["question"], "    ")


def event_lines(event: Record) -> Iterator[str]:
    """Yield an event on one line: when, what, and its values."""
    values = (f"{name} {_value(value)}" for name, value in event.items() if name not in ("time", "event"))
    yield f"{event.get('time', '')}  {event.get('event', '')}  {', '.join(values)}".rstrip()


def in_one_line(text: str) -> str:
    """Return a text without line breaks and tabs."""
    return " ".join(text.split())


def _figure(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.4g}"
    return "-" if value is None else str(value)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
