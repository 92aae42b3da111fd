"""The report of a run: one HTML file that needs nothing else, written from the run folder alone.

The sections are gathered by the modules beside this one and laid out by templates/report.html. Examples are few and
cut, so that the file can be mailed: where it would become too large, it is written again with fewer and shorter ones.
"""

import os
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from selfimprove import __version__
from selfimprove.config import Recipe, parse_yaml, to_plain
from selfimprove.files import write_text
from selfimprove.reporting.funnel import Stage, by_size, funnel, skip_examples
from selfimprove.reporting.looking.browse import rounds_there
from selfimprove.reporting.page import wording
from selfimprove.reporting.page.accuracy import Measurements, read_measurements, result_round, result_sentence
from selfimprove.reporting.page.changes import Changes, read_changes
from selfimprove.reporting.page.curves import read_curves
from selfimprove.reporting.page.drift import read_drift, value_of
from selfimprove.reporting.page.examples import read_rows
from selfimprove.reporting.page.history import kind_of, read_history, state_sentence
from selfimprove.reporting.page.provenance import commands, facts, method_card, policies, read_spending
from selfimprove.reporting.page.trees import read_trees
from selfimprove.reporting.papers import papers
from selfimprove.reporting.redaction import without_secrets
from selfimprove.reporting.show import open_run
from selfimprove.store import STAGES, Store, saved_recipe

TEMPLATES = Path(__file__).resolve().parent / "page" / "templates"
LARGEST = 2_000_000
"""Bytes that a report may have."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a run is quoted."""

    rounds: int = 40  # rounds told in detail, the first and the last ones
    changes: int = 4  # items gained, and as many lost, of each held-out set
    sets: int = 4  # held-out sets whose changes are shown
    rows: int = 40  # example rows of all rounds together, at most 3 a round
    skips: int = 2  # examples of each reason
    characters: int = 1_500  # of a text that is quoted
    nodes: int = 60  # of each search tree that is shown
    preview: int = 12_000  # characters of a token preview, of all rounds together five times as many

    def smaller(self) -> "Limits":
        """Return about half of everything."""
        values = {name: max(1, getattr(self, name) // 2) for name in self.__slots__}
        return Limits(**{**values, "rounds": max(4, self.rounds // 2)})


def write_report(run_folder: Path, output: Path | None = None) -> Path:
    """Write the report of a run folder, finished or not, to `output` or RUN/report.html, and return where it is.

    Raises ConfigError where the folder holds no run, DataError where a file of it is damaged.
    """
    store = open_run(Path(run_folder))
    target = Path(output) if output else store.folder / "report.html"
    limits = Limits()
    text = render(store, target, limits)
    while len(text.encode()) > LARGEST and limits.characters > 20:
        limits = limits.smaller()
        text = render(store, target, limits)
    write_text(target, text)
    return target


def render(store: Store, target: Path, limits: Limits) -> str:
    """Return the page of a run; links to files of the run are relative to where the page will lie."""
    tools = {"watched": value_of, "link": partial(link, target=target)}
    return page("report.html").render(gather(store, limits), **tools)


def page(name: str) -> Any:
    """Return a page's template with the filters that all pages have."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {
        "clock": wording.clock, "duration": wording.duration, "figure": wording.figure, "percent": wording.percent,
        "clip": wording.clip, "points": wording.points, "p": wording.probability, "count": "{:,}".format,
    }  # fmt: skip
    return pages.get_template(name)


def gather(store: Store, limits: Limits) -> dict[str, Any]:
    """Return everything the template tells."""
    recipe = saved_recipe(store.folder)
    history = read_history(store)
    rounds = rounds_there(store)
    told = (
        rounds if len(rounds) <= limits.rounds else [*rounds[: limits.rounds // 2], *rounds[-(limits.rounds // 2) :]]
    )
    measurements = read_measurements(store)
    measured = sorted({m.round for found in measurements.sets.values() for m in found})
    card = method_card(recipe)
    kind = kind_of(store, history, rounds)
    saved = parse_yaml((store.folder / "recipe.yaml").read_text(encoding="utf-8"), f"{store.folder}/recipe.yaml")
    return {
        "store": store,
        "recipe": recipe,
        "shown": without_secrets(to_plain(recipe)),
        "recipe_text": yaml.safe_dump(without_secrets(saved), sort_keys=False, allow_unicode=True),
        "version": __version__,
        "history": history,
        "kind": kind,
        "title": title(recipe, kind, card.title if card else None),
        "method": card.name if card else recipe.method_name,
        "state": state_sentence(store, history, rounds),
        "result": result_sentence(measurements, result_round(store, measured, history.finished)),
        "rounds": rounds,
        "untold": [number for number in rounds if number not in told],
        "progress": [(n, [store.marker(n, stage) is not None for stage in STAGES]) for n in told],
        "stages": STAGES,
        "measurements": measurements,
        "funnels": [_funnel(store, number, limits) for number in told if number > 0],
        "curves": read_curves(store, rounds),
        "drift": read_drift(store, rounds, recipe.watch.limits),
        "changes": _changes(store, recipe, measurements, limits),
        "previews": _previews(store, told, limits),
        "rows": _rows(store, told, limits),
        "trees": read_trees(store, told, limits.nodes, max(1, limits.characters // 3)),
        "spending": read_spending(store, rounds),
        "facts": facts(store, recipe),
        "policies": policies(store, rounds),
        "commands": commands(store, kind),
        "card": card,
        "papers": papers(card.text) if card else [],
        "limits": limits,
    }


def title(recipe: Recipe, kind: str, method: str | None) -> str:
    """Return the page's title: what was done on which model."""
    if kind == "evaluate":
        return f"Evaluation of {recipe.model}"
    return f"{method or recipe.method_name} on {recipe.model}"


def link(path: Path, target: Path) -> str:
    """Return the relative link from a page to a file, fit for an attribute."""
    return quote(Path(os.path.relpath(path.resolve(), target.resolve().parent)).as_posix())


def bar(stage: Stage, stages: list[Stage]) -> tuple[float, float]:
    """Return (kept, lost) of a stage in percent of the largest number that its unit reaches."""
    largest = max(other.count + sum(other.lost.values()) for other in stages if other.unit == stage.unit) or 1
    return 100 * stage.count / largest, 100 * sum(stage.lost.values()) / largest


def _funnel(store: Store, number: int, limits: Limits) -> dict[str, Any]:
    stages = funnel(store, number)
    marker = store.marker(number, "collect") or {}
    examples = {
        stage: skip_examples(store.stage_folder(number, stage) / "skips.jsonl", limits.skips)
        for stage in ("collect", "assemble")
        if store.marker(number, stage)
    }
    return {
        "round": number,
        "stages": [(stage, *bar(stage, stages)) for stage in stages],
        "skips": {stage: found for stage, found in examples.items() if found},
        "marker": marker,
        "told_skips": {}
        if any(stage.label == "prompts with rows" for stage in stages)
        else by_size(marker.get("skips", {})),
        "trained": store.marker(number, "learn") is not None,
    }


def _changes(store: Store, recipe: Recipe, measurements: Measurements, limits: Limits) -> list[Changes]:
    found = []
    for name, rounds in list(measurements.sets.items())[: limits.sets]:
        if len(rounds) > 1:
            ends = (rounds[0].round, rounds[-1].round)
            found.append(read_changes(store, recipe, name, ends, limits.changes, limits.characters))
    return found


def _previews(store: Store, rounds: list[int], limits: Limits) -> list[tuple[int, list[tuple[str, bool]], bool]]:
    """Return (round, stretches of text and whether they are trained, whether the text was cut) per first batch."""
    paths = {n: path for n in rounds if (path := store.stage_folder(n, "learn") / "batch_preview.txt").is_file()}
    most = min(limits.preview, 5 * limits.preview // max(len(paths), 1))
    found = []
    for number, path in paths.items():
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(most + 1)
        parts = re.split(r"(\[\[.*?\]\])", text[:most], flags=re.DOTALL)
        found.append((number, [(part, at % 2 == 1) for at, part in enumerate(parts) if part], len(text) > most))
    return found


def _rows(store: Store, rounds: list[int], limits: Limits) -> list[Any]:
    collected = [number for number in rounds if store.marker(number, "collect")]
    most = max(1, min(3, limits.rows // max(len(collected), 1)))
    return [found for number in collected if (found := read_rows(store, number, most, limits.characters))]
