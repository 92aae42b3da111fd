"""Mixing data sets by weight: rows of several sources in one stream, in exact proportion at every moment.

No row is drawn at random. The schedule is Tijdeman's for the chairman assignment problem (Discrete Mathematics 32,
1980): after any number of rows t, a source of weight w (weights sum to 1, k >= 2 sources) has given w t rows but for
at most 1 - 1 / (2k - 2), so less than one row too many or too few.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from selfimprove.errors import ConfigError, DataError


@dataclass
class Mixed:
    """What a mix gave: rows per source, how often each was begun again, and which one ended it by running out."""

    rows: dict[str, int] = field(default_factory=dict)
    repeats: dict[str, int] = field(default_factory=dict)
    ended_by: str | None = None


def schedule(weights: Mapping[str, float], seed: int = 0) -> Iterator[str]:
    """Yield, without end, the name of the source that gives the next row; `seed` decides between equal claims.

    Raises ConfigError where a weight is not a positive number.
    """
    for name, weight in weights.items():
        if not (isinstance(weight, int | float) and math.isfinite(weight) and weight > 0):
            raise ConfigError(f"the weight of {name} is {weight}; it must be a number above 0")
    if not weights:
        raise ConfigError("there is nothing to mix: name at least one source with its weight")
    names = sorted(weights, key=lambda name: hashlib.blake2b(f"{seed}\0{name}".encode()).digest())
    exact = [Fraction(str(weights[name])) for name in names]
    unit = math.lcm(*(weight.denominator for weight in exact))
    parts = [int(weight * unit) for weight in exact]
    return _turns(names, parts)


def mix(
    sources: Mapping[str, Iterable[dict[str, Any]]],
    weights: Mapping[str, float],
    *,
    rows: int | None = None,
    repeat: bool = False,
    seed: int = 0,
    told: Mixed | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield rows of all sources in proportion to their weights, each source in its own order.

    The mix ends after `rows` rows, or where the source whose turn it is has run out. With `repeat` that source
    begins again, and without `rows` the mix ends once every source was read through. `told` is filled with what
    happened. Raises ConfigError for weights that cannot be, DataError for a source without any row.
    """
    if set(sources) != set(weights):
        raise ConfigError(f"sources {sorted(sources)} and weights {sorted(weights)} are not the same")
    told = told if told is not None else Mixed()
    told.rows.update(dict.fromkeys(sources, 0))
    told.repeats.update(dict.fromkeys(sources, 0))
    running = {name: iter(source) for name, source in sources.items()}
    unread = set(sources)
    for count, name in enumerate(schedule(weights, seed)):
        if rows is not None and count >= rows:
            return
        row = next(running[name], None)
        if row is None:
            if not told.rows[name]:
                raise DataError(f"{name}: there are no rows to mix in")
            unread.discard(name)
            if not repeat or (rows is None and not unread):
                told.ended_by = name
                return
            told.repeats[name] += 1
            running[name] = iter(sources[name])
            row = next(running[name], None)
            if row is None:
                raise DataError(f"{name}: it cannot be read a second time, so it cannot be repeated")
        told.rows[name] += 1
        yield row


def _turns(names: list[str], parts: list[int]) -> Iterator[str]:
    """Yield whose turn it is: of those who have at least 1 / (2k - 2) due, the one whose share is due first."""
    whole, slack = sum(parts), max(2 * len(parts) - 2, 1)
    common = math.lcm(*parts)
    paces = [common // part for part in parts]
    due = [0] * len(parts)  # w t - rows given, in units of 1 / whole
    while True:
        best, urgency = -1, None
        for number, part in enumerate(parts):
            due[number] += part
            if due[number] * slack >= whole:
                last = ((slack - 1) * whole - slack * due[number]) * paces[number]
                if urgency is None or last < urgency:
                    best, urgency = number, last
        due[best] -= whole
        yield names[best]
