"""Numbers, times and texts as a report writes them."""

from datetime import datetime
from typing import Any

from selfimprove.progress import clock as elapsed


def clock(time: str) -> str:
    """Return an ISO time to the minute: `2026-11-22 07:30 UTC`; what is no time comes back as it is."""
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return time
    return f"{moment:%Y-%m-%d %H:%M} {moment.tzname() or ''}".strip()


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units: `1 h 04 min`, `4 min 21 s`, `0.8 s`."""
    return f"{seconds:.1f} s" if seconds < 10 else elapsed(seconds)


def figure(value: Any) -> str:
    """Return a number with four significant digits, a dash for None, anything else as text."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (value == int(value) if abs(value) < 1e6 else False):
        return minus(f"{int(value):,}")
    mantissa, e, exponent = f"{value:.4g}".partition("e")
    return minus(f"{mantissa}e{int(exponent)}" if e else mantissa)


def points(difference: float) -> str:
    """Return a difference of shares in points of a percent, with its sign."""
    return minus(f"{100 * difference:+.1f}")


def minus(text: str) -> str:
    """Return a number's text with real minus signs."""
    return text.replace("-", "−")


def percent(share: float | None) -> str:
    """Return a share in percent with one decimal, a dash for None."""
    return "–" if share is None else f"{100 * share:.1f} %"


def probability(p: float) -> str:
    """Return a p value as one writes it."""
    return (
        "p\N{NO-BREAK SPACE}<\N{NO-BREAK SPACE}0.0001"
        if p < 0.0001
        else f"p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{p:.4f}"
    )


def clip(text: str, limit: int) -> str:
    """Return a text cut to `limit` characters, with how many are missing."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)"
