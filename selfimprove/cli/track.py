"""`selfimprove track`: a run's figures into an experiment tracker."""

from pathlib import Path
from typing import Annotated

import typer


def track(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    to: Annotated[
        list[str] | None, typer.Option(help="trackio, tensorboard or wandb; default: the recipe's train.report_to")
    ] = None,
) -> None:
    """Mirror rounds and training steps of a run into a tracker. Doing it again changes nothing."""
    from selfimprove.errors import ConfigError
    from selfimprove.reporting.show import open_run
    from selfimprove.reporting.tracking import mirror, trackers_of

    folder = open_run(run).folder
    trackers = to or trackers_of(folder)
    if not trackers:
        raise ConfigError(f"{run}: its recipe has no train.report_to; name a tracker with --to trackio")
    for line in mirror(folder, trackers):
        typer.echo(line)
