"""An audit told: the table on the terminal, and the folder with verdicts, figures and one page with a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfimprove import __version__
from selfimprove.engines.base import Policy
from selfimprove.evaluation.audit import Judged
from selfimprove.evaluation.metrics import wilson
from selfimprove.files import to_line, write_json, write_text
from selfimprove.reporting.page.plots import Chart, Point, Series
from selfimprove.reporting.page.wording import percent
from selfimprove.reporting.report import page
from selfimprove.reporting.table import table

Found = Mapping[str, tuple[list[Judged], dict[str, Any]]]
"""Judge: how it saw every pair, and its figures."""

COLUMNS = {
    "right, ties half": lambda f: f"{percent(f['accuracy'])} [{_share(f['low'])}, {_share(f['high'])}]",
    "lengths alike": lambda f: percent(f["length_matched"]),
    "ties": lambda f: percent(f["ties"]),
    "orders disagree": lambda f: percent(f["swap_rate"]),
    "for length": lambda f: "–" if f["length_preference"] is None else f"{f['length_preference']:+.2f}",
    "for its own": lambda f: percent(f["self_preference"]),
    "commonest grade": lambda f: percent(f["largest_grade_share"]),
    "failed": lambda f: percent(f["parse_failures"]),
    "repeats": lambda f: percent(f["repeatability"]),
    "calibration error": lambda f: "–" if f["calibration_error"] is None else f"{f['calibration_error']:.3f}",
}
"""Heading of a column: what it shows of a judge's figures."""


def audit_lines(figures: Mapping[str, dict[str, Any]]) -> list[str]:
    """Return the figures of judges as two tables: all of them, and the agreement by kind of pair."""
    rows = [[name, *(tell(found) for tell in COLUMNS.values())] for name, found in figures.items()]
    kinds = list(dict.fromkeys(kind for found in figures.values() for kind in found["kinds"]))
    by_kind = [[name, *(percent(found["kinds"].get(kind)) for kind in kinds)] for name, found in figures.items()]
    return [*table(["judge", *COLUMNS], rows), "", *table(["judge", *kinds], by_kind)]


def write_audit(folder: Path, found: Found, policy: Policy, model: str, pairs: str) -> None:
    """Write verdicts.jsonl, audit.json and audit.html into a folder; `model` is the name a person knows it by."""
    lines = [to_line({"judge": name, **seen.to_row()}) for name, (judged, _) in found.items() for seen in judged]
    write_text(folder / "verdicts.jsonl", "".join(lines))
    figures = {name: values for name, (_, values) in found.items()}
    write_json(folder / "audit.json", {"policy": policy.digest, "pairs": pairs, "judges": figures})
    text = page("audit.html").render(
        figures=figures, columns=COLUMNS, chart=reliability(figures), model=model, pairs=pairs,
        kinds=list(dict.fromkeys(kind for values in figures.values() for kind in values["kinds"])),
        version=__version__,
    )  # fmt: skip
    write_text(folder / "audit.html", text)


def reliability(figures: Mapping[str, dict[str, Any]]) -> Chart:
    """Return the picture of how often judges are right where they are so and so sure, with 95 % intervals."""
    series = tuple(
        Series(
            name,
            tuple(
                Point(sure, right, *wilson(right * pairs, pairs), text=f"{pairs} pairs")
                for sure, right, pairs in found["bins"]
            ),
        )
        for name, found in figures.items()
    )
    ideal = Series("as sure as right", (Point(0.5, 0.5), Point(1.0, 1.0)))
    return Chart(
        "How often a judge is right, by how sure it is", (*series, ideal), x_name="confidence",
        note="below the straight line a judge is surer than it is right",
        whole=False, share=True,
    )  # fmt: skip


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
