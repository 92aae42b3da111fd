"""`selfimprove sandbox`: which sandboxes work here, running a file in one, and serving one to other machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from selfimprove.config import Sandbox as Options
    from selfimprove.verify.sandbox import Outcome, Program

sandbox = typer.Typer(
    help="See which sandboxes for generated code work here (no command), run a file in one, or serve one to others."
)

TINY = "def double(number):\n    return 2 * number\n"

Name = Annotated[str, typer.Option("--sandbox", help="auto, zygote, wasi, landlock, remote or rlimits")]
Url = Annotated[str | None, typer.Option(help="address of a sandbox service, for --sandbox remote")]
Trust = Annotated[bool, typer.Option("--trust-the-code", help="allow rlimits, which isolates nothing")]
Seconds = Annotated[float, typer.Option(min=0.01, help="longest run of one program, wall clock")]
Memory = Annotated[int, typer.Option("--memory-mb", min=16, help="largest memory of one program")]
Preload = Annotated[list[str] | None, typer.Option(help="a package that programs find imported; may stand often")]


@sandbox.callback(invoke_without_command=True)
def check(context: typer.Context) -> None:
    """Say for each sandbox whether it works here, and run one small program in the one that auto takes."""
    if context.invoked_subcommand is not None:
        return
    from selfimprove.config import Sandbox
    from selfimprove.errors import SandboxError
    from selfimprove.verify.sandbox import KINDS, OnDemand, kind_of

    for name in KINDS:
        reason = kind_of(name).missing(Sandbox(name=name))
        typer.echo(f"{name:<9} {'works' if reason is None else f'not here: {reason}'}")
    automatic = OnDemand(Sandbox())
    try:
        chosen = automatic.chosen().name
    except SandboxError:
        typer.echo(
            "auto      takes none: generated code is not run on this machine; any one of the first three is enough"
        )
        raise typer.Exit(1) from None
    typer.echo(f"auto      takes {chosen}")
    typer.echo(_try_out(Sandbox()))


@sandbox.command("run", no_args_is_help=True)
def run(
    file: Annotated[Path, typer.Argument(help="a Python file")],
    name: Name = "auto",
    stdin: Annotated[Path | None, typer.Option(help="a file that the program reads as its standard input")] = None,
    seconds: Seconds = 5.0,
    memory: Memory = 512,
    preload: Preload = None,
    url: Url = None,
    trust_the_code: Trust = False,
) -> None:
    """Run a Python file in a sandbox and print how it ended and what it wrote; exit 1 where it did not pass."""
    from selfimprove.config import Sandbox
    from selfimprove.verify.sandbox import Program, limits_of

    options = Sandbox(
        name=name, seconds=seconds, memory_mb=memory, preload=preload or [], url=url, trust_the_code=trust_the_code
    )
    source = file.read_text(encoding="utf-8", errors="surrogateescape")
    given = stdin.read_text(encoding="utf-8", errors="surrogateescape") if stdin else ""
    [outcome] = _execute(options, [Program(source, stdin=given, limits=limits_of(options))])
    typer.echo(outcome.stdout, nl=False)
    typer.echo(outcome.stderr, nl=False, err=True)
    if outcome.stdout and not outcome.stdout.endswith("\n"):
        typer.echo()
    used = f"{outcome.seconds:.3f} s, {outcome.memory / 2**20:.0f} MB, in {outcome.sandbox}"
    typer.echo(f"{outcome.status}{f': {outcome.error}' if outcome.error else ''} ({used})")
    if not outcome.passed:
        raise typer.Exit(1)


@sandbox.command("serve")
def serve(
    host: Annotated[
        str, typer.Option(help="address to listen at; any but this machine's own needs a token")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="port to listen at; 0 takes a free one")] = 8400,
    token_env: Annotated[
        str, typer.Option(help="environment variable that holds the token which every request must show")
    ] = "SELFIMPROVE_SANDBOX_TOKEN",
    name: Annotated[str, typer.Option("--sandbox", help="auto, zygote, wasi or landlock")] = "auto",
    slots: Annotated[int | None, typer.Option(min=1, help="programs that run at once; without it two a core")] = None,
    seconds: Annotated[float, typer.Option(min=0.01, help="longest run that a program may ask for")] = 30.0,
    memory: Annotated[
        int, typer.Option("--memory-mb", min=16, help="largest memory that a program may ask for")
    ] = 1024,
    preload: Preload = None,
) -> None:
    """Run programs for other machines: their recipes say sandbox.name=remote and sandbox.url."""
    import os

    from selfimprove.config import Sandbox
    from selfimprove.verify.sandbox import OnDemand
    from selfimprove.verify.sandbox.service import Service

    options = Sandbox(name=name, slots=slots, seconds=seconds, memory_mb=memory, preload=preload or [])
    local = OnDemand(options)
    with Service(local, host, port, os.environ.get(token_env, "")) as service:
        open_to = f"with the token in {token_env}" if service.token else f"without a token ({token_env} is not set)"
        typer.echo(f"programs run in {local.name} for whoever asks {service.url} {open_to}; Ctrl-C ends it")
        try:
            service.serve_forever()
        finally:
            local.close()


def _try_out(options: Options) -> str:
    """Return a line on a tiny program's first and second run."""
    from selfimprove.verify.sandbox import Call, Program

    program = Program(TINY, (Call.of("double", 21),))
    first, again = _execute(options, [program, program])
    if not (again.passed and again.value(0) == 42):
        return f"a small program did not run there: {again.status} {again.error}".rstrip()
    return f"a small program ran in {first.seconds * 1000:.0f} ms, and again in {again.seconds * 1000:.0f} ms"


def _execute(options: Options, programs: list[Program]) -> list[Outcome]:
    """Return the outcomes of programs, one after the other."""
    import asyncio

    from selfimprove.verify.sandbox import OnDemand

    box = OnDemand(options)
    try:
        return [asyncio.run(box.execute(program)) for program in programs]
    finally:
        box.close()
