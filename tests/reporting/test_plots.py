"""The charts: every mark inside the view box, ticks that people count in, and words for those who do not see them."""

import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from selfimprove.reporting.page.plots import (
    HEIGHT,
    WIDTH,
    Chart,
    Point,
    Series,
    draw,
    key,
    nice_ticks,
    thinned,
    tick_labels,
    whole_ticks,
)  # fmt: skip

names = st.text(st.characters(exclude_categories=("C",)), max_size=9)
numbers = st.one_of(st.floats(), st.integers(-5, 5).map(float), st.floats(-1e-12, 1e-12), st.floats(1e15, 1e16))
points = st.builds(Point, numbers, numbers, st.none() | numbers, st.none() | numbers)
series = st.builds(Series, names, st.lists(points, max_size=20).map(tuple))
bands = st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9), names), max_size=3).map(tuple)
bounds = st.lists(st.tuples(st.floats(-1e6, 1e6), names), max_size=2).map(tuple)
charts = st.builds(
    Chart, names, st.lists(series, max_size=7).map(tuple), whole=st.booleans(), share=st.booleans(),
    bands=bands, bounds=bounds,
)  # fmt: skip


def marks(svg: str) -> list[tuple[float, float]]:
    """Return every absolute place in a picture: starts and ends of lines, dots, anchors of texts."""
    tree = ElementTree.fromstring(svg)
    found = []
    for element in tree.iter():
        if element.tag == "text":
            found.append((float(element.attrib["x"]), float(element.attrib["y"])))
        for command, rest in re.findall(r"([MLHV])(-?[\d.]+(?:,-?[\d.]+)?)", element.attrib.get("d", "")):
            first, *more = (float(value) for value in rest.split(","))
            x, y = found[-1] if found else (0.0, 0.0)
            found.append((x, first) if command == "V" else (first, more[0] if more else y))
    return found


@settings(max_examples=60, deadline=None)
@example(
    Chart("", (Series("", (Point(0.0, 0.0), Point(0.0, 1e103))),), whole=True, share=True)
)  # too large to write out
@given(charts)
def test_every_mark_lies_in_the_view_box(chart):
    svg = draw(chart)
    for x, y in marks(svg) if svg else ():
        assert 0 <= x <= WIDTH and 0 <= y <= HEIGHT


def test_a_higher_value_is_drawn_higher_and_a_later_one_further_right():
    svg = draw(Chart("t", (Series("s", (Point(0, 0.2), Point(1, 0.6))),)))
    [line] = re.findall(r'class="line"[^>]* d="M([\d.]+),([\d.]+)h0L([\d.]+),([\d.]+)"', svg)
    x0, y0, x1, y1 = map(float, line)
    assert x0 < x1 and y0 > y1


def test_a_line_breaks_where_a_band_begins():
    points = tuple(Point(x, x) for x in (1, 2, 3, 4))
    [line] = re.findall(
        r'class="line"[^>]* d="([^"]+)"', draw(Chart("t", (Series("s", points),), bands=((0, 2, "1"), (2, 4, "2"))))
    )
    assert re.sub(r"[^ML]", "", line) == "MLML"


def test_error_bars_reach_from_low_to_high():
    svg = draw(Chart("t", (Series("s", (Point(0, 0.5, 0.0, 1.0),)),), share=True))
    top, bottom = map(float, re.findall(r'class="interval" d="M[\d.]+,([\d.]+)V([\d.]+)M', svg)[0])
    assert top == 20 and bottom == HEIGHT - 38  # the whole height of the frame: 0 % to 100 %


def test_names_are_escaped_and_told_in_words():
    chart = Chart('<b>"Loss"', (Series("<s>", (Point(0, 0.25, text="<t>"), Point(1, 0.5))),), share=True)
    svg = draw(chart)
    assert "<b>" not in svg and "<s>" not in svg and "<t>" not in svg
    label = ElementTree.fromstring(svg).attrib["aria-label"]
    assert label == '<b>"Loss". <s>: 25.0 % at round 0, 50.0 % at round 1'


def test_nothing_to_draw_is_no_picture():
    assert draw(Chart("t", ())) == "" and draw(Chart("t", (Series("s", (Point(0, float("nan")),)),))) == ""


def test_series_look_different_and_have_keys():
    chart = Chart("t", (Series("a", (Point(0, 1),)), Series("b", (Point(0, 2),))))
    assert [name for _, name in chart.keys] == ["a", "b"] and key(0) != key(1)
    assert Chart("t", chart.series[:1]).keys == []


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.0, 1.0, ["0", "0.25", "0.50", "0.75", "1.00"]),
        (-3.0, 9.0, ["−5", "0", "5", "10"]),
        (0.0, 5e-7, ["0", "1e−7", "2e−7", "3e−7", "4e−7", "5e−7"]),
        (1200.0, 4000.0, ["1,000", "2,000", "3,000", "4,000"]),
    ],
)
def test_ticks_are_round_numbers(low, high, labels):
    assert tick_labels(nice_ticks(low, high, 4 if high > 1e-6 else 5)) == labels


@example(-305609864.0, -305364984.0)  # a narrow range of large numbers
@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_ticks_enclose_the_values_and_are_few(a, b):
    low, high = min(a, b), max(a, b)
    ticks = nice_ticks(low, high)
    slack = 1e-6 * max(abs(low), abs(high), 1e-6)
    assert ticks[0] <= low + slack and ticks[-1] >= high - slack and 2 <= len(ticks) <= 7
    assert len(set(tick_labels(ticks))) == len(ticks)


def test_whole_ticks_leave_room_for_their_labels():
    assert whole_ticks(-0.25, 3.25, 9) == [0, 1, 2, 3]
    assert whole_ticks(0, 100, 9) == [0, 12, 24, 36, 48, 60, 72, 84, 96]


def test_thinning_keeps_the_mean():
    many = tuple(Point(i, i % 2) for i in range(1000))
    few = thinned(many, 100)
    assert len(few) == 100 and {point.y for point in few} == {0.5} and few[0].x == 4.5
    assert thinned(many[:50], 100) == many[:50]
