"""`selfimprove audit`: how far a judge can be trusted, on pairs of answers whose order is known."""

from pathlib import Path
from typing import Annotated, Any

import typer

CALIBRATION = "data/judge_calibration/pairs.jsonl"  # as evaluation.audit has it, which is imported late


def audit(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[RECIPE] [KEY=VALUE]...", help="a recipe, then key.sub=value")
    ] = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(help="a name, or {name: llm, rubric: scale}; as often as you like; default: the recipe's"),
    ] = None,
    pairs: Annotated[
        str, typer.Option(help="preference rows whose chosen side is known to be better (JSONL)")
    ] = CALIBRATION,
    limit: Annotated[int | None, typer.Option(help="pairs, spread over all kinds; default: all")] = None,
    model: Annotated[str | None, typer.Option(help="embedded, a folder or a hub id; default: the recipe's")] = None,
    engine: Annotated[
        str | None, typer.Option(help="another engine with its defaults, for example transformers")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="folder of verdicts and figures")] = None,
) -> None:
    """Show judges pairs of answers whose order is known; exit 1 where one breaks the recipe's limits.

    Measured: agreement with its interval, by kind of pair; ties; disagreement of both orders; preference for length
    and for the model's own answers; use of the scale; failures; repeatability; calibration. What was asked before is
    not asked again.
    """
    import asyncio

    from selfimprove.config import parse_yaml
    from selfimprove.errors import ConfigError
    from selfimprove.evaluation.audit import audit_judges, broken, read_pairs
    from selfimprove.judges import limits_of, open_judge
    from selfimprove.models import model_folder, policy_of
    from selfimprove.reporting.audit import audit_lines, write_audit

    read, where = wanted(words or [], model, engine)
    named: list[Any] = [parse_yaml(text, "--judge") if text.startswith("{") else text for text in judge or []]
    sections = named or [read.judge or {"name": "llm"}]
    judges = {told(section): open_judge(section, where) for section in sections}
    if len(judges) < len(sections):
        raise ConfigError("--judge: the same judge is named twice")
    known = read_pairs(pairs, limit)
    policy = policy_of(str(model_folder(read.model)))
    folder = output or Path("runs") / f"audit-{policy.digest[:8]}"
    found = asyncio.run(audit_judges(read, policy, judges, known, folder))
    write_audit(folder, found, policy, read.model, pairs)
    typer.echo("\n".join(audit_lines({name: figures for name, (_, figures) in found.items()})))
    typer.echo(f"verdicts, figures and picture: {folder}")
    limits = limits_of(read.judge, where)
    sentences = [f"{name}: {text}" for name, (_, figures) in found.items() for text in broken(figures, limits)]
    for sentence in sentences:
        typer.echo(f"limit broken: {sentence}")
    if sentences:
        raise typer.Exit(1)


def wanted(words: list[str], model: str | None, engine: str | None) -> tuple[Any, str]:
    """Return the recipe that names model, engine and judge, and where it comes from; without one, the defaults."""
    from selfimprove.cli.recipes import recipe_of_words
    from selfimprove.config import make_recipe

    plain, where = recipe_of_words(words, {"method": "raft", "prompts": "none"})
    if model:
        plain["model"] = model
    if engine:
        plain["engine"] = {"name": engine}
    return make_recipe(plain, where), where


def told(section: Any) -> str:
    """Return a judge's name with its options, as a person reads it: `llm rubric=scale`."""
    import json

    from selfimprove.config import options_of
    from selfimprove.judges import limit_of

    if isinstance(section, str):
        return section
    options = {key: value for key, value in options_of(section).items() if limit_of(key) is None}
    words = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in options.items()]
    return " ".join([str(section.get("name")), *words])
