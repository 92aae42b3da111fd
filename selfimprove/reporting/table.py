"""Plain-text tables that stay readable in a log file and can be searched with grep."""

import re
from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the lines of a table: columns as wide as their widest cell, numbers to the right, the last one free."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(head), *cells]) for i in range(len(head))]
    right = [bool(cells) and all(_numeric(row[i]) for row in cells) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        aligned = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        ]
        return "  ".join(aligned).rstrip()

    return [line(head), line(["-" * width for width in widths]), *map(line, cells)]


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the lines of a Markdown table; a bar inside a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in lines]


def told_size(count: int | None) -> str:
    """Return a number of bytes as a person reads it, in powers of 1000; `?` for one that is not known."""
    if count is None:
        return "?"
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def _numeric(cell: str) -> bool:
    plain = re.sub(r" (?:[kMGT]?B|%)$|[,%]", "", cell.strip("+-"))
    return cell in ("-", "?") or plain.replace(".", "", 1).strip().isdigit()
