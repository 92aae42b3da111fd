"""`selfimprove diff`: what differs between two runs."""

from pathlib import Path
from typing import Annotated

import typer


def diff(
    first: Annotated[Path, typer.Argument(help="a run folder")],
    second: Annotated[Path, typer.Argument(help="another one")],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Compare two runs: recipe, digests, rows, accuracy on the same items, spending; and say where they first part.

    The exit code is 0 whether they differ or not.
    """
    import json

    from selfimprove.reporting.diff import compare_runs
    from selfimprove.reporting.looking.diff_text import lines
    from selfimprove.reporting.show import open_run

    told = compare_runs(open_run(first), open_run(second))
    for line in [json.dumps(told, ensure_ascii=False)] if as_json else lines(told):
        typer.echo(line)
