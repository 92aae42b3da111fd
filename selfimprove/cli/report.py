"""`selfimprove report`: a run as one HTML file that opens anywhere."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="a run folder, finished or not")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the file; default: RUN/report.html")] = None,
) -> None:
    """Write accuracy, funnel, curves, drift, changed answers, rows, cost and configuration of a run into one page.

    The file needs no server and no network, so that it can be mailed.
    """
    from selfimprove.reporting.report import write_report
    from selfimprove.reporting.table import told_size

    path = write_report(run, output)
    typer.echo(f"report: {path} ({told_size(path.stat().st_size)})")
