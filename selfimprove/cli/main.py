"""The entry point: which verbs there are, and how errors leave the program.

Exit codes: 0 done; 1 a check found something; 2 something the user can fix, told in one paragraph; 130 Ctrl-C.
"""

import logging
import sys
from typing import Annotated

import typer

from selfimprove import __version__
from selfimprove.cli.audit import audit
from selfimprove.cli.build import build
from selfimprove.cli.data import data
from selfimprove.cli.diff import diff
from selfimprove.cli.doctor import doctor
from selfimprove.cli.evaluate import evaluate
from selfimprove.cli.methods import methods
from selfimprove.cli.new import new
from selfimprove.cli.push import push
from selfimprove.cli.recipes import recipes
from selfimprove.cli.replay import replay
from selfimprove.cli.report import report
from selfimprove.cli.run import run
from selfimprove.cli.sandbox import sandbox
from selfimprove.cli.show import show
from selfimprove.cli.track import track
from selfimprove.cli.train import train
from selfimprove.cli.validate import validate
from selfimprove.errors import MethodError, SelfImproveError, file_problem

app = typer.Typer(
    name="selfimprove",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
VERBS = (
    run, build, train, evaluate, audit, validate, show, replay, diff, track, report, push, methods, new, doctor,
)  # fmt: skip
for verb in VERBS:
    app.command(no_args_is_help=verb not in (methods, doctor))(verb)
app.add_typer(recipes, name="recipes")
app.add_typer(data, name="data")
app.add_typer(sandbox, name="sandbox")


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
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:  # the border to the terminal: what the user can mend becomes a sentence
        sentence = sentence_of(error)
        if sentence is None or len(given) < len(words):
            raise
        print(sentence, file=sys.stderr)
        raise SystemExit(2) from None


def sentence_of(error: Exception) -> str | None:
    """Return the paragraph that tells the user what to mend; None for a defect of ours, which keeps its traceback."""
    from selfimprove.files import told, users_place

    if isinstance(error, SelfImproveError):
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    place = users_place(error)
    if place is not None:
        return f"{MethodError.__name__}: {place}: {told(error)}; mend it, --traceback shows more"
    problem = file_problem(error) if isinstance(error, OSError) else None
    return f"{OSError.__name__}: {problem}" if problem else None


if __name__ == "__main__":
    main()
