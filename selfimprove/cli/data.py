"""`selfimprove data`: tools for row files: duplicates, contamination, length balance, mixing, splitting, pairs."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from selfimprove.building.rowfiles import RowFile
    from selfimprove.config import Hygiene
    from selfimprove.records import Row

data = typer.Typer(
    no_args_is_help=True, help="Clean, mix and split row files (.jsonl, .parquet, .arrow), and make pairs."
)

File = Annotated[Path, typer.Argument(help="rows: .jsonl, .parquet or .arrow")]
Output = Annotated[Path, typer.Option("-o", "--output", help="file to write; its ending says the format")]
Force = Annotated[bool, typer.Option("--force", help="overwrite")]
Seed = Annotated[int, typer.Option(help="another seed gives another result, the same seed always the same")]


@data.command("dedup", no_args_is_help=True)
def dedup(
    file: File,
    output: Output,
    near: Annotated[bool, typer.Option("--near", help="near-duplicates as well")] = False,
    threshold: Annotated[
        float, typer.Option(help="similarity from which rows are near-duplicates, of prompts and of answers")
    ] = 0.8,
    force: Force = False,
) -> None:
    """Take out rows whose prompt and answers an earlier row has; the first of a group stays."""
    from selfimprove.config import Hygiene

    _clean(file, output, Hygiene(dedup="near" if near else "exact", near_threshold=threshold), {}, force)


@data.command("decontaminate", no_args_is_help=True)
def decontaminate(
    file: File,
    output: Output,
    against: Annotated[
        list[str], typer.Option(help="a file, hub id or '{name: gsm8k}' to stay clear of; as often as you like")
    ],
    ngram: Annotated[int, typer.Option(help="words of a run that no row may share; shorter texts whole")] = 13,
    force: Force = False,
) -> None:
    """Take out rows that hold a benchmark's item, whole or a run of words of it."""
    from selfimprove.building.decontaminate import texts_against
    from selfimprove.config import Hygiene, parse_yaml

    sources = [parse_yaml(text, "--against") if text.lstrip().startswith("{") else text for text in against]
    _clean(
        file, output, Hygiene(decontaminate=True, ngram=ngram), texts_against({}, sources, ngram, "--against"), force
    )


@data.command("balance", no_args_is_help=True)
def balance(
    file: File,
    output: Output,
    share: Annotated[float, typer.Option(help="by how much one side may be longer on average; 0.1 is 10 %")] = 0.1,
    force: Force = False,
) -> None:
    """Take out pairs until chosen and rejected answers are about equally long on average."""
    from selfimprove.config import Hygiene

    _clean(file, output, Hygiene(balance_length=share), {}, force)


@data.command("mix", no_args_is_help=True)
def mix(
    sources: Annotated[list[str], typer.Argument(help="file=weight, for example a.jsonl=0.7 b.jsonl=0.3")],
    output: Output,
    rows: Annotated[int | None, typer.Option(min=1, help="stop after so many rows")] = None,
    repeat: Annotated[
        bool, typer.Option("--repeat", help="begin a source again when it has run out, instead of ending there")
    ] = False,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Mix files by weight, in exact proportion at every row; ends where a source runs out."""
    from selfimprove.building.mix import Mixed
    from selfimprove.building.mix import mix as mixed
    from selfimprove.building.rowfiles import RowFile, RowSink

    weights = _shares(sources, "a source")
    files = {name: RowFile(Path(name)) for name in weights}
    told = Mixed()
    with RowSink(output, _one_schema(files.values()), force) as sink:
        for row in mixed(files, weights, rows=rows, repeat=repeat, seed=seed, told=told):
            sink.write(row)
    for name, count in told.rows.items():
        again = f", begun again {told.repeats[name]} times" if told.repeats[name] else ""
        typer.echo(f"in   {count:>9,} rows of {name} ({_percent(count, sink.rows)}{again})")
    typer.echo(f"out  {sink.rows:>9,} rows to {output}")
    if told.ended_by is not None:
        typer.echo(f"ended where {told.ended_by} ran out" + ("" if repeat else "; --repeat begins it again"))


@data.command("split", no_args_is_help=True)
def split(
    file: File,
    output: Annotated[Path, typer.Option("-o", "--output", help="folder to write one file per split into")],
    shares: Annotated[str, typer.Option(help="name=share of each split")] = "train=0.9,test=0.1",
    by: Annotated[
        str, typer.Option(help="what stays together: id (a prompt's rows p/0, p/1, ...), prompt, or a field's name")
    ] = "id",
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Split a file by groups: the rows of one prompt all go the same way, also when rows are added later."""
    from selfimprove.building.rowfiles import ENDINGS, RowFile, RowSink
    from selfimprove.building.split import check_shares, group_digest, group_of, split_of

    parts = check_shares(_shares(shares.split(","), "a split"))
    rows = RowFile(file, lambda row: group_of(row, by))
    ending = file.suffix if file.suffix in ENDINGS else ".jsonl"
    seen = {name: array("Q") for name in parts}
    with ExitStack() as stack:
        sinks = {
            name: stack.enter_context(RowSink(output / f"{name}{ending}", rows.schema(), force)) for name in parts
        }
        for row in rows:
            group = group_of(row, by)
            name = split_of(group, parts, seed)
            sinks[name].write(row)
            seen[name].append(group_digest(group))
    groups = {name: len(set(found)) for name, found in seen.items()}
    total = sum(sink.rows for sink in sinks.values())
    typer.echo(f"in   {total:>9,} rows of {file}")
    for name, sink in sinks.items():
        asked = f"{_percent(sink.rows, total)} of rows, asked {parts[name]:.1%}"
        typer.echo(f"out  {sink.rows:>9,} rows in {groups[name]:,} groups to {sink.path} ({asked})")
    if total > 1 and sum(groups.values()) == 1:
        typer.echo(f"all rows are one group by '{by}'; choose another --by, for example --by prompt")


@data.command("pairs", no_args_is_help=True)
def pairs(
    file: File,
    output: Output,
    min_margin: Annotated[float, typer.Option(min=0, help="smallest difference of the two scores")] = 0.0,
    score: Annotated[str, typer.Option(help="field that holds the score")] = "score",
    unsorted: Annotated[
        bool, typer.Option("--unsorted", help="a prompt's candidates do not stand together; needs disk for a copy")
    ] = False,
    force: Force = False,
) -> None:
    """Make preference pairs of scored answers: per prompt the best against the worst."""
    from selfimprove.building.pairs import best_against_worst, check_candidate, gathered
    from selfimprove.building.rowfiles import RowFile

    read = 0

    def counted() -> Iterable[dict[str, Any]]:
        nonlocal read
        for row in RowFile(file, lambda row: check_candidate(row, score)):
            read += 1
            yield row

    found = gathered(counted(), output.parent) if unsorted else counted()
    kept, reasons = _write(best_against_worst(found, min_margin, score), output, None, force)
    _tell(file, read, output, kept, reasons, "candidates", "without pair")


def _clean(file: Path, output: Path, hygiene: Hygiene, against: Any, force: bool) -> None:
    from selfimprove.building.hygiene import sift, survey
    from selfimprove.building.rowfiles import RowFile
    from selfimprove.building.texts import texts_of

    _refuse_existing(output, force)
    rows = RowFile(file, texts_of)
    found = survey(rows, hygiene, against)
    kept, reasons = _write(sift(rows, found), output, rows.schema(), force)
    _tell(file, len(found.verdicts), output, kept, reasons, "rows", "taken out")
    if found.index:
        typer.echo(
            f"compared with {found.index.runs:,} runs of {found.index.n} words of {len(found.index.names)} set(s)"
        )
    if found.balance and found.balance.before:
        for when, means in (("before", found.balance.before), ("after", found.balance.after)):
            shown = f"chosen {means[0]:.1f}, rejected {means[1]:.1f} characters" if means else "no pair is left"
            typer.echo(f"mean length {when:>6}: {shown}")


def _write(
    outcomes: Iterable[dict[str, Any] | Row], output: Path, schema: Any, force: bool
) -> tuple[int, dict[str, int]]:
    """Write rows to the output and skips beside it; return the number of rows and {reason: skips}."""
    from selfimprove.building.rowfiles import RowSink
    from selfimprove.records import Row, Skip

    reasons: dict[str, int] = {}
    skips = None
    _refuse_existing(output, force)
    with ExitStack() as stack:
        sink = stack.enter_context(RowSink(output, schema, force))
        for outcome in outcomes:
            if isinstance(outcome, Skip):
                reasons[outcome.reason] = reasons.get(outcome.reason, 0) + 1
                skips = skips or stack.enter_context(RowSink(_skip_file(output), force=force))
                skips.write(outcome.to_row())
            else:
                sink.write(outcome.to_row() if isinstance(outcome, Row) else outcome)
    if skips is None:
        _skip_file(output).unlink(missing_ok=True)  # of an earlier output that was overwritten
    return sink.rows, reasons


def _refuse_existing(output: Path, force: bool) -> None:
    """Raise ConfigError before any work where the output or its list of skips is there already."""
    from selfimprove.building.rowfiles import RowSink

    RowSink(output, force=force)
    RowSink(_skip_file(output), force=force)


def _skip_file(output: Path) -> Path:
    return output.with_name(f"{output.stem}.skips.jsonl")


def _tell(file: Path, read: int, output: Path, kept: int, reasons: dict[str, int], what: str, gone: str) -> None:
    typer.echo(f"in   {read:>9,} {what} of {file}")
    typer.echo(f"out  {kept:>9,} rows to {output}")
    for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0])):
        typer.echo(f"     {count:>9,} {gone}: {reason}")
    if reasons:
        typer.echo(f"listed in {_skip_file(output)}")


def _shares(words: list[str], what: str) -> dict[str, float]:
    """Return {name: number} of `name=number` words; raises ConfigError for anything else."""
    from selfimprove.errors import ConfigError

    found: dict[str, float] = {}
    for word in words:
        name, equals, number = word.strip().rpartition("=")
        try:
            value = float(number)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise ConfigError(f"'{word}': {what} is written name=number, for example train=0.9 or a.jsonl=0.7")
        if name in found:
            raise ConfigError(f"'{name}' is named twice; give {what} once")
        found[name] = value
    return found


def _one_schema(files: Iterable[RowFile]) -> Any:
    """Return the schema that all files have, None where they differ or have none."""
    schemas = [file.schema() for file in files]
    return schemas[0] if all(schema is not None and schema.equals(schemas[0]) for schema in schemas) else None


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"
