"""How the history of a row reads as text."""

import json
from collections.abc import Iterable, Iterator, Mapping
from textwrap import indent
from typing import Any

from selfimprove.reporting.show import grade, in_one_line
from selfimprove.reporting.worddiff import Piece, word_diff

SAID_ELSEWHERE = ("messages", "completion", "text")
ALWAYS_SAID = ("n", "temperature", "seed")
"""Of a request's options: what has lines of its own, and what is told even where it is 0."""


def lines(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield a history as a person reads it."""
    prompt = told["prompt"]
    gold = f", gold {in_one_line(prompt['gold'])}" if prompt["gold"] is not None else ""
    yield f"round {told['round']}, prompt {prompt['id']}{gold}"
    for message in prompt["messages"]:
        yield f"  {message['role']}:\n{indent(message['content'], '    ')}"
    yield ""
    for place, request in enumerate(told["requests"], 1):
        yield from _request_lines(place, request, prompt["messages"])
        yield ""
    if told["requests_of_other_runs"]:
        yield f"the shared ledger holds {told['requests_of_other_runs']} requests of other runs for this prompt\n"
    yield from _end_lines(told)
    again = [answer["again"] for request in told["requests"] for answer in request["answers"] if "again" in answer]
    if again:
        same = sum(each.get("same", False) for each in again)
        yield f"asked again: {same} of {len(again)} answers are the same"


def _end_lines(told: Mapping[str, Any]) -> Iterator[str]:
    for row in told["rows"]:
        facts = [
            f"{key} {row[key]:g}" for key in ("reward", "margin", "weight", "smoothing") if row.get(key) is not None
        ]
        yield f"row {row['id']}  ({', '.join(facts)})"
        for each in (each for each in told["sides"] if each["row"] == row["id"]):
            text = row[each["side"]] if isinstance(row[each["side"]], str) else "\n".join(row[each["side"]])
            yield f"  {each['side']}: {each['from']}\n{indent(text, '    ')}"
    for skip in told["skips"]:
        what = "skipped" if skip["stage"] == "collect" else "taken out before training"
        detail = f" ({in_one_line(skip['detail'])})" if skip["detail"] else ""
        yield f"{skip['id']} {what}: {skip['reason']}{detail}"
    for item in told["items"]:
        word = {None: "not graded", True: "right", False: "wrong"}[item["correct"]]
        yield f"held-out item {item['id']} of {item['set']}: {word}"


def _request_lines(place: int, request: Mapping[str, Any], messages: list[Mapping[str, str]]) -> Iterator[str]:
    asked = request["request"]
    options = ", ".join(
        f"{name} {value}"
        for name, value in asked.items()
        if name not in SAID_ELSEWHERE and (value or name in ALWAYS_SAID) and (name, value) != ("top_p", 1.0)
    )
    by = (
        f" by {request['made_by'] or 'a policy of another run'} ({request['policy'][:12]})"
        if request["policy"]
        else ""
    )
    path = f" {request['path']}" if request["path"] else ""
    yield f"{place}. {request['kind']} for {request['purpose']}{path}{by}; {options}"
    if asked.get("messages") and [dict(message) for message in asked["messages"]] != messages:
        yield "  asked with other messages than the prompt's:"
        for message in asked["messages"]:
            yield f"  {message['role']}:\n{indent(message['content'], '    ')}"
    for answer in request["answers"]:
        if request["kind"] != "generate":
            text = asked.get("completion") or asked.get("text")
            yield from [indent(text, "    ")] if isinstance(text, str) else []
            yield f"    -> {_short(request['kind'], answer)}"
            continue
        logprob = f", log-prob {answer['logprob']:.3f}" if answer.get("logprob") is not None else ""
        became = f" -> became {' and '.join(answer['became'])}" if answer["became"] else ""
        yield f"  [{answer['index']}] {answer['tokens']} tokens, {answer['finish']}{logprob}, {grade(answer)}{became}"
        yield indent(answer["text"], "    ")
        yield from _again_lines(answer)


def _short(kind: str, answer: Mapping[str, Any]) -> str:
    """Return an answer without text in a few words: a total log-prob, a verdict, a vector, or its JSON."""
    if kind == "score" and answer.get("error") is None:
        values = answer["token_logprobs"]
        return f"log-prob {sum(values):.3f} over {len(values)} tokens"
    if kind == "embed":
        return "a vector"
    return grade(answer) if kind == "check" else json.dumps(answer, ensure_ascii=False)


def _again_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    again = answer.get("again")
    if again is None:
        return
    if "problem" in again:
        yield f"    asked again: not possible: {again['problem']}"
    elif again["same"]:
        then, now = answer["logprob"], again["logprob"]
        moved = then is not None and now is not None and abs(then - now) > 1e-3
        yield f"    asked again: the same{f', log-prob {now:.3f}' if moved else ''}"
    else:
        before, after = word_diff(answer["text"], again["text"])
        yield "    asked again: another text"
        yield f"      then {marked(before, '[-', '-]')}"
        yield f"      now  {marked(after, '{+', '+}')}"


def marked(pieces: Iterable[Piece], opening: str, closing: str) -> str:
    """Return a text on one line with its changed stretches between marks."""
    return in_one_line("".join(f"{opening}{piece.text}{closing}" if piece.changed else piece.text for piece in pieces))
