"""`selfimprove show`: what a run did, and why."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from selfimprove.reporting.looking.filters import Filters
    from selfimprove.store import Store

SHORT = {"rows": 5, "prompts": 20, "verdicts": 20, "why": 5, "tree": 30}
"""How many records of a view are printed where no --limit is given; of the others all are."""

FITTING = {
    "prompts": {"id", "contains", "reason", "correct", "where"},
    "rows": {"id", "contains", "correct", "where"},
    "skips": {"id", "contains", "reason", "where"},
    "why": {"id", "contains", "reason", "where"},
    "samples": {"id", "contains", "correct", "where"},
    "verdicts": {"id", "contains", "correct", "where"},
    "tree": {"id", "correct", "where"},
    "events": {"contains", "where"},
    "rounds": set(),
    "watch": set(),
}
"""Which filters a view understands."""

Where = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="CONDITION", help="a field compared with a value: 'reward>0.5', 'meta.votes>=3'"),
]


def show(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    prompt: Annotated[str | None, typer.Argument(help="with --tree: the prompt whose search tree is drawn")] = None,
    rounds: Annotated[bool, typer.Option("--rounds", help="every measured round, with paired comparisons")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="the drift watch's figures, round by round")] = False,
    prompts: Annotated[bool, typer.Option("--prompts", help="prompts, and what became of each")] = False,
    rows: Annotated[bool, typer.Option("--rows", help="rows that were made, as a person reads them")] = False,
    skips: Annotated[bool, typer.Option("--skips", help="every skipped prompt and row, one a line")] = False,
    why: Annotated[bool, typer.Option("--why", help="why prompts gave no row, with examples")] = False,
    samples: Annotated[
        str | None, typer.Option(metavar="PROMPT", help="every request and answer of a prompt id, or of 'train-00*'")
    ] = None,
    verdicts: Annotated[bool, typer.Option("--verdicts", help="graded answers: held-out items, then samples")] = False,
    events: Annotated[bool, typer.Option("--events", help="what happened, one event a line")] = False,
    tree: Annotated[bool, typer.Option("--tree", help="search trees, one a line; with a prompt's id: drawn")] = False,
    everything: Annotated[bool, typer.Option("--all", help="with --tree: every node of a large tree")] = False,
    number: Annotated[int | None, typer.Option("--round", help="which round; default: the last with rows")] = None,
    id: Annotated[str | None, typer.Option("--id", metavar="PATTERN", help="only ids like 'train-00*'")] = None,
    contains: Annotated[str | None, typer.Option(help="only where a text holds this, in any case")] = None,
    reason: Annotated[str | None, typer.Option(help="only what was left out for this reason")] = None,
    correct: Annotated[bool | None, typer.Option("--correct/--wrong", help="only right, or only wrong")] = None,
    where: Where = None,
    limit: Annotated[int | None, typer.Option(help="how many to print (--why: examples per reason); 0: all")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line, for jq")] = False,
) -> None:
    """Show how far a run has come; with an option, what is behind it. Filters narrow a view, and go together."""
    from selfimprove.reporting.looking.filters import Condition, Filters
    from selfimprove.reporting.show import open_run

    store = open_run(run)
    filters = Filters(id, contains, reason, correct, tuple(map(Condition.parse, where or ())))
    wanted = {
        "rounds": rounds, "watch": watch, "prompts": prompts, "why": why, "skips": skips, "rows": rows,
        "samples": samples is not None, "verdicts": verdicts, "events": events, "tree": tree,
    }  # fmt: skip
    views = [name for name, on in wanted.items() if on] or implied(filters)
    refuse_unfit(views, filters)
    refuse_without_tree(tree, prompt, everything, filters)
    for view in views or ["overview"]:
        count = limit if limit is not None else None if as_json else SHORT.get(view)
        if view == "tree":
            lines = tree_lines(store, prompt, number, filters, count or None, everything, as_json)
        else:
            lines = lines_of(view, store, number, filters, samples or "", count or None, as_json)
        for line in lines:
            typer.echo(line)


def implied(filters: "Filters") -> list[str]:
    """Return the view that filters alone ask for: a reason means skips, a grade verdicts, anything else rows."""
    given = filters.given()
    if not given:
        return []
    return ["skips"] if "reason" in given else ["verdicts"] if "correct" in given else ["rows"]


def refuse_unfit(views: list[str], filters: "Filters") -> None:
    """Raise ConfigError where a view would have to ignore a filter."""
    from selfimprove.errors import ConfigError

    spelled = {"correct": "--correct/--wrong"}
    for view in views:
        for name in sorted(filters.given() - FITTING[view]):
            fit = ", ".join(f"--{other}" for other, known in FITTING.items() if name in known)
            raise ConfigError(f"{spelled.get(name, f'--{name}')} does not go with --{view}; it goes with {fit}")


def refuse_without_tree(tree: bool, prompt: str | None, everything: bool, filters: "Filters") -> None:
    """Raise ConfigError where a prompt or --all is given without what it belongs to."""
    from selfimprove.errors import ConfigError

    if prompt is not None and not tree:
        raise ConfigError(f"'{prompt}' stands behind the run folder; only --tree takes a prompt there, see --help")
    if everything and (not tree or prompt is None):
        raise ConfigError("--all goes with one drawn tree: --tree PROMPT --all; for whole tables there is --limit 0")
    if prompt is not None and filters.given():
        raise ConfigError(
            "filters go with the table of trees, not with one that is drawn; leave them or the prompt away"
        )


def tree_lines(
    store: "Store",
    prompt: str | None,
    number: int | None,
    filters: "Filters",
    limit: int | None,
    everything: bool,
    as_json: bool,
) -> Iterator[str]:
    """Return the lines of the table of search trees, or of one prompt's trees drawn."""
    from selfimprove.reporting.looking.tree_text import drawing, table_lines

    if prompt is None:
        return table_lines(store, number, filters, limit, as_json)
    return drawing(store, prompt, number, everything, as_json)


def lines_of(
    view: str, store: "Store", number: int | None, filters: "Filters", prompt: str, limit: int | None, as_json: bool
) -> Iterator[str]:
    """Yield the lines of a view: JSON objects, or text and, where it was cut short, how to see more."""
    from selfimprove.reporting import show as told
    from selfimprove.reporting.funnel import funnel_lines
    from selfimprove.reporting.looking import browse

    last = number if number is not None else last_round(store)
    if view in ("overview", "rounds", "watch"):
        whole = {
            "overview": (told.overview_records, told.overview),
            "rounds": (told.round_records, told.rounds),
            "watch": (told.watch_records, told.watch),
        }
        records, text = whole[view]
        yield from as_lines(records(store)) if as_json else text(store)
        return
    if view == "why":
        found = browse.reasons(store, last, filters, limit if limit is not None else 1_000_000)
        yield from as_lines(found) if as_json else told.why(store, last, found)
        if not as_json and not filters.given():
            yield from ["", *funnel_lines(store, last)]
        return
    streams: dict[str, tuple[Callable[[], Iterator[Any]], Callable[[Any], Iterator[str]]]] = {
        "prompts": (lambda: browse.prompts(store, last, filters), told.prompt_lines),
        "rows": (lambda: browse.rows(store, last, filters), told.row_lines),
        "skips": (lambda: browse.skips(store, last, filters), told.skip_lines),
        "samples": (lambda: browse.samples(store, prompt, number, filters), told.sample_lines()),
        "verdicts": (lambda: browse.verdicts(store, last, filters), told.verdict_lines),
        "events": (lambda: browse.events(store, number, filters), told.event_lines),
    }
    open_stream, text_of = streams[view]
    stream = open_stream()
    shown = islice(stream, limit)
    yield from as_lines(shown) if as_json else (line for record in shown for line in text_of(record))
    if not as_json and limit is not None and next(stream, None) is not None:
        yield "there are more: --limit 0 shows all"


def as_lines(records: Iterable[Any]) -> Iterator[str]:
    """Yield records as JSON, one a line."""
    import json

    return (json.dumps(record, ensure_ascii=False) for record in records)


def last_round(store: "Store") -> int:
    """Return the last round with rows, 1 where there is none."""
    from selfimprove.reporting.looking.browse import rounds_there

    collected = [number for number in rounds_there(store) if store.marker(number, "collect")]
    return collected[-1] if collected else 1
