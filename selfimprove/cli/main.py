"""The entry point: which verbs there are, and how errors leave the program.

Exit codes: 0 done; 1 a check found something; 2 something the user can fix, told in one paragraph; 130 Ctrl-C.
"""

import logging
import sys
from typing import Annotated

import typer

from selfimprove import __version__
from selfimprove.cli.build import build
from selfimprove.cli.doctor import doctor
from selfimprove.cli.evaluate import evaluate
from selfimprove.cli.methods import methods
from selfimprove.cli.recipes import recipes
from selfimprove.cli.run import run
from selfimprove.cli.show import show
from selfimprove.cli.train import train
from selfimprove.cli.validate import validate
from selfimprove.errors import SelfImproveError

app = typer.Typer(
    name="selfimprove",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (run, build, train, evaluate, validate, show, methods, doctor):
    app.command(no_args_is_help=verb not in (methods, doctor))(verb)
app.add_typer(recipes, name="recipes")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"selfimprove {__version__}")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version")
    ] = False,
    traceback: Annotated[bool, typer.Option("--traceback", help="show the whole traceback of an error")] = False,
) -> None:
    """Language models that improve themselves: sample, judge, build, train, evaluate, and go round again."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; `--traceback` may stand anywhere."""
    logging.getLogger("DeepSpeed").addFilter(lambda record: "Setting accelerator to CPU" not in record.getMessage())
    words = sys.argv[1:] if arguments is None else arguments
    given = [word for word in words if word != "--traceback"]
    try:
        app(args=given, prog_name="selfimprove")
    except SelfImproveError as error:
        if len(given) < len(words):
            raise
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
