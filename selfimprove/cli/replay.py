"""`selfimprove replay`: the whole history of one row."""

from pathlib import Path
from typing import Annotated

import typer


def replay(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    row: Annotated[str, typer.Argument(help="the id of a row, a prompt or a held-out item")],
    number: Annotated[int | None, typer.Option("--round", help="which round; default: the last that has it")] = None,
    ask: Annotated[bool, typer.Option("--ask", help="ask again, and say whether the answers are the same")] = False,
    engine: Annotated[
        str | None, typer.Option(help="with --ask: another engine with its defaults, for example transformers")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Show every request behind a row in order, its answers, and which of them became the row (or why none did)."""
    import json

    from selfimprove.errors import ConfigError
    from selfimprove.reporting.looking.asking import ask_again
    from selfimprove.reporting.looking.replay_text import lines
    from selfimprove.reporting.replay import history
    from selfimprove.reporting.show import open_run

    if engine and not ask:
        raise ConfigError(f"--engine {engine} says who is asked again; add --ask")
    store = open_run(run)
    told = history(store, row, number)
    if ask:
        ask_again(store, told, {"name": engine} if engine else None)
    for line in [json.dumps(told, ensure_ascii=False)] if as_json else lines(told):
        typer.echo(line)
