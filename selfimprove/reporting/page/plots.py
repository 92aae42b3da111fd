"""Small charts as inline SVG: pure functions from points to markup, coloured by the page's own CSS variables.

A chart is drawn at about the width at which it is shown, so that its labels have the size of the text around it.
Series differ by colour, by the shape of their dots and by their dashes, and every chart says in words what it shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from typing import TYPE_CHECKING, TypeGuard

from selfimprove.reporting.page.wording import figure, minus

if TYPE_CHECKING:
    from markupsafe import Markup

WIDTH, HEIGHT = 340, 210
TOP, RIGHT, BOTTOM = 20, 14, 38
LETTER = 6.3
"""Width of a label's character, in units of the drawing; on the wide side."""
HUGE = 1e300
"""Larger values are not drawn: their differences are not finite."""
DOTS = 16
"""Points of a curve that have dots of their own; more would hide the line."""
STYLES = 6
"""Looks of a series; the page's CSS has as many colours."""
DASHES = ("", "5 3", "2 3", "8 3 2 3", "", "5 3")
SHAPES = (
    "M{x},{y}m-3.5,0a3.5,3.5 0 1,0 7,0a3.5,3.5 0 1,0 -7,0",  # circle
    "M{x},{y}m-3.2,-3.2h6.4v6.4h-6.4z",  # square
    "M{x},{y}m0,-4.4l4.4,4.4l-4.4,4.4l-4.4,-4.4z",  # diamond
    "M{x},{y}m0,-4l4,7h-8z",  # triangle
    "M{x},{y}m0,4l4,-7h-8z",  # triangle on its head
    "M{x},{y}m-3.5,0a3.5,3.5 0 1,0 7,0a3.5,3.5 0 1,0 -7,0",
)


@dataclass(frozen=True, slots=True)
class Point:
    """One value, with the ends of its interval where it has one, and what a reader is told who points at it."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """Points that belong together, in order of x."""

    name: str
    points: tuple[Point, ...]

    @property
    def drawn(self) -> tuple[Point, ...]:
        """The points that have a place in a picture."""
        return tuple(point for point in self.points if drawable(point.x) and drawable(point.y))


@dataclass(frozen=True, slots=True)
class Chart:
    """What one picture shows: lines with dots over x, error bars, bands along x and bounds across y.

    `bands` are (first x, last x, label) stretches such as rounds, `bounds` (y, label) lines such as limits;
    `whole` says that x counts (rounds), `share` that y is a share and is written in percent.
    """

    title: str
    series: tuple[Series, ...]
    x_name: str = "round"
    note: str = ""
    whole: bool = True
    share: bool = False
    bands: tuple[tuple[float, float, str], ...] = ()
    bounds: tuple[tuple[float, str], ...] = ()

    @property
    def svg(self) -> "Markup":
        """The picture."""
        return draw(self)

    @property
    def words(self) -> str:
        """The picture in words, for those who do not see it."""
        return "; ".join(_told(series, self) for series in self.series if series.points)

    @property
    def keys(self) -> list[tuple["Markup", str]]:
        """A sample of each series' look with its name; empty where there is only one."""
        return [(key(at), s.name) for at, s in enumerate(self.series)] if len(self.series) > 1 else []


def drawable(value: float | None) -> TypeGuard[float]:
    """Whether a value has a place in a picture."""
    return value is not None and isfinite(value) and abs(value) < HUGE


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return at most `most` + 2 round values from at or below `low` to at or above `high`, evenly spaced."""
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-290):
        pad = 0.1 * abs(low) or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / most
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [step * count for count in range(first, last + 1)]


def whole_ticks(low: float, high: float, room: int) -> list[float]:
    """Return whole numbers from `low` to `high`, as many as `room` labels allow, evenly spaced."""
    first, last = ceil(low), floor(high)
    step = max(1, ceil((last - first + 1) / max(room, 1)))
    return [float(value) for value in range(first, last + 1, step)]


def tick_labels(ticks: Sequence[float], share: bool = False) -> list[str]:
    """Return the labels of evenly spaced ticks, with as many decimals as the step needs."""
    scale = 100.0 if share else 1.0
    values = [scale * tick for tick in ticks]
    step = abs(values[1] - values[0]) if len(values) > 1 else abs(values[0]) or 1.0
    largest = max(map(abs, values))
    if step < 1e-4 or largest >= 1e7:
        values = [value if abs(value) > step / 1e6 else 0.0 for value in values]
        labels = [figure(value) for value in values]
        if len(set(labels)) == len(labels):
            return labels
        digits = ceil(log10(largest / step)) + 2  # so many that neighbours differ
        return [minus(f"{value:.{digits}g}").replace("e+0", "e").replace("e-0", "e-") for value in values]
    decimals = next(d for d in range(7) if abs(round(step, d) - step) <= 1e-6 * step)
    texts = [minus(f"{value:,.{decimals}f}") if abs(value) > step / 1e6 else "0" for value in values]
    return [f"{text} %" for text in texts] if share else texts


def thinned(points: Sequence[Point], most: int) -> tuple[Point, ...]:
    """Return at most `most` points: as given, or the means of neighbouring ones."""
    size = ceil(len(points) / most)
    if size <= 1:
        return tuple(points)
    groups = [points[at : at + size] for at in range(0, len(points), size)]
    return tuple(Point(sum(p.x for p in g) / len(g), sum(p.y for p in g) / len(g)) for g in groups)


def key(at: int) -> "Markup":
    """Return a sample of the look of series number `at`."""
    from markupsafe import Markup

    dash, shape = DASHES[at % STYLES], SHAPES[at % STYLES].format(x=13, y=6)
    return Markup(
        f'<svg class="key s{at % STYLES + 1}" width="26" height="12" viewBox="0 0 26 12" aria-hidden="true">'
        f'<path class="line" stroke-dasharray="{dash}" d="M1,6H25"/><path class="dot" d="{shape}"/></svg>'
    )


def draw(chart: Chart) -> "Markup":
    """Return the SVG of a chart; every mark lies inside its view box. Points without a place are left out."""
    from markupsafe import Markup, escape

    series = [Series(s.name, s.drawn) for s in chart.series]
    points = [point for s in series for point in s.points]
    if not points:
        return Markup("")
    heights = [v for p in points for v in (p.y, p.low, p.high) if drawable(v)] + [y for y, _ in chart.bounds]
    y_ticks = nice_ticks(min(heights), max(heights), 4)
    if chart.share:
        y_ticks = [tick for tick in y_ticks if -1e-9 <= tick <= 1 + 1e-9] or [0.0, 1.0]
    y_labels = tick_labels(y_ticks, chart.share)
    left = min(12 + LETTER * max(map(len, y_labels)), WIDTH / 2)
    frame = _Frame(left, _x_range(chart, points), (y_ticks[0], y_ticks[-1]))
    parts = [_grid(frame, y_ticks, y_labels), _bands(frame, chart), _x_axis(frame, chart), _bounds(frame, chart)]
    tell = len(series) == 1 and chart.whole and len(points) <= 8
    parts += [_marks(frame, s, at, tell, chart) for at, s in enumerate(series)]
    name = escape(f"{chart.title}. {chart.words}")
    return Markup(
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">{"".join(parts)}</svg>'
    )


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where values lie in the drawing."""

    left: float
    xs: tuple[float, float]
    ys: tuple[float, float]

    def x(self, value: float) -> float:
        return self.left + _part(value, *self.xs) * (WIDTH - RIGHT - self.left)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - _part(value, *self.ys) * (HEIGHT - BOTTOM - TOP)


def _part(value: float, low: float, high: float) -> float:
    """Return where a value lies between two others, from 0 to 1."""
    return min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.5


def _x_range(chart: Chart, points: Sequence[Point]) -> tuple[float, float]:
    places = [p.x for p in points] + [x for start, end, _ in chart.bands for x in (start, end)]
    low, high = min(places), max(places)
    pad = 0.25 if chart.whole else 0.0
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        pad = max(0.5, 1e-6 * abs(low))
    return low - pad, high + pad


def _grid(frame: _Frame, ticks: Sequence[float], labels: Sequence[str]) -> str:
    lines = "".join(f"M{frame.left:.1f},{frame.y(tick):.1f}H{WIDTH - RIGHT}" for tick in ticks)
    texts = "".join(
        f'<text x="{frame.left - 6:.1f}" y="{frame.y(tick) + 3.8:.1f}" text-anchor="end">{label}</text>'
        for tick, label in zip(ticks, labels, strict=True)
    )
    return f'<path class="grid" d="{lines}"/>{texts}'


def _x_axis(frame: _Frame, chart: Chart) -> str:
    low, high = frame.xs
    bottom = HEIGHT - BOTTOM
    if chart.whole:
        ticks = whole_ticks(low, high, 9)
    else:
        ticks = [tick for tick in nice_ticks(low, high, 4) if low <= tick <= high]
    labels = tick_labels(ticks) if ticks else []
    middle = (frame.left + WIDTH - RIGHT) / 2
    texts = [f'<text class="name" x="{middle:.1f}" y="{HEIGHT - 5}" text-anchor="middle">{chart.x_name}</text>']
    marks = ""
    for tick, label in zip(ticks, labels, strict=True):
        at, half = frame.x(tick), LETTER * len(label) / 2
        marks += f"M{at:.1f},{bottom}v4"
        at = min(max(at, half), WIDTH - half)  # a long label at the edge stays inside
        texts.append(f'<text x="{at:.1f}" y="{bottom + 15}" text-anchor="middle">{label}</text>')
    return f'<path class="axis" d="M{frame.left:.1f},{bottom}H{WIDTH - RIGHT}{marks}"/>{"".join(texts)}'


def _bands(frame: _Frame, chart: Chart) -> str:
    """Draw a line where each band but the first begins, and labels: whole ones, or numbers where these do not fit."""
    from markupsafe import escape

    parts = []
    unit = (WIDTH / 2 + 90) / (frame.xs[1] - frame.xs[0])  # whatever the labels at the left: charts agree on this
    fits = all((end - start) * unit >= LETTER * len(label) for start, end, label in chart.bands)
    for at, (start, end, whole) in enumerate(chart.bands):
        label = whole if fits else whole.rpartition(" ")[2]
        if at:
            parts.append(f'<path class="band" d="M{frame.x(start):.1f},{TOP}V{HEIGHT - BOTTOM}"/>')
        if frame.x(end) - frame.x(start) >= LETTER * len(label):
            middle = (frame.x(start) + frame.x(end)) / 2
            parts.append(
                f'<text class="band" x="{middle:.1f}" y="{TOP - 6}" text-anchor="middle">{escape(label)}</text>'
            )
    return "".join(parts)


def _bounds(frame: _Frame, chart: Chart) -> str:
    from markupsafe import escape

    parts = []
    for value, label in chart.bounds:
        y = frame.y(value)
        above = y - 4 if y - 16 > TOP else y + 12
        parts.append(f'<path class="bound" d="M{frame.left:.1f},{y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="bound" x="{frame.left + 4:.1f}" y="{above:.1f}">{escape(label)}</text>')
    return "".join(parts)


def _marks(frame: _Frame, series: Series, at: int, tell: bool, chart: Chart) -> str:
    from markupsafe import escape

    places = [(frame.x(point.x), frame.y(point.y)) for point in series.points]
    line = _line(places, [sum(start < point.x for start, _, _ in chart.bands) for point in series.points])
    parts = [f'<path class="line" stroke-dasharray="{DASHES[at % STYLES]}" d="{line}"/>'] if line else []
    for (x, y), point in zip(places, series.points, strict=True) if chart.whole or len(places) <= DOTS else ():
        title = f"<title>{escape(point.text)}</title>" if point.text else ""
        top, bottom, interval = y - 3, y + 3, ""
        if drawable(point.low) and drawable(point.high):
            top, bottom = frame.y(point.high), frame.y(point.low)
            ends = f"M{x - 4:.1f},{top:.1f}h8M{x - 4:.1f},{bottom:.1f}h8"
            interval = f'<path class="interval" d="M{x:.1f},{top:.1f}V{bottom:.1f}{ends}"/>'
        shape = SHAPES[at % STYLES].format(x=f"{x:.1f}", y=f"{y:.1f}")
        parts.append(f'<g>{title}{interval}<path class="dot" d="{shape}"/></g>')
        if tell:
            parts.append(_value(x, top, bottom, point, chart.share))
    return f'<g class="s{at % STYLES + 1}">{"".join(parts)}</g>'


def _line(places: Sequence[tuple[float, float]], bands: Sequence[int]) -> str:
    """Return the path through places; it breaks where another band begins, for nothing happened in between."""
    if len(places) < 2:
        return ""
    new = [at == 0 or bands[at] != bands[at - 1] for at in range(len(places))]
    return "".join(
        f"M{x:.1f},{y:.1f}h0" if begins else f"L{x:.1f},{y:.1f}"  # h0 shows a point that stays alone
        for begins, (x, y) in zip(new, places, strict=True)
    )


def _value(x: float, top: float, bottom: float, point: Point, share: bool) -> str:
    """Return the value above a dot and its interval, below them where there is no room."""
    label = minus(f"{100 * point.y:.1f}" if share and abs(point.y) < 1e6 else f"{point.y:.3g}")
    y = top - 6 if top > TOP - 4 else bottom + 14
    half = LETTER * len(label) / 2
    x = min(max(x, half), WIDTH - half)
    return f'<text class="value" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{label}</text>'


def _told(series: Series, chart: Chart) -> str:
    def value(y: float) -> str:
        return f"{100 * y:.1f} %" if chart.share else figure(y)

    def place(x: float) -> str:
        return f"{chart.x_name} {figure(round(x) if chart.whole else x)}"

    points = series.drawn
    if not points:
        return f"{series.name}: nothing that can be drawn"
    if len(points) <= 8:
        return f"{series.name}: " + ", ".join(f"{value(p.y)} at {place(p.x)}" for p in points)
    lowest, highest = min(p.y for p in points), max(p.y for p in points)
    return (
        f"{series.name}: from {value(points[0].y)} to {value(points[-1].y)} over {len(points)} points, "
        f"between {value(lowest)} and {value(highest)}"
    )
