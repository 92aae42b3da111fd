"""Progress that reads well: a live bar on a terminal, otherwise one plain line every 30 seconds."""

import sys
import time
from collections.abc import Callable
from typing import Any, Self, TextIO

INTERVAL = 30.0


class Progress:
    """Counts the items of one stage; use as a context manager.

    `tokens` returns how many tokens the engine has made so far, for tokens/s.
    """

    def __init__(
        self, title: str, total: int | None, tokens: Callable[[], int] = lambda: 0, stream: TextIO | None = None
    ) -> None:
        """Start counting at once; `total` None means unknown."""
        self.title, self.total, self.tokens = title, total, tokens
        self.stream = stream or sys.stderr
        self.items = self.rows = self.skips = 0
        self.started = self._last = time.monotonic()
        self._tokens_before = tokens()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        """Show the bar where the stream is a terminal."""
        if self.stream.isatty():
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[rates]}"),
                progress.TimeRemainingColumn(),
                console=Console(file=self.stream),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=self.total, rates="")
        return self

    def advance(self, rows: int, skips: int) -> None:
        """Count one finished item with the rows and skips it gave."""
        self.items += 1
        self.rows += rows
        self.skips += skips
        now = time.monotonic()
        if self._bar is not None:
            if now - self._last > 0.2:
                self._last = now
                self._bar.update(self._task, completed=self.items, rates=self.rates())
        elif now - self._last >= INTERVAL:
            self._last = now
            print(self.line(), file=self.stream, flush=True)

    def rates(self) -> str:
        """Return rows, rows/s and tokens/s since the start as a short text."""
        elapsed = max(time.monotonic() - self.started, 1e-6)
        made = self.tokens() - self._tokens_before
        speed = f", {made / elapsed:.0f} tokens/s" if made else ""
        skipped = f", {self.skips} skipped" if self.skips else ""
        return f"{self.rows} rows{skipped}, {self.rows / elapsed:.1f} rows/s{speed}"

    def line(self) -> str:
        """Return the plain progress line: title, items, rates, time left."""
        elapsed = time.monotonic() - self.started
        if self.total and self.total / 20 <= self.items < self.total:  # the first items say little: the engine starts
            left = elapsed / self.items * (self.total - self.items)
            return f"{self.title}: {self.items}/{self.total}, {self.rates()}, about {clock(left)} left"
        of = f"/{self.total}" if self.total else ""
        return f"{self.title}: {self.items}{of}, {self.rates()}, {clock(elapsed)}"

    def __exit__(self, *exception: object) -> None:
        """Remove the bar and leave one closing line."""
        if self._bar is not None:
            self._bar.stop()
        print(self.line(), file=self.stream, flush=True)


def clock(seconds: float) -> str:
    """Return a duration as `45 s`, `3 min 20 s` or `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
