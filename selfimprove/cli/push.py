"""`selfimprove push`: a model or data set to a hub, with a card written from the run."""

from pathlib import Path
from typing import Annotated

import typer


def push(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    to: Annotated[str, typer.Option("--to", metavar="OWNER/NAME", help="repository; made where it is not there")],
    what: Annotated[
        str | None, typer.Option(help="adapter, merged or dataset; default: merged where there is one, else adapter")
    ] = None,
    number: Annotated[
        int | None, typer.Option("--round", help="which round's adapter or rows; default: what the run ended with")
    ] = None,
    private: Annotated[
        bool,
        typer.Option("--private/--public", help="who can see it; a public repository is refused without --public"),
    ] = True,
    revision: Annotated[str | None, typer.Option(metavar="BRANCH", help="branch; made where it is not there")] = None,
    message: Annotated[str | None, typer.Option(help="of the commit")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print every file and the whole card, and contact nobody")
    ] = False,
) -> None:
    """Push what a run made, with its card; address and token are those of `hf` (HF_ENDPOINT, HF_TOKEN)."""
    from selfimprove.reporting.push import check_push, preview, push_folder, told

    given = {"to": to, "what": what, "private": private, "round": number, "revision": revision, "message": message}
    checked = check_push(given, "the command line")
    assert checked is not None  # `given` is never empty
    if dry_run:
        for line in preview(run, checked):
            typer.echo(line)
        return
    typer.echo(told(push_folder(run, checked, typer.echo)))
