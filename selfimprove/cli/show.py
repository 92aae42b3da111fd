"""`selfimprove show`: what a run did, and why."""

from pathlib import Path
from typing import Annotated

import typer


def show(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    rounds: Annotated[bool, typer.Option("--rounds", help="every measured round, with paired comparisons")] = False,
    rows: Annotated[bool, typer.Option("--rows", help="rows that were made, as a person reads them")] = False,
    skips: Annotated[bool, typer.Option("--skips", help="every skipped prompt, one a line")] = False,
    why: Annotated[bool, typer.Option("--why", help="why prompts gave no row, with examples")] = False,
    samples: Annotated[
        str | None, typer.Option(metavar="PROMPT", help="every request and answer of a prompt id")
    ] = None,
    number: Annotated[int | None, typer.Option("--round", help="which round; default: the last with rows")] = None,
    limit: Annotated[int, typer.Option(help="rows, or examples per reason, to print")] = 5,
) -> None:
    """Show how far a run has come; with an option, what is behind it."""
    from selfimprove.reporting import show as told

    store = told.open_run(run)
    if number is None:
        collected = [n for n in told.rounds_there(store) if store.marker(n, "collect")]
        number = collected[-1] if collected else 1
    parts = []
    if rounds:
        parts.append(told.rounds(store))
    if why:
        parts.append(told.why(store, number, limit))
    if skips:
        parts.append(told.skips(store, number))
    if rows:
        parts.append(told.rows(store, number, limit))
    if samples is not None:
        parts.append(told.samples(store, samples))
    for lines in parts or [told.overview(store)]:
        for line in lines:
            typer.echo(line)
