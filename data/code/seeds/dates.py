"""Seeds: calendar dates and times of day."""

import calendar
import re
from datetime import date, datetime, timedelta


def add_months(day: date, months: int) -> date:
    """Move a date by a number of months, which may be negative.

    A day that the new month does not have becomes its last day.

    >>> add_months(date(2024, 1, 31), 1)
    datetime.date(2024, 2, 29)
    """
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return date(year, month + 1, min(day.day, last))


def age_on(birthday: date, today: date) -> int:
    """Return how old in full years a person is on a given day.

    >>> age_on(date(2000, 5, 20), date(2024, 5, 19))
    23
    """
    had_birthday = (today.month, today.day) >= (birthday.month, birthday.day)
    return today.year - birthday.year - (not had_birthday)


def days_between(start: str, end: str) -> int:
    """Count the days from one ISO date to another.

    >>> days_between("2024-02-28", "2024-03-01")
    2
    """
    return (date.fromisoformat(end) - date.fromisoformat(start)).days


def working_days(start: date, end: date) -> int:
    """Count the days from Monday to Friday in a span, both ends included.

    >>> working_days(date(2024, 3, 1), date(2024, 3, 5))
    3
    """
    span = (end - start).days + 1
    return sum((start + timedelta(days=offset)).weekday() < 5 for offset in range(span))


def nth_weekday(year: int, month: int, weekday: int, n: int) -> date:
    """Return the n-th given weekday of a month; Monday is 0.

    >>> nth_weekday(2024, 11, 3, 4)  # the fourth Thursday
    datetime.date(2024, 11, 28)
    """
    first = date(year, month, 1)
    offset = (weekday - first.weekday()) % 7
    return first + timedelta(days=offset + 7 * (n - 1))


def quarter(day: date) -> int:
    """Return the quarter of the year, from 1 to 4, in which a date lies."""
    return (day.month - 1) // 3 + 1


def easter(year: int) -> date:
    """Return the date of Easter Sunday in the Gregorian calendar.

    Uses the anonymous algorithm of 1876.

    >>> easter(2024)
    datetime.date(2024, 3, 31)
    """
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (b - (b + 8) // 25 + 1) // 3
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    weekday = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * weekday) // 451
    month, day = divmod(h + weekday - 7 * m + 114, 31)
    return date(year, month, day + 1)


def parse_duration(text: str) -> int:
    """Read a duration such as "1h 30m" or "45s" and return its seconds.

    Raises:
        ValueError: If the text holds anything else.

    >>> parse_duration("1h 30m")
    5400
    """
    seconds = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    if not re.fullmatch(r"(\s*\d+\s*[dhms])+\s*", text):
        raise ValueError(f"not a duration: {text!r}")
    return sum(int(number) * seconds[unit] for number, unit in re.findall(r"(\d+)\s*([dhms])", text))


def format_duration(seconds: int) -> str:
    """Write seconds in the largest units that fit, leaving out zeros.

    >>> format_duration(3725)
    '1h 2m 5s'
    >>> format_duration(0)
    '0s'
    """
    parts = []
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"


def to_twelve_hours(clock: str) -> str:
    """Convert a 24-hour time such as "15:05" to the 12-hour form "3:05 pm".

    >>> to_twelve_hours("00:30")
    '12:30 am'
    """
    hour, minute = map(int, clock.split(":"))
    return f"{hour % 12 or 12}:{minute:02d} {'am' if hour < 12 else 'pm'}"


def overlaps(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Tell whether two time spans `(start, end)` share any time; touching is not enough."""
    return first[0] < second[1] and second[0] < first[1]


def merge_intervals(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge spans that overlap or touch, and return them in order.

    >>> merge_intervals([(5, 8), (1, 3), (2, 4)])
    [(1, 4), (5, 8)]
    """
    merged: list[tuple[int, int]] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def round_to_minutes(moment: datetime, minutes: int) -> datetime:
    """Round a time down to a multiple of some minutes within its day.

    >>> round_to_minutes(datetime(2024, 1, 1, 9, 44), 15)
    datetime.datetime(2024, 1, 1, 9, 30)
    """
    passed = moment.hour * 60 + moment.minute
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + timedelta(minutes=passed // minutes * minutes)


def relative_day(day: date, today: date) -> str:
    """Describe a date in relation to another one in plain words.

    >>> relative_day(date(2024, 5, 2), date(2024, 5, 1))
    'tomorrow'
    >>> relative_day(date(2024, 4, 21), date(2024, 5, 1))
    '10 days ago'
    """
    distance = (day - today).days
    names = {0: "today", 1: "tomorrow", -1: "yesterday"}
    if distance in names:
        return names[distance]
    return f"in {distance} days" if distance > 0 else f"{-distance} days ago"
