"""How the comparison of two runs reads as text."""

from collections.abc import Iterator, Mapping
from typing import Any

from selfimprove.reporting.table import table

Told = Mapping[str, Any]


def lines(told: Told) -> Iterator[str]:
    """Yield a comparison of two runs as a person reads it; what is the same is told in a word."""
    first, second = told["runs"]
    yield f"A  {first}"
    yield f"B  {second}"
    yield from _pairs("recipe", {**told["recipe"], **told["versions"]})
    yield from _digests(told)
    yield from _rows(told)
    yield from _accuracy(told)
    for part in ("measured", "watch"):
        figures = {f"round {each['round']} {each['figure']}": each["values"] for each in told[part]}
        if figures:
            yield from _pairs(part, figures)
    if told["spending"]:
        yield from _pairs("spent", told["spending"])
    yield ""
    yield told["part"]


def _pairs(title: str, pairs: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    if not pairs:
        yield f"{title}: the same"
        return
    yield from table([title, "A", "B"], [[name, *(spell(value) for value in pair)] for name, pair in pairs.items()])


def _digests(told: Told) -> Iterator[str]:
    yield ""
    rows = []
    prompts = [each["digest"] for each in told["prompts"]]
    rows.append(["prompts (as they lie now)", *map(_short, prompts), _verdict(prompts)])
    for each in told["policies"]:
        name = "start model" if each["round"] == 0 else f"policy of round {each['round']}"
        rows.append([name, *map(_short, each["digests"]), _verdict(each["digests"])])
    yield from table(["digest", "A", "B", ""], rows)
    differing = [f"round-{each['round']}/{each['file']}" for each in told["files"]]
    if differing:
        shown = ", ".join(differing[:6]) + (f" and {len(differing) - 6} more" if len(differing) > 6 else "")
        yield f"files with other content: {shown}"


def _rows(told: Told) -> Iterator[str]:
    if not told["rows"]:
        return
    yield ""
    head = ["rows", "the same", "changed", "only in A", "only in B"]
    names = ("common", "changed", "only_first", "only_second")
    yield from table(head, [[f"round {each['round']}", *(each[name] for name in names)] for each in told["rows"]])
    for each in told["rows"]:
        found = {"changed": "changed", "only_first": "only in A", "only_second": "only in B"}
        examples = [f"{word} {', '.join(each['examples'][name])}" for name, word in found.items() if each[name]]
        if examples:
            yield f"round {each['round']}, for example: {'; '.join(examples)}"
        if each["skips"]:
            pairs = "; ".join(f"{reason} {spell(a)} -> {spell(b)}" for reason, (a, b) in each["skips"].items())
            yield f"round {each['round']}, skipped: {pairs}"


def _accuracy(told: Told) -> Iterator[str]:
    if told["accuracy"]:
        yield ""
    for each in told["accuracy"]:
        a, b = (
            f"{100 * share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
            for share, (low, high) in zip(each["shares"], each["intervals"], strict=True)
        )
        rest = each.get("sentence") or f"not comparable: {each['problem']}"
        yield f"round {each['round']} {each['set']}: {a} -> {b}; {rest}"


def spell(value: Any) -> str:
    """Return a value of a recipe or a figure in a cell: short numbers, `-` for what is not there."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "-"


def _verdict(pair: list[str | None]) -> str:
    return "" if None in pair else "the same" if pair[0] == pair[1] else "differ"
