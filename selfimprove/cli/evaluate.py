"""`selfimprove evaluate`: measure one model on held-out sets, and compare it with another on the same items."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from selfimprove.config import Recipe


def evaluate(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[RECIPE] [KEY=VALUE]...", help="a recipe, then key.sub=value")
    ] = None,
    model: Annotated[str | None, typer.Option(help="embedded, a folder or a hub id; default: the recipe's")] = None,
    adapter: Annotated[str | None, typer.Option(help="folder of a LoRA adapter on that model")] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="held-out set: a source or name=source; default: the recipe's")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="another engine with its defaults, for example transformers")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="a run folder, or run/round-1, measured on the same sets")
    ] = None,
    with_method: Annotated[
        bool, typer.Option("--with-method", help="measure the method's own way to answer too, on the same items")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="folder of the answers and grades")] = None,
) -> None:
    """Answer and grade every held-out item, greedily and, with evaluate.samples=8, by sampling for pass@k.

    Either a recipe names model and sets, or --model and --data do. A stopped evaluation goes on where it stopped.
    """
    import asyncio

    from selfimprove.errors import ConfigError
    from selfimprove.evaluation.standalone import compare_rounds, evaluate_policy, evaluated_round
    from selfimprove.evaluation.with_method import answer_of
    from selfimprove.models import model_folder, policy_of
    from selfimprove.plan import plan
    from selfimprove.reporting.rounds import round_lines
    from selfimprove.store import Store

    also = ["evaluate.with_method=true"] if with_method else []
    read, where = wanted_recipe([*(words or []), *also], model, data, engine)
    checked = plan(read, where, Path(where).parent if Path(where).is_file() else None)
    if output is not None and output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output}: a file is in the way; name a folder")
    heldout = checked.heldout()
    answer = answer_of(read, checked.method, checked.config, where)
    baseline = evaluated_round(against) if against else None  # a wrong path is told before the work
    policy = policy_of(str(model_folder(read.model)), adapter)
    by = f"-{Path(read.method_name).stem}" if read.evaluate.with_method else ""
    folder = output or Path("runs") / f"evaluate-{'-'.join(heldout)}{by}-{policy.digest[:8]}"
    with Store(folder).open(read) as store:
        asyncio.run(evaluate_policy(read, policy, heldout, store, answer))
        typer.echo("\n".join(line.removeprefix("round 0: ") for line in round_lines(store, 0)))
        if baseline is not None:
            for name in heldout:
                typer.echo(f"{name} against {against}: {compare_rounds(baseline, (store, 0), name)}")
    typer.echo(f"answers: {folder}")


def wanted_recipe(
    words: list[str], model: str | None, data: list[str] | None, engine: str | None
) -> tuple["Recipe", str]:
    """Return the recipe to evaluate by, and where it comes from.

    Raises ConfigError where neither a recipe nor --model and --data say what to measure.
    """
    from selfimprove.cli.recipes import recipe_of_words
    from selfimprove.config import make_recipe
    from selfimprove.errors import ConfigError

    plain, where = recipe_of_words(words, {"method": "raft", "prompts": "none"} if model and data else None)
    if model:
        plain["model"] = model
    if engine:
        plain["engine"] = {"name": engine}
    if data:
        plain["heldout"] = dict(named_source(text) for text in data)
    if not plain.get("heldout"):
        raise ConfigError(f"{where}: it has no held-out set; name one with --data")
    return make_recipe(plain, where), where


def named_source(text: str) -> tuple[str, Any]:
    """Return the name and the source of a --data option: `name=source`, `source`, or `{gym: task, size: 100}`."""
    from selfimprove.config import parse_yaml

    if text.startswith("{"):
        return "data", parse_yaml(text, "--data")
    name, equals, source = text.partition("=")
    if not equals:
        return Path(text).stem, text
    return name, parse_yaml(source, "--data") if source.startswith("{") else source
